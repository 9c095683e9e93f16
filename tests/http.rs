//! HTTP to the letter, and whom it is trusted from: the real executable, asked byte by byte.
//!
//! Every request here is one that some client, proxy or page really sends. Nothing is timed.

#[path = "http/cross_origin.rs"]
mod cross_origin;
#[path = "http/message.rs"]
mod message;
#[path = "http/proxy.rs"]
mod proxy;
#[path = "http/trust.rs"]
mod trust;
#[path = "http/upgrade.rs"]
mod upgrade;

use campanile_tests::executable;
use campanile_tests::process::Executable;

/// The executable under test.
const GATEWAY: Executable = executable!();

const PUSH: &str = r#"{"userId":"jack","event":"e","message":"m"}"#;
