//! JSON Web Tokens (RFC 7519): whether one is good, whom it names, and what it claims.

use super::keys::{Key, KeyError, KeyStore, Keys};
use crate::config::Jwt;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Validation;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

/// Checks the tokens of one route, on one shard.
pub(crate) struct JwtVerifier {
    keys: RefCell<KeyStore>,
    issuer: Option<String>,
    audience: Option<String>,
    user_claim: String,
    leeway_s: u64,
    name_bytes_max: usize,
}

/// What a good token says.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    /// Whom it names.
    pub(crate) user: Box<str>,
    /// Everything that it claims.
    pub(crate) claims: Claims,
}

/// What a token claims: a JSON object. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Claims(Rc<Value>);

/// Why a token is refused; for the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Rejected {
    /// It has more than [`TOKEN_BYTES_MAX`].
    TooLong,
    /// It is no JWT at all.
    Malformed,
    /// It asks for something that is not known here (RFC 7515 4.1.11).
    Critical,
    /// No key has the name that it gives, or it gives none and there are several.
    UnknownKey,
    /// It is signed in another way than the key is for.
    Algorithm,
    /// The signature is not that of the key.
    Signature,
    /// It says nothing about its end.
    NoExpiry,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYet,
    /// It is from somebody else.
    Issuer,
    /// It is for somebody else.
    Audience,
    /// It names no user, or one with a name that is empty or too long.
    User,
}

impl JwtVerifier {
    /// A verifier as the config says; a user's name has so many bytes at most.
    ///
    /// # Errors
    ///
    /// What is wrong with the file of keys.
    pub(crate) fn open(jwt: &Jwt, name_bytes_max: usize) -> Result<Self, KeyError> {
        Ok(Self {
            keys: RefCell::new(KeyStore::open(&jwt.keys)?),
            issuer: jwt.issuer.clone(),
            audience: jwt.audience.clone(),
            user_claim: jwt.user_claim.clone(),
            leeway_s: jwt.leeway_s.into(),
            name_bytes_max,
        })
    }

    /// Checks a token; it is `now_s` seconds since 1970.
    ///
    /// A token that names an audience is let in where the config asks for none.
    ///
    /// # Errors
    ///
    /// Why it is refused.
    pub(crate) fn verify(&self, token: &str, now_s: u64) -> Result<Verified, Rejected> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Rejected::TooLong);
        }
        let header = Header::read(token)?;
        if header.crit.is_some() {
            return Err(Rejected::Critical);
        }
        let mut keys = self.keys.borrow_mut();
        let key = find(keys.current(), header.kid.as_deref())?;
        if header.alg != format!("{:?}", key.algorithm) {
            return Err(Rejected::Algorithm);
        }
        let mut validation = Validation::new(key.algorithm);
        // What it claims is looked at below, where the time is an argument.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &validation);
        let claims = decoded.map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::InvalidAlgorithm => Rejected::Algorithm,
            jsonwebtoken::errors::ErrorKind::InvalidSignature => Rejected::Signature,
            _ => Rejected::Malformed,
        })?;
        self.judge(claims.claims, now_s)
    }

    fn judge(&self, claims: Map<String, Value>, now_s: u64) -> Result<Verified, Rejected> {
        let time = |name: &str, missing| match claims.get(name) {
            None => Err(missing),
            Some(value) => value.as_f64().ok_or(Rejected::Malformed),
        };
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
        let (now, leeway) = (now_s as f64, self.leeway_s as f64);
        if time("exp", Rejected::NoExpiry)? + leeway <= now {
            return Err(Rejected::Expired);
        }
        if claims.contains_key("nbf") && time("nbf", Rejected::NotYet)? - leeway > now {
            return Err(Rejected::NotYet);
        }
        let is =
            |value: Option<&Value>, wanted: &str| value.and_then(Value::as_str) == Some(wanted);
        if let Some(issuer) = &self.issuer
            && !is(claims.get("iss"), issuer)
        {
            return Err(Rejected::Issuer);
        }
        if let Some(audience) = &self.audience {
            let for_us = match claims.get("aud") {
                Some(Value::Array(all)) => all.iter().any(|each| is(Some(each), audience)),
                one => is(one, audience),
            };
            if !for_us {
                return Err(Rejected::Audience);
            }
        }
        let user = match claims.get(&self.user_claim) {
            Some(Value::String(name)) => name.clone(),
            Some(Value::Number(number)) if !number.is_f64() => number.to_string(),
            _ => return Err(Rejected::User),
        };
        if user.is_empty() || user.len() > self.name_bytes_max {
            return Err(Rejected::User);
        }
        Ok(Verified {
            user: user.into(),
            claims: Claims(Rc::new(Value::Object(claims))),
        })
    }
}

/// The key for a token that gives this name, or none.
fn find<'k>(keys: &'k Keys, kid: Option<&str>) -> Result<&'k Key, Rejected> {
    let keys = match keys {
        Keys::One(key) => return Ok(key),
        Keys::Set(keys) => keys,
    };
    let found = match kid {
        Some(_) => keys.iter().find(|(name, _)| name.as_deref() == kid),
        None if keys.len() == 1 => keys.first(),
        None => None,
    };
    found.map(|(_, key)| key).ok_or(Rejected::UnknownKey)
}

/// The members of a token's header that matter (RFC 7515 4.1).
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
}

impl Header {
    fn read(token: &str) -> Result<Self, Rejected> {
        let (header, _) = token.split_once('.').ok_or(Rejected::Malformed)?;
        let json = URL_SAFE_NO_PAD.decode(header);
        let json = json.map_err(|_| Rejected::Malformed)?;
        serde_json::from_slice(&json).map_err(|_| Rejected::Malformed)
    }
}

impl Claims {
    /// Whether there is a claim of this name with this value: a string that is equal, a number or
    /// boolean spelled so, or an array that has such an element.
    pub(crate) fn holds(&self, name: &str, value: &str) -> bool {
        let is = |claim: &Value| match claim {
            Value::String(text) => text == value,
            Value::Number(number) => number.to_string() == value,
            Value::Bool(truth) => truth.to_string() == value,
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        match self.0.get(name) {
            Some(Value::Array(all)) => all.iter().any(is),
            Some(claim) => is(claim),
            None => false,
        }
    }

    /// All of them, as one JSON object.
    pub(crate) fn as_json(&self) -> &Value {
        &self.0
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "it is too long",
            Self::Malformed => "it is not well formed",
            Self::Critical => "it has a critical extension",
            Self::UnknownKey => "there is no such key",
            Self::Algorithm => "its algorithm is not that of the key",
            Self::Signature => "its signature is wrong",
            Self::NoExpiry => "it has no end",
            Self::Expired => "it has expired",
            Self::NotYet => "its time has not come",
            Self::Issuer => "it is from another issuer",
            Self::Audience => "it is for another audience",
            Self::User => "it names no user",
        })
    }
}

/// The longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
