//! Strict parsing of a call's JSON object.
//!
//! Unknown, duplicate and unused members are errors, and `null` is not the same as a missing
//! member. Each error names its member. Only values that are kept are copied.

use super::problem::Problem;
use crate::vocabulary::public_id::{PublicId, TEXT_LEN};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::cell::RefCell;
use std::fmt;

/// The members of one object that have not been taken yet.
#[derive(Debug)]
pub(super) struct JsonObject<'b> {
    found: Vec<(&'static str, &'b RawValue)>,
    /// The prefix of member names in errors: empty, or a position in the body such as `calls[3].`.
    place: String,
}

impl<'b> JsonObject<'b> {
    /// Parses a body.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if the body is not UTF-8 or not an object with known, unique members.
    pub(super) fn of_body(body: &'b [u8]) -> Result<Self, Problem> {
        let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
        let text =
            str::from_utf8(body).map_err(|_| bad_request("the body is not UTF-8".to_owned()))?;
        Self::read(text, String::new())
    }

    /// Parses one element of a list.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if the element is not an object with known, unique members.
    pub(super) fn of_element(
        element: &'b RawValue,
        list: &str,
        index: usize,
    ) -> Result<Self, Problem> {
        Self::read(element.get(), format!("{list}[{index}]."))
    }

    fn read(text: &'b str, place: String) -> Result<Self, Problem> {
        let fault = RefCell::new(None);
        let mut json = serde_json::Deserializer::from_str(text);
        let read = ObjectSeed(&fault).deserialize(&mut json);
        let read = read.and_then(|found| json.end().map(|()| found));
        match (read, fault.into_inner()) {
            (Ok(found), _) => Ok(Self { found, place }),
            (Err(error), Some(name)) => {
                let message = format!("{} {}", shown(&name), text_of(&error));
                Err(Problem::of_field(place + &shown(&name), message))
            }
            (Err(error), None) if place.is_empty() => {
                Err(bad_request(format!("the body cannot be read: {error}")))
            }
            (Err(error), None) => {
                let element = place.trim_end_matches('.').to_owned();
                let message = format!("{element} cannot be read: {}", text_of(&error));
                Err(Problem::of_field(element, message))
            }
        }
    }

    /// Returns whether one of these members is present.
    pub(super) fn has_any(&self, names: &[&str]) -> bool {
        self.found.iter().any(|(found, _)| names.contains(found))
    }

    /// Takes a member as JSON text; `None` if it is missing.
    pub(super) fn take(&mut self, name: &str) -> Option<&'b RawValue> {
        let at = self.found.iter().position(|(found, _)| *found == name)?;
        Some(self.found.swap_remove(at).1)
    }

    /// Takes a string; `None` if it is missing.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if the member is not a string.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let Some(json) = self.take(name) else {
            return Ok(None);
        };
        match serde_json::from_str(json.get()) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(self.problem(name, "must be a string")),
        }
    }

    /// Takes the name of a channel or an event; `None` if it is missing.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if the member is not a string of 1 to `bytes_max` bytes.
    pub(super) fn name(&mut self, name: &str, bytes_max: usize) -> Result<Option<String>, Problem> {
        self.short(name, bytes_max, "limits.name_bytes_max")
    }

    /// Takes the name of a user, which may be a token; `None` if it is missing.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if the member is not a string of 1 to `bytes_max` bytes.
    pub(super) fn user(&mut self, name: &str, bytes_max: usize) -> Result<Option<String>, Problem> {
        let limits = "the larger of limits.name_bytes_max and limits.token_bytes_max";
        self.short(name, bytes_max, limits)
    }

    fn short(
        &mut self,
        name: &str,
        bytes_max: usize,
        limit: &str,
    ) -> Result<Option<String>, Problem> {
        let text = self.text(name)?;
        match text {
            Some(text) if text.is_empty() || text.len() > bytes_max => {
                let rule = format!("must have 1 to {bytes_max} bytes ({limit})");
                Err(self.problem(name, &rule))
            }
            text => Ok(text),
        }
    }

    /// Takes the id of a session; `None` if it is missing.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if the member is not a UUID.
    pub(super) fn session(&mut self, name: &str) -> Result<Option<PublicId>, Problem> {
        match self.text(name)? {
            None => Ok(None),
            Some(text) => match read_id(&text) {
                Some(id) => Ok(Some(id)),
                None => Err(self.problem(name, "must be the id of a session, a UUID")),
            },
        }
    }

    /// Takes a list of session ids; empty if it is missing. `limit` is the config's name for `max`.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if the member is not an array of at most `max` UUIDs.
    pub(super) fn sessions(
        &mut self,
        name: &str,
        max: u32,
        limit: &str,
    ) -> Result<Vec<PublicId>, Problem> {
        let list = self.list(name, max, limit)?.unwrap_or_default();
        let ids = list.iter().enumerate().map(|(index, element)| {
            let text: Option<String> = serde_json::from_str(element.get()).ok();
            let id = text.as_deref().and_then(read_id);
            let name = format!("{name}[{index}]");
            id.ok_or_else(|| self.problem(&name, "must be the id of a session, a UUID"))
        });
        ids.collect()
    }

    /// Takes a whole number in any notation, such as `1e3`; `None` if it is missing.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if the member is not a whole number from 0 to 65535.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<u16>, Problem> {
        let Some(json) = self.take(name) else {
            return Ok(None);
        };
        let number: Option<f64> = serde_json::from_str(json.get()).ok();
        let nearest = number.and_then(|number| format!("{number:.0}").parse::<u16>().ok());
        match (number, nearest) {
            (Some(number), Some(nearest)) if number.total_cmp(&nearest.into()).is_eq() => {
                Ok(Some(nearest))
            }
            _ => Err(self.problem(name, "must be a whole number from 0 to 65535")),
        }
    }

    /// Takes a list; `None` if it is missing. `limit` is the config's name for `max`.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if the member is not an array of at most `max` elements.
    pub(super) fn list(
        &mut self,
        name: &str,
        max: u32,
        limit: &str,
    ) -> Result<Option<Vec<&'b RawValue>>, Problem> {
        let Some(json) = self.take(name) else {
            return Ok(None);
        };
        let mut reader = serde_json::Deserializer::from_str(json.get());
        let list = ListSeed(max as usize).deserialize(&mut reader);
        list.map(Some).map_err(|_| {
            let rule = format!("must be an array of at most {max} ({limit})");
            self.problem(name, &rule)
        })
    }

    /// Returns the problem of a member; `rule` follows the member's name in the text.
    pub(super) fn problem(&self, name: &str, rule: &str) -> Problem {
        Problem::of_field(self.field(name), format!("{name} {rule}"))
    }

    /// Returns a member's position in the whole body.
    pub(super) fn field(&self, name: &str) -> String {
        format!("{}{name}", self.place)
    }

    /// Checks that all members have been taken.
    ///
    /// # Errors
    ///
    /// A [`Problem`] for the first member that a call of this kind does not have.
    pub(super) fn end(&self, kind: &str) -> Result<(), Problem> {
        match self.found.first() {
            None => Ok(()),
            Some((name, _)) => Err(self.problem(name, &format!("is not allowed in {kind}"))),
        }
    }
}

/// Parses a session id in the usual form of a UUID; `None` for other texts.
pub(super) fn read_id(text: &str) -> Option<PublicId> {
    if text.len() == TEXT_LEN {
        text.parse().ok()
    } else {
        None
    }
}

fn bad_request(message: String) -> Problem {
    Problem::new(super::problem::Code::BadRequest, message)
}

/// Returns the text of a `serde_json` error, without the position.
fn text_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text[..end].to_owned()
}

/// Returns a member's name, truncated for display.
fn shown(name: &str) -> String {
    name.chars().take(NAME_CHARACTERS_SHOWN).collect()
}

/// A parser of an object that stores the name of the invalid member.
struct ObjectSeed<'f>(&'f RefCell<Option<String>>);

impl<'b> DeserializeSeed<'b> for ObjectSeed<'_> {
    type Value = Vec<(&'static str, &'b RawValue)>;

    fn deserialize<D: Deserializer<'b>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'b> Visitor<'b> for ObjectSeed<'_> {
    type Value = Vec<(&'static str, &'b RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found: Self::Value = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let Some(known) = KNOWN.iter().find(|known| **known == name) else {
                *self.0.borrow_mut() = Some(name);
                return Err(A::Error::custom("is unknown"));
            };
            if found.iter().any(|(before, _)| before == known) {
                *self.0.borrow_mut() = Some(name);
                return Err(A::Error::custom("is repeated"));
            }
            found.push((known, map.next_value()?));
        }
        Ok(found)
    }
}

/// A parser of an array with a maximum number of elements.
struct ListSeed(usize);

impl<'b> DeserializeSeed<'b> for ListSeed {
    type Value = Vec<&'b RawValue>;

    fn deserialize<D: Deserializer<'b>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'b> Visitor<'b> for ListSeed {
    type Value = Vec<&'b RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = all.next_element()? {
            if list.len() == self.0 {
                return Err(A::Error::custom("too many"));
            }
            list.push(element);
        }
        Ok(list)
    }
}

/// The members of all kinds of call.
const KNOWN: &[&str] = &[
    "bytes", "call", "calls", "channel", "code", "data", "event", "except", "reason", "route",
    "session", "user",
];
/// Maximum characters shown of an unknown member's name.
const NAME_CHARACTERS_SHOWN: usize = 64;

/// U+FEFF in UTF-8, which some programs put before JSON (RFC 8259 8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(body: &[u8]) -> String {
        let problem = JsonObject::of_body(body).expect_err("it is not well formed");
        let json = serde_json::to_value(problem.json()).expect("JSON");
        format!(
            "{} | {}",
            json["field"],
            json["message"].as_str().expect("a text")
        )
    }

    #[test]
    fn an_object_has_members_that_are_known_each_once() {
        let body = br#" {"session": 1, "data": [1.0, null], "user": "a\u0062"} "#;
        let mut members = JsonObject::of_body(body).expect("well formed");
        assert_eq!(members.take("data").map(RawValue::get), Some("[1.0, null]"));
        assert_eq!(members.take("data").map(RawValue::get), None);
        assert_eq!(members.text("user"), Ok(Some("ab".to_owned())));
        let left = members.end("push").expect_err("the session was not taken");
        assert_eq!(
            left,
            Problem::of_field("session", "session is not allowed in push")
        );

        for (body, expected) in [
            (
                &b"{\"user\": 1, \"usr\": 2}"[..],
                "\"usr\" | usr is unknown",
            ),
            (
                b"{\"user\": 1, \"us\\u0065r\": 2}",
                "\"user\" | user is repeated",
            ),
            (b"\xff", "null | the body is not UTF-8"),
            (
                b"{} {}",
                "null | the body cannot be read: trailing characters at line 1 column 4",
            ),
            (
                b"[]",
                "null | the body cannot be read: invalid type: sequence, expected an object \
                 at line 1 column 0",
            ),
            (
                b"",
                "null | the body cannot be read: EOF while parsing a value at line 1 column 0",
            ),
        ] {
            assert_eq!(problem(body), expected);
        }
    }

    #[test]
    fn a_whole_number_may_be_spelled_as_a_fraction() {
        for (spelled, expected) in [
            ("1000", Some(1000)),
            ("1000.0", Some(1000)),
            ("1e3", Some(1000)),
            ("65535", Some(65_535)),
            ("0", Some(0)),
            ("65536", None),
            ("-1", None),
            ("1000.5", None),
            ("1e999", None),
            ("\"1000\"", None),
            ("null", None),
        ] {
            let body = format!("{{\"code\": {spelled}}}");
            let mut members = JsonObject::of_body(body.as_bytes()).expect("JSON");
            assert_eq!(members.number("code").ok().flatten(), expected, "{spelled}");
        }
    }

    #[test]
    fn a_list_ends_where_there_is_no_room() {
        let body = br#"{"calls": [1, 2]}"#;
        let mut members = JsonObject::of_body(body).expect("well formed");
        let list = members.list("calls", 2, "limit").expect("two have room");
        assert_eq!(list.expect("it is there").len(), 2);
        let mut members = JsonObject::of_body(body).expect("well formed");
        let problem = members.list("calls", 1, "limit").expect_err("too many");
        let expected = "calls must be an array of at most 1 (limit)";
        assert_eq!(problem, Problem::of_field("calls", expected));
    }
}
