//! The JSON form of message data in the server API and in hooks.
//!
//! ```text
//!   {"event": "chat", "data": {"text": "hi"}}      any JSON, kept byte for byte
//!   {"event": "chat", "data": "hi"}                a text
//!   {"event": "chat", "bytes": "CgRjaGF0"}         bytes, in base64
//! ```

use crate::vocabulary::content::{Data, Message, OwnedData};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::value::RawValue;

/// The two members for message data, of which at most one may be present.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MessageDataJson<'s> {
    pub(crate) data: Option<&'s RawValue>,
    pub(crate) bytes: Option<&'s str>,
}

/// The reason that message data are invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum DataJsonError {
    #[error("has both \"data\" and \"bytes\"")]
    Both,
    #[error("\"bytes\" is not base64")]
    NotBase64,
    #[error("\"data\" has half of a surrogate pair")]
    NotText,
}

impl MessageDataJson<'_> {
    /// Decodes the data. A JSON string is a text; `null` or no member is no data.
    ///
    /// # Errors
    ///
    /// [`DataJsonError::Both`] if both members are present; [`DataJsonError::NotBase64`] or
    /// [`DataJsonError::NotText`] if one is invalid.
    pub(crate) fn payload(self) -> Result<OwnedData, DataJsonError> {
        match (self.data, self.bytes) {
            (Some(_), Some(_)) => Err(DataJsonError::Both),
            (None, None) => Ok(OwnedData::None),
            (None, Some(text)) => match STANDARD.decode(text) {
                Ok(bytes) => Ok(OwnedData::Bytes(bytes.into())),
                Err(_) => Err(DataJsonError::NotBase64),
            },
            (Some(json), None) => match json.get() {
                "null" => Ok(OwnedData::None),
                // Its escapes are unchecked and may not be valid text.
                text if text.starts_with('"') => match serde_json::from_str::<Box<str>>(text) {
                    Ok(text) => Ok(OwnedData::Text(text)),
                    Err(_) => Err(DataJsonError::NotText),
                },
                json => Ok(OwnedData::Json(Bytes::copy_from_slice(json.as_bytes()))),
            },
        }
    }

    /// Decodes the data to a message with this event.
    ///
    /// # Errors
    ///
    /// Those of [`MessageDataJson::payload`].
    pub(crate) fn message(self, event: impl Into<Box<str>>) -> Result<Message, DataJsonError> {
        Ok(Message {
            data: self.payload()?,
            ..Message::new(event)
        })
    }
}

/// Message data as a member of a JSON object.
#[derive(Clone, Debug)]
pub(crate) enum DataJson {
    /// No member.
    None,
    /// The member `data`.
    Data(Box<RawValue>),
    /// The member `bytes`.
    Bytes(String),
}

impl DataJson {
    /// Encodes message data. Valid UTF-8 becomes `data`, unless `as_bytes`.
    pub(crate) fn of(data: Data<'_>, as_bytes: bool) -> Self {
        match data {
            Data::None => Self::None,
            Data::Json(json) => match str::from_utf8(json).map(ToOwned::to_owned) {
                Ok(json) => RawValue::from_string(json).map_or(Self::None, Self::Data),
                Err(_) => Self::Bytes(STANDARD.encode(json)),
            },
            Data::Text(text) if !as_bytes => Self::text(text),
            Data::Text(text) => Self::Bytes(STANDARD.encode(text)),
            Data::Bytes(bytes) => match str::from_utf8(bytes) {
                Ok(text) if !as_bytes => Self::text(text),
                _ => Self::Bytes(STANDARD.encode(bytes)),
            },
        }
    }

    fn text(text: &str) -> Self {
        let json = serde_json::value::to_raw_value(text);
        Self::Data(json.expect("every text is JSON"))
    }

    /// Returns the value of the member `data`; `None` without it.
    pub(crate) fn data(&self) -> Option<&RawValue> {
        match self {
            Self::Data(json) => Some(json),
            Self::None | Self::Bytes(_) => None,
        }
    }

    /// Returns the value of the member `bytes`; `None` without it.
    pub(crate) fn bytes(&self) -> Option<&str> {
        match self {
            Self::Bytes(text) => Some(text),
            Self::None | Self::Data(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(data: Option<&str>, bytes: Option<&str>) -> Result<OwnedData, DataJsonError> {
        let data: Option<Box<RawValue>> =
            data.map(|json| serde_json::from_str(json).expect("JSON"));
        let data = data.as_deref();
        MessageDataJson { data, bytes }.payload()
    }

    #[test]
    fn a_body_is_json_to_the_letter_a_text_or_bytes() {
        let json = |json: &'static str| Ok(OwnedData::Json(Bytes::from_static(json.as_bytes())));
        assert_eq!(payload(Some("{\"a\": 1e2}"), None), json("{\"a\": 1e2}"));
        assert_eq!(payload(Some(" -0 "), None), json("-0"));
        assert_eq!(
            payload(Some(r#""h\u0069""#), None),
            Ok(OwnedData::Text("hi".into()))
        );
        assert_eq!(payload(Some("null"), None), Ok(OwnedData::None));
        assert_eq!(payload(None, None), Ok(OwnedData::None));
        let bytes = Ok(OwnedData::Bytes(Bytes::from_static(b"\x0a\x04chat")));
        assert_eq!(payload(None, Some("CgRjaGF0")), bytes);
        assert_eq!(
            payload(None, Some("CgRjaGF0=")),
            Err(DataJsonError::NotBase64)
        );
        assert_eq!(payload(Some("1"), Some("")), Err(DataJsonError::Both));
        assert_eq!(
            payload(Some(r#""\ud800""#), None),
            Err(DataJsonError::NotText)
        );
    }

    #[test]
    fn what_is_spelled_is_read_as_what_it_was() {
        let encode = |data, as_bytes| {
            let json = DataJson::of(data, as_bytes);
            let (data, bytes) = (json.data(), json.bytes());
            MessageDataJson { data, bytes }
                .payload()
                .expect("well spelled")
        };
        for data in [
            Data::None,
            Data::Json(b"[1.0, 2]"),
            Data::Text("\"\u{7f}\n"),
            Data::Bytes(b"\xff\x00"),
        ] {
            assert_eq!(encode(data, false), OwnedData::copy(data));
        }
        assert_eq!(
            encode(Data::Bytes(b"hi"), false),
            OwnedData::Text("hi".into())
        );
        let bytes = OwnedData::Bytes(Bytes::from_static(b"hi"));
        assert_eq!(encode(Data::Bytes(b"hi"), true), bytes);
        assert_eq!(encode(Data::Text("hi"), true), bytes);
    }
}
