//! The keys that JSON Web Tokens are checked with, and the files they come from.
//!
//! A key knows the one algorithm that it is for, so that a token cannot choose another: HS256 for a
//! secret, RS256 for an RSA key, ES256 for one on P-256. A file is looked at before each use, and
//! read again when it has changed; while what it holds is no good, the keys before go on.

use crate::config::{JwtKeys, Secret};
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// One key and what it is for.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// The keys of one route.
pub(super) enum Keys {
    /// One key for every token.
    One(Key),
    /// Those of a set, by their names.
    Set(Vec<(Option<String>, Key)>),
}

/// Keys, and the file they came from.
pub(super) struct KeyStore {
    keys: Keys,
    file: Option<KeyFile>,
}

struct KeyFile {
    path: PathBuf,
    read: fn(&[u8]) -> Result<Keys, String>,
    /// What the file looked like when it was last read; `None` if it could not be looked at.
    stamp: Option<Stamp>,
}

/// What changes when a file does: when it was written, its size, and which file it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    modified: (i64, i64),
    bytes: u64,
    inode: u64,
}

/// A file of keys that cannot be used, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct KeyError {
    file: PathBuf,
    problem: String,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.problem)
    }
}

impl KeyStore {
    /// Reads the keys that a config names.
    pub(super) fn open(keys: &JwtKeys) -> Result<Self, KeyError> {
        type Read = fn(&[u8]) -> Result<Keys, String>;
        let (path, read): (&Path, Read) = match keys {
            JwtKeys::Secret(secret) => {
                return Ok(Self {
                    keys: Keys::One(of_secret(secret)),
                    file: None,
                });
            }
            JwtKeys::Pem(path) => (path, |text| read_pem(text).map(Keys::One)),
            JwtKeys::Jwks(path) => (path, |text| read_jwks(text).map(Keys::Set)),
        };
        let (text, stamp) = read_file(path).map_err(|problem| KeyError {
            file: path.to_owned(),
            problem,
        })?;
        let keys = read(&text).map_err(|problem| KeyError {
            file: path.to_owned(),
            problem,
        })?;
        let file = KeyFile {
            path: path.to_owned(),
            read,
            stamp: Some(stamp),
        };
        Ok(Self {
            keys,
            file: Some(file),
        })
    }

    /// The keys as they are now.
    pub(super) fn current(&mut self) -> &Keys {
        if let Some(file) = &mut self.file
            && let Some(keys) = file.read_if_changed()
        {
            self.keys = keys;
        }
        &self.keys
    }
}

impl KeyFile {
    /// New keys, if there are any. What is wrong is told once for each change.
    fn read_if_changed(&mut self) -> Option<Keys> {
        let stamp = fs::metadata(&self.path).ok().as_ref().map(Stamp::of);
        if stamp == self.stamp {
            return None;
        }
        self.stamp = stamp;
        let result = read_file(&self.path).and_then(|(text, stamp)| {
            self.stamp = Some(stamp);
            (self.read)(&text)
        });
        let file = self.path.display();
        match result {
            Ok(keys) => {
                tracing::info!(%file, "the keys of tokens have been read again");
                Some(keys)
            }
            Err(problem) => {
                tracing::warn!(%file, problem, "the keys of tokens stay as they were");
                None
            }
        }
    }
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            bytes: metadata.len(),
            inode: metadata.ino(),
        }
    }
}

fn read_file(path: &Path) -> Result<(Vec<u8>, Stamp), String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let mut file = fs::File::open(path).map_err(unreadable)?;
    // As it is before it is read: what is written meanwhile makes it change once more.
    let stamp = Stamp::of(&file.metadata().map_err(unreadable)?);
    let mut text = Vec::new();
    let mut bounded = file.by_ref().take(FILE_BYTES_MAX + 1);
    bounded.read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("has more than {FILE_BYTES_MAX} bytes"));
    }
    Ok((text, stamp))
}

fn of_secret(secret: &Secret) -> Key {
    let key = DecodingKey::from_secret(secret.as_bytes());
    Key {
        algorithm: Algorithm::HS256,
        key: key.expect("the config asks for 32 bytes and more"),
    }
}

/// One public key.
fn read_pem(text: &[u8]) -> Result<Key, String> {
    const WANTED: &str = "a public key in PEM is wanted, RSA of at least 2048 bits or P-256";
    let has = |words: &str| text.windows(words.len()).any(|it| it == words.as_bytes());
    if has("PRIVATE KEY") {
        return Err(format!(
            "is a private key, which nobody should have here; {WANTED}"
        ));
    }
    if has("BEGIN CERTIFICATE") {
        return Err(format!("is a certificate; {WANTED}"));
    }
    let bytes = |key: &DecodingKey| key.try_get_as_bytes().map_or(0, <[u8]>::len);
    if let Ok(key) = DecodingKey::from_rsa_pem(text) {
        if bytes(&key) < RSA_BYTES_MIN {
            return Err(format!("is an RSA key of less than 2048 bits; {WANTED}"));
        }
        let algorithm = Algorithm::RS256;
        return Ok(Key { algorithm, key });
    }
    match DecodingKey::from_ec_pem(text) {
        Ok(key) if bytes(&key) == P256_POINT_BYTES => Ok(Key {
            algorithm: Algorithm::ES256,
            key,
        }),
        Ok(_) => Err(format!("is on another curve; {WANTED}")),
        Err(_) => Err(format!("is no key; {WANTED}")),
    }
}

/// The keys of a set (RFC 7517) that can be used here; those that cannot are named in the log.
fn read_jwks(text: &[u8]) -> Result<Vec<(Option<String>, Key)>, String> {
    let set: JwkSet = serde_json::from_slice(text)
        .map_err(|error| format!("is no JWK set, {{\"keys\": [...]}}: {error}"))?;
    if set.keys.len() > KEYS_MAX {
        return Err(format!("has more than {KEYS_MAX} keys"));
    }
    let mut keys = Vec::new();
    for (index, jwk) in set.keys.iter().enumerate() {
        match read_jwk(jwk) {
            Ok(key) => keys.push((jwk.common.key_id.clone(), key)),
            Err(problem) => {
                let kid = jwk.common.key_id.as_deref().unwrap_or_default();
                tracing::warn!(index, kid, problem, "a key of the set is left out");
            }
        }
    }
    if keys.is_empty() {
        return Err("has no key that can be used: RSA, P-256 or oct, for signatures".to_owned());
    }
    Ok(keys)
}

fn read_jwk(jwk: &Jwk) -> Result<Key, &'static str> {
    let common = &jwk.common;
    let is_for_signatures = |used: &PublicKeyUse| *used == PublicKeyUse::Signature;
    if !common.public_key_use.as_ref().is_none_or(is_for_signatures) {
        return Err("it is not for signatures");
    }
    let operations = common.key_operations.as_ref();
    if !operations.is_none_or(|all| all.contains(&KeyOperations::Verify)) {
        return Err("it is not to verify with");
    }
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKey(_) => (Algorithm::HS256, KeyAlgorithm::HS256),
        AlgorithmParameters::EllipticCurve(_)
        | AlgorithmParameters::OctetKeyPair(_)
        | AlgorithmParameters::Other(_)
        | _ => return Err("its type or curve is not known here"),
    };
    if common.key_algorithm.as_ref().is_some_and(|it| *it != named) {
        return Err("it is for another algorithm");
    }
    let key = DecodingKey::from_jwk(jwk).map_err(|_| "it is not well formed")?;
    let is_long_enough = match &jwk.algorithm {
        // Base64 has four characters for three bytes.
        AlgorithmParameters::RSA(key) => key.n.len() >= RSA_BYTES_MIN * 4 / 3,
        AlgorithmParameters::OctetKey(_) => key
            .try_get_as_bytes()
            .is_ok_and(|it| it.len() >= SECRET_BYTES_MIN),
        AlgorithmParameters::EllipticCurve(_) => key
            .try_get_as_bytes()
            .is_ok_and(|it| it.len() == P256_POINT_BYTES),
        AlgorithmParameters::OctetKeyPair(_) | AlgorithmParameters::Other(_) | _ => false,
    };
    if !is_long_enough {
        return Err("it is too short");
    }
    Ok(Key { algorithm, key })
}

/// The largest file of keys, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The most keys in a set.
const KEYS_MAX: usize = 256;
/// The modulus of the shortest RSA key that is taken, in bytes (RFC 7518 3.3).
const RSA_BYTES_MIN: usize = 256;
/// The shortest secret that is taken, in bytes (RFC 7518 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// A point on P-256 without compression.
const P256_POINT_BYTES: usize = 65;
