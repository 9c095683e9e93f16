//! Patterns of channel names: `news`, `room-*`, `user:{user}`.
//!
//! In a pattern, `*` matches any text, also none, and `{user}` matches the name of a user, at least
//! one byte. A pattern contains at most one of them, so a name matches in one way only. All other
//! characters match themselves. A pattern cannot name a channel with a star or a brace, but
//! channels that clients create may contain them.

use std::fmt;

/// A pattern of channel names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChannelPattern {
    before: Box<str>,
    placeholder: Placeholder,
    after: Box<str>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Placeholder {
    None,
    Any,
    User,
}

/// A match of a name with a pattern.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PatternMatch<'n> {
    /// The name matches, and the pattern has no `{user}`.
    Plain,
    /// The name matches, with this user in place of `{user}`.
    User(&'n str),
}

/// The reason why a pattern is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PatternError {
    /// The pattern is empty.
    #[error("is empty")]
    Empty,
    /// The pattern has more than one `*` or `{user}`.
    #[error("has more than one \"*\" or \"{{user}}\"")]
    TwoPlaceholders,
    /// The pattern has a brace that is not part of `{user}`.
    #[error("has a brace that is not that of \"{{user}}\"")]
    Brace,
}

impl ChannelPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    ///
    /// Returns the reason if the pattern is invalid.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let (before, placeholder, after) = match (text.split_once('*'), text.split_once(USER)) {
            (None, None) => (text, Placeholder::None, ""),
            (Some((before, after)), None) => (before, Placeholder::Any, after),
            (None, Some((before, after))) => (before, Placeholder::User, after),
            (Some(_), Some(_)) => return Err(PatternError::TwoPlaceholders),
        };
        if after.contains('*') || after.contains(USER) {
            return Err(PatternError::TwoPlaceholders);
        }
        if before.contains(['{', '}']) || after.contains(['{', '}']) {
            return Err(PatternError::Brace);
        }
        Ok(Self {
            before: before.into(),
            placeholder,
            after: after.into(),
        })
    }

    /// Matches `name`. Returns `None` if it does not match.
    #[must_use]
    pub fn match_name<'n>(&self, name: &'n str) -> Option<PatternMatch<'n>> {
        let rest = name.strip_prefix(&*self.before)?;
        let inner = rest.strip_suffix(&*self.after)?;
        match self.placeholder {
            Placeholder::None => inner.is_empty().then_some(PatternMatch::Plain),
            Placeholder::Any => Some(PatternMatch::Plain),
            Placeholder::User => (!inner.is_empty()).then_some(PatternMatch::User(inner)),
        }
    }

    /// Returns the only name that matches; `None` if the pattern has a `*` or `{user}`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        (self.placeholder == Placeholder::None).then_some(&*self.before)
    }

    /// Returns whether the pattern contains `{user}`.
    #[must_use]
    pub fn names_user(&self) -> bool {
        self.placeholder == Placeholder::User
    }

    /// Returns the pattern with `{user}` replaced by `user`. Returns `None` for a pattern with `*`,
    /// and for one with `{user}` if `user` is `None` or empty.
    #[must_use]
    pub fn name_for(&self, user: Option<&str>) -> Option<Box<str>> {
        match self.placeholder {
            Placeholder::None => Some(self.before.clone()),
            Placeholder::Any => None,
            Placeholder::User => {
                let user = user.filter(|user| !user.is_empty())?;
                Some([&*self.before, user, &*self.after].concat().into())
            }
        }
    }
}

/// Returns whether a text contains `*` or `{user}`.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    text.contains('*') || text.contains(USER)
}

impl fmt::Display for ChannelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let placeholder = match self.placeholder {
            Placeholder::None => "",
            Placeholder::Any => "*",
            Placeholder::User => USER,
        };
        write!(f, "{}{placeholder}{}", self.before, self.after)
    }
}

/// The placeholder of a user.
const USER: &str = "{user}";

#[cfg(test)]
mod tests {
    use super::*;

    fn fit<'n>(pattern: &str, name: &'n str) -> Option<PatternMatch<'n>> {
        let parsed = ChannelPattern::parse(pattern).expect("a pattern");
        assert_eq!(parsed.to_string(), pattern);
        parsed.match_name(name)
    }

    #[test]
    fn a_name_matches_in_one_way_or_not_at_all() {
        for (pattern, name, expected) in [
            ("news", "news", Some(PatternMatch::Plain)),
            ("news", "newsy", None),
            ("news", "new", None),
            ("*", "", Some(PatternMatch::Plain)),
            ("*", "a*{b}", Some(PatternMatch::Plain)),
            ("room-*", "room-1", Some(PatternMatch::Plain)),
            ("room-*", "room-", Some(PatternMatch::Plain)),
            ("room-*", "room", None),
            ("*-log", "a-log", Some(PatternMatch::Plain)),
            ("a*a", "a", None),
            ("a*a", "aa", Some(PatternMatch::Plain)),
            ("user:{user}", "user:jack", Some(PatternMatch::User("jack"))),
            ("user:{user}", "user:", None),
            ("{user}:x", "a:x:x", Some(PatternMatch::User("a:x"))),
        ] {
            assert_eq!(fit(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn an_ambiguous_pattern_is_invalid() {
        for (pattern, problem) in [
            ("", PatternError::Empty),
            ("a*b*", PatternError::TwoPlaceholders),
            ("*{user}", PatternError::TwoPlaceholders),
            ("{user}{user}", PatternError::TwoPlaceholders),
            ("{id}", PatternError::Brace),
            ("a}", PatternError::Brace),
            ("{user", PatternError::Brace),
        ] {
            assert_eq!(ChannelPattern::parse(pattern), Err(problem), "{pattern}");
        }
    }

    #[test]
    fn a_user_makes_a_name_of_a_pattern() {
        let name_for = |pattern: &str, user| {
            let pattern = ChannelPattern::parse(pattern).expect("a pattern");
            pattern.name_for(user)
        };
        assert_eq!(name_for("global", None).as_deref(), Some("global"));
        assert_eq!(name_for("u:{user}", Some("a")).as_deref(), Some("u:a"));
        assert_eq!(name_for("u:{user}", None), None);
        assert_eq!(name_for("u:{user}", Some("")), None);
        assert_eq!(name_for("u*", Some("a")), None);
    }
}
