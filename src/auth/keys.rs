//! Keys for verifying tokens, parsed from PEM (RFC 7468) or JWKS (RFC 7517) and selected by a
//! token's header.
//!
//! ```text
//!   a secret, at least 32 bytes ------------------------> HS256
//!   an RSA public key of 2,048 to 8,192 bits -----------> RS256
//!   a public key on P-256 ------------------------------> ES256
//! ```
//!
//! A key determines its algorithm; no token's header can change that. Every key is one that the
//! cryptographic library accepts. This module opens no files. It parses PEM itself, because no
//! library reports which line is missing.

use super::rejected::TokenError;
use crate::config::{Secret, quoted};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// An error in the configured keys. Its `Display` is one line for the operator: the file, the
/// problem and what is expected. It contains no secret.
#[derive(Debug, thiserror::Error)]
#[error("{}{problem}", prefix(file.as_deref()))]
pub(crate) struct KeyError {
    /// `None` if the keys are not in a file.
    file: Option<PathBuf>,
    problem: String,
}

/// One secret or public key, or a set of keys.
#[derive(Clone)]
pub(super) enum Keys {
    /// The key for every token, with any `kid`.
    One(Key),
    /// Keys selected by `kid` and algorithm. No two keys have both in common.
    Set(Vec<NamedKey>),
}

/// A key of a set and its `kid`.
#[derive(Clone)]
pub(super) struct NamedKey {
    kid: Option<Box<str>>,
    key: Key,
}

/// A key and its only algorithm.
#[derive(Clone)]
pub(super) struct Key {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Keys {
    /// Creates the key for a shared secret.
    ///
    /// # Errors
    ///
    /// A [`KeyError`] if the secret is shorter than 32 bytes.
    pub(super) fn secret(secret: &Secret) -> Result<Self, KeyError> {
        let key = Key::secret(secret.as_bytes());
        key.map(Self::One).map_err(|problem| KeyError {
            file: None,
            problem: format!("the secret {problem}"),
        })
    }

    /// Parses a PEM file with one public key.
    ///
    /// # Errors
    ///
    /// A text that describes the problem, without the file's name.
    pub(super) fn pem(content: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(content).unwrap_or_default();
        let mut blocks = text.split("-----BEGIN ").skip(1);
        let block = match (blocks.next(), blocks.count()) {
            (None, _) if text.trim_start().starts_with('{') => {
                return Err(format!("is JSON, not PEM; {EXPECTED}"));
            }
            (None, _) => return Err(format!("has no PEM block; {EXPECTED}")),
            (Some(block), 0) => block,
            (Some(_), more) => {
                return Err(format!(
                    "has {} PEM blocks, expected one; put several keys into a JWKS file",
                    more + 1
                ));
            }
        };
        let (label, rest) = block.split_once("-----").unwrap_or((block, ""));
        match label {
            "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
            "CERTIFICATE" => {
                return Err(
                    "is a certificate; expected the public key in it: openssl x509 -in \
                            CERTIFICATE -noout -pubkey"
                        .to_owned(),
                );
            }
            _ if label.ends_with("PRIVATE KEY") => {
                return Err(
                    "is a private key; expected its public half: openssl pkey -in KEY \
                            -pubout"
                        .to_owned(),
                );
            }
            _ => {
                let label: String = label.chars().take(LABEL_CHARACTERS_SHOWN).collect();
                return Err(format!("is a {}; {EXPECTED}", quoted(&label)));
            }
        }
        let end = format!("-----END {label}-----");
        let (body, _) = rest
            .split_once(&end)
            .ok_or_else(|| format!("has no line \"{end}\""))?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = STANDARD
            .decode(body)
            .map_err(|_| "has something that is not base64 between BEGIN and END".to_owned())?;
        Key::public(&der).map(Self::One)
    }

    /// Parses a set of keys. Returns the usable keys, and a text for each other key.
    ///
    /// # Errors
    ///
    /// A text that describes the problem. A set without usable keys is an error.
    pub(super) fn jwks(content: &[u8]) -> Result<(Self, Vec<String>), String> {
        let set: Value = serde_json::from_slice(content)
            .map_err(|error| format!("is not JSON: {error}; {EXPECTED_SET}"))?;
        let listed = set.get("keys").and_then(Value::as_array);
        let listed = listed.ok_or_else(|| format!("has no array \"keys\"; {EXPECTED_SET}"))?;
        if listed.len() > KEYS_MAX {
            let count = listed.len();
            return Err(format!("has {count} keys, at most {KEYS_MAX} are allowed"));
        }
        let (mut usable, mut unusable) = (Vec::<NamedKey>::new(), Vec::new());
        for (index, jwk) in listed.iter().enumerate() {
            let is_new = |key: &NamedKey| !usable.iter().any(|other| other.is_like(key));
            let key = NamedKey::from_jwk(jwk).and_then(|key| {
                let twin = "has the kid and the algorithm of another".to_owned();
                is_new(&key).then_some(key).ok_or(twin)
            });
            match key {
                Ok(key) => usable.push(key),
                Err(problem) => unusable.push(format!("keys[{index}] {problem}")),
            }
        }
        if usable.is_empty() {
            let why = unusable
                .first()
                .map_or("it is empty", |first| first.as_str());
            return Err(format!(
                "has no key that can be used: {why}; {EXPECTED_SET}"
            ));
        }
        Ok((Self::Set(usable), unusable))
    }

    /// Selects the key for a token with this header. The key's algorithm must be the header's.
    ///
    /// # Errors
    ///
    /// [`TokenError::Algorithm`], [`TokenError::UnknownKey`] or [`TokenError::NoKeyId`].
    pub(super) fn choose(&self, algorithm: &str, kid: Option<&str>) -> Result<&Key, TokenError> {
        let is_fit = |key: &&Key| key.is_for(algorithm);
        match (self, kid) {
            (Self::One(key), _) => Some(key).filter(is_fit).ok_or(TokenError::Algorithm),
            (Self::Set(keys), Some(kid)) => {
                let named = keys.iter().filter(|key| key.kid.as_deref() == Some(kid));
                let mut named = named.map(|named| &named.key).peekable();
                named.peek().ok_or(TokenError::UnknownKey)?;
                named.find(is_fit).ok_or(TokenError::Algorithm)
            }
            (Self::Set(keys), None) => match &keys[..] {
                [only] => Some(&only.key).filter(is_fit).ok_or(TokenError::Algorithm),
                _ => Err(TokenError::NoKeyId),
            },
        }
    }
}

impl NamedKey {
    /// Parses a JWK (RFC 7517).
    ///
    /// # Errors
    ///
    /// A text that describes the problem, without the key.
    fn from_jwk(jwk: &Value) -> Result<Self, String> {
        let jwk = jwk.as_object().ok_or("is not an object")?;
        let kid = member(jwk, "kid")?;
        let is_for_signatures = member(jwk, "use")?.is_none_or(|it| it == "sig");
        let verifies = jwk.get("key_ops").is_none_or(|operations| {
            let operations = operations.as_array();
            operations.is_some_and(|it| it.iter().any(|operation| operation == "verify"))
        });
        if !is_for_signatures || !verifies {
            return Err(
                "is not for verifying signatures, by its \"use\" or \"key_ops\"".to_owned(),
            );
        }
        let key = match required(jwk, "kty")? {
            "oct" => Key::secret(&bytes(jwk, "k")?)?,
            "RSA" | "EC" if jwk.contains_key("d") => {
                return Err("is a private key, and only public keys are allowed here".to_owned());
            }
            "RSA" => {
                let (n, e) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
                let components = RsaPublicKeyComponents { n, e };
                let parsed = components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
                Key::public(parsed.map_err(|_| "is not an RSA key")?.as_ref())?
            }
            "EC" => {
                let curve = required(jwk, "crv")?;
                if curve != "P-256" {
                    return Err(format!("is on {}, expected \"P-256\"", quoted(curve)));
                }
                let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
                if [x.len(), y.len()] != [COORDINATE_BYTES; 2] {
                    return Err("has a coordinate that is not 32 bytes long".to_owned());
                }
                Key::public(&[&[UNCOMPRESSED], &x[..], &y[..]].concat())?
            }
            kind => {
                let kind = quoted(kind);
                return Err(format!(
                    "is of kty {kind}, expected \"RSA\", \"EC\" or \"oct\""
                ));
            }
        };
        match member(jwk, "alg")? {
            Some(algorithm) if !key.is_for(algorithm) => Err(format!(
                "is for {}, and keys of its kind are used for {:?}",
                quoted(algorithm),
                key.algorithm
            )),
            _ => Ok(Self {
                kid: kid.map(Into::into),
                key,
            }),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        self.kid == other.kid && self.key.algorithm == other.key.algorithm && self.kid.is_some()
    }
}

impl Key {
    fn secret(secret: &[u8]) -> Result<Self, String> {
        let count = secret.len();
        let key = Some(secret).filter(|_| count >= SECRET_BYTES_MIN);
        let key = key.and_then(|secret| DecodingKey::from_secret(secret).ok());
        let key = key
            .ok_or_else(|| format!("has {count} bytes, HS256 needs at least {SECRET_BYTES_MIN}"))?;
        let algorithm = Algorithm::HS256;
        Ok(Self { algorithm, key })
    }

    /// Parses a `SubjectPublicKeyInfo`, an `RSAPublicKey` or a point on P-256.
    ///
    /// # Errors
    ///
    /// A text if the key is of another kind or size.
    fn public(der: &[u8]) -> Result<Self, String> {
        if ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, der).is_ok() {
            let algorithm = Algorithm::ES256;
            let key = DecodingKey::from_ec_der(der);
            return Ok(Self { algorithm, key });
        }
        let head = &der[..der.len().min(HEAD_BYTES)];
        let is_named = |oid: &[u8]| head.windows(oid.len()).any(|window| window == oid);
        if let Some((_, what)) = KINDS.iter().find(|(oid, _)| is_named(oid)) {
            return Err(format!("{what}; {EXPECTED}"));
        }
        let key = rsa::PublicKey::from_der(der)
            .map_err(|_| format!("is not a readable public key; {EXPECTED}"))?;
        let modulus = key.modulus();
        let modulus = modulus.big_endian_without_leading_zero();
        let zeros = modulus.first().map_or(0, |byte| byte.leading_zeros());
        let bits = modulus.len() * 8 - zeros as usize;
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            return Err(format!("is an RSA key of {bits} bits; {EXPECTED}"));
        }
        let algorithm = Algorithm::RS256;
        let key = DecodingKey::from_rsa_der(der);
        Ok(Self { algorithm, key })
    }

    /// Returns whether `signature`, the last part of a token, is this key's signature of `message`.
    /// Returns `false` if it is not base64url.
    pub(super) fn verifies_signature(&self, message: &str, signature: &str) -> bool {
        let (key, algorithm) = (&self.key, self.algorithm);
        crypto::verify(signature, message.as_bytes(), key, algorithm).unwrap_or(false)
    }

    fn is_for(&self, algorithm: &str) -> bool {
        algorithm.parse() == Ok(self.algorithm)
    }
}

impl KeyError {
    pub(super) fn of_file(file: &Path, problem: String) -> Self {
        Self {
            file: Some(file.to_owned()),
            problem,
        }
    }
}

fn prefix(file: Option<&Path>) -> String {
    file.map_or_else(String::new, |file| format!("{}: ", file.display()))
}

/// Returns a string member; `None` if it is missing.
///
/// # Errors
///
/// A text if the member is not a string.
fn member<'j>(jwk: &'j Map<String, Value>, name: &str) -> Result<Option<&'j str>, String> {
    let text = |value: &'j Value| {
        value
            .as_str()
            .ok_or_else(|| format!("has a {name:?} that is not a string"))
    };
    jwk.get(name).map(text).transpose()
}

fn required<'j>(jwk: &'j Map<String, Value>, name: &str) -> Result<&'j str, String> {
    member(jwk, name)?.ok_or_else(|| format!("has no {name:?}"))
}

/// Returns the bytes of a required member in base64url without padding (RFC 7518 2).
///
/// # Errors
///
/// A text if the member is missing or invalid.
fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let bytes = URL_SAFE_NO_PAD.decode(required(jwk, name)?);
    bytes.map_err(|_| format!("has {name:?} not in base64url"))
}

/// Object identifiers of unsupported kinds of public keys, with their descriptions.
const KINDS: &[(&[u8], &str)] = &[
    (b"\x06\x05\x2b\x81\x04\x00\x22", "is a key on P-384"),
    (b"\x06\x05\x2b\x81\x04\x00\x23", "is a key on P-521"),
    (b"\x06\x05\x2b\x81\x04\x00\x0a", "is a key on secp256k1"),
    (b"\x06\x03\x2b\x65\x70", "is an Ed25519 key"),
    (
        b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a",
        "is a key for RSA-PSS only",
    ),
];

const EXPECTED: &str =
    "expected one public key in PEM, RSA of 2048 to 8192 bits (RS256) or on P-256 (ES256)";
const EXPECTED_SET: &str = "expected {\"keys\": [...]} with keys for HS256, RS256 or ES256";

/// Minimum bytes of a secret: the output size of SHA-256 (RFC 7518 3.2).
const SECRET_BYTES_MIN: usize = 32;
const RSA_BITS_MIN: usize = 2_048;
const RSA_BITS_MAX: usize = 8_192;
/// Maximum keys in one set. More are an error.
const KEYS_MAX: usize = 256;
const COORDINATE_BYTES: usize = 32;
/// The byte before the two coordinates of an uncompressed point (SEC 1 2.3.3).
const UNCOMPRESSED: u8 = 4;
/// Bytes of a `SubjectPublicKeyInfo` that contain the identifier of its kind of key.
const HEAD_BYTES: usize = 24;
const LABEL_CHARACTERS_SHOWN: usize = 40;

#[cfg(test)]
mod tests {
    use super::super::tests::{SECRET, Signer, key_file, set};
    use super::*;
    use serde_json::json;

    fn pem(name: &str) -> Result<Keys, String> {
        Keys::pem(&key_file(name))
    }

    fn algorithm(keys: &Keys) -> Algorithm {
        match keys {
            Keys::One(key) => key.algorithm,
            Keys::Set(_) => panic!("a set"),
        }
    }

    /// Returns the number of usable keys of a set, and the texts for the others.
    #[track_caller]
    fn read_set(keys: &[Value]) -> (usize, Vec<String>) {
        match Keys::jwks(&set(keys)).expect("a set of keys") {
            (Keys::Set(usable), unusable) => (usable.len(), unusable),
            (Keys::One(_), _) => panic!("no set"),
        }
    }

    /// Expects that only the valid key of a set with this and a valid key is usable.
    #[track_caller]
    fn expect_unusable(jwk: &Value, problem: &str) {
        let good = Signer::secret(SECRET).jwk(Some("good"));
        let (usable, unusable) = read_set(&[good, jwk.clone()]);
        assert_eq!((usable, unusable), (1, vec![format!("keys[1] {problem}")]));
    }

    fn with(mut jwk: Value, member: &str, value: Value) -> Value {
        jwk[member] = value;
        jwk
    }

    #[test]
    fn a_public_key_in_pem_decides_on_its_algorithm() {
        for (name, expected) in [
            ("rsa.public", Algorithm::RS256),
            ("rsa.pkcs1", Algorithm::RS256),
            ("p256.public", Algorithm::ES256),
        ] {
            let keys = pem(name).expect("a public key");
            assert_eq!(algorithm(&keys), expected, "{name}");
        }
        let commented = [b"Bag Attributes: none\r\n".to_vec(), key_file("rsa.public")].concat();
        assert!(
            Keys::pem(&commented).is_ok(),
            "text around a block counts not"
        );
    }

    #[test]
    fn unusable_pem_files_have_distinct_errors() {
        for (name, expected) in [
            ("rsa.private", "is a private key; expected its public half"),
            ("p256.private", "is a private key; expected its public half"),
            ("p256.sec1", "is a private key; expected its public half"),
            (
                "rsa.certificate",
                "is a certificate; expected the public key in it",
            ),
            (
                "rsa-1024.public",
                "is an RSA key of 1024 bits; expected one public key",
            ),
            ("rsa-pss.public", "is a key for RSA-PSS only; expected one"),
            ("p384.public", "is a key on P-384; expected one"),
            ("secp256k1.public", "is a key on secp256k1; expected one"),
            ("ed25519.public", "is an Ed25519 key; expected one"),
        ] {
            let problem = pem(name).err().expect("refused");
            assert!(problem.starts_with(expected), "{name}: {problem}");
        }
    }

    #[test]
    fn files_without_pem_have_distinct_errors() {
        let good = String::from_utf8(key_file("rsa.public")).expect("PEM is text");
        let twice = format!("{good}{good}");
        let cut = &good[..good.len() - 30];
        let spoilt = good.replacen("MII", "M!I", 1);
        let short = good.replacen("MII", "MIIMII", 1);
        let other = good.replace("PUBLIC KEY", "PGP\nX");
        for (text, expected) in [
            ("", "has no PEM block; expected one"),
            ("MIIB", "has no PEM block"),
            ("\n {\"keys\": []}", "is JSON, not PEM"),
            (&twice, "has 2 PEM blocks, expected one"),
            (cut, "has no line \"-----END PUBLIC KEY-----\""),
            ("-----BEGIN PUBLIC KEY", "has no line"),
            (&spoilt, "has something that is not base64"),
            (&short, "has something that is not base64"),
            (&other, "is a \"PGP\\nX\"; expected one"),
            (
                "-----BEGIN PUBLIC KEY-----\nMAAA\n-----END PUBLIC KEY-----",
                "is not a readable public key; expected one",
            ),
        ] {
            let problem = Keys::pem(text.as_bytes()).err().expect("refused");
            assert!(problem.starts_with(expected), "{text:?}: {problem}");
        }
        assert!(Keys::pem(b"\xff").is_err(), "not text");
    }

    #[test]
    fn a_set_may_mix_kinds_of_keys() {
        let keys = [
            Signer::secret(SECRET).jwk(Some("a")),
            with(Signer::rsa("rsa").jwk(Some("b")), "use", "sig".into()),
            with(
                Signer::ec("p256").jwk(None),
                "key_ops",
                json!(["sign", "verify"]),
            ),
            // Two keys with different algorithms may have the same `kid` (RFC 7517 4.5).
            Signer::rsa("rsa").jwk(Some("a")),
        ];
        assert_eq!(read_set(&keys), (4, vec![]));
    }

    #[test]
    fn unusable_keys_of_a_set_are_skipped() {
        let (rsa, ec) = (Signer::rsa("rsa").jwk(None), Signer::ec("p256").jwk(None));
        let secret = Signer::secret(SECRET).jwk(None);
        let purpose = "is not for verifying signatures, by its \"use\" or \"key_ops\"";
        for (jwk, problem) in [
            (json!("text"), "is not an object"),
            (json!({}), "has no \"kty\""),
            (
                with(rsa.clone(), "kid", json!(7)),
                "has a \"kid\" that is not a string",
            ),
            (with(rsa.clone(), "use", json!("enc")), purpose),
            (with(rsa.clone(), "key_ops", json!(["encrypt"])), purpose),
            (with(rsa.clone(), "key_ops", json!("verify")), purpose),
            (
                with(rsa.clone(), "d", json!("AQAB")),
                "is a private key, and only public keys are allowed here",
            ),
            (
                with(rsa.clone(), "alg", json!("RS512")),
                "is for \"RS512\", and keys of its kind are used for RS256",
            ),
            (
                with(rsa.clone(), "alg", json!("HS256")),
                "is for \"HS256\", and keys of its kind are used for RS256",
            ),
            (
                with(secret.clone(), "alg", json!("RS256")),
                "is for \"RS256\", and keys of its kind are used for HS256",
            ),
            (
                with(rsa.clone(), "e", json!("A")),
                "has \"e\" not in base64url",
            ),
            (with(rsa.clone(), "n", json!("")), "is not an RSA key"),
            (
                with(ec.clone(), "crv", json!("P-384")),
                "is on \"P-384\", expected \"P-256\"",
            ),
            (
                with(ec.clone(), "x", json!("AAAA")),
                "has a coordinate that is not 32 bytes long",
            ),
            (
                with(secret, "k", json!("AAAA")),
                "has 3 bytes, HS256 needs at least 32",
            ),
            (
                with(rsa.clone(), "kty", json!("OKP")),
                "is of kty \"OKP\", expected \"RSA\", \"EC\" or \"oct\"",
            ),
            (
                Signer::secret(SECRET).jwk(Some("good")),
                "has the kid and the algorithm of another",
            ),
        ] {
            expect_unusable(&jwk, problem);
        }
        let off_curve = with(ec.clone(), "x", ec["y"].clone());
        expect_unusable(
            &off_curve,
            &format!("is not a readable public key; {EXPECTED}"),
        );
        let even = with(rsa, "e", json!("Ag"));
        let (usable, unusable) = read_set(&[ec, even]);
        assert_eq!((usable, unusable.len()), (1, 1), "e is 2: {unusable:?}");
    }

    #[test]
    fn a_set_without_a_usable_key_is_an_error_that_says_why() {
        for (text, expected) in [
            (
                "",
                "is not JSON: EOF while parsing a value at line 1 column 0; expected",
            ),
            (
                "[]",
                "has no array \"keys\"; expected {\"keys\": [...]} with keys for HS256",
            ),
            ("{\"keys\": {}}", "has no array \"keys\""),
            (
                "{\"keys\": []}",
                "has no key that can be used: it is empty; expected",
            ),
            (
                "{\"keys\": [5]}",
                "has no key that can be used: keys[0] is not an object; expected",
            ),
        ] {
            let problem = Keys::jwks(text.as_bytes()).err().expect("refused");
            assert!(problem.starts_with(expected), "{text:?}: {problem}");
        }
    }

    #[test]
    fn a_set_has_a_bounded_number_of_keys() {
        let jwk = |index: usize| Signer::secret(SECRET).jwk(Some(&index.to_string()));
        let mut keys: Vec<Value> = (0..KEYS_MAX).map(jwk).collect();
        assert_eq!(read_set(&keys).0, 256);
        keys.push(jwk(KEYS_MAX));
        let problem = Keys::jwks(&set(&keys)).err();
        assert_eq!(
            problem.as_deref(),
            Some("has 257 keys, at most 256 are allowed")
        );
    }

    #[test]
    fn a_short_secret_is_an_error_that_does_not_show_it() {
        let error = Keys::secret(&Secret::new("hush")).err().expect("refused");
        let text = error.to_string();
        assert_eq!(text, "the secret has 4 bytes, HS256 needs at least 32");
        assert!(!format!("{error:?}").contains("hush"));
        assert!(Keys::secret(&Secret::new("x".repeat(32))).is_ok());
    }

    #[test]
    fn an_error_names_its_file() {
        let error = KeyError::of_file(Path::new("/etc/keys.pem"), "is a shoe".to_owned());
        assert_eq!(error.to_string(), "/etc/keys.pem: is a shoe");
    }
}
