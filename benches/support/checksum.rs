//! Checksums of the benches' outputs: CRC-32 of all bytes.

use flate2::Crc;

/// Returns the checksum of bytes.
pub(crate) fn of(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Compares an output with its expected checksum.
///
/// # Panics
///
/// If they differ.
#[track_caller]
pub(crate) fn check(name: &str, output: &[u8], expected: u32) {
    let sum = of(output);
    let shown = output[..output.len().min(SHOWN_BYTES_MAX)].escape_ascii();
    assert!(
        sum == expected,
        "{name}: {sum:#010x} is not {expected:#010x}: {shown}"
    );
}

/// Bytes of a wrong output that the message shows.
const SHOWN_BYTES_MAX: usize = 1_000;
