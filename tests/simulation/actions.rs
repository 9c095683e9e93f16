//! Random actions of clients and the embedder.

use crate::client::{Client, ClientKind};
use crate::link::Link;
use crate::scenario::{
    CHANNELS, EXCLUSIVE, EXCLUSIVE_EVENT, FILLERS, LOSSY, USERS, event_of, user_name,
};
use crate::session_history::{PublicationRecord, PublicationState, Publisher, Target};
use crate::simulator::Simulator;
use campanile::handler::{Message, Pending};
use campanile::public_id::PublicId;

/// The pending action on a session. Each session has at most one.
#[derive(Debug)]
pub(crate) enum PendingAction {
    /// The embedder joins the session to a channel.
    Join(&'static str, Pending<bool>),
    /// The embedder removes the session from a channel.
    Leave(&'static str, Pending<bool>),
    /// The embedder closes the session.
    Close(Pending<()>),
    /// The client has sent a join and then a mark.
    Listen {
        channel: &'static str,
        /// The length of the shard's log at that time.
        from: usize,
        mark: usize,
        /// The length of the log when the mark was handled; `None` before.
        to: Option<usize>,
    },
}

/// A publication with a pending count.
#[derive(Debug)]
pub(crate) struct PendingTotal {
    pub(crate) id: usize,
    /// The shard of the publishing handle.
    pub(crate) shard: usize,
    pub(crate) pending: Pending<u64>,
}

impl Simulator {
    /// Connects a client.
    pub(crate) fn connect_client(&mut self, shard: usize) {
        let pushers = self.links.iter().filter(|it| it.client.is_pusher());
        let pushers = pushers.count();
        let sessions = self.links.len() - pushers;
        let token = format!("t{}", self.links.len());
        if self.prng.chance(1, 3) && pushers < self.scenario.pushers {
            self.connect(shard, Client::new(ClientKind::Pusher, token));
        } else if sessions < self.scenario.sessions {
            let kind = self.kind();
            let mut client = Client::new(kind, token);
            client.ignores_pings = self.scenario.has_faults && self.prng.chance(1, 10);
            self.connect(shard, client);
        }
    }

    fn kind(&mut self) -> ClientKind {
        match self.prng.range(0, 9) {
            0..=2 if self.scenario.has_taps => ClientKind::Tap,
            _ if self.scenario.has_taps => ClientKind::Projectforge,
            _ if !self.scenario.has_channels => ClientKind::Wserver,
            0 => ClientKind::Wserver,
            1..=5 => ClientKind::Easyws,
            dice => ClientKind::Edk {
                user: EXCLUSIVE[self.random_below(EXCLUSIVE.len())],
                yields: dice == 9,
            },
        }
    }

    /// Lets a client send a random message.
    pub(crate) fn act(&mut self, link: usize) {
        if self.is_witness(link) || self.links[link].has_ended {
            return;
        }
        let dice = self.prng.range(0, 19);
        let client = &mut self.links[link].client;
        if client.sent_close {
            return;
        }
        match (client.kind, dice) {
            (ClientKind::Pusher, _) => self.ask(link, dice),
            // Wait for the response: after a rejection, frames would be invalid requests.
            (ClientKind::Edk { .. }, _) if !client.is_upgraded => {
                if client.is_answered() {
                    client.upgrade();
                }
            }
            (_, 0) if self.scenario.has_faults => client.send_close(1000),
            (_, 1 | 2) if !client.ignores_pings => client.pong(),
            (ClientKind::Wserver, _) => self.register(link, dice),
            (ClientKind::Easyws, _) => self.command(link, dice),
            (ClientKind::Edk { .. }, _) => client.send_empty(),
            (ClientKind::Projectforge | ClientKind::Tap, _) => client.send_ignored(),
        }
    }

    /// Lets a pusher send a random request.
    fn ask(&mut self, link: usize, dice: u32) {
        let user = self.random_below(USERS);
        let is_long = self.prng.chance(1, 4);
        let padding = self.random_below(if is_long { 1_200 } else { 60 });
        let client = &mut self.links[link].client;
        if client.outgoing.len() > 4_000 {
            return;
        }
        if self.scenario.has_faults && dice == 0 {
            client.drop_user(&format!("d{}", user % 2), ["x", ""][user / 2 % 2]);
            return;
        }
        // Several requests are pipelined.
        for _ in 0..=dice % 4 {
            client.push(self.pushes.len(), &user_name(user), event_of(user), padding);
            self.pushes.push(PublicationRecord {
                target: Target::User {
                    name: user_name(user),
                    event: Some(event_of(user)),
                },
                except: Vec::new(),
                by: Publisher::Pusher(link),
                fate: PublicationState::Unknown,
            });
        }
    }

    /// Lets a client of `wserver` send a registration or part of one.
    fn register(&mut self, link: usize, dice: u32) {
        let (user, cut) = (self.random_below(USERS), self.random_below(60));
        let client = &mut self.links[link].client;
        match dice {
            3..=12 => client.register(&user_name(user), event_of(user), cut),
            13 => client.register(&user_name(user), "another event", cut),
            14 if self.scenario.has_faults => client.register(&format!("d{}", user % 2), "x", cut),
            15 => client.register("", "e", cut),
            _ => client.send_chat(),
        }
    }

    /// Lets a client of `easyws` send a random command.
    fn command(&mut self, link: usize, dice: u32) {
        let channel = CHANNELS[self.random_below(CHANNELS.len())];
        let ways: &[&str] = if self.scenario.has_moves {
            &["go", "wait", "others", "drop", "self"]
        } else {
            &["go", "wait", "others", "drop"]
        };
        let how = ways[self.random_below(ways.len())];
        let padding = self.random_below(60);
        let from = self.applied[self.links[link].shard];
        let Link {
            client,
            pending_action,
            ..
        } = &mut self.links[link];
        match dice {
            3..=9 if pending_action.is_none() && client.is_upgraded => {
                self.marks += 1;
                client.listen(channel, self.marks);
                *pending_action = Some(PendingAction::Listen {
                    channel,
                    from,
                    mark: self.marks,
                    to: None,
                });
            }
            10..=15 if client.outgoing.len() < 400 => {
                client.command_publish(self.pushes.len(), channel, how, padding);
                let except = if how == "others" {
                    vec![link]
                } else {
                    Vec::new()
                };
                let target = if how == "self" {
                    Target::Session(link)
                } else {
                    Target::Channel(channel)
                };
                self.pushes.push(PublicationRecord {
                    target,
                    except,
                    by: Publisher::Session(link),
                    fate: PublicationState::Unknown,
                });
            }
            16 => client.send_chat(),
            _ => {}
        }
    }

    /// Lets a client stall, continue, close or abort.
    pub(crate) fn misbehave(&mut self, link: usize) {
        if !self.scenario.has_faults || self.is_witness(link) {
            return;
        }
        let dice = self.prng.range(0, 9);
        let link = &mut self.links[link];
        match dice {
            0..=3 => link.is_stalled = true,
            4..=5 => link.is_stalled = false,
            6 => link.has_ended = true,
            _ => link.has_reset = true,
        }
        link.has_ended |= link.has_reset;
    }

    /// Starts a random action of the embedder.
    pub(crate) fn start_action(&mut self) {
        let dice = self.prng.range(0, 99);
        let link = self.some_session().unwrap_or(0);
        let known = self.links[link].public_id;
        let known = known.filter(|_| self.links[link].pending_action.is_none());
        match (dice, known) {
            (0..=49, Some(id)) => self.move_session(link, id, dice),
            (50, Some(id)) if self.scenario.has_faults => {
                let route = self.embedder.route(0);
                self.links[link].pending_action =
                    Some(PendingAction::Close(route.close(id, 4000, "enough")));
            }
            _ => self.publish(link),
        }
    }

    /// Lets the embedder join a session to a channel or remove it.
    fn move_session(&mut self, link: usize, id: PublicId, dice: u32) {
        let all: Vec<&'static str> = CHANNELS.into_iter().chain(FILLERS).collect();
        let channel = all[self.random_below(all.len())];
        let shard = self.random_below(self.scenario.shards);
        let route = self.embedder.route(shard);
        self.links[link].pending_action = Some(if dice < 30 {
            PendingAction::Join(channel, route.join(id, channel))
        } else {
            PendingAction::Leave(channel, route.leave(id, channel))
        });
    }

    /// Lets the embedder publish. A publication to one session goes to `link`.
    fn publish(&mut self, link: usize) {
        let shard = self.random_below(self.scenario.shards);
        let alone = self.links[link]
            .public_id
            .filter(|_| self.prng.chance(1, 4));
        let requests = if alone.is_some() {
            self.links[link].shard
        } else {
            shard
        };
        let busy = self.pending_totals.iter().filter(|it| it.shard == requests);
        if busy.count() >= AWAITED_MAX {
            return;
        }
        let id = self.pushes.len();
        let message = Message::text(
            "push",
            format!("{id} {}", "x".repeat(self.random_below(120))),
        );
        let route = self.embedder.route(shard);
        let (mut except, ids) = self.few_links();
        let (target, pending) = match (alone, self.prng.range(0, 9)) {
            (Some(session), _) => (Target::Session(link), route.push_session(session, message)),
            (None, 0..=4) => {
                let channel = CHANNELS[self.random_below(CHANNELS.len())];
                let is_long = channel == LOSSY && self.prng.chance(1, 2);
                let message = if is_long {
                    Message::text("push", format!("{id} {}", "x".repeat(1_500)))
                } else {
                    message
                };
                let pending = route.publish_except(channel, message, &ids);
                (Target::Channel(channel), pending)
            }
            (None, 5) => (Target::Everyone, route.broadcast_except(message, &ids)),
            (None, _) => {
                except.clear();
                let (name, event) = self.user();
                let pending = match event {
                    Some(event) => route.push_user_event(name.clone(), event, message),
                    None => route.push_user(name.clone(), message),
                };
                (Target::User { name, event }, pending)
            }
        };
        if alone.is_some() {
            except.clear();
        }
        let mut fate = PublicationState::Unknown;
        if alone.is_none() && self.prng.chance(1, 3) {
            drop(pending); // The count is not awaited.
            fate = PublicationState::Accepted;
        } else {
            let shard = requests;
            self.pending_totals
                .push(PendingTotal { id, shard, pending });
        }
        self.pushes.push(PublicationRecord {
            target,
            except,
            by: Publisher::Handle(shard),
            fate,
        });
    }

    /// Returns no sessions, or a few with known public ids.
    fn few_links(&mut self) -> (Vec<usize>, Vec<PublicId>) {
        let count = if self.prng.chance(1, 4) { 2 } else { 0 };
        let mut chosen = Vec::new();
        for _ in 0..count {
            let link = self.random_below(self.links.len());
            chosen.extend(self.links[link].public_id.map(|id| (link, id)));
        }
        chosen.into_iter().unzip()
    }

    /// Returns a random user to push to, and an event or `None`.
    fn user(&mut self) -> (String, Option<&'static str>) {
        let user = self.random_below(USERS + EXCLUSIVE.len());
        let (name, event) = match user.checked_sub(USERS) {
            None => (user_name(user), event_of(user)),
            Some(index) => (EXCLUSIVE[index].to_owned(), EXCLUSIVE_EVENT),
        };
        (name, self.prng.chance(1, 2).then_some(event))
    }
}

/// The maximum of pending counts per shard.
const AWAITED_MAX: usize = 6;
