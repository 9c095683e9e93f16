//! Deserialization of a call's data into a typed value.

use crate::codec::json::typed;
use crate::codec::json::typed::TypedError;
use garde::Validate;
use serde::de::{DeserializeOwned, IgnoredAny};

/// The reason why a call's data cannot be deserialized. A `wsrv` client receives its text if the
/// handler returns it as an error.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BindError {
    /// The call has no data.
    #[error("unexpected end of JSON input")]
    Missing,
    /// The data is not JSON, or does not match the type.
    #[error("{0}")]
    Type(String),
    /// The data matches the type but breaks one of its validation rules.
    #[error("{0}")]
    Value(String),
}

/// Deserializes data as Go's `encoding/json` does: see [`Context::bind`](super::Context::bind).
///
/// # Errors
///
/// [`BindError::Missing`] and [`BindError::Type`].
pub(super) fn bind<T: DeserializeOwned>(data: Option<&[u8]>) -> Result<T, BindError> {
    let data = some(data)?;
    typed::read(data).map_err(|not_typed| {
        BindError::Type(match not_typed {
            TypedError::Mismatch(words) => words,
            TypedError::Malformed => not_json(data),
        })
    })
}

/// Deserializes data by serde's rules. If the type does not accept `null`, `null` is read as `{}`.
///
/// # Errors
///
/// [`BindError::Missing`] and [`BindError::Type`].
pub(super) fn bind_serde<T: DeserializeOwned>(data: Option<&[u8]>) -> Result<T, BindError> {
    let data = some(data)?;
    let text = String::from_utf8_lossy(data);
    let read = serde_json::from_str(&text);
    let read = match read {
        Err(_) if data == b"null" => serde_json::from_str("{}").or(read),
        read => read,
    };
    read.map_err(|error| BindError::Type(error.to_string()))
}

fn some(data: Option<&[u8]>) -> Result<&[u8], BindError> {
    data.filter(|data| !data.is_empty())
        .ok_or(BindError::Missing)
}

/// Returns a syntax error's text for data that is not JSON.
fn not_json(data: &[u8]) -> String {
    match serde_json::from_slice::<IgnoredAny>(data) {
        Err(error) => error.to_string(),
        Ok(IgnoredAny) => "not JSON".to_owned(),
    }
}

/// Runs [`bind`], then the type's `garde` validation.
///
/// # Errors
///
/// A [`BindError`].
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

    #[derive(Debug, Deserialize, Eq, PartialEq, Validate)]
    struct Register {
        #[serde(rename = "UID")]
        #[garde(range(max = 99))]
        uid: u32,
    }

    /// Both functions agree, except on input that only Go accepts.
    #[test]
    fn types_are_checked() {
        for read in [bind, bind_serde] {
            assert_eq!(read(Some(br#"{"UID":5}"#)), Ok(Register { uid: 5 }));
            assert_eq!(read(None), Err(BindError::Missing));
            assert_eq!(read(Some(b"")), Err(BindError::Missing));
            for wrong in ["{\"UID\":\"5\"}", "{\"UID\":-1}", "[]", "{", "{} {}"] {
                let error = read(Some(wrong.as_bytes())).expect_err(wrong);
                assert!(matches!(error, BindError::Type(_)), "{error}");
            }
        }
        for forgiven in [
            "{\"uid\":0}",
            "{\"UID\":3,\"UID\":0}",
            "{\"UID\":null}",
            "{}",
        ] {
            let data = Some(forgiven.as_bytes());
            assert_eq!(bind(data), Ok(Register { uid: 0 }), "{forgiven}");
            assert!(bind_serde::<Register>(data).is_err(), "{forgiven}");
        }
        let words =
            "json: cannot unmarshal string into Go struct field Register.UID of type uint32";
        let error = bind::<Register>(Some(br#"{"UID":"5"}"#));
        assert_eq!(error, Err(BindError::Type(words.to_owned())));
        assert_eq!(bind::<Option<u8>>(Some(b"null")), Ok(None));
        assert_eq!(bind_serde::<Option<u8>>(Some(b"null")), Ok(None));
        assert_eq!(
            BindError::Missing.to_string(),
            "unexpected end of JSON input"
        );
    }

    #[derive(Debug, Default, Deserialize, Eq, PartialEq)]
    #[serde(default)]
    struct Defaults {
        five: Option<u8>,
        list: Vec<u8>,
    }

    #[test]
    fn defaults_and_options_mean_the_same_in_both() {
        for read in [bind, bind_serde] {
            for data in ["null", "{}", r#"{"five":null}"#] {
                assert_eq!(
                    read(Some(data.as_bytes())),
                    Ok(Defaults::default()),
                    "{data}"
                );
            }
            let some = Defaults {
                five: Some(5),
                list: vec![1],
            };
            assert_eq!(read(Some(br#"{"five":5,"list":[1]}"#)), Ok(some));
        }
    }

    #[test]
    fn values_are_checked_where_the_type_asks_for_it() {
        assert!(bind_valid::<Register>(Some(br#"{"UID":99}"#)).is_ok());
        let error = bind_valid::<Register>(Some(br#"{"uid":100}"#)).expect_err("too large");
        assert!(matches!(error, BindError::Value(_)), "{error}");
    }
}
