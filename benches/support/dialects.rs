//! A client message and a publication of each dialect.

use crate::checksum;
use campanile::codec::json::Scratch;
use campanile::codec::protobuf;
use campanile::codec::protobuf::Envelope;
use campanile::content::{Content, Data};
use campanile::dialect::{Dialect, Intent, Intents, Options, Schema, named};
use campanile::id::ShardId;
use campanile::publication::{Audience, Publication, PublicationId};
use campanile::ws::{MessageType, OpCode, encoder};

/// A dialect with the settings of a route and one client message.
pub(crate) struct DialectMessage {
    pub(crate) name: &'static str,
    dialect: &'static dyn Dialect,
    options: Options,
    kind: MessageType,
    data_bytes: usize,
    message: Vec<u8>,
    payload: Vec<u8>,
    scratch: Scratch,
}

/// Returns all dialects but `echo` and `tap`, each with a message with `data_bytes` bytes of data.
pub(crate) fn all(data_bytes: usize) -> Vec<DialectMessage> {
    let names = ["wsrv", "easyws", "projectforge", "edk", "wserver"];
    names
        .map(|name| DialectMessage::new(name, data_bytes))
        .into()
}

impl DialectMessage {
    /// Creates a message with `data_bytes` bytes of JSON, or for `wserver`, which has no data, with
    /// an event name of that length.
    pub(crate) fn new(name: &'static str, data_bytes: usize) -> Self {
        let data = json(data_bytes);
        let message = match name {
            "wsrv" => format!(r#"{{"cmd":"publish","seqno":"17","data":{data}}}"#).into_bytes(),
            "easyws" => format!("publish: {data}").into_bytes(),
            "projectforge" => {
                format!(r#"{{"channel":"room","cmd":"publish","param":{data}}}"#).into_bytes()
            }
            "edk" => {
                let (mut message, payload) = (Vec::new(), data.as_bytes());
                let (kind, id) = ("publish", "17");
                protobuf::put_envelope(&Envelope { kind, payload, id }, &mut message);
                message
            }
            _ => {
                let event = "x".repeat(data_bytes);
                format!(r#"{{"token":"jack","event":"{event}"}}"#).into_bytes()
            }
        };
        let schema = Schema::Builtin;
        Self {
            name,
            dialect: named(name).expect("it is built in"),
            options: Options {
                schema,
                ..Options::default()
            },
            kind: if name == "edk" {
                MessageType::Binary
            } else {
                MessageType::Text
            },
            data_bytes,
            message,
            payload: Vec::new(),
            scratch: Scratch::new(),
        }
    }

    /// Returns the length of the message in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.message.len()
    }

    /// Compares the decoded message and the frame of a publication with their expected checksums.
    pub(crate) fn check(&mut self) {
        let this = (self.name, self.data_bytes);
        let sums = SUMS
            .iter()
            .find(|&&(name, bytes, ..)| (name, bytes) == this);
        let &(name, _, decoded, framed) = sums.expect("these are of the lengths below");
        checksum::check(name, &self.decode(text_of), decoded);
        let mut frame = Vec::new();
        self.encode(json(self.data_bytes).as_bytes(), &mut frame);
        checksum::check(name, &frame, framed);
    }

    /// Decodes a copy of the message and passes its one intent to `look`.
    pub(crate) fn decode<T>(&mut self, look: impl FnOnce(&Intent<'_>) -> T) -> T {
        self.payload.clear();
        self.payload.extend_from_slice(&self.message);
        let mut intents = Intents::new();
        self.dialect
            .decode(
                self.kind,
                &mut self.payload,
                &self.options,
                &mut self.scratch,
                &mut intents,
            )
            .expect("it is of this dialect");
        look(&intents[0])
    }

    /// Encodes a publication of this JSON as a frame, as the shard does.
    pub(crate) fn encode(&self, data: &[u8], out: &mut Vec<u8>) {
        let content = Content {
            event: "news",
            data: Data::Json(data),
            ..Content::default()
        };
        let publication = Publication {
            id: PublicationId {
                origin: ShardId::new(0),
                sequence: 0,
            },
            position: None,
            audience: Audience::Channel {
                namespace: 0,
                name: b"room",
                except: &[],
            },
            content,
            nonce: 1,
        };
        let start = encoder::begin(out);
        let kind = self
            .dialect
            .encode_publication(&publication, &self.options, out);
        let opcode = match kind {
            MessageType::Text => OpCode::Text,
            MessageType::Binary => OpCode::Binary,
        };
        encoder::end(out, start, opcode);
    }
}

/// Returns the texts of an intent, as bytes.
pub(crate) fn text_of(intent: &Intent<'_>) -> Vec<u8> {
    match intent {
        Intent::Heartbeat => Vec::new(),
        Intent::Identify { token, event, .. } => [*token, *event].join("\n").into_bytes(),
        Intent::Join(request) | Intent::Leave(request) => {
            [request.channel, request.command].join("\n").into_bytes()
        }
        Intent::Publish(publish) => {
            let texts = [publish.request.channel, publish.event].join("\n");
            [texts.as_bytes(), b"\n", publish.data.bytes()].concat()
        }
        Intent::Call(call) => {
            let texts = [call.command, call.id, call.channel, call.from];
            let texts = texts.join("\n").into_bytes();
            [&texts[..], b"\n", call.data.unwrap_or(b"nothing")].concat()
        }
        Intent::Reply { payload, .. } => payload.to_vec(),
    }
}

/// Returns the bytes of text of an intent, so that the compiler does not remove the decoding.
pub(crate) fn length_of(intent: &Intent<'_>) -> usize {
    match intent {
        Intent::Heartbeat => 0,
        Intent::Identify { token, event, .. } => token.len() + event.len(),
        Intent::Join(request) | Intent::Leave(request) => request.channel.len(),
        Intent::Publish(publish) => publish.event.len() + publish.data.bytes().len(),
        Intent::Call(call) => call.command.len() + call.data.map_or(0, <[u8]>::len),
        Intent::Reply { payload, .. } => payload.len(),
    }
}

/// Returns JSON of strings, numbers and arrays, about `bytes` bytes long and at least 40.
pub(crate) fn json(bytes: usize) -> String {
    let row = r#"{"text":"caf\u00e9 <b>","n":[1,-2.5e3,true]}"#;
    let rows = (bytes / (row.len() + 1)).max(1);
    if rows == 1 {
        return row.to_owned();
    }
    format!("[{}]", vec![row; rows].join(","))
}

/// Lengths of data with known checksums.
pub(crate) const DATA_BYTES: [usize; 3] = [44, 1_024, 16_384];

/// By dialect and length of data: checksums of the intent's text and of the frame.
const SUMS: [(&str, usize, u32, u32); 15] = [
    ("wsrv", 44, 0xb9cd_a097, 0x6f8d_81e0),
    ("easyws", 44, 0x3a3f_ac32, 0xf21e_5038),
    ("projectforge", 44, 0xe9f6_4f56, 0x78cb_e988),
    ("edk", 44, 0xb9cd_a097, 0xca8d_03f6),
    ("wserver", 44, 0xad6d_2bf2, 0x1f9d_3106),
    ("wsrv", 1_024, 0xc1d0_b9aa, 0x7361_05a8),
    ("easyws", 1_024, 0x9a0c_e7ca, 0x174d_856c),
    ("projectforge", 1_024, 0x57ec_846e, 0x06ab_d78b),
    ("edk", 1_024, 0xc1d0_b9aa, 0x3696_6444),
    ("wserver", 1_024, 0x52c6_8f74, 0x6011_a406),
    ("wsrv", 16_384, 0xe787_764a, 0xcb9e_a1a6),
    ("easyws", 16_384, 0x5db5_b909, 0x2cc8_4810),
    ("projectforge", 16_384, 0x2b96_7217, 0x2762_d066),
    ("edk", 16_384, 0xe787_764a, 0xf9a5_929d),
    ("wserver", 16_384, 0x0088_dc69, 0x278d_6675),
];
