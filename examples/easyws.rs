//! The documented sample of `go-easy-websocket`: a welcome, two channels, pushes to one session.
//!
//! ```text
//! client                                        easyws
//!   | GET /ws, Cookie: auth=anything              |
//!   |-------------------------------------------->|
//!   |     welcome: Hello 6b84764b-22d3-4c64-823f- |  the handler of `open`, with the session's id
//!   |<--------------------------------------------|
//!   | listen: test                                |  always allowed; no reply
//!   |-------------------------------------------->|
//!   |            thanks: Thank you for listening! |  every second, to all listeners
//!   |<--------------------------------------------|
//!   |   direct: This message is only sent to a .. |  every second, to the oldest session
//!   |<--------------------------------------------|
//!   | listen: restricted                          |  only with the cookie auth=valid
//!   |-------------------------------------------->|
//!   |                   websocket: not authorized |
//!   |<--------------------------------------------|
//! ```
//!
//! Run it, and try it from another terminal:
//!
//! ```sh goes on
//! cargo run --example easyws
//! ```
//!
//! ```console
//! $ scripts/ws.py -n 4 -H 'Cookie: auth=valid' ws://127.0.0.1:8080/ws 'listen: test'
//! welcome: Hello ...
//! ...
//! thanks: Thank you for listening!
//! ...
//! $ scripts/ws.py -n 2 -H 'Cookie: auth=other' ws://127.0.0.1:8080/ws 'listen: restricted'
//! welcome: Hello ...
//! websocket: not authorized
//! ```

use campanile::config::{Config, Route};
use campanile::dialect::easyws::Easyws;
use campanile::handler::Joining;
use campanile::{Context, Failure, Gateway, Message, Reply, RouteHandle};
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Parser)]
struct Args {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let config = Config {
        listen: Args::parse().listen.into(),
        routes: vec![Route::new("/ws", &Easyws)],
        ..Config::default()
    };

    let gateway = Gateway::builder(config)
        .route("/ws")
        .handle("open", open)
        .channel("test")
        .channel_with("restricted", only_valid)
        .done()
        .shard(|setup| {
            // One task is enough: publications reach the sessions of all shards.
            if setup.shard_index() == 0 {
                let route = setup.route("/ws").handle_of_route();
                drop(tokio::task::spawn_local(publish_every_second(route)));
            }
        })
        .start()?;
    tracing::info!("clients connect to ws://{}/ws", gateway.local_addr());

    signals.forever().next();
    let counters = gateway.stop(Duration::from_secs(5));
    tracing::info!("{} sessions were served", counters.sessions_opened);
    Ok(())
}

/// Sends the welcome. Runs when a session opens, and when a client sends `open: TEXT`.
async fn open(cx: Context) -> Reply {
    let session = cx.text().unwrap_or_default();
    Reply::text(format!("Hello {session}")).with_event("welcome")
}

/// Allows `restricted` for the token `valid`. The text of the failure is not sent to the client.
async fn only_valid(joining: Joining) -> Result<(), Failure> {
    match joining.token.as_deref() {
        Some("valid") => Ok(()),
        _ => Err(Failure::error("the token is not valid")),
    }
}

/// Publishes to `test` and pushes to the oldest session each second until the gateway stops.
async fn publish_every_second(route: RouteHandle) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.tick().await;
    while let Ok(sessions) = route.sessions().await {
        route.publish("test", Message::text("thanks", "Thank you for listening!"));
        if let Some(first) = sessions.iter().min_by_key(|session| session.number) {
            let text = "This message is only sent to a single client";
            route.push_session(first.id, Message::text("direct", text));
        }
        second.tick().await;
    }
}
