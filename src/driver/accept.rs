//! A shard's listeners: accepting connections, and backing off when that fails.

use super::clock::Clock;
use super::kernel::{Completion, Kernel};
use super::run::Loop;
use super::stage::StageFactory;
use super::turn::TurnSteps as _;
use crate::host::Moment;
use crate::http::OVERLOADED;
use std::io;
use std::os::fd::RawFd;

/// A shard's listening socket for one address.
#[derive(Clone)]
pub(super) struct Listener {
    is_open: bool,
    /// An accept on the socket is armed.
    is_accepting: bool,
    /// The function that creates the stages of its connections; `None` if they have none.
    stage: Option<StageFactory>,
}

impl Listener {
    /// Returns an open listener without an accept.
    pub(super) fn open(stage: Option<StageFactory>) -> Self {
        Self {
            is_open: true,
            is_accepting: false,
            stage,
        }
    }
}

impl<K: Kernel, C: Clock> Loop<K, C> {
    /// Arms an accept on every open listener that has none.
    ///
    /// # Errors
    ///
    /// Fails if the kernel cannot be entered.
    pub(super) fn start_accepting(&mut self) -> io::Result<()> {
        (0..self.listeners.len()).try_for_each(|index| self.start_accepting_from(index))
    }

    fn start_accepting_from(&mut self, index: usize) -> io::Result<()> {
        let listener = &mut self.listeners[index];
        if listener.is_open && !listener.is_accepting {
            self.kernel.accept(index)?;
            listener.is_accepting = true;
        }
        Ok(())
    }

    pub(super) fn on_accept(&mut self, now: &Moment, completion: Completion) -> io::Result<()> {
        let index = usize::from(completion.listener);
        if !completion.more {
            self.listeners[index].is_accepting = false;
        }
        match u32::try_from(completion.result) {
            Ok(_) => {
                self.on_accept_success();
                self.insert_accepted(now, index, completion.result)?;
            }
            Err(_) if self.state.stopping.closes_listeners() => {}
            Err(_) => self.on_accept_failure(index, -completion.result),
        }
        if self.listeners[index].is_accepting {
            return Ok(());
        }
        if self.state.stopping.closes_listeners() {
            self.close_listener(index)?;
        } else if self.state.accept_backoff.again_at().is_none() {
            self.start_accepting_from(index)?;
        }
        Ok(())
    }

    fn on_accept_success(&mut self) {
        self.kernel.keep_spare();
        if let Some(rejected) = self.state.accept_backoff.succeeded(self.state.now) {
            tracing::warn!(
                shard = self.id.index(),
                rejected,
                "connections can be accepted again"
            );
        }
    }

    /// Handles a failed accept: logs the first, and rejects waiting clients if descriptors ran out.
    fn on_accept_failure(&mut self, index: usize, errno: i32) {
        let Some(failure) = self.state.accept_backoff.failed(errno, self.state.now) else {
            return;
        };
        if failure.is_first {
            tracing::warn!(
                shard = self.id.index(),
                error = %io::Error::from_raw_os_error(errno),
                "cannot accept connections; if descriptors ran out, new ones are rejected with \
                 503: raise the limit of open files (`ulimit -Hn`, LimitNOFILE= in systemd)"
            );
        }
        if failure.rejects && !self.listeners[index].is_accepting {
            // A client whose connection has a stage would not understand plain bytes.
            let is_plain = self.listeners[index].stage.is_none();
            let response = if is_plain { OVERLOADED } else { &[] };
            let rejected = self.kernel.reject_waiting(index, response);
            self.state.accept_backoff.rejected(rejected);
        }
    }

    /// Registers a socket that a listener has accepted with the host and arms its receive. Closes
    /// the socket if the host has no slot.
    fn insert_accepted(
        &mut self,
        now: &Moment,
        listener: usize,
        descriptor: RawFd,
    ) -> io::Result<()> {
        let Some(id) = self.host.handle_accepted(now) else {
            self.kernel.close_accepted(descriptor);
            return Ok(());
        };
        let count = self.exchange.connection_opened();
        self.note_connections(count);
        self.state.sockets.insert(id, descriptor);
        if let Some(stage) = &self.listeners[listener].stage {
            self.state.sockets.set_staged(id);
            self.state.stages.insert(id, stage());
        }
        if self.host.wants_peers()
            && let Some(address) = self.kernel.peer_address(self.state.sockets.open_socket(id))
        {
            self.host.set_peer(id, address);
        }
        self.receive_again(id)
    }

    /// Closes every listener. One with an accept armed is closed when its cancellation has
    /// completed.
    pub(super) fn close_listeners(&mut self) -> io::Result<()> {
        for index in 0..self.listeners.len() {
            if self.listeners[index].is_accepting {
                self.kernel.cancel_accept(index)?;
            } else {
                self.close_listener(index)?;
            }
        }
        Ok(())
    }

    /// Returns whether every listener is closed.
    pub(super) fn has_closed_listeners(&self) -> bool {
        self.listeners.iter().all(|listener| !listener.is_open)
    }

    /// Closes a listener after accepting the connections in its queue: their clients believe that
    /// they are connected.
    fn close_listener(&mut self, index: usize) -> io::Result<()> {
        if !std::mem::take(&mut self.listeners[index].is_open) {
            return Ok(());
        }
        let accepted = self.kernel.close_listener(index)?;
        let now = self.read_clock();
        accepted
            .into_iter()
            .try_for_each(|descriptor| self.insert_accepted(&now, index, descriptor))
    }

    /// Sets the number of connections of the process; logs when it passes the limit of sessions.
    pub(super) fn note_connections(&mut self, connections: usize) {
        let sessions_max = self.limits.sessions_max;
        self.host.set_full(connections > sessions_max);
        match self
            .exchange
            .sessions_limit()
            .note(connections, sessions_max)
        {
            Some(true) => tracing::warn!(
                connections,
                sessions_max,
                "the limit of sessions is reached; upgrades are rejected with 503"
            ),
            Some(false) => tracing::warn!(
                connections,
                sessions_max,
                "below the limit of sessions again"
            ),
            None => {}
        }
    }
}
