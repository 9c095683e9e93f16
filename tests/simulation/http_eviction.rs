//! Tests of a host's HTTP connections: eviction, limits, timeouts and statuses.
//!
//! [`HttpDriver`] replaces the driver of one host. It reads all responses of a connection, unless
//! its client does not read, and closes sockets that have no operations in flight.

use crate::embedder::Embedder;
use campanile::config::Config;
use campanile::host::{Host, Moment, Seeds};
use campanile::id::ConnectionId;
use campanile::mailbox::Exchange;
use campanile::metrics::RejectionKind;
use campanile::shard::CloseStep;
use campanile::shard::hash::HashSeed;
use campanile::time::{Tick, Ticks};
use campanile_tests::http;
use std::collections::BTreeMap;

/// A host, and the peers of its connections.
struct HttpDriver {
    host: Host,
    _embedder: Embedder,
    now: Tick,
    peers: BTreeMap<ConnectionId, Peer>,
}

/// The peer of a connection.
#[derive(Default)]
struct Peer {
    /// True if the peer reads no responses.
    ignores_responses: bool,
    received: Vec<u8>,
    in_flight: Option<Vec<u8>>,
    is_read: bool,
    ends: Vec<CloseStep>,
    is_closed: bool,
}

impl HttpDriver {
    fn new(config: Config) -> Self {
        Self::on(config, 1)
    }

    /// Creates the host of the first of `shards` shards. The others do not run.
    fn on(config: Config, shards: usize) -> Self {
        let exchange = Exchange::simulated(shards, 64, u64::MAX, 64);
        let embedder = Embedder::new(config, false, &exchange);
        let seeds = Seeds {
            hash: HashSeed([1, 2]),
            random: [3; 32],
        };
        Self {
            host: embedder.host(0, seeds),
            _embedder: embedder,
            now: Tick::default(),
            peers: BTreeMap::new(),
        }
    }

    /// Sets the host's clock and returns the current time.
    fn moment(&mut self) -> Moment {
        self.host.set_time(self.now)
    }

    fn connect(&mut self) -> ConnectionId {
        let now = self.moment();
        let id = self.host.handle_accepted(&now).expect("there is a slot");
        let peer = Peer {
            is_read: true,
            ..Peer::default()
        };
        self.peers.insert(id, peer);
        id
    }

    /// Opens a connection and sends `text`.
    fn connect_and_send(&mut self, text: &str) -> ConnectionId {
        let id = self.connect();
        self.send(id, text);
        id
    }

    /// Opens a connection that reads no responses and sends `text`.
    fn connect_without_reading(&mut self, text: &str) -> ConnectionId {
        let id = self.connect();
        self.peer(id).ignores_responses = true;
        self.send(id, text);
        id
    }

    fn send(&mut self, id: ConnectionId, text: &str) {
        let mut bytes = text.as_bytes().to_vec();
        let now = self.moment();
        self.host.handle_received(&now, id, &mut bytes);
        self.run_until_idle();
    }

    /// Sends a request on an existing connection and returns the status of its response.
    fn request(&mut self, id: ConnectionId, text: &str) -> u16 {
        let before = self.peer(id).received.len();
        self.send(id, text);
        let received = String::from_utf8_lossy(&self.peer(id).received[before..]).into_owned();
        let status = received.strip_prefix("HTTP/1.1 ").expect("an answer");
        status[..3].parse().expect("a status")
    }

    fn advance_ms(&mut self, ms: u32) {
        let until = self.now.after(Ticks::from_ms(ms));
        while self.now < until {
            // The host would treat a larger step as a pause of the process.
            self.now.0 += 1;
            let now = self.moment();
            self.host.fire_deadlines(&now);
            self.run_until_idle();
        }
    }

    /// Runs the host until it has no work.
    fn run_until_idle(&mut self) {
        loop {
            let now = self.moment();
            let mut has_worked = self.host.handle_arrivals(&now) > 0;
            self.host.flush_messages();
            while let Some((id, bytes)) = self.host.poll_send() {
                has_worked = true;
                let bytes = bytes.to_vec();
                self.peer(id).received.extend(&bytes);
                let taken = u32::try_from(bytes.len()).expect("short");
                self.host.handle_sent(&now, id, taken);
            }
            while let Some((id, bytes)) = self.host.poll_http_send() {
                has_worked = true;
                let bytes = bytes.to_vec();
                let peer = self.peer(id);
                assert!(peer.in_flight.is_none() && peer.ends.is_empty());
                if peer.ignores_responses {
                    peer.in_flight = Some(bytes);
                } else {
                    peer.received.extend(&bytes);
                    let taken = u32::try_from(bytes.len()).expect("short");
                    self.host.handle_sent(&now, id, taken);
                }
            }
            while let Some((id, on)) = self.host.poll_reading() {
                self.peer(id).is_read = on;
            }
            while let Some((id, step)) = self.host.poll_close() {
                has_worked = true;
                if step == CloseStep::Measure {
                    let bytes = self.peer(id).in_flight.as_ref().map_or(0, Vec::len);
                    let bytes = u32::try_from(bytes).expect("few");
                    self.host.handle_unacknowledged(id, bytes);
                    continue;
                }
                self.peer(id).ends.push(step);
                if step != CloseStep::Shutdown {
                    // Operations in flight are cancelled first.
                    if self.peer(id).in_flight.take().is_some() {
                        self.host.handle_sent(&now, id, 0);
                    }
                    self.host.handle_closed(&now, id);
                    self.peer(id).is_closed = true;
                }
            }
            self.host.invariants();
            if !has_worked {
                return;
            }
        }
    }

    /// Lets a peer that did not read read everything from now on.
    fn start_reading(&mut self, id: ConnectionId) {
        let now = self.moment();
        let peer = self.peer(id);
        peer.ignores_responses = false;
        if let Some(bytes) = peer.in_flight.take() {
            peer.received.extend(&bytes);
            let taken = u32::try_from(bytes.len()).expect("short");
            self.host.handle_sent(&now, id, taken);
        }
        self.run_until_idle();
    }

    fn peer(&mut self, id: ConnectionId) -> &mut Peer {
        self.peers.get_mut(&id).expect("connected")
    }

    fn received(&mut self, id: ConnectionId) -> String {
        String::from_utf8_lossy(&self.peer(id).received).into_owned()
    }

    /// Returns the close steps of a connection so far.
    fn ends(&mut self, id: ConnectionId) -> Vec<CloseStep> {
        self.peer(id).ends.clone()
    }
}

fn push() -> String {
    let body = r#"{"userId":"jack","event":"e","message":"m"}"#;
    format!(
        "POST /push HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn config(http_connections_max: u32) -> Config {
    let mut config = Config::default();
    config.http.http_connections_max = http_connections_max;
    // With the API, /health would count sessions, which needs a runtime with timers.
    config.api.enabled = Some(false);
    config
}

/// The 101 of an upgrade is sent whole, however full the output buffer is.
#[test]
fn an_upgrade_after_responses_that_fill_the_buffer_is_admitted() {
    const NOWHERE: &str = "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut driver = HttpDriver::new(config(16));
    let client = driver.connect_and_send(NOWHERE);
    let answer_bytes = driver.received(client).len();
    let answers = 4_096_usize.div_ceil(answer_bytes);
    for room in 1..300 {
        let mut config = config(16);
        let bytes_max = answers * answer_bytes + room;
        config.http.http_out_bytes_max = u32::try_from(bytes_max).expect("few");
        let mut driver = HttpDriver::new(config);
        let client = driver.connect_and_send(&(NOWHERE.repeat(answers) + &upgrade()));
        let received = driver.received(client);
        let granted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade";
        assert!(received.contains(granted), "{room}: {received}");
    }
}

#[test]
fn new_connections_evict_by_class_and_age() {
    let mut driver = HttpDriver::new(config(16));
    let push = push();
    let known = [(); 3].map(|()| driver.connect_and_send(&push));
    let health = driver.connect_and_send(HEALTH);
    let idle = [(); 2].map(|()| driver.connect_and_send(NOTHING));
    let unread = [(); 2].map(|()| driver.connect_without_reading(NOTHING));
    let bodies = [(); 2].map(|()| driver.connect_and_send(HALF_BODY));
    let heads = [(); 2].map(|()| driver.connect_and_send("G"));
    let silent = driver.connect();
    // The first authenticated connection has the most recent request.
    assert_eq!(driver.request(known[0], &push), 200);

    // New connections authenticate, so that only the limit of all connections is reached.
    let mut newcomers = Vec::new();
    let mut gone = Vec::new();
    while gone.len() < 12 {
        let newcomer = driver.connect();
        assert_eq!(
            driver.request(newcomer, &push),
            200,
            "all of them are served"
        );
        newcomers.push(newcomer);
        let before = gone.clone();
        let closed = driver.peers.iter().filter(|(_, peer)| peer.is_closed);
        let closed = closed.map(|(id, _)| *id).filter(|id| !before.contains(id));
        gone.extend(closed);
    }
    let order = [
        &heads[..],
        &bodies[..],
        &unread[..],
        &idle[..],
        &[health],
        &[known[1], known[2], known[0]],
    ];
    assert_eq!(gone, order.concat());
    assert_eq!(newcomers.len(), 4 + gone.len());
    for id in unread {
        assert_eq!(driver.ends(id), [CloseStep::Reset], "its memory is freed");
    }
    for id in [heads[0], bodies[0], idle[0], known[0]] {
        assert_eq!(driver.ends(id), [CloseStep::Finish]);
    }
    assert!(!driver.peer(silent).is_closed, "it has sent nothing yet");
    assert_eq!(driver.host.counters().connections_evicted, 12);
    assert_eq!(overloads(&driver), None);
}

#[test]
fn unauthenticated_connections_do_not_keep_others_out() {
    let mut driver = HttpDriver::new(config(8));
    let push = push();
    let known = [(); 2].map(|()| driver.connect_and_send(&push));
    let strangers: Vec<ConnectionId> = (0..50).map(|_| driver.connect_and_send("G")).collect();
    let open = |driver: &mut HttpDriver| {
        let open = strangers.iter().filter(|&id| !driver.peers[id].is_closed);
        open.copied().collect::<Vec<_>>()
    };
    assert_eq!(open(&mut driver), strangers[44..], "the six newest");
    for id in known {
        assert_eq!(driver.request(id, &push), 200);
    }
    let newcomer = driver.connect();
    assert_eq!(driver.request(newcomer, HEALTH), 200);
    let newcomer = driver.connect();
    assert_eq!(driver.request(newcomer, &upgrade()), 101);
    assert_eq!(open(&mut driver).len(), 4);
}

/// Returns the number of connections rejected as overloaded.
fn overloads(driver: &HttpDriver) -> Option<u64> {
    let rejections = driver.host.counters().rejections_of(RejectionKind::Request);
    rejections.get("overloaded").copied()
}

#[test]
fn a_connection_with_a_request_in_progress_is_not_evicted_and_the_new_one_gets_503() {
    // The other shard never returns its count.
    let mut driver = HttpDriver::on(config(4), 2);
    let push = push();
    let working: Vec<ConnectionId> = (0..3).map(|_| driver.connect_and_send(&push)).collect();
    let rejected = driver.connect();
    assert_eq!(driver.request(rejected, "G"), 503);
    assert_eq!(driver.ends(rejected), [CloseStep::Shutdown]);
    assert!(driver.received(rejected).contains("\r\nRetry-After: 1\r\n"));
    assert_eq!(overloads(&driver), Some(1));
    driver.advance_ms(Config::default().http.push_timeout_ms);
    for id in working {
        assert!(
            driver.received(id).starts_with("HTTP/1.1 503 "),
            "in its turn"
        );
        assert_eq!(driver.ends(id), []);
    }
}

#[test]
fn a_wrong_secret_does_not_authenticate() {
    let mut config = config(4);
    let secret = campanile::config::Secret::new("right");
    config.routes[0].push_secret = Some(secret);
    let mut driver = HttpDriver::new(config);
    let with = |secret: &str| {
        let head = format!("POST /push HTTP/1.1\r\nAuthorization: Bearer {secret}\r\n");
        push().replacen("POST /push HTTP/1.1\r\n", &head, 1)
    };
    let right = driver.connect();
    assert_eq!(driver.request(right, &with("right")), 200);
    let stranger = driver.connect();
    assert_eq!(driver.request(stranger, &with("wrong")), 401);
    for _ in 0..4 {
        let newcomer = driver.connect();
        assert_eq!(driver.request(newcomer, NOTHING), 404);
    }
    assert!(!driver.peer(right).is_closed);
    assert!(!driver.ends(stranger).is_empty());
}

#[test]
fn an_incomplete_request_gets_408_and_an_idle_connection_no_response() {
    let mut config = config(8);
    config.heartbeat.handshake_timeout_ms = 10_000;
    config.http.body_timeout_ms = 10_000;
    config.http.keep_alive_timeout_ms = 10_000;
    let mut driver = HttpDriver::new(config);
    let rejected = [
        driver.connect_and_send("G"),
        driver.connect_and_send(HALF_BODY),
        driver.connect_and_send(&(push() + "GET / HT")),
    ];
    let untold = [driver.connect(), driver.connect_and_send(NOTHING)];
    let before = untold.map(|id| driver.received(id));
    driver.advance_ms(9_000);
    // Single bytes do not extend the timeout.
    for id in &rejected[..2] {
        driver.send(*id, " ");
    }
    for id in rejected {
        assert_eq!(driver.ends(id), []);
    }
    driver.advance_ms(2_000);
    for id in rejected {
        let received = driver.received(id);
        let at = received.find("HTTP/1.1 408 Request Timeout\r\n");
        let answer = &received[at.expect("it gets a response")..];
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        assert_eq!(driver.ends(id), [CloseStep::Shutdown]);
    }
    for (id, before) in untold.into_iter().zip(before) {
        assert_eq!(driver.received(id), before);
        assert_eq!(driver.ends(id), [CloseStep::Finish]);
    }
}

#[test]
fn unread_responses_time_out_and_slowly_read_ones_do_not() {
    let mut driver = HttpDriver::new(config(8));
    let send_timeout_ms = Config::default().http.send_timeout_ms;
    let deaf = driver.connect_without_reading(&push());
    let slow = driver.connect_without_reading(&push().repeat(3));
    driver.advance_ms(send_timeout_ms - 1_000);
    // The peer reads one byte.
    let mut bytes = driver.peer(slow).in_flight.take().expect("on its way");
    driver.peer(slow).received.extend(bytes.drain(..1));
    let now = driver.moment();
    driver.host.handle_sent(&now, slow, 1);
    driver.run_until_idle();
    driver.advance_ms(2_000);
    assert_eq!(driver.ends(deaf), [CloseStep::Reset]);
    assert_eq!(driver.ends(slow), []);
    assert_eq!(driver.host.counters().responses_unread, 1);
    driver.start_reading(slow);
    assert_eq!(driver.received(slow).matches("HTTP/1.1 200 ").count(), 3);
}

#[test]
fn requests_wait_at_the_limit_of_unread_responses() {
    const REQUESTS: usize = 2_000;
    let mut config = config(8);
    config.http.http_out_bytes_max = 4_096;
    let mut driver = HttpDriver::new(config);
    let push = push();
    let deaf = driver.connect_without_reading(&push);
    let bytes_of_one = driver
        .peer(deaf)
        .in_flight
        .as_ref()
        .expect("its answer")
        .len();
    for _ in 1..REQUESTS {
        driver.send(deaf, &push);
    }
    let done = driver.host.counters().publications;
    let answers_max = 4_096 / bytes_of_one as u64 + 2;
    assert!(done <= answers_max, "{done} were carried out");
    assert!(!driver.peer(deaf).is_read, "nothing more is received");

    driver.start_reading(deaf);
    assert_eq!(driver.host.counters().publications, REQUESTS as u64);
    assert_eq!(
        driver.received(deaf).matches("HTTP/1.1 200 ").count(),
        REQUESTS
    );
    assert!(driver.peer(deaf).is_read);
}

#[test]
fn unread_responses_of_unauthenticated_connections_are_limited_together() {
    let mut config = config(64);
    config.http.http_unread_bytes_max = 65_536;
    let mut driver = HttpDriver::new(config);
    let page = "GET /playground/ws HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let deaf: Vec<ConnectionId> = (0..40)
        .map(|_| driver.connect_without_reading(page))
        .collect();
    let held = |driver: &HttpDriver| -> usize {
        let peers = driver.peers.values();
        peers
            .filter_map(|peer| Some(peer.in_flight.as_ref()?.len()))
            .sum()
    };
    assert!(held(&driver) <= 65_536);
    assert_eq!(driver.ends(deaf[0]), [CloseStep::Reset], "the first");
    assert_eq!(driver.ends(deaf[39]), [], "and not the last");
}

const NOTHING: &str = "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n";
const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
const HALF_BODY: &str = "POST /push HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{";

fn upgrade() -> String {
    http::upgrade("GET /ws HTTP/1.1", &[http::LOCAL])
}
