//! The JSON reader: finds a few named members of a message's first value.
//!
//! The originals decode a message with Go's `encoding/json` into a struct of strings. Their clients
//! rely on its leniency, which no Rust library has. This reader is lenient in the same way:
//!
//! ```text
//!   {"token": "jack", "Event": "n\u0065ws", "x": [1, {}]} whatever follows
//!             '----'            '---------'  '---------' ^
//!             borrowed in place   decoded     checked    end of the first value
//!                                 on demand  and skipped
//! ```
//!
//! One scan without recursion checks the syntax of the first value and records the extents of the
//! wanted members. Nothing is changed, copied or decoded until the caller reads a text. A string
//! that has no escapes and is valid UTF-8 is borrowed from the message.
//!
//! The reader is total on any bytes, in time linear in the first value. It builds no tree and does
//! not check the range of numbers.

mod scan;
pub mod strict;
pub(crate) mod typed;
pub mod write;

use scan::{Scanner, is_white_space};

/// The names of the members to find in a kind of message, as a constant of its dialect.
///
/// `S` of them are strings, and `R` are raw: any JSON. A key matches as in Go: it is decoded and
/// compared without regard to ASCII case, where U+017F counts as `s` and U+212A as `k`.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<const S: usize, const R: usize> {
    strings: [&'static str; S],
    raws: [&'static str; R],
}

/// The result of [`Wanted::find`], in the order of the names.
#[derive(Clone, Copy, Debug)]
pub struct Found<'t, const S: usize, const R: usize> {
    /// The strings; `None` if missing or always `null`.
    pub strings: [Option<Text<'t>>; S],
    /// The raw values without surrounding white space; `None` if missing. `null` is a value, as it
    /// is for Go's `json.RawMessage`.
    pub raws: [Option<&'t [u8]>; R],
    /// The bytes after the first value, unchecked.
    pub rest: &'t [u8],
}

/// A string of a message, not yet decoded.
///
/// Invariant: each escape in `raw` is complete and valid in JSON.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text<'t> {
    /// The bytes between the quotes.
    raw: &'t [u8],
    /// `raw` has an escape.
    escaped: bool,
}

/// A buffer for decoded texts that cannot be borrowed from the message. One per shard is enough.
///
/// It keeps its memory from one message to the next, up to [`SCRATCH_BYTES_MAX`].
#[derive(Debug, Default)]
pub struct Scratch {
    decoded: String,
}

/// The reason that a message is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// The first value is not valid JSON, or is nested deeper than [`DEPTH_MAX`].
    Malformed,
    /// The first value is valid, but neither an object nor `null`, or an occurrence of a string
    /// member is neither a string nor `null`.
    WrongType,
}

/// Maximum number of open objects and arrays, including the outermost: Go's limit.
pub const DEPTH_MAX: u32 = 10_000;

/// Maximum bytes that a [`Scratch`] keeps when it reads its next message.
pub const SCRATCH_BYTES_MAX: usize = 64 * 1024;

impl<const S: usize, const R: usize> Wanted<S, R> {
    /// Creates the names.
    ///
    /// # Panics
    ///
    /// If a name is not ASCII, or two names differ only in case. For a constant that is at compile
    /// time.
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

    /// Reads the first value of `text`: an object, or `null` as an object without members.
    ///
    /// White space may precede it and any bytes may follow it. Other members are checked and
    /// skipped. Of several members with one name the last wins, but `null` never replaces a string.
    ///
    /// # Errors
    ///
    /// [`JsonError::Malformed`] if the first value is not valid JSON; otherwise
    /// [`JsonError::WrongType`] if a type is wrong.
    pub fn find<'t>(&self, text: &'t [u8]) -> Result<Found<'t, S, R>, JsonError> {
        let mut scanner = Scanner::new(text);
        let mut found = Found {
            strings: [None; S],
            raws: [None; R],
            rest: &[],
        };
        // Check all syntax before types: Malformed takes precedence over WrongType.
        let types_agree = if scanner.peek() == Some(b'{') {
            self.find_in_object(&mut found, &mut scanner)?
        } else {
            let start = scanner.position();
            scanner.value(0)?;
            scanner.since(start) == b"null"
        };
        if !types_agree {
            return Err(JsonError::WrongType);
        }
        found.rest = scanner.rest();
        Ok(found)
    }

    /// Reads the next object; returns whether all wanted members have the right type.
    fn find_in_object<'t>(
        &self,
        found: &mut Found<'t, S, R>,
        scanner: &mut Scanner<'t>,
    ) -> Result<bool, JsonError> {
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
                _ => return Err(JsonError::Malformed),
            }
        }
    }
}

impl<const S: usize, const R: usize> Found<'_, S, R> {
    /// Returns whether only white space follows the first value, for dialects that require it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.rest.iter().copied().all(is_white_space)
    }
}

impl<'t> Text<'t> {
    /// Returns a checked value as a string; `None` if it is something else.
    fn unquoted(value: &'t [u8], escaped: bool) -> Option<Self> {
        let raw = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        Some(Self { raw, escaped })
    }

    /// Returns whether the decoded text is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Returns the text borrowed from the message; `None` if it has escapes or is not valid UTF-8.
    #[must_use]
    pub fn borrowed(&self) -> Option<&'t str> {
        if self.escaped {
            return None;
        }
        str::from_utf8(self.raw).ok()
    }

    /// Appends the decoded text to `out`.
    ///
    /// Each byte that is not part of valid UTF-8 and each unpaired surrogate becomes one U+FFFD.
    pub fn decode(&self, out: &mut String) {
        for piece in self.pieces() {
            match piece {
                Piece::Escaped(character) => out.push(character),
                Piece::Run(run) => {
                    for chunk in run.utf8_chunks() {
                        out.push_str(chunk.valid());
                        // Go replaces each byte; Rust would replace the whole sequence once.
                        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
                    }
                }
            }
        }
    }

    fn pieces(&self) -> Pieces<'t> {
        Pieces { raw: self.raw }
    }

    /// Returns whether this text is a key that matches the ASCII name `name`.
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
    /// Creates a scratch without memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            decoded: String::new(),
        }
    }

    /// Returns the texts as strings, borrowed from the message if possible and otherwise decoded
    /// into this scratch. `None` stays `None`.
    ///
    /// Overwrites what an earlier call decoded.
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

    /// Copies `text`, which is not part of the message, into this scratch.
    ///
    /// Overwrites what an earlier call decoded.
    pub fn keep(&mut self, text: &str) -> &str {
        self.decoded.clear();
        self.decoded.shrink_to(SCRATCH_BYTES_MAX);
        self.decoded.push_str(text);
        &self.decoded
    }
}

/// An iterator over the runs and escapes of a text.
#[derive(Debug)]
struct Pieces<'t> {
    raw: &'t [u8],
}

#[derive(Debug)]
enum Piece<'t> {
    /// Bytes without escapes; not empty, possibly not UTF-8.
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
    /// Decodes the digits of a `\u` escape, with the second escape of a surrogate pair.
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

/// Returns the number of four hexadecimal digits.
fn hex(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |number, &digit| {
        let digit = char::from(digit).to_digit(16);
        number << 4 | digit.expect("the scanner has checked it")
    })
}

/// Returns the ASCII character, in lower case, that Go matches `character` with in a key; `None` if
/// there is none.
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
