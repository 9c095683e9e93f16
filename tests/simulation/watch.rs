//! How the model learns what each step of a host, and of its tasks, has changed.

use crate::book::{Ended, Fate, Pushed, Whom, Wish};
use crate::client::Said;
use crate::climate::{CHANNELS, EXCLUSIVE};
use crate::embedder::{Report, may_listen, poll};
use crate::model;
use crate::talk::{Awaited, Errand};
use crate::world::{Link, World};
use campanile::handler::{HandleError, Message};
use campanile::host::Host;

impl World {
    /// Checks a host and tells the model what its last step has changed.
    pub(crate) fn after(&mut self, shard: usize) {
        self.hosts[shard].invariants();
        let before = self.applied[shard];
        self.hear_totals(shard);
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

        let is_plain = !self.climate.is_lively;
        let host = &self.hosts[shard];
        for &at in self.by_id[shard].values() {
            let link = &mut self.links[at];
            let is_open = host.is_open(link.id);
            let book = &mut link.book;
            if is_open {
                assert!(book.ended.is_none(), "a session ends once");
                if book.opened.is_none() {
                    book.opened = Some(before..now);
                    link.opened_at = self.now;
                }
                while let Some((end, _)) = link.client.frames.front() {
                    if *end > link.delivered {
                        break;
                    }
                    let (_, said) = link.client.frames.pop_front().expect("just seen");
                    if let Said::Register { user, event } = said {
                        assert_eq!(before, now, "a client's words publish nothing");
                        book.register(user, event, now);
                    }
                }
            } else if book.opened.is_some() && book.ended.is_none() {
                link.ended_at = self.now;
                model::judge_end(link, &labels, &self.climate);
                let book = &mut link.book;
                book.ended = Some(Ended {
                    window: before..now,
                    labels: labels.clone(),
                    is_plain,
                });
            } else if host.is_session(link.id) && book.ended.is_none() && !labels.is_empty() {
                book.ended_before_open.clone_from(&labels);
            }
        }
        if self.climate.is_lively {
            self.hear_errands(shard, before);
            self.check_exclusive();
        }
    }

    /// Lets the embedder's tasks run, and hears what they report.
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
            if let Some(Errand::Listen { mark, to, .. }) = &mut link.errand
                && Some(*mark) == reached
            {
                *to = Some(self.applied[link.shard]);
            }
        }
    }

    /// Hears what has become of publications that one shard was asked for.
    fn hear_totals(&mut self, shard: usize) {
        let mut awaited = std::mem::take(&mut self.awaited);
        awaited.retain_mut(|it| {
            let result = if it.shard == shard {
                poll(&mut it.pending)
            } else {
                None
            };
            if let Some(result) = result {
                self.settle_fate(it, result);
            }
            result.is_none()
        });
        self.awaited = awaited;
    }

    fn settle_fate(&mut self, awaited: &Awaited, result: Result<u64, HandleError>) {
        let push = &mut self.pushes[awaited.id];
        if let Whom::Session(link) = push.whom {
            let link = &mut self.links[link];
            match result {
                Ok(reached) => {
                    self.applied_direct[link.shard] += 1;
                    link.book.direct.extend((reached > 0).then_some(awaited.id));
                }
                Err(error) => assert_eq!(error, HandleError::NoSession),
            }
            return;
        }
        push.fate = match result {
            Ok(total) => Fate::Counted(total),
            Err(HandleError::Busy) => Fate::Refused,
            Err(HandleError::TimedOut) => Fate::TimedOut,
            Err(error) => panic!("{error}"),
        };
    }

    /// Hears what has become of errands about the sessions of one shard.
    fn hear_errands(&mut self, shard: usize, before: usize) {
        let now = self.applied[shard];
        for link in self.links.iter_mut().filter(|link| link.shard == shard) {
            let is_open = !link.is_closed && self.hosts[shard].is_open(link.id);
            let is_gone = |error| error == HandleError::NoSession && !is_open;
            let book = &mut link.book;
            match &mut link.errand {
                Some(Errand::Join(channel, pending)) => {
                    let Some(result) = poll(pending) else {
                        continue;
                    };
                    match (book.wish(channel), result) {
                        (_, Err(error)) if is_gone(error) => {}
                        (Wish::Now, Ok(true)) => book.toggle(channel, before..now, true),
                        (Wish::Before, Ok(false))
                        | (Wish::TooMany, Err(HandleError::TooManyChannels)) => {}
                        other => panic!("{other:?}"),
                    }
                }
                Some(Errand::Leave(channel, pending)) => {
                    let Some(result) = poll(pending) else {
                        continue;
                    };
                    match (book.is_on(channel), result) {
                        (_, Err(error)) if is_gone(error) => {}
                        (true, Ok(true)) => book.toggle(channel, before..now, false),
                        (false, Ok(false)) => {}
                        other => panic!("{other:?}"),
                    }
                }
                Some(Errand::Close(pending)) => {
                    let Some(result) = poll(pending) else {
                        continue;
                    };
                    assert!(!is_open, "{result:?}");
                }
                Some(Errand::Listen { .. }) | None => {
                    Self::hear_told(link, &mut self.pushes);
                    continue;
                }
            }
            link.errand = None;
        }
    }

    /// Hears what a client of `easyws` was told about what it asked.
    fn hear_told(link: &mut Link, pushes: &mut [Pushed]) {
        while let Some(text) = link.client.told.pop_front() {
            match text.split_once(": ").expect("a command and its content") {
                ("mark", mark) => Self::finish_listening(link, mark),
                ("say", id) => {
                    let id: usize = id.parse().expect("a number");
                    pushes[id].fate = Fate::Accepted;
                }
                ("websocket", "command not supported by server") => {}
                ("websocket", complaint) => link.client.complaint = Some(complaint.to_owned()),
                _ => panic!("{text}"),
            }
        }
    }

    /// A client has heard that what it asked for before this mark is done.
    fn finish_listening(link: &mut Link, heard: &str) {
        let Some(Errand::Listen {
            channel,
            from,
            mark,
            to,
        }) = link.errand.take()
        else {
            panic!("nobody asked for {heard}");
        };
        assert_eq!(mark.to_string(), heard);
        let complaint = link.client.complaint.take();
        let expected = expected_complaint(link, channel);
        assert_eq!(complaint.as_deref(), expected, "about {channel}");
        if expected.is_none() {
            let to = to.expect("its handler has said so");
            link.book.toggle(channel, from..to, true);
        }
    }

    /// All is at rest: what has been asked for has been done, or its session has ended.
    pub(crate) fn conclude(&mut self) {
        assert!(
            self.awaited.is_empty(),
            "a total never came: {:?}",
            self.awaited
        );
        for link in &mut self.links {
            match link.errand.take() {
                None => {}
                Some(Errand::Listen {
                    channel, from, to, ..
                }) if link.book.ended.is_some() => match to {
                    Some(to) if expected_complaint(link, channel).is_none() => {
                        link.book.toggle(channel, from..to, true);
                    }
                    Some(_) => {}
                    None => link.book.leave_open(channel, from),
                },
                Some(errand) => panic!("{errand:?} never came to an end"),
            }
        }
    }

    /// Has every client but the witnesses leave, and sees that what is said then is shown to nobody
    /// and that nothing is left of where they were.
    pub(crate) fn check_unwatched(&mut self) {
        for link in &mut self.links[self.climate.shards..] {
            link.has_ended = true;
        }
        self.settle();
        let route = self.embedder.room();
        let mut channels = route.channels();
        let counts = |world: &Self| -> Vec<u64> {
            let counters = world.hosts.iter().map(Host::counters);
            counters.map(|counters| counters.publications).collect()
        };
        let mut before = counts(self);
        drop(route.publish("a", Message::text("anybody", "there")));
        self.settle();
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

    /// In no moment are two sessions one exclusive user's.
    fn check_exclusive(&self) {
        for user in EXCLUSIVE {
            let is_its = |link: &&Link| {
                let is_open = self.hosts[link.shard].is_open(link.id);
                link.book.exclusive == Some(user) && !link.is_closed && is_open
            };
            assert!(
                self.links.iter().filter(is_its).count() <= 1,
                "{user} is here twice"
            );
        }
    }
}

/// What a client of `easyws` must be told if it asks to be on a channel (wire.md 4.3).
fn expected_complaint(link: &Link, channel: &str) -> Option<&'static str> {
    if channel == CHANNELS[3] {
        Some("channel does not exist")
    } else if channel == CHANNELS[2] && !may_listen(&link.client.token) {
        Some("not authorized")
    } else {
        match link.book.wish(channel) {
            Wish::Now => None,
            Wish::Before => Some("already listening"),
            Wish::TooMany => Some("too many channels"),
        }
    }
}
