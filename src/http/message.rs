//! Checks of a request's head that RFC 9112 requires and hyper does not make.
//!
//! A proxy in front of the gateway might parse an invalid request differently, so its connection is
//! closed after the response.

use super::raw_head::RawHead;
use super::response::{self, HttpResponse};
use crate::vocabulary::authority::Authority;
use hyper::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{StatusCode, Version};

/// The reason why a head is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HeadError {
    /// An HTTP/1.1 request has no `Host` (3.2).
    NoHost,
    /// There are several `Host` headers, or one that is not a host and port (3.2).
    BadHost,
    /// There are both `Content-Length` and `Transfer-Encoding` (6.3), which allows request
    /// smuggling past a proxy.
    TwoLengths,
    /// There is a transfer coding other than `chunked` (6.1).
    UnknownCoding,
    /// `chunked` is applied twice (6.1).
    ChunkedTwice,
}

/// Checks a head. `raw` is the result of inspecting its bytes.
///
/// # Errors
///
/// The first violation.
pub(super) fn check(head: &Parts, raw: Option<RawHead>) -> Result<(), HeadError> {
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if head.version == Version::HTTP_11 => return Err(HeadError::NoHost),
        (_, Some(_)) => return Err(HeadError::BadHost),
        (Some(host), None) if !host.is_empty() && Authority::parse(host.as_bytes()).is_none() => {
            return Err(HeadError::BadHost);
        }
        (None | Some(_), None) => {}
    }
    let may_be_coded = raw.is_none_or(|raw| raw.has_coding);
    if !may_be_coded || !head.headers.contains_key(TRANSFER_ENCODING) {
        return Ok(());
    }
    let has_length = head.headers.contains_key(CONTENT_LENGTH);
    if has_length || raw.is_some_and(|raw| raw.has_two_lengths) {
        return Err(HeadError::TwoLengths);
    }
    let mut is_chunked = false;
    let lines = head.headers.get_all(TRANSFER_ENCODING).iter();
    let codings = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    for coding in codings.map(<[u8]>::trim_ascii).filter(|it| !it.is_empty()) {
        if !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(HeadError::UnknownCoding);
        }
        if std::mem::replace(&mut is_chunked, true) {
            return Err(HeadError::ChunkedTwice);
        }
    }
    Ok(())
}

impl HeadError {
    pub(super) fn response(self) -> HttpResponse {
        let (status, text) = match self {
            Self::NoHost => (StatusCode::BAD_REQUEST, "the header Host is missing\n"),
            Self::BadHost => (
                StatusCode::BAD_REQUEST,
                "the header Host must be there once, a host and port\n",
            ),
            Self::TwoLengths => (
                StatusCode::BAD_REQUEST,
                "there are both Content-Length and Transfer-Encoding\n",
            ),
            Self::UnknownCoding => (
                StatusCode::NOT_IMPLEMENTED,
                "the only transfer coding that is known is chunked\n",
            ),
            Self::ChunkedTwice => (StatusCode::BAD_REQUEST, "the body is chunked twice\n"),
        };
        response::with_close(response::text(status, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn check_headers(version: Version, headers: &[(&str, &str)]) -> Result<(), HeadError> {
        let mut request = Request::builder().version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        check(&parts, None)
    }

    #[test]
    fn a_request_has_one_host_and_http_10_may_have_none() {
        let (new, old) = (Version::HTTP_11, Version::HTTP_10);
        assert_eq!(check_headers(new, &[]), Err(HeadError::NoHost));
        assert_eq!(check_headers(old, &[]), Ok(()));
        for host in ["", "a", "a.example:80", "[::1]:80"] {
            assert_eq!(check_headers(new, &[("host", host)]), Ok(()), "{host:?}");
        }
        for host in ["a b", "a:b", "a@b", "a/b", "[::1", "http://a"] {
            let seen = check_headers(new, &[("host", host)]);
            assert_eq!(seen, Err(HeadError::BadHost), "{host:?}");
        }
        for version in [new, old] {
            let seen = check_headers(version, &[("host", "a"), ("host", "a")]);
            assert_eq!(seen, Err(HeadError::BadHost));
        }
    }

    #[test]
    fn the_one_transfer_coding_is_chunked_and_once() {
        let check_codings = |codings: &[&str]| {
            let lines = codings.iter().map(|it| ("transfer-encoding", *it));
            let headers: Vec<_> = [("host", "a")].into_iter().chain(lines).collect();
            check_headers(Version::HTTP_11, &headers)
        };
        assert_eq!(check_codings(&["chunked"]), Ok(()));
        assert_eq!(check_codings(&[" , Chunked,"]), Ok(()));
        for codings in [
            &["gzip, chunked"][..],
            &["foo", "chunked"],
            &["chunked;a=b"],
        ] {
            assert_eq!(check_codings(codings), Err(HeadError::UnknownCoding));
        }
        for codings in [&["chunked, chunked"][..], &["chunked", "CHUNKED"]] {
            assert_eq!(check_codings(codings), Err(HeadError::ChunkedTwice));
        }
    }

    #[test]
    fn a_length_beside_a_transfer_coding_is_invalid_also_where_hyper_drops_it() {
        let host = ("host", "a");
        let chunked = ("transfer-encoding", "chunked");
        let both = [host, chunked, ("content-length", "1")];
        let seen = check_headers(Version::HTTP_11, &both);
        assert_eq!(seen, Err(HeadError::TwoLengths));

        let request = Request::builder()
            .header(host.0, host.1)
            .header(chunked.0, chunked.1);
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let raw = RawHead {
            request_bytes: None,
            is_http_10_upgrade: false,
            has_coding: true,
            has_two_lengths: true,
        };
        assert_eq!(check(&parts, Some(raw)), Err(HeadError::TwoLengths));
        assert_eq!(check(&parts, None), Ok(()));
    }
}
