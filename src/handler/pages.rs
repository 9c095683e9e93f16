//! Long lists, a page at a time: sessions in the order of their shards and slots, channels and
//! users in the order of their names.
//!
//! A page costs what it holds and one look through what it is taken from; nothing is kept between
//! two pages, so what comes and goes meanwhile may be seen or not, and nothing is seen twice.

use super::handle::{Handle, HandleError, RouteHandle};
use super::info::{MemberCount, SessionInfo};
use crate::driver::host::{Host, ReplyTo};
use crate::id::ShardId;
use crate::public_id::PublicId;

/// Which sessions are listed.
#[derive(Clone, Debug)]
pub(crate) enum SessionsOf {
    /// All.
    Gateway,
    /// Those of a route, by its index.
    Route(u16),
    /// Those on a channel, of these namespaces.
    Channel(Vec<u16>, Box<str>),
}

/// What is listed by its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Named {
    /// Channels that somebody is on.
    Channels,
    /// Users that somebody speaks for.
    Users,
}

/// A part of a list of names.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamesPage {
    pub(crate) prefix: Box<str>,
    /// Only names behind this one.
    pub(crate) after: Box<str>,
    pub(crate) limit: usize,
}

impl Handle {
    /// Up to `limit` sessions, of all routes, behind the one with this id; it need not be there any
    /// more. Fewer than `limit` are the last.
    ///
    /// # Errors
    ///
    /// [`HandleError::Busy`], [`HandleError::Stopped`], and [`HandleError::NoSession`] if the id is
    /// not one of this gateway's.
    pub async fn sessions_page(
        &self,
        after: Option<PublicId>,
        limit: usize,
    ) -> Result<Vec<SessionInfo>, HandleError> {
        self.page_of(SessionsOf::Gateway, after, limit).await
    }

    pub(crate) async fn page_of(
        &self,
        of: SessionsOf,
        after: Option<PublicId>,
        limit: usize,
    ) -> Result<Vec<SessionInfo>, HandleError> {
        let last = match after {
            Some(id) => Some(self.session_of(id).ok_or(HandleError::NoSession)?),
            None => None,
        };
        let mut sessions = Vec::new();
        let first = last.map_or(0, |last| last.shard().index());
        for shard in first..self.shards_count() {
            let slot = last.filter(|last| last.shard().index() == shard);
            let slot = slot.map(|last| last.connection().slot());
            let (of, wanted) = (of.clone(), limit - sessions.len());
            let part = self.ask(ShardId::new(shard), move |host: &mut Host, reply| {
                let reply: ReplyTo<Vec<SessionInfo>> = reply;
                reply.answer(Ok(host.sessions_page(&of, slot, wanted)));
            });
            sessions.extend(part.await?);
            if sessions.len() >= limit {
                break;
            }
        }
        Ok(sessions)
    }

    pub(crate) async fn names_page(
        &self,
        named: Named,
        namespace: u16,
        page: &NamesPage,
    ) -> Result<Vec<MemberCount>, HandleError> {
        let limit = page.limit;
        let page = page.clone();
        let parts = self.gather(move |host| host.names_page(named, namespace, &page));
        let mut names = MemberCount::merge(parts.await?);
        names.truncate(limit);
        Ok(names)
    }
}

impl RouteHandle {
    /// Up to `limit` sessions of the route, see [`Handle::sessions_page`].
    ///
    /// # Errors
    ///
    /// Those of [`Handle::sessions_page`].
    pub async fn sessions_page(
        &self,
        after: Option<PublicId>,
        limit: usize,
    ) -> Result<Vec<SessionInfo>, HandleError> {
        let of = SessionsOf::Route(self.route_index());
        self.gateway().page_of(of, after, limit).await
    }

    /// Up to `limit` sessions on a channel of the route's namespace, see
    /// [`Handle::sessions_page`].
    ///
    /// # Errors
    ///
    /// Those of [`Handle::sessions_page`].
    pub async fn members_page(
        &self,
        channel: &str,
        after: Option<PublicId>,
        limit: usize,
    ) -> Result<Vec<SessionInfo>, HandleError> {
        let of = SessionsOf::Channel(vec![self.namespace()], channel.into());
        self.gateway().page_of(of, after, limit).await
    }

    /// Up to `limit` channels of the route's namespace that somebody is on and whose names begin
    /// with `prefix`, in the order of their names, behind the name `after`. Fewer than `limit` are
    /// the last.
    ///
    /// # Errors
    ///
    /// [`HandleError::Busy`] and [`HandleError::Stopped`].
    pub async fn channels_page(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<MemberCount>, HandleError> {
        self.names_page(Named::Channels, prefix, after, limit).await
    }

    /// The same of the users of the route's namespace that somebody speaks for.
    ///
    /// # Errors
    ///
    /// [`HandleError::Busy`] and [`HandleError::Stopped`].
    pub async fn users_page(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<MemberCount>, HandleError> {
        self.names_page(Named::Users, prefix, after, limit).await
    }

    async fn names_page(
        &self,
        named: Named,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<MemberCount>, HandleError> {
        let page = NamesPage {
            prefix: prefix.into(),
            after: after.into(),
            limit,
        };
        let namespace = self.namespace();
        self.gateway().names_page(named, namespace, &page).await
    }
}
