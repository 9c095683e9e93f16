//! Paths served over HTTP, and how requests match them.
//!
//! A path is percent-decoded once and then compared. In a path with parameters an encoded slash is
//! part of a segment, and so of a parameter.

use crate::config::PushAuth;
use crate::handler::Registry;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// A path and the resource served there.
#[derive(Clone, Debug)]
pub(crate) struct ServedPath {
    /// The path, or a pattern if it contains `{`.
    pub(crate) path: String,
    /// The resource.
    pub(crate) what: Served,
}

/// A kind of resource served over HTTP.
#[derive(Clone, Debug)]
pub(crate) enum Served {
    /// A WebSocket route, by its index.
    WebSocket(u16),
    /// Pushes to the users of a route, by its index.
    Push(u16, PushAuth),
    /// Drops of the users of a route, by its index.
    Drop(u16, PushAuth),
    /// A fixed page.
    Page(Bytes),
    /// The server API, on all paths with this prefix.
    Api,
    /// The health report.
    Health,
}

/// A path prepared for matching, and its resource.
#[derive(Debug)]
pub(crate) struct HttpRoute {
    path: String,
    /// The pattern; `None` if the path has no parameters.
    pattern: Option<matchit::Router<()>>,
    /// Whether an embedder's matcher replaces the path.
    pub(super) is_matched: bool,
    pub(super) what: Served,
}

/// The values of a pattern's parameters, by name.
pub(super) type Parameters = Vec<(Box<str>, Box<str>)>;

impl HttpRoute {
    pub(crate) fn new(served: &ServedPath, registry: &Registry) -> Self {
        let ServedPath { path, what } = served.clone();
        let is_pattern = path.contains('{');
        let mut pattern = None;
        if is_pattern {
            let mut router = matchit::Router::new();
            router
                .insert(canonical(&path), ())
                .expect("config validation checks patterns");
            pattern = Some(router);
        }
        let is_matched = match what {
            Served::WebSocket(index) => registry.routes[usize::from(index)].matcher.is_some(),
            Served::Push(..)
            | Served::Drop(..)
            | Served::Page(_)
            | Served::Api
            | Served::Health => false,
        };
        Self {
            path: decoded(&path).into_owned(),
            pattern,
            is_matched,
            what,
        }
    }

    /// Returns whether this path equals a [`decoded`] one. `false` for patterns and matchers.
    pub(super) fn is_at(&self, path: &str) -> bool {
        self.pattern.is_none() && !self.is_matched && self.path == path
    }

    /// Returns the percent-decoded parameters of a request's path; `None` if it does not match.
    pub(super) fn parameters(&self, path: &str) -> Option<Parameters> {
        let pattern = self.pattern.as_ref().filter(|_| !self.is_matched)?;
        let path = canonical(path);
        let found = pattern.at(&path).ok()?;
        let all = found.params.iter();
        Some(
            all.map(|(name, value)| (name.into(), decoded(value).into()))
                .collect(),
        )
    }
}

/// Percent-decodes a path or a part of one; returns it unchanged if the result is not UTF-8.
pub(super) fn decoded(path: &str) -> Cow<'_, str> {
    percent_decode_str(path)
        .decode_utf8()
        .unwrap_or(Cow::Borrowed(path))
}

/// Returns a path in canonical form: percent-decoded, except for characters that have a meaning in
/// patterns.
fn canonical(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut canonical = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        canonical.push_str(&rest[..at]);
        // Decode a run of escapes at once, since a character may need several.
        let behind = &rest[at..];
        let end = escapes(behind);
        if end == 0 {
            canonical.push_str("%25");
            rest = &behind[1..];
            continue;
        }
        let Ok(text) = percent_decode_str(&behind[..end]).decode_utf8() else {
            return Cow::Borrowed(path);
        };
        for character in text.chars() {
            match character {
                '/' => canonical.push_str("%2F"),
                '%' => canonical.push_str("%25"),
                '{' => canonical.push_str("%7B"),
                '}' => canonical.push_str("%7D"),
                other => canonical.push(other),
            }
        }
        rest = &behind[end..];
    }
    canonical.push_str(rest);
    Cow::Owned(canonical)
}

/// Returns the length of the percent escapes at the beginning of a text.
fn escapes(text: &str) -> usize {
    let triples = text.as_bytes().chunks_exact(3);
    let is_escape =
        |triple: &&[u8]| triple[0] == b'%' && triple[1..].iter().all(u8::is_ascii_hexdigit);
    triples.take_while(is_escape).count() * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_paths_have_one_form_in_which_an_escaped_slash_is_no_slash() {
        for (path, expected) in [
            ("/ws", "/ws"),
            ("/%77s", "/ws"),
            ("/a%2Fb/c", "/a%2Fb/c"),
            ("/a%2fb", "/a%2Fb"),
            ("/%25%32%66", "/%252f"),
            ("/%C3%A9%7b", "/\u{e9}%7B"),
            ("/100%", "/100%25"),
            ("/%zz", "/%25zz"),
            ("/%ff", "/%ff"),
        ] {
            assert_eq!(canonical(path), expected, "{path}");
        }
        assert_eq!(decoded("/%77s%2F%2577"), "/ws/%77");
        assert_eq!(decoded("/%ff"), "/%ff");
    }
}
