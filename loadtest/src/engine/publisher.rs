//! A keep-alive HTTP connection that publishes, with a queue of requests.
//!
//! At most `depth` requests are in flight; later ones wait in the queue. The wait counts as
//! lateness and latency, because both begin at the due time. Some servers close the connection
//! after a response; then a new connection is opened and the queue continues.

use std::collections::VecDeque;

use rustix::event::epoll::EventFlags;

use super::pipe::{Pipe, Read};
use super::session::Context;
use crate::clock;
use crate::protocol::PublishResult;
use crate::stamp::NO_SLOT;
use crate::wire::http::Responses;

/// A publishing connection and its queue.
#[derive(Debug)]
pub(super) struct Publisher {
    pipe: Pipe,
    responses: Responses,
    depth: usize,
    queue: VecDeque<(Vec<u8>, Request)>,
    in_flight: VecDeque<Request>,
    /// Number of messages sent to each group.
    pub(super) sent: Vec<u32>,
    /// True if a response announced that the server closes the connection.
    is_closing: bool,
}

/// A queued request or one in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// The number of sessions that must receive the message; `None` for a probe (not counted).
    pub(super) receivers: Option<u32>,
    /// The slot in the window, or `NO_SLOT`.
    pub(super) slot: u16,
    /// Due time in nanoseconds.
    pub(super) due_ns: u64,
    /// The index of the publication in `Engine::published`, if times are kept.
    pub(super) published: Option<usize>,
}

impl Publisher {
    /// Creates a publisher with at most `depth` requests in flight.
    pub(super) fn new(pipe: Pipe, depth: usize, groups: usize) -> Self {
        Self {
            pipe,
            responses: Responses::default(),
            depth,
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            sent: vec![0; groups],
            is_closing: false,
        }
    }

    /// Queues a request. The next flush writes it if fewer than `depth` are in flight.
    pub(super) fn push(&mut self, bytes: Vec<u8>, request: Request, context: &mut Context<'_>) {
        self.queue.push_back((bytes, request));
        self.pump(context);
    }

    /// Returns `true` if no request is queued or in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.in_flight.is_empty()
    }

    /// Continues on a new connection.
    pub(super) fn reconnected(&mut self, pipe: Pipe) {
        self.pipe = pipe;
        self.responses = Responses::default();
        self.is_closing = false;
    }

    /// Handles an epoll event. Returns `true` if the connection must be replaced.
    pub(super) fn serve(
        &mut self,
        flags: EventFlags,
        scratch: &mut [u8],
        context: &mut Context<'_>,
    ) -> bool {
        match self.pipe.finish_connecting() {
            None => return false,
            Some(Ok(())) => {}
            Some(Err(end)) => {
                let authority = &context.setup.target.authority;
                self.fail(
                    context,
                    &format!("a publishing connection to {authority} was {end}"),
                );
                return false; // a new attempt would fail the same way
            }
        }
        if flags.intersects(EventFlags::OUT) {
            self.pipe.flush();
            self.pump(context);
        }
        let mut has_ended = false;
        loop {
            match self.pipe.read(scratch) {
                Read::Bytes(bytes, true) => self.responses.extend(&scratch[..bytes]),
                Read::Bytes(bytes, false) => {
                    self.responses.extend(&scratch[..bytes]);
                    if !flags.intersects(EventFlags::RDHUP) {
                        break;
                    }
                }
                Read::Nothing => break,
                Read::Ended(_) => {
                    has_ended = true;
                    break;
                }
            }
        }
        self.take_responses(has_ended, context);
        if has_ended && !self.in_flight.is_empty() {
            self.fail(
                context,
                "the server closed a publishing connection before it responded",
            );
        }
        self.pump(context);
        has_ended || self.is_closing
    }

    fn take_responses(&mut self, at_end: bool, context: &mut Context<'_>) {
        loop {
            let response = match self.responses.next(at_end) {
                Ok(Some(response)) => response,
                Ok(None) => return,
                Err(shown) => {
                    return self.fail(context, &format!("not an HTTP response: `{shown}`"));
                }
            };
            self.is_closing |= response.is_last;
            let Some(request) = self.in_flight.pop_front() else {
                return context
                    .counters
                    .record_error(|| "a response without a request".to_owned());
            };
            context.counters.events += 1;
            let protocol = &context.setup.protocol;
            let answered = protocol.parse_response(response.status, &response.body);
            let Some(receivers) = request.receivers else {
                continue; // A probe: only its delivery counts.
            };
            if request.slot != NO_SLOT {
                context.shared.count_arrival(request.slot, context.engine);
            }
            if let Some(published) = request.published {
                context
                    .counters
                    .responses
                    .push((published, clock::now_ns()));
            }
            match answered {
                PublishResult::Reached(n)
                    if context.setup.counts_receivers && n != u64::from(receivers) =>
                {
                    context.counters.record_error(|| {
                        format!("a publication reached {n} of {receivers} sessions")
                    });
                }
                PublishResult::Accepted | PublishResult::Reached(_) => {
                    context.counters.succeeded += 1;
                }
                PublishResult::Failed => context.counters.record_error(|| {
                    let body = &response.body[..response.body.len().min(200)];
                    format!(
                        "a publication got the status {}: `{}`",
                        response.status,
                        body.escape_ascii()
                    )
                }),
            }
        }
    }

    /// Moves requests from the queue to the write buffer until `depth` are in flight.
    fn pump(&mut self, context: &mut Context<'_>) {
        if !self.pipe.is_connected() || self.is_closing {
            return;
        }
        while self.in_flight.len() < self.depth
            && let Some((bytes, request)) = self.queue.pop_front()
        {
            self.pipe.unwritten().extend_from_slice(&bytes);
            if request.receivers.is_some() {
                let now_ns = clock::now_ns();
                context.counters.publish(request.due_ns, now_ns);
                context.counters.requests += 1;
            }
            self.in_flight.push_back(request);
        }
    }

    /// Writes the write buffer.
    pub(super) fn flush(&mut self) {
        if !self.pipe.unwritten().is_empty() {
            self.pipe.flush();
        }
    }

    /// Records an error and drops the requests in flight, so that their slots become free.
    fn fail(&mut self, context: &mut Context<'_>, why: &str) {
        context.counters.record_error(|| why.to_owned());
        for request in self.in_flight.drain(..) {
            if request.slot != NO_SLOT {
                context.shared.count_arrival(request.slot, context.engine);
            }
        }
    }
}
