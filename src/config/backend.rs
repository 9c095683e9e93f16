//! Backends, which hooks send requests to, and the hooks of a route.

use std::path::PathBuf;

use super::key::{Keys as _, Spec, Table, keys};
use super::keywords::spelled;
use super::secret::Secret;
use super::texts;
use crate::vocabulary::limits::BackendLimits;

keys! {
    /// A program of the operator's own that receives hooks by HTTP: `[[backends]]`.
    pub struct Backend {
        /// The name by which routes refer to the backend: 1 to 64 letters, digits and `_.-`.
        pub name: String = String::new(),
            Spec::NONE.required().example("\"app\"").check(texts::name);

        /// The URL that hooks are posted to, with `http` or `https`.
        pub url: String = String::new(),
            Spec::NONE
                .required()
                .example("\"http://127.0.0.1:9000/campanile\"")
                .check(texts::url);

        /// The secret that the gateway sends as `Authorization: Bearer SECRET`. Without this key it
        /// sends none.
        pub secret: Option<Secret> = None, Spec::NONE.example("\"...\"").check(texts::bearer);

        /// A PEM file of certificates that are trusted beside the system's, for `https`.
        pub ca_file: Option<PathBuf> = None, Spec::NONE.example("\"ca.pem\"");

        ..
        /// The limits of its requests and responses.
        pub limits: BackendLimits;
    }
}

keys! {
    /// The hooks of a route: what its backend is asked and told.
    pub struct Hooks {
        /// The name of one of the `[[backends]]`.
        pub backend: String = String::new(), Spec::NONE.required().example("\"app\"");

        /// The events that the backend decides or is told of. The list may be empty if a rule or a
        /// command has the word `hook`.
        ///
        /// - `open`: decides whether a client may connect, as which user and with which values.
        /// - `message`: decides what to do about a message that no command handles; only for
        ///   dialects with commands.
        /// - `close`: is told that a session has ended.
        /// - `authenticate`: names the user of a token in a message; only for dialects whose
        ///   messages have a token, and not beside `tokens` or `jwt`.
        pub on: Vec<HookKind> = Vec::new(), Spec::NONE.example("[\"open\", \"close\"]");

        /// What to do with a message for which the backend gave no valid response: `fail` fails it
        /// in the way of the dialect, `close` closes the session with 1013.
        pub on_failure: OnFailure = OnFailure::Fail, Spec::NONE;
    }
}

impl Table for Backend {}
impl Table for Hooks {}

/// An event that a backend decides or is told of.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum HookKind {
    /// Decides whether a client may connect, as which user and with which values.
    Open,
    /// Names the user of a token in a message.
    Authenticate,
    /// Decides what to do about a message that no command of the config handles.
    Message,
    /// Is told that a session has ended.
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
    /// Whether the backend decides or is told of this event.
    #[must_use]
    pub fn asks(&self, kind: HookKind) -> bool {
        self.on.contains(&kind)
    }
}
