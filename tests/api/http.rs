//! A plain HTTP client: one connection, one request after the other, answers with their heads.

use crate::process::PATIENCE;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection for requests.
pub(crate) struct Http(BufReader<TcpStream>);

/// An answer whose body is JSON, or empty.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

impl Http {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("the gateway listens");
        socket.set_nodelay(true).expect("a TCP socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        socket.set_write_timeout(Some(PATIENCE)).expect("not zero");
        Self(BufReader::new(socket))
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let sent = self.0.get_mut().write_all(bytes);
        sent.expect("the gateway reads");
    }

    /// Asks for something; `headers` is whole lines.
    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        self.begin(method, path, headers, body);
        self.answer(method != "HEAD")
    }

    /// Sends a request, and leaves its answer to be read.
    #[track_caller]
    pub(crate) fn begin(&mut self, method: &str, path: &str, headers: &str, body: &str) {
        let len = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}");
        self.send(format!("{head}Content-Length: {len}\r\n\r\n{body}").as_bytes());
    }

    /// Nothing comes for so long.
    #[track_caller]
    pub(crate) fn expect_quiet(&mut self, time: Duration) {
        let socket = self.0.get_mut();
        socket.set_read_timeout(Some(time)).expect("not zero");
        let nothing = socket.read(&mut [0]).expect_err("it is quiet");
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
    }

    /// Posts to the API, where no key is asked for.
    #[track_caller]
    pub(crate) fn post(&mut self, call: &str, body: &str) -> Answer {
        self.ask("POST", &format!("/api/v1/{call}"), "", body)
    }

    /// Posts to the API, which does it, and returns what it says.
    #[track_caller]
    pub(crate) fn done(&mut self, call: &str, body: &str) -> Value {
        let answer = self.post(call, body);
        assert_eq!(answer.status, 200, "{call} {body}: {}", answer.body);
        answer.body
    }

    /// Looks something up in the API.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Value {
        let answer = self.ask("GET", &format!("/api/v1/{path}"), "", "");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// Reads one answer whose body is a text, and forgets the text.
    #[track_caller]
    pub(crate) fn text_answer(&mut self) -> u16 {
        self.head_and_body(true).0
    }

    /// Reads one answer.
    #[track_caller]
    pub(crate) fn answer(&mut self, has_body: bool) -> Answer {
        let (status, headers, body) = self.head_and_body(has_body);
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).expect("it is JSON")
        };
        Answer {
            status,
            headers,
            body,
        }
    }

    #[track_caller]
    fn head_and_body(&mut self, has_body: bool) -> (u16, BTreeMap<String, String>, Vec<u8>) {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer comes");
        let status = line.strip_prefix("HTTP/1.1 ").expect("a status line");
        let status = status[..3].parse().expect("a number");
        let mut headers = BTreeMap::new();
        loop {
            line.clear();
            self.0.read_line(&mut line).expect("the head comes");
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let len = headers.get("content-length");
        let len = len.and_then(|len| len.parse().ok()).unwrap_or(0);
        let mut body = vec![0; if has_body { len } else { 0 }];
        self.0.read_exact(&mut body).expect("the body comes");
        (status, headers, body)
    }
}

impl Answer {
    /// What it refuses: status, code and field, with spaces between.
    #[track_caller]
    pub(crate) fn refusal(&self) -> String {
        let error = &self.body["error"];
        let code = error["code"].as_str().expect("a code");
        assert!(error["message"].is_string(), "{}", self.body);
        match error["field"].as_str() {
            Some(field) => format!("{} {code} {field}", self.status),
            None => format!("{} {code}", self.status),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}
