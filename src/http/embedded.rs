//! Whatever an embedder serves beside the gateway's own paths.

use super::answer::{self, Answer};
use super::line::Line;
use super::service::Context;
use crate::handler::LocalFuture;
use crate::logging::limited;
use crate::runtime::panic::{discard, guarded};
use crate::shard::HttpPhase;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Request, Response};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

/// An embedder's service whose type nobody needs to know.
pub(crate) type HttpService =
    dyn Fn(Request<Incoming>) -> LocalFuture<Result<Response<EmbedderBody>, String>>;

/// The body of an embedder's answer, whatever it is. Its panic is its end.
pub(crate) struct EmbedderBody {
    body: Option<ErasedBody>,
    /// The connection that it goes out on, which is not idle while it goes on.
    line: Option<Rc<Line>>,
}

type ErasedBody = Pin<Box<dyn Body<Data = Bytes, Error = String>>>;

impl EmbedderBody {
    pub(crate) fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + 'static,
        B::Error: fmt::Display,
    {
        use http_body_util::BodyExt as _;
        Self {
            body: Some(Box::pin(body.map_err(|error| error.to_string()))),
            line: None,
        }
    }

    /// Has each part of it begin the connection's time limit anew.
    pub(super) fn go_out_on(&mut self, line: Rc<Line>) {
        line.is_streaming.set(true);
        self.line = Some(line);
    }

    fn discard(&mut self) {
        if let Some(line) = self.line.take() {
            line.is_streaming.set(false);
        }
        discard(self.body.take());
    }
}

impl Body for EmbedderBody {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let Ok(polled) = guarded(|| body.as_mut().poll_frame(cx)) else {
            self.discard();
            return Poll::Ready(Some(Err("the body panicked".to_owned())));
        };
        if let (Poll::Ready(Some(_)), Some(line)) = (&polled, &self.line) {
            line.served.set(true);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let body = self.body.as_ref();
        body.is_none_or(|body| guarded(|| body.is_end_stream()).unwrap_or(false))
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.and_then(|body| guarded(|| body.size_hint()).ok())
            .unwrap_or_default()
    }
}

impl Drop for EmbedderBody {
    fn drop(&mut self) {
        self.discard();
    }
}

impl fmt::Debug for EmbedderBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmbedderBody")
    }
}

/// Answers what nothing of ours is served for. A request with a body must be answered within a
/// body's time: only the embedder sees whether it still comes.
pub(super) async fn serve(context: &Context, line: &Line, request: Request<Incoming>) -> Answer {
    let Some((service, label)) = &context.program.http else {
        let answer = answer::not_found();
        context.note_answer(line, answer.status(), request.uri().path());
        return answer;
    };
    if request.body().size_hint().exact() != Some(0) {
        line.phase.set(HttpPhase::Body);
    }
    // Only the service knows.
    line.has_read_body.set(true);
    let service = Rc::clone(service);
    let future: LocalFuture<_> = Box::pin(async move { service(request).await });
    match context.run(*label, future, None).await {
        Ok(Ok(response)) => response.map(answer::Bodies::Right),
        Ok(Err(error)) => {
            limited!(
                WARN,
                "the embedder's HTTP service failed",
                error = error.as_str()
            );
            answer::internal_error()
        }
        Err(_) => answer::internal_error(),
    }
}
