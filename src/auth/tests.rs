//! Signers, keys and key files for the tests of this folder.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// The time of the tests, in seconds since 1970.
pub(super) const NOW: u64 = 1_900_000_000;

/// A secret of sufficient length.
pub(super) const SECRET: &[u8] = b"only for tests, and 32 bytes or more";

/// Returns the path of a key in `tests/auth/keys/`.
pub(super) fn key_path(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/auth/keys");
    folder.join(format!("test-only-{name}.pem"))
}

pub(super) fn key_file(name: &str) -> Vec<u8> {
    fs::read(key_path(name)).expect("a key for tests")
}

/// A signer of tokens.
pub(super) struct Signer {
    pub(super) algorithm: Algorithm,
    pub(super) key: EncodingKey,
}

impl Signer {
    pub(super) fn secret(secret: &[u8]) -> Self {
        Self {
            algorithm: Algorithm::HS256,
            key: EncodingKey::from_secret(secret).expect("not empty"),
        }
    }

    pub(super) fn rsa(name: &str) -> Self {
        let key = EncodingKey::from_rsa_pem(&key_file(&format!("{name}.private")));
        Self {
            algorithm: Algorithm::RS256,
            key: key.expect("an RSA key"),
        }
    }

    pub(super) fn ec(name: &str) -> Self {
        let key = EncodingKey::from_ec_pem(&key_file(&format!("{name}.private")));
        Self {
            algorithm: Algorithm::ES256,
            key: key.expect("a key on P-256"),
        }
    }

    /// Signs these claims under the usual header.
    pub(super) fn sign(&self, claims: &Value) -> String {
        let header = json!({"typ": "JWT", "alg": self.algorithm});
        self.sign_under(&header, claims)
    }

    /// Signs these claims, naming the key.
    pub(super) fn sign_as(&self, kid: &str, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm, "kid": kid});
        self.sign_under(&header, claims)
    }

    /// Signs these claims by the signer's algorithm, whatever the header says.
    pub(super) fn sign_under(&self, header: &Value, claims: &Value) -> String {
        self.sign_bytes(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    /// Signs a header and claims that need not be JSON.
    pub(super) fn sign_bytes(&self, header: &[u8], claims: &[u8]) -> String {
        let message = unsigned(header, claims);
        let signature = crypto::sign(message.as_bytes(), &self.key, self.algorithm);
        format!("{message}.{}", signature.expect("it can sign"))
    }

    /// Returns the signer's verification key as a JWK.
    pub(super) fn jwk(&self, kid: Option<&str>) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).expect("it can be told");
        let mut jwk = serde_json::to_value(jwk).expect("it is JSON");
        if let Some(kid) = kid {
            jwk["kid"] = kid.into();
        }
        jwk
    }
}

/// Returns the first two parts of a token.
pub(super) fn unsigned(header: &[u8], claims: &[u8]) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{header}.{claims}")
}

/// Returns the content of a JWKS file.
pub(super) fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

/// A file in a folder of its own, both removed on drop.
pub(super) struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    /// Creates the file with an old modification time.
    pub(super) fn new(content: &[u8]) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("campanile-auth-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder of its own");
        let scratch = Self { folder };
        scratch.write(content, NOW - 1_000);
        scratch
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.join("keys")
    }

    /// Overwrites the file in place and sets its modification time.
    pub(super) fn write(&self, content: &[u8], modified_s: u64) {
        write(&self.path(), content, modified_s);
    }

    /// Replaces the file atomically.
    pub(super) fn replace(&self, content: &[u8], modified_s: u64) {
        let fresh = self.folder.join("fresh");
        write(&fresh, content, modified_s);
        fs::rename(fresh, self.path()).expect("it can be replaced");
    }

    pub(super) fn remove(&self) {
        fs::remove_file(self.path()).expect("it is there");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).expect("the folder exists");
    }
}

fn write(path: &Path, content: &[u8], modified_s: u64) {
    let mut file = File::create(path).expect("a file of its own");
    file.write_all(content).expect("there is room");
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(modified_s);
    file.set_modified(modified).expect("it is our file");
}
