//! What a message carries, so that its receiver can tell what it is and whether it is right.
//!
//! ```text
//!   =LT=00003000011ffff000000cc0000000005e30a78.....................
//!       |    |     |   |       |               |  padding to the size asked for
//!       |    |     |   |       |  when it was due, nanoseconds of CLOCK_MONOTONIC
//!       |    |     |   |  which one from this publisher to this group, from zero
//!       |    |     |  which place in the closed loop's window, ffff for none
//!       |    |  to which group
//!       |  from which publisher
//! ```
//!
//! Fixed widths, hexadecimal, letters and dots: read in a few nanoseconds, and JSON, protobuf and
//! plain text carry it in the same number of bytes. Every byte of the padding is checked.

use std::fmt::Write as _;

/// The stamp on a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// A publishing connection, or a session that publishes or asks.
    pub(crate) publisher: u32,
    /// Who is to receive it.
    pub(crate) group: u32,
    /// The place in a closed loop's window; [`NO_SLOT`] in an open loop.
    pub(crate) slot: u16,
    /// Counted per publisher and group, from zero.
    pub(crate) sequence: u32,
    /// When it was due, on the monotonic clock.
    pub(crate) due_ns: u64,
}

/// An open loop has no window.
pub(crate) const NO_SLOT: u16 = 0xffff;

impl Stamp {
    /// Writes the stamp as a message of `bytes` bytes into `out`, in place of what is there.
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

    /// Reads a message back; `None` when it is not one of ours, whole and of `bytes` bytes.
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

/// The number in the first `N` digits of `bytes`, and what follows.
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

/// What each byte is worth as a digit, 0xff for what is none.
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

/// The message by which a publisher finds out whether every session is a member.
pub(crate) const PROBE: &str = "probe";
/// The smallest size that always holds a stamp.
pub(crate) const BYTES_MIN: usize = 64;
/// The largest: what a WebSocket frame of the loadtest may carry without being cut by any server.
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

    fn worded(stamp: Stamp, bytes: usize) -> String {
        let mut text = String::from("what was there");
        stamp.write(bytes, &mut text);
        text
    }

    #[test]
    fn a_stamp_is_padded_and_reads_back() {
        for bytes in [BYTES_MIN, 128, 4096, 4097, 16_384] {
            let text = worded(STAMP, bytes);
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
        let text = worded(stamp, BYTES_MIN);
        assert_eq!(text.len(), BYTES_MIN);
        assert_eq!(Stamp::read(text.as_bytes(), BYTES_MIN), Some(stamp));
    }

    #[test]
    fn a_damaged_message_is_not_a_stamp() {
        let text = worded(STAMP, 16_384);
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
