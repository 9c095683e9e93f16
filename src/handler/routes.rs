//! Several routes as one target: a publication is made once in each of their namespaces, whatever
//! number of routes share it.

use super::commands::{NamesOf, SessionsOf};
use super::handle::Handle;
use super::handle_error::HandleError;
use super::pages::{NamePlace, NamesWalk, Page, PageLimits, SessionsWalk, walk};
use super::pending::Pending;
use super::route_handle::{RouteHandle, RouteInfo, check_push};
use super::{ListedName, SessionInfo};
use crate::shard::message::DropTarget;
use crate::vocabulary::content::Message;
use crate::vocabulary::public_id::PublicId;
use crate::vocabulary::publication::OwnedAudience;

/// A set of routes, with the users and channels of their namespaces; made by [`Handle::all_routes`]
/// and [`RouteHandle::alone`]. Cheap to clone while routes are few.
///
/// Users and channels belong to a namespace, which routes may share: a push to a user of one route
/// reaches the sessions of that user on every route of the namespace.
#[derive(Clone, derive_more::Debug)]
#[debug("Routes {{ indices: {indices:?}, .. }}")]
pub struct Routes {
    handle: Handle,
    /// Route indices, ascending.
    indices: Box<[u16]>,
    /// Namespaces of these routes, ascending and unique.
    namespaces: Box<[u16]>,
}

impl Routes {
    pub(super) fn new(handle: &Handle, indices: impl Iterator<Item = usize>) -> Self {
        let indices: Vec<usize> = indices.collect();
        let namespaces = indices.iter().map(|&it| handle.routes()[it].namespace);
        let mut namespaces: Vec<u16> = namespaces.collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        let index = |index| u16::try_from(index).expect("routes are few");
        Self {
            handle: handle.clone(),
            indices: indices.into_iter().map(index).collect(),
            namespaces: namespaces.into(),
        }
    }

    /// Returns the paths of all routes that a publication can reach, including routes that only
    /// share a namespace with this set.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.reachable().map(|route| route.path.as_str())
    }

    /// Returns the number of namespaces.
    pub(crate) fn namespaces_count(&self) -> usize {
        self.namespaces.len()
    }

    /// Checks that the dialect of each reachable route can encode an event.
    ///
    /// # Errors
    ///
    /// [`HandleError::BadEvent`] with the reason of the first dialect that cannot.
    pub fn check_event(&self, event: &str) -> Result<(), HandleError> {
        let mut routes = self.reachable();
        let checked = routes.try_for_each(|route| route.dialect.check_event(event));
        checked.map_err(HandleError::BadEvent)
    }

    /// Publishes a message to a channel in each namespace, see [`RouteHandle::publish_except`].
    ///
    /// # Errors
    ///
    /// Those of [`RouteHandle::publish`].
    pub fn publish_except(
        &self,
        channel: impl Into<Box<str>>,
        message: Message,
        except: &[PublicId],
    ) -> Pending<u64> {
        let channel: Box<str> = channel.into();
        if !self.handle.is_name(&channel) {
            return Pending::failed(HandleError::BadName);
        }
        let except = self.handle.sessions_of(except);
        self.push(message, |namespace| OwnedAudience::Channel {
            namespace,
            name: channel.as_bytes().into(),
            except: except.clone(),
        })
    }

    /// Pushes a message to a user in each namespace, see [`RouteHandle::push_user_event`].
    ///
    /// # Errors
    ///
    /// Those of [`RouteHandle::push_user_event`].
    pub fn push_user_event(
        &self,
        user: impl Into<Box<str>>,
        event: impl Into<Box<str>>,
        message: Message,
    ) -> Pending<u64> {
        let (user, event): (Box<str>, Box<str>) = (user.into(), event.into());
        if let Err(error) = check_push(&user, &event, &message) {
            return Pending::failed(error);
        }
        self.push_user_for_event(&user, &event, message)
    }

    /// Pushes a message to a user in each namespace. Unlike [`Routes::push_user_event`], accepts an
    /// event without data, which some dialects can encode.
    pub(crate) fn push_user_for_event(
        &self,
        user: &str,
        event: &str,
        message: Message,
    ) -> Pending<u64> {
        if !self.handle.is_user(user) {
            return Pending::failed(HandleError::BadName);
        }
        self.push(message, |namespace| OwnedAudience::User {
            namespace,
            name: user.as_bytes().into(),
            event: Some(event.as_bytes().into()),
        })
    }

    /// Pushes a message to all sessions of each namespace, see [`RouteHandle::broadcast_except`].
    ///
    /// # Errors
    ///
    /// Those of [`RouteHandle::broadcast`].
    pub fn broadcast_except(&self, message: Message, except: &[PublicId]) -> Pending<u64> {
        let except = self.handle.sessions_of(except);
        self.push(message, |namespace| OwnedAudience::Everyone {
            namespace,
            except: except.clone(),
        })
    }

    /// Closes the sessions of a user in each namespace, see [`RouteHandle::drop_user`].
    ///
    /// # Errors
    ///
    /// Those of [`RouteHandle::drop_user`].
    pub fn drop_user(&self, user: impl Into<Box<str>>, event: Option<&str>) -> Pending<u64> {
        let user: Box<str> = user.into();
        if user.is_empty() {
            return Pending::failed(HandleError::EMPTY_DROP);
        }
        if !self.handle.is_user(&user) {
            return Pending::failed(HandleError::BadName);
        }
        let target = |&namespace| DropTarget {
            namespace,
            name: user.as_bytes().into(),
            event: event.map(|event| event.as_bytes().into()),
        };
        let targets: Vec<DropTarget> = self.namespaces.iter().map(target).collect();
        let home = self.handle.home();
        self.handle
            .enqueue_change(home, move |shard, reply| shard.drop_each(targets, reply))
    }

    /// Returns a page of the sessions of these routes. `after` is the `next` of the page before;
    /// `None` requests the first page.
    ///
    /// A session that is open while all pages are read is on exactly one of them.
    ///
    /// # Errors
    ///
    /// [`HandleError::NoSession`] if this gateway did not issue the id `after`, and those of
    /// [`Pending`].
    pub fn sessions_page(
        &self,
        after: Option<PublicId>,
        limits: PageLimits,
    ) -> Pending<Page<SessionInfo, PublicId>> {
        self.page_of(SessionsOf::Routes(self.indices.clone()), after, limits)
    }

    /// Returns a page of the sessions on a channel, as in [`Routes::sessions_page`].
    ///
    /// # Errors
    ///
    /// Those of [`Routes::sessions_page`].
    pub fn members_page(
        &self,
        channel: impl Into<Box<str>>,
        after: Option<PublicId>,
        limits: PageLimits,
    ) -> Pending<Page<SessionInfo, PublicId>> {
        let namespaces = self.namespaces.clone();
        self.page_of(
            SessionsOf::Channel(namespaces, channel.into()),
            after,
            limits,
        )
    }

    /// Returns a page of the channels whose names begin with `prefix`, sorted by name: channels
    /// with sessions and channels that the config declares. `after` is the `next` of the page
    /// before; `None` requests the first page.
    ///
    /// The time is linear in the number of channels of the gateway.
    ///
    /// # Errors
    ///
    /// Those of [`Pending`].
    pub fn channels_page(
        &self,
        prefix: &str,
        after: Option<NamePlace>,
        limits: PageLimits,
    ) -> Pending<Page<ListedName, NamePlace>> {
        self.names_page(NamesOf::Channels, prefix, after, limits)
    }

    /// Returns a page of the users with sessions, as in [`Routes::channels_page`].
    ///
    /// # Errors
    ///
    /// Those of [`Pending`].
    pub fn users_page(
        &self,
        prefix: &str,
        after: Option<NamePlace>,
        limits: PageLimits,
    ) -> Pending<Page<ListedName, NamePlace>> {
        self.names_page(NamesOf::Users, prefix, after, limits)
    }

    fn page_of(
        &self,
        of: SessionsOf,
        after: Option<PublicId>,
        limits: PageLimits,
    ) -> Pending<Page<SessionInfo, PublicId>> {
        match SessionsWalk::new(&self.handle, of, after, limits) {
            Some((first, list)) => walk(&self.handle, first, list),
            None => Pending::failed(HandleError::NoSession),
        }
    }

    fn names_page(
        &self,
        of: NamesOf,
        prefix: &str,
        after: Option<NamePlace>,
        limits: PageLimits,
    ) -> Pending<Page<ListedName, NamePlace>> {
        let namespaces = self.namespaces.clone();
        let list = NamesWalk::new(&self.handle, of, namespaces, prefix, after, limits);
        walk(&self.handle, self.handle.home(), list)
    }

    fn push(&self, message: Message, audience: impl FnMut(u16) -> OwnedAudience) -> Pending<u64> {
        if let Err(error) = self.check_event(&message.event) {
            return Pending::failed(error);
        }
        let audiences: Vec<OwnedAudience> = self.namespaces.iter().copied().map(audience).collect();
        let home = self.handle.home();
        self.handle.enqueue_change(home, move |shard, reply| {
            shard.publish_to_each(&audiences, &message, reply);
        })
    }

    fn reachable(&self) -> impl Iterator<Item = &RouteInfo> {
        let all = self.handle.routes().iter();
        all.filter(|route| self.namespaces.contains(&route.namespace))
    }
}

impl Handle {
    /// Returns all routes of the gateway as one target.
    #[must_use]
    pub fn all_routes(&self) -> Routes {
        Routes::new(self, 0..self.routes().len())
    }
}

impl RouteHandle {
    /// Returns this route as a set of one.
    #[must_use]
    pub fn alone(&self) -> Routes {
        Routes::new(self.gateway(), std::iter::once(self.index()))
    }
}
