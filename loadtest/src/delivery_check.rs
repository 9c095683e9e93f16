//! Verification of deliveries: counts lost, duplicated, reordered and misdelivered messages.
//!
//! The verified promise: every session of a group gets every message of a publisher to the group
//! once, in the order of publishing. There is no order between publishers. The functions are pure.

use std::collections::BTreeSet;

use crate::stats::count;

/// The number of messages with each kind of delivery error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub(crate) struct DeliveryErrors {
    /// Sent but never received.
    pub(crate) lost: u64,
    /// Received more than once; the first receipt is not counted.
    pub(crate) duplicated: u64,
    /// Received for the first time after a later message of the same publisher.
    pub(crate) reordered: u64,
    /// Damaged, never sent, or received by a session of another group.
    pub(crate) misdelivered: u64,
}

/// The verifier of one session's deliveries.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeliveryCheck {
    /// One per publisher whose messages were received; few.
    tracks: Vec<PublisherTrack>,
    duplicated: u64,
    reordered: u64,
    misdelivered: u64,
}

/// The messages that one session has received from one publisher.
///
/// # Invariant
///
/// `missing` holds exactly the sequence numbers below `next` that have not been received.
#[derive(Clone, Debug)]
struct PublisherTrack {
    publisher: u32,
    next: u32,
    missing: BTreeSet<u32>,
}

/// The class of a received message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// The first receipt of the message.
    Fresh,
    /// A duplicate, or a sequence number that cannot have been sent.
    Surplus,
}

impl DeliveryCheck {
    /// Records message `sequence` of `publisher`.
    pub(crate) fn receive(&mut self, publisher: u32, sequence: u32) -> Received {
        let known = self
            .tracks
            .iter()
            .position(|track| track.publisher == publisher);
        let index = known.unwrap_or_else(|| {
            self.tracks.push(PublisherTrack {
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

    /// Records a message of another group or without a valid stamp.
    pub(crate) const fn receive_invalid(&mut self) {
        self.misdelivered += 1;
    }

    /// Returns the delivery errors, given the number of messages that each publisher sent to this
    /// session's group, as `(publisher, messages)`.
    ///
    /// With `is_whole`, messages after the last received one count as lost. Pass `false` for a slow
    /// session that the server disconnected.
    pub(crate) fn errors(&self, sent: &[(u32, u64)], is_whole: bool) -> DeliveryErrors {
        let mut errors = DeliveryErrors {
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
            errors.lost += missing;
            if is_whole {
                errors.lost += messages.saturating_sub(next);
            }
            errors.misdelivered += next.saturating_sub(*messages); // numbers never sent
        }
        for track in &self.tracks {
            if !sent
                .iter()
                .any(|(publisher, _)| *publisher == track.publisher)
            {
                errors.misdelivered += u64::from(track.next);
            }
        }
        errors
    }
}

impl DeliveryErrors {
    /// Adds the errors of another session.
    pub(crate) const fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.misdelivered += other.misdelivered;
    }

    /// Formats all counts.
    pub(crate) fn summary(self) -> String {
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

    /// Returns `true` if all counts are zero.
    pub(crate) fn is_clean(self) -> bool {
        self == Self::default()
    }
}

/// The largest gap in sequence numbers. A number further ahead counts as never sent.
const GAP_MAX: u32 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(received: &[(u32, u32)], sent: [u64; 2], wrong: [u64; 4]) {
        let mut check = DeliveryCheck::default();
        for (publisher, sequence) in received {
            check.receive(*publisher, *sequence);
        }
        let [lost, duplicated, reordered, misdelivered] = wrong;
        let expected = DeliveryErrors {
            lost,
            duplicated,
            reordered,
            misdelivered,
        };
        let sent = [(0, sent[0]), (1, sent[1])];
        assert_eq!(check.errors(&sent, true), expected);
    }

    #[test]
    fn publishers_may_interleave() {
        check(&[(0, 0), (1, 0), (1, 1), (0, 1)], [2, 2], [0; 4]);
        check(&[], [0, 0], [0; 4]);
    }

    #[test]
    fn a_message_that_is_not_received_is_lost() {
        check(&[(0, 0), (0, 2)], [3, 0], [1, 0, 0, 0]);
        check(&[(0, 0)], [3, 1], [3, 0, 0, 0]);
    }

    #[test]
    fn a_second_receipt_is_duplicated_even_if_late() {
        check(&[(0, 0), (0, 0), (0, 1)], [2, 0], [0, 1, 0, 0]);
        check(&[(0, 1), (0, 0), (0, 0)], [2, 0], [0, 1, 1, 0]);
    }

    #[test]
    fn a_message_after_a_later_one_is_reordered_not_lost() {
        check(&[(0, 1), (0, 0)], [2, 0], [0, 0, 1, 0]);
        check(&[(0, 2), (0, 0), (0, 1)], [3, 0], [0, 0, 2, 0]);
    }

    #[test]
    fn a_message_that_was_not_sent_to_the_group_is_misdelivered() {
        check(&[(0, 0), (0, 1)], [1, 0], [0, 0, 0, 1]);
        check(&[(7, 0)], [0, 0], [0, 0, 0, 1]);
        check(&[(0, u32::MAX)], [0, 0], [0, 0, 0, 1]);
        let mut check = DeliveryCheck::default();
        check.receive_invalid();
        assert_eq!(check.errors(&[], true).misdelivered, 1);
    }

    #[test]
    fn a_disconnected_session_may_miss_only_the_end() {
        let mut check = DeliveryCheck::default();
        check.receive(0, 0);
        check.receive(0, 2);
        assert_eq!(check.errors(&[(0, 9)], false).lost, 1);
        assert_eq!(check.errors(&[(0, 9)], true).lost, 7);
    }
}
