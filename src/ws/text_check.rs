//! Incremental UTF-8 check of a text message.

/// The UTF-8 check of one partial message.
///
/// Checked bytes are not checked again, except the first bytes of an incomplete character.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TextCheck {
    /// Number of bytes up to the end of the last complete character.
    checked_bytes: usize,
}

impl TextCheck {
    /// Checks the new bytes of a message, of which `text` is all that has been received. Returns
    /// `false` if it is invalid UTF-8, whatever follows.
    pub fn is_text(&mut self, text: &[u8]) -> bool {
        match str::from_utf8(&text[self.checked_bytes..]) {
            Ok(new) => {
                self.checked_bytes += new.len();
                true
            }
            Err(error) => {
                self.checked_bytes += error.valid_up_to();
                error.error_len().is_none()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_tests::prng::Prng;
    use std::collections::BTreeSet;

    /// Returns the number of bytes of `text` after which the check fails, if it is fed in pieces of
    /// these lengths; `None` if it never fails.
    fn fails_at(text: &[u8], mut piece: impl FnMut() -> usize) -> Option<usize> {
        let (mut check, mut end) = (TextCheck::default(), 0);
        while end < text.len() {
            end = text.len().min(end + piece());
            if !check.is_text(&text[..end]) {
                return Some(end);
            }
        }
        None
    }

    /// Returns all incomplete characters: the proper prefixes of multi-byte characters.
    fn beginnings() -> BTreeSet<Vec<u8>> {
        let mut beginnings = BTreeSet::new();
        // The last byte of a character contains six of its bits, so one in 64 suffices.
        for character in (0..=0x10_ffff).step_by(1 << 6).filter_map(char::from_u32) {
            let mut bytes = [0; 4];
            let bytes = character.encode_utf8(&mut bytes).as_bytes();
            beginnings.extend((1..bytes.len()).map(|end| bytes[..end].to_vec()));
        }
        beginnings
    }

    /// Computes [`fails_at`] for pieces of one byte in the simplest way.
    fn model(text: &[u8], beginnings: &BTreeSet<Vec<u8>>) -> Option<usize> {
        let can_go_on = |start: &[u8]| match str::from_utf8(start) {
            Ok(_) => true,
            Err(error) => beginnings.contains(&start[error.valid_up_to()..]),
        };
        (1..=text.len()).find(|&end| !can_go_on(&text[..end]))
    }

    #[test]
    fn a_byte_is_invalid_as_soon_as_nothing_may_follow() {
        let beginnings = beginnings();
        for (text, at) in [
            (&b"hi"[..], None),
            (b"\xff", Some(1)),
            (b"\xc1", Some(1)),
            (b"a\x80", Some(2)),
            (b"\xc3\xa9\xc3", None),
            (b"\xc3a", Some(2)),
            (b"\xed\x9f", None),
            (b"\xed\xa0", Some(2)), // the first half of a surrogate pair
            (b"\xe0\x9f", Some(2)), // overlong
            (b"\xf4\x8f\xbf", None),
            (b"\xf4\x90", Some(2)), // beyond the last character
            (b"\xf0\x9f\x94\xe9", Some(4)),
        ] {
            assert_eq!(fails_at(text, || 1), at, "{text:02x?}");
            assert_eq!(model(text, &beginnings), at, "{text:02x?}");
        }
    }

    /// Returns random characters, with a bit flipped or the end cut off now and then.
    fn almost_text(prng: &mut Prng) -> Vec<u8> {
        let mut text = String::new();
        for _ in 0..prng.range(0, 12) {
            let most = [0x7f, 0x7ff, 0xffff, 0x10_ffff][prng.range(0, 3) as usize];
            text.extend(char::from_u32(prng.range(0, most)));
        }
        let mut text = text.into_bytes();
        if !text.is_empty() && prng.chance(1, 2) {
            let last = u32::try_from(text.len()).expect("small") - 1;
            text[prng.range(0, last) as usize] ^= 1 << prng.range(5, 7);
        }
        if prng.chance(1, 4) {
            text.truncate(prng.range(0, u32::try_from(text.len()).expect("small")) as usize);
        }
        text
    }

    #[test]
    fn any_pieces_fail_at_the_first_invalid_byte() {
        let beginnings = beginnings();
        let (mut whole, mut failed) = (0, 0);
        for seed in 0..1_000 {
            let mut prng = Prng::from_seed(seed);
            let text = almost_text(&mut prng);
            let expected = model(&text, &beginnings);
            assert_eq!(fails_at(&text, || 1), expected, "seed {seed}: {text:02x?}");
            for piece_max in [2, 3, 5, 100] {
                let mut ends = Vec::new();
                let fails = fails_at(&text, || {
                    let piece = prng.range(1, piece_max) as usize;
                    ends.push(ends.last().unwrap_or(&0) + piece);
                    piece
                });
                // The piece with the invalid byte fails, no earlier or later one.
                let piece_end = expected.map(|at| {
                    let end = ends.iter().copied().find(|&end| end >= at);
                    end.expect("it was fed").min(text.len())
                });
                assert_eq!(fails, piece_end, "seed {seed}: {text:02x?}");
            }
            let is_text = str::from_utf8(&text).is_ok();
            assert!(!is_text || expected.is_none(), "seed {seed}: {text:02x?}");
            whole += u32::from(is_text);
            failed += u32::from(expected.is_some());
        }
        // Both cases must occur often enough to be tested.
        assert!(whole > 100 && failed > 100, "{whole} {failed}");
    }
}
