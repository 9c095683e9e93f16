//! A request's head as its bytes, for what hyper does not tell of it.
//!
//! hyper offers no upgrade over HTTP/1.0, drops a `Content-Length` that stands beside a
//! `Transfer-Encoding`, and does not say where a request ends. So a head that begins on a
//! connection at rest is looked at before hyper is given it:
//!
//! ```text
//!   GET /ws HTTP/1.0\r\n      an upgrade over HTTP/1.0: hyper is given HTTP/1.1
//!   Upgrade: websocket\r\n
//!   \r\n                      the end, if the head has come whole
//! ```
//!
//! What may become a head is held back until it is whole. A head behind others in one packet, and
//! one that is very long, are not seen, and whoever needs to know is told so.

use hyper::HeaderMap;
use hyper::header::CONTENT_LENGTH;
use std::cell::Cell;

/// What was seen of a head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct RawHead {
    /// Its length, in bytes.
    pub(super) bytes: usize,
    /// It asks for an upgrade over HTTP/1.0.
    pub(super) is_http_10_upgrade: bool,
    /// It has `Transfer-Encoding`.
    pub(super) has_coding: bool,
    /// It has both `Content-Length` and `Transfer-Encoding`.
    pub(super) has_two_lengths: bool,
}

/// How far the request reaches that comes or is served, as far as that is known.
#[derive(Debug, Default)]
pub(super) struct Extent {
    /// Bytes that have come since the connection was at rest.
    received: Cell<usize>,
    /// The last three of them.
    tail: Cell<[u8; 3]>,
    /// The head that began then, until its request is served; `None` if it was not seen.
    head: Cell<Option<RawHead>>,
    /// The length of the request that is served, its body included.
    request: Cell<Option<usize>>,
}

impl Extent {
    /// Begins anew where nothing is being served. Whether what comes next begins a head: not if
    /// hyper may already have a part of one, which it keeps only where that does not end in an
    /// empty line.
    pub(super) fn begin(&self) -> bool {
        let begins = match self.request.get() {
            Some(bytes) => bytes == self.received.get(),
            None => matches!(self.tail.get(), [b'\n', b'\r', b'\n'] | [_, b'\n', b'\n']),
        };
        self.received.set(0);
        self.request.set(None);
        self.head.set(None);
        begins
    }

    /// Takes note of bytes that come.
    pub(super) fn receive(&self, bytes: &[u8]) {
        self.received.set(self.received.get() + bytes.len());
        let [mut a, mut b, mut c] = self.tail.get();
        let last = bytes.len().saturating_sub(3);
        for byte in &bytes[last..] {
            (a, b, c) = (b, c, *byte);
        }
        self.tail.set([a, b, c]);
    }

    /// Takes note of the head that has come whole.
    pub(super) fn see(&self, head: RawHead) {
        self.head.set(Some(head));
    }

    /// Begins to serve a request; returns what was seen of its head.
    pub(super) fn serve(&self, headers: &HeaderMap) -> Option<RawHead> {
        let head = self.head.take();
        let request = head.filter(|head| !head.has_coding).and_then(|head| {
            let body: usize = match headers.get(CONTENT_LENGTH) {
                Some(length) => length.to_str().ok()?.parse().ok()?,
                None => 0,
            };
            head.bytes.checked_add(body)
        });
        self.request.set(request);
        head
    }

    /// Whether it is certain that nothing has come behind the request that is served.
    pub(super) fn is_alone(&self) -> bool {
        self.request
            .get()
            .is_some_and(|bytes| self.received.get() <= bytes)
    }
}

/// What is to be done with the first bytes of a head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Look {
    /// Give them to hyper when more have come.
    Wait,
    /// Give them to hyper unseen.
    Pass,
    /// Give them to hyper: the head is whole.
    Seen(RawHead),
}

/// Looks at the first bytes of a head.
pub(super) fn look(bytes: &[u8]) -> Look {
    // hyper passes over empty lines before a request.
    if let Some(b'\r' | b'\n') = bytes.first() {
        return Look::Pass;
    }
    let (mut has_length, mut has_coding) = (false, false);
    let (mut has_upgrade, mut has_connection) = (false, false);
    let mut start = 0;
    // Lines may end without CR (RFC 9112 2.2); one that is empty is the last.
    for end in memchr::memchr_iter(b'\n', bytes) {
        let line = &bytes[start..end];
        match line {
            [] | [b'\r'] => {
                let is_http_10_upgrade =
                    has_upgrade && has_connection && version_at(bytes).is_some();
                return Look::Seen(RawHead {
                    bytes: end + 1,
                    is_http_10_upgrade,
                    has_coding,
                    has_two_lengths: has_length && has_coding,
                });
            }
            [b'c' | b'C', ..] => {
                has_length |= is_of(line, b"content-length");
                has_connection |= is_of(line, b"connection");
            }
            [b't' | b'T', ..] => has_coding |= is_of(line, b"transfer-encoding"),
            [b'u' | b'U', ..] => has_upgrade |= is_of(line, b"upgrade"),
            _ => {}
        }
        start = end + 1;
    }
    if may_become_whole(bytes) {
        Look::Wait
    } else {
        Look::Pass
    }
}

/// Makes a whole head one of HTTP/1.1.
///
/// # Panics
///
/// If it is not one of HTTP/1.0.
pub(super) fn make_http_11(head: &mut [u8]) {
    let at = version_at(head).expect("it is one of HTTP/1.0");
    head[at + HTTP_10.len() - 1] = b'1';
}

/// Where ` HTTP/1.0` begins at the end of the first line of a GET.
fn version_at(bytes: &[u8]) -> Option<usize> {
    let line = bytes.split(|&byte| byte == b'\n').next()?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_of_it = line.starts_with(GET) && line.ends_with(HTTP_10);
    is_of_it.then(|| line.len() - HTTP_10.len())
}

/// Whether bytes may be the beginning of a head: a method, and not too long.
fn may_become_whole(bytes: &[u8]) -> bool {
    let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase());
    let behind = bytes.get(method.count());
    bytes.len() <= HELD_BYTES_MAX && matches!(behind, None | Some(b' '))
}

/// Whether a line is the header with this name.
fn is_of(line: &[u8], name: &[u8]) -> bool {
    let prefix = line.split_at_checked(name.len());
    prefix.is_some_and(|(it, rest)| rest.starts_with(b":") && it.eq_ignore_ascii_case(name))
}

const GET: &[u8] = b"GET ";
const HTTP_10: &[u8] = b" HTTP/1.0";
/// A longer head is not waited for. At most what `http.http_in_bytes_max` lets a connection hold.
const HELD_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const UPGRADE: &[u8] = b"GET /ws HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\n\
        Connection: upgrade\r\n\r\n";

    #[test]
    fn what_may_become_a_head_waits_to_be_whole_and_everything_else_goes_on_at_once() {
        for len in 0..UPGRADE.len() {
            assert_eq!(look(&UPGRADE[..len]), Look::Wait, "{len}");
        }
        let Look::Seen(head) = look(&[UPGRADE, b"more"].concat()) else {
            panic!("it is whole");
        };
        assert!(head.is_http_10_upgrade && !head.has_two_lengths);
        assert_eq!(head.bytes, UPGRADE.len());

        let long = [&b"GET /"[..], &[b'a'; HELD_BYTES_MAX]].concat();
        for bytes in [
            &b"get / HTTP/1.1\r\n"[..],
            b"GET\t/",
            b"\x16\x03\x01",
            b"\r\nGET / HTTP/1.0\r\n",
            &long,
        ] {
            assert_eq!(look(bytes), Look::Pass, "{bytes:?}");
        }
    }

    #[test]
    fn an_upgrade_over_http_10_becomes_one_over_http_11_and_nothing_else_is_touched() {
        let mut head = UPGRADE.to_vec();
        make_http_11(&mut head);
        let expected = String::from_utf8_lossy(UPGRADE).replace("HTTP/1.0", "HTTP/1.1");
        assert_eq!(String::from_utf8_lossy(&head), expected);
    }

    #[test]
    fn two_lengths_are_seen_in_any_order_and_case() {
        let seen = |headers: &str| {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
            match look(head.as_bytes()) {
                Look::Seen(head) => head.has_two_lengths,
                other @ (Look::Wait | Look::Pass) => panic!("{other:?}"),
            }
        };
        assert!(seen("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"));
        assert!(seen("transfer-ENCODING:chunked\r\ncontent-length:1\r\n"));
        assert!(seen("Transfer-Encoding: chunked\nContent-Length: 1\n"));
        assert!(!seen("Transfer-Encoding: chunked\r\n"));
        assert!(!seen("Content-Length: 1\r\nX-Transfer-Encoding: a\r\n"));
        assert!(!seen("Content-Length: 1\r\nX: Transfer-Encoding: a\r\n"));
    }

    #[test]
    fn a_head_is_looked_at_only_where_nothing_of_it_has_gone_before() {
        let extent = Extent::default();
        let mut headers = HeaderMap::new();
        let head = RawHead {
            bytes: 10,
            is_http_10_upgrade: false,
            has_coding: false,
            has_two_lengths: false,
        };
        headers.insert(CONTENT_LENGTH, 5.into());
        // As much as a head of 10 bytes says, more and less, whatever the last of it is.
        for (received, is_alone, begins) in
            [(15, true, true), (16, false, false), (14, true, false)]
        {
            extent.receive(&vec![b'\n'; received]);
            extent.see(head);
            assert_eq!(extent.serve(&headers), Some(head));
            assert_eq!(extent.is_alone(), is_alone, "{received}");
            assert_eq!(extent.begin(), begins, "{received}");
        }
        // Nothing is known of one that was not seen, but that hyper keeps no empty line.
        for (bytes, begins) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], true),
            (b"GET / HTTP/1.1\r\n", false),
        ] {
            extent.receive(bytes);
            assert_eq!(extent.serve(&headers), None);
            assert!(!extent.is_alone());
            assert_eq!(extent.begin(), begins);
        }
    }

    /// Neither a body nor what follows is part of the head.
    #[test]
    fn a_head_ends_with_its_first_empty_line() {
        for end in ["\r\n\r\n", "\n\n", "\r\n\n"] {
            let head = format!("GET / HTTP/1.1{end}");
            let more = format!("{head}\r\n\r\nTransfer-Encoding: a\r\nContent-Length: 1\r\n\r\n");
            let expected = RawHead {
                bytes: head.len(),
                is_http_10_upgrade: false,
                has_coding: false,
                has_two_lengths: false,
            };
            assert_eq!(look(more.as_bytes()), Look::Seen(expected), "{end:?}");
        }
    }
}
