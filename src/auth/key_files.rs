//! All files of keys of a gateway, to be read again when an operator asks for it.

use super::JwtVerifier;
use super::key_file::ReadAgain;
use std::sync::Arc;

/// The key files that a gateway's config names. Cheap to clone, and usable from any thread.
///
/// A file that looks changed is read again by itself when the next token is checked.
/// [`KeyFiles::reload`] is for one that does not, and for an operator who wants to see the result.
#[derive(Clone, derive_more::Debug)]
#[debug("KeyFiles {{ verifiers: {:?}, .. }}", self.verifiers.len())]
pub struct KeyFiles {
    /// One for each route that has its keys in a file.
    verifiers: Arc<[Arc<JwtVerifier>]>,
    now_unix_s: fn() -> u64,
}

/// The result of reading key files again. A file counts once for each route that names it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct KeysReloaded {
    /// Files whose keys are in use as they were.
    pub unchanged: usize,
    /// Files with other keys, which are in use from now on.
    pub changed: usize,
    /// Files that cannot be read or hold no usable keys. Their last keys stay in use.
    pub failed: usize,
}

impl KeyFiles {
    pub(crate) fn new(
        verifiers: impl IntoIterator<Item = Arc<JwtVerifier>>,
        now_unix_s: fn() -> u64,
    ) -> Self {
        Self {
            verifiers: verifiers.into_iter().collect(),
            now_unix_s,
        }
    }

    /// Reads every file again, whether or not it looks changed. New keys are used from then on, on
    /// all shards; a file that is bad keeps its last keys and is logged as a warning.
    pub fn reload(&self) -> KeysReloaded {
        let mut result = KeysReloaded::default();
        let now_unix_s = (self.now_unix_s)();
        for verifier in self.verifiers.iter() {
            match verifier.reload(now_unix_s) {
                Some(ReadAgain::Unchanged) => result.unchanged += 1,
                Some(ReadAgain::Changed) => result.changed += 1,
                Some(ReadAgain::Failed) => result.failed += 1,
                None => {}
            }
        }
        result
    }
}
