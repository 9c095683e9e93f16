//! Process settings: the limit of open files, and the signal at the parent's exit.

use rustix::process::{Resource, Signal, getrlimit, set_parent_process_death_signal, setrlimit};

use crate::failure::{Attempt as _, Failure, Outcome};
use crate::stats::count;

/// Raises the soft limit of open files to the hard limit and checks that `sockets` fit.
///
/// # Errors
///
/// `sockets` and 64 files for other uses exceed the hard limit, or the limit cannot be raised.
pub(crate) fn raise_file_limit(sockets: usize) -> Outcome<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let hard = limit.maximum.unwrap_or(u64::MAX);
    setrlimit(Resource::Nofile, limit).attempt("raise the limit of open files")?;
    if count(sockets) + FILES_OF_ITS_OWN > hard {
        return Err(Failure::new(format!(
            "{sockets} sockets do not fit into {hard} open files; raise `ulimit -Hn`"
        )));
    }
    Ok(())
}

/// Files that are not sockets of sessions: epoll, timers, pipes, standard streams.
const FILES_OF_ITS_OWN: u64 = 64;

/// Has the kernel kill this process when its parent exits for any reason.
///
/// # Errors
///
/// `prctl` failed.
pub(crate) fn kill_with_parent() -> Outcome<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).attempt("tie this process to its parent")
}
