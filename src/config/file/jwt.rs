//! From a route's `jwt` and `token_from` to how a client's token is checked and where it is found.

use std::str::FromStr as _;

use super::super::error::ConfigError;
use super::super::{Jwt, JwtKeys, TokenSource};
use super::reader::{Entry, Reader};
use crate::vocabulary::limits::JWT_LEEWAY_S;

/// What may stand in a route's `jwt`.
pub(super) const JWT_KEYS: &[&str] = &[
    "secret",
    "key_file",
    "jwks_file",
    "issuer",
    "audience",
    "any_audience",
    "user_claim",
    "leeway_s",
];

impl Reader {
    pub(super) fn jwt(&mut self, whole: &Entry<'_>) -> Result<Jwt, ConfigError> {
        let wrong = "must be a table such as { jwks_file = \"jwks.json\" }";
        let mut keys = Vec::new();
        // What is to be checked with is known at the end.
        let mut jwt = Jwt::new(JwtKeys::Jwks("".into()));
        for entry in self.table(whole, wrong)? {
            match entry.key {
                "secret" => keys.push(JwtKeys::Secret(self.secret(&entry)?)),
                "key_file" => keys.push(JwtKeys::Pem(self.string(&entry)?.into())),
                "jwks_file" => keys.push(JwtKeys::Jwks(self.string(&entry)?.into())),
                "issuer" => jwt.issuer = Some(self.string(&entry)?.to_owned()),
                "audience" => jwt.audience = Some(self.string(&entry)?.to_owned()),
                "any_audience" => jwt.any_audience = self.boolean(&entry)?,
                "user_claim" => self.string(&entry)?.clone_into(&mut jwt.user_claim),
                "leeway_s" => {
                    let number = self.number(&entry, &JWT_LEEWAY_S)?;
                    jwt.leeway_s = number
                        .and_then(|number| u32::try_from(number).ok())
                        .expect("its range fits and has no \"auto\"");
                }
                _ => return Err(self.unknown(&entry, JWT_KEYS)),
            }
        }
        match keys.pop() {
            Some(only) if keys.is_empty() => jwt.keys = only,
            _ => {
                let problem = "must have exactly one of secret, key_file and jwks_file";
                return Err(self.places.complain(&whole.path, problem));
            }
        }
        Ok(jwt)
    }

    pub(super) fn token_from(
        &mut self,
        whole: &Entry<'_>,
    ) -> Result<Vec<TokenSource>, ConfigError> {
        let wrong = "must be a list such as [\"bearer\", \"query:token\"]";
        let elements = self.array(whole, wrong)?;
        elements
            .iter()
            .map(|entry| self.parsed(entry, TokenSource::from_str))
            .collect()
    }
}
