//! A raw TCP peer of the gateway, or of its hooks: exact bytes out, HTTP in.

use crate::PATIENCE;
use crate::http::{Request, Response, get, ok, post};
use crate::net::{connect, patient};
use std::io::{BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// A connection, for requests or for anything else.
#[derive(Debug)]
pub struct Peer(BufReader<TcpStream>);

impl Peer {
    /// Connects.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(connect(address))
    }

    /// Takes a socket, and gives it its time-outs.
    pub fn over(socket: TcpStream) -> Self {
        Self(BufReader::new(patient(socket)))
    }

    /// The socket, whose bytes may have been read already.
    pub fn socket(&self) -> &TcpStream {
        self.0.get_ref()
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.0.get_mut().write_all(bytes.as_ref());
        sent.expect("the gateway reads");
    }

    /// Sends nothing more.
    #[track_caller]
    pub fn end(&mut self) {
        let ended = self.socket().shutdown(Shutdown::Write);
        ended.expect("still connected");
    }

    /// Asks for a page, and returns the response.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Response {
        self.send(get(path, ""));
        self.response()
    }

    /// Posts a body, and returns the response.
    #[track_caller]
    pub fn post(&mut self, path: &str, headers: &str, body: &str) -> Response {
        self.send(post(path, headers, body));
        self.response()
    }

    /// Pushes without showing a secret, and returns the body of the response.
    #[track_caller]
    pub fn push(&mut self, user: &str, event: &str, message: &str) -> String {
        let response = self.post("/push", "", &push_body(user, event, message));
        assert_eq!(response.status, 200, "{}", response.body);
        response.body
    }

    /// Reads one response, to any request but `HEAD`.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    /// Reads the response to a request of this method.
    #[track_caller]
    pub fn response_to(&mut self, method: &str) -> Response {
        Response::read(&mut self.0, method).expect("a response comes")
    }

    /// Reads one request, as a backend; `None` at the end of the connection.
    #[track_caller]
    pub fn request(&mut self) -> Option<Request> {
        Request::read(&mut self.0).expect("a request comes")
    }

    /// Sends a response, as a backend.
    #[track_caller]
    pub fn respond(&mut self, body: &str) {
        self.send(ok(body));
    }

    /// Reads as many bytes as there is room for.
    #[track_caller]
    pub fn read_exact(&mut self, into: &mut [u8]) {
        self.0.read_exact(into).expect("as much comes");
    }

    /// Reads as many bytes as are expected, which must be these.
    #[track_caller]
    pub fn expect_bytes(&mut self, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        self.read_exact(&mut bytes);
        assert_eq!(bytes, expected);
    }

    /// Reads all that comes until the end.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let read = self.0.read_to_end(&mut rest);
        read.expect("the connection ends in order");
        rest
    }

    /// Waits for the end of the connection; nothing may come before.
    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(self.rest().escape_ascii().to_string(), "");
    }

    /// Nothing comes for so long.
    #[track_caller]
    pub fn expect_quiet(&mut self, time: Duration) {
        let socket = self.0.get_mut();
        socket.set_read_timeout(Some(time)).expect("not zero");
        let nothing = socket.read(&mut [0]).expect_err("it is quiet");
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
    }
}

/// Sends one request on a connection of its own.
#[track_caller]
pub fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> Response {
    let request = request.as_ref();
    let mut peer = Peer::connect(address);
    peer.send(request);
    let is_head = request.starts_with(b"HEAD ");
    peer.response_to(if is_head { "HEAD" } else { "GET" })
}

/// The body of a push; no argument needs escaping.
pub fn push_body(user: &str, event: &str, message: &str) -> String {
    format!(r#"{{"userId":"{user}","event":"{event}","message":"{message}"}}"#)
}

/// What [`Peer::push`] returns when `count` sessions were reached.
pub fn sent_to(count: usize) -> String {
    format!("message sent to {count} clients")
}
