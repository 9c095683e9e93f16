//! How an embedder says things: messages, replies and failures, and the JSON they carry.

use crate::vocabulary::content::{Cause, ChannelName, Denial, Failure, Message, Payload, Reply};
use bytes::Bytes;
use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};
use std::fmt;
use std::io;

/// What a handler, and everything that wraps it, comes to: a reply, nothing, or a failure.
pub type Response = Result<Option<Reply>, Failure>;

/// What a handler may return: nothing, a [`Reply`], an `Option` of one, a [`Failure`], or a
/// `Result` of any of these with an error that is, or becomes, a [`Failure`]. Every error type of
/// the standard kind becomes one, with its text.
pub trait IntoResponse {
    /// The same as a [`Response`].
    fn into_response(self) -> Response;
}

impl IntoResponse for () {
    fn into_response(self) -> Response {
        Ok(None)
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        Ok(Some(self))
    }
}

impl IntoResponse for Option<Reply> {
    fn into_response(self) -> Response {
        Ok(self)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        Err(self)
    }
}

impl<T: IntoResponse, E: Into<Failure>> IntoResponse for Result<T, E> {
    fn into_response(self) -> Response {
        self.map_or_else(|error| Err(error.into()), IntoResponse::into_response)
    }
}

impl Message {
    /// A message of this event or command, without data.
    pub fn new(event: impl Into<Box<str>>) -> Self {
        Self {
            event: event.into(),
            ..Self::default()
        }
    }

    /// A message whose data is `value`, as JSON.
    ///
    /// # Errors
    ///
    /// If `value` cannot be JSON, such as a map whose keys are no strings.
    pub fn json(
        event: impl Into<Box<str>>,
        value: &(impl Serialize + ?Sized),
    ) -> Result<Self, EncodeError> {
        Ok(Self {
            data: Payload::Json(encode(value)?),
            ..Self::new(event)
        })
    }

    /// A message whose data is text. Where the language is JSON, it is a JSON string.
    pub fn text(event: impl Into<Box<str>>, text: impl Into<Box<str>>) -> Self {
        Self {
            data: Payload::Text(text.into()),
            ..Self::new(event)
        }
    }

    /// A message whose data is bytes. Where the language is JSON, it is a base64 string.
    pub fn bytes(event: impl Into<Box<str>>, bytes: impl Into<Bytes>) -> Self {
        Self {
            data: Payload::Bytes(bytes.into()),
            ..Self::new(event)
        }
    }

    /// Says who says so, in languages that have room for it (`projectforge`).
    #[must_use]
    pub fn from(mut self, from: impl Into<Box<str>>) -> Self {
        self.from = from.into();
        self
    }

    /// Names a channel in the message, in languages that have room for it (`projectforge`). What is
    /// published to a channel names that one by itself.
    #[must_use]
    pub fn on(mut self, channel: impl Into<Box<str>>) -> Self {
        self.channel = ChannelName::Given(channel.into());
        self
    }

    /// Names in the message, for each session that hears it, the first channel that the session is
    /// on, or its id if it is on none; in languages that have room for it (`projectforge`, whose
    /// own client takes no message without a channel when it is debugged). It is worded once for
    /// each channel. What is published to a channel names that one.
    #[must_use]
    pub fn on_own_channel(mut self) -> Self {
        self.channel = ChannelName::Own;
        self
    }

    /// Names the request that it answers, in languages that have room for it (`wsrv`, `edk` with
    /// the built-in schema). Otherwise `wsrv` makes up a name.
    #[must_use]
    pub fn correlation(mut self, id: impl Into<Box<str>>) -> Self {
        self.correlation = id.into();
        self
    }

    /// Says how it went, in languages that have room for it (`wsrv`). 0 without text is `ok`.
    #[must_use]
    pub fn status(mut self, status: i64, text: impl Into<Box<str>>) -> Self {
        self.status = status;
        self.status_text = text.into();
        self
    }
}

impl Reply {
    /// A reply without data: `wsrv` says `ok` and `{}`, the others say nothing.
    #[must_use]
    pub fn ok() -> Self {
        Self::default()
    }

    /// A reply whose data is `value`, as JSON.
    ///
    /// # Errors
    ///
    /// If `value` cannot be JSON, such as a map whose keys are no strings.
    pub fn json(value: &(impl Serialize + ?Sized)) -> Result<Self, EncodeError> {
        Ok(Self {
            event: None,
            data: Payload::Json(encode(value)?),
        })
    }

    /// A reply whose data is one JSON value, as it is.
    ///
    /// # Errors
    ///
    /// If it is no JSON.
    pub fn raw_json(json: impl Into<Bytes>) -> Result<Self, EncodeError> {
        let json = json.into();
        match serde_json::from_slice::<serde::de::IgnoredAny>(&json) {
            Ok(_) => Ok(Self {
                event: None,
                data: Payload::Json(json),
            }),
            Err(error) => Err(EncodeError(error.to_string())),
        }
    }

    /// A reply whose data is text. Where the language is JSON, it is a JSON string.
    pub fn text(text: impl Into<Box<str>>) -> Self {
        Self {
            event: None,
            data: Payload::Text(text.into()),
        }
    }

    /// A reply whose data is bytes. Where the language is JSON, it is a base64 string.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self {
            event: None,
            data: Payload::Bytes(bytes.into()),
        }
    }

    /// Gives the reply a command of its own, in languages that have room for it (`easyws`,
    /// `projectforge`, `edk` with the built-in schema). Otherwise it is that of the request.
    #[must_use]
    pub fn with_event(mut self, event: impl Into<Box<str>>) -> Self {
        self.event = Some(event.into());
        self
    }
}

impl Failure {
    /// A failure with a status that the client understands, and its text.
    pub fn new(status: i64, text: impl Into<Box<str>>) -> Self {
        Self {
            status,
            text: text.into(),
            data: Payload::None,
            cause: Cause::Chosen,
        }
    }

    /// Adds `value`, as JSON.
    ///
    /// # Errors
    ///
    /// If `value` cannot be JSON, such as a map whose keys are no strings.
    pub fn with_data(mut self, value: &(impl Serialize + ?Sized)) -> Result<Self, EncodeError> {
        self.data = Payload::Json(encode(value)?);
        Ok(self)
    }

    /// A failure that says why, without a status of its own: 999999999 in `wsrv`.
    pub fn error(text: impl Into<Box<str>>) -> Self {
        Self {
            cause: Cause::Error,
            ..Self::new(UNEXPECTED, text)
        }
    }

    /// A failure that says what the gateway's own rules say: each language has words for it.
    #[must_use]
    pub fn denied(denial: Denial) -> Self {
        Self {
            cause: Cause::Denied(denial),
            ..Self::new(DENIED, denial.as_str())
        }
    }

    pub(crate) fn panicked() -> Self {
        Self {
            cause: Cause::Panic,
            ..Self::new(UNEXPECTED, "internal error")
        }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::error(error.to_string())
    }
}

/// A value that cannot be JSON, and why.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not JSON: {0}")]
pub struct EncodeError(String);

/// A value as JSON, with numbers and control characters as Go writes them.
fn encode(value: &(impl Serialize + ?Sized)) -> Result<Bytes, EncodeError> {
    let mut json = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut json, GoFormatter);
    match value.serialize(&mut serializer) {
        Ok(()) => Ok(json.into()),
        Err(error) => Err(EncodeError(error.to_string())),
    }
}

/// Writes what Go's `encoding/json` writes where `serde_json` would differ. What it escapes for the
/// sake of HTML is for the dialect.
struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_f64<W: io::Write + ?Sized>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        let size = value.abs();
        put_float(out, value, size == 0.0 || (1e-6..1e21).contains(&size))
    }

    fn write_f32<W: io::Write + ?Sized>(&mut self, out: &mut W, value: f32) -> io::Result<()> {
        let size = value.abs();
        put_float(out, value, size == 0.0 || (1e-6..1e21).contains(&size))
    }

    fn write_char_escape<W: io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        let short: &[u8] = match escape {
            CharEscape::Quote => b"\\\"",
            CharEscape::ReverseSolidus => b"\\\\",
            CharEscape::Solidus => b"/",
            CharEscape::Backspace => b"\\u0008",
            CharEscape::FormFeed => b"\\u000c",
            CharEscape::LineFeed => b"\\n",
            CharEscape::CarriageReturn => b"\\r",
            CharEscape::Tab => b"\\t",
            CharEscape::AsciiControl(byte) => return write!(out, "\\u{byte:04x}"),
        };
        out.write_all(short)
    }
}

/// Writes a number, with an exponent unless it is of a plain size; in Go each type has its own.
fn put_float<W: io::Write + ?Sized>(
    out: &mut W,
    value: impl fmt::Display + fmt::LowerExp,
    is_plain: bool,
) -> io::Result<()> {
    if is_plain {
        return write!(out, "{value}");
    }
    let text = format!("{value:e}");
    // Go writes the sign of a positive exponent.
    let (digits, exponent) = text.split_once('e').expect("written with one");
    let sign = if exponent.starts_with('-') { "" } else { "+" };
    write!(out, "{digits}e{sign}{exponent}")
}

/// The status of what the rules are against.
const DENIED: i64 = -1;

/// The status of what nobody expected to fail.
pub(crate) const UNEXPECTED: i64 = 999_999_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &(impl Serialize + ?Sized), json: &str) {
        assert_eq!(encode(value).expect("JSON"), json);
    }

    #[test]
    fn numbers_and_control_characters_are_gos() {
        check(&1.0, "1");
        check(&-0.5, "-0.5");
        check(&1e20, "100000000000000000000");
        check(&1e21, "1e+21");
        check(&1.5e-7, "1.5e-7");
        check(&0.000_001, "0.000001");
        check(&2.5_f32, "2.5");
        check(&u64::MAX, "18446744073709551615");
        check(
            "\u{8}\u{c}\u{1b}\n\r\t\"\\/",
            r#""\u0008\u000c\u001b\n\r\t\"\\/""#,
        );
    }

    #[test]
    fn whatever_a_handler_returns_becomes_a_response() {
        assert_eq!(().into_response(), Ok(None));
        assert_eq!(Reply::ok().into_response(), Ok(Some(Reply::ok())));
        assert_eq!(Some(Reply::ok()).into_response(), Ok(Some(Reply::ok())));
        let error = "x".parse::<u8>().map(|_| ()).into_response();
        let failure = error.expect_err("it is none");
        assert_eq!(failure.status(), UNEXPECTED);
        assert_eq!(failure.text(), "invalid digit found in string");
        let chosen = Err::<(), _>(Failure::new(7, "no")).into_response();
        assert_eq!(chosen, Err(Failure::new(7, "no")));
    }

    #[test]
    fn raw_json_is_looked_at() {
        assert!(Reply::raw_json(r#"{"a":[1]}"#).is_ok());
        assert!(Reply::raw_json("{").is_err());
    }
}
