//! What must have come of a world: one log of applications per shard, and who was listening when.
//!
//! The log of a shard is what its witness heard. A session must have heard exactly what the log has
//! for its users, its channels and everyone from where it joined to where it ended, in that order.
//! Where something happened within a step that applied several publications, any place within that
//! step is right.

use crate::book::{Book, Fate, Publisher, Pushed, Whom, Window};
use crate::client::{Answered, Asked, Request, Tongue};
use crate::climate::{
    CHANNELS, CLOSE_GRACE, Climate, IDLE_TIMEOUT, PUBLICATION_BYTES_AMPLE, PUSH_TIMEOUT,
};
use crate::world::{Link, World};
use std::collections::BTreeMap;

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
    /// Publications to channels that sessions heard, and to them alone.
    pub(crate) on_channels: u64,
    pub(crate) direct: u64,
    /// Times that a session came to a channel or went.
    pub(crate) toggles: u64,
    /// What became of those who wanted to be a user's only session.
    pub(crate) granted: u64,
    pub(crate) replaced: u64,
    pub(crate) taken: u64,
    pub(crate) crowded: u64,
    pub(crate) claims_timed_out: u64,
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
        self.on_channels += other.on_channels;
        self.direct += other.direct;
        self.toggles += other.toggles;
        self.granted += other.granted;
        self.replaced += other.replaced;
        self.taken += other.taken;
        self.crowded += other.crowded;
        self.claims_timed_out += other.claims_timed_out;
    }
}

/// The log of one shard: the numbers of the publications, and where each stands.
struct Log<'w> {
    ids: &'w [usize],
    places: BTreeMap<usize, usize>,
}

/// Judges a world that has come to rest.
pub(crate) fn judge(world: &World) -> Tally {
    let logs: Vec<Log<'_>> = (0..world.climate.shards)
        .map(|shard| {
            let ids = world.links[shard].client.heard.as_slice();
            let places = ids.iter().enumerate().map(|(at, &id)| (id, at)).collect();
            Log { ids, places }
        })
        .collect();
    for (shard, log) in logs.iter().enumerate() {
        let ended = &world.links[shard].book.ended;
        assert!(
            ended.is_none() || world.is_stopping,
            "the witness ended: {ended:?}"
        );
        let applied = world.applied(shard);
        assert_eq!(
            log.ids.len(),
            applied,
            "the witness of {shard} missed something"
        );
        assert_eq!(
            log.places.len(),
            log.ids.len(),
            "a publication was applied twice"
        );
    }
    let mut tally = Tally::default();
    for (at, link) in world.links.iter().enumerate() {
        let is_over = link.client.close.is_some() && link.client.said_close;
        assert!(
            !is_over || link.is_shut || link.is_closed,
            "{at} said goodbye and stays"
        );
        if !link.client.is_pusher() {
            judge_session(at, world, &logs[link.shard], &mut tally);
        }
    }
    judge_orders(world, &logs);
    judge_fates(world, &logs, &mut tally);
    judge_answers(world, &logs, &mut tally);
    count_hosts(world, &mut tally);
    tally
}

/// Judges a session that has just begun to end: no deadline comes before its time.
pub(crate) fn judge_end(link: &Link, labels: &[&str], climate: &Climate) {
    let (label, since, timeout) = match labels {
        ["idle_timeout"] => ("silent", link.input_at, IDLE_TIMEOUT),
        ["registration_timeout"] => ("unregistered", link.opened_at, climate.registration_timeout),
        _ => return,
    };
    let waited = link.ended_at - since;
    assert!(
        waited >= timeout,
        "{label} for {waited} of {timeout} ticks, and ended"
    );
}

/// Judges a connection that is being closed: no deadline comes before its time.
pub(crate) fn judge_finish(link: &Link, now: u32, climate: &Climate) {
    if link.was_told {
        return;
    }
    if let Some(ended) = &link.book.ended {
        let is_cut = |label: &&str| ["slow_consumer", "reset"].contains(label);
        let waited = now - link.ended_at;
        // Where batches hold too much, those who are behind are cut at any time.
        let may_be_relieved = climate.publication_bytes < PUBLICATION_BYTES_AMPLE;
        assert!(
            waited >= CLOSE_GRACE || may_be_relieved || ended.labels.iter().any(is_cut),
            "closing for {waited} of {CLOSE_GRACE} ticks, and cut: {:?}",
            ended.labels
        );
    } else if link.client.answered.is_empty() && link.book.opened.is_none() {
        let (waited, timeout) = (now - link.connected_at, climate.handshake_timeout);
        assert!(
            waited >= timeout,
            "connected for {waited} of {timeout} ticks, and cut"
        );
    }
}

/// What hosts have counted.
pub(crate) fn count(world: &World) -> Tally {
    let mut tally = Tally::default();
    count_hosts(world, &mut tally);
    tally
}

fn count_hosts(world: &World, tally: &mut Tally) {
    for host in &world.hosts {
        let counters = host.counters();
        tally.delivered += counters.deliveries;
        tally.slow += counters.ended("slow_consumer");
        tally.idle += counters.ended("idle_timeout");
        tally.replaced += counters.ended("replaced");
        tally.copied += counters.outboxes_copied;
    }
    tally.blocked_steps = world.blocked_steps;
}

fn judge_session(at: usize, world: &World, log: &Log<'_>, tally: &mut Tally) {
    let link = &world.links[at];
    let (client, book) = (&link.client, &link.book);
    let is_direct = |id: &&usize| matches!(world.pushes[**id].whom, Whom::Session(_));
    let direct: Vec<usize> = client.heard.iter().filter(is_direct).copied().collect();
    let heard: Vec<usize> = client
        .heard
        .iter()
        .filter(|id| !is_direct(id))
        .copied()
        .collect();
    tally.direct += direct.len() as u64;
    assert!(
        book.direct.starts_with(&direct),
        "session {at} alone: {direct:?}, not {:?}",
        book.direct
    );
    let places = heard.iter().map(|id| log.places.get(id).copied());
    let places: Option<Vec<usize>> = places.collect();
    let places = places.expect("what a session hears is in the log of its shard");
    assert!(
        places.is_sorted_by(|before, after| before < after),
        "session {at} heard in another order, or twice: {heard:?}"
    );

    let owed = owed(at, world, book);
    if let Some(unheard) = check_places(at, world, log, &places, owed.unwrap_or(0)) {
        panic!("session {at} never heard {unheard}: {:?}", book.ended);
    }
    if owed.is_some() {
        assert_eq!(
            direct.len(),
            book.direct.len(),
            "session {at} is owed more, alone"
        );
    }
    for channel in CHANNELS {
        for toggle in book.toggles(channel) {
            tally.toggles += 1;
            let known = toggle
                .is_on
                .filter(|_| owed.is_some_and(|owed| toggle.window.end <= owed));
            let flags = flags(world, log, &places, channel, &toggle.window);
            let is_plausible = match known {
                Some(true) => flags.is_sorted(),
                Some(false) => flags.is_sorted_by(|before, after| before >= after),
                None => true,
            };
            let whole = link
                .book
                .opened
                .as_ref()
                .is_some_and(|it| it.end <= toggle.window.start);
            assert!(
                is_plausible || !whole,
                "session {at} heard half of {channel}: {flags:?}"
            );
        }
    }
    let is_on_channel = |id: &&usize| matches!(world.pushes[**id].whom, Whom::Channel(_));
    tally.on_channels += heard.iter().filter(is_on_channel).count() as u64;
}

/// Up to which place of the log a session must have heard everything that was for it; `None` if
/// some of it may have been on its way when the connection was cut.
fn owed(at: usize, world: &World, book: &Book) -> Option<usize> {
    let link = &world.links[at];
    let client = &link.client;
    let Some(ended) = &book.ended else {
        if book.opened.is_some() {
            assert!(!link.is_closed && client.close.is_none());
            return Some(world.applied(link.shard));
        }
        assert!(client.heard.is_empty());
        return None;
    };
    assert!(
        !ended.labels.is_empty(),
        "session {at} ended without a reason"
    );
    let only = |label: &str| ended.labels == [label];
    assert!(
        !only("reset") || link.has_ended,
        "session {at} was reset by nobody"
    );
    assert!(!only("client_closed") || client.said_close);

    let left_by_itself = link.has_reset || (link.has_ended && client.close.is_none());
    match &client.close {
        Some((code, reason)) => {
            let fits = |label: &&str| is_code_of(label, *code);
            assert!(
                ended.labels.iter().any(fits),
                "{code:?} for {:?}",
                ended.labels
            );
            (reason != "too slow").then_some(ended.window.start)
        }
        None if left_by_itself || link.was_cut => None,
        None => {
            let is_cut = |label: &&str| ["slow_consumer", "reset"].contains(label);
            let fits = ended.labels.iter().any(is_cut);
            assert!(
                fits,
                "session {at} heard no close frame: {:?}",
                ended.labels
            );
            None
        }
    }
}

/// Compares what a session heard with the log: what was not for it, it did not hear; and it heard
/// everything that was, up to the last thing that it heard. Returns the first that it is owed
/// beyond.
fn check_places(
    at: usize,
    world: &World,
    log: &Log<'_>,
    places: &[usize],
    owed: usize,
) -> Option<usize> {
    let book = &world.links[at].book;
    let last = places.last().map_or(0, |last| last + 1);
    let mut places = places.iter().peekable();
    for (place, &id) in log.ids.iter().enumerate().take(last.max(owed)) {
        let was_heard = places.next_if_eq(&&place).is_some();
        match book.reaches(at, &world.pushes[id], place) {
            Some(false) => assert!(!was_heard, "{id} was not for session {at}"),
            Some(true) if !was_heard => {
                assert!(place >= last, "session {at} missed {id}");
                return Some(id);
            }
            Some(true) | None => {}
        }
    }
    None
}

/// Of what was said on a channel within a window: whether a session heard it.
fn flags(
    world: &World,
    log: &Log<'_>,
    places: &[usize],
    channel: &'static str,
    window: &Window,
) -> Vec<bool> {
    let said = log
        .ids
        .iter()
        .enumerate()
        .skip(window.start)
        .take(window.len());
    let said = said.filter(|(_, id)| {
        let push = &world.pushes[**id];
        push.whom == Whom::Channel(channel) && push.except.is_empty()
    });
    said.map(|(place, _)| places.binary_search(&place).is_ok())
        .collect()
}

/// Whether a session that ended under this label may have been sent this code.
fn is_code_of(label: &str, code: Option<u16>) -> bool {
    match label {
        "dropped" | "client_closed" => code == Some(1000),
        "idle_timeout" | "shutdown" => code == Some(1001),
        "slow_consumer" | "registration_timeout" => code == Some(1008),
        "closed" => code == Some(4000),
        "replaced" => code == Some(4001),
        _ => false,
    }
}

/// What one publisher asked in an order is applied in that order on every shard.
fn judge_orders(world: &World, logs: &[Log<'_>]) {
    for log in logs {
        let mut last: BTreeMap<Publisher, usize> = BTreeMap::new();
        for &id in log.ids {
            let before = last.insert(world.pushes[id].by, id);
            assert!(
                before.is_none_or(|before| before < id),
                "{id} after {before:?}"
            );
        }
    }
}

/// What was accepted is applied everywhere, what was refused nowhere, and of what nobody has said
/// anything, all shards think the same.
fn judge_fates(world: &World, logs: &[Log<'_>], tally: &mut Tally) {
    for (id, push) in world.pushes.iter().enumerate() {
        if matches!(push.whom, Whom::Session(_)) || matches!(push.by, Publisher::Pusher(_)) {
            continue;
        }
        let applied = logs
            .iter()
            .filter(|log| log.places.contains_key(&id))
            .count();
        match push.fate {
            Fate::Unknown => assert!(
                applied == 0 || applied == logs.len(),
                "{id} on {applied} shards"
            ),
            Fate::Refused => assert_eq!(applied, 0, "{id} was refused and applied"),
            Fate::Accepted | Fate::Counted(_) | Fate::TimedOut => {
                assert_eq!(applied, logs.len(), "{id} was not applied everywhere");
            }
        }
        match push.fate {
            Fate::Counted(total) => {
                judge_total(id, total, world, logs);
                tally.totals += 1;
            }
            Fate::Refused => tally.busy += 1,
            Fate::TimedOut => tally.timed_out += 1,
            Fate::Unknown | Fate::Accepted => {}
        }
    }
}

fn judge_answers(world: &World, logs: &[Log<'_>], tally: &mut Tally) {
    let (mut dropped, mut all_drops_known) = (0, true);
    for (asked, answered, at) in world.requests() {
        let link = &world.links[at];
        let Some(answered) = answered else {
            let may_miss = link.has_ended || link.is_closed;
            assert!(may_miss, "a request on link {at} was never answered");
            all_drops_known &= !matches!(asked.what, Request::Drop);
            continue;
        };
        if matches!(asked.what, Request::Upgrade) {
            judge_upgrade(asked, answered, at, world, tally);
            continue;
        }
        // Its last bytes came too late, or never.
        let is_late = answered.status == 408;
        let is_busy = answered.status == 503 && answered.body.starts_with("too busy");
        if answered.status == 503 && !is_busy {
            assert!(answered.body.starts_with("timed out"), "{answered:?}");
            let waited = waited(asked, answered);
            assert!(waited >= PUSH_TIMEOUT, "timed out after {waited} ticks");
            tally.timed_out += 1;
        }
        match asked.what {
            Request::Push { id } => {
                let applied = logs
                    .iter()
                    .filter(|log| log.places.contains_key(&id))
                    .count();
                if is_busy || is_late {
                    assert_eq!(applied, 0, "{id} was refused and applied");
                } else {
                    assert_eq!(applied, logs.len(), "{id} was not applied everywhere");
                }
                if answered.status == 200 {
                    let total = number_in(&answered.body, "message sent to ", " clients");
                    judge_total(id, total, world, logs);
                    tally.totals += 1;
                }
            }
            Request::Drop if answered.status == 200 => {
                dropped += number_in(&answered.body, "dropped ", " connections");
            }
            Request::Drop => all_drops_known &= is_busy || is_late,
            Request::Upgrade => {}
        }
        tally.busy += u64::from(is_busy);
    }
    for (id, push) in world.pushes.iter().enumerate() {
        if matches!(push.by, Publisher::Pusher(_)) && world.answer_to(id).is_none() {
            let applied = logs
                .iter()
                .filter(|log| log.places.contains_key(&id))
                .count();
            assert!(
                applied == 0 || applied == logs.len(),
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
}

/// Who wants to be a user's only session is let in, or told why not.
fn judge_upgrade(asked: &Asked, answered: &Answered, at: usize, world: &World, tally: &mut Tally) {
    let link = &world.links[at];
    if answered.status == 408 {
        // Its head came in pieces, and the last of them late.
        let waited = answered.heard - link.connected_at;
        assert!(
            waited >= world.climate.handshake_timeout,
            "timed out after {waited} ticks"
        );
        return;
    }
    let Tongue::Edk { yields, .. } = link.client.tongue else {
        assert_eq!(answered.status, 101, "{answered:?}");
        return;
    };
    match (answered.status, answered.body.as_str()) {
        (101, _) => tally.granted += 1,
        (409, "the user is connected already\n") if yields => tally.taken += 1,
        (503, "too many of one user\n") if !yields => tally.crowded += 1,
        (503, "timed out, try again\n") => {
            let waited = waited(asked, answered);
            assert!(
                waited >= world.climate.handshake_timeout,
                "timed out after {waited} ticks"
            );
            tally.claims_timed_out += 1;
        }
        _ => panic!("{answered:?}"),
    }
}

fn waited(asked: &Asked, answered: &Answered) -> u32 {
    answered.heard - asked.arrived.expect("answered, so it arrived")
}

/// A total is the sum, over all shards, of the sessions that the publication was added to.
fn judge_total(id: usize, total: u64, world: &World, logs: &[Log<'_>]) {
    let (mut least, mut most) = (0, 0);
    for (index, link) in world.links.iter().enumerate() {
        let at = logs[link.shard].places[&id];
        let push: &Pushed = &world.pushes[id];
        let is_known = link.book.reaches(index, push, at);
        let is_known = is_known.or_else(|| {
            let heard_all = match &link.client.close {
                Some((_, reason)) => reason != "too slow" && !link.has_reset,
                None => link.book.opened.is_some() && link.book.ended.is_none(),
            };
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
