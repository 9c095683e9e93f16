//! A call's data as a typed value.

use garde::Validate;
use serde::de::DeserializeOwned;
use std::fmt;

/// Why a call's data is not what the handler needs. Its text is what a `wsrv` client is told if the
/// handler fails with it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BindError {
    /// There is no data.
    Missing,
    /// It is not JSON, or not of this type.
    Type(String),
    /// It is of this type, and breaks a rule of it.
    Value(String),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("unexpected end of JSON input"),
            Self::Type(why) | Self::Value(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for BindError {}

/// Reads data as a `T`. `null` is an object without members to a type that is not content with it,
/// as it is in Go.
pub(super) fn bind<T: DeserializeOwned>(data: Option<&[u8]>) -> Result<T, BindError> {
    let data = data
        .filter(|data| !data.is_empty())
        .ok_or(BindError::Missing)?;
    let text = String::from_utf8_lossy(data);
    let read = serde_json::from_str(&text);
    let read = match read {
        Err(_) if data == b"null" => serde_json::from_str("{}").or(read),
        read => read,
    };
    read.map_err(|error| BindError::Type(error.to_string()))
}

/// [`bind`], and then the rules of the type.
pub(super) fn bind_valid<T>(data: Option<&[u8]>) -> Result<T, BindError>
where
    T: DeserializeOwned + Validate<Context = ()>,
{
    let value: T = bind(data)?;
    value
        .validate()
        .map_err(|report| BindError::Value(report.to_string().trim_end().to_owned()))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, Deserialize, Eq, PartialEq, Validate)]
    #[serde(default)]
    struct Register {
        #[serde(rename = "UID")]
        #[garde(range(max = 99))]
        uid: u32,
    }

    #[test]
    fn types_are_checked() {
        assert_eq!(bind(Some(br#"{"UID":5}"#)), Ok(Register { uid: 5 }));
        assert_eq!(bind(Some(b"null")), Ok(Register { uid: 0 }));
        assert_eq!(bind::<Option<u8>>(Some(b"null")), Ok(None));
        assert_eq!(bind::<Register>(None), Err(BindError::Missing));
        let error = bind::<Register>(Some(br#"{"UID":"5"}"#)).expect_err("a string");
        assert!(matches!(error, BindError::Type(_)), "{error}");
        assert_eq!(
            BindError::Missing.to_string(),
            "unexpected end of JSON input"
        );
    }

    #[test]
    fn values_are_checked_where_the_type_asks_for_it() {
        assert!(bind_valid::<Register>(Some(br#"{"UID":99}"#)).is_ok());
        let error = bind_valid::<Register>(Some(br#"{"UID":100}"#)).expect_err("too large");
        assert!(matches!(error, BindError::Value(_)), "{error}");
    }
}
