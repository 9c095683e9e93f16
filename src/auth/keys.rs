//! The keys that JSON Web Tokens are checked with, and the files they come from.
//!
//! A key knows the one algorithm that it is for, so that a token cannot choose another: HS256 for a
//! secret, RS256 for an RSA key, ES256 for one on P-256. A file is looked at before each use, and
//! read again when it has changed; while what it holds is no good, the keys before go on. All
//! shards have the same keys: whichever sees a change first brings it about.

use crate::config::{JwtKeys, Secret};
use arc_swap::ArcSwap;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    loaded: ArcSwap<Loaded>,
    file: Option<KeyFile>,
}

/// What was last read.
struct Loaded {
    keys: Arc<Keys>,
    /// What the file looked like then; `None` if it could not be looked at.
    stamp: Option<Stamp>,
}

struct KeyFile {
    path: PathBuf,
    read: fn(&[u8]) -> Result<Keys, String>,
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
                let keys = Keys::One(of_secret(secret));
                return Ok(Self::new(keys, None, None));
            }
            JwtKeys::Pem(path) => (path, |text| read_pem(text).map(Keys::One)),
            JwtKeys::Jwks(path) => (path, |text| read_jwks(text).map(Keys::Set)),
        };
        let file = KeyFile {
            path: path.to_owned(),
            read,
        };
        let result = read_file(path).and_then(|(text, stamp)| Ok((read(&text)?, stamp)));
        match result {
            Ok((keys, stamp)) => Ok(Self::new(keys, Some(stamp), Some(file))),
            Err(problem) => Err(KeyError {
                file: file.path,
                problem,
            }),
        }
    }

    fn new(keys: Keys, stamp: Option<Stamp>, file: Option<KeyFile>) -> Self {
        let keys = Arc::new(keys);
        Self {
            loaded: ArcSwap::from_pointee(Loaded { keys, stamp }),
            file,
        }
    }

    /// The keys as they are now. What is wrong with a file is told once for each change.
    pub(super) fn current(&self) -> Arc<Keys> {
        let loaded = self.loaded.load();
        let Some(file) = &self.file else {
            return Arc::clone(&loaded.keys);
        };
        let stamp = fs::metadata(&file.path).ok().as_ref().map(Stamp::of);
        if stamp == loaded.stamp {
            return Arc::clone(&loaded.keys);
        }
        let result = read_file(&file.path);
        let stamp = result.as_ref().map_or(stamp, |(_, stamp)| Some(*stamp));
        let path = file.path.display();
        let keys = match result.and_then(|(text, _)| (file.read)(&text)) {
            Ok(keys) => {
                tracing::info!(file = %path, "the keys of tokens have been read again");
                Arc::new(keys)
            }
            Err(problem) => {
                tracing::warn!(file = %path, problem, "the keys of tokens stay as they were");
                Arc::clone(&loaded.keys)
            }
        };
        let next = Loaded {
            keys: Arc::clone(&keys),
            stamp,
        };
        self.loaded.store(Arc::new(next));
        keys
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn pem(name: &str) -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
        fs::read(folder.join(name)).expect("it is there")
    }

    /// A file of its own for each test.
    fn file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("campanile-{}-{name}", std::process::id()));
        fs::write(&path, text).expect("a folder for such files");
        path
    }

    fn jwks(keys: &str) -> Result<Vec<(Option<String>, Algorithm)>, String> {
        let text = format!("{{\"keys\":[{keys}]}}");
        let read = read_jwks(text.as_bytes())?;
        Ok(read
            .into_iter()
            .map(|(kid, key)| (kid, key.algorithm))
            .collect())
    }

    #[test]
    fn the_key_decides_which_algorithm_a_token_has() {
        let algorithm = |name| read_pem(&pem(name)).map(|key| key.algorithm);
        assert_eq!(algorithm("rsa2048.pem"), Ok(Algorithm::RS256));
        assert_eq!(algorithm("p256.pem"), Ok(Algorithm::ES256));
        for (name, problem) in [
            ("rsa1024.pem", "is an RSA key of less than 2048 bits"),
            ("p384.pem", "is on another curve"),
            ("README.md", "is no key"),
        ] {
            let error = algorithm(name).expect_err(name);
            assert!(error.starts_with(problem), "{error}");
            assert!(
                error
                    .ends_with("a public key in PEM is wanted, RSA of at least 2048 bits or P-256")
            );
        }
        let refused = |text: &str| read_pem(text.as_bytes()).err().expect("refused");
        assert!(refused("-----BEGIN PRIVATE KEY-----").starts_with("is a private key"));
        assert!(refused("-----BEGIN CERTIFICATE-----").starts_with("is a certificate"));
    }

    #[test]
    fn what_cannot_be_used_of_a_set_is_left_out() {
        const OCT: &str =
            r#"{"kty":"oct","kid":"a","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}"#;
        let good = Ok(vec![(Some("a".to_owned()), Algorithm::HS256)]);
        for other in [
            r#"{"kty":"oct","kid":"short","k":"MDEy"}"#,
            r#"{"kty":"oct","use":"enc","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}"#,
            r#"{"kty":"oct","key_ops":["sign"],"k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}"#,
            r#"{"kty":"oct","alg":"HS512","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}"#,
            r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#,
            r#"{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}"#,
            r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#,
        ] {
            assert_eq!(jwks(&format!("{other},{OCT}")), good, "{other}");
            assert!(jwks(other).is_err(), "{other}");
        }
        assert!(jwks(&[OCT; KEYS_MAX].join(",")).is_ok());
        let many = jwks(&[OCT; KEYS_MAX + 1].join(","));
        assert_eq!(many, Err("has more than 256 keys".to_owned()));
        assert!(read_jwks(b"{").is_err());
    }

    #[test]
    fn a_file_is_read_again_when_it_has_changed_and_is_good() {
        let oct = |kid: &str| {
            let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY";
            format!(r#"{{"keys":[{{"kty":"oct","kid":"{kid}","k":"{key}"}}]}}"#)
        };
        let path = file("again.json", &oct("first"));
        let store = KeyStore::open(&JwtKeys::Jwks(path.clone())).expect("good");
        let kid = || match &*store.current() {
            Keys::Set(keys) => keys[0].0.clone().expect("named"),
            Keys::One(_) => panic!("a set"),
        };
        assert_eq!(kid(), "first");
        // Another file in its place, of the same size.
        let next = file("next.json", &oct("other"));
        fs::rename(next, &path).expect("in one folder");
        assert_eq!(kid(), "other");
        fs::write(&path, "{").expect("writable");
        assert_eq!(kid(), "other");
        fs::remove_file(&path).expect("there");
        assert_eq!(kid(), "other");
        fs::write(&path, oct("last")).expect("writable");
        assert_eq!(kid(), "last");
        fs::remove_file(&path).expect("there");
        let error = KeyStore::open(&JwtKeys::Jwks(path.clone()))
            .err()
            .expect("gone");
        let expected = format!(
            "{}: cannot be read: No such file or directory (os error 2)",
            path.display()
        );
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_file_has_a_size() {
        let path = file("large.pem", &"a".repeat(1 << 20));
        let problem = |path: &Path| read_file(path).err();
        assert_eq!(problem(&path), None);
        fs::write(&path, "a".repeat((1 << 20) + 1)).expect("writable");
        assert_eq!(
            problem(&path).as_deref(),
            Some("has more than 1048576 bytes")
        );
        fs::remove_file(&path).expect("there");
    }
}
