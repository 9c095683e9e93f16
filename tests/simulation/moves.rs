//! Moves of sessions between shards.
//!
//! Before a move all shards apply what is in their mailboxes and command queues, and nothing else:
//! clients, sends, calls and tasks stay where they are. So when a session moves, all shards have
//! applied the same publications, and the session's log goes on in that of its new shard.

use crate::embedder::poll;
use crate::simulator::Simulator;
use crate::turns::Event;
use campanile::host::{Host, HostedSession};
use campanile::shard::export::{ExportError, SessionPhase};
use campanile::time::Tick;
use std::collections::BTreeSet;

/// Counts of moves, by what the session had.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MoveCounts {
    pub(crate) moved: u64,
    pub(crate) back: u64,
    pub(crate) refused: u64,
    pub(crate) users: u64,
    pub(crate) channels: u64,
    pub(crate) claims: u64,
    pub(crate) waiting: u64,
    pub(crate) calls: u64,
    pub(crate) deferred: u64,
    pub(crate) partial: u64,
    pub(crate) outboxes: u64,
    pub(crate) torn: u64,
    pub(crate) closing: u64,
}

impl MoveCounts {
    pub(crate) fn add(&mut self, other: Self) {
        self.moved += other.moved;
        self.back += other.back;
        self.refused += other.refused;
        self.users += other.users;
        self.channels += other.channels;
        self.claims += other.claims;
        self.waiting += other.waiting;
        self.calls += other.calls;
        self.deferred += other.deferred;
        self.partial += other.partial;
        self.outboxes += other.outboxes;
        self.torn += other.torn;
        self.closing += other.closing;
    }

    fn count(&mut self, export: &HostedSession, is_back: bool) {
        let session = &export.session;
        self.moved += 1;
        self.back += u64::from(is_back);
        self.users += u64::from(!session.users.is_empty());
        self.channels += u64::from(!session.channels.is_empty());
        self.claims += u64::from(session.exclusive_user.is_some());
        self.waiting += u64::from(session.waiting);
        self.calls += u64::from(session.calls_in_flight > 0);
        self.deferred += u64::from(export.deferred.is_some());
        self.partial += u64::from(session.partial.is_some());
        self.outboxes += u64::from(!session.outbox.bytes.is_empty());
        self.torn += u64::from(session.outbox.keeps_first);
        self.closing += u64::from(session.phase != SessionPhase::Open);
    }
}

impl Simulator {
    /// Moves a random session to a random shard, which may be its own.
    pub(crate) fn move_some_session(&mut self) {
        self.quiesce();
        let is_session = |&at: &usize| {
            let link = &self.links[at];
            let is_over = link.is_finishing || link.is_closed || link.has_reset;
            !is_over && self.hosts[link.shard].is_session(link.id)
        };
        let sessions = (self.scenario.shards..self.links.len()).filter(is_session);
        let mut sessions: Vec<usize> = sessions.collect();
        if self.prng.chance(1, 2) {
            sessions = self.prefer_busy(sessions);
        }
        if let Some(at) = self.prng.pick(sessions.into_iter()) {
            let to = self.random_below(self.scenario.shards);
            self.cancel_send(at);
            self.move_link(at, to);
            // The shard on which it opened is told where it is.
            self.quiesce();
        }
    }

    /// Asserts that each session is on one page of the list of all sessions, wherever it is.
    pub(crate) fn check_pages(&mut self) {
        let mut listed = BTreeSet::new();
        let mut after = None;
        loop {
            let mut page = self.embedder.sessions_page(after);
            self.run_until_idle();
            let page = poll(&mut page).expect("all hosts have looked");
            let page = page.expect("the id was issued");
            for session in page.items {
                assert!(listed.insert(session.id), "{} is listed twice", session.id);
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let sessions = self.hosts.iter().map(Host::sessions_count);
        assert_eq!(listed.len(), sessions.sum::<usize>());
    }

    /// Returns those of some sessions that wait for a response of the host; all if there are none.
    fn prefer_busy(&mut self, mut sessions: Vec<usize>) -> Vec<usize> {
        let is_busy = |&at: &usize| {
            let link = &self.links[at];
            let host = &mut self.hosts[link.shard];
            let now = host.set_time(Tick(self.now));
            let waits = |it: HostedSession| it.session.waiting || it.session.calls_in_flight > 0;
            host.export(&now, link.id).is_ok_and(waits)
        };
        let busy: Vec<usize> = sessions.iter().copied().filter(is_busy).collect();
        if !busy.is_empty() {
            sessions = busy;
        }
        sessions
    }

    /// Runs the shards until nothing is under way between them.
    fn quiesce(&mut self) {
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "the shards are never quiet");
            if self.hosts.iter().all(Host::is_quiet) {
                return;
            }
            for shard in 0..self.hosts.len() {
                if !self.hosts[shard].is_quiet() {
                    self.turn(shard, Some(Event::Arrivals(shard)), Some(0));
                }
            }
        }
    }

    /// Cancels a link's send, of which the socket has taken any part.
    fn cancel_send(&mut self, at: usize) {
        let link = &mut self.links[at];
        let (shard, id) = (link.shard, link.id);
        if let Some(bytes) = link.in_flight_bytes.take() {
            let len = u32::try_from(bytes.len()).expect("an outbox counts in u32");
            let most = if link.is_stalled { 0 } else { len };
            let taken = self.prng.range(0, most);
            link.client.receive(&bytes[..taken as usize], self.now);
            let now = self.hosts[shard].set_time(Tick(self.now));
            self.hosts[shard].handle_sent(&now, id, taken);
            self.after(shard);
        }
        // A close may follow the last byte.
        self.flush(shard, 0);
    }

    fn move_link(&mut self, at: usize, to: usize) {
        let (from, id) = (self.links[at].shard, self.links[at].id);
        let [now_there, now_here] = [to, from].map(|it| self.hosts[it].set_time(Tick(self.now)));
        let export = match self.hosts[from].export(&now_here, id) {
            Ok(export) => export,
            Err(ExportError::NoSession) => return, // it has just ended
            Err(error) => panic!("{error}"),
        };
        let Ok(adopted) = self.hosts[to].adopt(&now_there, &export) else {
            self.moves.refused += 1;
            assert_eq!(self.hosts[from].export(&now_here, id), Ok(export));
            return self.after(to);
        };
        let again = self.hosts[to].export(&now_there, adopted);
        assert_same(&export, again.expect("it is there"));
        self.hosts[from].forget(id);
        let link = &mut self.links[at];
        let is_back = link.earlier.iter().any(|&(shard, _)| shard == to);
        self.moves.count(&export, is_back);
        if !self.scenario.has_taps {
            assert_eq!(self.applied[from], self.applied[to]);
        }
        link.earlier.push((from, self.applied[from]));
        (link.shard, link.id, link.is_reading) = (to, adopted, true);
        assert_eq!(self.by_id[from].remove(&id), Some(at));
        assert_eq!(self.by_id[to].insert(adopted, at), None);
        self.after(from);
        self.after(to);
    }
}

/// Asserts that a copy of a session is the session, except for what stays behind: functions that
/// run, and a time that the new shard has spent paused.
fn assert_same(export: &HostedSession, mut again: HostedSession) {
    assert!(again.session.ages.input <= export.session.ages.input);
    again.session.ages = export.session.ages;
    if let (Some(before), Some(after)) = (&export.session.partial, &mut again.session.partial) {
        assert!(after.age <= before.age);
        after.age = before.age;
    }
    if let (Some(before), Some(after)) = (&export.handlers, &mut again.handlers) {
        assert_eq!(after.running, 0);
        after.running = before.running;
    }
    assert_eq!(*export, again);
}

const ROUNDS_MAX: u32 = 10_000;
