//! A call's data as a typed value.

use crate::codec::json::typed;
use crate::codec::json::typed::NotTyped;
use garde::Validate;
use serde::de::{DeserializeOwned, IgnoredAny};

/// Why a call's data is not what the handler needs. Its text is what a `wsrv` client is told if the
/// handler fails with it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BindError {
    /// There is no data.
    #[error("unexpected end of JSON input")]
    Missing,
    /// It is not JSON, or not of this type.
    #[error("{0}")]
    Type(String),
    /// It is of this type, and breaks a rule of it.
    #[error("{0}")]
    Value(String),
}

/// Reads data as a `T` the way Go does: see [`Context::bind`](super::Context::bind).
pub(super) fn bind<T: DeserializeOwned>(data: Option<&[u8]>) -> Result<T, BindError> {
    let data = some(data)?;
    typed::read(data).map_err(|not_typed| {
        BindError::Type(match not_typed {
            NotTyped::Mismatch(words) => words,
            NotTyped::Malformed => not_json(data),
        })
    })
}

/// Reads data as a `T` by serde's own rules. `null` is an object without members to a type that
/// does not take it.
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

/// What is wrong with data that are not JSON.
fn not_json(data: &[u8]) -> String {
    match serde_json::from_slice::<IgnoredAny>(data) {
        Err(error) => error.to_string(),
        Ok(IgnoredAny) => "not JSON".to_owned(),
    }
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

    #[derive(Debug, Deserialize, Eq, PartialEq, Validate)]
    struct Register {
        #[serde(rename = "UID")]
        #[garde(range(max = 99))]
        uid: u32,
    }

    /// The same for both but for what Go forgives.
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
