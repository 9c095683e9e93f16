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
//! As in the original, `ping` and `chat` publish to the session's first channel, whatever channel
//! the message names. A text or room may be any JSON or missing; the session stays open.
//!
//! Run it and open <http://127.0.0.1:40000/example> twice, or try it from another terminal.
//! `?name=` in the WebSocket URL sets a name other than `Guest`.
//!
//! ```sh goes on
//! cargo run --example projectforge
//! ```
//!
//! ```console
//! $ scripts/ws.py -n 1 'ws://127.0.0.1:40000/example/socket?ch=room' \
//! >   '{"channel":"room","cmd":"chat","param":{"text":"hi"}}'
//! {
//!   "channel": "room",
//!   "cmd": "chat",
//!   "param": {
//!     "text": "hi",
//!     "time": ...,
//!     "user": "Guest"
//!   }
//! }
//! ```

use campanile::config::{Config, Route};
use campanile::dialect::projectforge::Projectforge;
use campanile::handler::{Admission, Profile, Upgrade};
use campanile::{Context, Failure, Gateway, Message};
use clap::Parser;
use hyper::{Request, Response, StatusCode, body::Incoming};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

#[derive(Parser)]
struct Args {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:40000")]
    listen: SocketAddr,
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let config = Config {
        listen: Args::parse().listen.into(),
        routes: vec![Route::new("/example/socket", &Projectforge)],
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
    cx.publish(own_channel(&cx).await?, pong);
    Ok(())
}

async fn chat(cx: Context) -> Result<(), Failure> {
    let text = member(&cx, "text");
    let user = &cx.session().profile().name;
    let said = json!({ "user": user, "text": text, "time": now_ms() });
    cx.publish(own_channel(&cx).await?, Message::json("chat", &said)?);
    Ok(())
}

async fn join_room(cx: Context) {
    let room = sprint(&member(&cx, "room"));
    // The original also joins a room with an empty name; here a channel's name is not empty.
    if let Err(error) = cx.join(room.as_str()).await {
        tracing::warn!("cannot join room [{room}]: {error}");
    }
}

/// Returns a member of a message's parameter; `null` if it is missing.
fn member(cx: &Context, name: &str) -> Value {
    let param: Option<Value> = cx.data().and_then(|data| serde_json::from_slice(data).ok());
    let member = param.and_then(|mut param| param.get_mut(name).map(Value::take));
    member.unwrap_or_default()
}

/// Returns the session's first channel. Fails if it is on no channel or closed.
async fn own_channel(cx: &Context) -> Result<String, Failure> {
    let session = cx.route().gateway().session(cx.session_id()).await?;
    let first = session.channels.into_iter().next();
    first.ok_or_else(|| Failure::error("the session is on no channel"))
}

/// Formats a value as Go's `fmt.Sprint` does.
fn sprint(value: &Value) -> String {
    let joined = |parts: Vec<String>| parts.join(" ");
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => sprint_number(number.as_f64().unwrap_or_default()),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", joined(list.iter().map(sprint).collect())),
        Value::Object(map) => {
            let members = map.iter().map(|(key, it)| format!("{key}:{}", sprint(it)));
            format!("map[{}]", joined(members.collect()))
        }
    }
}

/// Formats a number as Go's `fmt.Sprint` does: below 1e-4 and from 1e21 with an exponent of at
/// least two digits.
fn sprint_number(number: f64) -> String {
    let is_plain = number == 0.0 || (1e-4..1e21).contains(&number.abs());
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !is_plain => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
        _ => number.to_string(),
    }
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
const show = (text) => {
  const item = document.createElement("li");
  item.textContent = text;
  document.getElementById("messages").append(item);
};
let socket;
let wait = 500;
const send = (cmd, param) => {
  if (socket.readyState !== WebSocket.OPEN) return false;
  socket.send(JSON.stringify({ channel: wanted, cmd, param }));
  return true;
};
const connect = () => {
  socket = new WebSocket(scheme + "//" + location.host + "/example/socket" + query);
  socket.onopen = () => { wait = 500; send("ping", {}); };
  socket.onclose = (event) => {
    show("closed with " + event.code + ", connecting again");
    setTimeout(connect, wait);
    wait = Math.min(2 * wait, 30_000);
  };
  socket.onmessage = ({ data }) => {
    const { cmd, param } = JSON.parse(data);
    if (cmd === "pong") show("pong at " + new Date(param.timestamp).toISOString());
    if (cmd === "chat") show(param.user + ": " + param.text);
    if (cmd === "user-joined") show(param.user + " has joined");
  };
};
document.getElementById("form").onsubmit = (event) => {
  event.preventDefault();
  const input = document.getElementById("text");
  const text = input.value.trim();
  if (text && send("chat", { text })) input.value = "";
};
connect();
</script>
"#;
