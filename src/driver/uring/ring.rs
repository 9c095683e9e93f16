//! The data ring: the [`Kernel`] of `io_uring`.
//!
//! The ring is set up with `SINGLE_ISSUER | DEFER_TASKRUN | TASKRUN_FLAG | SUBMIT_ALL`: the kernel
//! completes operations only while the shard is inside an enter, and sets a flag when there are
//! some to complete (docs/design/io.md 2). An eventfd, disabled while the shard is awake, wakes it.

#![expect(
    unsafe_code,
    reason = "operations name memory and descriptors that must outlive them"
)]

use super::buffers::{BufferRing, GROUP};
use super::calls;
use super::listeners::Listeners;
use crate::driver::errno::{EAGAIN, EBUSY, EINTR};
use crate::driver::kernel::{Completion, Kernel, LentBytes, Operation};
use crate::driver::sockets::{CancelToken, CloseToken, OpenSocket, ReceiveToken, SendToken};
use crate::vocabulary::id::ConnectionId;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::net::{SendFlags, SocketFlags};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A ring, the buffers that it receives into, and the listeners that it accepts from.
#[derive(Debug)]
pub(in crate::driver) struct DataRing {
    /// First, so that it is closed before its buffers are freed.
    ring: Uring,
    buffers: BufferRing,
    listeners: Listeners,
    eventfd: OwnedFd,
    /// The eventfd in the runtime's reactor, from the first sleep on.
    watched: Option<AsyncFd<OwnedFd>>,
    /// Sends submitted since the completion queue was last empty.
    sends_unreaped: u32,
    /// Operations for which the submission queue had no room, in order.
    backlog: VecDeque<squeue::Entry>,
}

#[derive(derive_more::Debug)]
#[debug("IoUring")]
struct Uring(IoUring);

/// The size of a ring and of its buffers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::driver) struct RingSize {
    pub(in crate::driver) submission_entries: u32,
    pub(in crate::driver) completion_entries: u32,
    pub(in crate::driver) buffer_count: u16,
    pub(in crate::driver) buffer_bytes: u32,
}

impl DataRing {
    /// Creates a ring for the calling thread, which alone may use it. `eventfd` wakes the shard.
    ///
    /// # Errors
    ///
    /// Fails if the kernel does not create the ring or does not register the eventfd or the
    /// buffers.
    pub(in crate::driver) fn new(size: RingSize, eventfd: OwnedFd) -> io::Result<Self> {
        let mut ring = build(size.submission_entries, size.completion_entries)?;
        ring.submitter().register_eventfd(eventfd.as_raw_fd())?;
        ring.completion().disable_eventfd();
        let buffers = BufferRing::new(&ring.submitter(), size.buffer_count, size.buffer_bytes)?;
        Ok(Self {
            ring: Uring(ring),
            buffers,
            listeners: Listeners::default(),
            eventfd,
            watched: None,
            sends_unreaped: 0,
            backlog: VecDeque::new(),
        })
    }

    /// Takes the listeners of the shard.
    pub(in crate::driver) fn listen_on(&mut self, listeners: Vec<OwnedFd>) {
        self.listeners = Listeners::new(listeners);
    }

    /// Queues an operation. If the submission queue is full even after an enter, the operation
    /// waits in `backlog`.
    #[inline]
    fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        if self.backlog.is_empty() && self.push_now(&entry) {
            return Ok(());
        }
        self.push_to_full(entry)
    }

    #[cold]
    fn push_to_full(&mut self, entry: squeue::Entry) -> io::Result<()> {
        if self.backlog.is_empty() {
            self.enter()?;
            if self.push_now(&entry) {
                return Ok(());
            }
        }
        self.backlog.push_back(entry);
        Ok(())
    }

    #[inline]
    fn push_now(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: descriptors are closed only after the completion of every operation that names
        // them, which the tokens of `sockets.rs` hold; memory lives as long, by the contract of
        // `send` and since the buffers are dropped after the ring.
        unsafe { self.ring.0.submission().push(entry) }.is_ok()
    }
}

impl Kernel for DataRing {
    fn accept(&mut self, listener: usize) -> io::Result<()> {
        let socket = self.listeners.socket(listener).as_raw_fd();
        let entry = opcode::AcceptMulti::new(types::Fd(socket))
            .flags(SOCK_CLOEXEC)
            .build()
            .user_data(listener_data(Operation::Accept, listener));
        self.push(entry)
    }

    fn cancel_accept(&mut self, listener: usize) -> io::Result<()> {
        let entry = opcode::AsyncCancel::new(listener_data(Operation::Accept, listener))
            .build()
            .user_data(listener_data(Operation::CancelAccept, listener));
        self.push(entry)
    }

    fn receive(&mut self, token: ReceiveToken) -> io::Result<()> {
        let (socket, id) = token.into_parts();
        let entry = opcode::RecvMulti::new(types::Fd(socket), GROUP)
            .build()
            .user_data(user_data(Operation::Receive, id.bits()));
        self.push(entry)
    }

    #[inline]
    unsafe fn send(&mut self, token: SendToken, bytes: LentBytes) -> io::Result<()> {
        let (socket, id) = token.into_parts();
        let entry = opcode::Send::new(types::Fd(socket), bytes.start, bytes.len)
            .flags(MSG_NOSIGNAL)
            .build()
            .user_data(user_data(Operation::Send, id.bits()));
        self.sends_unreaped += 1;
        self.push(entry)
    }

    fn cancel(&mut self, token: CancelToken) -> io::Result<()> {
        let (operation, id) = token.into_parts();
        let entry = opcode::AsyncCancel::new(user_data(operation, id.bits()))
            .build()
            .user_data(user_data(Operation::Cancel, id.bits()));
        self.push(entry)
    }

    fn close(&mut self, token: CloseToken) -> io::Result<()> {
        let (socket, id) = token.into_parts();
        let entry = opcode::Close::new(types::Fd(socket))
            .build()
            .user_data(user_data(Operation::Close, id.bits()));
        self.push(entry)
    }

    fn wants_enter(&mut self) -> bool {
        let submission = self.ring.0.submission();
        !self.backlog.is_empty()
            || !submission.is_empty()
            || submission.taskrun()
            || submission.cq_overflow()
    }

    fn enter(&mut self) -> io::Result<()> {
        self.buffers.publish();
        while let Some(entry) = self.backlog.pop_front() {
            if !self.push_now(&entry) {
                self.backlog.push_front(entry);
                break;
            }
        }
        let queued = self.ring.0.submission().len();
        let queued = u32::try_from(queued).expect("bounded by the ring");
        // SAFETY: no argument is passed besides numbers; the queued operations' memory and
        // descriptors live until their completions, as `Kernel` promises.
        let entered = unsafe {
            self.ring
                .0
                .submitter()
                .enter::<()>(queued, 0, ENTER_GETEVENTS, None)
        };
        match entered {
            Ok(_) => Ok(()),
            // Interrupted, or completions must be taken first: the next turn enters again.
            Err(error) if matches!(error.raw_os_error(), Some(EINTR | EBUSY | EAGAIN)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn has_completions(&mut self) -> bool {
        !self.ring.0.completion().is_empty()
    }

    #[inline]
    fn next_completion(&mut self) -> Option<Completion> {
        // Dropping the queue, here at once, publishes its head.
        let entry = self.ring.0.completion().next();
        if entry.is_none() {
            self.sends_unreaped = 0;
        }
        entry.as_ref().map(Completion::from)
    }

    /// Sends may use half of the completion queue. If sends that wait for their peers complete
    /// later, the kernel keeps the overflow.
    fn room_to_send(&self) -> u32 {
        let most = self.ring.0.params().cq_entries().div_ceil(2);
        most.saturating_sub(self.sends_unreaped)
    }

    fn filled(&mut self, buffer: u16, len: usize) -> &mut [u8] {
        self.buffers.filled(buffer, len)
    }

    fn return_buffer(&mut self, buffer: u16) {
        self.buffers.return_buffer(buffer);
    }

    fn is_worth_releasing(&self) -> bool {
        self.buffers.is_worth_releasing()
    }

    fn release_memory(&mut self) {
        self.buffers.release_memory();
    }

    fn set_wake_up_enabled(&mut self, on: bool) {
        let completion = self.ring.0.completion();
        if on {
            completion.enable_eventfd();
        } else {
            completion.disable_eventfd();
        }
    }

    async fn woken(&mut self) -> io::Result<()> {
        let watched = match &self.watched {
            Some(watched) => watched,
            None => self.watched.insert(watch(&self.eventfd)?),
        };
        let mut guard = watched.readable().await?;
        guard.clear_ready();
        Ok(())
    }

    fn close_listener(&mut self, listener: usize) -> io::Result<Vec<RawFd>> {
        self.listeners.close(listener)
    }

    fn reject_waiting(&mut self, listener: usize, response: &[u8]) -> u64 {
        self.listeners.reject_waiting(listener, response)
    }

    fn keep_spare(&mut self) {
        self.listeners.keep_spare();
    }

    fn close_accepted(&mut self, descriptor: RawFd) {
        calls::close_now(descriptor);
    }

    fn peer_address(&mut self, socket: OpenSocket<'_>) -> Option<SocketAddr> {
        calls::peer_address(socket)
    }

    fn shutdown_write(&mut self, socket: OpenSocket<'_>) {
        calls::shutdown_write(socket);
    }

    fn reset_on_close(&mut self, socket: OpenSocket<'_>) {
        calls::reset_on_close(socket);
    }

    fn unacknowledged_bytes(&mut self, socket: OpenSocket<'_>) -> u32 {
        calls::unacknowledged_bytes(socket)
    }
}

impl Drop for DataRing {
    /// Cancels all operations and waits for them. Closing a ring alone leaves that to a kernel
    /// worker, which runs later.
    fn drop(&mut self) {
        let all = types::CancelBuilder::any();
        let timeout = types::Timespec::new().sec(CANCEL_SECONDS_MAX);
        let cancelled = self
            .ring
            .0
            .submitter()
            .register_sync_cancel(Some(timeout), all);
        match cancelled {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // nothing was under way
            Err(error) => tracing::warn!(%error, "cannot cancel the operations of a ring"),
        }
    }
}

impl From<&cqueue::Entry> for Completion {
    fn from(entry: &cqueue::Entry) -> Self {
        let data = entry.user_data();
        Self {
            operation: Operation::from_bits((data >> OPERATION_SHIFT & 0xff) as u8),
            id: ConnectionId::from_bits(data),
            listener: data.to_le_bytes()[0],
            result: entry.result(),
            buffer: cqueue::buffer_select(entry.flags()),
            more: cqueue::more(entry.flags()),
        }
    }
}

impl Operation {
    fn from_bits(bits: u8) -> Self {
        match bits {
            1 => Self::Accept,
            2 => Self::Receive,
            3 => Self::Send,
            4 => Self::Cancel,
            5 => Self::CancelAccept,
            6 => Self::Close,
            other => panic!("the kernel completes what was submitted, not operation {other}"),
        }
    }
}

/// Registers an eventfd with the runtime's reactor. It is readable once a sleeping shard has work.
fn watch(eventfd: &OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    let eventfd = eventfd.try_clone()?;
    // SAFETY: an `OwnedFd` names one open descriptor for as long as it lives.
    let watched = unsafe { AsyncFd::register_with_interest(eventfd, Interest::READABLE) };
    Ok(watched?)
}

/// Creates an `io_uring` with the flags above and nothing registered.
fn build(submission_entries: u32, completion_entries: u32) -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(completion_entries)
        .build(submission_entries)
}

/// Packs generation, operation and slot. The shard's bits of an id are the same for a whole ring,
/// so the operation takes their place.
fn user_data(operation: Operation, id_bits: u64) -> u64 {
    id_bits | (operation as u64) << OPERATION_SHIFT
}

/// Packs an operation on a listener, with the index in place of the slot. The generation is zero,
/// which no connection has.
fn listener_data(operation: Operation, index: usize) -> u64 {
    let index = u8::try_from(index).expect("a shard has few listeners");
    user_data(operation, index.into())
}

/// Time in seconds that a dropped ring waits for its operations.
const CANCEL_SECONDS_MAX: u64 = 1;
const OPERATION_SHIFT: u32 = 24;
const ENTER_GETEVENTS: u32 = 1;
const SOCK_CLOEXEC: i32 = SocketFlags::CLOEXEC.bits().cast_signed();
const MSG_NOSIGNAL: i32 = SendFlags::NOSIGNAL.bits().cast_signed();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::sockets::Sockets;
    use rustix::event::EventfdFlags;
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::IntoRawFd as _;

    #[test]
    fn a_ring_that_is_gone_reads_no_memory() {
        let size = RingSize {
            submission_entries: 8,
            completion_entries: 16,
            buffer_count: 2,
            buffer_bytes: 4096,
        };
        let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
        let mut ring = DataRing::new(size, eventfd).expect("io_uring is allowed here");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let mut peer = TcpStream::connect(address).expect("it listens");
        let (socket, _) = listener.accept().expect("it has connected");
        let kept = socket.try_clone().expect("a descriptor");

        let id = ConnectionId::from_bits(1 << 32).expect("a generation");
        let mut sockets = Sockets::default();
        sockets.insert(id, socket.into_raw_fd());
        // More than the buffers of both ends of a connection hold.
        let mut bytes = vec![b'a'; 64 << 20];
        loop {
            let token = sockets.begin_send(id);
            // SAFETY: `bytes` is changed only after the ring is gone.
            unsafe { ring.send(token, LentBytes::from(&bytes[..])) }.expect("there is room");
            ring.enter().expect("it is submitted");
            // Sends complete until the buffers are full; then one waits for the peer.
            if ring.next_completion().is_none() {
                break;
            }
            sockets.send_ended(id);
        }
        drop(ring);

        bytes.fill(b'b');
        kept.shutdown(std::net::Shutdown::Write)
            .expect("it is open");
        let mut received = Vec::new();
        peer.read_to_end(&mut received).expect("the end comes");
        assert!(!received.is_empty() && received.iter().all(|&byte| byte == b'a'));
        drop(sockets);
    }
}
