//! Inspection of a request's head as bytes, for properties that hyper does not report.
//!
//! hyper offers no upgrade over HTTP/1.0, drops a `Content-Length` next to a `Transfer-Encoding`,
//! and does not report where a request ends. So hyper gets one request at a time (`pipe.rs`), and
//! the head is inspected before:
//!
//! ```text
//!   GET /ws HTTP/1.0\r\n      an upgrade over HTTP/1.0: hyper gets HTTP/1.1
//!   Upgrade: websocket\r\n
//!   \r\n                      the end, if the head is complete
//! ```
//!
//! Bytes that may become a head are held back until the head is complete. A head is not inspected
//! if it is longer than the limit, or if it follows a chunked request in the same packet: only
//! hyper finds the end of that one. Callers then get `None` in place of a [`RawHead`].

/// The properties of a complete head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct RawHead {
    /// Bytes of the request, including its body; `None` if only hyper can find its end.
    pub(super) request_bytes: Option<usize>,
    /// Whether the request is an upgrade over HTTP/1.0.
    pub(super) is_http_10_upgrade: bool,
    /// Whether the head has `Transfer-Encoding`.
    pub(super) has_coding: bool,
    /// Whether the head has both `Content-Length` and `Transfer-Encoding`.
    pub(super) has_two_lengths: bool,
}

impl RawHead {
    /// Returns whether hyper drains the complete request even if the body is not read: it does one
    /// more read of input that it has buffered already.
    pub(super) fn is_drained(self) -> bool {
        self.request_bytes
            .is_some_and(|bytes| bytes <= HYPER_READ_BYTES)
    }
}

/// The next step for the bytes of a head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HeadState {
    /// Hold them back until more arrive.
    Wait,
    /// Pass them to hyper without inspection.
    Pass,
    /// Pass them to hyper: the head is complete.
    Complete(RawHead),
}

/// A parser of a head that arrives in parts. It parses each line once.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    /// The offset of the first line; `None` until it has begun.
    begin: Option<usize>,
    /// The offset of the first line that was not parsed yet.
    line: usize,
    length: Length,
    has_coding: bool,
    has_upgrade: bool,
    has_connection: bool,
}

/// The value of `Content-Length`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Length {
    #[default]
    Absent,
    Known(usize),
    /// Not a number, or two headers, which hyper rejects.
    Invalid,
}

impl HeadReader {
    /// Parses all bytes received of a head. At most `head_bytes_max` bytes may be held back.
    pub(super) fn inspect(&mut self, bytes: &[u8], head_bytes_max: usize) -> HeadState {
        let begin = match self.begin {
            Some(begin) => begin,
            None => beginning(bytes),
        };
        if self.begin.is_none() && begin < bytes.len() {
            self.begin = Some(begin);
            self.line = begin;
        }
        // Lines may end without CR (RFC 9112 2.2). An empty line ends the head.
        let unseen = self.line.max(begin);
        for end in memchr::memchr_iter(b'\n', &bytes[unseen..]).map(|at| unseen + at) {
            match &bytes[self.line..end] {
                [] | [b'\r'] => return HeadState::Complete(self.head(bytes, end + 1)),
                line => self.read(line),
            }
            self.line = end + 1;
        }
        if bytes.len() <= head_bytes_max && may_become_head(&bytes[begin..]) {
            HeadState::Wait
        } else {
            HeadState::Pass
        }
    }

    fn read(&mut self, line: &[u8]) {
        match line {
            [b'c' | b'C', ..] => {
                if let Some(value) = value_of(line, b"content-length") {
                    let length = number(value).map_or(Length::Invalid, Length::Known);
                    let is_same = self.length == Length::Absent || self.length == length;
                    self.length = if is_same { length } else { Length::Invalid };
                }
                self.has_connection |= value_of(line, b"connection").is_some();
            }
            [b't' | b'T', ..] => {
                self.has_coding |= value_of(line, b"transfer-encoding").is_some();
            }
            [b'u' | b'U', ..] => self.has_upgrade |= value_of(line, b"upgrade").is_some(),
            _ => {}
        }
    }

    fn head(&self, bytes: &[u8], head_bytes: usize) -> RawHead {
        let body: Option<usize> = match self.length {
            _ if self.has_coding => None,
            Length::Absent => Some(0),
            Length::Known(bytes) => Some(bytes),
            Length::Invalid => None,
        };
        let is_upgrade = self.has_upgrade && self.has_connection;
        RawHead {
            request_bytes: body.and_then(|body| body.checked_add(head_bytes)),
            is_http_10_upgrade: is_upgrade && version_at(bytes).is_some(),
            has_coding: self.has_coding,
            has_two_lengths: self.length != Length::Absent && self.has_coding,
        }
    }
}

/// Changes the version of a complete head to HTTP/1.1.
///
/// # Panics
///
/// If it is not an HTTP/1.0 head.
pub(super) fn make_http_11(head: &mut [u8]) {
    let at = version_at(head).expect("the head is HTTP/1.0");
    head[at + HTTP_10.len() - 1] = b'1';
}

/// Returns the offset of the first line after empty ones, which hyper skips (RFC 9112 2.2).
fn beginning(bytes: &[u8]) -> usize {
    let empty = bytes
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'));
    empty.count()
}

/// Returns the offset of ` HTTP/1.0` at the end of the first line of a GET; `None` for other
/// requests.
fn version_at(bytes: &[u8]) -> Option<usize> {
    let begin = beginning(bytes);
    let line = bytes[begin..].split(|&byte| byte == b'\n').next()?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_of_it = line.starts_with(GET) && line.ends_with(HTTP_10);
    is_of_it.then(|| begin + line.len() - HTTP_10.len())
}

/// Returns whether bytes may be the beginning of a head, which starts with a method.
fn may_become_head(bytes: &[u8]) -> bool {
    let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase());
    matches!(bytes.get(method.count()), None | Some(b' '))
}

/// Returns the value of a header line; `None` if the line is another header's.
fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (it, rest) = line.split_at_checked(name.len())?;
    let value = rest
        .strip_prefix(b":")
        .filter(|_| it.eq_ignore_ascii_case(name))?;
    Some(value.trim_ascii())
}

/// Parses a number of decimal digits only; `None` for other texts.
fn number(digits: &[u8]) -> Option<usize> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()
}

/// Bytes of hyper's first read on a connection; it grows if more input arrives.
const HYPER_READ_BYTES: usize = 8192;
const GET: &[u8] = b"GET ";
const HTTP_10: &[u8] = b" HTTP/1.0";

#[cfg(test)]
mod tests {
    use super::*;

    const UPGRADE: &[u8] = b"GET /ws HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\n\
        Connection: upgrade\r\n\r\n";
    const ROOM: usize = 4096;

    #[track_caller]
    fn seen(bytes: &[u8]) -> RawHead {
        match inspect(bytes, ROOM) {
            HeadState::Complete(head) => head,
            other @ (HeadState::Wait | HeadState::Pass) => panic!("{other:?}"),
        }
    }

    fn inspect(bytes: &[u8], head_bytes_max: usize) -> HeadState {
        HeadReader::default().inspect(bytes, head_bytes_max)
    }

    /// The result does not depend on the parts in which a head arrives.
    #[test]
    fn a_head_may_come_in_parts() {
        let heads = [
            "\r\nGET /ws HTTP/1.0\r\nUpgrade: a\r\nConnection: b\r\n\r\n",
            "POST / HTTP/1.1\nContent-Length: 5\nTransfer-Encoding: chunked\n\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\ncontent-length: 6\r\n\r\n",
        ];
        for head in heads {
            let whole = inspect(head.as_bytes(), ROOM);
            for first in 0..head.len() {
                for second in first..head.len() {
                    let mut reader = HeadReader::default();
                    for part in [first, second] {
                        let seen = reader.inspect(&head.as_bytes()[..part], ROOM);
                        assert_eq!(seen, HeadState::Wait, "{head:?} {first} {second}");
                    }
                    let seen = reader.inspect(head.as_bytes(), ROOM);
                    assert_eq!(seen, whole, "{head:?} {first} {second}");
                }
            }
        }
    }

    /// A client that sends each line in its own packet has each line parsed once.
    #[test]
    fn no_line_is_looked_at_twice() {
        let mut reader = HeadReader::default();
        let mut bytes = b"GET / HTTP/1.1\n".to_vec();
        for _ in 0..10 {
            bytes.extend_from_slice(b"a:\n");
            assert_eq!(reader.inspect(&bytes, ROOM), HeadState::Wait);
            assert_eq!(reader.line, bytes.len());
        }
    }

    #[test]
    fn what_may_become_a_head_waits_to_be_whole_and_everything_else_goes_on_at_once() {
        for upgrade in [UPGRADE, &[b"\r\n\n", UPGRADE].concat()] {
            for len in 0..upgrade.len() {
                assert_eq!(inspect(&upgrade[..len], ROOM), HeadState::Wait, "{len}");
            }
            let head = seen(&[upgrade, b"more"].concat());
            assert!(head.is_http_10_upgrade && !head.has_coding && !head.has_two_lengths);
            assert_eq!(head.request_bytes, Some(upgrade.len()));
        }

        let long = [&b"GET /"[..], &[b'a'; ROOM]].concat();
        for bytes in [
            &b"get / HTTP/1.1\r\n"[..],
            b"GET\t/",
            b"\x16\x03\x01",
            b"\r\n\x16",
            &long,
        ] {
            assert_eq!(inspect(bytes, ROOM), HeadState::Pass, "{bytes:?}");
        }
    }

    #[test]
    fn an_upgrade_over_http_10_becomes_one_over_http_11_and_nothing_else_is_touched() {
        for upgrade in [UPGRADE, &[b"\r\n", UPGRADE].concat()] {
            let mut head = upgrade.to_vec();
            make_http_11(&mut head);
            let expected = String::from_utf8_lossy(upgrade).replace("HTTP/1.0", "HTTP/1.1");
            assert_eq!(String::from_utf8_lossy(&head), expected);
        }
    }

    #[test]
    fn two_lengths_are_seen_in_any_order_and_case() {
        let has_two = |headers: &str| {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
            let head = seen(head.as_bytes());
            assert!(head.request_bytes.is_none() || !head.has_coding);
            head.has_two_lengths
        };
        assert!(has_two(
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"
        ));
        assert!(has_two("transfer-ENCODING:chunked\r\ncontent-length:1\r\n"));
        assert!(has_two("Transfer-Encoding: chunked\nContent-Length: 1\n"));
        assert!(!has_two("Transfer-Encoding: chunked\r\n"));
        assert!(!has_two("Content-Length: 1\r\nX-Transfer-Encoding: a\r\n"));
        assert!(!has_two("Content-Length: 1\r\nX: Transfer-Encoding: a\r\n"));
    }

    /// Neither the body nor the bytes after it are part of the head.
    #[test]
    fn a_request_ends_behind_its_head_and_as_much_body_as_it_declares() {
        let end = |headers: &str, more: &str| {
            let head = format!("POST / HTTP/1.1\r\n{headers}");
            let request_bytes = seen(format!("{head}{more}").as_bytes()).request_bytes;
            request_bytes.map(|bytes| bytes - head.len())
        };
        let more = "\r\n\r\nTransfer-Encoding: a\r\nContent-Length: 1\r\n\r\n";
        for blank in ["\r\n", "\n"] {
            assert_eq!(end(blank, more), Some(0), "{blank:?}");
        }
        assert_eq!(end("Content-Length: 5\r\n\r\n", "ab"), Some(5));
        assert_eq!(
            end("Content-Length: 5\r\nContent-Length:05\r\n\r\n", ""),
            Some(5)
        );
        for bad in [
            "5\r\nContent-Length: 6",
            "5, 5",
            "+5",
            "",
            "99999999999999999999",
            "-1",
        ] {
            assert_eq!(
                end(&format!("Content-Length: {bad}\r\n\r\n"), ""),
                None,
                "{bad}"
            );
        }
        assert_eq!(
            end(&format!("Content-Length: {}\r\n\r\n", usize::MAX), ""),
            None
        );
    }
}
