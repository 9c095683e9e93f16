//! What the process gets from the kernel that nobody can guess.

use std::io;

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
