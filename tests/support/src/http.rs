//! HTTP/1.1: an encoder of requests and a strict parser of responses.
//!
//! [`Response::take`] reads exactly one response from a socket that may be upgraded then,
//! [`Response::parse`] reads from memory. Deviations from HTTP are errors.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::TcpStream;

/// Header names and values, in order.
pub type Headers = Vec<(String, String)>;

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The version, such as `HTTP/1.1`.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// The headers, in order.
    pub headers: Headers,
    /// The body, which must be UTF-8.
    pub body: String,
}

/// A request that a backend has received.
#[derive(Clone, Debug)]
pub struct Request {
    /// The request line.
    pub start: String,
    /// The headers, in order.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// Reads the response to a request with this method, delimited as in RFC 9112, section 6.3:
    /// responses to `HEAD` and with 1xx, 204 and 304 have no body; a body without a length ends
    /// with the connection.
    ///
    /// # Errors
    ///
    /// Reading fails, or the bytes are not HTTP.
    pub fn read(reader: &mut impl BufRead, method: &str) -> io::Result<Self> {
        let (start, headers) = read_head(reader)?;
        let (version, rest) = start.split_once(' ').ok_or_else(|| wrong(&start))?;
        let status = rest.get(..3).and_then(|it| it.parse().ok());
        let status: u16 = status.ok_or_else(|| wrong(&start))?;
        let body = if method == "HEAD" || matches!(status, 100..200 | 204 | 304) {
            Vec::new()
        } else if let Some(body) = read_body(reader, &headers)? {
            body
        } else {
            let mut body = Vec::new();
            reader.read_to_end(&mut body)?;
            body
        };
        Ok(Self {
            version: version.to_owned(),
            status,
            headers,
            body: String::from_utf8(body).map_err(|_| wrong("a body that is no text"))?,
        })
    }

    /// Reads exactly one response from a socket.
    #[track_caller]
    pub fn take(socket: &TcpStream) -> Self {
        let mut reader = BufReader::with_capacity(1, socket);
        Self::read(&mut reader, "GET").expect("a response comes")
    }

    /// Parses the response at the start of `bytes` and returns it with its length; `None` if it is
    /// incomplete.
    #[track_caller]
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut rest = bytes;
        match Self::read(&mut rest, "GET") {
            Ok(response) => Some((response, bytes.len() - rest.len())),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => None,
            Err(error) => panic!("{error}: {}", bytes.escape_ascii()),
        }
    }

    /// Returns the value of the first header `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// Returns status and body.
    pub fn status_and_body(&self) -> (u16, &str) {
        (self.status, &self.body)
    }
}

impl Request {
    /// Reads a request. `Ok(None)` at the end of the connection.
    ///
    /// # Errors
    ///
    /// Reading fails, or the bytes are not HTTP.
    pub fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        if reader.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let (start, headers) = read_head(reader)?;
        let body = read_body(reader, &headers)?.unwrap_or_default();
        Ok(Some(Self {
            start,
            headers,
            body,
        }))
    }

    /// Parses the body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// Reads the first line and the headers.
fn read_head(reader: &mut impl BufRead) -> io::Result<(String, Headers)> {
    let start = read_line(reader)?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Ok((start, headers));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| wrong(&line))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// Reads the body that the headers delimit; `None` if they do not.
fn read_body(
    reader: &mut impl BufRead,
    headers: &[(String, String)],
) -> io::Result<Option<Vec<u8>>> {
    if let Some(coding) = header(headers, "transfer-encoding") {
        if !coding.eq_ignore_ascii_case("chunked") {
            return Err(wrong(coding));
        }
        let mut body = Vec::new();
        loop {
            let chunk = read_chunk(reader)?;
            if chunk.is_empty() {
                return Ok(Some(body));
            }
            body.extend(chunk);
        }
    }
    let Some(length) = header(headers, "content-length") else {
        return Ok(None);
    };
    let length = length.parse().map_err(|_| wrong(length))?;
    read_exactly(reader, length).map(Some)
}

/// Reads exactly one chunk from a socket; an empty one is the last.
#[track_caller]
pub fn take_chunk(socket: &TcpStream) -> Vec<u8> {
    read_chunk(&mut BufReader::with_capacity(1, socket)).expect("a chunk comes")
}

/// Reads a chunk without trailers; an empty one is the last.
fn read_chunk(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let line = read_line(reader)?;
    let length = usize::from_str_radix(&line, 16).map_err(|_| wrong(&line))?;
    let chunk = read_exactly(reader, length)?;
    let behind = read_line(reader)?;
    if behind.is_empty() {
        Ok(chunk)
    } else {
        Err(wrong(&behind))
    }
}

/// Reads a line without its terminator.
fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let end = line.strip_suffix("\r\n").ok_or_else(|| wrong(&line))?.len();
    line.truncate(end);
    Ok(line)
}

fn read_exactly(reader: &mut impl BufRead, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    let found = headers
        .iter()
        .find(|(other, _)| other.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("no HTTP: {what:?}"))
}

/// Encodes a request with header lines, and with a body if that is not empty.
pub fn request(start: &str, headers: &[&str], body: &str) -> String {
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

/// Encodes a GET request with `Host: localhost`. `headers` are whole lines.
pub fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

/// Encodes a POST request with `Host: localhost`. `headers` are whole lines.
pub fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// Encodes an upgrade request with header lines besides [`UPGRADE`].
pub fn upgrade(start: &str, headers: &[&str]) -> String {
    let lines = UPGRADE
        .split_terminator("\r\n")
        .chain(headers.iter().copied());
    request(start, &lines.collect::<Vec<_>>(), "")
}

/// Encodes a response with status 200 and a body.
pub fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// The `Host` header of a local request.
pub const LOCAL: &str = "Host: localhost";

/// The header lines of every upgrade request besides `Host`, with the key of RFC 6455's example.
pub const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The response that accepts [`UPGRADE`] without a subprotocol.
pub const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::{Request, Response};

    #[track_caller]
    fn check(bytes: &str, method: &str, expected: Option<(u16, &str, &str)>) {
        let mut rest = bytes.as_bytes();
        let found = Response::read(&mut rest, method).ok();
        let found = found.as_ref().map(Response::status_and_body);
        let rest = str::from_utf8(rest).expect("text");
        assert_eq!(found.map(|(status, body)| (status, body, rest)), expected);
    }

    #[test]
    fn a_response_ends_where_its_head_says() {
        let sized = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi!";
        check(sized, "GET", Some((200, "hi", "!")));
        check(sized, "HEAD", Some((200, "", "hi!")));
        let chunked =
            "HTTP/1.1 201 X\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\nA\r\n0123456789";
        let last = "\r\n0\r\n\r\n!";
        check(
            &format!("{chunked}{last}"),
            "GET",
            Some((201, "h0123456789", "!")),
        );
        check(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP",
            "POST",
            Some((100, "", "HTTP")),
        );
        let none = "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n!";
        check(none, "POST", Some((204, "", "!")));
        check("HTTP/1.0 200 OK\r\n\r\nall", "GET", Some((200, "all", "")));
    }

    #[test]
    fn incomplete_and_invalid_responses_are_errors() {
        for wrong in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh",
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            "HTTP/1.1 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi!\r\n0\r\n\r\n",
        ] {
            assert!(
                Response::read(&mut wrong.as_bytes(), "GET").is_err(),
                "{wrong}"
            );
        }
        assert!(Response::parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh").is_none());
    }

    #[test]
    fn headers_keep_their_order_and_a_request_its_body() {
        let (response, length) =
            Response::parse(b"HTTP/1.1 200 OK\r\nB: 1\r\nA:\r\nb: 2\r\nContent-Length: 0\r\n\r\n!")
                .expect("it is whole");
        assert_eq!(length, 54);
        let names = response.headers.iter().map(|(name, _)| name.as_str());
        assert_eq!(names.collect::<String>(), "BAbContent-Length");
        assert_eq!(
            (response.header("b"), response.header("a")),
            (Some("1"), Some(""))
        );

        let mut bytes = super::post("/x", "A: b\r\n", "3").into_bytes();
        bytes.extend(super::get("/y", "").into_bytes());
        let mut rest = bytes.as_slice();
        let mut next = || Request::read(&mut rest).expect("it is HTTP");
        let first = next().expect("two are there");
        assert_eq!(
            (first.start.as_str(), first.json()),
            ("POST /x HTTP/1.1", 3.into())
        );
        assert_eq!(next().expect("one is left").body, b"");
        assert!(next().is_none());
    }
}
