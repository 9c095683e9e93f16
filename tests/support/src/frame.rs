//! WebSocket frames as bytes: a client's out, a server's in.

/// A frame, masked with this, its length in the shortest form.
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
    /// Without the bits before it, which must say that it is a whole message.
    pub opcode: u8,
    /// What it carries, shorter than 64 KiB.
    pub payload: &'b [u8],
}

/// The frame at the start of the bytes, and its length; `None` if its end is not there.
///
/// # Panics
///
/// If it is masked, a fragment, has reserved bits, or is longer than anything said here.
#[track_caller]
pub fn parse(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let (&first, &len) = (bytes.first()?, bytes.get(1)?);
    let (start, len) = match len {
        0..126 => (2, usize::from(len)),
        126 => {
            let long = bytes.get(2..4)?;
            (4, usize::from(u16::from_be_bytes([long[0], long[1]])))
        }
        127.. => panic!("a frame that is masked, or longer than anybody said"),
    };
    let payload = bytes.get(start..start + len)?;
    assert_eq!(first & 0xf0, 0x80, "a server's messages are whole");
    let opcode = first & 0xf;
    Some((Frame { opcode, payload }, start + len))
}

impl Frame<'_> {
    /// The code and reason of a close frame, if it has them.
    #[track_caller]
    pub fn close(&self) -> (Option<u16>, String) {
        let code = self.payload.get(..2);
        let code = code.map(|code| u16::from_be_bytes([code[0], code[1]]));
        let reason = self.payload.get(2..).unwrap_or_default();
        let reason = String::from_utf8(reason.to_vec()).expect("reasons are text");
        (code, reason)
    }
}

/// First octets of frames that are whole messages.
pub const TEXT: u8 = 0x81;
/// See [`TEXT`].
pub const BINARY: u8 = 0x82;
/// See [`TEXT`].
pub const CLOSE: u8 = 0x88;
/// See [`TEXT`].
pub const PING: u8 = 0x89;
/// See [`TEXT`].
pub const PONG: u8 = 0x8a;
