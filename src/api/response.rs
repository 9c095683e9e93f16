//! A response of the API, independent of HTTP.

use bytes::Bytes;
use serde::Serialize;

/// A status, a JSON document and some headers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ApiResponse {
    pub(crate) status: u16,
    /// A JSON document, or empty.
    pub(crate) body: Bytes,
    /// The `Allow` header, for a request with a method that the path does not have.
    pub(crate) allow: Option<&'static str>,
    /// Whether this is the response to an earlier request with the same idempotency key.
    pub(crate) is_replayed: bool,
    /// Whether a repetition could do something twice: something was done, or may have been.
    pub(super) may_be_processed: bool,
}

impl ApiResponse {
    /// Creates a response with a document.
    pub(super) fn new(status: u16, document: &impl Serialize) -> Self {
        let json = serde_json::to_vec(document);
        Self::of_json(status, json.expect("it has text for keys").into())
    }

    /// Creates a response without a body.
    pub(super) fn empty(status: u16) -> Self {
        Self::of_json(status, Bytes::new())
    }

    /// Creates a response with a document that is JSON text already.
    pub(super) fn of_json(status: u16, json: Bytes) -> Self {
        Self {
            status,
            body: json,
            allow: None,
            is_replayed: false,
            may_be_processed: false,
        }
    }
}
