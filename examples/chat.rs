//! A chat with rooms: everybody sees who joins, who leaves and what is said, in the same order.
//!
//! ```text
//! bob                                        chat                     ann, in "lobby"
//!   | GET /chat?name=bob                       |                            |
//!   |----------------------------------------->|  "joined" "bob"            |
//!   | {"channel":"lobby","cmd":"who"}          |--------------------------->|
//!   |----------------------------------------->|                            |
//!   |                "who" {"names":["ann",..]}|                            |
//!   |<-----------------------------------------|                            |
//!   | {"channel":"lobby","cmd":"say",          |                            |
//!   |  "param":{"text":"hi"}}                  |                            |
//!   |----------------------------------------->|                            |
//!   |        "said" {"name":"bob","text":"hi"} |  the same                  |
//!   |<-----------------------------------------|--------------------------->|
//!   | {"cmd":"leave","param":{"room":"lobby"}} |                            |
//!   |----------------------------------------->|  "left" "bob"              |
//!   |                                          |--------------------------->|
//! ```
//!
//! The language is that of Project Forge, whose own `online-update` knows sessions and no names.
//! What cannot be done, such as to speak in a room that one is not in, is answered with `refused`.
//! A parameter whose member is wrong or missing is a failure, and that ends the session with 1011.
//!
//! Run it, and try it from other terminals:
//!
//! ```sh goes on
//! cargo run --example chat
//! ```
//!
//! ```console goes on
//! $ scripts/ws.py 'ws://127.0.0.1:8080/chat?name=bob'
//! ...
//!   "cmd": "joined",
//!   "param": "ann"
//! ...
//!   "cmd": "said",
//!   "param": {
//!     "name": "ann",
//!     "text": "hi"
//! ...
//!   "cmd": "left",
//!   "param": "ann"
//! ...
//! ```
//!
//! ```console
//! $ scripts/ws.py -n 3 'ws://127.0.0.1:8080/chat?name=ann' \
//! >   '{"channel":"lobby","cmd":"who"}' \
//! >   '{"channel":"lobby","cmd":"say","param":{"text":"hi"}}' \
//! >   '{"channel":"garden","cmd":"who"}'
//! ...
//!       "ann",
//!       "bob"
//! ...
//!   "cmd": "said",
//!   "param": {
//!     "name": "ann",
//!     "text": "hi"
//! ...
//!   "channel": "garden",
//!   "cmd": "refused",
//!   "param": "you are not in this room"
//! }
//! $ scripts/ws.py 'ws://127.0.0.1:8080/chat?name=eve&ch=garden' \
//! >   '{"channel":"garden","cmd":"say","param":{"txt":"hi"}}' 2>&1 || true
//! closed 1011 message handling failed
//! ```

use campanile::config::{Config, Route};
use campanile::dialect::projectforge::Projectforge;
use campanile::handler::{Admission, Profile, Rejection, Upgrade};
use campanile::{Context, Failure, Gateway, Message, Reply, Session};
use clap::Parser;
use garde::Validate;
use serde::Deserialize;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::BTreeSet;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Parser)]
struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

#[derive(Deserialize, Validate)]
struct Say {
    #[garde(length(min = 1, max = 1000))]
    text: String,
}

#[derive(Deserialize, Validate)]
struct Where {
    #[garde(length(min = 1, max = 64))]
    room: String,
}

/// The rooms that a session is in, for whoever has to say that it has left them.
type Rooms = BTreeSet<String>;

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let config = Config {
        listen: Args::parse().listen.into(),
        routes: vec![Route::new("/chat", &Projectforge)],
        ..Config::default()
    };

    let gateway = Gateway::builder(config)
        .route("/chat")
        .admit(admit)
        .on_open(async |session: Session| tell(&session, "joined"))
        .on_close(async |session: Session| tell(&session, "left"))
        .handle("join", join)
        .handle("leave", leave)
        .handle("say", say)
        .handle("who", who)
        .start()?;
    tracing::info!(
        "clients connect to ws://{}/chat?name=..",
        gateway.local_addr()
    );

    signals.forever().next();
    let counters = gateway.stop(Duration::from_secs(5));
    tracing::info!("{} sessions were served", counters.sessions_opened);
    Ok(())
}

/// Whoever has a name comes in, and begins in the room that it asks for, or in the lobby.
async fn admit(upgrade: Upgrade) -> Result<Admission, Rejection> {
    let name = upgrade.query("name").filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Rejection::new(400, "who are you? add ?name=\n"))?;
    let room = upgrade.channel().unwrap_or("lobby");
    let admission = Admission::new()
        .profile(Profile::named(name))
        .value(Rooms::from([room.to_owned()]));
    Ok(match upgrade.channel() {
        Some(_) => admission, // on it already
        None => admission.join(room),
    })
}

/// Tells the others in all rooms of a session that it has joined or left.
fn tell(session: &Session, event: &str) {
    for room in session.values().get::<Rooms>().unwrap_or_default() {
        tell_room(session, &room, event);
    }
}

fn tell_room(session: &Session, room: &str, event: &str) {
    let notice = Message::text(event, session.profile().name.as_str());
    session
        .route()
        .publish_except(room, notice, &[session.id()]);
}

async fn join(cx: Context) -> Result<(), Failure> {
    let Where { room } = cx.bind_valid()?;
    let session = cx.session();
    if cx.join(room.as_str()).await? {
        tell_room(session, &room, "joined");
        session
            .values()
            .with(|rooms: &mut Rooms| rooms.insert(room));
    }
    Ok(())
}

async fn leave(cx: Context) -> Result<(), Failure> {
    let Where { room } = cx.bind_valid()?;
    let session = cx.session();
    if cx.leave(room.as_str()).await? {
        tell_room(session, &room, "left");
        session
            .values()
            .with(|rooms: &mut Rooms| rooms.remove(&room));
    }
    Ok(())
}

/// Says something to everybody in the room that the message names, the speaker included.
async fn say(cx: Context) -> Result<Option<Reply>, Failure> {
    let Say { text } = cx.bind_valid()?;
    if !is_in(&cx, cx.channel()) {
        return Ok(Some(refused()));
    }
    let said = json!({ "name": cx.session().profile().name, "text": text });
    cx.publish(cx.channel(), Message::json("said", &said)?);
    Ok(None)
}

/// Answers who is in the room that the message names.
async fn who(cx: Context) -> Result<Reply, Failure> {
    if !is_in(&cx, cx.channel()) {
        return Ok(refused());
    }
    let members = cx.route().members(cx.channel()).await?;
    let names: BTreeSet<String> = members.into_iter().map(|member| member.name).collect();
    Ok(Reply::json(&json!({ "names": names }))?)
}

fn is_in(cx: &Context, room: &str) -> bool {
    let values = cx.session().values();
    values.with(|rooms: &mut Rooms| rooms.contains(room)) == Some(true)
}

fn refused() -> Reply {
    Reply::text("you are not in this room").with_event("refused")
}
