//! The in-memory pipe between the driver, which owns the socket, and hyper.
//!
//! ```text
//!   received bytes --> inbound  --> hyper reads
//!   sent bytes     <-- outbound <-- hyper writes
//! ```
//!
//! hyper only sees the pipe. Both directions are limited. The driver stops reading the socket while
//! the inbound side is full. A write is pending while the outbound side, including the send in
//! progress, is full. A request starts only while there is room for a response. A pending read
//! stores no waker: the host polls hyper after it has added input.
//!
//! hyper gets one request at a time, if the end of the request is known (`raw_head.rs`).

use bytes::{Buf, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A limit on the input that hyper gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum InputLimit {
    /// No limit: only hyper can find the end of the request.
    All,
    /// At most this many bytes.
    Bytes(usize),
}

/// Both directions of one connection.
#[derive(Debug)]
pub(crate) struct Pipe {
    inbound: BytesMut,
    inbound_ended: bool,
    /// The input that hyper may still read: the rest of the current request.
    input_limit: InputLimit,
    /// The last three bytes received.
    tail: [u8; 3],
    outbound: Vec<u8>,
    outbound_bytes_max: usize,
    /// Bytes of the send in progress, until [`Pipe::complete_send`].
    sending_bytes: usize,
    writer: Option<Waker>,
    /// The waker of a request that waits for room for its response.
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
            sending_bytes: 0,
            writer: None,
            request: None,
        }
    }

    /// Adds bytes from the socket. The caller must poll hyper afterwards.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.inbound.extend_from_slice(bytes);
        let last = bytes.len().saturating_sub(self.tail.len());
        for byte in &bytes[last..] {
            self.tail = [self.tail[1], self.tail[2], *byte];
        }
    }

    /// Ends the input. The caller must poll hyper afterwards.
    pub(crate) fn end_inbound(&mut self) {
        self.inbound_ended = true;
        // An incomplete head can no longer become complete, so hyper may have it.
        if self.input_limit == InputLimit::Bytes(0) && !self.inbound.is_empty() {
            self.input_limit = InputLimit::All;
        }
    }

    /// Returns whether the first input byte that hyper has not read, or the next to arrive, begins
    /// a request.
    ///
    /// If the end of the last request is unknown, this is only certain if hyper has read an empty
    /// line and is not writing: while hyper writes, its own buffer may contain input of the next
    /// request.
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

    /// Returns whether the input has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.inbound_ended
    }

    /// Sets the limit on hyper's further input.
    pub(super) fn set_input_limit(&mut self, input_limit: InputLimit) {
        self.input_limit = input_limit;
    }

    /// Returns whether no input after the current request has arrived. `false` if the end of the
    /// request is unknown.
    pub(super) fn is_at_end_of_request(&self) -> bool {
        match self.input_limit {
            InputLimit::Bytes(bytes) => self.inbound.len() <= bytes,
            InputLimit::All => false,
        }
    }

    /// Returns whether hyper has read all bytes of the current request.
    pub(super) fn has_given_request(&self) -> bool {
        self.input_limit == InputLimit::Bytes(0)
    }

    /// Returns the input that hyper has not read.
    pub(super) fn inbound(&mut self) -> &mut [u8] {
        &mut self.inbound
    }

    /// Returns the number of input bytes that hyper has not read.
    pub(crate) fn inbound_bytes(&self) -> usize {
        self.inbound.len()
    }

    /// Takes the input that hyper has not read.
    pub(crate) fn take_inbound(&mut self) -> BytesMut {
        std::mem::take(&mut self.inbound)
    }

    /// Returns whether there is output.
    pub(crate) fn has_outbound(&self) -> bool {
        !self.outbound.is_empty()
    }

    /// Takes the output.
    pub(crate) fn take_outbound(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outbound)
    }

    /// Takes the output for a send and leaves `empty` in its place. The taken bytes count towards
    /// the limit until [`Pipe::complete_send`].
    pub(crate) fn begin_send(&mut self, empty: Vec<u8>) -> Vec<u8> {
        assert!(empty.is_empty() && self.sending_bytes == 0);
        let sending = std::mem::replace(&mut self.outbound, empty);
        self.sending_bytes = sending.len();
        sending
    }

    /// Ends the send. Wakes the writer and the request that wait for room.
    pub(crate) fn complete_send(&mut self) {
        self.sending_bytes = 0;
        let (writer, request) = (self.writer.take(), self.request.take());
        for waiting in writer.into_iter().chain(request) {
            waiting.wake();
        }
    }

    /// Returns whether the outbound side is full, so that no further request starts.
    pub(crate) fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// Returns whether a request waits for room for its response.
    pub(crate) fn delays_request(&self) -> bool {
        self.request.is_some()
    }

    /// Polls for room for a response. The room must be enough for hyper's complete 101: after an
    /// upgrade, the connection finds hyper's 101 in the pipe and replaces it.
    pub(crate) fn poll_room(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.room() < SWITCHING_BYTES_MAX.min(self.outbound_bytes_max) {
            self.request = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.request = None;
        Poll::Ready(())
    }

    /// Returns the response bytes that have not been sent.
    pub(crate) fn unread_bytes(&self) -> usize {
        self.outbound.len() + self.sending_bytes
    }

    fn room(&self) -> usize {
        self.outbound_bytes_max.saturating_sub(self.unread_bytes())
    }

    /// Appends output that hyper did not write.
    pub(crate) fn put_outbound(&mut self, bytes: &[u8]) {
        self.outbound.extend_from_slice(bytes);
    }
}

/// hyper's side of a pipe.
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
        // Limit the read: hyper's buffer grows with a large read and stays large.
        let most = cursor.remaining().min(READ_BYTES_MAX).min(input_limit);
        let len = pipe.inbound.len().min(most);
        cursor.put_slice(&pipe.inbound[..len]);
        pipe.inbound.advance(len);
        if let InputLimit::Bytes(bytes) = &mut pipe.input_limit {
            *bytes -= len;
        }
        if pipe.inbound.is_empty() {
            // Free the buffer: the connection waits for its next request.
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

/// Maximum bytes of one read by hyper: by default as many as one receive from the socket.
const READ_BYTES_MAX: usize = 16 << 10;

/// Room for hyper's 101, which has about 130 bytes.
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
        assert!(pipe.borrow().delays_request());
        pipe.borrow_mut().complete_send();
        assert_eq!(room(), Poll::Ready(()));
        assert_eq!(write(b"ef"), Poll::Ready(Some(2)));
    }

    #[test]
    fn input_is_read_before_its_end() {
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
        assert_eq!(read(), None, "the head was not inspected");
        assert!(pipe.borrow().begins_request(false));
        pipe.borrow_mut().set_input_limit(InputLimit::Bytes(3));
        assert!(!pipe.borrow().is_at_end_of_request() && !pipe.borrow().begins_request(false));
        assert_eq!(read(), Some(b"abc".to_vec()));
        assert_eq!(read(), None);
        assert!(pipe.borrow().begins_request(false) && pipe.borrow().has_given_request());
        pipe.borrow_mut().set_input_limit(InputLimit::Bytes(3));
        assert_eq!(read(), Some(b"d".to_vec()));
        assert!(!pipe.borrow().begins_request(false) && pipe.borrow().is_at_end_of_request());
        // If the end of a request is unknown, hyper keeps no input after an empty line.
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
        // At the end of the input there is no limit.
        pipe.borrow_mut().set_input_limit(InputLimit::Bytes(0));
        pipe.borrow_mut().receive(b"GET");
        assert_eq!(read(), None);
        pipe.borrow_mut().end_inbound();
        assert_eq!((read(), read()), (Some(b"GET".to_vec()), Some(Vec::new())));
    }
}
