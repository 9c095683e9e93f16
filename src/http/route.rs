//! One path that is served over HTTP, and which requests are for it.

use crate::driver::host::{Served, ServedPath};
use crate::handler::Program;

/// One path and what is served there.
#[derive(Debug)]
pub(crate) struct HttpRoute {
    path: String,
    /// The path as a pattern, if it is one.
    pattern: Option<matchit::Router<()>>,
    /// An embedder's matcher stands in place of the path.
    pub(super) is_matched: bool,
    pub(super) what: Served,
}

/// What stands in a path for the parameters of a pattern.
pub(super) type Parameters = Vec<(Box<str>, Box<str>)>;

impl HttpRoute {
    pub(crate) fn new(served: &ServedPath, program: &Program) -> Self {
        let ServedPath { path, what } = served.clone();
        let mut pattern = None;
        if path.contains('{') {
            let mut router = matchit::Router::new();
            router
                .insert(path.clone(), ())
                .expect("the config has checked its patterns");
            pattern = Some(router);
        }
        let is_matched = match what {
            Served::WebSocket(index) => program.routes[usize::from(index)].matcher.is_some(),
            Served::Push(..)
            | Served::Drop(..)
            | Served::Page(_)
            | Served::Api
            | Served::Health => false,
        };
        Self {
            path,
            pattern,
            is_matched,
            what,
        }
    }

    /// Whether this very path is served.
    pub(super) fn is_at(&self, path: &str) -> bool {
        self.pattern.is_none() && !self.is_matched && self.path == path
    }

    /// What stands in `path` for the pattern's parameters; `None` if it does not fit.
    pub(super) fn parameters(&self, path: &str) -> Option<Parameters> {
        let pattern = self.pattern.as_ref().filter(|_| !self.is_matched)?;
        let found = pattern.at(path).ok()?;
        let all = found.params.iter();
        Some(
            all.map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}
