//! The model of a simulation: verification of deliveries against a log per shard.
//!
//! The log of a shard is the sequence of publications that its witness session received. A session
//! must have received exactly the log's entries for its users, its channels and broadcasts, from
//! its join to its end, in order. If a join happened in a step that applied several publications,
//! any position within the step is right.

use crate::client::{ClientKind, ReceivedResponse, Request, SentRequest};
use crate::link::Link;
use crate::logs::{Log, Logs};
use crate::missed::check_full;
use crate::moves::MoveCounts;
use crate::scenario::{
    CHANNELS, CLOSE_GRACE, IDLE_TIMEOUT, LOSSY, PUBLICATION_BYTES_AMPLE, PUSH_TIMEOUT, Scenario,
};
use crate::session_history::{
    PublicationRecord, PublicationState, Publisher, SessionHistory, Target, Window,
};
use crate::simulator::Simulator;
use std::collections::BTreeMap;

/// Counts of events in a simulation, so that tests can assert that enough happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Coverage {
    pub(crate) delivered: u64,
    pub(crate) totals: u64,
    pub(crate) busy: u64,
    pub(crate) timed_out: u64,
    pub(crate) dropped: u64,
    pub(crate) slow: u64,
    pub(crate) idle: u64,
    pub(crate) copied: u64,
    pub(crate) blocked_steps: u64,
    /// Received publications to channels.
    pub(crate) on_channels: u64,
    /// Received publications to single sessions.
    pub(crate) direct: u64,
    /// Joins and leaves.
    pub(crate) membership_changes: u64,
    /// Publications that slow members of a channel missed.
    pub(crate) missed: u64,
    /// Claims of exclusive users, by result.
    pub(crate) granted: u64,
    pub(crate) replaced: u64,
    pub(crate) taken: u64,
    pub(crate) crowded: u64,
    pub(crate) claims_timed_out: u64,
    pub(crate) moves: MoveCounts,
}

impl Coverage {
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
        self.membership_changes += other.membership_changes;
        self.missed += other.missed;
        self.granted += other.granted;
        self.replaced += other.replaced;
        self.taken += other.taken;
        self.crowded += other.crowded;
        self.claims_timed_out += other.claims_timed_out;
        self.moves.add(other.moves);
    }
}

/// Verifies an idle simulation.
pub(crate) fn verify(simulator: &Simulator) -> Coverage {
    let all = Logs::of(simulator);
    let logs = &all.shards;
    for (shard, log) in logs.iter().enumerate() {
        let ended = &simulator.links[shard].history.ended;
        assert!(
            ended.is_none() || simulator.is_stopping,
            "the witness ended: {ended:?}"
        );
        let applied = simulator.applied(shard);
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
    let mut coverage = Coverage::default();
    for (at, link) in simulator.links.iter().enumerate() {
        let is_over = link.client.close.is_some() && link.client.sent_close;
        assert!(
            !is_over || link.is_shut || link.is_closed,
            "{at} sent a close frame and is still open"
        );
        if !link.client.is_pusher() {
            verify_session(at, simulator, all.of_link(at, link), &mut coverage);
        }
    }
    verify_order(simulator, logs);
    verify_states(simulator, &all, &mut coverage);
    verify_responses(simulator, &all, &mut coverage);
    count_hosts(simulator, &mut coverage);
    coverage
}

/// Verifies a session that has just begun to end: no deadline fired early.
pub(crate) fn verify_end(link: &Link, labels: &[&str], scenario: &Scenario) {
    let (label, since, timeout) = match labels {
        ["idle_timeout"] => ("silent", link.input_at, IDLE_TIMEOUT),
        ["registration_timeout"] => (
            "unregistered",
            link.opened_at,
            scenario.registration_timeout,
        ),
        _ => return,
    };
    let waited = link.ended_at - since;
    assert!(
        waited >= timeout,
        "{label} for {waited} of {timeout} ticks, and ended"
    );
}

/// Verifies a connection that is being closed: no deadline fired early.
pub(crate) fn verify_finish(link: &Link, now: u32, scenario: &Scenario) {
    if link.knows_end {
        return;
    }
    if let Some(ended) = &link.history.ended {
        let is_cut = |label: &&str| ["slow_consumer", "reset"].contains(label);
        let waited = now - link.ended_at;
        // Above the limit of publication bytes, slow sessions are aborted at any time.
        let may_be_relieved = scenario.publication_bytes < PUBLICATION_BYTES_AMPLE;
        assert!(
            waited >= CLOSE_GRACE || may_be_relieved || ended.labels.iter().any(is_cut),
            "closing for {waited} of {CLOSE_GRACE} ticks, and cut: {:?}",
            ended.labels
        );
    } else if link.client.responses.is_empty()
        && link.history.opened.is_none()
        && link.history.ended_before_open.is_empty()
    {
        let (waited, timeout) = (now - link.connected_at, scenario.handshake_timeout);
        assert!(
            waited >= timeout,
            "connected for {waited} of {timeout} ticks, and cut"
        );
    }
}

/// Returns the counts of the hosts.
pub(crate) fn count(simulator: &Simulator) -> Coverage {
    let mut coverage = Coverage::default();
    count_hosts(simulator, &mut coverage);
    coverage
}

fn count_hosts(simulator: &Simulator, coverage: &mut Coverage) {
    for host in &simulator.hosts {
        let counters = host.counters();
        coverage.delivered += counters.deliveries;
        coverage.slow += counters.ended("slow_consumer");
        coverage.idle += counters.ended("idle_timeout");
        coverage.replaced += counters.ended("replaced");
        coverage.copied += counters.outboxes_copied;
        coverage.missed += counters.publications_dropped;
    }
    coverage.blocked_steps = simulator.blocked_steps;
    coverage.moves = simulator.moves;
}

fn verify_session(at: usize, simulator: &Simulator, log: &Log, coverage: &mut Coverage) {
    let link = &simulator.links[at];
    let (client, history) = (&link.client, &link.history);
    let is_direct = |id: &&usize| matches!(simulator.pushes[**id].target, Target::Session(_));
    let direct: Vec<usize> = client.received.iter().filter(is_direct).copied().collect();
    let received: Vec<usize> = client
        .received
        .iter()
        .filter(|id| !is_direct(id))
        .copied()
        .collect();
    coverage.direct += direct.len() as u64;
    verify_direct(at, simulator, &direct, &history.direct);
    let places = received.iter().map(|id| log.places.get(id).copied());
    let places: Option<Vec<usize>> = places.collect();
    let places = places.expect("a session receives only messages of its shard's log");
    assert!(
        places.is_sorted_by(|before, after| before < after),
        "session {at} received in another order, or twice: {received:?}"
    );

    let required = expected(at, simulator, history);
    if let Some(missing) = check_places(at, simulator, log, &places, required.unwrap_or(0)) {
        panic!("session {at} never received {missing}: {:?}", history.ended);
    }
    if required.is_some() {
        assert_eq!(
            direct.len(),
            history.direct.len(),
            "session {at} lacks direct messages"
        );
    }
    for channel in CHANNELS {
        for change in history.membership_changes(channel) {
            coverage.membership_changes += 1;
            let known = change
                .is_on
                .filter(|_| channel != LOSSY)
                .filter(|_| required.is_some_and(|required| change.window.end <= required));
            let flags = flags(simulator, log, &places, channel, &change.window);
            let is_plausible = match known {
                Some(true) => flags.is_sorted(),
                Some(false) => flags.is_sorted_by(|before, after| before >= after),
                None => true,
            };
            let whole = link
                .history
                .opened
                .as_ref()
                .is_some_and(|it| it.end <= change.window.start);
            assert!(
                is_plausible || !whole,
                "session {at} received half of {channel}: {flags:?}"
            );
        }
    }
    let is_on_channel = |id: &&usize| matches!(simulator.pushes[**id].target, Target::Channel(_));
    coverage.on_channels += received.iter().filter(is_on_channel).count() as u64;
}

/// Verifies the publications to a session alone: each publisher's are in its order. Of several
/// publishers, any order is right.
fn verify_direct(at: usize, simulator: &Simulator, direct: &[usize], all: &[usize]) {
    let publishers = all.iter().chain(direct).map(|&id| simulator.pushes[id].by);
    for publisher in publishers {
        let of = |ids: &[usize]| -> Vec<usize> {
            let is_its = |id: &usize| simulator.pushes[*id].by == publisher;
            ids.iter().copied().filter(is_its).collect()
        };
        let (received, enqueued) = (of(direct), of(all));
        assert!(
            enqueued.starts_with(&received),
            "session {at} alone: {received:?}, not {enqueued:?}"
        );
    }
}

/// Returns the position in the log up to which a session must have received everything; `None` if
/// messages may have been in flight when the connection was aborted.
fn expected(at: usize, simulator: &Simulator, history: &SessionHistory) -> Option<usize> {
    let link = &simulator.links[at];
    let client = &link.client;
    let Some(ended) = &history.ended else {
        if history.opened.is_some() {
            assert!(!link.is_closed && client.close.is_none());
            return Some(simulator.applied(link.shard));
        }
        assert!(client.received.is_empty());
        return None;
    };
    assert!(
        !ended.labels.is_empty(),
        "session {at} ended without a reason"
    );
    let only = |label: &str| ended.labels == [label];
    assert!(
        !only("reset") || link.has_ended,
        "session {at} was reset without a cause"
    );
    assert!(!only("client_closed") || client.sent_close);

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
        None if left_by_itself || link.was_aborted => None,
        None => {
            let is_cut = |label: &&str| ["slow_consumer", "reset"].contains(label);
            let fits = ended.labels.iter().any(is_cut);
            assert!(
                fits,
                "session {at} received no close frame: {:?}",
                ended.labels
            );
            None
        }
    }
}

/// Compares a session's messages with the log: it has received no message of others, and all of its
/// own up to the last received one. Returns the position of the next one that is missing.
fn check_places(
    at: usize,
    simulator: &Simulator,
    log: &Log,
    places: &[usize],
    required: usize,
) -> Option<usize> {
    let history = &simulator.links[at].history;
    let last = places.last().map_or(0, |last| last + 1);
    let mut places = places.iter().peekable();
    for (place, &id) in log.ids.iter().enumerate().take(last.max(required)) {
        let was_received = places.next_if_eq(&&place).is_some();
        match history.reaches(at, &simulator.pushes[id], place) {
            Some(false) => assert!(
                !was_received,
                "session {at} received {id}, which is not addressed to it"
            ),
            Some(true) if !was_received && simulator.pushes[id].is_lossy() => {
                check_full(at, simulator, log, place);
            }
            Some(true) if !was_received => {
                assert!(place >= last, "session {at} missed {id}");
                return Some(id);
            }
            Some(true) | None => {}
        }
    }
    None
}

/// Returns for each publication to a channel within a window whether the session received it.
fn flags(
    simulator: &Simulator,
    log: &Log,
    places: &[usize],
    channel: &'static str,
    window: &Window,
) -> Vec<bool> {
    let publications = log
        .ids
        .iter()
        .enumerate()
        .skip(window.start)
        .take(window.len());
    let publications = publications.filter(|(_, id)| {
        let push = &simulator.pushes[**id];
        push.target == Target::Channel(channel) && push.except.is_empty()
    });
    publications
        .map(|(place, _)| places.binary_search(&place).is_ok())
        .collect()
}

/// Returns `true` if a session that ended with this label may have received this close code.
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

/// Verifies that every shard applied each publisher's publications in their order.
fn verify_order(simulator: &Simulator, logs: &[Log]) {
    for log in logs {
        let mut last: BTreeMap<Publisher, usize> = BTreeMap::new();
        for &id in &log.ids {
            let before = last.insert(simulator.pushes[id].by, id);
            assert!(
                before.is_none_or(|before| before < id),
                "{id} after {before:?}"
            );
        }
    }
}

/// Verifies that accepted publications are applied on all shards, failed ones on none, and others
/// on all or none.
fn verify_states(simulator: &Simulator, all: &Logs, coverage: &mut Coverage) {
    let logs = &all.shards;
    for (id, push) in simulator.pushes.iter().enumerate() {
        if matches!(push.target, Target::Session(_)) || matches!(push.by, Publisher::Pusher(_)) {
            continue;
        }
        let applied = logs
            .iter()
            .filter(|log| log.places.contains_key(&id))
            .count();
        match push.fate {
            PublicationState::Unknown => assert!(
                applied == 0 || applied == logs.len(),
                "{id} on {applied} shards"
            ),
            PublicationState::Rejected => assert_eq!(applied, 0, "{id} was refused and applied"),
            PublicationState::Accepted
            | PublicationState::Counted(_)
            | PublicationState::TimedOut => {
                assert_eq!(applied, logs.len(), "{id} was not applied everywhere");
            }
        }
        match push.fate {
            PublicationState::Counted(total) => {
                verify_total(id, total, simulator, all);
                coverage.totals += 1;
            }
            PublicationState::Rejected => coverage.busy += 1,
            PublicationState::TimedOut => coverage.timed_out += 1,
            PublicationState::Unknown | PublicationState::Accepted => {}
        }
    }
}

fn verify_responses(simulator: &Simulator, all: &Logs, coverage: &mut Coverage) {
    let logs = &all.shards;
    let (mut dropped, mut all_drops_known) = (0, true);
    for (requests, responses, at) in simulator.requests() {
        let link = &simulator.links[at];
        let Some(responses) = responses else {
            let may_miss = link.has_ended || link.is_closed;
            assert!(may_miss, "a request on link {at} was never answered");
            all_drops_known &= !matches!(requests.what, Request::Drop);
            continue;
        };
        if matches!(requests.what, Request::Upgrade) {
            verify_upgrade(requests, responses, at, simulator, coverage);
            continue;
        }
        // The last bytes of the request came too late, or never.
        let is_late = responses.status == 408;
        let is_busy = responses.status == 503 && responses.body.starts_with("too busy");
        if responses.status == 503 && !is_busy {
            assert!(responses.body.starts_with("timed out"), "{responses:?}");
            let waited = waited(requests, responses);
            assert!(waited >= PUSH_TIMEOUT, "timed out after {waited} ticks");
            coverage.timed_out += 1;
        }
        match requests.what {
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
                if responses.status == 200 {
                    let total = number_in(&responses.body, "message sent to ", " clients");
                    verify_total(id, total, simulator, all);
                    coverage.totals += 1;
                }
            }
            Request::Drop if responses.status == 200 => {
                dropped += number_in(&responses.body, "dropped ", " connections");
            }
            Request::Drop => all_drops_known &= is_busy || is_late,
            Request::Upgrade => {}
        }
        coverage.busy += u64::from(is_busy);
    }
    for (id, push) in simulator.pushes.iter().enumerate() {
        if matches!(push.by, Publisher::Pusher(_)) && simulator.response_to(id).is_none() {
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
    let ended = simulator
        .hosts
        .iter()
        .map(|host| host.counters().ended("dropped"));
    coverage.dropped = ended.sum();
    assert!(dropped <= coverage.dropped);
    assert!(!all_drops_known || dropped == coverage.dropped);
}

/// Verifies the response to an upgrade of an exclusive user.
fn verify_upgrade(
    requests: &SentRequest,
    responses: &ReceivedResponse,
    at: usize,
    simulator: &Simulator,
    coverage: &mut Coverage,
) {
    let link = &simulator.links[at];
    if responses.status == 408 {
        // The request's head came in pieces, the last of them late.
        let waited = responses.received - link.connected_at;
        assert!(
            waited >= simulator.scenario.handshake_timeout,
            "timed out after {waited} ticks"
        );
        return;
    }
    let ClientKind::Edk { yields, .. } = link.client.kind else {
        assert_eq!(responses.status, 101, "{responses:?}");
        return;
    };
    match (responses.status, responses.body.as_str()) {
        (101, _) => coverage.granted += 1,
        (409, "the user is connected already\n") if yields => coverage.taken += 1,
        (503, "too many of one user\n") if !yields => coverage.crowded += 1,
        (503, "timed out, try again\n") => {
            let waited = waited(requests, responses);
            assert!(
                waited >= simulator.scenario.handshake_timeout,
                "timed out after {waited} ticks"
            );
            coverage.claims_timed_out += 1;
        }
        _ => panic!("{responses:?}"),
    }
}

fn waited(requests: &SentRequest, responses: &ReceivedResponse) -> u32 {
    responses.received - requests.arrived.expect("answered, so it arrived")
}

/// Verifies that a count is the number of sessions on all shards to which the publication was
/// enqueued.
fn verify_total(id: usize, total: u64, simulator: &Simulator, logs: &Logs) {
    let (mut least, mut most) = (0, 0);
    for (index, link) in simulator.links.iter().enumerate() {
        let at = logs.of_link(index, link).places[&id];
        let push: &PublicationRecord = &simulator.pushes[id];
        let is_known = link.history.reaches(index, push, at);
        let is_known = is_known.filter(|reached| !*reached || !push.is_lossy());
        let is_known = is_known.or_else(|| {
            let received_all = match &link.client.close {
                Some((_, reason)) => reason != "too slow" && !link.has_reset,
                None => link.history.opened.is_some() && link.history.ended.is_none(),
            };
            received_all.then(|| link.client.received.contains(&id))
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
        .expect("the original's text")
        .parse()
        .expect("a number")
}
