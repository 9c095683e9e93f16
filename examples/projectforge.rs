//! The documented sample of Project Forge's websocket module: a page that pings, chats and joins.
//!
//! ```text
//! page at /example                             projectforge             others in "room"
//!   | GET /example/socket?ch=room                |                            |
//!   |------------------------------------------->|  "online-update"           |
//!   | {"channel":"room","cmd":"ping",            |--------------------------->|
//!   |  "param":null}                             |                            |
//!   |------------------------------------------->|                            |
//!   |     "pong" {"timestamp":1767225600000}     |  the same                  |
//!   |<-------------------------------------------|--------------------------->|
//!   | {"channel":"room","cmd":"chat",            |                            |
//!   |  "param":{"text":"hi"}}                    |                            |
//!   |------------------------------------------->|                            |
//!   |     "chat" {"text":"hi",                   |                            |
//!   |      "time":1767225600000,"user":"Guest"}  |  the same                  |
//!   |<-------------------------------------------|--------------------------->|
//!   | {"cmd":"join-room","param":{"room":"b"}}   |                            |
//!   |------------------------------------------->|  "online-update" in "b"    |
//! ```
//!
//! Run it with `cargo run --example projectforge` and open <http://127.0.0.1:40000/example> twice.
//! `?name=` in the socket's address gives a name other than `Guest`.

use campanile::config::{Config, DialectName, Route};
use campanile::handler::{Admission, Profile, Upgrade};
use campanile::{Context, Failure, Gateway, Message};
use clap::Parser;
use garde::Validate;
use hyper::{Request, Response, StatusCode, body::Incoming};
use serde::Deserialize;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

#[derive(Parser)]
struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:40000")]
    listen: SocketAddr,
}

#[derive(Deserialize, Validate)]
struct Chat {
    #[garde(length(min = 1, max = 1000))]
    text: String,
}

#[derive(Deserialize, Validate)]
struct JoinRoom {
    #[garde(length(min = 1, max = 64), ascii)]
    room: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let config = Config {
        listen: Args::parse().listen.into(),
        routes: vec![Route::new("/example/socket", DialectName::Projectforge)],
        ..Config::default()
    };

    let gateway = Gateway::builder(config)
        .route("/example/socket")
        .admit(|upgrade: Upgrade| async move {
            let name = upgrade.query("name").unwrap_or_else(|| "Guest".to_owned());
            Ok(Admission::new().profile(Profile::named(name)))
        })
        .handle("ping", ping)
        .handle("chat", chat)
        .handle("join-room", join_room)
        .fallback(async |cx: Context| tracing::warn!("unhandled command [{}]", cx.command()))
        .done()
        .shard(|setup| {
            setup.http(serve_page);
        })
        .start()?;
    let address = gateway.local_addr();
    tracing::info!(
        "clients connect to ws://{address}/example/socket, from http://{address}/example"
    );

    signals.forever().next();
    let counters = gateway.stop(Duration::from_secs(5));
    tracing::info!("{} sessions were served", counters.sessions_opened);
    Ok(())
}

async fn ping(cx: Context) -> Result<(), Failure> {
    let pong = Message::json("pong", &json!({ "timestamp": now_ms() }))?;
    cx.publish(channel_of(&cx).await?, pong);
    Ok(())
}

async fn chat(cx: Context) -> Result<(), Failure> {
    let Chat { text } = cx.bind_valid()?;
    let user = &cx.session().profile().name;
    let said = json!({ "user": user, "text": text, "time": now_ms() });
    cx.publish(channel_of(&cx).await?, Message::json("chat", &said)?);
    Ok(())
}

async fn join_room(cx: Context) -> Result<(), Failure> {
    let JoinRoom { room } = cx.bind_valid()?;
    cx.join(room).await?;
    Ok(())
}

/// The channel that a message is about: the one that it names, or else the session's first. Nobody
/// speaks on a channel that he has not joined; trying to ends the connection.
async fn channel_of(cx: &Context) -> Result<String, Failure> {
    let joined = cx
        .route()
        .gateway()
        .session(cx.session_id())
        .await?
        .channels;
    let named = |channel: &String| cx.channel().is_empty() || cx.channel() == *channel;
    let found = joined.into_iter().find(named);
    found.ok_or_else(|| Failure::error(format!("not on channel [{}]", cx.channel())))
}

fn now_ms() -> u128 {
    let since = SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(0, |since| since.as_millis())
}

async fn serve_page(request: Request<Incoming>) -> Result<Response<String>, hyper::http::Error> {
    let found = request.uri().path() == "/example";
    let (status, kind, text) = if found {
        (StatusCode::OK, "text/html; charset=utf-8", PAGE)
    } else {
        (
            StatusCode::NOT_FOUND,
            "text/plain; charset=utf-8",
            "404 page not found\n",
        )
    };
    let response = Response::builder()
        .status(status)
        .header("content-type", kind);
    response.body(text.to_owned())
}

const PAGE: &str = r#"<!DOCTYPE html>
<meta charset="utf-8">
<title>Example</title>
<form id="form"><input id="text" placeholder="say something" autofocus><button>Send</button></form>
<ul id="messages"></ul>
<script>
const wanted = new URLSearchParams(location.search).get("ch") ?? "room";
const scheme = location.protocol === "https:" ? "wss:" : "ws:";
const query = "?ch=" + encodeURIComponent(wanted);
const socket = new WebSocket(scheme + "//" + location.host + "/example/socket" + query);
const send = (cmd, param) => socket.send(JSON.stringify({ channel: wanted, cmd, param }));
const show = (text) => {
  const item = document.createElement("li");
  item.textContent = text;
  document.getElementById("messages").append(item);
};
socket.onopen = () => send("ping", null);
socket.onclose = (event) => show("closed with " + event.code);
socket.onmessage = ({ data }) => {
  const { cmd, param } = JSON.parse(data);
  if (cmd === "pong") show("pong at " + new Date(param.timestamp).toISOString());
  if (cmd === "chat") show(param.user + ": " + param.text);
  if (cmd === "user-joined") show(param.user + " has joined");
};
document.getElementById("form").onsubmit = (event) => {
  event.preventDefault();
  const input = document.getElementById("text");
  send("chat", { text: input.value });
  input.value = "";
};
</script>
"#;
