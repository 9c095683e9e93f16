//! Config texts of tests.

use crate::config::{Config, Overrides};

/// Reads a text as the file `f.toml`; the error is all messages.
pub(in crate::config) fn read(text: &str) -> Result<Config, String> {
    let result = Config::from_toml("f.toml", text, &Overrides::default());
    result.map_err(|error| error.to_string())
}

/// Checks that a text has exactly this error.
#[track_caller]
pub(in crate::config) fn check(text: &str, expected: &str) {
    assert_eq!(read(text).expect_err("invalid"), expected, "for {text:?}");
}
