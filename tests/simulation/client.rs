//! Simulated clients: encoders of their messages, decoders of what they receive.
//!
//! A client is a pair of byte streams. It does not use the gateway's code: the parsers of
//! `campanile_tests` decode frames and responses.

use campanile_tests::frame::{self, BINARY, CLOSE, Frame, PING, PONG, TEXT, masked};
use campanile_tests::http::{Response, UPGRADE, post};
use std::collections::VecDeque;

/// The kind of a client.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum ClientKind {
    /// Pushes and drops over HTTP.
    #[default]
    Pusher,
    Wserver,
    Easyws,
    Projectforge,
    /// A tap of the `projectforge` route.
    Tap,
    /// A session of an exclusive user.
    Edk {
        user: &'static str,
        yields: bool,
    },
}

/// A sent message that affects the model.
#[derive(Clone, Debug)]
pub(crate) enum SentMessage {
    Register { user: String, event: String },
    Else,
}

/// A request of a pusher.
#[derive(Clone, Debug)]
pub(crate) struct SentRequest {
    /// The offset of the request's end in the stream.
    pub(crate) end: u64,
    pub(crate) what: Request,
    /// The shard's tick when it received the request's last byte; `None` before.
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
    /// The shard's tick when the response was received.
    pub(crate) received: u32,
}

/// A client of any kind. Fields of other kinds stay empty.
#[derive(Debug, Default)]
pub(crate) struct Client {
    pub(crate) kind: ClientKind,
    /// The token of the upgrade request, unique per client.
    pub(crate) token: String,
    /// Sent bytes that the gateway has not received yet.
    pub(crate) outgoing: VecDeque<u8>,
    /// Number of bytes ever sent.
    sent_bytes: u64,
    /// Sent messages in order, with the offsets of their ends.
    pub(crate) frames: VecDeque<(u64, SentMessage)>,
    pub(crate) requests: Vec<SentRequest>,
    pub(crate) responses: Vec<ReceivedResponse>,
    incoming: Vec<u8>,
    /// Number of bytes received, without incomplete frames.
    parsed_bytes: u64,
    /// The ids of received publications.
    pub(crate) received: Vec<usize>,
    /// By received publication: the number of bytes received before its frame.
    pub(crate) received_after: Vec<u64>,
    /// Other messages received by a client of `easyws`, not yet processed.
    pub(crate) other_messages: VecDeque<String>,
    /// The text of the last denial.
    pub(crate) last_denial: Option<String>,
    pub(crate) is_upgraded: bool,
    /// The received close frame: its code, if any, and its reason.
    pub(crate) close: Option<(Option<u16>, String)>,
    pub(crate) sent_close: bool,
    /// True if the client never sends pongs.
    pub(crate) ignores_pings: bool,
    /// Number of pings without a pong.
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

    /// Sends the upgrade request.
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
        self.send_request(head.as_bytes(), Request::Upgrade);
    }

    /// Returns `true` if every HTTP request has a response.
    pub(crate) fn is_answered(&self) -> bool {
        self.requests.len() == self.responses.len()
    }

    /// Sends a join, then a mark that shows when the join has been handled.
    pub(crate) fn listen(&mut self, channel: &str, mark: usize) {
        self.send_frame(TEXT, format!("listen: {channel}").as_bytes());
        self.send_frame(TEXT, format!("mark: {mark}").as_bytes());
    }

    /// Sends the command whose handler publishes.
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
        let sent_bytes = SentMessage::Register {
            user: user.to_owned(),
            event: event.to_owned(),
        };
        self.frames.push_back((self.sent_bytes, sent_bytes));
    }

    /// Returns the path of the upgrade, which joins one of a few channels.
    fn room(&self) -> &'static str {
        const ROOMS: [&str; 3] = ["/projectforge?ch=a", "/projectforge?ch=b", "/projectforge"];
        let last = self.token.bytes().last().expect("everybody has one");
        ROOMS[usize::from(last) % ROOMS.len()]
    }

    /// Sends a message of `projectforge` without a handler.
    pub(crate) fn send_ignored(&mut self) {
        self.send_frame(TEXT, br#"{"channel":"a","cmd":"murmur","param":[1,2,3]}"#);
    }

    /// Sends an empty message of `edk`, which has no handler.
    pub(crate) fn send_empty(&mut self) {
        self.send_frame(BINARY, b"");
    }

    pub(crate) fn send_chat(&mut self) {
        self.send_frame(TEXT, b"no register message");
        self.send_frame(PING, b"and a ping");
        self.frames.push_back((self.sent_bytes, SentMessage::Else));
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
        self.request("/push", &body, Request::Push { id });
    }

    pub(crate) fn drop_user(&mut self, user: &str, event: &str) {
        let body = format!(r#"{{"userId":"{user}","event":"{event}"}}"#);
        self.request("/drop", &body, Request::Drop);
    }

    /// Receives bytes of the gateway and parses them.
    pub(crate) fn receive(&mut self, bytes: &[u8], tick: u32) {
        self.incoming.extend_from_slice(bytes);
        while let Some(taken) = self.parse(tick) {
            self.incoming.drain(..taken);
            self.parsed_bytes += taken as u64;
        }
    }

    /// Returns the number of bytes received.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.parsed_bytes + self.incoming.len() as u64
    }

    /// Returns `true` if an incomplete frame or response has been received.
    pub(crate) fn is_within(&self) -> bool {
        !self.incoming.is_empty()
    }

    fn request(&mut self, path: &str, body: &str, what: Request) {
        self.send_request(post(path, "", body).as_bytes(), what);
    }

    fn send_request(&mut self, request: &[u8], what: Request) {
        self.send(request);
        self.requests.push(SentRequest {
            end: self.sent_bytes,
            what,
            arrived: None,
        });
    }

    fn send(&mut self, bytes: &[u8]) {
        self.outgoing.extend(bytes);
        self.sent_bytes += bytes.len() as u64;
    }

    fn send_frame(&mut self, first: u8, payload: &[u8]) {
        let len = u8::try_from(payload.len()).expect("clients send short messages");
        let frame = masked(first, payload, [len, 7, 201, first]);
        self.send(&frame);
    }

    /// Parses the first frame or response and returns its length; `None` if it is incomplete.
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
        self.responses.push(ReceivedResponse {
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
        let sent_bytes = match (self.kind, text.strip_prefix("push: ")) {
            (ClientKind::Easyws, None) => return self.other_messages.push_back(text.to_owned()),
            // Other tests check their messages.
            (ClientKind::Projectforge | ClientKind::Tap, _) => return,
            (ClientKind::Easyws, Some(sent_bytes)) => sent_bytes,
            (ClientKind::Pusher | ClientKind::Wserver | ClientKind::Edk { .. }, _) => text,
        };
        let (id, padding) = sent_bytes
            .split_once(' ')
            .expect("a push begins with its number");
        assert!(padding.bytes().all(|byte| byte == b'x'));
        self.received.push(id.parse().expect("a number"));
        self.received_after.push(self.parsed_bytes);
    }
}

/// The FIN bit of a frame.
const FIN: u8 = 0x80;
