//! A chat with rooms: all members receive joins, leaves and messages in the same order.
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
//! The dialect is `projectforge`. Its own presence, `online-update`, has session ids but no names,
//! so the example publishes `joined` and `left`. A message for a room that the session is not in
//! gets `refused`. A parameter with a wrong or missing member is a failure and closes with 1011.
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
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

#[derive(Deserialize, Validate)]
struct Say {
    #[garde(length(min = 1, max = 1000))]
    text: String,
}

#[derive(Deserialize, Validate)]
struct RoomName {
    #[garde(length(min = 1, max = 64))]
    room: String,
}

/// The rooms of a session, a session value: `left` is published to them on close.
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
        .on_open(async |session: Session| announce(&session, "joined"))
        .on_close(async |session: Session| announce(&session, "left"))
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

/// Accepts clients with a name. Joins the lobby if the URL names no channel.
async fn admit(upgrade: Upgrade) -> Result<Admission, Rejection> {
    let name = upgrade.query("name").filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Rejection::new(400, "who are you? add ?name=\n"))?;
    let room = upgrade.channel().unwrap_or("lobby");
    let admission = Admission::new()
        .profile(Profile::named(name))
        .value(Rooms::from([room.to_owned()]));
    Ok(match upgrade.channel() {
        Some(_) => admission, // the dialect joins it
        None => admission.join(room),
    })
}

/// Publishes `joined` or `left` to the other members of all rooms of a session.
fn announce(session: &Session, event: &str) {
    for room in session.values().get::<Rooms>().unwrap_or_default() {
        announce_in(session, &room, event);
    }
}

fn announce_in(session: &Session, room: &str, event: &str) {
    let notice = Message::text(event, session.profile().name.as_str());
    session
        .route()
        .publish_except(room, notice, &[session.id()]);
}

async fn join(cx: Context) -> Result<(), Failure> {
    let RoomName { room } = cx.bind_valid()?;
    let session = cx.session();
    if cx.join(room.as_str()).await? {
        announce_in(session, &room, "joined");
        session
            .values()
            .with(|rooms: &mut Rooms| rooms.insert(room));
    }
    Ok(())
}

async fn leave(cx: Context) -> Result<(), Failure> {
    let RoomName { room } = cx.bind_valid()?;
    let session = cx.session();
    if cx.leave(room.as_str()).await? {
        announce_in(session, &room, "left");
        session
            .values()
            .with(|rooms: &mut Rooms| rooms.remove(&room));
    }
    Ok(())
}

/// Publishes a text to all members of the message's room, the sender included.
async fn say(cx: Context) -> Result<Option<Reply>, Failure> {
    let Say { text } = cx.bind_valid()?;
    if !is_in(&cx, cx.channel()) {
        return Ok(Some(refused()));
    }
    let said = json!({ "name": cx.session().profile().name, "text": text });
    cx.publish(cx.channel(), Message::json("said", &said)?);
    Ok(None)
}

/// Replies with the names of the members of the message's room.
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
