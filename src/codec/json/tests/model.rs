//! A slow model of JSON for the tests: trees by recursive descent, layouts from trees, and random
//! documents.
//!
//! It defines values and how each version of Go's package encodes them, one short function per
//! rule. It shares no code with the tested readers and writers, and is neither fast nor safe with
//! hostile nesting.

use campanile_tests::prng::Prng;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::codec::json) enum Tree {
    /// A number or literal, as spelled.
    Scalar(String),
    /// A decoded string; invalid parts are U+FFFD.
    String(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// The result of parsing a text.
#[derive(Debug)]
pub(in crate::codec::json) struct Parsed {
    pub(in crate::codec::json) tree: Tree,
    /// All strings are valid UTF-8 without unpaired surrogates.
    pub(in crate::codec::json) is_clean: bool,
}

/// Parses a text of one value; `None` if it is not JSON.
pub(in crate::codec::json) fn parse(text: &[u8]) -> Option<Parsed> {
    let mut parser = Parser {
        text,
        at: 0,
        is_clean: true,
    };
    let tree = parser.value()?;
    parser.blank();
    (parser.at == text.len()).then_some(Parsed {
        tree,
        is_clean: parser.is_clean,
    })
}

impl Tree {
    /// Returns whether an object in it has a key twice.
    pub(in crate::codec::json) fn repeats_a_key(&self) -> bool {
        match self {
            Self::Scalar(_) | Self::String(_) => false,
            Self::Array(items) => items.iter().any(Self::repeats_a_key),
            Self::Object(members) => members.iter().enumerate().any(|(index, (key, value))| {
                value.repeats_a_key() || members[..index].iter().any(|(other, _)| other == key)
            }),
        }
    }

    /// Formats the value with two spaces per level, as the second version of Go's package does.
    pub(in crate::codec::json) fn indented(&self, depth: usize) -> String {
        let within = |brackets: [char; 2], items: Vec<String>| {
            let [open, close] = brackets;
            if items.is_empty() {
                return format!("{open}{close}");
            }
            let (inner, outer) = ("  ".repeat(depth + 1), "  ".repeat(depth));
            let items = items.join(&format!(",\n{inner}"));
            format!("{open}\n{inner}{items}\n{outer}{close}")
        };
        match self {
            Self::Scalar(spelled) => spelled.clone(),
            Self::String(text) => plain_string(text),
            Self::Array(items) => within(
                ['[', ']'],
                items.iter().map(|item| item.indented(depth + 1)).collect(),
            ),
            Self::Object(members) => within(
                ['{', '}'],
                members
                    .iter()
                    .map(|(key, value)| {
                        format!("{}: {}", plain_string(key), value.indented(depth + 1))
                    })
                    .collect(),
            ),
        }
    }
}

/// Formats a string as the second version does.
pub(in crate::codec::json) fn plain_string(text: &str) -> String {
    let characters = text.chars().map(|character| match character {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\0'..=' ' if character != ' ' => format!("\\u{:04x}", u32::from(character)),
        _ => character.to_string(),
    });
    format!("\"{}\"", characters.collect::<String>())
}

/// Formats a string as the first version does.
pub(in crate::codec::json) fn go_string(text: &str) -> String {
    let characters = text.chars().map(|character| match character {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => format!("\\u{:04x}", u32::from(character)),
        '\0'..=' ' if character != ' ' => format!("\\u{:04x}", u32::from(character)),
        _ => character.to_string(),
    });
    format!("\"{}\"", characters.collect::<String>())
}

/// Formats embedded JSON as the first version does.
pub(in crate::codec::json) fn go_compact(raw: &[u8]) -> String {
    let mut out = String::new();
    let (mut is_inside, mut is_escaped) = (false, false);
    for character in characters(raw).0.chars() {
        if !is_inside {
            is_inside = character == '"';
            if !" \t\r\n".contains(character) {
                out.push(character);
            }
            continue;
        }
        is_inside = is_escaped || character != '"';
        is_escaped = !is_escaped && character == '\\';
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.extend(format!("\\u{:04x}", u32::from(character)).chars());
            }
            _ => out.push(character),
        }
    }
    out
}

/// Decodes bytes, with U+FFFD for each that is not part of valid UTF-8; returns also whether all
/// are valid.
fn characters(bytes: &[u8]) -> (String, bool) {
    let (mut text, mut at) = (String::new(), 0);
    let mut is_clean = true;
    while at < bytes.len() {
        let mut widths = (1..=4).filter(|width| at + width <= bytes.len());
        let found = widths.find_map(|width| str::from_utf8(&bytes[at..at + width]).ok());
        is_clean &= found.is_some();
        text.push_str(found.unwrap_or("\u{fffd}"));
        at += found.map_or(1, str::len);
    }
    (text, is_clean)
}

struct Parser<'t> {
    text: &'t [u8],
    at: usize,
    is_clean: bool,
}

impl Parser<'_> {
    fn value(&mut self) -> Option<Tree> {
        self.blank();
        match self.text.get(self.at)? {
            b'"' => self.string().map(Tree::String),
            b'[' => self.list(b']', Self::value).map(Tree::Array),
            b'{' => self.list(b'}', Self::member).map(Tree::Object),
            _ => self.scalar().map(Tree::Scalar),
        }
    }

    fn member(&mut self) -> Option<(String, Tree)> {
        self.blank();
        let key = self.string()?;
        self.blank();
        self.byte(b':')?;
        Some((key, self.value()?))
    }

    fn list<T>(&mut self, close: u8, item: fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.at += 1;
        self.blank();
        let mut items = Vec::new();
        if self.byte(close).is_some() {
            return Some(items);
        }
        loop {
            items.push(item(self)?);
            self.blank();
            if self.byte(close).is_some() {
                return Some(items);
            }
            self.byte(b',')?;
        }
    }

    fn scalar(&mut self) -> Option<String> {
        let rest = &self.text[self.at..];
        let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let spelled = &rest[..rest.iter().take_while(is_part).count()];
        let spelled = str::from_utf8(spelled).expect("ASCII");
        self.at += spelled.len();
        let is_known = ["null", "true", "false"].contains(&spelled) || is_number(spelled);
        is_known.then(|| spelled.to_owned())
    }

    /// Cuts out the string, then its escapes, then joins surrogate pairs.
    fn string(&mut self) -> Option<String> {
        self.byte(b'"')?;
        let start = self.at;
        while *self.text.get(self.at)? != b'"' {
            self.at += if self.text[self.at] == b'\\' { 2 } else { 1 };
        }
        let (text, is_utf8) = characters(&self.text[start..self.at]);
        self.at += 1;

        let mut units: Vec<u16> = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let meant = match character {
                '\0'..'\u{20}' => return None,
                '\\' => match characters.next()? {
                    'u' => {
                        let digits: String = characters.by_ref().take(4).collect();
                        let is_hex = digits.chars().all(|digit| digit.is_ascii_hexdigit());
                        (is_hex && digits.len() == 4).then_some(())?;
                        units.push(u16::from_str_radix(&digits, 16).ok()?);
                        continue;
                    }
                    letter => {
                        let known = r#""\/bfnrt"#.chars().zip("\"\\/\u{8}\u{c}\n\r\t".chars());
                        known.into_iter().find(|pair| pair.0 == letter)?.1
                    }
                },
                _ => character,
            };
            units.extend_from_slice(meant.encode_utf16(&mut [0; 2]));
        }
        self.is_clean &= is_utf8 && String::from_utf16(&units).is_ok();
        Some(String::from_utf16_lossy(&units))
    }

    fn blank(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    fn byte(&mut self, expected: u8) -> Option<()> {
        (*self.text.get(self.at)? == expected).then(|| self.at += 1)
    }
}

/// Splits a number from its end: exponent, fraction, sign, and the rest.
fn is_number(spelled: &str) -> bool {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (rest, exponent) = spelled.split_once(['e', 'E']).unwrap_or((spelled, "0"));
    let (rest, fraction) = rest.split_once('.').unwrap_or((rest, "0"));
    let whole = rest.strip_prefix('-').unwrap_or(rest);
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let is_short = whole == "0" || !whole.starts_with('0');
    is_digits(whole) && is_short && is_digits(fraction) && is_digits(exponent)
}

/// The pieces of member names, few so that names often collide.
const KEYS: &[&str] = &[
    "cmd",
    "\\u0063md",
    "CMD",
    "param",
    "p\\u0061ram",
    "from",
    "a",
    "\\u0061",
    "",
    "\u{e9}",
    "\\u00e9",
    "e\u{301}",
    "\\ud83d\\ude00",
    "\u{1f600}",
    "\\/",
    "/",
    "<\u{2028}>",
];

const PIECES: &[&str] = &[
    "a",
    "word",
    " ",
    "  ",
    "\u{e9}",
    "\u{20ac}",
    "\u{1f600}",
    "\\u00e9",
    "\\/",
    "/",
    "\\n",
    "\\b",
    "\\f",
    "\\u000a",
    "\\u001B",
    "\\u0000",
    "\\\"",
    "\\\\",
    "\\u0022",
    "\\u005c",
    "<b>",
    "&",
    "\\u003C",
    "\u{2028}",
    "\u{2029}",
    "\\u2028",
    "\u{2027}",
    "\u{202a}",
    "\u{20a8}",
    "\\uD83D\\uDe00",
    "\\ufffd",
    "\\uFFFD",
    "\u{fffd}",
    "\u{7f}",
    "{",
    "]",
    ",",
    ":",
    "\\u007f",
];

const BROKEN_PIECES: &[&[u8]] = &[
    b"\\ud800",
    b"\\udc00",
    b"\\ud800x",
    b"\\udc00\\ud800",
    b"\\ud83d\\u0041",
    b"\xff",
    b"\xe2",
    b"\xe2\x80",
    b"\xf0\x9f\x98",
    b"\xc0\x80",
    b"\xed\xa0\x80",
];

const SCALARS: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1e2",
    "1E+02",
    "-1.50",
    "12345678901234567890",
    "0.1e-7",
];

/// Returns an object with random blanks; one in six has a string that is invalid text.
pub(in crate::codec::json) fn document(prng: &mut Prng) -> Vec<u8> {
    let mut writer = Writer {
        out: Vec::new(),
        is_broken: prng.chance(1, 6),
        keys_apart: prng.chance(2, 3),
    };
    writer.blank(prng);
    writer.object(prng, 4);
    writer.blank(prng);
    writer.out
}

/// Damages a document: drops, doubles or replaces a byte.
pub(in crate::codec::json) fn damage(prng: &mut Prng, text: &mut Vec<u8>) {
    let Some(at) = prng.pick(0..text.len()) else {
        return;
    };
    let byte = prng.pick(b"{}[]\":,\\ u0e-n\xff\x01".iter().copied());
    let byte = byte.expect("not empty");
    match prng.range(0, 2) {
        0 => _ = text.remove(at),
        1 => text.insert(at, byte),
        _ => text[at] = byte,
    }
}

/// Returns random bytes, more often those that JSON gives a meaning.
pub(in crate::codec::json) fn noise(prng: &mut Prng) -> Vec<u8> {
    const MEANT: &[u8] = b"{}[]\":,\\nu0<e \t\xe2\x80\xa8\xff\x1f";
    let count = prng.range(0, 24);
    let mut byte = || {
        let any = u8::try_from(prng.range(0, 255)).expect("a byte");
        let meant = prng.pick(MEANT.iter().copied()).expect("not empty");
        if prng.chance(1, 8) { any } else { meant }
    };
    (0..count).map(|_| byte()).collect()
}

struct Writer {
    out: Vec<u8>,
    is_broken: bool,
    /// Keys get a number, so that they seldom collide.
    keys_apart: bool,
}

impl Writer {
    fn value(&mut self, prng: &mut Prng, depth: u32) {
        match prng.range(0, 9) {
            0 | 1 if depth > 0 => self.object(prng, depth - 1),
            2 | 3 if depth > 0 => self.list(prng, *b"[]", |writer, prng, _| {
                writer.value(prng, depth - 1);
            }),
            0..=6 => {
                let pieces = prng.range(0, 5);
                self.string(prng, |writer, prng| {
                    (0..pieces).for_each(|_| writer.piece(prng));
                });
            }
            _ => self.put(prng.pick(SCALARS.iter()).expect("not empty")),
        }
    }

    fn object(&mut self, prng: &mut Prng, depth: u32) {
        self.list(prng, *b"{}", |writer, prng, index| {
            writer.string(prng, |writer, prng| {
                writer.put(prng.pick(KEYS.iter()).expect("not empty"));
                if writer.keys_apart && index > 0 {
                    writer.put(&index.to_string());
                }
                if prng.chance(1, 20) {
                    writer.piece(prng);
                }
            });
            writer.blank(prng);
            writer.put(":");
            writer.blank(prng);
            writer.value(prng, depth);
        });
    }

    fn list(
        &mut self,
        prng: &mut Prng,
        brackets: [u8; 2],
        item: impl Fn(&mut Self, &mut Prng, u32),
    ) {
        self.out.push(brackets[0]);
        self.blank(prng);
        for index in 0..prng.range(0, 4) {
            if index > 0 {
                self.out.push(b',');
                self.blank(prng);
            }
            item(self, prng, index);
            self.blank(prng);
        }
        self.out.push(brackets[1]);
    }

    fn string(&mut self, prng: &mut Prng, inside: impl FnOnce(&mut Self, &mut Prng)) {
        self.out.push(b'"');
        inside(self, prng);
        self.out.push(b'"');
    }

    fn piece(&mut self, prng: &mut Prng) {
        if self.is_broken && prng.chance(1, 6) {
            let broken = prng.pick(BROKEN_PIECES.iter()).expect("not empty");
            self.out.extend_from_slice(broken);
        } else {
            self.put(prng.pick(PIECES.iter()).expect("not empty"));
        }
    }

    fn blank(&mut self, prng: &mut Prng) {
        while prng.chance(1, 4) {
            let blanks = b" \t\r\n".iter().copied();
            self.out.push(prng.pick(blanks).expect("not empty"));
        }
    }

    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }
}
