//! What clients and publishers do: some stay where they are, some move, and all the time there is
//! talk.

use crate::model::{Ledger, Pushed, Record, Stay, Target};
use crate::tongue::{Asked, Heard, Tongue};
use crate::wire::{FrameType, Incoming, Wire};
use campanile::handler::{Handle, Message, RouteHandle};
use campanile::public_id::PublicId;
use campanile_tests::prng::Prng;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{Barrier, mpsc};

/// What all of them share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    /// Each publishes through the next shard.
    pub(crate) handles: Vec<Handle>,
    pub(crate) ledger: Ledger,
    /// By connection: its public id, which the embedder has noted.
    pub(crate) ids: Arc<[OnceLock<PublicId>]>,
    pub(crate) connections: AtomicUsize,
    /// Everybody is where they begin.
    pub(crate) ready: Barrier,
    pub(crate) movers_left: AtomicUsize,
    /// Whoever says nothing more, and moves no more, says so here.
    pub(crate) done: mpsc::UnboundedSender<()>,
}

/// One connection of a client.
struct Connection {
    wire: Wire,
    id: PublicId,
    /// What came before it knew that it was there.
    early: VecDeque<(bool, Vec<u8>)>,
    /// Where it is from the start.
    stay: Option<Stay>,
}

/// One client.
struct Client {
    world: Arc<World>,
    tongue: Tongue,
    index: usize,
    wire: Wire,
    /// Its public id now.
    id: PublicId,
    early: VecDeque<(bool, Vec<u8>)>,
    asked: u64,
    record: Record,
}

impl World {
    /// The route through which a target is published to.
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

    fn say_done(&self) {
        self.done.send(()).expect("somebody counts them");
    }

    fn is_moving(&self) -> bool {
        self.movers_left.load(Ordering::SeqCst) > 0
    }

    /// Waits until clients have heard most of what was published.
    async fn let_them_hear(&self) {
        let is_behind = || {
            let delivered = self.ledger.delivered.load(Ordering::SeqCst);
            let heard = self.ledger.heard.load(Ordering::SeqCst);
            delivered > heard + UNHEARD_MAX
        };
        while is_behind() {
            tokio::task::yield_now().await;
        }
    }
}

/// Publishes to every channel in turn, through a handle.
pub(crate) async fn publish(world: Arc<World>, publisher: usize) {
    world.ready.wait().await;
    let mut awaited = VecDeque::new();
    let channels = ["t", "e", "p"].into_iter().flat_map(Target::of);
    // In bursts, so that messages for the same sessions follow each other closely.
    let bursts: Vec<Target> = channels.flat_map(|channel| [channel; BURST]).collect();
    let mut rounds = 0;
    while rounds < ROUNDS_MIN || world.is_moving() {
        rounds += 1;
        for &target in &bursts {
            let pushed = world.ledger.begin(publisher, target);
            let route = world.route(publisher, target);
            let pending = route.publish(target.name(), Message::text("m", pushed.body()));
            awaited.push_back((pushed, pending));
            if awaited.len() > AWAITED_MAX {
                let (pushed, pending) = awaited.pop_front().expect("just seen");
                world
                    .ledger
                    .complete(pushed, pending.await.expect("published"));
                world.let_them_hear().await;
            }
        }
    }
    for (pushed, pending) in awaited {
        world
            .ledger
            .complete(pushed, pending.await.expect("published"));
    }
    world.say_done();
}

/// Pushes to users, over HTTP.
pub(crate) async fn push(world: Arc<World>, publisher: usize) {
    let mut wire = Wire::connect(world.address).await;
    world.ready.wait().await;
    let mut rounds = 0;
    while rounds < ROUNDS_MIN || world.is_moving() {
        rounds += 1;
        for target in Target::of("u") {
            let pushed = world.ledger.begin(publisher, target);
            let (user, body) = (target.name(), pushed.body());
            let push = format!(r#"{{"userId":"{user}","event":"m","message":"{body}"}}"#);
            let (status, answer) = wire.post("/push", &push).await;
            let total = answer.strip_prefix("message sent to ");
            let total = total.and_then(|rest| rest.strip_suffix(" clients"));
            assert_eq!(status, "200", "{answer}");
            let total = total.expect("the words of the original").parse();
            world.ledger.complete(pushed, total.expect("a number"));
            world.let_them_hear().await;
        }
    }
    world.say_done();
}

/// One client from its first connection to the end of its last.
pub(crate) async fn attend(
    world: Arc<World>,
    tongue: Tongue,
    index: usize,
    sayer: Option<usize>,
) -> Record {
    let mut prng = Prng::from_seed(u64::try_from(index).expect("few"));
    let is_anchor = index.is_multiple_of(2);
    let targets: Vec<Target> = Target::of(tongue.letter()).collect();
    let homes = [0, 1].map(|next| targets[(index / 2 + next) % targets.len()]);
    let first = (is_anchor && tongue == Tongue::Projectforge).then_some(homes[0]);
    let begun = connect(&world, tongue, index, first).await;
    let mut client = Client {
        world: Arc::clone(&world),
        tongue,
        index,
        wire: begun.wire,
        id: begun.id,
        early: begun.early,
        asked: 0,
        record: Record::default(),
    };
    client.record.is_anchor = is_anchor;
    client.record.stays.extend(begun.stay);
    if is_anchor {
        for home in homes.into_iter().skip(usize::from(first.is_some())) {
            client.join(home).await;
        }
        if tongue == Tongue::Wserver {
            client.register().await;
        }
    }
    world.ready.wait().await;
    if is_anchor {
        if let Some(publisher) = sayer {
            client.say_things(publisher, homes[0]).await;
        }
    } else {
        client.move_about(&targets, &mut prng).await;
        world.movers_left.fetch_sub(1, Ordering::SeqCst);
        world.say_done();
    }
    while client.record.ends < crate::SHARDS as u64 {
        client.take().await;
    }
    world.say_done();
    // When the gateway stops, nobody is told who goes.
    expect_close(client.wire, 1001).await;
    client.record
}

/// Connects, on a channel from the start where the language has that; returns the stay there too.
async fn connect(
    world: &World,
    tongue: Tongue,
    index: usize,
    channel: Option<Target>,
) -> Connection {
    let number = world.connections.fetch_add(1, Ordering::SeqCst);
    let wanted = channel.map(|channel| format!("&ch={}", channel.name()));
    let target = format!("{}?n={number}{}", tongue.path(), wanted.unwrap_or_default());
    let asked = channel.map(|channel| world.ledger.applied(channel));
    let headers = match tongue {
        Tongue::Easyws => "Cookie: auth=x\r\n".to_owned(),
        Tongue::Edk => format!("X-User-Id: user{index}\r\nSec-WebSocket-Protocol: token\r\n"),
        Tongue::Wserver | Tongue::Wsrv | Tongue::Projectforge => String::new(),
    };
    let wire = Wire::open(world.address, &target, &headers).await;
    let mut wire = wire.expect("the upgrade is granted");
    let told = channel.map(|channel| world.ledger.begun(channel));
    // A pong shows that the embedder has noted the id: nothing is read before.
    wire.send(FrameType::Ping, b"").await;
    let mut early = VecDeque::new();
    loop {
        match wire.next().await {
            Incoming::Message { is_text, payload } => early.push_back((is_text, payload)),
            Incoming::Pong => break,
            Incoming::Close(code) => panic!("closed: {code:?}"),
        }
    }
    let id = *world.ids[number].get().expect("noted when it opened");
    let stay = channel.zip(asked.zip(told)).map(|(target, join)| Stay {
        target,
        join,
        leave: None,
    });
    Connection {
        wire,
        id,
        early,
        stay,
    }
}

impl Client {
    /// Comes to channels and goes from them, hearing a little in between; connects anew on the way.
    async fn move_about(&mut self, targets: &[Target], prng: &mut Prng) {
        let mut on: VecDeque<Target> = VecDeque::new();
        for round in 0..MOVES {
            let mut elsewhere = targets.to_vec();
            elsewhere.retain(|it| !on.contains(it));
            let target = prng.pick(elsewhere.into_iter()).expect("there are others");
            if round == MOVES / 2 {
                while let Some(left) = on.pop_front() {
                    self.leave(left).await;
                }
                self.connect_anew(target).await;
            } else {
                self.join(target).await;
            }
            on.push_back(target);
            self.hear(target, HEARD_PER_MOVE).await;
            if on.len() > 2 {
                let left = on.pop_front().expect("just seen");
                self.leave(left).await;
            }
        }
        for left in on {
            self.leave(left).await;
        }
    }

    /// Ends its session, which is on no channel, begins another and joins a channel there. A client
    /// of `edk` leaves it to the other to end the first.
    async fn connect_anew(&mut self, target: Target) {
        let is_from_start = self.tongue == Tongue::Projectforge;
        let from_start = is_from_start.then_some(target);
        if self.tongue != Tongue::Edk {
            self.wire
                .send(FrameType::Close, &1000_u16.to_be_bytes())
                .await;
            // What was said before it left may be on its way still.
            loop {
                match self.wire.next().await {
                    Incoming::Message { is_text, payload } => self.note(is_text, &payload),
                    Incoming::Close(Some(1000)) => break,
                    other @ (Incoming::Pong | Incoming::Close(_)) => panic!("{other:?}"),
                };
            }
        }
        assert!(self.early.is_empty());
        let anew = connect(&self.world, self.tongue, self.index, from_start).await;
        let before = std::mem::replace(&mut self.wire, anew.wire);
        (self.id, self.early) = (anew.id, anew.early);
        if self.tongue == Tongue::Edk {
            expect_close(before, 4001).await;
        } else {
            before.end().await;
        }
        match anew.stay {
            Some(stay) => {
                self.record.stays.push(stay);
                self.note_move(target, true);
            }
            None => self.join(target).await,
        }
    }

    async fn join(&mut self, target: Target) {
        let asked = self.world.ledger.applied(target);
        let joined = if self.tongue == Tongue::Wserver {
            let route = self.world.route(0, target);
            let joined = route.join(self.id, target.name()).await;
            u64::from(joined.expect("the session is there"))
        } else {
            self.ask("join", target, "").await
        };
        let told = self.world.ledger.begun(target);
        assert_eq!(joined, 1, "it was not there");
        self.record.stays.push(Stay {
            target,
            join: (asked, told),
            leave: None,
        });
        self.note_move(target, true);
    }

    async fn leave(&mut self, target: Target) {
        let asked = self.world.ledger.applied(target);
        let left = if self.tongue == Tongue::Wserver {
            let route = self.world.route(0, target);
            let left = route.leave(self.id, target.name()).await;
            u64::from(left.expect("the session is there"))
        } else {
            self.ask("leave", target, "").await
        };
        let told = self.world.ledger.begun(target);
        assert_eq!(left, 1, "it was there");
        let mut stays = self.record.stays.iter_mut().rev();
        let stay = stays.find(|it| it.target == target && it.leave.is_none());
        stay.expect("it was there").leave = Some((asked, told));
        self.note_move(target, false);
    }

    fn note_move(&mut self, target: Target, connected: bool) {
        if self.tongue == Tongue::Projectforge && !self.record.is_anchor {
            let moved = (target, self.id.to_string(), connected);
            self.record.moves.push(moved);
        }
    }

    /// Speaks for a user, and is pushed to as such.
    async fn register(&mut self) {
        let mut users = Target::of("u");
        let count = users.len();
        let target = users.nth(self.index / 2 % count).expect("one of them");
        let (asked, user) = (self.world.ledger.applied(target), target.name());
        let register = format!(r#"{{"token":"{user}","event":"m"}}"#);
        self.wire.send(FrameType::Text, register.as_bytes()).await;
        self.wire.send(FrameType::Ping, b"").await;
        let incoming = self.wire.next().await;
        assert!(matches!(incoming, Incoming::Pong), "{incoming:?}");
        let told = self.world.ledger.begun(target);
        self.record.stays.push(Stay {
            target,
            join: (asked, told),
            leave: None,
        });
    }

    /// Has its handler publish, a few times.
    async fn say_things(&mut self, publisher: usize, target: Target) {
        for _ in 0..SAID {
            let pushed = self.world.ledger.begin(publisher, target);
            let total = self.ask("say", target, &pushed.body()).await;
            self.world.ledger.complete(pushed, total);
        }
        self.world.say_done();
    }

    /// Asks for something, and waits for the answer.
    async fn ask(&mut self, command: &str, target: Target, body: &str) -> u64 {
        self.asked += 1;
        let asked = Asked {
            id: self.asked,
            channel: target.name(),
            body: body.to_owned(),
        };
        for (kind, payload) in self.tongue.say(command, &asked) {
            self.wire.send(kind, &payload).await;
        }
        loop {
            if let Some((id, number)) = self.take().await {
                assert_eq!(id, self.asked, "one answer for each request");
                return number;
            }
        }
    }

    /// Waits until it has heard some more on a channel.
    async fn hear(&mut self, target: Target, more: usize) {
        let is_there = |pushed: &&Pushed| pushed.target == target;
        let before = self.record.heard.len();
        while self.record.heard[before..].iter().filter(is_there).count() < more {
            self.take().await;
        }
    }

    /// Takes note of the next message; returns an answer.
    async fn take(&mut self) -> Option<(u64, u64)> {
        let (is_text, payload) = match self.early.pop_front() {
            Some(early) => early,
            None => match self.wire.next().await {
                Incoming::Message { is_text, payload } => (is_text, payload),
                other @ (Incoming::Pong | Incoming::Close(_)) => panic!("{other:?}"),
            },
        };
        self.note(is_text, &payload)
    }

    fn note(&mut self, is_text: bool, payload: &[u8]) -> Option<(u64, u64)> {
        match self.tongue.understand(is_text, payload) {
            Heard::Push(pushed) => {
                self.world.ledger.heard.fetch_add(1, Ordering::SeqCst);
                self.record.heard.push(pushed);
            }
            Heard::CloseCause => self.record.ends += 1,
            Heard::Presence {
                target,
                who,
                connected,
            } => {
                assert_ne!(who, self.id.to_string(), "nobody is told of themselves");
                self.record.presence.push((target, who, connected));
            }
            Heard::Answer { id, number } => return Some((id, number)),
        }
        None
    }
}

/// Waits for a close frame with this code, and for the end behind it.
async fn expect_close(mut wire: Wire, code: u16) {
    let incoming = wire.next().await;
    assert!(
        matches!(incoming, Incoming::Close(Some(sent)) if sent == code),
        "{incoming:?}, not {code}"
    );
    wire.end().await;
}

/// Times that a mover comes to a channel.
const MOVES: usize = 6;
/// What it hears there before it goes on.
const HEARD_PER_MOVE: usize = 4;
/// What each sayer says.
const SAID: usize = 20;
const ROUNDS_MIN: usize = 4;
/// What a publisher says to one channel before it goes on to the next.
const BURST: usize = 3;
/// Publications of one publisher whose totals are awaited at one time.
const AWAITED_MAX: usize = 8;
/// Messages that may be on their way to clients before publishers wait.
const UNHEARD_MAX: u64 = 20_000;
