//! The embedder's HTTP service, for paths that the gateway does not serve itself.

use super::connection_context::ConnectionContext;
use super::response::{self, HttpResponse};
use super::service::HttpContext;
use crate::handler::{EmbedderBody, LocalFuture};
use crate::logging::limited;
use crate::shard::HttpPhase;
use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

/// The body of an embedder's response. While it is being streamed, the connection is not idle, and
/// each part restarts the connection's time limit.
#[derive(Debug)]
pub(super) struct OutgoingBody {
    body: EmbedderBody,
    connection: Rc<ConnectionContext>,
}

impl OutgoingBody {
    fn new(body: EmbedderBody, connection: &Rc<ConnectionContext>) -> Self {
        connection.is_streaming.set(true);
        let connection = Rc::clone(connection);
        Self { body, connection }
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
        if let Poll::Ready(Some(part)) = &polled {
            self.connection.served.set(true);
            // A panic has ended the body.
            self.connection.is_streaming.set(part.is_ok());
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
        self.connection.is_streaming.set(false);
    }
}

/// Passes a request to the embedder's service. The service must respond to a request with a body
/// within `body_timeout_ms`: the gateway cannot see whether the body still arrives.
pub(super) async fn serve(
    context: &HttpContext,
    connection: &Rc<ConnectionContext>,
    request: Request<Incoming>,
) -> HttpResponse {
    let Some((service, label)) = &context.registry.http else {
        let response = response::not_found();
        context.note_response(connection, response.status(), request.uri().path());
        return response;
    };
    if request.body().size_hint().exact() != Some(0) {
        connection.phase.set(HttpPhase::Body);
    }
    // Only the service knows whether it read the body.
    connection.has_read_body.set(true);
    let service = Rc::clone(service);
    let future: LocalFuture<_> = Box::pin(async move { service(request).await });
    match context.run(*label, future, None).await {
        Ok(Ok(response)) => {
            response.map(|body| response::ResponseBody::Right(OutgoingBody::new(body, connection)))
        }
        Ok(Err(error)) => {
            limited!(
                WARN,
                "the embedder's HTTP service failed",
                error = error.as_str()
            );
            response::internal_error()
        }
        Err(_) => response::internal_error(),
    }
}
