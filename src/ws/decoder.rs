//! Frames in: from a client's bytes, in any chunks, to messages.
//!
//! The decoder is fed whatever has arrived and unmasks it where it lies. A message that is one
//! frame and lies in one chunk is handed out in place, without a copy. Only what a chunk's end cuts
//! short is copied: up to 13 bytes of a head into the decoder itself, a payload into memory that
//! grows with what has arrived, never with what a head declares, and is given up with the message.
//!
//! It judges frames, not content: whether a text message is UTF-8 is not its business (the original
//! servers do not look either), only whether a close frame's reason is. Whoever wants to know while
//! a message is unfinished looks at [`Decoder::unfinished_text`] with a [`TextCheck`].
//!
//! [`TextCheck`]: super::text_check::TextCheck

use crate::vocabulary::close::{self, HeadFault, HeadFaults, ProtocolError};
use crate::vocabulary::content::Kind;
use fastwebsockets::{OpCode, unmask};

/// Where one connection's byte stream stands.
///
/// ```text
///   | head .. | payload .......... | head | payload | head | pay
///   ^         ^                    ^
///   |         |                    `- between frames: neither head bytes nor a frame
///   |         `- inside a payload: `frame` is there, `left` bytes to come
///   `- inside a head: its first bytes in `head`
/// ```
///
/// After an error, and after [`Event::Close`], the stream is at its end: what follows must not be
/// fed to it.
///
/// Invariants, checked by [`Decoder::invariants`]:
///
/// - While a frame is open, no bytes of a head are held.
/// - `partial` is there exactly while some bytes of an unfinished payload are in it.
/// - Payload bytes of a message are held only while that message is open.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
    /// Bytes of the open frame's payload that have not come yet.
    left: usize,
    /// What an unfinished head has so far.
    head: [u8; HEAD_BYTES_MAX],
    head_len: u8,
    /// The open frame's mask, turned so that its first byte is the next payload byte's.
    mask: [u8; 4],
    /// The frame whose payload is being read.
    frame: Option<Frame>,
    /// The message that has begun and whose last frame has not been read to its end.
    message: Option<Kind>,
}

/// What became complete.
#[derive(Debug)]
pub enum Event<'m> {
    /// A message, of one frame or many.
    Message {
        /// The type that its first frame said.
        kind: Kind,
        /// Whether its first frame had RSV1 set; never, until an extension is negotiated.
        rsv1: bool,
        /// Its bytes, unmasked.
        payload: Payload<'m>,
    },
    /// A ping; a pong with the same payload answers it, also in the middle of a message.
    Ping(Payload<'m>),
    /// A pong, asked for or not.
    Pong,
    /// The peer's close frame, with its code, or `None` if it was empty. Its reason has been
    /// checked and dropped.
    Close(Option<u16>),
}

/// An unmasked payload: at most 125 bytes of a ping, at most the message limit of a message.
#[derive(Debug)]
pub enum Payload<'m> {
    /// It lies whole in the input.
    InPlace(&'m mut [u8]),
    /// It came in several chunks or frames. Dropping it frees it.
    Owned(Vec<u8>),
}

impl Payload<'_> {
    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::InPlace(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }

    /// The bytes, for a parser that works in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::InPlace(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl Decoder {
    /// A decoder at the start of a stream, which is the byte after the upgrade request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads from the front of `input` until one event is complete or the input is used up.
    ///
    /// Returns how many bytes were taken, all of them when there is no event, and the event. Call
    /// again with the rest. What was taken has been unmasked, what was not is untouched.
    ///
    /// A message of exactly `message_bytes_max` bytes passes. Of a longer one no payload is read:
    /// it fails with [`ProtocolError::TooBig`] at the head that declares too much.
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

    /// Whether it is between two messages and has nothing of the next: as good as a new one.
    #[inline]
    pub fn is_at_rest(&self) -> bool {
        self.head_len == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// What has come of a text message that has begun and not ended; empty if there is none.
    pub fn unfinished_text(&self) -> &[u8] {
        match (self.message, &self.partial) {
            (Some(Kind::Text), Some(partial)) => &partial.message,
            (Some(_) | None, _) => &[],
        }
    }

    /// Bytes of heap held for an unfinished message or control frame, counted by capacity.
    pub fn partial_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| {
            size_of::<Partial>() + partial.message.capacity() + partial.control.capacity()
        })
    }

    /// Asserts what the type promises.
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

    /// Reads the rest of a head, or keeps what there is of one. Returns how many bytes were taken.
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
            // What was copied from behind the head's end is read again, from the input.
            return Ok((head.bytes - held, Some(head)));
        }
        self.head_len = u8::try_from(held + taken).expect("shorter than a whole head");
        Ok((taken, None))
    }

    /// Begins the frame that `head` describes, if the limit allows.
    #[inline]
    fn open_frame(
        &mut self,
        head: &Head,
        message_bytes_max: usize,
    ) -> Result<Frame, ProtocolError> {
        let payload_bytes =
            usize::try_from(head.payload_bytes).map_err(|_| ProtocolError::TooBig)?;
        let kind = match head.frame.opcode {
            OpCode::Text => Some(Kind::Text),
            OpCode::Binary => Some(Kind::Binary),
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

    /// Copies out a piece of a payload whose end has not come.
    fn keep(&mut self, frame: Frame, piece: &[u8], message_bytes_max: usize) {
        if piece.is_empty() {
            return;
        }
        let partial = self.partial.get_or_insert_default();
        if frame.is_control() {
            partial.control.extend_from_slice(piece);
        } else {
            // The most that this message may still become, as far as that is known.
            let bytes_max = if frame.fin {
                partial.message.len() + piece.len() + self.left
            } else {
                message_bytes_max
            };
            append(&mut partial.message, piece, bytes_max);
        }
    }

    /// Makes the event of a frame that ends a message or is a control frame; `tail` is what the
    /// input has of its payload, the rest is in `partial`.
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

/// What there is of payloads that chunks or fragments have cut.
#[derive(Debug, Default)]
struct Partial {
    message: Vec<u8>,
    /// A control frame may come between the fragments of a message.
    control: Vec<u8>,
}

/// What the first byte of a head says.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: OpCode,
    fin: bool,
}

impl Frame {
    fn is_control(self) -> bool {
        matches!(self.opcode, OpCode::Close | OpCode::Ping | OpCode::Pong)
    }
}

/// A head that has come whole.
struct Head {
    frame: Frame,
    mask: [u8; 4],
    payload_bytes: u64,
    /// Its own length.
    bytes: usize,
}

impl Head {
    /// Reads a head from the front of `bytes`; `None` if it does not end there. Its first two bytes
    /// are judged as soon as they are there.
    #[inline]
    fn read(bytes: &[u8], in_message: bool) -> Result<Option<Self>, ProtocolError> {
        let Some((&[first, second], rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        let frame = judge_head(first, second, in_message)?;

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

/// Judges the first two bytes of a head (RFC 6455 5.2, 5.4, 5.5), all rules at once.
#[inline]
fn judge_head(first: u8, second: u8, in_message: bool) -> Result<Frame, ProtocolError> {
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

/// The code in a close frame's payload (RFC 6455 5.5.1, 7.4); `None` if the payload is empty.
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

/// Appends `piece`, doubling the capacity when it is used up, but not beyond `bytes_max` bytes.
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
/// Two bytes, eight of length, four of mask.
const HEAD_BYTES_MAX: usize = 14;
const CONTROL_BYTES_MAX: usize = 125;

const _: () = {
    assert!(size_of::<Decoder>() <= 48);
    assert!(size_of::<Event<'_>>() <= 32);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Prng;

    /// An event, or the error at the end, in a form that outlives the input.
    #[derive(Clone, Debug, PartialEq)]
    enum Seen {
        Message(Kind, Vec<u8>),
        Ping(Vec<u8>),
        Pong,
        Close(Option<u16>),
        Failed(ProtocolError),
    }

    impl Seen {
        fn is_last(&self) -> bool {
            matches!(self, Self::Close(_) | Self::Failed(_))
        }
    }

    impl From<Event<'_>> for Seen {
        fn from(event: Event<'_>) -> Self {
            match event {
                Event::Message {
                    kind,
                    rsv1,
                    payload,
                } => {
                    assert!(!rsv1);
                    Self::Message(kind, payload.bytes().to_vec())
                }
                Event::Ping(payload) => Self::Ping(payload.bytes().to_vec()),
                Event::Pong => Self::Pong,
                Event::Close(code) => Self::Close(code),
            }
        }
    }

    /// One frame as a client sends it, its length in the shortest form.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        frame_of_form(first, payload, 0)
    }

    /// One frame whose length takes at least `form` (0, 2 or 8) bytes more than it has to.
    fn frame_of_form(first: u8, payload: &[u8], form: usize) -> Vec<u8> {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let mut bytes = vec![first];
        match (payload.len(), form) {
            (0..=125, 0) => bytes.push(MASK | u8::try_from(payload.len()).expect("small")),
            (0..=0xffff, 0 | 2) => {
                bytes.push(MASK | LENGTH_IS_16_BITS);
                let length = u16::try_from(payload.len()).expect("16 bits");
                bytes.extend_from_slice(&length.to_be_bytes());
            }
            _ => {
                bytes.push(MASK | LENGTH_IS_64_BITS);
                bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
        bytes
    }

    /// Feeds `stream` in chunks of the lengths that `chunk` yields and checks at every step what
    /// the decoder promises of itself.
    fn read(stream: &[u8], bytes_max: usize, mut chunk: impl FnMut() -> usize) -> Vec<Seen> {
        let (mut decoder, mut seen, mut at) = (Decoder::new(), Vec::new(), 0);
        while at < stream.len() {
            let end = stream.len().min(at + chunk());
            let mut input = stream[at..end].to_vec();
            let mut rest = &mut input[..];
            loop {
                match decoder.step(rest, bytes_max) {
                    Ok((taken, Some(event))) => {
                        seen.push(Seen::from(event));
                        rest = &mut rest[taken..];
                    }
                    Ok((taken, None)) => {
                        assert_eq!(taken, rest.len(), "without an event all is taken");
                        break;
                    }
                    Err(error) => seen.push(Seen::Failed(error)),
                }
                if seen.last().is_some_and(Seen::is_last) {
                    return seen;
                }
                decoder.invariants();
            }
            at = end;
            decoder.invariants();
            // Doubling holds at most twice what has come; the control frame has its own few bytes.
            assert!(decoder.partial_bytes() <= size_of::<Partial>() + 2 * at + 256);
        }
        seen
    }

    fn read_whole(stream: &[u8], bytes_max: usize) -> Vec<Seen> {
        read(stream, bytes_max, || usize::MAX - stream.len())
    }

    /// The plainest parser of a whole stream: no state between frames but the message so far.
    fn model(stream: &[u8], bytes_max: usize) -> Vec<Seen> {
        let (mut seen, mut at) = (Vec::new(), 0);
        let mut message: Option<(Kind, Vec<u8>)> = None;
        while !seen.last().is_some_and(Seen::is_last) && stream.len() - at >= 2 {
            let (first, second) = (stream[at], stream[at + 1]);
            let (fin, opcode, short) = (first >= 0x80, first % 16, second % 128);
            let mut faults = HeadFaults::default();
            let control = opcode >= 8;
            for (fault, present) in [
                (HeadFault::Rsv1, first & 0x40 > 0),
                (HeadFault::Rsv2, first & 0x20 > 0),
                (HeadFault::Rsv3, first & 0x10 > 0),
                (HeadFault::Opcode, !matches!(opcode, 0..=2 | 8..=10)),
                (
                    HeadFault::ControlTooLong,
                    matches!(opcode, 8..=10) && short > 125,
                ),
                (HeadFault::ControlNotFinal, matches!(opcode, 8..=10) && !fin),
                (
                    HeadFault::DataBeforeFin,
                    matches!(opcode, 1 | 2) && message.is_some(),
                ),
                (
                    HeadFault::ContinuationAfterFin,
                    opcode == 0 && message.is_none(),
                ),
                (HeadFault::Mask, second < 0x80),
            ] {
                faults.note(fault, present);
            }
            if !faults.is_empty() {
                seen.push(Seen::Failed(ProtocolError::Head { faults, opcode }));
                break;
            }

            let extended = [0, 2, 8][usize::from(short.saturating_sub(125))];
            let body = at + 2 + extended + 4;
            if stream.len() < body {
                break;
            }
            let length = match extended {
                0 => u64::from(short),
                _ => stream[at + 2..body - 4]
                    .iter()
                    .fold(0, |length, &byte| length << 8 | u64::from(byte)),
            };
            let held = message.as_ref().map_or(0, |(_, bytes)| bytes.len() as u64);
            if length >= 1 << 63 {
                seen.push(Seen::Failed(ProtocolError::LengthTopBit));
                break;
            }
            if !control && held + length > bytes_max as u64 {
                seen.push(Seen::Failed(ProtocolError::TooBig));
                break;
            }
            let opened = match opcode {
                1 => Some(Kind::Text),
                2 => Some(Kind::Binary),
                _ => None,
            };
            if let Some(kind) = opened {
                message = Some((kind, Vec::new()));
            }
            if ((stream.len() - body) as u64) < length {
                break;
            }
            let end = body + usize::try_from(length).expect("in the stream");
            let mask = &stream[body - 4..body];
            let payload: Vec<u8> = stream[body..end]
                .iter()
                .enumerate()
                .map(|(index, byte)| byte ^ mask[index % 4])
                .collect();
            at = end;

            if control {
                seen.push(match (opcode, &payload[..]) {
                    (9, _) => Seen::Ping(payload),
                    (10, _) => Seen::Pong,
                    (_, []) => Seen::Close(None),
                    (_, [_]) => Seen::Failed(ProtocolError::CloseOfOneByte),
                    (_, [high, low, reason @ ..]) => {
                        let code = u16::from(*high) << 8 | u16::from(*low);
                        if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                            Seen::Failed(ProtocolError::CloseCode(code))
                        } else if String::from_utf8(reason.to_vec()).is_err() {
                            Seen::Failed(ProtocolError::CloseReason)
                        } else {
                            Seen::Close(Some(code))
                        }
                    }
                });
                continue;
            }
            let (kind, mut bytes) = message.take().expect("judged above");
            bytes.extend(payload);
            if fin {
                seen.push(Seen::Message(kind, bytes));
            } else {
                message = Some((kind, bytes));
            }
        }
        seen
    }

    /// The reason that a stream fails with, after no event.
    #[track_caller]
    fn check_fails(stream: &[u8], reason: &str) {
        for chunk in [1, 2, 3, usize::from(u16::MAX)] {
            let seen = read(stream, 1_000, || chunk);
            let [Seen::Failed(error)] = seen[..] else {
                panic!("{seen:?}");
            };
            assert_eq!(error.reason().as_str(), reason);
            let code = if error == ProtocolError::TooBig {
                1009
            } else {
                1002
            };
            assert_eq!(error.code(), code);
        }
    }

    #[test]
    fn a_message_in_one_frame_and_one_chunk_is_handed_out_in_place() {
        let mut input = [frame(0x81, b"Hello"), frame(0x82, b"!")].concat();
        let mut decoder = Decoder::new();
        let (taken, event) = decoder.step(&mut input, 5).expect("valid");
        assert_eq!(taken, 11);
        let Some(Event::Message {
            kind: Kind::Text,
            payload: Payload::InPlace(payload),
            ..
        }) = event
        else {
            panic!("{event:?}");
        };
        assert_eq!(payload, b"Hello");

        let second = input[taken..].to_vec();
        assert_eq!(second, frame(0x82, b"!"), "what was not taken is untouched");
        assert_eq!(decoder.partial_bytes(), 0);
    }

    #[test]
    fn a_head_kept_across_chunks_never_allocates() {
        for payload_bytes in [0, 125, 126, 65_536] {
            let bytes = frame(0x82, &vec![7; payload_bytes]);
            let head_bytes = bytes.len() - payload_bytes;
            let mut decoder = Decoder::new();
            for byte in &bytes[..head_bytes] {
                assert_eq!(decoder.partial_bytes(), 0);
                decoder.step(&mut [*byte], 65_536).expect("valid");
            }
            assert_eq!(decoder.partial_bytes(), 0);
            // The payload then lies in one chunk, so it is in place all the same.
            if payload_bytes > 0 {
                let (taken, event) = decoder
                    .step(&mut bytes[head_bytes..].to_vec(), 65_536)
                    .map(|(taken, event)| (taken, event.map(Seen::from)))
                    .expect("valid");
                assert_eq!(taken, payload_bytes);
                assert_eq!(
                    event,
                    Some(Seen::Message(Kind::Binary, vec![7; payload_bytes]))
                );
                assert_eq!(decoder.partial_bytes(), 0);
            }
        }
    }

    #[test]
    fn memory_grows_with_what_has_arrived_not_with_what_a_head_declares() {
        let mut decoder = Decoder::new();
        let mut head = vec![0x82, MASK | LENGTH_IS_64_BITS, 0, 0, 0, 0, 0x40, 0, 0, 0];
        head.extend_from_slice(&[1, 2, 3, 4]);
        decoder.step(&mut head, 1 << 31).expect("a GiB may come");
        assert_eq!(decoder.partial_bytes(), 0);
        for chunks in 1..=100 {
            decoder.step(&mut [0; 100], 1 << 31).expect("valid");
            let held = decoder.partial_bytes() - size_of::<Partial>();
            assert!((100 * chunks..=200 * chunks).contains(&held), "{held}");
        }
    }

    #[test]
    fn an_unfinished_message_is_never_given_more_room_than_it_may_come_to_need() {
        // A frame that ends its message says how long that is; of a fragment the limit says it.
        for (first, total_bytes, bytes_max) in [(0x82, 1_000, 5_000), (0x02, 2_000, 2_000)] {
            let bytes = frame(first, &vec![7; total_bytes]);
            let most = total_bytes * 4 / 5;
            let mut decoder = Decoder::new();
            for part in [&bytes[..most], &bytes[most..most + 20]] {
                let (_, event) = decoder
                    .step(&mut part.to_vec(), bytes_max)
                    .map(|(taken, event)| (taken, event.map(Seen::from)))
                    .expect("valid");
                assert_eq!(event, None);
            }
            assert_eq!(decoder.partial_bytes(), size_of::<Partial>() + total_bytes);
        }
    }

    #[test]
    fn a_decoder_owns_nothing_once_its_messages_are_handed_out() {
        let stream = [
            frame(0x01, b"one "),
            frame(0x89, b"ping"),
            frame(0x80, b"message"),
            frame(0x89, b"ping"),
        ]
        .concat();
        let mut decoder = Decoder::new();
        let mut seen = Vec::new();
        for byte in stream {
            let mut input = [byte];
            let (_, event) = decoder.step(&mut input, 100).expect("valid");
            seen.extend(event.map(Seen::from));
        }
        assert_eq!(
            seen,
            [
                Seen::Ping(b"ping".to_vec()),
                Seen::Message(Kind::Text, b"one message".to_vec()),
                Seen::Ping(b"ping".to_vec()),
            ]
        );
        assert_eq!(decoder.partial_bytes(), 0);
    }

    #[test]
    fn text_is_not_checked_for_utf8() {
        assert_eq!(
            read_whole(&frame(0x81, b"\xff\xfe"), 10),
            [Seen::Message(Kind::Text, b"\xff\xfe".to_vec())]
        );
    }

    #[test]
    fn a_message_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
        for bytes_max in [0, 1, 125, 126, 65_535, 65_536] {
            let (fits, exceeds) = (vec![7; bytes_max], vec![7; bytes_max + 1]);
            assert_eq!(
                read_whole(&frame(0x82, &fits), bytes_max),
                [Seen::Message(Kind::Binary, fits.clone())]
            );
            // The head is enough, in one frame and in the last of two.
            let too_big = [Seen::Failed(ProtocolError::TooBig)];
            let whole = frame(0x82, &exceeds);
            let head = &whole[..whole.len() - exceeds.len()];
            assert_eq!(read_whole(head, bytes_max), too_big);
            let fragments = [frame(0x02, &fits), frame(0x80, b"+")].concat();
            assert_eq!(
                read_whole(&fragments[..fragments.len() - 1], bytes_max),
                too_big
            );
        }
    }

    #[test]
    fn control_frames_do_not_count_towards_the_message_limit() {
        let stream = [
            frame(0x02, b"ab"),
            frame(0x89, &[7; 125]),
            frame(0x80, b"c"),
        ]
        .concat();
        assert_eq!(
            read_whole(&stream, 3),
            [
                Seen::Ping(vec![7; 125]),
                Seen::Message(Kind::Binary, b"abc".to_vec()),
            ]
        );
    }

    #[test]
    fn wrong_heads_fail_in_gorillas_words_at_their_second_byte() {
        check_fails(&[0x81, 0x05], "bad MASK");
        check_fails(&[0x83, 0x80], "bad opcode 3");
        check_fails(&[0x8f, 0x80], "bad opcode 15");
        check_fails(&[0xc1, 0x80], "RSV1 set");
        check_fails(&[0xa1, 0x80], "RSV2 set");
        check_fails(&[0x91, 0x80], "RSV3 set");
        check_fails(&[0x89, 0xfe], "len > 125 for control");
        check_fails(&[0x8a, 0xff], "len > 125 for control");
        check_fails(&[0x08, 0x80], "FIN not set on control");
        check_fails(&[0x80, 0x80], "continuation after FIN");
        check_fails(&[0x00, 0x80], "continuation after FIN");
        check_fails(
            &[frame(0x01, b"a"), vec![0x81, 0x80]].concat(),
            "data before FIN",
        );
        check_fails(
            &[frame(0x01, b""), vec![0x02, 0x80]].concat(),
            "data before FIN",
        );
        check_fails(
            &[0x79, 0x7f],
            "RSV1 set, RSV2 set, RSV3 set, len > 125 for control, FIN not set on control, bad MASK",
        );
    }

    #[test]
    fn every_first_two_bytes_pass_or_fail_with_a_reason_that_fits() {
        let mut passed = 0;
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                for in_message in [false, true] {
                    match judge_head(first, second, in_message) {
                        Ok(_) => passed += 1,
                        Err(error) => assert!(!error.reason().as_str().is_empty()),
                    }
                }
            }
        }
        // Two data opcodes outside a message and the continuation inside one, final or not, of
        // any length; three control opcodes, in and outside, final, of 0 to 125 bytes.
        assert_eq!(passed, (2 + 1) * 2 * 128 + 3 * 2 * 126);
    }

    #[test]
    fn a_length_with_its_top_bit_set_is_an_error_and_a_long_form_is_not() {
        let mut head = vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0];
        head.extend_from_slice(&[0; 4]);
        check_fails(&head, "bad length");
        head[2..10].fill(0x7f);
        check_fails(&head, "message too big");

        for form in [2, 8] {
            assert_eq!(
                read_whole(&frame_of_form(0x82, b"abc", form), 10),
                [Seen::Message(Kind::Binary, b"abc".to_vec())]
            );
        }
    }

    #[test]
    fn every_close_code_is_judged_as_gorilla_judges_it_and_1014_passes() {
        for code in 0..=u16::MAX {
            let seen = read_whole(&frame(0x88, &code.to_be_bytes()), 0);
            let expected = match code {
                1000..=1003 | 1007..=1014 | 3000..=4999 => Seen::Close(Some(code)),
                _ => Seen::Failed(ProtocolError::CloseCode(code)),
            };
            assert_eq!(seen, [expected]);
        }
        check_fails(&frame(0x88, b"\x03\xedgone"), "bad close code 1005");
    }

    #[test]
    fn a_close_payload_is_nothing_or_a_code_and_text() {
        assert_eq!(read_whole(&frame(0x88, b""), 0), [Seen::Close(None)]);
        assert_eq!(
            read_whole(&frame(0x88, b"\x03\xe8\xc3\xa9"), 0),
            [Seen::Close(Some(1000))]
        );
        check_fails(&frame(0x88, b"\x03"), "bad close payload");
        check_fails(
            &frame(0x88, b"\x03\xe8\xc3"),
            "invalid utf8 payload in close frame",
        );
    }

    #[test]
    fn a_close_ends_an_unfinished_message() {
        let stream = [frame(0x01, b"a"), frame(0x88, b"\x03\xe8")].concat();
        assert_eq!(read_whole(&stream, 10), [Seen::Close(Some(1000))]);
    }

    /// A stream of messages, fragmented or not, with control frames between and inside them.
    fn valid_stream(prng: &mut Prng, bytes_max: usize) -> Vec<u8> {
        let mut stream = Vec::new();
        for _ in 0..prng.range(1, 12) {
            let mut left = match prng.range(0, 3) {
                0 => prng.range(0, 20) as usize,
                1 => prng.range(120, 130) as usize,
                2 if prng.chance(1, 4) => prng.range(65_530, 65_540) as usize,
                _ => bytes_max - prng.range(0, 2) as usize,
            }
            .min(bytes_max);
            let mut opcode = u8::try_from(prng.range(1, 2)).expect("small");
            loop {
                while prng.chance(1, 4) {
                    let control = 0x89 + u8::try_from(prng.range(0, 1)).expect("small");
                    let bytes = random_bytes(prng, 125);
                    stream.extend(frame(control, &bytes));
                }
                let last = prng.chance(1, 2);
                let length = if last {
                    left
                } else {
                    prng.range(0, u32::try_from(left).expect("small")) as usize
                };
                let (byte, step) = (random_byte(prng), random_byte(prng));
                let payload: Vec<u8> =
                    std::iter::successors(Some(byte), |byte| Some(byte.wrapping_add(step)))
                        .take(length)
                        .collect();
                let form = [0, 0, 0, 0, 2, 8][prng.range(0, 5) as usize];
                let fin = if last { FIN } else { 0 };
                stream.extend(frame_of_form(fin | opcode, &payload, form));
                (opcode, left) = (0, left - length);
                if last {
                    break;
                }
            }
        }
        if prng.chance(1, 2) {
            let code = u16::try_from(prng.range(3000, 4999)).expect("small");
            let reason = "e".repeat(prng.range(0, 123) as usize);
            stream.extend(frame(
                0x88,
                &[&code.to_be_bytes(), reason.as_bytes()].concat(),
            ));
        }
        stream
    }

    fn random_bytes(prng: &mut Prng, bytes_max: u32) -> Vec<u8> {
        let length = prng.range(0, bytes_max);
        (0..length).map(|_| random_byte(prng)).collect()
    }

    fn random_byte(prng: &mut Prng) -> u8 {
        u8::try_from(prng.range(0, 255)).expect("a byte")
    }

    /// Chunks of one byte, of a few, of any length up to the whole: one habit per stream.
    fn chunking(prng: &mut Prng) -> impl FnMut() -> usize + use<> {
        let chunk_max = 1 << prng.range(0, 17);
        let mut prng = prng.clone();
        move || prng.range(1, chunk_max) as usize
    }

    /// Whatever the chunking, the events are the model's; and whole or cut short or spoiled, a
    /// stream never makes the decoder panic or break its invariants.
    #[test]
    fn any_chunking_of_any_stream_gives_what_a_plain_parser_reads() {
        let (mut messages, mut failures) = (0, 0);
        for seed in 0..500 {
            let mut prng = Prng::from_seed(seed);
            let bytes_max = [10, 130, 3_000, 65_536][prng.range(0, 3) as usize];
            let mut stream = valid_stream(&mut prng, bytes_max);
            let is_valid = prng.chance(1, 3);
            if !is_valid {
                spoil(&mut prng, &mut stream);
            }

            let expected = model(&stream, bytes_max);
            assert_eq!(read_whole(&stream, bytes_max), expected, "seed {seed}");
            for _ in 0..3 {
                let seen = read(&stream, bytes_max, chunking(&mut prng));
                assert_eq!(seen, expected, "seed {seed}");
            }

            let failed = matches!(expected.last(), Some(Seen::Failed(_)));
            assert!(!(is_valid && failed), "seed {seed}: {:?}", expected.last());
            failures += usize::from(failed);
            messages += expected
                .iter()
                .filter(|seen| matches!(seen, Seen::Message(..)))
                .count();
        }
        // The dice must not have drifted into testing nothing.
        assert!(messages > 1_000, "{messages}");
        assert!(failures > 100, "{failures}");
    }

    /// Changes a few bits, mostly early where heads are, or cuts the stream short.
    fn spoil(prng: &mut Prng, stream: &mut Vec<u8>) {
        for _ in 0..prng.range(1, 4) {
            let within = stream.len().min(1 << prng.range(0, 17));
            let at = prng.range(1, u32::try_from(within).expect("small")) as usize - 1;
            stream[at] ^= 1 << prng.range(0, 7);
        }
        if prng.chance(1, 2) {
            stream.truncate(prng.range(0, u32::try_from(stream.len()).expect("small")) as usize);
        }
    }

    #[test]
    fn bytes_that_are_not_frames_at_all_are_read_as_the_plain_parser_reads_them() {
        for seed in 0..3_000 {
            let mut prng = Prng::from_seed(seed);
            let mut stream = random_bytes(&mut prng, 60);
            // Half of them begin well enough to get past the first two bytes.
            if let [first, second, ..] = &mut stream[..]
                && prng.chance(1, 2)
            {
                *first &= 0x8b;
                *second |= MASK;
            }
            let expected = model(&stream, 20);
            assert_eq!(read_whole(&stream, 20), expected, "seed {seed}");
            let seen = read(&stream, 20, chunking(&mut prng));
            assert_eq!(seen, expected, "seed {seed}");
        }
    }
}
