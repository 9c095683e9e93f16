//! Paths: that each can be served, and that no two of them are alike.
//!
//! Every path of every route goes through [`PathsTaken`], in the order of the config. It knows
//! paths and the names of keys, and nothing of what is served at a path.

use std::borrow::Cow;
use std::collections::BTreeMap;

use matchit::{InsertError, Router};
use percent_encoding::percent_decode_str;

use super::super::api::API_ROOT;
use super::super::keywords::quoted;

/// The paths so far, each with its key.
#[derive(Default)]
pub(super) struct PathsTaken {
    router: Router<()>,
    keys: BTreeMap<String, String>,
    /// Whether everything under [`API_ROOT`] is taken.
    api: bool,
}

impl PathsTaken {
    /// Creates a set in which nothing is taken but the paths of the server API, if it is served.
    pub(super) fn new(serves_api: bool) -> Self {
        Self {
            api: serves_api,
            ..Self::default()
        }
    }

    /// Takes `path` for `key`, or returns why it cannot be. Only a pattern may have parameters.
    pub(super) fn take(&mut self, path: &str, key: &str, is_pattern: bool) -> Result<(), String> {
        check_path(path, is_pattern)?;
        let compared = compared(path);
        if self.api && compared.starts_with(API_ROOT) {
            return Err(format!(
                "{} is taken by the server API, as all under {API_ROOT} is (api.enabled)",
                quoted(path)
            ));
        }
        if let Some(other) = self.keys.get(&*compared) {
            return Err(format!("{} is taken by {other}", quoted(path)));
        }
        let problem = match self.router.insert(&*compared, ()) {
            Ok(()) => {
                self.keys.insert(compared.into_owned(), key.to_owned());
                return Ok(());
            }
            Err(InsertError::Conflict { with }) => match self.keys.get(&with) {
                Some(other) => format!("conflicts with {}, which is {other}", quoted(&with)),
                None => format!("conflicts with {}", quoted(&with)),
            },
            Err(InsertError::InvalidParamSegment) => {
                "has two parameters between two slashes, allowed is one".to_owned()
            }
            Err(InsertError::InvalidCatchAll) => "has something behind {*rest}".to_owned(),
            Err(error) => format!("is not a path: {error}"),
        };
        Err(format!("{} {problem}", quoted(path)))
    }
}

/// Returns a path as it is compared with requests: percent-decoded once, unless that made a
/// parameter of it.
fn compared(path: &str) -> Cow<'_, str> {
    let braces = |text: &str| text.matches(['{', '}']).count();
    let decoded = percent_decode_str(path).decode_utf8().ok();
    let decoded = decoded.filter(|decoded| braces(decoded) == braces(path));
    decoded.unwrap_or(Cow::Borrowed(path))
}

/// Rejects a path that no request line can carry, since it would never match.
fn check_path(path: &str, is_pattern: bool) -> Result<(), String> {
    let is_allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&()*+,;=:@".contains(&byte);
    let problem = if !path.starts_with('/') {
        "does not start with \"/\"".to_owned()
    } else if path.len() > PATH_BYTES_MAX {
        return Err(format!(
            "has {} bytes, allowed are 1 to {PATH_BYTES_MAX}",
            path.len()
        ));
    } else if path.contains(['?', '#']) {
        "has a query or a fragment, which paths are compared without".to_owned()
    } else {
        let literal = if is_pattern {
            without_parameters(path).map_err(|problem| format!("{} {problem}", quoted(path)))?
        } else {
            path.to_owned()
        };
        if literal.bytes().all(is_allowed) {
            return Ok(());
        }
        let parameters = if is_pattern { ", and {parameters}" } else { "" };
        format!(
            "has a character that is not allowed; allowed are letters, digits and \
             /-._~%!$&()*+,;=:@{parameters}"
        )
    };
    Err(format!("{} {problem}", quoted(path)))
}

/// Returns a pattern without its parameters and their braces.
fn without_parameters(path: &str) -> Result<String, String> {
    const WRONG: &str = "has a parameter that is not well formed; allowed are {name} and, at the \
        end, {*name}, named in letters, digits and _";
    let mut names: Vec<&str> = Vec::new();
    let mut literal = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or(WRONG)?;
        let name = name.strip_prefix('*').unwrap_or(name);
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_part) {
            return Err(WRONG.to_owned());
        }
        if names.contains(&name) {
            return Err(format!("has two parameters called {name}"));
        }
        names.push(name);
        literal.push_str(before);
        rest = after;
    }
    literal.push_str(rest);
    if literal.contains('}') {
        return Err(WRONG.to_owned());
    }
    Ok(literal)
}

const PATH_BYTES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes these patterns in order; the last has the error `expected`, or none.
    #[track_caller]
    fn check(patterns: &[&str], expected: Result<(), &str>) {
        let (last, before) = patterns.split_last().expect("at least one");
        let mut taken = PathsTaken::default();
        for (index, pattern) in before.iter().enumerate() {
            let key = format!("key{index}");
            assert_eq!(taken.take(pattern, &key, true), Ok(()), "{pattern}");
        }
        let result = taken.take(last, "last", true);
        assert_eq!(result, expected.map_err(str::to_owned), "{patterns:?}");
    }

    #[test]
    fn a_pattern_has_parameters_between_slashes_and_one_for_the_rest() {
        for pattern in [
            "/rooms/{room}",
            "/{a}/{b}/c",
            "/{*rest}",
            "/rooms/{room_1}/{*rest}",
            "/rooms/room-{id}.ws",
        ] {
            check(&[pattern], Ok(()));
        }
        for wrong in [
            "/{", "/}", "/{}", "/{*}", "/{a", "/a}", "/{{a}}", "/{a b}", "/{a/b}",
        ] {
            let expected = format!(
                "\"{wrong}\" has a parameter that is not well formed; allowed are {{name}} and, \
                 at the end, {{*name}}, named in letters, digits and _"
            );
            check(&[wrong], Err(&expected));
        }
        check(
            &["/{a}{b}"],
            Err("\"/{a}{b}\" has two parameters between two slashes, allowed is one"),
        );
        check(
            &["/{*a}/b"],
            Err("\"/{*a}/b\" has something behind {*rest}"),
        );
        check(
            &["/{a}/{a}"],
            Err("\"/{a}/{a}\" has two parameters called a"),
        );
        check(
            &["/{a} "],
            Err(
                "\"/{a} \" has a character that is not allowed; allowed are letters, digits and \
                 /-._~%!$&()*+,;=:@, and {parameters}",
            ),
        );
    }

    #[test]
    fn paths_are_compared_after_decoding() {
        check(&["/ws", "/%77s"], Err("\"/%77s\" is taken by key0"));
        check(&["/%77s", "/ws"], Err("\"/ws\" is taken by key0"));
        check(&["/ws", "/%2577s"], Ok(()));
        check(&["/a/{b}", "/%7Bb%7D"], Ok(()));
        let mut taken = PathsTaken::new(true);
        let taken_again = taken.take("/%61pi/v1/x", "key", false);
        assert!(taken_again.is_err_and(|why| why.contains("taken by the server API")));
    }

    #[test]
    fn patterns_that_differ_only_in_the_names_of_parameters_are_alike() {
        check(
            &["/a", "/rooms/{room}", "/rooms/{id}"],
            Err("\"/rooms/{id}\" conflicts with \"/rooms/{room}\", which is key1"),
        );
        check(
            &["/{*rest}", "/{*all}"],
            Err("\"/{*all}\" conflicts with \"/{*rest}\", which is key0"),
        );
        check(
            &["/rooms/{room}", "/rooms/{room}"],
            Err("\"/rooms/{room}\" is taken by key0"),
        );
    }

    #[test]
    fn a_path_goes_before_a_pattern_that_takes_it_too() {
        check(&["/rooms/{room}", "/rooms/main"], Ok(()));
        check(&["/", "/a/b", "/{*rest}"], Ok(()));
        check(&["/rooms/{room}", "/rooms/{id}/members"], Ok(()));
    }
}
