//! Sessions that open with a plain GET request, in formats whose framing is not WebSocket's.
//!
//! The request is admitted like an upgrade (`upgrade.rs`). Only the checks of RFC 6455 are replaced
//! by the ones here, and the 101 by the response of the framing.

use super::response;
use super::service::GrantedUpgrade;
use super::upgrade::RejectedUpgrade;
use crate::dialect::{Framing, StreamFraming};
use crate::shard::settings::RouteSettings;
use crate::ws::handshake::{self, Accept};
use hyper::header::{CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

/// The response that begins a session.
#[derive(Debug)]
pub(crate) enum Opening {
    /// A 101 response.
    Switching {
        accept: Accept,
        subprotocol: Option<Box<str>>,
    },
    /// A 200 response, whose body is the session's output.
    Stream(&'static dyn StreamFraming),
}

impl GrantedUpgrade {
    /// Appends the response that begins the session.
    pub(super) fn put_response(&self, out: &mut Vec<u8>) {
        match &self.opening {
            Opening::Switching {
                accept,
                subprotocol,
            } => handshake::put_switching_protocols(out, accept, subprotocol.as_deref()),
            Opening::Stream(framing) => framing.put_response(out),
        }
    }
}

/// Checks a request that opens a session without an upgrade.
///
/// # Errors
///
/// The rejection by the first failed check.
pub(super) fn check(
    head: &Parts,
    origin_passes: impl FnOnce() -> bool,
) -> Result<(), Box<RejectedUpgrade>> {
    let rejected = |reason, response| Err(RejectedUpgrade::with_reason(reason, response));
    if head.headers.contains_key(UPGRADE) {
        let text = "a plain GET opens a session here, without an upgrade\n";
        return rejected("upgrade", response::text(StatusCode::BAD_REQUEST, text));
    }
    if head.method != Method::GET {
        return rejected("method", response::method_not_allowed("GET"));
    }
    if !origin_passes() {
        return rejected(
            "origin",
            response::text(StatusCode::FORBIDDEN, "Forbidden\n"),
        );
    }
    // It would be read as messages.
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    let has_body =
        lengths.any(|length| length != "0") || head.headers.contains_key(TRANSFER_ENCODING);
    if has_body {
        let text = "the request has a body\n";
        return rejected("body", response::text(StatusCode::BAD_REQUEST, text));
    }
    Ok(())
}

/// Returns the rejection of an HTTP/1.0 request, if sessions of the route may open with a
/// plain GET: the body of the response needs HTTP/1.1, as an upgrade does.
pub(super) fn http_10(route: &RouteSettings) -> Option<Box<RejectedUpgrade>> {
    let formats = route.formats.iter().map(|format| format.options.format);
    let mut framings = formats.map(|format| route.dialect.framing(format));
    let has_stream = framings.any(|framing| matches!(framing, Framing::Stream(_)));
    has_stream.then(|| {
        let status = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
        RejectedUpgrade::with_reason("http_10", response::text(status, "use HTTP/1.1\n"))
    })
}
