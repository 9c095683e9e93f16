//! Tests of all five dialects at once: one gateway, 2,000 sessions, joins and leaves under load.
//!
//! Three dialects share their channels; the other two have their own. Half of the sessions stay on
//! their channels, the others join, leave and reconnect, while handles, an HTTP client and handlers
//! of some sessions publish. Nothing may be lost, duplicated or reordered: of each publisher on
//! each channel, a session receives exactly the messages applied during its membership. The totals
//! returned to publishers must add up to the number of received messages. Speed is not tested.

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
fn nothing_is_lost_duplicated_or_reordered_in_five_dialects() {
    let ids: Arc<[OnceLock<PublicId>]> = (0..CONNECTIONS_MAX).map(|_| OnceLock::new()).collect();
    let builder = Gateway::builder(config());
    let gateway = set_up(builder, &ids).start().expect("the gateway starts");
    let (done, mut counted) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        address: gateway.local_addr(),
        handles: (0..HANDLES).map(|_| gateway.handle()).collect(),
        log: PublicationLog::new(HANDLES + 1 + HANDLER_PUBLISHERS),
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
        count(SESSIONS / 2 * DialectCodec::ALL.len() + HANDLES + 1 + HANDLER_PUBLISHERS).await;
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
    let (received, presence) = verify(&shared, &records, &counters);
    println!(
        "{} publications, {received} received, {presence} presence messages",
        shared.log.count()
    );
    assert!(
        received > 100_000 && presence > 10_000,
        "the test covers too little"
    );
}

/// Verifies all records and the gateway's counters. Returns the numbers of received messages and
/// of received presence messages.
fn verify(shared: &Shared, records: &[(String, Record)], counters: &Counters) -> (usize, usize) {
    assert_eq!(records.len(), SESSIONS * DialectCodec::ALL.len());
    for (name, record) in records {
        model::verify(name, record, &shared.log);
    }
    model::verify_presence(records);

    let received: usize = records
        .iter()
        .map(|(_, record)| record.received.len())
        .sum();
    let delivered = shared.log.delivered.load(Ordering::SeqCst);
    assert_eq!(
        delivered, received as u64,
        "the totals equal the received messages"
    );
    let presence: usize = records
        .iter()
        .map(|(_, record)| record.presence.len())
        .sum();

    let ends = SHARDS * records.len();
    assert_eq!(counters.deliveries, (received + presence + ends) as u64);
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
    (received, presence)
}

/// Runs the clients and publishers of one thread and returns their records.
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
                let is_sayer = codec != DialectCodec::Wserver && index % PUBLISHES_EVERY == 0;
                let sayer = is_sayer.then(|| {
                    let before = (language - 1) * (SESSIONS / PUBLISHES_EVERY);
                    HANDLES + 1 + before + index / PUBLISHES_EVERY
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

/// Publishes an end message to all sessions through each shard. No earlier publication through the
/// shard can follow it.
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

/// Runs a future with local tasks on this thread. `Err` after [`PATIENCE`].
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

/// Registers the embedder's handlers. They store public ids; join, leave and publish on command.
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
                    let Command { id, .. } = codec.decode_command(&cx);
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
    let Command { id, channel, .. } = codec.decode_command(&cx);
    let joined = cx.join(channel).await?;
    Ok(answer(id, u64::from(joined)))
}

async fn leave(cx: Context, codec: DialectCodec) -> Result<Reply, HandleError> {
    let Command { id, channel, .. } = codec.decode_command(&cx);
    let left = cx.leave(channel).await?;
    Ok(answer(id, u64::from(left)))
}

async fn say(cx: Context, codec: DialectCodec) -> Result<Reply, HandleError> {
    let Command { id, channel, body } = codec.decode_command(&cx);
    let total = cx.publish(channel, Message::text("m", body)).await?;
    Ok(answer(id, total))
}

fn answer(id: u64, number: u64) -> Reply {
    Reply::text(format!("{id} {number}"))
}

/// Number of sessions per dialect.
const SESSIONS: usize = 400;
const SHARDS: usize = 2;
const CLIENT_THREADS: usize = 2;
/// Number of publishing handles. One more publisher pushes by HTTP.
const HANDLES: usize = 4;
/// In a dialect with handlers, one session of this many has its handler publish.
const PUBLISHES_EVERY: usize = 40;
const HANDLER_PUBLISHERS: usize = 4 * SESSIONS / PUBLISHES_EVERY;
const CONNECTIONS_MAX: usize = 2 * SESSIONS * DialectCodec::ALL.len();
/// The timeout of the whole test.
const PATIENCE: Duration = Duration::from_secs(55);
