//! Why a gateway does not start, in words for its operator.

use crate::config::ConfigError;
use crate::driver::start_error::StartError;
use crate::handler::SetupError;
use std::fmt;
use std::path::PathBuf;

/// Why a gateway did not start.
#[derive(Debug)]
pub enum Error {
    /// The config is not valid.
    Config(ConfigError),
    /// A descriptor set cannot be used.
    Descriptor {
        /// The path of the route that names it.
        path: String,
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file of keys cannot be used.
    Keys {
        /// The path of the route that names it.
        path: String,
        /// The file, and what is wrong with it.
        problem: String,
    },
    /// A backend cannot be asked.
    Backend {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What the embedder has set up cannot be.
    Setup(SetupError),
    /// The machine does not give what is needed.
    Start(StartError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Descriptor {
                path,
                file,
                problem,
            } => write!(f, "route {path}: {}: {problem}", file.display()),
            Self::Keys { path, problem } => write!(f, "route {path}: {problem}"),
            Self::Backend { name, problem } => write!(f, "backend {name}: {problem}"),
            Self::Setup(error) => error.fmt(f),
            Self::Start(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}
