//! Tests of HTTP conformance and access control with the executable and raw requests.
//!
//! Every request occurs in practice, from some client, proxy or page. No test measures time.

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
