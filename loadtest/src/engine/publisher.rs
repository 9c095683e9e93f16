//! One keep-alive HTTP connection that publishes: a queue of requests, answered in order.
//!
//! Up to `depth` requests are unanswered at once; the rest waits here, and its waiting shows as
//! lateness and latency, for what is due does not wait. Where the server closes the connection
//! behind an answer, as some do, another is made and the queue goes on.

use std::collections::VecDeque;

use rustix::event::epoll::EventFlags;

use super::pipe::{Pipe, Read};
use super::session::Context;
use crate::clock;
use crate::protocol::Answered;
use crate::stamp::NO_SLOT;
use crate::wire::http::Answers;

/// The connection and its queue.
#[derive(Debug)]
pub(super) struct Publisher {
    pipe: Pipe,
    answers: Answers,
    depth: usize,
    queue: VecDeque<(Vec<u8>, Request)>,
    unanswered: VecDeque<Request>,
    /// Messages sent to each group.
    pub(super) sent: Vec<u32>,
    /// Whether the last answer said that it was.
    is_closing: bool,
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// Who is to receive it; `None` for a probe, which is not counted.
    pub(super) receivers: Option<u32>,
    /// Its place in the window.
    pub(super) slot: u16,
    /// When it was due.
    pub(super) due_ns: u64,
    /// Where its times are kept, if members come and go.
    pub(super) published: Option<usize>,
}

impl Publisher {
    pub(super) fn new(pipe: Pipe, depth: usize, groups: usize) -> Self {
        Self {
            pipe,
            answers: Answers::default(),
            depth,
            queue: VecDeque::new(),
            unanswered: VecDeque::new(),
            sent: vec![0; groups],
            is_closing: false,
        }
    }

    /// Queues a request; it is written with the next flush if its turn has come.
    pub(super) fn push(&mut self, bytes: Vec<u8>, request: Request, context: &mut Context<'_>) {
        self.queue.push_back((bytes, request));
        self.pump(context);
    }

    /// Whether nothing is queued or unanswered.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.unanswered.is_empty()
    }

    /// Goes on over a new connection.
    pub(super) fn reconnected(&mut self, pipe: Pipe) {
        self.pipe = pipe;
        self.answers = Answers::default();
        self.is_closing = false;
    }

    /// Takes what has happened on the socket; `true` when the connection has ended.
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
                return false; // again and again would only be refused again
            }
        }
        if flags.intersects(EventFlags::OUT) {
            self.pipe.flush();
            self.pump(context);
        }
        let mut has_ended = false;
        loop {
            match self.pipe.read(scratch) {
                Read::Bytes(bytes, true) => self.answers.extend(&scratch[..bytes]),
                Read::Bytes(bytes, false) => {
                    self.answers.extend(&scratch[..bytes]);
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
        self.take_answers(has_ended, context);
        if has_ended && !self.unanswered.is_empty() {
            self.fail(
                context,
                "a publishing connection was ended before it answered",
            );
        }
        self.pump(context);
        has_ended || self.is_closing
    }

    fn take_answers(&mut self, at_end: bool, context: &mut Context<'_>) {
        loop {
            let answer = match self.answers.next(at_end) {
                Ok(Some(answer)) => answer,
                Ok(None) => return,
                Err(shown) => return self.fail(context, &format!("no HTTP answer: `{shown}`")),
            };
            self.is_closing |= answer.is_last;
            let Some(request) = self.unanswered.pop_front() else {
                return context.tally.complain(|| "an answer to nothing".to_owned());
            };
            context.tally.events += 1;
            let protocol = &context.setup.protocol;
            let answered = protocol.answered(answer.status, &answer.body);
            let Some(receivers) = request.receivers else {
                continue; // a probe: whether it arrives is what counts
            };
            if request.slot != NO_SLOT {
                context.shared.arrive(request.slot, context.engine);
            }
            if let Some(published) = request.published {
                context.tally.answers.push((published, clock::now_ns()));
            }
            match answered {
                Answered::Reached(n)
                    if context.setup.counts_receivers && n != u64::from(receivers) =>
                {
                    context
                        .tally
                        .complain(|| format!("a publication reached {n} of {receivers} sessions"));
                }
                Answered::Taken | Answered::Reached(_) => context.tally.answered += 1,
                Answered::Refused => context.tally.complain(|| {
                    let body = &answer.body[..answer.body.len().min(200)];
                    format!(
                        "a publication was answered {}: `{}`",
                        answer.status,
                        body.escape_ascii()
                    )
                }),
            }
        }
    }

    /// Sends from the queue what may be unanswered at once.
    fn pump(&mut self, context: &mut Context<'_>) {
        if !self.pipe.is_connected() || self.is_closing {
            return;
        }
        while self.unanswered.len() < self.depth
            && let Some((bytes, request)) = self.queue.pop_front()
        {
            self.pipe.unwritten().extend_from_slice(&bytes);
            if request.receivers.is_some() {
                let now_ns = clock::now_ns();
                context.tally.publish(request.due_ns, now_ns);
                context.tally.asked += 1;
            }
            self.unanswered.push_back(request);
        }
    }

    /// Writes what has been pumped, all of it at once.
    pub(super) fn flush(&mut self) {
        if !self.pipe.unwritten().is_empty() {
            self.pipe.flush();
        }
    }

    /// Gives up what is unanswered.
    fn fail(&mut self, context: &mut Context<'_>, why: &str) {
        context.tally.complain(|| why.to_owned());
        for request in self.unanswered.drain(..) {
            if request.slot != NO_SLOT {
                context.shared.arrive(request.slot, context.engine);
            }
        }
    }
}
