//! Rejected requests: counters, and log lines at level `debug`.

use super::connection_context::ConnectionContext;
use super::service::HttpContext;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::metrics::RejectionKind;
use hyper::StatusCode;
use std::net::SocketAddr;

impl HttpContext {
    /// Counts a rejected request or upgrade of a connection and logs it. `path` is the route's
    /// path, or the request's if there is no route.
    pub(super) fn reject(
        &self,
        connection: &ConnectionContext,
        rejected: RejectionKind,
        reason: &'static str,
        status: StatusCode,
        path: &str,
    ) {
        let mut rejections = self.rejections.borrow_mut();
        *rejections.entry((rejected, reason)).or_default() += 1;
        tracing::debug!(
            what = rejected.as_str(),
            reason,
            status = status.as_u16(),
            route = beginning(path),
            address = connection.address.map(display),
            "rejected"
        );
    }

    /// Calls [`HttpContext::reject`] if a response's status is that of a rejection. The status
    /// determines the reason.
    pub(super) fn note_response(
        &self,
        connection: &ConnectionContext,
        status: StatusCode,
        path: &str,
    ) {
        if status.as_u16() >= 400 {
            self.reject(
                connection,
                RejectionKind::Request,
                reason_of(status),
                status,
                path,
            );
        }
    }

    /// Returns the reason why no more sessions are opened.
    pub(super) fn full_reason(&self) -> &'static str {
        if self.is_stopping.get() {
            "stopping"
        } else {
            "too_many_sessions"
        }
    }

    /// Returns the address of a connection's peer; `None` unless each close and rejection is
    /// logged.
    pub(crate) fn peer(&self, id: ConnectionId) -> Option<SocketAddr> {
        let peers = self.peers.borrow();
        let peer = peers.get(id.index()).copied().flatten();
        peer.filter(|&(of, _)| of == id).map(|(_, address)| address)
    }
}

/// Returns the reason label of an HTTP status.
pub(super) fn reason_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 | 422 => "invalid",
        401 | 403 => "unauthorized",
        404 => "not_found",
        405 => "method",
        408 => "timed_out",
        409 => "conflict",
        413 => "too_large",
        415 => "media_type",
        500 => "failed",
        503 => "unavailable",
        _ => "other",
    }
}

/// Truncates a path for the log.
fn beginning(path: &str) -> &str {
    &path[..path.floor_char_boundary(PATH_BYTES_MAX)]
}

/// Maximum bytes of a path in the log.
const PATH_BYTES_MAX: usize = 200;
