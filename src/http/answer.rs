//! The answers themselves, byte for byte as the originals give them.

use crate::ws::handshake::Refusal;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_VERSION};
use hyper::{Response, StatusCode};

pub(super) type Answer = Response<Full<Bytes>>;

/// A status and nothing else: no content type, `Content-Length: 0`.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

/// A plain text.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, PLAIN_TEXT);
    answer
}

/// A text for a pusher that should try again a little later.
pub(super) fn unavailable(body: &'static str) -> Answer {
    let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, body);
    answer
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// Nothing is served under this path (wire.md 1.3).
pub(super) fn not_found() -> Answer {
    let mut answer = text(StatusCode::NOT_FOUND, "404 page not found\n");
    answer.headers_mut().insert(CONTENT_TYPE_OPTIONS, NO_SNIFF);
    answer
}

/// An upgrade request was refused (wire.md 1.2).
pub(super) fn refused(refusal: Refusal) -> Answer {
    let status = StatusCode::from_u16(refusal.status()).expect("refusals have a status");
    let mut answer = text(status, refusal.body());
    answer
        .headers_mut()
        .insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    answer.headers_mut().insert(CONTENT_TYPE_OPTIONS, NO_SNIFF);
    answer
}

/// What a connection gets that comes when there are too many, without hyper.
pub(crate) const OVERLOADED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 21\r\n\
    Retry-After: 1\r\n\
    Connection: close\r\n\r\n\
    too many connections\n";

const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");
