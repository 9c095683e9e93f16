//! Patterns of channel names: `news`, `room-*`, `user:{user}`.
//!
//! In a pattern, `*` matches any text, also none, and `{user}` matches the name of a user, at least
//! one byte. A pattern contains at most one of them, so a name matches in one way only. All other
//! characters match themselves. A pattern cannot name a channel with a star or a brace, but
//! channels
//! that clients create may contain them.

use std::fmt;

/// A pattern of channel names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChannelPattern {
    before: Box<str>,
    hole: Hole,
    after: Box<str>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Hole {
    None,
    Any,
    User,
}

/// A match of a name with a pattern.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fit<'n> {
    /// The name matches.
    Fits,
    /// The name matches, with this user in place of `{user}`.
    Names(&'n str),
}

/// The reason why a pattern is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadPattern {
    /// The pattern is empty.
    #[error("is empty")]
    Empty,
    /// The pattern has more than one `*` or `{user}`.
    #[error("has more than one \"*\" or \"{{user}}\"")]
    TwoHoles,
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
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        if text.is_empty() {
            return Err(BadPattern::Empty);
        }
        let (before, hole, after) = match (text.split_once('*'), text.split_once(USER)) {
            (None, None) => (text, Hole::None, ""),
            (Some((before, after)), None) => (before, Hole::Any, after),
            (None, Some((before, after))) => (before, Hole::User, after),
            (Some(_), Some(_)) => return Err(BadPattern::TwoHoles),
        };
        if after.contains('*') || after.contains(USER) {
            return Err(BadPattern::TwoHoles);
        }
        if before.contains(['{', '}']) || after.contains(['{', '}']) {
            return Err(BadPattern::Brace);
        }
        Ok(Self {
            before: before.into(),
            hole,
            after: after.into(),
        })
    }

    /// Matches `name`. Returns `None` if it does not match.
    #[must_use]
    pub fn fit<'n>(&self, name: &'n str) -> Option<Fit<'n>> {
        let rest = name.strip_prefix(&*self.before)?;
        let inner = rest.strip_suffix(&*self.after)?;
        match self.hole {
            Hole::None => inner.is_empty().then_some(Fit::Fits),
            Hole::Any => Some(Fit::Fits),
            Hole::User => (!inner.is_empty()).then_some(Fit::Names(inner)),
        }
    }

    /// Returns the only name that matches; `None` if the pattern has a `*` or `{user}`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        (self.hole == Hole::None).then_some(&*self.before)
    }

    /// Returns whether the pattern contains `{user}`.
    #[must_use]
    pub fn names_user(&self) -> bool {
        self.hole == Hole::User
    }

    /// Returns the pattern with `{user}` replaced by `user`. Returns `None` for a pattern with `*`,
    /// and for one with `{user}` if `user` is `None` or empty.
    #[must_use]
    pub fn name_for(&self, user: Option<&str>) -> Option<Box<str>> {
        match self.hole {
            Hole::None => Some(self.before.clone()),
            Hole::Any => None,
            Hole::User => {
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
        let hole = match self.hole {
            Hole::None => "",
            Hole::Any => "*",
            Hole::User => USER,
        };
        write!(f, "{}{hole}{}", self.before, self.after)
    }
}

/// The placeholder of a user.
const USER: &str = "{user}";

#[cfg(test)]
mod tests {
    use super::*;

    fn fit<'n>(pattern: &str, name: &'n str) -> Option<Fit<'n>> {
        let parsed = ChannelPattern::parse(pattern).expect("a pattern");
        assert_eq!(parsed.to_string(), pattern);
        parsed.fit(name)
    }

    #[test]
    fn names_fit_in_one_way_or_not_at_all() {
        for (pattern, name, expected) in [
            ("news", "news", Some(Fit::Fits)),
            ("news", "newsy", None),
            ("news", "new", None),
            ("*", "", Some(Fit::Fits)),
            ("*", "a*{b}", Some(Fit::Fits)),
            ("room-*", "room-1", Some(Fit::Fits)),
            ("room-*", "room-", Some(Fit::Fits)),
            ("room-*", "room", None),
            ("*-log", "a-log", Some(Fit::Fits)),
            ("a*a", "a", None),
            ("a*a", "aa", Some(Fit::Fits)),
            ("user:{user}", "user:jack", Some(Fit::Names("jack"))),
            ("user:{user}", "user:", None),
            ("{user}:x", "a:x:x", Some(Fit::Names("a:x"))),
        ] {
            assert_eq!(fit(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_could_fit_in_two_ways_is_refused() {
        for (pattern, problem) in [
            ("", BadPattern::Empty),
            ("a*b*", BadPattern::TwoHoles),
            ("*{user}", BadPattern::TwoHoles),
            ("{user}{user}", BadPattern::TwoHoles),
            ("{id}", BadPattern::Brace),
            ("a}", BadPattern::Brace),
            ("{user", BadPattern::Brace),
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
