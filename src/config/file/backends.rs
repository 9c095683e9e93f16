//! From a `[[backends]]` table to a [`Backend`].

use super::super::error::ConfigError;
use super::super::{Backend, BackendLimits};
use super::reader::{Entry, Reader};

/// What may stand in a backend beside its numbers.
pub(super) const BACKEND_KEYS: &[&str] = &["name", "url", "secret", "ca_file"];

impl Reader {
    pub(super) fn backends(&mut self, whole: &Entry<'_>) -> Result<Vec<Backend>, ConfigError> {
        let mut backends = Vec::new();
        for (whole, table) in self.tables(whole, "must be [[backends]] tables")? {
            let mut backend = Backend::new("", "");
            let entries = self.entries(&whole.path, table);
            for entry in &entries {
                match entry.key {
                    "name" => self.string(entry)?.clone_into(&mut backend.name),
                    "url" => self.string(entry)?.clone_into(&mut backend.url),
                    "secret" => backend.secret = Some(self.secret(entry)?),
                    "ca_file" => backend.ca_file = Some(self.string(entry)?.into()),
                    _ => {
                        let settings = BackendLimits::SETTINGS;
                        self.setting(entry, BACKEND_KEYS, settings, |key, number| {
                            backend.limits.set(key, number);
                        })?;
                    }
                }
            }
            let hints = [
                ("name", "such as \"app\""),
                ("url", "such as \"http://127.0.0.1:9000/campanile\""),
            ];
            for (key, hint) in hints {
                if !entries.iter().any(|entry| entry.key == key) {
                    return Err(self.missing(&whole, "a backend needs", key, hint));
                }
            }
            backends.push(backend);
        }
        Ok(backends)
    }
}
