//! The client side of the five dialects: encoding of commands, decoding of messages.
//!
//! ```text
//!   command 7: join t3                   wsrv          {"cmd":"join","seqno":"7","data":"t3"}
//!                                        easyws        listen: t3, then mark: 7
//!                                        edk           ws.Message { type "join", payload, id }
//!                                        projectforge  {"channel":"p3","cmd":"join","param":"7"}
//!                                        wserver       no command: the embedder joins
//!   reply to each command                "7 1": the command's id, and the result
//! ```

use crate::model::{PendingPublication, Target};
use crate::ws_client::FrameType;
use campanile::handler::Context;
use prost::Message as _;
use serde_json::{Value, json};

/// A dialect, as its clients encode it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DialectCodec {
    Wserver,
    Wsrv,
    Easyws,
    Edk,
    Projectforge,
}

/// A decoded message of the gateway.
#[derive(Debug)]
pub(crate) enum ServerMessage {
    Push(PendingPublication),
    /// The last publication through one of the shards: nothing older follows from that shard.
    End,
    /// A session joined or left a channel.
    Presence {
        target: Target,
        who: String,
        connected: bool,
    },
    Answer {
        id: u64,
        number: u64,
    },
}

/// A command for the gateway's handlers.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) id: u64,
    pub(crate) channel: String,
    /// The message to publish.
    pub(crate) body: String,
}

/// A declaration of the message of `edk`'s built-in schema, independent of the gateway's.
#[derive(Clone, PartialEq, prost::Message)]
struct Envelope {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(bytes = "vec", tag = "2")]
    payload: Vec<u8>,
    #[prost(string, tag = "3")]
    id: String,
}

impl DialectCodec {
    pub(crate) const ALL: [Self; 5] = [
        Self::Wserver,
        Self::Wsrv,
        Self::Easyws,
        Self::Edk,
        Self::Projectforge,
    ];

    /// Returns the first letter of the targets in the dialect's namespace.
    pub(crate) fn letter(self) -> &'static str {
        match self {
            Self::Wserver | Self::Wsrv | Self::Easyws => "t",
            Self::Edk => "e",
            Self::Projectforge => "p",
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Wserver => "/wserver",
            Self::Wsrv => "/wsrv",
            Self::Easyws => "/easyws",
            Self::Edk => "/edk",
            Self::Projectforge => "/projectforge",
        }
    }

    /// Encodes a command as frames.
    pub(crate) fn encode(self, name: &str, command: &Command) -> Vec<(FrameType, Vec<u8>)> {
        let Command { id, channel, body } = command;
        match self {
            Self::Wserver => panic!("wserver has no commands"),
            Self::Wsrv => {
                let data = json!({ "channel": channel, "body": body });
                let request = json!({ "cmd": name, "seqno": id.to_string(), "data": data });
                vec![(FrameType::Text, request.to_string().into_bytes())]
            }
            Self::Easyws if name == "join" => {
                let listen = format!("listen: {channel}");
                let mark = format!("mark: {id}  ");
                [listen, mark]
                    .map(|text| (FrameType::Text, text.into_bytes()))
                    .into()
            }
            Self::Easyws => {
                let text = format!("{name}: {id} {channel} {body}");
                vec![(FrameType::Text, text.into_bytes())]
            }
            Self::Edk => {
                let envelope = Envelope {
                    kind: name.to_owned(),
                    payload: format!("{channel} {body}").into_bytes(),
                    id: id.to_string(),
                };
                vec![(FrameType::Binary, envelope.encode_to_vec())]
            }
            Self::Projectforge => {
                let param = json!({ "id": id, "body": body });
                let message = json!({ "channel": channel, "cmd": name, "param": param });
                vec![(FrameType::Text, message.to_string().into_bytes())]
            }
        }
    }

    /// Decodes the command of a handler's context.
    pub(crate) fn decode_command(self, cx: &Context) -> Command {
        let text = cx.text().expect("clients send text");
        let mut words = text.splitn(3, ' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        let read = |key: &str| {
            let value: Value = cx.bind().expect("JSON");
            value[key].clone()
        };
        let string = |key: &str| read(key).as_str().expect("text").to_owned();
        match self {
            Self::Wserver => panic!("it has no handlers"),
            Self::Wsrv => Command {
                id: cx.request_id().parse().expect("a number"),
                channel: string("channel"),
                body: string("body"),
            },
            Self::Easyws => Command {
                id: word().parse().expect("a number"),
                channel: word(),
                body: word(),
            },
            Self::Edk => Command {
                id: cx.request_id().parse().expect("a number"),
                channel: word(),
                body: [word(), word()].join(" "),
            },
            Self::Projectforge => Command {
                id: read("id").as_u64().expect("a number"),
                channel: cx.channel().to_owned(),
                body: string("body"),
            },
        }
    }

    /// Decodes a message of the gateway.
    pub(crate) fn decode(self, is_text: bool, payload: &[u8]) -> ServerMessage {
        // wsrv pushes in binary frames by default, and responds in the type of the request.
        assert!(
            self == Self::Wsrv || is_text != (self == Self::Edk),
            "the frame type of the dialect"
        );
        let text = || str::from_utf8(payload).expect("text");
        match self {
            Self::Wserver if text().starts_with("end ") => decode_reply("end", text()),
            Self::Wserver => decode_reply("m", text()),
            Self::Wsrv => {
                let message: Value = serde_json::from_slice(payload).expect("JSON");
                assert_eq!(message["status"], 0, "{message}");
                let word = |key: &str| message[key].as_str().expect("text");
                decode_reply(word("cmd"), word("data"))
            }
            Self::Easyws => {
                let (command, content) = text().split_once(": ").expect("a command");
                decode_reply(command, content)
            }
            Self::Edk => {
                let envelope = Envelope::decode(payload).expect("an envelope");
                let body = str::from_utf8(&envelope.payload).expect("text");
                decode_reply(&envelope.kind, body)
            }
            Self::Projectforge => {
                let message: Value = serde_json::from_slice(payload).expect("JSON");
                let word = |key: &str| message[key].as_str().expect("text");
                if message["cmd"] == "online-update" {
                    let who = message["param"]["userID"].as_str().expect("text");
                    assert_eq!(word("from"), who);
                    return ServerMessage::Presence {
                        target: Target::named(word("channel")),
                        who: who.to_owned(),
                        connected: message["param"]["connected"].as_bool().expect("a bool"),
                    };
                }
                let received = decode_reply(word("cmd"), word("param"));
                if let ServerMessage::Push(pushed) = &received {
                    assert_eq!(word("channel"), pushed.target.name());
                }
                received
            }
        }
    }
}

fn decode_reply(command: &str, body: &str) -> ServerMessage {
    match command {
        "m" => ServerMessage::Push(PendingPublication::parse(body)),
        "end" => ServerMessage::End,
        "join" | "leave" | "say" | "mark" => {
            let (id, number) = body.split_once(' ').expect("two numbers");
            ServerMessage::Answer {
                id: id.parse().expect("a number"),
                number: number.parse().expect("a number"),
            }
        }
        _ => panic!("{command}: {body}"),
    }
}
