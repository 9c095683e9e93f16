//! Churn: sessions that join and leave during a run, and the times of their memberships.
//!
//! ```text
//!      requested   joined               leaving      left
//!   -------|---------|====================|-----------|----------
//!          |         | certainly a member |           |
//!          |<---------- possibly a member ----------->|
//! ```
//!
//! A client knows a membership only within these bounds. If the protocol confirms joins and leaves,
//! sessions use its commands; otherwise a session joins by connecting and leaves by closing.

use super::run::Phase;
use super::schedule::{Arrivals, Schedule};
use super::{Engine, Purpose};
use crate::clock;
use crate::failure::Outcome;
use crate::protocol::{Capability, Member};
use crate::stats::{SplitMix, count, float};

/// A membership of a group. Times are nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    /// Time at which the join was sent.
    pub(crate) requested: u64,
    /// Time of the join's confirmation or of the first message, whichever is earlier.
    pub(crate) joined: Option<u64>,
    /// Time at which the leave was sent.
    pub(crate) leaving: Option<u64>,
    /// Time of the leave's confirmation or of the connection's end.
    pub(crate) left: Option<u64>,
}

/// The memberships of a session, and the messages that it received.
#[derive(Clone, Debug, Default)]
pub(crate) struct MembershipLog {
    pub(crate) memberships: Vec<Membership>,
    /// Publisher and sequence number, in the order of arrival.
    pub(crate) received: Vec<(u32, u32)>,
}

/// A publication, with the bounds of the time at which the server applied it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) publisher: u32,
    pub(crate) sequence: u32,
    pub(crate) group: usize,
    /// Lower bound: the time of sending.
    pub(crate) sent_ns: u64,
    /// Upper bound: the time of the response; `None` without one.
    pub(crate) responded_ns: Option<u64>,
}

impl MembershipLog {
    /// Returns `true` if the session is certainly not a member.
    pub(super) fn can_join(&self) -> bool {
        self.memberships
            .last()
            .is_none_or(|membership| membership.left.is_some())
    }

    /// Returns `true` if the session is certainly a member.
    pub(super) fn can_leave(&self) -> bool {
        let is_there =
            |membership: &Membership| membership.joined.is_some() && membership.leaving.is_none();
        self.memberships.last().is_some_and(is_there)
    }

    /// Records that a join was sent.
    pub(super) fn join(&mut self, now_ns: u64) {
        self.memberships.push(Membership {
            requested: now_ns,
            ..Membership::default()
        });
    }

    /// Records that a leave was sent.
    pub(super) fn leave(&mut self, now_ns: u64) {
        if let Some(membership) = self.memberships.last_mut() {
            membership.leaving = Some(now_ns);
        }
    }

    /// Records that the server confirmed the last join or leave.
    pub(super) fn confirmed(&mut self, now_ns: u64) {
        if let Some(membership) = self.memberships.last_mut() {
            if membership.leaving.is_some() {
                membership.left = membership.left.or(Some(now_ns));
            } else {
                membership.joined = membership.joined.or(Some(now_ns));
            }
        }
    }

    /// Records the end of the connection, which ends the membership.
    pub(super) fn ended(&mut self, now_ns: u64) {
        if let Some(membership) = self.memberships.last_mut() {
            membership.leaving = membership.leaving.or(Some(now_ns));
            membership.left = membership.left.or(Some(now_ns));
        }
    }

    /// Records a received message. The first one proves the join.
    pub(super) fn received(&mut self, publisher: u32, sequence: u32, now_ns: u64) {
        self.received.push((publisher, sequence));
        if let Some(membership) = self.memberships.last_mut() {
            membership.joined = membership.joined.or(Some(now_ns));
        }
    }
}

impl Engine {
    /// Opens sessions that will join and leave, at most `at_a_time` concurrently.
    ///
    /// # Errors
    ///
    /// As [`Engine::open`].
    pub(crate) fn open_churning(&mut self, members: &[Member], at_a_time: usize) -> Outcome<()> {
        let by_message = self.setup.protocol.offers(Capability::Membership);
        let purpose = if by_message {
            Purpose::Churn
        } else {
            Purpose::Receive
        };
        let from = self.sessions.len();
        let requested = clock::now_ns();
        self.open(members, purpose, at_a_time)?;
        for session in &mut self.sessions[from..] {
            let mut membership_log = Box::<MembershipLog>::default();
            if !by_message {
                membership_log.join(requested); // Connecting was the join.
            }
            session.state.membership_log = Some(membership_log);
            self.churning.push(session.state.index);
        }
        Ok(())
    }

    /// Returns the schedule of this engine's joins and leaves in a phase.
    pub(super) fn churn_schedule(&self, phase: &Phase, prng: &mut SplitMix) -> Schedule {
        let rate = phase.moves / float(count(phase.engines.max(1)));
        let begin_ns = if rate > 0.0 && !self.churning.is_empty() {
            phase.begin_ns
        } else {
            u64::MAX
        };
        Schedule::new(begin_ns, rate.max(1e-9), Arrivals::Poisson, prng.next())
    }

    /// Runs the joins and leaves that are due.
    pub(super) fn run_due_churn(
        &mut self,
        moves: &mut Schedule,
        phase: &Phase,
        prng: &mut SplitMix,
    ) -> Outcome<()> {
        let now_ns = clock::now_ns();
        while moves.due_ns() <= now_ns && moves.due_ns() < phase.until_ns {
            let number = self.churning[prng.below(self.churning.len())];
            self.toggle_membership(number, now_ns)?;
            moves.advance();
        }
        Ok(())
    }

    /// Runs joins and leaves until the end of a phase in which only other engines publish.
    pub(super) fn churn_until_end(&mut self, phase: &Phase, prng: &mut SplitMix) -> Outcome<()> {
        let mut moves = self.churn_schedule(phase, prng);
        while clock::now_ns() < phase.until_ns {
            self.run_due_churn(&mut moves, phase, prng)?;
            let next_ns = moves.due_ns().min(phase.until_ns);
            self.wait_paced(next_ns.saturating_sub(clock::now_ns()))?;
        }
        Ok(())
    }

    /// Lets a member leave, or a session that is not a member join. Does nothing while a join or
    /// leave is unconfirmed.
    fn toggle_membership(&mut self, number: usize, now_ns: u64) -> Outcome<()> {
        let by_message = self.setup.protocol.offers(Capability::Membership);
        let session = &mut self.sessions[number];
        let group = session.state.member.group;
        let kind = self.setup.protocol.kind();
        let Some(membership_log) = &mut session.state.membership_log else {
            return Ok(());
        };
        let is_away = membership_log.can_join();
        if is_away {
            membership_log.join(now_ns);
        } else if membership_log.can_leave() {
            membership_log.leave(now_ns);
        } else {
            return Ok(());
        }
        self.membership_changes += 1;
        let message = if is_away {
            self.setup.protocol.join_message(group)
        } else {
            self.setup.protocol.leave_message(group)
        };
        match message {
            Some(message) if by_message => {
                session.enqueue(&message, kind);
                self.unwritten.push(number);
            }
            _ if is_away => self.reconnect_session(number)?,
            _ => session.close(),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_membership_goes_from_join_to_leave() {
        let mut membership_log = MembershipLog::default();
        assert!(membership_log.can_join() && !membership_log.can_leave());
        membership_log.join(1);
        assert!(!membership_log.can_join() && !membership_log.can_leave());
        membership_log.confirmed(2);
        assert!(!membership_log.can_join() && membership_log.can_leave());
        membership_log.received(0, 0, 3);
        membership_log.leave(4);
        assert!(!membership_log.can_join() && !membership_log.can_leave());
        membership_log.confirmed(5);
        assert!(membership_log.can_join());
        let membership = Membership {
            requested: 1,
            joined: Some(2),
            leaving: Some(4),
            left: Some(5),
        };
        assert_eq!(membership_log.memberships, [membership]);
    }

    #[test]
    fn the_first_message_confirms_a_join() {
        let mut membership_log = MembershipLog::default();
        membership_log.join(1);
        membership_log.received(0, 7, 3);
        membership_log.ended(9);
        let membership = membership_log.memberships[0];
        assert_eq!(
            (membership.joined, membership.leaving, membership.left),
            (Some(3), Some(9), Some(9))
        );
    }
}
