//! Random messages for the tests of this folder: well formed, damaged, and random bytes.
//!
//! They are written with prost's primitives, so that they do not depend on the tested code.

use campanile_tests::prng::Prng;
use prost::encoding::{WireType, encode_key, encode_varint};

/// Returns random bytes, well-formed fields, or well-formed fields with a few bytes changed.
pub(in crate::codec::protobuf) fn message(prng: &mut Prng) -> Vec<u8> {
    if prng.chance(1, 5) {
        return bytes(prng, 24);
    }
    let mut message = Vec::new();
    for _ in 0..prng.range(0, 5) {
        put_field(prng, 3, &mut message);
    }
    if prng.chance(1, 2) {
        message = mutated(prng, &message);
    }
    message
}

/// Appends a well-formed field, mostly with a small number. Groups nest up to `depth`.
pub(in crate::codec::protobuf) fn put_field(prng: &mut Prng, depth: u32, out: &mut Vec<u8>) {
    let number = match prng.range(0, 9) {
        0 => prng.range(1, (1 << 29) - 1),
        _ => prng.range(1, 5),
    };
    match prng.range(0, if depth == 0 { 5 } else { 6 }) {
        0 => {
            encode_key(number, WireType::Varint, out);
            let bits = prng.range(0, 63);
            encode_varint(prng.below(u64::MAX) >> bits, out);
        }
        1 => {
            encode_key(number, WireType::SixtyFourBit, out);
            out.extend_from_slice(&exactly(prng, 8));
        }
        2 => {
            encode_key(number, WireType::ThirtyTwoBit, out);
            out.extend_from_slice(&exactly(prng, 4));
        }
        3 | 4 => put_bytes(number, text(prng).as_bytes(), out),
        5 => put_bytes(number, &bytes(prng, 12), out),
        _ => {
            encode_key(number, WireType::StartGroup, out);
            for _ in 0..prng.range(0, 3) {
                put_field(prng, depth - 1, out);
            }
            encode_key(number, WireType::EndGroup, out);
        }
    }
}

/// Appends a length-delimited field.
pub(in crate::codec::protobuf) fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Returns a message with one to three changes, which may cancel out.
pub(in crate::codec::protobuf) fn mutated(prng: &mut Prng, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    for _ in 0..prng.range(1, 3) {
        let at = prng.below(message.len() as u64 + 1);
        let at = usize::try_from(at).expect("a length");
        let end = (at + prng.range(0, 4) as usize).min(message.len());
        match prng.range(0, 4) {
            0 if at < message.len() => message[at] ^= 1 << prng.range(0, 7),
            1 => message.truncate(at),
            2 => {
                message.drain(at..end);
            }
            3 => {
                let copy = message[at..end].to_vec();
                message.splice(at..at, copy);
            }
            _ => {
                let noise = bytes(prng, 3);
                message.splice(at..at, noise);
            }
        }
    }
    message
}

/// Returns up to `length_max` random bytes.
pub(in crate::codec::protobuf) fn bytes(prng: &mut Prng, length_max: u32) -> Vec<u8> {
    let length = prng.range(0, length_max);
    exactly(prng, length)
}

/// A few letters of one to four bytes each, or none.
pub(in crate::codec::protobuf) fn text(prng: &mut Prng) -> String {
    let length = prng.range(0, 6);
    (0..length)
        .map(|_| ['a', 'z', '\0', '\u{e9}', '\u{20ac}', '\u{1d11e}'][prng.range(0, 5) as usize])
        .collect()
}

fn exactly(prng: &mut Prng, length: u32) -> Vec<u8> {
    (0..length)
        .map(|_| u8::try_from(prng.range(0, 255)).expect("a byte"))
        .collect()
}
