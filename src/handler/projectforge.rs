//! What `projectforge` programs had at hand: the echo and log handlers, terminals, close requests.

use super::context::Context;
use super::handle::RouteHandle;
use super::handle_error::HandleError;
use super::pending::Pending;
use super::words::EncodeError;
use crate::content::{Data, Message, Payload};
use crate::logging::limited;
use crate::public_id::PublicId;
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
    route.push_session(session, Message::new("close-connection"))
}

/// Writes what a terminal shows to a channel, line by line: the command `output`, with the text and
/// the same as HTML, colours included.
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
        Ok(route.publish(channel.clone(), Message::json("output", &output)?))
    }
}

#[derive(Serialize)]
struct Output<'o> {
    html: &'o str,
    msg: &'o str,
}

/// Text with ANSI colours (ECMA-48 SGR) as HTML; every other escape sequence is left out.
#[must_use]
pub fn html(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    let mut is_coloured = false;
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        escape(&rest[..at], &mut html);
        let sequence = &rest[at + 2..];
        let end = sequence.find(|c: char| ('@'..='~').contains(&c));
        let Some(end) = end else {
            rest = "";
            break;
        };
        if sequence.as_bytes()[end] == b'm' {
            for number in sequence[..end].split(';') {
                let colour = colour(number);
                if is_coloured {
                    html.push_str("</span>");
                }
                is_coloured = colour.is_some();
                if let Some(colour) = colour {
                    html.push_str("<span style=\"color:");
                    html.push_str(colour);
                    html.push_str(";\">");
                }
            }
        }
        rest = &sequence[end + 1..];
    }
    escape(rest, &mut html);
    if is_coloured {
        html.push_str("</span>");
    }
    html
}

fn escape(text: &str, html: &mut String) {
    for character in text.chars() {
        match character {
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '&' => html.push_str("&amp;"),
            '"' => html.push_str("&#34;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
}

/// The colour of an SGR parameter; `None` takes colours away.
fn colour(parameter: &str) -> Option<&'static str> {
    Some(match parameter {
        "30" => "black",
        "31" => "maroon",
        "32" => "green",
        "33" => "sienna",
        "34" => "navy",
        "35" => "purple",
        "36" => "teal",
        "37" => "silver",
        "90" => "gray",
        "91" => "red",
        "92" => "lime",
        "93" => "yellow",
        "94" => "blue",
        "95" => "fuchsia",
        "96" => "aqua",
        "97" => "white",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::html;

    #[test]
    fn colours_become_spans_and_nothing_else_gets_through() {
        assert_eq!(html("plain <b>&"), "plain &lt;b&gt;&amp;");
        assert_eq!(
            html("\x1b[33mwarn\x1b[0m: x"),
            "<span style=\"color:sienna;\">warn</span>: x"
        );
        assert_eq!(
            html("\x1b[1;31mred"),
            "<span style=\"color:maroon;\">red</span>"
        );
        assert_eq!(html("a\x1b[2Kb\x1b[3"), "ab");
    }
}
