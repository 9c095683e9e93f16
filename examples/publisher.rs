//! An embedder with its own HTTP service, which publishes through the library.
//!
//! ```text
//! backend                                      publisher                        subscribers
//!   | POST /publish                                |                                 |
//!   | {"channel":"room","event":"e","data":"hi"}   |  handle.all_routes().publish    |
//!   |--------------------------------------------->|-------------------------------->|
//!   | 200 {"delivered":2}                          |                                 |
//!   |<---------------------------------------------|                                 |
//! ```
//!
//! It is otherwise a gateway with the default config, or that of `--config`. `loadtest channel
//! --via library` measures it; `--via http` measures the server API. Run it, and try it from two
//! other terminals:
//!
//! ```sh goes on
//! cargo run --example publisher
//! ```
//!
//! ```console goes on
//! $ scripts/ws.py -k ws://127.0.0.1:8080/wsrv '{"cmd":"join","seqno":"1","data":"room"}'
//! {"cmd":"join","seqno":"1","status":0,"msg":"ok","data":{}}
//! {"cmd":"e",...,"data":"hi"}
//! ...
//! ```
//!
//! ```console
//! $ curl http://127.0.0.1:8080/publish -d '{"channel":"room","event":"e","data":"hi"}'
//! {"delivered":1}
//! ```

use bytes::Bytes;
use campanile::config::{Config, Overrides, Shards};
use campanile::{Gateway, Handle, Message};
use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Parser)]
struct Args {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Number of shards, or `auto`.
    #[arg(long)]
    shards: Option<Shards>,
    /// Config file of the gateway.
    #[arg(long)]
    config: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Publication {
    channel: String,
    event: String,
    data: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let args = Args::parse();
    let overrides = Overrides {
        listen: Some(args.listen.into()),
        shards: args.shards,
        ..Overrides::default()
    };
    let config = Config::load(args.config.as_deref(), &overrides)?;
    let path = config.routes[0].path.clone();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let gateway = Gateway::builder(config).shard(|setup| {
        let handle = setup.handle().clone();
        setup.http(move |request| publish(handle.clone(), request));
    });
    let gateway = gateway.start()?;
    tracing::info!("clients connect to ws://{}{path}", gateway.local_addr());
    signals.forever().next();
    let counters = gateway.stop(Duration::from_secs(5));
    tracing::info!("{} messages were delivered", counters.deliveries);
    Ok(())
}

/// Handles `POST /publish`: publishes and responds with the number of sessions.
async fn publish(
    gateway: Handle,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Box<dyn Error>> {
    if request.method() != "POST" || request.uri().path() != "/publish" {
        return Ok(plain(StatusCode::NOT_FOUND, "POST /publish\n"));
    }
    let body = request.into_body().collect().await?.to_bytes();
    let publication: Publication = match serde_json::from_slice(&body) {
        Ok(publication) => publication,
        Err(error) => return Ok(plain(StatusCode::BAD_REQUEST, error.to_string())),
    };
    let Publication {
        channel,
        event,
        data,
    } = publication;
    let message = Message::text(event, data);
    let published = gateway.all_routes().publish_except(channel, message, &[]);
    match published.await {
        Ok(count) => Ok(plain(
            StatusCode::OK,
            json!({"delivered": count}).to_string(),
        )),
        Err(error) => Ok(plain(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}
