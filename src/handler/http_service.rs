//! Type erasure for an embedder's HTTP service and its response bodies.

use super::task::LocalFuture;
use crate::runtime::panic::{discard, guarded};
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Request, Response};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

/// An embedder's type-erased HTTP service.
pub(crate) type HttpService =
    dyn Fn(Request<Incoming>) -> LocalFuture<Result<Response<EmbedderBody>, String>>;

/// A type-erased body of an embedder's response. A panic in the body becomes its last frame, an
/// error.
#[derive(derive_more::Debug)]
#[debug("EmbedderBody")]
pub(crate) struct EmbedderBody(Option<ErasedBody>);

type ErasedBody = Pin<Box<dyn Body<Data = Bytes, Error = String>>>;

impl EmbedderBody {
    pub(crate) fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + 'static,
        B::Error: fmt::Display,
    {
        use http_body_util::BodyExt as _;
        Self(Some(Box::pin(body.map_err(|error| error.to_string()))))
    }
}

impl Body for EmbedderBody {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        guarded(|| body.as_mut().poll_frame(cx)).unwrap_or_else(|_| {
            discard(self.0.take());
            Poll::Ready(Some(Err("the body panicked".to_owned())))
        })
    }

    fn is_end_stream(&self) -> bool {
        let body = self.0.as_ref();
        body.is_none_or(|body| guarded(|| body.is_end_stream()).unwrap_or(false))
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.0.as_ref();
        body.and_then(|body| guarded(|| body.size_hint()).ok())
            .unwrap_or_default()
    }
}

impl Drop for EmbedderBody {
    fn drop(&mut self) {
        discard(self.0.take());
    }
}
