//! What is wrong with a request, as a backend hears it.

use super::ApiAnswer;
use crate::handler::HandleError;
use serde_json::{Value, json};

/// Why something was not done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ApiError {
    status: u16,
    code: &'static str,
    message: String,
    /// The member or parameter that is at fault.
    field: Option<String>,
}

impl ApiError {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            field: None,
        }
    }

    /// A member of a body or a parameter of a query is not what it must be.
    pub(super) fn bad(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            ..Self::new(400, "bad_request", message)
        }
    }

    /// A body is not what it must be.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(400, "bad_request", message)
    }

    pub(super) fn not_found() -> Self {
        Self::new(404, "not_found", "there is nothing under this path")
    }

    pub(super) fn no_session() -> Self {
        Self::new(404, "no_session", "there is no such session")
    }

    pub(super) fn method(allow: &str) -> Self {
        Self::new(405, "method_not_allowed", format!("allowed is {allow}"))
    }

    pub(super) fn unauthorized() -> Self {
        let message = "a key is needed, as Authorization: Bearer or X-Api-Key, or, where there are \
            none, no Origin of another host";
        Self::new(401, "unauthorized", message)
    }

    pub(super) fn too_large() -> Self {
        Self::new(
            413,
            "too_large",
            "the body is longer than http.body_bytes_max",
        )
    }

    pub(super) fn busy() -> Self {
        Self::new(503, "busy", "there is too much to do, nothing was done")
    }

    pub(super) fn timed_out() -> Self {
        Self::new(
            503,
            "timed_out",
            "not every shard has answered, it may have been done",
        )
    }

    pub(super) fn in_progress() -> Self {
        let message = "the same request is being worked on";
        Self::new(409, "in_progress", message)
    }

    pub(super) fn not_replayable() -> Self {
        let message = "it has been done, and its answer was too large to be kept";
        Self::new(409, "not_replayable", message)
    }

    pub(super) fn key_reused() -> Self {
        let message = "another request had this Idempotency-Key";
        Self::new(422, "key_reused", message)
    }

    /// Where it is in a batch.
    pub(super) fn at_call(mut self, index: usize) -> Self {
        self.field = Some(match self.field {
            Some(field) => format!("calls[{index}].{field}"),
            None => format!("calls[{index}]"),
        });
        self
    }

    /// What stands in a batch for the call that failed.
    pub(super) fn value(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(field) = &self.field {
            error["field"] = field.as_str().into();
        }
        json!({ "error": error })
    }

    pub(super) fn answer(self) -> ApiAnswer {
        ApiAnswer::of(self.status, &self.value())
    }
}

impl From<HandleError> for ApiError {
    fn from(error: HandleError) -> Self {
        match error {
            HandleError::Busy | HandleError::Stopped => Self::busy(),
            HandleError::NoSession => Self::no_session(),
            HandleError::TimedOut => Self::timed_out(),
            HandleError::TooManyChannels => Self::new(409, "too_many_channels", error.to_string()),
            HandleError::BadName | HandleError::BadClose => Self::malformed(error.to_string()),
            HandleError::BadEvent(why) => Self::bad("event", why),
            HandleError::Denied(_) => Self::new(403, "denied", error.to_string()),
        }
    }
}
