//! A connection that speaks HTTP: before its upgrade, or without one.

use super::Service;
use super::connection_context::{ConnectionContext, Credit};
use super::eviction::EntryKey;
use super::pipe::{InputLimit, Pipe, PipeIo};
use super::raw_head::{self, HeadReader, HeadState};
use super::service::HttpContext;
use crate::handler::Admitted;
use crate::mailbox::ShardWaker;
use crate::shard::HttpPhase;
use crate::vocabulary::id::ConnectionId;
use bytes::BytesMut;
use crossbeam_queue::SegQueue;
use hyper::server::conn::http1;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Wake, Waker};

/// The state of an HTTP connection: hyper's state, and the pipe between hyper and the socket.
///
/// Invariant: `sending` does not change while a send is in progress. hyper's output and `sending`
/// together are at most the pipe's outbound limit plus one response.
#[derive(Debug)]
pub(crate) struct HttpConnection {
    hyper: Option<http1::Connection<PipeIo, Service>>,
    pipe: Rc<RefCell<Pipe>>,
    context: Rc<ConnectionContext>,
    flag: Arc<WakeFlag>,
    waker: Waker,
    sending: Vec<u8>,
    sent_bytes: usize,
    is_sending: bool,
    /// Whether the bytes of the next head are withheld from hyper because the head is incomplete.
    holds_back_head: bool,
    head: HeadReader,
    /// Maximum bytes of a head that are withheld from hyper.
    head_bytes_max: usize,
    /// Whether the peer has taken response bytes since the host's last check.
    has_progress: bool,
    /// The key of the connection in the shard's eviction queues; `None` once it is closing.
    pub(crate) place: Option<EntryKey>,
    /// Whether the connection is in the host's send queue.
    pub(crate) queued: bool,
    /// Whether receiving is paused because hyper does not read.
    pub(crate) paused: bool,
    /// Whether the peer has shut down its write side.
    pub(crate) peer_ended: bool,
    /// The session to open when the send in progress has ended.
    upgraded: Option<Box<Upgraded>>,
}

/// The state of a connection after a poll.
#[derive(Debug)]
pub(crate) enum Progress {
    /// The connection waits for input, for a response, or for its output to be sent.
    Pending,
    /// hyper has finished; the output in the pipe must still be sent.
    Done,
    /// Like `Done`, after invalid input that counts as a rejected request.
    Malformed,
    /// The connection becomes a session.
    Upgraded(Box<Upgraded>),
}

/// The parts of an HTTP connection that its session takes over.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) route: u16,
    pub(crate) format: u8,
    pub(crate) admitted: Admitted,
    /// The bytes to send first: earlier responses and the 101.
    pub(crate) greeting: Vec<u8>,
    /// The bytes that the client sent after its request.
    pub(crate) input: BytesMut,
}

/// The connections to poll next. Any thread can add one.
#[derive(Debug)]
pub(crate) struct WakeList {
    ids: SegQueue<ConnectionId>,
    waker: ShardWaker,
}

impl WakeList {
    pub(crate) fn new(waker: ShardWaker) -> Self {
        Self {
            ids: SegQueue::new(),
            waker,
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
            self.list.waker.wake();
        }
    }
}

impl HttpConnection {
    pub(crate) fn new(
        id: ConnectionId,
        shard_context: &Rc<HttpContext>,
        list: &Arc<WakeList>,
        head_bytes_max: usize,
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
            head_bytes_max,
            ..Self::bare(id, pipe, context, list)
        }
    }

    /// Creates a connection that sends one response and is then closed.
    pub(crate) fn closing_response(
        id: ConnectionId,
        list: &Arc<WakeList>,
        response: &[u8],
    ) -> Self {
        let mut pipe = Pipe::new(response.len());
        pipe.put_outbound(response);
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
            sending: Vec::new(),
            sent_bytes: 0,
            is_sending: false,
            holds_back_head: true,
            head: HeadReader::default(),
            head_bytes_max: 0,
            has_progress: false,
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

    /// Returns the connection's phase. `Unread` takes precedence over the phase of the current
    /// request: a peer that does not read its responses must not keep its place by sending
    /// requests.
    pub(crate) fn phase(&self) -> HttpPhase {
        if !self.is_quiet() {
            HttpPhase::Unread
        } else if self.context.is_streaming.get() {
            // The producer of a streamed body may take long.
            HttpPhase::Response
        } else {
            self.context.phase.get()
        }
    }

    /// Returns whether a request waits because too many response bytes are unread.
    pub(crate) fn delays_request(&self) -> bool {
        self.pipe.borrow().delays_request()
    }

    /// Takes the highest credit of the connection's requests since the last call.
    pub(crate) fn take_credit(&self) -> Option<Credit> {
        self.context.take_credit()
    }

    /// Returns whether the peer has taken response bytes since the last call.
    pub(crate) fn take_has_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_progress)
    }

    /// Adds bytes from the socket to the pipe. The caller must poll the connection afterwards.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        let begins = self.begins_request();
        if self.hyper.is_none() {
            // hyper has ended. Only a session that follows needs more input.
            if self.upgraded.is_some() {
                self.pipe.borrow_mut().receive(bytes);
            }
            return;
        }
        self.pipe.borrow_mut().receive(bytes);
        if self.context.phase.get() == HttpPhase::Idle {
            self.begin_request(begins);
        } else if self.holds_back_head {
            self.inspect_head();
        }
    }

    /// Passes the next input to hyper: a new request, or the rest of one that hyper has begun.
    /// Returns whether hyper has something to read.
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
        !self.holds_back_head
    }

    /// Returns whether the next input byte certainly begins a request. While hyper writes a
    /// response, its own buffer may already contain the start of the next request.
    fn begins_request(&self) -> bool {
        let is_writing = self.context.is_streaming.get();
        self.pipe.borrow().begins_request(is_writing)
    }

    /// Inspects the next head for properties that hyper does not report. Until the head is
    /// complete, its bytes are withheld from hyper.
    fn inspect_head(&mut self) {
        let mut pipe = self.pipe.borrow_mut();
        let mut state = self.head.inspect(pipe.inbound(), self.head_bytes_max);
        if state == HeadState::Wait && pipe.has_ended() {
            // The head can no longer become complete.
            state = HeadState::Pass;
        }
        self.holds_back_head = state == HeadState::Wait;
        match state {
            HeadState::Wait => pipe.set_input_limit(InputLimit::Bytes(0)),
            HeadState::Pass => pipe.set_input_limit(InputLimit::All),
            HeadState::Complete(head) => {
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

    /// Accepts the end of the peer's input. The caller must poll the connection afterwards.
    pub(crate) fn receive_end(&mut self) {
        self.peer_ended = true;
        self.holds_back_head = false;
        self.pipe.borrow_mut().end_inbound();
    }

    pub(crate) fn inbound_bytes(&self) -> usize {
        self.pipe.borrow().inbound_bytes()
    }

    /// Returns the response bytes that the peer has not taken plus the input bytes not read by
    /// hyper.
    pub(crate) fn unread_bytes(&self) -> usize {
        let pipe = self.pipe.borrow();
        pipe.unread_bytes() + pipe.inbound_bytes()
    }

    /// Returns whether the connection was woken since it was polled last.
    pub(crate) fn take_woken(&self) -> bool {
        self.flag.woken.swap(false, Ordering::AcqRel)
    }

    /// Runs hyper on one request after the other.
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

    /// Returns whether the connection waits for its next request and has nothing to send.
    pub(crate) fn is_at_rest(&self) -> bool {
        let is_waiting = self.context.phase.get() == HttpPhase::Idle;
        self.hyper.is_some() && is_waiting && !self.context.is_streaming.get() && self.is_quiet()
    }

    /// Ends a connection that is at rest.
    ///
    /// # Panics
    ///
    /// If the connection is not at rest.
    pub(crate) fn drain(&mut self) {
        assert!(self.is_at_rest(), "only a connection at rest is drained");
        self.hyper = None;
    }

    /// Ends the connection with this response. That is possible if a request has begun, no part of
    /// its response was written, and the pipe has room. Otherwise returns `false`: the connection
    /// can only be aborted.
    pub(crate) fn end_with_response(&mut self, response: &[u8]) -> bool {
        let is_streaming = self.context.is_streaming.get();
        let Some(hyper) = self.hyper.take() else {
            return false;
        };
        // hyper may have read the start of the next request together with the previous request.
        let has_begun = self.context.phase.replace(HttpPhase::Response) != HttpPhase::Idle
            || !hyper.into_parts().read_buf.is_empty();
        let mut pipe = self.pipe.borrow_mut();
        if is_streaming || !has_begun || pipe.is_full() {
            return false;
        }
        pipe.put_outbound(response);
        true
    }

    /// Drops all buffers except `sending`, which the kernel may still read. The connection is about
    /// to be closed.
    pub(crate) fn drop_buffers(&mut self) {
        self.hyper = None;
        self.upgraded = None;
        let mut pipe = self.pipe.borrow_mut();
        drop((pipe.take_inbound(), pipe.take_outbound()));
    }

    /// Returns whether a request was served since the last call.
    pub(crate) fn take_served(&self) -> bool {
        self.context.served.take()
    }

    /// Returns the bytes to send next, unchanged until [`HttpConnection::sent`]; `None` if there
    /// are none.
    pub(crate) fn begin_send(&mut self) -> Option<&[u8]> {
        assert!(!self.is_sending, "one send at a time");
        if self.sent_bytes == self.sending.len() {
            let mut empty = std::mem::take(&mut self.sending);
            empty.clear();
            self.sent_bytes = 0;
            self.sending = self.pipe.borrow_mut().begin_send(empty);
        }
        if self.sending.is_empty() {
            return None;
        }
        self.is_sending = true;
        Some(&self.sending[self.sent_bytes..])
    }

    /// Ends the send in progress. The socket has taken `taken` bytes.
    pub(crate) fn sent(&mut self, taken: usize) {
        assert!(self.is_sending, "no send to end");
        self.is_sending = false;
        self.sent_bytes += taken;
        self.has_progress |= taken > 0;
        assert!(self.sent_bytes <= self.sending.len());
        if self.sent_bytes == self.sending.len() {
            self.pipe.borrow_mut().complete_send();
            if self.sending.capacity() > KEPT_BYTES_MAX {
                self.sending = Vec::new();
                self.sent_bytes = 0;
            }
        }
    }

    pub(crate) fn is_sending(&self) -> bool {
        self.is_sending
    }

    /// Returns whether there are bytes to send and no send is in progress.
    pub(crate) fn wants_to_send(&self) -> bool {
        !self.is_sending
            && (self.sent_bytes < self.sending.len() || self.pipe.borrow().has_outbound())
    }

    /// Returns whether there are no bytes to send and no send is in progress.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.is_sending && !self.wants_to_send()
    }

    /// Returns whether hyper has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.hyper.is_none()
    }

    /// Returns whether only the last responses are left to send: hyper has ended, or the peer has
    /// shut down its write side.
    pub(crate) fn is_ending(&self) -> bool {
        (self.is_done() || self.peer_ended) && self.upgraded.is_none() && !self.is_quiet()
    }

    /// Stores the session that the connection becomes when its sends have ended.
    pub(crate) fn set_upgrade(&mut self, upgraded: Box<Upgraded>) {
        self.upgraded = Some(upgraded);
    }

    /// Returns whether an upgrade was accepted.
    pub(crate) fn has_upgrade(&self) -> bool {
        self.upgraded.is_some()
    }

    /// Takes the session that the connection becomes. Unsent bytes of earlier responses precede the
    /// 101.
    ///
    /// # Panics
    ///
    /// If a send is in progress.
    pub(crate) fn take_upgrade(&mut self) -> Option<Box<Upgraded>> {
        assert!(!self.is_sending, "a send is in progress");
        let mut upgraded = self.upgraded.take()?;
        let rest = self.sending.split_off(self.sent_bytes);
        upgraded.greeting.splice(0..0, rest);
        upgraded
            .input
            .unsplit(self.pipe.borrow_mut().take_inbound());
        Some(upgraded)
    }

    /// Returns the next state after hyper has ended: the connection becomes a session or closes.
    fn after_hyper(&mut self) -> Progress {
        let hyper = self.hyper.take().expect("it has just been polled");
        let parts = hyper.into_parts();
        let Some(granted) = self.context.upgrade.take() else {
            return Progress::Done;
        };
        let mut pipe = self.pipe.borrow_mut();
        let mut input = BytesMut::from(&parts.read_buf[..]);
        input.unsplit(pipe.take_inbound());

        // hyper's 101 is its last output. Replace it by a 101 with the header names of the original
        // servers (docs/dialects/websocket.md, "Upgrade"), or by the response of another framing.
        let mut greeting = pipe.take_outbound();
        let at = greeting
            .windows(SWITCHING.len())
            .rposition(|window| window == SWITCHING);
        greeting.truncate(at.expect("hyper ends only when its 101 is in the pipe"));
        granted.put_response(&mut greeting);
        Progress::Upgraded(Box::new(Upgraded {
            route: granted.route,
            format: granted.format,
            admitted: granted.admitted,
            greeting,
            input,
        }))
    }
}

/// Minimum of hyper's buffer limit, in bytes; hyper panics below it. A request with a head above
/// the buffer limit gets 431.
const HEAD_BYTES_MAX: usize = 8192;
/// Maximum capacity of a buffer that is kept for the next response, in bytes.
const KEPT_BYTES_MAX: usize = 4096;
const SWITCHING: &[u8] = b"HTTP/1.1 101 ";
