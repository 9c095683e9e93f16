//! Tests of the runtime of handlers: timers, sockets, tasks, blocking work, and the watchdog for
//! blocked shards.

use crate::client_messages::{wsrv_request, wsrv_response};
use crate::fixture::{
    Client, Hold, Latch, ReleaseOnDrop, builder, config_of, event_log, get, stop,
};
use crate::logs::{self, Log};
use campanile::config::Config;
use campanile::dialect::easyws::Easyws;
use campanile::dialect::wsrv::Wsrv;
use campanile::handler::Admission;
use campanile::{Context, Failure, Gateway, Message, Reply};
use campanile_tests::net::connect;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, Response};
use std::cell::RefCell;
use std::future::{Ready, ready};
use std::io::{self, Read as _, Write as _};
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;

#[test]
fn a_setup_may_spawn_tasks_and_timers_that_publish() {
    let gateway = builder(config_of(2, &Wsrv)).shard(|setup| {
        let shard = setup.shard_index();
        let ticks_count: Rc<RefCell<u32>> = Rc::default();
        let mut route = setup.route("/x");
        route.admit(async |_| Ok(Admission::new().join("ticks")));
        let handle = route.handle_of_route();
        tokio::task::spawn_local(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(1));
            loop {
                ticks.tick().await;
                *ticks_count.borrow_mut() += 1;
                let message = Message::text(format!("shard {shard}"), "tick");
                // It fails after the gateway has stopped.
                drop(handle.publish("ticks", message));
            }
        });
    });
    let gateway = gateway.start().expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");
    let mut counts = [0, 0];
    while counts.iter().any(|&count| count < 3) {
        let message = client.receive();
        for (shard, count) in counts.iter_mut().enumerate() {
            *count += u32::from(message.contains(&format!("shard {shard}")));
        }
    }
    drop(client);
    stop(gateway);
}

#[test]
fn a_handler_may_use_timers_and_tasks() {
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .handle("timers", async |_| {
            let never = std::future::pending::<()>();
            let timed = tokio::time::timeout(Duration::from_millis(2), never).await;
            let slept = async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                "slept"
            };
            let chosen = tokio::select! {
                text = slept => text,
                () = std::future::pending() => "never",
            };
            Reply::json(&(timed.is_err(), chosen))
        })
        .handle("tasks", async |cx: Context| {
            let number = Rc::new(cx.session().number());
            let task = tokio::task::spawn_local(async move { *number + 1 });
            let panicking = tokio::task::spawn_local(async { panic!("on purpose") });
            let results = (task.await.ok(), panicking.await.is_err());
            Reply::json(&results)
        })
        .start()
        .expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.send(&wsrv_request("timers", "1", "{}"));
    assert_eq!(
        client.receive(),
        wsrv_response("timers", "1", 0, "ok", r#"[true,"slept"]"#)
    );
    client.send(&wsrv_request("tasks", "1", "{}"));
    assert_eq!(
        client.receive(),
        wsrv_response("tasks", "1", 0, "ok", "[2,true]")
    );
    drop(client);
    stop(gateway);
}

/// Connects to a port, sends `text`, and reads until the end of the stream.
async fn converse(port: u16, text: &str) -> io::Result<String> {
    let socket = TcpStream::connect(("127.0.0.1", port)).await?;
    socket.writable().await?;
    assert_eq!(socket.try_write(text.as_bytes())?, text.len());
    let (mut answer, mut buffer) = (Vec::new(), [0; 64]);
    loop {
        socket.readable().await?;
        match socket.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => answer.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a_handler_may_use_tokio_sockets() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .handle("ask", move |cx: Context| async move {
            let question: String = cx.bind()?;
            let answer = converse(port, &question).await?;
            Ok::<_, Failure>(Reply::text(answer))
        })
        .start()
        .expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");
    let mut other = Client::open(gateway.local_addr(), "/x");
    client.send(&wsrv_request("ask", "1", "\"how?\""));
    let (mut peer, _) = listener.accept().expect("the handler connects");
    let mut question = [0; 4];
    peer.read_exact(&mut question).expect("a request arrives");
    assert_eq!(&question, b"how?");
    // While it waits, others are served.
    other.expect_no_message();
    peer.write_all(b"so").expect("it reads");
    other.expect_no_message();
    drop(peer);
    assert_eq!(
        client.receive(),
        wsrv_response("ask", "1", 0, "ok", "\"so\"")
    );
    drop(listener);
    client.send(&wsrv_request("ask", "2", "\"how?\""));
    let refused = client.receive();
    assert!(
        refused.contains(r#""status":999999999,"msg":"Connection refused"#),
        "{refused}"
    );
    drop((client, other));
    stop(gateway);
}

#[test]
fn blocking_work_does_not_block_the_shard() {
    let hold = Hold::default();
    let held = hold.clone();
    let (recorder, event_log) = event_log();
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .handle("block", move |cx: Context| {
            let (hold, recorder) = (held.clone(), recorder.clone());
            async move {
                let shard = std::thread::current().id();
                let is_elsewhere = cx.blocking(move || {
                    recorder.note("blocking");
                    hold.wait();
                    std::thread::current().id() != shard
                });
                let is_elsewhere = is_elsewhere.await;
                assert_eq!(std::thread::current().id(), shard);
                Reply::json(&is_elsewhere)
            }
        })
        .handle("c", async |_| Reply::ok())
        .start()
        .expect("it starts");
    let _release = ReleaseOnDrop(hold.clone());
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.send(&wsrv_request("block", "1", "{}"));
    event_log.expect(&["blocking"]);
    client.send(&wsrv_request("c", "2", "{}"));
    assert_eq!(client.receive(), wsrv_response("c", "2", 0, "ok", "{}"));
    hold.release();
    assert_eq!(
        client.receive(),
        wsrv_response("block", "1", 0, "ok", "true")
    );
    drop(client);
    stop(gateway);
}

/// Returns a config with one shard and a watchdog timeout of 20 ms.
fn watched() -> Config {
    let mut config = config_of(1, &Easyws);
    config.limits.handler_stall_ms = 20;
    // A unique path, because all tests share one log.
    "/watched".clone_into(&mut config.routes[0].path);
    config
}

const BLOCKS: &str = "a handler blocks its shard";
const BLOCKED: &str = "a handler blocked its shard; move blocking work to Context::blocking";

/// The functions that block the shard, one after the other.
const BLOCKING_FUNCTIONS: [&str; 7] = [
    "admit of /watched",
    "on_open of /watched",
    "the validator of \"held\" of /watched",
    "\"holds\" of /watched",
    "the fallback of /watched",
    "on_close of /watched",
    "the HTTP service",
];

/// A hold for each of the [`BLOCKING_FUNCTIONS`]. All are released on drop.
struct Holds([ReleaseOnDrop; 7]);

impl Holds {
    fn new() -> Self {
        Self(BLOCKING_FUNCTIONS.map(|_| ReleaseOnDrop(Hold::default())))
    }

    /// Returns a function that waits at hold `index`.
    fn at(&self, index: usize) -> impl Fn() -> Ready<()> + Clone + Send + Sync + 'static {
        let hold = self.0[index].0.clone();
        move || {
            hold.wait();
            ready(())
        }
    }

    /// Waits for the watchdog's log line, releases the hold, and waits for the second line.
    #[track_caller]
    fn expect_named(&self, index: usize, log: &Log) {
        let line = log.expect(&[BLOCKS, BLOCKING_FUNCTIONS[index]]);
        assert!(line.contains("shard=0"), "{line}");
        self.0[index].0.release();
        log.expect(&[BLOCKED, BLOCKING_FUNCTIONS[index]]);
    }
}

/// Starts a gateway whose functions block their shard, except the command `waits`.
fn holding(holds: &Holds, latch: &Latch) -> Gateway {
    let (admit, open, validate) = (holds.at(0), holds.at(1), holds.at(2));
    let (handle, fall, close) = (holds.at(3), holds.at(4), holds.at(5));
    let (serve, latch) = (holds.at(6), latch.clone());
    let gateway = builder(watched())
        .route("/watched")
        .admit(move |_| {
            let held = admit();
            async {
                held.await;
                Ok(Admission::new())
            }
        })
        .on_open(move |_| open())
        .channel_with("held", move |_| {
            let held = validate();
            async {
                held.await;
                Ok(())
            }
        })
        .handle("holds", move |_| handle())
        .handle("waits", move |_| {
            let latch = latch.clone();
            async move { latch.pass().await }
        })
        .fallback(move |_| fall())
        .on_close(move |_| close())
        .done()
        .shard(move |setup| {
            let serve = serve.clone();
            setup.http(move |_: Request<_>| {
                let held = serve();
                async {
                    held.await;
                    Ok::<_, io::Error>(Response::new(Empty::<Bytes>::new()))
                }
            });
        });
    gateway.start().expect("it starts")
}

#[test]
fn a_blocking_function_is_logged_during_and_after() {
    let (log, whole_log) = (logs::watch(), logs::watch());
    let (holds, latch) = (Holds::new(), Latch::new());
    let gateway = holding(&holds, &latch);
    let address = gateway.local_addr();
    let open = || Client::open_with(address, "/watched", &[("Cookie", "auth=")]);
    let (mut client, mut patient) = std::thread::scope(|scope| {
        let opening = scope.spawn(open);
        holds.expect_named(0, &log);
        holds.expect_named(1, &log);
        (opening.join().expect("no panic"), open())
    });
    // An awaiting handler is not logged; its line would precede the next one.
    patient.send("waits: x");
    client.send("listen: held");
    holds.expect_named(2, &log);
    client.send("holds: x");
    holds.expect_named(3, &log);
    client.send("other: x");
    holds.expect_named(4, &log);
    whole_log.expect_not(&["\"waits\" of /watched"]);
    latch.open();
    client.abort();
    holds.expect_named(5, &log);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| get(&mut connect(address), "/").status);
        holds.expect_named(6, &log);
        assert_eq!(asking.join().expect("no panic"), 200);
    });
    drop(patient);
    stop(gateway);
}

#[test]
fn a_blocking_setup_is_logged() {
    let log = logs::watch();
    let gateway = builder(watched()).shard(|_| {
        // There is no event to wait for: the watchdog covers only a started gateway.
        #[expect(
            clippy::disallowed_methods,
            reason = "what is tested is that it holds the shard"
        )]
        std::thread::sleep(Duration::from_millis(60));
    });
    let gateway = gateway.start().expect("it starts");
    log.expect(&[BLOCKED, "the setup"]);
    stop(gateway);
}
