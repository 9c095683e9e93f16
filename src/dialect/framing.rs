//! Framings: the ways in which messages lie in the bytes of a connection.
//!
//! ```text
//!   upgrade request --> 101                       frames of RFC 6455      Framing::WebSocket
//!   GET             --> 200, without a length     a dialect's own way     Framing::Stream
//!
//!   bytes in   --> MessageReader --> messages, pings, the peer's close
//!   bytes out  <-- Framing       <-- messages, pings, pongs, our close    appended to a buffer
//! ```
//!
//! A session has the framing of its format ([`Dialect::framing`]). The first variant is matched
//! instead of called through a pointer, so that WebSocket's code stays inline where it is hot.
//!
//! [`Dialect::framing`]: super::Dialect::framing

use crate::vocabulary::close::ProtocolError;
use crate::ws::{Decoder, Event, MessageType, OpCode, Payload, encoder};
use std::fmt;
use std::ops::Range;

/// The way in which a session's messages lie in its bytes.
#[derive(Clone, Copy, Debug)]
pub enum Framing {
    /// Frames of RFC 6455, after a 101 response.
    WebSocket,
    /// A dialect's own way, in the body of the response to a GET request.
    Stream(&'static dyn StreamFraming),
}

/// A framing other than WebSocket's, in both directions of a connection whose GET request was
/// answered. Stateless: the bytes of a message that is not complete are kept by [`MessageReader`].
pub trait StreamFraming: fmt::Debug + Sync {
    /// Returns the media type of the response's body.
    fn media_type(&self) -> &'static str;

    /// Appends the head of the response. Its body has no length: it ends with the connection.
    fn put_response(&self, out: &mut Vec<u8>) {
        let head =
            "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Type: ";
        for part in [head, self.media_type(), "\r\n\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }

    /// Appends what precedes the payload of a message. By default nothing.
    fn begin(&self, _: &mut Vec<u8>) {}

    /// Ends a message: since `start`, `out` has what [`StreamFraming::begin`] appended, and the
    /// payload. Bytes before `start` must not change.
    fn end(&self, out: &mut Vec<u8>, start: usize, kind: MessageType);

    /// Appends bytes without a meaning, which show a client that the connection is alive, and the
    /// gateway that the peer is. By default nothing.
    fn put_ping(&self, _: &mut Vec<u8>) {}

    /// Appends the last message of a session, with the code and the reason of a close frame. By
    /// default nothing: the end of the connection is all that the client sees.
    fn put_close(&self, _: &mut Vec<u8>, _code: Option<u16>, _reason: &str) {}

    /// Finds the first item in the client's bytes. Returns the item and where it ends; `None` if it
    /// is not complete. Without the last byte before that end there must be no item.
    ///
    /// There was none in the first `scanned` bytes alone, which need not be scanned again.
    fn read(&self, bytes: &[u8], scanned: usize) -> Option<(usize, StreamItem)>;

    /// Returns the maximum number of bytes of an item besides its payload, without its last byte.
    fn overhead_bytes_max(&self) -> usize {
        0
    }

    /// Returns whether a session goes on when the peer has ended its input. By default it ends.
    fn outlives_input(&self) -> bool {
        false
    }
}

/// An item in the bytes of a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StreamItem {
    /// A message.
    Message {
        /// The type of the message.
        kind: MessageType,
        /// The place of the payload in the bytes.
        payload: Range<usize>,
    },
    /// Bytes without a meaning.
    KeepAlive,
    /// The client ends the session.
    Close,
}

impl Framing {
    /// Appends a message whose payload `write` appends. Returns the bytes of the payload.
    #[inline]
    pub fn put_with(
        self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>) -> MessageType,
    ) -> usize {
        match self {
            Self::WebSocket => {
                let start = encoder::begin(out);
                let payload_at = out.len();
                let kind = write(out);
                let payload_bytes = out.len() - payload_at;
                encoder::end(out, start, opcode(kind));
                payload_bytes
            }
            Self::Stream(framing) => {
                let start = out.len();
                framing.begin(out);
                let payload_at = out.len();
                let kind = write(out);
                let payload_bytes = out.len() - payload_at;
                framing.end(out, start, kind);
                payload_bytes
            }
        }
    }

    /// Appends a message.
    #[inline]
    pub fn put_message(self, out: &mut Vec<u8>, kind: MessageType, payload: &[u8]) {
        match self {
            Self::WebSocket => encoder::put_frame(out, opcode(kind), payload),
            Self::Stream(_) => {
                self.put_with(out, |out| {
                    out.extend_from_slice(payload);
                    kind
                });
            }
        }
    }

    /// Returns the bytes that a message with this payload takes, or for a stream an estimate.
    #[must_use]
    #[inline]
    pub fn message_bytes(self, payload_bytes: usize) -> usize {
        match self {
            Self::WebSocket => encoder::head_len(payload_bytes) + payload_bytes,
            Self::Stream(_) => payload_bytes + OVERHEAD_BYTES,
        }
    }

    /// Appends a ping; nothing if the framing has none.
    pub fn put_ping(self, out: &mut Vec<u8>) {
        match self {
            Self::WebSocket => encoder::put_frame(out, OpCode::Ping, b""),
            Self::Stream(framing) => framing.put_ping(out),
        }
    }

    /// Appends the answer to a ping; nothing if the framing has none.
    ///
    /// # Panics
    ///
    /// If the payload has more than 125 bytes.
    pub fn put_pong(self, out: &mut Vec<u8>, payload: &[u8]) {
        match self {
            Self::WebSocket => encoder::put_frame(out, OpCode::Pong, payload),
            // No item of a stream asks for an answer.
            Self::Stream(_) => {}
        }
    }

    /// Appends the last bytes of a session, with the code and the reason of its close; nothing if
    /// the framing has none.
    ///
    /// # Panics
    ///
    /// If the code must not be sent (RFC 6455 7.4).
    pub fn put_close(self, out: &mut Vec<u8>, code: Option<u16>, reason: &str) {
        match self {
            Self::WebSocket => encoder::put_close(out, code, reason),
            Self::Stream(framing) => framing.put_close(out, code, reason),
        }
    }

    /// Returns whether a session goes on when the peer has ended its input.
    #[must_use]
    pub fn outlives_input(self) -> bool {
        match self {
            Self::WebSocket => false,
            Self::Stream(framing) => framing.outlives_input(),
        }
    }
}

/// The reader of one session's messages. While it is at rest it is like a new one.
///
/// Invariant: the same bytes yield the same events, however they are split.
#[derive(Debug)]
pub enum MessageReader {
    /// Reads frames.
    WebSocket(Decoder),
    /// Reads the items of a stream. Holds the bytes of one that is not complete.
    Stream(&'static dyn StreamFraming, Vec<u8>),
}

impl MessageReader {
    /// Creates a reader at the start of a session's input.
    #[must_use]
    #[inline]
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::WebSocket => Self::WebSocket(Decoder::new()),
            Framing::Stream(framing) => Self::Stream(framing, Vec::new()),
        }
    }

    /// Reads `input` until one event is complete or the input is used up.
    ///
    /// Returns the number of bytes read and the event. Call it again with the rest of the input.
    ///
    /// # Errors
    ///
    /// Returns the violation of RFC 6455, or [`ProtocolError::TooBig`] for a message of more than
    /// `message_bytes_max` bytes.
    #[inline]
    pub fn step<'m>(
        &mut self,
        input: &'m mut [u8],
        message_bytes_max: usize,
    ) -> Result<(usize, Option<Event<'m>>), ProtocolError> {
        match self {
            Self::WebSocket(decoder) => decoder.step(input, message_bytes_max),
            Self::Stream(framing, held) => read_stream(*framing, held, input, message_bytes_max),
        }
    }

    /// Returns whether the reader is between two messages and has read no byte of the next.
    #[must_use]
    #[inline]
    pub fn is_at_rest(&self) -> bool {
        match self {
            Self::WebSocket(decoder) => decoder.is_at_rest(),
            Self::Stream(_, held) => held.is_empty(),
        }
    }

    /// Returns the received bytes of a partial text message, to check them early; empty if there
    /// is none, or in a stream.
    #[must_use]
    pub fn partial_text(&self) -> &[u8] {
        match self {
            Self::WebSocket(decoder) => decoder.partial_text(),
            Self::Stream(..) => &[],
        }
    }

    /// Returns the heap bytes held for a partial message, by capacity.
    #[must_use]
    pub fn partial_bytes(&self) -> usize {
        match self {
            Self::WebSocket(decoder) => decoder.partial_bytes(),
            Self::Stream(_, held) => held.capacity(),
        }
    }
}

/// What a [`MessageReader`] holds, as plain data.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PartialInput {
    /// The decoder of frames.
    WebSocket(Decoder),
    /// The bytes of an item that is not complete.
    Stream(Vec<u8>),
}

impl MessageReader {
    /// Copies what the reader holds.
    #[must_use]
    pub fn export(&self) -> PartialInput {
        match self {
            Self::WebSocket(decoder) => PartialInput::WebSocket(decoder.clone()),
            Self::Stream(_, held) => PartialInput::Stream(held.clone()),
        }
    }

    /// Creates a reader that goes on with what another one of the same framing held.
    ///
    /// # Panics
    ///
    /// If the framing differs.
    #[must_use]
    pub fn adopt(framing: Framing, input: PartialInput) -> Self {
        match (framing, input) {
            (Framing::WebSocket, PartialInput::WebSocket(decoder)) => Self::WebSocket(decoder),
            (Framing::Stream(framing), PartialInput::Stream(held)) => Self::Stream(framing, held),
            (Framing::WebSocket, PartialInput::Stream(_))
            | (Framing::Stream(_), PartialInput::WebSocket(_)) => {
                panic!("a session keeps its framing")
            }
        }
    }
}

/// Reads the first item of `held` and `input` together.
fn read_stream<'m>(
    framing: &dyn StreamFraming,
    held: &mut Vec<u8>,
    input: &'m mut [u8],
    message_bytes_max: usize,
) -> Result<(usize, Option<Event<'m>>), ProtocolError> {
    // What is longer without its last byte is no message within the limit.
    let bytes_max = message_bytes_max.saturating_add(framing.overhead_bytes_max());
    let scanned = held.len();
    let found = if scanned == 0 {
        framing.read(input, 0)
    } else {
        held.extend_from_slice(input);
        framing.read(held, scanned)
    };
    let Some((end, item)) = found else {
        if scanned == 0 {
            held.extend_from_slice(input);
        }
        if held.len() > bytes_max {
            return Err(ProtocolError::TooBig);
        }
        return Ok((input.len(), None));
    };
    assert!(end > scanned, "an item ends with its last byte");
    // As if its last byte had arrived alone.
    if end - 1 > bytes_max {
        return Err(ProtocolError::TooBig);
    }
    let taken = end - scanned;
    let held = std::mem::take(held);
    let event = match item {
        StreamItem::KeepAlive => None,
        StreamItem::Close => Some(Event::Close(None)),
        StreamItem::Message { payload, .. } if payload.len() > message_bytes_max => {
            return Err(ProtocolError::TooBig);
        }
        StreamItem::Message { kind, payload } => Some(Event::Message {
            kind,
            rsv1: false,
            payload: if scanned == 0 {
                Payload::InPlace(&mut input[payload])
            } else {
                Payload::Owned(held[payload].to_vec())
            },
        }),
    };
    Ok((taken, event))
}

/// Returns the opcode of a message type.
fn opcode(kind: MessageType) -> OpCode {
    match kind {
        MessageType::Text => OpCode::Text,
        MessageType::Binary => OpCode::Binary,
    }
}

/// Estimate of the bytes that a framing adds to a payload: those of the longest head of a frame.
pub const OVERHEAD_BYTES: usize = 10;
