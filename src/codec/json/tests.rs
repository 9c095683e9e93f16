//! Tests of the reader against a slow model of Go's rules.

pub(super) mod model;

use super::*;
use campanile_tests::prng::Prng;

const REGISTER: Wanted<2, 1> = Wanted::new(["token", "event"], ["data"]);

/// The result for a message: two strings, the raw member and the remaining bytes.
type Reading = Result<([Option<String>; 2], Option<Vec<u8>>, usize), JsonError>;

fn read(text: &[u8]) -> Reading {
    let found = REGISTER.find(text)?;
    let mut scratch = Scratch::new();
    let strings = scratch.read(found.strings);
    let [raw] = found.raws;
    Ok((
        strings.map(|text| text.map(str::to_owned)),
        raw.map(<[u8]>::to_vec),
        found.rest.len(),
    ))
}

/// Checks the token; `None` expects an error.
#[track_caller]
fn check(text: impl AsRef<[u8]>, expected: Result<Option<&str>, JsonError>) {
    let token = read(text.as_ref()).map(|([token, _], ..)| token);
    let shown = text.as_ref().escape_ascii().to_string();
    assert_eq!(
        token.as_ref().map(Option::as_deref),
        expected.as_ref().copied(),
        "{shown}"
    );
}

const MALFORMED: Result<Option<&str>, JsonError> = Err(JsonError::Malformed);
const WRONG_TYPE: Result<Option<&str>, JsonError> = Err(JsonError::WrongType);

/// Checks that `value` is accepted in an unwanted member, or is malformed.
#[track_caller]
fn check_syntax(value: impl AsRef<[u8]>, is_valid: bool) {
    let text = [br#"{"x":"#, value.as_ref(), br#","token":"t"}"#].concat();
    check(text, if is_valid { Ok(Some("t")) } else { MALFORMED });
}

/// Checks that the content of a string is decoded to `expected`.
#[track_caller]
fn check_string(raw: impl AsRef<[u8]>, expected: &str) {
    check(
        [br#"{"token":""#, raw.as_ref(), br#""}"#].concat(),
        Ok(Some(expected)),
    );
}

#[test]
fn only_the_first_value_is_read() {
    check(r#"{"token":"a"} {"token":"b"}"#, Ok(Some("a")));
    check(r#"{"token":"a"}]"#, Ok(Some("a")));
    check(b"{\"token\":\"a\"}\xff\x00", Ok(Some("a")));
    check("nullx", Ok(None));

    let rest = |text| read(text).map(|(.., rest)| rest);
    assert_eq!(rest(b"{} \t\r\nx"), Ok(5));
    assert_eq!(rest(b"null,"), Ok(1));
    assert!(REGISTER.find(b"{} \t\r\n").expect("an object").is_whole());
    assert!(!REGISTER.find(b"{} \x0c").expect("an object").is_whole());
}

#[test]
fn the_first_value_is_an_object_or_null() {
    check("{}", Ok(None));
    check("{ }", Ok(None));
    check(" \t\r\nnull", Ok(None));
    for other in [
        "[]", "\"x\"", "0", "-1.5e3", "true", "false", "01", "[{}]", "\"null\"",
    ] {
        check(other, WRONG_TYPE);
    }
    check("", MALFORMED);
    for none in " |\u{feff}{}|\u{a0}{}|\x0b{}|nul|nil|}|]|,|:".split('|') {
        check(none, MALFORMED);
    }
}

#[test]
fn nothing_but_the_grammar_is_accepted() {
    let objects = r#"{ {,} {"token"} {"token":} {"token":"a" {"token":"a",} {"token":"a"]
        {"token":"a""x":1} {token:"a"} {'token':"a"} {"token""a"} {"token"::"a"} {1:2} {"token
        {"token":"a {,"token":"a"} {"token":"a",,"x":1} {"token":"a":1} {"token","a"}
        {"token":"a";"x":1}"#;
    for malformed in objects.split_whitespace() {
        check(malformed, MALFORMED);
    }

    let values = r#"[] {} [1,2] [[],{}] {"a":{"b":[]}} true false null [{},[{}]]
        {"a":1,"a":[2]} ["a",{"b":"c","d":0}] """#;
    for valid in values
        .split_whitespace()
        .chain(["[ ]", "{ }", "[ 1 , { \"a\" : 2 } ]"])
    {
        check_syntax(valid, true);
    }
    let values = r#"[ [1,] [,1] [1} {"a":1] {"a":[}] {"a",1} ["a":1] {"a":1,} {1:1} [tru]
        [nulll] True NaN Infinity undefined /**/1 'a' {"a"} [[] []] [1,,2] {"a"} {"a":}"#;
    for invalid in values.split_whitespace().chain(["", "[1 2]", "\x0c1"]) {
        check_syntax(invalid, false);
    }
}

#[test]
fn numbers_follow_the_grammar_at_any_magnitude() {
    let long = "9".repeat(100_000);
    let numbers = "0 -0 0.0 10 -7 1e5 1E+5 1e-05 -1.50e999999 18446744073709551616";
    for valid in numbers.split(' ').chain([&long[..]]) {
        check_syntax(valid, true);
        check_syntax(format!("[{valid}]"), true);
    }
    for invalid in [
        "01", "-", "+1", "-01", ".5", "1.", "1.e5", "-.5", "1e", "1e+", "1e5.5", "0x1", "1a",
        "--1", "1_0", "1e 5", "- 1",
    ] {
        check_syntax(invalid, false);
        check_syntax(format!("[{invalid}]"), false);
    }
    for cut_short in ["-", "1.", "1e", "1e-"] {
        check(cut_short, MALFORMED);
    }
}

#[test]
fn strings_reject_controls_and_unknown_escapes() {
    for byte in 0..=u8::MAX {
        // At each place of a 64-bit word, and in the bytes after the last word.
        for before in 0..9 {
            let plain = "p".repeat(before);
            let string = [b"\"", plain.as_bytes(), &[byte], b"\""].concat();
            let is_valid = byte >= 0x20 && byte != b'"' && byte != b'\\';
            check_syntax(&string, is_valid);
            let text = [b"{\"token\":", &string[..], b"}"].concat();
            assert_eq!(read(&text).is_ok(), is_valid, "{byte:#x} after {before}");
        }
        let is_known = b"\"\\/bfnrt".contains(&byte);
        check_syntax([b'"', b'\\', byte, b'"'], is_known);
    }
    for invalid in [
        "\\u", "\\u1", "\\u123", "\\u123g", "\\u12 4", "\\U0041", "\\x41", "\\",
    ] {
        check_syntax(format!("\"{invalid}\""), false);
        check(format!("{{\"token\":\"{invalid}"), MALFORMED);
    }
    check_syntax(r#""\uABCD\uabcd""#, true);
}

#[test]
fn keys_are_compared_decoded_and_folded() {
    let keys = r"token TOKEN Token tOkEn to\u006ben \u0054oken to\u212aen TO\u212AEN";
    for key in keys.split(' ').chain(["to\u{212a}en"]) {
        check(format!("{{\"{key}\":\"a\"}}"), Ok(Some("a")));
    }
    let keys = r"toke tokens tok\u0065n\u0020 token\u0000 to\ud800ken \u0074 to\u017fen";
    for key in keys
        .split(' ')
        .chain(["", "to\u{17f}en", "token\u{301}", "t\u{f6}ken"])
    {
        check(format!("{{\"{key}\":\"a\"}}"), Ok(None));
    }
    check(
        b"{\"tok\xffen\":\"a\",\"token\xe2\":\"b\",\"to\xe2\x84en\":\"c\"}",
        Ok(None),
    );

    let wanted = Wanted::new(["session"], ["x-s"]);
    for key in ["session", "\u{17f}e\\u017fSion", "SES\u{17f}ION"] {
        let text = format!("{{\"{key}\":\"a\",\"X-\u{17f}\":1,\"z\":2}}");
        let found = wanted.find(text.as_bytes()).expect("an object");
        assert_eq!(
            found.strings[0].and_then(|text| text.borrowed()),
            Some("a"),
            "{key}"
        );
        assert_eq!(found.raws, [Some(&b"1"[..])]);
    }
}

#[test]
fn the_last_of_several_wins_but_null_is_as_if_missing() {
    check(r#"{"token":"a","token":"b"}"#, Ok(Some("b")));
    check(
        r#"{"token":"a","TOKEN":"b","to\u006ben":"c"}"#,
        Ok(Some("c")),
    );
    check(r#"{"token":null}"#, Ok(None));
    check(r#"{"token":"a","Token":null}"#, Ok(Some("a")));
    check(r#"{"token":null,"Token":"a"}"#, Ok(Some("a")));
    check(r#"{"token":"a","Token":""}"#, Ok(Some("")));
}

#[test]
fn a_string_of_another_type_spoils_the_reading_wherever_it_stands() {
    for other in ["1", "{}", "[]", "[\"a\"]", "true", "false"] {
        check(format!("{{\"token\":{other}}}"), WRONG_TYPE);
        check(format!("{{\"token\":{other},\"token\":\"a\"}}"), WRONG_TYPE);
        check(format!("{{\"token\":{other},\"token\":null}}"), WRONG_TYPE);
        check(format!("{{\"token\":\"a\",\"EVENT\":{other}}}"), WRONG_TYPE);
        check(format!("{{\"token\":{other},\"x\":}}"), MALFORMED);
        check(format!("{{\"token\":{other}"), MALFORMED);
        check(
            format!("{{\"x\":{other},\"y\":{{\"token\":{other}}}}}"),
            Ok(None),
        );
    }
    check("[1,{]", MALFORMED);
}

#[test]
fn a_raw_member_is_its_extent_whatever_it_holds() {
    for value in "1|null|\"a\\n\"|{ \"data\" : [ ] }|[1, 2]|true|-0.0e1".split('|') {
        let text = format!("{{\"data\":0,\"token\":\"a\", \"DATA\" : {value} }}");
        let expected = (
            [Some("a".to_owned()), None],
            Some(value.as_bytes().to_vec()),
            0,
        );
        assert_eq!(read(text.as_bytes()), Ok(expected), "{value}");
    }
    assert_eq!(read(b"{}"), Ok(([None, None], None, 0)));
}

#[test]
fn nesting_ends_at_ten_thousand() {
    let nested = |open: &str, close: &str, times: usize| {
        format!("{}0{}", open.repeat(times), close.repeat(times))
    };
    for (open, close) in [
        ("[", "]"),
        ("{\"a\":", "}"),
        ("[{\"a\":", "}]"),
        (" [ ", " ] "),
    ] {
        let levels = if open.starts_with("[{") { 2 } else { 1 };
        // Around each level where a 64-bit word is full, and around the limit.
        for depth in [63, 64, 65, 127, 128, 129, 192, 9_998] {
            check_syntax(nested(open, close, depth / levels), true);
        }
    }
    let inside = |depth| nested("[", "]", depth);
    check_syntax(inside(9_999), true);
    check_syntax(inside(10_000), false);
    check_syntax(format!("[{},{}]", inside(9_998), inside(9_998)), true);
    check_syntax(format!("[{},{}]", inside(9_998), inside(9_999)), false);
    check(inside(10_000), WRONG_TYPE);
    check(inside(10_001), MALFORMED);
    check("[".repeat(1_000_000), MALFORMED);
    check("{\"a\":".repeat(1_000_000), MALFORMED);
}

#[test]
fn brackets_close_in_the_order_they_opened() {
    let mut prng = Prng::from_seed(7);
    for depth in [1, 2, 63, 64, 65, 130, 500] {
        let open: Vec<bool> = (0..depth).map(|_| prng.chance(1, 2)).collect();
        let openings = open
            .iter()
            .map(|&object| if object { "{\"a\":" } else { "[" });
        let closings = open
            .iter()
            .rev()
            .map(|&object| if object { b'}' } else { b']' });
        let (openings, closings): (String, Vec<u8>) = (openings.collect(), closings.collect());
        check_syntax([openings.as_bytes(), b"1", &closings].concat(), true);
        for index in 0..depth {
            let mut closings = closings.clone();
            closings[index] ^= b'}' ^ b']';
            check_syntax([openings.as_bytes(), b"1", &closings].concat(), false);
        }
    }
}

#[test]
fn escapes_are_decoded() {
    check_string(r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t");
    check_string(r"a\u0000\u00e9\u20AC\uffffz", "a\0\u{e9}\u{20ac}\u{ffff}z");
    check_string(
        r"\ud83d\ude00\uDBFF\uDFFF\ud800\udc00",
        "\u{1f600}\u{10ffff}\u{10000}",
    );
    check_string(r"\\u0041\\", "\\u0041\\");
}

#[test]
fn a_surrogate_without_its_other_half_is_replaced() {
    check_string(r"\ud800", "\u{fffd}");
    check_string(r"\udc00x", "\u{fffd}x");
    check_string(r"\ud800\u0041", "\u{fffd}A");
    check_string(r"\ud800\n\udc00", "\u{fffd}\n\u{fffd}");
    check_string(r"\ud800\ud800\udc00", "\u{fffd}\u{10000}");
    check_string(r"\udc00\ud800", "\u{fffd}\u{fffd}");
    check_string(
        r"\udfff\udfff\ud800\ue000",
        "\u{fffd}\u{fffd}\u{fffd}\u{e000}",
    );
}

#[test]
fn every_invalid_byte_is_replaced_on_its_own() {
    check_string(b"a\xffb", "a\u{fffd}b");
    check_string(b"\xe2\x84", "\u{fffd}\u{fffd}");
    check_string(b"\xe2\x84\\n\xaa", "\u{fffd}\u{fffd}\n\u{fffd}");
    check_string(b"\xf0\x9f\x98x", "\u{fffd}\u{fffd}\u{fffd}x");
    check_string(b"\xed\xa0\x80", "\u{fffd}\u{fffd}\u{fffd}");
    check_string(b"\xc0\x80\xf4\x90\x80\x80", &"\u{fffd}".repeat(6));
    check_string("\u{e9}\u{20ac}\u{1f600}", "\u{e9}\u{20ac}\u{1f600}");
}

#[test]
fn plain_strings_are_borrowed_and_a_scratch_keeps_little() {
    let text = "{\"token\":\"n\u{e9}ws\",\"event\":\"\\n\"}";
    let found = REGISTER.find(text.as_bytes()).expect("an object");
    let mut scratch = Scratch::new();
    let [token, event] = scratch.read(found.strings);
    let token = token.expect("it is given");
    assert_eq!((token, event), ("n\u{e9}ws", Some("\n")));
    assert!(text.as_bytes().as_ptr_range().contains(&token.as_ptr()));
    assert_eq!(scratch.decoded, "\n");

    let [token, event] = found.strings.map(|text| text.expect("it is given"));
    assert_eq!(
        (token.borrowed(), event.borrowed()),
        (Some("n\u{e9}ws"), None)
    );
    let mut out = "before ".to_owned();
    event.decode(&mut out);
    token.decode(&mut out);
    assert_eq!(out, "before \nn\u{e9}ws");

    let long = format!("{{\"token\":\"{}\"}}", "\\n".repeat(SCRATCH_BYTES_MAX * 2));
    let long = REGISTER
        .find(long.as_bytes())
        .map(|found| scratch.read(found.strings)[0].map(str::len));
    assert_eq!(long, Ok(Some(SCRATCH_BYTES_MAX * 2)));
    assert_eq!(
        scratch.read([Some(event), None, Some(token), Some(event)])[3],
        Some("\n")
    );
    assert_eq!(scratch.read([None, Some(event)]), [None, Some("\n")]);
    assert!(scratch.decoded.capacity() <= SCRATCH_BYTES_MAX);
}

#[test]
#[should_panic(expected = "no two wanted names may meet")]
fn wanted_names_differ_by_more_than_case() {
    assert_eq!(Wanted::new(["token"], ["Token"]).strings, ["token"]);
}

/// Documents with frequent mistakes of clients, some damaged, against the model below.
#[test]
fn reads_what_the_model_of_go_reads() {
    let (mut accepted, mut malformed, mut wrong, mut replaced) = (0, 0, 0, 0);
    for seed in 0..60_000 {
        let mut prng = Prng::from_seed(seed);
        let mut text = Vec::new();
        write::document(&mut prng, &mut text);
        if prng.chance(1, 2) {
            write::damage(&mut prng, &mut text);
        }

        let reading = read(&text);
        let shown = text.escape_ascii().to_string();
        assert_eq!(reading, go::read(&text), "seed {seed}: {shown}");
        match reading {
            Err(JsonError::Malformed) => malformed += 1,
            Err(JsonError::WrongType) => wrong += 1,
            Ok((strings, ..)) => {
                accepted += u32::from(strings.iter().any(Option::is_some));
                let text = strings.into_iter().flatten().collect::<String>();
                replaced += u32::from(text.contains(char::REPLACEMENT_CHARACTER));
            }
        }
    }
    let tally = [accepted, malformed, wrong, replaced];
    assert!(
        tally.iter().all(|&count| count > 3_000),
        "one-sided: {tally:?}"
    );
}

/// Random bytes, and bytes that JSON gives a meaning, which get further.
#[test]
fn is_total_on_any_bytes() {
    const MEANT: &[u8] = b"{}[]\":,\\ntrufalsev0123456789+-.eE \t\xe2\x84\xaa\xff\x1f";
    for seed in 0..60_000 {
        let mut prng = Prng::from_seed(seed);
        let mut text = if prng.chance(1, 2) {
            b"{\"token\":".to_vec()
        } else {
            Vec::new()
        };
        for _ in 0..prng.range(0, 24) {
            let any = u8::try_from(prng.range(0, 255)).expect("a byte");
            let meant = prng.pick(MEANT.iter().copied()).expect("not empty");
            text.push(if prng.chance(1, 8) { any } else { meant });
        }
        let shown = text.escape_ascii().to_string();
        assert_eq!(read(&text), go::read(&text), "seed {seed}: {shown}");
    }
}

/// A slow model of Go's rules: a tree by recursive descent, then one step per rule.
mod go {
    use super::{JsonError, Reading};
    use std::ops::Range;

    enum Tree {
        Null,
        /// A number, `true` or `false`.
        Other,
        String(String),
        Array,
        Object(Vec<(String, Self, Range<usize>)>),
    }

    pub(super) fn read(text: &[u8]) -> Reading {
        let start = text.iter().position(|byte| !b" \t\r\n".contains(byte));
        let start = start.ok_or(JsonError::Malformed)?;
        let (tree, end) = value(text, start).ok_or(JsonError::Malformed)?;
        let members = match tree {
            Tree::Null => Vec::new(),
            Tree::Object(members) => members,
            Tree::Other | Tree::String(_) | Tree::Array => return Err(JsonError::WrongType),
        };

        let (mut strings, mut raw) = ([None, None], None);
        for (key, tree, extent) in members {
            let key = key.replace('\u{17f}', "s").replace('\u{212a}', "k");
            let index = match key.to_ascii_lowercase().as_str() {
                "token" => 0,
                "event" => 1,
                "data" => {
                    raw = Some(text[extent].to_vec());
                    continue;
                }
                _ => continue,
            };
            match tree {
                Tree::Null => {}
                Tree::String(string) => strings[index] = Some(string),
                Tree::Other | Tree::Array | Tree::Object(_) => return Err(JsonError::WrongType),
            }
        }
        Ok((strings, raw, text.len() - end))
    }

    /// Each function takes the start of an item and returns its end.
    fn value(text: &[u8], at: usize) -> Option<(Tree, usize)> {
        match text.get(at)? {
            b'n' => text[at..]
                .starts_with(b"null")
                .then_some((Tree::Null, at + 4)),
            b't' => text[at..]
                .starts_with(b"true")
                .then_some((Tree::Other, at + 4)),
            b'f' => text[at..]
                .starts_with(b"false")
                .then_some((Tree::Other, at + 5)),
            b'"' => string(text, at).map(|(string, end)| (Tree::String(string), end)),
            b'[' => list(text, at, b']', |at| {
                value(text, at).map(|(_, end)| ((), end))
            })
            .map(|(_, end)| (Tree::Array, end)),
            b'{' => list(text, at, b'}', |at| {
                let (key, end) = string(text, at)?;
                let colon = blank(text, end);
                let start = (text.get(colon) == Some(&b':')).then(|| blank(text, colon + 1))?;
                let (tree, end) = value(text, start)?;
                Some(((key, tree, start..end), end))
            })
            .map(|(members, end)| (Tree::Object(members), end)),
            _ => number(text, at).map(|end| (Tree::Other, end)),
        }
    }

    fn blank(text: &[u8], at: usize) -> usize {
        let solid = text[at..]
            .iter()
            .position(|byte| !b" \t\r\n".contains(byte));
        solid.map_or(text.len(), |count| at + count)
    }

    fn list<T>(
        text: &[u8],
        at: usize,
        close: u8,
        item: impl Fn(usize) -> Option<(T, usize)>,
    ) -> Option<(Vec<T>, usize)> {
        let mut items = Vec::new();
        let mut at = blank(text, at + 1);
        if *text.get(at)? == close {
            return Some((items, at + 1));
        }
        loop {
            let (next, end) = item(at)?;
            items.push(next);
            at = blank(text, end);
            match *text.get(at)? {
                b',' => at = blank(text, at + 1),
                byte => return (byte == close).then_some((items, at + 1)),
            }
        }
    }

    /// The diagram of json.org as a table: state and kind of byte to state; 0 is the end.
    fn number(text: &[u8], at: usize) -> Option<usize> {
        const KINDS: [&[u8]; 6] = [b"0", b"123456789", b".", b"eE", b"-", b"+"];
        const NEXT: [[usize; 6]; 10] = [
            [0; 6],
            [3, 4, 0, 0, 2, 0], // 1 start
            [3, 4, 0, 0, 0, 0], // 2 after the sign
            [0, 0, 5, 7, 0, 0], // 3 zero: may end
            [4, 4, 5, 7, 0, 0], // 4 integer: may end
            [6, 6, 0, 0, 0, 0], // 5 after the point
            [6, 6, 0, 7, 0, 0], // 6 fraction: may end
            [9, 9, 0, 0, 8, 8], // 7 after the e
            [9, 9, 0, 0, 0, 0], // 8 after the exponent's sign
            [9, 9, 0, 0, 0, 0], // 9 exponent: may end
        ];
        let (mut state, mut end) = (1, at);
        while let Some(kind) = text
            .get(end)
            .and_then(|byte| KINDS.iter().position(|kind| kind.contains(byte)))
            && NEXT[state][kind] != 0
        {
            state = NEXT[state][kind];
            end += 1;
        }
        [3, 4, 6, 9].contains(&state).then_some(end)
    }

    /// First to UTF-16 code units, where surrogates may be unpaired, then to characters.
    fn string(text: &[u8], at: usize) -> Option<(String, usize)> {
        let mut units: Vec<u32> = Vec::new();
        let mut at = (*text.get(at)? == b'"').then_some(at + 1)?;
        loop {
            match *text.get(at)? {
                b'"' => break,
                0..0x20 => return None,
                b'\\' if *text.get(at + 1)? == b'u' => {
                    let digits = str::from_utf8(text.get(at + 2..at + 6)?).ok()?;
                    let is_hex = digits.chars().all(|digit| digit.is_ascii_hexdigit());
                    is_hex.then(|| units.extend(u32::from_str_radix(digits, 16)))?;
                    at += 6;
                }
                b'\\' => {
                    let known = br#""\/bfnrt"#.iter().position(|byte| *byte == text[at + 1])?;
                    units.push(u32::from(b"\"\\/\x08\x0c\n\r\t"[known]));
                    at += 2;
                }
                _ => {
                    let widths = (1..=4).filter(|width| at + width <= text.len());
                    let width = widths.min_by_key(|width| {
                        (str::from_utf8(&text[at..at + width]).is_err(), *width)
                    })?;
                    let character = str::from_utf8(&text[at..at + width]).ok();
                    units.push(character.map_or(0xfffd, |c| c.chars().map(u32::from).sum()));
                    at += width;
                }
            }
        }

        let mut characters = String::new();
        let mut units = units.into_iter().peekable();
        while let Some(unit) = units.next() {
            let second = units.peek().copied().unwrap_or(0);
            if (0xd800..=0xdbff).contains(&unit) && (0xdc00..=0xdfff).contains(&second) {
                let pair = [unit, second].map(|half| u16::try_from(half).expect("16 bits"));
                characters.push_str(&String::from_utf16(&pair).expect("a pair"));
                units.next();
            } else {
                characters.push(char::from_u32(unit).unwrap_or('\u{fffd}'));
            }
        }
        Some((characters, at + 1))
    }
}

/// Random documents for the comparison of the model and the reader.
mod write {
    use campanile_tests::prng::Prng;

    /// Separated by spaces; the two after them contain characters that fold to ASCII.
    const KEYS: &str = r"token event data Token EVENT dAtA to\u006ben \u0065vent to\u212Aen
        \ud800token tokens even x";
    const KEYS_FOLDED: [&str; 2] = ["to\u{212a}en", "\u{17f}"];
    const PIECES: &str = r#"a news whatever-it-interested \n \" \\ \/ \u0041 \u00e9 \ud800
        \udc00 \uD83D\uDE00 \uFFFF \u0000 { ] : ,"#;
    const BYTES: &[&[u8]] = &[
        b" ",
        b"\xc3\xa9",
        b"\xe2\x82",
        b"\x80",
        b"\xff",
        b"\x7f",
        b"\xc5\xbf",
        b"\xf0\x9f",
    ];
    const ODDITIES: &[&[u8]] = &[b"\\x", b"\\u12g4", b"\\'", b"\x1f", b"\0", b"\n", b"\\u"];
    const SCALARS: &str = "null true false 0 -0 12345678901234567890 -1.5E+3 0e0 1E-9";
    const SCALARS_NOT: &str = "01 1. - +1 .5 nul 1e True 1.e2";

    pub(super) fn document(prng: &mut Prng, out: &mut Vec<u8>) {
        blank(prng, out);
        if prng.chance(1, 12) {
            value(prng, out, 3);
        } else {
            object(prng, out, 4);
        }
        if prng.chance(1, 4) {
            out.extend_from_slice(word(prng, PIECES));
        }
    }

    /// Removes, adds or changes a few bytes.
    pub(super) fn damage(prng: &mut Prng, text: &mut Vec<u8>) {
        for _ in 0..prng.range(1, 3) {
            let length = u32::try_from(text.len()).expect("a small document");
            if length == 0 {
                return;
            }
            let at = prng.range(0, length - 1) as usize;
            match prng.range(0, 5) {
                0 => text.truncate(at),
                1 => _ = text.remove(at),
                2 => text[at] ^= 1 << prng.range(0, 7),
                3 => text.insert(at, *prng.pick(b"{}[]\",:\\ 0".iter()).expect("some")),
                4 => {
                    let oddity = pick(prng, ODDITIES);
                    text.splice(at..at, oddity.iter().copied());
                }
                _ => text.swap(at, (length / 2) as usize),
            }
        }
    }

    fn value(prng: &mut Prng, out: &mut Vec<u8>, depth: u32) {
        match prng.range(0, 9) {
            0 if depth > 0 => object(prng, out, depth),
            1 if depth > 0 => {
                sequence(prng, out, *b"[]", |prng, out| value(prng, out, depth - 1));
            }
            2 if prng.chance(1, 10) => out.extend_from_slice(word(prng, SCALARS_NOT)),
            2..=4 => out.extend_from_slice(word(prng, SCALARS)),
            _ => string(prng, out),
        }
    }

    /// One value in ten has any type, the rest are strings and `null`.
    fn object(prng: &mut Prng, out: &mut Vec<u8>, depth: u32) {
        sequence(prng, out, *b"{}", |prng, out| {
            out.push(b'"');
            if prng.chance(1, 10) {
                out.extend_from_slice(pick(prng, &KEYS_FOLDED).as_bytes());
            } else {
                out.extend_from_slice(word(prng, KEYS));
            }
            out.push(b'"');
            blank(prng, out);
            out.push(b':');
            blank(prng, out);
            match prng.range(0, 9) {
                0 => value(prng, out, depth - 1),
                1 => out.extend_from_slice(b"null"),
                _ => string(prng, out),
            }
        });
    }

    fn sequence(
        prng: &mut Prng,
        out: &mut Vec<u8>,
        brackets: [u8; 2],
        item: impl Fn(&mut Prng, &mut Vec<u8>),
    ) {
        out.push(brackets[0]);
        blank(prng, out);
        for index in 0..prng.range(0, 5) {
            if index > 0 {
                out.push(b',');
                blank(prng, out);
            }
            item(prng, out);
            blank(prng, out);
        }
        out.push(brackets[1]);
    }

    fn string(prng: &mut Prng, out: &mut Vec<u8>) {
        out.push(b'"');
        for _ in 0..prng.range(0, 5) {
            let is_text = prng.chance(2, 3);
            out.extend_from_slice(if is_text {
                word(prng, PIECES)
            } else {
                pick(prng, BYTES)
            });
        }
        out.push(b'"');
    }

    fn blank(prng: &mut Prng, out: &mut Vec<u8>) {
        while prng.chance(1, 4) {
            out.push(*prng.pick(b" \t\r\n".iter()).expect("some"));
        }
    }

    /// Returns one of the words.
    fn word(prng: &mut Prng, words: &'static str) -> &'static [u8] {
        let words: Vec<&[u8]> = words.split_whitespace().map(str::as_bytes).collect();
        pick(prng, &words)
    }

    fn pick<T: Copy>(prng: &mut Prng, items: &[T]) -> T {
        prng.pick(items.iter().copied())
            .expect("no list here is empty")
    }
}
