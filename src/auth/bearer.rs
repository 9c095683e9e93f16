//! The header `Authorization: Bearer`, the one place where it is read.

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};

/// What a request shows behind `Authorization: Bearer`, in its first such header.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    headers
        .get(AUTHORIZATION)
        .and_then(|value| bearer_of(value.as_bytes()))
}

/// What follows the scheme `Bearer`, in any case, and at least one space (RFC 9110 11.4).
pub(super) fn bearer_of(credentials: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = credentials.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    Some(rest.strip_prefix(b" ")?.trim_ascii())
}

/// What a response asks for with `WWW-Authenticate` where a key or a token is missing.
pub(crate) const BEARER_CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer");

const SCHEME: &[u8] = b"Bearer";
