//! Problems: the errors of the API, with their codes and statuses.

use super::response::ApiResponse;
use crate::codec::message_json::DataJsonError;
use crate::handler::HandleError;
use serde::Serialize;
use std::borrow::Cow;

/// An error of the API: something was not done, or the result is unknown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Problem {
    pub(super) code: Code,
    message: Cow<'static, str>,
    /// The member, parameter or header that is invalid; `None` if none is.
    field: Option<String>,
}

/// Declares the codes, each with its name and HTTP status.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $code:ident = $word:literal, $status:literal;)+) => {
        /// The machine-readable code of a problem. Codes never change their meaning.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum Code {
            $($(#[doc = $doc])+ $code,)+
        }

        impl Code {
            /// All codes.
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$code),+];

            /// Returns the code's name.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$code => $word,)+ }
            }

            /// Returns the HTTP status.
            pub(crate) fn status(self) -> u16 {
                match self { $(Self::$code => $status,)+ }
            }
        }
    };
}

codes! {
    /// The request is invalid.
    BadRequest = "bad_request", 400;
    /// The request has no valid API key.
    Unauthorized = "unauthorized", 401;
    /// The config has no keys, and the request is not from this machine.
    Forbidden = "forbidden", 403;
    /// The path does not exist.
    NotFound = "not_found", 404;
    /// The config has no such route.
    NoRoute = "no_route", 404;
    /// The session does not exist, or is of another route.
    NoSession = "no_session", 404;
    /// The path exists, but not with this method.
    MethodNotAllowed = "method_not_allowed", 405;
    /// A request with the same idempotency key is in progress.
    InProgress = "in_progress", 409;
    /// A request with the same idempotency key was processed, but its response was too large to
    /// store.
    AnswerNotKept = "answer_not_kept", 409;
    /// The session is on the maximum number of channels.
    TooManyChannels = "too_many_channels", 409;
    /// The session's names would exceed their limit.
    TooManyNames = "too_many_names", 409;
    /// The body is too large.
    BodyTooLarge = "body_too_large", 413;
    /// The body has an unsupported content coding.
    UnsupportedEncoding = "unsupported_encoding", 415;
    /// The idempotency key was used for another request.
    KeyReused = "key_reused", 422;
    /// The gateway failed. The request may have been processed.
    Internal = "internal", 500;
    /// The gateway is overloaded. Nothing was done.
    Busy = "busy", 503;
    /// The names on the session's shard would exceed their limit. Nothing was done.
    NoRoom = "no_room", 503;
    /// Not every shard responded in time. The request may have been processed.
    TimedOut = "timed_out", 503;
    /// The gateway is stopping. Nothing was done.
    Stopping = "stopping", 503;
}

impl Code {
    /// Returns whether the request may have been processed despite the problem.
    pub(super) fn may_be_processed(self) -> bool {
        matches!(self, Self::Internal | Self::TimedOut)
    }
}

#[derive(Serialize)]
struct ProblemBody<'p> {
    error: ProblemJson<'p>,
}

/// The JSON form of a problem.
#[derive(Serialize)]
pub(super) struct ProblemJson<'p> {
    code: &'static str,
    message: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'p str>,
}

impl Problem {
    pub(crate) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            field: None,
        }
    }

    /// Creates the problem of an invalid member, parameter or header.
    pub(super) fn of_field(
        field: impl Into<String>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(Code::BadRequest, message).at(field)
    }

    /// Sets the member, parameter or header that is invalid.
    pub(super) fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Creates the problem of an incomplete body.
    pub(crate) fn broken_body() -> Self {
        Self::new(Code::BadRequest, "the body is incomplete")
    }

    pub(crate) fn body_too_large() -> Self {
        Self::new(
            Code::BodyTooLarge,
            "the body is too large (http.body_bytes_max)",
        )
    }

    pub(crate) fn unsupported_encoding() -> Self {
        let message = "send the body without Content-Encoding, or with gzip";
        Self::new(Code::UnsupportedEncoding, message).at("Content-Encoding")
    }

    pub(crate) fn not_gzip() -> Self {
        Self::of_field("Content-Encoding", "the body is not gzip")
    }

    pub(crate) fn overloaded() -> Self {
        Self::new(Code::Busy, "there are too many unfinished requests")
    }

    pub(crate) fn internal() -> Self {
        Self::new(Code::Internal, "internal error, it may have been done")
    }

    pub(super) fn json(&self) -> ProblemJson<'_> {
        ProblemJson {
            code: self.code.as_str(),
            message: &self.message,
            field: self.field.as_deref(),
        }
    }

    pub(crate) fn response(&self) -> ApiResponse {
        let body = ProblemBody { error: self.json() };
        ApiResponse {
            may_be_processed: self.code.may_be_processed(),
            ..ApiResponse::new(self.code.status(), &body)
        }
    }
}

impl From<HandleError> for Problem {
    fn from(error: HandleError) -> Self {
        let code = match error {
            HandleError::Busy => Code::Busy,
            HandleError::Stopping | HandleError::Stopped => Code::Stopping,
            HandleError::NoSession => Code::NoSession,
            HandleError::TimedOut => Code::TimedOut,
            HandleError::TooManyChannels => Code::TooManyChannels,
            HandleError::TooManyNames => Code::TooManyNames,
            HandleError::NoRoomForNames => Code::NoRoom,
            HandleError::BadEvent(why) => return Self::of_field("event", why),
            HandleError::BadName
            | HandleError::Empty(_)
            | HandleError::BadClose
            | HandleError::Denied(_) => Code::BadRequest,
        };
        Self::new(code, error.to_string())
    }
}

/// Returns the member that a data error is about.
pub(super) fn field_of(bad: DataJsonError) -> &'static str {
    match bad {
        DataJsonError::Both | DataJsonError::NotBase64 => "bytes",
        DataJsonError::NotText => "data",
    }
}
