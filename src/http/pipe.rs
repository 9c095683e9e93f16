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
//!
//! hyper is given one request at a time, as far as is known where it ends (`raw_head.rs`).

use bytes::{Buf, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// How much of what comes hyper is given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum InputLimit {
    /// All of it: where a request ends only hyper finds out.
    All,
    /// So many bytes.
    Bytes(usize),
}

/// Both directions of one connection.
#[derive(Debug)]
pub(crate) struct Pipe {
    inbound: BytesMut,
    inbound_ended: bool,
    /// How much of what comes belongs to the request that hyper is given.
    input_limit: InputLimit,
    /// The last three bytes that have come.
    tail: [u8; 3],
    outbound: Vec<u8>,
    outbound_bytes_max: usize,
    /// Bytes taken to be sent and not yet given back by [`Pipe::complete_send`].
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
            input_limit: InputLimit::Bytes(0),
            tail: [0; 3],
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
        let last = bytes.len().saturating_sub(self.tail.len());
        for byte in &bytes[last..] {
            self.tail = [self.tail[1], self.tail[2], *byte];
        }
    }

    /// Tells hyper that nothing more will come; it must be polled then.
    pub(crate) fn end_inbound(&mut self) {
        self.inbound_ended = true;
        // What is not whole by now never will be.
        if self.input_limit == InputLimit::Bytes(0) && !self.inbound.is_empty() {
            self.input_limit = InputLimit::All;
        }
    }

    /// Whether what hyper has not read, or what comes next, begins a request. Not if hyper still
    /// waits for the rest of one, or may have a part of the next, which it keeps while it writes,
    /// and otherwise only where that does not end in an empty line.
    pub(super) fn begins_request(&self, is_writing: bool) -> bool {
        match self.input_limit {
            InputLimit::Bytes(bytes) => bytes == 0,
            InputLimit::All => {
                let ends_blank = matches!(self.tail, [b'\n', b'\r', b'\n'] | [_, b'\n', b'\n']);
                let is_writing = is_writing || self.writer.is_some();
                !is_writing && self.inbound.is_empty() && ends_blank
            }
        }
    }

    /// Whether nothing more will come.
    pub(super) fn has_ended(&self) -> bool {
        self.inbound_ended
    }

    /// Sets what hyper is given from now on.
    pub(super) fn set_input_limit(&mut self, input_limit: InputLimit) {
        self.input_limit = input_limit;
    }

    /// Whether nothing has come behind the request that hyper was given, for certain.
    pub(super) fn is_at_end_of_request(&self) -> bool {
        match self.input_limit {
            InputLimit::Bytes(bytes) => self.inbound.len() <= bytes,
            InputLimit::All => false,
        }
    }

    /// Whether hyper has read all of the request that it was given.
    pub(super) fn has_given_request(&self) -> bool {
        self.input_limit == InputLimit::Bytes(0)
    }

    /// What has been received and hyper has not read.
    pub(super) fn inbound(&mut self) -> &mut [u8] {
        &mut self.inbound
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
    /// bound until [`Pipe::complete_send`].
    pub(crate) fn begin_send(&mut self, empty: Vec<u8>) -> Vec<u8> {
        assert!(empty.is_empty() && self.lent_bytes == 0);
        let lent = std::mem::replace(&mut self.outbound, empty);
        self.lent_bytes = lent.len();
        lent
    }

    /// Everything that was lent has been sent: whoever waits for room goes on.
    pub(crate) fn complete_send(&mut self) {
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
        let input_limit = match pipe.input_limit {
            InputLimit::All => usize::MAX,
            InputLimit::Bytes(bytes) => bytes,
        };
        if pipe.inbound.is_empty() || input_limit == 0 {
            if pipe.inbound_ended && pipe.inbound.is_empty() {
                return Poll::Ready(Ok(()));
            }
            return Poll::Pending;
        }
        // A larger read has hyper keep a larger buffer.
        let most = cursor.remaining().min(READ_BYTES_MAX).min(input_limit);
        let len = pipe.inbound.len().min(most);
        cursor.put_slice(&pipe.inbound[..len]);
        pipe.inbound.advance(len);
        if let InputLimit::Bytes(bytes) = &mut pipe.input_limit {
            *bytes -= len;
        }
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
        assert_eq!(pipe.borrow_mut().begin_send(Vec::new()), b"abcd");
        assert_eq!((write(b"ef"), room()), (Poll::Pending, Poll::Pending));
        assert!(pipe.borrow().holds_request());
        pipe.borrow_mut().complete_send();
        assert_eq!(room(), Poll::Ready(()));
        assert_eq!(write(b"ef"), Poll::Ready(Some(2)));
    }

    #[test]
    fn what_came_before_the_end_is_read_before_it() {
        let pipe = Rc::new(RefCell::new(Pipe::new(4)));
        pipe.borrow_mut().set_input_limit(InputLimit::All);
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

    #[test]
    fn hyper_is_given_one_request_and_then_the_next() {
        let pipe = Rc::new(RefCell::new(Pipe::new(4)));
        let mut io = PipeIo(Rc::clone(&pipe));
        let mut cx = Context::from_waker(Waker::noop());
        let mut read = || {
            let mut bytes = [0; 9];
            let mut buffer = hyper::rt::ReadBuf::new(&mut bytes);
            let polled = Pin::new(&mut io).poll_read(&mut cx, buffer.unfilled());
            polled.is_ready().then(|| buffer.filled().to_vec())
        };
        pipe.borrow_mut().receive(b"abcd");
        assert_eq!(read(), None, "nobody has looked at it");
        assert!(pipe.borrow().begins_request(false));
        pipe.borrow_mut().set_input_limit(InputLimit::Bytes(3));
        assert!(!pipe.borrow().is_at_end_of_request() && !pipe.borrow().begins_request(false));
        assert_eq!(read(), Some(b"abc".to_vec()));
        assert_eq!(read(), None);
        assert!(pipe.borrow().begins_request(false) && pipe.borrow().has_given_request());
        pipe.borrow_mut().set_input_limit(InputLimit::Bytes(3));
        assert_eq!(read(), Some(b"d".to_vec()));
        assert!(!pipe.borrow().begins_request(false) && pipe.borrow().is_at_end_of_request());
        // Where its end is not known, an empty line is what hyper keeps nothing behind.
        pipe.borrow_mut().set_input_limit(InputLimit::All);
        for (bytes, begins) in [(&b"ef"[..], false), (b"\r\n\r", false), (b"\n", true)] {
            pipe.borrow_mut().receive(bytes);
            assert!(
                !pipe.borrow().begins_request(false),
                "hyper has not read it"
            );
            assert_eq!(read(), Some(bytes.to_vec()));
            assert_eq!(pipe.borrow().begins_request(false), begins);
            assert!(!pipe.borrow().begins_request(true), "hyper may keep it");
        }
        // At the end everything goes out.
        pipe.borrow_mut().set_input_limit(InputLimit::Bytes(0));
        pipe.borrow_mut().receive(b"GET");
        assert_eq!(read(), None);
        pipe.borrow_mut().end_inbound();
        assert_eq!((read(), read()), (Some(b"GET".to_vec()), Some(Vec::new())));
    }
}
