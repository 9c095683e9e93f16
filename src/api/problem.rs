//! What a caller is told when something was not done: one table of codes, and what they mean.

use super::response::ApiResponse;
use crate::codec::message_json::BadData;
use crate::handler::HandleError;
use serde::Serialize;
use std::borrow::Cow;

/// Why something was not done, or nobody knows whether it was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Problem {
    pub(super) code: Code,
    message: Cow<'static, str>,
    /// The member, parameter or header that is at fault, if one is.
    field: Option<String>,
}

/// Declares the codes, each with how it is spelled and the status of its answers.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $code:ident = $word:literal, $status:literal;)+) => {
        /// What a program is to tell problems apart by. Codes stay as they are.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum Code {
            $($(#[doc = $doc])+ $code,)+
        }

        impl Code {
            /// Every code.
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$code),+];

            /// How it is spelled.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$code => $word,)+ }
            }

            /// The status of an answer that says so.
            pub(crate) fn status(self) -> u16 {
                match self { $(Self::$code => $status,)+ }
            }
        }
    };
}

codes! {
    /// The request does not say what it must.
    BadRequest = "bad_request", 400;
    /// No key was shown, or none that counts.
    Unauthorized = "unauthorized", 401;
    /// There are no keys, and the request is not one of this machine.
    Forbidden = "forbidden", 403;
    /// Nothing is served under this path.
    NotFound = "not_found", 404;
    /// There is no such route.
    NoRoute = "no_route", 404;
    /// There is no such session, or it is of another route.
    NoSession = "no_session", 404;
    /// This path is served, but not with this method.
    MethodNotAllowed = "method_not_allowed", 405;
    /// A request with the same idempotency key is being carried out.
    InProgress = "in_progress", 409;
    /// A request with the same idempotency key was carried out, but its answer is too large to be
    /// given again.
    AnswerNotKept = "answer_not_kept", 409;
    /// The session is on as many channels as it may be.
    TooManyChannels = "too_many_channels", 409;
    /// There is no room for another name of the session.
    TooManyNames = "too_many_names", 409;
    /// The body is too large.
    BodyTooLarge = "body_too_large", 413;
    /// The body is in a content coding that is not read.
    UnsupportedEncoding = "unsupported_encoding", 415;
    /// The idempotency key was used for another request.
    KeyReused = "key_reused", 422;
    /// We have failed; it may have been done.
    Internal = "internal", 500;
    /// There is too much to do already. Nothing was done.
    Busy = "busy", 503;
    /// The session's shard has no room for another name. Nothing was done.
    NoRoom = "no_room", 503;
    /// Not every shard answered in time; it may have been done.
    TimedOut = "timed_out", 503;
    /// The gateway is stopping. Nothing was done.
    Stopping = "stopping", 503;
}

impl Code {
    /// Whether what was asked may have been done all the same.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Internal | Self::TimedOut)
    }
}

#[derive(Serialize)]
struct ProblemBody<'p> {
    error: ProblemJson<'p>,
}

/// A problem as it is spelled.
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

    /// A bad request, because of one member, parameter or header.
    pub(super) fn of_field(
        field: impl Into<String>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(Code::BadRequest, message).at(field)
    }

    /// The same, because of this member, parameter or header.
    pub(super) fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// A body that did not come whole.
    pub(crate) fn broken_body() -> Self {
        Self::new(Code::BadRequest, "the body did not come whole")
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

    pub(crate) fn crowded() -> Self {
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
            is_open: self.code.is_open(),
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

/// The members in which a body is said.
pub(super) fn field_of(bad: BadData) -> &'static str {
    match bad {
        BadData::Both | BadData::NotBase64 => "bytes",
        BadData::NotText => "data",
    }
}
