//! Tests of admission: which upgrades are admitted, with which user, channels and values.

use crate::client_messages::{wsrv_request, wsrv_response};
use crate::fixture::{
    Client, Latch, all, ask_to_upgrade, builder, config, config_of, done, event_log, get, post,
    rejection, stop,
};
use campanile::config::{Config, Origin, Route, Tokens};
use campanile::dialect::easyws::Easyws;
use campanile::dialect::edk::Edk;
use campanile::dialect::projectforge::Projectforge;
use campanile::dialect::wserver::Wserver;
use campanile::dialect::wsrv::Wsrv;
use campanile::handler::{Admission, Joining, Profile, Rejection, RequestHead, Upgrade};
use campanile::{Context, Failure, Gateway, Message, Reply, Session};
use campanile_tests::frame::{TEXT, masked};
use campanile_tests::http::Response as HttpResponse;
use campanile_tests::net::connect;
use std::io::Write as _;
use std::rc::Rc;
use tungstenite::WebSocket;
use tungstenite::protocol::Role;

fn only(routes: Vec<Route>) -> Config {
    Config {
        routes,
        ..config(2)
    }
}

/// Rejects an upgrade with a body that describes the request.
async fn describe(upgrade: Upgrade) -> Result<Admission, Rejection> {
    let head = upgrade.head();
    let header = head.header("x-TEST").map(String::from_utf8_lossy);
    let text = format!(
        "{} {} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {}",
        head.method(),
        head.path(),
        head.query(),
        upgrade.query("q"),
        header,
        upgrade.parameter("room"),
        upgrade.parameter("rest"),
        upgrade.token(),
        upgrade.channel(),
        upgrade.route().path(),
    );
    let claimed = upgrade.claimed_user().map(|user| format!(" as {user}"));
    Err(Rejection::new(418, text + &claimed.unwrap_or_default()))
}

#[test]
fn an_admission_sees_the_whole_request() {
    let mut routes = vec![
        Route::new("/rooms/{room}/{*rest}", &Projectforge),
        Route::new("/rooms/main", &Wsrv),
        Route::new("/rooms/{room}", &Easyws),
        Route::new("/edk", &Edk),
    ];
    routes[3].trust_user_header = Some(false);
    routes[3].authenticated_by_code = true;
    let mut builder = builder(only(routes.clone()));
    for route in &routes {
        builder = builder.route(&route.path).admit(describe).done();
    }
    let gateway = builder.start().expect("it starts");
    let description_of = |path, headers| {
        let (status, body) = rejection(gateway.local_addr(), path, headers);
        assert_eq!(status, 418);
        body
    };
    assert_eq!(
        description_of(
            "/rooms/main?a=b&q=x%20y&q=z",
            &[("X-Test", "one"), ("x-test", "two")]
        ),
        r#"GET /rooms/main Some("a=b&q=x%20y&q=z") Some("x y") Some("one") None None None None "#
            .to_owned()
            + "/rooms/main"
    );
    assert_eq!(
        description_of("/rooms/hall", &[("Cookie", "auth=secret")]),
        r#"GET /rooms/hall None None None Some("hall") None Some("secret") None /rooms/{room}"#
    );
    assert_eq!(
        description_of("/rooms/a/b/c?ch=d", &[]),
        r#"GET /rooms/a/b/c Some("ch=d") None None Some("a") Some("b/c") None Some("d") "#
            .to_owned()
            + "/rooms/{room}/{*rest}"
    );
    assert_eq!(
        description_of("/edk?q", &[("Sec-WebSocket-Protocol", "token")]),
        r#"GET /edk Some("q") Some("") None None None Some("token") None /edk"#
    );
    let user = [("x-user-id", "jack"), ("Sec-WebSocket-Protocol", "t")];
    assert!(description_of("/edk", &user).ends_with(r#"Some("t") None /edk as jack"#));
    let elsewhere = get(&mut connect(gateway.local_addr()), "/rooms");
    assert_eq!(elsewhere.status, 200, "the embedder's own service answers");
    stop(gateway);
}

#[test]
fn an_admission_rejects_with_its_status_and_body() {
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .admit(async |upgrade| {
            tokio::task::yield_now().await;
            let status = upgrade.query("status").and_then(|it| it.parse().ok());
            Err(Rejection::new(status.unwrap_or(200), "who are \u{e9}you?"))
        })
        .start()
        .expect("it starts");
    let address = gateway.local_addr();
    for status in [400, 401, 402, 418, 429, 500, 503, 599] {
        let path = format!("/x?status={status}");
        let answer = rejection(address, &path, &[]);
        assert_eq!(answer, (status, "who are \u{e9}you?".to_owned()));
    }
    // A status outside 400 to 599 is sent as 403.
    for status in [100, 101, 200, 204, 302, 600, 65_535] {
        let path = format!("/x?status={status}");
        assert_eq!(rejection(address, &path, &[]).0, 403, "{status}");
    }
    // The connection can be used for further requests.
    let mut socket = connect(address);
    ask_to_upgrade(&mut socket, "/x?status=401", &[]);
    assert_eq!(HttpResponse::take(&socket).status, 401);
    assert_eq!(get(&mut socket, "/other").status, 200);
    drop(socket);
    stop(gateway);
}

#[test]
fn an_admission_sets_user_profile_channels_and_values() {
    /// A value that is not `Send`.
    struct Kept(Rc<str>);
    let admit = async |upgrade: Upgrade| {
        let name = upgrade.query("name").unwrap_or_default();
        let admission = Admission::new().user(name.as_str()).join("one").join("two");
        let profile = Profile::named("Jack")
            .with("mode", "dark")
            .with("theme", "x");
        let kept = Kept(Rc::from(name));
        Ok(admission.profile(profile).value(kept).share(7_u32))
    };
    let gateway = builder(config(2))
        .route("/wsrv")
        .admit(admit)
        .handle("who", async |cx: Context| {
            let session = cx.session();
            let kept = session.values().with(|kept: &mut Kept| kept.0.to_string());
            let shared = session.values().shared::<u32>();
            let profile = session.profile();
            Reply::json(&(
                session.user(),
                session.token(),
                &profile.name,
                &profile.fields,
                kept,
                shared.as_deref(),
            ))
        })
        .route("/projectforge")
        .admit(admit)
        .start()
        .expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/wsrv?name=jack");
    client.send(&wsrv_request("who", "1", "{}"));
    let who = r#"["jack",null,"Jack",{"mode":"dark","theme":"x"},"jack",7]"#;
    assert_eq!(client.receive(), wsrv_response("who", "1", 0, "ok", who));
    let route = gateway.route("/wsrv").expect("it is there");
    for channel in ["one", "two"] {
        assert_eq!(all(route.members(channel)).len(), 1);
    }
    let pushed = route.push_user("jack", Message::text("m", "hello"));
    assert_eq!(done(pushed), Ok(1));
    assert!(client.receive().contains("hello"));
    client.leave();

    // A session with admitted channels gets no generated one; the channel of the query comes first.
    let open = |path| Client::open(gateway.local_addr(), path);
    let clients = [open("/projectforge?name=a"), open("/projectforge?ch=three")];
    let route = gateway.route("/projectforge").expect("it is there");
    let mut sessions = all(route.sessions());
    sessions.sort_by_key(|session| session.number);
    assert_eq!(sessions[0].channels, ["one", "two"]);
    assert_eq!(sessions[1].channels, ["three", "one", "two"]);
    clients.into_iter().for_each(Client::leave);
    stop(gateway);
}

#[test]
fn an_admission_may_wait_without_blocking_the_shard() {
    let latch = Latch::new();
    let (recorder, event_log) = event_log();
    let admit_latch = latch.clone();
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .admit(move |upgrade: Upgrade| {
            let (recorder, latch) = (recorder.clone(), admit_latch.clone());
            async move {
                if upgrade.query("slow").is_some() {
                    recorder.note("waits");
                    latch.pass().await;
                }
                Ok(Admission::new())
            }
        })
        .start()
        .expect("it starts");
    let mut slow = connect(gateway.local_addr());
    ask_to_upgrade(&mut slow, "/x?slow", &[]);
    event_log.expect(&["waits"]);
    Client::open(gateway.local_addr(), "/x").leave();
    // A client that disconnects while the admission waits.
    let mut gone = connect(gateway.local_addr());
    ask_to_upgrade(&mut gone, "/x?slow", &[]);
    event_log.expect(&["waits"]);
    drop(gone);
    latch.open();
    latch.open();
    let granted = HttpResponse::take(&slow);
    assert_eq!(granted.status_and_body(), (101, ""));
    drop(slow);
    stop(gateway);
}

#[test]
fn an_admission_timeout_is_rejected_with_503() {
    let (recorder, event_log) = event_log();
    let latch = Latch::new();
    let admit_latch = latch.clone();
    let mut config = config_of(1, &Wsrv);
    config.heartbeat.handshake_timeout_ms = 64;
    let gateway = builder(config)
        .route("/x")
        .admit(move |_| {
            let (late, latch) = (
                crate::fixture::RecordsDrop("late", recorder.clone()),
                admit_latch.clone(),
            );
            async move {
                latch.pass().await;
                Ok(Admission::new().value(late))
            }
        })
        .start()
        .expect("it starts");
    let (status, _) = rejection(gateway.local_addr(), "/x", &[]);
    assert_eq!(status, 503);
    latch.open();
    event_log.expect(&["late"]);
    assert_eq!(stop(gateway).sessions_opened, 0);
}

#[test]
fn a_matcher_replaces_the_path_of_a_route() {
    let routes = ["/a", "/b", "/c", "/p/{x}"].map(|path| Route::new(path, &Wsrv));
    let is_for = |mode: &'static [u8]| {
        move |head: &RequestHead<'_>| head.header("x-mode") == Some(mode) && head.method() == "GET"
    };
    let mut builder = builder(only(routes.into()));
    for path in ["/a", "/b", "/c", "/p/{x}"] {
        let route = builder.route(path);
        builder = route
            .handle("where", async |cx: Context| Reply::text(cx.route().path()))
            .done();
    }
    let gateway = builder
        .route("/a")
        .matcher(is_for(b"a"))
        .route("/b")
        .matcher(move |head| is_for(b"b")(head) || is_for(b"a")(head))
        .start()
        .expect("it starts");
    let address = gateway.local_addr();
    for (path, mode, route) in [
        ("/anything", "a", "/a"),
        ("/", "b", "/b"),
        ("/a", "b", "/b"),
        // Paths have priority, then patterns, then matchers in their order.
        ("/c", "a", "/c"),
        ("/p/1", "a", "/p/{x}"),
    ] {
        let mut client = Client::open_with(address, path, &[("X-Mode", mode)]);
        client.send(&wsrv_request("where", "1", "{}"));
        let expected = wsrv_response("where", "1", 0, "ok", &format!("\"{route}\""));
        assert_eq!(client.receive(), expected);
        client.leave();
    }
    // The route's own path is not served.
    assert!(get(&mut connect(address), "/a").body.ends_with(" /a"));
    stop(gateway);
}

#[test]
fn an_origin_function_replaces_the_rule() {
    let mut routes = vec![
        Route::new("/same", &Easyws),
        Route::new("/function", &Easyws),
    ];
    routes[1].origin = Some(Origin::List(vec!["http://listed".to_owned()]));
    let gateway = builder(only(routes))
        .route("/function")
        .origin(|head| head.header("Origin") == Some(b"http://chosen"))
        .start()
        .expect("it starts");
    let upgraded = |path, origin| {
        let headers = [("Cookie", "auth="), ("Origin", origin)];
        match Client::upgrade(connect(gateway.local_addr()), path, &headers) {
            Ok(client) => {
                client.leave();
                101
            }
            Err(answer) => answer.status,
        }
    };
    assert_eq!(upgraded("/same", "http://localhost"), 101);
    assert_eq!(upgraded("/same", "http://chosen"), 403);
    assert_eq!(upgraded("/function", "http://chosen"), 101);
    assert_eq!(upgraded("/function", "http://listed"), 403);
    assert_eq!(upgraded("/function", "http://localhost"), 403);
    // The function is also called for requests without an Origin header.
    let no_page = rejection(gateway.local_addr(), "/function", &[("Cookie", "auth=")]);
    assert_eq!(no_page.0, 403);
    stop(gateway);
}

#[test]
fn handlers_and_validators_see_the_token() {
    let (recorder, event_log) = event_log();
    let validate = move |joining: Joining| {
        let (user, token) = (joining.user.clone(), joining.token.clone());
        let of_session = joining.session.as_ref().map(Session::number);
        recorder.note(format!(
            "{} {user:?} {token:?} {of_session:?}",
            joining.channel
        ));
        async move {
            match token.as_deref() {
                Some("valid") => Ok(()),
                _ => Err(Failure::error("not sent to the client")),
            }
        }
    };
    let mut routes = vec![Route::new("/easyws", &Easyws), Route::new("/edk", &Edk)];
    routes[1].schema = campanile::config::Schema::Builtin;
    let token = async |cx: Context| Reply::text(cx.session().token().unwrap_or("none"));
    let gateway = builder(only(routes))
        .route("/easyws")
        .channel_with("restricted", validate)
        .handle("open", token)
        .handle("token", token)
        .route("/edk")
        .handle("token", token)
        .start()
        .expect("it starts");
    let address = gateway.local_addr();
    for (token, expected) in [("valid", None), ("bad", Some("websocket: not authorized"))] {
        let cookie = format!("auth={token}");
        let mut client = Client::open_with(address, "/easyws", &[("Cookie", &cookie)]);
        assert_eq!(client.receive(), format!("open: {token}"));
        client.send("token: x");
        assert_eq!(client.receive(), format!("token: {token}"));
        client.send("listen: restricted");
        if let Some(expected) = expected {
            assert_eq!(client.receive(), expected);
        }
        client.expect_no_message();
        let noted = event_log.next();
        assert!(
            noted.starts_with(&format!(r#"restricted None Some("{token}") Some("#)),
            "{noted}"
        );
        client.leave();
    }
    let user = [("x-user-id", "u"), ("Sec-WebSocket-Protocol", "bare")];
    let mut client = Client::open_with(address, "/edk", &user);
    client.send_bytes(&crate::client_messages::envelope("token", "x"));
    let expected = crate::client_messages::envelope("token", "bare");
    assert_eq!(client.receive().as_bytes(), expected);
    client.leave();
    stop(gateway);
}

/// Returns the user of a session of `edk`. `Err` is the status of a rejected upgrade.
fn user_of(gateway: &Gateway, token: &str, header: Option<&str>) -> Result<String, u16> {
    let mut headers = vec![("Sec-WebSocket-Protocol", token)];
    headers.extend(header.map(|user| ("x-user-id", user)));
    match Client::upgrade(connect(gateway.local_addr()), "/x", &headers) {
        Ok(client) => {
            let route = gateway.route("/x").expect("it is there");
            let sessions = all(route.sessions());
            client.leave();
            assert_eq!(sessions[0].users.len(), 1);
            Ok(sessions[0].users[0].clone())
        }
        Err(answer) => Err(answer.status),
    }
}

#[test]
fn the_token_of_edk_takes_precedence_over_the_user_header() {
    let mut route = Route::new("/x", &Edk);
    route.trust_user_header = Some(false);
    route.authenticated_by_code = true;
    let untrusting = only(vec![route]);
    let hook = builder(untrusting.clone())
        .route("/x")
        .authenticate(async |token| token.strip_prefix("user-").map(str::to_owned))
        .start()
        .expect("it starts");
    let admitting = builder(untrusting.clone())
        .route("/x")
        .admit(async |upgrade| {
            let token = upgrade.token().unwrap_or_default();
            Ok(match token.strip_prefix("user-") {
                Some(user) => Admission::new().user(user),
                None => Admission::new(),
            })
        })
        .start()
        .expect("it starts");
    let mut table = untrusting;
    table.routes[0].authenticated_by_code = false;
    table.routes[0].tokens = Some(Tokens::from_iter([("user-jack".into(), "jack".into())]));
    let table = builder(table).start().expect("it starts");
    for gateway in [hook, admitting, table] {
        let jack = Ok("jack".to_owned());
        assert_eq!(user_of(&gateway, "user-jack", None), jack);
        assert_eq!(user_of(&gateway, "user-jack", Some("jack")), jack);
        assert_eq!(user_of(&gateway, "user-jack", Some("jill")), Err(401));
        assert_eq!(user_of(&gateway, "nobody", None), Err(401));
        assert_eq!(user_of(&gateway, "nobody", Some("jack")), Err(401));
        stop(gateway);
    }
    let trusting = builder(config_of(2, &Edk)).start();
    let trusting = trusting.expect("it starts");
    let jill = Ok("jill".to_owned());
    assert_eq!(user_of(&trusting, "any", Some("jill")), jill);
    assert_eq!(user_of(&trusting, "any", None), Err(401));
    stop(trusting);
}

#[test]
fn the_validation_of_a_wserver_token_may_wait() {
    let mut routes = vec![Route::new("/one", &Wserver), Route::new("/all", &Wserver)];
    routes[0].namespace = Some("n".to_owned());
    routes[1].namespace = Some("n".to_owned());
    let gateway = builder(only(routes))
        .authenticate_token(|token| token.strip_prefix("sync-").map(str::to_owned))
        .route("/one")
        .authenticate(async |token| {
            tokio::task::yield_now().await;
            token.strip_prefix("async-").map(str::to_owned)
        })
        .start()
        .expect("it starts");
    let users = |path, token: &str| {
        let mut client = Client::open(gateway.local_addr(), path);
        client.send(&format!(r#"{{"token":"{token}","event":"e"}}"#));
        client.expect_no_message();
        let route = gateway.route(path).expect("it is there");
        let users: Vec<String> = all(route.users()).into_iter().map(|it| it.name).collect();
        client.leave();
        users
    };
    assert_eq!(users("/one", "async-jack"), ["jack"]);
    assert!(users("/one", "sync-jack").is_empty());
    assert_eq!(users("/all", "sync-jack"), ["jack"]);
    assert!(users("/all", "async-jack").is_empty());
    assert!(users("/all", "jack").is_empty());
    stop(gateway);
}

#[test]
fn pushes_are_authorized_per_route_or_for_all_routes() {
    let route = |name: &str| Route {
        push_path: Some(format!("/{name}/push")),
        drop_path: Some(format!("/{name}/drop")),
        ..Route::new(format!("/{name}"), &Wserver)
    };
    let gateway = builder(only(vec![route("a"), route("b")]))
        .authorize_push(|head| head.header("x-key") == Some(b"all"))
        .route("/a")
        .authorize_push(|head| head.header("x-key") == Some(b"a"))
        .start()
        .expect("it starts");
    let push = r#"{"userId":"u","event":"e","message":"m"}"#;
    let try_all = |path: &str, body: &str| {
        [&[][..], &[("X-Key", "a")], &[("X-Key", "all")]]
            .map(|headers| post(gateway.local_addr(), path, headers, body).status)
    };
    assert_eq!(try_all("/a/push", push), [401, 200, 401]);
    assert_eq!(try_all("/b/push", push), [401, 401, 200]);
    let user = r#"{"userId":"u"}"#;
    assert_eq!(try_all("/a/drop", user), [401, 200, 401]);
    assert_eq!(try_all("/b/drop", user), [401, 401, 200]);
    stop(gateway);
}

#[test]
fn messages_before_the_admission_are_handled_after_it() {
    let (recorder, event_log) = event_log();
    let latch = Latch::new();
    let admit_latch = latch.clone();
    let recording_handler = recorder.clone();
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .admit(move |_| {
            let (recorder, latch) = (recording_handler.clone(), admit_latch.clone());
            async move {
                recorder.note("waits");
                latch.pass().await;
                Ok(Admission::new())
            }
        })
        .on_open(move |_| {
            recorder.note("open");
            async {}
        })
        .handle("c", async |_| Reply::ok())
        .start()
        .expect("it starts");
    let mut socket = connect(gateway.local_addr());
    ask_to_upgrade(&mut socket, "/x", &[]);
    event_log.expect(&["waits"]);
    let request = wsrv_request("c", "1", "{}");
    let frame = masked(TEXT, request.as_bytes(), [0; 4]);
    socket.write_all(&frame).expect("it reads");
    event_log.expect_nothing();
    latch.open();
    event_log.expect(&["open"]);
    assert_eq!(HttpResponse::take(&socket).status, 101);
    let mut client = Client(WebSocket::from_raw_socket(socket, Role::Client, None));
    assert_eq!(client.receive(), wsrv_response("c", "1", 0, "ok", "{}"));
    client.leave();
    stop(gateway);
}
