//! The stamp of a message: its receiver identifies and verifies the message by it.
//!
//! ```text
//!   =LT=00003000011ffff000000cc0000000005e30a78.....................
//!       |    |     |   |       |               |  padding to the message size
//!       |    |     |   |       |  due time, nanoseconds of CLOCK_MONOTONIC
//!       |    |     |   |  sequence number per publisher and group, from zero
//!       |    |     |  slot in the closed loop's window, ffff for none
//!       |    |  group
//!       |  publisher
//! ```
//!
//! The numbers are hexadecimal and of fixed width, so parsing takes a few nanoseconds. No byte
//! needs an escape, so JSON, protobuf and plain text carry the same bytes. All padding is verified.

use std::fmt::Write as _;

/// The stamp on a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The publishing connection, or the session that publishes or sends a command.
    pub(crate) publisher: u32,
    /// The group of receivers.
    pub(crate) group: u32,
    /// The slot in a closed loop's window; [`NO_SLOT`] in an open loop.
    pub(crate) slot: u16,
    /// The sequence number per publisher and group, from zero.
    pub(crate) sequence: u32,
    /// The time at which the message was due, in nanoseconds of the monotonic clock.
    pub(crate) due_ns: u64,
}

/// The slot of messages of an open loop.
pub(crate) const NO_SLOT: u16 = 0xffff;

impl Stamp {
    /// Writes the stamp as a message of `bytes` bytes into `out`, replacing its contents.
    pub(crate) fn write(&self, bytes: usize, out: &mut String) {
        out.clear();
        let Self {
            publisher,
            group,
            slot,
            sequence,
            due_ns,
        } = self;
        write!(
            out,
            "=LT={publisher:05x}{group:06x}{slot:04x}{sequence:08x}{due_ns:016x}"
        )
        .expect("writing to a String");
        while out.len() < bytes {
            let lacking = bytes - out.len();
            out.push_str(&PADDING[..lacking.min(PADDING.len())]);
        }
    }

    /// Parses a message. `None` if it is not `bytes` long, has no stamp or its padding is damaged.
    pub(crate) fn read(message: &[u8], bytes: usize) -> Option<Self> {
        if message.len() != bytes {
            return None;
        }
        let rest = message.strip_prefix(b"=LT=")?;
        let (publisher, rest) = hex::<5>(rest)?;
        let (group, rest) = hex::<6>(rest)?;
        let (slot, rest) = hex::<4>(rest)?;
        let (sequence, rest) = hex::<8>(rest)?;
        let (due_ns, padding) = hex::<16>(rest)?;
        let is_whole = padding
            .chunks(PADDING.len())
            .all(|chunk| chunk == &PADDING.as_bytes()[..chunk.len()]);
        is_whole.then_some(Self {
            publisher: u32::try_from(publisher).ok()?,
            group: u32::try_from(group).ok()?,
            slot: u16::try_from(slot).ok()?,
            sequence: u32::try_from(sequence).ok()?,
            due_ns,
        })
    }
}

/// Returns the number in the first `N` digits of `bytes`, and the rest. `None` if a digit is none.
fn hex<const N: usize>(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (digits, rest) = bytes.split_first_chunk::<N>()?;
    let mut number = 0;
    let mut wrong = 0;
    for digit in digits {
        let value = VALUES[usize::from(*digit)];
        wrong |= value;
        number = number << 4 | u64::from(value & 0x0f);
    }
    (wrong < 16).then_some((number, rest))
}

/// The value of each byte as a hexadecimal digit (lower case); 0xff for other bytes.
const VALUES: [u8; 256] = {
    let mut values = [0xff; 256];
    let digits = *b"0123456789abcdef";
    let mut value = 0;
    while value < 16 {
        values[digits[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// The message that a publisher sends before a run, until every session has received one.
pub(crate) const PROBE: &str = "probe";
/// The smallest message size in bytes. Every stamp fits.
pub(crate) const BYTES_MIN: usize = 64;
/// The largest message size in bytes. Every measured server accepts it in one frame.
pub(crate) const BYTES_MAX: usize = 1 << 20;

const PADDING: &str = match str::from_utf8(&[b'.'; 4096]) {
    Ok(padding) => padding,
    Err(_) => "",
};

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        publisher: 3,
        group: 17,
        slot: NO_SLOT,
        sequence: 204,
        due_ns: 98_765_432,
    };

    fn written(stamp: Stamp, bytes: usize) -> String {
        let mut text = String::from("what was there");
        stamp.write(bytes, &mut text);
        text
    }

    #[test]
    fn a_stamp_is_padded_and_reads_back() {
        for bytes in [BYTES_MIN, 128, 4096, 4097, 16_384] {
            let text = written(STAMP, bytes);
            assert_eq!(text.len(), bytes);
            assert_eq!(Stamp::read(text.as_bytes(), bytes), Some(STAMP));
        }
    }

    #[test]
    fn the_largest_stamp_fits_the_smallest_size() {
        let stamp = Stamp {
            publisher: 0xf_ffff,
            group: 0xff_ffff,
            slot: NO_SLOT,
            sequence: u32::MAX,
            due_ns: u64::MAX,
        };
        let text = written(stamp, BYTES_MIN);
        assert_eq!(text.len(), BYTES_MIN);
        assert_eq!(Stamp::read(text.as_bytes(), BYTES_MIN), Some(stamp));
    }

    #[test]
    fn a_damaged_message_is_not_a_stamp() {
        let text = written(STAMP, 16_384);
        for at in [0, 4, 8, 20, 30, 43, 44, 5_000, 16_383] {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = b'X';
            assert_eq!(Stamp::read(&bytes, 16_384), None, "byte {at}");
        }
        assert_eq!(Stamp::read(&text.as_bytes()[..16_383], 16_384), None);
        assert_eq!(Stamp::read(text.as_bytes(), 16_383), None);
        assert_eq!(Stamp::read(PROBE.as_bytes(), 5), None);
    }
}
