//! A gateway of one shard with the default config, and the bytes of its connections. Knows no
//! driver: whatever is to be sent is taken at once.

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

/// The gateway, and what its tasks run in.
pub(crate) struct Server {
    host: Host,
    input: Vec<u8>,
    // Left before what they are of, the inner first.
    _among: LocalEnterGuard,
    _within: EnterGuard<'static>,
    tasks: LocalSet,
    runtime: &'static Runtime,
}

impl Server {
    /// Without any connection, and with the same dice each time.
    pub(crate) fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().build();
        // There are a few in a process, and their guards borrow them.
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

    /// A connection that has said nothing yet.
    pub(crate) fn connect(&mut self) -> ConnectionId {
        let now = self.host.set_time(Tick::default());
        self.host.handle_accepted(&now).expect("there is room")
    }

    /// A session on the route at `path`, which has been sent the 101.
    pub(crate) fn session(&mut self, path: &str) -> ConnectionId {
        let (id, mut output) = (self.connect(), Vec::new());
        self.say(id, upgrade_request(path).as_bytes(), &mut output);
        assert!(self.host.is_session(id), "{}", output.escape_ascii());
        id
    }

    /// Receives this from a connection, and appends what is sent to anybody to `output`.
    pub(crate) fn say(&mut self, id: ConnectionId, bytes: &[u8], output: &mut Vec<u8>) {
        self.input.clear();
        self.input.extend_from_slice(bytes);
        let now = self.host.set_time(Tick::default());
        self.host.handle_received(&now, id, &mut self.input);
        self.settle(output);
        while self.host.tasks_count() > 0 {
            self.run_tasks();
            self.settle(output);
        }
        while self.host.poll_reading().is_some() {}
        assert!(!self.host.has_arrivals() && !self.host.wants_to_send());
    }

    /// One turn of a driver without work of its own.
    fn settle(&mut self, output: &mut Vec<u8>) {
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

    /// The peer is gone, and so is the connection.
    pub(crate) fn cut(&mut self, id: ConnectionId) {
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

/// Takes bytes that are lent; returns how many.
fn put(bytes: &[u8], output: &mut Vec<u8>) -> u32 {
    output.extend_from_slice(bytes);
    u32::try_from(bytes.len()).expect("what is sent at once is far below 4 GiB")
}
