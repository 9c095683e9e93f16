//! WebSocket frames (RFC 6455, section 5.2): a decoder of streams, and an encoder.
//!
//! The decoder must cost little next to the `read` before it. A frame that is complete in the input
//! is passed on in place; only split frames are copied. The decoder checks masks, reserved bits,
//! opcodes, lengths and control frames, but not UTF-8. The functions are pure.

/// A decoded message or control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// A whole message, text or binary.
    Message(&'a [u8]),
    /// The payload of a ping; the pong must have the same.
    Ping(&'a [u8]),
    /// A close frame, with its code if it has one.
    Close(Option<u16>),
}

/// The decoder of one connection.
///
/// # Invariant
///
/// `partial` is empty or the beginning of exactly one frame.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// The received bytes of an incomplete frame.
    partial: Vec<u8>,
    /// The received fragments of an incomplete message; `None` between messages.
    fragments: Option<Vec<u8>>,
}

impl Frames {
    /// Decodes `bytes` and passes complete messages and control frames to `each`, in order.
    ///
    /// # Errors
    ///
    /// The server violated the protocol; the text says how.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        each: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), &'static str> {
        while !self.partial.is_empty() && !bytes.is_empty() {
            let Some(head) = Head::read(&self.partial)? else {
                self.partial.push(bytes[0]);
                bytes = &bytes[1..];
                continue;
            };
            let lacking = head.frame_bytes() - self.partial.len();
            let (now, later) = bytes.split_at(lacking.min(bytes.len()));
            self.partial.extend_from_slice(now);
            bytes = later;
            if now.len() == lacking {
                let frame = std::mem::take(&mut self.partial);
                self.take(head, &frame[head.bytes..], each)?;
                self.partial = frame; // Keep the allocation for the next split frame.
                self.partial.clear();
            }
        }
        // A frame without payload is complete with its head, which the loop does not notice.
        if let Some(head) = Head::read(&self.partial)?
            && head.frame_bytes() == self.partial.len()
        {
            let frame = std::mem::take(&mut self.partial);
            self.take(head, &frame[head.bytes..], each)?;
        }
        while let Some(head) = Head::read(bytes)? {
            let Some((frame, rest)) = bytes.split_at_checked(head.frame_bytes()) else {
                break;
            };
            self.take(head, &frame[head.bytes..], each)?;
            bytes = rest;
        }
        if bytes.len() > SMALL && self.partial.capacity() > LARGE {
            self.partial = Vec::new();
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    fn take(
        &mut self,
        head: Head,
        payload: &[u8],
        each: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), &'static str> {
        match (head.opcode, head.is_final, &mut self.fragments) {
            (TEXT | BINARY, true, None) => each(Event::Message(payload)),
            (TEXT | BINARY, false, None) => self.fragments = Some(payload.to_vec()),
            (TEXT | BINARY, _, Some(_)) => return Err("a message began inside another"),
            (CONTINUATION, _, None) => return Err("a continuation frame outside a message"),
            (CONTINUATION, is_final, Some(fragments)) => {
                fragments.extend_from_slice(payload);
                if is_final {
                    let message = self.fragments.take().unwrap_or_default();
                    each(Event::Message(&message));
                }
            }
            (CLOSE, _, _) => each(Event::Close(match payload {
                [high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
                _ => None,
            })),
            (PING, _, _) => each(Event::Ping(payload)),
            _ => {} // A pong. The load test sends no pings.
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
struct Head {
    opcode: u8,
    is_final: bool,
    bytes: usize,
    payload_bytes: usize,
}

impl Head {
    /// Parses the head at the start of `bytes`; `None` if it is incomplete.
    fn read(bytes: &[u8]) -> Result<Option<Self>, &'static str> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let opcode = first & 0x0f;
        let is_final = first & 0x80 != 0;
        if first & 0x70 != 0 {
            return Err("a reserved bit was set");
        }
        if second & 0x80 != 0 {
            return Err("a server masked a frame");
        }
        let (bytes, payload_bytes) = match (second & 0x7f, rest) {
            (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
            (127, rest) if rest.len() >= 8 => {
                let length = rest
                    .first_chunk()
                    .map_or(0, |bytes| u64::from_be_bytes(*bytes));
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > PAYLOAD_BYTES_MAX {
                    return Err("a frame is longer than any message");
                }
                (10, length)
            }
            (126 | 127, _) => return Ok(None),
            (short, _) => (2, usize::from(short)),
        };
        if (bytes == 4 && payload_bytes < 126) || (bytes == 10 && payload_bytes <= 0xffff) {
            return Err("a length was not in its shortest form");
        }
        match opcode {
            CONTINUATION | TEXT | BINARY => {}
            CLOSE | PING | PONG if is_final && bytes == 2 => {}
            CLOSE | PING | PONG => return Err("a control frame was fragmented or too long"),
            _ => return Err("an unknown opcode"),
        }
        Ok(Some(Self {
            opcode,
            is_final,
            bytes,
            payload_bytes,
        }))
    }

    const fn frame_bytes(self) -> usize {
        self.bytes + self.payload_bytes
    }
}

/// Appends a client's frame around `payload` to `out`, masked with `mask`.
pub(crate) fn put_masked(opcode: u8, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    put_head(opcode, MASKED, payload.len(), out);
    out.extend_from_slice(&mask);
    let from = out.len();
    out.extend_from_slice(payload);
    for (byte, key) in out[from..].iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// Appends a server's frame around `payload` to `out`.
pub(crate) fn put_plain(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    put_head(opcode, 0, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends FIN, the opcode and the length in its shortest form.
fn put_head(opcode: u8, mask_bit: u8, length: usize, out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short <= 125 => out.push(mask_bit | short),
        (_, Ok(length)) => {
            out.push(mask_bit | 0x7e);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(mask_bit | 0x7f);
            out.extend_from_slice(&crate::stats::count(length).to_be_bytes());
        }
    }
}

const CONTINUATION: u8 = 0;
/// The opcode of a text message.
pub(crate) const TEXT: u8 = 1;
/// The opcode of a binary message.
pub(crate) const BINARY: u8 = 2;
/// The opcode of a close frame.
pub(crate) const CLOSE: u8 = 8;
const PING: u8 = 9;
/// The opcode of a pong.
pub(crate) const PONG: u8 = 10;
const MASKED: u8 = 0x80;
/// The largest payload in bytes. A longer length is an error.
const PAYLOAD_BYTES_MAX: usize = 1 << 28;
const SMALL: usize = 64;
const LARGE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn events(stream: &[u8], partial: usize) -> Result<Vec<String>, &'static str> {
        let mut frames = Frames::default();
        let mut all = Vec::new();
        for piece in stream.chunks(partial) {
            frames.feed(piece, &mut |event| all.push(format!("{event:?}")))?;
        }
        Ok(all)
    }

    fn stream() -> Vec<u8> {
        let mut out = Vec::new();
        for length in [0, 1, 125, 126, 300, 65_535, 65_536] {
            put_plain(TEXT, &vec![b'x'; length], &mut out);
            put_plain(PING, b"p", &mut out);
        }
        out.extend_from_slice(b"\x01\x02ab\x89\x00\x00\x01c\x80\x01d"); // fragments, a ping between
        put_plain(CLOSE, &[0x03, 0xe8], &mut out);
        out.extend_from_slice(b"\x88\x00\x8a\x00");
        out
    }

    #[test]
    fn a_stream_may_be_split_anywhere() {
        let stream = stream();
        let whole = events(&stream, stream.len()).expect("well formed");
        assert_eq!(whole.len(), 7 * 2 + 2 + 2);
        assert_eq!(whole[15], format!("{:?}", Event::Message(b"abcd")));
        assert_eq!(whole[16..], ["Close(Some(1000))", "Close(None)"]);
        for partial in [1, 2, 3, 5, 7, 64, 125, 127, 1000, 65_536, 65_537] {
            assert_eq!(
                events(&stream, partial).as_ref(),
                Ok(&whole),
                "cut into {partial}"
            );
        }
    }

    /// Decodes a server's stream with the crate `fastwebsockets`.
    fn second_opinion(stream: &[u8]) -> Vec<String> {
        use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket};
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(async {
            let (near, mut far) = tokio::io::duplex(stream.len() + 1024);
            tokio::io::AsyncWriteExt::write_all(&mut far, stream)
                .await
                .expect("there is room");
            let mut socket = WebSocket::after_handshake(near, Role::Client);
            socket.set_auto_pong(false);
            socket.set_auto_close(false);
            socket.set_max_message_size(1 << 20);
            let mut socket = FragmentCollector::new(socket);
            let mut all = Vec::new();
            loop {
                let frame = socket.read_frame().await.expect("a stream of ours");
                match frame.opcode {
                    OpCode::Text | OpCode::Binary => {
                        all.push(format!("{:?}", Event::Message(&frame.payload)));
                    }
                    OpCode::Ping => all.push(format!("{:?}", Event::Ping(&frame.payload))),
                    OpCode::Close => return all,
                    OpCode::Continuation | OpCode::Pong => {}
                }
            }
        })
    }

    #[test]
    fn fastwebsockets_decodes_the_same_from_random_streams() {
        let mut prng = crate::stats::SplitMix(7);
        for _ in 0..50 {
            let mut stream = Vec::new();
            for _ in 0..prng.below(30) {
                let length = [0, 1, 125, 126, 127, 4096, 65_535, 65_536][prng.below(8)];
                let alphabet = b"abcdefghijklmnopqrstuvwxyz".iter().copied().cycle();
                let payload: Vec<u8> = alphabet.take(length).collect();
                match prng.below(4) {
                    0 => put_plain(PING, &payload[..length.min(125)], &mut stream),
                    1 => {
                        let (start, end) = payload.split_at(prng.below(length + 1));
                        let from = stream.len();
                        put_plain(TEXT, start, &mut stream);
                        stream[from] &= 0x7f; // not the last
                        put_plain(PING, b"between", &mut stream);
                        put_plain(CONTINUATION, end, &mut stream);
                    }
                    2 => put_plain(BINARY, &payload, &mut stream),
                    _ => put_plain(TEXT, &payload, &mut stream),
                }
            }
            put_plain(CLOSE, &[0x03, 0xe8], &mut stream);
            let partial = 1 + prng.below(5000);
            let mut own = events(&stream, partial).expect("well formed");
            assert_eq!(own.pop().as_deref(), Some("Close(Some(1000))"));
            assert_eq!(own, second_opinion(&stream), "cut into {partial}");
        }
    }

    #[test]
    fn protocol_violations_are_errors() {
        for wrong in [
            &b"\xc1\x00"[..],    // RSV1
            b"\x81\x80\0\0\0\0", // masked
            b"\x83\x00",         // opcode 3
            b"\x09\x00",         // a ping that is not final
            b"\x89\x7e\x00\x7e", // a ping of 126 bytes
            b"\x80\x00",         // a fragment of nothing
            b"\x01\x00\x81\x00", // a message in a message
            b"\x81\x7e\x00\x7d", // 125 in two bytes
            b"\x81\x7f\0\0\0\0\0\0\0\x7d",
        ] {
            assert!(
                events(wrong, wrong.len()).is_err(),
                "{}",
                wrong.escape_ascii()
            );
            assert!(events(wrong, 1).is_err(), "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn a_client_frame_is_masked_and_unmasks_to_itself() {
        let mut frame = Vec::new();
        put_masked(TEXT, b"hello", [1, 2, 3, 4], &mut frame);
        assert_eq!(frame[..6], [0x81, 0x85, 1, 2, 3, 4]);
        let keys = [1_u8, 2, 3, 4];
        let plain: Vec<u8> = frame[6..]
            .iter()
            .zip(keys.iter().cycle())
            .map(|(byte, key)| byte ^ key)
            .collect();
        assert_eq!(plain, b"hello");
    }

    #[test]
    fn frames_carry_the_shortest_length() {
        let head = |length: usize| {
            let mut out = Vec::new();
            put_plain(TEXT, &vec![0; length], &mut out);
            out.truncate(out.len() - length);
            out
        };
        assert_eq!(head(125), [0x81, 125]);
        assert_eq!(head(126), [0x81, 126, 0, 126]);
        assert_eq!(head(65_536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
