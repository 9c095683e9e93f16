//! HTTP to the letter, and whom it is trusted from: the real executable, asked byte by byte.
//!
//! Every request here is one that some client, proxy or page really sends. Nothing is timed.

mod cross_origin;
mod keyless;
mod message;
mod proxy;
mod upgrade;

use campanile_tests::executable;
use campanile_tests::process::Executable;

/// The executable under test.
const GATEWAY: Executable = executable!();

const PUSH: &str = r#"{"userId":"jack","event":"e","message":"m"}"#;
