//! The error type of this program: a text for the user at the terminal.
//!
//! The program recovers from no error, so an error is only text: the operation, its error and,
//! where known, the remedy. An error ends the command.

use std::fmt;

/// The result of every fallible function of this crate.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// An error that ends the command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure(String);

impl Failure {
    /// Creates a failure with the message `text`.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Adds the failed operation to an error of another library.
pub(crate) trait Attempt<T> {
    /// Converts an error to a [`Failure`] with the text `<what>: <error>`.
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
    fn a_failure_names_the_operation_and_the_error() {
        let result: Result<(), _> = Err("refused").attempt("connect to 127.0.0.1:1");
        assert_eq!(
            result.expect_err("it failed").to_string(),
            "connect to 127.0.0.1:1: refused"
        );
    }
}
