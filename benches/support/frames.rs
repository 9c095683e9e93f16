//! Frames as clients send them, under a mask of zeros: their payloads are in clear.

use campanile::ws::{OpCode, encoder};

/// One whole text message.
pub(crate) fn masked(payload: &[u8]) -> Vec<u8> {
    masked_as(OpCode::Text, payload)
}

/// One whole message in a frame of this type.
pub(crate) fn masked_as(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encoder::put_head(&mut frame, opcode, payload.len());
    frame[1] |= 0x80;
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}
