//! Data that a backend attaches to a session: values that each later hook contains, and the message
//! that is pushed when the session has opened.

use crate::vocabulary::content::Message;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::rc::Rc;

/// A backend's values of a session, one JSON object.
#[derive(Clone, Debug)]
pub(crate) struct HookValues(Rc<RawValue>);

/// The message that is pushed to a session when it has opened.
#[derive(Clone, Debug)]
pub(crate) struct FirstMessage(pub(crate) Message);

impl HookValues {
    /// Creates values from JSON that the caller has checked to be an object.
    pub(super) fn new(json: &RawValue) -> Self {
        Self(json.to_owned().into())
    }

    /// Returns the JSON text.
    #[cfg(test)]
    pub(super) fn json(&self) -> &RawValue {
        &self.0
    }
}

impl Default for HookValues {
    /// Returns an empty object.
    fn default() -> Self {
        let none = RawValue::from_string("{}".to_owned()).expect("it is JSON");
        Self(none.into())
    }
}

impl Serialize for HookValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
