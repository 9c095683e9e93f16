//! Updates of the model after each step of a host or its tasks.

use crate::actions::{PendingAction, PendingTotal};
use crate::client::SentMessage;
use crate::embedder::{Report, may_listen, poll};
use crate::link::Link;
use crate::model;
use crate::scenario::{CHANNELS, EXCLUSIVE};
use crate::session_history::{Ended, ExpectedJoin, PublicationRecord, PublicationState, Target};
use crate::simulator::Simulator;
use campanile::handler::{HandleError, Message};
use campanile::host::Host;

impl Simulator {
    /// Checks a host's invariants and updates the model with the changes of its last step.
    pub(crate) fn after(&mut self, shard: usize) {
        self.hosts[shard].invariants();
        let before = self.applied[shard];
        self.collect_own_pushes();
        self.collect_totals(shard);
        let counters = self.hosts[shard].counters();
        let publications = usize::try_from(counters.publications).expect("few");
        let now = publications - self.applied_direct[shard];
        self.since_flush[shard] += now - before;
        self.applied[shard] = now;
        let ended = |label: &&str| {
            counters.ended(label) > self.ends[shard].get(label).copied().unwrap_or(0)
        };
        let labels: Vec<&'static str> = counters.ends.keys().copied().filter(ended).collect();
        if !labels.is_empty() {
            self.ends[shard].clone_from(&counters.ends);
        }

        let is_plain = !self.scenario.has_channels;
        let host = &self.hosts[shard];
        for &at in self.by_id[shard].values() {
            let link = &mut self.links[at];
            let received_bytes = link.client.received_bytes();
            let applied = (before..now).map(|place| (place, received_bytes));
            link.received_at.extend(applied);
            let is_open = host.is_open(link.id);
            let history = &mut link.history;
            if is_open {
                assert!(history.ended.is_none(), "a session ends once");
                if history.opened.is_none() {
                    history.opened = Some(before..now);
                    link.opened_at = self.now;
                }
                while let Some((end, _)) = link.client.frames.front() {
                    if *end > link.delivered {
                        break;
                    }
                    let (_, message) = link.client.frames.pop_front().expect("just seen");
                    if let SentMessage::Register { user, event } = message {
                        assert_eq!(before, now, "a client's message publishes nothing");
                        history.register(user, event, now);
                    }
                }
            } else if history.opened.is_some() && history.ended.is_none() {
                link.ended_at = self.now;
                model::verify_end(link, &labels, &self.scenario);
                let history = &mut link.history;
                history.ended = Some(Ended {
                    window: before..now,
                    labels: labels.clone(),
                    is_plain,
                });
            } else if host.is_session(link.id) && history.ended.is_none() && !labels.is_empty() {
                history.ended_before_open.clone_from(&labels);
            }
        }
        if self.scenario.has_channels {
            self.poll_actions(shard, before);
            self.check_exclusive();
        }
    }

    /// Runs the embedder's tasks and processes their reports.
    pub(crate) fn run_tasks(&mut self, turns: u32) {
        self.embedder.run_tasks(turns);
        while let Some(report) = self.embedder.poll_report() {
            let (token, opened, reached) = match report {
                Report::Opened { token, id } => (token, Some(id), None),
                Report::Marked { token, mark } => (token, None, Some(mark)),
            };
            let mut links = self.links.iter_mut();
            let link = links.find(|link| link.client.token == token);
            let link = link.expect("every token is a client's");
            if opened.is_some() {
                assert!(link.public_id.is_none(), "a session opens once");
                link.public_id = opened;
            }
            if let Some(PendingAction::Listen { mark, to, .. }) = &mut link.pending_action
                && Some(*mark) == reached
            {
                *to = Some(self.applied[link.shard]);
            }
        }
    }

    /// Collects the publications of handlers to their sessions.
    fn collect_own_pushes(&mut self) {
        while let Some((id, pending)) = self.embedder.poll_own_push() {
            let Target::Session(link) = self.pushes[id].target else {
                panic!("{id} is for one session");
            };
            let shard = self.links[link].shard;
            self.pending_totals
                .push(PendingTotal { id, shard, pending });
        }
    }

    /// Records the results of publications through one shard.
    fn collect_totals(&mut self, shard: usize) {
        let mut pending_totals = std::mem::take(&mut self.pending_totals);
        pending_totals.retain_mut(|it| {
            let runs_on = match self.pushes[it.id].target {
                Target::Session(link) => self.links[link].shard,
                Target::User { .. } | Target::Channel(_) | Target::Everyone => it.shard,
            };
            let result = if runs_on == shard {
                poll(&mut it.pending)
            } else {
                None
            };
            if let Some(result) = result {
                self.record_total(it, result);
            }
            result.is_none()
        });
        self.pending_totals = pending_totals;
    }

    fn record_total(&mut self, pending_totals: &PendingTotal, result: Result<u64, HandleError>) {
        let push = &mut self.pushes[pending_totals.id];
        if let Target::Session(link) = push.target {
            let link = &mut self.links[link];
            match result {
                Ok(reached) => {
                    self.applied_direct[link.shard] += 1;
                    link.history
                        .direct
                        .extend((reached > 0).then_some(pending_totals.id));
                }
                Err(error) => assert_eq!(error, HandleError::NoSession),
            }
            return;
        }
        push.fate = match result {
            Ok(total) => PublicationState::Counted(total),
            Err(HandleError::Busy) => PublicationState::Rejected,
            Err(HandleError::TimedOut) => PublicationState::TimedOut,
            Err(error) => panic!("{error}"),
        };
    }

    /// Polls the pending actions on sessions of one shard.
    fn poll_actions(&mut self, shard: usize, before: usize) {
        let now = self.applied[shard];
        for link in self.links.iter_mut().filter(|link| link.shard == shard) {
            let is_open = !link.is_closed && self.hosts[shard].is_open(link.id);
            let is_gone = |error| error == HandleError::NoSession && !is_open;
            let history = &mut link.history;
            match &mut link.pending_action {
                Some(PendingAction::Join(channel, pending)) => {
                    let Some(result) = poll(pending) else {
                        continue;
                    };
                    match (history.expected_join(channel), result) {
                        (_, Err(error)) if is_gone(error) => {}
                        (ExpectedJoin::Now, Ok(true)) => history.change(channel, before..now, true),
                        (ExpectedJoin::Before, Ok(false))
                        | (ExpectedJoin::TooMany, Err(HandleError::TooManyChannels)) => {}
                        other => panic!("{other:?}"),
                    }
                }
                Some(PendingAction::Leave(channel, pending)) => {
                    let Some(result) = poll(pending) else {
                        continue;
                    };
                    match (history.is_on(channel), result) {
                        (_, Err(error)) if is_gone(error) => {}
                        (true, Ok(true)) => history.change(channel, before..now, false),
                        (false, Ok(false)) => {}
                        other => panic!("{other:?}"),
                    }
                }
                Some(PendingAction::Close(pending)) => {
                    let Some(result) = poll(pending) else {
                        continue;
                    };
                    assert!(!is_open, "{result:?}");
                }
                Some(PendingAction::Listen { .. }) | None => {
                    Self::read_messages(link, &mut self.pushes);
                    continue;
                }
            }
            link.pending_action = None;
        }
    }

    /// Processes the replies that a client of `easyws` has received.
    fn read_messages(link: &mut Link, pushes: &mut [PublicationRecord]) {
        while let Some(text) = link.client.other_messages.pop_front() {
            match text.split_once(": ").expect("a command and its content") {
                ("mark", mark) => Self::finish_listening(link, mark),
                ("say", id) => {
                    let id: usize = id.parse().expect("a number");
                    let is_own = matches!(pushes[id].target, Target::Session(_));
                    assert!(
                        !is_own || link.client.received.contains(&id),
                        "the reply came before the push {id}"
                    );
                    pushes[id].fate = PublicationState::Accepted;
                }
                ("websocket", "command not supported by server") => {}
                ("websocket", last_denial) => {
                    link.client.last_denial = Some(last_denial.to_owned());
                }
                _ => panic!("{text}"),
            }
        }
    }

    /// Completes a join whose mark the client has received.
    fn finish_listening(link: &mut Link, received: &str) {
        let Some(PendingAction::Listen {
            channel,
            from,
            mark,
            to,
        }) = link.pending_action.take()
        else {
            panic!("unexpected reply {received}");
        };
        assert_eq!(mark.to_string(), received);
        let last_denial = link.client.last_denial.take();
        let expected = expected_denial(link, channel);
        assert_eq!(last_denial.as_deref(), expected, "about {channel}");
        if expected.is_none() {
            let to = to.expect("its handler has set it");
            link.history.change(channel, from..to, true);
        }
    }

    /// Asserts, in an idle simulation, that all actions are done or their sessions have ended.
    pub(crate) fn finish_action(&mut self) {
        assert!(
            self.pending_totals.is_empty(),
            "a total never came: {:?}",
            self.pending_totals
        );
        for link in &mut self.links {
            match link.pending_action.take() {
                None => {}
                Some(PendingAction::Listen {
                    channel, from, to, ..
                }) if link.history.ended.is_some() => match to {
                    Some(to) if expected_denial(link, channel).is_none() => {
                        link.history.change(channel, from..to, true);
                    }
                    Some(_) => {}
                    None => link.history.note_unknown_join(channel, from),
                },
                Some(pending_action) => panic!("{pending_action:?} never came to an end"),
            }
        }
    }

    /// Disconnects all clients except the witnesses. Asserts that later messages reach no tap and
    /// that no channel or user remains.
    pub(crate) fn check_unwatched(&mut self) {
        for link in &mut self.links[self.scenario.shards..] {
            link.has_ended = true;
        }
        self.run_until_idle();
        let route = self.embedder.room();
        let mut channels = route.channels();
        let counts = |simulator: &Self| -> Vec<u64> {
            let counters = simulator.hosts.iter().map(Host::counters);
            counters.map(|counters| counters.publications).collect()
        };
        let mut before = counts(self);
        drop(route.publish("a", Message::text("anybody", "there")));
        self.run_until_idle();
        for count in &mut before {
            *count += 1;
        }
        assert_eq!(
            counts(self),
            before,
            "one publication is applied once on each shard"
        );
        let left = poll(&mut channels).expect("all hosts have looked");
        assert_eq!(left, Ok(Vec::new()));
    }

    /// Asserts that no exclusive user has two sessions.
    fn check_exclusive(&self) {
        for user in EXCLUSIVE {
            let is_its = |link: &&Link| {
                let is_open = self.hosts[link.shard].is_open(link.id);
                link.history.exclusive == Some(user) && !link.is_closed && is_open
            };
            assert!(
                self.links.iter().filter(is_its).count() <= 1,
                "{user} is here twice"
            );
        }
    }
}

/// Returns the denial that a client of `easyws` must get for a join (docs/dialects/easyws.md,
/// "Commands and errors"); `None` if the join is allowed.
fn expected_denial(link: &Link, channel: &str) -> Option<&'static str> {
    if channel == CHANNELS[3] {
        Some("channel does not exist")
    } else if channel == CHANNELS[2] && !may_listen(&link.client.token) {
        Some("not authorized")
    } else {
        match link.history.expected_join(channel) {
            ExpectedJoin::Now => None,
            ExpectedJoin::Before => Some("already listening"),
            ExpectedJoin::TooMany => Some("too many channels"),
        }
    }
}
