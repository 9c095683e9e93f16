//! A checked text, with the end of each of its objects and arrays.
//!
//! ```text
//!   {"a": [1, {}], "b": 2}        containers   0 {..}  end 22  next 3
//!         ^      ^                             1 [..]  end 13  next 3
//!                                              2 {}    end 12  next 3
//! ```
//!
//! Containers are in the order in which they begin. A walk over the members of one knows the index
//! of the next, and skips it with everything inside by its `end` and `next`.

use crate::codec::json::scan::{Scanner, closing, is_white_space};
use crate::codec::json::{DEPTH_MAX, JsonError, Text};

/// A checked text of one JSON value.
#[derive(Debug)]
pub(super) struct Document<'t> {
    text: &'t [u8],
    containers: Vec<Container>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Container {
    /// Byte offset behind its closing bracket.
    end: usize,
    /// Index of the first container behind it.
    next: usize,
}

/// The extent of a value of a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    start: usize,
    end: usize,
    /// Index of the first container that begins here or later.
    container: usize,
}

/// The kinds of value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    /// Returns Go's name of the kind.
    pub(super) fn go_name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

impl<'t> Document<'t> {
    /// Checks a text.
    ///
    /// # Errors
    ///
    /// [`JsonError::Malformed`] if the text is not exactly one value, or nested deeper than
    /// [`DEPTH_MAX`].
    pub(super) fn parse(text: &'t [u8]) -> Result<Self, JsonError> {
        let mut scanner = Scanner::new(text);
        let mut containers: Vec<Container> = Vec::new();
        let mut open: Vec<(usize, u8)> = Vec::new();
        let mut first = scanner.take()?;
        'values: loop {
            match first {
                b'"' => _ = scanner.string()?,
                b'{' | b'[' => {
                    if open.len() == DEPTH_MAX as usize {
                        return Err(JsonError::Malformed);
                    }
                    open.push((containers.len(), first));
                    containers.push(Container::default());
                    if scanner.peek() != Some(closing(first)) {
                        first = element(&mut scanner, first)?;
                        continue;
                    }
                }
                _ => scanner.scalar(first)?,
            }

            // The value has ended, and with it maybe its containers.
            loop {
                let Some(&(index, bracket)) = open.last() else {
                    break 'values;
                };
                let byte = scanner.take()?;
                if byte == b',' {
                    first = element(&mut scanner, bracket)?;
                    break;
                }
                if byte != closing(bracket) {
                    return Err(JsonError::Malformed);
                }
                open.pop();
                containers[index] = Container {
                    end: scanner.last_position() + 1,
                    next: containers.len(),
                };
            }
        }
        if !scanner.rest().iter().copied().all(is_white_space) {
            return Err(JsonError::Malformed);
        }
        Ok(Self { text, containers })
    }

    /// Returns the whole value.
    pub(super) fn root(&self) -> Value {
        let is_space = |byte: &u8| is_white_space(*byte);
        let start = self.text.iter().take_while(|byte| is_space(byte)).count();
        let behind = self.text.iter().rev().take_while(|byte| is_space(byte));
        Value {
            start,
            end: self.text.len() - behind.count(),
            container: 0,
        }
    }

    pub(super) fn kind(&self, value: Value) -> Kind {
        match self.text[value.start] {
            b'n' => Kind::Null,
            b't' | b'f' => Kind::Bool,
            b'"' => Kind::String,
            b'[' => Kind::Array,
            b'{' => Kind::Object,
            _ => Kind::Number,
        }
    }

    /// Returns a value as spelled.
    pub(super) fn raw(&self, value: Value) -> &'t [u8] {
        &self.text[value.start..value.end]
    }

    /// Returns a number or literal, which is ASCII.
    pub(super) fn literal(&self, value: Value) -> &'t str {
        str::from_utf8(self.raw(value)).unwrap_or_default()
    }

    /// Returns a string that is not yet decoded.
    pub(super) fn text(&self, value: Value) -> Text<'t> {
        let raw = self.raw(value);
        Text::unquoted(raw, raw.contains(&b'\\')).expect("it is a string")
    }

    /// Returns the members of an object or the elements of an array.
    pub(super) fn children(&self, value: Value) -> Children<'_> {
        Children {
            document: self,
            at: value.start + 1,
            container: value.container + 1,
            is_object: self.kind(value) == Kind::Object,
        }
    }
}

/// Takes a key, if inside an object, and the first byte of the next value.
fn element(scanner: &mut Scanner<'_>, bracket: u8) -> Result<u8, JsonError> {
    if bracket == b'{' {
        scanner.expect(b'"')?;
        scanner.string()?;
        scanner.expect(b':')?;
    }
    scanner.take()
}

/// The members of an object, or the elements of an array, in order.
#[derive(Debug)]
pub(super) struct Children<'d> {
    document: &'d Document<'d>,
    /// Byte offset of the next one or of the comma before it.
    at: usize,
    /// Index of the next container.
    container: usize,
    is_object: bool,
}

impl<'d> Iterator for Children<'d> {
    /// The key, for a member, and the value.
    type Item = (Option<Text<'d>>, Value);

    fn next(&mut self) -> Option<Self::Item> {
        const CHECKED: &str = "the document was checked";

        let mut scanner = Scanner::new(&self.document.text[self.at..]);
        match scanner.peek() {
            Some(b'}' | b']') | None => return None,
            Some(b',') => _ = scanner.take(),
            Some(_) => {}
        }
        let mut key = None;
        if self.is_object {
            let start = scanner.position();
            let escaped = scanner.value(0).expect(CHECKED);
            key = Text::unquoted(scanner.since(start), escaped);
            scanner.expect(b':').expect(CHECKED);
        }

        let mut value = Value {
            start: self.at + scanner.position(),
            end: 0,
            container: self.container,
        };
        value.end = if let Some(b'{' | b'[') = scanner.peek() {
            let container = self.document.containers[self.container];
            self.container = container.next;
            container.end
        } else {
            scanner.value(0).expect(CHECKED);
            self.at + scanner.last_position() + 1
        };
        self.at = value.end;
        Some((key, value))
    }
}
