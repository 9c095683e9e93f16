//! All key files of a gateway, for reloading them at an operator's request.

use super::JwtVerifier;
use super::key_file::ReloadResult;
use std::sync::Arc;

/// The key files that a gateway's config names. Cheap to clone, and usable from any thread.
///
/// A file with changed metadata is reloaded when the next token is verified. [`KeyFiles::reload`]
/// reloads all files and returns the result.
#[derive(Clone, derive_more::Debug)]
#[debug("KeyFiles {{ verifiers: {:?}, .. }}", self.verifiers.len())]
pub struct KeyFiles {
    /// The verifiers of all routes with keys in a file.
    verifiers: Arc<[Arc<JwtVerifier>]>,
    now_unix_s: fn() -> u64,
}

/// The result of reading key files again. A file counts once for each route that names it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct KeysReloaded {
    /// Files with the same keys.
    pub unchanged: usize,
    /// Files with other keys, which are in use from now on.
    pub changed: usize,
    /// Files that cannot be read or have no usable keys. Their previous keys stay in use.
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

    /// Reloads every file, whether or not it looks changed. New keys are in use from then on, on
    /// all shards. An invalid file keeps its previous keys and is logged as a warning.
    pub fn reload(&self) -> KeysReloaded {
        let mut result = KeysReloaded::default();
        let now_unix_s = (self.now_unix_s)();
        for verifier in self.verifiers.iter() {
            match verifier.reload(now_unix_s) {
                Some(ReloadResult::Unchanged) => result.unchanged += 1,
                Some(ReloadResult::Changed) => result.changed += 1,
                Some(ReloadResult::Failed) => result.failed += 1,
                None => {}
            }
        }
        result
    }
}
