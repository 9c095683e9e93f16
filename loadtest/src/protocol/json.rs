//! Just enough JSON to find a string member in a message of known shape, without allocating.
//!
//! What the loadtest publishes needs no escaping, so the value of a member that carries it ends at
//! the next quote. Members are found by their spelling: `"data":"`, with or without a space. Good
//! for messages whose other members cannot contain that spelling, which holds for all that servers
//! send here; `serde_json` reads what is not on the fast path.

use memchr::memmem;

/// The value of the first member `name` that is a string; `None` if there is none.
pub(super) fn string_member<'a>(object: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = member(object, name)?.strip_prefix(b"\"")?;
    let end = memchr::memchr(b'"', value)?;
    Some(&value[..end])
}

/// What follows the colon of the first member `name`, without white space before it.
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
    fn what_is_no_string_or_not_there_is_none() {
        assert_eq!(string_member(br#"{"data":{}}"#, b"data"), None);
        assert_eq!(string_member(br#"{"mydata":"x"}"#, b"data"), None);
        assert_eq!(string_member(br#"{"x":"data"}"#, b"data"), None);
        assert_eq!(string_member(br#"{"data":"cut"#, b"data"), None);
        assert_eq!(member(br#"{"data": 7}"#, b"data"), Some(&b"7}"[..]));
    }
}
