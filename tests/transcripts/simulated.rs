//! A simulated target: hosts in memory with a minimal driver.
//!
//! Clients are distributed over the shards round-robin. All sent bytes arrive, and all shards
//! handle them, before a client receives. The clock advances only by steps of a transcript. Tasks
//! of the embedder's handlers run while the hosts are idle; their timers do not.

use crate::fixture;
use crate::script::Script;
use crate::target::Target;
use campanile::config::{Config, Overrides};
use campanile::gateway::Simulation;
use campanile::host::Host;
use campanile::host::Seeds;
use campanile::id::{ConnectionId, ShardId};
use campanile::mailbox::Exchange;
use campanile::shard::CloseStep;
use campanile::shard::hash::HashSeed;
use campanile::time::{Tick, Ticks};
use std::collections::VecDeque;
use std::rc::Rc;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

/// The size of chunks in both directions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Chunks {
    /// A write arrives whole.
    Whole,
    /// A write arrives in single octets.
    Octets,
}

/// Hosts in memory and the clients connected to them.
pub(crate) struct SimulatedTarget {
    hosts: Vec<Host>,
    clients: Vec<Option<Client>>,
    chunks: Chunks,
    now: Tick,
    /// The tasks of all hosts.
    tasks: Rc<LocalSet>,
    runtime: Runtime,
}

struct Client {
    shard: usize,
    id: ConnectionId,
    /// Bytes that the client has sent and the host, which may pause reading, has not received.
    outward: VecDeque<u8>,
    is_read: bool,
    sent_end: bool,
    end_taken: bool,
    inward: Vec<u8>,
    received_end: bool,
    closed: bool,
}

impl SimulatedTarget {
    pub(crate) fn new(script: &Script, shards: usize, chunks: Chunks) -> Self {
        let config = Config::from_toml(&script.name, &script.config, &Overrides::default());
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        // Mailboxes of one message, so that no test depends on free space.
        let exchange = Exchange::simulated(shards, 1, u64::MAX, 64);
        let simulation = Simulation::new(fixture::builder_for(script, config), &exchange);
        let simulation = simulation.unwrap_or_else(|error| panic!("{}: {error}", script.name));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let tasks = Rc::new(LocalSet::new());
        let entered = tasks.enter();
        let host = |index| {
            let seeds = Seeds {
                hash: HashSeed([1, 2]),
                random: [u8::try_from(index).expect("few shards"); 32],
            };
            let host = simulation.host(ShardId::new(index), seeds);
            host.unwrap_or_else(|error| panic!("{}: {error}", script.name))
        };
        let hosts = (0..shards).map(host).collect();
        drop(entered);
        Self {
            hosts,
            clients: Vec::new(),
            chunks,
            now: Tick::default(),
            tasks,
            runtime: runtime.expect("a runtime without drivers"),
        }
    }

    /// Ends all connections and checks that no state remains.
    ///
    /// # Panics
    ///
    /// Some state remains.
    pub(crate) fn finish(mut self) {
        for client in self.clients.iter_mut().flatten() {
            client.sent_end = true;
        }
        self.run_until_idle();
        for host in &self.hosts {
            host.invariants();
            assert_eq!(host.connections_count(), 0, "a connection never ends");
        }
    }

    fn client(&mut self, index: usize) -> &mut Client {
        if self.clients.len() <= index {
            self.clients.resize_with(index + 1, || None);
        }
        let shard = index % self.hosts.len();
        let host = &mut self.hosts[shard];
        let now = host.set_time(self.now);
        self.clients[index].get_or_insert_with(|| Client {
            shard,
            id: host.handle_accepted(&now).expect("a slot is free"),
            outward: VecDeque::new(),
            is_read: true,
            sent_end: false,
            end_taken: false,
            inward: Vec::new(),
            received_end: false,
            closed: false,
        })
    }

    /// Runs hosts and tasks until all are idle.
    fn run_until_idle(&mut self) {
        let mut idle_rounds = 0;
        while idle_rounds < IDLE_ROUNDS_MAX {
            if self.run_hosts() {
                idle_rounds = 0;
            } else {
                idle_rounds += 1;
                self.run_tasks();
            }
        }
    }

    /// Runs every host. Returns `false` if none had work or will have.
    fn run_hosts(&mut self) -> bool {
        let tasks = Rc::clone(&self.tasks);
        let entered = tasks.enter();
        let mut worked = self.deliver_input();
        for shard in 0..self.hosts.len() {
            let host = &mut self.hosts[shard];
            let now = host.set_time(self.now);
            worked |= host.handle_arrivals(&now) > 0;
            host.flush_messages();
            worked |= self.execute_requests(shard);
        }
        drop(entered);
        let waiting = |host: &Host| host.has_arrivals() || host.wants_to_send();
        worked || self.hosts.iter().any(waiting)
    }

    /// Runs every ready task once.
    fn run_tasks(&self) {
        let once = self.tasks.run_until(tokio::task::yield_now());
        self.runtime.block_on(once);
    }

    /// Delivers the clients' bytes to their hosts. Returns `false` if there were none.
    fn deliver_input(&mut self) -> bool {
        let mut worked = false;
        for client in self.clients.iter_mut().flatten() {
            let host = &mut self.hosts[client.shard];
            if client.closed || !client.is_read || host.is_blocked() {
                continue;
            }
            let len = match self.chunks {
                Chunks::Whole => client.outward.len(),
                Chunks::Octets => client.outward.len().min(1),
            };
            if len > 0 {
                let mut bytes: Vec<u8> = client.outward.drain(..len).collect();
                let now = host.set_time(self.now);
                host.handle_received(&now, client.id, &mut bytes);
                worked = true;
            } else if client.sent_end && !client.end_taken {
                client.end_taken = true;
                let now = host.set_time(self.now);
                host.handle_hangup(&now, client.id, false);
                worked = true;
            }
        }
        worked
    }

    /// Executes a host's requests for its sockets. Returns `false` if there were none.
    fn execute_requests(&mut self, shard: usize) -> bool {
        let mut worked = false;
        while self.send_next(shard) {
            worked = true;
        }
        while let Some((id, on)) = self.hosts[shard].poll_reading() {
            self.client_of(shard, id).is_read = on;
            worked = true;
        }
        while let Some((id, step)) = self.hosts[shard].poll_close() {
            let client = self.client_of(shard, id);
            if step == CloseStep::Measure {
                self.hosts[shard].handle_unacknowledged(id, 0);
                continue;
            }
            client.received_end = true;
            if step != CloseStep::Shutdown {
                client.closed = true;
                let now = self.hosts[shard].set_time(self.now);
                self.hosts[shard].handle_closed(&now, id);
            }
            worked = true;
        }
        worked
    }

    fn send_next(&mut self, shard: usize) -> bool {
        let host = &mut self.hosts[shard];
        let mut lent = host.poll_send().map(|(id, bytes)| (id, bytes.to_vec()));
        if lent.is_none() {
            lent = host
                .poll_http_send()
                .map(|(id, bytes)| (id, bytes.to_vec()));
        }
        let Some((id, mut bytes)) = lent else {
            return false;
        };
        if self.chunks == Chunks::Octets {
            bytes.truncate(1);
        }
        let client = self.client_of(shard, id);
        assert!(!client.received_end, "nothing is sent behind the end");
        client.inward.extend(&bytes);
        let taken = u32::try_from(bytes.len()).expect("transcripts are short");
        let now = self.hosts[shard].set_time(self.now);
        self.hosts[shard].handle_sent(&now, id, taken);
        true
    }

    fn client_of(&mut self, shard: usize, id: ConnectionId) -> &mut Client {
        let mut all = self.clients.iter_mut().flatten();
        let found = all.find(|it| it.shard == shard && it.id == id && !it.closed);
        found.expect("the client was connected here")
    }
}

impl Target for SimulatedTarget {
    fn send(&mut self, client: usize, bytes: &[u8]) {
        let client = self.client(client);
        if !client.closed {
            client.outward.extend(bytes);
        }
    }

    fn end(&mut self, client: usize) {
        self.client(client).sent_end = true;
    }

    fn receive(&mut self, client: usize, into: &mut Vec<u8>) -> Result<bool, String> {
        self.run_until_idle();
        let client = self.client(client);
        if !client.inward.is_empty() {
            into.append(&mut client.inward);
            Ok(true)
        } else if client.received_end {
            Ok(false)
        } else {
            Err("nothing comes".to_owned())
        }
    }

    fn pass(&mut self, ms: u32) -> Result<(), String> {
        self.run_until_idle();
        let until = self.now.after(Ticks::from_ms(ms));
        while self.now < until {
            // Advance at most to the first deadline.
            let due = self.hosts.iter().filter_map(Host::poll_wake).min();
            let next = Tick(self.now.0 + 1);
            self.now = due.map_or(until, |due| due.clamp(next, until));
            let entered = self.tasks.enter();
            for host in &mut self.hosts {
                let now = host.set_time(self.now);
                host.fire_deadlines(&now);
            }
            drop(entered);
            self.run_until_idle();
        }
        Ok(())
    }
}

/// The number of consecutive rounds with only tasks after which all count as idle. A task that runs
/// longer without a request to a host would be missed.
const IDLE_ROUNDS_MAX: u32 = 8;
