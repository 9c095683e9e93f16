//! Whatever an embedder serves beside the gateway's own paths.

use super::answer::{self, Answer};
use super::line::Line;
use super::service::Context;
use crate::handler::{EmbedderBody, LocalFuture};
use crate::logging::limited;
use crate::shard::HttpPhase;
use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

/// The body of an embedder's answer, on its way out.
#[derive(Debug)]
pub(super) struct OutgoingBody {
    body: EmbedderBody,
    /// The connection that it goes out on, which is not idle while it goes on.
    line: Option<Rc<Line>>,
}

impl OutgoingBody {
    /// Has each part of it begin the connection's time limit anew.
    pub(super) fn go_out_on(&mut self, line: Rc<Line>) {
        line.is_streaming.set(true);
        self.line = Some(line);
    }
}

impl From<EmbedderBody> for OutgoingBody {
    fn from(body: EmbedderBody) -> Self {
        Self { body, line: None }
    }
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let (Poll::Ready(Some(_)), Some(line)) = (&polled, &self.line) {
            line.served.set(true);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for OutgoingBody {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            line.is_streaming.set(false);
        }
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
        Ok(Ok(response)) => response.map(|body| answer::Bodies::Right(body.into())),
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
