//! Verification of JSON Web Tokens (RFC 7519) in the compact form of a JWS (RFC 7515).
//!
//! ```text
//!   eyJhbGciOi..  .  eyJzdWIiOi..  .  dBjftJeZ4CVP..
//!   header           claims           signature
//!   alg: the key's   exp, nbf         of header and claims as received
//!   kid: which key   iss, aud
//!   crit: rejected   the user's claim
//! ```
//!
//! The signature is verified before any claim is read. `exp` is required. If the config has no
//! audience, a token with `aud` is rejected (RFC 7519 4.1.3), unless the config accepts any
//! audience. Unknown header members and claims are ignored.

use super::key_file::{Form, KeyFile, ReloadResult};
use super::keys::{KeyError, Keys};
use super::rejected::TokenError;
use crate::config::{Jwt, JwtKeys, Limits};
use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, IgnoredAny};
use serde_json::{Map, Value};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The verifier of a route's tokens. All shards share one, so that they use the same keys: the
/// first that sees a changed key file reloads it for all.
#[derive(derive_more::Debug)]
#[debug("JwtVerifier {{ .. }}")]
pub(crate) struct JwtVerifier {
    keys: Source,
    issuer: Option<Box<str>>,
    audience: Option<Box<str>>,
    any_audience: bool,
    user_claim: Box<str>,
    user_bytes_max: usize,
    token_bytes_max: usize,
    leeway: Duration,
}

enum Source {
    Config(Keys),
    File(ArcSwap<KeyFile>),
}

/// The content of a valid token.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    /// The user: not empty and at most `limits.name_bytes_max` bytes.
    pub(crate) user: Box<str>,
    /// All claims, including the user's.
    pub(crate) claims: Claims,
}

/// The claims of a valid token, a JSON object. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Claims(Rc<Map<String, Value>>);

/// Returns the key file, reloaded if it has changed.
fn current(shared: &ArcSwap<KeyFile>, now_unix_s: u64) -> Arc<KeyFile> {
    let file = shared.load_full();
    if file.is_current() {
        return file;
    }
    let mut next = KeyFile::clone(&file);
    next.read_again(now_unix_s);
    let next = Arc::new(next);
    shared.store(Arc::clone(&next));
    next
}

impl JwtVerifier {
    /// Loads the keys. Users have at most `limits.name_bytes_max` bytes, tokens
    /// `limits.token_bytes_max`.
    ///
    /// # Errors
    ///
    /// A [`KeyError`] if the keys cannot be read or used.
    pub(crate) fn open(jwt: &Jwt, limits: &Limits) -> Result<Self, KeyError> {
        let file = |path, form| {
            let file = KeyFile::open(path, form)?;
            Ok(Source::File(ArcSwap::from_pointee(file)))
        };
        let keys = match jwt.keys().expect("a valid jwt has one source of keys") {
            JwtKeys::Secret(secret) => Source::Config(Keys::secret(&secret)?),
            JwtKeys::Pem(path) => file(&path, Form::Pem)?,
            JwtKeys::Jwks(path) => file(&path, Form::Jwks)?,
        };
        Ok(Self {
            keys,
            issuer: jwt.issuer.as_deref().map(Into::into),
            audience: jwt.audience.as_deref().map(Into::into),
            any_audience: jwt.any_audience,
            user_claim: jwt.user_claim.as_str().into(),
            user_bytes_max: limits.name_bytes_max as usize,
            token_bytes_max: limits.token_bytes_max as usize,
            leeway: Duration::from_secs(jwt.leeway_s.into()),
        })
    }

    /// Reloads the key file, whether or not it looks changed. Returns `None` if the keys are not in
    /// a file.
    pub(super) fn reload(&self, now_unix_s: u64) -> Option<ReloadResult> {
        let Source::File(shared) = &self.keys else {
            return None;
        };
        let mut next = KeyFile::clone(&shared.load());
        let result = next.reload(now_unix_s);
        shared.store(Arc::new(next));
        Some(result)
    }

    /// Verifies a token at the time `now_unix_s`, in seconds since 1970. Reloads the key file first
    /// if it has changed.
    ///
    /// # Errors
    ///
    /// The first reason why the token is invalid.
    pub(crate) fn verify(&self, token: &str, now_unix_s: u64) -> Result<Verified, TokenError> {
        if token.len() > self.token_bytes_max {
            return Err(TokenError::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        if payload.contains('.') {
            return Err(TokenError::Malformed);
        }
        let header: Header = parse(header)?;
        if header.crit {
            return Err(TokenError::Critical);
        }

        let file;
        let keys = match &self.keys {
            Source::Config(keys) => keys,
            Source::File(shared) => {
                file = current(shared, now_unix_s);
                file.keys()
            }
        };
        let key = keys.choose(&header.alg, header.kid.as_deref())?;
        if !key.verifies_signature(message, signature) {
            return Err(TokenError::Signature);
        }

        let claims = Claims(Rc::new(parse(payload)?));
        self.check_times(&claims, now_unix_s)?;
        self.check_parties(&claims)?;
        let user = self.user(&claims)?;
        Ok(Verified { user, claims })
    }

    /// Returns how often the key file changed to a state without usable keys.
    #[cfg(test)]
    pub(crate) fn reload_failures(&self) -> u64 {
        match &self.keys {
            Source::Config(_) => 0,
            Source::File(file) => file.load().failures(),
        }
    }

    /// Checks `exp` and `nbf` (RFC 7519 4.1.4, 4.1.5).
    fn check_times(&self, claims: &Claims, now_unix_s: u64) -> Result<(), TokenError> {
        let now = Duration::from_secs(now_unix_s);
        let time = |value| numeric_date(value).ok_or(TokenError::Times);
        let exp = claims.0.get("exp").map(time).ok_or(TokenError::Times)??;
        let nbf = claims.0.get("nbf").map(time).transpose()?;
        if now >= exp.saturating_add(self.leeway) {
            return Err(TokenError::Expired);
        }
        if nbf.is_some_and(|nbf| now.saturating_add(self.leeway) < nbf) {
            return Err(TokenError::NotYetValid);
        }
        Ok(())
    }

    /// Checks `iss`, if the config has an issuer, and `aud` (RFC 7519 4.1.1, 4.1.3).
    fn check_parties(&self, claims: &Claims) -> Result<(), TokenError> {
        let (iss, aud) = (claims.0.get("iss"), claims.0.get("aud"));
        if let Some(issuer) = &self.issuer
            && iss.and_then(Value::as_str) != Some(issuer)
        {
            return Err(TokenError::Issuer);
        }
        let Some(audience) = &self.audience else {
            let passes = self.any_audience || aud.is_none();
            return passes.then_some(()).ok_or(TokenError::Audience);
        };
        let is_ours = |value: &Value| value.as_str() == Some(audience);
        let is_for_us = match aud {
            Some(Value::Array(all)) => all.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        };
        is_for_us.then_some(()).ok_or(TokenError::Audience)
    }

    fn user(&self, claims: &Claims) -> Result<Box<str>, TokenError> {
        let user: Box<str> = match claims.0.get(&*self.user_claim) {
            Some(Value::String(user)) => user.as_str().into(),
            Some(Value::Number(user)) if !user.is_f64() => user.to_string().into(),
            _ => return Err(TokenError::NoUser),
        };
        match user.len() {
            0 => Err(TokenError::NoUser),
            length if length > self.user_bytes_max => Err(TokenError::LongUser),
            _ => Ok(user),
        }
    }
}

impl Claims {
    /// Returns whether a claim has this value as [`Rule::Claim`](crate::config::Rule::Claim)
    /// defines it: an equal string, a number or boolean with this spelling, or an array with such
    /// an element. Dots in a name have no special meaning.
    pub(crate) fn has_claim(&self, name: &str, value: &str) -> bool {
        let is_it = |each: &Value| match each {
            Value::String(text) => text == value,
            Value::Number(number) => number.to_string() == value,
            Value::Bool(yes) => value == if *yes { "true" } else { "false" },
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        match self.0.get(name) {
            Some(Value::Array(all)) => all.iter().any(is_it),
            Some(one) => is_it(one),
            None => false,
        }
    }

    /// Returns the memory of the claims in bytes, an upper estimate: map nodes may be half empty,
    /// lists a quarter full.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Map<String, Value>>() + self.0.iter().map(member_bytes).sum::<usize>()
    }

    /// Returns all claims.
    pub(crate) fn as_json(&self) -> &Map<String, Value> {
        &self.0
    }
}

fn member_bytes((name, value): (&String, &Value)) -> usize {
    4 * size_of::<(String, Value)>() + name.capacity() + value_bytes(value)
}

/// Returns the heap memory of a value, in bytes.
fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.capacity(),
        Value::Array(all) => {
            let each = all.iter().map(value_bytes).sum::<usize>();
            all.capacity() * size_of::<Value>() + each
        }
        Value::Object(members) => members.iter().map(member_bytes).sum(),
    }
}

/// The header members in use. A duplicate member makes the header malformed (RFC 7515 4).
#[derive(serde::Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Whether the member is present, with any value.
    #[serde(default, deserialize_with = "is_present")]
    crit: bool,
}

fn is_present<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

/// Decodes a part of a token: JSON in base64url.
///
/// # Errors
///
/// [`TokenError::Malformed`] if it is not.
fn parse<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, TokenError> {
    let json = URL_SAFE_NO_PAD.decode(part);
    let json = json.map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)
}

/// Returns a `NumericDate` (RFC 7519 2) as the duration since 1970, zero for earlier times; `None`
/// for a value that is not a number.
fn numeric_date(value: &Value) -> Option<Duration> {
    if let Some(seconds) = value.as_u64() {
        return Some(Duration::from_secs(seconds));
    }
    let seconds = value.as_f64()?;
    let date = Duration::try_from_secs_f64(seconds.max(0.0));
    Some(date.unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests;
