//! Exclusive users, who may have only one session: claiming one, and giving it up.
//!
//! The *home* shard of each such user, found by the user's name, decides in its [`ClaimTable`], in
//! the order in which claims arrive. A new session's upgrade waits for the grant. The home grants a
//! claim only after the previous session has been unbound on its own shard (see [`ClaimStep`]).
//!
//! [`ClaimTable`]: super::claims::ClaimTable

use super::claims::ClaimDecision;
use super::connection::Phase;
use super::core::Shard;
use super::message::{ClaimMessage, ClaimStep, MailboxMessage};
use super::names_budget::text_bytes;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::id::{ConnectionId, SessionId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The result of a connection's claim to an exclusive user.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClaimResult {
    /// The connection.
    pub connection: ConnectionId,
    /// The outcome.
    pub outcome: ClaimOutcome,
}

/// The outcomes of a claim.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClaimOutcome {
    /// The connection holds the user.
    Granted,
    /// Another session holds the user, and new ones yield on this route.
    Taken,
    /// Too many other sessions wait for the user.
    TooManyWaiting,
    /// The user's name exceeds a memory limit, on the connection's shard or at the home.
    NamesLimit,
}

/// The connections of one shard that hold or claim an exclusive user.
///
/// Invariant, checked by [`Claimants::invariants`]: `bytes` is the sum over all claimants.
#[derive(Debug, Default)]
pub(super) struct Claimants {
    by_slot: BTreeMap<u32, Claimant>,
    bytes: usize,
}

#[derive(Debug)]
pub(super) struct Claimant {
    session: SessionId,
    namespace: u16,
    user: Arc<[u8]>,
    state: ClaimState,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ClaimState {
    /// The home has not decided.
    Waiting,
    /// The connection holds the user.
    Granted,
    /// The connection was evicted before its upgrade.
    Evicted,
}

impl Claimants {
    /// Returns whether the connection was evicted before its upgrade.
    pub(super) fn was_evicted(&self, id: ConnectionId) -> bool {
        let claimant = self.by_slot.get(&id.slot());
        claimant.is_some_and(|claimant| claimant.state == ClaimState::Evicted)
    }

    /// Returns the bytes of all claimants.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the bytes of the claimant in `slot`; 0 if there is none.
    pub(super) fn bytes_of_slot(&self, slot: u32) -> usize {
        let claimant = self.by_slot.get(&slot);
        claimant.map_or(0, |claimant| claimant_bytes(&claimant.user))
    }

    pub(super) fn invariants(&self) {
        let all = self.by_slot.values().map(|it| claimant_bytes(&it.user));
        assert_eq!(all.sum::<usize>(), self.bytes);
    }

    /// Adds a session that holds its user already.
    pub(super) fn adopt(&mut self, slot: u32, session: SessionId, namespace: u16, user: &[u8]) {
        let claimant = Claimant {
            session,
            namespace,
            user: user.into(),
            state: ClaimState::Granted,
        };
        let before = self.insert(slot, claimant);
        assert!(before.is_none(), "a connection has one claim");
    }

    /// Returns the user that the session in `slot` holds; `None` if it holds none.
    pub(super) fn user_of_slot(&self, slot: u32) -> Option<&[u8]> {
        self.by_slot.get(&slot).map(|claimant| &*claimant.user)
    }

    fn insert(&mut self, slot: u32, claimant: Claimant) -> Option<Claimant> {
        self.bytes += claimant_bytes(&claimant.user);
        self.by_slot.insert(slot, claimant)
    }

    /// Removes the claimant in `slot`. Its home is not told.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Claimant> {
        let claimant = self.by_slot.remove(&slot)?;
        self.bytes -= claimant_bytes(&claimant.user);
        Some(claimant)
    }

    fn find(&mut self, slot: u32, session: SessionId) -> Option<&mut Claimant> {
        let claimant = self.by_slot.get_mut(&slot)?;
        (claimant.session == session).then_some(claimant)
    }
}

impl Shard {
    /// Claims an exclusive user for a connection in its HTTP phase. The result comes from
    /// [`Shard::poll_claim_result`], unless the connection gives up its claim before.
    ///
    /// # Panics
    ///
    /// If the connection has a claim already.
    pub fn claim(&mut self, id: ConnectionId, namespace: u16, user: &str, yields: bool) {
        let session = SessionId::new(self.id, id);
        let bytes = claimant_bytes(user.as_bytes());
        if self.names_budget_for(id).check(bytes, bytes).is_err() {
            self.claim_results.push_back(ClaimResult {
                connection: id,
                outcome: ClaimOutcome::NamesLimit,
            });
            return;
        }
        let user: Arc<[u8]> = user.as_bytes().into();
        let claimant = Claimant {
            session,
            namespace,
            user: Arc::clone(&user),
            state: ClaimState::Waiting,
        };
        let before = self.claimants.insert(id.slot(), claimant);
        assert!(before.is_none(), "{id} has claimed before");
        self.send_to_home(ClaimMessage {
            namespace,
            user,
            session,
            step: ClaimStep::Claim { yields },
        });
    }

    /// Gives up a connection's claim or its exclusive user. Does nothing if it has neither.
    pub fn release_claim(&mut self, id: ConnectionId) {
        let Some(claimant) = self.claimants.remove(id.slot()) else {
            return;
        };
        if claimant.state != ClaimState::Evicted {
            self.send_to_home(ClaimMessage {
                namespace: claimant.namespace,
                user: claimant.user,
                session: claimant.session,
                step: ClaimStep::Release,
            });
        }
    }

    /// Handles a claim message. Messages to this shard itself are queued, so that handling one
    /// never recurses.
    pub(super) fn handle_claim(&mut self, message: ClaimMessage) {
        self.claim_messages.push_back(message);
        if self.claim_messages.len() > 1 {
            return; // the loop below is running already and takes it
        }
        while let Some(message) = self.claim_messages.front().cloned() {
            match message.step {
                ClaimStep::Claim { .. } | ClaimStep::Release => self.decide(&message),
                // Only a session that holds its user can have moved.
                ClaimStep::Granted | ClaimStep::Denied { .. } | ClaimStep::NamesLimit => {
                    self.handle_decision(&message);
                }
                ClaimStep::Evict => self.evict(&message),
            }
            self.claim_messages.pop_front();
        }
    }

    fn send_to_home(&mut self, message: ClaimMessage) {
        let home = self.home_of(message.namespace, &message.user);
        if home == self.id {
            self.handle_claim(message);
        } else {
            self.messages
                .push_back((home, MailboxMessage::Claim(message)));
        }
    }

    /// Applies a claim or release to this home's table, and sends the decisions.
    fn decide(&mut self, message: &ClaimMessage) {
        let ClaimMessage {
            namespace,
            ref user,
            session,
            step,
        } = *message;
        let decisions = match step {
            ClaimStep::Claim { yields } => {
                let room = self
                    .settings
                    .names_bytes_max
                    .saturating_sub(self.names_bytes());
                self.claims.claim(namespace, user, session, yields, room)
            }
            ClaimStep::Release
            | ClaimStep::Granted
            | ClaimStep::Denied { .. }
            | ClaimStep::NamesLimit
            | ClaimStep::Evict => self.claims.release(namespace, user, session),
        };
        for decision in decisions {
            let (session, step) = match decision {
                ClaimDecision::Granted(session) => (session, ClaimStep::Granted),
                ClaimDecision::Evict(session) => (session, ClaimStep::Evict),
                ClaimDecision::NamesLimit(session) => (session, ClaimStep::NamesLimit),
                ClaimDecision::Denied(session) => {
                    let ClaimStep::Claim { yields: is_held } = message.step else {
                        unreachable!("only a claim is denied")
                    };
                    (session, ClaimStep::Denied { is_held })
                }
            };
            let message = ClaimMessage {
                namespace,
                user: Arc::clone(user),
                session,
                step,
            };
            if session.shard() == self.id {
                self.handle_claim(message);
            } else {
                self.messages
                    .push_back((session.shard(), MailboxMessage::Claim(message)));
            }
        }
    }

    /// Applies the home's decision to a connection of this shard.
    fn handle_decision(&mut self, message: &ClaimMessage) {
        // The connection has given up its claim; its release message is on the way to the home.
        let Some(connection) = self.find_session(message.session) else {
            return;
        };
        let Some(claimant) = self.claimants.find(connection.slot(), message.session) else {
            return;
        };
        assert_eq!(claimant.state, ClaimState::Waiting, "decided once");
        let outcome = match message.step {
            ClaimStep::Granted => {
                claimant.state = ClaimState::Granted;
                ClaimOutcome::Granted
            }
            ClaimStep::Denied { is_held: true } => ClaimOutcome::Taken,
            ClaimStep::NamesLimit => ClaimOutcome::NamesLimit,
            ClaimStep::Denied { is_held: false }
            | ClaimStep::Claim { .. }
            | ClaimStep::Release
            | ClaimStep::Evict => ClaimOutcome::TooManyWaiting,
        };
        if outcome != ClaimOutcome::Granted {
            self.claimants.remove(connection.slot());
        }
        self.claim_results.push_back(ClaimResult {
            connection,
            outcome,
        });
    }

    /// Closes a session of this shard that another one replaces. Passes the message on if the
    /// session has moved.
    fn evict(&mut self, message: &ClaimMessage) {
        // The session has ended, and its release message is on the way to the home.
        let Some(id) = self.find_session(message.session) else {
            self.forward_claim(message);
            return;
        };
        let Some(claimant) = self.claimants.find(id.slot(), message.session) else {
            return;
        };
        assert_eq!(
            claimant.state,
            ClaimState::Granted,
            "only a holder is evicted"
        );
        let phase = self.connections.get(id).map(|connection| connection.phase);
        if phase == Some(Phase::Open) {
            self.end(id, CloseCause::Replaced); // which also gives up the claim
        } else {
            claimant.state = ClaimState::Evicted;
            self.send_to_home(ClaimMessage {
                step: ClaimStep::Release,
                ..message.clone()
            });
        }
    }
}

/// Returns the bytes of a claimant: an entry of a B-tree whose nodes are at least half full, and
/// the name, which mailbox messages share.
fn claimant_bytes(user: &[u8]) -> usize {
    CLAIMANT_BYTES + text_bytes(user.len())
}

const CLAIMANT_BYTES: usize = 3 * (size_of::<Claimant>() + size_of::<u32>());
