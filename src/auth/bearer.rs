//! The parser of the header `Authorization: Bearer`.

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};

/// Returns the credentials of the first `Authorization` header; `None` if there is none or its
/// scheme is not `Bearer`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    headers
        .get(AUTHORIZATION)
        .and_then(|value| bearer_of(value.as_bytes()))
}

/// Returns what follows the scheme `Bearer`, in any case, and at least one space (RFC 9110 11.4);
/// `None` for another scheme.
pub(super) fn bearer_of(credentials: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = credentials.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    Some(rest.strip_prefix(b" ")?.trim_ascii())
}

/// The `WWW-Authenticate` header of a response to a request without a valid key or token.
pub(crate) const BEARER_CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer");

const SCHEME: &[u8] = b"Bearer";
