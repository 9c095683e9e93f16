//! Tests of visibility across shards: after a client has seen the end of a session on one shard,
//! the other shards must behave accordingly.
//!
//! The hosts have no I/O and are driven step by step, so that one can delay reading its mailbox.

use campanile::Gateway;
use campanile::config::{Config, Overrides};
use campanile::gateway::Simulation;
use campanile::host::{Host, Seeds};
use campanile::id::{ConnectionId, ShardId};
use campanile::mailbox::Exchange;
use campanile::shard::hash::HashSeed;
use campanile::time::Tick;
use campanile_tests::http::upgrade;
use std::collections::BTreeMap;

#[test]
fn a_user_may_connect_after_seeing_its_old_session_end() {
    let mut shards = Shards::new(
        "[[routes]]\npath = '/edk'\ndialect = 'edk'\nkick_out_new_user_conn = true",
        2,
    );
    // The users' home shards differ.
    for user in 0..16 {
        let [old, new] = [0, 1].map(|shard| (shard, shards.connect(shard)));
        shards.receive(old, &request(user));
        shards.work_all();
        assert!(shards.received(old).starts_with("HTTP/1.1 101 "));
        shards.receive(new, &request(user));
        shards.work_all();
        assert!(shards.received(new).starts_with("HTTP/1.1 409 "));

        // A close frame without a code and its reply. The other shard has not read its mailbox.
        shards.receive(old, &[0x88, 0x80, 0, 0, 0, 0]);
        shards.work(0);
        assert_eq!(shards.received(old), "\\x88\\x00");
        shards.receive(new, &request(user));
        shards.work_all();
        let received = shards.received(new);
        assert!(received.starts_with("HTTP/1.1 101 "), "{user}: {received}");
    }
}

/// A shard's index, and a connection there.
type Client = (usize, ConnectionId);

/// Shards without I/O.
struct Shards {
    hosts: Vec<Host>,
    received: BTreeMap<Client, Vec<u8>>,
}

impl Shards {
    fn new(config: &str, count: usize) -> Self {
        let config = Config::from_toml("made up", config, &Overrides::default());
        let builder = Gateway::builder(config.expect("a valid config"));
        let exchange = Exchange::simulated(count, 64, u64::MAX, 64);
        let simulation = Simulation::new(builder, &exchange).expect("a valid config");
        let host = |index| {
            let seeds = Seeds {
                hash: HashSeed([1, 2]),
                random: [3; 32],
            };
            let host = simulation.host(ShardId::new(index), seeds);
            host.expect("nothing is set up")
        };
        Self {
            hosts: (0..count).map(host).collect(),
            received: BTreeMap::new(),
        }
    }

    fn connect(&mut self, shard: usize) -> ConnectionId {
        let now = self.hosts[shard].set_time(Tick::default());
        let id = self.hosts[shard].handle_accepted(&now);
        id.expect("a slot is free")
    }

    fn receive(&mut self, (shard, id): Client, bytes: &[u8]) {
        let now = self.hosts[shard].set_time(Tick::default());
        self.hosts[shard].handle_received(&now, id, &mut bytes.to_vec());
    }

    /// Runs all shards until none has work.
    fn work_all(&mut self) {
        for _ in 0..8 {
            for shard in 0..self.hosts.len() {
                self.work(shard);
            }
        }
    }

    /// Runs one shard: reads its mailbox, posts to the others, and sends.
    fn work(&mut self, shard: usize) {
        let host = &mut self.hosts[shard];
        let now = host.set_time(Tick::default());
        host.handle_arrivals(&now);
        host.flush_messages();
        loop {
            let mut lent = host.poll_send().map(|(id, bytes)| (id, bytes.to_vec()));
            if lent.is_none() {
                lent = host
                    .poll_http_send()
                    .map(|(id, bytes)| (id, bytes.to_vec()));
            }
            let Some((id, bytes)) = lent else { break };
            let taken = u32::try_from(bytes.len()).expect("short");
            host.handle_sent(&now, id, taken);
            self.received.entry((shard, id)).or_default().extend(bytes);
        }
    }

    /// Returns the bytes that a client has received since the previous call, escaped.
    fn received(&mut self, client: Client) -> String {
        let received = self.received.remove(&client).unwrap_or_default();
        received.escape_ascii().to_string()
    }
}

/// Returns the upgrade request of a user.
fn request(user: u32) -> Vec<u8> {
    let user = format!("x-user-id: {user}");
    let headers = ["Host: localhost", "Sec-WebSocket-Protocol: token", &user];
    upgrade("GET /edk HTTP/1.1", &headers).into_bytes()
}
