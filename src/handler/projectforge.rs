//! Helpers for `projectforge` routes: echo and log handlers, terminals, close requests.

pub use super::ansi_html::html;

use super::context::Context;
use super::handle_error::HandleError;
use super::pending::Pending;
use super::response::EncodeError;
use super::route_handle::RouteHandle;
use crate::dialect::projectforge::{CLOSE_CONNECTION, OUTPUT};
use crate::logging::limited;
use crate::vocabulary::content::{Data, Message, OwnedData};
use crate::vocabulary::public_id::PublicId;
use serde::Serialize;

/// Sends a call's channel, command and parameter back to its sender. A handler.
///
/// # Errors
///
/// Those of [`RouteHandle::push_session`].
pub async fn echo(cx: Context) -> Result<(), HandleError> {
    let data = cx.data().map_or(Data::None, Data::Json);
    let message = Message {
        data: OwnedData::copy(data),
        ..Message::new(cx.command())
    };
    let message = message.from(cx.session_id().to_string()).on(cx.channel());
    cx.push(message).await.map(|_| ())
}

/// Logs a call's session and command, subject to the log's rate limit. A handler without reply.
#[expect(clippy::unused_async, reason = "it is a handler, and those are async")]
pub async fn log(cx: Context) {
    limited!(INFO, "message", session = %cx.session_id(), command = cx.command());
}

/// Sends a client the original's request to close its connection; the client closes it half a
/// second later. [`RouteHandle::close`] closes the session without its help.
///
/// # Errors
///
/// Those of [`RouteHandle::push_session`].
pub fn request_close(route: &RouteHandle, session: PublicId) -> Pending<u64> {
    route.push_session(session, Message::new(CLOSE_CONNECTION))
}

/// Returns a function that publishes one text of a terminal to a channel. It sends the command
/// `output` with the text and its HTML form ([`html`]), which has the markup of the original.
///
/// # Errors
///
/// The function's errors: [`EncodeError`] never in practice, as its input is text; its result has
/// those of [`RouteHandle::publish`].
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
