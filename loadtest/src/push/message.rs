//! What a push carries, so that its receiver can tell what it is and whether it should have come.
//!
//! ```text
//!   push p3 u17 n204 t98765432 ..................
//!        |  |   |    |         padding to the size asked for
//!        |  |   |    when it was due, nanoseconds since the start of the run
//!        |  |   which one from this publisher to this user, from zero
//!        |  whose
//!        from which publisher (an HTTP connection)
//! ```
//!
//! Letters, digits, spaces and dots: JSON carries it unescaped, in the same number of bytes.

/// The stamp on a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Index of the publishing connection.
    pub(super) publisher: usize,
    /// Index of the user.
    pub(super) user: usize,
    /// Counted per publisher and user, from zero.
    pub(super) sequence: u64,
    /// Nanoseconds since the start of the run.
    pub(super) due_ns: u64,
}

impl Stamp {
    /// The stamp as a message of `bytes` bytes, or of its own length if that is more.
    pub(super) fn word(&self, bytes: usize) -> String {
        let Self {
            publisher,
            user,
            sequence,
            due_ns,
        } = self;
        let mut text = format!("push p{publisher} u{user} n{sequence} t{due_ns} ");
        while text.len() < bytes {
            text.push('.');
        }
        text
    }

    /// Reads a message back; `None` when it is not one of ours, whole and of `bytes` bytes.
    pub(super) fn read(message: &[u8], bytes: usize) -> Option<Self> {
        let text = str::from_utf8(message).ok()?;
        let mut words = text.split(' ');
        if words.next()? != "push" {
            return None;
        }
        let stamp = Self {
            publisher: words.next()?.strip_prefix('p')?.parse().ok()?,
            user: words.next()?.strip_prefix('u')?.parse().ok()?,
            sequence: words.next()?.strip_prefix('n')?.parse().ok()?,
            due_ns: words.next()?.strip_prefix('t')?.parse().ok()?,
        };
        let padding = words.next()?;
        let is_whole = text.len() >= bytes
            && padding.bytes().all(|byte| byte == b'.')
            && words.next().is_none();
        is_whole.then_some(stamp)
    }
}

/// The message by which a publisher finds out whether every session has registered.
pub(super) const PROBE: &str = "probe";

/// The smallest size that always holds a stamp.
pub(crate) const BYTES_MIN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        publisher: 3,
        user: 17,
        sequence: 204,
        due_ns: 98_765_432,
    };

    #[test]
    fn a_stamp_is_padded_and_reads_back() {
        let text = STAMP.word(128);
        assert_eq!(text.len(), 128);
        assert_eq!(Stamp::read(text.as_bytes(), 128), Some(STAMP));
    }

    #[test]
    fn the_largest_stamp_fits_the_smallest_size() {
        let stamp = Stamp {
            publisher: 9_999,
            user: 99_999,
            sequence: 9_999_999_999,
            due_ns: 86_400_000_000_000,
        };
        assert_eq!(stamp.word(BYTES_MIN).len(), BYTES_MIN);
    }

    #[test]
    fn a_damaged_message_is_not_a_stamp() {
        let text = STAMP.word(128);
        assert_eq!(Stamp::read(&text.as_bytes()[..127], 128), None);
        assert_eq!(
            Stamp::read(text.replace("....", "..x.").as_bytes(), 128),
            None
        );
        assert_eq!(Stamp::read(PROBE.as_bytes(), 128), None);
        assert_eq!(Stamp::read(b"\xff", 1), None);
    }
}
