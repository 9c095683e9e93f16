//! The documented sample of `wsrv`: a log and a guard around requests, and news of who registers.
//!
//! ```text
//! client                                     wsrv                    others with a uid
//!   | {"cmd":"userinfo","seqno":"1"}           |                             |
//!   |----------------------------------------->|  the guard aborts           |
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
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8800")]
    listen: SocketAddr,
}

/// What `register` wants to know; any case of the key will do. The original's struct has no name.
#[derive(Deserialize)]
#[serde(rename = "")]
struct Register {
    #[serde(rename = "UID")]
    uid: i64,
}

/// Whom a session has registered as. Shared, so that every shard can see it.
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

/// The outer middleware: it sees every request on its way in and every response on its way out.
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

/// The inner middleware: whoever has no uid may do nothing but register.
async fn only_registered(cx: Context, next: Next) -> Response {
    if cx.command() == "register" || cx.session().values().shared::<User>().is_some() {
        next.run(cx).await
    } else {
        Ok(None) // not run: the client is told "not implement"
    }
}

/// Tells every session that has a uid, this one included, and then this one who it is now.
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

/// Answers with what is known of the session's user.
async fn userinfo(cx: Context) -> Result<Reply, Failure> {
    let user = cx.session().values().shared::<User>();
    let user = user.ok_or_else(|| Failure::new(404, "no such user"))?;
    Ok(Reply::json(&*user)?)
}
