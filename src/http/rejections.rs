//! Requests that are rejected: counted, and a line each at `debug`.

use super::connection_context::ConnectionContext;
use super::service::Context;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::metrics::Rejected;
use hyper::StatusCode;
use std::net::SocketAddr;

impl Context {
    /// Counts a rejected request or upgrade of a connection. The path is the route's, where there
    /// is one, and otherwise what the client said.
    pub(super) fn reject(
        &self,
        connection: &ConnectionContext,
        rejected: Rejected,
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

    /// [`Context::reject`] for a request whose status says why, if it was rejected at all.
    pub(super) fn note_response(
        &self,
        connection: &ConnectionContext,
        status: StatusCode,
        path: &str,
    ) {
        if status.as_u16() >= 400 {
            self.reject(
                connection,
                Rejected::Request,
                reason_of(status),
                status,
                path,
            );
        }
    }

    /// Why no more sessions are let in.
    pub(super) fn why_full(&self) -> &'static str {
        if self.is_stopping.get() {
            "stopping"
        } else {
            "too_many_sessions"
        }
    }

    /// The address of a connection's peer, where that is wanted.
    pub(crate) fn peer(&self, id: ConnectionId) -> Option<SocketAddr> {
        let peers = self.peers.borrow();
        let peer = peers.get(id.index()).copied().flatten();
        peer.filter(|&(of, _)| of == id).map(|(_, address)| address)
    }
}

/// What a status says about the reason.
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

/// As much of a path as is logged.
fn beginning(path: &str) -> &str {
    &path[..path.floor_char_boundary(PATH_BYTES_MAX)]
}

/// Bytes of a path that are logged.
const PATH_BYTES_MAX: usize = 200;
