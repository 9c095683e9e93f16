//! Complete request bodies, limited in bytes.
//!
//! `http_body_util::Limited` limits one body. This module also limits all unfinished bodies
//! together, and does not copy a body that arrives in one piece.

use super::coding::{self, Coding};
use super::connection_context::ConnectionContext;
use super::response::{self, HttpResponse};
use super::service::HttpContext;
use crate::shard::HttpPhase;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use hyper::header::CONTENT_LENGTH;
use hyper::http::request::Parts;

/// A complete request body, without a copy if it arrived in one piece.
#[derive(Debug)]
pub(crate) enum RequestBody {
    One(Bytes),
    Joined(Vec<u8>),
}

/// The reason why a body was not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BodyError {
    /// The body is incomplete.
    Broken,
    /// The body is longer than `http.body_bytes_max`.
    TooLarge,
    /// All unfinished bodies and messages together would exceed `partial_bytes_max`.
    Overloaded,
    /// The content coding is not supported.
    Coding,
    /// The content coding is gzip, but the body is not valid gzip.
    NotGzip,
}

impl BodyError {
    pub(super) fn response(self) -> HttpResponse {
        match self {
            Self::Broken => response::text(StatusCode::BAD_REQUEST, "request data illegal"),
            Self::TooLarge => response::text(StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE),
            Self::Overloaded => response::unavailable("too many unfinished requests"),
            Self::Coding => response::unsupported_coding(),
            Self::NotGzip => response::text(StatusCode::BAD_REQUEST, "the body is not gzip"),
        }
    }
}

/// Reads and decodes a body. It counts as unfinished until the returned
/// [`BufferedBytes`] is dropped.
///
/// # Errors
///
/// A [`BodyError`].
pub(super) async fn read_whole<'c>(
    context: &'c HttpContext,
    connection: &ConnectionContext,
    head: &Parts,
    body: Incoming,
) -> Result<(RequestBody, BufferedBytes<'c>), BodyError> {
    let declared = head
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|len| len.to_str().ok()?.parse().ok());
    if declared.is_some_and(|len: u64| len > context.body_bytes_max as u64) {
        return Err(BodyError::TooLarge);
    }
    let coding = Coding::of(&head.headers)?;
    connection.phase.set(HttpPhase::Body);
    let mut held = BufferedBytes { context, bytes: 0 };
    let read = read_body(&mut held, body).await;
    connection.phase.set(HttpPhase::Response);
    let body = read?;
    connection.has_read_body.set(true);
    match coding {
        Coding::Plain => Ok((body, held)),
        Coding::Gzip => {
            let mut room = context.body_bytes_max;
            let plain = coding::gunzip(body.as_slice(), |bytes| {
                room = room.checked_sub(bytes).ok_or(BodyError::TooLarge)?;
                held.add(bytes).then_some(()).ok_or(BodyError::Overloaded)
            });
            let plain = plain.await?;
            Ok((RequestBody::Joined(plain), held))
        }
    }
}

/// Reads a body within the limits of one body and of all unfinished ones.
///
/// # Errors
///
/// A [`BodyError`].
async fn read_body(
    held: &mut BufferedBytes<'_>,
    mut body: Incoming,
) -> Result<RequestBody, BodyError> {
    let mut first: Option<Bytes> = None;
    let mut joined: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(BodyError::Broken);
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if held.bytes + data.len() > held.context.body_bytes_max {
            return Err(BodyError::TooLarge);
        }
        if !held.add(data.len()) {
            return Err(BodyError::Overloaded);
        }
        if body.is_end_stream() && first.is_none() {
            return Ok(RequestBody::One(data));
        }
        if let Some(first) = first.replace(Bytes::new()) {
            joined.extend_from_slice(&first);
            joined.extend_from_slice(&data);
        } else {
            first = Some(data);
        }
    }
    match first {
        Some(data) if joined.is_empty() => Ok(RequestBody::One(data)),
        _ => Ok(RequestBody::Joined(joined)),
    }
}

/// The bytes that one unfinished body adds to [`HttpContext::bodies_bytes`], until dropped.
pub(super) struct BufferedBytes<'c> {
    context: &'c HttpContext,
    bytes: usize,
}

impl BufferedBytes<'_> {
    /// Counts more bytes. Returns `false`, and counts nothing, if the limit would be exceeded.
    fn add(&mut self, bytes: usize) -> bool {
        let all = self.context.bodies_bytes.get() + bytes;
        if all + self.context.messages_bytes.get() > self.context.partial_bytes_max {
            return false;
        }
        self.context.bodies_bytes.set(all);
        self.bytes += bytes;
        true
    }
}

impl Drop for BufferedBytes<'_> {
    fn drop(&mut self) {
        self.context
            .bodies_bytes
            .set(self.context.bodies_bytes.get() - self.bytes);
    }
}

impl RequestBody {
    pub(super) fn into_vec(self) -> Vec<u8> {
        match self {
            Self::One(bytes) => bytes.into(),
            Self::Joined(bytes) => bytes,
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::One(bytes) => bytes,
            Self::Joined(bytes) => bytes,
        }
    }
}

const TOO_LARGE: &str = "request body too large";
