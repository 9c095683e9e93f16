//! Errors of starting a gateway, with messages for its operator.

use crate::builtin;
use crate::config::{Config, ConfigErrors};
use crate::driver::start_error::StartError;
use crate::driver::threads::ShardStartError;
use crate::handler::SetupError;
use crate::hooks;
use std::path::PathBuf;

/// The reason that a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The config is invalid.
    #[error(transparent)]
    Config(ConfigErrors),
    /// A Protocol Buffers descriptor set cannot be used.
    #[error("route {path}: {}: {problem}", file.display())]
    Descriptor {
        /// Path of the route that names the file.
        path: String,
        /// The file.
        file: PathBuf,
        /// The problem.
        problem: String,
    },
    /// A key file cannot be used.
    #[error("route {path}: {problem}")]
    Keys {
        /// Path of the route that names the file.
        path: String,
        /// The file and the problem.
        problem: String,
    },
    /// A backend's settings cannot be used.
    #[error("backend {name}: {problem}")]
    Backend {
        /// Name of the backend.
        name: String,
        /// The problem.
        problem: String,
    },
    /// An embedder's setup failed.
    #[error(transparent)]
    Setup(SetupError),
    /// A resource of the machine is missing.
    #[error(transparent)]
    Start(StartError),
}

impl Error {
    /// Returns the key of the config that names an unusable file or backend, with the problem;
    /// `None` for every other error.
    #[must_use]
    pub fn config_key(&self, config: &Config) -> Option<(String, String)> {
        let route_key = |path: &str, key: &str| {
            let index = config.routes.iter().position(|it| it.path == path)?;
            Some(format!("routes[{index}].{key}"))
        };
        match self {
            Self::Descriptor {
                path,
                file,
                problem,
            } => {
                let problem = format!("{}: {problem}", file.display());
                Some((route_key(path, "descriptor_set")?, problem))
            }
            Self::Keys { path, problem } => Some((route_key(path, "jwt")?, problem.clone())),
            Self::Backend { name, problem } => {
                let index = config.backends.iter().position(|it| it.name == *name)?;
                let key = match config.backends[index].ca_file {
                    Some(_) => ".ca_file",
                    None => "",
                };
                Some((format!("backends[{index}]{key}"), problem.clone()))
            }
            Self::Config(_) | Self::Setup(_) | Self::Start(_) => None,
        }
    }
}

impl From<ShardStartError> for Error {
    fn from(error: ShardStartError) -> Self {
        match error {
            ShardStartError::Start(error) => Self::Start(error),
            ShardStartError::Setup(error) => Self::Setup(error),
        }
    }
}

impl From<builtin::BuiltinError> for Error {
    fn from(error: builtin::BuiltinError) -> Self {
        match error {
            builtin::BuiltinError::Keys { path, problem } => Self::Keys { path, problem },
            builtin::BuiltinError::Backends(hooks::BackendsError::Backend { name, problem }) => {
                Self::Backend { name, problem }
            }
            builtin::BuiltinError::Backends(hooks::BackendsError::Random(error)) => {
                Self::Start(StartError::Thread(error))
            }
        }
    }
}
