//! What is never shown: secrets, and tokens with the users they name.
//!
//! Their `Debug` shows nothing of them, so a config can be logged. Nothing here knows where a
//! secret comes from or what it guards.

use std::collections::BTreeMap;
use std::fmt;

/// A static table from token to user; several tokens may name one user.
///
/// Its `Debug` shows how many there are and none of them.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Tokens(BTreeMap<String, String>);

/// What a pusher must show.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PushAuth {
    /// Nothing: whoever reaches the port may push.
    None,
    /// The header `Authorization: Bearer <secret>`.
    Bearer {
        /// What follows the word `Bearer` and at least one space.
        secret: Secret,
    },
    /// A header with this name and value.
    Header {
        /// In lower case; header names are compared without regard to case.
        name: String,
        /// The whole value, without white space around it.
        value: Secret,
    },
}

/// Text that never appears in a log. Its `Debug` shows nothing of it.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Tokens {
    /// The user that `token` names, or `None` if it names nobody.
    pub fn user(&self, token: &str) -> Option<&str> {
        self.0.get(token).map(String::as_str)
    }

    /// Every token with its user.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(token, user)| (token.as_str(), user.as_str()))
    }
}

impl FromIterator<(String, String)> for Tokens {
    /// Takes pairs of token and user; of two pairs with one token the later counts.
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({} not shown)", self.0.len())
    }
}

impl Secret {
    /// Keeps `text` from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether `given` is this secret. The time it takes depends on the lengths alone, so that a
    /// secret cannot be found byte by byte.
    #[must_use]
    pub fn matches(&self, given: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), given).is_ok()
    }

    /// The text itself, for whoever checks what it is made of, or shows it to a backend.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_itself_only() {
        let secret = Secret::new("s3cret");
        assert!(secret.matches(b"s3cret"));
        for other in ["", "s3cre", "s3cret0", "s3cret\0", "S3cret", "t3cret"] {
            assert!(!secret.matches(other.as_bytes()), "{other:?}");
        }
        assert!(!Secret::new("").matches(b"\0"));
    }

    #[test]
    fn neither_secrets_nor_tokens_are_shown() {
        let pairs = [("hush1", "jack"), ("hush2", "jack")];
        let pairs = pairs.map(|(token, user)| (token.to_owned(), user.to_owned()));
        let tokens: Tokens = pairs.into_iter().collect();
        assert_eq!(format!("{tokens:?}"), "Tokens(2 not shown)");
        let auth = PushAuth::Bearer {
            secret: Secret::new("hush"),
        };
        assert_eq!(format!("{auth:?}"), "Bearer { secret: Secret(not shown) }");
    }
}
