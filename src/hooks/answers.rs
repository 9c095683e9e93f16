//! What comes back from a backend, read whole before anything of it counts.
//!
//! An answer is JSON, held to the letter: a member that is not known, or a value that is not of
//! its type, makes the whole of it nonsense, of which nothing is done. `null` is as good as a
//! member that is not there, except where it is the answer. Nothing here acts, and nothing here
//! knows how an answer came.

use super::values::HookValues;
use crate::codec::spoken::SpokenData;
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

/// Joins, leaves and pushes in one answer, each; one of more is nonsense.
pub(crate) const JOINS_MAX: usize = 1_024;
pub(crate) const LEAVES_MAX: usize = 1_024;
pub(crate) const PUSHES_MAX: usize = 1_024;

/// Bytes of a complaint: an answer is not to fill the log with itself.
const COMPLAINT_BYTES_MAX: usize = 200;

/// What an answer may ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Of the name of a user, an event or a channel.
    pub(crate) name_bytes_max: usize,
    /// Of what is kept with one session: its values as JSON, and the texts of its profile.
    pub(crate) values_bytes_max: usize,
    /// Of channels that one session is on.
    pub(crate) channels_max: usize,
    /// The language of the session.
    pub(crate) dialect: &'static dyn Dialect,
}

/// Why an answer is none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Nonsense(String);

/// What a backend says about somebody who wants to connect.
#[derive(Debug)]
pub(crate) enum OpenAnswer {
    Admit(Box<Admitted>),
    Refuse(Rejection),
}

/// With what somebody is admitted.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    pub(crate) user: Option<Box<str>>,
    pub(crate) profile: Profile,
    pub(crate) channels: Vec<Box<str>>,
    pub(crate) values: Option<HookValues>,
    pub(crate) message: Option<Message>,
}

/// What a backend wants done about a message, in this order; the response comes behind the values.
#[derive(Debug)]
pub(crate) struct Actions {
    pub(crate) joins: Vec<Box<str>>,
    pub(crate) leaves: Vec<Box<str>>,
    pub(crate) pushes: Vec<Push>,
    pub(crate) values: Option<HookValues>,
    /// `Ok(None)`: it was handled, and there is nothing to say.
    pub(crate) response: Result<Option<Reply>, Failure>,
    pub(crate) close: Option<(u16, Box<str>)>,
}

impl Default for Actions {
    /// Nothing is done, and nothing said.
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

/// One message to somebody.
#[derive(Debug)]
pub(crate) struct Push {
    pub(crate) to: Target,
    pub(crate) message: Message,
    pub(crate) except_sender: bool,
}

/// To whom a message is pushed.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Target {
    Channel(Box<str>),
    User(Box<str>),
    Session(PublicId),
    Everyone,
}

/// Reads the answer to `open`.
pub(crate) fn read_open(json: &[u8], bounds: &Bounds) -> Result<OpenAnswer, Nonsense> {
    let answer: SpokenOpen<'_> = read(json)?;
    let admits = answer.user.is_some()
        || answer.profile.is_some()
        || answer.channels.is_some()
        || answer.values.is_some()
        || answer.message.is_some();
    let refuses = answer.status.is_some() || answer.body.is_some();
    match answer.admit {
        true if refuses => nonsense("\"status\" and \"body\" are for who is not admitted"),
        true => Ok(OpenAnswer::Admit(Box::new(answer.admitted(bounds)?))),
        false if admits => nonsense("who is not admitted gets a \"status\" and a \"body\" only"),
        false => {
            let status = answer.status.unwrap_or(403);
            if !(400..=599).contains(&status) {
                return nonsense("\"status\" is not from 400 to 599");
            }
            Ok(OpenAnswer::Refuse(Rejection::new(
                status,
                answer.body.unwrap_or_default(),
            )))
        }
    }
}

/// Reads the answer to `authenticate`: the user, if there is one.
pub(crate) fn read_user(json: &[u8], bounds: &Bounds) -> Result<Option<String>, Nonsense> {
    let answer: SpokenUser = read(json)?;
    if let Some(user) = &answer.user {
        bounds.check_name("user", user)?;
    }
    Ok(answer.user)
}

/// Reads the answer to `join`, `publish` and `command`: whether it is allowed.
pub(crate) fn read_allow(json: &[u8]) -> Result<bool, Nonsense> {
    read(json).map(|answer: SpokenAllow| answer.allow)
}

/// Reads the answer to `message`.
pub(crate) fn read_message(json: &[u8], bounds: &Bounds) -> Result<Actions, Nonsense> {
    let answer: SpokenMessage<'_> = read(json)?;
    let pushes = answer.push.unwrap_or_default();
    if pushes.len() > PUSHES_MAX {
        return nonsense("\"push\" has too many elements");
    }
    let pushes: Result<_, _> = pushes.into_iter().map(|push| push.0.read(bounds)).collect();
    let response = match (answer.reply, answer.failure) {
        (Some(_), Some(_)) => return nonsense("has both \"reply\" and \"failure\""),
        (Some(reply), None) => Ok(Some(reply.0.reply(bounds)?)),
        (None, Some(failure)) => Err(failure.0.failure()?),
        (None, None) => Ok(None),
    };
    Ok(Actions {
        joins: bounds.channels("join", answer.join, JOINS_MAX)?,
        leaves: bounds.channels("leave", answer.leave, LEAVES_MAX)?,
        pushes: pushes?,
        values: bounds.values(answer.values, 0)?,
        response,
        close: answer.close.map(|close| close.0.read()).transpose()?,
    })
}

/// A struct that is an object: serde by itself takes an array of the values of its members too.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?;
        if !json.get().starts_with('{') {
            return Err(D::Error::custom("what should be an object is none"));
        }
        serde_json::from_str(json.get())
            .map(Self)
            .map_err(D::Error::custom)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpokenOpen<'a> {
    admit: bool,
    user: Option<String>,
    profile: Option<Object<SpokenProfile>>,
    channels: Option<Vec<String>>,
    #[serde(borrow)]
    values: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<Object<SpokenBody<'a>>>,
    status: Option<u16>,
    body: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpokenProfile {
    name: String,
    fields: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpokenUser {
    /// It has to be there, even if it is null.
    #[serde(deserialize_with = "Option::deserialize")]
    user: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpokenAllow {
    allow: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpokenMessage<'a> {
    #[serde(borrow)]
    reply: Option<Object<SpokenBody<'a>>>,
    #[serde(borrow)]
    failure: Option<Object<SpokenFailure<'a>>>,
    #[serde(borrow)]
    push: Option<Vec<Object<SpokenPush<'a>>>>,
    join: Option<Vec<String>>,
    leave: Option<Vec<String>>,
    #[serde(borrow)]
    values: Option<&'a RawValue>,
    close: Option<Object<SpokenClose>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpokenBody<'a> {
    event: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    bytes: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpokenFailure<'a> {
    status: i64,
    message: String,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpokenPush<'a> {
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
struct SpokenClose {
    code: u16,
    reason: Option<String>,
}

impl SpokenOpen<'_> {
    fn admitted(self, bounds: &Bounds) -> Result<Admitted, Nonsense> {
        if let Some(user) = &self.user {
            bounds.check_name("user", user)?;
        }
        let profile = self.profile.map(|Object(profile)| Profile {
            name: profile.name,
            fields: profile.fields.unwrap_or_default(),
        });
        let profile = profile.unwrap_or_default();
        if profile.name.len() > bounds.name_bytes_max {
            return nonsense("the name of \"profile\" is too long");
        }
        let fields = profile.fields.iter();
        let profile_bytes = fields.map(|(name, value)| name.len() + value.len()).sum();
        let channels = bounds.channels("channels", self.channels, JOINS_MAX)?;
        let distinct: BTreeSet<&Box<str>> = channels.iter().collect();
        if distinct.len() > bounds.channels_max {
            return nonsense("\"channels\" are more than a session may be on");
        }
        Ok(Admitted {
            user: self.user.map(Into::into),
            profile,
            channels,
            values: bounds.values(self.values, profile_bytes)?,
            message: self.message.map(|it| it.0.message(bounds)).transpose()?,
        })
    }
}

impl SpokenBody<'_> {
    fn spoken(&self) -> SpokenData<'_> {
        SpokenData {
            data: self.data,
            bytes: self.bytes.as_deref(),
        }
    }

    fn message(self, bounds: &Bounds) -> Result<Message, Nonsense> {
        let event = self.event.as_deref().unwrap_or_default();
        bounds.check_event(event)?;
        self.spoken().message(event).map_err(|bad| said(&bad))
    }

    fn reply(self, bounds: &Bounds) -> Result<Reply, Nonsense> {
        if let Some(event) = &self.event {
            bounds.check_event(event)?;
        }
        let data = self.spoken().payload().map_err(|bad| said(&bad))?;
        Ok(Reply {
            event: self.event.map(Into::into),
            data,
        })
    }
}

impl SpokenFailure<'_> {
    fn failure(self) -> Result<Failure, Nonsense> {
        if self.status == 0 {
            return nonsense("the status 0 of \"failure\" is that of a success");
        }
        let (data, bytes) = (self.data, None);
        let data: OwnedData = SpokenData { data, bytes }
            .payload()
            .map_err(|bad| said(&bad))?;
        let mut failure = Failure::new(self.status, self.message);
        failure.data = data;
        Ok(failure)
    }
}

impl SpokenPush<'_> {
    fn read(self, bounds: &Bounds) -> Result<Push, Nonsense> {
        let to = match (self.channel, self.user, self.session, self.everyone) {
            (Some(channel), None, None, None) => {
                bounds.check_name("channel", &channel)?;
                Target::Channel(channel.into())
            }
            (None, Some(user), None, None) => {
                bounds.check_name("user", &user)?;
                Target::User(user.into())
            }
            (None, None, Some(session), None) => match session.parse() {
                Ok(id) => Target::Session(id),
                Err(_) => return nonsense("a \"session\" is not the id of one"),
            },
            (None, None, None, Some(true)) => Target::Everyone,
            _ => return nonsense("a \"push\" is not to exactly one whom"),
        };
        let except_sender = self.except_sender.unwrap_or(false);
        if except_sender && matches!(to, Target::User(_) | Target::Session(_)) {
            return nonsense("\"except_sender\" is for a channel or everyone");
        }
        let (event, data, bytes) = (self.event, self.data, self.bytes);
        let body = SpokenBody { event, data, bytes };
        Ok(Push {
            to,
            // What is published to a channel names that one.
            message: body.message(bounds)?.on_own_channel(),
            except_sender,
        })
    }
}

impl SpokenClose {
    fn read(self) -> Result<(u16, Box<str>), Nonsense> {
        let reason = self.reason.unwrap_or_default();
        if !may_close(self.code, &reason) {
            return nonsense("\"close\" has a code or a reason that may not be sent");
        }
        Ok((self.code, reason.into()))
    }
}

impl Bounds {
    fn check_name(&self, what: &str, name: &str) -> Result<(), Nonsense> {
        match name.len() {
            0 => Err(Nonsense(format!("a {what} is empty"))),
            len if len > self.name_bytes_max => Err(Nonsense(format!("a {what} is too long"))),
            _ => Ok(()),
        }
    }

    fn check_event(&self, event: &str) -> Result<(), Nonsense> {
        if event.len() > self.name_bytes_max {
            return nonsense("an event is too long");
        }
        let checked = self.dialect.check_event(event);
        checked.map_err(|why| Nonsense(format!("an event is none: {why}")))
    }

    fn channels(
        &self,
        member: &str,
        names: Option<Vec<String>>,
        count_max: usize,
    ) -> Result<Vec<Box<str>>, Nonsense> {
        let names = names.unwrap_or_default();
        if names.len() > count_max {
            return Err(Nonsense(format!("{member:?} has too many elements")));
        }
        for name in &names {
            self.check_name("channel", name)?;
        }
        Ok(names.into_iter().map(Into::into).collect())
    }

    /// Values, beside which so many bytes are kept.
    fn values(
        &self,
        json: Option<&RawValue>,
        bytes: usize,
    ) -> Result<Option<HookValues>, Nonsense> {
        let len = json.map_or(0, |json| json.get().len());
        if bytes.saturating_add(len) > self.values_bytes_max {
            return nonsense("more is to be kept than values_bytes_max");
        }
        match json {
            Some(json) if !json.get().starts_with('{') => nonsense("\"values\" is no object"),
            json => Ok(json.map(HookValues::new)),
        }
    }
}

impl Nonsense {
    /// The complaint.
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Nonsense> {
    match serde_json::from_slice(json) {
        Ok(Object(answer)) => Ok(answer),
        Err(error) => Err(said(&error)),
    }
}

fn nonsense<T>(why: &str) -> Result<T, Nonsense> {
    Err(Nonsense(why.to_owned()))
}

fn said(why: &impl fmt::Display) -> Nonsense {
    let mut text = why.to_string();
    text.truncate(text.floor_char_boundary(COMPLAINT_BYTES_MAX));
    Nonsense(text)
}
