//! The in-memory pipe between a socket's driver and hyper.
//!
//! ```text
//!   received bytes --> inbound  --> hyper reads
//!   sent bytes     <-- outbound <-- hyper writes
//! ```
//!
//! The driver owns the socket; hyper sees only this. Both directions are bounded: the driver stops
//! reading a socket whose inbound side is full, and a write is pending while the outbound side is
//! full, what is being sent included. A request is begun only while there is room for an answer.
//! A reader is not woken: whoever puts something in polls hyper then.

use bytes::{Buf, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Both directions of one connection.
#[derive(Debug)]
pub(crate) struct Pipe {
    inbound: BytesMut,
    inbound_ended: bool,
    /// While set, hyper is given nothing of what has come.
    is_held_back: bool,
    outbound: Vec<u8>,
    outbound_bytes_max: usize,
    /// Bytes taken to be sent and not yet given back by [`Pipe::settle`].
    lent_bytes: usize,
    writer: Option<Waker>,
    /// A request that waits until there is room for its answer.
    request: Option<Waker>,
}

impl Pipe {
    pub(crate) fn new(outbound_bytes_max: usize) -> Self {
        Self {
            inbound: BytesMut::new(),
            inbound_ended: false,
            is_held_back: false,
            outbound: Vec::new(),
            outbound_bytes_max,
            lent_bytes: 0,
            writer: None,
            request: None,
        }
    }

    /// Hands bytes from the socket to hyper, which must be polled then.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.inbound.extend_from_slice(bytes);
    }

    /// Tells hyper that nothing more will come; it must be polled then.
    pub(crate) fn end_inbound(&mut self) {
        self.inbound_ended = true;
        self.is_held_back = false;
    }

    /// What has been received and hyper has not read.
    pub(super) fn inbound(&mut self) -> &mut [u8] {
        &mut self.inbound
    }

    /// Sets whether what has come is kept from hyper.
    pub(super) fn hold_back(&mut self, is_held_back: bool) {
        self.is_held_back = is_held_back;
    }

    /// Bytes received that hyper has not read.
    pub(crate) fn inbound_bytes(&self) -> usize {
        self.inbound.len()
    }

    /// Takes what hyper has not read.
    pub(crate) fn take_inbound(&mut self) -> BytesMut {
        std::mem::take(&mut self.inbound)
    }

    /// Whether hyper has written something.
    pub(crate) fn has_outbound(&self) -> bool {
        !self.outbound.is_empty()
    }

    /// Takes what hyper has written, for good.
    pub(crate) fn take_outbound(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outbound)
    }

    /// Takes what hyper has written to be sent, leaving `empty` in its place. It counts against the
    /// bound until [`Pipe::settle`].
    pub(crate) fn lend_outbound(&mut self, empty: Vec<u8>) -> Vec<u8> {
        assert!(empty.is_empty() && self.lent_bytes == 0);
        let lent = std::mem::replace(&mut self.outbound, empty);
        self.lent_bytes = lent.len();
        lent
    }

    /// Everything that was lent has been sent: whoever waits for room goes on.
    pub(crate) fn settle(&mut self) {
        self.lent_bytes = 0;
        let (writer, request) = (self.writer.take(), self.request.take());
        for waiting in writer.into_iter().chain(request) {
            waiting.wake();
        }
    }

    /// Whether so much of the answers is unread that no further request is begun.
    pub(crate) fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// Whether a request waits until there is room for its answer.
    pub(crate) fn holds_request(&self) -> bool {
        self.request.is_some()
    }

    /// Is ready once there is room for an answer: at least for all that hyper writes of an upgrade,
    /// which is taken back out of the pipe and must lie there whole.
    pub(crate) fn poll_room(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.room() < SWITCHING_BYTES_MAX.min(self.outbound_bytes_max) {
            self.request = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.request = None;
        Poll::Ready(())
    }

    /// Bytes of answers that have not been sent.
    pub(crate) fn unread_bytes(&self) -> usize {
        self.outbound.len() + self.lent_bytes
    }

    fn room(&self) -> usize {
        self.outbound_bytes_max.saturating_sub(self.unread_bytes())
    }

    /// Puts bytes out that hyper has not written.
    pub(crate) fn put_outbound(&mut self, bytes: &[u8]) {
        self.outbound.extend_from_slice(bytes);
    }
}

/// hyper's end of a pipe.
#[derive(Debug)]
pub(crate) struct PipeIo(pub(crate) Rc<RefCell<Pipe>>);

impl Read for PipeIo {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut pipe = self.0.borrow_mut();
        if pipe.inbound.is_empty() || pipe.is_held_back {
            if pipe.inbound_ended {
                return Poll::Ready(Ok(()));
            }
            return Poll::Pending;
        }
        // A larger read has hyper keep a larger buffer.
        let most = cursor.remaining().min(READ_BYTES_MAX);
        let len = pipe.inbound.len().min(most);
        cursor.put_slice(&pipe.inbound[..len]);
        pipe.inbound.advance(len);
        if pipe.inbound.is_empty() {
            // A connection that waits for its next request owns no buffer.
            pipe.inbound = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for PipeIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.borrow_mut();
        let room = pipe.room();
        if room == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let len = room.min(bytes.len());
        pipe.outbound.extend_from_slice(&bytes[..len]);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Bytes that hyper reads at a time: as much as one receive brings.
const READ_BYTES_MAX: usize = 16 << 10;

/// hyper's answer to an upgrade: about 130 bytes.
const SWITCHING_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_outbound_side_is_pending_until_it_is_sent() {
        let pipe = Rc::new(RefCell::new(Pipe::new(4)));
        let mut io = PipeIo(Rc::clone(&pipe));
        let mut cx = Context::from_waker(Waker::noop());
        let room = || {
            let cx = Context::from_waker(Waker::noop());
            pipe.borrow_mut().poll_room(&cx)
        };
        let mut write = |bytes: &[u8]| Pin::new(&mut io).poll_write(&mut cx, bytes).map(Result::ok);
        assert_eq!(room(), Poll::Ready(()));
        assert_eq!(write(b"abcdef"), Poll::Ready(Some(4)));
        assert_eq!((write(b"ef"), room()), (Poll::Pending, Poll::Pending));
        assert_eq!(pipe.borrow_mut().lend_outbound(Vec::new()), b"abcd");
        assert_eq!((write(b"ef"), room()), (Poll::Pending, Poll::Pending));
        assert!(pipe.borrow().holds_request());
        pipe.borrow_mut().settle();
        assert_eq!(room(), Poll::Ready(()));
        assert_eq!(write(b"ef"), Poll::Ready(Some(2)));
    }

    #[test]
    fn what_came_before_the_end_is_read_before_it() {
        let pipe = Rc::new(RefCell::new(Pipe::new(4)));
        pipe.borrow_mut().receive(b"abc");
        pipe.borrow_mut().end_inbound();
        let mut io = PipeIo(Rc::clone(&pipe));
        let mut cx = Context::from_waker(Waker::noop());
        for expected in [&b"ab"[..], b"c", b""] {
            let mut bytes = [0; 2];
            let mut buffer = hyper::rt::ReadBuf::new(&mut bytes);
            assert!(
                Pin::new(&mut io)
                    .poll_read(&mut cx, buffer.unfilled())
                    .is_ready()
            );
            assert_eq!(buffer.filled(), expected);
        }
    }
}
