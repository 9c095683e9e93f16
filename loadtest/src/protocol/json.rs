//! A search for members of JSON objects of known shape, without allocation.
//!
//! Payloads of the load test need no escapes, so a string value ends at the next quote. A member is
//! found by its text, `"data":"`, with or without white space after the colon. This is correct only
//! if no other member can contain that text, which holds for all messages of the measured servers.

use memchr::memmem;

/// Returns the value of the first member `name`; `None` if it is missing or not a string.
pub(super) fn string_member<'a>(object: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = member(object, name)?.strip_prefix(b"\"")?;
    let end = memchr::memchr(b'"', value)?;
    Some(&value[..end])
}

/// Returns the bytes after the colon of the first member `name`, without leading white space;
/// `None` if it is missing.
pub(super) fn member<'a>(object: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut from = 0;
    loop {
        let at = from + memmem::find(&object[from..], name)?;
        from = at + name.len();
        let is_quoted = at > 0 && object[at - 1] == b'"';
        let behind = object[from..].strip_prefix(b"\":");
        if let (true, Some(value)) = (is_quoted, behind) {
            return Some(value.trim_ascii_start());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_with_and_without_a_space() {
        for text in [
            r#"{"a":1,"data":"x y"}"#,
            "{\"a\":1,\n  \"data\": \"x y\"\n}",
        ] {
            assert_eq!(string_member(text.as_bytes(), b"data"), Some(&b"x y"[..]));
        }
    }

    #[test]
    fn a_missing_member_or_a_value_of_another_type_is_none() {
        assert_eq!(string_member(br#"{"data":{}}"#, b"data"), None);
        assert_eq!(string_member(br#"{"mydata":"x"}"#, b"data"), None);
        assert_eq!(string_member(br#"{"x":"data"}"#, b"data"), None);
        assert_eq!(string_member(br#"{"data":"cut"#, b"data"), None);
        assert_eq!(member(br#"{"data": 7}"#, b"data"), Some(&b"7}"[..]));
    }
}
