//! A parser of HTTP/1.1 responses from a stream.
//!
//! Bodies may have a length, be chunked, or end with the connection. Trailers are not supported.
//! The parser is meant for short responses to publications. It is pure.

/// The parser of one connection, with the unparsed bytes.
#[derive(Debug, Default)]
pub(crate) struct Responses {
    pending: Vec<u8>,
}

/// An HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// The body, without chunk headers.
    pub(crate) body: Vec<u8>,
    /// True if the server closes the connection after the response.
    pub(crate) is_last: bool,
}

impl Responses {
    /// Appends bytes from the socket.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Removes the next response; `None` if it is incomplete.
    ///
    /// With `at_end` the connection has ended, which ends a body without a length.
    ///
    /// # Errors
    ///
    /// The bytes are not an HTTP response. The error holds the first 300 of them, escaped.
    pub(crate) fn next(&mut self, at_end: bool) -> Result<Option<Response>, String> {
        let Some(head_end) = head_end(&self.pending) else {
            return Ok(None);
        };
        let shown = || {
            let shown = &self.pending[..self.pending.len().min(SHOWN_BYTES_MAX)];
            shown.escape_ascii().to_string()
        };
        let head = str::from_utf8(&self.pending[..head_end]).map_err(|_| shown())?;
        let status = status(head).ok_or_else(shown)?;
        let mut is_last =
            header(head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let rest = &self.pending[head_end..];
        let length = header(head, "content-length");
        let is_chunked = header(head, "transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let body = if matches!(status, 100..=199 | 204 | 304) {
            Some((Vec::new(), 0))
        } else if is_chunked {
            unchunk(rest).map_err(|()| shown())?
        } else if let Some(length) = length {
            let length: usize = length.parse().map_err(|_| shown())?;
            rest.get(..length).map(|body| (body.to_vec(), length))
        } else {
            is_last = true;
            at_end.then(|| (rest.to_vec(), rest.len()))
        };
        Ok(body.map(|(body, taken)| {
            self.pending.drain(..head_end + taken);
            Response {
                status,
                body,
                is_last,
            }
        }))
    }
}

/// Returns the offset of the body, after the first empty line; `None` without one.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    const EMPTY_LINE: &[u8] = b"\r\n\r\n";
    Some(memchr::memmem::find(bytes, EMPTY_LINE)? + EMPTY_LINE.len())
}

/// Returns the status code in the first line of `head`; `None` if the line is invalid.
pub(crate) fn status(head: &str) -> Option<u16> {
    let rest = head
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| head.strip_prefix("HTTP/1.0 "))?;
    rest.get(..3)?.parse().ok()
}

/// Returns the value of the first header `name`, compared without case.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// A body, and the length of its encoding in bytes.
type Body = (Vec<u8>, usize);

/// Decodes a chunked body at the start of `bytes`; `None` if it is incomplete.
fn unchunk(bytes: &[u8]) -> Result<Option<Body>, ()> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let Some(line_bytes) = memchr::memmem::find(&bytes[at..], b"\r\n") else {
            return Ok(None);
        };
        let line = str::from_utf8(&bytes[at..at + line_bytes]).map_err(|_| ())?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| ())?;
        let from = at + line_bytes + 2;
        let Some(chunk) = bytes.get(from..from + size + 2) else {
            return Ok(None);
        };
        if !chunk.ends_with(b"\r\n") {
            return Err(());
        }
        at = from + size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

const SHOWN_BYTES_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX: y\r\n\r\nhi\
        HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n\
        HTTP/1.1 204 No Content\r\n\r\n\
        HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

    fn response(status: u16, body: &str, is_last: bool) -> Response {
        Response {
            status,
            body: body.as_bytes().to_vec(),
            is_last,
        }
    }

    #[test]
    fn a_stream_of_responses_may_be_split_anywhere() {
        let expected = [
            response(200, "hi", false),
            response(202, "abcd", false),
            response(204, "", false),
            response(400, "", true),
        ];
        for cut in 1..=STREAM.len() {
            let mut responses = Responses::default();
            let mut all = Vec::new();
            for piece in STREAM.chunks(cut) {
                responses.extend(piece);
                while let Some(response) = responses.next(false).expect("well formed") {
                    all.push(response);
                }
            }
            assert_eq!(all, expected, "cut into {cut}");
        }
    }

    #[test]
    fn a_body_without_a_length_ends_with_the_connection() {
        let mut responses = Responses::default();
        responses.extend(b"HTTP/1.1 200 OK\r\n\r\nhi");
        assert_eq!(responses.next(false), Ok(None));
        assert_eq!(responses.next(true), Ok(Some(response(200, "hi", true))));
    }

    #[test]
    fn invalid_responses_are_errors() {
        for wrong in [
            &b"hello\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        ] {
            let mut responses = Responses::default();
            responses.extend(wrong);
            assert!(responses.next(false).is_err(), "{}", wrong.escape_ascii());
        }
    }
}
