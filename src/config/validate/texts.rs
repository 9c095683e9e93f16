//! Texts that several keys are made of: names, secrets, and what HTTP calls a token.

use super::super::Secret;
use super::super::route::NAME_BYTES_MAX;
use super::super::words::quoted;

/// A key and what is wrong with it.
pub(super) type Complaint = (String, String);

pub(super) fn complain(key: &str, problem: impl Into<String>) -> Result<(), Complaint> {
    Err((key.to_owned(), problem.into()))
}

/// Checks that a text is there and not too long.
pub(super) fn check_length(key: &str, text: &str, bytes_max: usize) -> Result<(), Complaint> {
    let bytes = text.len();
    if (1..=bytes_max).contains(&bytes) {
        return Ok(());
    }
    let problem = format!("has {bytes} bytes, allowed are 1 to {bytes_max}");
    complain(key, problem)
}

/// What is said of a name that routes and backends cannot have.
pub(super) fn not_a_name(name: &str) -> String {
    let name = quoted(name);
    format!("{name} is not a name, allowed are 1 to {NAME_BYTES_MAX} letters, digits and \"_.-\"")
}

/// A value that cannot be sent in a header could never be shown, and nobody could push or tap.
pub(super) fn check_header_value(secret: &Secret, inner_spaces: bool) -> Result<(), String> {
    let bytes = secret.as_bytes();
    let is_allowed = |byte: &u8| byte.is_ascii_graphic() || (inner_spaces && *byte == b' ');
    let has_space_around = bytes.first() == Some(&b' ') || bytes.last() == Some(&b' ');
    if bytes.is_empty() || bytes.len() > SECRET_BYTES_MAX {
        let length = bytes.len();
        Err(format!(
            "has {length} characters, allowed are 1 to {SECRET_BYTES_MAX}"
        ))
    } else if has_space_around || !bytes.iter().all(is_allowed) {
        let spaces = if inner_spaces {
            ", and spaces between them"
        } else {
            ""
        };
        Err(format!(
            "has a character that is not allowed; allowed are visible ASCII characters{spaces}"
        ))
    } else {
        Ok(())
    }
}

/// Whether a text is what RFC 9110 (5.6.2) calls a token.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// A byte of such a token.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

pub(super) const SECRET_BYTES_MAX: usize = 4_096;
