//! The scanner of the JSON readers: checks grammar and finds extents.
//!
//! It checks values without recursion and strictly by RFC 8259, with two exceptions: a string may
//! contain any bytes from 0x20 up, UTF-8 or not, and nesting is limited as in Go. It decodes
//! nothing.

use super::{DEPTH_MAX, JsonError};

/// A scanner of a text. After an error its position is unspecified.
#[derive(Debug)]
pub(super) struct Scanner<'t> {
    text: &'t [u8],
    /// Index of the next byte.
    at: usize,
}

impl<'t> Scanner<'t> {
    /// Creates a scanner at the start of `text`.
    pub(super) fn new(text: &'t [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Skips white space and returns the index of the next byte, or the length of the text.
    pub(super) fn position(&mut self) -> usize {
        self.peek();
        self.at
    }

    /// Returns the index of the last byte taken. There must be one.
    pub(super) fn last_position(&self) -> usize {
        self.at - 1
    }

    /// Returns the bytes taken since position `start`.
    pub(super) fn since(&self, start: usize) -> &'t [u8] {
        &self.text[start..self.at]
    }

    /// Returns the bytes not yet taken.
    pub(super) fn rest(&self) -> &'t [u8] {
        &self.text[self.at..]
    }

    /// Skips white space and returns the next byte without taking it; `None` at the end.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.text.get(self.at) {
            if !is_white_space(byte) {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Skips white space and takes the next byte; an error at the end.
    pub(super) fn take(&mut self) -> Result<u8, JsonError> {
        let byte = self.peek().ok_or(JsonError::Malformed)?;
        self.at += 1;
        Ok(byte)
    }

    /// Skips white space and takes the next byte; an error if it is not `expected`.
    pub(super) fn expect(&mut self, expected: u8) -> Result<(), JsonError> {
        if self.take()? == expected {
            Ok(())
        } else {
            Err(JsonError::Malformed)
        }
    }

    /// Takes a value inside `depth` open objects and arrays; returns whether it is a string with
    /// escapes.
    pub(super) fn value(&mut self, depth: u32) -> Result<bool, JsonError> {
        match self.take()? {
            b'"' => return self.string(),
            first @ (b'{' | b'[') => self.container(first, Nesting::within(depth))?,
            first => self.scalar(first)?,
        }
        Ok(false)
    }

    /// Takes the rest of an object or array after its opening bracket `first`.
    #[inline(never)]
    fn container(&mut self, first: u8, mut nesting: Nesting) -> Result<(), JsonError> {
        let mut first = first;
        loop {
            // `first` is the first byte of a value.
            match first {
                b'"' => _ = self.string()?,
                b'{' | b'[' => {
                    nesting.open(first)?;
                    let empty = self.peek() == Some(closing(first));
                    if !empty {
                        first = self.element(first)?;
                        continue;
                    }
                }
                _ => self.scalar(first)?,
            }

            // The value has ended, and with it maybe its containers.
            loop {
                let Some(bracket) = nesting.innermost() else {
                    return Ok(());
                };
                let byte = self.take()?;
                if byte == b',' {
                    first = self.element(bracket)?;
                    break;
                }
                if byte != closing(bracket) {
                    return Err(JsonError::Malformed);
                }
                nesting.close();
            }
        }
    }

    /// Takes a key, if inside an object, and the first byte of the next value.
    fn element(&mut self, bracket: u8) -> Result<u8, JsonError> {
        if bracket == b'{' {
            self.expect(b'"')?;
            self.string()?;
            self.expect(b':')?;
        }
        self.take()
    }

    /// Takes the rest of a string after its opening quote; returns whether it has escapes.
    pub(super) fn string(&mut self) -> Result<bool, JsonError> {
        let mut escaped = false;
        loop {
            self.at += plain_count(&self.text[self.at..]);
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                // A control character, or the end of the text.
                _ => return Err(JsonError::Malformed),
            }
        }
    }

    /// Takes an escape with its backslash.
    fn escape(&mut self) -> Result<(), JsonError> {
        match self.text[self.at + 1..] {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.at += 2,
            [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(u8::is_ascii_hexdigit) => {
                self.at += 6;
            }
            _ => return Err(JsonError::Malformed),
        }
        Ok(())
    }

    /// Takes the rest of a number or literal after its first byte.
    pub(super) fn scalar(&mut self, first: u8) -> Result<(), JsonError> {
        match first {
            b'-' | b'0'..=b'9' => self.number(first),
            b't' => self.literal(b"rue"),
            b'f' => self.literal(b"alse"),
            b'n' => self.literal(b"ull"),
            _ => Err(JsonError::Malformed),
        }
    }

    fn literal(&mut self, rest: &[u8]) -> Result<(), JsonError> {
        if !self.text[self.at..].starts_with(rest) {
            return Err(JsonError::Malformed);
        }
        self.at += rest.len();
        Ok(())
    }

    /// Takes the longest number. The caller checks what follows, even a digit after `0`.
    fn number(&mut self, first: u8) -> Result<(), JsonError> {
        let mut first = first;
        if first == b'-' {
            first = self
                .text
                .get(self.at)
                .copied()
                .ok_or(JsonError::Malformed)?;
            self.at += 1;
        }
        match first {
            b'0' => {}
            b'1'..=b'9' => _ = self.digits(),
            _ => return Err(JsonError::Malformed),
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits().ok_or(JsonError::Malformed)?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.text.get(self.at) {
                self.at += 1;
            }
            self.digits().ok_or(JsonError::Malformed)?;
        }
        Ok(())
    }

    /// Takes digits; `None` if there are none.
    fn digits(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (count > 0).then_some(())
    }
}

/// The open objects and arrays, one bit each.
///
/// ```text
///   outer  [ 64 outermost | next 64 | .. ]     word  [ .. older  newest ]
/// ```
///
/// The first 64 levels need no memory, all levels at most 2 KiB, freed after the message.
#[derive(Debug)]
struct Nesting {
    /// The newest bits, the innermost lowest; 1 for an object.
    word: u64,
    /// Earlier values of `word`, one from every 64th level.
    outer: Vec<u64>,
    count: u32,
    count_max: u32,
}

impl Nesting {
    /// Creates a nesting inside `depth` open objects and arrays that it does not track.
    fn within(depth: u32) -> Self {
        Self {
            word: 0,
            outer: Vec::new(),
            count: 0,
            count_max: DEPTH_MAX - depth,
        }
    }

    fn open(&mut self, bracket: u8) -> Result<(), JsonError> {
        if self.count == self.count_max {
            return Err(JsonError::Malformed);
        }
        if self.count > 0 && self.count.is_multiple_of(u64::BITS) {
            self.outer.push(self.word);
        }
        self.word = self.word << 1 | u64::from(bracket == b'{');
        self.count += 1;
        Ok(())
    }

    fn close(&mut self) {
        self.count -= 1;
        self.word >>= 1;
        if self.count > 0 && self.count.is_multiple_of(u64::BITS) {
            self.word = self.outer.pop().expect("kept when this level was opened");
        }
    }

    /// Returns the opening bracket of the innermost container; `None` if none is open.
    fn innermost(&self) -> Option<u8> {
        let bracket = if self.word & 1 == 1 { b'{' } else { b'[' };
        (self.count > 0).then_some(bracket)
    }
}

/// Returns the number of bytes before the first quote, backslash or control character.
pub(super) fn plain_count(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = zero_bytes(word ^ (ONES * u64::from(b'"')));
        let backslash = zero_bytes(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let stops = quote | backslash | control;
        if stops != 0 {
            return index * 8 + stops.trailing_zeros() as usize / 8;
        }
    }
    let plain = |&&byte: &&u8| !matches!(byte, b'"' | b'\\' | 0..0x20);
    words.len() * 8 + rest.iter().take_while(plain).count()
}

/// Returns the high bit of each zero byte of `word`. Above the lowest zero byte, bits of other
/// bytes may be set too.
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = ONES << 7;

/// Returns the closing bracket for an opening one.
pub(super) fn closing(bracket: u8) -> u8 {
    if bracket == b'{' { b'}' } else { b']' }
}

/// Returns whether a byte is white space in JSON, which has less of it than ASCII.
pub(super) fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}
