//! The kernel of one shard of a [`Machine`], and its clock.

#![expect(unsafe_code, reason = "it reads what the loop lends")]

use super::machine::{Entry, Machine, Owner};
use crate::driver::clock::Clock;
use crate::driver::kernel::{Completion, Kernel, LentBytes};
use crate::driver::sockets::{CancelToken, CloseToken, OpenSocket, ReceiveToken, SendToken};
use std::cell::{RefCell, RefMut};
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::RawFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Instant;

/// One shard's kernel.
pub(super) struct FakeKernel {
    pub(super) machine: Rc<RefCell<Machine>>,
    pub(super) shard: usize,
    /// The buffer that the loop reads.
    pub(super) read: Vec<u8>,
}

/// One shard's clock, which shows the machine's time.
pub(super) struct FakeClock {
    pub(super) machine: Rc<RefCell<Machine>>,
    pub(super) shard: usize,
}

impl FakeKernel {
    fn machine(&self) -> RefMut<'_, Machine> {
        self.machine.borrow_mut()
    }

    fn submit(&self, entry: Entry) {
        let submitted = &mut self.machine().kernels[self.shard].submitted;
        submitted.push_back(entry);
    }
}

impl Kernel for FakeKernel {
    fn accept(&mut self, listener: usize) -> io::Result<()> {
        self.submit(Entry::Accept(listener));
        Ok(())
    }

    fn cancel_accept(&mut self, listener: usize) -> io::Result<()> {
        self.submit(Entry::CancelAccept(listener));
        Ok(())
    }

    fn receive(&mut self, token: ReceiveToken) -> io::Result<()> {
        let (descriptor, id) = token.into_parts();
        self.machine().count_operation(descriptor);
        self.machine().name(descriptor, id);
        self.submit(Entry::Receive(descriptor, id));
        Ok(())
    }

    unsafe fn send(&mut self, token: SendToken, bytes: LentBytes) -> io::Result<()> {
        let (descriptor, id) = token.into_parts();
        self.machine().count_operation(descriptor);
        assert!(bytes.len > 0, "there is something to send");
        self.machine().kernels[self.shard].sends_unreaped += 1;
        self.submit(Entry::Send(descriptor, id, bytes));
        Ok(())
    }

    fn cancel(&mut self, token: CancelToken) -> io::Result<()> {
        let (operation, id) = token.into_parts();
        self.machine().count_cancel(self.shard, id);
        self.submit(Entry::Cancel(operation, id));
        Ok(())
    }

    fn close(&mut self, token: CloseToken) -> io::Result<()> {
        let (descriptor, id) = token.into_parts();
        self.machine().queue_close(descriptor);
        self.submit(Entry::Close(descriptor, id));
        Ok(())
    }

    fn wants_enter(&mut self) -> bool {
        self.machine().kernels[self.shard].wants_enter()
    }

    fn enter(&mut self) -> io::Result<()> {
        self.machine().enter(self.shard);
        Ok(())
    }

    fn has_completions(&mut self) -> bool {
        !self.machine().kernels[self.shard].visible.is_empty()
    }

    fn next_completion(&mut self) -> Option<Completion> {
        let mut machine = self.machine();
        let kernel = &mut machine.kernels[self.shard];
        let Some((completion, lent)) = kernel.visible.pop_front() else {
            kernel.sends_unreaped = 0;
            return None;
        };
        machine.log(|| format!("shard {}: {completion:?}", self.shard));
        machine.take(self.shard, &completion, lent.as_ref());
        Some(completion)
    }

    fn room_to_send(&self) -> u32 {
        self.machine().kernels[self.shard].room_to_send()
    }

    fn filled(&mut self, buffer: u16, len: usize) -> &mut [u8] {
        let mut machine = self.machine.borrow_mut();
        let buffer = &mut machine.kernels[self.shard].buffers[usize::from(buffer)];
        assert!(
            matches!(buffer.owner, Owner::Filled(filled) if len == filled || len == 0),
            "{len} bytes of a buffer that is {:?}",
            buffer.owner
        );
        buffer.owner = Owner::Loop;
        self.read.clear();
        self.read.extend_from_slice(&buffer.bytes[..len]);
        &mut self.read
    }

    fn return_buffer(&mut self, buffer: u16) {
        self.read.fill(GARBAGE);
        let mut machine = self.machine.borrow_mut();
        let kernel = &mut machine.kernels[self.shard];
        let owner = &mut kernel.buffers[usize::from(buffer)].owner;
        assert_eq!(*owner, Owner::Loop, "it is given back once");
        *owner = Owner::Kernel;
        kernel.returned.push(buffer);
    }

    fn is_worth_releasing(&self) -> bool {
        let mut machine = self.machine();
        machine.prng.chance(1, 4)
    }

    fn release_memory(&mut self) {
        let machine = self.machine();
        let buffers = &machine.kernels[self.shard].buffers;
        let is_ours = |owner| matches!(owner, Owner::Loop);
        assert!(!buffers.iter().any(|buffer| is_ours(buffer.owner)));
    }

    fn set_wake_up_enabled(&mut self, on: bool) {
        let machine = &mut *self.machine();
        // What completes before the wake-up is enabled gives no signal.
        if on && let Some(link) = machine.prng.pick(0..machine.links.len()) {
            machine.step_link(link);
        }
        machine.kernels[self.shard].wakes_up = on;
    }

    async fn woken(&mut self) -> io::Result<()> {
        poll_fn(|_| {
            let mut machine = self.machine();
            let kernel = &mut machine.kernels[self.shard];
            if kernel.bell.swap(false, Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
            kernel.is_asleep = true;
            kernel.wake_at = None;
            Poll::Pending
        })
        .await
    }

    fn close_listener(&mut self, listener: usize) -> io::Result<Vec<RawFd>> {
        Ok(self.machine().close_listener(self.shard, listener))
    }

    fn reject_waiting(&mut self, listener: usize, response: &[u8]) -> u64 {
        self.machine()
            .reject_waiting(self.shard, listener, response)
    }

    fn keep_spare(&mut self) {}

    fn close_accepted(&mut self, descriptor: RawFd) {
        self.machine().close_accepted(descriptor);
    }

    fn peer_address(&mut self, socket: OpenSocket<'_>) -> Option<SocketAddr> {
        self.machine().link(socket.descriptor());
        Some((Ipv4Addr::LOCALHOST, 1).into())
    }

    fn shutdown_write(&mut self, socket: OpenSocket<'_>) {
        let mut machine = self.machine();
        let mut submitted = machine.kernels[self.shard].submitted.iter();
        let descriptor = socket.descriptor();
        let is_sent = |it: &Entry| matches!(it, Entry::Send(of, ..) if *of == descriptor);
        assert!(!submitted.any(is_sent), "what is sent before is lost");
        machine.link(descriptor).shut();
    }

    fn reset_on_close(&mut self, socket: OpenSocket<'_>) {
        self.machine().link(socket.descriptor()).reset_on_close();
    }

    fn unacknowledged_bytes(&mut self, socket: OpenSocket<'_>) -> u32 {
        let mut machine = self.machine();
        let link = machine.link(socket.descriptor());
        u32::try_from(link.to_client.len()).expect("few")
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Instant {
        self.machine.borrow().now
    }

    async fn within<T>(&self, at: Instant, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            let mut machine = self.machine.borrow_mut();
            let now = machine.now;
            let kernel = &mut machine.kernels[self.shard];
            if now >= at {
                kernel.is_asleep = false;
                return Poll::Ready(None);
            }
            kernel.wake_at = Some(at);
            Poll::Pending
        })
        .await
    }
}

/// Returns lent bytes as they are now.
pub(super) fn lent(bytes: &LentBytes) -> &[u8] {
    // SAFETY: the loop keeps them in place until the completion is taken, and the machine asks
    // only before that.
    unsafe { bytes.bytes() }
}

/// A byte that no client sends.
const GARBAGE: u8 = 0xee;
