//! A WebSocket client, independent of the gateway's code. It responds to pings while it waits for a
//! message.

use campanile_tests::frame::{self, masked};
use campanile_tests::http::{Response, UPGRADE, post};
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// A client's connection.
pub(crate) struct WebSocketClient {
    stream: TcpStream,
    /// Received bytes, of which the first `read` are consumed.
    buffer: Vec<u8>,
    read: usize,
}

/// A received message or control frame.
#[derive(Debug)]
pub(crate) enum Incoming {
    Message { is_text: bool, payload: Vec<u8> },
    Pong,
    Close(Option<u16>),
}

/// The opcode of a frame to send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FrameType {
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl WebSocketClient {
    /// Connects and upgrades. `None` if the upgrade is rejected.
    pub(crate) async fn open(address: SocketAddr, target: &str, headers: &str) -> Option<Self> {
        let mut wire = Self::connect(address).await;
        let host = format!("Host: {address}\r\n");
        let request = format!("GET {target} HTTP/1.1\r\n{host}{UPGRADE}{headers}\r\n");
        wire.write(request.as_bytes()).await;
        (wire.response().await.status == 101).then_some(wire)
    }

    /// Connects without an upgrade, for HTTP requests.
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

    /// Posts a body, and returns the status and body of the response.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> (String, String) {
        self.write(post(path, "", body).as_bytes()).await;
        let response = self.response().await;
        (response.status.to_string(), response.body)
    }

    /// Sends one frame.
    pub(crate) async fn send(&self, kind: FrameType, payload: &[u8]) {
        let low = payload.len().to_le_bytes()[0];
        let frame = masked(0x80 | kind as u8, payload, [17, 34, 51, low]);
        self.write(&frame).await;
    }

    /// Waits for the next message or control frame.
    pub(crate) async fn next(&mut self) -> Incoming {
        loop {
            let Some((frame, len)) = frame::parse(self.unread()) else {
                self.fill().await;
                continue;
            };
            let payload = frame.payload.to_vec();
            let opcode = frame.opcode;
            self.read += len;
            match opcode {
                1 | 2 => {
                    let is_text = opcode == 1;
                    return Incoming::Message { is_text, payload };
                }
                8 => {
                    let code = payload.get(..2);
                    let code = code.map(|code| u16::from_be_bytes([code[0], code[1]]));
                    return Incoming::Close(code);
                }
                9 => self.send(FrameType::Pong, &payload).await,
                10 => return Incoming::Pong,
                _ => panic!("opcode {opcode}"),
            }
        }
    }

    /// Waits for the end of the connection, after a close frame.
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

    async fn response(&mut self) -> Response {
        loop {
            if let Some((response, len)) = Response::parse(self.unread()) {
                self.read += len;
                return response;
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

    /// Reads once. Returns `false` at the end of the stream.
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
