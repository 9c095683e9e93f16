//! Whatever an embedder serves beside the gateway's own paths.

use super::answer::{self, Answer};
use super::line::Line;
use super::service::Context;
use crate::handler::{EmbedderBody, LocalFuture};
use crate::logging::limited;
use crate::shard::HttpPhase;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::combinators::MapFrame;
use hyper::Request;
use hyper::body::{Body as _, Frame, Incoming};
use std::rc::Rc;

/// The body of an embedder's answer, on its way out: each part of it begins the connection's time
/// limit anew.
pub(super) type OutgoingBody = MapFrame<EmbedderBody, Box<dyn FnMut(Frame<Bytes>) -> Frame<Bytes>>>;

/// A connection that an answer goes out on, which is not idle while this is there.
struct Streaming(Rc<Line>);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.is_streaming.set(false);
    }
}

fn outgoing(body: EmbedderBody, line: &Rc<Line>) -> OutgoingBody {
    line.is_streaming.set(true);
    let streaming = Streaming(Rc::clone(line));
    body.map_frame(Box::new(move |part| {
        streaming.0.served.set(true);
        part
    }))
}

/// Answers what nothing of ours is served for. A request with a body must be answered within a
/// body's time: only the embedder sees whether it still comes.
pub(super) async fn serve(
    context: &Context,
    line: &Rc<Line>,
    request: Request<Incoming>,
) -> Answer {
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
        Ok(Ok(response)) => response.map(|body| answer::Bodies::Right(outgoing(body, line))),
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
