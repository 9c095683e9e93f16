//! A WebSocket client of the test's own: one socket, one upgrade, frames in, frames out.
//!
//! It answers pings by itself. It knows nothing of languages, and nothing of the gateway's code.

use std::net::SocketAddr;
use tokio::net::TcpStream;

/// One side of a session.
pub(crate) struct Wire {
    stream: TcpStream,
    /// What has come and was not read; the first `read` bytes were.
    buffer: Vec<u8>,
    read: usize,
}

/// What comes.
#[derive(Debug)]
pub(crate) enum Incoming {
    Message { is_text: bool, payload: Vec<u8> },
    Pong,
    Close(Option<u16>),
}

/// Which type of frame something goes in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FrameType {
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Wire {
    /// Connects and sends a request; `None` if the upgrade is refused.
    pub(crate) async fn open(address: SocketAddr, target: &str, headers: &str) -> Option<Self> {
        let mut wire = Self::connect(address).await;
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        wire.write(request.as_bytes()).await;
        let head = wire.head().await;
        head.starts_with("HTTP/1.1 101 ").then_some(wire)
    }

    /// Connects, for requests.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await;
        let stream = stream.expect("the gateway listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Self {
            stream,
            buffer: Vec::new(),
            read: 0,
        }
    }

    /// Posts a body, and returns the status and the body of the answer.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> (String, String) {
        let len = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: \
            {len}\r\n\r\n"
        );
        self.write(format!("{request}{body}").as_bytes()).await;
        let head = self.head().await;
        let line = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.to_owned())
        };
        let len = head.lines().find_map(line).expect("answers have a length");
        let len: usize = len.parse().expect("a number");
        while self.unread().len() < len {
            self.fill().await;
        }
        let body = String::from_utf8(self.unread()[..len].to_vec());
        self.read += len;
        (head[9..12].to_owned(), body.expect("bodies are text"))
    }

    /// Sends one frame.
    pub(crate) async fn send(&self, kind: FrameType, payload: &[u8]) {
        let len = u16::try_from(payload.len()).expect("clients say little");
        let mut frame = vec![0x80 | kind as u8];
        match u8::try_from(len) {
            Ok(len) if len < 126 => frame.push(0x80 | len),
            _ => {
                frame.push(0x80 | 0x7e);
                frame.extend_from_slice(&len.to_be_bytes());
            }
        }
        let mask = [17, 34, 51, frame[1]];
        frame.extend_from_slice(&mask);
        let masked = payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask);
        frame.extend(masked);
        self.write(&frame).await;
    }

    /// The next thing that comes.
    pub(crate) async fn next(&mut self) -> Incoming {
        loop {
            if let Some((kind, payload)) = self.frame() {
                let payload = payload.to_vec();
                match kind {
                    1 | 2 => {
                        let is_text = kind == 1;
                        return Incoming::Message { is_text, payload };
                    }
                    8 => {
                        let code = payload.get(..2);
                        let code = code.map(|code| u16::from_be_bytes([code[0], code[1]]));
                        return Incoming::Close(code);
                    }
                    9 => self.send(FrameType::Pong, &payload).await,
                    10 => return Incoming::Pong,
                    _ => panic!("opcode {kind}"),
                }
            } else {
                self.fill().await;
            }
        }
    }

    /// Waits for the end of what comes, behind a close frame.
    pub(crate) async fn end(mut self) {
        assert!(
            self.unread().is_empty(),
            "something came behind the close frame"
        );
        assert!(
            !self.try_fill().await,
            "something came behind the close frame"
        );
    }

    /// One whole frame, if it is there: a server's, so not masked and not fragmented.
    fn frame(&mut self) -> Option<(u8, &[u8])> {
        let unread = &self.buffer[self.read..];
        let (&first, &len) = (unread.first()?, unread.get(1)?);
        let (start, len) = match len {
            0..0x7e => (2, usize::from(len)),
            0x7e => {
                let long = unread.get(2..4)?;
                (4, usize::from(u16::from_be_bytes([long[0], long[1]])))
            }
            0x7f.. => panic!("a frame that is masked, or longer than anybody said"),
        };
        let end = self.read + start + len;
        if self.buffer.len() < end {
            return None;
        }
        assert_eq!(first & 0xf0, 0x80, "a whole frame");
        let start = self.read + start;
        self.read = end;
        Some((first & 0xf, &self.buffer[start..end]))
    }

    async fn head(&mut self) -> String {
        loop {
            let end = self.unread().windows(4).position(|it| it == b"\r\n\r\n");
            if let Some(end) = end {
                let head = String::from_utf8(self.unread()[..end].to_vec());
                self.read += end + 4;
                return head.expect("heads are ASCII");
            }
            self.fill().await;
        }
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.read..]
    }

    async fn fill(&mut self) {
        assert!(self.try_fill().await, "the connection ended");
    }

    /// Reads what has come; false if nothing more will.
    async fn try_fill(&mut self) -> bool {
        self.buffer.drain(..self.read);
        self.read = 0;
        let len = self.buffer.len();
        loop {
            self.stream.readable().await.expect("a socket");
            self.buffer.resize(len + READ_BYTES, 0);
            let result = self.stream.try_read(&mut self.buffer[len..]);
            self.buffer
                .truncate(len + result.as_ref().copied().unwrap_or(0));
            match result {
                Ok(count) => return count > 0,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn write(&self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.stream.writable().await.expect("a socket");
            match self.stream.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

const READ_BYTES: usize = 4096;
