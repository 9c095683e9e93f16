//! What simulated clients say, and what they understand of what they hear.
//!
//! A client is a pair of byte streams. It knows the wire and nothing of the gateway: frames and
//! answers are read by the parsers that all tests share.

use campanile_tests::frame::{self, BINARY, CLOSE, Frame, PING, PONG, TEXT, masked};
use campanile_tests::http::{Response, UPGRADE, post};
use std::collections::VecDeque;

/// Who a client is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum ClientKind {
    /// Pushes and drops over HTTP.
    #[default]
    Pusher,
    Wserver,
    Easyws,
    Projectforge,
    /// Is shown what those of the line above say.
    Tap,
    /// One of those who want to be this user's only session.
    Edk {
        user: &'static str,
        yields: bool,
    },
}

/// What a session's client says, as far as the model cares.
#[derive(Clone, Debug)]
pub(crate) enum SentMessage {
    Register { user: String, event: String },
    Else,
}

/// One request of a pusher.
#[derive(Clone, Debug)]
pub(crate) struct SentRequest {
    /// Where in the stream the request ends.
    pub(crate) end: u64,
    pub(crate) what: Request,
    /// The tick of the shard when the request's last byte was handed over.
    pub(crate) arrived: Option<u32>,
}

#[derive(Clone, Debug)]
pub(crate) enum Request {
    Push { id: usize },
    Drop,
    Upgrade,
}

#[derive(Clone, Debug)]
pub(crate) struct ReceivedResponse {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// The tick of the shard when the answer was heard.
    pub(crate) received: u32,
}

/// A client of either kind: what is only for the other stays empty.
#[derive(Debug, Default)]
pub(crate) struct Client {
    pub(crate) kind: ClientKind,
    /// What it shows where its language has a place for it; one for each client.
    pub(crate) token: String,
    /// Sent, and not yet carried to the gateway.
    pub(crate) outgoing: VecDeque<u8>,
    /// Bytes ever said.
    said: u64,
    /// Where what was said ends, in the order of saying it.
    pub(crate) frames: VecDeque<(u64, SentMessage)>,
    pub(crate) asked: Vec<SentRequest>,
    pub(crate) answered: Vec<ReceivedResponse>,
    incoming: Vec<u8>,
    /// The numbers of the publications heard.
    pub(crate) received: Vec<usize>,
    /// What else a client of `easyws` has heard, commands and all, and nobody has looked at.
    pub(crate) other_messages: VecDeque<String>,
    /// What it was told last about something that cannot be.
    pub(crate) last_denial: Option<String>,
    pub(crate) is_upgraded: bool,
    /// The close frame heard: its code, if it had one, and its reason.
    pub(crate) close: Option<(Option<u16>, String)>,
    pub(crate) sent_close: bool,
    /// Never answers a ping.
    pub(crate) ignores_pings: bool,
    /// Pings heard and not yet answered.
    pub(crate) pings: u32,
}

impl Client {
    pub(crate) fn new(kind: ClientKind, token: String) -> Self {
        let mut client = Self {
            kind,
            token,
            ..Self::default()
        };
        if !client.is_pusher() {
            client.upgrade();
        }
        client
    }

    pub(crate) fn is_pusher(&self) -> bool {
        self.kind == ClientKind::Pusher
    }

    /// Asks to be a session.
    pub(crate) fn upgrade(&mut self) {
        let token = &self.token;
        let (path, credentials) = match self.kind {
            ClientKind::Pusher => panic!("it pushes"),
            ClientKind::Wserver => ("/ws", String::new()),
            ClientKind::Projectforge => (self.room(), String::new()),
            ClientKind::Tap => ("/tap", String::new()),
            ClientKind::Easyws => ("/easyws", format!("Cookie: auth={token}\r\n")),
            ClientKind::Edk { user, yields } => {
                let path = if yields { "/edk-yields" } else { "/edk" };
                let shown = format!("Sec-WebSocket-Protocol: {token}\r\nX-User-Id: {user}\r\n");
                (path, shown)
            }
        };
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}{credentials}\r\n");
        self.ask_for(head.as_bytes(), Request::Upgrade);
    }

    /// Whether everything that was asked over HTTP has been answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.asked.len() == self.answered.len()
    }

    /// Asks to be on a channel, then to be told when that has been looked at.
    pub(crate) fn listen(&mut self, channel: &str, mark: usize) {
        self.send_frame(TEXT, format!("listen: {channel}").as_bytes());
        self.send_frame(TEXT, format!("mark: {mark}").as_bytes());
    }

    /// Has its handler publish.
    pub(crate) fn command_publish(&mut self, id: usize, channel: &str, how: &str, padding: usize) {
        let text = format!("say: {id} {channel} {how} {}", "x".repeat(padding));
        self.send_frame(TEXT, text.as_bytes());
    }

    pub(crate) fn register(&mut self, user: &str, event: &str, cut: usize) {
        let text = format!(r#"{{"token":"{user}","event":"{event}"}}"#);
        let (first, rest) = text.as_bytes().split_at(cut.min(text.len()));
        if rest.is_empty() {
            self.send_frame(TEXT, first);
        } else {
            self.send_frame(TEXT & !FIN, first);
            self.send_frame(PING, b"between two fragments");
            self.send_frame(FIN, rest);
        }
        let said = SentMessage::Register {
            user: user.to_owned(),
            event: event.to_owned(),
        };
        self.frames.push_back((self.said, said));
    }

    /// The path under which it is in one of a few rooms from the start.
    fn room(&self) -> &'static str {
        const ROOMS: [&str; 3] = ["/projectforge?ch=a", "/projectforge?ch=b", "/projectforge"];
        let last = self.token.bytes().last().expect("everybody has one");
        ROOMS[usize::from(last) % ROOMS.len()]
    }

    /// A message of `projectforge`, to nobody in particular.
    pub(crate) fn send_ignored(&mut self) {
        self.send_frame(TEXT, br#"{"channel":"a","cmd":"murmur","param":[1,2,3]}"#);
    }

    /// A message of `edk` that says nothing, and that nobody handles.
    pub(crate) fn send_empty(&mut self) {
        self.send_frame(BINARY, b"");
    }

    pub(crate) fn send_chat(&mut self) {
        self.send_frame(TEXT, b"no register message");
        self.send_frame(PING, b"and a ping");
        self.frames.push_back((self.said, SentMessage::Else));
    }

    pub(crate) fn pong(&mut self) {
        self.pings = 0;
        self.send_frame(PONG, b"");
    }

    pub(crate) fn send_close(&mut self, code: u16) {
        if !self.sent_close {
            self.sent_close = true;
            self.send_frame(CLOSE, &code.to_be_bytes());
        }
    }

    pub(crate) fn push(&mut self, id: usize, user: &str, event: &str, padding: usize) {
        let message = format!("{id} {}", "x".repeat(padding));
        let body = format!(r#"{{"userId":"{user}","event":"{event}","message":"{message}"}}"#);
        self.ask("/push", &body, Request::Push { id });
    }

    pub(crate) fn drop_user(&mut self, user: &str, event: &str) {
        let body = format!(r#"{{"userId":"{user}","event":"{event}"}}"#);
        self.ask("/drop", &body, Request::Drop);
    }

    /// Hears bytes of the gateway.
    pub(crate) fn receive(&mut self, bytes: &[u8], tick: u32) {
        self.incoming.extend_from_slice(bytes);
        while let Some(taken) = self.parse(tick) {
            self.incoming.drain(..taken);
        }
    }

    /// Whether half a frame or half an answer has been heard.
    pub(crate) fn is_within(&self) -> bool {
        !self.incoming.is_empty()
    }

    fn ask(&mut self, path: &str, body: &str, what: Request) {
        self.ask_for(post(path, "", body).as_bytes(), what);
    }

    fn ask_for(&mut self, request: &[u8], what: Request) {
        self.say(request);
        self.asked.push(SentRequest {
            end: self.said,
            what,
            arrived: None,
        });
    }

    fn say(&mut self, bytes: &[u8]) {
        self.outgoing.extend(bytes);
        self.said += bytes.len() as u64;
    }

    fn send_frame(&mut self, first: u8, payload: &[u8]) {
        let len = u8::try_from(payload.len()).expect("clients say little");
        let frame = masked(first, payload, [len, 7, 201, first]);
        self.say(&frame);
    }

    /// Understands the first thing heard; `None` if it is not there to its end.
    fn parse(&mut self, tick: u32) -> Option<usize> {
        if self.is_pusher() || !self.is_upgraded {
            self.parse_response(tick)
        } else {
            self.parse_frame()
        }
    }

    fn parse_response(&mut self, tick: u32) -> Option<usize> {
        let (response, len) = Response::parse(&self.incoming)?;
        self.is_upgraded |= response.status == 101;
        self.answered.push(ReceivedResponse {
            status: response.status,
            body: response.body,
            received: tick,
        });
        Some(len)
    }

    fn parse_frame(&mut self) -> Option<usize> {
        let incoming = std::mem::take(&mut self.incoming);
        let found = frame::parse(&incoming);
        let taken = found.map(|(frame, len)| {
            self.parse_one(&frame);
            len
        });
        self.incoming = incoming;
        taken
    }

    fn parse_one(&mut self, frame: &Frame<'_>) {
        let payload = frame.payload;
        assert!(
            self.close.is_none(),
            "something came behind the close frame"
        );
        match frame.opcode | FIN {
            opcode @ (TEXT | BINARY) => {
                let is_edk = matches!(self.kind, ClientKind::Edk { .. });
                assert_eq!(opcode == BINARY, is_edk, "the type of its language");
                let text = std::str::from_utf8(payload).expect("all that is pushed is text");
                self.parse_text(text);
            }
            PING => self.pings += 1,
            PONG => assert!([&b"between two fragments"[..], b"and a ping"].contains(&payload)),
            CLOSE => self.close = Some(frame.close()),
            other => panic!("opcode {other}"),
        }
    }

    fn parse_text(&mut self, text: &str) {
        let said = match (self.kind, text.strip_prefix("push: ")) {
            (ClientKind::Easyws, None) => return self.other_messages.push_back(text.to_owned()),
            // Who hears what of them is for other tests to see.
            (ClientKind::Projectforge | ClientKind::Tap, _) => return,
            (ClientKind::Easyws, Some(said)) => said,
            (ClientKind::Pusher | ClientKind::Wserver | ClientKind::Edk { .. }, _) => text,
        };
        let (id, padding) = said.split_once(' ').expect("a push begins with its number");
        assert!(padding.bytes().all(|byte| byte == b'x'));
        self.received.push(id.parse().expect("a number"));
    }
}

/// A frame is the last of its message.
const FIN: u8 = 0x80;
