//! What is known of one session: since when it hears what, and until when.
//!
//! Places are lengths of its shard's log. Where several things happened within one step, any place
//! within that step is right: such a stretch is a [`Window`].

use crate::scenario::CHANNELS_MAX;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Something happened before one of these places of a log.
pub(crate) type Window = Range<usize>;

/// One publication that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct PublicationRecord {
    pub(crate) target: Target,
    /// Links that are passed over.
    pub(crate) except: Vec<usize>,
    pub(crate) by: Publisher,
    pub(crate) fate: PublicationState,
}

/// The target of a publication.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    User {
        name: String,
        /// `None`: whatever it registered for.
        event: Option<&'static str>,
    },
    Channel(&'static str),
    Everyone,
    /// One session, by its link. It is in no log.
    Session(usize),
}

/// Who asked for it. What one of them asks to one channel or user is applied in its order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Publisher {
    /// Over HTTP, by this link.
    Pusher(usize),
    /// The handler of this link's messages.
    Session(usize),
    /// A handle, through this shard.
    Handle(usize),
}

/// What has become of a publication that was not asked for over HTTP, as far as is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PublicationState {
    /// Nobody has said.
    Unknown,
    /// It will be applied everywhere, if it has not been.
    Accepted,
    /// It has been applied everywhere, and was added to so many outboxes.
    Counted(u64),
    /// It was refused.
    Rejected,
    /// Its total has not come in time.
    TimedOut,
}

/// What is known of one session.
#[derive(Debug, Default)]
pub(crate) struct SessionHistory {
    /// By user: the event of the first registration, and how long the log was then.
    registered: BTreeMap<String, (String, usize)>,
    /// The user whose only session it is.
    pub(crate) exclusive: Option<&'static str>,
    pub(crate) opened: Option<Window>,
    pub(crate) ended: Option<Ended>,
    pub(crate) ended_before_open: Vec<&'static str>,
    /// By channel: when it came and went, in order.
    membership_changes: BTreeMap<&'static str, Vec<MembershipChange>>,
    /// Where it is now.
    channels: BTreeSet<&'static str>,
    /// What was said to it alone, and added to its outbox.
    pub(crate) direct: Vec<usize>,
}

/// It came to a channel, or went.
#[derive(Clone, Debug)]
pub(crate) struct MembershipChange {
    pub(crate) window: Window,
    /// `None`: nobody knows whether it came.
    pub(crate) is_on: Option<bool>,
}

/// Where a session ended: how long the log was before and after that step, and what was counted.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) window: Window,
    pub(crate) labels: Vec<&'static str>,
    /// Nothing but publications of the log can have filled an outbox.
    pub(crate) is_plain: bool,
}

/// What a wish to be on a channel must have come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ExpectedJoin {
    Now,
    Before,
    TooMany,
}

impl SessionHistory {
    /// A registration was read; the first for a user counts.
    pub(crate) fn register(&mut self, user: String, event: String, applied: usize) {
        if !user.is_empty() {
            self.registered.entry(user).or_insert((event, applied));
        }
    }

    /// What must come of it if it asks to be on this channel.
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

    /// It came to a channel, or went, somewhere in this window.
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

    /// It asked to be on a channel at this place, and nobody knows what came of that.
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

    /// Whether a publication at this place of the log was for this session; `None` if that is not
    /// known.
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

    /// When it came to a channel, and went.
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
