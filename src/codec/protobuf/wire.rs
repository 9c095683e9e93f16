//! The wire format of Protocol Buffers, one field at a time.
//!
//! The reader is total on any bytes and does not recurse. It knows no names or types of fields.

use super::{DEPTH_MAX, ProtobufError};
use smallvec::SmallVec;

/// The unread rest of a message, or of a group in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'m> {
    rest: &'m [u8],
}

/// A field's value, as far as the readers need it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'m> {
    /// Wire type 0: a variable-length integer, skipped.
    Varint,
    /// Wire type 1: eight bytes, skipped.
    Fixed64,
    /// Wire type 2: text, bytes, a message or packed numbers.
    Bytes(&'m [u8]),
    /// Wire type 3: the fields of the group follow.
    GroupStart,
    /// Wire type 4: the end of the innermost group, if the field numbers are equal.
    GroupEnd,
    /// Wire type 5: four bytes, skipped.
    Fixed32,
}

impl<'m> Reader<'m> {
    pub(super) fn new(message: &'m [u8]) -> Self {
        Self { rest: message }
    }

    /// Returns whether everything has been read.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads the next field: number and value. `None` at the end of the bytes.
    pub(super) fn field(&mut self) -> Result<Option<(u32, Value<'m>)>, ProtobufError> {
        if self.is_empty() {
            return Ok(None);
        }
        // A tag of more than 32 bits has a field number of more than 29.
        let tag = u32::try_from(self.varint()?).map_err(|_| ProtobufError::BadFieldNumber)?;
        let number = tag >> WIRE_TYPE_BITS;
        if number == 0 {
            return Err(ProtobufError::BadFieldNumber);
        }
        let value = match tag & WIRE_TYPE_MASK {
            0 => {
                self.varint()?;
                Value::Varint
            }
            1 => {
                self.take(8)?;
                Value::Fixed64
            }
            BYTES => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            3 => Value::GroupStart,
            4 => Value::GroupEnd,
            5 => {
                self.take(4)?;
                Value::Fixed32
            }
            _ => return Err(ProtobufError::BadWireType),
        };
        Ok(Some((number, value)))
    }

    /// Skips the rest of a field: all of a group, nothing of other values.
    ///
    /// `depth` is the number of messages and groups around the field, without the outermost
    /// message.
    pub(super) fn skip_rest(
        &mut self,
        number: u32,
        value: Value<'_>,
        depth: u32,
    ) -> Result<(), ProtobufError> {
        match value {
            Value::Varint | Value::Fixed64 | Value::Bytes(_) | Value::Fixed32 => Ok(()),
            Value::GroupStart => self.skip_group(number, depth),
            Value::GroupEnd => Err(ProtobufError::UnbalancedGroup),
        }
    }

    /// Reads a variable-length integer.
    pub(super) fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0;
        for (index, &byte) in self.rest.iter().take(VARINT_BYTES_MAX).enumerate() {
            let is_last = index + 1 == VARINT_BYTES_MAX;
            // Nine bytes hold 63 bits, so the tenth holds one.
            if is_last && byte > 1 {
                return Err(ProtobufError::BadVarint);
            }
            value |= u64::from(byte & !MORE) << (7 * index);
            if byte & MORE == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(ProtobufError::Truncated)
    }

    fn skip_group(&mut self, number: u32, depth: u32) -> Result<(), ProtobufError> {
        let mut open: SmallVec<[u32; OPEN_INLINE]> = SmallVec::new();
        let mut opened = Some(number);
        loop {
            if let Some(number) = opened.take() {
                if depth as usize + open.len() >= DEPTH_MAX as usize {
                    return Err(ProtobufError::TooDeep);
                }
                open.push(number);
            }
            match self.field()? {
                None => return Err(ProtobufError::UnbalancedGroup),
                Some((number, Value::GroupStart)) => opened = Some(number),
                Some((number, Value::GroupEnd)) => {
                    if open.pop() != Some(number) {
                        return Err(ProtobufError::UnbalancedGroup);
                    }
                    if open.is_empty() {
                        return Ok(());
                    }
                }
                Some((_, Value::Varint | Value::Fixed64 | Value::Bytes(_) | Value::Fixed32)) => {}
            }
        }
    }

    fn take(&mut self, length: u64) -> Result<&'m [u8], ProtobufError> {
        let (taken, rest) = usize::try_from(length)
            .ok()
            .and_then(|length| self.rest.split_at_checked(length))
            .ok_or(ProtobufError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// Appends a length-delimited field to `out`.
pub(super) fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(u64::from(number << WIRE_TYPE_BITS | BYTES), out);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    // Seven bits per byte, the lowest first.
    while value >= u64::from(MORE) {
        let [low, ..] = value.to_le_bytes();
        out.push(low | MORE);
        value >>= 7;
    }
    let [low, ..] = value.to_le_bytes();
    out.push(low);
}

const WIRE_TYPE_BITS: u32 = 3;
const WIRE_TYPE_MASK: u32 = 7;
const BYTES: u32 = 2;
/// The bit for another byte that follows.
const MORE: u8 = 0x80;
const VARINT_BYTES_MAX: usize = 10;
/// Open groups that need no allocation: as many as are allowed.
const OPEN_INLINE: usize = DEPTH_MAX as usize;

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_tests::prng::Prng;
    use prost::encoding::{decode_varint, encode_varint};

    #[test]
    fn integers_are_read_and_written_as_prost_does_it() {
        let mut prng = Prng::from_seed(1);
        for _ in 0..20_000 {
            let bits = prng.range(0, 63);
            let value = prng.below(u64::MAX) >> bits;
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            put_varint(value, &mut ours);
            encode_varint(value, &mut theirs);
            assert_eq!(ours, theirs);
            assert_eq!(Reader::new(&ours).varint(), Ok(value));
        }
        let mut longest = Vec::new();
        put_varint(u64::MAX, &mut longest);
        assert_eq!(Reader::new(&longest).varint(), Ok(u64::MAX));
    }

    #[test]
    fn integers_written_longer_than_needed_are_read_as_prost_reads_them() {
        let mut prng = Prng::from_seed(2);
        let mut read = 0;
        for _ in 0..20_000 {
            let length = prng.range(0, 12);
            let bytes: Vec<u8> = (0..length)
                .map(|_| [0x80, 0xff, 0x00, 0x01, 0x02][prng.range(0, 4) as usize])
                .collect();
            let mut theirs = &bytes[..];
            let expected = decode_varint(&mut theirs).ok();
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.varint().ok(), expected);
            if expected.is_some() {
                assert_eq!(reader.rest, theirs);
                read += 1;
            }
        }
        assert!(read > 1_000, "{read}");
    }
}
