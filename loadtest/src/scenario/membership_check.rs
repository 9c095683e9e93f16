//! Verification of the messages of sessions that join and leave. The functions are pure.
//!
//! A publication is applied between its request and its response. A session that was certainly a
//! member all that time must receive it; one that was certainly not a member must not.

use std::collections::{BTreeMap, BTreeSet};

use crate::delivery_check::DeliveryErrors;
use crate::engine::{Membership, MembershipLog, Published, SessionAccount};

/// The result of the verification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MembershipCheck {
    pub(super) errors: DeliveryErrors,
    /// Number of messages that the sessions had to receive.
    pub(super) expected: u64,
    /// Number of memberships.
    pub(super) memberships: u64,
}

/// Verifies all sessions that join and leave among `sessions`.
pub(super) fn check(sessions: &[SessionAccount], published: &[Published]) -> MembershipCheck {
    let mut all = MembershipCheck::default();
    for session in sessions {
        if let Some(membership_log) = &session.membership_log {
            let of_group = published
                .iter()
                .filter(|one| one.group == session.member.group);
            let one = check_one(membership_log, of_group);
            all.errors.add(one.errors);
            all.expected += one.expected;
            all.memberships += one.memberships;
        }
    }
    all
}

fn check_one<'a>(
    membership_log: &MembershipLog,
    published: impl Iterator<Item = &'a Published>,
) -> MembershipCheck {
    let mut membership_check = MembershipCheck {
        memberships: crate::stats::count(membership_log.memberships.len()),
        ..MembershipCheck::default()
    };
    let mut received = BTreeSet::new();
    let mut last: BTreeMap<u32, u32> = BTreeMap::new();
    for (publisher, sequence) in &membership_log.received {
        if !received.insert((*publisher, *sequence)) {
            membership_check.errors.duplicated += 1;
        } else if last.get(publisher).is_some_and(|last| sequence < last) {
            membership_check.errors.reordered += 1;
        }
        let last = last.entry(*publisher).or_insert(*sequence);
        *last = (*last).max(*sequence);
    }
    for one in published {
        let must_come = membership_log
            .memberships
            .iter()
            .any(|membership| must_receive(membership, one));
        membership_check.expected += u64::from(must_come);
        if received.remove(&(one.publisher, one.sequence)) {
            let is_allowed = membership_log
                .memberships
                .iter()
                .any(|membership| may_receive(membership, one));
            membership_check.errors.misdelivered += u64::from(!is_allowed);
        } else {
            membership_check.errors.lost += u64::from(must_come);
        }
    }
    // The rest was published to another group, or never.
    membership_check.errors.misdelivered += crate::stats::count(received.len());
    membership_check
}

/// Returns `true` if the session was certainly a member when `published` was applied.
fn must_receive(membership: &Membership, published: &Published) -> bool {
    let is_before = |moment: Option<u64>| moment.is_some_and(|joined| joined < published.sent_ns);
    let is_behind = published
        .responded_ns
        .is_some_and(|answered| membership.leaving.is_none_or(|leaving| answered < leaving));
    is_before(membership.joined) && is_behind
}

/// Returns `true` if the session was possibly a member when `published` was applied.
fn may_receive(membership: &Membership, published: &Published) -> bool {
    let began = published
        .responded_ns
        .is_none_or(|answered| membership.requested <= answered);
    let ended = membership.left.is_some_and(|left| left < published.sent_ns);
    began && !ended
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAY: Membership = Membership {
        requested: 10,
        joined: Some(20),
        leaving: Some(80),
        left: Some(90),
    };

    fn published(sequence: u32, sent_ns: u64, responded_ns: u64) -> Published {
        Published {
            publisher: 0,
            sequence,
            group: 0,
            sent_ns,
            responded_ns: Some(responded_ns),
        }
    }

    /// Publications before, at the start of, within, at the end of, and after a membership.
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
        let membership_log = MembershipLog {
            memberships: vec![STAY],
            received: received.iter().map(|sequence| (0, *sequence)).collect(),
        };
        let [lost, duplicated, reordered, misdelivered] = wrong;
        let membership_check = check_one(&membership_log, all().iter());
        let expected = DeliveryErrors {
            lost,
            duplicated,
            reordered,
            misdelivered,
        };
        assert_eq!(
            (membership_check.errors, membership_check.expected),
            (expected, 1),
            "{received:?}"
        );
    }

    #[test]
    fn publications_at_the_start_and_end_are_optional() {
        check(&[2], [0; 4]);
        check(&[1, 2, 3], [0; 4]);
    }

    #[test]
    fn a_publication_during_a_membership_must_be_received() {
        check(&[1, 3], [1, 0, 0, 0]);
    }

    #[test]
    fn a_publication_outside_a_membership_is_misdelivered() {
        check(&[0, 2], [0, 0, 0, 1]);
        check(&[2, 4], [0, 0, 0, 1]);
        check(&[2, 77], [0, 0, 0, 1]);
    }

    #[test]
    fn duplicated_and_reordered_messages_are_counted() {
        check(&[2, 2], [0, 1, 0, 0]);
        check(&[3, 2], [0, 0, 1, 0]);
    }
}
