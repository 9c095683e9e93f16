//! Hosts, clients, and a network and a clock between them that do whatever is allowed.
//!
//! The world plays the driver: it carries chunks of bytes of any length, takes less of a send than
//! was lent, delays messages between shards, and asserts what a driver relies on: no send for a
//! connection that has one or is to be closed. After every step the host's invariants are checked
//! and the model is told what has changed.

use crate::Prng;
use crate::client::{Answered, Asked, Client, Request, Said};
use crate::climate::{CLOSE_GRACE, Climate, USERS, config, event_of, user_name};
use crate::model::{Book, Ended, Pushed};
use campanile::Gateway;
use campanile::driver::host::Host;
use campanile::driver::host::Seeds;
use campanile::driver::mailbox::Exchange;
use campanile::gateway::Simulation;
use campanile::id::{ConnectionId, ShardId};
use campanile::shard::CloseStep;
use campanile::shard::hash::HashSeed;
use campanile::time::Tick;
use std::collections::BTreeMap;

/// One socket, and both of its ends.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) shard: usize,
    id: ConnectionId,
    pub(crate) client: Client,
    pub(crate) book: Book,
    /// Bytes handed to the host.
    delivered: u64,
    /// What is being sent, as it was lent.
    flying: Option<Vec<u8>>,
    is_reading: bool,
    /// The client takes nothing.
    pub(crate) is_stalled: bool,
    /// The client has said that it will say nothing more.
    pub(crate) has_ended: bool,
    pub(crate) has_reset: bool,
    /// The host knows of the end.
    was_told: bool,
    pub(crate) is_shut: bool,
    is_finishing: bool,
    pub(crate) is_closed: bool,
    /// The connection was closed before the client had taken what it was owed.
    pub(crate) was_cut: bool,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) climate: Climate,
    prng: Prng,
    pub(crate) hosts: Vec<Host>,
    ticks: Vec<u32>,
    now: u32,
    pub(crate) links: Vec<Link>,
    by_id: Vec<BTreeMap<ConnectionId, usize>>,
    /// By shard: publications applied so far, and those since the last flush.
    applied: Vec<usize>,
    since_flush: Vec<usize>,
    ends: Vec<BTreeMap<&'static str, u64>>,
    pub(crate) pushes: Vec<Pushed>,
    pub(crate) blocked_steps: u64,
    pub(crate) is_stopping: bool,
}

impl World {
    /// Shards with one witness each: a session that listens to every user and takes everything.
    pub(crate) fn new(seed: u64, climate: Climate) -> Self {
        let mut prng = Prng::from_seed(seed);
        let config = config(&climate);
        let shards = climate.shards;
        let in_flight = climate.pushes_in_flight as usize;
        let exchange = Exchange::simulated(shards, climate.mailbox_messages, in_flight);
        let simulation = Simulation::new(Gateway::builder(config), &exchange).expect("valid");
        let mut host = |index| {
            let seeds = Seeds {
                hash: HashSeed([prng.below(u64::MAX), prng.below(u64::MAX)]),
                random: [u8::try_from(index).expect("few shards"); 32],
            };
            let host = simulation.host(ShardId::new(index), seeds);
            host.expect("nothing is set up")
        };
        let hosts = (0..shards).map(&mut host).collect();
        let mut world = Self {
            climate,
            prng,
            hosts,
            ticks: vec![0; shards],
            now: 0,
            links: Vec::new(),
            by_id: vec![BTreeMap::new(); shards],
            applied: vec![0; shards],
            since_flush: vec![0; shards],
            ends: vec![BTreeMap::new(); shards],
            pushes: Vec::new(),
            blocked_steps: 0,
            is_stopping: false,
        };
        for shard in 0..shards {
            let mut witness = Client::session();
            for user in 0..USERS {
                witness.register(&user_name(user), event_of(user), usize::MAX);
            }
            world.connect(shard, witness);
        }
        world.settle();
        world
    }

    /// Does one thing, chosen by the dice.
    pub(crate) fn step(&mut self) {
        let shard = self.die(self.climate.shards);
        let mut link = self.die(self.links.len());
        if self.prng.chance(1, 3) {
            let is_pusher = |&at: &usize| self.links[at].client.is_pusher;
            let pushers = || (0..self.links.len()).filter(is_pusher);
            if let Some(chosen) = self.prng.pick(0..pushers().count()) {
                link = pushers().nth(chosen).expect("counted a moment ago");
            }
        }
        match self.prng.range(0, 99) {
            0..=3 => self.arrive(shard),
            4..=24 => {
                self.deliver(link);
            }
            25..=39 => {
                self.complete_send(link);
            }
            40..=59 => self.speak(link),
            60..=71 => {
                self.hosts[shard].handle_arrivals();
                self.after(shard);
            }
            72..=89 => {
                let most = if self.prng.chance(1, 2) { 2 } else { 12 };
                let sends = self.prng.range(0, most);
                self.flush(shard, sends);
            }
            90..=93 => {
                self.close(link);
            }
            94..=96 => self.pass_time(shard),
            _ => self.misbehave(link),
        }
        let is_full = |since: &usize| *since > PUBLICATIONS_PER_FLUSH_MAX;
        if let Some(shard) = self.since_flush.iter().position(is_full) {
            self.flush(shard, u32::MAX);
        }
        if self.hosts.iter().any(Host::is_blocked) {
            self.blocked_steps += 1;
        }
    }

    /// Lets everything happen that is going to happen, without time passing.
    pub(crate) fn settle(&mut self) {
        for round in 0.. {
            assert!(round < SETTLING_ROUNDS_MAX, "it never comes to rest");
            let mut moved = false;
            for shard in 0..self.hosts.len() {
                moved |= self.hosts[shard].handle_arrivals() > 0;
                self.after(shard);
                moved |= self.flush(shard, u32::MAX);
            }
            for link in 0..self.links.len() {
                self.links[link].is_stalled = false;
                moved |= self.deliver(link);
                moved |= self.complete_send(link);
                moved |= self.answer_end(link);
                moved |= self.close(link);
                if self.links[link].client.pings > 0 && !self.links[link].client.is_mute {
                    self.links[link].client.pong();
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Stops every host, and lets the time pass that unwilling clients get.
    pub(crate) fn stop(&mut self) {
        self.is_stopping = true;
        for shard in 0..self.hosts.len() {
            self.hosts[shard].begin_stop();
            self.after(shard);
        }
        self.settle();
        self.now += CLOSE_GRACE + 2;
        for shard in 0..self.hosts.len() {
            self.tick(shard);
        }
        self.settle();
    }

    fn die(&mut self, sides: usize) -> usize {
        let sides = u32::try_from(sides).expect("a small world");
        self.prng.range(0, sides - 1) as usize
    }

    /// A client connects.
    fn arrive(&mut self, shard: usize) {
        let pushers = self.links.iter().filter(|l| l.client.is_pusher).count();
        let sessions = self.links.len() - pushers;
        if self.prng.chance(1, 3) && pushers < self.climate.pushers {
            self.connect(shard, Client::pusher());
        } else if sessions < self.climate.sessions {
            let mut client = Client::session();
            client.is_mute = self.climate.is_rough && self.prng.chance(1, 10);
            self.connect(shard, client);
        }
    }

    fn connect(&mut self, shard: usize, client: Client) {
        let id = self.hosts[shard].handle_accepted().expect("there is room");
        assert!(self.by_id[shard].insert(id, self.links.len()).is_none());
        self.links.push(Link {
            shard,
            id,
            client,
            book: Book::default(),
            delivered: 0,
            flying: None,
            is_reading: true,
            is_stalled: false,
            has_ended: false,
            has_reset: false,
            was_told: false,
            is_shut: false,
            is_finishing: false,
            is_closed: false,
            was_cut: false,
        });
        self.after(shard);
    }

    /// A client says something.
    fn speak(&mut self, link: usize) {
        if self.is_witness(link) || self.links[link].has_ended {
            return;
        }
        let is_rough = self.climate.is_rough;
        let dice = self.prng.range(0, 19);
        let user = self.die(USERS);
        let cut = self.die(60);
        let is_long = self.prng.chance(1, 4);
        let padding = self.die(if is_long { 1_200 } else { 60 });
        let client = &mut self.links[link].client;
        if client.is_pusher {
            if client.outgoing.len() > 4_000 {
                return;
            }
            if is_rough && dice == 0 {
                client.drop_user(&format!("d{}", user % 2), ["x", ""][user / 2 % 2]);
                return;
            }
            // Several at once are pipelined.
            for _ in 0..=dice % 4 {
                client.push(self.pushes.len(), &user_name(user), event_of(user), padding);
                self.pushes.push(Pushed { user, link });
            }
            return;
        }
        if client.said_close {
            return;
        }
        match dice {
            0..=9 => client.register(&user_name(user), event_of(user), cut),
            10 => client.register(&user_name(user), "another event", cut),
            11 if is_rough => client.register(&format!("d{}", user % 2), "x", cut),
            12 if is_rough => client.say_close(1000),
            13 => client.register("", "e", cut),
            14..=15 => client.chatter(),
            _ if !client.is_mute => client.pong(),
            _ => {}
        }
    }

    /// A client stalls, goes on, ends or vanishes.
    fn misbehave(&mut self, link: usize) {
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

    /// Whether the link is that of a witness: those were first.
    pub(crate) fn is_witness(&self, link: usize) -> bool {
        link < self.climate.shards
    }

    /// Carries something to the host: bytes, or the end of them. Whether there was anything.
    fn deliver(&mut self, at: usize) -> bool {
        let link = &mut self.links[at];
        let (shard, id) = (link.shard, link.id);
        let host = &mut self.hosts[shard];
        if link.is_finishing || link.was_told {
            return false;
        }
        if link.has_reset {
            link.client.outgoing.clear();
            link.was_told = true;
            host.handle_hangup(id, true);
            self.after(shard);
            return true;
        }
        // While the host is blocked the driver holds back what sessions say; a witness lives on.
        let is_held = host.is_session(id) && host.is_blocked() && at >= self.climate.shards;
        if !link.is_reading || is_held {
            return false;
        }
        let len = link.client.outgoing.len();
        if len > 0 {
            let most = u32::try_from(len).expect("clients say little");
            let most = if self.prng.chance(1, 3) {
                most
            } else {
                most.min(40)
            };
            let len = self.prng.range(1, most) as usize;
            let mut chunk: Vec<u8> = link.client.outgoing.drain(..len).collect();
            link.delivered += len as u64;
            for asked in &mut link.client.asked {
                if asked.end <= link.delivered && asked.arrived.is_none() {
                    asked.arrived = Some(self.ticks[shard]);
                }
            }
            host.handle_received(id, &mut chunk);
        } else if link.has_ended {
            link.was_told = true;
            host.handle_hangup(id, false);
        } else {
            return false;
        }
        self.after(shard);
        true
    }

    /// Ends the send under way, if there is one that can end. Whether it did.
    fn complete_send(&mut self, at: usize) -> bool {
        let link = &mut self.links[at];
        let (shard, id) = (link.shard, link.id);
        if link.is_stalled && !link.has_reset && !link.is_finishing {
            return false;
        }
        let Some(bytes) = link.flying.take() else {
            return false;
        };
        let host = &mut self.hosts[shard];
        if link.has_reset {
            host.handle_sent(id, 0);
            host.handle_hangup(id, true);
            link.was_told = true;
        } else {
            let len = u32::try_from(bytes.len()).expect("an outbox counts in u32");
            let least = u32::from(!link.is_finishing);
            let taken = match self.prng.range(0, 3) {
                _ if at < self.climate.shards => len,
                0 => self.prng.range(least, len),
                1 => least.max(len.min(3)),
                _ => len,
            };
            link.was_cut |= link.is_finishing && taken < len;
            link.client
                .hear(&bytes[..taken as usize], self.ticks[shard]);
            host.handle_sent(id, taken);
        }
        self.after(shard);
        true
    }

    /// Tells the other shards, sends, and does what the host wants done. Whether it wanted much.
    fn flush(&mut self, shard: usize, sends: u32) -> bool {
        let mut moved = false;
        if sends == u32::MAX {
            self.since_flush[shard] = 0;
        }
        self.hosts[shard].flush_messages();
        for _ in 0..sends {
            let Some((id, bytes)) = self.hosts[shard].poll_send() else {
                break;
            };
            let at = self.by_id[shard][&id];
            self.links[at].fly(bytes);
            moved = true;
        }
        for _ in 0..sends {
            let Some((id, bytes)) = self.hosts[shard].poll_answer() else {
                break;
            };
            let at = self.by_id[shard][&id];
            self.links[at].fly(bytes);
            moved = true;
        }
        while let Some((id, is_on)) = self.hosts[shard].poll_reading() {
            if let Some(&at) = self.by_id[shard].get(&id) {
                self.links[at].is_reading = is_on;
            }
        }
        while let Some((id, step)) = self.hosts[shard].poll_close() {
            let link = &mut self.links[self.by_id[shard][&id]];
            match step {
                CloseStep::Shutdown => {
                    assert!(link.flying.is_none() && !link.is_shut && !link.is_finishing);
                    link.is_shut = true;
                }
                CloseStep::Finish => {
                    assert!(!link.is_finishing, "closed once");
                    link.is_finishing = true;
                    link.was_cut |= link.client.is_within() || link.is_stalled;
                }
            }
            moved = true;
        }
        // A witness takes everything as soon as it can, and is never slow.
        self.complete_send(shard);
        self.hosts[shard].relieve();
        self.after(shard);
        moved
    }

    /// Ends a client's side once it has seen the other's end.
    fn answer_end(&mut self, at: usize) -> bool {
        let link = &mut self.links[at];
        if link.client.close.is_some() && !link.client.said_close && !link.has_ended {
            link.client.say_close(1000);
            return true;
        }
        let ends = (link.is_shut || link.is_closed) && !link.has_ended;
        link.has_ended |= ends;
        ends
    }

    /// Closes a socket that the host is done with, once nothing of it is under way.
    fn close(&mut self, at: usize) -> bool {
        let link = &mut self.links[at];
        if !link.is_finishing || link.is_closed || link.flying.is_some() {
            return false;
        }
        link.is_closed = true;
        let (shard, id) = (link.shard, link.id);
        assert_eq!(self.by_id[shard].remove(&id), Some(at));
        self.hosts[shard].handle_closed(id);
        self.after(shard);
        true
    }

    fn pass_time(&mut self, shard: usize) {
        let leap = self.climate.is_rough && self.prng.chance(1, 12);
        self.now += if leap {
            self.prng.range(1, LEAP_MAX)
        } else {
            self.prng.range(0, 3)
        };
        for other in 0..self.hosts.len() {
            if other == shard || leap || self.now - self.ticks[other] > LEAP_MAX {
                self.tick(other);
            }
        }
    }

    /// Tells a host the time, and it a sign of life of its witness.
    fn tick(&mut self, shard: usize) {
        self.ticks[shard] = self.now;
        self.hosts[shard].handle_tick(Tick(self.now));
        self.after(shard);
        self.links[shard].client.pong();
        while self.deliver(shard) {}
    }

    /// Checks a host and tells the model what its last step has changed.
    fn after(&mut self, shard: usize) {
        let host = &self.hosts[shard];
        host.invariants();
        let counters = host.counters();
        let before = self.applied[shard];
        let now = usize::try_from(counters.publications).expect("few");
        self.since_flush[shard] += now - before;
        self.applied[shard] = now;
        let ended = |label: &&str| {
            counters.ended(label) > self.ends[shard].get(label).copied().unwrap_or(0)
        };
        let labels: Vec<&'static str> = counters.ends.keys().copied().filter(ended).collect();

        for &at in self.by_id[shard].values() {
            let link = &mut self.links[at];
            let is_open = host.is_open(link.id);
            let book = &mut link.book;
            if is_open {
                assert!(book.ended.is_none(), "a session ends once");
                book.was_open = true;
                while let Some((end, _)) = link.client.frames.front() {
                    if *end > link.delivered {
                        break;
                    }
                    let (_, said) = link.client.frames.pop_front().expect("just seen");
                    if let Said::Register { user, event } = said {
                        assert_eq!(before, now, "a client's words publish nothing");
                        book.join(user, event, now);
                    }
                }
            } else if book.was_open && book.ended.is_none() {
                book.ended = Some(Ended {
                    least: before,
                    most: now,
                    labels: labels.clone(),
                });
            } else if host.is_session(link.id) && book.ended.is_none() && !labels.is_empty() {
                book.ended_before_open.clone_from(&labels);
            }
        }
        if !labels.is_empty() {
            self.ends[shard].clone_from(&counters.ends);
        }
    }

    /// Every request with its answer, if it has one, and the link it was asked on.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (&Asked, Option<&Answered>, usize)> {
        self.links.iter().enumerate().flat_map(|(at, link)| {
            let client = &link.client;
            client
                .asked
                .iter()
                .enumerate()
                .map(move |(index, asked)| (asked, client.answered.get(index), at))
        })
    }

    /// The request that pushed a publication, with its answer.
    pub(crate) fn answer_to(&self, push: usize) -> Option<&Answered> {
        let wanted = |asked: &Asked| matches!(asked.what, Request::Push { id } if id == push);
        let client = &self.links[self.pushes[push].link].client;
        let index = client.asked.iter().position(wanted).expect("it was asked");
        client.answered.get(index)
    }
}

impl Link {
    fn fly(&mut self, bytes: &[u8]) {
        assert!(!bytes.is_empty());
        assert!(self.flying.is_none(), "one send at a time");
        assert!(!self.is_shut, "a send behind the end");
        assert!(!self.is_finishing, "a send for a socket that is closing");
        self.flying = Some(bytes.to_vec());
    }
}

const LEAP_MAX: u32 = 150;
const PUBLICATIONS_PER_FLUSH_MAX: usize = 4;
const SETTLING_ROUNDS_MAX: u32 = 20_000;
