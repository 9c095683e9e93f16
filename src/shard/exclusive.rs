//! Users who may have one session only: how a session becomes the one, and stops being it.
//!
//! Each such user has a *home* shard, found by its name, whose [`ClaimTable`] decide in the order in
//! which claims come. A newcomer's upgrade waits for the grant; the home grants only when the
//! session that was the user's has been unbound on its own shard (see [`ClaimStep`]).
//!
//! [`ClaimTable`]: super::claims::ClaimTable

use super::claims::{self, ClaimDecision};
use super::connection::Phase;
use super::core::Shard;
use super::message::{ClaimMessage, ClaimStep, MailboxMessage};
use super::room::text_bytes;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::id::{ConnectionId, SessionId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What has been decided about a connection that wants to be an exclusive user's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClaimResult {
    /// The connection.
    pub connection: ConnectionId,
    /// Whether it may.
    pub outcome: ClaimOutcome,
}

/// The decisions there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClaimOutcome {
    /// It is the user's now.
    Granted,
    /// The user has a session already, and newcomers yield.
    Taken,
    /// Too many others wait.
    Crowded,
    /// There is no room for the user's name, on its own shard or at its home.
    NoRoom,
}

/// The sessions of one shard that are, or want to be, an exclusive user's.
///
/// Invariant, checked by [`Claimants::invariants`]: `bytes` is the sum of what each takes.
#[derive(Debug, Default)]
pub(super) struct Claimants {
    by_slot: BTreeMap<u32, Claimant>,
    bytes: usize,
}

#[derive(Debug)]
struct Claimant {
    session: SessionId,
    namespace: u16,
    user: Arc<[u8]>,
    state: ClaimState,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ClaimState {
    /// Its home has not decided.
    Waiting,
    /// It is the user's.
    Granted,
    /// It was the user's, and was evicted before it had been upgraded.
    Lost,
}

impl Claimants {
    /// Whether the connection was evicted before it had been upgraded.
    pub(super) fn has_lost(&self, id: ConnectionId) -> bool {
        let claimant = self.by_slot.get(&id.slot());
        claimant.is_some_and(|claimant| claimant.state == ClaimState::Lost)
    }

    /// What all of them take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What that in `slot` takes.
    pub(super) fn bytes_of_slot(&self, slot: u32) -> usize {
        let claimant = self.by_slot.get(&slot);
        claimant.map_or(0, |claimant| claimant_bytes(&claimant.user))
    }

    pub(super) fn invariants(&self) {
        let all = self.by_slot.values().map(|it| claimant_bytes(&it.user));
        assert_eq!(all.sum::<usize>(), self.bytes);
    }

    fn insert(&mut self, slot: u32, claimant: Claimant) -> Option<Claimant> {
        self.bytes += claimant_bytes(&claimant.user);
        self.by_slot.insert(slot, claimant)
    }

    fn remove(&mut self, slot: u32) -> Option<Claimant> {
        let claimant = self.by_slot.remove(&slot)?;
        self.bytes -= claimant_bytes(&claimant.user);
        Some(claimant)
    }

    fn find(&mut self, session: SessionId) -> Option<&mut Claimant> {
        let claimant = self.by_slot.get_mut(&session.connection().slot())?;
        (claimant.session == session).then_some(claimant)
    }
}

impl Shard {
    /// A connection in its HTTP phase wants to be the session of an exclusive user. What is decided
    /// comes out of [`Shard::poll_claim_result`], unless the connection gives up before.
    pub fn claim(&mut self, id: ConnectionId, namespace: u16, user: &str, yields: bool) {
        let session = SessionId::new(self.id, id);
        let bytes = claimant_bytes(user.as_bytes());
        if self.room_for(id).has(bytes, bytes).is_err() {
            self.claim_results.push_back(ClaimResult {
                connection: id,
                outcome: ClaimOutcome::NoRoom,
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

    /// A connection is not, or no longer wants to be, an exclusive user's. Nothing happens if it
    /// never did.
    pub fn give_up_claim(&mut self, id: ConnectionId) {
        let Some(claimant) = self.claimants.remove(id.slot()) else {
            return;
        };
        if claimant.state != ClaimState::Lost {
            self.send_to_home(ClaimMessage {
                namespace: claimant.namespace,
                user: claimant.user,
                session: claimant.session,
                step: ClaimStep::Release,
            });
        }
    }

    /// Somebody has said something about a claim.
    pub(super) fn handle_claim(&mut self, message: ClaimMessage) {
        self.claim_work.push_back(message);
        if self.claim_work.len() > 1 {
            return; // whoever is at it goes on
        }
        while let Some(message) = self.claim_work.front().cloned() {
            match message.step {
                ClaimStep::Claim { .. } | ClaimStep::Release => self.decide(&message),
                ClaimStep::Granted | ClaimStep::Refused { .. } | ClaimStep::NoRoom => {
                    self.handle_decision(&message);
                }
                ClaimStep::Evict => self.evict(&message),
            }
            self.claim_work.pop_front();
        }
    }

    fn send_to_home(&mut self, message: ClaimMessage) {
        let home = claims::home(
            self.shards,
            self.settings.home_key,
            message.namespace,
            &message.user,
        );
        if home == self.id {
            self.handle_claim(message);
        } else {
            self.messages
                .push_back((home, MailboxMessage::Claim(message)));
        }
    }

    /// This shard is the user's home.
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
            | ClaimStep::Refused { .. }
            | ClaimStep::NoRoom
            | ClaimStep::Evict => self.claims.release(namespace, user, session),
        };
        for decision in decisions {
            let (session, step) = match decision {
                ClaimDecision::Granted(session) => (session, ClaimStep::Granted),
                ClaimDecision::Evict(session) => (session, ClaimStep::Evict),
                ClaimDecision::NoRoom(session) => (session, ClaimStep::NoRoom),
                ClaimDecision::Refused(session) => {
                    let ClaimStep::Claim { yields: is_held } = message.step else {
                        unreachable!("only a claim is refused")
                    };
                    (session, ClaimStep::Refused { is_held })
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

    /// The home has decided about a connection of this shard.
    fn handle_decision(&mut self, message: &ClaimMessage) {
        // Whoever has given up has said so, and the home hears it.
        let Some(claimant) = self.claimants.find(message.session) else {
            return;
        };
        assert_eq!(claimant.state, ClaimState::Waiting, "decided once");
        let connection = message.session.connection();
        let outcome = match message.step {
            ClaimStep::Granted => {
                claimant.state = ClaimState::Granted;
                ClaimOutcome::Granted
            }
            ClaimStep::Refused { is_held: true } => ClaimOutcome::Taken,
            ClaimStep::NoRoom => ClaimOutcome::NoRoom,
            ClaimStep::Refused { is_held: false }
            | ClaimStep::Claim { .. }
            | ClaimStep::Release
            | ClaimStep::Evict => ClaimOutcome::Crowded,
        };
        if outcome != ClaimOutcome::Granted {
            self.claimants.remove(connection.slot());
        }
        self.claim_results.push_back(ClaimResult {
            connection,
            outcome,
        });
    }

    /// A session of this shard is to make room for another.
    fn evict(&mut self, message: &ClaimMessage) {
        // One that has ended has said so, and the home hears it.
        let Some(claimant) = self.claimants.find(message.session) else {
            return;
        };
        assert_eq!(
            claimant.state,
            ClaimState::Granted,
            "only a holder is evicted"
        );
        let id = message.session.connection();
        let phase = self.connections.get(id).map(|connection| connection.phase);
        if phase == Some(Phase::Open) {
            self.end(id, CloseCause::Replaced); // and gives up its claim
        } else {
            claimant.state = ClaimState::Lost;
            self.send_to_home(ClaimMessage {
                step: ClaimStep::Release,
                ..message.clone()
            });
        }
    }
}

/// What a claimant takes, in bytes: its place in the map, whose nodes are half full at the least,
/// and the name, which messages between shards share.
fn claimant_bytes(user: &[u8]) -> usize {
    CLAIMANT_BYTES + text_bytes(user.len())
}

const CLAIMANT_BYTES: usize = 3 * (size_of::<Claimant>() + size_of::<u32>());
