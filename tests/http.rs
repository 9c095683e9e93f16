//! HTTP to the letter, and whom it is trusted from: the real executable, asked byte by byte.
//!
//! Every request here is one that some client, proxy or page really sends. Nothing is timed.

#[path = "support/client.rs"]
mod client;
#[path = "http/cross_origin.rs"]
mod cross_origin;
#[path = "http/message.rs"]
mod message;
#[path = "support/process.rs"]
mod process;
#[path = "http/proxy.rs"]
mod proxy;
#[path = "http/raw.rs"]
mod raw;
#[path = "http/trust.rs"]
mod trust;
#[path = "http/upgrade.rs"]
mod upgrade;
