//! Cryptographically secure random numbers from the kernel.

use std::io;

/// Returns two random keys.
///
/// # Errors
///
/// Returns the error of `getrandom(2)`.
pub(crate) fn random_keys() -> io::Result<[[u64; 2]; 2]> {
    let bytes: [u8; 32] = random_bytes()?;
    let mut words = bytes
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
    let mut next = || words.next().expect("four words");
    Ok([[next(), next()], [next(), next()]])
}

/// Returns 32 random bytes.
///
/// # Errors
///
/// Returns the error of `getrandom(2)`.
pub(crate) fn random_bytes() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes)
}
