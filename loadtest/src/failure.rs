//! The one error of this program: a sentence for the person at the terminal.
//!
//! Nothing in a load test can be mended by the program itself, so an error is text that says what
//! was being done, what happened and, where it is known, the cure. It ends the command.

use std::fmt;

/// What every fallible function here returns.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// Why a command could not go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure(String);

impl Failure {
    /// A failure that says `text`.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Says what was being attempted when an error of another library came.
pub(crate) trait Attempt<T> {
    /// Turns the error into a [`Failure`] that reads `<what>: <error>`.
    fn attempt(self, what: &str) -> Outcome<T>;
}

impl<T, E: fmt::Display> Attempt<T> for Result<T, E> {
    fn attempt(self, what: &str) -> Outcome<T> {
        self.map_err(|error| Failure(format!("{what}: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_attempted_and_what_came() {
        let result: Result<(), _> = Err("refused").attempt("connect to 127.0.0.1:1");
        assert_eq!(
            result.expect_err("it failed").to_string(),
            "connect to 127.0.0.1:1: refused"
        );
    }
}
