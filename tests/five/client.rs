//! One session of any of the languages, spoken to over a plain socket.

use crate::model::{self, Ledger, Stay};
use campanile::config::DialectName;
use campanile::dialect::protobuf::{self, Envelope};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A session and what it has heard and not looked at.
pub(crate) struct Client {
    stream: TcpStream,
    heard: Vec<u8>,
    dialect: DialectName,
    language: usize,
    index: usize,
    channel: usize,
}

/// What a message means to the session.
enum Heard {
    /// A publication on its channel: publisher, number.
    Word(usize, u64),
    /// What it asked for has been done.
    Done,
    /// Nothing that it counts, such as who comes and goes.
    Other,
}

impl Client {
    /// Connects; those that stay to the end are on their channel when this returns.
    pub(crate) async fn connect(
        address: SocketAddr,
        dialect: DialectName,
        path: &str,
        index: usize,
        channels: usize,
    ) -> Self {
        let stream = TcpStream::connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        let mut client = Self {
            stream,
            heard: Vec::new(),
            dialect,
            language: crate::LANGUAGES
                .iter()
                .position(|(each, _)| *each == dialect)
                .expect("one of them"),
            index,
            channel: index % channels,
        };
        let channel = model::channel_name(client.channel);
        let (target, extra) = match dialect {
            DialectName::Edk => (
                format!("{path}?channel={channel}"),
                format!("x-user-id: user-{index}\r\nSec-WebSocket-Protocol: token\r\n"),
            ),
            DialectName::Easyws => (path.to_owned(), "Cookie: auth=x\r\n".to_owned()),
            DialectName::Projectforge => (format!("{path}?ch=own-{index}"), String::new()),
            DialectName::Wsrv | DialectName::Wserver | DialectName::Echo => {
                (path.to_owned(), String::new())
            }
        };
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {extra}\r\n"
        );
        client.write(head.as_bytes()).await;
        client.read_head().await;
        match dialect {
            DialectName::Edk => {
                let mut sync = Vec::new();
                protobuf::put_envelope(&envelope("sync"), &mut sync);
                client.say(0x82, &sync).await;
                client.wait_until_done().await;
            }
            DialectName::Easyws => {
                client
                    .say(0x81, format!("listen: {channel}").as_bytes())
                    .await;
                client.say(0x81, b"sync: x").await;
                client.wait_until_done().await;
            }
            DialectName::Wserver => {
                let register = format!(r#"{{"token":"{channel}","event":"n"}}"#);
                client.say(0x81, register.as_bytes()).await;
                // Never answered, but read before what comes behind it.
                client.say(0x89, b"sync").await;
                client.wait_until_done().await;
            }
            DialectName::Wsrv | DialectName::Projectforge | DialectName::Echo => {}
        }
        client
    }

    /// Lives its life, and tells what it was.
    pub(crate) async fn live(mut self, ledger: Arc<Ledger>, stays: usize) -> Vec<Stay> {
        let comes_and_goes = matches!(self.dialect, DialectName::Wsrv | DialectName::Projectforge);
        if !comes_and_goes {
            let mut stay = self.begin(&ledger);
            stay.begun_at_join.fill(0); // it was there before anything began
            self.hear_to_the_end(&mut stay).await;
            return vec![stay];
        }
        let mut all = Vec::new();
        for _ in 0..stays {
            let mut heard = Vec::new();
            self.ask("join", &mut heard).await;
            let mut stay = self.begin(&ledger);
            stay.note_all(&heard);
            if all.len() + 1 == stays {
                self.hear_to_the_end(&mut stay).await;
            } else {
                self.hear_some(&ledger, &mut stay).await;
                stay.applied_at_leave = ledger.applied_on(self.language, self.channel);
                let mut heard = Vec::new();
                self.ask("leave", &mut heard).await;
                stay.note_all(&heard);
            }
            all.push(stay);
        }
        all
    }

    fn begin(&self, ledger: &Ledger) -> Stay {
        let begun = ledger.begun_on(self.language, self.channel);
        Stay {
            who: format!("{} {}", self.dialect.as_str(), self.index),
            language: self.language,
            channel: self.channel,
            applied_at_leave: vec![0; begun.len()],
            heard: vec![Vec::new(); begun.len()],
            begun_at_join: begun,
        }
    }

    /// Listens until a few more messages have been heard, as long as more are sure to come.
    async fn hear_some(&mut self, ledger: &Ledger, stay: &mut Stay) {
        for _ in 0..5 + self.index % 7 {
            let begun = ledger.begun_on(self.language, self.channel);
            if begun.iter().all(|&begun| begun == crate::PUBLICATIONS) {
                return;
            }
            if let Heard::Word(publisher, number) = self.next().await {
                stay.note(publisher, number);
            }
        }
    }

    /// Listens until the last number of every publisher has been heard.
    async fn hear_to_the_end(&mut self, stay: &mut Stay) {
        stay.applied_at_leave.fill(crate::PUBLICATIONS);
        while stay.is_owed_more(crate::PUBLICATIONS) {
            if let Heard::Word(publisher, number) = self.next().await {
                stay.note(publisher, number);
            }
        }
        // A pong is the next thing that comes, but for what nobody should have said.
        self.say(0x89, b"end").await;
        loop {
            match self.next().await {
                Heard::Word(publisher, number) => stay.note(publisher, number),
                Heard::Done => return,
                Heard::Other => {}
            }
        }
    }

    /// Has a handler do something with its channel, and waits until it has.
    async fn ask(&mut self, command: &str, heard: &mut Vec<(usize, u64)>) {
        let channel = model::channel_name(self.channel);
        let request = match self.dialect {
            DialectName::Wsrv => {
                format!(r#"{{"cmd":"{command}","seqno":"s","data":"{channel}"}}"#)
            }
            DialectName::Projectforge => format!(r#"{{"cmd":"{command}","param":"{channel}"}}"#),
            DialectName::Edk | DialectName::Easyws | DialectName::Wserver | DialectName::Echo => {
                panic!("only those that come and go ask")
            }
        };
        self.say(0x81, request.as_bytes()).await;
        loop {
            match self.next().await {
                Heard::Word(publisher, number) => heard.push((publisher, number)),
                Heard::Done => return,
                Heard::Other => {}
            }
        }
    }

    async fn wait_until_done(&mut self) {
        while !matches!(self.next().await, Heard::Done) {}
    }

    /// The next message, read as the session's language has it.
    async fn next(&mut self) -> Heard {
        let (first_octet, payload) = self.next_frame().await;
        let why = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
        assert_ne!(
            first_octet,
            0x88,
            "{} {} was closed: {why}",
            self.dialect.as_str(),
            self.index
        );
        if first_octet == 0x8a {
            return Heard::Done;
        }
        let mut body = payload;
        if self.dialect == DialectName::Edk {
            let envelope = protobuf::read_envelope(&body).expect("a ws.Message");
            if envelope.kind == "sync" {
                return Heard::Done;
            }
            body = envelope.payload.to_vec();
        }
        if let Some((publisher, channel, number)) = model::find_word(&body) {
            assert_eq!(channel, self.channel, "only what it is on is heard");
            return Heard::Word(publisher, number);
        }
        let text = String::from_utf8_lossy(&body);
        let is_done = match self.dialect {
            DialectName::Wsrv => text.contains(r#""seqno":"s""#),
            DialectName::Projectforge => text.contains(r#""cmd": "done""#),
            DialectName::Easyws => text == "sync: done",
            DialectName::Edk | DialectName::Wserver | DialectName::Echo => false,
        };
        if is_done { Heard::Done } else { Heard::Other }
    }

    /// The next frame: its first octet and its payload. Pings are answered.
    async fn next_frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let Some((head, len)) = frame_head(&self.heard)
                && self.heard.len() >= head + len
            {
                let frame: Vec<u8> = self.heard.drain(..head + len).collect();
                let payload = frame[head..].to_vec();
                if frame[0] == 0x89 {
                    self.say(0x8a, &payload).await;
                    continue;
                }
                return (frame[0], payload);
            }
            self.read().await;
        }
    }

    /// Sends one frame, its mask zero.
    async fn say(&mut self, first_octet: u8, payload: &[u8]) {
        let len = u8::try_from(payload.len()).expect("short");
        assert!(len < 126);
        let frame = [&[first_octet, 0x80 | len, 0, 0, 0, 0], payload].concat();
        self.write(&frame).await;
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("it reads");
    }

    async fn read(&mut self) {
        let mut bytes = [0; 4096];
        let count = self.stream.read(&mut bytes).await.expect("it writes");
        assert!(
            count > 0,
            "{} {} was cut",
            self.dialect.as_str(),
            self.index
        );
        self.heard.extend_from_slice(&bytes[..count]);
    }

    async fn read_head(&mut self) {
        loop {
            let end = self.heard.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                assert!(self.heard.starts_with(b"HTTP/1.1 101 "), "let in");
                self.heard.drain(..end + 4);
                return;
            }
            self.read().await;
        }
    }
}

/// Where a frame's payload begins and how long it is, if its head is there.
fn frame_head(heard: &[u8]) -> Option<(usize, usize)> {
    match *heard.get(1)? {
        126 => {
            let len = u16::from_be_bytes(heard.get(2..4)?.try_into().ok()?);
            Some((4, len.into()))
        }
        127 => panic!("nothing here is as long"),
        len => Some((2, len.into())),
    }
}

fn envelope(kind: &str) -> Envelope<'_> {
    Envelope {
        kind,
        payload: b"x",
        id: "",
    }
}
