//! Notifications to all users or to one, filtered by the minimum level that a session selects.
//!
//! ```text
//! jack                                    notifications                       backend
//!   | GET /ws, Cookie: auth=token-of-jack    |                                   |
//!   |--------------------------------------->|  on all/info, jack/info, all/warn |
//!   | level: warn                            |  and so on                        |
//!   |--------------------------------------->|  off all/info and jack/info       |
//!   |                            level: warn |                                   |
//!   |<---------------------------------------|  POST /notify                     |
//!   |                                        |  {"level":"warn","user":"jack",   |
//!   |                                        |   "text":"disk nearly full"}      |
//!   |                 warn: disk nearly full |<----------------------------------|
//!   |<---------------------------------------|  200 sent to 1 sessions           |
//!   |                                        |---------------------------------->|
//! ```
//!
//! Levels are channels that only the example joins: a client cannot `listen` to them. Requests to
//! `/notify` are not authenticated; check a secret in `notify` if others can reach the port.
//!
//! Run it, and try it from two other terminals:
//!
//! ```sh goes on
//! cargo run --example notifications
//! ```
//!
//! ```console goes on
//! $ scripts/ws.py -H 'Cookie: auth=token-of-jack' ws://127.0.0.1:8080/ws 'level: warn'
//! level: warn
//! critical: fire
//! ...
//! ```
//!
//! ```console
//! $ curl http://127.0.0.1:8080/notify -d '{"level":"info","text":"all is well"}'
//! sent to 0 sessions
//! $ curl http://127.0.0.1:8080/notify -d '{"level":"critical","text":"fire"}'
//! sent to 1 sessions
//! ```

use campanile::config::{Config, Route};
use campanile::dialect::easyws::Easyws;
use campanile::handler::HandleError;
use campanile::{Context, Failure, Gateway, Message, Reply, RouteHandle, Session};
use clap::Parser;
use http_body_util::{BodyExt, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use serde::Deserialize;
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

/// The body of `POST /notify`.
#[derive(Deserialize)]
struct Notification {
    level: String,
    /// `None` for all users.
    user: Option<String>,
    text: String,
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
        .authenticate(async |token: Box<str>| token.strip_prefix("token-of-").map(str::to_owned))
        .on_open(async |session: Session| {
            if let Err(error) = select(&session, LEVELS[0]).await {
                tracing::warn!(%error, "cannot join the channels of a level");
            }
        })
        .handle("level", set_level)
        .done()
        .shard(|setup| {
            let route = setup.route("/ws").handle_of_route();
            setup.http(move |request| notify(route.clone(), request));
        })
        .start()?;
    let address = gateway.local_addr();
    tracing::info!(
        "clients connect to ws://{address}/ws, backends post to http://{address}/notify"
    );

    signals.forever().next();
    let counters = gateway.stop(Duration::from_secs(5));
    tracing::info!("{} sessions were served", counters.sessions_opened);
    Ok(())
}

/// Sets the session's minimum level, such as `level: warn`.
async fn set_level(cx: Context) -> Result<Reply, Failure> {
    let wanted = cx.text().unwrap_or_default();
    if !LEVELS.contains(&wanted) {
        return Ok(Reply::text("no such level").with_event("error"));
    }
    select(cx.session(), wanted).await?;
    Ok(Reply::text(wanted))
}

/// Joins the channels of a level and of those above it and leaves the others.
async fn select(session: &Session, least: &str) -> Result<(), HandleError> {
    let (route, user) = (session.route(), session.user());
    let mut is_wanted = false;
    for level in LEVELS {
        is_wanted |= level == least;
        for channel in [channel(None, level), channel(user, level)] {
            if is_wanted {
                route.join(session.id(), channel).await?;
            } else {
                route.leave(session.id(), channel).await?;
            }
        }
    }
    Ok(())
}

fn channel(user: Option<&str>, level: &str) -> String {
    match user {
        Some(user) => format!("user/{user}/{level}"),
        None => format!("all/{level}"),
    }
}

/// Handles `POST /notify`: publishes a notification and responds with the number of sessions.
async fn notify(
    route: RouteHandle,
    request: Request<Incoming>,
) -> Result<Response<String>, Box<dyn Error>> {
    let respond = |status, text: String| Ok(Response::builder().status(status).body(text)?);
    if (request.method(), request.uri().path()) != (&Method::POST, "/notify") {
        return respond(StatusCode::NOT_FOUND, "POST /notify\n".to_owned());
    }
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX);
    let body = body.collect().await.map_err(|error| error.to_string())?;
    let Notification { level, user, text } = match serde_json::from_slice(&body.to_bytes()) {
        Ok(notification) => notification,
        Err(error) => return respond(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    if !LEVELS.contains(&level.as_str()) {
        return respond(StatusCode::BAD_REQUEST, format!("no such level: {level}\n"));
    }
    let channel = channel(user.as_deref(), &level);
    let count = route.publish(channel, Message::text(level, text)).await?;
    respond(StatusCode::OK, format!("sent to {count} sessions\n"))
}

/// The levels, least important first.
const LEVELS: [&str; 3] = ["info", "warn", "critical"];
/// Maximum size of a request body in bytes.
const BODY_BYTES_MAX: usize = 64 << 10;
