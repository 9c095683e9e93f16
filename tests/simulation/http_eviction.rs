//! One host and its HTTP connections: who is evicted for whom, what waits, and who is told what.
//!
//! A street plays the driver for one host. It takes all answers of a connection, unless its client
//! does not read, and closes sockets as soon as nothing of them is under way.

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

/// A host, and the far ends of its connections.
struct HttpDriver {
    host: Host,
    _embedder: Embedder,
    now: Tick,
    peers: BTreeMap<ConnectionId, Peer>,
}

/// The far end of a connection.
#[derive(Default)]
struct Peer {
    /// It takes no answers.
    is_deaf: bool,
    heard: Vec<u8>,
    flying: Option<Vec<u8>>,
    is_read: bool,
    ends: Vec<CloseStep>,
    is_closed: bool,
}

impl HttpDriver {
    fn new(config: Config) -> Self {
        Self::on(config, 1)
    }

    /// The first of so many shards; the others do nothing.
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

    /// The present, as the host is told it.
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

    /// A connection that has said this.
    fn connect_saying(&mut self, text: &str) -> ConnectionId {
        let id = self.connect();
        self.say(id, text);
        id
    }

    /// A connection that takes none of its answers and has said this.
    fn connect_deaf(&mut self, text: &str) -> ConnectionId {
        let id = self.connect();
        self.peer(id).is_deaf = true;
        self.say(id, text);
        id
    }

    fn say(&mut self, id: ConnectionId, text: &str) {
        let mut bytes = text.as_bytes().to_vec();
        let now = self.moment();
        self.host.handle_received(&now, id, &mut bytes);
        self.work();
    }

    /// Says something on a connection that is there already, and returns the status of the answer.
    fn ask(&mut self, id: ConnectionId, text: &str) -> u16 {
        let before = self.peer(id).heard.len();
        self.say(id, text);
        let heard = String::from_utf8_lossy(&self.peer(id).heard[before..]).into_owned();
        let status = heard.strip_prefix("HTTP/1.1 ").expect("an answer");
        status[..3].parse().expect("a status")
    }

    fn pass(&mut self, ms: u32) {
        let until = self.now.after(Ticks::from_ms(ms));
        while self.now < until {
            // A leap would be taken for a pause of the process.
            self.now.0 += 1;
            let now = self.moment();
            self.host.fire_deadlines(&now);
            self.work();
        }
    }

    /// Lets the host do all that it can.
    fn work(&mut self) {
        loop {
            let now = self.moment();
            let mut has_worked = self.host.handle_arrivals(&now) > 0;
            self.host.flush_messages();
            while let Some((id, bytes)) = self.host.poll_send() {
                has_worked = true;
                let bytes = bytes.to_vec();
                self.peer(id).heard.extend(&bytes);
                let taken = u32::try_from(bytes.len()).expect("short");
                self.host.handle_sent(&now, id, taken);
            }
            while let Some((id, bytes)) = self.host.poll_http_send() {
                has_worked = true;
                let bytes = bytes.to_vec();
                let peer = self.peer(id);
                assert!(peer.flying.is_none() && peer.ends.is_empty());
                if peer.is_deaf {
                    peer.flying = Some(bytes);
                } else {
                    peer.heard.extend(&bytes);
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
                    let bytes = self.peer(id).flying.as_ref().map_or(0, Vec::len);
                    let bytes = u32::try_from(bytes).expect("few");
                    self.host.handle_unacknowledged(id, bytes);
                    continue;
                }
                self.peer(id).ends.push(step);
                if step != CloseStep::Shutdown {
                    // What is under way is cancelled first.
                    if self.peer(id).flying.take().is_some() {
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

    /// Lets a deaf peer take all that is on its way to it, and whatever follows that.
    fn listen(&mut self, id: ConnectionId) {
        let now = self.moment();
        let peer = self.peer(id);
        peer.is_deaf = false;
        if let Some(bytes) = peer.flying.take() {
            peer.heard.extend(&bytes);
            let taken = u32::try_from(bytes.len()).expect("short");
            self.host.handle_sent(&now, id, taken);
        }
        self.work();
    }

    fn peer(&mut self, id: ConnectionId) -> &mut Peer {
        self.peers.get_mut(&id).expect("connected")
    }

    fn heard(&mut self, id: ConnectionId) -> String {
        String::from_utf8_lossy(&self.peer(id).heard).into_owned()
    }

    /// The ends of its connection so far.
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
    // Without it, /health counts no sessions, which would take a runtime with timers.
    config.api.enabled = Some(false);
    config
}

/// Whatever room the answers before it have left: an upgrade's 101 is in the pipe as a whole.
#[test]
fn an_upgrade_behind_answers_that_fill_the_pipe_is_granted() {
    const NOWHERE: &str = "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut driver = HttpDriver::new(config(16));
    let client = driver.connect_saying(NOWHERE);
    let answer_bytes = driver.heard(client).len();
    let answers = 4_096_usize.div_ceil(answer_bytes);
    for room in 1..300 {
        let mut config = config(16);
        let bytes_max = answers * answer_bytes + room;
        config.http.http_out_bytes_max = u32::try_from(bytes_max).expect("few");
        let mut driver = HttpDriver::new(config);
        let client = driver.connect_saying(&(NOWHERE.repeat(answers) + &upgrade()));
        let heard = driver.heard(client);
        let granted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade";
        assert!(heard.contains(granted), "{room}: {heard}");
    }
}

#[test]
fn newcomers_evict_class_after_class_and_in_each_the_oldest() {
    let mut driver = HttpDriver::new(config(16));
    let push = push();
    let known = [(); 3].map(|()| driver.connect_saying(&push));
    let health = driver.connect_saying(HEALTH);
    let idle = [(); 2].map(|()| driver.connect_saying(NOTHING));
    let unread = [(); 2].map(|()| driver.connect_deaf(NOTHING));
    let bodies = [(); 2].map(|()| driver.connect_saying(HALF_BODY));
    let heads = [(); 2].map(|()| driver.connect_saying("G"));
    let silent = driver.connect();
    // The first of the known is known for a newer request than the others.
    assert_eq!(driver.ask(known[0], &push), 200);

    // Newcomers make themselves known, so that nothing but the number of all is reached.
    let mut newcomers = Vec::new();
    let mut gone = Vec::new();
    while gone.len() < 12 {
        let newcomer = driver.connect();
        assert_eq!(driver.ask(newcomer, &push), 200, "all of them are served");
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
    assert!(!driver.peer(silent).is_closed, "it has said nothing yet");
    assert_eq!(driver.host.counters().connections_evicted, 12);
    assert_eq!(overloads(&driver), None);
}

#[test]
fn strangers_keep_out_neither_each_other_nor_those_who_push() {
    let mut driver = HttpDriver::new(config(8));
    let push = push();
    let known = [(); 2].map(|()| driver.connect_saying(&push));
    let strangers: Vec<ConnectionId> = (0..50).map(|_| driver.connect_saying("G")).collect();
    let open = |driver: &mut HttpDriver| {
        let open = strangers.iter().filter(|&id| !driver.peers[id].is_closed);
        open.copied().collect::<Vec<_>>()
    };
    assert_eq!(open(&mut driver), strangers[44..], "the six newest");
    for id in known {
        assert_eq!(driver.ask(id, &push), 200);
    }
    let newcomer = driver.connect();
    assert_eq!(driver.ask(newcomer, HEALTH), 200);
    let newcomer = driver.connect();
    assert_eq!(driver.ask(newcomer, &upgrade()), 101);
    assert_eq!(open(&mut driver).len(), 4);
}

/// How many connections were turned away for want of a place.
fn overloads(driver: &HttpDriver) -> Option<u64> {
    let rejections = driver.host.counters().rejections_of(RejectionKind::Request);
    rejections.get("overloaded").copied()
}

#[test]
fn whoever_is_being_answered_is_not_evicted_and_the_newcomer_hears_503() {
    // The other shard never says how many it has reached.
    let mut driver = HttpDriver::on(config(4), 2);
    let push = push();
    let working: Vec<ConnectionId> = (0..3).map(|_| driver.connect_saying(&push)).collect();
    let rejected = driver.connect();
    assert_eq!(driver.ask(rejected, "G"), 503);
    assert_eq!(driver.ends(rejected), [CloseStep::Shutdown]);
    assert!(driver.heard(rejected).contains("\r\nRetry-After: 1\r\n"));
    assert_eq!(overloads(&driver), Some(1));
    driver.pass(Config::default().http.push_timeout_ms);
    for id in working {
        assert!(driver.heard(id).starts_with("HTTP/1.1 503 "), "in its turn");
        assert_eq!(driver.ends(id), []);
    }
}

#[test]
fn a_wrong_secret_makes_nobody_known() {
    let mut config = config(4);
    let secret = campanile::config::Secret::new("right");
    config.routes[0].push_auth = campanile::config::PushAuth::Bearer { secret };
    let mut driver = HttpDriver::new(config);
    let with = |secret: &str| {
        let head = format!("POST /push HTTP/1.1\r\nAuthorization: Bearer {secret}\r\n");
        push().replacen("POST /push HTTP/1.1\r\n", &head, 1)
    };
    let right = driver.connect();
    assert_eq!(driver.ask(right, &with("right")), 200);
    let stranger = driver.connect();
    assert_eq!(driver.ask(stranger, &with("wrong")), 401);
    for _ in 0..4 {
        let newcomer = driver.connect();
        assert_eq!(driver.ask(newcomer, NOTHING), 404);
    }
    assert!(!driver.peer(right).is_closed);
    assert!(!driver.ends(stranger).is_empty());
}

#[test]
fn half_a_request_is_answered_with_408_and_silence_with_nothing() {
    let mut config = config(8);
    config.heartbeat.handshake_timeout_ms = 10_000;
    config.http.body_timeout_ms = 10_000;
    config.http.keep_alive_timeout_ms = 10_000;
    let mut driver = HttpDriver::new(config);
    let told = [
        driver.connect_saying("G"),
        driver.connect_saying(HALF_BODY),
        driver.connect_saying(&(push() + "GET / HT")),
    ];
    let untold = [driver.connect(), driver.connect_saying(NOTHING)];
    let before = untold.map(|id| driver.heard(id));
    driver.pass(9_000);
    // A byte now and then gains nothing.
    for id in &told[..2] {
        driver.say(*id, " ");
    }
    for id in told {
        assert_eq!(driver.ends(id), []);
    }
    driver.pass(2_000);
    for id in told {
        let heard = driver.heard(id);
        let at = heard.find("HTTP/1.1 408 Request Timeout\r\n");
        let answer = &heard[at.expect("it is told")..];
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        assert_eq!(driver.ends(id), [CloseStep::Shutdown]);
    }
    for (id, before) in untold.into_iter().zip(before) {
        assert_eq!(driver.heard(id), before);
        assert_eq!(driver.ends(id), [CloseStep::Finish]);
    }
}

#[test]
fn answers_that_nobody_reads_are_given_up_and_those_that_are_read_slowly_are_not() {
    let mut driver = HttpDriver::new(config(8));
    let send_timeout_ms = Config::default().http.send_timeout_ms;
    let deaf = driver.connect_deaf(&push());
    let slow = driver.connect_deaf(&push().repeat(3));
    driver.pass(send_timeout_ms - 1_000);
    // It takes a byte.
    let mut bytes = driver.peer(slow).flying.take().expect("on its way");
    driver.peer(slow).heard.extend(bytes.drain(..1));
    let now = driver.moment();
    driver.host.handle_sent(&now, slow, 1);
    driver.work();
    driver.pass(2_000);
    assert_eq!(driver.ends(deaf), [CloseStep::Reset]);
    assert_eq!(driver.ends(slow), []);
    assert_eq!(driver.host.counters().responses_unread, 1);
    driver.listen(slow);
    assert_eq!(driver.heard(slow).matches("HTTP/1.1 200 ").count(), 3);
}

#[test]
fn requests_wait_while_so_many_answers_are_unread() {
    const REQUESTS: usize = 2_000;
    let mut config = config(8);
    config.http.http_out_bytes_max = 4_096;
    let mut driver = HttpDriver::new(config);
    let push = push();
    let deaf = driver.connect_deaf(&push);
    let bytes_of_one = driver.peer(deaf).flying.as_ref().expect("its answer").len();
    for _ in 1..REQUESTS {
        driver.say(deaf, &push);
    }
    let done = driver.host.counters().publications;
    let answers_max = 4_096 / bytes_of_one as u64 + 2;
    assert!(done <= answers_max, "{done} were carried out");
    assert!(!driver.peer(deaf).is_read, "nothing more is received");

    driver.listen(deaf);
    assert_eq!(driver.host.counters().publications, REQUESTS as u64);
    assert_eq!(
        driver.heard(deaf).matches("HTTP/1.1 200 ").count(),
        REQUESTS
    );
    assert!(driver.peer(deaf).is_read);
}

#[test]
fn strangers_who_do_not_read_hold_no_more_than_they_may_together() {
    let mut config = config(64);
    config.http.http_unread_bytes_max = 65_536;
    let mut driver = HttpDriver::new(config);
    let page = "GET /playground/ws HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let deaf: Vec<ConnectionId> = (0..40).map(|_| driver.connect_deaf(page)).collect();
    let held = |driver: &HttpDriver| -> usize {
        let peers = driver.peers.values();
        peers
            .filter_map(|peer| Some(peer.flying.as_ref()?.len()))
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
