//! Churn: sessions that join and leave during a run, and the times of their memberships.
//!
//! ```text
//!        asked     joined               leaving      left
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
use crate::protocol::{Member, Way};
use crate::stats::{SplitMix, count, float};

/// A membership of a group. Times are nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    /// Time at which the join was sent.
    pub(crate) asked: u64,
    /// Time of the join's confirmation or of the first message, whichever is earlier.
    pub(crate) joined: Option<u64>,
    /// Time at which the leave was sent.
    pub(crate) leaving: Option<u64>,
    /// Time of the leave's confirmation or of the connection's end.
    pub(crate) left: Option<u64>,
}

/// The memberships of a session, and the messages that it received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wandering {
    pub(crate) stays: Vec<Membership>,
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
    pub(crate) answered_ns: Option<u64>,
}

impl Wandering {
    /// Returns `true` if the session is certainly not a member.
    pub(super) fn can_join(&self) -> bool {
        self.stays.last().is_none_or(|stay| stay.left.is_some())
    }

    /// Returns `true` if the session is certainly a member.
    pub(super) fn can_leave(&self) -> bool {
        let is_there = |stay: &Membership| stay.joined.is_some() && stay.leaving.is_none();
        self.stays.last().is_some_and(is_there)
    }

    /// Records that a join was sent.
    pub(super) fn join(&mut self, now_ns: u64) {
        self.stays.push(Membership {
            asked: now_ns,
            ..Membership::default()
        });
    }

    /// Records that a leave was sent.
    pub(super) fn leave(&mut self, now_ns: u64) {
        if let Some(stay) = self.stays.last_mut() {
            stay.leaving = Some(now_ns);
        }
    }

    /// Records that the server confirmed the last join or leave.
    pub(super) fn confirmed(&mut self, now_ns: u64) {
        if let Some(stay) = self.stays.last_mut() {
            if stay.leaving.is_some() {
                stay.left = stay.left.or(Some(now_ns));
            } else {
                stay.joined = stay.joined.or(Some(now_ns));
            }
        }
    }

    /// Records the end of the connection, which ends the membership.
    pub(super) fn ended(&mut self, now_ns: u64) {
        if let Some(stay) = self.stays.last_mut() {
            stay.leaving = stay.leaving.or(Some(now_ns));
            stay.left = stay.left.or(Some(now_ns));
        }
    }

    /// Records a received message. The first one proves the join.
    pub(super) fn received(&mut self, publisher: u32, sequence: u32, now_ns: u64) {
        self.received.push((publisher, sequence));
        if let Some(stay) = self.stays.last_mut() {
            stay.joined = stay.joined.or(Some(now_ns));
        }
    }
}

impl Engine {
    /// Opens sessions that will join and leave, at most `at_a_time` concurrently.
    ///
    /// # Errors
    ///
    /// As [`Engine::open`].
    pub(crate) fn open_wanderers(&mut self, members: &[Member], at_a_time: usize) -> Outcome<()> {
        let by_words = self.setup.protocol.offers(Way::Wander);
        let purpose = if by_words {
            Purpose::Wander
        } else {
            Purpose::Receive
        };
        let from = self.sessions.len();
        let asked = clock::now_ns();
        self.open(members, purpose, at_a_time)?;
        for session in &mut self.sessions[from..] {
            let mut wandering = Box::<Wandering>::default();
            if !by_words {
                wandering.join(asked); // Connecting was the join.
            }
            session.state.wandering = Some(wandering);
            self.wanderers.push(session.state.index);
        }
        Ok(())
    }

    /// Returns the schedule of this engine's joins and leaves in a phase.
    pub(super) fn moves(&self, phase: &Phase, prng: &mut SplitMix) -> Schedule {
        let rate = phase.moves / float(count(phase.engines.max(1)));
        let begin_ns = if rate > 0.0 && !self.wanderers.is_empty() {
            phase.begin_ns
        } else {
            u64::MAX
        };
        Schedule::new(begin_ns, rate.max(1e-9), Arrivals::Poisson, prng.next())
    }

    /// Runs the joins and leaves that are due.
    pub(super) fn move_some(
        &mut self,
        moves: &mut Schedule,
        phase: &Phase,
        prng: &mut SplitMix,
    ) -> Outcome<()> {
        let now_ns = clock::now_ns();
        while moves.due_ns() <= now_ns && moves.due_ns() < phase.until_ns {
            let number = self.wanderers[prng.below(self.wanderers.len())];
            self.move_one(number, now_ns)?;
            moves.advance();
        }
        Ok(())
    }

    /// Runs joins and leaves until the end of a phase in which only other engines publish.
    pub(super) fn move_until(&mut self, phase: &Phase, prng: &mut SplitMix) -> Outcome<()> {
        let mut moves = self.moves(phase, prng);
        while clock::now_ns() < phase.until_ns {
            self.move_some(&mut moves, phase, prng)?;
            let next_ns = moves.due_ns().min(phase.until_ns);
            self.wait_paced(next_ns.saturating_sub(clock::now_ns()))?;
        }
        Ok(())
    }

    /// Lets a member leave, or a session that is not a member join. Does nothing while a join or
    /// leave is unconfirmed.
    fn move_one(&mut self, number: usize, now_ns: u64) -> Outcome<()> {
        let by_words = self.setup.protocol.offers(Way::Wander);
        let session = &mut self.sessions[number];
        let group = session.state.member.group;
        let kind = self.setup.protocol.kind();
        let Some(wandering) = &mut session.state.wandering else {
            return Ok(());
        };
        let is_away = wandering.can_join();
        if is_away {
            wandering.join(now_ns);
        } else if wandering.can_leave() {
            wandering.leave(now_ns);
        } else {
            return Ok(());
        }
        self.moved += 1;
        let words = if is_away {
            self.setup.protocol.join(group)
        } else {
            self.setup.protocol.leave(group)
        };
        match words {
            Some(words) if by_words => {
                session.say(&words, kind);
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
        let mut wandering = Wandering::default();
        assert!(wandering.can_join() && !wandering.can_leave());
        wandering.join(1);
        assert!(!wandering.can_join() && !wandering.can_leave());
        wandering.confirmed(2);
        assert!(!wandering.can_join() && wandering.can_leave());
        wandering.received(0, 0, 3);
        wandering.leave(4);
        assert!(!wandering.can_join() && !wandering.can_leave());
        wandering.confirmed(5);
        assert!(wandering.can_join());
        let stay = Membership {
            asked: 1,
            joined: Some(2),
            leaving: Some(4),
            left: Some(5),
        };
        assert_eq!(wandering.stays, [stay]);
    }

    #[test]
    fn the_first_message_confirms_a_join() {
        let mut wandering = Wandering::default();
        wandering.join(1);
        wandering.received(0, 7, 3);
        wandering.ended(9);
        let stay = wandering.stays[0];
        assert_eq!(
            (stay.joined, stay.leaving, stay.left),
            (Some(3), Some(9), Some(9))
        );
    }
}
