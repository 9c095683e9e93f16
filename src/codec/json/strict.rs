//! The strict JSON reader, as the second version of Go's `encoding/json`, which one original uses.
//!
//! ```text
//!                                {"cmd":"a","CMD":5,"x":{"y":1,"\u0079":2}} trailing
//!   json.rs             cmd      wrong type: CMD is cmd
//!   this reader         cmd "a"  another key                   ^ twice      ^ not white space
//! ```
//!
//! A message is exactly one object. No object in it, at any depth, has a key twice; keys are
//! compared decoded and exactly. All text is valid UTF-8, without unpaired surrogates.
//!
//! The reader is total on any bytes and does not recurse. For any nesting or repetition its time is
//! close to linear in the message, and its memory proportional to it.

use super::scan::{Scanner, closing, is_white_space};
use super::{DEPTH_MAX, JsonError, Piece, Text};
use smallvec::SmallVec;
use std::borrow::Cow;

/// The reason that a message or a member is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrictError {
    /// Not JSON, not exactly one object, or nested deeper than [`DEPTH_MAX`].
    Malformed,
    /// Not UTF-8, or an unpaired surrogate in a string or key.
    InvalidText,
    /// An object has the same key twice.
    DuplicateKey,
    /// A string member is neither a string nor `null`.
    WrongType,
}

impl From<JsonError> for StrictError {
    fn from(_: JsonError) -> Self {
        Self::Malformed
    }
}

/// Reads a message that is one object. Returns the values called `names`, in that order and without
/// surrounding white space; `None` for those that are missing.
///
/// White space may surround the object. Other members are checked and ignored.
///
/// # Errors
///
/// [`StrictError::Malformed`], [`StrictError::InvalidText`] or [`StrictError::DuplicateKey`]; any
/// of them if several apply.
pub fn read<'t, const N: usize>(
    text: &'t [u8],
    names: [&str; N],
) -> Result<[Option<&'t [u8]>; N], StrictError> {
    // Outside of strings, bytes that are not ASCII are malformed anyway.
    if str::from_utf8(text).is_err() {
        return Err(StrictError::InvalidText);
    }

    let mut walk = Walk::new(text);
    let mut members = [None; N];
    walk.scanner.expect(b'{')?;
    if !walk.open(b'{')? {
        loop {
            let key = walk.key()?;
            let wanted = names.iter().position(|name| *name == key);
            let start = walk.scanner.position();
            walk.value()?;
            if let Some(index) = wanted {
                members[index] = Some(walk.scanner.since(start));
            }
            match walk.scanner.take()? {
                b',' => {}
                b'}' => break,
                _ => return Err(StrictError::Malformed),
            }
        }
        walk.close(b'}')?;
    }

    if !walk.scanner.rest().iter().copied().all(is_white_space) {
        return Err(StrictError::Malformed);
    }
    Ok(members)
}

/// Returns a member found by [`read`] as a string that is not yet decoded; `None` if it is missing
/// or `null`. [`Scratch::read`] decodes several at once.
///
/// # Errors
///
/// [`StrictError::WrongType`] if it is no string; [`StrictError::Malformed`] if the bytes are not
/// one that [`read`] has returned.
///
/// [`Scratch::read`]: super::Scratch::read
pub fn text(member: Option<&[u8]>) -> Result<Option<Text<'_>>, StrictError> {
    let Some(raw) = member.filter(|raw| *raw != b"null") else {
        return Ok(None);
    };
    if !raw.starts_with(b"\"") {
        return Err(StrictError::WrongType);
    }
    // The bytes may not come from `read`, and `Text` relies on checked escapes.
    let mut scanner = Scanner::new(raw);
    let escaped = scanner.value(0)?;
    if !scanner.rest().is_empty() {
        return Err(StrictError::Malformed);
    }
    Ok(Text::unquoted(raw, escaped))
}

/// A walk over a message that keeps the keys of all open objects.
///
/// ```text
///   {"a": 1, "b": [{"c": 2, "d": .. here
///
///   keys   [ a  b | c  d ]      those of the innermost object last
///   open   [ {0  [  {2 ]        the start of each object's keys
/// ```
///
/// When an object ends its keys are sorted to find equal ones, and dropped. That needs no seed, and
/// no choice of keys makes it slow.
#[derive(Debug)]
struct Walk<'t> {
    scanner: Scanner<'t>,
    open: SmallVec<[Open; 16]>,
    keys: SmallVec<[Cow<'t, str>; 16]>,
}

#[derive(Clone, Copy, Debug)]
enum Open {
    Array,
    Object { keys_start: usize },
}

impl<'t> Walk<'t> {
    fn new(text: &'t [u8]) -> Self {
        Self {
            scanner: Scanner::new(text),
            open: SmallVec::new(),
            keys: SmallVec::new(),
        }
    }

    /// Takes a value.
    fn value(&mut self) -> Result<(), StrictError> {
        let outside = self.open.len();
        let mut first = self.scanner.take()?;
        loop {
            // `first` is the first byte of a value.
            match first {
                b'"' => _ = self.string()?,
                b'{' | b'[' => {
                    if !self.open(first)? {
                        first = self.element()?;
                        continue;
                    }
                }
                _ => self.scanner.scalar(first)?,
            }

            // The value has ended, and with it maybe its containers.
            loop {
                if self.open.len() == outside {
                    return Ok(());
                }
                let byte = self.scanner.take()?;
                if byte == b',' {
                    first = self.element()?;
                    break;
                }
                self.close(byte)?;
            }
        }
    }

    /// Takes a key, if inside an object, and the first byte of the next value.
    fn element(&mut self) -> Result<u8, StrictError> {
        if let Some(Open::Object { .. }) = self.open.last() {
            self.key()?;
        }
        Ok(self.scanner.take()?)
    }

    /// Enters an object or array after its opening bracket. Returns whether it is empty; if so, its
    /// closing bracket is taken too.
    fn open(&mut self, bracket: u8) -> Result<bool, StrictError> {
        if self.open.len() == DEPTH_MAX as usize {
            return Err(StrictError::Malformed);
        }
        if self.scanner.peek() == Some(closing(bracket)) {
            self.scanner.take()?;
            return Ok(true);
        }
        self.open.push(if bracket == b'{' {
            let keys_start = self.keys.len();
            Open::Object { keys_start }
        } else {
            Open::Array
        });
        Ok(false)
    }

    /// Leaves the innermost object or array; an error if `bracket` does not close it, or on a
    /// duplicate key.
    fn close(&mut self, bracket: u8) -> Result<(), StrictError> {
        match (self.open.pop(), bracket) {
            (Some(Open::Array), b']') => Ok(()),
            (Some(Open::Object { keys_start }), b'}') => {
                let keys = &mut self.keys[keys_start..];
                keys.sort_unstable();
                if keys.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Err(StrictError::DuplicateKey);
                }
                self.keys.truncate(keys_start);
                Ok(())
            }
            _ => Err(StrictError::Malformed),
        }
    }

    /// Takes a key and its colon.
    fn key(&mut self) -> Result<&str, StrictError> {
        self.scanner.expect(b'"')?;
        let text = self.string()?;
        self.scanner.expect(b':')?;
        self.keys.push(text.borrowed().map_or_else(
            || {
                let mut decoded = String::new();
                text.decode(&mut decoded);
                Cow::Owned(decoded)
            },
            Cow::Borrowed,
        ));
        Ok(self.keys.last().expect("just pushed"))
    }

    /// Takes the rest of a string after its opening quote.
    fn string(&mut self) -> Result<Text<'t>, StrictError> {
        let start = self.scanner.last_position();
        let escaped = self.scanner.string()?;
        let text = Text::unquoted(self.scanner.since(start), escaped).expect("it has its quotes");
        if escaped && has_half_pair(text) {
            return Err(StrictError::InvalidText);
        }
        Ok(text)
    }
}

/// Returns whether a text has an unpaired surrogate, which decodes to U+FFFD like a written one.
fn has_half_pair(text: Text<'_>) -> bool {
    let mut pieces = text.pieces();
    loop {
        let spelled = pieces.raw;
        match pieces.next() {
            Some(Piece::Escaped(char::REPLACEMENT_CHARACTER)) => {
                if !spelled[2..6].eq_ignore_ascii_case(b"fffd") {
                    return true;
                }
            }
            Some(Piece::Run(_) | Piece::Escaped(_)) => {}
            None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::model::{self, Tree};
    use super::super::{SCRATCH_BYTES_MAX, Scratch};
    use super::*;
    use campanile_tests::prng::Prng;

    const NAMES: [&str; 3] = ["from", "cmd", "param"];

    #[track_caller]
    fn check(message: impl AsRef<[u8]>, expected: Result<[Option<&str>; 3], StrictError>) {
        let message = message.as_ref();
        let shown = message.escape_ascii().to_string();
        let expected = expected.map(|members| members.map(|raw| raw.map(str::as_bytes)));
        assert_eq!(read(message, NAMES), expected, "{shown}");
    }

    #[track_caller]
    fn check_error(message: impl AsRef<[u8]>, expected: StrictError) {
        check(message, Err(expected));
    }

    /// Checks that `value` is accepted or rejected, as a wanted member's value and as another's.
    #[track_caller]
    fn check_value(value: impl AsRef<[u8]>, expected: Result<(), StrictError>) {
        let value = value.as_ref();
        for key in ["param", "x"] {
            let message = [b"{\"", key.as_bytes(), b"\":", value, b",\"cmd\":5}"].concat();
            let shown = message.escape_ascii().to_string();
            let found = read(&message, NAMES);
            let wanted = (key == "param").then_some(value);
            assert_eq!(
                found,
                expected.map(|()| [None, Some(&b"5"[..]), wanted]),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_message_is_one_object_and_nothing_else() {
        check("{}", Ok([None; 3]));
        check(" \t\r\n{ } \t\r\n", Ok([None; 3]));
        check(
            "\n{ \"param\" : [ 1 ] ,\"cmd\":\"a b\" , \"other\":{},\"from\":null } ",
            Ok([Some("null"), Some("\"a b\""), Some("[ 1 ]")]),
        );
        for other in [
            "",
            " ",
            "null",
            "[]",
            "\"x\"",
            "5",
            "true",
            "{} {}",
            "{},",
            "{}x",
            "{}\0",
            "{}}",
            "\u{feff}{}",
            "{}\u{feff}",
            "\u{a0}{}",
            "{}\u{a0}",
            "\x0b{}",
            "{",
            "}",
            "{]",
            "{,}",
            "{\"a\":1,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1",
            "{\"a\":1]",
            "{a:1}",
            "{\"a\" 1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":[}",
            "{\"a\":[1}]",
            "{\"a\":{]}",
            "{\"a\":01}",
            "{1:2}",
            "{\"a\":tru}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\n\"}",
            "{\"a\\\":1}",
            "{\"a\":[1,]}",
            "{\"a\":{\"b\":1,}}",
            "{\"a\":[1 2]}",
            "{\"a\":{\"b\":1;\"c\":2}}",
            "{\"a\":[1}}",
            "{\"a\":{\"b\":1]}",
            "{\"a\":1}}",
        ] {
            check_error(other, StrictError::Malformed);
        }
    }

    #[test]
    fn keys_are_case_sensitive_and_compared_decoded() {
        check(r#"{"CMD":1,"Cmd":2}"#, Ok([None; 3]));
        check(r#"{"cmd":1,"CMD":2}"#, Ok([None, Some("1"), None]));
        check(r#"{"\u0063m\u0064":1}"#, Ok([None, Some("1"), None]));
        check(r#"{"cmd\u0000":1,"cm":2," cmd":3,"":4}"#, Ok([None; 3]));
        check(r#"{"x":{"cmd":1},"y":["from"]}"#, Ok([None; 3]));
        let named = read("{\"\\u00e9\":1}".as_bytes(), ["\u{e9}"]);
        assert_eq!(named, Ok([Some(&b"1"[..])]));
        let named = read("{\"\u{1f600}/\":1}".as_bytes(), ["\u{1f600}/"]);
        assert_eq!(named, Ok([Some(&b"1"[..])]));
    }

    #[test]
    fn no_object_has_a_key_twice() {
        for twice in [
            r#"{"cmd":1,"cmd":1}"#,
            r#"{"cmd":1,"\u0063md":2}"#,
            r#"{"x":1,"y":2,"x":3}"#,
            r#"{"":1,"":2}"#,
            r#"{" ":1," ":2}"#,
            r#"{"x":{},"x":{}}"#,
            r#"{"\/":1,"/":2}"#,
            r#"{"\ud83d\ude00":1,"\uD83D\uDE00":2}"#,
            "{\"\u{1f600}\":1,\"\\uD83D\\uDE00\":2}",
            "{\"\\u00e9\":1,\"\u{e9}\":2}",
        ] {
            check_error(twice, StrictError::DuplicateKey);
            check_value(twice, Err(StrictError::DuplicateKey));
            check_value(format!("[0,[{twice}]]"), Err(StrictError::DuplicateKey));
            check_value(
                format!("{{\"x\":{{\"y\":{twice}}}}}"),
                Err(StrictError::DuplicateKey),
            );
            check_value(
                format!("[{{\"x\":1}},{twice}]"),
                Err(StrictError::DuplicateKey),
            );
        }
        // A key behind an inner object, and keys that only look alike.
        check_error(r#"{"a":{"b":1},"a":2}"#, StrictError::DuplicateKey);
        check_error(
            r#"{"a":[{"a":1}],"b":{"a":1},"a":2}"#,
            StrictError::DuplicateKey,
        );
        for apart in [
            r#"{"a":1,"A":2,"aa":3,"":4,"a ":5,"a\u0000":6}"#,
            r#"{"a":{"a":{"a":1}},"b":{"a":1}}"#,
            r#"[{"a":1},{"a":1},{"a":1}]"#,
            r#"{"a":{},"b":[],"c":{}}"#,
            "{\"\u{e9}\":1,\"e\u{301}\":2}",
            r#"{"a":"b","b":"a"}"#,
        ] {
            check_value(apart, Ok(()));
        }
    }

    #[test]
    fn all_text_is_valid() {
        for invalid in [
            &b"\xff"[..],
            b"\xe2\x82",
            b"\xed\xa0\x80",
            b"\xc0\x80",
            b"\\ud800",
            b"\\udc00",
            b"\\ud800\\u0041",
            b"\\ud800\\ud800",
            b"\\uD83Dx\\uDE00",
            b"\\udc00\\ud800",
            b"a\\ufffd\\udfff",
            b"\\ud83d\\ude00\\ude00",
            b"\\n\\ud800",
        ] {
            let string = [b"\"", invalid, b"\""].concat();
            check_value(&string, Err(StrictError::InvalidText));
            check_value(
                [b"[", &string[..], b"]"].concat(),
                Err(StrictError::InvalidText),
            );
            let object = [b"{", &string[..], b":1}"].concat();
            check_value(&object, Err(StrictError::InvalidText));
            check_error(&object, StrictError::InvalidText);
        }
        check_error(b"{}\xff", StrictError::InvalidText);
        for valid in [
            r"\ufffd",
            r"\uFFFD\uFffD",
            "\u{fffd}",
            r"\ud83d\ude00",
            r"\uDBFF\uDFFF",
            r"\\ud800",
            r"\u0000\u007f\ue000\ud7ff",
            "\u{e9}\u{1f600}",
            r"\\\ufffd",
        ] {
            check_value(format!("\"{valid}\""), Ok(()));
            check_value(format!("{{\"{valid}\":[\"{valid}\"]}}"), Ok(()));
        }
    }

    #[test]
    fn a_member_is_a_string_or_null_or_of_the_wrong_type() {
        let message = "{\"from\":null,\"cmd\":\" \u{e9}\",\"param\":\"\\n\"}";
        let members = read(message.as_bytes(), NAMES).expect("it is strict");
        let texts = members.map(|member| text(member).expect("a string or null"));
        let mut scratch = Scratch::new();
        let [from, cmd, param] = scratch.read(texts);
        assert_eq!((from, cmd, param), (None, Some(" \u{e9}"), Some("\n")));
        let place = cmd.map(str::as_ptr).expect("it is given");
        assert!(message.as_bytes().as_ptr_range().contains(&place));

        let mut decoded = |raw: &str| {
            let found = text(Some(raw.as_bytes()))?;
            Ok(scratch.read([found])[0].map(str::to_owned))
        };
        assert_eq!(text(None).map(|text| text.is_none()), Ok(true));
        assert_eq!(decoded("null"), Ok(None));
        assert_eq!(decoded(r#""""#), Ok(Some(String::new())));
        assert_eq!(
            decoded(r#""\ud83d\ude00\"""#),
            Ok(Some("\u{1f600}\"".to_owned()))
        );
        for other in [
            "5",
            "-0",
            "true",
            "{}",
            "[]",
            "[\"a\"]",
            "{\"a\":\"b\"}",
            "",
            " \"a\"",
        ] {
            assert_eq!(decoded(other), Err(StrictError::WrongType), "{other}");
        }
        // Bytes that `read` has not returned do not become a text that cannot be decoded.
        for unchecked in ["\"", r#""\""#, r#""\u12""#, r#""a"x"#, r#""a" "#, "\"\n\""] {
            assert_eq!(
                decoded(unchecked),
                Err(StrictError::Malformed),
                "{unchecked}"
            );
        }
        let long = format!("\"{}\"", "\\n".repeat(SCRATCH_BYTES_MAX));
        let length = decoded(&long).map(|text| text.map(|text| text.len()));
        assert_eq!(length, Ok(Some(SCRATCH_BYTES_MAX)));
    }

    #[test]
    fn nesting_ends_at_ten_thousand() {
        let nested = |open: &str, close: &str, times: usize| {
            format!("{}{}", open.repeat(times), close.repeat(times))
        };
        check_value(nested("[", "]", 9_999), Ok(()));
        check_value(nested("[", "]", 10_000), Err(StrictError::Malformed));
        let objects = |times| format!("{}0{}", "{\"a\":".repeat(times), "}".repeat(times));
        check(objects(10_000), Ok([None; 3]));
        check_error(objects(10_001), StrictError::Malformed);
        check_value(format!("[{},{}]", objects(9_998), objects(9_998)), Ok(()));
        check_error("{\"a\":".repeat(1_000_000), StrictError::Malformed);
        check_error("{\"a\":[".repeat(1_000_000), StrictError::Malformed);
        check_error(
            ["{\"a\":", &"[".repeat(1_000_000)].concat(),
            StrictError::Malformed,
        );
    }

    /// Sizes at which quadratic time would be noticed.
    #[test]
    fn many_keys_and_many_objects_are_taken_in_stride() {
        let members = |count: usize, key: &dyn Fn(usize) -> String| {
            let members: Vec<String> = (0..count).map(|it| format!("\"{}\":0", key(it))).collect();
            members.join(",")
        };
        let shared = "k".repeat(200);
        let keys: [&dyn Fn(usize) -> String; 4] = [
            &|index| format!("{index}"),
            &|index| format!("{:06}", 999_999 - index),
            &|index| format!("\\u006b{index}"),
            &|index| format!("{shared}{index}"),
        ];
        for key in keys {
            let many = members(100_000, key);
            check(format!("{{{many}}}"), Ok([None; 3]));
            let twice = format!("{{{many},\"{}\":1}}", key(50_000));
            check_error(twice, StrictError::DuplicateKey);
        }
        // An outer object with many keys, with many objects that end while it is open.
        let within = members(100_000, &|index| {
            format!("{index}\":{{\"a\":0}},\"x{index}")
        });
        check(format!("{{{within}}}"), Ok([None; 3]));
        check_error(format!("{{{within},\"7\":0}}"), StrictError::DuplicateKey);
    }

    /// Returns the model's result for a message: its members by name, each as a tree.
    fn model_read(message: &[u8]) -> Option<[Option<Tree>; 3]> {
        let parsed = model::parse(message)?;
        let Tree::Object(members) = &parsed.tree else {
            return None;
        };
        let is_strict = parsed.is_clean && !parsed.tree.repeats_a_key();
        is_strict.then(|| {
            NAMES.map(|name| {
                let member = members.iter().find(|(key, _)| key == name);
                member.map(|(_, value)| value.clone())
            })
        })
    }

    #[test]
    fn reads_what_the_model_reads() {
        let (mut accepted, mut found) = (0, 0);
        let mut refused = [0; 3];
        for seed in 0..40_000 {
            let mut prng = Prng::from_seed(seed);
            let mut message = model::document(&mut prng);
            if prng.chance(1, 8) {
                message = model::noise(&mut prng);
            } else if prng.chance(1, 3) {
                model::damage(&mut prng, &mut message);
            }
            let shown = message.escape_ascii().to_string();
            let reading = read(&message, NAMES);
            let expected = model_read(&message);
            match reading {
                Ok(members) => {
                    let trees = members.map(|raw| {
                        raw.map(|raw| {
                            assert_eq!(raw.trim_ascii(), raw, "seed {seed}: {shown}");
                            model::parse(raw).expect("a member is JSON").tree
                        })
                    });
                    assert_eq!(Some(trees), expected, "seed {seed}: {shown}");
                    accepted += 1;
                    found += members.iter().flatten().count();
                }
                Err(error) => {
                    assert_eq!(None, expected, "seed {seed}: {shown}");
                    let kinds = [
                        StrictError::Malformed,
                        StrictError::InvalidText,
                        StrictError::DuplicateKey,
                    ];
                    let index = kinds.iter().position(|kind| *kind == error);
                    refused[index.expect("no type is asked for")] += 1;
                }
            }
        }
        let tally = [accepted, found, refused[0], refused[1], refused[2]];
        assert!(
            tally.iter().all(|&count| count > 1_500),
            "one-sided: {tally:?}"
        );
    }
}
