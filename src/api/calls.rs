//! What can be asked to be done. A call is read and checked whole before anything of it is done.

use super::error::ApiError;
use super::{Api, ApiAnswer};
use crate::content::Message;
use crate::handler::{Handle, HandleError, Pending, RouteHandle, may_close};
use crate::public_id::PublicId;
use crate::spoken::{BadData, SpokenData};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;

/// The calls there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Publish,
    Push,
    Broadcast,
    Join,
    Leave,
    Disconnect,
}

impl Kind {
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "publish" => Self::Publish,
            "push" => Self::Push,
            "broadcast" => Self::Broadcast,
            "join" => Self::Join,
            "leave" => Self::Leave,
            "disconnect" => Self::Disconnect,
            _ => return None,
        })
    }
}

/// Something that is checked and can be done.
pub(super) enum Work {
    Call(Call),
    Batch(Vec<Call>),
}

/// A call that is checked.
pub(super) enum Call {
    Publish {
        targets: Vec<RouteHandle>,
        channel: Box<str>,
        message: Message,
        except: Vec<PublicId>,
    },
    PushUser {
        targets: Vec<RouteHandle>,
        user: Box<str>,
        message: Message,
    },
    PushSession {
        gateway: Handle,
        session: PublicId,
        message: Message,
    },
    Broadcast {
        targets: Vec<RouteHandle>,
        message: Message,
        except: Vec<PublicId>,
    },
    Join {
        gateway: Handle,
        session: PublicId,
        channel: Box<str>,
    },
    Leave {
        gateway: Handle,
        session: PublicId,
        channel: Box<str>,
    },
    Close {
        gateway: Handle,
        session: PublicId,
        code: u16,
        reason: Box<str>,
    },
    DropUser {
        targets: Vec<RouteHandle>,
        user: Box<str>,
        event: Option<Box<str>>,
    },
}

/// A call on its way; it is done whether or not anybody waits.
enum Begun {
    /// What is added up, and the member that the sum is answered in.
    Total(&'static str, Vec<Pending<u64>>),
    Truth(&'static str, Pending<bool>),
    Closed(Pending<()>),
}

impl Work {
    pub(super) async fn run(self) -> ApiAnswer {
        match self {
            Self::Call(call) => match call.begin().end().await {
                Ok(value) => ApiAnswer::of(200, &value),
                Err(error) => error.answer(),
            },
            Self::Batch(calls) => {
                // Begun in order; what one publishes arrives in order, however long it takes.
                let begun: Vec<Begun> = calls.into_iter().map(Call::begin).collect();
                let mut results = Vec::with_capacity(begun.len());
                for call in begun {
                    let result = call.end().await;
                    results.push(result.unwrap_or_else(|error| error.value()));
                }
                ApiAnswer::of(200, &json!({ "results": results }))
            }
        }
    }
}

impl Call {
    fn begin(self) -> Begun {
        const DELIVERED: &str = "delivered";
        match self {
            Self::Publish {
                targets,
                channel,
                message,
                except,
            } => {
                let publish = |target: &RouteHandle| {
                    target.publish_except(channel.clone(), message.clone(), &except)
                };
                Begun::Total(DELIVERED, targets.iter().map(publish).collect())
            }
            Self::PushUser {
                targets,
                user,
                message,
            } => {
                let push = |target: &RouteHandle| {
                    target.push_user_event(user.clone(), message.event.clone(), message.clone())
                };
                Begun::Total(DELIVERED, targets.iter().map(push).collect())
            }
            Self::PushSession {
                gateway,
                session,
                message,
            } => Begun::Total(DELIVERED, vec![gateway.push_session(session, message)]),
            Self::Broadcast {
                targets,
                message,
                except,
            } => {
                let push = |target: &RouteHandle| target.broadcast_except(message.clone(), &except);
                Begun::Total(DELIVERED, targets.iter().map(push).collect())
            }
            Self::Join {
                gateway,
                session,
                channel,
            } => Begun::Truth("joined", gateway.join(session, channel)),
            Self::Leave {
                gateway,
                session,
                channel,
            } => Begun::Truth("left", gateway.leave(session, channel)),
            Self::Close {
                gateway,
                session,
                code,
                reason,
            } => Begun::Closed(gateway.close(session, code, reason)),
            Self::DropUser {
                targets,
                user,
                event,
            } => {
                let drop_user =
                    |target: &RouteHandle| target.drop_user(user.clone(), event.as_deref());
                Begun::Total("disconnected", targets.iter().map(drop_user).collect())
            }
        }
    }
}

impl Begun {
    async fn end(self) -> Result<Value, ApiError> {
        match self {
            Self::Truth(member, pending) => Ok(json!({ member: pending.await? })),
            Self::Closed(pending) => {
                pending.await?;
                Ok(json!({"disconnected": 1}))
            }
            Self::Total(member, all) => {
                let (mut total, mut done, mut failed) = (0, 0, None);
                for pending in all {
                    match pending.await {
                        Ok(count) => (total, done) = (total + count, done + 1),
                        Err(error) => failed = failed.or(Some(error)),
                    }
                }
                match failed {
                    None => Ok(json!({ member: total })),
                    // Nothing was done only if it was done nowhere.
                    Some(HandleError::Busy) if done > 0 => Err(ApiError::timed_out()),
                    Some(error) => Err(error.into()),
                }
            }
        }
    }
}

/// `{"channel", "event", "data" | "bytes", "route", "except"}` and what the others have of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishBody<'b> {
    #[serde(borrow)]
    channel: Cow<'b, str>,
    event: Option<Cow<'b, str>>,
    data: Option<&'b RawValue>,
    bytes: Option<Cow<'b, str>>,
    route: Option<Cow<'b, str>>,
    except: Option<Vec<Cow<'b, str>>>,
    call: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PushBody<'b> {
    #[serde(borrow)]
    user: Option<Cow<'b, str>>,
    session: Option<Cow<'b, str>>,
    event: Option<Cow<'b, str>>,
    data: Option<&'b RawValue>,
    bytes: Option<Cow<'b, str>>,
    route: Option<Cow<'b, str>>,
    call: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BroadcastBody<'b> {
    #[serde(borrow)]
    event: Option<Cow<'b, str>>,
    data: Option<&'b RawValue>,
    bytes: Option<Cow<'b, str>>,
    route: Option<Cow<'b, str>>,
    except: Option<Vec<Cow<'b, str>>>,
    call: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberBody<'b> {
    #[serde(borrow)]
    session: Cow<'b, str>,
    channel: Cow<'b, str>,
    call: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DisconnectBody<'b> {
    #[serde(borrow)]
    session: Option<Cow<'b, str>>,
    user: Option<Cow<'b, str>>,
    event: Option<Cow<'b, str>>,
    code: Option<u16>,
    reason: Option<Cow<'b, str>>,
    route: Option<Cow<'b, str>>,
    call: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody<'b> {
    #[serde(borrow)]
    calls: Vec<&'b RawValue>,
}

/// The member of a batch's call that says which it is.
#[derive(Deserialize)]
struct CallName<'b> {
    #[serde(borrow)]
    call: Cow<'b, str>,
}

fn read<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, ApiError> {
    // serde would take an array for a struct as well.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(ApiError::malformed("the body is no JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| ApiError::malformed(error.to_string()))
}

impl Api {
    /// Reads and checks a call.
    pub(super) fn read_call(
        &self,
        handle: &Handle,
        kind: Kind,
        body: &[u8],
    ) -> Result<Work, ApiError> {
        Ok(Work::Call(self.check(handle, kind, body, false)?))
    }

    /// Reads and checks several calls. One that is wrong is named, and none is done.
    pub(super) fn read_batch(&self, handle: &Handle, body: &[u8]) -> Result<Work, ApiError> {
        let batch: BatchBody<'_> = read(body)?;
        let max = self.settings.limits.batch_calls_max as usize;
        if batch.calls.len() > max {
            let message = format!("has more than {max} calls (api.batch_calls_max)");
            return Err(ApiError::bad("calls", message));
        }
        let calls = batch.calls.iter().enumerate().map(|(index, call)| {
            let read = || {
                let body = call.get().as_bytes();
                let name: CallName<'_> = read(body)?;
                let kind = Kind::of(&name.call);
                let kind = kind.ok_or_else(|| ApiError::bad("call", "is no call"))?;
                self.check(handle, kind, body, true)
            };
            read().map_err(|error: ApiError| error.at_call(index))
        });
        Ok(Work::Batch(calls.collect::<Result<_, _>>()?))
    }

    fn check(
        &self,
        handle: &Handle,
        kind: Kind,
        body: &[u8],
        in_batch: bool,
    ) -> Result<Call, ApiError> {
        // Only in a batch a call says what it is.
        let placed = |call: Option<IgnoredAny>| match call {
            Some(_) if !in_batch => Err(ApiError::bad("call", "is for calls in a batch")),
            _ => Ok(()),
        };
        match kind {
            Kind::Publish => {
                let body: PublishBody<'_> = read(body)?;
                placed(body.call)?;
                self.check_publish(handle, body)
            }
            Kind::Push => {
                let body: PushBody<'_> = read(body)?;
                placed(body.call)?;
                self.check_push(handle, body)
            }
            Kind::Broadcast => {
                let body: BroadcastBody<'_> = read(body)?;
                placed(body.call)?;
                self.check_broadcast(handle, body)
            }
            Kind::Join | Kind::Leave => {
                let body: MemberBody<'_> = read(body)?;
                placed(body.call)?;
                self.check_membership(handle, kind == Kind::Join, body)
            }
            Kind::Disconnect => {
                let body: DisconnectBody<'_> = read(body)?;
                placed(body.call)?;
                self.check_disconnect(handle, body)
            }
        }
    }

    fn check_publish(&self, handle: &Handle, body: PublishBody<'_>) -> Result<Call, ApiError> {
        self.check_name("channel", &body.channel)?;
        let targets = self.targets(handle, body.route.as_deref())?;
        let message = message(body.event, body.data, body.bytes.as_deref())?;
        check_event(&targets, &message)?;
        Ok(Call::Publish {
            targets,
            channel: body.channel.into(),
            message,
            except: ids("except", body.except)?,
        })
    }

    fn check_push(&self, handle: &Handle, body: PushBody<'_>) -> Result<Call, ApiError> {
        let message = message(body.event, body.data, body.bytes.as_deref())?;
        let targets = self.targets(handle, body.route.as_deref())?;
        match (body.user, body.session) {
            (Some(user), None) => {
                self.check_name("user", &user)?;
                check_event(&targets, &message)?;
                Ok(Call::PushUser {
                    targets,
                    user: user.into(),
                    message,
                })
            }
            (None, Some(session)) => Ok(Call::PushSession {
                gateway: handle.clone(),
                session: id("session", &session)?,
                message,
            }),
            _ => Err(ApiError::malformed("needs either a user or a session")),
        }
    }

    fn check_broadcast(&self, handle: &Handle, body: BroadcastBody<'_>) -> Result<Call, ApiError> {
        let targets = self.targets(handle, body.route.as_deref())?;
        let message = message(body.event, body.data, body.bytes.as_deref())?;
        check_event(&targets, &message)?;
        Ok(Call::Broadcast {
            targets,
            message,
            except: ids("except", body.except)?,
        })
    }

    fn check_membership(
        &self,
        handle: &Handle,
        joins: bool,
        body: MemberBody<'_>,
    ) -> Result<Call, ApiError> {
        self.check_name("channel", &body.channel)?;
        let (gateway, channel) = (handle.clone(), body.channel.into());
        let session = id("session", &body.session)?;
        Ok(if joins {
            Call::Join {
                gateway,
                session,
                channel,
            }
        } else {
            Call::Leave {
                gateway,
                session,
                channel,
            }
        })
    }

    fn check_disconnect(
        &self,
        handle: &Handle,
        body: DisconnectBody<'_>,
    ) -> Result<Call, ApiError> {
        match (body.session, body.user) {
            (Some(session), None) => {
                if body.event.is_some() {
                    return Err(ApiError::bad("event", "is for users"));
                }
                let code = body.code.unwrap_or(1000);
                let reason: Box<str> = body.reason.unwrap_or_default().into();
                if !may_close(code, &reason) {
                    let message = "is 1000, 1001, 1003, 1007 to 1013 or 3000 to 4999, and a \
                        reason has at most 123 bytes";
                    return Err(ApiError::bad("code", message));
                }
                Ok(Call::Close {
                    gateway: handle.clone(),
                    session: id("session", &session)?,
                    code,
                    reason,
                })
            }
            (None, Some(user)) => {
                if body.code.is_some() || body.reason.is_some() {
                    return Err(ApiError::bad("code", "is for one session"));
                }
                self.check_name("user", &user)?;
                Ok(Call::DropUser {
                    targets: self.targets(handle, body.route.as_deref())?,
                    user: user.into(),
                    event: body.event.map(Into::into),
                })
            }
            _ => Err(ApiError::malformed("needs either a session or a user")),
        }
    }
}

fn message(
    event: Option<Cow<'_, str>>,
    data: Option<&RawValue>,
    bytes: Option<&str>,
) -> Result<Message, ApiError> {
    let event: Box<str> = event.map_or_else(|| EVENT.into(), Into::into);
    let spoken = SpokenData { data, bytes };
    let message = spoken.message(event);
    message.map_err(|problem| {
        let field = match problem {
            BadData::Both | BadData::NotBase64 => "bytes",
            BadData::NotText => "data",
        };
        ApiError::bad(field, problem.to_string())
    })
}

/// Says that a language has no words for an event, before anything is done anywhere.
fn check_event(targets: &[RouteHandle], message: &Message) -> Result<(), ApiError> {
    for target in targets {
        let check = target.check_event(&message.event);
        check.map_err(|why| ApiError::bad("event", format!("{}: {why}", target.path())))?;
    }
    Ok(())
}

fn id(field: &str, text: &str) -> Result<PublicId, ApiError> {
    let id = text.parse();
    id.map_err(|_| ApiError::bad(field, "is not the id of a session, a UUID"))
}

fn ids(field: &str, texts: Option<Vec<Cow<'_, str>>>) -> Result<Vec<PublicId>, ApiError> {
    let texts = texts.unwrap_or_default();
    texts.iter().map(|text| id(field, text)).collect()
}

/// The event of what names none.
const EVENT: &str = "message";
