//! Queries of the API: one session, and paginated lists of sessions, channels and users.
//!
//! ```text
//!   {"items": [..], "next": "position"}   request the next page with ?after=position
//!   {"items": [..], "next": null}         the last page
//! ```

use super::RequestLimits;
use super::calls::no_route;
use super::json_object::read_id;
use super::problem::{Code, Problem};
use super::response::ApiResponse;
use super::run::with_timeout;
use crate::handler::{Handle, ListedName, NamePlace, Page, PageLimits, Routes, SessionInfo};
use crate::runtime::wall_clock::rfc3339;
use crate::vocabulary::public_id::PublicId;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use std::collections::BTreeMap;

/// A query.
#[derive(Debug)]
pub(crate) enum Lookup {
    Session(PublicId),
    Sessions {
        routes: Routes,
        after: Option<PublicId>,
        room: PageLimits,
    },
    JsonObject {
        routes: Routes,
        channel: String,
        after: Option<PublicId>,
        room: PageLimits,
    },
    Channels(Names),
    Users(Names),
}

/// A query for channels or users.
#[derive(Debug)]
pub(crate) struct Names {
    routes: Routes,
    prefix: String,
    after: Option<NamePlace>,
    room: PageLimits,
}

#[derive(Serialize)]
struct PageJson<T> {
    items: Vec<T>,
    next: Option<String>,
}

#[derive(Serialize)]
struct SessionJson<'s> {
    id: String,
    route: &'s str,
    number: u64,
    users: &'s [String],
    name: &'s str,
    channels: &'s [String],
    dropped: BTreeMap<&'s str, u32>,
    opened: String,
    statistics: StatisticsJson,
}

#[derive(Serialize)]
struct StatisticsJson {
    messages_sent: u64,
    bytes_sent: u64,
    messages_received: u64,
    bytes_received: u64,
}

#[derive(Serialize)]
struct NameJson<'n> {
    name: &'n str,
    sessions: usize,
    /// `None` for a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<u64>,
    routes: &'n [String],
}

impl Lookup {
    /// Parses a query for one session; `id` is a segment of the path.
    ///
    /// # Errors
    ///
    /// A [`Problem`] for an invalid id or any parameter.
    pub(super) fn session(id: &str, query: Option<&str>) -> Result<Self, Problem> {
        Query::read(query, &[])?;
        match percent_decode_str(id)
            .decode_utf8()
            .ok()
            .as_deref()
            .and_then(read_id)
        {
            Some(id) => Ok(Self::Session(id)),
            None => Err(no_session()),
        }
    }

    /// Parses a query for a page of sessions.
    ///
    /// # Errors
    ///
    /// The first [`Problem`] of the parameters.
    pub(super) fn sessions(
        query: Option<&str>,
        handle: &Handle,
        limits: &RequestLimits,
    ) -> Result<Self, Problem> {
        let query = Query::read(query, &["route", "limit", "after"])?;
        Ok(Self::Sessions {
            routes: query.routes(handle)?,
            after: query.after_session()?,
            room: query.room(limits)?,
        })
    }

    /// Parses a query for a page of the sessions on a channel; `channel` is a segment of the path.
    ///
    /// # Errors
    ///
    /// A [`Problem`] for an invalid channel name or parameter.
    pub(super) fn members(
        channel: &str,
        query: Option<&str>,
        handle: &Handle,
        limits: &RequestLimits,
    ) -> Result<Self, Problem> {
        let query = Query::read(query, &["route", "limit", "after"])?;
        let channel = percent_decode_str(channel).decode_utf8();
        let channel = channel
            .ok()
            .filter(|it| (1..=limits.name_bytes_max).contains(&it.len()));
        let Some(channel) = channel else {
            let max = limits.name_bytes_max;
            let rule = format!("name must be UTF-8 of 1 to {max} bytes (limits.name_bytes_max)");
            return Err(Problem::of_field("name", rule));
        };
        Ok(Self::JsonObject {
            routes: query.routes(handle)?,
            channel: channel.into_owned(),
            after: query.after_session()?,
            room: query.room(limits)?,
        })
    }

    /// Parses a query for a page of channels.
    ///
    /// # Errors
    ///
    /// The first [`Problem`] of the parameters.
    pub(super) fn channels(
        query: Option<&str>,
        handle: &Handle,
        limits: &RequestLimits,
    ) -> Result<Self, Problem> {
        Names::read(query, handle, limits).map(Self::Channels)
    }

    /// Parses a query for a page of users.
    ///
    /// # Errors
    ///
    /// The first [`Problem`] of the parameters.
    pub(super) fn users(
        query: Option<&str>,
        handle: &Handle,
        limits: &RequestLimits,
    ) -> Result<Self, Problem> {
        Names::read(query, handle, limits).map(Self::Users)
    }

    /// Runs the query.
    ///
    /// # Errors
    ///
    /// The [`Problem`] of a session that does not exist, or of shards that do not respond in time.
    pub(super) async fn run(
        self,
        handle: &Handle,
        limits: &RequestLimits,
    ) -> Result<ApiResponse, Problem> {
        match self {
            Self::Session(id) => {
                let session = with_timeout(handle.session(id), limits).await?;
                Ok(ApiResponse::new(200, &SessionJson::of(&session)))
            }
            Self::Sessions {
                routes,
                after,
                room,
            } => {
                let page = with_timeout(routes.sessions_page(after, room), limits).await;
                Ok(page_of_sessions(&page.map_err(as_problem_of_after)?))
            }
            Self::JsonObject {
                routes,
                channel,
                after,
                room,
            } => {
                let page = with_timeout(routes.members_page(channel, after, room), limits).await;
                Ok(page_of_sessions(&page.map_err(as_problem_of_after)?))
            }
            Self::Channels(Names {
                routes,
                prefix,
                after,
                room,
            }) => {
                let page = routes.channels_page(&prefix, after, room);
                let page = with_timeout(page, limits).await?;
                Ok(page_of_names(&page, |channel| Some(channel.dropped)))
            }
            Self::Users(Names {
                routes,
                prefix,
                after,
                room,
            }) => {
                let page = routes.users_page(&prefix, after, room);
                Ok(page_of_names(&with_timeout(page, limits).await?, |_| None))
            }
        }
    }
}

impl Names {
    fn read(query: Option<&str>, handle: &Handle, limits: &RequestLimits) -> Result<Self, Problem> {
        let query = Query::read(query, &["route", "prefix", "limit", "after"])?;
        Ok(Self {
            routes: query.routes(handle)?,
            prefix: query.value("prefix").unwrap_or_default().to_owned(),
            after: match query.value("after") {
                None => None,
                Some(text) => Some(text.parse().map_err(|_| bad_after())?),
            },
            room: query.room(limits)?,
        })
    }
}

/// The parameters of a URL query. Unknown and duplicate parameters are errors.
struct Query(Vec<(String, String)>);

impl Query {
    fn read(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut read: Vec<(String, String)> = Vec::new();
        let pairs = query.unwrap_or_default().split('&');
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let text = |text: &str| {
                let spaced = text.replace('+', " ");
                let decoded = percent_decode_str(&spaced).decode_utf8();
                decoded.map(std::borrow::Cow::into_owned)
            };
            let (Ok(name), Ok(value)) = (text(name), text(value)) else {
                let message = "the query is not UTF-8";
                return Err(Problem::new(Code::BadRequest, message));
            };
            if !known.contains(&name.as_str()) {
                let message = match known {
                    [] => "this path has no parameters".to_owned(),
                    known => format!("the parameters are {}", known.join(", ")),
                };
                return Err(Problem::of_field(name, message));
            }
            if read.iter().any(|(before, _)| *before == name) {
                return Err(Problem::of_field(name, "the parameter is repeated"));
            }
            read.push((name, value));
        }
        Ok(Self(read))
    }

    fn value(&self, name: &str) -> Option<&str> {
        let mut all = self.0.iter();
        all.find(|(each, _)| each == name)
            .map(|(_, value)| value.as_str())
    }

    fn routes(&self, handle: &Handle) -> Result<Routes, Problem> {
        match self.value("route") {
            None => Ok(handle.all_routes()),
            Some(path) => match handle.route(path) {
                Some(route) => Ok(route.alone()),
                None => Err(no_route("route")),
            },
        }
    }

    fn after_session(&self) -> Result<Option<PublicId>, Problem> {
        match self.value("after") {
            None => Ok(None),
            Some(text) => read_id(text).map(Some).ok_or_else(bad_after),
        }
    }

    fn room(&self, limits: &RequestLimits) -> Result<PageLimits, Problem> {
        let max = limits.api.page_items_max;
        let items_max = match self.value("limit") {
            None => ITEMS.min(max),
            Some(text) => {
                let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
                let number = text
                    .parse()
                    .ok()
                    .filter(|it| is_number && (1..=max).contains(it));
                number.ok_or_else(|| {
                    let rule = format!("limit must be 1 to {max} (api.page_items_max)");
                    Problem::of_field("limit", rule)
                })?
            }
        };
        Ok(PageLimits {
            items_max: items_max as usize,
            bytes_max: limits.api.page_bytes_max as usize,
        })
    }
}

/// Rejects a URL query with parameters, for paths that have none.
///
/// # Errors
///
/// A [`Problem`] for the first parameter.
pub(super) fn query_error(query: Option<&str>) -> Result<(), Problem> {
    Query::read(query, &[]).map(|_| ())
}

fn page_of_sessions(page: &Page<SessionInfo, PublicId>) -> ApiResponse {
    let json = PageJson {
        items: page.items.iter().map(SessionJson::of).collect(),
        next: page.next.map(|next| next.to_string()),
    };
    ApiResponse::new(200, &json)
}

fn page_of_names(
    page: &Page<ListedName, NamePlace>,
    dropped: fn(&ListedName) -> Option<u64>,
) -> ApiResponse {
    let items = page.items.iter().map(|item| NameJson {
        name: &item.name,
        sessions: item.sessions,
        dropped: dropped(item),
        routes: &item.routes,
    });
    let json = PageJson {
        items: items.collect(),
        next: page.next.as_ref().map(NamePlace::to_string),
    };
    ApiResponse::new(200, &json)
}

impl<'s> SessionJson<'s> {
    fn of(session: &'s SessionInfo) -> Self {
        let statistics = &session.statistics;
        Self {
            id: session.id.to_string(),
            route: &session.path,
            number: session.number,
            users: &session.users,
            name: &session.name,
            channels: &session.channels,
            dropped: session
                .dropped
                .iter()
                .map(|(channel, count)| (channel.as_str(), *count))
                .collect(),
            opened: rfc3339(session.opened_unix_ms),
            statistics: StatisticsJson {
                messages_sent: statistics.messages_sent,
                bytes_sent: statistics.bytes_sent,
                messages_received: statistics.messages_received,
                bytes_received: statistics.bytes_received,
            },
        }
    }
}

fn no_session() -> Problem {
    Problem::from(crate::handler::HandleError::NoSession)
}

/// Maps the "no session" problem of a page's `after` to a problem of that parameter.
fn as_problem_of_after(problem: Problem) -> Problem {
    if problem.code == Code::NoSession {
        bad_after()
    } else {
        problem
    }
}

fn bad_after() -> Problem {
    let rule = "after must be the next of the page before";
    Problem::of_field("after", rule)
}

/// Default items of a page.
pub(super) const ITEMS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_parameters_that_are_known_each_once() {
        let read = |query| Query::read(query, &["a", "b"]).map(|read| read.0);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read(None), Ok(vec![]));
        assert_eq!(
            read(Some("a=%C3%A9+1%2b&&b")),
            Ok(vec![pair("a", "\u{e9} 1+"), pair("b", "")])
        );
        let problem = |field: &str, rule: &'static str| Err(Problem::of_field(field, rule));
        assert_eq!(read(Some("c=1")), problem("c", "the parameters are a, b"));
        assert_eq!(
            read(Some("a=1&%61=1")),
            problem("a", "the parameter is repeated")
        );
        assert!(read(Some("a=%ff")).is_err());
    }
}
