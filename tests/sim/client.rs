//! What simulated clients say, and what they understand of what they hear.
//!
//! A client is a pair of byte streams. It knows the wire and nothing of the gateway: frames and
//! answers are read here by a parser of the simulation's own.

use fastwebsockets::unmask;
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
        let head = format!("GET {path} HTTP/1.1\r\n{UPGRADE}{credentials}\r\n");
        self.ask_for(head.as_bytes(), Request::Upgrade);
    }

    /// Whether everything that was asked over HTTP has been answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.asked.len() == self.answered.len()
    }

    /// Asks to be on a channel, then to be told when that has been looked at.
    pub(crate) fn listen(&mut self, channel: &str, mark: usize) {
        self.say_frame(TEXT | FIN, format!("listen: {channel}").as_bytes());
        self.say_frame(TEXT | FIN, format!("mark: {mark}").as_bytes());
    }

    /// Has its handler publish.
    pub(crate) fn have_said(&mut self, id: usize, channel: &str, how: &str, padding: usize) {
        let text = format!("say: {id} {channel} {how} {}", "x".repeat(padding));
        self.say_frame(TEXT | FIN, text.as_bytes());
    }

    pub(crate) fn register(&mut self, user: &str, event: &str, cut: usize) {
        let text = format!(r#"{{"token":"{user}","event":"{event}"}}"#);
        let (first, rest) = text.as_bytes().split_at(cut.min(text.len()));
        if rest.is_empty() {
            self.say_frame(TEXT | FIN, first);
        } else {
            self.say_frame(TEXT, first);
            self.say_frame(PING | FIN, b"between two fragments");
            self.say_frame(CONTINUATION | FIN, rest);
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
        self.say_frame(
            TEXT | FIN,
            br#"{"channel":"a","cmd":"murmur","param":[1,2,3]}"#,
        );
    }

    /// A message of `edk` that says nothing, and that nobody handles.
    pub(crate) fn say_nothing(&mut self) {
        self.say_frame(BINARY | FIN, b"");
    }

    pub(crate) fn chatter(&mut self) {
        self.say_frame(TEXT | FIN, b"no register message");
        self.say_frame(PING | FIN, b"and a ping");
        self.frames.push_back((self.said, Said::Else));
    }

    pub(crate) fn pong(&mut self) {
        self.pings = 0;
        self.say_frame(PONG | FIN, b"");
    }

    pub(crate) fn say_close(&mut self, code: u16) {
        if !self.said_close {
            self.said_close = true;
            self.say_frame(CLOSE | FIN, &code.to_be_bytes());
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
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.ask_for(request.as_bytes(), what);
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
        assert!(len < 126);
        let mask = [len, 7, 201, first];
        self.say(&[first, 0x80 | len]);
        self.say(&mask);
        let mut masked = payload.to_vec();
        unmask(&mut masked, mask);
        self.say(&masked);
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
        let head_end = self.incoming.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&self.incoming[..head_end]).expect("heads are ASCII");
        let status = head.strip_prefix("HTTP/1.1 ").expect("an answer");
        let status: u16 = status[..3].parse().expect("a status");
        if status == 101 {
            self.is_upgraded = true;
            self.answered.push(Answered {
                status,
                body: String::new(),
                heard: tick,
            });
            return Some(head_end);
        }
        let len = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then_some(value)
        });
        let len: usize = len.expect("a length").parse().expect("a number");
        let body = self.incoming.get(head_end..head_end + len)?;
        self.answered.push(Answered {
            status,
            body: String::from_utf8(body.to_vec()).expect("bodies are text"),
            heard: tick,
        });
        Some(head_end + len)
    }

    fn understand_frame(&mut self) -> Option<usize> {
        let (&first, &len) = (self.incoming.first()?, self.incoming.get(1)?);
        let (start, len) = match len {
            0..126 => (2, usize::from(len)),
            126 => {
                let long = self.incoming.get(2..4)?;
                (4, usize::from(u16::from_be_bytes([long[0], long[1]])))
            }
            127.. => panic!("a frame that is masked, or longer than anybody pushed"),
        };
        let payload = self.incoming.get(start..start + len)?;
        assert!(
            self.close.is_none(),
            "something came behind the close frame"
        );
        match first & !FIN {
            TEXT | BINARY => {
                let is_edk = matches!(self.tongue, Tongue::Edk { .. });
                assert_eq!(first & !FIN == BINARY, is_edk, "the type of its language");
                let text = std::str::from_utf8(payload).expect("all that is pushed is text");
                let text = text.to_owned();
                self.understand_text(&text);
            }
            PING => self.pings += 1,
            PONG => assert!([&b"between two fragments"[..], b"and a ping"].contains(&payload)),
            CLOSE => {
                let code = payload.get(..2).map(|b| u16::from_be_bytes([b[0], b[1]]));
                let reason = payload.get(2..).unwrap_or_default();
                let reason = String::from_utf8(reason.to_vec()).expect("reasons are text");
                self.close = Some((code, reason));
            }
            other => panic!("opcode {other}"),
        }
        assert!(first & FIN > 0, "a server's messages are whole");
        Some(start + len)
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

const UPGRADE: &str = "Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
