//! A machine in memory: connections between clients and shards, and the state of each shard's
//! kernel. Everything that a kernel may do in one of several ways, it does in a random one.

use crate::driver::errno::{ECANCELED, EMFILE, ENOBUFS};
use crate::driver::kernel::{Completion, LentBytes, Operation};
use crate::vocabulary::id::ConnectionId;
use campanile_tests::prng::Prng;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Connections and kernels.
pub(super) struct Machine {
    pub(super) prng: Prng,
    pub(super) now: Instant,
    pub(super) kernels: Vec<KernelState>,
    pub(super) links: Vec<Link>,
    /// Open descriptors and their links.
    pub(super) descriptors: BTreeMap<RawFd, usize>,
    /// Whether accepts, cancellations and enters fail in unusual ways.
    pub(super) has_faults: bool,
    pub(super) coverage: Coverage,
    pub(super) trace: bool,
}

/// Counts of what happened, so that a test can tell whether it covers everything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Coverage {
    pub(super) short_sends: u32,
    pub(super) cancelled_sends: u32,
    pub(super) data_after_cancel: u32,
    pub(super) without_buffer: u32,
    pub(super) overflows: u32,
    pub(super) failed_accepts: u32,
    pub(super) rejected: u32,
    pub(super) lost_cancels: u32,
    pub(super) resets: u32,
    pub(super) jumps: u32,
    pub(super) stops_under_way: u32,
    pub(super) deliveries: u32,
    pub(super) replies: u32,
}

/// A connection between a client and a shard.
pub(super) struct Link {
    pub(super) shard: usize,
    /// `None` until it is accepted.
    descriptor: Option<RawFd>,
    /// The connection, from its first operation on.
    named: Option<ConnectionId>,
    pub(super) to_gateway: VecDeque<u8>,
    pub(super) to_client: VecDeque<u8>,
    /// The client has shut its write side.
    pub(super) client_ended: bool,
    /// The client has reset the connection.
    pub(super) client_reset: bool,
    /// The gateway has shut its write side or closed the socket.
    pub(super) gateway_ended: bool,
    /// The gateway or the machine has reset the connection.
    pub(super) gateway_reset: bool,
    /// The machine has ended the connection before it was accepted.
    pub(super) was_aborted: bool,
    /// The close of the descriptor was queued.
    close_queued: bool,
    resets_on_close: bool,
    /// Operations that name the connection, up to the last completion that the loop has taken.
    operations: u32,
    receive: Option<Receive>,
    send: Option<Send>,
}

struct Receive {
    id: ConnectionId,
    is_cancelled: bool,
}

struct Send {
    id: ConnectionId,
    lent: Lent,
    is_cancelled: bool,
}

/// Lent bytes and what they were.
#[derive(Clone)]
pub(super) struct Lent {
    bytes: LentBytes,
    copy: Vec<u8>,
}

/// One shard's kernel.
pub(super) struct KernelState {
    pub(super) submitted: VecDeque<Entry>,
    /// Completions that the next enters make visible.
    deferred: Vec<(Completion, Option<Lent>)>,
    pub(super) visible: VecDeque<(Completion, Option<Lent>)>,
    /// Completions for which the queue had no room.
    overflow: VecDeque<(Completion, Option<Lent>)>,
    visible_max: usize,
    pub(super) sends_unreaped: u32,
    pub(super) listeners: Vec<ListenerState>,
    pub(super) buffers: Vec<Buffer>,
    /// Buffers that the kernel may fill, in order.
    free: VecDeque<u16>,
    /// Buffers given back since the last enter.
    pub(super) returned: Vec<u16>,
    pub(super) wakes_up: bool,
    pub(super) bell: Arc<AtomicBool>,
    /// The loop waits for the bell, and for the time `wake_at`.
    pub(super) is_asleep: bool,
    pub(super) wake_at: Option<Instant>,
}

#[derive(Default)]
pub(super) struct ListenerState {
    pub(super) waiting: VecDeque<usize>,
    pub(super) is_armed: bool,
    pub(super) is_closed: bool,
}

pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    pub(super) owner: Owner,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Owner {
    Kernel,
    /// A completion names it, with this many bytes.
    Filled(usize),
    Loop,
}

/// A submitted operation.
#[derive(Clone, Copy)]
pub(super) enum Entry {
    Accept(usize),
    CancelAccept(usize),
    Receive(RawFd, ConnectionId),
    Send(RawFd, ConnectionId, LentBytes),
    Cancel(Operation, ConnectionId),
    Close(RawFd, ConnectionId),
}

impl KernelState {
    pub(super) fn new(
        prng: &mut Prng,
        listeners: usize,
        bell: Arc<AtomicBool>,
        buffer_bytes: usize,
    ) -> Self {
        let count = u16::try_from(prng.range(1, 6)).expect("few");
        let buffer = || Buffer {
            bytes: vec![0; buffer_bytes],
            owner: Owner::Kernel,
        };
        Self {
            submitted: VecDeque::new(),
            deferred: Vec::new(),
            visible: VecDeque::new(),
            overflow: VecDeque::new(),
            visible_max: prng.range(2, 16) as usize,
            sends_unreaped: 0,
            listeners: (0..listeners).map(|_| ListenerState::default()).collect(),
            buffers: (0..count).map(|_| buffer()).collect(),
            free: (0..count).collect(),
            returned: Vec::new(),
            wakes_up: false,
            bell,
            is_asleep: false,
            wake_at: None,
        }
    }

    pub(super) fn wants_enter(&self) -> bool {
        !(self.submitted.is_empty() && self.deferred.is_empty() && self.overflow.is_empty())
    }

    /// Half of the queue of completions, as in `uring/ring.rs`.
    pub(super) fn room_to_send(&self) -> u32 {
        let most = u32::try_from(self.visible_max.div_ceil(2)).expect("few");
        most.saturating_sub(self.sends_unreaped)
    }

    /// Asserts that nothing is left after the end of the loop.
    pub(super) fn check_end(&self) {
        assert!(self.visible.is_empty() && self.deferred.is_empty() && self.overflow.is_empty());
        assert!(self.listeners.iter().all(|it| it.is_closed && !it.is_armed));
        let is_home = |buffer: &Buffer| buffer.owner == Owner::Kernel;
        assert!(self.buffers.iter().all(is_home), "each buffer goes back");
    }

    fn defer(&mut self, completion: Completion, lent: Option<Lent>) {
        // The kernel signals only when there was no deferred work.
        if self.wakes_up && self.deferred.is_empty() {
            self.bell.store(true, Ordering::Relaxed);
        }
        self.deferred.push((completion, lent));
    }

    fn post(&mut self, coverage: &mut Coverage, completion: (Completion, Option<Lent>)) {
        if self.visible.len() < self.visible_max && self.overflow.is_empty() {
            self.visible.push_back(completion);
        } else {
            coverage.overflows += 1;
            self.overflow.push_back(completion);
        }
    }
}

impl Machine {
    pub(super) fn log(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{}", text());
        }
    }

    /// Connects a client to a listener of a shard; `None` if it is closed.
    pub(super) fn connect(&mut self, shard: usize, listener: usize) -> Option<usize> {
        let listener = &mut self.kernels[shard].listeners[listener];
        if listener.is_closed {
            return None;
        }
        let index = self.links.len();
        listener.waiting.push_back(index);
        self.links.push(Link::new(shard));
        Some(index)
    }

    /// Opens the lowest free descriptor for a link, as Linux does.
    fn open(&mut self, link: usize) -> RawFd {
        let descriptor = (FIRST_DESCRIPTOR..RawFd::MAX)
            .find(|it| !self.descriptors.contains_key(it))
            .expect("there are many");
        self.descriptors.insert(descriptor, link);
        self.links[link].descriptor = Some(descriptor);
        descriptor
    }

    /// Returns the link of a descriptor that a call or an operation names.
    pub(super) fn link(&mut self, descriptor: RawFd) -> &mut Link {
        let link = *self.descriptors.get(&descriptor).expect("it is open");
        let link = &mut self.links[link];
        assert!(!link.close_queued, "its close was queued");
        link
    }

    pub(super) fn count_operation(&mut self, descriptor: RawFd) {
        self.link(descriptor).operations += 1;
    }

    /// Counts an operation that names a connection by its operation's data.
    pub(super) fn count_cancel(&mut self, shard: usize, id: ConnectionId) {
        let link = self.link_of(shard, id).expect("it is open");
        self.links[link].operations += 1;
    }

    pub(super) fn queue_close(&mut self, descriptor: RawFd) {
        let link = self.link(descriptor);
        assert_eq!(link.operations, 0, "an operation names it");
        assert!(link.receive.is_none() && link.send.is_none());
        link.close_queued = true;
    }

    /// Accounts for a completion that the loop takes.
    pub(super) fn take(&mut self, shard: usize, completion: &Completion, lent: Option<&Lent>) {
        if let Some(lent) = lent {
            assert_eq!(lent.now(), lent.copy, "lent bytes stay");
        }
        let ends = match completion.operation {
            Operation::Receive => !completion.more,
            Operation::Send | Operation::Cancel => true,
            Operation::Accept | Operation::CancelAccept | Operation::Close => false,
        };
        if ends {
            let id = completion.connection();
            let link = self.link_of(shard, id).expect("it is open");
            self.links[link].operations -= 1;
        }
    }

    /// Returns the open link of a connection, which was named when its first receive was armed.
    fn link_of(&self, shard: usize, id: ConnectionId) -> Option<usize> {
        let links = self.descriptors.values().copied();
        let mut links = links.filter(|&link| self.links[link].shard == shard);
        links.find(|&link| self.links[link].named == Some(id))
    }

    /// Submits a shard's operations and makes completions visible.
    pub(super) fn enter(&mut self, shard: usize) {
        if self.has_faults && self.prng.chance(1, 50) {
            return; // interrupted
        }
        self.pass_time(2);
        let returned = std::mem::take(&mut self.kernels[shard].returned);
        self.kernels[shard].free.extend(returned);
        while let Some(entry) = self.kernels[shard].submitted.pop_front() {
            self.execute(shard, entry);
        }
        let kernel = &mut self.kernels[shard];
        while kernel.visible.len() < kernel.visible_max
            && let Some(completion) = kernel.overflow.pop_front()
        {
            kernel.visible.push_back(completion);
        }
        for _ in 0..DEFERRED_PER_ENTER {
            let count = self.kernels[shard].deferred.len();
            let Some(mut index) = self.prng.pick(0..count) else {
                break;
            };
            // Receives of one connection complete in order, and nothing else does.
            let kernel = &mut self.kernels[shard];
            let (picked, _) = &kernel.deferred[index];
            if picked.operation == Operation::Receive {
                let (operation, id) = (picked.operation, picked.id);
                let same = |(it, _): &(Completion, _)| it.operation == operation && it.id == id;
                index = kernel.deferred.iter().position(same).expect("it is one");
            }
            let completion = kernel.deferred.remove(index);
            kernel.post(&mut self.coverage, completion);
        }
    }

    pub(super) fn pass_time(&mut self, ms_max: u32) {
        self.now += Duration::from_millis(self.prng.range(0, ms_max).into());
    }

    fn execute(&mut self, shard: usize, entry: Entry) {
        match entry {
            Entry::Accept(listener) => {
                let state = &mut self.kernels[shard].listeners[listener];
                assert!(!state.is_armed && !state.is_closed);
                state.is_armed = true;
                self.maybe(|machine| machine.accept(shard, listener));
            }
            Entry::CancelAccept(listener) => self.cancel_accept(shard, listener),
            Entry::Receive(descriptor, id) => {
                let link = self.descriptors[&descriptor];
                let receive = &mut self.links[link].receive;
                assert!(receive.is_none(), "one receive at a time");
                let is_cancelled = false;
                *receive = Some(Receive { id, is_cancelled });
                self.maybe(|machine| machine.receive(link));
            }
            Entry::Send(descriptor, id, bytes) => {
                let link = self.descriptors[&descriptor];
                assert!(!self.links[link].gateway_ended, "its write side is shut");
                let send = &mut self.links[link].send;
                assert!(send.is_none(), "one send at a time");
                let mut lent = Lent {
                    bytes,
                    copy: Vec::new(),
                };
                lent.copy = lent.now().to_vec();
                let is_cancelled = false;
                *send = Some(Send {
                    id,
                    lent,
                    is_cancelled,
                });
                self.maybe(|machine| machine.send(link));
            }
            Entry::Cancel(operation, id) => self.cancel(shard, operation, id),
            Entry::Close(descriptor, id) => {
                let link = self.descriptors.remove(&descriptor).expect("it is open");
                let link = &mut self.links[link];
                link.close(false);
                let closed = completion(Operation::Close, id, 0);
                self.kernels[shard].defer(closed, None);
            }
        }
    }

    fn maybe(&mut self, step: impl FnOnce(&mut Self) -> bool) {
        if self.prng.chance(1, 2) {
            step(self);
        }
    }

    fn cancel(&mut self, shard: usize, operation: Operation, id: ConnectionId) {
        let found = self.link_of(shard, id).filter(|&link| {
            let link = &self.links[link];
            if operation == Operation::Receive {
                link.receive.is_some()
            } else {
                link.send.is_some()
            }
        });
        let Some(index) = found else {
            self.kernels[shard].defer(completion(Operation::Cancel, id, -ENOENT), None);
            return;
        };
        self.kernels[shard].defer(completion(Operation::Cancel, id, 0), None);
        let link = &mut self.links[index];
        // Only of what is closed, since only that is cancelled again.
        if self.has_faults && link.gateway_ended && self.prng.chance(1, 8) {
            self.coverage.lost_cancels += 1;
            return;
        }
        match (operation, &mut link.receive, &mut link.send) {
            (Operation::Receive, Some(receive), _) => receive.is_cancelled = true,
            (_, _, Some(send)) => send.is_cancelled = true,
            _ => {}
        }
        self.maybe(|machine| machine.step_link(index));
    }

    fn cancel_accept(&mut self, shard: usize, listener: usize) {
        self.maybe(|machine| machine.accept(shard, listener));
        let state = &mut self.kernels[shard].listeners[listener];
        let mut cancelled = of_listener(Operation::CancelAccept, listener, -ENOENT);
        if std::mem::take(&mut state.is_armed) {
            cancelled.result = 0;
            let ended = of_listener(Operation::Accept, listener, -ECANCELED);
            self.kernels[shard].defer(ended, None);
        }
        self.kernels[shard].defer(cancelled, None);
    }

    /// Completes an accept; returns whether it was armed and a connection waited.
    pub(super) fn accept(&mut self, shard: usize, listener: usize) -> bool {
        let state = &mut self.kernels[shard].listeners[listener];
        if !state.is_armed || state.waiting.is_empty() {
            return false;
        }
        let mut accepted = of_listener(Operation::Accept, listener, 0);
        let error = self.has_faults && self.prng.chance(1, 12);
        if error {
            self.coverage.failed_accepts += 1;
            let errors = [EMFILE, ENOBUFS, ECONNABORTED];
            let errno = self.prng.pick(errors.into_iter()).expect("some");
            accepted.result = -errno;
            if errno == ECONNABORTED {
                let waiting = &mut self.kernels[shard].listeners[listener].waiting;
                let link = waiting.pop_front().expect("one waits");
                self.links[link].abort();
            }
        } else {
            let link = state.waiting.pop_front().expect("one waits");
            accepted.result = self.open(link);
            accepted.more = self.prng.chance(7, 8);
        }
        let state = &mut self.kernels[shard].listeners[listener];
        state.is_armed = accepted.more;
        self.kernels[shard].defer(accepted, None);
        true
    }

    /// Lets a link's operations make progress; returns whether one did.
    pub(super) fn step_link(&mut self, link: usize) -> bool {
        let sends_first = self.prng.chance(1, 2);
        (sends_first && self.send(link)) || self.receive(link) || self.send(link)
    }

    fn receive(&mut self, index: usize) -> bool {
        let link = &mut self.links[index];
        let Some(receive) = &link.receive else {
            return false;
        };
        let (id, shard, is_cancelled) = (receive.id, link.shard, receive.is_cancelled);
        let mut received = completion(Operation::Receive, id, 0);
        let brings_data = !link.client_reset && !link.to_gateway.is_empty();
        if brings_data && (!is_cancelled || self.prng.chance(1, 2)) {
            let kernel = &mut self.kernels[shard];
            if let Some(buffer) = kernel.free.pop_front() {
                let buffer_state = &mut kernel.buffers[usize::from(buffer)];
                assert_eq!(buffer_state.owner, Owner::Kernel);
                let most = link.to_gateway.len().min(buffer_state.bytes.len());
                let most = u32::try_from(most).expect("short");
                let len = self.prng.range(1, most) as usize;
                for (to, byte) in buffer_state
                    .bytes
                    .iter_mut()
                    .zip(link.to_gateway.drain(..len))
                {
                    *to = byte;
                }
                buffer_state.owner = Owner::Filled(len);
                received.buffer = Some(buffer);
                received.result = i32::try_from(len).expect("short");
                received.more = self.prng.chance(15, 16);
                self.coverage.data_after_cancel += u32::from(is_cancelled);
            } else {
                self.coverage.without_buffer += 1;
                received.result = -ENOBUFS;
            }
        } else if link.client_reset {
            received.result = -ECONNRESET;
        } else if is_cancelled {
            received.result = -ECANCELED;
        } else if !link.client_ended {
            return false;
        }
        if !received.more {
            link.receive = None;
        }
        self.kernels[shard].defer(received, None);
        true
    }

    fn send(&mut self, index: usize) -> bool {
        let link = &mut self.links[index];
        let Some(send) = &link.send else {
            return false;
        };
        let (shard, len) = (link.shard, send.lent.copy.len());
        let mut sent = completion(Operation::Send, send.id, 0);
        let room = LINK_BYTES_MAX.saturating_sub(link.to_client.len()).min(len);
        if link.client_reset {
            sent.result = -ECONNRESET;
        } else if room > 0 && (!send.is_cancelled || self.prng.chance(1, 2)) {
            assert_eq!(send.lent.now(), send.lent.copy, "lent bytes stay");
            let most = u32::try_from(room).expect("short");
            let taken = if self.prng.chance(1, 3) {
                self.prng.range(1, most)
            } else {
                most
            } as usize;
            self.coverage.short_sends += u32::from(taken < len);
            link.to_client.extend(&send.lent.copy[..taken]);
            sent.result = i32::try_from(taken).expect("short");
        } else if send.is_cancelled {
            self.coverage.cancelled_sends += 1;
            sent.result = -ECANCELED;
        } else {
            return false;
        }
        let send = link.send.take().expect("just seen");
        self.kernels[shard].defer(sent, Some(send.lent));
        true
    }

    /// Accepts all that wait on a listener, and closes it.
    pub(super) fn close_listener(&mut self, shard: usize, listener: usize) -> Vec<RawFd> {
        let state = &mut self.kernels[shard].listeners[listener];
        assert!(!state.is_armed && !state.is_closed);
        state.is_closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        waiting.into_iter().map(|link| self.open(link)).collect()
    }

    /// Sends a response to all that wait on a listener, and closes them.
    pub(super) fn reject_waiting(&mut self, shard: usize, listener: usize, bytes: &[u8]) -> u64 {
        let state = &mut self.kernels[shard].listeners[listener];
        assert!(!state.is_armed && !state.is_closed);
        let waiting = std::mem::take(&mut state.waiting);
        let count = waiting.len();
        for link in waiting {
            let link = &mut self.links[link];
            link.to_client.extend(bytes);
            link.to_gateway.clear();
            link.gateway_ended = true;
            link.was_aborted = bytes.is_empty();
        }
        self.coverage.rejected += u32::try_from(count).expect("few");
        count as u64
    }

    /// Closes a descriptor that no operation has named.
    pub(super) fn close_accepted(&mut self, descriptor: RawFd) {
        let link = self.descriptors.remove(&descriptor).expect("it is open");
        self.links[link].close(true);
    }

    pub(super) fn name(&mut self, descriptor: RawFd, id: ConnectionId) {
        self.link(descriptor).named = Some(id);
    }
}

impl Link {
    fn new(shard: usize) -> Self {
        Self {
            shard,
            descriptor: None,
            named: None,
            to_gateway: VecDeque::new(),
            to_client: VecDeque::new(),
            client_ended: false,
            client_reset: false,
            gateway_ended: false,
            gateway_reset: false,
            was_aborted: false,
            close_queued: false,
            resets_on_close: false,
            operations: 0,
            receive: None,
            send: None,
        }
    }

    /// Ends the gateway's side, with a reset if it wants one or leaves bytes unread.
    fn close(&mut self, was_just_accepted: bool) {
        assert!(self.close_queued || was_just_accepted);
        assert!(self.descriptor.take().is_some(), "closed once");
        assert!(self.receive.is_none() && self.send.is_none());
        self.gateway_ended = true;
        if self.resets_on_close {
            self.to_client.clear();
            self.gateway_reset = true;
        }
    }

    /// Shuts the gateway's write side.
    pub(super) fn shut(&mut self) {
        assert!(self.send.is_none(), "what is sent before is lost");
        self.gateway_ended = true;
    }

    /// Ends a connection that was not accepted.
    fn abort(&mut self) {
        self.was_aborted = true;
        self.gateway_ended = true;
        self.gateway_reset = true;
    }

    pub(super) fn reset_on_close(&mut self) {
        self.resets_on_close = true;
    }

    /// Returns whether the gateway still has a descriptor of it.
    pub(super) fn is_open(&self) -> bool {
        self.descriptor.is_some()
    }
}

impl Lent {
    fn now(&self) -> &[u8] {
        super::kernel::lent(&self.bytes)
    }
}

fn completion(operation: Operation, id: ConnectionId, result: i32) -> Completion {
    Completion {
        operation,
        id: Some(id),
        listener: 0,
        result,
        buffer: None,
        more: false,
    }
}

fn of_listener(operation: Operation, listener: usize, result: i32) -> Completion {
    Completion {
        operation,
        id: None,
        listener: u8::try_from(listener).expect("few"),
        result,
        buffer: None,
        more: false,
    }
}

/// Bytes that the socket of a client that does not read takes.
const LINK_BYTES_MAX: usize = 3_000;
const DEFERRED_PER_ENTER: usize = 20;
const FIRST_DESCRIPTOR: RawFd = 10;
const ENOENT: i32 = rustix::io::Errno::NOENT.raw_os_error();
const ECONNRESET: i32 = rustix::io::Errno::CONNRESET.raw_os_error();
const ECONNABORTED: i32 = rustix::io::Errno::CONNABORTED.raw_os_error();
