//! All five languages at once, on one gateway: thousands of sessions, joins and leaves under load.
//!
//! Several publishers number what they publish, by channel. Sessions come, join, leave and join
//! again, or stay to the end, and write down what they hear. A plain model (`five/model.rs`) then
//! says of each stay on a channel what must have been heard: per publisher everything from the join
//! to the leave, once, in order, and nothing outside. What is exact is compared exactly; no time is
//! asserted, only bounded.

#[path = "five/client.rs"]
mod client;
#[path = "five/model.rs"]
mod model;

use campanile::config::{Config, DialectName, Route, Schema};
use campanile::handler::{Admission, Setup};
use campanile::{Context, Failure, Gateway, Message, Reply, RouteHandle};
use client::Client;
use model::{Ledger, Stay};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

/// Sessions of each language.
const SESSIONS: usize = 400;
/// Channels of each route; sessions are spread over them.
const CHANNELS: usize = 20;
const PUBLISHERS: usize = 3;
/// What each publisher publishes on each channel.
const PUBLICATIONS: u64 = 24;
/// How often those come and go whose language lets them.
const STAYS: usize = 3;
/// For everything; only a failure takes as long.
const PATIENCE: Duration = Duration::from_mins(3);

#[test]
fn nothing_is_lost_doubled_or_out_of_order_in_any_language() {
    let gateway = Gateway::builder(config()).shard(set_up).start();
    let gateway = gateway.expect("this machine can run one");
    let address = gateway.local_addr();
    let ledger = Arc::new(Ledger::new(DialectName::ALL.len(), CHANNELS, PUBLISHERS));

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let everything = async {
        let mut sessions = Vec::new();
        for (language, path) in LANGUAGES {
            for index in 0..SESSIONS {
                let client = Client::connect(address, language, path, index, CHANNELS).await;
                sessions.push(client);
            }
        }
        // All are there before the first publication; from now on they come and go.
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let routes = LANGUAGES.map(|(_, path)| gateway.route(path).expect("configured"));
                let ledger = Arc::clone(&ledger);
                let thread = std::thread::Builder::new().name(format!("publisher-{publisher}"));
                let work = move || publish(publisher, &routes, &ledger);
                thread.spawn(work).expect("a thread")
            })
            .collect();
        let stays: Vec<_> = sessions
            .into_iter()
            .map(|client| tokio::task::spawn(client.live(Arc::clone(&ledger), STAYS)))
            .collect();
        let mut all: Vec<Stay> = Vec::new();
        for task in stays {
            all.extend(task.await.expect("a session's own panic is the failure"));
        }
        for publisher in publishers {
            publisher
                .join()
                .expect("a publisher's own panic is the failure");
        }
        all
    };
    let stays = runtime.block_on(async { tokio::time::timeout(PATIENCE, everything).await });
    let stays = stays.expect("everything was heard in time");

    assert!(stays.len() >= LANGUAGES.len() * SESSIONS);
    let mut heard = 0;
    for stay in &stays {
        heard += ledger.judge(stay);
    }
    let least = (LANGUAGES.len() - 2) as u64 * SESSIONS as u64 * PUBLISHERS as u64 * PUBLICATIONS;
    assert!(
        heard >= least,
        "only {heard} were heard, at least {least} had to be"
    );
    let counters = gateway.stop(Duration::from_secs(20));
    assert_eq!(counters.ended("slow_consumer"), 0);
}

/// The languages, with the paths of their routes.
const LANGUAGES: [(DialectName, &str); 5] = [
    (DialectName::Edk, "/edk"),
    (DialectName::Wsrv, "/wsrv"),
    (DialectName::Easyws, "/easyws"),
    (DialectName::Projectforge, "/projectforge"),
    (DialectName::Wserver, "/ws"),
];

fn config() -> Config {
    let mut config = Config {
        listen: "127.0.0.1:0".parse().expect("an address"),
        shards: NonZeroU8::new(3),
        pin: false,
        ..Config::default()
    };
    config.routes = LANGUAGES
        .map(|(dialect, path)| Route::new(path, dialect))
        .to_vec();
    config.routes[0].schema = Schema::Builtin;
    // These only listen for longer than the 30 seconds that the original gives them.
    config.routes[1].limits.idle_timeout_ms = 600_000;
    config
}

fn set_up(setup: &mut Setup) {
    setup
        .route("/edk")
        .admit(|upgrade| async move {
            let user = upgrade.claimed_user().unwrap_or_default().to_owned();
            let channel = upgrade.query("channel").unwrap_or_default();
            Ok(Admission::new().user(user).join(channel))
        })
        .handle(
            "sync",
            |cx: Context| async move { Reply::text(cx.request_id()) },
        );
    for path in ["/wsrv", "/projectforge"] {
        setup
            .route(path)
            .handle("join", |cx: Context| async move {
                cx.join(cx.bind::<String>()?).await?;
                Ok::<_, Failure>(Reply::json("joined")?.with_event("done"))
            })
            .handle("leave", |cx: Context| async move {
                cx.leave(cx.bind::<String>()?).await?;
                Ok::<_, Failure>(Reply::json("left")?.with_event("done"))
            });
    }
    let mut easyws = setup.route("/easyws");
    for channel in 0..CHANNELS {
        easyws.channel(&model::channel_name(channel));
    }
    easyws.handle("sync", |_| async { Reply::text("done") });
}

/// Publishes to every channel of every route in turn, and says what it has done.
fn publish(publisher: usize, routes: &[RouteHandle], ledger: &Ledger) {
    for number in 0..PUBLICATIONS {
        let mut pending = Vec::new();
        for (language, route) in routes.iter().enumerate() {
            for channel in 0..CHANNELS {
                let name = model::channel_name(channel);
                let text = model::word(publisher, channel, number);
                ledger.begin(language, channel, publisher, number);
                let push = if LANGUAGES[language].0 == DialectName::Wserver {
                    route.push_user_event(name, "n", Message::text("n", text))
                } else {
                    route.publish(name, Message::text("n", text))
                };
                pending.push((language, channel, push));
            }
        }
        for (language, channel, push) in pending {
            push.wait().expect("the shards have room for it");
            ledger.applied(language, channel, publisher, number);
        }
    }
}
