//! All five languages at once: one gateway, two thousand sessions, joins and leaves under load.
//!
//! Three of the languages share their channels, the other two have their own. Half of the sessions
//! stay where they are, the others move from channel to channel and connect anew in between, while
//! handles, an HTTP client and the handlers of some sessions publish. Nothing may be lost, doubled
//! or reordered: of each publisher, on each channel, each session hears exactly what was applied
//! while it was there, and the totals told to the publishers add up to what was heard. How fast it
//! is does not matter here.

use campanile::config::{Config, Route, Schema};
use campanile::dialect::easyws::Easyws;
use campanile::dialect::edk::Edk;
use campanile::dialect::projectforge::Projectforge;
use campanile::dialect::wserver::Wserver;
use campanile::dialect::wsrv::Wsrv;
use campanile::gateway::Builder;
use campanile::handler::{
    Admission, Context, HandleError, Message, Reply, Session, Setup, Upgrade,
};
use campanile::metrics::Counters;
use campanile::public_id::PublicId;
use campanile::{Gateway, Handle};
use clients::Shared;
use codec::{Command, DialectCodec};
use model::{PublicationLog, Record, Target};
use std::num::NonZeroU8;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Barrier, mpsc};
use tokio::task::{JoinSet, LocalSet};

mod clients;
mod codec;
mod model;
mod ws_client;

#[test]
fn nothing_is_lost_doubled_or_reordered_among_five_languages() {
    let ids: Arc<[OnceLock<PublicId>]> = (0..CONNECTIONS_MAX).map(|_| OnceLock::new()).collect();
    let builder = Gateway::builder(config());
    let gateway = set_up(builder, &ids).start().expect("the gateway starts");
    let (done, mut counted) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        address: gateway.local_addr(),
        handles: (0..HANDLES).map(|_| gateway.handle()).collect(),
        log: PublicationLog::new(HANDLES + 1 + SAYERS),
        ids,
        connections: AtomicUsize::new(0),
        ready: Barrier::new(SESSIONS * DialectCodec::ALL.len() + HANDLES + 1),
        movers_left: AtomicUsize::new(SESSIONS / 2 * DialectCodec::ALL.len()),
        done,
    });
    let mut threads = Vec::new();
    for thread in 0..CLIENT_THREADS {
        let shared = Arc::clone(&shared);
        let builder = std::thread::Builder::new().name(format!("clients-{thread}"));
        let spawned = builder.spawn(move || run_clients(&shared, thread));
        threads.push(spawned.expect("a thread"));
    }
    let end = run(async {
        let mut count = async |events: usize| {
            for _ in 0..events {
                counted.recv().await.expect("the world keeps the other end");
            }
        };
        count(SESSIONS / 2 * DialectCodec::ALL.len() + HANDLES + 1 + SAYERS).await;
        end_all(&shared.handles).await;
        count(SESSIONS * DialectCodec::ALL.len()).await;
    });
    let grace = if end.is_ok() {
        PATIENCE
    } else {
        Duration::ZERO
    };
    let counters = gateway.stop(grace);
    let records = threads.into_iter().map(JoinHandle::join);
    let records: Vec<_> = records
        .collect::<Result<Vec<_>, _>>()
        .expect("reported above");
    let records: Vec<(String, Record)> = records.into_iter().flatten().collect();
    end.expect("in time");
    let (heard, presence) = verify(&shared, &records, &counters);
    println!(
        "{} publications, {heard} heard, {presence} comings and goings",
        shared.log.count()
    );
    assert!(
        heard > 100_000 && presence > 10_000,
        "this tests less than it says"
    );
}

/// Judges everybody, and what the gateway has counted; returns how much was heard of what was
/// published, and of who came and went.
fn verify(shared: &Shared, records: &[(String, Record)], counters: &Counters) -> (usize, usize) {
    assert_eq!(records.len(), SESSIONS * DialectCodec::ALL.len());
    for (name, record) in records {
        model::verify(name, record, &shared.log);
    }
    model::verify_presence(records);

    let heard: usize = records.iter().map(|(_, record)| record.heard.len()).sum();
    let delivered = shared.log.delivered.load(Ordering::SeqCst);
    assert_eq!(delivered, heard as u64, "totals tell what was heard");
    let presence: usize = records
        .iter()
        .map(|(_, record)| record.presence.len())
        .sum();

    let ends = SHARDS * records.len();
    assert_eq!(counters.deliveries, (heard + presence + ends) as u64);
    let movers = SESSIONS / 2;
    let opened = SESSIONS * DialectCodec::ALL.len() + movers * DialectCodec::ALL.len();
    assert_eq!(counters.sessions_opened, opened as u64);
    assert_eq!(
        counters.ended("replaced"),
        movers as u64,
        "one of each user"
    );
    let closed = movers * (DialectCodec::ALL.len() - 1);
    assert_eq!(counters.ended("client_closed"), closed as u64);
    assert_eq!(counters.ended("shutdown"), records.len() as u64);
    (heard, presence)
}

/// The clients and publishers of one thread.
fn run_clients(shared: &Arc<Shared>, thread: usize) -> Vec<(String, Record)> {
    run(async {
        let mut sessions = JoinSet::new();
        let mut publishers = JoinSet::new();
        for publisher in (0..HANDLES).filter(|it| it % CLIENT_THREADS == thread) {
            publishers.spawn_local(clients::publish(Arc::clone(shared), publisher));
        }
        if thread == 0 {
            publishers.spawn_local(clients::push(Arc::clone(shared), HANDLES));
        }
        for (language, codec) in DialectCodec::ALL.into_iter().enumerate() {
            let mine = (0..SESSIONS).filter(|index| index / 2 % CLIENT_THREADS == thread);
            for index in mine {
                let is_sayer = codec != DialectCodec::Wserver && index % SAYS_EVERY == 0;
                let sayer = is_sayer.then(|| {
                    let before = (language - 1) * (SESSIONS / SAYS_EVERY);
                    HANDLES + 1 + before + index / SAYS_EVERY
                });
                let attending = clients::run_client(Arc::clone(shared), codec, index, sayer);
                let name = format!("{codec:?} {index}");
                sessions.spawn_local(async move { (name, attending.await) });
            }
        }
        let mut records = Vec::new();
        while let Some(record) = sessions.join_next().await {
            records.push(record.expect("reported above"));
        }
        while let Some(publisher) = publishers.join_next().await {
            publisher.expect("reported above");
        }
        records
    })
    .expect("in time")
}

/// Tells everybody that all has been said, once through each shard: behind that nothing of what it
/// had to say before can come.
async fn end_all(handles: &[Handle]) {
    for (shard, handle) in handles.iter().take(SHARDS).enumerate() {
        for (path, languages) in [("/wserver", 3), ("/edk", 1), ("/projectforge", 1)] {
            let route = handle.route(path).expect("it is in the config");
            let ended = route.broadcast(Message::text("end", format!("end {shard}")));
            let total = ended.await.expect("published");
            assert_eq!(total, (languages * SESSIONS) as u64, "everybody is there");
        }
    }
}

/// Runs a future with local tasks on this thread; `Err` if it does not end.
fn run<T>(future: impl Future<Output = T>) -> Result<T, tokio::time::error::Elapsed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let tasks = LocalSet::new();
    let future = tasks.run_until(async { tokio::time::timeout(PATIENCE, future).await });
    runtime.expect("a runtime").block_on(future)
}

fn config() -> Config {
    let route = |path: &str, dialect, namespace: Option<&str>| {
        let mut route = Route::new(path, dialect);
        route.namespace = namespace.map(str::to_owned);
        route.limits.idle_timeout_ms = 600_000;
        route.limits.ping_interval_ms = 300_000;
        route.limits.outbox_bytes_max = 64 << 20;
        route
    };
    let mut wserver = route("/wserver", &Wserver, Some("town"));
    wserver.push_path = Some("/push".to_owned());
    let mut edk = route("/edk", &Edk, None);
    edk.schema = Schema::Builtin;
    let mut config = Config {
        listen: "127.0.0.1:0".parse().expect("an address"),
        shards: NonZeroU8::new(u8::try_from(SHARDS).expect("few")),
        routes: vec![
            wserver,
            route("/wsrv", &Wsrv, Some("town")),
            route("/easyws", &Easyws, Some("town")),
            edk,
            route("/projectforge", &Projectforge, None),
        ],
        ..Config::default()
    };
    config.http.http_connections_max = 8_192;
    config.http.push_timeout_ms = 60_000;
    config.heartbeat.handshake_timeout_ms = 60_000;
    config
}

/// What the program that embeds the gateway does: it notes who is who, and joins, leaves and
/// publishes for those who ask.
fn set_up(builder: Builder, ids: &Arc<[OnceLock<PublicId>]>) -> Builder {
    let ids = Arc::clone(ids);
    builder.shard(move |setup: &mut Setup| {
        for codec in DialectCodec::ALL {
            let ids = Arc::clone(&ids);
            let mut route = setup.route(codec.path());
            route.admit(|upgrade: Upgrade| async move {
                let number = upgrade.query("n").expect("every client has one");
                let number: usize = number.parse().expect("a number");
                Ok(Admission::new().value(number))
            });
            route.on_open(move |session: Session| {
                let number: usize = session.values().get().expect("admitted with it");
                ids[number]
                    .set(session.id())
                    .expect("one for each connection");
                async {}
            });
            if codec != DialectCodec::Wserver {
                route.handle("join", move |cx| join(cx, codec));
                route.handle("leave", move |cx| leave(cx, codec));
                route.handle("say", move |cx| say(cx, codec));
            }
            if codec == DialectCodec::Easyws {
                route.handle("mark", move |cx: Context| async move {
                    let Command { id, .. } = codec.asked(&cx);
                    answer(id, 1)
                });
                for channel in Target::of("t") {
                    route.channel(&channel.name());
                }
            }
        }
    })
}

async fn join(cx: Context, codec: DialectCodec) -> Result<Reply, HandleError> {
    let Command { id, channel, .. } = codec.asked(&cx);
    let joined = cx.join(channel).await?;
    Ok(answer(id, u64::from(joined)))
}

async fn leave(cx: Context, codec: DialectCodec) -> Result<Reply, HandleError> {
    let Command { id, channel, .. } = codec.asked(&cx);
    let left = cx.leave(channel).await?;
    Ok(answer(id, u64::from(left)))
}

async fn say(cx: Context, codec: DialectCodec) -> Result<Reply, HandleError> {
    let Command { id, channel, body } = codec.asked(&cx);
    let total = cx.publish(channel, Message::text("m", body)).await?;
    Ok(answer(id, total))
}

fn answer(id: u64, number: u64) -> Reply {
    Reply::text(format!("{id} {number}"))
}

/// Of each language.
const SESSIONS: usize = 400;
const SHARDS: usize = 2;
const CLIENT_THREADS: usize = 2;
/// Publishers that are handles; one more pushes over HTTP.
const HANDLES: usize = 4;
/// Of the sessions of a language that has handlers, one in so many has its handler publish.
const SAYS_EVERY: usize = 40;
const SAYERS: usize = 4 * SESSIONS / SAYS_EVERY;
const CONNECTIONS_MAX: usize = 2 * SESSIONS * DialectCodec::ALL.len();
/// More than anything here takes, unless something never comes.
const PATIENCE: Duration = Duration::from_secs(55);
