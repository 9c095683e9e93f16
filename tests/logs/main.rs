//! The log of the executable: nobody is hurt where it cannot be written, and it says what it must.

mod broken_output;
mod contents;
mod fixture;

use campanile_tests::executable;
use campanile_tests::process::Executable;

/// The executable under test.
const GATEWAY: Executable = executable!();
