//! Parsing of cookies as Go's `net/http` does (`readCookies`).
//!
//! ```text
//!   Cookie: a=b; auth =x           the name is trimmed and compared exactly
//!   Cookie: auth="a, b"            quotes around the whole value are removed
//!   Cookie: auth                   no value is an empty value
//!   Cookie: auth=\; auth=y         a value that Go forbids: skipped, and the next one is taken
//! ```
//!
//! Semicolons separate cookies even between quotes. A value, quoted or not, may contain printable
//! ASCII and spaces, but no quote, semicolon or backslash. Cookie libraries follow RFC 6265, which
//! accepts and skips other cookies than Go does.

/// Returns the value of the first cookie with this name that Go would accept; `None` if there is
/// none. `lines` are the values of all `Cookie` headers.
pub(crate) fn find<'r>(lines: impl Iterator<Item = &'r [u8]>, name: &str) -> Option<&'r str> {
    let mut cookies = lines
        .flat_map(|line| line.split(|&byte| byte == b';'))
        .map(trim);
    cookies.find_map(|cookie| {
        let equals = cookie.iter().position(|&byte| byte == b'=');
        let (key, value) = cookie.split_at(equals.unwrap_or(cookie.len()));
        if trim(key) != name.as_bytes() {
            return None;
        }
        let value = value.strip_prefix(b"=").unwrap_or(value);
        let unquoted = value
            .strip_prefix(b"\"")
            .and_then(|value| value.strip_suffix(b"\""));
        let value = unquoted.unwrap_or(value);
        let is_valid = value
            .iter()
            .all(|byte| matches!(byte, b' '..=b'~') && !b"\";\\".contains(byte));
        is_valid.then(|| str::from_utf8(value).expect("it is ASCII"))
    })
}

/// Trims white space as Go's `net/textproto` does.
fn trim(bytes: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| b" \t\r\n".contains(byte);
    let start = bytes.iter().position(|byte| !is_blank(byte));
    let end = bytes.iter().rposition(|byte| !is_blank(byte));
    match (start, end) {
        (Some(start), Some(end)) => &bytes[start..=end],
        (None, _) | (_, None) => &[],
    }
}
