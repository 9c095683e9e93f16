//! JSON Web Tokens (RFC 7519): whether one is good, whom it names, and what it claims.

use super::keys::{Key, KeyError, KeyStore, Keys};
use crate::config::Jwt;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Validation;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fmt;
use std::rc::Rc;

/// Checks the tokens of one route.
pub(crate) struct JwtVerifier {
    keys: KeyStore,
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
            keys: KeyStore::open(&jwt.keys)?,
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
        let keys = self.keys.current();
        let key = find(&keys, header.kid.as_deref())?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{JwtKeys, Secret};
    use crate::testing::Prng;
    use jsonwebtoken::{Algorithm, EncodingKey};
    use serde_json::json;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NOW: u64 = 1_700_000_000;

    fn verifier(change: impl FnOnce(&mut Jwt)) -> JwtVerifier {
        let mut jwt = Jwt::new(JwtKeys::Secret(Secret::new(SECRET)));
        change(&mut jwt);
        JwtVerifier::open(&jwt, 64).expect("a secret needs no file")
    }

    fn sign(header: &jsonwebtoken::Header, claims: &Value, secret: &str) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes());
        let key = key.expect("there is a secret");
        jsonwebtoken::encode(header, claims, &key).expect("it can be signed")
    }

    fn token(claims: &Value) -> String {
        sign(&jsonwebtoken::Header::new(Algorithm::HS256), claims, SECRET)
    }

    /// What becomes of claims, to which an end is added if they have none.
    fn judge(verifier: &JwtVerifier, mut claims: Value) -> Result<String, Rejected> {
        let members = claims.as_object_mut().expect("an object");
        members.entry("exp").or_insert_with(|| (NOW + 1).into());
        let verified = verifier.verify(&token(&claims), NOW)?;
        Ok(verified.user.into())
    }

    #[test]
    fn time_is_an_argument_and_its_edges_are_sharp() {
        let strict = verifier(|_| {});
        let at = |exp: Value| {
            strict
                .verify(&token(&json!({"sub": "a", "exp": exp})), NOW)
                .map(|_| ())
        };
        assert_eq!(at(json!(NOW + 1)), Ok(()));
        assert_eq!(at(json!(NOW)), Err(Rejected::Expired));
        assert_eq!(at(json!(1.7e9 + 0.5)), Ok(()));
        assert_eq!(at(json!("never")), Err(Rejected::Malformed));
        assert_eq!(at(Value::Null), Err(Rejected::Malformed));
        let no_end = token(&json!({"sub": "a"}));
        assert_eq!(strict.verify(&no_end, NOW).err(), Some(Rejected::NoExpiry));
        let lenient = verifier(|jwt| jwt.leeway_s = 10);
        let late = |exp| judge(&lenient, json!({"sub": "a", "exp": exp})).is_ok();
        assert!(late(NOW - 9) && !late(NOW - 10));
        let early = |nbf| judge(&lenient, json!({"sub": "a", "nbf": nbf}));
        assert_eq!(early(NOW + 10).as_deref(), Ok("a"));
        assert_eq!(early(NOW + 11), Err(Rejected::NotYet));
    }

    #[test]
    fn the_user_is_a_name_or_a_whole_number() {
        let plain = verifier(|_| {});
        let user = |sub: Value| judge(&plain, json!({"sub": sub}));
        assert_eq!(user(json!("jack")).as_deref(), Ok("jack"));
        assert_eq!(user(json!(42)).as_deref(), Ok("42"));
        assert_eq!(user(json!("a".repeat(64))).map(|it| it.len()), Ok(64));
        for bad in [json!(""), json!(1.5), json!(null), json!("a".repeat(65))] {
            assert_eq!(user(bad.clone()), Err(Rejected::User), "{bad}");
        }
        // The library wants a string there, or nothing like one.
        assert!(user(json!(["a"])).is_err());
        let other = verifier(|jwt| jwt.user_claim = "a.b".to_owned());
        assert_eq!(judge(&other, json!({"a.b": "jill"})).as_deref(), Ok("jill"));
        assert_eq!(
            judge(&other, json!({"a": {"b": "jill"}})),
            Err(Rejected::User)
        );
    }

    #[test]
    fn issuer_and_audience_are_whom_the_config_wants() {
        let both = verifier(|jwt| {
            jwt.issuer = Some("me".to_owned());
            jwt.audience = Some("you".to_owned());
        });
        let of = |iss: Value, aud: Value| judge(&both, json!({"sub": "a", "iss": iss, "aud": aud}));
        assert!(of(json!("me"), json!("you")).is_ok());
        assert!(of(json!("me"), json!(["us", "you"])).is_ok());
        assert_eq!(of(json!("Me"), json!("you")), Err(Rejected::Issuer));
        assert_eq!(of(json!(["me"]), json!("you")), Err(Rejected::Issuer));
        assert_eq!(of(json!("me"), json!(["us", 1])), Err(Rejected::Audience));
        assert!(judge(&verifier(|_| {}), json!({"sub": "a", "aud": "they"})).is_ok());
    }

    #[test]
    fn only_the_algorithm_of_the_key_is_taken() {
        let plain = verifier(|_| {});
        let claims = json!({"sub": "a", "exp": NOW + 1});
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            let other = sign(&jsonwebtoken::Header::new(algorithm), &claims, SECRET);
            assert_eq!(plain.verify(&other, NOW).err(), Some(Rejected::Algorithm));
        }
        let body = token(&claims)
            .split('.')
            .nth(1)
            .expect("three parts")
            .to_owned();
        for alg in ["none", "NONE", "hs256", "RS256", ""] {
            let header = URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"{alg}\"}}"));
            let unsigned = format!("{header}.{body}.");
            assert_eq!(
                plain.verify(&unsigned, NOW).err(),
                Some(Rejected::Algorithm)
            );
        }
        let critical = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","crit":["exp"]}"#);
        let critical = format!("{critical}.{body}.");
        assert_eq!(plain.verify(&critical, NOW).err(), Some(Rejected::Critical));
        let long = format!("{}.", "a".repeat(TOKEN_BYTES_MAX));
        assert_eq!(plain.verify(&long, NOW).err(), Some(Rejected::TooLong));
    }

    #[test]
    fn claims_hold_what_they_spell() {
        let claims = Claims(Rc::new(json!({
            "role": "admin", "level": 7, "on": true, "groups": ["a", 5, {}], "none": null,
        })));
        for (name, value) in [
            ("role", "admin"),
            ("level", "7"),
            ("on", "true"),
            ("groups", "5"),
        ] {
            assert!(claims.holds(name, value), "{name}");
        }
        for (name, value) in [
            ("role", "Admin"),
            ("groups", "b"),
            ("none", "null"),
            ("x", ""),
        ] {
            assert!(!claims.holds(name, value), "{name}");
        }
    }

    #[test]
    fn nothing_but_what_was_signed_names_anyone() {
        let plain = verifier(|_| {});
        let good = token(&json!({"sub": "jack", "exp": NOW + 1}));
        let mut prng = Prng::from_seed(7);
        for _ in 0..20_000 {
            let mut bytes = good.clone().into_bytes();
            for _ in 0..prng.range(1, 3) {
                let at = prng.range(0, u32::try_from(bytes.len()).expect("short") - 1) as usize;
                match prng.range(0, 2) {
                    0 => bytes[at] = u8::try_from(prng.range(0, 127)).expect("ASCII"),
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, b'.'),
                }
            }
            let text = String::from_utf8(bytes).expect("ASCII");
            let verified = plain.verify(&text, NOW);
            // The last letter of a signature has bits that mean nothing.
            let is_same =
                text == good || text[..text.len().min(good.len() - 1)] == good[..good.len() - 1];
            assert!(verified.is_err() || is_same, "{text}");
        }
    }
}
