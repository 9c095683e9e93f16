//! Built-in actions: the handlers that a config can define.
//!
//! The channel of a command is in the config or in the message:
//!
//! ```text
//!   projectforge   {"channel":"room","cmd":"publish","param":"hi"}           the message's channel
//!   wsrv           {"cmd":"publish","data":{"channel":"room","data":"hi"}}   a member of its data
//!                  {"cmd":"join","data":"room"}                              or all of it
//!   easyws, edk    publish: room hi                                          the first word
//!                  join: room                                                or all of it
//! ```

use super::rules::Authorizer;
use crate::codec::message_json::MessageDataJson;
use crate::config::{Action, PublishTo, ReplyData};
use crate::handler::{Context, HandleError, Response};
use crate::vocabulary::channel_pattern::ChannelPattern;
use crate::vocabulary::content::{Data, Denial, Failure, Message, OwnedData, Reply};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

/// Returns the handler for a command of the config.
pub(super) fn handler(
    command: &str,
    action: &Action,
    authorizer: Authorizer,
) -> impl Fn(Context) -> Pin<Box<dyn Future<Output = Response>>> + 'static {
    let work = Rc::new(Work {
        authorizer,
        act: Act::new(command, action),
    });
    move |cx| {
        let work = Rc::clone(&work);
        Box::pin(async move { work.run(cx).await })
    }
}

struct Work {
    authorizer: Authorizer,
    act: Act,
}

/// An action in the form that handling needs.
enum Act {
    Echo,
    Join(Option<ChannelPattern>),
    Leave(Option<ChannelPattern>),
    Publish {
        channel: Option<ChannelPattern>,
        event: Box<str>,
        to_others: bool,
    },
    Reply(OwnedData),
}

impl Act {
    fn new(command: &str, action: &Action) -> Self {
        let pattern = |channel: &Option<String>| {
            let name = channel.as_deref()?;
            Some(ChannelPattern::parse(name).expect("the config has checked it"))
        };
        match action {
            Action::Echo => Self::Echo,
            Action::Join { channel } => Self::Join(pattern(channel)),
            Action::Leave { channel } => Self::Leave(pattern(channel)),
            Action::Publish { channel, event, to } => {
                let event = event.as_deref().unwrap_or(command);
                Self::Publish {
                    channel: pattern(channel),
                    event: if event.is_empty() { MESSAGE } else { event }.into(),
                    to_others: *to == PublishTo::Others,
                }
            }
            Action::Reply { data } => Self::Reply(match data {
                ReplyData::None => OwnedData::None,
                ReplyData::Text(text) => OwnedData::Text(text.as_str().into()),
                ReplyData::Json(json) => OwnedData::Json(Bytes::copy_from_slice(json.as_bytes())),
                ReplyData::Bytes(bytes) => OwnedData::Bytes(Bytes::copy_from_slice(bytes)),
            }),
            Action::Hook => unreachable!("a backend handles it"),
        }
    }
}

impl Work {
    async fn run(&self, cx: Context) -> Response {
        self.authorizer.authorize_command(&cx).await?;
        match &self.act {
            Act::Echo => return Ok(Some(reply(payload_of(&cx)))),
            Act::Reply(data) => return Ok(Some(reply(data.clone()))),
            Act::Join(channel) => {
                let channel = channel_of(&cx, channel.as_ref())?;
                let reply = cx.join_as_client(channel).await.map_err(failure)?;
                if reply.data() != Data::None {
                    return Ok(Some(reply));
                }
            }
            Act::Leave(channel) => {
                let channel = channel_of(&cx, channel.as_ref())?;
                if !cx.leave(channel).await.map_err(failure)? {
                    return Err(Failure::denied(Denial::NotJoined));
                }
            }
            Act::Publish {
                channel,
                event,
                to_others,
            } => {
                let (channel, data) = publication_of(&cx, channel.as_ref())?;
                let message = Message {
                    data,
                    ..Message::new(event.clone())
                };
                let published = cx.publish_as_client(channel, message, *to_others);
                published.await.map_err(failure)?;
            }
        }
        // Only dialects that acknowledge every request can encode success.
        let is_acknowledged = cx.route().dialect().spec().acknowledges;
        Ok(is_acknowledged.then(Reply::ok))
    }
}

fn reply(data: OwnedData) -> Reply {
    Reply { event: None, data }
}

/// Converts an error to a failure. Denials by rules and limits stay denials.
fn failure(error: HandleError) -> Failure {
    match error {
        HandleError::Denied(denial) => Failure::denied(denial),
        HandleError::TooManyChannels => Failure::denied(Denial::TooManyChannels),
        HandleError::TooManyNames => Failure::denied(Denial::TooManyNames),
        HandleError::NoRoomForNames => Failure::denied(Denial::NoRoomForNames),
        HandleError::BadName => Failure::denied(Denial::NoChannelNamed),
        HandleError::Busy
        | HandleError::Stopping
        | HandleError::Stopped
        | HandleError::NoSession
        | HandleError::TimedOut
        | HandleError::BadEvent(_)
        | HandleError::Empty(_)
        | HandleError::BadClose => Failure::from(error),
    }
}

/// Returns the channel of a command.
fn channel_of(cx: &Context, fixed: Option<&ChannelPattern>) -> Result<Box<str>, Failure> {
    if let Some(channel) = fixed_channel(cx, fixed)? {
        return Ok(channel);
    }
    let data = cx.data().unwrap_or_default();
    let named = if cx.route().dialect().spec().json_data {
        Address::read(data).and_then(|address| address.channel)
    } else {
        str::from_utf8(data).ok().map(Cow::Borrowed)
    };
    named.map(Into::into).ok_or_else(no_channel)
}

/// Returns the channel of a command and the data to publish there.
fn publication_of(
    cx: &Context,
    fixed: Option<&ChannelPattern>,
) -> Result<(Box<str>, OwnedData), Failure> {
    if let Some(channel) = fixed_channel(cx, fixed)? {
        return Ok((channel, payload_of(cx)));
    }
    let data = cx.data().unwrap_or_default();
    if cx.route().dialect().spec().json_data {
        let address = Address::read(data).ok_or_else(no_channel)?;
        let channel = address.channel.ok_or_else(no_channel)?;
        let json = MessageDataJson {
            data: address.data,
            bytes: None,
        };
        let data = json.payload();
        let data = data.map_err(|problem| Failure::error(problem.to_string()))?;
        return Ok((channel.into(), data));
    }
    let end = data.iter().position(|&byte| byte == b' ');
    let (channel, rest) = data.split_at(end.unwrap_or(data.len()));
    let channel = str::from_utf8(channel).map_err(|_| no_channel())?;
    Ok((
        channel.into(),
        text_or_bytes(rest.get(1..).unwrap_or_default()),
    ))
}

/// Returns the channel that the config or the message's own field names; `None` if neither does, so
/// that the data must.
fn fixed_channel(
    cx: &Context,
    fixed: Option<&ChannelPattern>,
) -> Result<Option<Box<str>>, Failure> {
    if let Some(pattern) = fixed {
        let name = pattern.name_for(cx.session().user());
        return match name {
            Some(name) => Ok(Some(name)),
            None => Err(Failure::denied(Denial::NotAuthorized)),
        };
    }
    let channel = cx.channel();
    Ok((!channel.is_empty()).then(|| channel.into()))
}

/// Returns all of a command's data.
fn payload_of(cx: &Context) -> OwnedData {
    let Some(data) = cx.data() else {
        return OwnedData::None;
    };
    if cx.route().dialect().spec().json_data {
        // A lenient dialect accepts text that is not UTF-8. Other dialects on the channel may not.
        return match String::from_utf8_lossy(data) {
            Cow::Borrowed(_) => OwnedData::copy(Data::Json(data)),
            Cow::Owned(mended) => OwnedData::Json(mended.into()),
        };
    }
    text_or_bytes(data)
}

fn text_or_bytes(data: &[u8]) -> OwnedData {
    OwnedData::copy(str::from_utf8(data).map_or(Data::Bytes(data), Data::Text))
}

fn no_channel() -> Failure {
    Failure::denied(Denial::NoChannelNamed)
}

/// The members of JSON data that name a channel and the data to publish. Others are ignored.
#[derive(Default, Deserialize)]
struct Address<'d> {
    #[serde(borrow, default)]
    channel: Option<Cow<'d, str>>,
    #[serde(borrow, default)]
    data: Option<&'d RawValue>,
}

impl<'d> Address<'d> {
    /// Reads data that is an object, or a string, which is a channel; `None` for other data.
    fn read(data: &'d [u8]) -> Option<Self> {
        match data.trim_ascii_start().first() {
            Some(b'"') => Some(Self {
                channel: Some(serde_json::from_slice(data).ok()?),
                data: None,
            }),
            // serde also accepts an array for a struct.
            Some(b'{') => serde_json::from_slice(data).ok(),
            _ => None,
        }
    }
}

/// The event of publications by messages without a command.
const MESSAGE: &str = "message";
