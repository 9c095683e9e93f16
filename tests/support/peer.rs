//! A raw TCP peer of the gateway that can read HTTP answers. Every read has a time-out.

use crate::process::PATIENCE;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// A connection, for requests or for anything else.
pub(crate) struct Peer {
    pub(crate) reader: BufReader<TcpStream>,
}

/// An HTTP answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Peer {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("the gateway listens");
        socket.set_nodelay(true).expect("a TCP socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        socket.set_write_timeout(Some(PATIENCE)).expect("not zero");
        Self {
            reader: BufReader::new(socket),
        }
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let sent = self.reader.get_mut().write_all(bytes);
        sent.expect("the gateway reads");
    }

    /// Posts a body and reads the answer.
    #[track_caller]
    pub(crate) fn post(&mut self, path: &str, headers: &str, body: &str) -> Answer {
        self.send(&request(path, headers, body));
        self.answer()
    }

    /// Pushes without showing a secret, and returns the body of the answer.
    #[track_caller]
    pub(crate) fn push(&mut self, user: &str, event: &str, message: &str) -> String {
        let answer = self.post("/push", "", &push_body(user, event, message));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Reads one answer.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        let (mut status, mut len) = (0, 0);
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).expect("an answer comes");
            assert!(!line.is_empty(), "the connection ended instead");
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest[..3].parse().expect("a status");
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                len = value.parse().expect("a length");
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; len];
        self.reader.read_exact(&mut body).expect("the body comes");
        let body = String::from_utf8(body).expect("all bodies are text");
        Answer { status, body }
    }
}

/// A POST.
pub(crate) fn request(path: &str, headers: &str, body: &str) -> Vec<u8> {
    let len = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: \
        {len}\r\n\r\n"
    );
    (head + body).into_bytes()
}

/// The body of a push; no argument needs escaping.
pub(crate) fn push_body(user: &str, event: &str, message: &str) -> String {
    format!(r#"{{"userId":"{user}","event":"{event}","message":"{message}"}}"#)
}

/// What [`Peer::push`] returns when `count` sessions were reached.
pub(crate) fn sent_to(count: usize) -> String {
    format!("message sent to {count} clients")
}
