//! A raw TCP connection to or from the gateway, with HTTP helpers.

use crate::PATIENCE;
use crate::http::{Request, Response, get, ok, post};
use crate::net::{connect, with_timeouts};
use std::io::{BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// A TCP connection.
#[derive(Debug)]
pub struct Peer(BufReader<TcpStream>);

impl Peer {
    /// Connects.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(connect(address))
    }

    /// Wraps a socket and sets its timeouts.
    pub fn over(socket: TcpStream) -> Self {
        Self(BufReader::new(with_timeouts(socket)))
    }

    /// Returns the socket. Bytes of it may already be buffered here.
    pub fn socket(&self) -> &TcpStream {
        self.0.get_ref()
    }

    /// Sends raw bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.0.get_mut().write_all(bytes.as_ref());
        sent.expect("the gateway reads");
    }

    /// Shuts down the write side.
    #[track_caller]
    pub fn end(&mut self) {
        let ended = self.socket().shutdown(Shutdown::Write);
        ended.expect("still connected");
    }

    /// Sends a GET request and returns the response.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Response {
        self.send(get(path, ""));
        self.response()
    }

    /// Posts a body and returns the response.
    #[track_caller]
    pub fn post(&mut self, path: &str, headers: &str, body: &str) -> Response {
        self.send(post(path, headers, body));
        self.response()
    }

    /// Pushes without a secret and returns the body of the response.
    #[track_caller]
    pub fn push(&mut self, user: &str, event: &str, message: &str) -> String {
        let response = self.post("/push", "", &push_body(user, event, message));
        assert_eq!(response.status, 200, "{}", response.body);
        response.body
    }

    /// Reads a response to any request except `HEAD`.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    /// Reads the response to a request with this method.
    #[track_caller]
    pub fn response_to(&mut self, method: &str) -> Response {
        Response::read(&mut self.0, method).expect("a response comes")
    }

    /// Reads a request as a backend; `None` at the end of the connection.
    #[track_caller]
    pub fn request(&mut self) -> Option<Request> {
        Request::read(&mut self.0).expect("a request comes")
    }

    /// Sends a response as a backend.
    #[track_caller]
    pub fn respond(&mut self, body: &str) {
        self.send(ok(body));
    }

    /// Fills `into`.
    #[track_caller]
    pub fn read_exact(&mut self, into: &mut [u8]) {
        self.0.read_exact(into).expect("as much comes");
    }

    /// Reads as many bytes as `expected` and asserts that they are equal.
    #[track_caller]
    pub fn expect_bytes(&mut self, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        self.read_exact(&mut bytes);
        assert_eq!(bytes, expected);
    }

    /// Reads until the end of the stream.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let read = self.0.read_to_end(&mut rest);
        read.expect("the connection ends in order");
        rest
    }

    /// Asserts that the stream ends without further bytes.
    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(self.rest().escape_ascii().to_string(), "");
    }

    /// Asserts that nothing arrives for `time`.
    #[track_caller]
    pub fn expect_quiet(&mut self, time: Duration) {
        let socket = self.0.get_mut();
        socket.set_read_timeout(Some(time)).expect("not zero");
        let nothing = socket.read(&mut [0]).expect_err("it is quiet");
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
    }
}

/// Sends a request on a new connection and returns the response.
#[track_caller]
pub fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> Response {
    let request = request.as_ref();
    let mut peer = Peer::connect(address);
    peer.send(request);
    let is_head = request.starts_with(b"HEAD ");
    peer.response_to(if is_head { "HEAD" } else { "GET" })
}

/// Returns the body of a push. No argument may need JSON escapes.
pub fn push_body(user: &str, event: &str, message: &str) -> String {
    format!(r#"{{"userId":"{user}","event":"{event}","message":"{message}"}}"#)
}

/// Returns the result of [`Peer::push`] for `count` sessions.
pub fn sent_to(count: usize) -> String {
    format!("message sent to {count} clients")
}
