//! What this process asks of the kernel for itself: room for sockets, and an end with its parent.

use rustix::process::{Resource, Signal, getrlimit, set_parent_process_death_signal, setrlimit};

use crate::failure::{Attempt as _, Failure, Outcome};
use crate::stats::count;

/// Raises the soft limit of open files to the hard one, and checks that `sockets` fit.
///
/// # Errors
///
/// They do not fit, or the limit cannot be raised.
pub(crate) fn make_room_for(sockets: usize) -> Outcome<()> {
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

const FILES_OF_ITS_OWN: u64 = 64;

/// Makes this process end when the one that started it does, however that comes about.
///
/// # Errors
///
/// The kernel refuses.
pub(crate) fn end_with_parent() -> Outcome<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).attempt("tie this process to its parent")
}
