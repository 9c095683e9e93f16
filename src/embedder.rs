//! What an embedding program decides: functions of its own, called where the config has no rule.
//!
//! They run on the shard's thread, never while the shard is borrowed. A panic in one of them is
//! caught: it is worded as a refusal, and neither the shard nor any other session is hurt.

use crate::handler::RequestHead;
use crate::logging::limited;
use crate::runtime::panic::{Panicked, guarded};
use std::fmt;

/// Finds the user that a token names; `None` if it names nobody.
pub type TokenFunction = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Whether whoever sends this request may push.
pub type PushFunction = dyn Fn(&RequestHead<'_>) -> bool + Send + Sync;

/// Called on a shard's thread when it has been idle for a second and gave up memory before.
pub type IdleFunction = dyn Fn() + Send + Sync;

/// An embedder's functions; each may be missing.
#[derive(Default)]
pub(crate) struct Embedder {
    pub(crate) token: Option<Box<TokenFunction>>,
    pub(crate) push: Option<Box<PushFunction>>,
    pub(crate) idle: Option<Box<IdleFunction>>,
    pub(crate) fault: Option<Fault>,
}

impl Embedder {
    /// The user that a token names. A function that panics has named nobody.
    pub(crate) fn user_of(&self, token: &str) -> Option<String> {
        let function = self.token.as_ref()?;
        guarded(|| function(token)).ok().flatten()
    }

    /// Whether a request may push, if the embedder has an opinion; `Err` if its function panicked.
    pub(crate) fn authorize_push(
        &self,
        request: RequestHead<'_>,
    ) -> Option<Result<bool, Panicked>> {
        let function = self.push.as_ref()?;
        Some(guarded(|| function(&request)))
    }

    /// The shard has been idle for a second after it gave up memory.
    pub(crate) fn on_idle(&self) {
        if let Some(function) = &self.idle
            && guarded(function).is_err()
        {
            limited!(ERROR, "the idle function panicked");
        }
    }

    /// Whether a test asked for a panic in this place.
    pub(crate) fn wants(&self, place: Fault) -> bool {
        self.fault == Some(place)
    }

    /// Panics if a test asked for a panic in this place.
    pub(crate) fn provoke(&self, place: Fault) {
        assert!(!self.wants(place), "provoked in {place:?}");
    }
}

impl fmt::Debug for Embedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedder")
            .field("token", &self.token.is_some())
            .field("push", &self.push.is_some())
            .finish_non_exhaustive()
    }
}

/// A place where a panic could hide: the tests provoke one in each and see the process end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[doc(hidden)]
pub enum Fault {
    /// In the shard's loop.
    Loop,
    /// In an HTTP handler of our own, polled by the loop.
    Http,
    /// In a task spawned on the shard's runtime.
    Task,
    /// No panic: cancellations are lost on their way to the kernel.
    Cancel,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::panic::is_running;

    #[test]
    fn a_panic_in_a_function_names_nobody_and_leaves_no_trace() {
        let token: Box<TokenFunction> = Box::new(|token| match token {
            "bad" => panic!("on purpose"),
            token => Some(token.to_uppercase()),
        });
        let embedder = Embedder {
            token: Some(token),
            ..Embedder::default()
        };
        assert_eq!(embedder.user_of("bad"), None);
        assert!(!is_running());
        assert_eq!(embedder.user_of("jack").as_deref(), Some("JACK"));
    }
}
