//! The history of a session in the model: its memberships, users, opening and end.
//!
//! Positions are lengths of the shard's log. If several things happened in one step, any position
//! within the step is right: a [`Window`].

use crate::scenario::{CHANNELS_MAX, LOSSY};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The possible positions of an event in a log.
pub(crate) type Window = Range<usize>;

/// The record of a publication.
#[derive(Clone, Debug)]
pub(crate) struct PublicationRecord {
    pub(crate) target: Target,
    /// Links that are excluded.
    pub(crate) except: Vec<usize>,
    pub(crate) by: Publisher,
    pub(crate) fate: PublicationState,
}

impl PublicationRecord {
    /// Returns `true` if slow members miss the publication.
    pub(crate) fn is_lossy(&self) -> bool {
        self.target == Target::Channel(LOSSY)
    }
}

/// The target of a publication.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    User {
        name: String,
        /// The event; `None` for all events.
        event: Option<&'static str>,
    },
    Channel(&'static str),
    Everyone,
    /// A single session, by its link. Such publications are in no log.
    Session(usize),
}

/// The publisher. Its publications to one channel or user are applied in its order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Publisher {
    /// An HTTP client, by its link.
    Pusher(usize),
    /// The handler of a session, by its link.
    Session(usize),
    /// A handle that publishes through this shard.
    Handle(usize),
}

/// The known state of a publication that was not sent by HTTP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PublicationState {
    /// The result is unknown.
    Unknown,
    /// All shards apply it sooner or later.
    Accepted,
    /// All shards have applied it and enqueued it to this many sessions.
    Counted(u64),
    /// It failed.
    Rejected,
    /// Its count has timed out.
    TimedOut,
}

/// The history of a session.
#[derive(Debug, Default)]
pub(crate) struct SessionHistory {
    /// By user: the event of the first registration, and its position.
    registered: BTreeMap<String, (String, usize)>,
    /// The exclusive user of the session.
    pub(crate) exclusive: Option<&'static str>,
    pub(crate) opened: Option<Window>,
    pub(crate) ended: Option<Ended>,
    pub(crate) ended_before_open: Vec<&'static str>,
    /// By channel: joins and leaves, in order.
    membership_changes: BTreeMap<&'static str, Vec<MembershipChange>>,
    /// The current channels.
    channels: BTreeSet<&'static str>,
    /// Publications to this session alone that were enqueued.
    pub(crate) direct: Vec<usize>,
}

/// A join or a leave.
#[derive(Clone, Debug)]
pub(crate) struct MembershipChange {
    pub(crate) window: Window,
    /// `true` for a join; `None` for a join with an unknown result.
    pub(crate) is_on: Option<bool>,
}

/// The end of a session: its window, and the counted causes.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) window: Window,
    pub(crate) labels: Vec<&'static str>,
    /// True if only publications of the log can have filled the outbox.
    pub(crate) is_plain: bool,
}

/// The expected result of a join.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ExpectedJoin {
    Now,
    Before,
    TooMany,
}

impl SessionHistory {
    /// Records a registration. Only the first for a user counts.
    pub(crate) fn register(&mut self, user: String, event: String, applied: usize) {
        if !user.is_empty() {
            self.registered.entry(user).or_insert((event, applied));
        }
    }

    /// Returns the expected result of a join.
    pub(crate) fn expected_join(&self, channel: &str) -> ExpectedJoin {
        if self.channels.contains(channel) {
            ExpectedJoin::Before
        } else if self.channels.len() >= CHANNELS_MAX {
            ExpectedJoin::TooMany
        } else {
            ExpectedJoin::Now
        }
    }

    pub(crate) fn is_on(&self, channel: &str) -> bool {
        self.channels.contains(channel)
    }

    /// Records a join or leave in a window.
    pub(crate) fn change(&mut self, channel: &'static str, window: Window, is_on: bool) {
        let changed = if is_on {
            self.channels.insert(channel)
        } else {
            self.channels.remove(channel)
        };
        assert!(changed, "it was so before");
        let is_on = Some(is_on);
        let change = MembershipChange { window, is_on };
        self.membership_changes
            .entry(channel)
            .or_default()
            .push(change);
    }

    /// Records a join with an unknown result from a position on.
    pub(crate) fn note_unknown_join(&mut self, channel: &'static str, from: usize) {
        let change = MembershipChange {
            window: from..from,
            is_on: None,
        };
        self.membership_changes
            .entry(channel)
            .or_default()
            .push(change);
    }

    /// Returns `true` if a publication at a position of the log reaches the session; `None` if that
    /// is unknown.
    pub(crate) fn reaches(&self, link: usize, push: &PublicationRecord, at: usize) -> Option<bool> {
        let opened = match &self.opened {
            Some(opened) if at >= opened.end => Some(true),
            Some(opened) if at >= opened.start => None,
            _ => Some(false),
        };
        let is_meant = match &push.target {
            _ if push.except.contains(&link) => Some(false),
            Target::User { name, event } => Some(self.is_user(name, *event, at)),
            Target::Channel(channel) => self.was_on(channel, at),
            Target::Everyone => Some(true),
            Target::Session(_) => Some(false),
        };
        let is_there = match &self.ended {
            Some(ended) if at >= ended.window.end => Some(false),
            // A session whose outbox the only publication of a step finds full is not reached.
            Some(ended) if at >= ended.window.start && ended.was_full_for_one() => Some(false),
            Some(ended) if at >= ended.window.start => None,
            _ => Some(true),
        };
        let all = [opened, is_meant, is_there];
        if all.contains(&Some(false)) {
            Some(false)
        } else if all.contains(&None) {
            None
        } else {
            Some(true)
        }
    }

    /// Returns the joins and leaves of a channel.
    pub(crate) fn membership_changes(&self, channel: &str) -> &[MembershipChange] {
        self.membership_changes
            .get(channel)
            .map_or(&[], Vec::as_slice)
    }

    fn is_user(&self, user: &str, event: Option<&str>, at: usize) -> bool {
        let registered = self.registered.get(user);
        let is_registered = registered
            .is_some_and(|(own, joined)| *joined <= at && event.is_none_or(|event| event == own));
        is_registered || self.exclusive == Some(user)
    }

    fn was_on(&self, channel: &str, at: usize) -> Option<bool> {
        let mut is_on = Some(false);
        for change in self.membership_changes(channel) {
            if at >= change.window.end {
                is_on = change.is_on;
            } else {
                return if at >= change.window.start {
                    None
                } else {
                    is_on
                };
            }
        }
        is_on
    }
}

impl Ended {
    fn was_full_for_one(&self) -> bool {
        self.is_plain && self.labels == ["slow_consumer"] && self.window.len() == 1
    }
}
