//! The wire format of Protocol Buffers, one field at a time.
//!
//! It promises to be total on any bytes and never to recurse. It refuses to know what a field is
//! called or declared to be.

use super::{DEPTH_MAX, NotProtobuf};
use smallvec::SmallVec;

/// What is left to read of a message, or of a group in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'m> {
    rest: &'m [u8],
}

/// What a field's tag is followed by, as far as anybody here needs it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'m> {
    /// Wire type 0: an integer of variable length, read past.
    Varint,
    /// Wire type 1: eight bytes, read past.
    Fixed64,
    /// Wire type 2: text, bytes, a message or packed numbers.
    Bytes(&'m [u8]),
    /// Wire type 3: the fields up to the matching end come next.
    GroupStart,
    /// Wire type 4: the end of the innermost group, if the number is that group's.
    GroupEnd,
    /// Wire type 5: four bytes, read past.
    Fixed32,
}

impl<'m> Reader<'m> {
    pub(super) fn new(message: &'m [u8]) -> Self {
        Self { rest: message }
    }

    /// Whether everything has been read.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next field: its number and its value. `None` at the end of the bytes.
    pub(super) fn field(&mut self) -> Result<Option<(u32, Value<'m>)>, NotProtobuf> {
        if self.is_empty() {
            return Ok(None);
        }
        // The field number of a tag beyond 32 bits is beyond 29.
        let tag = u32::try_from(self.varint()?).map_err(|_| NotProtobuf::BadFieldNumber)?;
        let number = tag >> WIRE_TYPE_BITS;
        if number == 0 {
            return Err(NotProtobuf::BadFieldNumber);
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
            _ => return Err(NotProtobuf::BadWireType),
        };
        Ok(Some((number, value)))
    }

    /// Reads past whatever of an unwanted field is still to come: of a group, everything.
    ///
    /// `depth` is how many messages and groups the field itself is in, the outermost message not
    /// counted.
    pub(super) fn skip_rest(
        &mut self,
        number: u32,
        value: Value<'_>,
        depth: u32,
    ) -> Result<(), NotProtobuf> {
        match value {
            Value::Varint | Value::Fixed64 | Value::Bytes(_) | Value::Fixed32 => Ok(()),
            Value::GroupStart => self.skip_group(number, depth),
            Value::GroupEnd => Err(NotProtobuf::UnbalancedGroup),
        }
    }

    /// An integer of variable length.
    pub(super) fn varint(&mut self) -> Result<u64, NotProtobuf> {
        let mut value = 0;
        for (index, &byte) in self.rest.iter().take(VARINT_BYTES_MAX).enumerate() {
            let is_last = index + 1 == VARINT_BYTES_MAX;
            // Nine bytes have room for 63 bits, so the tenth has one bit left to say.
            if is_last && byte > 1 {
                return Err(NotProtobuf::BadVarint);
            }
            value |= u64::from(byte & !MORE) << (7 * index);
            if byte & MORE == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(NotProtobuf::Truncated)
    }

    fn skip_group(&mut self, number: u32, depth: u32) -> Result<(), NotProtobuf> {
        let mut open: SmallVec<[u32; OPEN_INLINE]> = SmallVec::new();
        let mut opened = Some(number);
        loop {
            if let Some(number) = opened.take() {
                if depth as usize + open.len() >= DEPTH_MAX as usize {
                    return Err(NotProtobuf::TooDeep);
                }
                open.push(number);
            }
            match self.field()? {
                None => return Err(NotProtobuf::UnbalancedGroup),
                Some((number, Value::GroupStart)) => opened = Some(number),
                Some((number, Value::GroupEnd)) => {
                    if open.pop() != Some(number) {
                        return Err(NotProtobuf::UnbalancedGroup);
                    }
                    if open.is_empty() {
                        return Ok(());
                    }
                }
                Some((_, Value::Varint | Value::Fixed64 | Value::Bytes(_) | Value::Fixed32)) => {}
            }
        }
    }

    fn take(&mut self, length: u64) -> Result<&'m [u8], NotProtobuf> {
        let (taken, rest) = usize::try_from(length)
            .ok()
            .and_then(|length| self.rest.split_at_checked(length))
            .ok_or(NotProtobuf::Truncated)?;
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
    // Groups of seven bits, the lowest first.
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
/// The bit that says that another byte follows.
const MORE: u8 = 0x80;
const VARINT_BYTES_MAX: usize = 10;
/// Open groups that need no allocation: all that are allowed.
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
