//! A record format for tests of byte stages: a header, a hidden payload and padding.
//!
//! ```text
//!   kind (1)  payload's length (2, big endian)  padding's length (1)  payload  padding
//! ```
//!
//! Each side sends a greeting first and an end last. A payload is hidden by the number of its
//! record, so that lost, repeated and reordered records are errors. Splitting and padding follow a
//! seed.

use crate::prng::Prng;

/// A record, without header and padding.
#[derive(Debug, Eq, PartialEq)]
pub enum Record<'b> {
    /// The first record of a side.
    Hello,
    /// Plain bytes.
    Data(&'b mut [u8]),
    /// The last record of a side.
    End,
}

/// The writing side.
#[derive(Clone, Debug)]
pub struct Sealer {
    prng: Prng,
    records: u8,
}

impl Sealer {
    /// Creates a writer that splits and pads as the seed says.
    pub fn new(seed: u64) -> Self {
        Self {
            prng: Prng::from_seed(seed),
            records: 0,
        }
    }

    /// Appends a greeting.
    pub fn hello(&mut self, out: &mut Vec<u8>) {
        self.put(HELLO, &[], out);
    }

    /// Appends an end.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        self.put(END, &[], out);
    }

    /// Appends records with plain bytes.
    pub fn seal(&mut self, mut plain: &[u8], out: &mut Vec<u8>) {
        while !plain.is_empty() {
            let most = u32::try_from(plain.len().min(PAYLOAD_MAX)).expect("short");
            let len = self.prng.range(most.div_ceil(4), most) as usize;
            let (payload, rest) = plain.split_at(len);
            self.put(DATA, payload, out);
            plain = rest;
        }
    }

    fn put(&mut self, kind: u8, payload: &[u8], out: &mut Vec<u8>) {
        let padding = u8::try_from(self.prng.range(0, 20)).expect("short");
        let len = u16::try_from(payload.len()).expect("at most PAYLOAD_MAX");
        out.push(kind);
        out.extend(len.to_be_bytes());
        out.push(padding);
        let hidden = payload.iter().map(|byte| byte ^ self.records);
        out.extend(hidden);
        out.extend((0..padding).map(|_| PADDING));
        self.records = next(self.records);
    }
}

/// The reading side.
#[derive(Clone, Debug, Default)]
pub struct Opener {
    /// The bytes of an unfinished record.
    partial: Vec<u8>,
    records: u8,
    has_ended: bool,
}

impl Opener {
    /// Creates a reader of a new connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Passes the records that are whole with these bytes to `sink`. Payloads are in place, unless
    /// their record has begun in bytes before.
    ///
    /// # Errors
    ///
    /// What is wrong with the bytes.
    pub fn open(
        &mut self,
        mut bytes: &mut [u8],
        sink: &mut dyn FnMut(Record<'_>),
    ) -> Result<(), &'static str> {
        while !self.partial.is_empty() && !bytes.is_empty() {
            let missing = record_len(&self.partial).unwrap_or(HEADER_BYTES) - self.partial.len();
            let (more, rest) = bytes.split_at_mut(missing.min(bytes.len()));
            self.partial.extend_from_slice(more);
            bytes = rest;
            if record_len(&self.partial) == Some(self.partial.len()) {
                let mut record = std::mem::take(&mut self.partial);
                self.open_one(&mut record, sink)?;
            }
        }
        while let Some(len) = record_len(bytes).filter(|&len| len <= bytes.len()) {
            let (record, rest) = bytes.split_at_mut(len);
            self.open_one(record, sink)?;
            bytes = rest;
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    /// Returns the number of bytes that wait for the rest of their record.
    pub fn held_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Returns whether the end has come, and nothing behind it.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn open_one(
        &mut self,
        record: &mut [u8],
        sink: &mut dyn FnMut(Record<'_>),
    ) -> Result<(), &'static str> {
        let (kind, padding) = (record[0], usize::from(record[3]));
        let len = record.len();
        if self.has_ended {
            return Err("a record behind the end");
        }
        if record[len - padding..].iter().any(|&byte| byte != PADDING) {
            return Err("wrong padding");
        }
        let payload = &mut record[HEADER_BYTES..len - padding];
        for byte in &mut *payload {
            *byte ^= self.records;
        }
        match kind {
            HELLO if self.records == 0 => sink(Record::Hello),
            DATA if self.records > 0 => sink(Record::Data(payload)),
            END => {
                self.has_ended = true;
                sink(Record::End);
            }
            _ => return Err("not the kind of record that comes here"),
        }
        self.records = next(self.records);
        Ok(())
    }
}

/// Returns the number behind another. Only a greeting has 0.
fn next(records: u8) -> u8 {
    records.checked_add(1).unwrap_or(1)
}

/// Returns the length of the record at the start of `bytes`; `None` without a whole header.
fn record_len(bytes: &[u8]) -> Option<usize> {
    let header: [u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
    let [_, high, low, padding] = header;
    let len = usize::from(u16::from_be_bytes([high, low]));
    Some(HEADER_BYTES + len + usize::from(padding))
}

const HEADER_BYTES: usize = 4;
const PAYLOAD_MAX: usize = 1_000;
const PADDING: u8 = 0x55;
const HELLO: u8 = 0xc1;
const DATA: u8 = 0xc2;
const END: u8 = 0xc3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_carry_bytes_in_any_chunks_and_notice_changes() {
        let mut prng = Prng::from_seed(1);
        let plain: Vec<u8> = (0..100_000u32).map(|it| it.to_le_bytes()[1]).collect();
        let mut sealed = Vec::new();
        let mut sealer = Sealer::new(2);
        sealer.hello(&mut sealed);
        sealer.seal(&plain, &mut sealed);
        sealer.end(&mut sealed);
        let (mut opener, mut opened) = (Opener::new(), Vec::new());
        let mut rest = &mut sealed.clone()[..];
        while !rest.is_empty() {
            let most = u32::try_from(rest.len().min(3_000)).expect("short");
            let (chunk, behind) = rest.split_at_mut(prng.range(1, most) as usize);
            let mut sink = |record: Record<'_>| {
                if let Record::Data(bytes) = record {
                    opened.extend_from_slice(bytes);
                }
            };
            opener.open(chunk, &mut sink).expect("it is valid");
            rest = behind;
        }
        assert!(opener.has_ended() && opened == plain);
        let behind = opener.open(&mut sealed[..], &mut |_| {});
        assert_eq!(behind, Err("a record behind the end"));
        let mut unfinished = Opener::new();
        unfinished
            .open(&mut sealed.clone()[..6], &mut |_| {})
            .expect("so far");
        assert!(!unfinished.has_ended() && unfinished.held_bytes() > 0);
        let hello_bytes = 4 + usize::from(sealed[3]);
        let mut data_first = sealed.split_off(hello_bytes);
        assert!(Opener::new().open(&mut data_first, &mut |_| {}).is_err());
    }
}
