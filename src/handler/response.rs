//! Constructors of messages, replies and failures, and the JSON encoding of their data.

use crate::vocabulary::content::{
    Cause, ChannelName, Denial, Failure, Message, OwnedData, Reply, UNEXPECTED,
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};
use std::fmt;
use std::io;

/// The result of a handler or middleware: a reply, nothing, or a failure.
pub type Response = Result<Option<Reply>, Failure>;

/// A return value of handlers: `()`, a [`Reply`], an `Option` of one, a [`Failure`], or a `Result`
/// of any of these whose error converts to a [`Failure`]. Every standard error type does, with its
/// text.
pub trait IntoResponse {
    /// Converts the value into a [`Response`].
    ///
    /// # Errors
    ///
    /// The [`Failure`] that the value is or contains.
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
    /// Creates a message with this event or command and without data.
    pub fn new(event: impl Into<Box<str>>) -> Self {
        Self {
            event: event.into(),
            ..Self::default()
        }
    }

    /// Creates a message whose data is the JSON form of `value`.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if `value` has no JSON form, such as a map with keys other than strings.
    pub fn json(
        event: impl Into<Box<str>>,
        value: &(impl Serialize + ?Sized),
    ) -> Result<Self, EncodeError> {
        Ok(Self {
            data: OwnedData::Json(encode(value)?),
            ..Self::new(event)
        })
    }

    /// Creates a message whose data is text; a JSON string in dialects that use JSON.
    pub fn text(event: impl Into<Box<str>>, text: impl Into<Box<str>>) -> Self {
        Self {
            data: OwnedData::Text(text.into()),
            ..Self::new(event)
        }
    }

    /// Creates a message whose data is bytes; a base64 string in dialects that use JSON.
    pub fn bytes(event: impl Into<Box<str>>, bytes: impl Into<Bytes>) -> Self {
        Self {
            data: OwnedData::Bytes(bytes.into()),
            ..Self::new(event)
        }
    }

    /// Sets the sender. Only `projectforge` and its taps encode it.
    #[must_use]
    pub fn from(mut self, from: impl Into<Box<str>>) -> Self {
        self.from = from.into();
        self
    }

    /// Sets the channel that the message names. Only `projectforge` encodes it. A publication to a
    /// channel always names that channel.
    #[must_use]
    pub fn on(mut self, channel: impl Into<Box<str>>) -> Self {
        self.channel = ChannelName::Given(channel.into());
        self
    }

    /// Makes the message name, for each receiving session, the first channel that the session is
    /// on, or the session's id if there is none. Only `projectforge` encodes it: its own client
    /// accepts no message without a channel in debug mode. The message is encoded once for each
    /// channel. A publication to a channel always names that channel.
    #[must_use]
    pub fn on_own_channel(mut self) -> Self {
        self.channel = ChannelName::Own;
        self
    }

    /// Sets the id of the request that the message responds to. `wsrv` and `edk` with the built-in
    /// schema encode it. Without one, `wsrv` generates an id.
    #[must_use]
    pub fn correlation(mut self, id: impl Into<Box<str>>) -> Self {
        self.correlation = id.into();
        self
    }

    /// Sets the status and its text. Only `wsrv` encodes them. Status 0 with an empty text is sent
    /// as `ok`.
    #[must_use]
    pub fn status(mut self, status: i64, text: impl Into<Box<str>>) -> Self {
        self.status = status;
        self.status_text = text.into();
        self
    }
}

impl Reply {
    /// Creates a reply without data: `wsrv` sends `ok` and `{}`, other dialects send nothing.
    #[must_use]
    pub fn ok() -> Self {
        Self::default()
    }

    /// Creates a reply whose data is the JSON form of `value`.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if `value` has no JSON form, such as a map with keys other than strings.
    pub fn json(value: &(impl Serialize + ?Sized)) -> Result<Self, EncodeError> {
        Ok(Self {
            event: None,
            data: OwnedData::Json(encode(value)?),
        })
    }

    /// Creates a reply whose data is this JSON text, unchanged.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the text is not JSON.
    pub fn raw_json(json: impl Into<Bytes>) -> Result<Self, EncodeError> {
        let json = json.into();
        match serde_json::from_slice::<serde::de::IgnoredAny>(&json) {
            Ok(_) => Ok(Self {
                event: None,
                data: OwnedData::Json(json),
            }),
            Err(error) => Err(EncodeError(error.to_string())),
        }
    }

    /// Creates a reply whose data is text; a JSON string in dialects that use JSON.
    pub fn text(text: impl Into<Box<str>>) -> Self {
        Self {
            event: None,
            data: OwnedData::Text(text.into()),
        }
    }

    /// Creates a reply whose data is bytes; a base64 string in dialects that use JSON.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self {
            event: None,
            data: OwnedData::Bytes(bytes.into()),
        }
    }

    /// Sets the command of the reply, which is otherwise that of the request. `easyws`,
    /// `projectforge` and `edk` with the built-in schema encode it.
    #[must_use]
    pub fn with_event(mut self, event: impl Into<Box<str>>) -> Self {
        self.event = Some(event.into());
        self
    }
}

impl Failure {
    /// Creates a failure with a status that the client understands, and its text.
    pub fn new(status: i64, text: impl Into<Box<str>>) -> Self {
        Self {
            status,
            text: text.into(),
            data: OwnedData::None,
            cause: Cause::Chosen,
        }
    }

    /// Adds the JSON form of `value` as data.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if `value` has no JSON form, such as a map with keys other than strings.
    pub fn with_data(mut self, value: &(impl Serialize + ?Sized)) -> Result<Self, EncodeError> {
        self.data = OwnedData::Json(encode(value)?);
        Ok(self)
    }

    /// Creates a failure for a denial by the gateway's own rules, which every dialect encodes in
    /// its own way.
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

/// An error for a value without a JSON form. Its text is the reason.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not JSON: {0}")]
pub struct EncodeError(String);

/// Serializes a value to JSON, with numbers and control characters as Go writes them.
fn encode(value: &(impl Serialize + ?Sized)) -> Result<Bytes, EncodeError> {
    let mut json = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut json, GoFormatter);
    match value.serialize(&mut serializer) {
        Ok(()) => Ok(json.into()),
        Err(error) => Err(EncodeError(error.to_string())),
    }
}

/// A JSON formatter that writes what Go's `encoding/json` writes where `serde_json` differs. Go's
/// HTML escapes are left to the dialect.
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

/// Writes a float as Go's `encoding/json` does: 1e20 as digits, 1e21 as `1e+21`.
///
/// `is_plain` selects the form without an exponent. The caller sets it: Go compares the magnitude
/// with 1e-6 and 1e21 in the precision of the float's type.
fn put_float<W: io::Write + ?Sized>(
    out: &mut W,
    value: impl fmt::Display + fmt::LowerExp,
    is_plain: bool,
) -> io::Result<()> {
    if is_plain {
        return write!(out, "{value}");
    }
    let text = format!("{value:e}");
    // Rust omits the `+` of a positive exponent; Go writes it.
    let (digits, exponent) = text.split_once('e').expect("`{:e}` writes an exponent");
    let sign = if exponent.starts_with('-') { "" } else { "+" };
    write!(out, "{digits}e{sign}{exponent}")
}

/// The status of denials.
const DENIED: i64 = -1;

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
