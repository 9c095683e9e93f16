//! Lists too long for one answer: a page at a time, gathered on a walk from shard to shard.
//!
//! ```text
//!   sessions   shard 0, in slot order | shard 1 | ..   the walk ends where the page is full
//!   names      every shard adds what it has among the smallest; the walk ends at the last
//! ```
//!
//! A walk holds one page, however long the list is. What comes and goes while pages are read may be
//! missed or seen; what stays is seen once.

use super::commands::{NamesOf, ReplyTo, SessionsOf, ShardCommands};
use super::handle::Handle;
use super::info::{ListedName, SessionInfo};
use super::pending::Pending;
use crate::vocabulary::id::ShardId;
use crate::vocabulary::public_id::PublicId;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;

/// A part of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page<T, P> {
    /// What is on it.
    pub items: Vec<T>,
    /// Behind what the next page begins; `None` if this is the last.
    pub next: Option<P>,
}

/// What has room on a page. One thing always has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageRoom {
    /// How many things.
    pub items_max: usize,
    /// Bytes of names in them; what crosses it is the last on the page.
    pub bytes_max: usize,
}

/// The place of a channel or a user in a list: after all smaller names. Written as a text without
/// meaning for whoever is given it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct NamePlace {
    name: Box<str>,
    namespace: u16,
}

/// A text is not the place of a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotPlace;

/// Something that goes from shard to shard and has an answer at its end.
pub(super) trait Walk: Send + 'static {
    type Answer: Send + 'static;

    /// Takes what it needs from a shard; says where to go on, if anywhere.
    fn visit(&mut self, shard: &dyn ShardCommands) -> Option<ShardId>;

    /// What has come of it.
    fn answer(self) -> Self::Answer;
}

/// Begins a walk at a shard.
pub(super) fn walk<W: Walk>(handle: &Handle, first: ShardId, walk: W) -> Pending<W::Answer> {
    let onward = handle.clone();
    handle.ask(first, move |shard, reply| {
        go_on(&onward, walk, shard, reply);
    })
}

fn go_on<W: Walk>(
    handle: &Handle,
    mut walk: W,
    shard: &dyn ShardCommands,
    reply: ReplyTo<W::Answer>,
) {
    match walk.visit(shard) {
        None => reply.answer(Ok(walk.answer())),
        Some(next) => {
            let onward = handle.clone();
            let command = move |shard: &mut dyn ShardCommands| go_on(&onward, walk, shard, reply);
            // There was room for it where it began.
            handle.commands().put_in_any_case(next, Box::new(command));
        }
    }
}

/// Gathers a page of sessions.
pub(super) struct SessionsWalk {
    of: SessionsOf,
    shards: usize,
    /// The slot where it begins on the shard that it comes to next.
    slot: u32,
    room: PageRoom,
    bytes: usize,
    page: Page<SessionInfo, PublicId>,
}

impl SessionsWalk {
    /// The walk, and where it begins; `None` if `after` was never the id of a session.
    pub(super) fn new(
        handle: &Handle,
        of: SessionsOf,
        after: Option<PublicId>,
        room: PageRoom,
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
            slot,
            room,
            bytes: 0,
            page: Page {
                items: Vec::new(),
                next: None,
            },
        };
        (first.index() < shards).then_some((first, list))
    }

    fn is_full(&self) -> bool {
        let items = self.page.items.len();
        items >= self.room.items_max.max(1) || (items > 0 && self.bytes >= self.room.bytes_max)
    }
}

impl Walk for SessionsWalk {
    type Answer = Page<SessionInfo, PublicId>;

    fn visit(&mut self, shard: &dyn ShardCommands) -> Option<ShardId> {
        let slot = std::mem::take(&mut self.slot);
        let room = self.room.items_max.max(1) - self.page.items.len();
        let of = self.of.clone();
        // One more shows whether there is more.
        shard.each_session(&of, slot, room + 1, &mut |session| {
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

    fn answer(self) -> Self::Answer {
        self.page
    }
}

/// Gathers a page of names.
pub(super) struct NamesWalk {
    handle: Handle,
    of: NamesOf,
    namespaces: Box<[u16]>,
    prefix: Box<str>,
    after: Option<NamePlace>,
    room: PageRoom,
    /// Shards that it has not come to.
    left: usize,
    /// The smallest that were found, one more than have room.
    found: BTreeMap<NamePlace, usize>,
}

impl NamesWalk {
    pub(super) fn new(
        handle: &Handle,
        of: NamesOf,
        namespaces: Box<[u16]>,
        prefix: &str,
        after: Option<NamePlace>,
        room: PageRoom,
    ) -> Self {
        let mut walk = Self {
            handle: handle.clone(),
            of,
            namespaces,
            prefix: prefix.into(),
            after,
            room,
            left: handle.exchange().shards(),
            found: BTreeMap::new(),
        };
        match of {
            NamesOf::Users => {}
            NamesOf::Channels => {
                for (name, namespace) in handle.declared() {
                    if walk.namespaces.contains(namespace) {
                        walk.find(name, *namespace, 0);
                    }
                }
            }
        }
        walk
    }

    /// Adds so many sessions to a name, if it belongs on the page as far as is known.
    fn find(&mut self, name: &str, namespace: u16, sessions: usize) {
        let is_before = |place: &NamePlace| (&*place.name, place.namespace) < (name, namespace);
        if !name.starts_with(&*self.prefix) || !self.after.as_ref().is_none_or(is_before) {
            return;
        }
        let is_crowded = self.found.len() > self.room.items_max.max(1);
        let last = self.found.last_key_value().map(|(place, _)| place);
        if is_crowded && last.is_some_and(is_before) {
            return;
        }
        let place = NamePlace {
            name: name.into(),
            namespace,
        };
        *self.found.entry(place).or_insert(0) += sessions;
        if self.found.len() > self.room.items_max.max(1) + 1 {
            self.found.pop_last();
        }
    }
}

impl Walk for NamesWalk {
    type Answer = Page<ListedName, NamePlace>;

    fn visit(&mut self, shard: &dyn ShardCommands) -> Option<ShardId> {
        for namespace in self.namespaces.clone() {
            shard.each_name(self.of, namespace, &mut |name, sessions| {
                self.find(&String::from_utf8_lossy(name), namespace, sessions);
            });
        }
        self.left -= 1;
        let shards = self.handle.exchange().shards();
        let next = (shard.shard_id().index() + 1) % shards;
        (self.left > 0).then(|| ShardId::new(next))
    }

    fn answer(self) -> Self::Answer {
        let mut page = Page {
            items: Vec::new(),
            next: None,
        };
        let (mut bytes, mut last) = (0, None);
        for (place, sessions) in self.found {
            let count = page.items.len();
            if count >= self.room.items_max.max(1) || (count > 0 && bytes >= self.room.bytes_max) {
                page.next = last;
                break;
            }
            bytes += place.name.len();
            let routes = self.handle.routes().iter();
            let sharing = routes.filter(|route| route.namespace == place.namespace);
            page.items.push(ListedName {
                name: place.name.clone().into(),
                sessions,
                routes: sharing.map(|route| route.path.clone()).collect(),
            });
            last = Some(place);
        }
        page
    }
}

/// Written as the namespace's number, a colon and the name.
impl fmt::Display for NamePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.namespace, self.name)
    }
}

impl FromStr for NamePlace {
    type Err = NotPlace;

    fn from_str(text: &str) -> Result<Self, NotPlace> {
        let (namespace, name) = text.split_once(':').ok_or(NotPlace)?;
        let place = Self {
            name: name.into(),
            namespace: namespace.parse().map_err(|_| NotPlace)?,
        };
        // A number that is written otherwise was not written here.
        if place.to_string() == text {
            Ok(place)
        } else {
            Err(NotPlace)
        }
    }
}

impl fmt::Display for NotPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the place of a name")
    }
}

impl std::error::Error for NotPlace {}
