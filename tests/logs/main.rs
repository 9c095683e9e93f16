//! Tests of the executable's log: its contents, and output that cannot be written.

mod broken_output;
mod contents;
mod fixture;

use campanile_tests::executable;
use campanile_tests::process::Executable;

/// The executable under test.
const GATEWAY: Executable = executable!();
