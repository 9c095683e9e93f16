//! The backends that hooks ask, and what a route asks of one.

use std::path::PathBuf;

use super::secret::Secret;
use crate::vocabulary::limits::BackendLimits;

/// An HTTP endpoint of somebody's own program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Backend {
    /// What routes call it: 1 to 64 of the characters `A-Za-z0-9_.-`.
    pub name: String,
    /// Where hooks are posted to, such as `http://127.0.0.1:9000/campanile`. `http` or `https`.
    pub url: String,
    /// Sent as `Authorization: Bearer <secret>`, so that the backend knows who asks.
    pub secret: Option<Secret>,
    /// A PEM file of certificates that are trusted beside the system's, for `https`.
    pub ca_file: Option<PathBuf>,
    /// The bounds of what is asked.
    pub limits: BackendLimits,
}

/// What a route asks of a backend.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hooks {
    /// The backend's name.
    pub backend: String,
    /// What it is asked.
    pub on: Vec<HookKind>,
    /// What becomes of a client whose message the backend did not answer.
    pub on_failure: OnFailure,
}

/// What a backend is asked, or told.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum HookKind {
    /// Whether a client may connect, as whom and with what.
    Open,
    /// Which user a token in a message names; for `wserver` only.
    Authenticate,
    /// What is to be done about a message that no command of the config handles.
    Message,
    /// That a session has ended.
    Close,
}

/// What becomes of a client whose message the backend did not answer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnFailure {
    /// The message has failed, as if a handler had: the language says what the client hears.
    #[default]
    Fail,
    /// The session is closed with 1013, so that the client connects again and knows.
    Close,
}

super::words::spelled!(HookKind:
    Open = "open"
    Authenticate = "authenticate"
    Message = "message"
    Close = "close"
);
super::words::spelled!(OnFailure: Fail = "fail" Close = "close");

impl Backend {
    /// A backend with the default bounds that needs no secret.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            secret: None,
            ca_file: None,
            limits: BackendLimits::default(),
        }
    }
}

impl Hooks {
    /// Whether this is asked.
    #[must_use]
    pub fn asks(&self, kind: HookKind) -> bool {
        self.on.contains(&kind)
    }
}
