//! When a session was a member, when members come and go: as far as a client can know.
//!
//! ```text
//!        asked   joined             leaving    left
//!   ------|--------|==================|---------|------------
//!         |        |  surely a member |         |
//!         |<---------- perhaps a member ------->|   surely none outside
//! ```
//!
//! Sessions come and go by words where the protocol has them and answers them, and by connecting
//! and closing where not.

use super::run::Phase;
use super::schedule::{Arrivals, Schedule};
use super::{Engine, Purpose};
use crate::clock;
use crate::failure::Outcome;
use crate::protocol::{Member, Way};
use crate::stats::{SplitMix, count, float};

/// One stay on a group, in nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    /// When joining was asked for.
    pub(crate) asked: u64,
    /// When it was known to have happened: confirmed, or the first message came.
    pub(crate) joined: Option<u64>,
    /// When leaving was asked for.
    pub(crate) leaving: Option<u64>,
    /// When it was known to have happened.
    pub(crate) left: Option<u64>,
}

/// A session's comings and goings, and what it received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wandering {
    pub(crate) stays: Vec<Membership>,
    /// Publisher and number, in the order of arrival.
    pub(crate) received: Vec<(u32, u32)>,
}

/// A publication, and between which moments it was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) publisher: u32,
    pub(crate) sequence: u32,
    pub(crate) group: usize,
    /// Not before this.
    pub(crate) sent_ns: u64,
    /// Not after this; `None` if it was never answered.
    pub(crate) answered_ns: Option<u64>,
}

impl Wandering {
    /// Whether the session is away, and known to be.
    pub(super) fn can_join(&self) -> bool {
        self.stays.last().is_none_or(|stay| stay.left.is_some())
    }

    /// Whether it is a member, and known to be.
    pub(super) fn can_leave(&self) -> bool {
        let is_there = |stay: &Membership| stay.joined.is_some() && stay.leaving.is_none();
        self.stays.last().is_some_and(is_there)
    }

    pub(super) fn join(&mut self, now_ns: u64) {
        self.stays.push(Membership {
            asked: now_ns,
            ..Membership::default()
        });
    }

    pub(super) fn leave(&mut self, now_ns: u64) {
        if let Some(stay) = self.stays.last_mut() {
            stay.leaving = Some(now_ns);
        }
    }

    /// The server confirmed what was asked for last.
    pub(super) fn confirmed(&mut self, now_ns: u64) {
        if let Some(stay) = self.stays.last_mut() {
            if stay.leaving.is_some() {
                stay.left = stay.left.or(Some(now_ns));
            } else {
                stay.joined = stay.joined.or(Some(now_ns));
            }
        }
    }

    /// The connection has ended.
    pub(super) fn ended(&mut self, now_ns: u64) {
        if let Some(stay) = self.stays.last_mut() {
            stay.leaving = stay.leaving.or(Some(now_ns));
            stay.left = stay.left.or(Some(now_ns));
        }
    }

    pub(super) fn received(&mut self, publisher: u32, sequence: u32, now_ns: u64) {
        self.received.push((publisher, sequence));
        if let Some(stay) = self.stays.last_mut() {
            stay.joined = stay.joined.or(Some(now_ns));
        }
    }
}

impl Engine {
    /// Has `members` wander, `at_a_time` handshakes under way at once.
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
                wandering.join(asked); // a member by being connected, or once it receives
            }
            session.state.wandering = Some(wandering);
            self.wanderers.push(session.state.index);
        }
        Ok(())
    }

    /// When comings and goings are due in this phase.
    pub(super) fn moves(&self, phase: &Phase, prng: &mut SplitMix) -> Schedule {
        let rate = phase.moves / float(count(phase.engines.max(1)));
        let begin_ns = if rate > 0.0 && !self.wanderers.is_empty() {
            phase.begin_ns
        } else {
            u64::MAX
        };
        Schedule::new(begin_ns, rate.max(1e-9), Arrivals::Poisson, prng.next())
    }

    /// Has sessions come and go that are due to.
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

    /// Comes and goes until the end of the phase, where other engines publish.
    pub(super) fn move_until(&mut self, phase: &Phase, prng: &mut SplitMix) -> Outcome<()> {
        let mut moves = self.moves(phase, prng);
        while clock::now_ns() < phase.until_ns {
            self.move_some(&mut moves, phase, prng)?;
            let next_ns = moves.due_ns().min(phase.until_ns);
            self.wait_paced(next_ns.saturating_sub(clock::now_ns()))?;
        }
        Ok(())
    }

    /// A member leaves, who is away joins, and who is under way stays so.
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
    fn a_stay_goes_from_asked_to_left() {
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
    fn the_first_message_confirms_what_is_never_answered() {
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
