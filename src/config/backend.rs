//! Backends, which hooks send requests to, and the hooks of a route.

use std::path::PathBuf;

use super::key::{Keys as _, Table, keys};
use super::keywords::spelled;
use super::secret::Secret;
use super::texts;
use crate::vocabulary::limits::BackendLimits;

keys! {
    /// A program of the operator's own that receives hooks by HTTP: `[[backends]]`.
    pub struct Backend {
        /// The name by which routes refer to the backend: 1 to 64 letters, digits and `_.-`.
        pub name: String = String::new(), required, example("\"app\""), check(texts::name);

        /// The URL that hooks are posted to, with `http` or `https`.
        pub url: String = String::new(),
            required, example("\"http://127.0.0.1:9000/campanile\""), check(texts::url);

        /// The secret that the gateway sends as `Authorization: Bearer SECRET`. Without this key it
        /// sends none.
        pub secret: Option<Secret> = None, example("\"...\""), check(texts::bearer);

        /// A PEM file of certificates that are trusted in addition to the system's, for `https`.
        pub ca_file: Option<PathBuf> = None, example("\"ca.pem\"");

        ..
        /// The limits of its requests and responses.
        pub limits: BackendLimits;
    }
}

keys! {
    /// The hooks of a route: its backend, and the events that are sent to it.
    pub struct Hooks {
        /// The name of one of the `[[backends]]`.
        pub backend: String = String::new(), required, example("\"app\"");

        /// The events that are sent to the backend. The list may be empty if a rule or a command
        /// has the word `hook`.
        ///
        /// - `open`: decides whether a client may connect, as which user and with which values.
        /// - `message`: decides what to do about a message that no command handles; only for
        ///   dialects with commands.
        /// - `close`: reports that a session has ended.
        /// - `authenticate`: names the user of a token in a message; only for dialects whose
        ///   messages have a token, and not together with `tokens` or `jwt`.
        pub on: Vec<HookKind> = Vec::new(), example("[\"open\", \"close\"]");

        /// What to do with a message for which the backend gave no valid response: `fail` treats it
        /// like a failed command, `close` closes the session with 1013.
        pub on_failure: OnFailure = OnFailure::Fail;
    }
}

impl Table for Backend {}
impl Table for Hooks {}

/// An event that is sent to a backend.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum HookKind {
    /// Decides whether a client may connect, as which user and with which values.
    Open,
    /// Names the user of a token in a message.
    Authenticate,
    /// Decides what to do about a message that no command of the config handles.
    Message,
    /// Reports that a session has ended.
    Close,
}

/// What to do with a message for which the backend gave no valid response.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnFailure {
    /// The message fails, as if a handler had failed.
    #[default]
    Fail,
    /// The session is closed with 1013, so that the client connects again.
    Close,
}

spelled!(pub HookKind:
    Open = "open"
    Authenticate = "authenticate"
    Message = "message"
    Close = "close"
);
spelled!(pub OnFailure: Fail = "fail" Close = "close");

impl Backend {
    /// Creates a backend with the default limits and without a secret.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            ..Self::blank()
        }
    }
}

impl Hooks {
    /// Whether this event is sent to the backend.
    #[must_use]
    pub fn asks(&self, kind: HookKind) -> bool {
        self.on.contains(&kind)
    }
}
