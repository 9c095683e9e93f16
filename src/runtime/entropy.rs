//! What the process gets from the kernel that nobody can guess, and the date.

use std::io;
use std::time::SystemTime;

/// What the wall clock says, in milliseconds since 1970; zero if it was before.
#[expect(
    clippy::disallowed_methods,
    reason = "read once, so that what is told to people has a date"
)]
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

/// Two keys that every shard of the process shares.
pub(crate) fn random_keys() -> io::Result<[[u64; 2]; 2]> {
    let bytes: [u8; 32] = random_bytes()?;
    let mut words = bytes
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
    let mut next = || words.next().expect("four words");
    Ok([[next(), next()], [next(), next()]])
}

/// Bytes that nobody can guess, from the kernel.
pub(crate) fn random_bytes() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes)
}
