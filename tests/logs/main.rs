//! The log of the executable: nobody is hurt where it cannot be written, and it says what it must.

mod hurt;
mod said;
mod stage;

use campanile_tests::executable;
use campanile_tests::process::Executable;

/// The executable under test.
const GATEWAY: Executable = executable!();
