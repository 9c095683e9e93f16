//! What a backend keeps with a session: values that it is told again with each later hook, and the
//! message that is pushed when the session has opened.

use crate::vocabulary::content::Message;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::rc::Rc;

/// The values, as one JSON object.
#[derive(Clone, Debug)]
pub(crate) struct HookValues(Rc<RawValue>);

/// What is pushed to a session when it has opened.
#[derive(Clone, Debug)]
pub(crate) struct FirstMessage(pub(crate) Message);

impl HookValues {
    /// The values in a text that has been read as JSON, and is an object.
    pub(super) fn new(json: &RawValue) -> Self {
        Self(json.to_owned().into())
    }

    /// Their JSON.
    #[cfg(test)]
    pub(super) fn json(&self) -> &RawValue {
        &self.0
    }
}

impl Default for HookValues {
    /// None at all.
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
