//! Texts of transcripts: octets and wildcards for values that the gateway chooses.
//!
//! Received octets are matched with a text, which may store values under names. Sent texts use the
//! stored values.

use std::collections::BTreeMap;

/// A text of a transcript.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Text(Vec<Piece>);

/// The stored values by name.
pub(crate) type Names = BTreeMap<String, Vec<u8>>;

#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    /// Exactly these octets.
    Octets(Vec<u8>),
    /// This many letters, digits, `$`, `@` and `-`.
    Any(usize),
    /// Like [`Piece::Any`] without `-`: the characters of a `seqno`.
    Letters(usize),
    /// This many lower-case hexadecimal digits.
    Hex(usize),
    /// Like [`Piece::Any`]; the value is stored under a name.
    Named(String, usize),
    /// The value stored under a name.
    Same(String),
}

impl Text {
    /// Creates a text of exactly these octets.
    pub(crate) fn plain(octets: impl Into<Vec<u8>>) -> Self {
        Self(vec![Piece::Octets(octets.into())])
    }

    /// Parses a text with the escapes `\n \r \t \\ \xHH \xHH{COUNT}` and the wildcards `\*{COUNT}
    /// \a{COUNT} \h{COUNT} \<NAME{COUNT}> \<NAME>`. `None` if an escape is unknown.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut octets = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('\\') {
            octets.extend(rest.as_bytes()[..at].iter());
            let kind = rest[at + 1..].chars().next()?;
            rest = &rest[at + 1 + kind.len_utf8()..];
            match kind {
                'n' => octets.push(b'\n'),
                'r' => octets.push(b'\r'),
                't' => octets.push(b'\t'),
                '\\' => octets.push(b'\\'),
                'x' => {
                    let octet = u8::from_str_radix(rest.get(..2)?, 16).ok()?;
                    rest = &rest[2..];
                    let (count, after) = braces(rest).unwrap_or((1, rest));
                    octets.resize(octets.len() + count, octet);
                    rest = after;
                }
                '*' | 'a' | 'h' | '<' => {
                    let piece;
                    (piece, rest) = wildcard(kind, rest)?;
                    pieces.push(Piece::Octets(std::mem::take(&mut octets)));
                    pieces.push(piece);
                }
                _ => return None,
            }
        }
        octets.extend(rest.as_bytes());
        pieces.push(Piece::Octets(octets));
        Some(Self(pieces))
    }

    /// Returns the text with octets before it.
    pub(crate) fn behind(mut self, octets: &[u8]) -> Self {
        self.0.insert(0, Piece::Octets(octets.to_vec()));
        self
    }

    /// Returns `true` if the text is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|piece| *piece == Piece::Octets(vec![]))
    }

    /// Returns `true` if the text is exactly these octets.
    pub(crate) fn is(&self, octets: &[u8]) -> bool {
        self.0 == [Piece::Octets(octets.to_vec())]
    }

    /// Returns the octets to send; `None` if a name is unknown or a wildcard has no value.
    pub(crate) fn resolve(&self, names: &Names) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Octets(octets) => all.extend(octets),
                Piece::Same(name) => all.extend(names.get(name)?),
                Piece::Any(_) | Piece::Letters(_) | Piece::Hex(_) | Piece::Named(..) => {
                    return None;
                }
            }
        }
        Some(all)
    }

    /// Returns the length in octets; `None` if a name is unknown.
    pub(crate) fn len(&self, names: &Names) -> Option<usize> {
        let len = |piece: &Piece| match piece {
            Piece::Octets(octets) => Some(octets.len()),
            Piece::Any(count)
            | Piece::Letters(count)
            | Piece::Hex(count)
            | Piece::Named(_, count) => Some(*count),
            Piece::Same(name) => Some(names.get(name)?.len()),
        };
        self.0.iter().map(len).sum()
    }

    /// Matches received octets and stores named values. Returns `true` if all octets match.
    pub(crate) fn matches(&self, received: &[u8], names: &mut Names) -> bool {
        let mut rest = received;
        for piece in &self.0 {
            let len = match piece {
                Piece::Octets(octets) => octets.len(),
                Piece::Any(count)
                | Piece::Letters(count)
                | Piece::Hex(count)
                | Piece::Named(_, count) => *count,
                Piece::Same(name) => names.get(name).map_or(usize::MAX, Vec::len),
            };
            let Some((these, after)) = rest.split_at_checked(len) else {
                return false;
            };
            rest = after;
            let all = |holds: fn(u8) -> bool| these.iter().copied().all(holds);
            let is_same = match piece {
                Piece::Octets(octets) => octets == these,
                Piece::Any(_) | Piece::Named(..) => all(|octet| octet == b'-' || is_letter(octet)),
                Piece::Letters(_) => all(is_letter),
                Piece::Hex(_) => all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f')),
                Piece::Same(name) => names.get(name).is_some_and(|known| known == these),
            };
            if !is_same {
                return false;
            }
            if let Piece::Named(name, _) = piece {
                names.insert(name.clone(), these.to_vec());
            }
        }
        rest.is_empty()
    }
}

/// Parses the rest of a wildcard after `\*`, `\a`, `\h` or `\<`.
fn wildcard(kind: char, text: &str) -> Option<(Piece, &str)> {
    if kind != '<' {
        let (count, rest) = braces(text)?;
        let piece = match kind {
            'a' => Piece::Letters(count),
            'h' => Piece::Hex(count),
            _ => Piece::Any(count),
        };
        return Some((piece, rest));
    }
    let (inside, rest) = text.split_once('>')?;
    let piece = match inside.split_once('{') {
        Some((name, count)) => {
            let count = count.strip_suffix('}')?.parse().ok()?;
            Piece::Named(name.to_owned(), count)
        }
        None => Piece::Same(inside.to_owned()),
    };
    Some((piece, rest))
}

/// Returns `true` for characters of a `seqno`.
fn is_letter(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"$@".contains(&octet)
}

/// Parses a number in braces and returns it with the rest.
fn braces(text: &str) -> Option<(usize, &str)> {
    let (digits, rest) = text.strip_prefix('{')?.split_once('}')?;
    Some((digits.parse().ok()?, rest))
}
