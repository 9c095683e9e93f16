//! A message of each language, as a client says it and as a publication becomes it.

use crate::checksum;
use campanile::codec::json::Scratch;
use campanile::codec::protobuf;
use campanile::codec::protobuf::Envelope;
use campanile::content::{Content, Data};
use campanile::dialect::{Dialect, Intent, Intents, Options, Schema, named};
use campanile::id::ShardId;
use campanile::publication::{Audience, Publication, PublicationId};
use campanile::ws::{MessageType, OpCode, encoder};

/// A language with the settings of a route, and one message of its clients.
pub(crate) struct Spoken {
    pub(crate) name: &'static str,
    dialect: &'static dyn Dialect,
    options: Options,
    kind: MessageType,
    data_bytes: usize,
    message: Vec<u8>,
    payload: Vec<u8>,
    scratch: Scratch,
}

/// Every language that has several words, with a message that carries so many bytes of data.
pub(crate) fn all(data_bytes: usize) -> Vec<Spoken> {
    let names = ["wsrv", "easyws", "projectforge", "edk", "wserver"];
    names.map(|name| Spoken::new(name, data_bytes)).into()
}

impl Spoken {
    /// A message with so many bytes of data: some JSON, or for `wserver`, which sends none, an
    /// event with so long a name.
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

    /// How many bytes the message has.
    pub(crate) fn bytes(&self) -> usize {
        self.message.len()
    }

    /// Holds what the message says, and what frame its data are published in, against what they
    /// always were.
    pub(crate) fn check(&mut self) {
        let this = (self.name, self.data_bytes);
        let sums = SUMS
            .iter()
            .find(|&&(name, bytes, ..)| (name, bytes) == this);
        let &(name, _, said, framed) = sums.expect("these are of the lengths below");
        checksum::check(name, &self.decode(text_of), said);
        let mut frame = Vec::new();
        self.encode(json(self.data_bytes).as_bytes(), &mut frame);
        checksum::check(name, &frame, framed);
    }

    /// Decodes a copy of the message, and shows its one intent to `look`.
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
            .expect("it is of this language");
        look(&intents[0])
    }

    /// Appends a publication of this JSON as a frame, as the shard encodes it.
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

/// What an intent says, in bytes.
pub(crate) fn text_of(intent: &Intent<'_>) -> Vec<u8> {
    match intent {
        Intent::Heartbeat => Vec::new(),
        Intent::Identify { token, event } => [*token, *event].join("\n").into_bytes(),
        Intent::Join {
            channel, command, ..
        } => [*channel, *command].join("\n").into_bytes(),
        Intent::Call(call) => {
            let words = [call.command, call.id, call.channel, call.from];
            let words = words.join("\n").into_bytes();
            [&words[..], b"\n", call.data.unwrap_or(b"nothing")].concat()
        }
        Intent::Reply { payload, .. } => payload.to_vec(),
    }
}

/// How many bytes of text an intent has: what keeps the compiler from leaving it out.
pub(crate) fn length_of(intent: &Intent<'_>) -> usize {
    match intent {
        Intent::Heartbeat => 0,
        Intent::Identify { token, event } => token.len() + event.len(),
        Intent::Join { channel, .. } => channel.len(),
        Intent::Call(call) => call.command.len() + call.data.map_or(0, <[u8]>::len),
        Intent::Reply { payload, .. } => payload.len(),
    }
}

/// An object of strings, numbers and an array, about so many bytes long and at least 40.
pub(crate) fn json(bytes: usize) -> String {
    let row = r#"{"text":"caf\u00e9 <b>","n":[1,-2.5e3,true]}"#;
    let rows = (bytes / (row.len() + 1)).max(1);
    if rows == 1 {
        return row.to_owned();
    }
    format!("[{}]", vec![row; rows].join(","))
}

/// The lengths of data for which it is known what comes out.
pub(crate) const DATA_BYTES: [usize; 3] = [44, 1_024, 16_384];

/// By language and length of data: the checksums of the intent's text and of the frame.
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
