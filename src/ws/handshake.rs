//! The upgrade: checks a client's request and writes the 101 response.
//!
//! ```text
//!   GET /ws HTTP/1.1                                 validate_request: Connection, Upgrade,
//!   Connection: keep-alive, Upgrade                  | method, version
//!   Upgrade: websocket                               v
//!   Sec-WebSocket-Version: 13                        the caller's check of Origin
//!   Origin: https://example.com                      |
//!   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==      v
//!                                                    validate_key: key, no body  -->  Accept
//! ```
//!
//! The checks have the order of gorilla/websocket 1.5.3, so that a request with two faults gets the
//! same response as from the original servers. Header names are compared case-insensitively. This
//! module uses no HTTP library. The caller writes the response to a rejected request.

use crate::vocabulary::authority::Authority;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use sha1::{Digest as _, Sha1};

/// A value of `Sec-WebSocket-Accept`, in base64.
pub type Accept = [u8; ACCEPT_BYTES];

/// The reason for which an upgrade request is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// `Connection` does not list `upgrade`.
    NoUpgradeInConnection,
    /// `Upgrade` does not list `websocket`.
    NoWebSocketInUpgrade,
    /// The method is not GET.
    NotGet,
    /// `Sec-WebSocket-Version` does not list 13.
    NotVersion13,
    /// The caller rejects the `Origin`.
    Origin,
    /// The request has no `Sec-WebSocket-Key`.
    NoKey,
    /// `Sec-WebSocket-Key` is not the base64 of 16 bytes.
    BadKey,
    /// The request has a body, which would be read as frames.
    Body,
}

impl HandshakeError {
    /// Returns the status of the response.
    pub fn status(self) -> u16 {
        match self {
            Self::NotGet => 405,
            Self::Origin => 403,
            Self::NoUpgradeInConnection
            | Self::NoWebSocketInUpgrade
            | Self::NotVersion13
            | Self::NoKey
            | Self::BadKey
            | Self::Body => 400,
        }
    }

    /// Returns the body of the response: the status text and a line feed.
    pub fn body(self) -> &'static str {
        match self.status() {
            405 => "Method Not Allowed\n",
            403 => "Forbidden\n",
            _ => "Bad Request\n",
        }
    }
}

/// Checks an upgrade request, and returns the value of `Sec-WebSocket-Accept`.
///
/// `headers` yields name and value of every header line. `origin_passes` is called after the checks
/// that gorilla makes before that of the origin.
///
/// # Errors
///
/// Returns the first failed check.
pub fn validate<'h>(
    method: &str,
    headers: impl Iterator<Item = (&'h str, &'h [u8])> + Clone,
    origin_passes: impl FnOnce() -> bool,
) -> Result<Accept, HandshakeError> {
    validate_request(method, headers.clone())?;
    if !origin_passes() {
        return Err(HandshakeError::Origin);
    }
    validate_key(headers)
}

/// Makes the checks that precede that of the origin.
///
/// # Errors
///
/// Returns the first failed check.
pub fn validate_request<'h>(
    method: &str,
    headers: impl Iterator<Item = (&'h str, &'h [u8])> + Clone,
) -> Result<(), HandshakeError> {
    if !lists(headers.clone(), "connection", "upgrade") {
        return Err(HandshakeError::NoUpgradeInConnection);
    }
    if !lists(headers.clone(), "upgrade", "websocket") {
        return Err(HandshakeError::NoWebSocketInUpgrade);
    }
    if method != "GET" {
        return Err(HandshakeError::NotGet);
    }
    if !lists(headers, "sec-websocket-version", "13") {
        return Err(HandshakeError::NotVersion13);
    }
    Ok(())
}

/// Makes the checks that follow that of the origin, and returns the value of
/// `Sec-WebSocket-Accept`. If there are several keys, uses the first.
///
/// # Errors
///
/// Returns the first failed check.
pub fn validate_key<'h>(
    headers: impl Iterator<Item = (&'h str, &'h [u8])> + Clone,
) -> Result<Accept, HandshakeError> {
    let key = values(headers.clone(), "sec-websocket-key")
        .next()
        .ok_or(HandshakeError::NoKey)?;
    let key = str::from_utf8(key).map_err(|_| HandshakeError::BadKey)?;
    let mut nonce = [0; NONCE_BYTES_ROOM];
    match KEY_BASE64.decode_slice(key, &mut nonce) {
        Ok(NONCE_BYTES) => {}
        Ok(_) | Err(_) => return Err(HandshakeError::BadKey),
    }

    let has_body = values(headers.clone(), "content-length").any(|length| length != b"0")
        || values(headers, "transfer-encoding").next().is_some();
    if has_body {
        return Err(HandshakeError::Body);
    }
    Ok(accept_key(key))
}

/// Returns the value of `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455 4.2.2).
pub fn accept_key(key: &str) -> Accept {
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update(KEY_SUFFIX)
        .finalize();
    let mut accept = [0; ACCEPT_BYTES];
    let written = KEY_BASE64
        .encode_slice(digest, &mut accept)
        .expect("20 bytes are 28 in base64");
    assert_eq!(written, ACCEPT_BYTES);
    accept
}

/// Appends the 101 response, with the selected subprotocol, if any. Like the original servers', it
/// has no `Date` and no `Server`.
///
/// # Panics
///
/// If the subprotocol is not a token (RFC 9110 5.6.2). [`subprotocols`] yields only tokens.
pub fn put_switching_protocols(out: &mut Vec<u8>, accept: &Accept, subprotocol: Option<&str>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\n\
          Upgrade: websocket\r\n\
          Connection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
    );
    out.extend_from_slice(accept);
    if let Some(subprotocol) = subprotocol {
        assert!(is_token(subprotocol.as_bytes()), "not a token");
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(subprotocol.as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
}

/// Returns the subprotocols that a client offers, in its order of preference. Skips elements that
/// are not tokens.
pub fn subprotocols<'h>(
    headers: impl Iterator<Item = (&'h str, &'h [u8])>,
) -> impl Iterator<Item = &'h str> {
    values(headers, "sec-websocket-protocol")
        .flat_map(elements)
        .filter(|element| is_token(element))
        .filter_map(|element| str::from_utf8(element).ok())
}

/// Returns whether an `Origin` passes the default check.
///
/// A request without one passes. Otherwise host and port must be those of `host`, the request's
/// `Host`, case-insensitively. A missing port is the default one of the origin's scheme (RFC 6454
/// 4). The original servers do not add it, but a proxy may write it out. The scheme is not
/// compared.
pub fn same_origin(origin: Option<&[u8]>, host: &[u8]) -> bool {
    let Some(origin) = origin else { return true };
    let (origin, host) = (Authority::of_origin(origin), Authority::parse(host));
    let both = origin.zip(host);
    both.is_some_and(|((origin, implied), host)| origin.is_same(host, implied))
}

/// Returns whether `token` is an element of the comma-separated lists in the headers `name`,
/// case-insensitively.
fn lists<'h>(headers: impl Iterator<Item = (&'h str, &'h [u8])>, name: &str, token: &str) -> bool {
    values(headers, name)
        .flat_map(elements)
        .any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
}

/// Returns the values of all headers `name`, trimmed.
fn values<'h>(
    headers: impl Iterator<Item = (&'h str, &'h [u8])>,
    name: &str,
) -> impl Iterator<Item = &'h [u8]> {
    headers
        .filter(move |(each, _)| each.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim_ascii())
}

/// Returns the elements of a comma-separated list, trimmed.
pub fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Returns whether the bytes are a token of RFC 9110 5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Base64 as Go's `StdEncoding` reads it: padded, but unused bits of the last character may be set.
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);
/// RFC 6455 1.3.
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const NONCE_BYTES: usize = 16;
/// The base64 decoder computes the size it needs from the encoded length, padding included.
const NONCE_BYTES_ROOM: usize = 18;
const ACCEPT_BYTES: usize = 28;

#[cfg(test)]
mod tests {
    use super::*;

    type Header = (&'static str, &'static [u8]);

    const CONNECTION: Header = ("Connection", b"keep-alive, Upgrade");
    const UPGRADE: Header = ("Upgrade", b"websocket");
    const VERSION: Header = ("Sec-WebSocket-Version", b"13");
    const KEY: Header = ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==");

    fn validate_headers(headers: &[Header]) -> Result<Accept, HandshakeError> {
        validate("GET", headers.iter().copied(), || true)
    }

    #[test]
    fn the_rfcs_key_gets_the_rfcs_accept_value() {
        let accept = *b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), accept);
        assert_eq!(
            validate_headers(&[CONNECTION, UPGRADE, VERSION, KEY]),
            Ok(accept)
        );
    }

    /// The first request fails all checks; each step repairs the one that failed.
    #[test]
    fn checks_come_in_gorillas_order() {
        let body = ("Content-Length", &b"1"[..]);
        let bad_key = ("Sec-WebSocket-Key", &b"?"[..]);
        let mut headers = vec![body];
        let check = |method: &str, origin_passes: bool, headers: &[Header]| {
            validate(method, headers.iter().copied(), || origin_passes)
        };

        let rejected = |error| Err::<Accept, _>(error);
        assert_eq!(
            check("POST", false, &headers),
            rejected(HandshakeError::NoUpgradeInConnection)
        );
        headers.push(CONNECTION);
        assert_eq!(
            check("POST", false, &headers),
            rejected(HandshakeError::NoWebSocketInUpgrade)
        );
        headers.push(UPGRADE);
        assert_eq!(
            check("POST", false, &headers),
            rejected(HandshakeError::NotGet)
        );
        assert_eq!(
            check("GET", false, &headers),
            rejected(HandshakeError::NotVersion13)
        );
        headers.push(VERSION);
        assert_eq!(
            check("GET", false, &headers),
            rejected(HandshakeError::Origin)
        );
        assert_eq!(
            check("GET", true, &headers),
            rejected(HandshakeError::NoKey)
        );
        headers.push(bad_key);
        assert_eq!(
            check("GET", true, &headers),
            rejected(HandshakeError::BadKey)
        );
        headers.pop();
        headers.push(KEY);
        assert_eq!(check("GET", true, &headers), rejected(HandshakeError::Body));
        headers.remove(0);
        assert!(check("GET", true, &headers).is_ok());
    }

    #[test]
    fn tokens_are_found_in_any_header_of_the_name_in_any_case() {
        let found: [&[Header]; 4] = [
            &[("connection", b"upgrade")],
            &[("CONNECTION", b"UPGRADE ,close")],
            &[("Connection", b"close"), ("Connection", b"x,\tUpgrade")],
            &[("Connection", b",, Upgrade")],
        ];
        for connection in found {
            let headers = [connection, &[UPGRADE, VERSION, KEY]].concat();
            assert!(validate_headers(&headers).is_ok(), "{connection:?}");
        }

        let missed: [&[u8]; 5] = [b"", b"upgraded", b"close", b"Upgrade/1", b"close Upgrade"];
        for value in missed {
            let headers = [("Connection", value), UPGRADE, VERSION, KEY];
            assert_eq!(
                validate_headers(&headers),
                Err(HandshakeError::NoUpgradeInConnection),
                "{value:?}"
            );
        }
    }

    #[test]
    fn only_version_13_is_accepted() {
        let validate_version = |version: &'static [u8]| {
            validate_headers(&[CONNECTION, UPGRADE, KEY, ("Sec-WebSocket-Version", version)])
        };
        assert!(validate_version(b"13").is_ok());
        assert!(validate_version(b"8, 13").is_ok());
        assert_eq!(validate_version(b"8"), Err(HandshakeError::NotVersion13));
        assert_eq!(validate_version(b"130"), Err(HandshakeError::NotVersion13));
    }

    #[test]
    fn a_key_is_the_base64_of_sixteen_bytes() {
        let validate_key = |key: &'static [u8]| {
            validate_headers(&[CONNECTION, UPGRADE, VERSION, ("Sec-WebSocket-Key", key)])
        };
        assert!(validate_key(b"AAAAAAAAAAAAAAAAAAAAAA==").is_ok());
        assert!(validate_key(b"  AAAAAAAAAAAAAAAAAAAAAA== ").is_ok());
        // Go accepts unused bits that are set.
        assert!(validate_key(b"AAAAAAAAAAAAAAAAAAAAAB==").is_ok());

        let bad: [&[u8]; 8] = [
            b"",
            b"AAAAAAAAAAAAAAAAAAAAAA",
            b"AAAAAAAAAAAAAAAAAAAAAA=",
            b"AAAAAAAAAAAAAAAAAAAA",
            b"AAAAAAAAAAAAAAAAAAAAAAA=",
            b"AAAAAAAAAAAAAAAAAAAAAAAA",
            b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            b"AAAAAAAAAAAAAAAA-_AAAA==",
        ];
        for key in bad {
            assert_eq!(validate_key(key), Err(HandshakeError::BadKey), "{key:?}");
        }
        assert_eq!(validate_key(b"\xff"), Err(HandshakeError::BadKey));
    }

    #[test]
    fn a_request_with_a_body_is_rejected() {
        let validate_with =
            |header: Header| validate_headers(&[CONNECTION, UPGRADE, VERSION, KEY, header]);
        assert!(validate_with(("Content-Length", b"0")).is_ok());
        assert_eq!(
            validate_with(("content-length", b"5")),
            Err(HandshakeError::Body)
        );
        assert_eq!(
            validate_with(("Transfer-Encoding", b"chunked")),
            Err(HandshakeError::Body)
        );
    }

    #[test]
    fn errors_have_the_statuses_of_the_originals() {
        for (error, status, body) in [
            (HandshakeError::NoUpgradeInConnection, 400, "Bad Request\n"),
            (HandshakeError::NoWebSocketInUpgrade, 400, "Bad Request\n"),
            (HandshakeError::NotGet, 405, "Method Not Allowed\n"),
            (HandshakeError::NotVersion13, 400, "Bad Request\n"),
            (HandshakeError::Origin, 403, "Forbidden\n"),
            (HandshakeError::NoKey, 400, "Bad Request\n"),
            (HandshakeError::BadKey, 400, "Bad Request\n"),
            (HandshakeError::Body, 400, "Bad Request\n"),
        ] {
            assert_eq!((error.status(), error.body()), (status, body));
        }
    }

    #[test]
    fn the_101_is_byte_for_byte_the_originals() {
        let accept = accept_key("dGhlIHNhbXBsZSBub25jZQ==");
        let mut out = b"before".to_vec();
        put_switching_protocols(&mut out, &accept, None);
        assert_eq!(
            out,
            b"beforeHTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
              Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        );

        out.clear();
        put_switching_protocols(&mut out, &accept, Some("eyJ.e30.sig"));
        assert_eq!(
            out,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
              Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
              Sec-WebSocket-Protocol: eyJ.e30.sig\r\n\r\n"
        );
    }

    #[test]
    #[should_panic(expected = "not a token")]
    fn a_subprotocol_cannot_smuggle_a_header() {
        put_switching_protocols(&mut Vec::new(), &[b'x'; 28], Some("a\r\nSet-Cookie: b"));
    }

    #[test]
    fn subprotocols_are_the_tokens_of_all_headers_in_order() {
        let headers: [Header; 3] = [
            ("Sec-WebSocket-Protocol", b"chat, superchat ,, two words"),
            ("Host", b"chat.example"),
            ("sec-websocket-protocol", b"\xff,eyJ.e30.sig"),
        ];
        let offered: Vec<&str> = subprotocols(headers.into_iter()).collect();
        assert_eq!(offered, ["chat", "superchat", "eyJ.e30.sig"]);
        assert_eq!(subprotocols([KEY].into_iter()).next(), None);
    }

    #[test]
    fn a_port_that_is_left_out_is_the_usual_one_of_the_origins_scheme() {
        for (origin, host, is_same) in [
            ("https://a.example", "a.example:443", true),
            ("https://a.example:443", "a.example", true),
            ("http://a.example", "a.example:80", true),
            ("http://a.example:80", "a.example", true),
            ("https://a.example", "a.example:80", false),
            ("http://a.example:443", "a.example", false),
            ("http://a.example:3001", "a.example", false),
            ("app://a.example", "a.example", true),
            ("app://a.example", "a.example:80", false),
        ] {
            let seen = same_origin(Some(origin.as_bytes()), host.as_bytes());
            assert_eq!(seen, is_same, "{origin} at {host}");
        }
    }

    #[test]
    fn an_origin_passes_if_there_is_none_or_it_names_the_host_and_port() {
        let passes = |origin: &[u8]| same_origin(Some(origin), b"example.com:8080");
        assert!(same_origin(None, b"example.com:8080"));
        assert!(passes(b"http://example.com:8080"));
        assert!(passes(b"https://EXAMPLE.com:8080"));
        assert!(passes(b"http://example.com:8080/page?query"));
        assert!(same_origin(Some(b"http://[::1]:80"), b"[::1]:80"));

        assert!(!passes(b"http://example.com"), "the port 80 is implied");
        assert!(!passes(b"http://example.com:8081"));
        assert!(!passes(b"http://evil.example"));
        assert!(!passes(b"http://evil.example/example.com:8080"));
        assert!(!passes(b"http://example.com:8080@evil.example"));
        assert!(!passes(b"http://example.com:8080.evil.example"));
        assert!(!passes(b"http:/x//example.com:8080"));
        assert!(!passes(b"example.com:8080"));
        assert!(!passes(b"null"));
        assert!(!passes(b""));
        assert!(!same_origin(Some(b"null"), b"null"));
        assert!(!same_origin(Some(b"null"), b""));
        assert!(!same_origin(Some(b"http://"), b""));
    }
}
