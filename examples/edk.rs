//! The documented sample of `edk/pkg/ws`: one session per user, whose messages are logged.
//!
//! ```text
//! client                                        edk                             log
//!   | GET /ws                                     |                               |
//!   | x-user-id: 42                               |                               |
//!   | Sec-WebSocket-Protocol: token               |                               |
//!   |-------------------------------------------->|                               |
//!   | ws.Message { type: "chat", payload: "hi" }  |                               |
//!   |-------------------------------------------->| user 42: message: type:"chat" |
//!   |                                             |   payload:"hi"                |
//!   | close                                       |                               |
//!   |-------------------------------------------->| user 42 is disconnected       |
//! ```
//!
//! As in the original, a proxy in front sets `x-user-id`. On another address than loopback the
//! example does not start until `trust_user_header` or `tokens` is set.
//!
//! Run it, and try it from another terminal:
//!
//! ```console goes on
//! $ cargo run --example edk 2>&1
//! ...
//! ... user 42: message: type:"chat" payload:"hi"
//! ... user 42 is disconnected
//! ...
//! ```
//!
//! ```console
//! $ curl http://127.0.0.1:8080/
//! Hello world
//! $ scripts/ws.py -n 0 -b -p token -H 'x-user-id: 42' ws://127.0.0.1:8080/ws \
//! >   '\n\004chat\022\002hi'
//! ```

use campanile::config::{Config, Route, Schema};
use campanile::dialect::edk::Edk;
use campanile::{Context, Gateway, Session};
use clap::Parser;
use hyper::Response;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::convert::Infallible;
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
    let ws = Route {
        schema: Schema::Builtin,
        kick_out_new_user_conn: false, // a new session replaces the user's old one
        ..Route::new("/ws", &Edk)
    };
    let config = Config {
        listen: Args::parse().listen.into(),
        routes: vec![ws],
        ..Config::default()
    };

    let gateway = Gateway::builder(config)
        .route("/ws")
        .on_message(log_message)
        .on_close(log_disconnect)
        .done()
        .shard(|setup| {
            setup.http(|_| async {
                let page = "Hello world".to_owned();
                Ok::<_, Infallible>(Response::new(page))
            });
        })
        .start()?;
    tracing::info!("clients connect to ws://{}/ws", gateway.local_addr());

    signals.forever().next();
    let counters = gateway.stop(Duration::from_secs(5));
    tracing::info!("{} sessions were served", counters.sessions_opened);
    Ok(())
}

/// Logs a message: the original's message handler. It has no reply; `Reply::bytes` would send one.
async fn log_message(cx: Context) {
    let user = cx.session().user().unwrap_or_default();
    let kind = cx.command();
    let payload = cx.data().unwrap_or_default().escape_ascii();
    tracing::info!("user {user}: message: type:{kind:?} payload:\"{payload}\"");
}

/// Logs the end of a session: the original's disconnect handler.
async fn log_disconnect(session: Session) {
    let user = session.user().unwrap_or_default();
    tracing::info!("user {user} is disconnected");
}
