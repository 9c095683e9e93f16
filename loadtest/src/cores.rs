//! CPU pinning: the server runs on the first core, the client on the second.
//!
//! If server and client shared a core, the scheduler would be measured. A child process inherits
//! the affinity mask of the thread that starts it, so this thread is pinned to the server's core
//! while it starts the server. With one core nothing is pinned, and the reports warn about it.

use std::process::{Child, Command};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::failure::{Attempt as _, Outcome};

/// The cores that this process may use, split between server and client.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    /// Core numbers, ascending; never empty.
    allowed: Vec<usize>,
}

impl Cores {
    /// Reads the affinity mask of this thread.
    ///
    /// # Errors
    ///
    /// `sched_getaffinity` failed.
    pub(crate) fn find() -> Outcome<Self> {
        let mask = sched_getaffinity(None).attempt("read the CPU affinity mask")?;
        let allowed = (0..CpuSet::MAX_CPU)
            .filter(|core| mask.is_set(*core))
            .collect();
        Ok(Self { allowed })
    }

    /// Returns the line about pinning for the reports.
    pub(crate) fn describe(&self) -> String {
        match self.allowed[..] {
            [server, client, ..] => format!("server on core {server}, client on core {client}"),
            _ => "ONE CORE ONLY: server and client share it, do not trust the figures".to_owned(),
        }
    }

    /// Pins the calling thread, and what it starts later, to the client's core.
    ///
    /// # Errors
    ///
    /// `sched_setaffinity` failed.
    pub(crate) fn pin_to_client(&self) -> Outcome<()> {
        match self.allowed[..] {
            [_, client, ..] => pin_to(&[client]),
            _ => Ok(()),
        }
    }

    /// Allows `threads` client threads on all cores but the server's.
    ///
    /// # Errors
    ///
    /// `sched_setaffinity` failed.
    pub(crate) fn pin_clients(&self, threads: usize) -> Outcome<()> {
        match &self.allowed[..] {
            [_, clients @ ..] if threads > 1 && clients.len() > 1 => pin_to(clients),
            _ => self.pin_to_client(),
        }
    }

    /// Starts `command` on the server's core, then pins this thread to the client's core again.
    ///
    /// # Errors
    ///
    /// `sched_setaffinity` failed, or the program cannot be started.
    pub(crate) fn start_on_server(&self, command: &mut Command, what: &str) -> Outcome<Child> {
        if let [server, _, ..] = self.allowed[..] {
            pin_to(&[server])?;
        }
        let child = command.spawn();
        self.pin_to_client()?;
        child.attempt(what)
    }
}

fn pin_to(cores: &[usize]) -> Outcome<()> {
    let mut mask = CpuSet::new();
    for core in cores {
        mask.set(*core);
    }
    sched_setaffinity(None, &mask).attempt("pin to a core")
}
