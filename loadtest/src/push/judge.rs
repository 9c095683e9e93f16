//! Decides, per session, what was lost, duplicated or reordered.
//!
//! The promise judged: from one publisher to one user, every session of the user gets every message
//! once and in the order of publishing. Between publishers no order is promised. Pure.

use std::collections::BTreeSet;

/// What went wrong, in messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Sent and never received.
    pub(super) lost: u64,
    /// Received more than once; the surplus is counted.
    pub(super) duplicated: u64,
    /// Received once, but after a later message of the same publisher.
    pub(super) reordered: u64,
}

/// What one session has received.
#[derive(Clone, Debug)]
pub(super) struct SessionJudge {
    /// One per publisher.
    tracks: Vec<Track>,
    duplicated: u64,
    reordered: u64,
}

/// What one session has received from one publisher.
///
/// # Invariant
///
/// `missing` holds exactly the numbers below `next` that have not been received.
#[derive(Clone, Debug, Default)]
struct Track {
    next: u64,
    missing: BTreeSet<u64>,
}

impl SessionJudge {
    /// A session that has received nothing yet from `publishers` publishers.
    pub(super) fn new(publishers: usize) -> Self {
        Self {
            tracks: vec![Track::default(); publishers],
            duplicated: 0,
            reordered: 0,
        }
    }

    /// Notes message `sequence` of `publisher`; `false` if there is no such publisher.
    ///
    /// A sequence number far above the next expected costs one entry per number between, so the
    /// caller first checks it against what has been sent.
    pub(super) fn receive(&mut self, publisher: usize, sequence: u64) -> bool {
        let Some(track) = self.tracks.get_mut(publisher) else {
            return false;
        };
        if sequence >= track.next {
            track.missing.extend(track.next..sequence);
            track.next = sequence + 1;
        } else if track.missing.remove(&sequence) {
            self.reordered += 1;
        } else {
            self.duplicated += 1;
        }
        true
    }

    /// The verdict, given how many messages each publisher sent to this session's user.
    pub(super) fn verdict(&self, sent: impl Fn(usize) -> u64) -> Verdict {
        let lost = self.tracks.iter().enumerate().map(|(publisher, track)| {
            let received = track.next - crate::stats::count(track.missing.len());
            sent(publisher).saturating_sub(received)
        });
        Verdict {
            lost: lost.sum(),
            duplicated: self.duplicated,
            reordered: self.reordered,
        }
    }
}

impl Verdict {
    /// Adds another session's.
    pub(super) const fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
    }

    /// Whether nothing went wrong.
    pub(super) fn is_clean(self) -> bool {
        self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(received: &[(usize, u64)], sent: [u64; 2], lost: u64, duplicated: u64, late: u64) {
        let mut judge = SessionJudge::new(2);
        for (publisher, sequence) in received {
            assert!(judge.receive(*publisher, *sequence));
        }
        let expected = Verdict {
            lost,
            duplicated,
            reordered: late,
        };
        assert_eq!(judge.verdict(|publisher| sent[publisher]), expected);
    }

    #[test]
    fn all_in_order_is_clean_however_publishers_interleave() {
        check(&[(0, 0), (1, 0), (1, 1), (0, 1)], [2, 2], 0, 0, 0);
        check(&[], [0, 0], 0, 0, 0);
    }

    #[test]
    fn what_never_comes_is_lost() {
        check(&[(0, 0), (0, 2)], [3, 0], 1, 0, 0);
        check(&[(0, 0)], [3, 1], 3, 0, 0);
    }

    #[test]
    fn what_comes_again_is_duplicated_even_when_late() {
        check(&[(0, 0), (0, 0), (0, 1)], [2, 0], 0, 1, 0);
        check(&[(0, 1), (0, 0), (0, 0)], [2, 0], 0, 1, 1);
    }

    #[test]
    fn what_comes_behind_a_later_one_is_reordered_not_lost() {
        check(&[(0, 1), (0, 0)], [2, 0], 0, 0, 1);
        check(&[(0, 2), (0, 0), (0, 1)], [3, 0], 0, 0, 2);
    }

    #[test]
    fn a_stranger_among_the_publishers_is_refused() {
        assert!(!SessionJudge::new(2).receive(2, 0));
    }
}
