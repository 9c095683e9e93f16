//! HTTP responses, byte for byte those of the originals.

use super::embedded::OutgoingBody;
use crate::auth::BEARER_CHALLENGE;
use crate::dialect::Rejection;
use crate::ws::handshake::HandshakeError;
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    SEC_WEBSOCKET_VERSION, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};

pub(super) type HttpResponse = Response<ResponseBody>;

/// A complete body of the gateway's own, or an embedder's body.
pub(super) type ResponseBody = Either<Full<Bytes>, OutgoingBody>;

/// Creates a response without body and content type, with `Content-Length: 0`.
pub(super) fn empty(status: StatusCode) -> HttpResponse {
    let mut response = Response::new(Either::Left(Full::new(Bytes::new())));
    *response.status_mut() = status;
    response
}

/// Creates a 401 with a challenge (RFC 9110 11.6.1).
pub(super) fn unauthorized(challenge: HeaderValue) -> HttpResponse {
    let mut response = empty(StatusCode::UNAUTHORIZED);
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

/// Creates a 403: no credentials would make the request acceptable.
pub(super) fn forbidden(why: &str) -> HttpResponse {
    text(StatusCode::FORBIDDEN, format!("{why}\n"))
}

/// Creates a 405 with the allowed methods.
pub(super) fn method_not_allowed(methods: &'static str) -> HttpResponse {
    let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
    let methods = HeaderValue::from_static(methods);
    response.headers_mut().insert(ALLOW, methods);
    response
}

/// Creates a 415 for an unsupported content coding (RFC 9110 15.5.16).
pub(super) fn unsupported_coding() -> HttpResponse {
    let why = "send the body without Content-Encoding, or with gzip\n";
    let mut response = text(StatusCode::UNSUPPORTED_MEDIA_TYPE, why);
    response
        .headers_mut()
        .insert(ACCEPT_ENCODING, READ_ENCODINGS);
    response
}

/// Creates a plain text response.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> HttpResponse {
    let mut response = Response::new(Either::Left(Full::new(text.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PLAIN_TEXT);
    response
}

/// Creates a 503 with a text and `Retry-After: 1`.
pub(super) fn unavailable(body: &'static str) -> HttpResponse {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, body);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Creates a 404 (docs/dialects/websocket.md, "Rejected upgrade").
pub(super) fn not_found() -> HttpResponse {
    let mut response = text(StatusCode::NOT_FOUND, "404 page not found\n");
    response
        .headers_mut()
        .insert(CONTENT_TYPE_OPTIONS, NO_SNIFF);
    response
}

/// Creates the response to an invalid upgrade request (docs/dialects/websocket.md, "Rejected
/// upgrade").
pub(super) fn handshake_error(refusal: HandshakeError) -> HttpResponse {
    let status = StatusCode::from_u16(refusal.status()).expect("refusals have a status");
    let mut response = text(status, refusal.body());
    response
        .headers_mut()
        .insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
        .headers_mut()
        .insert(CONTENT_TYPE_OPTIONS, NO_SNIFF);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let methods = HeaderValue::from_static("GET");
        response.headers_mut().insert(ALLOW, methods);
    }
    response
}

/// Creates the response of a dialect's or embedder's rejection of an upgrade.
pub(super) fn rejection(rejection: &Rejection) -> HttpResponse {
    let status = StatusCode::from_u16(rejection.status)
        .ok()
        .filter(|status| status.is_client_error() || status.is_server_error());
    let status = status.unwrap_or(StatusCode::FORBIDDEN);
    let mut response = text(status, rejection.body.clone().into_owned());
    if status == StatusCode::UNAUTHORIZED {
        let headers = response.headers_mut();
        headers.insert(WWW_AUTHENTICATE, BEARER_CHALLENGE);
    }
    response
}

/// Adds `Connection: close` to a response.
pub(super) fn with_close(mut response: HttpResponse) -> HttpResponse {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

/// Calls [`with_close`] if this is the connection's last response and not a 101.
pub(super) fn with_close_if(is_last: bool, response: HttpResponse) -> HttpResponse {
    if is_last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        with_close(response)
    } else {
        response
    }
}

/// Creates a 500 for a failure of an embedder's code.
pub(super) fn internal_error() -> HttpResponse {
    text(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
}

/// Creates a response with an HTML page.
pub(super) fn page(method: &str, html: &Bytes) -> HttpResponse {
    if method != "GET" && method != "HEAD" {
        return method_not_allowed("GET, HEAD");
    }
    let mut response = text(StatusCode::OK, html.clone());
    response.headers_mut().insert(CONTENT_TYPE, HTML);
    response
}

/// The response to a connection beyond the limit, sent without hyper.
pub(crate) const OVERLOADED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 21\r\n\
    Retry-After: 1\r\n\
    Connection: close\r\n\r\n\
    too many connections\n";

/// The response to a request that does not become complete in time, sent without hyper.
pub(crate) const TIMED_OUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 18\r\n\
    Connection: close\r\n\r\n\
    request timed out\n";

/// The supported content codings of request bodies.
pub(super) const READ_ENCODINGS: HeaderValue = HeaderValue::from_static("gzip");
const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");
