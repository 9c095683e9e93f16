//! Tests of the handler chain: observers, middleware, and the handlers of a command.

use crate::client_messages::{wsrv_request, wsrv_response};
use crate::fixture::{Client, Pen, builder, config, config_of, diary, noting, stop};
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
    pen: &Pen,
    name: &'static str,
) -> impl Fn(Context, Next) -> Wrapped + Clone + Send + Sync + 'static {
    let pen = pen.clone();
    move |cx, next| {
        let pen = pen.clone();
        Box::pin(async move {
            let (command, data) = (cx.command().to_owned(), cx.text().unwrap_or_default());
            pen.note(format!("{name} before {command} {data}"));
            let response = next.run(cx.clone()).await;
            pen.note(match &response {
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
    let (pen, diary) = diary();
    let handler_pen = pen.clone();
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .middleware(recording(&pen, "outer"))
        .handle("c", move |cx: Context| {
            let pen = handler_pen.clone();
            async move {
                pen.note("handler");
                Reply::json(&cx.bind::<u32>()?.saturating_add(1)).map_err(Failure::from)
            }
        })
        .handle("fails", async |_| Failure::new(7, "no"))
        .handle("says nothing", noting(&pen, "handler"))
        // The order is that of registration, also with handlers in between.
        .middleware(recording(&pen, "inner"))
        .start()
        .expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");

    client.say(&wsrv_request("c", "1", "5"));
    assert_eq!(client.hear(), wsrv_response("c", "1", 0, "ok", "6"));
    diary.expect(&["outer before c 5", "inner before c 5", "handler"]);
    diary.expect(&["inner after c 6", "outer after c 6"]);

    client.say(&wsrv_request("fails", "2", "5"));
    assert_eq!(client.hear(), wsrv_response("fails", "2", 7, "no", "{}"));
    diary.expect(&["outer before fails 5", "inner before fails 5"]);
    diary.expect(&["inner after fails: no", "outer after fails: no"]);

    for command in ["says nothing", "is not handled"] {
        client.say(&wsrv_request(command, "3", "5"));
        let silence = wsrv_response(command, "3", -1, "not implement", "{}");
        assert_eq!(client.hear(), silence);
        let [outer, inner] = ["outer", "inner"].map(|name| format!("{name} before {command} 5"));
        diary.expect(&[&outer, &inner]);
        if command == "says nothing" {
            diary.expect(&["handler"]);
        }
        let [outer, inner] =
            ["outer", "inner"].map(|name| format!("{name} after {command}: nothing"));
        diary.expect(&[&inner, &outer]);
    }
    diary.expect_nothing();
    drop(client);
    stop(gateway);
}

#[test]
fn middleware_may_respond_without_calling_the_handler() {
    let (pen, diary) = diary();
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .middleware(recording(&pen, "outer"))
        .middleware(async |cx: Context, next: Next| match cx.request_id() {
            "abort" => Ok(None),
            "refuse" => Err(Failure::new(8, "not you")),
            "answer" => Ok(Some(Reply::text("instead"))),
            _ => next.run(cx).await,
        })
        .middleware(recording(&pen, "inner"))
        .handle("c", noting(&pen, "handler"))
        .start()
        .expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");
    for (seqno, status, text, data, after) in [
        ("abort", -1, "not implement", "{}", ": nothing"),
        ("refuse", 8, "not you", "{}", ": not you"),
        ("answer", 0, "ok", "\"instead\"", " instead"),
    ] {
        client.say(&wsrv_request("c", seqno, "5"));
        assert_eq!(client.hear(), wsrv_response("c", seqno, status, text, data));
        diary.expect(&["outer before c 5", &format!("outer after c{after}")]);
    }
    client.say(&wsrv_request("c", "go on", "5"));
    assert_eq!(
        client.hear(),
        wsrv_response("c", "go on", -1, "not implement", "{}")
    );
    diary.expect(&["outer before c 5", "inner before c 5", "handler"]);
    drop(client);
    stop(gateway);
}

#[test]
fn middleware_may_replace_the_response_and_run_the_rest_again() {
    let (pen, diary) = diary();
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
            pen.note("handler");
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
        client.say(&wsrv_request(command, "1", "{}"));
        assert_eq!(
            client.hear(),
            wsrv_response(command, "1", status, text, data)
        );
    }
    diary.expect(&["handler", "handler"]);
    drop(client);
    stop(gateway);
}

#[test]
fn a_second_handler_of_wsrv_runs_after_the_first_and_replies_before_it() {
    let (pen, diary) = diary();
    let (first, second) = (pen.clone(), pen);
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
        client.say(&wsrv_request("c", "1", data));
        assert_eq!(client.hear(), wsrv_response("c", "1", status, text, reply));
    };
    ask("\"\"", 0, "ok", "\"second\"");
    diary.expect(&["first", "second"]);
    ask("\"silent\"", 0, "ok", "\"first\"");
    diary.expect(&["first", "second"]);
    ask("\"fail\"", 3, "first", "{}");
    diary.expect(&["first"]);
    diary.expect_nothing();
    drop(client);
    stop(gateway);
}

#[test]
fn the_fallback_handles_commands_without_a_handler() {
    let fallback = async |cx: Context| {
        let said = format!("{} {}", cx.command(), cx.text().unwrap_or("nothing"));
        Reply::text(said).with_event("fell")
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
    for (said, answer) in [
        ("known: x", "known: known"),
        ("other: x", "fell: other x"),
        ("other: ", "fell: other nothing"),
        ("no command", "fell:  no command"),
    ] {
        client.say(said);
        assert_eq!(client.hear(), answer);
    }
    client.leave();
    let mut client = Client::open(address, "/wsrv");
    client.say("{}");
    assert_eq!(
        client.hear(),
        wsrv_response("", "", 0, "ok", "\" nothing\"")
    );
    client.leave();
    stop(gateway);
}

#[test]
fn a_message_observer_runs_first_and_replies_if_no_handler_does() {
    let (pen, diary) = diary();
    let observer = pen.clone();
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .middleware(recording(&pen, "middleware"))
        .handle("c", async |_| Reply::text("handler"))
        .on_message(noting(&pen, "one"))
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
    client.say(&wsrv_request("c", "1", "5"));
    assert_eq!(
        client.hear(),
        wsrv_response("c", "1", 0, "ok", "\"handler\"")
    );
    diary.expect(&["one", "two", "middleware before c 5"]);
    diary.expect(&["middleware after c handler"]);
    client.say(&wsrv_request("other", "2", "5"));
    let expected = wsrv_response("other", "2", 0, "ok", "\"observer\"");
    assert_eq!(client.hear(), expected);
    diary.expect(&["one", "two", "middleware before other 5"]);
    diary.expect(&["middleware after other: nothing"]);
    client.say(&wsrv_request("c", "stop", "5"));
    assert_eq!(
        client.hear(),
        wsrv_response("c", "stop", 1, "stopped", "{}")
    );
    diary.expect(&["one", "two"]);
    diary.expect_nothing();
    drop(client);
    stop(gateway);
}

#[test]
fn a_handler_of_the_admission_replaces_those_of_the_route() {
    let (pen, diary) = diary();
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .middleware(recording(&pen, "middleware"))
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
    for (path, command, said) in [
        ("/x?name=jack", "c", "jack handles c"),
        ("/x?name=jack", "d", "jack handles d"),
        ("/x", "c", "route"),
        ("/x", "d", "fallback"),
    ] {
        let mut client = Client::open(gateway.local_addr(), path);
        client.say(&wsrv_request(command, "1", "5"));
        let data = format!("\"{said}\"");
        assert_eq!(client.hear(), wsrv_response(command, "1", 0, "ok", &data));
        diary.expect(&[&format!("middleware before {command} 5")]);
        diary.expect(&[&format!("middleware after {command} {said}")]);
        client.leave();
    }
    stop(gateway);
}

#[test]
fn a_handler_sees_all_parts_of_its_message() {
    let tell = async |cx: Context| {
        let told = format!(
            "{}|{}|{}|{}|{:?}|{:?}|{:?}",
            cx.command(),
            cx.request_id(),
            cx.channel(),
            cx.claimed_from(),
            cx.kind(),
            cx.data().map(<[u8]>::len),
            cx.text(),
        );
        Reply::text(told).with_event("told")
    };
    let mut builder = builder(config(1));
    for path in ["/wsrv", "/easyws", "/projectforge"] {
        builder = builder.route(path).fallback(tell).done();
    }
    let gateway = builder.start().expect("it starts");
    let open = |path| Client::open_with(gateway.local_addr(), path, &[("Cookie", "auth=")]);
    let mut wsrv = open("/wsrv");
    wsrv.say_bytes(br#"{"cmd":"c","seqno":"s","data":{"a": 1}}"#);
    let told = r#""c|s|||Binary|Some(8)|Some(\"{\\\"a\\\": 1}\")""#;
    assert_eq!(wsrv.hear(), wsrv_response("c", "s", 0, "ok", told));
    wsrv.say(r#"{"seqno":"s"}"#);
    let told = r#""|s|||Text|None|None""#;
    assert_eq!(wsrv.hear(), wsrv_response("", "s", 0, "ok", told));
    let mut easyws = open("/easyws");
    easyws.say_bytes(b"c: \xff\xfe");
    assert_eq!(easyws.hear(), "told: c||||Binary|Some(2)|None");
    let mut forge = open("/projectforge");
    let from = "82ad4c6d-fc95-41e5-8589-b37a56cdfc0d";
    forge.say(&format!(
        r#"{{"from":"{from}","channel":"r","cmd":"c","param":[1]}}"#
    ));
    let told = format!(r#""c||r|{from}|Text|Some(3)|Some(\"[1]\")""#);
    assert!(forge.hear().contains(&told));
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
        client.say(&wsrv_request(command, "1", r#"{"uid":99}"#));
        assert_eq!(client.hear(), wsrv_response(command, "1", 0, "ok", "99"));
        client.say(&format!(r#"{{"cmd":"{command}","seqno":"1"}}"#));
        let missing = wsrv_response(
            command,
            "1",
            999_999_999,
            "unexpected end of JSON input",
            "{}",
        );
        assert_eq!(client.hear(), missing);
        for zero in ["{}", "null", r#"{"UID":7,"Uid":0}"#] {
            client.say(&wsrv_request(command, "1", zero));
            assert_eq!(client.hear(), wsrv_response(command, "1", 0, "ok", "0"));
        }
        for data in [r#"{"uid":"1"}"#, "[]", r#"{"uid":-1}"#, r#"{"uid":1e0}"#] {
            client.say(&wsrv_request(command, "1", data));
            assert!(client.hear().contains(r#""status":999999999,"#), "{data}");
        }
    }
    let large = r#"{"uid":100}"#;
    client.say(&wsrv_request("typed", "1", large));
    assert_eq!(client.hear(), wsrv_response("typed", "1", 0, "ok", "100"));
    client.say(&wsrv_request("valid", "1", large));
    let refused = client.hear();
    assert!(
        refused.contains(r#""status":999999999,"msg":"uid: "#),
        "{refused}"
    );
    client.leave();
    stop(gateway);
}
