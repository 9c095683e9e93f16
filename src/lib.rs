//! x
pub mod cli;
pub mod close;
pub mod config;
pub mod dialect;
pub mod driver;
pub mod embedder;
pub mod gateway;
mod http;
pub mod id;
pub mod limits;
pub mod metrics;
pub mod shard;
pub mod time;
pub mod ws;

pub use driver::start::abort_on_panic;
pub use gateway::{Builder, Error, Gateway};

#[cfg(test)]
mod testing;
