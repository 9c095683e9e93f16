//! The rules of texts that stand in keys: names, header values, origins, files' contents.
//!
//! Each returns the problem of a text, with what is allowed. Problems of secrets do not quote them.

use std::net::Ipv6Addr;

use reqwest::Url;

use super::keywords::quoted;

fn check(text: &str, is_valid: bool, what: &str) -> Result<(), String> {
    if is_valid {
        Ok(())
    } else {
        Err(format!("{} is not {what}", quoted(text)))
    }
}

/// Checks that a text has 1 to `bytes_max` bytes.
pub(super) fn length(text: &str, bytes_max: usize) -> Result<(), String> {
    let bytes = text.len();
    if (1..=bytes_max).contains(&bytes) {
        return Ok(());
    }
    Err(format!("has {bytes} bytes, allowed are 1 to {bytes_max}"))
}

/// Checks the name of a route or backend.
pub(super) fn name(text: &str) -> Result<(), String> {
    let allowed = format!("allowed are 1 to {NAME_BYTES_MAX} letters, digits and \"_.-\"");
    check(text, is_name(text), &format!("a name, {allowed}"))
}

/// Whether a route or backend can have the name.
pub(super) fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_part)
}

/// Checks a secret that is sent in a header behind a word.
pub(super) fn bearer(secret: &str) -> Result<(), String> {
    header_text(secret, false)
}

/// Checks a secret that is the whole value of a header.
pub(super) fn header_value(secret: &str) -> Result<(), String> {
    header_text(secret, true)
}

/// Rejects a value that no client could send in a header.
fn header_text(secret: &str, inner_spaces: bool) -> Result<(), String> {
    let length = secret.len();
    if !(1..=SECRET_BYTES_MAX).contains(&length) {
        let allowed = format!("allowed are 1 to {SECRET_BYTES_MAX}");
        return Err(format!("has {length} characters, {allowed}"));
    }
    let is_allowed = |byte: u8| byte.is_ascii_graphic() || (inner_spaces && byte == b' ');
    if secret.trim_matches(' ') == secret && secret.bytes().all(is_allowed) {
        return Ok(());
    }
    let spaces = if inner_spaces {
        ", and spaces between them"
    } else {
        ""
    };
    Err(format!(
        "has a character that is not allowed; allowed are visible ASCII characters{spaces}"
    ))
}

/// Checks the name of a header, in any case.
pub(super) fn header_name(name: &str) -> Result<(), String> {
    // The text is not shown: it may be the value, by mistake.
    let is_valid = name.len() <= HEADER_NAME_BYTES_MAX && is_token(name);
    let problem = "is not the name of a header, such as \"X-Api-Key\"";
    is_valid.then_some(()).ok_or_else(|| problem.to_owned())
}

/// Checks the secret of HS256, which is at least as long as its hash (RFC 7518, 3.2).
pub(super) fn jwt_secret(secret: &str) -> Result<(), String> {
    let bytes = secret.len();
    if (JWT_SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes) {
        return Ok(());
    }
    let allowed = format!("allowed are {JWT_SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}");
    Err(format!("has {bytes} bytes, {allowed}"))
}

pub(super) fn subprotocol(text: &str) -> Result<(), String> {
    let is_valid = is_token(text) && text.len() <= SUBPROTOCOL_BYTES_MAX;
    let what = format!(
        "a subprotocol, allowed are 1 to {SUBPROTOCOL_BYTES_MAX} letters, digits and \
         !#$%&'*+-.^_`|~"
    );
    check(text, is_valid, &what)
}

/// Whether a text is a token of RFC 9110 (5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Whether a byte may stand in such a token.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Checks the full name of a message of Protocol Buffers.
pub(super) fn message_name(name: &str) -> Result<(), String> {
    let is_valid = name.split('.').all(is_identifier);
    check(
        name,
        is_valid,
        "the full name of a message, such as \"ws.Message\"",
    )
}

/// Checks the name of a field of Protocol Buffers.
pub(super) fn field_name(name: &str) -> Result<(), String> {
    let what = "the name of a field, such as \"type\"";
    check(name, is_identifier(name), what)
}

fn is_identifier(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts_with_digit = name.starts_with(|letter: char| letter.is_ascii_digit());
    !name.is_empty() && !starts_with_digit && name.bytes().all(is_part)
}

/// Checks the URL of a backend. It may contain a password or a token and is not quoted.
pub(super) fn url(url: &str) -> Result<(), String> {
    const WRONG: &str = "is not a URL with http or https and a host, such as \
        \"http://127.0.0.1:9000/campanile\"";
    length(url, URL_BYTES_MAX)?;
    let is_of_http = url.starts_with("http://") || url.starts_with("https://");
    let is_visible = url.bytes().all(|byte| byte.is_ascii_graphic());
    let parsed = Url::parse(url).ok().filter(Url::has_host);
    let parsed = parsed.filter(|_| is_of_http && is_visible).ok_or(WRONG)?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("has a user or a password in it; use secret, which is not shown".to_owned());
    }
    if parsed.fragment().is_some() {
        return Err("has a fragment, which is not sent".to_owned());
    }
    Ok(())
}

/// Rejects an origin that no browser would send, since it would never match.
pub(super) fn origin(origin: &str) -> Result<(), String> {
    if origin.contains('@') {
        // Not shown: it may have a password in it.
        return Err("has a user in it, which no origin has".to_owned());
    }
    parse_origin(origin).map_err(|problem| format!("{} {problem}", quoted(origin)))
}

fn parse_origin(origin: &str) -> Result<(), &'static str> {
    const WRONG: &str = "is not an origin, such as \"https://a.example\" or \
        \"http://a.example:8080\"";
    if origin.len() > ORIGIN_BYTES_MAX {
        return Err("has more than 512 bytes");
    }
    if origin.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("must be in lower case");
    }
    let (scheme, authority) = origin.split_once("://").ok_or(WRONG)?;
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic();
    if !scheme.as_bytes().first().is_some_and(is_letter) || !scheme.bytes().all(is_scheme) {
        return Err(WRONG);
    }
    if authority.contains(['/', '?', '#']) {
        return Err("has something behind the host and port, which no origin has");
    }
    // The colons of an IPv6 address are within brackets.
    let host_end = authority.rfind(']').map_or(0, |at| at + 1);
    let port_at = authority[host_end..].find(':').map(|at| host_end + at);
    let (host, port) = authority.split_at(port_at.unwrap_or(authority.len()));
    let is_address = |inner: &str| inner.parse::<Ipv6Addr>().is_ok();
    let bracketed = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_host = !host.is_empty() && host.bytes().all(is_part);
    if !bracketed.map_or(is_host, is_address) {
        return Err(WRONG);
    }
    match (scheme, port) {
        (_, "") => Ok(()),
        ("https", ":443") | ("http", ":80") => {
            Err("has the usual port of its scheme, which browsers leave out")
        }
        (_, port) => {
            let digits = port.trim_start_matches(':');
            let is_port = digits
                .parse::<u16>()
                .is_ok_and(|it| it.to_string() == digits);
            if is_port { Ok(()) } else { Err(WRONG) }
        }
    }
}

pub(super) const CLAIM_NAME_BYTES_MAX: usize = 256;
pub(super) const CLAIM_VALUE_BYTES_MAX: usize = 1_024;
pub(super) const ORIGINS_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 64;
const SECRET_BYTES_MAX: usize = 4_096;
const JWT_SECRET_BYTES_MIN: usize = 32;
const HEADER_NAME_BYTES_MAX: usize = 256;
const SUBPROTOCOL_BYTES_MAX: usize = 256;
const URL_BYTES_MAX: usize = 2_048;
const ORIGIN_BYTES_MAX: usize = 512;
