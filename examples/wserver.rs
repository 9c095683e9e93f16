//! The documented sample of `wserver`: tokens name users, and every push is allowed.
//!
//! ```text
//! client                                   wserver                          backend
//!   | {"token":"aaa","event":"topic1"}        |                                |
//!   |---------------------------------------->|  token `aaa` is user jack      |
//!   |                                         |  POST /push                    |
//!   |                                         |  {"userId":"jack",             |
//!   |                                         |   "event":"topic1",            |
//!   |                                         |   "message":"Hello World"}     |
//!   |                            Hello World  |<-------------------------------|
//!   |<----------------------------------------|                                |
//!   |                                         |  200 message sent to 1 clients |
//!   |                                         |------------------------------->|
//! ```
//!
//! Run it, and try it from two other terminals:
//!
//! ```sh goes on
//! cargo run --example wserver
//! ```
//!
//! ```console goes on
//! $ scripts/ws.py ws://127.0.0.1:12345/ws '{"token":"aaa","event":"topic1"}'
//! Hello World
//! ...
//! ```
//!
//! ```console
//! $ curl http://127.0.0.1:12345/push \
//! >   -d '{"userId":"jack","event":"topic1","message":"Hello World"}'
//! message sent to 1 clients
//! ```

use campanile::Gateway;
use campanile::config::{Config, Route};
use campanile::dialect::wserver::Wserver;
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Parser)]
struct Args {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:12345")]
    listen: SocketAddr,
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let ws = Route {
        push_path: Some("/push".to_owned()),
        ..Route::new("/ws", &Wserver)
    };
    let config = Config {
        listen: Args::parse().listen.into(),
        routes: vec![ws],
        ..Config::default()
    };

    let gateway = Gateway::builder(config)
        .authenticate_token(|token| (token == "aaa").then(|| "jack".to_owned()))
        .authorize_push(|_request| true)
        .start()?;
    tracing::info!("clients connect to ws://{}/ws", gateway.local_addr());

    signals.forever().next();
    let counters = gateway.stop(Duration::from_secs(5));
    tracing::info!("{} sessions were served", counters.sessions_opened);
    Ok(())
}
