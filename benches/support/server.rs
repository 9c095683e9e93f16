//! A gateway of one shard with the default config, without a driver: sends complete at once.

use crate::requests::upgrade_request;
use campanile::config::Config;
use campanile::gateway::{Gateway, Simulation};
use campanile::host::{Host, Seeds};
use campanile::id::{ConnectionId, ShardId};
use campanile::mailbox::Exchange;
use campanile::shard::hash::HashSeed;
use campanile::time::Tick;
use tokio::runtime::{Builder, EnterGuard, Runtime};
use tokio::task::{LocalEnterGuard, LocalSet};

/// The gateway and the runtime of its tasks.
pub(crate) struct Server {
    host: Host,
    input: Vec<u8>,
    // Dropped before their runtime and task set, the inner one first.
    _among: LocalEnterGuard,
    _within: EnterGuard<'static>,
    tasks: LocalSet,
    runtime: &'static Runtime,
}

impl Server {
    /// Creates a gateway without connections, with fixed seeds.
    pub(crate) fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().build();
        // The guards borrow it, and a process has only a few.
        let runtime: &'static Runtime = Box::leak(Box::new(runtime.expect("a runtime")));
        let within = runtime.enter();
        let tasks = LocalSet::new();
        let among = tasks.enter();
        let exchange = Exchange::simulated(1, 1_024, u64::MAX, 1_024);
        let builder = Gateway::builder(Config::default());
        let simulation = Simulation::new(builder, &exchange).expect("the default config is valid");
        let seeds = Seeds {
            hash: HashSeed([1, 2]),
            random: [3; 32],
        };
        let host = simulation.host(ShardId::new(0), seeds);
        Self {
            host: host.expect("nothing is set up"),
            input: Vec::new(),
            _among: among,
            _within: within,
            tasks,
            runtime,
        }
    }

    /// Accepts a connection without input.
    pub(crate) fn connect(&mut self) -> ConnectionId {
        let now = self.host.set_time(Tick::default());
        self.host.handle_accepted(&now).expect("there is room")
    }

    /// Opens a session on the route at `path`, and takes the 101.
    pub(crate) fn session(&mut self, path: &str) -> ConnectionId {
        let (id, mut output) = (self.connect(), Vec::new());
        self.receive(id, upgrade_request(path).as_bytes(), &mut output);
        assert!(self.host.is_session(id), "{}", output.escape_ascii());
        id
    }

    /// Receives bytes from a connection, and appends all bytes sent to `output`.
    pub(crate) fn receive(&mut self, id: ConnectionId, bytes: &[u8], output: &mut Vec<u8>) {
        self.input.clear();
        self.input.extend_from_slice(bytes);
        let now = self.host.set_time(Tick::default());
        self.host.handle_received(&now, id, &mut self.input);
        self.run_turn(output);
        while self.host.tasks_count() > 0 {
            self.run_tasks();
            self.run_turn(output);
        }
        while self.host.poll_reading().is_some() {}
        assert!(!self.host.has_arrivals() && !self.host.wants_to_send());
    }

    /// Runs one turn as a driver does.
    fn run_turn(&mut self, output: &mut Vec<u8>) {
        let now = self.host.set_time(Tick::default());
        while self.host.handle_arrivals(&now) > 0 {}
        self.host.flush_messages();
        while let Some((id, bytes)) = self.host.poll_send() {
            let taken = put(bytes, output);
            self.host.handle_sent(&now, id, taken);
        }
        while let Some((id, bytes)) = self.host.poll_http_send() {
            let taken = put(bytes, output);
            self.host.handle_sent(&now, id, taken);
        }
    }

    fn run_tasks(&self) {
        let turn = self.tasks.run_until(tokio::task::yield_now());
        self.runtime.block_on(turn);
    }

    /// Aborts a connection.
    pub(crate) fn abort(&mut self, id: ConnectionId) {
        let now = self.host.set_time(Tick::default());
        self.host.handle_hangup(&now, id, true);
        while self.host.poll_close().is_some() {}
        self.host.handle_closed(&now, id);
        while self.host.tasks_count() > 0 {
            self.run_tasks();
            self.host.handle_arrivals(&now);
        }
    }
}

/// Takes lent bytes; returns their number.
fn put(bytes: &[u8], output: &mut Vec<u8>) -> u32 {
    output.extend_from_slice(bytes);
    u32::try_from(bytes.len()).expect("what is sent at once is far below 4 GiB")
}
