//! The JSON reader: finds a few named members of a message's first value.
//!
//! The originals read a message with Go's `encoding/json` into a struct of strings, and their
//! clients have come to rely on what that forgives, which no library here does. This reader
//! forgives the same:
//!
//! ```text
//!   {"token": "jack", "Event": "n\u0065ws", "x": [1, {}]} whatever follows
//!             '----'            '---------'  '---------' ^
//!             borrowed in place   decoded     checked    end of the first value
//!                                 on demand  and skipped
//! ```
//!
//! One scan without recursion checks the first value's syntax to its end and notes the extents of
//! the wanted members. Nothing is changed, copied or decoded until the caller asks for a text, and
//! a string without escapes that is valid UTF-8 is then borrowed from the message.
//!
//! It promises to be total on any bytes, in time linear in the first value. It does not know what
//! any member means, keeps no tree and never looks at the magnitude of a number.

mod scan;
pub mod strict;
pub(crate) mod typed;
pub mod write;

use scan::{Scanner, is_white_space};

/// The members that one kind of message has, as a constant of its dialect.
///
/// `S` of them are strings, `R` are taken raw, whatever JSON they hold. A member is matched as Go
/// matches a struct's field: its key is decoded, then compared without regard to ASCII case, where
/// U+017F counts as `s` and U+212A as `k`.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<const S: usize, const R: usize> {
    strings: [&'static str; S],
    raws: [&'static str; R],
}

/// What [`Wanted::find`] has found, in the order of the names asked for.
#[derive(Clone, Copy, Debug)]
pub struct Found<'t, const S: usize, const R: usize> {
    /// The strings; `None` if missing or never anything but `null`.
    pub strings: [Option<Text<'t>>; S],
    /// The extents of the values taken raw, without white space around them; `None` if missing.
    /// `null` is a value like any other here, as it is to Go's `json.RawMessage`.
    pub raws: [Option<&'t [u8]>; R],
    /// The bytes after the first value, which nobody has looked at.
    pub rest: &'t [u8],
}

/// A string of a message, not yet decoded.
///
/// Invariant: every escape in `raw` is one that JSON knows, and complete.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text<'t> {
    /// What stands between the quotes.
    raw: &'t [u8],
    /// Whether `raw` has an escape.
    escaped: bool,
}

/// Where texts are decoded that cannot be borrowed from the message; one per shard is enough.
///
/// It keeps its memory from one message to the next, up to [`SCRATCH_BYTES_MAX`].
#[derive(Debug, Default)]
pub struct Scratch {
    decoded: String,
}

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not JSON up to the end of its first value, or nested deeper than [`DEPTH_MAX`].
    Malformed,
    /// Well-formed, but the first value is neither an object nor `null`, or a member wanted as a
    /// string is, in one of its occurrences, neither a string nor `null`.
    WrongType,
}

/// How many objects and arrays may be open at once, the outermost included; Go's limit.
pub const DEPTH_MAX: u32 = 10_000;

/// The most memory, in bytes, that a [`Scratch`] keeps when its next message is read.
pub const SCRATCH_BYTES_MAX: usize = 64 * 1024;

impl<const S: usize, const R: usize> Wanted<S, R> {
    /// Members by name.
    ///
    /// Panics, at compile time when it makes a constant, unless every name is ASCII and no two are
    /// equal but for case.
    #[must_use]
    pub const fn new(strings: [&'static str; S], raws: [&'static str; R]) -> Self {
        let mut index = 0;
        while index < S + R {
            let name = name_at(&strings, &raws, index).as_bytes();
            assert!(name.is_ascii(), "a wanted name is ASCII");
            let mut other = 0;
            while other < index {
                let earlier = name_at(&strings, &raws, other).as_bytes();
                assert!(
                    !name.eq_ignore_ascii_case(earlier),
                    "no two wanted names may meet"
                );
                other += 1;
            }
            index += 1;
        }
        Self { strings, raws }
    }

    /// Reads the first value of `text`: an object, or `null`, which is an object without members.
    ///
    /// White space may precede it and anything may follow it. Members nobody wants are checked and
    /// skipped. Of several that match one name the last wins, but `null` never replaces a string.
    pub fn find<'t>(&self, text: &'t [u8]) -> Result<Found<'t, S, R>, Refused> {
        let mut scanner = Scanner::new(text);
        let mut found = Found {
            strings: [None; S],
            raws: [None; R],
            rest: &[],
        };
        // Malformed wins over WrongType: the syntax is checked to the end before types matter.
        let types_agree = if scanner.peek() == Some(b'{') {
            self.find_in_object(&mut found, &mut scanner)?
        } else {
            let start = scanner.position();
            scanner.value(0)?;
            scanner.since(start) == b"null"
        };
        if !types_agree {
            return Err(Refused::WrongType);
        }
        found.rest = scanner.rest();
        Ok(found)
    }

    /// Reads the object that comes next; says whether every wanted member's type agrees.
    fn find_in_object<'t>(
        &self,
        found: &mut Found<'t, S, R>,
        scanner: &mut Scanner<'t>,
    ) -> Result<bool, Refused> {
        let mut types_agree = true;
        scanner.expect(b'{')?;
        if scanner.peek() == Some(b'}') {
            scanner.take()?;
            return Ok(types_agree);
        }

        loop {
            let start = scanner.position();
            scanner.expect(b'"')?;
            let escaped = scanner.string()?;
            let key = Text::unquoted(scanner.since(start), escaped).expect("it has its quotes");
            scanner.expect(b':')?;

            let start = scanner.position();
            let escaped = scanner.value(1)?;
            let value = scanner.since(start);
            if let Some(index) = self.strings.iter().position(|name| key.names(name)) {
                match Text::unquoted(value, escaped) {
                    Some(text) => found.strings[index] = Some(text),
                    None => types_agree &= value == b"null",
                }
            } else if let Some(index) = self.raws.iter().position(|name| key.names(name)) {
                found.raws[index] = Some(value);
            }

            match scanner.take()? {
                b',' => {}
                b'}' => return Ok(types_agree),
                _ => return Err(Refused::Malformed),
            }
        }
    }
}

impl<const S: usize, const R: usize> Found<'_, S, R> {
    /// Whether nothing but white space follows the first value, for languages that ask for it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.rest.iter().copied().all(is_white_space)
    }
}

impl<'t> Text<'t> {
    /// A checked value as a string; `None` if it is something else.
    fn unquoted(value: &'t [u8], escaped: bool) -> Option<Self> {
        let raw = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        Some(Self { raw, escaped })
    }

    /// Whether the decoded text is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The text in place; `None` if it has escapes or is not valid UTF-8, and must be decoded.
    #[must_use]
    pub fn borrowed(&self) -> Option<&'t str> {
        if self.escaped {
            return None;
        }
        str::from_utf8(self.raw).ok()
    }

    /// Appends the decoded text to `out`.
    ///
    /// Each byte that is not part of valid UTF-8 and each surrogate without its other half becomes
    /// one U+FFFD.
    pub fn decode(&self, out: &mut String) {
        for piece in self.pieces() {
            match piece {
                Piece::Escaped(character) => out.push(character),
                Piece::Run(run) => {
                    for chunk in run.utf8_chunks() {
                        out.push_str(chunk.valid());
                        // Go replaces byte by byte where Rust would replace the whole sequence.
                        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
                    }
                }
            }
        }
    }

    fn pieces(&self) -> Pieces<'t> {
        Pieces { raw: self.raw }
    }

    /// Whether this text, as a key, stands for the member `name`, which is ASCII.
    fn names(&self, name: &str) -> bool {
        if !self.escaped && self.raw.eq_ignore_ascii_case(name.as_bytes()) {
            return true;
        }
        (self.escaped || !self.raw.is_ascii()) && self.names_decoded(name)
    }

    #[cold]
    fn names_decoded(&self, name: &str) -> bool {
        let mut expected = name.bytes();
        let mut matches = |character| {
            let expected = expected.next().map(|byte| byte.to_ascii_lowercase());
            expected.is_some() && expected == folded(character)
        };
        for piece in self.pieces() {
            let agrees = match piece {
                Piece::Escaped(character) => matches(character),
                Piece::Run(run) => run.utf8_chunks().all(|chunk| {
                    chunk.invalid().is_empty() && chunk.valid().chars().all(&mut matches)
                }),
            };
            if !agrees {
                return false;
            }
        }
        expected.next().is_none()
    }
}

impl Scratch {
    /// A scratch that owns no memory yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            decoded: String::new(),
        }
    }

    /// The texts as strings, each borrowed from the message where possible and decoded into this
    /// scratch otherwise. A text that is `None` stays `None`.
    ///
    /// What an earlier call decoded is overwritten.
    pub fn read<'a, 't: 'a, const N: usize>(
        &'a mut self,
        texts: [Option<Text<'t>>; N],
    ) -> [Option<&'a str>; N] {
        self.decoded.clear();
        self.decoded.shrink_to(SCRATCH_BYTES_MAX);

        let in_place = texts.map(|text| text.and_then(|text| text.borrowed()));
        let mut ends = [0; N];
        for index in 0..N {
            if let (Some(text), None) = (texts[index], in_place[index]) {
                text.decode(&mut self.decoded);
            }
            ends[index] = self.decoded.len();
        }

        let decoded = self.decoded.as_str();
        std::array::from_fn(|index| {
            let start = index.checked_sub(1).map_or(0, |before| ends[before]);
            texts[index]?;
            Some(in_place[index].unwrap_or_else(|| &decoded[start..ends[index]]))
        })
    }

    /// A copy of `text` in this scratch, for a text that is not the message's own.
    ///
    /// What an earlier call decoded is overwritten.
    pub fn keep(&mut self, text: &str) -> &str {
        self.decoded.clear();
        self.decoded.shrink_to(SCRATCH_BYTES_MAX);
        self.decoded.push_str(text);
        &self.decoded
    }
}

/// A text taken apart where its escapes are.
#[derive(Debug)]
struct Pieces<'t> {
    raw: &'t [u8],
}

#[derive(Debug)]
enum Piece<'t> {
    /// Bytes that stand for themselves; not empty, maybe not UTF-8.
    Run(&'t [u8]),
    Escaped(char),
}

impl<'t> Iterator for Pieces<'t> {
    type Item = Piece<'t>;

    fn next(&mut self) -> Option<Piece<'t>> {
        if self.raw.is_empty() {
            return None;
        }
        let backslash = self.raw.iter().position(|&byte| byte == b'\\');
        let (run, rest) = self.raw.split_at(backslash.unwrap_or(self.raw.len()));
        if !run.is_empty() {
            self.raw = rest;
            return Some(Piece::Run(run));
        }

        let (escape, rest) = self.raw.split_at(2);
        self.raw = rest;
        Some(Piece::Escaped(match escape[1] {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => self.utf16(),
            itself => char::from(itself),
        }))
    }
}

impl Pieces<'_> {
    /// Takes the rest of a `\u` escape and, if it is half of a pair, the other half.
    fn utf16(&mut self) -> char {
        let (digits, rest) = self.raw.split_at(4);
        self.raw = rest;
        let unit = hex(digits);
        if let Some(character) = char::from_u32(unit) {
            return character;
        }
        if let Some(rest) = self.raw.strip_prefix(b"\\u") {
            let (digits, rest) = rest.split_at(4);
            let second = hex(digits);
            if unit < 0xdc00 && (0xdc00..0xe000).contains(&second) {
                self.raw = rest;
                let paired = 0x1_0000 + ((unit - 0xd800) << 10) + (second - 0xdc00);
                return char::from_u32(paired).expect("pairs cover U+10000 to U+10FFFF");
            }
        }
        char::REPLACEMENT_CHARACTER
    }
}

/// The number that four hexadecimal digits spell.
fn hex(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |number, &digit| {
        let digit = char::from(digit).to_digit(16);
        number << 4 | digit.expect("the scanner has checked it")
    })
}

/// The ASCII character, in lower case, that Go takes `character` for in a key; `None` for others.
fn folded(character: char) -> Option<u8> {
    match character {
        '\u{17f}' => Some(b's'),
        '\u{212a}' => Some(b'k'),
        _ => u8::try_from(character)
            .ok()
            .filter(u8::is_ascii)
            .map(|byte| byte.to_ascii_lowercase()),
    }
}

const fn name_at<'n>(strings: &[&'n str], raws: &[&'n str], index: usize) -> &'n str {
    if index < strings.len() {
        strings[index]
    } else {
        raws[index - strings.len()]
    }
}

#[cfg(test)]
mod tests;
