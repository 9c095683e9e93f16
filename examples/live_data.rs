//! Live data on channels: one task publishes quotes, and clients subscribe to symbols.
//!
//! ```text
//! client                                           live_data                    the feed
//!   | {"cmd":"subscribe","seqno":"1",                  |                            |
//!   |  "data":{"symbols":["ACME"]}}                    |                            |
//!   |------------------------------------------------->|                            |
//!   |     {"cmd":"subscribe","seqno":"1","status":0,   |                            |
//!   |      .. "data":[{"symbol":"ACME","tick":7,..}]}  |  publish to "ACME", once   |
//!   |<-------------------------------------------------|<---------------------------|
//!   |     {"cmd":"quote",                              |                            |
//!   |      .. "data":{"symbol":"ACME","tick":8,..}}    |                            |
//!   |<-------------------------------------------------|                            |
//! ```
//!
//! The response to `subscribe` has the last quotes; later ones are pushed. A quote may arrive
//! before the response, so clients drop quotes with an older `tick`.
//!
//! Run it, and try it with the page at <http://127.0.0.1:8080/playground>, or from another
//! terminal:
//!
//! ```sh goes on
//! cargo run --example live_data
//! ```
//!
//! ```console
//! $ scripts/ws.py -n 2 ws://127.0.0.1:8080/live \
//! >   '{"cmd":"subscribe","seqno":"1","data":{"symbols":["ACME"]}}'
//! {"cmd":...{"symbol":"ACME","tick":...
//! {"cmd":...{"symbol":"ACME","tick":...
//! ```

use campanile::config::{Config, PushFrame, Route};
use campanile::dialect::wsrv::Wsrv;
use campanile::{Context, Failure, Gateway, Message, Reply, RouteHandle};
use clap::Parser;
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::watch;

#[derive(Parser)]
struct Args {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Interval between two quotes of a symbol, in milliseconds.
    #[arg(long, default_value = "1000", value_parser = clap::value_parser!(u64).range(1..))]
    every_ms: u64,
}

/// The price of a symbol at one tick.
#[derive(Clone, Debug, Serialize)]
struct Quote {
    symbol: &'static str,
    tick: u64,
    cents: u64,
}

/// The last quote of each symbol.
type Quotes = BTreeMap<&'static str, Quote>;

#[derive(Deserialize)]
struct Subscribe {
    symbols: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let args = Args::parse();
    let live = Route {
        push_frame: PushFrame::Text,
        playground_path: Some("/playground".to_owned()),
        ..Route::new("/live", &Wsrv)
    };
    let config = Config {
        listen: args.listen.into(),
        routes: vec![live],
        ..Config::default()
    };

    // The feed writes the last quotes, and handlers on every shard read them.
    let first = SYMBOLS.map(|symbol| (symbol, quote(symbol, 0)));
    let (feed, last) = watch::channel(Quotes::from(first));
    let every = Duration::from_millis(args.every_ms);
    let gateway = Gateway::builder(config)
        .route("/live")
        .handle("subscribe", move |cx| subscribe(cx, last.clone()))
        .handle("unsubscribe", unsubscribe)
        .done()
        .shard(move |setup| {
            // One feed is enough: publications reach the sessions of all shards, in order.
            if setup.shard_index() == 0 {
                let route = setup.route("/live").handle_of_route();
                drop(tokio::task::spawn_local(run_feed(
                    feed.clone(),
                    route,
                    every,
                )));
            }
        })
        .start()?;
    tracing::info!("clients connect to ws://{}/live", gateway.local_addr());

    signals.forever().next();
    let counters = gateway.stop(Duration::from_secs(5));
    tracing::info!("{} sessions were served", counters.sessions_opened);
    Ok(())
}

/// Publishes a quote of each symbol per interval until the gateway stops, in place of a real feed.
async fn run_feed(feed: watch::Sender<Quotes>, route: RouteHandle, every: Duration) {
    let mut interval = tokio::time::interval(every);
    for tick in 1.. {
        interval.tick().await;
        for symbol in SYMBOLS {
            let quote = quote(symbol, tick);
            let message = Message::json("quote", &quote).expect("a plain struct");
            feed.send_modify(|quotes| {
                quotes.insert(symbol, quote);
            });
            route.publish(symbol, message);
        }
    }
}

fn quote(symbol: &'static str, tick: u64) -> Quote {
    let cents = 10_000 + tick * 37 % 101;
    Quote {
        symbol,
        tick,
        cents,
    }
}

/// Joins the channels of some symbols and replies with their last quotes. Fails with 404 for an
/// unknown symbol.
async fn subscribe(cx: Context, last: watch::Receiver<Quotes>) -> Result<Reply, Failure> {
    let Subscribe { symbols } = cx.bind()?;
    let unknown = |symbol: &&String| !SYMBOLS.contains(&symbol.as_str());
    if let Some(symbol) = symbols.iter().find(unknown) {
        return Err(Failure::new(404, format!("no such symbol: {symbol}")));
    }
    for symbol in &symbols {
        cx.join(symbol.as_str()).await?;
    }
    let quotes = last.borrow();
    let wanted = symbols
        .iter()
        .filter_map(|symbol| quotes.get(symbol.as_str()));
    Ok(Reply::json(&wanted.collect::<Vec<&Quote>>())?)
}

async fn unsubscribe(cx: Context) -> Result<Reply, Failure> {
    let Subscribe { symbols } = cx.bind()?;
    for symbol in symbols {
        cx.leave(symbol).await?;
    }
    Ok(Reply::ok())
}

const SYMBOLS: [&str; 3] = ["ACME", "GLOBEX", "INITECH"];
