//! The credentials of a route's clients: where a token is taken from, and how a JWT is checked.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::key::{Keys as _, Shape, Table, keys};
use super::keywords::{quoted, text_values};
use super::secret::Secret;
use super::texts::{self, CLAIM_NAME_BYTES_MAX, CLAIM_VALUE_BYTES_MAX};
use crate::vocabulary::limits::Allowed;

keys! {
    /// The verification of JSON Web Tokens (RFC 7519): `jwt`.
    pub struct Jwt {
        /// The shared secret of HS256, 32 to 4096 bytes.
        pub secret: Option<Secret> = None, example("\"...\""), check(texts::jwt_secret);

        /// A PEM file with one public key. It is read again when it changes, and on SIGHUP.
        pub key_file: Option<PathBuf> = None, example("\"jwt.pem\"");

        /// A file with a JSON Web Key Set (RFC 7517), whose keys are selected by `kid`. It is read
        /// again when it changes, and on SIGHUP.
        pub jwks_file: Option<PathBuf> = None, example("\"jwks.json\"");

        /// The required value of the claim `iss`. Without this key, any or none.
        pub issuer: Option<String> = None,
            example("\"https://a.example\""), check(|it| texts::length(it, CLAIM_VALUE_BYTES_MAX));

        /// The value that the claim `aud` must have, or have among its elements. Without this key a
        /// token that has an audience is rejected (RFC 7519, 4.1.3), unless `any_audience` is true.
        pub audience: Option<String> = None,
            example("\"campanile\""), check(|it| texts::length(it, CLAIM_VALUE_BYTES_MAX));

        /// Accepts tokens for any audience.
        pub any_audience: bool = false, excludes(&["audience"]);

        /// The claim that names the user.
        pub user_claim: String = "sub".to_owned(),
            check(|it| texts::length(it, CLAIM_NAME_BYTES_MAX));

        /// The difference between clocks that is tolerated before `nbf` and after `exp`, in
        /// seconds.
        pub leeway_s: u32 = 0, range(Allowed::between(0, 300));
    }
}

impl Table for Jwt {}

/// The source of the keys that JWTs are verified with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum JwtKeys {
    /// A shared secret of at least 32 bytes: HS256.
    Secret(Secret),
    /// A file with one public key in PEM. It is read again when it changes.
    Pem(PathBuf),
    /// A file with a set of keys (RFC 7517), selected by `kid`. It is read again when it changes.
    Jwks(PathBuf),
}

/// A place in an upgrade request that a client's token is taken from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokenSource {
    /// Behind `Authorization: Bearer`.
    Bearer,
    /// The whole value of a header, its name in lower case.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A parameter of the query.
    Query(String),
}

impl Jwt {
    /// Creates a verification by these keys, with all other keys at their defaults.
    #[must_use]
    pub fn new(keys: JwtKeys) -> Self {
        let mut jwt = Self::blank();
        match keys {
            JwtKeys::Secret(secret) => jwt.secret = Some(secret),
            JwtKeys::Pem(file) => jwt.key_file = Some(file),
            JwtKeys::Jwks(file) => jwt.jwks_file = Some(file),
        }
        jwt
    }

    /// Returns the source of the keys; `None` unless exactly one is set.
    #[must_use]
    pub fn keys(&self) -> Option<JwtKeys> {
        let secret = self.secret.clone().map(JwtKeys::Secret);
        let pem = self.key_file.clone().map(JwtKeys::Pem);
        let jwks = self.jwks_file.clone().map(JwtKeys::Jwks);
        let mut set = [secret, pem, jwks].into_iter().flatten();
        set.next().filter(|_| set.next().is_none())
    }
}

impl FromStr for TokenSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        let is_name = (1..=256).contains(&name.len()) && name.bytes().all(texts::is_token_byte);
        match kind {
            "bearer" if text == kind => Ok(Self::Bearer),
            "header" if is_name => Ok(Self::Header(name.to_ascii_lowercase())),
            "cookie" if is_name => Ok(Self::Cookie(name.to_owned())),
            "query" if is_name => Ok(Self::Query(name.to_owned())),
            _ => Err(format!(
                "{} is no place for a token, allowed are \"bearer\", \"header:NAME\", \
                 \"cookie:NAME\" and \"query:NAME\"",
                quoted(text)
            )),
        }
    }
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer => f.write_str("bearer"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
        }
    }
}

text_values! { TokenSource: Shape::Forms(&["bearer", "header:NAME", "cookie:NAME", "query:NAME"]); }
