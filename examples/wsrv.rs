//! The documented sample of `wsrv`: middleware that logs and one that denies, and pushes about
//! registered users.
//!
//! ```text
//! client                                     wsrv                    others with a uid
//!   | {"cmd":"userinfo","seqno":"1"}           |                             |
//!   |----------------------------------------->|  denied by a middleware     |
//!   |    {.. "status":-1,"msg":"not implement",|                             |
//!   |     "data":{}}                           |                             |
//!   |<-----------------------------------------|                             |
//!   | {"cmd":"register","seqno":"2",           |                             |
//!   |  "data":{"UID":5}}                       |                             |
//!   |----------------------------------------->|  {"cmd":"have_user_register"|
//!   |    {"cmd":"have_user_register",          |   .. "data":{"uid":4}}      |
//!   |     .. "data":{"uid":5}}                 |---------------------------->|
//!   |<-----------------------------------------|
//!   |    {"cmd":"user_register",               |
//!   |     .. "data":{"uid":5}}                 |
//!   |<-----------------------------------------|
//!   |    {"cmd":"register","seqno":"2",        |
//!   |     "status":0,"msg":"ok","data":{}}     |
//!   |<-----------------------------------------|
//! ```
//!
//! Run it, and try it with the page at <http://127.0.0.1:8800/playground>, or from another
//! terminal:
//!
//! ```sh goes on
//! cargo run --example wsrv
//! ```
//!
//! ```console
//! $ scripts/ws.py -n 1 ws://127.0.0.1:8800/ws '{"cmd":"userinfo","seqno":"1"}'
//! {"cmd":"userinfo","seqno":"1","status":-1,"msg":"not implement","data":{}}
//! $ scripts/ws.py -n 3 ws://127.0.0.1:8800/ws '{"cmd":"register","seqno":"2","data":{"UID":5}}'
//! {"cmd":"have_user_register",...,"status":0,"msg":"ok","data":{"uid":5}}
//! {"cmd":"user_register",...,"status":0,"msg":"ok","data":{"uid":5}}
//! {"cmd":"register","seqno":"2","status":0,"msg":"ok","data":{}}
//! ```

use campanile::config::{Config, PushFrame, Route};
use campanile::dialect::wsrv::Wsrv;
use campanile::handler::{Next, Response};
use campanile::{Context, Failure, Gateway, Message, Reply};
use clap::Parser;
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Parser)]
struct Args {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8800")]
    listen: SocketAddr,
}

/// The data of `register`; keys are case-insensitive. The original's struct has no name in error
/// messages.
#[derive(Deserialize)]
#[serde(rename = "")]
struct Register {
    #[serde(rename = "UID")]
    uid: i64,
}

/// The registered user of a session, a shared value: handlers on other shards can read it.
#[derive(Clone, Copy, Serialize)]
struct User {
    uid: i64,
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let ws = Route {
        push_frame: PushFrame::Text,
        playground_path: Some("/playground".to_owned()),
        ..Route::new("/ws", &Wsrv)
    };
    let config = Config {
        listen: Args::parse().listen.into(),
        routes: vec![ws],
        ..Config::default()
    };

    let gateway = Gateway::builder(config)
        .route("/ws")
        .middleware(log)
        .middleware(only_registered)
        .handle("register", register)
        .handle("userinfo", userinfo)
        .start()?;
    tracing::info!("clients connect to ws://{}/ws", gateway.local_addr());

    signals.forever().next();
    let counters = gateway.stop(Duration::from_secs(5));
    tracing::info!("{} sessions were served", counters.sessions_opened);
    Ok(())
}

/// Logs every request and every response: the outer middleware.
async fn log(cx: Context, next: Next) -> Response {
    let (session, command) = (cx.session().number(), cx.command().to_owned());
    let data = cx.data().unwrap_or_default().escape_ascii();
    tracing::info!("request: session {session}, cmd {command}, data {data}");

    let response = next.run(cx.clone()).await;
    let data = match &response {
        Ok(Some(reply)) => reply.data().bytes(),
        Ok(None) => &[],
        Err(failure) => failure.text().as_bytes(),
    };
    let data = data.escape_ascii();
    tracing::info!("response: session {session}, cmd {command}, data {data}");
    response
}

/// Allows sessions without a uid only `register`: the inner middleware.
async fn only_registered(cx: Context, next: Next) -> Response {
    if cx.command() == "register" || cx.session().values().shared::<User>().is_some() {
        next.run(cx).await
    } else {
        Ok(None) // the handler is not run: the response is "not implement"
    }
}

/// Registers a uid. Pushes to each session with a uid its own `have_user_register`, and then
/// `user_register` to this session.
async fn register(cx: Context) -> Result<Reply, Failure> {
    let Register { uid } = cx.bind()?;
    cx.session().values().share(User { uid });

    for (session, user) in cx.route().shared::<User>().await? {
        let news = Message::json("have_user_register", &*user)?;
        cx.route().push_session(session, news);
    }
    cx.push(Message::json("user_register", &User { uid })?);
    Ok(Reply::ok())
}

/// Replies with the session's user. Fails with 404 if it is not registered.
async fn userinfo(cx: Context) -> Result<Reply, Failure> {
    let user = cx.session().values().shared::<User>();
    let user = user.ok_or_else(|| Failure::new(404, "no such user"))?;
    Ok(Reply::json(&*user)?)
}
