//! A game whose state has one owner and is published to players and watchers on every shard: 21
//! sticks, two players take 1 to 3 in turn, and the one who takes the last stick wins.
//!
//! ```text
//! ann, on one shard        bob, on another            referee, a thread of its own
//!   | "sit" {"game":"g"}      |                          |
//!   |--------------------------------------------------->|  seat 0
//!   |                         | "sit" {"game":"g"}       |
//!   |                         |------------------------->|  seat 1
//!   | "take" {"count":3}      |                          |
//!   |--------------------------------------------------->|  checks, plays, publishes, responds
//!   |     "state" {"turn":3,"sticks":18,"next":1,..}     |
//!   |<------------------------|<-------------------------|
//! ```
//!
//! The referee handles one request at a time and publishes through one handle, so all sessions
//! receive the same states in the same order. A third session that sits down watches. A player who
//! leaves loses.
//!
//! Run it, and try it with the page at <http://127.0.0.1:8080/playground>, or from another
//! terminal:
//!
//! ```sh goes on
//! cargo run --example game
//! ```
//!
//! ```console
//! $ scripts/ws.py -n 2 ws://127.0.0.1:8080/game '{"cmd":"sit","seqno":"1","data":{"game":"g"}}'
//! ...
//! {"cmd":"sit","seqno":"1","status":0,"msg":"ok","data":{"seat":...}}
//! ...
//! ```

use campanile::config::{Config, PushFrame, Route};
use campanile::dialect::wsrv::Wsrv;
use campanile::public_id::PublicId;
use campanile::{Context, Failure, Gateway, Message, Reply, RouteHandle, Session};
use clap::Parser;
use serde::{Deserialize, Serialize};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

#[derive(Parser)]
struct Args {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

/// The game that a session plays or watches: the data of `sit`, then a session value.
#[derive(Clone, Deserialize)]
struct Table {
    game: String,
}

#[derive(Deserialize)]
struct Take {
    count: u32,
}

/// A request to the referee.
struct Request {
    player: PublicId,
    table: Table,
    action: Action,
    /// Receives the player's seat, or `None` if the session watches.
    response: oneshot::Sender<Result<Option<usize>, Failure>>,
}

enum Action {
    Sit,
    Take(u32),
    Leave,
}

/// The state of a game. Its serialized form is published to the game's channel.
#[derive(Serialize)]
struct Game {
    /// Number of changes so far.
    turn: u32,
    sticks: u32,
    next: usize,
    winner: Option<usize>,
    #[serde(skip)]
    seats: [Option<PublicId>; 2],
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let route = Route {
        push_frame: PushFrame::Text,
        playground_path: Some("/playground".to_owned()),
        ..Route::new("/game", &Wsrv)
    };
    let config = Config {
        listen: Args::parse().listen.into(),
        routes: vec![route],
        ..Config::default()
    };

    let (sender, requests) = mpsc::channel(1024);
    let (sit_sender, take_sender, leave_sender) = (sender.clone(), sender.clone(), sender);
    let gateway = Gateway::builder(config)
        .route("/game")
        .handle("sit", move |cx| sit(cx, sit_sender.clone()))
        .handle("take", move |cx| take(cx, take_sender.clone()))
        .on_close(move |session| leave(session, leave_sender.clone()))
        .start()?;
    let route = gateway.route("/game").expect("it is in the config");
    let referee = std::thread::Builder::new().name("referee".to_owned());
    referee.spawn(move || run_games(&route, requests))?;
    tracing::info!("clients connect to ws://{}/game", gateway.local_addr());

    signals.forever().next();
    let counters = gateway.stop(Duration::from_secs(5));
    tracing::info!("{} sessions were served", counters.sessions_opened);
    Ok(())
}

async fn sit(cx: Context, sender: mpsc::Sender<Request>) -> Result<Reply, Failure> {
    let table: Table = cx.bind()?;
    let values = cx.session().values();
    if values.get::<Table>().is_some() {
        return Err(Failure::new(409, "you sit somewhere already"));
    }
    values.insert(table.clone());
    let seat = send_request(cx.session(), table, Action::Sit, sender).await?;
    Ok(Reply::json(&json!({ "seat": seat }))?)
}

async fn take(cx: Context, sender: mpsc::Sender<Request>) -> Result<Reply, Failure> {
    let Take { count } = cx.bind()?;
    let table = cx.session().values().get::<Table>();
    let table = table.ok_or_else(|| Failure::new(409, "you sit nowhere"))?;
    send_request(cx.session(), table, Action::Take(count), sender).await?;
    Ok(Reply::ok())
}

async fn leave(session: Session, sender: mpsc::Sender<Request>) {
    if let Some(table) = session.values().get::<Table>() {
        drop(send_request(&session, table, Action::Leave, sender).await);
    }
}

/// Sends a request to the referee and waits for the response.
async fn send_request(
    session: &Session,
    table: Table,
    action: Action,
    sender: mpsc::Sender<Request>,
) -> Result<Option<usize>, Failure> {
    let (response, receiver) = oneshot::channel();
    let request = Request {
        player: session.id(),
        table,
        action,
        response,
    };
    drop(sender.send(request).await); // if the referee has ended, `receiver` fails, too
    receiver.await?
}

/// The referee, the owner of all games. Returns when all senders are dropped.
fn run_games(route: &RouteHandle, mut requests: mpsc::Receiver<Request>) {
    let mut games: BTreeMap<String, Game> = BTreeMap::new();
    while let Some(request) = requests.blocking_recv() {
        let (player, name) = (request.player, request.table.game.as_str());
        let game = games.entry(name.to_owned()).or_default();
        let result = match request.action {
            // Join before the publication, so that the session receives this state.
            Action::Sit => match route.join(player, name).wait() {
                Ok(_) => Ok(game.sit(player)),
                Err(error) => Err(error.into()),
            },
            Action::Take(count) => game.take(player, count),
            Action::Leave => Ok(game.leave(player)),
        };
        if result.is_ok() {
            game.turn += 1;
            route.publish(name, Message::json("state", game).expect("plain data"));
        }
        if game.seats == [None, None] {
            games.remove(name);
        }
        drop(request.response.send(result)); // it fails if the session is closed
    }
}

impl Game {
    /// Takes a free seat and returns it; `None` if both are taken.
    fn sit(&mut self, player: PublicId) -> Option<usize> {
        let seat = self.seats.iter().position(Option::is_none)?;
        self.seats[seat] = Some(player);
        Some(seat)
    }

    /// Takes sticks. Fails with 409 if the player may not take that many now.
    fn take(&mut self, player: PublicId, count: u32) -> Result<Option<usize>, Failure> {
        let seat = self.seat_of(player);
        let reason = match seat {
            None => "you are watching",
            _ if self.winner.is_some() || self.seats.contains(&None) => "the game is not on",
            Some(seat) if seat != self.next => "it is not your turn",
            _ if count == 0 || count > self.sticks.min(3) => "take 1 to 3 of those that are left",
            Some(seat) => {
                self.sticks -= count;
                self.next = 1 - seat;
                self.winner = (self.sticks == 0).then_some(seat);
                return Ok(Some(seat));
            }
        };
        Err(Failure::new(409, reason))
    }

    /// Frees the player's seat; the other player wins. `None` if the player only watched.
    fn leave(&mut self, player: PublicId) -> Option<usize> {
        let seat = self.seat_of(player)?;
        self.seats[seat] = None;
        self.winner = self.winner.or(Some(1 - seat));
        Some(seat)
    }

    fn seat_of(&self, player: PublicId) -> Option<usize> {
        self.seats.iter().position(|&seat| seat == Some(player))
    }
}

impl Default for Game {
    fn default() -> Self {
        Self {
            turn: 0,
            sticks: 21,
            next: 0,
            winner: None,
            seats: [None, None],
        }
    }
}
