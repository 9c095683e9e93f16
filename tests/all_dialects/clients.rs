//! The clients and publishers of the test. Half of the clients stay on their channels, the others
//! join, leave and reconnect while messages are published.

use crate::codec::{Command, DialectCodec, ServerMessage};
use crate::model::{Membership, PendingPublication, PublicationLog, Record, Target};
use crate::ws_client::{FrameType, Incoming, WebSocketClient};
use campanile::handler::{Handle, Message, RouteHandle};
use campanile::public_id::PublicId;
use campanile_tests::prng::Prng;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{Barrier, mpsc};

/// The state that all clients and publishers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) address: SocketAddr,
    /// Handles, each of which publishes through the next shard.
    pub(crate) handles: Vec<Handle>,
    pub(crate) log: PublicationLog,
    /// The public id of each connection, which the embedder stores when the session opens.
    pub(crate) ids: Arc<[OnceLock<PublicId>]>,
    pub(crate) connections: AtomicUsize,
    /// Passed when all clients have joined their first channels.
    pub(crate) ready: Barrier,
    /// The clients that still join and leave.
    pub(crate) movers_left: AtomicUsize,
    /// Gets one item from each publisher and from each client when it is done.
    pub(crate) done: mpsc::UnboundedSender<()>,
}

/// A connection of a client.
struct Connection {
    socket: WebSocketClient,
    id: PublicId,
    /// Messages that came before the first pong: whether each is text, and its payload.
    early: VecDeque<(bool, Vec<u8>)>,
    /// The membership of the channel that the upgrade request names.
    membership: Option<Membership>,
}

/// A client.
struct Client {
    shared: Arc<Shared>,
    codec: DialectCodec,
    index: usize,
    socket: WebSocketClient,
    /// The public id of the current session.
    id: PublicId,
    /// As in [`Connection`].
    early: VecDeque<(bool, Vec<u8>)>,
    commands: u64,
    record: Record,
}

impl Shared {
    /// Returns the route whose namespace has the target.
    pub(crate) fn route(&self, handle: usize, target: Target) -> RouteHandle {
        let path = match target.letter() {
            "e" => "/edk",
            "p" => "/projectforge",
            _ => "/wserver",
        };
        self.handles[handle]
            .route(path)
            .expect("it is in the config")
    }

    fn send_done(&self) {
        self.done.send(()).expect("the test counts them");
    }

    fn is_moving(&self) -> bool {
        self.movers_left.load(Ordering::SeqCst) > 0
    }

    /// Waits until at most [`IN_FLIGHT_MAX`] deliveries have not been received.
    async fn wait_for_delivery(&self) {
        let is_behind = || {
            let delivered = self.log.delivered.load(Ordering::SeqCst);
            let received = self.log.received.load(Ordering::SeqCst);
            delivered > received + IN_FLIGHT_MAX
        };
        while is_behind() {
            tokio::task::yield_now().await;
        }
    }
}

/// Publishes to every channel in turn through a handle.
pub(crate) async fn publish(shared: Arc<Shared>, publisher: usize) {
    shared.ready.wait().await;
    let mut awaited = VecDeque::new();
    let channels = ["t", "e", "p"].into_iter().flat_map(Target::of);
    // Bursts put several messages for the same session into one turn.
    let bursts: Vec<Target> = channels.flat_map(|channel| [channel; BURST]).collect();
    let mut rounds = 0;
    while rounds < ROUNDS_MIN || shared.is_moving() {
        rounds += 1;
        for &target in &bursts {
            let pushed = shared.log.begin(publisher, target);
            let route = shared.route(publisher, target);
            let pending = route.publish(target.name(), Message::text("m", pushed.body()));
            awaited.push_back((pushed, pending));
            if awaited.len() > AWAITED_MAX {
                let (pushed, pending) = awaited.pop_front().expect("just seen");
                shared
                    .log
                    .complete(pushed, pending.await.expect("published"));
                shared.wait_for_delivery().await;
            }
        }
    }
    for (pushed, pending) in awaited {
        shared
            .log
            .complete(pushed, pending.await.expect("published"));
    }
    shared.send_done();
}

/// Pushes to users by HTTP.
pub(crate) async fn push(shared: Arc<Shared>, publisher: usize) {
    let mut client = WebSocketClient::connect(shared.address).await;
    shared.ready.wait().await;
    let mut rounds = 0;
    while rounds < ROUNDS_MIN || shared.is_moving() {
        rounds += 1;
        for target in Target::of("u") {
            let pushed = shared.log.begin(publisher, target);
            let (user, body) = (target.name(), pushed.body());
            let push = format!(r#"{{"userId":"{user}","event":"m","message":"{body}"}}"#);
            let (status, answer) = client.post("/push", &push).await;
            let total = answer.strip_prefix("message sent to ");
            let total = total.and_then(|rest| rest.strip_suffix(" clients"));
            assert_eq!(status, "200", "{answer}");
            let total = total.expect("the response of the original").parse();
            shared.log.complete(pushed, total.expect("a number"));
            shared.wait_for_delivery().await;
        }
    }
    shared.send_done();
}

/// Runs a client from its first connection to the end of its last.
pub(crate) async fn run_client(
    shared: Arc<Shared>,
    codec: DialectCodec,
    index: usize,
    publisher_index: Option<usize>,
) -> Record {
    let mut prng = Prng::from_seed(u64::try_from(index).expect("few"));
    let is_anchor = index.is_multiple_of(2);
    let targets: Vec<Target> = Target::of(codec.letter()).collect();
    let homes = [0, 1].map(|next| targets[(index / 2 + next) % targets.len()]);
    let first = (is_anchor && codec == DialectCodec::Projectforge).then_some(homes[0]);
    let begun = connect(&shared, codec, index, first).await;
    let mut client = Client {
        shared: Arc::clone(&shared),
        codec,
        index,
        socket: begun.socket,
        id: begun.id,
        early: begun.early,
        commands: 0,
        record: Record::default(),
    };
    client.record.is_anchor = is_anchor;
    client.record.memberships.extend(begun.membership);
    if is_anchor {
        for home in homes.into_iter().skip(usize::from(first.is_some())) {
            client.join(home).await;
        }
        if codec == DialectCodec::Wserver {
            client.register().await;
        }
    }
    shared.ready.wait().await;
    if is_anchor {
        if let Some(publisher) = publisher_index {
            client.publish_messages(publisher, homes[0]).await;
        }
    } else {
        client.change_channels(&targets, &mut prng).await;
        shared.movers_left.fetch_sub(1, Ordering::SeqCst);
        shared.send_done();
    }
    while client.record.ends < crate::SHARDS as u64 {
        client.take().await;
    }
    shared.send_done();
    // A stopping gateway sends no presence messages before the close.
    expect_close(client.socket, 1001).await;
    client.record
}

/// Connects. `channel` is joined by the upgrade request, which `projectforge` supports.
async fn connect(
    shared: &Shared,
    codec: DialectCodec,
    index: usize,
    channel: Option<Target>,
) -> Connection {
    let number = shared.connections.fetch_add(1, Ordering::SeqCst);
    let wanted = channel.map(|channel| format!("&ch={}", channel.name()));
    let target = format!("{}?n={number}{}", codec.path(), wanted.unwrap_or_default());
    let requested = channel.map(|channel| shared.log.applied(channel));
    let headers = match codec {
        DialectCodec::Easyws => "Cookie: auth=x\r\n".to_owned(),
        DialectCodec::Edk => format!("X-User-Id: user{index}\r\nSec-WebSocket-Protocol: token\r\n"),
        DialectCodec::Wserver | DialectCodec::Wsrv | DialectCodec::Projectforge => String::new(),
    };
    let client = WebSocketClient::open(shared.address, &target, &headers).await;
    let mut client = client.expect("the upgrade is granted");
    let confirmed = channel.map(|channel| shared.log.begun(channel));
    // A pong proves that the embedder has stored the id: no frame is read before.
    client.send(FrameType::Ping, b"").await;
    let mut early = VecDeque::new();
    loop {
        match client.next().await {
            Incoming::Message { is_text, payload } => early.push_back((is_text, payload)),
            Incoming::Pong => break,
            Incoming::Close(code) => panic!("closed: {code:?}"),
        }
    }
    let id = *shared.ids[number].get().expect("noted when it opened");
    let membership = channel
        .zip(requested.zip(confirmed))
        .map(|(target, join)| Membership {
            target,
            join,
            leave: None,
        });
    Connection {
        socket: client,
        id,
        early,
        membership,
    }
}

impl Client {
    /// Joins and leaves [`MOVES`] channels, receives some messages on each, and reconnects halfway.
    async fn change_channels(&mut self, targets: &[Target], prng: &mut Prng) {
        let mut on: VecDeque<Target> = VecDeque::new();
        for round in 0..MOVES {
            let mut elsewhere = targets.to_vec();
            elsewhere.retain(|it| !on.contains(it));
            let target = prng.pick(elsewhere.into_iter()).expect("there are others");
            if round == MOVES / 2 {
                while let Some(left) = on.pop_front() {
                    self.leave(left).await;
                }
                self.reconnect(target).await;
            } else {
                self.join(target).await;
            }
            on.push_back(target);
            self.receive(target, RECEIVED_PER_MOVE).await;
            if on.len() > 2 {
                let left = on.pop_front().expect("just seen");
                self.leave(left).await;
            }
        }
        for left in on {
            self.leave(left).await;
        }
    }

    /// Closes the session, which is on no channel, opens another and joins a channel. In `edk` the
    /// new session replaces the old one.
    async fn reconnect(&mut self, target: Target) {
        let is_from_start = self.codec == DialectCodec::Projectforge;
        let from_start = is_from_start.then_some(target);
        if self.codec != DialectCodec::Edk {
            self.socket
                .send(FrameType::Close, &1000_u16.to_be_bytes())
                .await;
            // Earlier messages may still arrive.
            loop {
                match self.socket.next().await {
                    Incoming::Message { is_text, payload } => self.note(is_text, &payload),
                    Incoming::Close(Some(1000)) => break,
                    other @ (Incoming::Pong | Incoming::Close(_)) => panic!("{other:?}"),
                };
            }
        }
        assert!(self.early.is_empty());
        let anew = connect(&self.shared, self.codec, self.index, from_start).await;
        let before = std::mem::replace(&mut self.socket, anew.socket);
        (self.id, self.early) = (anew.id, anew.early);
        if self.codec == DialectCodec::Edk {
            expect_close(before, 4001).await;
        } else {
            before.end().await;
        }
        match anew.membership {
            Some(membership) => {
                self.record.memberships.push(membership);
                self.note_move(target, true);
            }
            None => self.join(target).await,
        }
    }

    async fn join(&mut self, target: Target) {
        let requested = self.shared.log.applied(target);
        let joined = if self.codec == DialectCodec::Wserver {
            let route = self.shared.route(0, target);
            let joined = route.join(self.id, target.name()).await;
            u64::from(joined.expect("the session is there"))
        } else {
            self.call("join", target, "").await
        };
        let confirmed = self.shared.log.begun(target);
        assert_eq!(joined, 1, "it was not there");
        self.record.memberships.push(Membership {
            target,
            join: (requested, confirmed),
            leave: None,
        });
        self.note_move(target, true);
    }

    async fn leave(&mut self, target: Target) {
        let requested = self.shared.log.applied(target);
        let left = if self.codec == DialectCodec::Wserver {
            let route = self.shared.route(0, target);
            let left = route.leave(self.id, target.name()).await;
            u64::from(left.expect("the session is there"))
        } else {
            self.call("leave", target, "").await
        };
        let confirmed = self.shared.log.begun(target);
        assert_eq!(left, 1, "it was there");
        let mut memberships = self.record.memberships.iter_mut().rev();
        let membership = memberships.find(|it| it.target == target && it.leave.is_none());
        membership.expect("it was there").leave = Some((requested, confirmed));
        self.note_move(target, false);
    }

    fn note_move(&mut self, target: Target, connected: bool) {
        if self.codec == DialectCodec::Projectforge && !self.record.is_anchor {
            let moved = (target, self.id.to_string(), connected);
            self.record.moves.push(moved);
        }
    }

    /// Binds the session to a user.
    async fn register(&mut self) {
        let mut users = Target::of("u");
        let count = users.len();
        let target = users.nth(self.index / 2 % count).expect("one of them");
        let (requested, user) = (self.shared.log.applied(target), target.name());
        let register = format!(r#"{{"token":"{user}","event":"m"}}"#);
        self.socket.send(FrameType::Text, register.as_bytes()).await;
        self.socket.send(FrameType::Ping, b"").await;
        let incoming = self.socket.next().await;
        assert!(matches!(incoming, Incoming::Pong), "{incoming:?}");
        let confirmed = self.shared.log.begun(target);
        self.record.memberships.push(Membership {
            target,
            join: (requested, confirmed),
            leave: None,
        });
    }

    /// Lets the session's handler publish [`MESSAGES_PER_HANDLER`] messages.
    async fn publish_messages(&mut self, publisher: usize, target: Target) {
        for _ in 0..MESSAGES_PER_HANDLER {
            let pushed = self.shared.log.begin(publisher, target);
            let total = self.call("say", target, &pushed.body()).await;
            self.shared.log.complete(pushed, total);
        }
        self.shared.send_done();
    }

    /// Sends a command and returns the number in its reply.
    async fn call(&mut self, name: &str, target: Target, body: &str) -> u64 {
        self.commands += 1;
        let command = Command {
            id: self.commands,
            channel: target.name(),
            body: body.to_owned(),
        };
        for (kind, payload) in self.codec.encode(name, &command) {
            self.socket.send(kind, &payload).await;
        }
        loop {
            if let Some((id, number)) = self.take().await {
                assert_eq!(id, self.commands, "one reply for each command");
                return number;
            }
        }
    }

    /// Waits until `more` further messages have come on a channel.
    async fn receive(&mut self, target: Target, more: usize) {
        let is_there = |pushed: &&PendingPublication| pushed.target == target;
        let before = self.record.received.len();
        while self.record.received[before..]
            .iter()
            .filter(is_there)
            .count()
            < more
        {
            self.take().await;
        }
    }

    /// Records the next message. Returns the id and number of a reply, `None` for other messages.
    async fn take(&mut self) -> Option<(u64, u64)> {
        let (is_text, payload) = match self.early.pop_front() {
            Some(early) => early,
            None => match self.socket.next().await {
                Incoming::Message { is_text, payload } => (is_text, payload),
                other @ (Incoming::Pong | Incoming::Close(_)) => panic!("{other:?}"),
            },
        };
        self.note(is_text, &payload)
    }

    fn note(&mut self, is_text: bool, payload: &[u8]) -> Option<(u64, u64)> {
        match self.codec.decode(is_text, payload) {
            ServerMessage::Push(pushed) => {
                self.shared.log.received.fetch_add(1, Ordering::SeqCst);
                self.record.received.push(pushed);
            }
            ServerMessage::End => self.record.ends += 1,
            ServerMessage::Presence {
                target,
                who,
                connected,
            } => {
                assert_ne!(
                    who,
                    self.id.to_string(),
                    "no session receives its own presence"
                );
                self.record.presence.push((target, who, connected));
            }
            ServerMessage::Answer { id, number } => return Some((id, number)),
        }
        None
    }
}

/// Waits for a close frame with `code`, and for the end of the connection.
async fn expect_close(mut socket: WebSocketClient, code: u16) {
    let incoming = socket.next().await;
    assert!(
        matches!(incoming, Incoming::Close(Some(sent)) if sent == code),
        "{incoming:?}, not {code}"
    );
    socket.end().await;
}

/// Joins of each moving socket.
const MOVES: usize = 6;
/// Messages that a moving socket receives on a channel before it goes on.
const RECEIVED_PER_MOVE: usize = 4;
/// Messages that each publishing handler publishes.
const MESSAGES_PER_HANDLER: usize = 20;
const ROUNDS_MIN: usize = 4;
/// Consecutive messages of a publisher to one channel.
const BURST: usize = 3;
/// Publications of one publisher whose totals are pending at a time.
const AWAITED_MAX: usize = 8;
/// Deliveries that may be in flight before publishers wait.
const IN_FLIGHT_MAX: u64 = 20_000;
