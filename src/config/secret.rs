//! Secrets, and tokens with their users.
//!
//! Their `Debug` shows nothing of them, so a config can be logged. In a file a secret is a string,
//! or is taken from another file or from the environment when the config is read.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use super::error::Errors;
use super::key::{Shape, Spec, Value};
use super::keywords::quoted;
use super::read::{Entry, Reader};

/// A static table from token to user; several tokens may name one user.
///
/// Its `Debug` shows the number of tokens and none of them.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Tokens(BTreeMap<String, String>);

/// The credentials of a push or drop request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PushAuth {
    /// None: see [`Config::trusts_this_machine`](super::Config::trusts_this_machine).
    None,
    /// The header `Authorization: Bearer <secret>`.
    Bearer {
        /// The text behind the word `Bearer` and at least one space.
        secret: Secret,
    },
    /// A header of this name and value.
    Header {
        /// The name in lower case; header names are compared without regard to case.
        name: String,
        /// The whole value, without white space around it.
        value: Secret,
    },
}

/// A text that never appears in a log. Its `Debug` shows nothing of it.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Tokens {
    /// Returns the user of `token`; `None` if there is no such token.
    pub fn user(&self, token: &str) -> Option<&str> {
        self.0.get(token).map(String::as_str)
    }

    /// Returns every token with its user.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(token, user)| (token.as_str(), user.as_str()))
    }
}

impl FromIterator<(String, String)> for Tokens {
    /// Collects pairs of token and user; of two pairs with one token the later counts.
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
    /// Wraps a text that is not to be shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether `given` equals the secret. The time it takes depends on the lengths alone, so that a
    /// secret cannot be found byte by byte.
    #[must_use]
    pub fn matches(&self, given: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), given).is_ok()
    }

    /// Returns the text itself, to check its form or to send it to a backend.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

impl Value for Secret {
    fn shape(_: &Spec) -> Shape {
        Shape::Secret
    }

    fn read(reader: &mut Reader, entry: &Entry<'_>, _: &Spec) -> Option<Self> {
        if let Some(text) = entry.value.as_str() {
            return Some(Self::new(text));
        }
        let wanted = "must be a string, { file = \"...\" } or { env = \"...\" }";
        let entries = reader.table(entry, wanted)?;
        let [source] = &entries[..] else {
            reader.error(entry, "must have one key, file or env");
            return None;
        };
        let text = match source.key {
            "file" => reader.parsed(source, |file| from_file(Path::new(file))),
            "env" => reader.parsed(source, from_environment),
            _ => {
                reader.error(source, "unknown key; allowed here: file, env");
                None
            }
        };
        text.map(Self)
    }

    fn check(&self, at: &str, spec: &Spec, errors: &mut Errors) {
        if let Some(check) = spec.check {
            errors.check(at, check(&self.0));
        }
    }
}

/// Reads a secret from a file, without the newline that editors put at its end.
fn from_file(path: &Path) -> Result<String, String> {
    let shown = quoted(&path.display().to_string());
    // A pipe would block.
    if fs::metadata(path).is_ok_and(|it| !it.is_file()) {
        return Err(format!("{shown} is not a regular file"));
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text));
    read.map_err(|error| format!("cannot read {shown}: {error}"))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(format!("{shown} has more than {BYTES_MAX} bytes"));
    }
    let end = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(end);
    Ok(text)
}

fn from_environment(name: &str) -> Result<String, String> {
    let is_name = !name.is_empty() && !name.contains(['=', '\0']);
    let value = if is_name { env::var_os(name) } else { None };
    let value = value.ok_or_else(|| format!("the variable {} is not set", quoted(name)))?;
    let value = value.into_string();
    value.map_err(|_| format!("the variable {} is not UTF-8", quoted(name)))
}

/// The largest file of a secret, in bytes.
const BYTES_MAX: u64 = 65_536;

impl Value for Tokens {
    fn shape(_: &Spec) -> Shape {
        Shape::Map(Box::new(Shape::Text))
    }

    /// An error of a token names its line and not the token.
    fn read(reader: &mut Reader, entry: &Entry<'_>, _: &Spec) -> Option<Self> {
        let Some(table) = entry.value.as_table() else {
            let wanted = "must be a table of lines such as \"token\" = \"user\"";
            reader.wrong_type(entry, wanted);
            return None;
        };
        let mut tokens = BTreeMap::new();
        for (token, user) in table {
            if let Some(user) = user.get_ref().as_str() {
                tokens.insert(token.get_ref().to_string(), user.to_owned());
                continue;
            }
            let wrong = Entry {
                key: entry.key,
                path: entry.path.clone(),
                value: user.get_ref(),
                span: token.span(),
            };
            let wanted = "a token names its user, a string, and a token with a dot is quoted";
            reader.wrong_type(&wrong, wanted);
        }
        (tokens.len() == table.len()).then_some(Self(tokens))
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
