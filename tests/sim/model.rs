//! What must have come of a world: one log of applications per shard, and who was listening when.
//!
//! The log of a shard is what its witness heard. A session must have heard exactly what the log has
//! for its users from where it joined to where it ended, in that order. Where a session ended
//! within a step that applied several publications, any place within that step is right.

use crate::client::{Answered, Request};
use crate::climate::{PUSH_TIMEOUT, event_of, user_name};
use crate::world::{Link, World};
use std::collections::BTreeMap;

/// One publication that was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pushed {
    pub(crate) user: usize,
    /// Over which link.
    pub(crate) link: usize,
}

/// What is known of one session.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// By user: the event of the first registration, and how long the log was then.
    joined: BTreeMap<String, (String, usize)>,
    pub(crate) was_open: bool,
    pub(crate) ended: Option<Ended>,
    pub(crate) ended_before_open: Vec<&'static str>,
}

/// Where a session ended: how long the log was before and after that step, and what was counted.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) least: usize,
    pub(crate) most: usize,
    pub(crate) labels: Vec<&'static str>,
}

/// What happened in a world, for a test that wants to see that enough did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) delivered: u64,
    pub(crate) totals: u64,
    pub(crate) busy: u64,
    pub(crate) timed_out: u64,
    pub(crate) dropped: u64,
    pub(crate) slow: u64,
    pub(crate) idle: u64,
    pub(crate) copied: u64,
    pub(crate) blocked_steps: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.totals += other.totals;
        self.busy += other.busy;
        self.timed_out += other.timed_out;
        self.dropped += other.dropped;
        self.slow += other.slow;
        self.idle += other.idle;
        self.copied += other.copied;
        self.blocked_steps += other.blocked_steps;
    }
}

impl Book {
    /// A registration was read; the first for a user counts.
    pub(crate) fn join(&mut self, user: String, event: String, applied: usize) {
        if !user.is_empty() {
            self.joined.entry(user).or_insert((event, applied));
        }
    }

    /// Whether a publication to `user` at this place of the log was for this session; `None` if
    /// that is not known.
    fn reaches(&self, user: usize, at: usize) -> Option<bool> {
        let joined = self.joined.get(&user_name(user));
        match joined {
            Some((event, joined)) if event == event_of(user) && *joined <= at => {}
            _ => return Some(false),
        }
        match &self.ended {
            Some(ended) if at >= ended.most => Some(false),
            // Whom the only publication of a step finds full is not reached by it.
            Some(ended) if at >= ended.least && ended.was_full_for_one() => Some(false),
            Some(ended) if at >= ended.least => None,
            _ => Some(true),
        }
    }
}

impl Ended {
    fn was_full_for_one(&self) -> bool {
        self.labels == ["slow_consumer"] && self.least + 1 == self.most
    }
}

/// Judges a world that has come to rest.
pub(crate) fn judge(world: &World) -> Tally {
    let logs: Vec<&[usize]> = (0..world.climate.shards)
        .map(|shard| world.links[shard].client.heard.as_slice())
        .collect();
    for (shard, log) in logs.iter().enumerate() {
        let ended = &world.links[shard].book.ended;
        assert!(
            ended.is_none() || world.is_stopping,
            "the witness ended: {ended:?}"
        );
        let applied = world.hosts[shard].counters().publications;
        assert_eq!(
            log.len() as u64,
            applied,
            "the witness of {shard} missed something"
        );
    }
    for (at, link) in world.links.iter().enumerate() {
        let is_over = link.client.close.is_some() && link.client.said_close;
        assert!(
            !is_over || link.is_shut || link.is_closed,
            "{at} said goodbye and stays"
        );
        if !link.client.is_pusher {
            judge_session(at, link, logs[link.shard], world);
        }
    }
    judge_orders(world, &logs);
    let places: Vec<BTreeMap<usize, usize>> = logs
        .iter()
        .map(|log| log.iter().enumerate().map(|(at, &id)| (id, at)).collect())
        .collect();
    for (places, log) in places.iter().zip(&logs) {
        assert_eq!(places.len(), log.len(), "a publication was applied twice");
    }
    let mut tally = judge_answers(world, &places);
    for host in &world.hosts {
        let counters = host.counters();
        tally.delivered += counters.deliveries;
        tally.slow += counters.ended("slow_consumer");
        tally.idle += counters.ended("idle_timeout");
        tally.copied += counters.outboxes_copied;
    }
    tally.blocked_steps = world.blocked_steps;
    tally
}

fn judge_session(at: usize, link: &Link, log: &[usize], world: &World) {
    let (client, book) = (&link.client, &link.book);
    let of = |range: std::ops::Range<usize>| {
        let start = range.start;
        let reached = log[range].iter().enumerate().filter(move |&(index, &id)| {
            book.reaches(world.pushes[id].user, start + index) != Some(false)
        });
        reached.map(|(_, &id)| id).collect::<Vec<usize>>()
    };
    let Some(ended) = &book.ended else {
        if book.was_open {
            assert!(!link.is_closed && client.close.is_none());
            assert_eq!(client.heard, of(0..log.len()), "session {at} is open");
        } else {
            assert!(client.heard.is_empty());
        }
        return;
    };
    assert!(
        !ended.labels.is_empty(),
        "session {at} ended without a reason"
    );
    let most = of(0..ended.most);
    assert!(
        most.starts_with(&client.heard),
        "session {at}: {:?}, not {most:?}",
        client.heard
    );

    let left_by_itself = link.has_reset || (link.has_ended && client.close.is_none());
    match &client.close {
        Some((code, reason)) => {
            let is_slow = reason == "too slow";
            let fits = |label: &&str| is_code_of(label, *code);
            assert!(
                ended.labels.iter().any(fits),
                "{code:?} for {:?}",
                ended.labels
            );
            if !is_slow {
                let least = of(0..ended.least).len();
                assert!(
                    client.heard.len() >= least,
                    "session {at} was closed and is owed more"
                );
            }
        }
        None if left_by_itself || link.was_cut => {}
        None => {
            let is_cut = |label: &&str| ["slow_consumer", "reset"].contains(label);
            let fits = ended.labels.iter().any(is_cut);
            assert!(
                fits,
                "session {at} heard no close frame: {:?}",
                ended.labels
            );
        }
    }
    let only = |label: &str| ended.labels == [label];
    assert!(
        !only("reset") || link.has_ended,
        "session {at} was reset by nobody"
    );
    assert!(!only("client_closed") || client.said_close);
}

/// Whether a session that ended under this label may have been sent this code.
fn is_code_of(label: &str, code: Option<u16>) -> bool {
    match label {
        "dropped" | "client_closed" => code == Some(1000),
        "idle_timeout" | "shutdown" => code == Some(1001),
        "slow_consumer" | "registration_timeout" => code == Some(1008),
        _ => false,
    }
}

/// What one publisher asked in an order is applied in that order on every shard.
fn judge_orders(world: &World, logs: &[&[usize]]) {
    for log in logs {
        let mut last: BTreeMap<usize, usize> = BTreeMap::new();
        for &id in *log {
            let before = last.insert(world.pushes[id].link, id);
            assert!(
                before.is_none_or(|before| before < id),
                "{id} after {before:?}"
            );
        }
    }
}

fn judge_answers(world: &World, places: &[BTreeMap<usize, usize>]) -> Tally {
    let mut tally = Tally::default();
    let (mut dropped, mut all_drops_known) = (0, true);
    for (asked, answered, at) in world.requests() {
        let link = &world.links[at];
        let Some(answered) = answered else {
            let may_miss = link.has_ended || link.is_closed;
            assert!(may_miss, "a request on link {at} was never answered");
            all_drops_known = false;
            continue;
        };
        let is_busy = answered.status == 503 && answered.body.starts_with("too busy");
        if answered.status == 503 && !is_busy {
            assert!(answered.body.starts_with("timed out"), "{answered:?}");
            let arrived = asked.arrived.expect("answered, so it arrived");
            let waited = answered.heard - arrived;
            assert!(waited >= PUSH_TIMEOUT, "timed out after {waited} ticks");
            tally.timed_out += 1;
        }
        match asked.what {
            Request::Push { id } => {
                let applied = places
                    .iter()
                    .filter(|places| places.contains_key(&id))
                    .count();
                if is_busy {
                    assert_eq!(applied, 0, "{id} was refused and applied");
                } else {
                    assert_eq!(applied, places.len(), "{id} was not applied everywhere");
                }
                if answered.status == 200 {
                    judge_total(id, answered, world, places);
                    tally.totals += 1;
                }
            }
            Request::Drop if answered.status == 200 => {
                dropped += number_in(&answered.body, "dropped ", " connections");
            }
            Request::Drop => all_drops_known &= is_busy,
        }
        tally.busy += u64::from(is_busy);
    }
    for id in 0..world.pushes.len() {
        if world.answer_to(id).is_none() {
            let applied = places
                .iter()
                .filter(|places| places.contains_key(&id))
                .count();
            assert!(
                applied == 0 || applied == places.len(),
                "{id} on {applied} shards"
            );
        }
    }
    let ended = world
        .hosts
        .iter()
        .map(|host| host.counters().ended("dropped"));
    tally.dropped = ended.sum();
    assert!(dropped <= tally.dropped);
    assert!(!all_drops_known || dropped == tally.dropped);
    tally
}

/// A total is the sum, over all shards, of the sessions that the publication was added to.
fn judge_total(id: usize, answered: &Answered, world: &World, places: &[BTreeMap<usize, usize>]) {
    let total = number_in(&answered.body, "message sent to ", " clients");
    let (mut least, mut most) = (0, 0);
    for link in &world.links {
        let at = places[link.shard][&id];
        let is_known = link.book.reaches(world.pushes[id].user, at);
        let is_known = is_known.or_else(|| {
            let (_, reason) = link.client.close.as_ref()?;
            let heard_all = reason != "too slow" && !link.has_reset;
            heard_all.then(|| link.client.heard.contains(&id))
        });
        least += u64::from(is_known == Some(true));
        most += u64::from(is_known != Some(false));
    }
    assert!(
        (least..=most).contains(&total),
        "{total} is not in {least}..={most} for {id}"
    );
}

fn number_in(text: &str, before: &str, after: &str) -> u64 {
    let number = text
        .strip_prefix(before)
        .and_then(|rest| rest.strip_suffix(after));
    number
        .expect("the words of the original")
        .parse()
        .expect("a number")
}
