//! Decides what members who come and go must and must not have received. Pure.
//!
//! A publication was applied between when it was sent and when its answer came. Who was surely a
//! member all that time must have it; who surely was none all that time must not.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::{Membership, Published, SessionAccount, Wandering};
use crate::judge::Verdict;

/// What the judging of wanderers came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    /// Publications that a wanderer had to receive, summed over wanderers.
    pub(super) owed: u64,
    /// Stays on a group.
    pub(super) stays: u64,
}

/// Judges all wanderers among `sessions`.
pub(super) fn judge(sessions: &[SessionAccount], published: &[Published]) -> Judged {
    let mut all = Judged::default();
    for session in sessions {
        if let Some(wandering) = &session.wandering {
            let of_group = published
                .iter()
                .filter(|one| one.group == session.member.group);
            let one = judge_one(wandering, of_group);
            all.verdict.add(one.verdict);
            all.owed += one.owed;
            all.stays += one.stays;
        }
    }
    all
}

fn judge_one<'a>(wandering: &Wandering, published: impl Iterator<Item = &'a Published>) -> Judged {
    let mut judged = Judged {
        stays: crate::stats::count(wandering.stays.len()),
        ..Judged::default()
    };
    let mut received = BTreeSet::new();
    let mut last: BTreeMap<u32, u32> = BTreeMap::new();
    for (publisher, sequence) in &wandering.received {
        if !received.insert((*publisher, *sequence)) {
            judged.verdict.duplicated += 1;
        } else if last.get(publisher).is_some_and(|last| sequence < last) {
            judged.verdict.reordered += 1;
        }
        let last = last.entry(*publisher).or_insert(*sequence);
        *last = (*last).max(*sequence);
    }
    for one in published {
        let is_owed = wandering.stays.iter().any(|stay| is_surely_in(stay, one));
        judged.owed += u64::from(is_owed);
        if received.remove(&(one.publisher, one.sequence)) {
            let is_allowed = wandering.stays.iter().any(|stay| is_perhaps_in(stay, one));
            judged.verdict.misdelivered += u64::from(!is_allowed);
        } else {
            judged.verdict.lost += u64::from(is_owed);
        }
    }
    // What is left was published to another group, or never.
    judged.verdict.misdelivered += crate::stats::count(received.len());
    judged
}

/// Whether whoever was there had to receive it.
fn is_surely_in(stay: &Membership, published: &Published) -> bool {
    let is_before = |moment: Option<u64>| moment.is_some_and(|joined| joined < published.sent_ns);
    let is_behind = published
        .answered_ns
        .is_some_and(|answered| stay.leaving.is_none_or(|leaving| answered < leaving));
    is_before(stay.joined) && is_behind
}

/// Whether whoever was there may have received it.
fn is_perhaps_in(stay: &Membership, published: &Published) -> bool {
    let began = published
        .answered_ns
        .is_none_or(|answered| stay.asked <= answered);
    let ended = stay.left.is_some_and(|left| left < published.sent_ns);
    began && !ended
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAY: Membership = Membership {
        asked: 10,
        joined: Some(20),
        leaving: Some(80),
        left: Some(90),
    };

    fn published(sequence: u32, sent_ns: u64, answered_ns: u64) -> Published {
        Published {
            publisher: 0,
            sequence,
            group: 0,
            sent_ns,
            answered_ns: Some(answered_ns),
        }
    }

    /// Publications before, on the edge of, inside, on the edge of and behind one stay.
    fn all() -> [Published; 5] {
        [
            published(0, 1, 5),
            published(1, 15, 25),
            published(2, 30, 40),
            published(3, 75, 85),
            published(4, 95, 99),
        ]
    }

    #[track_caller]
    fn check(received: &[u32], wrong: [u64; 4]) {
        let wandering = Wandering {
            stays: vec![STAY],
            received: received.iter().map(|sequence| (0, *sequence)).collect(),
        };
        let [lost, duplicated, reordered, misdelivered] = wrong;
        let judged = judge_one(&wandering, all().iter());
        let expected = Verdict {
            lost,
            duplicated,
            reordered,
            misdelivered,
        };
        assert_eq!((judged.verdict, judged.owed), (expected, 1), "{received:?}");
    }

    #[test]
    fn on_the_edges_either_is_right() {
        check(&[2], [0; 4]);
        check(&[1, 2, 3], [0; 4]);
    }

    #[test]
    fn what_was_published_inside_must_come() {
        check(&[1, 3], [1, 0, 0, 0]);
    }

    #[test]
    fn what_was_published_outside_must_not() {
        check(&[0, 2], [0, 0, 0, 1]);
        check(&[2, 4], [0, 0, 0, 1]);
        check(&[2, 77], [0, 0, 0, 1]);
    }

    #[test]
    fn duplicates_and_disorder_are_found_among_those_who_wander() {
        check(&[2, 2], [0, 1, 0, 0]);
        check(&[3, 2], [0, 0, 1, 0]);
    }
}
