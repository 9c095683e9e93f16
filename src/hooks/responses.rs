//! Hook responses, which are validated completely before any part takes effect.
//!
//! A response is strict JSON. An unknown member or a value of the wrong type makes the whole
//! response invalid, and nothing of it is done. `null` means the same as a missing member, except
//! where it is a result. This module neither acts on responses nor knows how they arrive.

use super::values::HookValues;
use crate::codec::message_json::MessageDataJson;
use crate::dialect::{Dialect, Rejection};
use crate::handler::Profile;
use crate::vocabulary::close::may_close;
use crate::vocabulary::content::{Failure, Message, OwnedData, Reply};
use crate::vocabulary::public_id::PublicId;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Maximum joins in one response. A response with more is invalid.
pub(crate) const JOINS_MAX: usize = 1_024;
/// Maximum leaves in one response. A response with more is invalid.
pub(crate) const LEAVES_MAX: usize = 1_024;
/// Maximum pushes in one response. A response with more is invalid.
pub(crate) const PUSHES_MAX: usize = 1_024;

/// Maximum bytes of an error text: the text may quote the response, which must not fill the log.
const ERROR_BYTES_MAX: usize = 200;

/// The limits that a response must respect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HookLimits {
    /// Maximum bytes of the name of a user, an event or a channel.
    pub(crate) name_bytes_max: usize,
    /// Maximum bytes kept with one session: its values as JSON, and the texts of its profile.
    pub(crate) values_bytes_max: usize,
    /// Maximum channels of one session.
    pub(crate) channels_max: usize,
    /// The dialect of the session.
    pub(crate) dialect: &'static dyn Dialect,
}

/// The reason a backend's response is invalid.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct InvalidResponse(String);

/// A backend's decision about an upgrade request.
#[derive(Debug)]
pub(crate) enum OpenResponse {
    Admit(Box<AdmittedResponse>),
    Reject(Rejection),
}

/// The user, profile, channels, values and first message of a client that a backend admits.
#[derive(Debug, Default)]
pub(crate) struct AdmittedResponse {
    pub(crate) user: Option<Box<str>>,
    pub(crate) profile: Profile,
    pub(crate) channels: Vec<Box<str>>,
    pub(crate) values: Option<HookValues>,
    pub(crate) message: Option<Message>,
}

/// The actions that a backend requests for a message, in this order. The response follows the
/// values.
#[derive(Debug)]
pub(crate) struct Actions {
    pub(crate) joins: Vec<Box<str>>,
    pub(crate) leaves: Vec<Box<str>>,
    pub(crate) pushes: Vec<PushAction>,
    pub(crate) values: Option<HookValues>,
    /// The result of the call; `Ok(None)` sends no reply.
    pub(crate) response: Result<Option<Reply>, Failure>,
    pub(crate) close: Option<(u16, Box<str>)>,
}

impl Default for Actions {
    /// Returns no actions and no reply.
    fn default() -> Self {
        Self {
            joins: Vec::new(),
            leaves: Vec::new(),
            pushes: Vec::new(),
            values: None,
            response: Ok(None),
            close: None,
        }
    }
}

/// One message to push.
#[derive(Debug)]
pub(crate) struct PushAction {
    pub(crate) to: PushTarget,
    pub(crate) message: Message,
    pub(crate) except_sender: bool,
}

/// The audience of a pushed message.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum PushTarget {
    Channel(Box<str>),
    User(Box<str>),
    Session(PublicId),
    Everyone,
}

/// Reads the response to `open`.
///
/// # Errors
///
/// [`InvalidResponse`] if it is not valid.
pub(crate) fn read_open(json: &[u8], limits: &HookLimits) -> Result<OpenResponse, InvalidResponse> {
    let response: OpenJson<'_> = read(json)?;
    let admits = response.user.is_some()
        || response.profile.is_some()
        || response.channels.is_some()
        || response.values.is_some()
        || response.message.is_some();
    let rejects = response.status.is_some() || response.body.is_some();
    match response.admit {
        true if rejects => {
            invalid_response("\"status\" and \"body\" are for a client that is not admitted")
        }
        true => Ok(OpenResponse::Admit(Box::new(response.admitted(limits)?))),
        false if admits => {
            invalid_response("a client that is not admitted gets a \"status\" and a \"body\" only")
        }
        false => {
            let status = response.status.unwrap_or(403);
            if !(400..=599).contains(&status) {
                return invalid_response("\"status\" is not from 400 to 599");
            }
            Ok(OpenResponse::Reject(Rejection::new(
                status,
                response.body.unwrap_or_default(),
            )))
        }
    }
}

/// Reads the response to `authenticate`: the user; `None` if the token is invalid.
///
/// # Errors
///
/// [`InvalidResponse`] if it is not valid.
pub(crate) fn read_user(
    json: &[u8],
    limits: &HookLimits,
) -> Result<Option<String>, InvalidResponse> {
    let response: UserJson = read(json)?;
    if let Some(user) = &response.user {
        limits.check_name("user", user)?;
    }
    Ok(response.user)
}

/// Reads the response to `join`: the reply to the client's join; `None` if the join is denied.
///
/// # Errors
///
/// [`InvalidResponse`] if it is not valid.
pub(crate) fn read_join(
    json: &[u8],
    limits: &HookLimits,
) -> Result<Option<Reply>, InvalidResponse> {
    let response: JoinResponseJson<'_> = read(json)?;
    match (response.allow, response.reply) {
        (true, Some(reply)) => reply.0.reply(limits).map(Some),
        (true, None) => Ok(Some(Reply::default())),
        (false, None) => Ok(None),
        (false, Some(_)) => invalid_response("\"reply\" is for a join that is allowed"),
    }
}

/// Reads the response to `publish` or `command`. `true` allows the action.
///
/// # Errors
///
/// [`InvalidResponse`] if it is not valid.
pub(crate) fn read_allow(json: &[u8]) -> Result<bool, InvalidResponse> {
    read(json).map(|response: AllowJson| response.allow)
}

/// Reads the response to `message`.
///
/// # Errors
///
/// [`InvalidResponse`] if it is not valid.
pub(crate) fn read_message(json: &[u8], limits: &HookLimits) -> Result<Actions, InvalidResponse> {
    let response: MessageResponseJson<'_> = read(json)?;
    let pushes = response.push.unwrap_or_default();
    if pushes.len() > PUSHES_MAX {
        return invalid_response("\"push\" has too many elements");
    }
    let pushes: Result<_, _> = pushes.into_iter().map(|push| push.0.read(limits)).collect();
    let outcome = match (response.reply, response.failure) {
        (Some(_), Some(_)) => return invalid_response("has both \"reply\" and \"failure\""),
        (Some(reply), None) => Ok(Some(reply.0.reply(limits)?)),
        (None, Some(failure)) => Err(failure.0.failure()?),
        (None, None) => Ok(None),
    };
    Ok(Actions {
        joins: limits.channels("join", response.join, JOINS_MAX)?,
        leaves: limits.channels("leave", response.leave, LEAVES_MAX)?,
        pushes: pushes?,
        values: limits.values(response.values, 0)?,
        response: outcome,
        close: response.close.map(|close| close.0.read()).transpose()?,
    })
}

/// A struct that must be a JSON object: serde also accepts an array of its members' values.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?;
        if !json.get().starts_with('{') {
            return Err(D::Error::custom("expected an object"));
        }
        serde_json::from_str(json.get())
            .map(Self)
            .map_err(D::Error::custom)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenJson<'a> {
    admit: bool,
    user: Option<String>,
    profile: Option<Object<ProfileJson>>,
    channels: Option<Vec<String>>,
    #[serde(borrow)]
    values: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<Object<BodyJson<'a>>>,
    status: Option<u16>,
    body: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileJson {
    name: String,
    fields: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserJson {
    /// Required, but may be `null`.
    #[serde(deserialize_with = "Option::deserialize")]
    user: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowJson {
    allow: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinResponseJson<'a> {
    allow: bool,
    #[serde(borrow)]
    reply: Option<Object<BodyJson<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageResponseJson<'a> {
    #[serde(borrow)]
    reply: Option<Object<BodyJson<'a>>>,
    #[serde(borrow)]
    failure: Option<Object<FailureJson<'a>>>,
    #[serde(borrow)]
    push: Option<Vec<Object<PushJson<'a>>>>,
    join: Option<Vec<String>>,
    leave: Option<Vec<String>>,
    #[serde(borrow)]
    values: Option<&'a RawValue>,
    close: Option<Object<CloseJson>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BodyJson<'a> {
    event: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    bytes: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FailureJson<'a> {
    status: i64,
    message: String,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PushJson<'a> {
    channel: Option<String>,
    user: Option<String>,
    session: Option<String>,
    everyone: Option<bool>,
    event: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    bytes: Option<Cow<'a, str>>,
    except_sender: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseJson {
    code: u16,
    reason: Option<String>,
}

impl OpenJson<'_> {
    fn admitted(self, limits: &HookLimits) -> Result<AdmittedResponse, InvalidResponse> {
        if let Some(user) = &self.user {
            limits.check_name("user", user)?;
        }
        let profile = self.profile.map(|Object(profile)| Profile {
            name: profile.name,
            fields: profile.fields.unwrap_or_default(),
        });
        let profile = profile.unwrap_or_default();
        if profile.name.len() > limits.name_bytes_max {
            return invalid_response("the name of \"profile\" is too long");
        }
        let fields = profile.fields.iter();
        let profile_bytes = fields.map(|(name, value)| name.len() + value.len()).sum();
        let channels = limits.channels("channels", self.channels, JOINS_MAX)?;
        let distinct: BTreeSet<&Box<str>> = channels.iter().collect();
        if distinct.len() > limits.channels_max {
            return invalid_response("\"channels\" has more channels than a session may be on");
        }
        Ok(AdmittedResponse {
            user: self.user.map(Into::into),
            profile,
            channels,
            values: limits.values(self.values, profile_bytes)?,
            message: self.message.map(|it| it.0.message(limits)).transpose()?,
        })
    }
}

impl BodyJson<'_> {
    fn data_json(&self) -> MessageDataJson<'_> {
        MessageDataJson {
            data: self.data,
            bytes: self.bytes.as_deref(),
        }
    }

    fn message(self, limits: &HookLimits) -> Result<Message, InvalidResponse> {
        let event = self.event.as_deref().unwrap_or_default();
        limits.check_event(event)?;
        self.data_json()
            .message(event)
            .map_err(|bad| truncated(&bad))
    }

    fn reply(self, limits: &HookLimits) -> Result<Reply, InvalidResponse> {
        if let Some(event) = &self.event {
            limits.check_event(event)?;
        }
        let data = self.data_json().payload().map_err(|bad| truncated(&bad))?;
        Ok(Reply {
            event: self.event.map(Into::into),
            data,
        })
    }
}

impl FailureJson<'_> {
    fn failure(self) -> Result<Failure, InvalidResponse> {
        if self.status == 0 {
            return invalid_response("\"failure\" has status 0, which means success");
        }
        let (data, bytes) = (self.data, None);
        let data: OwnedData = MessageDataJson { data, bytes }
            .payload()
            .map_err(|bad| truncated(&bad))?;
        let mut failure = Failure::new(self.status, self.message);
        failure.data = data;
        Ok(failure)
    }
}

impl PushJson<'_> {
    fn read(self, limits: &HookLimits) -> Result<PushAction, InvalidResponse> {
        let to = match (self.channel, self.user, self.session, self.everyone) {
            (Some(channel), None, None, None) => {
                limits.check_name("channel", &channel)?;
                PushTarget::Channel(channel.into())
            }
            (None, Some(user), None, None) => {
                limits.check_name("user", &user)?;
                PushTarget::User(user.into())
            }
            (None, None, Some(session), None) => match session.parse() {
                Ok(id) => PushTarget::Session(id),
                Err(_) => return invalid_response("a \"session\" is not a session id"),
            },
            (None, None, None, Some(true)) => PushTarget::Everyone,
            _ => {
                return invalid_response(
                    "a \"push\" needs exactly one of channel, user, session and everyone",
                );
            }
        };
        let except_sender = self.except_sender.unwrap_or(false);
        if except_sender && matches!(to, PushTarget::User(_) | PushTarget::Session(_)) {
            return invalid_response("\"except_sender\" is only for a channel or everyone");
        }
        let (event, data, bytes) = (self.event, self.data, self.bytes);
        let body = BodyJson { event, data, bytes };
        Ok(PushAction {
            to,
            // A publication to a channel names that channel instead.
            message: body.message(limits)?.on_own_channel(),
            except_sender,
        })
    }
}

impl CloseJson {
    fn read(self) -> Result<(u16, Box<str>), InvalidResponse> {
        let reason = self.reason.unwrap_or_default();
        if !may_close(self.code, &reason) {
            return invalid_response("\"close\" has a code or a reason that may not be sent");
        }
        Ok((self.code, reason.into()))
    }
}

impl HookLimits {
    fn check_name(&self, what: &str, name: &str) -> Result<(), InvalidResponse> {
        match name.len() {
            0 => Err(InvalidResponse(format!("a {what} is empty"))),
            len if len > self.name_bytes_max => {
                Err(InvalidResponse(format!("a {what} is too long")))
            }
            _ => Ok(()),
        }
    }

    fn check_event(&self, event: &str) -> Result<(), InvalidResponse> {
        if event.len() > self.name_bytes_max {
            return invalid_response("an event is too long");
        }
        let checked = self.dialect.check_event(event);
        checked.map_err(|why| InvalidResponse(format!("an event is invalid: {why}")))
    }

    fn channels(
        &self,
        member: &str,
        names: Option<Vec<String>>,
        count_max: usize,
    ) -> Result<Vec<Box<str>>, InvalidResponse> {
        let names = names.unwrap_or_default();
        if names.len() > count_max {
            return Err(InvalidResponse(format!("{member:?} has too many elements")));
        }
        for name in &names {
            self.check_name("channel", name)?;
        }
        Ok(names.into_iter().map(Into::into).collect())
    }

    /// Reads values. `bytes` are kept besides them and count towards the same limit.
    fn values(
        &self,
        json: Option<&RawValue>,
        bytes: usize,
    ) -> Result<Option<HookValues>, InvalidResponse> {
        let len = json.map_or(0, |json| json.get().len());
        if bytes.saturating_add(len) > self.values_bytes_max {
            return invalid_response("the values and the profile exceed values_bytes_max");
        }
        match json {
            Some(json) if !json.get().starts_with('{') => {
                invalid_response("\"values\" is not an object")
            }
            json => Ok(json.map(HookValues::new)),
        }
    }
}

impl InvalidResponse {
    /// Returns the error text.
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, InvalidResponse> {
    match serde_json::from_slice(json) {
        Ok(Object(response)) => Ok(response),
        Err(error) => Err(truncated(&error)),
    }
}

fn invalid_response<T>(why: &str) -> Result<T, InvalidResponse> {
    Err(InvalidResponse(why.to_owned()))
}

fn truncated(why: &impl fmt::Display) -> InvalidResponse {
    let mut text = why.to_string();
    text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX));
    InvalidResponse(text)
}
