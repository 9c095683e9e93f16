//! Config texts as the tests of this folder try them.

use crate::config::{Config, Overrides};

/// What is read from a text of a file `f.toml`, or what is complained about.
pub(in crate::config::validate) fn read(text: &str) -> Result<Config, String> {
    let result = Config::from_toml("f.toml", text, &Overrides::default());
    result.map_err(|error| error.to_string())
}

/// Sees that a text is refused with this complaint.
#[track_caller]
pub(in crate::config::validate) fn check(text: &str, expected: &str) {
    assert_eq!(read(text).expect_err("refused"), expected, "for {text:?}");
}
