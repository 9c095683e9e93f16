//! Why a gateway does not start, in words for its operator.

use crate::builtin;
use crate::config::{Config, ConfigErrors};
use crate::driver::start_error::StartError;
use crate::driver::threads::NotStarted;
use crate::handler::SetupError;
use crate::hooks;
use std::path::PathBuf;

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The config is not valid.
    #[error(transparent)]
    Config(ConfigErrors),
    /// A descriptor set cannot be used.
    #[error("route {path}: {}: {problem}", file.display())]
    Descriptor {
        /// The path of the route that names it.
        path: String,
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file of keys cannot be used.
    #[error("route {path}: {problem}")]
    Keys {
        /// The path of the route that names it.
        path: String,
        /// The file, and what is wrong with it.
        problem: String,
    },
    /// A backend cannot be asked.
    #[error("backend {name}: {problem}")]
    Backend {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What the embedder has set up cannot be.
    #[error(transparent)]
    Setup(SetupError),
    /// The machine does not give what is needed.
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
                Some((format!("backends[{index}]"), problem.clone()))
            }
            Self::Config(_) | Self::Setup(_) | Self::Start(_) => None,
        }
    }
}

impl From<NotStarted> for Error {
    fn from(error: NotStarted) -> Self {
        match error {
            NotStarted::Start(error) => Self::Start(error),
            NotStarted::Setup(error) => Self::Setup(error),
        }
    }
}

impl From<builtin::OpenError> for Error {
    fn from(error: builtin::OpenError) -> Self {
        match error {
            builtin::OpenError::Keys { path, problem } => Self::Keys { path, problem },
            builtin::OpenError::Backends(hooks::OpenError::Backend { name, problem }) => {
                Self::Backend { name, problem }
            }
            builtin::OpenError::Backends(hooks::OpenError::Random(error)) => {
                Self::Start(StartError::Thread(error))
            }
        }
    }
}
