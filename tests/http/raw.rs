//! Requests as bytes, and their responses.

use crate::process::PATIENCE;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

/// A connection for requests of any kind.
pub(crate) struct Raw(BufReader<TcpStream>);

/// A response. Its body is as long as its head says; a 101 or 204 has none.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// Such as `HTTP/1.1`.
    pub(crate) version: String,
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Raw {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("the gateway listens");
        socket.set_nodelay(true).expect("a TCP socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        Self(BufReader::new(socket))
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.0.get_mut().write_all(bytes.as_ref());
        sent.expect("the gateway reads");
    }

    /// Says that nothing more will come.
    pub(crate) fn end(&mut self) {
        let ended = self.0.get_mut().shutdown(Shutdown::Write);
        ended.expect("the connection is there");
    }

    /// Reads one response.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a response comes");
        let (version, rest) = line.split_once(' ').expect("a status line, not the end");
        let status = rest[..3].parse().expect("a number");
        let version = version.to_owned();
        let mut headers = BTreeMap::new();
        loop {
            line.clear();
            self.0.read_line(&mut line).expect("the head comes");
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = headers.get("content-length").filter(|_| status != 204);
        let mut body = vec![0; length.map_or(0, |it| it.parse().expect("a length"))];
        self.0.read_exact(&mut body).expect("the body comes");
        Response {
            version,
            status,
            headers,
            body: String::from_utf8(body).expect("all bodies are text"),
        }
    }

    /// Reads as many bytes as are expected, which must be these.
    #[track_caller]
    pub(crate) fn expect_bytes(&mut self, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        self.0.read_exact(&mut bytes).expect("they come");
        assert_eq!(bytes, expected);
    }

    /// Waits for the end of the connection; nothing may come before.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.0
            .read_to_end(&mut rest)
            .expect("the gateway closes it");
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// Sends one request on a connection of its own.
#[track_caller]
pub(crate) fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> Response {
    let mut raw = Raw::connect(address);
    raw.send(request);
    raw.response()
}

/// A request with a body, if any, and these header lines.
pub(crate) fn request(start: &str, headers: &[&str], body: &str) -> String {
    let mut text = format!("{start}\r\n");
    for header in headers {
        text += header;
        text += "\r\n";
    }
    if !body.is_empty() {
        write!(text, "Content-Length: {}\r\n", body.len()).expect("a String");
    }
    text + "\r\n" + body
}

/// An upgrade request for this target, with these lines beside those that every one has.
pub(crate) fn upgrade(start: &str, headers: &[&str]) -> String {
    let mut all = vec![
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    all.extend(headers);
    request(start, &all, "")
}

pub(crate) const PUSH: &str = r#"{"userId":"jack","event":"e","message":"m"}"#;
pub(crate) const LOCAL: &str = "Host: localhost";
