//! Which core runs what: the server on the first, the client on the second.
//!
//! A server that shares its core with the client that measures it measures the scheduler. Pinning
//! is by affinity mask; a child inherits the mask of the thread that starts it, so a server is
//! started while the starter stands on the server's core. With one core nothing can be pinned, and
//! the reports say so.

use std::process::{Child, Command};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::failure::{Attempt as _, Outcome};

/// The cores of this process, split between server and client.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    /// In the order of their numbers; never empty.
    allowed: Vec<usize>,
}

impl Cores {
    /// The cores that this process may run on.
    ///
    /// # Errors
    ///
    /// The kernel does not say.
    pub(crate) fn find() -> Outcome<Self> {
        let mask = sched_getaffinity(None).attempt("ask which cores may be used")?;
        let allowed = (0..CpuSet::MAX_CPU)
            .filter(|core| mask.is_set(*core))
            .collect();
        Ok(Self { allowed })
    }

    /// What to print about the placing.
    pub(crate) fn describe(&self) -> String {
        match self.allowed[..] {
            [server, client, ..] => format!("server on core {server}, client on core {client}"),
            _ => "ONE CORE ONLY: server and client share it, the figures mean little".to_owned(),
        }
    }

    /// Puts the calling thread, and what it starts from now on, on the client's core.
    ///
    /// # Errors
    ///
    /// The kernel refuses the mask.
    pub(crate) fn stand_on_client(&self) -> Outcome<()> {
        match self.allowed[..] {
            [_, client, ..] => stand_on(&[client]),
            _ => Ok(()),
        }
    }

    /// Lets `threads` client threads stand on the cores that are not the server's.
    ///
    /// # Errors
    ///
    /// The kernel refuses the mask.
    pub(crate) fn spread_clients(&self, threads: usize) -> Outcome<()> {
        match &self.allowed[..] {
            [_, clients @ ..] if threads > 1 && clients.len() > 1 => stand_on(clients),
            _ => self.stand_on_client(),
        }
    }

    /// Starts `command` on the server's core and returns to the client's.
    ///
    /// # Errors
    ///
    /// The kernel refuses a mask, or the program cannot be started.
    pub(crate) fn start_on_server(&self, command: &mut Command, what: &str) -> Outcome<Child> {
        if let [server, _, ..] = self.allowed[..] {
            stand_on(&[server])?;
        }
        let child = command.spawn();
        self.stand_on_client()?;
        child.attempt(what)
    }
}

fn stand_on(cores: &[usize]) -> Outcome<()> {
    let mut mask = CpuSet::new();
    for core in cores {
        mask.set(*core);
    }
    sched_setaffinity(None, &mask).attempt("choose a core")
}
