//! What can be looked at: sessions, channels, members and users, a page at a time.

use super::error::ApiError;
use super::{Api, ApiAnswer};
use crate::handler::{Handle, HandleError, MemberCount, Named, NamesPage, SessionInfo, SessionsOf};
use crate::public_id::PublicId;
use serde_json::{Value, json};
use std::borrow::Cow;

/// The parameters of a list.
#[derive(Default)]
struct Query<'q> {
    route: Option<Cow<'q, str>>,
    prefix: Option<Cow<'q, str>>,
    after: Option<Cow<'q, str>>,
    limit: Option<Cow<'q, str>>,
}

impl<'q> Query<'q> {
    /// Reads a query that has no parameters but these.
    fn read(query: Option<&'q str>, allowed: &[&str]) -> Result<Self, ApiError> {
        let mut read = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let place = match &*name {
                name if !allowed.contains(&name) => None,
                "route" => Some(&mut read.route),
                "prefix" => Some(&mut read.prefix),
                "after" => Some(&mut read.after),
                "limit" => Some(&mut read.limit),
                _ => None,
            };
            match place {
                None => return Err(ApiError::bad(name, "is no parameter of this list")),
                Some(place) if place.is_some() => return Err(ApiError::bad(name, "occurs twice")),
                Some(place) => *place = Some(value),
            }
        }
        Ok(read)
    }
}

impl Api {
    pub(super) async fn list_sessions(
        &self,
        handle: &Handle,
        query: Option<&str>,
    ) -> Result<ApiAnswer, ApiError> {
        let query = Query::read(query, &["route", "after", "limit"])?;
        let of = match query.route.as_deref() {
            None => SessionsOf::Gateway,
            Some(path) => {
                let route = handle.route(path);
                let route = route.ok_or_else(no_route)?;
                SessionsOf::Route(u16::try_from(route.index()).expect("routes are few"))
            }
        };
        self.page_of_sessions(handle, of, &query).await
    }

    pub(super) async fn list_members(
        &self,
        handle: &Handle,
        channel: &str,
        query: Option<&str>,
    ) -> Result<ApiAnswer, ApiError> {
        let query = Query::read(query, &["route", "after", "limit"])?;
        let namespaces = self.namespaces(handle, query.route.as_deref())?;
        let of = SessionsOf::Channel(namespaces, channel.into());
        self.page_of_sessions(handle, of, &query).await
    }

    async fn page_of_sessions(
        &self,
        handle: &Handle,
        of: SessionsOf,
        query: &Query<'_>,
    ) -> Result<ApiAnswer, ApiError> {
        const AFTER: &str = "is not the id of a session of this gateway";
        let limit = self.limit(query)?;
        let after: Option<PublicId> = match query.after.as_deref() {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| ApiError::bad("after", AFTER))?),
        };
        let sessions = handle.page_of(of, after, limit).await;
        if sessions == Err(HandleError::NoSession) {
            return Err(ApiError::bad("after", AFTER));
        }
        let sessions = sessions?;
        let last = sessions.last().filter(|_| sessions.len() == limit);
        let next = last.map(|session| session.id.to_string());
        let items: Vec<Value> = sessions.iter().map(|it| self.session(it)).collect();
        Ok(ApiAnswer::of(200, &json!({"items": items, "next": next})))
    }

    pub(super) async fn show_session(
        &self,
        handle: &Handle,
        id: &str,
        query: Option<&str>,
    ) -> Result<ApiAnswer, ApiError> {
        Query::read(query, &[])?;
        let id: PublicId = id.parse().map_err(|_| ApiError::no_session())?;
        let session = handle.session(id).await?;
        Ok(ApiAnswer::of(200, &self.session(&session)))
    }

    pub(super) async fn list_channels(
        &self,
        handle: &Handle,
        query: Option<&str>,
    ) -> Result<ApiAnswer, ApiError> {
        self.list_names(handle, Named::Channels, query).await
    }

    pub(super) async fn list_users(
        &self,
        handle: &Handle,
        query: Option<&str>,
    ) -> Result<ApiAnswer, ApiError> {
        self.list_names(handle, Named::Users, query).await
    }

    async fn list_names(
        &self,
        handle: &Handle,
        named: Named,
        query: Option<&str>,
    ) -> Result<ApiAnswer, ApiError> {
        let query = Query::read(query, &["route", "prefix", "after", "limit"])?;
        let page = NamesPage {
            prefix: query.prefix.as_deref().unwrap_or_default().into(),
            after: query.after.as_deref().unwrap_or_default().into(),
            limit: self.limit(&query)?,
        };
        let mut names: Vec<(MemberCount, u16)> = Vec::new();
        for namespace in self.namespaces(handle, query.route.as_deref())? {
            let found = handle.names_page(named, namespace, &page).await?;
            let mut found: Vec<(MemberCount, u16)> =
                found.into_iter().map(|name| (name, namespace)).collect();
            if named == Named::Channels {
                self.add_those_in_advance(namespace, &page, &mut found);
            }
            names.extend(found);
        }
        names.sort();
        // Channels of one name in several namespaces are not taken apart by the end of a page.
        let end = names
            .get(page.limit.wrapping_sub(1))
            .map(|(last, _)| last.name.clone());
        if let Some(end) = &end {
            names.retain(|(name, _)| name.name <= *end);
        }
        let items: Vec<Value> = names
            .iter()
            .map(|(name, namespace)| {
                json!({
                    "name": name.name,
                    "sessions": name.sessions,
                    "routes": self.paths[namespace],
                })
            })
            .collect();
        Ok(ApiAnswer::of(200, &json!({"items": items, "next": end})))
    }

    fn add_those_in_advance(
        &self,
        namespace: u16,
        page: &NamesPage,
        found: &mut Vec<(MemberCount, u16)>,
    ) {
        let is_wanted = |name: &str| name.starts_with(&*page.prefix) && *name > *page.after;
        for (of, name) in &self.in_advance {
            let is_there = found.iter().any(|(known, _)| known.name == *name);
            if *of == namespace && is_wanted(name) && !is_there {
                found.push((MemberCount::new(name.as_bytes(), 0), namespace));
            }
        }
    }

    /// The namespaces that a list is of.
    fn namespaces(&self, handle: &Handle, route: Option<&str>) -> Result<Vec<u16>, ApiError> {
        match route {
            None => Ok(self.paths.keys().copied().collect()),
            Some(path) => {
                let route = handle.route(path).ok_or_else(no_route)?;
                Ok(vec![route.namespace()])
            }
        }
    }

    fn limit(&self, query: &Query<'_>) -> Result<usize, ApiError> {
        let max = self.settings.limits.page_items_max as usize;
        let Some(text) = &query.limit else {
            return Ok(ITEMS.min(max));
        };
        match text.parse() {
            Ok(limit) if (1..=max).contains(&limit) => Ok(limit),
            _ => Err(ApiError::bad(
                "limit",
                format!("is a number from 1 to {max}"),
            )),
        }
    }

    fn session(&self, session: &SessionInfo) -> Value {
        let statistics = &session.statistics;
        json!({
            "id": session.id.to_string(),
            "route": session.path,
            "number": session.number,
            "users": session.users,
            "name": session.name,
            "channels": session.channels,
            "opened_ms": self.started_unix_ms + session.opened_ms(),
            "statistics": {
                "messages_sent": statistics.messages_sent,
                "bytes_sent": statistics.bytes_sent,
                "messages_received": statistics.messages_received,
                "bytes_received": statistics.bytes_received,
            },
        })
    }
}

fn no_route() -> ApiError {
    ApiError::bad("route", "is no route of the config")
}

/// How much is on a page unless it is said.
const ITEMS: usize = 100;
