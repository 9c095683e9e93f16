//! Value parsers for the arguments of several commands. An `Err` is clap's message.

use crate::stamp::{BYTES_MAX, BYTES_MIN};

/// Parses an integer of at least 1.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

/// Parses a message size from [`BYTES_MIN`] to [`BYTES_MAX`].
pub(crate) fn message_bytes(text: &str) -> Result<usize, String> {
    at_least_one(text).and_then(|bytes| {
        if (BYTES_MIN..=BYTES_MAX).contains(&bytes) {
            Ok(bytes)
        } else {
            Err(format!(
                "must be from {BYTES_MIN} (the stamp) to {BYTES_MAX}"
            ))
        }
    })
}

/// Parses a duration of 0 to 86,400 seconds.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.0..=86_400.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("must be from 0 to 86400".to_owned())
    }
}
