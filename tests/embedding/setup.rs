//! Tests of setups: errors at the start of a gateway, and the shard-local state of a setup.

use crate::client_messages::{wsrv_request, wsrv_response};
use crate::fixture::{Client, builder, config, done, event_log, in_time, recording_handler, stop};
use campanile::channel_rules::SlowMembers;
use campanile::config::{Config, Route};
use campanile::dialect::easyws::Easyws;
use campanile::dialect::projectforge::Projectforge;
use campanile::handler::HandleError;
use campanile::{Builder, Context, Error, Gateway, Message, Reply};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc::channel;

/// Returns the setup error of a gateway that does not start.
#[track_caller]
fn setup_error(builder: Builder) -> String {
    match builder.start() {
        Err(Error::Setup(problem)) => problem.to_string(),
        Err(other) => panic!("not the setup's doing: {other}"),
        Ok(gateway) => {
            stop(gateway);
            panic!("it starts");
        }
    }
}

fn three_shards() -> Builder {
    Gateway::builder(config(3))
}

#[test]
fn a_second_handler_of_a_command_is_an_error_except_in_wsrv() {
    for path in ["/easyws", "/edk", "/projectforge", "/ws", "/echo"] {
        let route = three_shards().route(path).handle("c", async |_| ());
        let second = route.handle("d", async |_| ()).handle("c", async |_| ());
        let expected = format!("{path}: command c already exists");
        assert_eq!(setup_error(second.done()), expected);
    }
    let route = three_shards().route("/wsrv").handle("c", async |_| ());
    let gateway = route.handle("c", async |_| ()).start();
    stop(gateway.expect("it starts"));
}

#[test]
fn authenticate_in_a_dialect_without_tokens_is_an_error() {
    for (path, language) in [
        ("/wsrv", "wsrv"),
        ("/projectforge", "projectforge"),
        ("/echo", "echo"),
    ] {
        let route = three_shards().route(path);
        let route = route.authenticate(async |_| Some("anybody".to_owned()));
        let expected = format!(
            "{path}: dialect {language:?} has no place for a token, so authenticate would never \
             run; use admit"
        );
        assert_eq!(setup_error(route.done()), expected);
    }
}

#[test]
fn a_command_that_easyws_cannot_encode_is_an_error() {
    let long = "x".repeat(256);
    for (command, problem) in [
        ("a:b", "command may not contain a colon"),
        (":", "command may not contain a colon"),
        ("websocket", "command websocket is reserved"),
        (&long, "command may not be longer than 255 characters"),
    ] {
        let route = three_shards()
            .route("/easyws")
            .handle(command, async |_| ());
        assert_eq!(setup_error(route.done()), format!("/easyws: {problem}"));
    }
    let mut route = three_shards().route("/easyws");
    for command in ["", "listen", "Websocket", "a b", &long[..255]] {
        route = route.handle(command, async |_| ());
    }
    stop(route.start().expect("it starts"));
    // Other dialects have no such rules.
    let route = three_shards().route("/wsrv").handle("a:b", async |_| ());
    let gateway = route.handle(&long, async |_| ()).start();
    stop(gateway.expect("it starts"));
}

#[test]
fn a_route_that_is_not_in_the_config_is_an_error() {
    let expected = "there is no route /nowhere in the config";
    let route = three_shards().route("/nowhere");
    assert_eq!(
        setup_error(route.handle("c", async |_| ()).done()),
        expected
    );
    assert_eq!(
        setup_error(three_shards().playground("/play", "/nowhere")),
        expected
    );
    let with_everything = three_shards().shard(|setup| {
        let mut route = setup.route("/nowhere");
        route.handle("c", async |_| ()).fallback(async |_| ());
        route.on_open(async |_| ()).on_close(async |_| ());
        route.channel("room").channel_with("hall", async |_| Ok(()));
        route.origin(|_| true).matcher(|_| true);
        // Only the first error is reported.
        route.route("/neither");
    });
    assert_eq!(setup_error(with_everything), expected);
    // A path that is no route's is an error, even if the gateway serves it.
    let route = three_shards().route("/push").handle("c", async |_| ());
    let expected = "there is no route /push in the config";
    assert_eq!(setup_error(route.done()), expected);
}

#[test]
fn a_channel_that_is_declared_twice_is_an_error() {
    let twice = three_shards().route("/easyws").channel("room");
    let twice = twice.channel_with("room", async |_| Ok(()));
    let expected = "/easyws: channel room already exists";
    assert_eq!(setup_error(twice.done()), expected);
    let unnamed = three_shards().route("/easyws").channel("");
    let expected = "/easyws: a channel's name may not be empty";
    assert_eq!(setup_error(unnamed.done()), expected);

    let route = |path: &str, dialect, namespace: &str| Route {
        namespace: Some(namespace.to_owned()),
        ..Route::new(path, dialect)
    };
    let routes = |second| Config {
        routes: vec![
            route("/a", &Easyws, "one"),
            route("/b", &Projectforge, second),
        ],
        ..config(3)
    };
    let declare = |second| {
        let builder = Gateway::builder(routes(second));
        builder
            .route("/a")
            .channel("room")
            .route("/b")
            .channel("room")
    };
    let expected = "channel room already exists in a namespace that two routes share";
    assert_eq!(setup_error(declare("one").done()), expected);
    stop(declare("two").start().expect("it starts"));

    let treat = |second, slow| {
        let builder = Gateway::builder(routes(second)).route("/a");
        let builder = builder.slow_members("room-*", SlowMembers::DropNewest);
        builder.route("/b").slow_members("room-*", slow)
    };
    let expected = "channel room-* treats slow members in two ways in a namespace that two routes \
        share";
    let different = treat("one", SlowMembers::Disconnect).done();
    assert_eq!(setup_error(different), expected);
    let same = treat("one", SlowMembers::DropNewest);
    stop(same.start().expect("it starts"));
    let elsewhere = treat("two", SlowMembers::Disconnect);
    stop(elsewhere.start().expect("it starts"));
}

#[test]
fn a_setup_that_panics_or_fails_on_one_shard_is_an_error_of_the_gateway() {
    for bad in 0..3 {
        let panicking = three_shards().shard(move |setup| {
            assert_ne!(setup.shard_index(), bad, "on purpose");
        });
        assert_eq!(setup_error(panicking), "a setup panicked");
        let failing = three_shards().shard(move |setup| {
            if setup.shard_index() == bad {
                setup.route("/nowhere");
            }
        });
        assert_eq!(
            setup_error(failing),
            "there is no route /nowhere in the config"
        );
    }
}

#[test]
fn a_handle_of_a_gateway_that_did_not_start_returns_stopped() {
    let (sender, handles) = channel();
    let failing = three_shards().shard(move |setup| {
        // The receiver is gone if the test has failed.
        drop(sender.send(setup.handle().clone()));
        if setup.shard_index() == 1 {
            setup.route("/nowhere");
        }
    });
    setup_error(failing);
    for handle in handles {
        let route = handle.route("/wsrv").expect("it is in the config");
        let pushed = route.broadcast(Message::new("e"));
        assert_eq!(done(pushed), Err(HandleError::Stopped));
        let counted = handle.sessions_count();
        assert_eq!(in_time(|| counted.wait()), Err(HandleError::Stopped));
    }
}

#[test]
fn a_setup_runs_once_on_the_thread_of_each_shard_with_local_state() {
    let (recorder, event_log) = event_log();
    let gateway = builder(config(3)).shard(move |setup| {
        let (shard, thread) = (setup.shard_index(), std::thread::current());
        recorder.note(format!("{shard} {}", thread.name().unwrap_or_default()));
        // These values are not `Send`.
        let seen: Rc<RefCell<Vec<String>>> = Rc::default();
        let received = Rc::clone(&seen);
        let mut route = setup.route("/wsrv");
        route.handle("say", move |cx: Context| {
            let (received, thread) = (Rc::clone(&received), thread.clone());
            async move {
                assert_eq!(std::thread::current().id(), thread.id());
                received.borrow_mut().push(cx.bind()?);
                assert_eq!(std::thread::current().id(), thread.id());
                Ok::<_, campanile::Failure>(Reply::ok())
            }
        });
        route.handle("list", move |_| {
            let reply = Reply::json(&*seen.borrow());
            async move { reply }
        });
    });
    let gateway = gateway.start().expect("it starts");
    event_log.expect_all(&["0 shard-0", "1 shard-1", "2 shard-2"]);
    event_log.expect_nothing();
    let open = |shard| Client::open_on(gateway.local_addr(), shard, "/wsrv", &[]);
    let mut clients = [open(0), open(0), open(1)];
    for (client, name) in clients.iter_mut().zip(["a", "b", "c"]) {
        client.send(&wsrv_request("say", "1", &format!("\"{name}\"")));
        assert_eq!(client.receive(), wsrv_response("say", "1", 0, "ok", "{}"));
    }
    for (client, list) in clients
        .iter_mut()
        .zip([r#"["a","b"]"#, r#"["a","b"]"#, r#"["c"]"#])
    {
        client.send(&wsrv_request("list", "2", "null"));
        assert_eq!(client.receive(), wsrv_response("list", "2", 0, "ok", list));
    }
    drop(clients);
    stop(gateway);
}

#[test]
fn several_setups_run_in_order() {
    let (recorder, event_log) = event_log();
    let (one, two) = (recorder.clone(), recorder.clone());
    let gateway = Gateway::builder(config(1))
        .shard(move |setup| {
            one.note("one");
            setup
                .route("/wsrv")
                .handle("c", recording_handler(&one, "first"));
        })
        .route("/wsrv")
        .handle("c", recording_handler(&recorder, "second"))
        .done()
        .shard(move |setup| {
            two.note("two");
            let mut route = setup.route("/wsrv");
            route.handle("c", recording_handler(&two, "third"));
            assert_eq!(route.handle_of_route().path(), "/wsrv");
        })
        .start()
        .expect("it starts");
    event_log.expect(&["one", "two"]);
    let mut client = Client::open(gateway.local_addr(), "/wsrv");
    client.send(&wsrv_request("c", "1", "{}"));
    event_log.expect(&["first", "second", "third"]);
    drop(client);
    stop(gateway);
}
