//! What the dice have clients and the embedder do.

use crate::book::{Fate, Publisher, Pushed, Whom};
use crate::client::{Client, Tongue};
use crate::climate::{CHANNELS, EXCLUSIVE, EXCLUSIVE_EVENT, FILLERS, USERS, event_of, user_name};
use crate::world::{Link, World};
use campanile::handler::{Message, Pending};
use campanile::public_id::PublicId;

/// What is being done about one session; one thing at a time.
#[derive(Debug)]
pub(crate) enum Errand {
    /// The embedder puts it on a channel, or takes it off.
    Join(&'static str, Pending<bool>),
    Leave(&'static str, Pending<bool>),
    /// The embedder closes it.
    Close(Pending<()>),
    /// Its client has asked to be on a channel, and then said a mark.
    Listen {
        channel: &'static str,
        /// How long the log was then.
        from: usize,
        mark: usize,
        /// How long the log was when the mark was reached.
        to: Option<usize>,
    },
}

/// A publication whose total is awaited.
#[derive(Debug)]
pub(crate) struct Awaited {
    pub(crate) id: usize,
    /// Which shard was asked.
    pub(crate) shard: usize,
    pub(crate) pending: Pending<u64>,
}

impl World {
    /// A client connects.
    pub(crate) fn arrive(&mut self, shard: usize) {
        let pushers = self.links.iter().filter(|it| it.client.is_pusher());
        let pushers = pushers.count();
        let sessions = self.links.len() - pushers;
        let token = format!("t{}", self.links.len());
        if self.prng.chance(1, 3) && pushers < self.climate.pushers {
            self.connect(shard, Client::new(Tongue::Pusher, token));
        } else if sessions < self.climate.sessions {
            let tongue = self.tongue();
            let mut client = Client::new(tongue, token);
            client.is_mute = self.climate.is_rough && self.prng.chance(1, 10);
            self.connect(shard, client);
        }
    }

    fn tongue(&mut self) -> Tongue {
        match self.prng.range(0, 9) {
            0..=2 if self.climate.is_watched => Tongue::Tap,
            _ if self.climate.is_watched => Tongue::Projectforge,
            _ if !self.climate.is_lively => Tongue::Wserver,
            0 => Tongue::Wserver,
            1..=5 => Tongue::Easyws,
            dice => Tongue::Edk {
                user: EXCLUSIVE[self.die(EXCLUSIVE.len())],
                yields: dice == 9,
            },
        }
    }

    /// A client says something.
    pub(crate) fn speak(&mut self, link: usize) {
        if self.is_witness(link) || self.links[link].has_ended {
            return;
        }
        let dice = self.prng.range(0, 19);
        let client = &mut self.links[link].client;
        if client.said_close {
            return;
        }
        match (client.tongue, dice) {
            (Tongue::Pusher, _) => self.ask(link, dice),
            // It may be refused, and then frames are no requests.
            (Tongue::Edk { .. }, _) if !client.is_upgraded => {
                if client.is_answered() {
                    client.upgrade();
                }
            }
            (_, 0) if self.climate.is_rough => client.say_close(1000),
            (_, 1 | 2) if !client.is_mute => client.pong(),
            (Tongue::Wserver, _) => self.register(link, dice),
            (Tongue::Easyws, _) => self.command(link, dice),
            (Tongue::Edk { .. }, _) => client.say_nothing(),
            (Tongue::Projectforge | Tongue::Tap, _) => client.murmur(),
        }
    }

    /// A pusher asks for something.
    fn ask(&mut self, link: usize, dice: u32) {
        let user = self.die(USERS);
        let is_long = self.prng.chance(1, 4);
        let padding = self.die(if is_long { 1_200 } else { 60 });
        let client = &mut self.links[link].client;
        if client.outgoing.len() > 4_000 {
            return;
        }
        if self.climate.is_rough && dice == 0 {
            client.drop_user(&format!("d{}", user % 2), ["x", ""][user / 2 % 2]);
            return;
        }
        // Several at once are pipelined.
        for _ in 0..=dice % 4 {
            client.push(self.pushes.len(), &user_name(user), event_of(user), padding);
            self.pushes.push(Pushed {
                whom: Whom::User {
                    name: user_name(user),
                    event: Some(event_of(user)),
                },
                except: Vec::new(),
                by: Publisher::Pusher(link),
                fate: Fate::Unknown,
            });
        }
    }

    /// A client of `wserver` says something.
    fn register(&mut self, link: usize, dice: u32) {
        let (user, cut) = (self.die(USERS), self.die(60));
        let client = &mut self.links[link].client;
        match dice {
            3..=12 => client.register(&user_name(user), event_of(user), cut),
            13 => client.register(&user_name(user), "another event", cut),
            14 if self.climate.is_rough => client.register(&format!("d{}", user % 2), "x", cut),
            15 => client.register("", "e", cut),
            _ => client.chatter(),
        }
    }

    /// A client of `easyws` says something.
    fn command(&mut self, link: usize, dice: u32) {
        let channel = CHANNELS[self.die(CHANNELS.len())];
        let how = ["go", "wait", "others", "drop"][self.die(4)];
        let padding = self.die(60);
        let from = self.applied[self.links[link].shard];
        let Link { client, errand, .. } = &mut self.links[link];
        match dice {
            3..=9 if errand.is_none() && client.is_upgraded => {
                self.marks += 1;
                client.listen(channel, self.marks);
                *errand = Some(Errand::Listen {
                    channel,
                    from,
                    mark: self.marks,
                    to: None,
                });
            }
            10..=15 if client.outgoing.len() < 400 => {
                client.have_said(self.pushes.len(), channel, how, padding);
                let except = if how == "others" {
                    vec![link]
                } else {
                    Vec::new()
                };
                self.pushes.push(Pushed {
                    whom: Whom::Channel(channel),
                    except,
                    by: Publisher::Session(link),
                    fate: Fate::Unknown,
                });
            }
            16 => client.chatter(),
            _ => {}
        }
    }

    /// A client stalls, goes on, ends or vanishes.
    pub(crate) fn misbehave(&mut self, link: usize) {
        if !self.climate.is_rough || self.is_witness(link) {
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

    /// The embedder does something.
    pub(crate) fn run_errand(&mut self) {
        let dice = self.prng.range(0, 99);
        let link = self.some_session().unwrap_or(0);
        let known = self.links[link].public_id;
        let known = known.filter(|_| self.links[link].errand.is_none());
        match (dice, known) {
            (0..=49, Some(id)) => self.move_session(link, id, dice),
            (50, Some(id)) if self.climate.is_rough => {
                let route = self.embedder.route(0);
                self.links[link].errand = Some(Errand::Close(route.close(id, 4000, "enough")));
            }
            _ => self.publish(link),
        }
    }

    /// The embedder puts a session on a channel, or takes it off.
    fn move_session(&mut self, link: usize, id: PublicId, dice: u32) {
        let all: Vec<&'static str> = CHANNELS.into_iter().chain(FILLERS).collect();
        let channel = all[self.die(all.len())];
        let shard = self.die(self.climate.shards);
        let route = self.embedder.route(shard);
        self.links[link].errand = Some(if dice < 30 {
            Errand::Join(channel, route.join(id, channel))
        } else {
            Errand::Leave(channel, route.leave(id, channel))
        });
    }

    /// The embedder publishes; to this link, if to one session.
    fn publish(&mut self, link: usize) {
        let shard = self.die(self.climate.shards);
        let alone = self.links[link]
            .public_id
            .filter(|_| self.prng.chance(1, 4));
        let asked = if alone.is_some() {
            self.links[link].shard
        } else {
            shard
        };
        let busy = self.awaited.iter().filter(|it| it.shard == asked);
        if busy.count() >= AWAITED_MAX {
            return;
        }
        let id = self.pushes.len();
        let message = Message::text("push", format!("{id} {}", "x".repeat(self.die(120))));
        let route = self.embedder.route(shard);
        let (mut except, ids) = self.few_links();
        let (whom, pending) = match (alone, self.prng.range(0, 9)) {
            (Some(session), _) => (Whom::Session(link), route.push_session(session, message)),
            (None, 0..=4) => {
                let channel = CHANNELS[self.die(CHANNELS.len())];
                let pending = route.publish_except(channel, message, &ids);
                (Whom::Channel(channel), pending)
            }
            (None, 5) => (Whom::Everyone, route.broadcast_except(message, &ids)),
            (None, _) => {
                except.clear();
                let (name, event) = self.user();
                let pending = match event {
                    Some(event) => route.push_user_event(name.clone(), event, message),
                    None => route.push_user(name.clone(), message),
                };
                (Whom::User { name, event }, pending)
            }
        };
        if alone.is_some() {
            except.clear();
        }
        let mut fate = Fate::Unknown;
        if alone.is_none() && self.prng.chance(1, 3) {
            drop(pending); // and nobody waits for its total
            fate = Fate::Accepted;
        } else {
            let shard = asked;
            self.awaited.push(Awaited { id, shard, pending });
        }
        self.pushes.push(Pushed {
            whom,
            except,
            by: Publisher::Handle(shard),
            fate,
        });
    }

    /// None, or a few sessions whose public ids are known.
    fn few_links(&mut self) -> (Vec<usize>, Vec<PublicId>) {
        let count = if self.prng.chance(1, 4) { 2 } else { 0 };
        let mut chosen = Vec::new();
        for _ in 0..count {
            let link = self.die(self.links.len());
            chosen.extend(self.links[link].public_id.map(|id| (link, id)));
        }
        chosen.into_iter().unzip()
    }

    /// Somebody to push to, and the event, if any.
    fn user(&mut self) -> (String, Option<&'static str>) {
        let user = self.die(USERS + EXCLUSIVE.len());
        let (name, event) = match user.checked_sub(USERS) {
            None => (user_name(user), event_of(user)),
            Some(index) => (EXCLUSIVE[index].to_owned(), EXCLUSIVE_EVENT),
        };
        (name, self.prng.chance(1, 2).then_some(event))
    }
}

/// Totals of one shard that are awaited at one time.
const AWAITED_MAX: usize = 6;
