//! The simulator: hosts and clients with a simulated network and clock.
//!
//! It replaces the driver: it delivers chunks of bytes of any length, completes sends partially,
//! delays messages between shards, and asserts the driver's assumption that a connection with a
//! send or a pending close gets no further send. After every step it checks the host's invariants
//! and updates the model.

use crate::Prng;
use crate::actions::PendingTotal;
use crate::client::{Client, ClientKind, ReceivedResponse, Request, SentRequest};
use crate::embedder::{self, Embedder};
use crate::link::Link;
use crate::missed;
use crate::model;
use crate::moves::MoveCounts;
use crate::scenario::{
    CHANNELS, EXCLUSIVE, EXCLUSIVE_EVENT, LOSSY, Scenario, USERS, config, event_of, user_name,
};
use crate::session_history::{PublicationRecord, Publisher, SessionHistory};
use crate::turns::Event;
use campanile::handler::MemberCount;
use campanile::host::{Host, Moment, Seeds};
use campanile::id::ConnectionId;
use campanile::mailbox::Exchange;
use campanile::shard::CloseStep;
use campanile::shard::hash::HashSeed;
use campanile::time::Tick;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(crate) struct Simulator {
    pub(crate) scenario: Scenario,
    pub(crate) prng: Prng,
    pub(crate) hosts: Vec<Host>,
    pub(crate) embedder: Embedder,
    pub(crate) now: u32,
    /// By shard: the tick up to which deadlines were fired.
    pub(crate) fired_at: Vec<u32>,
    pub(crate) links: Vec<Link>,
    pub(crate) by_id: Vec<BTreeMap<ConnectionId, usize>>,
    /// By shard: number of publications in its log.
    pub(crate) applied: Vec<usize>,
    /// By shard: number of publications since the last flush.
    pub(crate) since_flush: Vec<usize>,
    /// By shard: number of publications to single sessions, which are in no log.
    pub(crate) applied_direct: Vec<usize>,
    pub(crate) ends: Vec<BTreeMap<&'static str, u64>>,
    pub(crate) pushes: Vec<PublicationRecord>,
    /// Publications with pending counts.
    pub(crate) pending_totals: Vec<PendingTotal>,
    /// A shard that reads its mailbox late, if any.
    pub(crate) lagging: Option<usize>,
    /// Number of marks that clients have sent.
    pub(crate) marks: usize,
    pub(crate) blocked_steps: u64,
    pub(crate) moves: MoveCounts,
    pub(crate) is_stopping: bool,
}

impl Simulator {
    /// Creates the shards, each with a witness: a session that receives all publications and reads
    /// everything at once.
    pub(crate) fn new(seed: u64, scenario: Scenario) -> Self {
        let mut prng = Prng::from_seed(seed);
        let config = config(&scenario);
        let shards = scenario.shards;
        let in_flight = scenario.pushes_in_flight as usize;
        let exchange = Exchange::simulated(
            shards,
            scenario.mailbox_messages,
            scenario.mailbox_bytes,
            in_flight,
        );
        let embedder = Embedder::new(config, scenario.has_channels, &exchange);
        let mut host = |index| {
            let seeds = Seeds {
                hash: HashSeed([prng.below(u64::MAX), prng.below(u64::MAX)]),
                random: [u8::try_from(index).expect("few shards"); 32],
            };
            embedder.host(index, seeds)
        };
        let hosts = (0..shards).map(&mut host).collect();
        let mut simulator = Self {
            scenario,
            prng,
            hosts,
            embedder,
            now: 0,
            fired_at: vec![0; shards],
            links: Vec::new(),
            by_id: vec![BTreeMap::new(); shards],
            applied: vec![0; shards],
            since_flush: vec![0; shards],
            applied_direct: vec![0; shards],
            ends: vec![BTreeMap::new(); shards],
            pushes: Vec::new(),
            pending_totals: Vec::new(),
            lagging: None,
            marks: 0,
            blocked_steps: 0,
            moves: MoveCounts::default(),
            is_stopping: false,
        };
        for shard in 0..shards {
            let mut witness = Client::new(ClientKind::Wserver, String::new());
            for user in 0..USERS {
                witness.register(&user_name(user), event_of(user), usize::MAX);
            }
            for user in EXCLUSIVE {
                witness.register(user, EXCLUSIVE_EVENT, usize::MAX);
            }
            simulator.connect(shard, witness);
        }
        simulator.run_until_idle();
        if simulator.scenario.has_channels {
            simulator.connect_witnesses();
        }
        simulator
    }

    /// Joins every witness to every channel.
    fn connect_witnesses(&mut self) {
        let mut sessions = self.embedder.sessions();
        self.run_until_idle();
        let sessions = embedder::poll(&mut sessions).expect("all hosts have looked");
        for session in sessions.expect("nothing is in the way") {
            for channel in CHANNELS {
                drop(self.embedder.route(0).join(session.id, channel));
            }
        }
        self.run_until_idle();
        for witness in &mut self.links {
            for channel in CHANNELS {
                witness.history.change(channel, 0..0, true);
            }
        }
        for arrival in 0..16 {
            self.connect_client(arrival % self.scenario.shards);
        }
        self.run_until_idle();
    }

    /// Runs one random event.
    pub(crate) fn step(&mut self) {
        if self.scenario.has_moves && self.prng.chance(1, 20) {
            self.move_some_session();
        }
        let shard = self.random_below(self.scenario.shards);
        let mut link = self.random_below(self.links.len());
        if self.scenario.has_channels && self.prng.chance(1, 2) {
            link = self.some_session().unwrap_or(link);
        }
        if self.prng.chance(1, 3) {
            let is_pusher = |&at: &usize| self.links[at].client.is_pusher();
            let pushers = || (0..self.links.len()).filter(is_pusher);
            if let Some(chosen) = self.prng.pick(0..pushers().count()) {
                link = pushers().nth(chosen).expect("counted a moment ago");
            }
        }
        let is_embedder = self.scenario.has_channels && self.prng.chance(1, 4);
        match self.prng.range(0, 99) {
            0..=39 if is_embedder => {
                let turns = self.prng.range(1, 12);
                self.run_tasks(turns);
            }
            _ if is_embedder => self.start_action(),
            0..=3 => self.connect_client(shard),
            4..=24 => {
                self.turn_for(Event::Input(link));
            }
            25..=39 => {
                self.turn_for(Event::Sent(link));
            }
            40..=59 => self.act(link),
            60..=71 if self.lagging == Some(shard) => {
                self.lagging = self.lagging.filter(|_| self.prng.chance(9, 10));
            }
            60..=71 => {
                self.turn_for(Event::Arrivals(shard));
            }
            72..=89 => {
                let most = if self.prng.chance(1, 2) { 2 } else { 12 };
                let sends = self.prng.range(0, most);
                self.turn(shard, None, Some(sends));
            }
            90..=93 => {
                self.turn_for(Event::Closed(link));
            }
            94 if self.scenario.is_quiet && self.prng.chance(1, 8) => self.sleep_long(),
            95 if self.scenario.is_quiet && self.prng.chance(1, 8) => self.pause(),
            94..=96 => self.pass_time(shard),
            97 if self.scenario.has_channels => self.lagging = Some(shard),
            // With channels, fewer faults: sessions must live long enough to join and leave.
            _ if self.scenario.has_channels && self.prng.chance(2, 3) => {}
            _ => self.misbehave(link),
        }
        let is_full = |since: &usize| *since > PUBLICATIONS_PER_FLUSH_MAX;
        if let Some(shard) = self.since_flush.iter().position(is_full) {
            self.turn(shard, None, Some(u32::MAX));
        }
        if self.hosts.iter().any(Host::is_blocked) {
            self.blocked_steps += 1;
        }
    }

    /// Runs all events until none is left, without advancing the clock.
    pub(crate) fn run_until_idle(&mut self) {
        for round in 0.. {
            assert!(round < SETTLING_ROUNDS_MAX, "it never comes to rest");
            let mut moved = false;
            for shard in 0..self.hosts.len() {
                moved |= self.turn(shard, Some(Event::Arrivals(shard)), Some(u32::MAX));
            }
            if self.scenario.has_channels {
                self.run_tasks(TURNS_OF_ALL_TASKS);
            }
            if self.scenario.has_channels || self.scenario.has_moves {
                moved |= self.hosts.iter().any(Host::has_arrivals);
            }
            for link in 0..self.links.len() {
                self.links[link].is_stalled = false;
                moved |= self.turn_for(Event::Input(link));
                moved |= self.turn_for(Event::Sent(link));
                moved |= self.complete_close(link);
                moved |= self.turn_for(Event::Closed(link));
                if self.links[link].client.pings > 0 && !self.links[link].client.ignores_pings {
                    self.links[link].client.pong();
                }
            }
            if !moved {
                break;
            }
        }
        self.finish_action();
    }

    /// Verifies, in an idle simulation, what members of [`LOSSY`] have missed.
    pub(crate) fn check_missed(&mut self) {
        let route = self.embedder.route(0);
        let (mut members, mut channels) = (route.members(LOSSY), route.channels());
        self.run_until_idle();
        let members = embedder::poll(&mut members).expect("all hosts have looked");
        let channels = embedder::poll(&mut channels).expect("all hosts have looked");
        let channels = MemberCount::merge(channels.expect("listed"));
        let lossy = channels.iter().find(|channel| channel.name == LOSSY);
        let dropped = lossy.expect("the witnesses are on it").dropped;
        missed::verify_missed(self, &members.expect("listed"), dropped);
    }

    /// Disconnects all clients except the witnesses, and asserts that nothing of them remains.
    pub(crate) fn disconnect_all(&mut self) {
        for link in self.scenario.shards..self.links.len() {
            let is_rude = self.prng.chance(1, 2);
            let link = &mut self.links[link];
            link.has_ended = true;
            link.has_reset |= is_rude;
        }
        self.run_until_idle();
        let witnesses = self.scenario.shards;
        let route = self.embedder.route(0);
        let (mut channels, mut users) = (route.channels(), route.users());
        let mut sessions = route.gateway().sessions_count();
        self.run_until_idle();
        let count = embedder::poll(&mut sessions).expect("all hosts have looked");
        assert_eq!(
            count.expect("counted").into_iter().sum::<usize>(),
            witnesses
        );
        for (left, names) in [
            (embedder::poll(&mut channels), CHANNELS.len()),
            (embedder::poll(&mut users), USERS + EXCLUSIVE.len()),
        ] {
            let left = left.expect("all hosts have looked").expect("listed");
            let left = MemberCount::merge(left);
            let is_witnessed = |name: &MemberCount| name.sessions == witnesses;
            assert!(
                left.iter().all(is_witnessed) && left.len() == names,
                "{left:?}"
            );
        }
        // A claim that remained would reject these upgrades.
        for user in EXCLUSIVE {
            let (shard, link) = (self.random_below(self.scenario.shards), self.links.len());
            let kind = ClientKind::Edk { user, yields: true };
            self.connect(shard, Client::new(kind, format!("t{link}")));
            self.run_until_idle();
            assert!(
                self.links[link].client.is_upgraded,
                "{user} is still claimed"
            );
            self.links[link].has_ended = true;
            self.run_until_idle();
        }
    }

    /// Returns a random open session with a known public id, preferably without a pending action;
    /// `None` if there is none.
    pub(crate) fn some_session(&mut self) -> Option<usize> {
        let is_open = |&at: &usize| {
            let link = &self.links[at];
            link.public_id.is_some() && !link.is_closed && self.hosts[link.shard].is_open(link.id)
        };
        let mut open: Vec<usize> = (0..self.links.len()).filter(is_open).collect();
        if self.prng.chance(3, 4) {
            open.retain(|&at| self.links[at].pending_action.is_none());
        }
        self.prng.pick(open.into_iter())
    }

    pub(crate) fn random_below(&mut self, sides: usize) -> usize {
        let sides = u32::try_from(sides).expect("a small world");
        self.prng.range(0, sides - 1) as usize
    }

    /// Connects a client.
    pub(crate) fn connect(&mut self, shard: usize, client: Client) {
        self.turn(shard, Some(Event::Connect(Box::new(client))), None);
    }

    pub(crate) fn accept(&mut self, now: &Moment, shard: usize, client: Client) {
        let id = self.hosts[shard]
            .handle_accepted(now)
            .expect("there is room");
        assert!(self.by_id[shard].insert(id, self.links.len()).is_none());
        let mut history = SessionHistory::default();
        if let ClientKind::Edk { user, .. } = client.kind {
            history.exclusive = Some(user);
        }
        self.links.push(Link {
            shard,
            id,
            earlier: Vec::new(),
            client,
            history,
            public_id: None,
            pending_action: None,
            delivered: 0,
            received_at: BTreeMap::new(),
            connected_at: self.now,
            input_at: self.now,
            opened_at: 0,
            ended_at: 0,
            in_flight_bytes: None,
            is_reading: true,
            is_stalled: false,
            has_ended: false,
            has_reset: false,
            knows_end: false,
            is_shut: false,
            is_finishing: false,
            is_closed: false,
            was_aborted: false,
        });
        self.after(shard);
    }

    /// Returns the number of publications in the log of a shard.
    pub(crate) fn applied(&self, shard: usize) -> usize {
        self.applied[shard]
    }

    /// Returns `true` for a witness. The witnesses have the first links.
    pub(crate) fn is_witness(&self, link: usize) -> bool {
        link < self.scenario.shards
    }

    /// Delivers bytes or the end of the stream to the host. Returns `false` if there was nothing.
    pub(crate) fn deliver(&mut self, now: &Moment, at: usize) -> bool {
        let link = &mut self.links[at];
        let (shard, id) = (link.shard, link.id);
        let host = &mut self.hosts[shard];
        if link.is_finishing || link.knows_end {
            return false;
        }
        if link.has_reset {
            link.client.outgoing.clear();
            link.knows_end = true;
            host.handle_hangup(now, id, true);
            self.after(shard);
            return true;
        }
        // While the host is blocked, the driver defers input of sessions; witnesses are exempt.
        let is_deferred = host.is_session(id) && host.is_blocked() && at >= self.scenario.shards;
        if !link.is_reading || is_deferred {
            return false;
        }
        let len = link.client.outgoing.len();
        if len > 0 {
            let most = u32::try_from(len).expect("clients send short messages");
            let is_request = self.scenario.has_channels && !link.client.is_upgraded;
            let most = if is_request || self.prng.chance(1, 3) {
                most
            } else {
                most.min(40)
            };
            let least = if is_request { most } else { 1 };
            let len = self.prng.range(least, most) as usize;
            let mut chunk: Vec<u8> = link.client.outgoing.drain(..len).collect();
            link.delivered += len as u64;
            link.input_at = self.now;
            for requests in &mut link.client.requests {
                if requests.end <= link.delivered && requests.arrived.is_none() {
                    requests.arrived = Some(self.now);
                }
            }
            host.handle_received(now, id, &mut chunk);
            // The last bytes and the end may arrive together.
            if link.has_ended && link.client.outgoing.is_empty() && self.prng.chance(1, 2) {
                link.knows_end = true;
                host.handle_hangup(now, id, false);
            }
        } else if link.has_ended {
            link.knows_end = true;
            host.handle_hangup(now, id, false);
        } else {
            return false;
        }
        self.after(shard);
        true
    }

    /// Completes the send in flight if possible. Returns `true` if it did.
    pub(crate) fn complete_send(&mut self, now: &Moment, at: usize) -> bool {
        let link = &mut self.links[at];
        let (shard, id) = (link.shard, link.id);
        if link.is_stalled && !link.has_reset && !link.is_finishing {
            return false;
        }
        let Some(bytes) = link.in_flight_bytes.take() else {
            return false;
        };
        let host = &mut self.hosts[shard];
        if link.has_reset {
            host.handle_sent(now, id, 0);
            host.handle_hangup(now, id, true);
            link.knows_end = true;
        } else {
            let len = u32::try_from(bytes.len()).expect("an outbox counts in u32");
            let least = u32::from(!link.is_finishing);
            let taken = match self.prng.range(0, 3) {
                _ if at < self.scenario.shards => len,
                0 => self.prng.range(least, len),
                1 => least.max(len.min(3)),
                _ => len,
            };
            link.was_aborted |= link.is_finishing && taken < len;
            link.client.receive(&bytes[..taken as usize], self.now);
            host.handle_sent(now, id, taken);
        }
        self.after(shard);
        true
    }

    /// Posts to the other shards, sends, and executes the host's requests. Returns `true` if there
    /// was work.
    pub(crate) fn flush(&mut self, shard: usize, sends: u32) -> bool {
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
            self.links[at].begin_send(bytes);
            moved = true;
        }
        for _ in 0..sends {
            let Some((id, bytes)) = self.hosts[shard].poll_http_send() else {
                break;
            };
            let at = self.by_id[shard][&id];
            self.links[at].begin_send(bytes);
            moved = true;
        }
        while let Some((id, is_on)) = self.hosts[shard].poll_reading() {
            if let Some(&at) = self.by_id[shard].get(&id) {
                self.links[at].is_reading = is_on;
            }
        }
        while let Some((id, step)) = self.hosts[shard].poll_close() {
            let link = &mut self.links[self.by_id[shard][&id]];
            let unread = link.in_flight_bytes.as_ref().map_or(0, Vec::len);
            match step {
                CloseStep::Shutdown => {
                    assert!(link.in_flight_bytes.is_none() && !link.is_shut && !link.is_finishing);
                    link.is_shut = true;
                }
                CloseStep::Measure => {
                    // Bytes that a client has not read are in its socket.
                    let bytes = u32::try_from(unread).expect("an outbox counts in u32");
                    self.hosts[shard].handle_unacknowledged(id, bytes);
                }
                CloseStep::Finish | CloseStep::Reset => {
                    assert!(!link.is_finishing, "closed once");
                    link.is_finishing = true;
                    link.was_aborted |= link.client.is_within() || link.is_stalled;
                    if !self.is_stopping {
                        model::verify_finish(link, self.now, &self.scenario);
                    }
                }
            }
            moved = true;
        }
        // A witness reads everything at once and is never slow.
        let now = self.hosts[shard].set_time(Tick(self.now));
        self.complete_send(&now, shard);
        self.hosts[shard].enforce_publication_limit();
        self.after(shard);
        moved
    }

    /// Ends the client's side after it has received a close frame or the end of the stream.
    fn complete_close(&mut self, at: usize) -> bool {
        let link = &mut self.links[at];
        if link.client.close.is_some() && !link.client.sent_close && !link.has_ended {
            link.client.send_close(1000);
            return true;
        }
        let ends = (link.is_shut || link.is_closed) && !link.has_ended;
        link.has_ended |= ends;
        ends
    }

    /// Closes a socket that the host has released, once no operation is in flight.
    pub(crate) fn close(&mut self, now: &Moment, at: usize) -> bool {
        let link = &mut self.links[at];
        if !link.is_finishing || link.is_closed || link.in_flight_bytes.is_some() {
            return false;
        }
        link.is_closed = true;
        let (shard, id) = (link.shard, link.id);
        assert_eq!(self.by_id[shard].remove(&id), Some(at));
        self.hosts[shard].handle_closed(now, id);
        self.after(shard);
        true
    }

    /// Returns every request with its response, if any, and its link.
    pub(crate) fn requests(
        &self,
    ) -> impl Iterator<Item = (&SentRequest, Option<&ReceivedResponse>, usize)> {
        self.links.iter().enumerate().flat_map(|(at, link)| {
            let client = &link.client;
            client
                .requests
                .iter()
                .enumerate()
                .map(move |(index, requests)| (requests, client.responses.get(index), at))
        })
    }

    /// Returns the response to the HTTP request of a publication; `None` before it comes.
    ///
    /// # Panics
    ///
    /// The publication was not sent by HTTP.
    pub(crate) fn response_to(&self, push: usize) -> Option<&ReceivedResponse> {
        let wanted =
            |requests: &SentRequest| matches!(requests.what, Request::Push { id } if id == push);
        let Publisher::Pusher(link) = self.pushes[push].by else {
            panic!("{push} was not pushed over HTTP");
        };
        let client = &self.links[link].client;
        let index = client
            .requests
            .iter()
            .position(wanted)
            .expect("a request is pending");
        client.responses.get(index)
    }
}

const PUBLICATIONS_PER_FLUSH_MAX: usize = 4;
/// Enough turns for every task to reach a wait for a host.
const TURNS_OF_ALL_TASKS: u32 = 30;
const SETTLING_ROUNDS_MAX: u32 = 20_000;
