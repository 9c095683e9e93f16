//! A game whose state has one owner and is kept in step for players and watchers on every shard:
//! 21 sticks, two players take 1 to 3 in turn, and who takes the last one wins.
//!
//! ```text
//! ann, on one shard        bob, on another            referee, a thread of its own
//!   | "sit" {"game":"g"}      |                          |
//!   |--------------------------------------------------->|  seat 0
//!   |                         | "sit" {"game":"g"}       |
//!   |                         |------------------------->|  seat 1
//!   | "take" {"count":3}      |                          |
//!   |--------------------------------------------------->|  checks, plays, publishes, answers
//!   |     "state" {"turn":3,"sticks":18,"next":1,..}     |
//!   |<------------------------|<-------------------------|
//! ```
//!
//! The referee does one thing after the other and publishes through one handle, so everybody sees
//! the same states in the same order. A third who sits down watches. Who leaves loses.
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
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

/// Which game a session plays or watches: the data of `sit`, and then a value of the session.
#[derive(Clone, Deserialize)]
struct Table {
    game: String,
}

#[derive(Deserialize)]
struct Take {
    count: u32,
}

/// What somebody wants of the referee, who answers with their seat.
struct Ask {
    player: PublicId,
    table: Table,
    wish: Wish,
    answer: oneshot::Sender<Result<Option<usize>, Failure>>,
}

enum Wish {
    Sit,
    Take(u32),
    Leave,
}

/// One game, as everybody who plays or watches is told about it.
#[derive(Serialize)]
struct Game {
    /// Grows by one whenever anything changes.
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

    let (asks, asked) = mpsc::channel(1024);
    let (sitting, taking, leaving) = (asks.clone(), asks.clone(), asks);
    let gateway = Gateway::builder(config)
        .route("/game")
        .handle("sit", move |cx| sit(cx, sitting.clone()))
        .handle("take", move |cx| take(cx, taking.clone()))
        .on_close(move |session| leave(session, leaving.clone()))
        .start()?;
    let route = gateway.route("/game").expect("it is in the config");
    let referee = std::thread::Builder::new().name("referee".to_owned());
    referee.spawn(move || run_games(&route, asked))?;
    tracing::info!("clients connect to ws://{}/game", gateway.local_addr());

    signals.forever().next();
    let counters = gateway.stop(Duration::from_secs(5));
    tracing::info!("{} sessions were served", counters.sessions_opened);
    Ok(())
}

async fn sit(cx: Context, asks: mpsc::Sender<Ask>) -> Result<Reply, Failure> {
    let table: Table = cx.bind()?;
    let values = cx.session().values();
    if values.get::<Table>().is_some() {
        return Err(Failure::new(409, "you sit somewhere already"));
    }
    values.insert(table.clone());
    let seat = ask(cx.session(), table, Wish::Sit, asks).await?;
    Ok(Reply::json(&json!({ "seat": seat }))?)
}

async fn take(cx: Context, asks: mpsc::Sender<Ask>) -> Result<Reply, Failure> {
    let Take { count } = cx.bind()?;
    let table = cx.session().values().get::<Table>();
    let table = table.ok_or_else(|| Failure::new(409, "you sit nowhere"))?;
    ask(cx.session(), table, Wish::Take(count), asks).await?;
    Ok(Reply::ok())
}

async fn leave(session: Session, asks: mpsc::Sender<Ask>) {
    if let Some(table) = session.values().get::<Table>() {
        drop(ask(&session, table, Wish::Leave, asks).await);
    }
}

async fn ask(
    session: &Session,
    table: Table,
    wish: Wish,
    asks: mpsc::Sender<Ask>,
) -> Result<Option<usize>, Failure> {
    let (answer, answered) = oneshot::channel();
    let ask = Ask {
        player: session.id(),
        table,
        wish,
        answer,
    };
    drop(asks.send(ask).await); // without a referee nobody answers either
    answered.await?
}

/// The referee: the only one who knows the games. Ends when nobody can ask any more.
fn run_games(route: &RouteHandle, mut asked: mpsc::Receiver<Ask>) {
    let mut games: BTreeMap<String, Game> = BTreeMap::new();
    while let Some(ask) = asked.blocking_recv() {
        let (player, name) = (ask.player, ask.table.game.as_str());
        let game = games.entry(name.to_owned()).or_default();
        let done = match ask.wish {
            // On the channel before anything is published, so that nothing is missed.
            Wish::Sit => match route.join(player, name).wait() {
                Ok(_) => Ok(game.sit(player)),
                Err(error) => Err(error.into()),
            },
            Wish::Take(count) => game.take(player, count),
            Wish::Leave => Ok(game.leave(player)),
        };
        if done.is_ok() {
            game.turn += 1;
            route.publish(name, Message::json("state", game).expect("plain data"));
        }
        if game.seats == [None, None] {
            games.remove(name);
        }
        drop(ask.answer.send(done)); // whoever asked may have gone
    }
}

impl Game {
    /// Takes a seat if one is free.
    fn sit(&mut self, player: PublicId) -> Option<usize> {
        let seat = self.seats.iter().position(Option::is_none)?;
        self.seats[seat] = Some(player);
        Some(seat)
    }

    fn take(&mut self, player: PublicId, count: u32) -> Result<Option<usize>, Failure> {
        let seat = self.seat_of(player);
        let refusal = match seat {
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
        Err(Failure::new(409, refusal))
    }

    /// Gives up a seat, and the game with it.
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
