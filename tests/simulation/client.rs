//! What simulated clients say, and what they understand of what they hear.
//!
//! A client is a pair of byte streams. It knows the wire and nothing of the gateway: frames and
//! answers are read by the parsers that all tests share.

use campanile_tests::frame::{self, BINARY, CLOSE, Frame, PING, PONG, TEXT, masked};
use campanile_tests::http::{Response, UPGRADE, post};
use std::collections::VecDeque;

/// Who a client is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Tongue {
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
pub(crate) enum Said {
    Register { user: String, event: String },
    Else,
}

/// One request of a pusher.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
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
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// The tick of the shard when the answer was heard.
    pub(crate) heard: u32,
}

/// A client of either kind: what is only for the other stays empty.
#[derive(Debug, Default)]
pub(crate) struct Client {
    pub(crate) tongue: Tongue,
    /// What it shows where its language has a place for it; one for each client.
    pub(crate) token: String,
    /// Said, and not yet carried to the gateway.
    pub(crate) outgoing: VecDeque<u8>,
    /// Bytes ever said.
    said: u64,
    /// Where what was said ends, in the order of saying it.
    pub(crate) frames: VecDeque<(u64, Said)>,
    pub(crate) asked: Vec<Asked>,
    pub(crate) answered: Vec<Answered>,
    incoming: Vec<u8>,
    /// The numbers of the publications heard.
    pub(crate) heard: Vec<usize>,
    /// What else a client of `easyws` has heard, commands and all, and nobody has looked at.
    pub(crate) told: VecDeque<String>,
    /// What it was told last about something that cannot be.
    pub(crate) complaint: Option<String>,
    pub(crate) is_upgraded: bool,
    /// The close frame heard: its code, if it had one, and its reason.
    pub(crate) close: Option<(Option<u16>, String)>,
    pub(crate) said_close: bool,
    /// Never answers a ping.
    pub(crate) is_mute: bool,
    /// Pings heard and not yet answered.
    pub(crate) pings: u32,
}

impl Client {
    pub(crate) fn new(tongue: Tongue, token: String) -> Self {
        let mut client = Self {
            tongue,
            token,
            ..Self::default()
        };
        if !client.is_pusher() {
            client.upgrade();
        }
        client
    }

    pub(crate) fn is_pusher(&self) -> bool {
        self.tongue == Tongue::Pusher
    }

    /// Asks to be a session.
    pub(crate) fn upgrade(&mut self) {
        let token = &self.token;
        let (path, credentials) = match self.tongue {
            Tongue::Pusher => panic!("it pushes"),
            Tongue::Wserver => ("/ws", String::new()),
            Tongue::Projectforge => (self.room(), String::new()),
            Tongue::Tap => ("/tap", String::new()),
            Tongue::Easyws => ("/easyws", format!("Cookie: auth={token}\r\n")),
            Tongue::Edk { user, yields } => {
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
        self.say_frame(TEXT, format!("listen: {channel}").as_bytes());
        self.say_frame(TEXT, format!("mark: {mark}").as_bytes());
    }

    /// Has its handler publish.
    pub(crate) fn have_said(&mut self, id: usize, channel: &str, how: &str, padding: usize) {
        let text = format!("say: {id} {channel} {how} {}", "x".repeat(padding));
        self.say_frame(TEXT, text.as_bytes());
    }

    pub(crate) fn register(&mut self, user: &str, event: &str, cut: usize) {
        let text = format!(r#"{{"token":"{user}","event":"{event}"}}"#);
        let (first, rest) = text.as_bytes().split_at(cut.min(text.len()));
        if rest.is_empty() {
            self.say_frame(TEXT, first);
        } else {
            self.say_frame(TEXT & !FIN, first);
            self.say_frame(PING, b"between two fragments");
            self.say_frame(FIN, rest);
        }
        let said = Said::Register {
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
    pub(crate) fn murmur(&mut self) {
        self.say_frame(TEXT, br#"{"channel":"a","cmd":"murmur","param":[1,2,3]}"#);
    }

    /// A message of `edk` that says nothing, and that nobody handles.
    pub(crate) fn say_nothing(&mut self) {
        self.say_frame(BINARY, b"");
    }

    pub(crate) fn chatter(&mut self) {
        self.say_frame(TEXT, b"no register message");
        self.say_frame(PING, b"and a ping");
        self.frames.push_back((self.said, Said::Else));
    }

    pub(crate) fn pong(&mut self) {
        self.pings = 0;
        self.say_frame(PONG, b"");
    }

    pub(crate) fn say_close(&mut self, code: u16) {
        if !self.said_close {
            self.said_close = true;
            self.say_frame(CLOSE, &code.to_be_bytes());
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
    pub(crate) fn hear(&mut self, bytes: &[u8], tick: u32) {
        self.incoming.extend_from_slice(bytes);
        while let Some(taken) = self.understand(tick) {
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
        self.asked.push(Asked {
            end: self.said,
            what,
            arrived: None,
        });
    }

    fn say(&mut self, bytes: &[u8]) {
        self.outgoing.extend(bytes);
        self.said += bytes.len() as u64;
    }

    fn say_frame(&mut self, first: u8, payload: &[u8]) {
        let len = u8::try_from(payload.len()).expect("clients say little");
        let frame = masked(first, payload, [len, 7, 201, first]);
        self.say(&frame);
    }

    /// Understands the first thing heard; `None` if it is not there to its end.
    fn understand(&mut self, tick: u32) -> Option<usize> {
        if self.is_pusher() || !self.is_upgraded {
            self.understand_answer(tick)
        } else {
            self.understand_frame()
        }
    }

    fn understand_answer(&mut self, tick: u32) -> Option<usize> {
        let (response, len) = Response::parse(&self.incoming)?;
        self.is_upgraded |= response.status == 101;
        self.answered.push(Answered {
            status: response.status,
            body: response.body,
            heard: tick,
        });
        Some(len)
    }

    fn understand_frame(&mut self) -> Option<usize> {
        let incoming = std::mem::take(&mut self.incoming);
        let found = frame::parse(&incoming);
        let taken = found.map(|(frame, len)| {
            self.understand_one(&frame);
            len
        });
        self.incoming = incoming;
        taken
    }

    fn understand_one(&mut self, frame: &Frame<'_>) {
        let payload = frame.payload;
        assert!(
            self.close.is_none(),
            "something came behind the close frame"
        );
        match frame.opcode | FIN {
            opcode @ (TEXT | BINARY) => {
                let is_edk = matches!(self.tongue, Tongue::Edk { .. });
                assert_eq!(opcode == BINARY, is_edk, "the type of its language");
                let text = std::str::from_utf8(payload).expect("all that is pushed is text");
                self.understand_text(text);
            }
            PING => self.pings += 1,
            PONG => assert!([&b"between two fragments"[..], b"and a ping"].contains(&payload)),
            CLOSE => self.close = Some(frame.close()),
            other => panic!("opcode {other}"),
        }
    }

    fn understand_text(&mut self, text: &str) {
        let said = match (self.tongue, text.strip_prefix("push: ")) {
            (Tongue::Easyws, None) => return self.told.push_back(text.to_owned()),
            // Who hears what of them is for other tests to see.
            (Tongue::Projectforge | Tongue::Tap, _) => return,
            (Tongue::Easyws, Some(said)) => said,
            (Tongue::Pusher | Tongue::Wserver | Tongue::Edk { .. }, _) => text,
        };
        let (id, padding) = said.split_once(' ').expect("a push begins with its number");
        assert!(padding.bytes().all(|byte| byte == b'x'));
        self.heard.push(id.parse().expect("a number"));
    }
}

/// A frame is the last of its message.
const FIN: u8 = 0x80;
