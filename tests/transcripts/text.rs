//! The texts of transcripts: octets, some of which may be chosen by the gateway.
//!
//! What is heard is compared with a text, and what the text names has that name from then on; what
//! is said takes what was named before.

use std::collections::BTreeMap;

/// A text as it stands in a transcript.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Text(Vec<Piece>);

/// What was heard where a text has a name.
pub(crate) type Names = BTreeMap<String, Vec<u8>>;

#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    /// These.
    Octets(Vec<u8>),
    /// So many letters, digits, `$`, `@` and `-`.
    Any(usize),
    /// So many of the same without `-`: the characters of a `seqno`.
    Letters(usize),
    /// So many digits of lower-case hexadecimal numbers.
    Hex(usize),
    /// So many as in [`Piece::Any`], which have a name from now on.
    Named(String, usize),
    /// What has this name.
    Same(String),
}

impl Text {
    /// These octets and no others.
    pub(crate) fn plain(octets: impl Into<Vec<u8>>) -> Self {
        Self(vec![Piece::Octets(octets.into())])
    }

    /// Reads `\n \r \t \\ \xHH \xHH{COUNT}` and the wildcards `\*{COUNT} \a{COUNT} \h{COUNT}
    /// \<NAME{COUNT}> \<NAME>`; everything else is itself. `None` if something else follows a
    /// backslash.
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

    /// The same with some octets before it.
    pub(crate) fn behind(mut self, octets: &[u8]) -> Self {
        self.0.insert(0, Piece::Octets(octets.to_vec()));
        self
    }

    /// Whether it has no octets.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|piece| *piece == Piece::Octets(vec![]))
    }

    /// Whether it is this.
    pub(crate) fn is(&self, octets: &[u8]) -> bool {
        self.0 == [Piece::Octets(octets.to_vec())]
    }

    /// What is said; `None` if something has no name yet, or could be anything.
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

    /// How many octets it has; `None` if something has no name yet.
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

    /// Compares all that was heard, and names what has a name.
    pub(crate) fn matches(&self, heard: &[u8], names: &mut Names) -> bool {
        let mut rest = heard;
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

/// What follows `\*`, `\a`, `\h` and `\<`.
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

/// Whether it is in the alphabet of a `seqno`.
fn is_letter(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"$@".contains(&octet)
}

/// A number in braces, and what follows.
fn braces(text: &str) -> Option<(usize, &str)> {
    let (digits, rest) = text.strip_prefix('{')?.split_once('}')?;
    Some((digits.parse().ok()?, rest))
}
