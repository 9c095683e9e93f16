//! One connection before it is a session, or that never becomes one.

use super::Service;
use super::connection_context::{ConnectionContext, Credit};
use super::eviction::EntryKey;
use super::pipe::{InputLimit, Pipe, PipeIo};
use super::raw_head::{self, HeadReader, HeadState};
use super::service::Context;
use crate::handler::Admitted;
use crate::mailbox::ShardWaker;
use crate::shard::HttpPhase;
use crate::vocabulary::id::ConnectionId;
use crate::ws::handshake;
use bytes::BytesMut;
use crossbeam_queue::SegQueue;
use hyper::server::conn::http1;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Wake, Waker};

/// hyper's state of one connection and the pipe that feeds it.
///
/// Invariant: `flying` is not touched while a send of it is under way. What hyper has written and
/// what is in `flying` are together at most the pipe's outbound bound, but for one answer.
#[derive(Debug)]
pub(crate) struct HttpConnection {
    hyper: Option<http1::Connection<PipeIo, Service>>,
    pipe: Rc<RefCell<Pipe>>,
    context: Rc<ConnectionContext>,
    flag: Arc<WakeFlag>,
    waker: Waker,
    flying: Vec<u8>,
    flown: usize,
    is_flying: bool,
    /// What has come of a head is held back until it is whole.
    awaits_head: bool,
    head: HeadReader,
    /// Bytes of a head that may be held back.
    held_bytes_max: usize,
    /// Some of its answers were taken since the host looked.
    has_moved: bool,
    /// Its place among the HTTP connections of its shard; `None` once it is to end.
    pub(crate) place: Option<EntryKey>,
    /// Whether it stands in the host's queue of connections to be sent to.
    pub(crate) queued: bool,
    /// Whether its receive is paused because hyper does not read.
    pub(crate) paused: bool,
    /// Whether the peer has said that nothing more will come.
    pub(crate) peer_ended: bool,
    /// What it becomes as soon as the send under way has ended.
    upgraded: Option<Box<Upgraded>>,
}

/// Where a connection stands after it was polled.
#[derive(Debug)]
pub(crate) enum Progress {
    /// It waits for input, for an answer, or for its output to be sent.
    Pending,
    /// Everything has been said; what is in the pipe must still be sent.
    Done,
    /// The same, behind something that is no request, for which it counts.
    Malformed,
    /// It is to become a session.
    Upgraded(Box<Upgraded>),
}

/// What is left of a connection that becomes a session.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) route: u16,
    pub(crate) admitted: Admitted,
    /// What must be sent first: earlier answers and the 101.
    pub(crate) greeting: Vec<u8>,
    /// What the client sent behind its request.
    pub(crate) input: BytesMut,
}

/// Connections that want to be polled, from whatever thread the wish comes.
#[derive(Debug)]
pub(crate) struct WakeList {
    ids: SegQueue<ConnectionId>,
    ring: ShardWaker,
}

impl WakeList {
    pub(crate) fn new(ring: ShardWaker) -> Self {
        Self {
            ids: SegQueue::new(),
            ring,
        }
    }

    pub(crate) fn pop(&self) -> Option<ConnectionId> {
        self.ids.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

#[derive(Debug)]
struct WakeFlag {
    id: ConnectionId,
    woken: AtomicBool,
    list: Arc<WakeList>,
}

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.list.ids.push(self.id);
            self.list.ring.ring();
        }
    }
}

impl HttpConnection {
    pub(crate) fn new(
        id: ConnectionId,
        shard_context: &Rc<Context>,
        list: &Arc<WakeList>,
        held_bytes_max: usize,
        outbound_bytes_max: usize,
    ) -> Self {
        let pipe = Rc::new(RefCell::new(Pipe::new(outbound_bytes_max)));
        let address = shard_context.peer(id);
        let context = Rc::new(ConnectionContext::new(id, address, HttpPhase::Head, &pipe));
        let service = Service {
            context: Rc::clone(shard_context),
            connection: Rc::clone(&context),
        };
        let hyper = http1::Builder::new()
            .title_case_headers(true)
            .half_close(true)
            .header_read_timeout(None)
            .max_buf_size(outbound_bytes_max.max(HEAD_BYTES_MAX))
            .serve_connection(PipeIo(Rc::clone(&pipe)), service);
        Self {
            hyper: Some(hyper),
            held_bytes_max,
            ..Self::bare(id, pipe, context, list)
        }
    }

    /// A connection that is told one thing, and then closed.
    pub(crate) fn closing_response(id: ConnectionId, list: &Arc<WakeList>, words: &[u8]) -> Self {
        let mut pipe = Pipe::new(words.len());
        pipe.put_outbound(words);
        let pipe = Rc::new(RefCell::new(pipe));
        let context = ConnectionContext::new(id, None, HttpPhase::Response, &pipe);
        Self::bare(id, pipe, Rc::new(context), list)
    }

    fn bare(
        id: ConnectionId,
        pipe: Rc<RefCell<Pipe>>,
        context: Rc<ConnectionContext>,
        list: &Arc<WakeList>,
    ) -> Self {
        let flag = Arc::new(WakeFlag {
            id,
            woken: AtomicBool::new(false),
            list: Arc::clone(list),
        });
        let waker = Waker::from(Arc::clone(&flag));
        Self {
            hyper: None,
            pipe,
            context,
            flag,
            waker,
            flying: Vec::new(),
            flown: 0,
            is_flying: false,
            awaits_head: true,
            head: HeadReader::default(),
            held_bytes_max: 0,
            has_moved: false,
            place: None,
            queued: false,
            paused: false,
            peer_ended: false,
            upgraded: None,
        }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.context.id
    }

    /// What it waits for. Unread answers go before everything else: none of its requests is any
    /// good to a peer that does not read.
    pub(crate) fn phase(&self) -> HttpPhase {
        if !self.is_quiet() {
            HttpPhase::Unread
        } else if self.context.is_streaming.get() {
            // Whoever makes its parts may take long.
            HttpPhase::Response
        } else {
            self.context.phase.get()
        }
    }

    /// Whether a request waits because too many answers are unread.
    pub(crate) fn holds_request(&self) -> bool {
        self.pipe.borrow().holds_request()
    }

    /// What its requests have earned since the last call.
    pub(crate) fn take_credit(&self) -> Option<Credit> {
        self.context.take_credit()
    }

    /// Whether some of its answers were taken since the last call.
    pub(crate) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }

    /// Takes bytes from the socket; the connection must be polled then.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        let begins = self.begins_request();
        if self.hyper.is_none() {
            // Behind the end of the last request only an upgrade leaves somebody who wants more.
            if self.upgraded.is_some() {
                self.pipe.borrow_mut().receive(bytes);
            }
            return;
        }
        self.pipe.borrow_mut().receive(bytes);
        if self.context.phase.get() == HttpPhase::Idle {
            self.begin_request(begins);
        } else if self.awaits_head {
            self.inspect_head();
        }
    }

    /// Goes on with what has come behind the last request: a new one, or the rest of one that hyper
    /// knows. Whether that is something for hyper.
    fn begin_request(&mut self, is_new: bool) -> bool {
        if self.pipe.borrow().inbound_bytes() == 0 {
            return false;
        }
        self.context.phase.set(HttpPhase::Head);
        self.context.raw_head.set(None);
        if is_new {
            self.head = HeadReader::default();
            self.inspect_head();
        }
        !self.awaits_head
    }

    /// Whether what comes next, or lies in the pipe, begins a request. While hyper still writes the
    /// last answer it may keep what came behind that one's request.
    fn begins_request(&self) -> bool {
        let is_writing = self.context.is_streaming.get();
        self.pipe.borrow().begins_request(is_writing)
    }

    /// Sees what hyper will not tell of the head that begins, if it has come.
    fn inspect_head(&mut self) {
        let mut pipe = self.pipe.borrow_mut();
        let mut look = self.head.look(pipe.inbound(), self.held_bytes_max);
        if look == HeadState::Wait && pipe.has_ended() {
            // It never will be whole.
            look = HeadState::Pass;
        }
        self.awaits_head = look == HeadState::Wait;
        match look {
            HeadState::Wait => pipe.set_input_limit(InputLimit::Bytes(0)),
            HeadState::Pass => pipe.set_input_limit(InputLimit::All),
            HeadState::Seen(head) => {
                if head.is_http_10_upgrade {
                    raw_head::make_http_11(pipe.inbound());
                }
                pipe.set_input_limit(
                    head.request_bytes
                        .map_or(InputLimit::All, InputLimit::Bytes),
                );
                self.context.raw_head.set(Some(head));
            }
        }
    }

    /// Takes the end of the peer's input; the connection must be polled then.
    pub(crate) fn receive_end(&mut self) {
        self.peer_ended = true;
        self.awaits_head = false;
        self.pipe.borrow_mut().end_inbound();
    }

    pub(crate) fn inbound_bytes(&self) -> usize {
        self.pipe.borrow().inbound_bytes()
    }

    /// Bytes of answers that the peer has not taken, and of input that nobody has read.
    pub(crate) fn unread_bytes(&self) -> usize {
        let pipe = self.pipe.borrow();
        pipe.unread_bytes() + pipe.inbound_bytes()
    }

    /// Whether somebody woke it since it was polled last.
    pub(crate) fn take_woken(&self) -> bool {
        self.flag.woken.swap(false, Ordering::AcqRel)
    }

    /// Lets hyper work, on one request after the other.
    pub(crate) fn poll(&mut self) -> Progress {
        loop {
            let progress = self.poll_hyper();
            let is_idle = self.context.phase.get() == HttpPhase::Idle;
            let begins = is_idle && self.begins_request();
            if !begins || !matches!(progress, Progress::Pending) || !self.begin_request(true) {
                return progress;
            }
        }
    }

    fn poll_hyper(&mut self) -> Progress {
        let Some(hyper) = &mut self.hyper else {
            return Progress::Done;
        };
        let mut cx = std::task::Context::from_waker(&self.waker);
        match hyper.poll_without_shutdown(&mut cx) {
            Poll::Pending => Progress::Pending,
            Poll::Ready(result) => {
                let Err(error) = result else {
                    return self.after_hyper();
                };
                if error.is_parse() {
                    self.hyper = None;
                    return Progress::Malformed;
                }
                let address = self.context.address.map(tracing::field::display);
                tracing::debug!(address, %error, "HTTP connection failed");
                self.after_hyper()
            }
        }
    }

    /// Whether it waits for the next request and owes nothing.
    pub(crate) fn is_at_rest(&self) -> bool {
        let is_waiting = self.context.phase.get() == HttpPhase::Idle;
        self.hyper.is_some() && is_waiting && !self.context.is_streaming.get() && self.is_quiet()
    }

    /// Ends a connection that is at rest.
    pub(crate) fn drain(&mut self) {
        assert!(self.is_at_rest(), "what was asked is answered first");
        self.hyper = None;
    }

    /// Ends it with these words, if it can still be told something: a request has begun, nothing of
    /// its answer has, and the answers before it leave room. `false`: it can only be broken off.
    pub(crate) fn end_with_response(&mut self, words: &[u8]) -> bool {
        let is_streaming = self.context.is_streaming.get();
        let Some(hyper) = self.hyper.take() else {
            return false;
        };
        // The next request may have begun in the packet of the last one.
        let has_begun = self.context.phase.replace(HttpPhase::Response) != HttpPhase::Idle
            || !hyper.into_parts().read_buf.is_empty();
        let mut pipe = self.pipe.borrow_mut();
        if is_streaming || !has_begun || pipe.is_full() {
            return false;
        }
        pipe.put_outbound(words);
        true
    }

    /// Gives up everything but what the kernel holds. The connection is about to be closed.
    pub(crate) fn abandon(&mut self) {
        self.hyper = None;
        self.upgraded = None;
        let mut pipe = self.pipe.borrow_mut();
        drop((pipe.take_inbound(), pipe.take_outbound()));
    }

    /// Whether a request was served since the last call.
    pub(crate) fn take_served(&self) -> bool {
        self.context.served.take()
    }

    /// Lends what is to be sent next; it stays until [`HttpConnection::sent`].
    pub(crate) fn begin_send(&mut self) -> Option<&[u8]> {
        assert!(!self.is_flying, "one send at a time");
        if self.flown == self.flying.len() {
            let mut empty = std::mem::take(&mut self.flying);
            empty.clear();
            self.flown = 0;
            self.flying = self.pipe.borrow_mut().begin_send(empty);
        }
        if self.flying.is_empty() {
            return None;
        }
        self.is_flying = true;
        Some(&self.flying[self.flown..])
    }

    /// The send is over, and the socket took `taken` bytes.
    pub(crate) fn sent(&mut self, taken: usize) {
        assert!(self.is_flying, "no send to end");
        self.is_flying = false;
        self.flown += taken;
        self.has_moved |= taken > 0;
        assert!(self.flown <= self.flying.len());
        if self.flown == self.flying.len() {
            self.pipe.borrow_mut().complete_send();
            if self.flying.capacity() > KEPT_BYTES_MAX {
                self.flying = Vec::new();
                self.flown = 0;
            }
        }
    }

    pub(crate) fn is_flying(&self) -> bool {
        self.is_flying
    }

    /// Whether something is to be sent and no send is under way.
    pub(crate) fn wants_to_send(&self) -> bool {
        !self.is_flying && (self.flown < self.flying.len() || self.pipe.borrow().has_outbound())
    }

    /// Whether nothing is to be sent and no send is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.is_flying && !self.wants_to_send()
    }

    /// Whether hyper has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.hyper.is_none()
    }

    /// Whether its last answers are being sent: nothing is read of it any more, or nothing comes.
    pub(crate) fn is_ending(&self) -> bool {
        (self.is_done() || self.peer_ended) && self.upgraded.is_none() && !self.is_quiet()
    }

    /// Keeps what the connection is to become until its sends have ended.
    pub(crate) fn adopt(&mut self, upgraded: Box<Upgraded>) {
        self.upgraded = Some(upgraded);
    }

    /// Whether an upgrade was granted.
    pub(crate) fn has_upgrade(&self) -> bool {
        self.upgraded.is_some()
    }

    /// Takes what the connection is to become. What a send has not taken of earlier answers goes
    /// out before the 101.
    pub(crate) fn take_upgrade(&mut self) -> Option<Box<Upgraded>> {
        assert!(!self.is_flying, "its answers are still being sent");
        let mut upgraded = self.upgraded.take()?;
        let rest = self.flying.split_off(self.flown);
        upgraded.greeting.splice(0..0, rest);
        upgraded
            .input
            .unsplit(self.pipe.borrow_mut().take_inbound());
        Some(upgraded)
    }

    /// hyper has ended: the connection becomes a session, or closes.
    fn after_hyper(&mut self) -> Progress {
        let hyper = self.hyper.take().expect("it has just been polled");
        let parts = hyper.into_parts();
        let Some(granted) = self.context.upgrade.take() else {
            return Progress::Done;
        };
        let mut pipe = self.pipe.borrow_mut();
        let mut input = BytesMut::from(&parts.read_buf[..]);
        input.unsplit(pipe.take_inbound());

        // hyper's 101 is the last thing it wrote; ours has the originals' spelling (wire.md 1.1).
        let mut greeting = pipe.take_outbound();
        let at = greeting
            .windows(SWITCHING.len())
            .rposition(|window| window == SWITCHING);
        greeting.truncate(at.expect("hyper ends only when its 101 is in the pipe"));
        let subprotocol = granted.subprotocol.as_deref();
        handshake::put_switching_protocols(&mut greeting, &granted.accept, subprotocol);
        Progress::Upgraded(Box::new(Upgraded {
            route: granted.route,
            admitted: granted.admitted,
            greeting,
            input,
        }))
    }
}

/// A request's head, in bytes: what hyper takes at the least. A longer one is answered with 431.
const HEAD_BYTES_MAX: usize = 8192;
/// A larger buffer is not kept for the next answer.
const KEPT_BYTES_MAX: usize = 4096;
const SWITCHING: &[u8] = b"HTTP/1.1 101 ";
