//! How a route finds out who a client is: where its token is taken from, and how a JWT is checked.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::secret::Secret;
use super::words::quoted;

/// How JSON Web Tokens are checked (RFC 7519). The keys decide which algorithm a token must have:
/// HS256 for a secret, RS256 for an RSA key, ES256 for one on P-256.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Jwt {
    /// Where the keys come from.
    pub keys: JwtKeys,
    /// What the claim `iss` must be, if anything.
    pub issuer: Option<String>,
    /// What the claim `aud` must be, or have among its elements. `None`: a token that has one is
    /// refused (RFC 7519 4.1.3), unless `any_audience` is set.
    pub audience: Option<String>,
    /// Whether a token may be for any audience. Not together with `audience`.
    pub any_audience: bool,
    /// The claim that names the user.
    pub user_claim: String,
    /// How many seconds a token is good for before `nbf` and after `exp`, 0 to 300. A token without
    /// `exp` is refused.
    pub leeway_s: u32,
}

/// Where the keys come from that JWTs are checked with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum JwtKeys {
    /// A secret that both sides know, at least 32 bytes: HS256.
    Secret(Secret),
    /// A file with one public key in PEM. Read again when it has changed.
    Pem(PathBuf),
    /// A file with a set of keys (RFC 7517), chosen by `kid`. Read again when it has changed.
    Jwks(PathBuf),
}

/// Where a client's token is taken from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokenSource {
    /// Behind `Authorization: Bearer`.
    Bearer,
    /// The whole value of a header, its name in lower case.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A value in the query.
    Query(String),
}

impl Jwt {
    /// Keys, and nothing else that is out of the ordinary.
    #[must_use]
    pub fn new(keys: JwtKeys) -> Self {
        Self {
            keys,
            issuer: None,
            audience: None,
            any_audience: false,
            user_claim: "sub".to_owned(),
            leeway_s: 0,
        }
    }
}

impl FromStr for TokenSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_name = !name.is_empty() && name.len() <= 256 && name.bytes().all(is_token);
        match kind {
            "bearer" if name.is_empty() => Ok(Self::Bearer),
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
