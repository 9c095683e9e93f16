//! What `projectforge` programs had at hand: the echo and log handlers, terminals, close requests.

pub use super::ansi_html::html;

use super::context::Context;
use super::handle::RouteHandle;
use super::handle_error::HandleError;
use super::pending::Pending;
use super::words::EncodeError;
use crate::dialect::projectforge::{CLOSE_CONNECTION, OUTPUT};
use crate::logging::limited;
use crate::vocabulary::content::{Data, Message, Payload};
use crate::vocabulary::public_id::PublicId;
use serde::Serialize;

/// Replies to the sender: the same channel, command and parameter, from the sender.
///
/// # Errors
///
/// If the shard has too much to do, or the sender has left.
pub async fn echo(cx: Context) -> Result<(), HandleError> {
    let data = cx.data().map_or(Data::None, Data::Json);
    let message = Message {
        data: Payload::copy(data),
        ..Message::new(cx.command())
    };
    let message = message.from(cx.session_id().to_string()).on(cx.channel());
    cx.push(message).await.map(|_| ())
}

/// Logs messages, as many a second as one place may log, and replies nothing.
#[expect(clippy::unused_async, reason = "it is a handler, and those are async")]
pub async fn log(cx: Context) {
    limited!(INFO, "message", session = %cx.session_id(), command = cx.command());
}

/// Asks a client to close its connection, as its original asks: the client does so half a second
/// later. [`RouteHandle::close`] does not ask.
pub fn request_close(route: &RouteHandle, session: PublicId) -> Pending<u64> {
    route.push_session(session, Message::new(CLOSE_CONNECTION))
}

/// Writes what a terminal shows to a channel, line by line: the command `output`, with the text and
/// the same as HTML ([`html`]), with the markup of the original.
pub fn terminal(
    route: &RouteHandle,
    channel: &str,
) -> impl Fn(&str) -> Result<Pending<u64>, EncodeError> {
    let (route, channel): (_, Box<str>) = (route.clone(), channel.into());
    move |text| {
        let output = Output {
            html: &html(text),
            msg: text,
        };
        Ok(route.publish(channel.clone(), Message::json(OUTPUT, &output)?))
    }
}

#[derive(Serialize)]
struct Output<'o> {
    html: &'o str,
    msg: &'o str,
}
