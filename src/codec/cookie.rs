//! Reads cookies out of a request, as Go's `net/http` does (`readCookies`).
//!
//! ```text
//!   Cookie: a=b; auth =x           the name without blanks around it, exact
//!   Cookie: auth="a, b"            quotes around the whole value are taken off
//!   Cookie: auth                   no value is an empty one
//!   Cookie: auth=\; auth=y         a value Go forbids: passed over, and the next one counts
//! ```
//!
//! Semicolons separate cookies even between quotes. Allowed in a value, quoted or not, is printable
//! ASCII with spaces, but no quote, semicolon or backslash. Libraries follow RFC 6265, which takes
//! and passes over other cookies than Go does.

/// The value of the first cookie of this name that Go would read. `lines` are the values of all
/// headers `Cookie`.
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

/// Without the white space around it, as Go's `net/textproto` sees it.
fn trim(bytes: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| b" \t\r\n".contains(byte);
    let start = bytes.iter().position(|byte| !is_blank(byte));
    let end = bytes.iter().rposition(|byte| !is_blank(byte));
    match (start, end) {
        (Some(start), Some(end)) => &bytes[start..=end],
        (None, _) | (_, None) => &[],
    }
}
