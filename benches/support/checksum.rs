//! The checksum by which a bench knows its output: CRC-32 of all bytes.

use flate2::Crc;

/// Of these bytes.
pub(crate) fn of(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Holds an output against the checksum that it always had.
#[track_caller]
pub(crate) fn check(name: &str, output: &[u8], expected: u32) {
    let sum = of(output);
    let shown = output[..output.len().min(SHOWN_BYTES_MAX)].escape_ascii();
    assert!(
        sum == expected,
        "{name}: {sum:#010x} is not {expected:#010x}: {shown}"
    );
}

/// Of an output that is not what it was.
const SHOWN_BYTES_MAX: usize = 1_000;
