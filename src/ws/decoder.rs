//! The frame decoder: turns a client's bytes, in chunks of any size, into messages.
//!
//! The decoder unmasks each chunk in place. A message of one frame within one chunk is returned in
//! place, without a copy. Only what the end of a chunk cuts is copied: up to 13 bytes of a head
//! into the decoder, a payload into a buffer that is freed with the message. The buffer grows with
//! the bytes received, not with the length that a head declares.
//!
//! The decoder checks frames, not content. Of UTF-8 it checks only a close frame's reason; text
//! messages are not checked, as in the original servers. A caller that checks the text of a partial
//! message applies a [`TextCheck`] to [`Decoder::partial_text`].
//!
//! [`TextCheck`]: super::text_check::TextCheck

use crate::vocabulary::close::{self, HeadFault, HeadFaults, ProtocolError};
use crate::vocabulary::content::MessageType;
use fastwebsockets::{OpCode, unmask};

/// The decoder of one connection's byte stream.
///
/// ```text
///   | head .. | payload .......... | head | payload | head | pay
///   ^         ^                    ^
///   |         |                    `- between frames: neither head bytes nor a frame
///   |         `- inside a payload: `frame` is set, `left` bytes are missing
///   `- inside a head: its first bytes are in `head`
/// ```
///
/// After an error, and after [`Event::Close`], the decoder must not be used again.
///
/// Invariants, checked by [`Decoder::invariants`]:
///
/// - While a frame is open, `head` is empty.
/// - `partial` is set exactly while it contains bytes of a partial payload.
/// - Payload bytes of a message are held only while that message is open.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
    /// Bytes of the open frame's payload that have not been received.
    left: usize,
    /// The bytes of a partial head.
    head: [u8; HEAD_BYTES_MAX],
    head_len: u8,
    /// The open frame's mask, rotated so that its first byte applies to the next payload byte.
    mask: [u8; 4],
    /// The frame whose payload is being read.
    frame: Option<Frame>,
    /// The type of the open message: begun, and its last frame not complete.
    message: Option<MessageType>,
}

/// A complete message or control frame.
#[derive(Debug)]
pub enum Event<'m> {
    /// A message, of one frame or many.
    Message {
        /// The type, from the first frame.
        kind: MessageType,
        /// Whether RSV1 is set in the first frame. Always `false` without an extension.
        rsv1: bool,
        /// The payload, unmasked.
        payload: Payload<'m>,
    },
    /// A ping. It must be answered by a pong with the same payload, also in the middle of a
    /// message.
    Ping(Payload<'m>),
    /// A pong, solicited or not.
    Pong,
    /// The peer's close frame, with its code; `None` if it is empty. The reason is checked and
    /// dropped.
    Close(Option<u16>),
}

/// An unmasked payload: at most 125 bytes for a ping, at most the message limit for a message.
#[derive(Debug)]
pub enum Payload<'m> {
    /// The payload lies in the input.
    InPlace(&'m mut [u8]),
    /// The payload was received in several chunks or frames, and was copied.
    Owned(Vec<u8>),
}

impl Payload<'_> {
    /// Returns the bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::InPlace(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }

    /// Returns the bytes, for a parser that works in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::InPlace(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl Decoder {
    /// Creates a decoder at the start of a stream: the byte after the upgrade request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes `input` until one event is complete or the input is used up.
    ///
    /// Returns the number of bytes read and the event. Call it again with the rest of the input.
    /// Without an event, all bytes were read. Payload bytes that were read are unmasked; the rest
    /// is unchanged.
    ///
    /// # Errors
    ///
    /// Returns the violation of RFC 6455. A message of more than `message_bytes_max` bytes fails
    /// with [`ProtocolError::TooBig`] at the frame head that exceeds the limit; no payload of that
    /// frame is read.
    pub fn step<'m>(
        &mut self,
        input: &'m mut [u8],
        message_bytes_max: usize,
    ) -> Result<(usize, Option<Event<'m>>), ProtocolError> {
        let mut at = 0;
        loop {
            let frame = match self.frame {
                Some(frame) => frame,
                None => match self.read_head(&input[at..])? {
                    (taken, Some(head)) => {
                        at += taken;
                        self.open_frame(&head, message_bytes_max)?
                    }
                    (taken, None) => return Ok((at + taken, None)),
                },
            };

            let end = at + self.left.min(input.len() - at);
            unmask(&mut input[at..end], self.mask);
            self.left -= end - at;

            if self.left == 0 && frame.fin {
                self.frame = None;
                return Ok((end, Some(self.complete(frame, &mut input[at..end])?)));
            }
            self.mask.rotate_left((end - at) % 4);
            self.keep(frame, &input[at..end], message_bytes_max);
            at = end;
            if self.left > 0 {
                return Ok((at, None));
            }
            self.frame = None;
        }
    }

    /// Returns whether the decoder is between two messages and has read no byte of the next, like a
    /// new one.
    #[inline]
    pub fn is_at_rest(&self) -> bool {
        self.head_len == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// Returns the received bytes of a partial text message; empty if there is none.
    pub fn partial_text(&self) -> &[u8] {
        match (self.message, &self.partial) {
            (Some(MessageType::Text), Some(partial)) => &partial.message,
            (Some(_) | None, _) => &[],
        }
    }

    /// Returns the heap bytes held for a partial message and control frame, by capacity.
    pub fn partial_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| {
            size_of::<Partial>() + partial.message.capacity() + partial.control.capacity()
        })
    }

    /// Asserts the invariants.
    pub fn invariants(&self) {
        assert!(usize::from(self.head_len) < HEAD_BYTES_MAX);
        assert!(self.frame.is_none() || self.head_len == 0);
        assert!(self.frame.is_some() || self.left == 0);
        assert!(!self.is_at_rest() || self.partial.is_none());
        if let Some(partial) = &self.partial {
            assert!(!partial.message.is_empty() || !partial.control.is_empty());
            assert!(partial.message.is_empty() || self.message.is_some());
            assert!(partial.control.is_empty() || self.frame.is_some());
        }
    }

    /// Reads the rest of a head, or stores a partial one. Returns the number of bytes read.
    #[inline]
    fn read_head(&mut self, input: &[u8]) -> Result<(usize, Option<Head>), ProtocolError> {
        let in_message = self.message.is_some();
        if self.head_len == 0
            && let Some(head) = Head::read(input, in_message)?
        {
            return Ok((head.bytes, Some(head)));
        }

        let held = usize::from(self.head_len);
        let taken = input.len().min(HEAD_BYTES_MAX - held);
        self.head[held..held + taken].copy_from_slice(&input[..taken]);
        if let Some(head) = Head::read(&self.head[..held + taken], in_message)? {
            self.head_len = 0;
            // Bytes after the head's end were copied too; they are read again from the input.
            return Ok((head.bytes - held, Some(head)));
        }
        self.head_len = u8::try_from(held + taken).expect("shorter than a whole head");
        Ok((taken, None))
    }

    /// Opens the frame that `head` describes.
    ///
    /// # Errors
    ///
    /// Returns [`ProtocolError::TooBig`] if its message would exceed the limit.
    #[inline]
    fn open_frame(
        &mut self,
        head: &Head,
        message_bytes_max: usize,
    ) -> Result<Frame, ProtocolError> {
        let payload_bytes =
            usize::try_from(head.payload_bytes).map_err(|_| ProtocolError::TooBig)?;
        let kind = match head.frame.opcode {
            OpCode::Text => Some(MessageType::Text),
            OpCode::Binary => Some(MessageType::Binary),
            OpCode::Continuation => self.message,
            OpCode::Close | OpCode::Ping | OpCode::Pong => None,
        };
        if let Some(kind) = kind {
            let held = self
                .partial
                .as_ref()
                .map_or(0, |partial| partial.message.len());
            if payload_bytes > message_bytes_max.saturating_sub(held) {
                return Err(ProtocolError::TooBig);
            }
            self.message = Some(kind);
        }
        self.left = payload_bytes;
        self.mask = head.mask;
        self.frame = Some(head.frame);
        Ok(head.frame)
    }

    /// Copies a piece of a payload that is not complete.
    fn keep(&mut self, frame: Frame, piece: &[u8], message_bytes_max: usize) {
        if piece.is_empty() {
            return;
        }
        let partial = self.partial.get_or_insert_default();
        if frame.is_control() {
            partial.control.extend_from_slice(piece);
        } else {
            // The maximum size of the message, as far as it is known.
            let bytes_max = if frame.fin {
                partial.message.len() + piece.len() + self.left
            } else {
                message_bytes_max
            };
            append(&mut partial.message, piece, bytes_max);
        }
    }

    /// Returns the event of a control frame or of a message's last frame. `tail` is the part of its
    /// payload in the input; the part before it is in `partial`.
    #[inline]
    fn complete<'m>(
        &mut self,
        frame: Frame,
        tail: &'m mut [u8],
    ) -> Result<Event<'m>, ProtocolError> {
        Ok(match frame.opcode {
            OpCode::Text | OpCode::Binary | OpCode::Continuation => {
                let kind = self
                    .message
                    .take()
                    .expect("a message is open in its last frame");
                Event::Message {
                    kind,
                    rsv1: false,
                    payload: self.take_message(tail),
                }
            }
            OpCode::Ping => Event::Ping(self.take_control(tail)),
            OpCode::Pong => {
                drop(self.take_control(tail));
                Event::Pong
            }
            OpCode::Close => Event::Close(close_code(self.take_control(tail).bytes())?),
        })
    }

    #[inline]
    fn take_message<'m>(&mut self, tail: &'m mut [u8]) -> Payload<'m> {
        let Some(partial) = self.partial.take() else {
            return Payload::InPlace(tail);
        };
        let mut message = partial.message;
        let message_bytes = message.len() + tail.len();
        append(&mut message, tail, message_bytes);
        Payload::Owned(message)
    }

    fn take_control<'m>(&mut self, tail: &'m mut [u8]) -> Payload<'m> {
        match &mut self.partial {
            Some(partial) if !partial.control.is_empty() => {
                let mut control = std::mem::take(&mut partial.control);
                if partial.message.is_empty() {
                    self.partial = None;
                }
                control.extend_from_slice(tail);
                Payload::Owned(control)
            }
            Some(_) | None => Payload::InPlace(tail),
        }
    }
}

/// The received bytes of incomplete payloads.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Partial {
    message: Vec<u8>,
    /// A control frame may arrive between the fragments of a message.
    control: Vec<u8>,
}

/// The content of a head's first byte.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Frame {
    opcode: OpCode,
    fin: bool,
}

impl Frame {
    fn is_control(self) -> bool {
        matches!(self.opcode, OpCode::Close | OpCode::Ping | OpCode::Pong)
    }
}

/// A complete head.
struct Head {
    frame: Frame,
    mask: [u8; 4],
    payload_bytes: u64,
    /// Length of the head itself.
    bytes: usize,
}

impl Head {
    /// Reads a head from the front of `bytes`. Returns `None` if it is incomplete.
    ///
    /// # Errors
    ///
    /// Returns the faults of the first two bytes as soon as those are present, or an invalid
    /// length.
    #[inline]
    fn read(bytes: &[u8], in_message: bool) -> Result<Option<Self>, ProtocolError> {
        let Some((&[first, second], rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        let frame = validate_head(first, second, in_message)?;

        let (payload_bytes, rest) = match second & LENGTH {
            LENGTH_IS_16_BITS => match rest.split_first_chunk() {
                Some((&length, rest)) => (u64::from(u16::from_be_bytes(length)), rest),
                None => return Ok(None),
            },
            LENGTH_IS_64_BITS => match rest.split_first_chunk() {
                Some((&length, rest)) => (u64::from_be_bytes(length), rest),
                None => return Ok(None),
            },
            length => (u64::from(length), rest),
        };
        let Some((&mask, rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        if payload_bytes >> 63 == 1 {
            return Err(ProtocolError::LengthTopBit);
        }
        Ok(Some(Self {
            frame,
            mask,
            payload_bytes,
            bytes: bytes.len() - rest.len(),
        }))
    }
}

/// Checks the first two bytes of a head (RFC 6455 5.2, 5.4, 5.5).
///
/// # Errors
///
/// Returns all faults at once.
#[inline]
fn validate_head(first: u8, second: u8, in_message: bool) -> Result<Frame, ProtocolError> {
    let fin = first & FIN != 0;
    let opcode = OpCode::try_from(first & OPCODE).ok();

    let mut faults = HeadFaults::default();
    faults.note(HeadFault::Rsv1, first & RSV1 != 0);
    faults.note(HeadFault::Rsv2, first & RSV2 != 0);
    faults.note(HeadFault::Rsv3, first & RSV3 != 0);
    faults.note(HeadFault::Mask, second & MASK == 0);
    match opcode {
        Some(OpCode::Close | OpCode::Ping | OpCode::Pong) => {
            let too_long = usize::from(second & LENGTH) > CONTROL_BYTES_MAX;
            faults.note(HeadFault::ControlTooLong, too_long);
            faults.note(HeadFault::ControlNotFinal, !fin);
        }
        Some(OpCode::Text | OpCode::Binary) => {
            faults.note(HeadFault::DataBeforeFin, in_message);
        }
        Some(OpCode::Continuation) => {
            faults.note(HeadFault::ContinuationAfterFin, !in_message);
        }
        None => faults.note(HeadFault::Opcode, true),
    }

    match opcode {
        Some(opcode) if faults.is_empty() => Ok(Frame { opcode, fin }),
        Some(_) | None => Err(ProtocolError::Head {
            faults,
            opcode: first & OPCODE,
        }),
    }
}

/// Returns the code in a close frame's payload (RFC 6455 5.5.1, 7.4); `None` if the payload is
/// empty.
///
/// # Errors
///
/// Returns the fault of an invalid payload.
fn close_code(payload: &[u8]) -> Result<Option<u16>, ProtocolError> {
    let Some((&code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok(None),
            _ => Err(ProtocolError::CloseOfOneByte),
        };
    };
    let code = u16::from_be_bytes(code);
    if !close::is_code(code) {
        return Err(ProtocolError::CloseCode(code));
    }
    match str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(ProtocolError::CloseReason),
    }
}

/// Appends `piece`. Doubles the capacity when it is used up, to at most `bytes_max` bytes.
fn append(message: &mut Vec<u8>, piece: &[u8], bytes_max: usize) {
    let needed = message.len() + piece.len();
    if needed > message.capacity() {
        let capacity = (message.capacity() * 2).min(bytes_max).max(needed);
        message.reserve_exact(capacity - message.len());
    }
    message.extend_from_slice(piece);
}

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2: u8 = 0x20;
const RSV3: u8 = 0x10;
const OPCODE: u8 = 0x0f;
const MASK: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const LENGTH_IS_16_BITS: u8 = 126;
const LENGTH_IS_64_BITS: u8 = 127;
/// Maximum length of a head: two bytes, eight of length, four of mask.
const HEAD_BYTES_MAX: usize = 14;
const CONTROL_BYTES_MAX: usize = 125;

const _: () = {
    assert!(size_of::<Decoder>() <= 48);
    assert!(size_of::<Event<'_>>() <= 32);
};

#[cfg(test)]
mod tests;
