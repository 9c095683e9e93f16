//! Client frames with a mask of zeros, so that their payloads are readable.

use campanile::ws::{OpCode, encoder};

/// Returns a text message in one frame.
pub(crate) fn masked(payload: &[u8]) -> Vec<u8> {
    masked_as(OpCode::Text, payload)
}

/// Returns a message in one frame with this opcode.
pub(crate) fn masked_as(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encoder::put_head(&mut frame, opcode, payload.len());
    frame[1] |= 0x80;
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}
