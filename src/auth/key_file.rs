//! Key files, reloaded when they change.
//!
//! ```text
//!   stat the file ----- same as last time, and settled --> nothing to do
//!        |
//!      read it -------- same bytes ----------------------> nothing to do
//!        |
//!      parse it ------- invalid -------------------------> keep the old keys; warn once, count
//!        |
//!      new keys
//! ```
//!
//! The last valid keys stay in use whatever happens to the file. A file that is written twice
//! within one tick of the file system's clock has the same metadata after both writes. So a file
//! that was modified just before it was read is not settled, and is read again until it is.

use super::keys::{KeyError, Keys};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A key file and its last valid keys.
#[derive(Clone)]
pub(super) struct KeyFile {
    path: PathBuf,
    form: Form,
    keys: Keys,
    /// The content read last, valid or not.
    content: Vec<u8>,
    /// The file's metadata just before that read.
    seen: Option<Stamp>,
    /// Whether the same metadata guarantees the same content.
    is_settled: bool,
    /// The error of the last attempt to read the file; `None` if it succeeded.
    unreadable: Option<String>,
    failures: u64,
}

/// The format of a key file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// One public key.
    Pem,
    /// A set of keys.
    Jwks,
}

/// The result of reloading a key file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ReloadResult {
    /// The file has the same keys.
    Unchanged,
    /// The file has other keys, which are in use from now on.
    Changed,
    /// The file cannot be read or has no usable keys. The previous keys stay in use.
    Failed,
}

/// A file's metadata; a changed file usually has other metadata.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl KeyFile {
    /// Opens and reads a key file.
    ///
    /// # Errors
    ///
    /// A [`KeyError`] if the file cannot be read or has no usable keys.
    pub(super) fn open(path: &Path, form: Form) -> Result<Self, KeyError> {
        let (stamp, content) =
            stat_and_read(path).map_err(|problem| KeyError::of_file(path, problem))?;
        let keys = form
            .parse(path, &content)
            .map_err(|problem| KeyError::of_file(path, problem))?;
        Ok(Self {
            path: path.to_owned(),
            form,
            keys,
            content,
            seen: Some(stamp),
            is_settled: false, // the current time is not known here
            unreadable: None,
            failures: 0,
        })
    }

    /// Returns whether the file certainly has the content that was read last.
    pub(super) fn is_current(&self) -> bool {
        self.is_settled && stat(&self.path).ok() == self.seen
    }

    /// Returns the last valid keys.
    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Returns how often the file changed to a state without usable keys.
    #[cfg(test)]
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// Reloads the file at an operator's request. Logs a problem even if it was logged before.
    pub(super) fn reload(&mut self, now_unix_s: u64) -> ReloadResult {
        self.unreadable = None;
        let result = self.read_again(now_unix_s);
        if result != ReloadResult::Unchanged {
            return result;
        }
        // The unchanged content may be invalid.
        match self.form.parse(&self.path, &self.content) {
            Ok(_) => ReloadResult::Unchanged,
            Err(problem) => {
                let file = self.path.display();
                tracing::warn!(
                    %file,
                    problem,
                    "the key file is still invalid; using the previous keys"
                );
                ReloadResult::Failed
            }
        }
    }

    /// Reloads the file. Logs a change, and each problem once.
    pub(super) fn read_again(&mut self, now_unix_s: u64) -> ReloadResult {
        let file = self.path.display();
        let (stamp, content) = match stat_and_read(&self.path) {
            Ok(read) => read,
            Err(problem) => {
                self.is_settled = false;
                if self.unreadable.as_ref() != Some(&problem) {
                    tracing::warn!(
                        %file,
                        problem,
                        "cannot read the key file; using the previous keys"
                    );
                    self.failures += 1;
                    self.unreadable = Some(problem);
                }
                return ReloadResult::Failed;
            }
        };
        self.seen = Some(stamp);
        self.is_settled = stamp.is_stable(now_unix_s);
        self.unreadable = None;
        if content == self.content {
            return ReloadResult::Unchanged;
        }
        let parsed = self.form.parse(&self.path, &content);
        self.content = content;
        match parsed {
            Ok(keys) => {
                tracing::info!(%file, "the keys have changed");
                self.keys = keys;
                ReloadResult::Changed
            }
            Err(problem) => {
                tracing::warn!(
                    %file,
                    problem,
                    "the new key file is invalid; using the previous keys"
                );
                self.failures += 1;
                ReloadResult::Failed
            }
        }
    }
}

impl Form {
    fn parse(self, path: &Path, content: &[u8]) -> Result<Keys, String> {
        match self {
            Self::Pem => Keys::pem(content),
            Self::Jwks => {
                let (keys, unusable) = Keys::jwks(content)?;
                for reason in unusable {
                    tracing::warn!(
                        file = %path.display(),
                        reason,
                        "a key of the set cannot be used"
                    );
                }
                Ok(keys)
            }
        }
    }
}

impl Stamp {
    fn is_stable(self, now_unix_s: u64) -> bool {
        let now_s = i64::try_from(now_unix_s).unwrap_or(i64::MAX);
        now_s.abs_diff(self.modified_s) > SETTLED_AFTER_S
    }
}

/// Returns a file's metadata.
///
/// # Errors
///
/// A text if there is no such file, or if it is not a regular file: only those can be read without
/// blocking.
fn stat(path: &Path) -> Result<Stamp, String> {
    let file = fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if !file.is_file() {
        return Err("is not a regular file".to_owned());
    }
    if file.len() > KEY_FILE_BYTES_MAX {
        return Err(TOO_LONG.to_owned());
    }
    Ok(Stamp {
        device: file.dev(),
        inode: file.ino(),
        length: file.len(),
        modified_s: file.mtime(),
        modified_ns: file.mtime_nsec(),
    })
}

/// Reads a file's metadata and content. The metadata comes first: a change in between makes the
/// next metadata differ.
///
/// # Errors
///
/// A text if the file cannot be read or is longer than 1 MiB.
fn stat_and_read(path: &Path) -> Result<(Stamp, Vec<u8>), String> {
    let stamp = stat(path)?;
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| {
        let mut file = file.take(KEY_FILE_BYTES_MAX + 1);
        file.read_to_end(&mut content)
    });
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if content.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(TOO_LONG.to_owned());
    }
    Ok((stamp, content))
}

/// Maximum bytes of a key file. A longer file is an error.
const KEY_FILE_BYTES_MAX: u64 = 1024 * 1024;
const TOO_LONG: &str = "has more than 1048576 bytes";
/// Age of a settled file in seconds: longer than a tick of any usual file system's clock.
const SETTLED_AFTER_S: u64 = 2;

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, SECRET, Scratch, Signer, key_file, set};
    use super::*;
    use serde_json::json;

    /// Returns whether this signer's tokens are valid with the keys in the file at this time.
    fn verifies(file: &mut KeyFile, signer: &Signer, now_unix_s: u64) -> bool {
        let token = signer.sign(&json!({}));
        let (message, signature) = token.rsplit_once('.').expect("it has three parts");
        refresh(file, now_unix_s);
        let key = file.keys().choose("RS256", None);
        key.is_ok_and(|key| key.verifies_signature(message, signature))
    }

    fn refresh(file: &mut KeyFile, now_unix_s: u64) {
        if !file.is_current() {
            file.read_again(now_unix_s);
        }
    }

    fn open(scratch: &Scratch, form: Form) -> KeyFile {
        KeyFile::open(&scratch.path(), form).expect("the keys are good")
    }

    fn signers() -> [Signer; 2] {
        ["rsa", "rsa-other"].map(Signer::rsa)
    }

    #[test]
    fn a_file_written_in_place_is_seen() {
        let [old, new] = signers();
        let scratch = Scratch::new(&key_file("rsa.public"));
        let mut file = open(&scratch, Form::Pem);
        assert!(verifies(&mut file, &old, NOW));
        assert!(file.is_settled);
        scratch.write(&key_file("rsa-other.public"), NOW - 999);
        assert!(verifies(&mut file, &new, NOW));
        assert!(!verifies(&mut file, &old, NOW));
    }

    #[test]
    fn a_file_put_in_its_place_is_seen_though_it_looks_as_old() {
        let [_, new] = signers();
        let scratch = Scratch::new(&key_file("rsa.public"));
        let mut file = open(&scratch, Form::Pem);
        refresh(&mut file, NOW);
        assert!(file.is_settled);
        let seen = file.seen;
        scratch.replace(&key_file("rsa-other.public"), NOW - 1_000);
        assert!(verifies(&mut file, &new, NOW));
        let inodes = [seen, file.seen].map(|stamp| stamp.map_or(0, |stamp| stamp.inode));
        assert_ne!(inodes[0], inodes[1], "all other metadata is equal");
    }

    #[test]
    fn a_file_written_twice_within_one_tick_is_seen() {
        let [old, new] = signers();
        for later in [0, 100] {
            let scratch = Scratch::new(&key_file("rsa.public"));
            scratch.write(&key_file("rsa.public"), NOW);
            let mut file = open(&scratch, Form::Pem);
            assert!(verifies(&mut file, &old, NOW));
            let seen = file.seen;
            scratch.write(&key_file("rsa-other.public"), NOW);
            assert_eq!(stat(&scratch.path()).ok(), seen, "it looks the same");
            assert!(verifies(&mut file, &new, NOW + later));
            assert_eq!(file.is_settled, later > 0);
        }
    }

    #[test]
    fn a_stable_file_is_not_read_again() {
        let [old, _] = signers();
        let scratch = Scratch::new(&key_file("rsa.public"));
        let mut file = open(&scratch, Form::Pem);
        refresh(&mut file, NOW);
        // Not possible with a running clock: other content with the same metadata.
        scratch.write(&key_file("rsa-other.public"), NOW - 1_000);
        assert!(verifies(&mut file, &old, NOW));
    }

    #[test]
    fn a_reload_reads_a_stable_file_and_returns_the_result() {
        let [old, new] = signers();
        let scratch = Scratch::new(&key_file("rsa.public"));
        let mut file = open(&scratch, Form::Pem);
        refresh(&mut file, NOW);
        assert_eq!(file.reload(NOW), ReloadResult::Unchanged);
        // Other content with the same metadata, which only an explicit reload detects.
        scratch.write(&key_file("rsa-other.public"), NOW - 1_000);
        assert!(verifies(&mut file, &old, NOW));
        assert_eq!(file.reload(NOW), ReloadResult::Changed);
        assert!(verifies(&mut file, &new, NOW));
        assert_eq!(file.reload(NOW), ReloadResult::Unchanged);
        scratch.write(b"no key", NOW - 999);
        for _ in 0..2 {
            assert_eq!(
                file.reload(NOW),
                ReloadResult::Failed,
                "also the second time"
            );
        }
        scratch.remove();
        for _ in 0..2 {
            assert_eq!(file.reload(NOW), ReloadResult::Failed);
        }
        assert!(verifies(&mut file, &new, NOW));
    }

    #[test]
    fn a_file_restored_to_its_content_is_unchanged() {
        let [old, _] = signers();
        let scratch = Scratch::new(&key_file("rsa.public"));
        let mut file = open(&scratch, Form::Pem);
        for failures in 1..=2 {
            scratch.remove();
            assert!(verifies(&mut file, &old, NOW));
            assert!(verifies(&mut file, &old, NOW));
            assert_eq!(file.failures(), failures);
            scratch.write(&key_file("rsa.public"), NOW - 1_000);
            assert!(verifies(&mut file, &old, NOW));
            assert_eq!(file.failures(), failures);
        }
    }

    #[test]
    fn a_set_that_loses_its_usable_keys_keeps_the_old_ones() {
        let [old, _] = signers();
        let scratch = Scratch::new(&set(&[old.jwk(None)]));
        let mut file = open(&scratch, Form::Jwks);
        let mut retired = old.jwk(None);
        retired["use"] = json!("enc");
        scratch.replace(&set(&[retired]), NOW - 900);
        assert!(verifies(&mut file, &old, NOW));
        assert_eq!(file.failures(), 1);
        scratch.replace(&set(&[Signer::secret(SECRET).jwk(None)]), NOW - 800);
        assert!(!verifies(&mut file, &old, NOW));
    }
}
