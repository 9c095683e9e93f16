//! The built-in actions: handlers that a config makes.
//!
//! Which channel a command is about stands in the config, or in the message:
//!
//! ```text
//!   projectforge   {"channel":"room","cmd":"publish","param":"hi"}           the message's channel
//!   wsrv           {"cmd":"publish","data":{"channel":"room","data":"hi"}}   a member of its data
//!                  {"cmd":"join","data":"room"}                              or all of it
//!   easyws, edk    publish: room hi                                          the first word
//!                  join: room                                                or all of it
//! ```

use super::rules::Judge;
use crate::codec::spoken::SpokenData;
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

/// A handler for a command of the config.
pub(super) fn handler(
    command: &str,
    action: &Action,
    judge: Judge,
) -> impl Fn(Context) -> Pin<Box<dyn Future<Output = Response>>> + 'static {
    let work = Rc::new(Work {
        judge,
        act: Act::new(command, action),
    });
    move |cx| {
        let work = Rc::clone(&work);
        Box::pin(async move { work.run(cx).await })
    }
}

struct Work {
    judge: Judge,
    act: Act,
}

/// An action, as it is needed when a command comes.
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
        self.judge.judge_command(&cx).await?;
        match &self.act {
            Act::Echo => return Ok(Some(reply(payload_of(&cx)))),
            Act::Reply(data) => return Ok(Some(reply(data.clone()))),
            Act::Join(channel) => {
                let channel = channel_of(&cx, channel.as_ref())?;
                cx.join_as_client(channel).await.map_err(failure)?;
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
        // Only a language in which everything is answered has words for success.
        let is_told = cx.route().dialect().spec().acknowledges;
        Ok(is_told.then(Reply::ok))
    }
}

fn reply(data: OwnedData) -> Reply {
    Reply { event: None, data }
}

/// What the gateway's rules are against is told as such; the rest is an error.
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

/// The channel that a command is about.
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

/// The channel that a command is about, and what is to be published there.
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
        let spoken = SpokenData {
            data: address.data,
            bytes: None,
        };
        let data = spoken.payload();
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

/// The channel that the config, or else the message apart from its data, names.
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

/// All of a command's data.
fn payload_of(cx: &Context) -> OwnedData {
    let Some(data) = cx.data() else {
        return OwnedData::None;
    };
    if cx.route().dialect().spec().json_data {
        // A lenient language lets in text that is broken; others on the channel may not.
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

/// How JSON data name a channel. Other members are the client's own.
#[derive(Default, Deserialize)]
struct Address<'d> {
    #[serde(borrow, default)]
    channel: Option<Cow<'d, str>>,
    #[serde(borrow, default)]
    data: Option<&'d RawValue>,
}

impl<'d> Address<'d> {
    /// Reads data that are an object, or a string, which is a channel.
    fn read(data: &'d [u8]) -> Option<Self> {
        match data.trim_ascii_start().first() {
            Some(b'"') => Some(Self {
                channel: Some(serde_json::from_slice(data).ok()?),
                data: None,
            }),
            // serde would take an array for a struct as well.
            Some(b'{') => serde_json::from_slice(data).ok(),
            _ => None,
        }
    }
}

/// The event of what is published by messages without a command.
const MESSAGE: &str = "message";
