//! Paginated lists. A walk visits the shards one after the other and gathers one page.
//!
//! ```text
//!   sessions   shard 0, in slot order | shard 1 | ..   the walk ends where the page is full
//!   names      every shard adds its smallest names; the walk ends at the last shard
//! ```
//!
//! A walk holds one page, however long the list is. An item that is added or removed while pages
//! are read may or may not be listed; any other item is listed once.

use super::commands::{NamesOf, ReplyTo, SessionsOf, ShardCommands};
use super::handle::Handle;
use super::info::{ListedName, NameCounts, SessionInfo};
use super::pending::Pending;
use crate::shard::Location;
use crate::vocabulary::id::ShardId;
use crate::vocabulary::public_id::PublicId;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;

/// One page of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page<T, P> {
    /// The items of the page.
    pub items: Vec<T>,
    /// The position after which the next page begins; `None` on the last page.
    pub next: Option<P>,
}

/// The limits of a page. A page always has limits for one item.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageLimits {
    /// Maximum items. 0 counts as 1.
    pub items_max: usize,
    /// Maximum bytes of names in the items. The item that reaches this limit is the last of its
    /// page.
    pub bytes_max: usize,
}

/// The position of a channel or user in a list sorted by name. Its text form is opaque to API
/// clients.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct NamePlace {
    name: Box<str>,
    namespace: u16,
}

/// The error of parsing a text that is not the position of a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not the position of a name")]
pub struct NamePlaceError;

/// A computation that visits one shard after the other and has a result at its end.
pub(super) trait Walk: Send + 'static {
    type Output: Send + 'static;

    /// Reads what it needs from a shard. Returns the next shard; `None` at the end.
    fn visit(&mut self, shard: &dyn ShardCommands) -> Option<ShardId>;

    /// Returns the result.
    fn finish(self) -> Self::Output;
}

/// Starts a walk at a shard.
pub(super) fn walk<W: Walk>(handle: &Handle, first: ShardId, walk: W) -> Pending<W::Output> {
    let next_handle = handle.clone();
    handle.enqueue(first, move |shard, reply| {
        visit_next(&next_handle, walk, shard, reply);
    })
}

fn visit_next<W: Walk>(
    handle: &Handle,
    mut walk: W,
    shard: &dyn ShardCommands,
    reply: ReplyTo<W::Output>,
) {
    match walk.visit(shard) {
        None => reply.send(Ok(walk.finish())),
        Some(next) => {
            let next_handle = handle.clone();
            let command =
                move |shard: &mut dyn ShardCommands| visit_next(&next_handle, walk, shard, reply);
            // The walk passed the limit check of its first shard.
            handle.commands().enqueue_unchecked(next, Box::new(command));
        }
    }
}

/// A walk that gathers a page of sessions.
pub(super) struct SessionsWalk {
    of: SessionsOf,
    shards: usize,
    /// The session after which the page begins, until its place is known.
    after: Option<PublicId>,
    /// The first slot to read on the next shard.
    slot: u32,
    limits: PageLimits,
    bytes: usize,
    page: Page<SessionInfo, PublicId>,
}

impl SessionsWalk {
    /// Creates a walk and returns it with its first shard. Returns `None` if this gateway did not
    /// issue the id `after`.
    pub(super) fn new(
        handle: &Handle,
        of: SessionsOf,
        after: Option<PublicId>,
        limits: PageLimits,
    ) -> Option<(ShardId, Self)> {
        let shards = handle.exchange().shards();
        let (first, slot) = match after {
            None => (ShardId::new(0), 0),
            Some(after) => {
                let (session, _) = handle.ids().open(after)?;
                (session.shard(), session.connection().slot() + 1)
            }
        };
        let list = Self {
            of,
            shards,
            after,
            slot,
            limits,
            bytes: 0,
            page: Page {
                items: Vec::new(),
                next: None,
            },
        };
        (first.index() < shards).then_some((first, list))
    }

    /// Finds the place of the session after which the page begins, if that has moved. Returns the
    /// shard that it has moved to.
    fn seek(&mut self, shard: &dyn ShardCommands) -> Option<ShardId> {
        let after = self.after?;
        let (session, location) = shard.locate(after)?;
        match location {
            Location::Here(id) => self.slot = id.slot() + 1,
            Location::There(to) if session.shard() == shard.shard_id() => {
                self.slot = 0;
                return Some(to);
            }
            Location::There(_) => {} // it has just ended: all of this shard follows
        }
        self.after = None;
        None
    }

    fn is_full(&self) -> bool {
        let items = self.page.items.len();
        items >= self.limits.items_max.max(1) || (items > 0 && self.bytes >= self.limits.bytes_max)
    }
}

impl Walk for SessionsWalk {
    type Output = Page<SessionInfo, PublicId>;

    fn visit(&mut self, shard: &dyn ShardCommands) -> Option<ShardId> {
        if let Some(moved_to) = self.seek(shard) {
            return Some(moved_to);
        }
        let slot = std::mem::take(&mut self.slot);
        let limits = self.limits.items_max.max(1) - self.page.items.len();
        let of = self.of.clone();
        // Ask for one more than fits, to know whether another page follows.
        shard.each_session(&of, slot, limits + 1, &mut |session| {
            if self.is_full() {
                self.page.next = self.page.items.last().map(|last| last.id);
                return ControlFlow::Break(());
            }
            self.bytes += session.names_bytes();
            self.page.items.push(session);
            ControlFlow::Continue(())
        });
        let next = shard.shard_id().index() + 1;
        (self.page.next.is_none() && next < self.shards).then(|| ShardId::new(next))
    }

    fn finish(self) -> Self::Output {
        self.page
    }
}

/// A walk that gathers a page of names.
pub(super) struct NamesWalk {
    handle: Handle,
    of: NamesOf,
    namespaces: Box<[u16]>,
    prefix: Box<str>,
    after: Option<NamePlace>,
    limits: PageLimits,
    /// Shards left to visit.
    shards_left: usize,
    /// The smallest names found so far: at most one more than fit on the page.
    found: BTreeMap<NamePlace, NameCounts>,
}

impl NamesWalk {
    pub(super) fn new(
        handle: &Handle,
        of: NamesOf,
        namespaces: Box<[u16]>,
        prefix: &str,
        after: Option<NamePlace>,
        limits: PageLimits,
    ) -> Self {
        let mut walk = Self {
            handle: handle.clone(),
            of,
            namespaces,
            prefix: prefix.into(),
            after,
            limits,
            shards_left: handle.exchange().shards(),
            found: BTreeMap::new(),
        };
        match of {
            NamesOf::Users => {}
            NamesOf::Channels => {
                for (name, namespace) in handle.declared() {
                    if walk.namespaces.contains(namespace) {
                        walk.add(name, *namespace, NameCounts::default());
                    }
                }
            }
        }
        walk
    }

    /// Adds to the counts of a name. Skips a name that cannot be on this page.
    fn add(&mut self, name: &str, namespace: u16, counts: NameCounts) {
        let is_before = |place: &NamePlace| (&*place.name, place.namespace) < (name, namespace);
        if !name.starts_with(&*self.prefix) || !self.after.as_ref().is_none_or(is_before) {
            return;
        }
        let is_full = self.found.len() > self.limits.items_max.max(1);
        let last = self.found.last_key_value().map(|(place, _)| place);
        if is_full && last.is_some_and(is_before) {
            return;
        }
        let place = NamePlace {
            name: name.into(),
            namespace,
        };
        let found = self.found.entry(place).or_default();
        found.sessions += counts.sessions;
        found.dropped += counts.dropped;
        if self.found.len() > self.limits.items_max.max(1) + 1 {
            self.found.pop_last();
        }
    }
}

impl Walk for NamesWalk {
    type Output = Page<ListedName, NamePlace>;

    fn visit(&mut self, shard: &dyn ShardCommands) -> Option<ShardId> {
        for namespace in self.namespaces.clone() {
            shard.each_name(self.of, namespace, &mut |name, counts| {
                self.add(&String::from_utf8_lossy(name), namespace, counts);
            });
        }
        self.shards_left -= 1;
        let shards = self.handle.exchange().shards();
        let next = (shard.shard_id().index() + 1) % shards;
        (self.shards_left > 0).then(|| ShardId::new(next))
    }

    fn finish(self) -> Self::Output {
        let mut page = Page {
            items: Vec::new(),
            next: None,
        };
        let (mut bytes, mut last) = (0, None);
        for (place, counts) in self.found {
            let count = page.items.len();
            if count >= self.limits.items_max.max(1)
                || (count > 0 && bytes >= self.limits.bytes_max)
            {
                page.next = last;
                break;
            }
            bytes += place.name.len();
            let routes = self.handle.routes().iter();
            let sharing = routes.filter(|route| route.namespace == place.namespace);
            page.items.push(ListedName {
                name: place.name.clone().into(),
                sessions: counts.sessions,
                dropped: counts.dropped,
                routes: sharing.map(|route| route.path.clone()).collect(),
            });
            last = Some(place);
        }
        page
    }
}

/// Formats the namespace's number, a colon and the name.
impl fmt::Display for NamePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.namespace, self.name)
    }
}

impl FromStr for NamePlace {
    type Err = NamePlaceError;

    fn from_str(text: &str) -> Result<Self, NamePlaceError> {
        let (namespace, name) = text.split_once(':').ok_or(NamePlaceError)?;
        let place = Self {
            name: name.into(),
            namespace: namespace.parse().map_err(|_| NamePlaceError)?,
        };
        // Reject other spellings of the number, such as `+1` or `01`.
        if place.to_string() == text {
            Ok(place)
        } else {
            Err(NamePlaceError)
        }
    }
}
