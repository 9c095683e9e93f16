//! What cannot be set up, and is said when the gateway starts; what a setup may make on its shard.

use crate::client_messages::{wsrv_request, wsrv_response};
use crate::fixture::{Client, builder, config, diary, done, in_time, noting, stop};
use campanile::config::{Config, Route};
use campanile::dialect::easyws::Easyws;
use campanile::dialect::projectforge::Projectforge;
use campanile::handler::HandleError;
use campanile::{Builder, Context, Error, Gateway, Message, Reply};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc::channel;

/// Why a gateway does not start; not because of its config.
#[track_caller]
fn complaint(builder: Builder) -> String {
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
        assert_eq!(complaint(second.done()), expected);
    }
    let route = three_shards().route("/wsrv").handle("c", async |_| ());
    let gateway = route.handle("c", async |_| ()).start();
    stop(gateway.expect("it starts"));
}

#[test]
fn authenticating_tokens_that_a_language_has_no_place_for_is_an_error() {
    for (path, language) in [
        ("/wsrv", "wsrv"),
        ("/projectforge", "projectforge"),
        ("/echo", "echo"),
    ] {
        let route = three_shards().route(path);
        let route = route.authenticate(async |_| Some("anybody".to_owned()));
        let expected = format!(
            "{path}: {language:?} has no place for a token, so authenticate would never be asked; \
             use admit"
        );
        assert_eq!(complaint(route.done()), expected);
    }
}

#[test]
fn a_command_that_easyws_cannot_have_is_an_error() {
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
        assert_eq!(complaint(route.done()), format!("/easyws: {problem}"));
    }
    let mut route = three_shards().route("/easyws");
    for command in ["", "listen", "Websocket", "a b", &long[..255]] {
        route = route.handle(command, async |_| ());
    }
    stop(route.start().expect("it starts"));
    // Another language has no such rules.
    let route = three_shards().route("/wsrv").handle("a:b", async |_| ());
    let gateway = route.handle(&long, async |_| ()).start();
    stop(gateway.expect("it starts"));
}

#[test]
fn a_route_that_is_not_in_the_config_is_an_error() {
    let expected = "there is no route /nowhere in the config";
    let route = three_shards().route("/nowhere");
    assert_eq!(complaint(route.handle("c", async |_| ()).done()), expected);
    assert_eq!(
        complaint(three_shards().playground("/play", "/nowhere")),
        expected
    );
    let with_everything = three_shards().shard(|setup| {
        let mut route = setup.route("/nowhere");
        route.handle("c", async |_| ()).fallback(async |_| ());
        route.on_open(async |_| ()).on_close(async |_| ());
        route.channel("room").channel_with("hall", async |_| Ok(()));
        route.origin(|_| true).matcher(|_| true);
        // The first complaint is the one that is made.
        route.route("/neither");
    });
    assert_eq!(complaint(with_everything), expected);
    // Paths of other things are no routes.
    let route = three_shards().route("/push").handle("c", async |_| ());
    let expected = "there is no route /push in the config";
    assert_eq!(complaint(route.done()), expected);
}

#[test]
fn a_channel_that_is_declared_twice_is_an_error() {
    let twice = three_shards().route("/easyws").channel("room");
    let twice = twice.channel_with("room", async |_| Ok(()));
    let expected = "/easyws: channel room already exists";
    assert_eq!(complaint(twice.done()), expected);
    let unnamed = three_shards().route("/easyws").channel("");
    let expected = "/easyws: a channel's name may not be empty";
    assert_eq!(complaint(unnamed.done()), expected);

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
    assert_eq!(complaint(declare("one").done()), expected);
    stop(declare("two").start().expect("it starts"));
}

#[test]
fn a_setup_that_panics_or_fails_on_one_shard_is_an_error_of_the_gateway() {
    for bad in 0..3 {
        let panicking = three_shards().shard(move |setup| {
            assert_ne!(setup.shard_index(), bad, "on purpose");
        });
        assert_eq!(complaint(panicking), "a setup panicked");
        let failing = three_shards().shard(move |setup| {
            if setup.shard_index() == bad {
                setup.route("/nowhere");
            }
        });
        assert_eq!(
            complaint(failing),
            "there is no route /nowhere in the config"
        );
    }
}

#[test]
fn a_handle_of_a_gateway_that_did_not_start_says_that_it_has_stopped() {
    let (sender, handles) = channel();
    let failing = three_shards().shard(move |setup| {
        // Nobody listens when the test has failed.
        drop(sender.send(setup.handle().clone()));
        if setup.shard_index() == 1 {
            setup.route("/nowhere");
        }
    });
    complaint(failing);
    for handle in handles {
        let route = handle.route("/wsrv").expect("it is in the config");
        let pushed = route.broadcast(Message::new("e"));
        assert_eq!(done(pushed), Err(HandleError::Stopped));
        let counted = handle.sessions_count();
        assert_eq!(in_time(|| counted.wait()), Err(HandleError::Stopped));
    }
}

#[test]
fn a_setup_runs_once_on_the_thread_of_each_shard_and_what_it_makes_stays_there() {
    let (pen, diary) = diary();
    let gateway = builder(config(3)).shard(move |setup| {
        let (shard, thread) = (setup.shard_index(), std::thread::current());
        pen.note(format!("{shard} {}", thread.name().unwrap_or_default()));
        // None of this may leave its thread.
        let seen: Rc<RefCell<Vec<String>>> = Rc::default();
        let heard = Rc::clone(&seen);
        let mut route = setup.route("/wsrv");
        route.handle("say", move |cx: Context| {
            let (heard, thread) = (Rc::clone(&heard), thread.clone());
            async move {
                assert_eq!(std::thread::current().id(), thread.id());
                heard.borrow_mut().push(cx.bind()?);
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
    diary.expect_all(&["0 shard-0", "1 shard-1", "2 shard-2"]);
    diary.expect_nothing();
    let open = |shard| Client::open_on(gateway.local_addr(), shard, "/wsrv", &[]);
    let mut clients = [open(0), open(0), open(1)];
    for (client, name) in clients.iter_mut().zip(["a", "b", "c"]) {
        client.say(&wsrv_request("say", "1", &format!("\"{name}\"")));
        assert_eq!(client.hear(), wsrv_response("say", "1", 0, "ok", "{}"));
    }
    for (client, list) in clients
        .iter_mut()
        .zip([r#"["a","b"]"#, r#"["a","b"]"#, r#"["c"]"#])
    {
        client.say(&wsrv_request("list", "2", "null"));
        assert_eq!(client.hear(), wsrv_response("list", "2", 0, "ok", list));
    }
    drop(clients);
    stop(gateway);
}

#[test]
fn setups_run_in_their_order_and_add_up() {
    let (pen, diary) = diary();
    let (one, two) = (pen.clone(), pen.clone());
    let gateway = Gateway::builder(config(1))
        .shard(move |setup| {
            one.note("one");
            setup.route("/wsrv").handle("c", noting(&one, "first"));
        })
        .route("/wsrv")
        .handle("c", noting(&pen, "second"))
        .done()
        .shard(move |setup| {
            two.note("two");
            let mut route = setup.route("/wsrv");
            route.handle("c", noting(&two, "third"));
            assert_eq!(route.handle_of_route().path(), "/wsrv");
        })
        .start()
        .expect("it starts");
    diary.expect(&["one", "two"]);
    let mut client = Client::open(gateway.local_addr(), "/wsrv");
    client.say(&wsrv_request("c", "1", "{}"));
    diary.expect(&["first", "second", "third"]);
    drop(client);
    stop(gateway);
}
