//! From a route's `hooks` to [`Hooks`].

use std::str::FromStr as _;

use super::super::error::ConfigError;
use super::super::{HookKind, Hooks, OnFailure};
use super::reader::{Entry, Reader};

/// What may stand in a route's `hooks`.
pub(super) const HOOKS_KEYS: &[&str] = &["backend", "on", "on_failure"];

impl Reader {
    pub(super) fn hooks(&mut self, whole: &Entry<'_>) -> Result<Hooks, ConfigError> {
        let wrong = "must be a table such as { backend = \"app\", on = [\"open\"] }";
        let mut backend = None;
        let mut on = Vec::new();
        let mut on_failure = OnFailure::default();
        for entry in self.table(whole, wrong)? {
            match entry.key {
                "backend" => backend = Some(self.string(&entry)?.to_owned()),
                "on" => {
                    let wrong = "must be a list such as [\"open\", \"close\"]";
                    for entry in self.array(&entry, wrong)? {
                        on.push(self.parsed(&entry, HookKind::from_str)?);
                    }
                }
                "on_failure" => on_failure = self.parsed(&entry, OnFailure::from_str)?,
                _ => return Err(self.unknown(&entry, HOOKS_KEYS)),
            }
        }
        let hint = "the name of one of the [[backends]]";
        let missing = || self.missing(whole, "hooks need", "backend", hint);
        Ok(Hooks {
            backend: backend.ok_or_else(missing)?,
            on,
            on_failure,
        })
    }
}
