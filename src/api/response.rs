//! An answer of the API, before HTTP has a form for it.

use bytes::Bytes;
use serde::Serialize;

/// A status and a JSON document, and what the head says beside them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ApiResponse {
    pub(crate) status: u16,
    /// JSON, or nothing.
    pub(crate) body: Bytes,
    /// The methods that there are, for a request with another.
    pub(crate) allow: Option<&'static str>,
    /// It is that of an earlier request with the same idempotency key.
    pub(crate) is_replayed: bool,
    /// Something was done, or may have been: a repetition could do it twice.
    pub(super) is_open: bool,
}

impl ApiResponse {
    /// A status with a document.
    pub(super) fn new(status: u16, document: &impl Serialize) -> Self {
        let json = serde_json::to_vec(document);
        Self::of_json(status, json.expect("it has text for keys").into())
    }

    /// A status and nothing else.
    pub(super) fn empty(status: u16) -> Self {
        Self::of_json(status, Bytes::new())
    }

    /// A status with a document that is JSON already.
    pub(super) fn of_json(status: u16, json: Bytes) -> Self {
        Self {
            status,
            body: json,
            allow: None,
            is_replayed: false,
            is_open: false,
        }
    }
}
