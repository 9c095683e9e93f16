//! The scanner beneath the JSON reader: grammar and extents, nothing else.
//!
//! It checks one value after another, without recursion and strictly by RFC 8259, except that the
//! bytes of a string may be any from 0x20 up, UTF-8 or not, and that nesting ends at Go's limit.
//! It decodes nothing, and does not know which members matter or what may follow a value.

use super::{DEPTH_MAX, Refused};

/// Walks over a text, checking its syntax.
///
/// After an error its position means nothing.
#[derive(Debug)]
pub(super) struct Scanner<'t> {
    text: &'t [u8],
    /// Index of the next byte to look at.
    at: usize,
}

impl<'t> Scanner<'t> {
    /// Stands at the beginning of `text`.
    pub(super) fn new(text: &'t [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Where the next byte is that is not white space; an index into the text, or its length.
    pub(super) fn position(&mut self) -> usize {
        self.peek();
        self.at
    }

    /// Where the byte is that was taken last, for one who has taken one.
    pub(super) fn last_position(&self) -> usize {
        self.at - 1
    }

    /// What has been taken since the scanner stood at `start`.
    pub(super) fn since(&self, start: usize) -> &'t [u8] {
        &self.text[start..self.at]
    }

    /// What has not been taken yet.
    pub(super) fn rest(&self) -> &'t [u8] {
        &self.text[self.at..]
    }

    /// The next byte that is not white space, without taking it; `None` at the end.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.text.get(self.at) {
            if !is_white_space(byte) {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Takes the next byte that is not white space.
    pub(super) fn take(&mut self) -> Result<u8, Refused> {
        let byte = self.peek().ok_or(Refused::Malformed)?;
        self.at += 1;
        Ok(byte)
    }

    /// Takes the next byte that is not white space, which must be `expected`.
    pub(super) fn expect(&mut self, expected: u8) -> Result<(), Refused> {
        if self.take()? == expected {
            Ok(())
        } else {
            Err(Refused::Malformed)
        }
    }

    /// Takes a value of any kind, inside `depth` open objects and arrays; says whether it is a
    /// string with escapes.
    pub(super) fn value(&mut self, depth: u32) -> Result<bool, Refused> {
        match self.take()? {
            b'"' => return self.string(),
            first @ (b'{' | b'[') => self.container(first, Nesting::within(depth))?,
            first => self.scalar(first)?,
        }
        Ok(false)
    }

    /// Takes the rest of an object or array whose opening bracket is `first`.
    #[inline(never)]
    fn container(&mut self, first: u8, mut nesting: Nesting) -> Result<(), Refused> {
        let mut first = first;
        loop {
            // A value begins with `first`.
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

            // It has ended, and so may what it is in.
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
                    return Err(Refused::Malformed);
                }
                nesting.close();
            }
        }
    }

    /// Takes the key, if inside an object, and the first byte of the value that comes next.
    fn element(&mut self, bracket: u8) -> Result<u8, Refused> {
        if bracket == b'{' {
            self.expect(b'"')?;
            self.string()?;
            self.expect(b':')?;
        }
        self.take()
    }

    /// Takes the rest of a string whose opening quote has been taken; says whether it has escapes.
    pub(super) fn string(&mut self) -> Result<bool, Refused> {
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
                _ => return Err(Refused::Malformed),
            }
        }
    }

    /// Takes an escape, backslash included.
    fn escape(&mut self) -> Result<(), Refused> {
        match self.text[self.at + 1..] {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.at += 2,
            [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(u8::is_ascii_hexdigit) => {
                self.at += 6;
            }
            _ => return Err(Refused::Malformed),
        }
        Ok(())
    }

    /// Takes the rest of a number or a word whose first byte has been taken.
    pub(super) fn scalar(&mut self, first: u8) -> Result<(), Refused> {
        match first {
            b'-' | b'0'..=b'9' => self.number(first),
            b't' => self.word(b"rue"),
            b'f' => self.word(b"alse"),
            b'n' => self.word(b"ull"),
            _ => Err(Refused::Malformed),
        }
    }

    fn word(&mut self, rest: &[u8]) -> Result<(), Refused> {
        if !self.text[self.at..].starts_with(rest) {
            return Err(Refused::Malformed);
        }
        self.at += rest.len();
        Ok(())
    }

    /// Takes as much as is a number; what follows it, even a digit after `0`, is not its business.
    fn number(&mut self, first: u8) -> Result<(), Refused> {
        let mut first = first;
        if first == b'-' {
            first = self.text.get(self.at).copied().ok_or(Refused::Malformed)?;
            self.at += 1;
        }
        match first {
            b'0' => {}
            b'1'..=b'9' => _ = self.digits(),
            _ => return Err(Refused::Malformed),
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits().ok_or(Refused::Malformed)?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.text.get(self.at) {
                self.at += 1;
            }
            self.digits().ok_or(Refused::Malformed)?;
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

/// The objects and arrays that are open around the scanner, one bit each.
///
/// ```text
///   outer  [ 64 outermost | next 64 | .. ]     word  [ .. older  newest ]
/// ```
///
/// The first 64 levels need no memory, all of them at most 2 KiB, given back with the message.
#[derive(Debug)]
struct Nesting {
    /// The newest bits, the innermost lowest; 1 is an object.
    word: u64,
    /// Earlier states of `word`, one from every 64th level.
    outer: Vec<u64>,
    count: u32,
    count_max: u32,
}

impl Nesting {
    /// Nothing open yet, inside `depth` objects and arrays that somebody else keeps.
    fn within(depth: u32) -> Self {
        Self {
            word: 0,
            outer: Vec::new(),
            count: 0,
            count_max: DEPTH_MAX - depth,
        }
    }

    fn open(&mut self, bracket: u8) -> Result<(), Refused> {
        if self.count == self.count_max {
            return Err(Refused::Malformed);
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

    /// The opening bracket of the innermost; `None` if nothing is open.
    fn innermost(&self) -> Option<u8> {
        let bracket = if self.word & 1 == 1 { b'{' } else { b'[' };
        (self.count > 0).then_some(bracket)
    }
}

/// How many bytes come before the first that a string cannot simply pass over.
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

/// The high bit of each byte of `word` that is zero; above the lowest such, maybe of others too.
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = ONES << 7;

/// The bracket that closes what `bracket` opens.
pub(super) fn closing(bracket: u8) -> u8 {
    if bracket == b'{' { b'}' } else { b']' }
}

/// JSON's white space, which is less than ASCII's.
pub(super) fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}
