//! Calls of the API, parsed and checked completely before any of them runs.
//!
//! ```text
//!   body --> members --> ApiCall, with its routes found and its event checked --> run.rs
//! ```
//!
//! This module does not depend on HTTP.

use super::RequestLimits;
use super::json_object::JsonObject;
use super::problem::{Code, Problem, field_of};
use crate::codec::message_json::MessageDataJson;
use crate::handler::{Handle, HandleError, RouteHandle, Routes};
use crate::vocabulary::close::{CODES, REASON_BYTES_MAX, may_close};
use crate::vocabulary::content::Message;
use crate::vocabulary::public_id::PublicId;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::str::FromStr;

/// A kind of call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum CallKind {
    Publish,
    Push,
    Broadcast,
    Join,
    Leave,
    Disconnect,
}

/// The calls of one request.
#[derive(Debug)]
pub(crate) struct CallRequest {
    pub(super) calls: Vec<ApiCall>,
    /// Whether the request is a batch, whose response has a result for each call.
    pub(super) is_batch: bool,
}

/// One checked call.
#[derive(Debug)]
pub(super) struct ApiCall {
    pub(super) action: CallAction,
    /// The route that the call's session must be of; `None` if the call names none.
    pub(super) on: Option<RouteHandle>,
}

#[derive(Debug)]
pub(super) enum CallAction {
    Publish {
        routes: Routes,
        channel: String,
        message: Message,
        except: Vec<PublicId>,
    },
    PushUser {
        routes: Routes,
        user: String,
        message: Message,
    },
    PushSession {
        session: PublicId,
        message: Message,
    },
    Broadcast {
        routes: Routes,
        message: Message,
        except: Vec<PublicId>,
    },
    Join {
        session: PublicId,
        channel: String,
    },
    Leave {
        session: PublicId,
        channel: String,
    },
    Close {
        session: PublicId,
        code: u16,
        reason: String,
    },
    DropUser {
        routes: Routes,
        user: String,
        event: Option<String>,
    },
}

/// A parser of calls.
struct Reader<'a> {
    handle: &'a Handle,
    limits: &'a RequestLimits,
}

impl CallKind {
    pub(super) const ALL: [Self; 6] = [
        Self::Publish,
        Self::Push,
        Self::Broadcast,
        Self::Join,
        Self::Leave,
        Self::Disconnect,
    ];

    /// Returns the kind's name in paths and in batches.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Push => "push",
            Self::Broadcast => "broadcast",
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Disconnect => "disconnect",
        }
    }
}

impl FromStr for CallKind {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.as_str() == word).ok_or(())
    }
}

impl CallRequest {
    /// Parses the body of one call.
    ///
    /// # Errors
    ///
    /// The first [`Problem`].
    pub(super) fn one(
        kind: CallKind,
        body: &[u8],
        handle: &Handle,
        limits: &RequestLimits,
    ) -> Result<Self, Problem> {
        let members = JsonObject::of_body(body)?;
        Ok(Self {
            calls: vec![Reader { handle, limits }.call(kind, members)?],
            is_batch: false,
        })
    }

    /// Parses the body of a batch.
    ///
    /// # Errors
    ///
    /// The first [`Problem`]; no call of the batch then runs.
    pub(super) fn batch(
        body: &[u8],
        handle: &Handle,
        limits: &RequestLimits,
    ) -> Result<Self, Problem> {
        let mut members = JsonObject::of_body(body)?;
        let max = limits.api.batch_calls_max;
        let list = members.list("calls", max, "api.batch_calls_max")?;
        let list = list.ok_or_else(|| members.problem("calls", IS_MISSING))?;
        members.end("batch")?;
        let reader = Reader { handle, limits };
        let calls = list.iter().enumerate().map(|(index, element)| {
            let members = JsonObject::of_element(element, "calls", index);
            let mut members = members.map_err(|problem| without_call(element, index, problem))?;
            let word = members.text("call")?;
            let word = word.ok_or_else(|| members.problem("call", IS_MISSING))?;
            let kind = word.parse().map_err(|()| {
                let words = CallKind::ALL.map(CallKind::as_str).join(", ");
                members.problem("call", &format!("must be one of {words}"))
            })?;
            reader.call(kind, members)
        });
        Ok(Self {
            calls: calls.collect::<Result<_, Problem>>()?,
            is_batch: true,
        })
    }
}

impl Reader<'_> {
    fn call(&self, kind: CallKind, mut members: JsonObject<'_>) -> Result<ApiCall, Problem> {
        let on = self.route(&mut members)?;
        let routes = match &on {
            Some(route) => route.alone(),
            None => self.handle.all_routes(),
        };
        let has_content = members.has_any(&["event", "data", "bytes"]);
        let (action, is_of_session) = match kind {
            CallKind::Publish => {
                let channel = self.channel(&mut members)?;
                let message = self.message(&mut members)?;
                let except = self.except(&mut members)?;
                let action = CallAction::Publish {
                    routes,
                    channel,
                    message,
                    except,
                };
                (action, false)
            }
            CallKind::Broadcast => {
                let message = self.message_on_channel(&mut members)?;
                let except = self.except(&mut members)?;
                let action = CallAction::Broadcast {
                    routes,
                    message,
                    except,
                };
                (action, false)
            }
            CallKind::Push => self.push(&mut members, routes)?,
            CallKind::Join | CallKind::Leave => {
                let session = session(&mut members)?;
                let channel = self.channel(&mut members)?;
                let action = if kind == CallKind::Join {
                    CallAction::Join { session, channel }
                } else {
                    CallAction::Leave { session, channel }
                };
                (action, true)
            }
            CallKind::Disconnect => self.disconnect(&mut members, routes)?,
        };
        members.end(kind.as_str())?;
        if kind == CallKind::Broadcast && !has_content {
            return Err(members.problem("data", NO_CONTENT));
        }
        action
            .check_event(on.as_ref())
            .map_err(|why| members.problem("event", why))?;
        let on = on.filter(|_| is_of_session);
        Ok(ApiCall { action, on })
    }

    fn push(
        &self,
        members: &mut JsonObject<'_>,
        routes: Routes,
    ) -> Result<(CallAction, bool), Problem> {
        let session = members.session("session")?;
        let user = members.user("user", self.limits.user_bytes_max)?;
        let message = self.message_on_channel(members)?;
        match (session, user) {
            (Some(session), None) => Ok((CallAction::PushSession { session, message }, true)),
            (None, Some(user)) => {
                let action = CallAction::PushUser {
                    routes,
                    user,
                    message,
                };
                Ok((action, false))
            }
            (Some(_), Some(_)) => Err(members.problem("session", NOT_BOTH)),
            (None, None) => Err(members.problem("user", NEITHER)),
        }
    }

    fn disconnect(
        &self,
        members: &mut JsonObject<'_>,
        routes: Routes,
    ) -> Result<(CallAction, bool), Problem> {
        let session = members.session("session")?;
        let user = members.user("user", self.limits.user_bytes_max)?;
        match (session, user) {
            (Some(session), None) => {
                let code = members.number("code")?.unwrap_or(NORMAL_CLOSURE);
                let reason = members.text("reason")?.unwrap_or_default();
                if reason.len() > REASON_BYTES_MAX {
                    let rule = format!("must have at most {REASON_BYTES_MAX} bytes");
                    return Err(members.problem("reason", &rule));
                }
                if !may_close(code, &reason) {
                    return Err(members.problem("code", &format!("must be {CODES}")));
                }
                let action = CallAction::Close {
                    session,
                    code,
                    reason,
                };
                Ok((action, true))
            }
            (None, Some(user)) => {
                let event = members.name("event", self.limits.name_bytes_max)?;
                let action = CallAction::DropUser {
                    routes,
                    user,
                    event,
                };
                Ok((action, false))
            }
            (Some(_), Some(_)) => Err(members.problem("session", NOT_BOTH)),
            (None, None) => Err(members.problem("user", NEITHER)),
        }
    }

    fn route(&self, members: &mut JsonObject<'_>) -> Result<Option<RouteHandle>, Problem> {
        let Some(path) = members.text("route")? else {
            return Ok(None);
        };
        match self.handle.route(&path) {
            Some(route) => Ok(Some(route)),
            None => Err(no_route(members.field("route"))),
        }
    }

    fn channel(&self, members: &mut JsonObject<'_>) -> Result<String, Problem> {
        let channel = members.name("channel", self.limits.name_bytes_max)?;
        channel.ok_or_else(|| members.problem("channel", IS_MISSING))
    }

    fn except(&self, members: &mut JsonObject<'_>) -> Result<Vec<PublicId>, Problem> {
        let max = self.limits.api.except_sessions_max;
        members.sessions("except", max, "api.except_sessions_max")
    }

    /// Parses a message to sessions. It names the call's channel, or else each session's own.
    fn message_on_channel(&self, members: &mut JsonObject<'_>) -> Result<Message, Problem> {
        let channel = members.name("channel", self.limits.name_bytes_max)?;
        let message = self.message(members)?;
        Ok(match channel {
            Some(channel) => message.on(channel),
            None => message.on_own_channel(),
        })
    }

    fn message(&self, members: &mut JsonObject<'_>) -> Result<Message, Problem> {
        let event = members.name("event", self.limits.name_bytes_max)?;
        let bytes = members.text("bytes")?;
        let json = MessageDataJson {
            data: members.take("data"),
            bytes: bytes.as_deref(),
        };
        let message = json.message(event.unwrap_or_else(|| EVENT.to_owned()));
        message.map_err(|bad| {
            Problem::of_field(members.field(field_of(bad)), format!("the body {bad}"))
        })
    }
}

impl CallAction {
    /// Checks that the dialects of all possible receivers can encode the event. The dialect of a
    /// session is known if the call names its route; otherwise the session's shard checks.
    ///
    /// # Errors
    ///
    /// The reason of the first dialect that cannot.
    fn check_event(&self, on: Option<&RouteHandle>) -> Result<(), &'static str> {
        let checked = match self {
            Self::Publish {
                routes, message, ..
            }
            | Self::Broadcast {
                routes, message, ..
            }
            | Self::PushUser {
                routes, message, ..
            } => routes.check_event(message.borrow().event),
            Self::PushSession { message, .. } => {
                let event = message.borrow().event;
                return on.map_or(Ok(()), |route| route.dialect().check_event(event));
            }
            Self::Join { .. } | Self::Leave { .. } | Self::Close { .. } | Self::DropUser { .. } => {
                Ok(())
            }
        };
        match checked {
            Err(HandleError::BadEvent(why)) => Err(why),
            _ => Ok(()),
        }
    }
}

/// Parses the required session of a call.
fn session(members: &mut JsonObject<'_>) -> Result<PublicId, Problem> {
    let session = members.session("session")?;
    session.ok_or_else(|| members.problem("session", IS_MISSING))
}

/// Returns the problem of a batch element without a `call`. It is usually `found`, but the hint
/// about `call` is more helpful for an element like `{"publish": {..}}`.
fn without_call(element: &RawValue, index: usize, found: Problem) -> Problem {
    #[derive(Deserialize)]
    struct NamedObject<'j> {
        #[serde(borrow)]
        call: Option<&'j RawValue>,
    }

    let named = serde_json::from_str(element.get());
    if named.is_ok_and(|named: NamedObject<'_>| named.call.is_none()) {
        let names = CallKind::ALL.map(CallKind::as_str).join(", ");
        let message = format!("call {IS_MISSING}, which is one of {names}");
        Problem::of_field(format!("calls[{index}].call"), message)
    } else {
        found
    }
}

/// Returns the problem of a route that does not exist.
pub(super) fn no_route(field: impl Into<String>) -> Problem {
    Problem::new(Code::NoRoute, "the config has no route with this path").at(field)
}

/// The event of a publication without one.
const EVENT: &str = "message";
const NORMAL_CLOSURE: u16 = 1000;
const IS_MISSING: &str = "is missing";
/// An empty broadcast is likely a mistake, so it is rejected.
const NO_CONTENT: &str = "is missing, and so are bytes and event";
const NOT_BOTH: &str = "cannot be combined with user";
const NEITHER: &str = "is missing, and so is session";
