//! WebSocket frames: an encoder for clients, a decoder of a server's frames.

/// Encodes a masked frame with its length in the shortest form.
pub fn masked(first_octet: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![first_octet];
    match payload.len() {
        len @ ..126 => frame.push(0x80 | u8::try_from(len).expect("below 126")),
        len @ 126..0x1_0000 => {
            frame.push(0xfe);
            frame.extend(u16::try_from(len).expect("below 2^16").to_be_bytes());
        }
        len => {
            frame.push(0xff);
            frame.extend(u64::try_from(len).expect("in memory").to_be_bytes());
        }
    }
    frame.extend(mask);
    let masked = payload.iter().zip(mask.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

/// A whole frame of a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame<'b> {
    /// The opcode. The frame must be final and have no reserved bits.
    pub opcode: u8,
    /// The payload, shorter than 64 KiB.
    pub payload: &'b [u8],
}

/// Decodes the frame at the start of `bytes` and returns it with its length; `None` if it is
/// incomplete.
///
/// # Panics
///
/// The frame is masked, fragmented, has reserved bits, or a payload of 64 KiB or more.
#[track_caller]
pub fn parse(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let (&first, &len) = (bytes.first()?, bytes.get(1)?);
    let (start, len) = match len {
        0..126 => (2, usize::from(len)),
        126 => {
            let long = bytes.get(2..4)?;
            (4, usize::from(u16::from_be_bytes([long[0], long[1]])))
        }
        127.. => panic!("a masked frame, or one of 64 KiB or more"),
    };
    let payload = bytes.get(start..start + len)?;
    assert_eq!(first & 0xf0, 0x80, "a server's messages are whole");
    let opcode = first & 0xf;
    Some((Frame { opcode, payload }, start + len))
}

impl Frame<'_> {
    /// Returns the code, if any, and the reason of a close frame.
    #[track_caller]
    pub fn close(&self) -> (Option<u16>, String) {
        let code = self.payload.get(..2);
        let code = code.map(|code| u16::from_be_bytes([code[0], code[1]]));
        let reason = self.payload.get(2..).unwrap_or_default();
        let reason = String::from_utf8(reason.to_vec()).expect("reasons are text");
        (code, reason)
    }
}

/// The first octet of a final text frame.
pub const TEXT: u8 = 0x81;
/// The first octet of a final binary frame.
pub const BINARY: u8 = 0x82;
/// The first octet of a close frame.
pub const CLOSE: u8 = 0x88;
/// The first octet of a ping.
pub const PING: u8 = 0x89;
/// The first octet of a pong.
pub const PONG: u8 = 0x8a;
