//! The frame encoder: appends frames to the caller's buffer.
//!
//! A server's frames are not masked. A message of any length is one frame, as in the original
//! servers. Lengths have their shortest form (RFC 6455 5.2). Earlier bytes of the buffer are not
//! changed.

use crate::vocabulary::close::{self, REASON_BYTES_MAX};
use fastwebsockets::OpCode;

/// Appends the head of a frame whose `payload_bytes` bytes of payload follow.
#[inline]
pub fn put_head(out: &mut Vec<u8>, opcode: OpCode, payload_bytes: usize) {
    let (head, head_bytes) = head(opcode, payload_bytes);
    out.extend_from_slice(&head[..head_bytes]);
}

/// Returns the length of the head of a frame with `payload_bytes` bytes of payload: 2, 4 or 10
/// bytes.
#[inline]
pub fn head_len(payload_bytes: usize) -> usize {
    match payload_bytes {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// Appends a frame.
///
/// # Panics
///
/// If a control frame is longer than 125 bytes.
#[inline]
pub fn put_frame(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    out.reserve(head_len(payload.len()) + payload.len());
    put_head(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a close frame. Without a code it is empty, and `reason` is ignored. A reason of more
/// than 123 bytes is cut at a character boundary.
///
/// # Panics
///
/// If the code must not be sent (RFC 6455 7.4).
pub fn put_close(out: &mut Vec<u8>, code: Option<u16>, reason: &str) {
    let Some(code) = code else {
        put_head(out, OpCode::Close, 0);
        return;
    };
    assert!(close::is_code(code), "{code} may not be sent");
    let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    put_head(out, OpCode::Close, CODE_BYTES + reason.len());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Begins a frame of unknown length. Append its payload, then call [`end`].
#[must_use = "a frame that is begun has to be ended"]
pub fn begin(out: &mut Vec<u8>) -> FrameStart {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES_RESERVED]);
    FrameStart { start }
}

/// Ends the frame that began at `start`: all bytes since then are its payload.
///
/// The payload is moved unless its head has four bytes: two bytes to the front if it has at most
/// 125 bytes, six to the back if it has more than 65,535.
///
/// # Panics
///
/// If `out` is shorter than [`begin`] left it, or a control frame is longer than 125 bytes.
#[expect(clippy::needless_pass_by_value, reason = "a frame is ended once")]
pub fn end(out: &mut Vec<u8>, start: FrameStart, opcode: OpCode) {
    let FrameStart { start } = start;
    let body = start + HEAD_BYTES_RESERVED..out.len();
    assert!(body.start <= body.end, "the frame's start was truncated");

    let (head, head_bytes) = head(opcode, body.len());
    let frame_end = start + head_bytes + body.len();
    if head_bytes != HEAD_BYTES_RESERVED {
        out.resize(frame_end.max(body.end), 0);
        out.copy_within(body, start + head_bytes);
        out.truncate(frame_end);
    }
    out[start..start + head_bytes].copy_from_slice(&head[..head_bytes]);
}

/// The start of a frame that is being written.
#[derive(Debug)]
pub struct FrameStart {
    start: usize,
}

#[inline]
fn head(opcode: OpCode, payload_bytes: usize) -> ([u8; HEAD_BYTES_MAX], usize) {
    let head_bytes = head_len(payload_bytes);
    assert!(
        head_bytes == 2 || matches!(opcode, OpCode::Text | OpCode::Binary),
        "a control frame has at most 125 bytes"
    );

    let mut head = [0; HEAD_BYTES_MAX];
    let length = u64::try_from(payload_bytes).expect("lengths have at most 64 bits");
    let [.., high, low] = length.to_be_bytes();
    head[0] = FIN | opcode as u8;
    match head_bytes {
        2 => head[1] = low,
        4 => head[1..4].copy_from_slice(&[LENGTH_IS_16_BITS, high, low]),
        _ => {
            head[1] = LENGTH_IS_64_BITS;
            head[2..].copy_from_slice(&length.to_be_bytes());
        }
    }
    (head, head_bytes)
}

const FIN: u8 = 0x80;
const LENGTH_IS_16_BITS: u8 = 126;
const LENGTH_IS_64_BITS: u8 = 127;
const HEAD_BYTES_MAX: usize = 10;
/// The head length of payloads of 126 to 65,535 bytes. Shorter payloads are cheap to move.
const HEAD_BYTES_RESERVED: usize = 4;
const CODE_BYTES: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use fastwebsockets::{Frame, Payload};

    const LENGTHS: [usize; 8] = [0, 1, 125, 126, 127, 65_535, 65_536, 100_000];

    fn framed(payload: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        put_frame(&mut out, OpCode::Binary, payload);
        out.split_off(b"before".len())
    }

    #[test]
    fn heads_are_what_fastwebsockets_writes() {
        for length in LENGTHS {
            for opcode in [OpCode::Text, OpCode::Binary] {
                let payload = vec![7; length];
                let mut expected = [0; HEAD_BYTES_MAX];
                let expected_bytes = Frame::new(true, opcode, None, Payload::Borrowed(&payload))
                    .fmt_head(&mut expected);

                let mut out = Vec::new();
                put_head(&mut out, opcode, length);
                assert_eq!(out, expected[..expected_bytes]);
                assert_eq!(head_len(length), expected_bytes);
            }
        }
    }

    #[test]
    fn a_frame_is_its_head_and_its_payload() {
        assert_eq!(framed(b"Hello"), b"\x82\x05Hello");
        let long = framed(&[7; 300]);
        assert_eq!(long[..4], [0x82, 126, 1, 44]);
        assert_eq!(long[4..], [7; 300]);
    }

    #[test]
    fn a_frame_of_unknown_length_ends_up_as_if_it_had_been_known() {
        for length in LENGTHS {
            let payload: Vec<u8> = (0..=250).cycle().take(length).collect();
            let mut out = b"before".to_vec();
            let start = begin(&mut out);
            for piece in payload.chunks(1_000) {
                out.extend_from_slice(piece);
            }
            end(&mut out, start, OpCode::Binary);
            assert_eq!(out, [&b"before"[..], &framed(&payload)].concat());
        }
    }

    #[test]
    #[should_panic(expected = "at most 125 bytes")]
    fn a_control_frame_is_never_long() {
        put_frame(&mut Vec::new(), OpCode::Pong, &[0; 126]);
    }

    #[track_caller]
    fn check_close(code: Option<u16>, reason: &str, expected: &[u8]) {
        let mut out = Vec::new();
        put_close(&mut out, code, reason);
        assert_eq!(out, expected);
    }

    #[test]
    fn a_close_frame_is_a_code_and_a_reason_or_nothing() {
        check_close(None, "", b"\x88\x00");
        check_close(None, "not sent", b"\x88\x00");
        check_close(Some(1000), "", b"\x88\x02\x03\xe8");
        check_close(Some(1001), "bye", b"\x88\x05\x03\xe9bye");
    }

    #[test]
    fn a_long_reason_is_cut_between_two_characters() {
        let cut = |reason: &str| {
            let mut out = Vec::new();
            put_close(&mut out, Some(1000), reason);
            assert_eq!(usize::from(out[1]), out.len() - 2);
            String::from_utf8(out.split_off(4)).expect("cut at a boundary")
        };
        assert_eq!(cut(&"x".repeat(123)).len(), 123);
        assert_eq!(cut(&"x".repeat(124)).len(), 123);
        // Two bytes each: the 62nd would end at byte 124.
        assert_eq!(cut(&"\u{e9}".repeat(62)), "\u{e9}".repeat(61));
    }

    #[test]
    #[should_panic(expected = "1005 may not be sent")]
    fn a_reserved_code_is_never_sent() {
        put_close(&mut Vec::new(), Some(1005), "");
    }
}
