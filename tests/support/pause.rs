//! Stops a process as a debugger or a frozen machine does, and lets it go on.

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::process::Child;

/// Stops a child, and waits until none of its threads runs.
pub(crate) fn pause(child: &Child) {
    let pid = Pid::from_child(child);
    kill_process(pid, Signal::STOP).expect("it is our child");
    let stopped = waitpid(Some(pid), WaitOptions::UNTRACED).expect("it is our child");
    assert!(stopped.is_some_and(|(_, status)| status.stopped()));
}

/// Lets a child go on that was stopped.
pub(crate) fn resume(child: &Child) {
    kill_process(Pid::from_child(child), Signal::CONT).expect("it is our child");
}
