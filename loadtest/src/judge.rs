//! Decides, per session, what was lost, duplicated, reordered or meant for somebody else.
//!
//! The promise judged: from one publisher to one group, every session of the group gets every
//! message once and in the order of publishing. Between publishers no order is promised. Pure.

use std::collections::BTreeSet;

use crate::stats::count;

/// What went wrong, in messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub(crate) struct Verdict {
    /// Sent and never received.
    pub(crate) lost: u64,
    /// Received more than once; the surplus is counted.
    pub(crate) duplicated: u64,
    /// Received once, but after a later message of the same publisher.
    pub(crate) reordered: u64,
    /// Received by a session that it was not for, or never sent at all, or damaged.
    pub(crate) misdelivered: u64,
}

/// What one session has received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judge {
    /// One per publisher that was heard of; few.
    tracks: Vec<Track>,
    duplicated: u64,
    reordered: u64,
    misdelivered: u64,
}

/// What one session has received from one publisher.
///
/// # Invariant
///
/// `missing` holds exactly the numbers below `next` that have not been received.
#[derive(Clone, Debug)]
struct Track {
    publisher: u32,
    next: u32,
    missing: BTreeSet<u32>,
}

/// What became of one received message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// It had not been received before.
    Fresh,
    /// It had, or it cannot have been sent.
    Surplus,
}

impl Judge {
    /// Notes message `sequence` of `publisher`.
    pub(crate) fn receive(&mut self, publisher: u32, sequence: u32) -> Received {
        let known = self
            .tracks
            .iter()
            .position(|track| track.publisher == publisher);
        let index = known.unwrap_or_else(|| {
            self.tracks.push(Track {
                publisher,
                next: 0,
                missing: BTreeSet::new(),
            });
            self.tracks.len() - 1
        });
        let track = &mut self.tracks[index];
        if sequence == track.next {
            track.next += 1;
            return Received::Fresh;
        }
        if sequence > track.next {
            if sequence - track.next > GAP_MAX {
                self.misdelivered += 1;
                return Received::Surplus;
            }
            track.missing.extend(track.next..sequence);
            track.next = sequence + 1;
            return Received::Fresh;
        }
        if track.missing.remove(&sequence) {
            self.reordered += 1;
            Received::Fresh
        } else {
            self.duplicated += 1;
            Received::Surplus
        }
    }

    /// Notes a message that was for somebody else, or is none of ours.
    pub(crate) const fn receive_strange(&mut self) {
        self.misdelivered += 1;
    }

    /// The verdict, given what each publisher, `(publisher, messages)`, sent to this session's
    /// group.
    ///
    /// A session that was let go as too slow may miss what came behind the last it received:
    /// `is_whole` says that it may not.
    pub(crate) fn verdict(&self, sent: &[(u32, u64)], is_whole: bool) -> Verdict {
        let mut verdict = Verdict {
            lost: 0,
            duplicated: self.duplicated,
            reordered: self.reordered,
            misdelivered: self.misdelivered,
        };
        for (publisher, messages) in sent {
            let track = self
                .tracks
                .iter()
                .find(|track| track.publisher == *publisher);
            let (next, missing) = track.map_or((0, 0), |track| {
                (u64::from(track.next), count(track.missing.len()))
            });
            verdict.lost += missing;
            if is_whole {
                verdict.lost += messages.saturating_sub(next);
            }
            verdict.misdelivered += next.saturating_sub(*messages); // numbers nobody gave
        }
        for track in &self.tracks {
            if !sent
                .iter()
                .any(|(publisher, _)| *publisher == track.publisher)
            {
                verdict.misdelivered += u64::from(track.next);
            }
        }
        verdict
    }
}

impl Verdict {
    /// Adds another session's.
    pub(crate) const fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.misdelivered += other.misdelivered;
    }

    /// All counts, in words.
    pub(crate) fn words(self) -> String {
        let Self {
            lost,
            duplicated,
            reordered,
            misdelivered,
        } = self;
        format!(
            "{lost} lost, {duplicated} duplicated, {reordered} reordered, \
             {misdelivered} misdelivered"
        )
    }

    /// Whether nothing went wrong.
    pub(crate) fn is_clean(self) -> bool {
        self == Self::default()
    }
}

/// A number so far ahead was never given.
const GAP_MAX: u32 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(received: &[(u32, u32)], sent: [u64; 2], wrong: [u64; 4]) {
        let mut judge = Judge::default();
        for (publisher, sequence) in received {
            judge.receive(*publisher, *sequence);
        }
        let [lost, duplicated, reordered, misdelivered] = wrong;
        let expected = Verdict {
            lost,
            duplicated,
            reordered,
            misdelivered,
        };
        let sent = [(0, sent[0]), (1, sent[1])];
        assert_eq!(judge.verdict(&sent, true), expected);
    }

    #[test]
    fn all_in_order_is_clean_however_publishers_interleave() {
        check(&[(0, 0), (1, 0), (1, 1), (0, 1)], [2, 2], [0; 4]);
        check(&[], [0, 0], [0; 4]);
    }

    #[test]
    fn what_never_comes_is_lost() {
        check(&[(0, 0), (0, 2)], [3, 0], [1, 0, 0, 0]);
        check(&[(0, 0)], [3, 1], [3, 0, 0, 0]);
    }

    #[test]
    fn what_comes_again_is_duplicated_even_when_late() {
        check(&[(0, 0), (0, 0), (0, 1)], [2, 0], [0, 1, 0, 0]);
        check(&[(0, 1), (0, 0), (0, 0)], [2, 0], [0, 1, 1, 0]);
    }

    #[test]
    fn what_comes_behind_a_later_one_is_reordered_not_lost() {
        check(&[(0, 1), (0, 0)], [2, 0], [0, 0, 1, 0]);
        check(&[(0, 2), (0, 0), (0, 1)], [3, 0], [0, 0, 2, 0]);
    }

    #[test]
    fn what_nobody_sent_here_is_misdelivered() {
        check(&[(0, 0), (0, 1)], [1, 0], [0, 0, 0, 1]);
        check(&[(7, 0)], [0, 0], [0, 0, 0, 1]);
        check(&[(0, u32::MAX)], [0, 0], [0, 0, 0, 1]);
        let mut judge = Judge::default();
        judge.receive_strange();
        assert_eq!(judge.verdict(&[], true).misdelivered, 1);
    }

    #[test]
    fn who_was_let_go_may_miss_the_end_and_nothing_before_it() {
        let mut judge = Judge::default();
        judge.receive(0, 0);
        judge.receive(0, 2);
        assert_eq!(judge.verdict(&[(0, 9)], false).lost, 1);
        assert_eq!(judge.verdict(&[(0, 9)], true).lost, 7);
    }
}
