//! Tests of the handler chain: observers, middleware, and the handlers of a command.

use crate::client_messages::{wsrv_request, wsrv_response};
use crate::fixture::{
    Client, Recorder, builder, config, config_of, event_log, recording_handler, stop,
};
use campanile::dialect::wsrv::Wsrv;
use campanile::handler::{Admission, Next, Response};
use campanile::{Context, Failure, Reply};
use garde::Validate;
use serde::Deserialize;
use std::future::Future;
use std::pin::Pin;

type Wrapped = Pin<Box<dyn Future<Output = Response>>>;

/// Returns a middleware that notes the request and the response.
fn recording(
    recorder: &Recorder,
    name: &'static str,
) -> impl Fn(Context, Next) -> Wrapped + Clone + Send + Sync + 'static {
    let recorder = recorder.clone();
    move |cx, next| {
        let recorder = recorder.clone();
        Box::pin(async move {
            let (command, data) = (cx.command().to_owned(), cx.text().unwrap_or_default());
            recorder.note(format!("{name} before {command} {data}"));
            let response = next.run(cx.clone()).await;
            recorder.note(match &response {
                Ok(Some(reply)) => {
                    let data = String::from_utf8_lossy(reply.data().bytes()).into_owned();
                    format!("{name} after {command} {data}")
                }
                Ok(None) => format!("{name} after {command}: nothing"),
                Err(failure) => format!("{name} after {command}: {}", failure.text()),
            });
            response
        })
    }
}

#[test]
fn middleware_wraps_the_rest_and_sees_request_and_response() {
    let (recorder, event_log) = event_log();
    let handler_recorder = recorder.clone();
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .middleware(recording(&recorder, "outer"))
        .handle("c", move |cx: Context| {
            let recorder = handler_recorder.clone();
            async move {
                recorder.note("handler");
                Reply::json(&cx.bind::<u32>()?.saturating_add(1)).map_err(Failure::from)
            }
        })
        .handle("fails", async |_| Failure::new(7, "no"))
        .handle("no reply", recording_handler(&recorder, "handler"))
        // The order is that of registration, also with handlers in between.
        .middleware(recording(&recorder, "inner"))
        .start()
        .expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");

    client.send(&wsrv_request("c", "1", "5"));
    assert_eq!(client.receive(), wsrv_response("c", "1", 0, "ok", "6"));
    event_log.expect(&["outer before c 5", "inner before c 5", "handler"]);
    event_log.expect(&["inner after c 6", "outer after c 6"]);

    client.send(&wsrv_request("fails", "2", "5"));
    assert_eq!(client.receive(), wsrv_response("fails", "2", 7, "no", "{}"));
    event_log.expect(&["outer before fails 5", "inner before fails 5"]);
    event_log.expect(&["inner after fails: no", "outer after fails: no"]);

    for command in ["no reply", "is not handled"] {
        client.send(&wsrv_request(command, "3", "5"));
        let silence = wsrv_response(command, "3", -1, "not implement", "{}");
        assert_eq!(client.receive(), silence);
        let [outer, inner] = ["outer", "inner"].map(|name| format!("{name} before {command} 5"));
        event_log.expect(&[&outer, &inner]);
        if command == "no reply" {
            event_log.expect(&["handler"]);
        }
        let [outer, inner] =
            ["outer", "inner"].map(|name| format!("{name} after {command}: nothing"));
        event_log.expect(&[&inner, &outer]);
    }
    event_log.expect_nothing();
    drop(client);
    stop(gateway);
}

#[test]
fn middleware_may_respond_without_calling_the_handler() {
    let (recorder, event_log) = event_log();
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .middleware(recording(&recorder, "outer"))
        .middleware(async |cx: Context, next: Next| match cx.request_id() {
            "abort" => Ok(None),
            "refuse" => Err(Failure::new(8, "not you")),
            "answer" => Ok(Some(Reply::text("instead"))),
            _ => next.run(cx).await,
        })
        .middleware(recording(&recorder, "inner"))
        .handle("c", recording_handler(&recorder, "handler"))
        .start()
        .expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");
    for (seqno, status, text, data, after) in [
        ("abort", -1, "not implement", "{}", ": nothing"),
        ("refuse", 8, "not you", "{}", ": not you"),
        ("answer", 0, "ok", "\"instead\"", " instead"),
    ] {
        client.send(&wsrv_request("c", seqno, "5"));
        assert_eq!(
            client.receive(),
            wsrv_response("c", seqno, status, text, data)
        );
        event_log.expect(&["outer before c 5", &format!("outer after c{after}")]);
    }
    client.send(&wsrv_request("c", "go on", "5"));
    assert_eq!(
        client.receive(),
        wsrv_response("c", "go on", -1, "not implement", "{}")
    );
    event_log.expect(&["outer before c 5", "inner before c 5", "handler"]);
    drop(client);
    stop(gateway);
}

#[test]
fn middleware_may_replace_the_response_and_run_the_rest_again() {
    let (recorder, event_log) = event_log();
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .middleware(async |cx: Context, next: Next| match next.run(cx).await {
            Ok(Some(_)) => Err(Failure::new(9, "it went too well")),
            Ok(None) => Ok(Some(Reply::text("something"))),
            Err(failure) => Ok(Some(Reply::text(format!("healed {}", failure.text())))),
        })
        .middleware(async |cx: Context, next: Next| {
            let again = next.clone();
            match next.run(cx.clone()).await {
                Err(_) => again.run(cx).await,
                response @ Ok(_) => response,
            }
        })
        .handle("replies", async |_| Reply::ok())
        .handle("is silent", async |_| ())
        .handle("fails", move |_| {
            recorder.note("handler");
            async { Failure::error("twice") }
        })
        .start()
        .expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");
    for (command, status, text, data) in [
        ("replies", 9, "it went too well", "{}"),
        ("is silent", 0, "ok", "\"something\""),
        ("fails", 0, "ok", "\"healed twice\""),
    ] {
        client.send(&wsrv_request(command, "1", "{}"));
        assert_eq!(
            client.receive(),
            wsrv_response(command, "1", status, text, data)
        );
    }
    event_log.expect(&["handler", "handler"]);
    drop(client);
    stop(gateway);
}

#[test]
fn a_second_handler_of_wsrv_runs_after_the_first_and_replies_before_it() {
    let (recorder, event_log) = event_log();
    let (first, second) = (recorder.clone(), recorder);
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .handle("c", move |cx: Context| {
            first.note("first");
            async move {
                match cx.bind::<String>().as_deref() {
                    Ok("fail") => Err(Failure::new(3, "first")),
                    _ => Ok(Reply::text("first")),
                }
            }
        })
        .handle("c", move |cx: Context| {
            second.note("second");
            async move {
                let is_silent = cx.bind::<String>().as_deref() == Ok("silent");
                (!is_silent).then(|| Reply::text("second"))
            }
        })
        .start()
        .expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");
    let mut ask = |data: &str, status, text, reply: &str| {
        client.send(&wsrv_request("c", "1", data));
        assert_eq!(
            client.receive(),
            wsrv_response("c", "1", status, text, reply)
        );
    };
    ask("\"\"", 0, "ok", "\"second\"");
    event_log.expect(&["first", "second"]);
    ask("\"silent\"", 0, "ok", "\"first\"");
    event_log.expect(&["first", "second"]);
    ask("\"fail\"", 3, "first", "{}");
    event_log.expect(&["first"]);
    event_log.expect_nothing();
    drop(client);
    stop(gateway);
}

#[test]
fn the_fallback_handles_commands_without_a_handler() {
    let fallback = async |cx: Context| {
        let text = format!("{} {}", cx.command(), cx.text().unwrap_or("nothing"));
        Reply::text(text).with_event("fell")
    };
    let gateway = builder(config(1))
        .route("/easyws")
        .handle("known", async |_| Reply::text("known"))
        .fallback(fallback)
        .route("/wsrv")
        .fallback(fallback)
        .start()
        .expect("it starts");
    let address = gateway.local_addr();
    let mut client = Client::open_with(address, "/easyws", &[("Cookie", "auth=")]);
    for (message, answer) in [
        ("known: x", "known: known"),
        ("other: x", "fell: other x"),
        ("other: ", "fell: other nothing"),
        ("no command", "fell:  no command"),
    ] {
        client.send(message);
        assert_eq!(client.receive(), answer);
    }
    client.leave();
    let mut client = Client::open(address, "/wsrv");
    client.send("{}");
    assert_eq!(
        client.receive(),
        wsrv_response("", "", 0, "ok", "\" nothing\"")
    );
    client.leave();
    stop(gateway);
}

#[test]
fn a_message_observer_runs_first_and_replies_if_no_handler_does() {
    let (recorder, event_log) = event_log();
    let observer = recorder.clone();
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .middleware(recording(&recorder, "middleware"))
        .handle("c", async |_| Reply::text("handler"))
        .on_message(recording_handler(&recorder, "one"))
        .on_message(move |cx: Context| {
            observer.note("two");
            async move {
                match cx.request_id() {
                    "stop" => Err(Failure::new(1, "stopped")),
                    _ => Ok(Reply::text("observer")),
                }
            }
        })
        .start()
        .expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.send(&wsrv_request("c", "1", "5"));
    assert_eq!(
        client.receive(),
        wsrv_response("c", "1", 0, "ok", "\"handler\"")
    );
    event_log.expect(&["one", "two", "middleware before c 5"]);
    event_log.expect(&["middleware after c handler"]);
    client.send(&wsrv_request("other", "2", "5"));
    let expected = wsrv_response("other", "2", 0, "ok", "\"observer\"");
    assert_eq!(client.receive(), expected);
    event_log.expect(&["one", "two", "middleware before other 5"]);
    event_log.expect(&["middleware after other: nothing"]);
    client.send(&wsrv_request("c", "stop", "5"));
    assert_eq!(
        client.receive(),
        wsrv_response("c", "stop", 1, "stopped", "{}")
    );
    event_log.expect(&["one", "two"]);
    event_log.expect_nothing();
    drop(client);
    stop(gateway);
}

#[test]
fn a_handler_of_the_admission_replaces_those_of_the_route() {
    let (recorder, event_log) = event_log();
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .middleware(recording(&recorder, "middleware"))
        .admit(async |upgrade| {
            let Some(name) = upgrade.query("name") else {
                return Ok(Admission::new());
            };
            Ok(Admission::new().handler(move |cx: Context| {
                let reply = Reply::text(format!("{name} handles {}", cx.command()));
                async move { reply }
            }))
        })
        .handle("c", async |_| Reply::text("route"))
        .fallback(async |_| Reply::text("fallback"))
        .start()
        .expect("it starts");
    for (path, command, reply) in [
        ("/x?name=jack", "c", "jack handles c"),
        ("/x?name=jack", "d", "jack handles d"),
        ("/x", "c", "route"),
        ("/x", "d", "fallback"),
    ] {
        let mut client = Client::open(gateway.local_addr(), path);
        client.send(&wsrv_request(command, "1", "5"));
        let data = format!("\"{reply}\"");
        assert_eq!(
            client.receive(),
            wsrv_response(command, "1", 0, "ok", &data)
        );
        event_log.expect(&[&format!("middleware before {command} 5")]);
        event_log.expect(&[&format!("middleware after {command} {reply}")]);
        client.leave();
    }
    stop(gateway);
}

#[test]
fn a_handler_sees_all_parts_of_its_message() {
    let describe = async |cx: Context| {
        let text = format!(
            "{}|{}|{}|{}|{:?}|{:?}|{:?}",
            cx.command(),
            cx.request_id(),
            cx.channel(),
            cx.claimed_from(),
            cx.kind(),
            cx.data().map(<[u8]>::len),
            cx.text(),
        );
        Reply::text(text).with_event("described")
    };
    let mut builder = builder(config(1));
    for path in ["/wsrv", "/easyws", "/projectforge"] {
        builder = builder.route(path).fallback(describe).done();
    }
    let gateway = builder.start().expect("it starts");
    let open = |path| Client::open_with(gateway.local_addr(), path, &[("Cookie", "auth=")]);
    let mut wsrv = open("/wsrv");
    wsrv.send_bytes(br#"{"cmd":"c","seqno":"s","data":{"a": 1}}"#);
    let text = r#""c|s|||Binary|Some(8)|Some(\"{\\\"a\\\": 1}\")""#;
    assert_eq!(wsrv.receive(), wsrv_response("c", "s", 0, "ok", text));
    wsrv.send(r#"{"seqno":"s"}"#);
    let text = r#""|s|||Text|None|None""#;
    assert_eq!(wsrv.receive(), wsrv_response("", "s", 0, "ok", text));
    let mut easyws = open("/easyws");
    easyws.send_bytes(b"c: \xff\xfe");
    assert_eq!(easyws.receive(), "described: c||||Binary|Some(2)|None");
    let mut forge = open("/projectforge");
    let from = "82ad4c6d-fc95-41e5-8589-b37a56cdfc0d";
    forge.send(&format!(
        r#"{{"from":"{from}","channel":"r","cmd":"c","param":[1]}}"#
    ));
    let text = format!(r#""c||r|{from}|Text|Some(3)|Some(\"[1]\")""#);
    assert!(forge.receive().contains(&text));
    for client in [wsrv, easyws, forge] {
        client.leave();
    }
    stop(gateway);
}

/// A type that a handler binds data to. `garde` validates its values.
#[derive(Deserialize, Validate)]
struct Register {
    #[garde(range(max = 99))]
    uid: u32,
}

#[test]
fn data_are_bound_to_types_and_validated() {
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .handle("typed", async |cx: Context| {
            let register: Register = cx.bind()?;
            Reply::json(&register.uid).map_err(Failure::from)
        })
        .handle("valid", async |cx: Context| {
            let register: Register = cx.bind_valid()?;
            Reply::json(&register.uid).map_err(Failure::from)
        })
        .start()
        .expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");
    for command in ["typed", "valid"] {
        client.send(&wsrv_request(command, "1", r#"{"uid":99}"#));
        assert_eq!(client.receive(), wsrv_response(command, "1", 0, "ok", "99"));
        client.send(&format!(r#"{{"cmd":"{command}","seqno":"1"}}"#));
        let missing = wsrv_response(
            command,
            "1",
            999_999_999,
            "unexpected end of JSON input",
            "{}",
        );
        assert_eq!(client.receive(), missing);
        for zero in ["{}", "null", r#"{"UID":7,"Uid":0}"#] {
            client.send(&wsrv_request(command, "1", zero));
            assert_eq!(client.receive(), wsrv_response(command, "1", 0, "ok", "0"));
        }
        for data in [r#"{"uid":"1"}"#, "[]", r#"{"uid":-1}"#, r#"{"uid":1e0}"#] {
            client.send(&wsrv_request(command, "1", data));
            assert!(
                client.receive().contains(r#""status":999999999,"#),
                "{data}"
            );
        }
    }
    let large = r#"{"uid":100}"#;
    client.send(&wsrv_request("typed", "1", large));
    assert_eq!(
        client.receive(),
        wsrv_response("typed", "1", 0, "ok", "100")
    );
    client.send(&wsrv_request("valid", "1", large));
    let refused = client.receive();
    assert!(
        refused.contains(r#""status":999999999,"msg":"uid: "#),
        "{refused}"
    );
    client.leave();
    stop(gateway);
}
