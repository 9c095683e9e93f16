//! Tests of errors and panics in an embedder's functions: the client gets the dialect's error, and
//! other sessions are not affected.

use crate::client_messages::{envelope, wsrv_request, wsrv_response};
use crate::fixture::{
    Client, Latch, Recorder, RecordsDrop, all, builder, config, config_of, done, event_log, get,
    post, recording_handler, rejection, stop,
};
use crate::logs;
use campanile::config::{Config, Route, Schema};
use campanile::dialect::easyws::Easyws;
use campanile::dialect::edk::Edk;
use campanile::dialect::projectforge::Projectforge;
use campanile::dialect::wserver::Wserver;
use campanile::dialect::wsrv::Wsrv;
use campanile::gateway::RouteBuilder;
use campanile::handler::{Admission, Next, Rejection, Upgrade};
use campanile::{Context, Failure, Message, Reply};
use campanile_tests::net::connect;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

/// Adds a handler for each kind of failure, and one that succeeds.
fn with_failing_handlers(route: RouteBuilder) -> RouteBuilder {
    route
        .handle("error", async |_| {
            Err::<(), _>(io::Error::other("it broke"))
        })
        .handle("failure", async |_| Failure::new(7, "no").with_data(&[1]))
        .handle("panic", async |_| panic_with::<()>("on purpose"))
        .handle("panic at once", |_| {
            panic_with::<Ready<()>>("on purpose, before there is a future")
        })
        .handle("blocking panic", async |cx: Context| {
            cx.blocking(|| panic_with::<()>("on purpose, elsewhere"))
                .await;
        })
        .handle("panic in a destructor", |_| PanicsWhenDropped)
        .handle("fine", async |_| Reply::text("fine"))
}

fn panic_with<T>(text: &'static str) -> T {
    std::panic::panic_any(text)
}

const FAILING: [&str; 6] = [
    "error",
    "failure",
    "panic",
    "panic at once",
    "blocking panic",
    "panic in a destructor",
];

/// A future, or a value, that panics when it is dropped.
struct PanicsWhenDropped;

impl Future for PanicsWhenDropped {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic_with::<()>("on purpose, in a destructor");
    }
}

#[test]
fn wsrv_sends_a_handlers_error_but_not_its_panic_message() {
    let route = builder(config_of(1, &Wsrv)).route("/x");
    let gateway = with_failing_handlers(route).start().expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");
    for command in FAILING {
        client.send(&wsrv_request(command, "1", "{}"));
        let (status, text, data) = match command {
            "error" => (999_999_999, "it broke", "{}"),
            "failure" => (7, "no", "[1]"),
            _ => (999_999_999, "internal error", "{}"),
        };
        assert_eq!(
            client.receive(),
            wsrv_response(command, "1", status, text, data)
        );
    }
    client.send(&wsrv_request("fine", "2", "{}"));
    assert_eq!(
        client.receive(),
        wsrv_response("fine", "2", 0, "ok", "\"fine\"")
    );
    drop(client);
    assert_eq!(stop(gateway).sessions_opened, 1);
}

#[test]
fn projectforge_closes_the_session_whose_handler_fails() {
    let (recorder, event_log) = event_log();
    let route = builder(config_of(1, &Projectforge)).route("/x");
    let route = with_failing_handlers(route).on_close(recording_handler(&recorder, "closed"));
    let gateway = route.start().expect("it starts");
    let mut other = Client::open(gateway.local_addr(), "/x");
    for command in FAILING {
        let mut client = Client::open(gateway.local_addr(), "/x");
        client.send(&format!(r#"{{"cmd":"{command}"}}"#));
        let reason = "message handling failed".to_owned();
        assert_eq!(client.closing(), (1011, reason), "{command}");
        client.end();
        event_log.expect(&["closed"]);
    }
    other.send(r#"{"cmd":"fine"}"#);
    assert!(other.receive().contains("fine"));
    drop(other);
    let counters = stop(gateway);
    assert_eq!(counters.ended("handler_failed"), FAILING.len() as u64);
}

/// Returns the log message of a failed handler.
fn logged(command: &str) -> &'static str {
    match command {
        "error" | "failure" => "a handler failed",
        _ => "a handler panicked",
    }
}

#[test]
fn easyws_and_edk_only_log_a_failed_handler() {
    let log = logs::watch();
    let mut config = config(1);
    config.routes = vec![
        Route::new("/text", &Easyws),
        Route {
            schema: Schema::Builtin,
            ..Route::new("/bytes", &Edk)
        },
    ];
    let gateway = with_failing_handlers(builder(config).route("/text"));
    let gateway = with_failing_handlers(gateway.route("/bytes"));
    let gateway = gateway.start().expect("it starts");
    let address = gateway.local_addr();
    let mut client = Client::open_with(address, "/text", &[("Cookie", "auth=")]);
    for command in FAILING {
        client.send(&format!("{command}: x"));
        client.expect_no_message();
        log.expect(&[logged(command), &format!("\"{command}\" of /text")]);
    }
    client.send("fine: x");
    assert_eq!(client.receive(), "fine: fine");
    client.leave();

    let user = [("x-user-id", "u"), ("Sec-WebSocket-Protocol", "token")];
    let mut client = Client::open_with(address, "/bytes", &user);
    for command in FAILING {
        client.send_bytes(&envelope(command, "x"));
        client.expect_no_message();
        log.expect(&[logged(command), &format!("\"{command}\" of /bytes")]);
    }
    client.send_bytes(&envelope("fine", "x"));
    assert_eq!(client.receive().as_bytes(), envelope("fine", "fine"));
    client.leave();
    let counters = stop(gateway);
    assert_eq!(counters.ended("client_closed"), 2);
}

#[test]
fn a_panic_does_not_affect_other_handlers_of_the_shard() {
    let (recorder, event_log) = event_log();
    let latch = Latch::new();
    let wait_latch = latch.clone();
    let route = builder(config_of(1, &Wsrv)).route("/x");
    let gateway = with_failing_handlers(route)
        .handle("wait", move |_| {
            let (recorder, latch) = (recorder.clone(), wait_latch.clone());
            async move {
                recorder.note("waits");
                latch.pass().await;
                Reply::text("waited")
            }
        })
        .start()
        .expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");
    let mut other = Client::open(gateway.local_addr(), "/x");
    for waiting in [&mut client, &mut other] {
        waiting.send(&wsrv_request("wait", "w", "{}"));
        event_log.expect(&["waits"]);
    }
    for _ in 0..10 {
        client.send(&wsrv_request("panic", "p", "{}"));
        let expected = wsrv_response("panic", "p", 999_999_999, "internal error", "{}");
        assert_eq!(client.receive(), expected);
    }
    for waiting in [&mut client, &mut other] {
        latch.open();
        latch.open();
        let expected = wsrv_response("wait", "w", 0, "ok", "\"waited\"");
        assert_eq!(waiting.receive(), expected);
    }
    drop((client, other));
    stop(gateway);
}

#[test]
fn a_panic_of_middleware_or_observers_fails_the_call() {
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .on_message(async |cx: Context| assert_ne!(cx.command(), "one", "on purpose"))
        .middleware(async |cx: Context, next: Next| {
            assert_ne!(cx.command(), "two", "on purpose");
            let response = next.run(cx.clone()).await;
            assert_ne!(cx.command(), "three", "on purpose");
            response
        })
        .fallback(async |_| Reply::ok())
        .start()
        .expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");
    for command in ["one", "two", "three"] {
        client.send(&wsrv_request(command, "1", "{}"));
        let expected = wsrv_response(command, "1", 999_999_999, "internal error", "{}");
        assert_eq!(client.receive(), expected);
    }
    client.send(&wsrv_request("four", "2", "{}"));
    assert_eq!(client.receive(), wsrv_response("four", "2", 0, "ok", "{}"));
    drop(client);
    stop(gateway);
}

#[test]
fn a_panic_of_the_admission_rejects_the_upgrade_with_500() {
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .admit(|upgrade| {
            let mode = upgrade.query("mode");
            assert_ne!(mode.as_deref(), Some("at once"), "on purpose");
            async move {
                tokio::task::yield_now().await;
                assert_ne!(mode.as_deref(), Some("later"), "on purpose");
                Ok(Admission::new())
            }
        })
        .start()
        .expect("it starts");
    for path in ["/x?mode=at+once", "/x?mode=later"] {
        let answer = rejection(gateway.local_addr(), path, &[]);
        assert_eq!(answer, (500, "internal error".to_owned()));
    }
    Client::open(gateway.local_addr(), "/x").leave();
    assert_eq!(stop(gateway).sessions_opened, 1);
}

#[test]
fn a_panic_of_a_validator_denies() {
    let mut config = config(1);
    config.routes = [
        Route::new("/easyws", &Easyws),
        Route::new("/pf", &Projectforge),
    ]
    .map(|route| Route {
        namespace: Some("shared".to_owned()),
        ..route
    })
    .into();
    let gateway = builder(config)
        .route("/easyws")
        .channel_with("at once", |_| panic_with::<Ready<_>>("on purpose"))
        .channel_with("later", async |_| panic_with("on purpose"))
        .channel("open")
        .start()
        .expect("it starts");
    let address = gateway.local_addr();
    let mut client = Client::open_with(address, "/easyws", &[("Cookie", "auth=")]);
    for channel in ["at once", "later"] {
        client.send(&format!("listen: {channel}"));
        assert_eq!(client.receive(), "websocket: not authorized");
        let path = format!("/pf?ch={}", channel.replace(' ', "%20"));
        let answer = rejection(address, &path, &[]);
        assert_eq!(answer, (500, "internal error".to_owned()));
    }
    client.send("listen: open");
    client.expect_no_message();
    client.leave();
    stop(gateway);
}

#[test]
fn a_panic_of_an_observer_affects_no_other_observer_nor_the_session() {
    let (recorder, event_log) = event_log();
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .admit(admit_with_noted(&recorder))
        .on_open(|_| panic_with::<Ready<()>>("on purpose"))
        .on_open(async |_| panic_with("on purpose"))
        .on_open(recording_handler(&recorder, "open"))
        .on_close(|_| panic_with::<Ready<()>>("on purpose"))
        .on_close(async |_| panic_with("on purpose"))
        .on_close(recording_handler(&recorder, "closed"))
        .handle("c", async |_| Reply::ok())
        .start()
        .expect("it starts");
    for _ in 0..2 {
        let mut client = Client::open(gateway.local_addr(), "/x");
        event_log.expect(&["open"]);
        client.send(&wsrv_request("c", "1", "{}"));
        assert_eq!(client.receive(), wsrv_response("c", "1", 0, "ok", "{}"));
        client.leave();
        event_log.expect(&["closed", "a value dropped"]);
    }
    stop(gateway);
}

fn admit_with_noted(
    recorder: &Recorder,
) -> impl Fn(Upgrade) -> Ready<Result<Admission, Rejection>> + Clone + Send + Sync + 'static {
    let recorder = recorder.clone();
    move |_| {
        let noted = RecordsDrop("a value dropped", recorder.clone());
        ready(Ok(Admission::new().value(noted)))
    }
}

/// The order of drops is unspecified.
#[test]
fn a_panicking_destructor_affects_no_session() {
    let (recorder, event_log) = event_log();
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .admit(move |_| {
            let noted = RecordsDrop("dropped", recorder.clone());
            async {
                let admission = Admission::new().value(PanicsWhenDropped).value(noted);
                Ok(admission.share(SharedBomb(PanicsWhenDropped)))
            }
        })
        .handle("replace", async |cx: Context| {
            drop(cx.session().values().insert(PanicsWhenDropped));
            Reply::ok()
        })
        .handle("c", async |_| Reply::ok())
        .start()
        .expect("it starts");
    let mut other = Client::open(gateway.local_addr(), "/x");
    for _ in 0..2 {
        let mut client = Client::open(gateway.local_addr(), "/x");
        client.send(&wsrv_request("replace", "1", "{}"));
        let expected = wsrv_response("replace", "1", 999_999_999, "internal error", "{}");
        assert_eq!(client.receive(), expected);
        client.leave();
        event_log.expect(&["dropped"]);
    }
    other.send(&wsrv_request("c", "1", "{}"));
    assert_eq!(other.receive(), wsrv_response("c", "1", 0, "ok", "{}"));
    drop(other);
    stop(gateway);
}

struct SharedBomb(PanicsWhenDropped);

/// An admission runs before the request is validated, so its values may not be used.
#[test]
fn an_unused_admission_is_dropped() {
    let (recorder, event_log) = event_log();
    let mut config = config_of(1, &Projectforge);
    config.routes[0].namespace = Some("n".to_owned());
    let gateway = builder(config)
        .route("/x")
        .admit(move |_| {
            let noted = RecordsDrop("dropped", recorder.clone());
            let captured = PanicsWhenDropped;
            async {
                let admission = Admission::new().value(noted).value(PanicsWhenDropped);
                Ok(admission.handler(move |_| {
                    black_box(&captured);
                    ready(())
                }))
            }
        })
        .channel_with("closed", async |_| Err(Failure::error("nobody")))
        .start()
        .expect("it starts");
    let address = gateway.local_addr();
    let elsewhere = [("Origin", "http://elsewhere")];
    assert_eq!(rejection(address, "/x", &elsewhere).0, 403);
    event_log.expect(&["dropped"]);
    assert_eq!(rejection(address, "/x?ch=closed", &[]).0, 403);
    event_log.expect(&["dropped"]);
    let no_upgrade = get(&mut connect(address), "/x");
    assert_eq!(no_upgrade.status, 400);
    event_log.expect(&["dropped"]);
    Client::open(address, "/x").leave();
    event_log.expect(&["dropped"]);
    stop(gateway);
}

#[test]
fn a_panic_of_a_request_rule_denies() {
    let mut config = config(1);
    config.routes.push(Route::new("/m", &Wsrv));
    let gateway = builder(config)
        .route("/wsrv")
        .origin(|head| head.header("x-ok").is_some() || panic_with("on purpose"))
        .route("/ws")
        .authorize_push(|head| head.header("x-ok").is_some() || panic_with("on purpose"))
        .route("/m")
        .matcher(|head| head.path() == "/matched" || panic_with("on purpose"))
        .start()
        .expect("it starts");
    let address = gateway.local_addr();
    let ok = [("X-Ok", "1")];
    let forbidden = (403, "Forbidden\n".to_owned());
    assert_eq!(rejection(address, "/wsrv", &[]), forbidden);
    Client::open_with(address, "/wsrv", &ok).leave();
    let push = r#"{"userId":"u","event":"e","message":"m"}"#;
    assert_eq!(post(address, "/push", &[], push).status, 500);
    assert_eq!(post(address, "/push", &ok, push).status, 200);
    // No route matches, so the embedder's own service responds.
    let answer = get(&mut connect(address), "/m");
    assert_eq!((answer.status, answer.body.as_str()), (200, "0 /m"));
    Client::open(address, "/matched").leave();
    stop(gateway);
}

/// A stop drops captured values on the shard threads, which abort the process if they unwind.
#[test]
fn captured_values_may_panic_when_dropped() {
    let captured = || Arc::new(PanicsWhenDropped);
    let (token, push, idle, shard) = (captured(), captured(), captured(), captured());
    let (handler, validator) = (captured(), captured());
    let gateway = builder(config(2))
        .authenticate_token(move |_| {
            Arc::strong_count(&token)
                .checked_sub(9)
                .map(|_| String::new())
        })
        .authorize_push(move |_| Arc::strong_count(&push) > 0)
        .on_idle(move || drop(Arc::clone(&idle)))
        .shard(move |_| drop(Arc::clone(&shard)))
        .route("/wsrv")
        .handle("x", move |_| {
            ready(Reply::text(Arc::strong_count(&handler).to_string()))
        })
        .channel_with("room", move |_| {
            drop(Arc::clone(&validator));
            ready(Ok(()))
        })
        .start()
        .expect("it starts");
    let address = gateway.local_addr();
    let mut client = Client::open(address, "/wsrv");
    client.send(&wsrv_request("x", "1", "{}"));
    client.receive();
    client.leave();
    let push = r#"{"userId":"u","event":"e","message":"m"}"#;
    assert_eq!(post(address, "/push", &[], push).status, 200);
    stop(gateway);
}

/// The last function replaces earlier ones.
#[test]
fn a_builder_has_one_function_of_a_kind_for_all_routes() {
    let gateway = builder(config(1))
        .authorize_push(|_| false)
        .authorize_push(|head| head.header("x-ok").is_some())
        .start()
        .expect("it starts");
    let push = r#"{"userId":"u","event":"e","message":"m"}"#;
    let address = gateway.local_addr();
    assert_eq!(post(address, "/push", &[], push).status, 401);
    assert_eq!(post(address, "/push", &[("X-Ok", "1")], push).status, 200);
    stop(gateway);
}

#[test]
fn a_panic_of_the_token_function_gives_no_user() {
    let config = Config {
        routes: vec![Route::new("/ws", &Wserver), Route::new("/edk", &Edk)],
        ..config(1)
    };
    let authenticate = async |token: Box<str>| match &*token {
        "bad" => panic_with("on purpose"),
        token => Some(token.to_uppercase()),
    };
    let gateway = builder(config)
        .route("/ws")
        .authenticate(authenticate)
        .route("/edk")
        .authenticate(authenticate)
        .start()
        .expect("it starts");
    let address = gateway.local_addr();
    let mut client = Client::open(address, "/ws");
    for token in ["bad", "good"] {
        client.send(&format!(r#"{{"token":"{token}","event":"e"}}"#));
    }
    client.expect_no_message();
    let route = gateway.route("/ws").expect("it is there");
    let names: Vec<String> = all(route.users()).into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["GOOD"]);
    let pushed = route.push_user("GOOD", Message::text("e", "hello"));
    assert_eq!(done(pushed), Ok(1));
    assert_eq!(client.receive(), "hello");
    drop(client);

    let bad = [("Sec-WebSocket-Protocol", "bad")];
    let answer = rejection(address, "/edk", &bad);
    assert_eq!(answer, (500, "internal error".to_owned()));
    let good = [("Sec-WebSocket-Protocol", "good")];
    Client::open_with(address, "/edk", &good).leave();
    stop(gateway);
}
