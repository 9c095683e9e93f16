//! Tests of namespaces: what routes share and what they do not.

use crate::client_messages::{wsrv_request, wsrv_response};
use crate::fixture::{Client, all, builder, config, done, event_log, rejection, stop};
use campanile::config::{Config, Route};
use campanile::dialect::easyws::Easyws;
use campanile::dialect::projectforge::Projectforge;
use campanile::dialect::wsrv::Wsrv;
use campanile::handler::{Admission, Joining};
use campanile::{Failure, Gateway, Message, Reply};

/// Returns a config with three routes in one namespace, one in another, and one with its own.
fn routes() -> Config {
    let route = |path: &str, dialect, namespace: Option<&str>| Route {
        namespace: namespace.map(str::to_owned),
        ..Route::new(path, dialect)
    };
    Config {
        routes: vec![
            route("/easyws", &Easyws, Some("shared")),
            route("/pf", &Projectforge, Some("shared")),
            route("/wsrv", &Wsrv, Some("shared")),
            route("/other", &Projectforge, Some("other")),
            route("/own", &Projectforge, None),
        ],
        ..config(3)
    }
}

const COOKIE: &[(&str, &str)] = &[("Cookie", "auth=valid")];

#[test]
fn routes_of_one_namespace_share_channels_and_others_do_not() {
    let gateway = builder(routes())
        .route("/easyws")
        .channel("room")
        .route("/wsrv")
        .admit(async |_| Ok(Admission::new().join("room")))
        .start()
        .expect("it starts");
    let address = gateway.local_addr();
    let open = |shard, path| Client::open_on(address, shard, path, &[]);
    let mut easyws = Client::open_on(address, 0, "/easyws", COOKIE);
    easyws.send("listen: room");
    easyws.expect_no_message();
    let mut pf = open(1, "/pf?ch=room");
    let mut wsrv = open(2, "/wsrv");
    let (mut other, mut own) = (open(0, "/other?ch=room"), open(1, "/own?ch=room"));
    // Members of the channel receive the join in the form of their dialect.
    assert!(easyws.receive().starts_with("online-update: {"));

    let total = |path| {
        let route = gateway.route(path).expect("it is there");
        done(route.publish("room", Message::text("m", path)))
    };
    for path in ["/easyws", "/pf", "/wsrv"] {
        assert_eq!(total(path), Ok(3));
        assert_eq!(easyws.receive(), format!("m: {path}"));
        assert!(pf.receive().contains(&format!(r#""param": "{path}""#)));
        assert!(wsrv.receive().contains(&format!(r#""data":"{path}""#)));
    }
    assert_eq!(total("/other"), Ok(1));
    assert!(other.receive().contains("/other"));
    assert_eq!(total("/own"), Ok(1));
    assert!(own.receive().contains("/own"));
    for client in [&mut easyws, &mut pf, &mut wsrv, &mut other, &mut own] {
        client.expect_no_message();
    }
    let members = |path| all(gateway.route(path).expect("it is there").members("room"));
    let paths: Vec<String> = members("/pf").into_iter().map(|it| it.path).collect();
    assert_eq!(paths.len(), 3);
    for path in ["/easyws", "/pf", "/wsrv"] {
        assert!(paths.iter().any(|it| it == path), "{paths:?}");
    }
    assert_eq!(members("/other").len(), 1);
    for client in [easyws, pf, wsrv, other, own] {
        client.abort();
    }
    stop(gateway);
}

#[test]
fn routes_of_one_namespace_share_users_and_others_do_not() {
    let mut builder = builder(routes());
    for path in ["/easyws", "/pf", "/wsrv", "/other", "/own"] {
        builder = builder
            .route(path)
            .admit(async |_| Ok(Admission::new().user("jack")))
            .done();
    }
    let gateway = builder.start().expect("it starts");
    let open = |path| Client::open_with(gateway.local_addr(), path, COOKIE);
    let paths = ["/easyws", "/pf", "/wsrv", "/other", "/own"];
    let clients = paths.map(open);
    for (path, expected) in paths.iter().zip([3, 3, 3, 1, 1]) {
        let route = gateway.route(path).expect("it is there");
        let pushed = route.push_user("jack", Message::text("m", "hello"));
        assert_eq!(done(pushed), Ok(expected), "{path}");
        let everyone = route.broadcast(Message::text("m", "hello"));
        assert_eq!(done(everyone), Ok(expected), "{path}");
        // A route's list of sessions has only its own.
        assert_eq!(all(route.sessions()).len(), 1);
    }
    let route = gateway.route("/pf").expect("it is there");
    assert_eq!(done(route.drop_user("jack", None)), Ok(3));
    let total: usize = all(gateway.handle().sessions_count()).iter().sum();
    assert_eq!(total, 2);
    clients.into_iter().for_each(Client::abort);
    stop(gateway);
}

#[test]
fn the_rule_of_a_channel_applies_in_every_dialect() {
    let (recorder, event_log) = event_log();
    let validate = move |joining: Joining| {
        recorder.note(format!("{:?} {:?}", joining.user, joining.token));
        let is_jack = joining.user.as_deref() == Some("jack");
        async move { is_jack.then_some(()).ok_or_else(|| Failure::error("no")) }
    };
    let admit = async |upgrade: campanile::handler::Upgrade| {
        Ok(match upgrade.query("user") {
            Some(user) => Admission::new().user(user),
            None => Admission::new(),
        })
    };
    let gateway = builder(routes())
        .route("/easyws")
        .channel_with("restricted", validate)
        .channel("open")
        .admit(admit)
        .route("/pf")
        .admit(admit)
        .route("/wsrv")
        // Validators do not apply to joins by the embedder.
        .handle("join", async |cx: campanile::Context| {
            cx.join("restricted").await?;
            Ok::<_, Failure>(Reply::ok())
        })
        .start()
        .expect("it starts");
    let address = gateway.local_addr();
    for (user, token) in [("jack", "valid"), ("jill", "valid")] {
        let path = format!("/easyws?user={user}");
        let mut client = Client::open_with(address, &path, COOKIE);
        client.send("listen: restricted");
        if user == "jill" {
            assert_eq!(client.receive(), "websocket: not authorized");
        }
        client.expect_no_message();
        event_log.expect(&[&format!("Some({user:?}) Some({token:?})")]);
        client.send("listen: open");
        client.expect_no_message();
        client.send("listen: undeclared");
        assert_eq!(client.receive(), "websocket: channel does not exist");
        client.leave();
    }
    let forbidden = (403, "Forbidden\n".to_owned());
    assert_eq!(rejection(address, "/pf?ch=restricted", &[]), forbidden);
    event_log.expect(&["None None"]);
    let jill = rejection(address, "/pf?ch=restricted&user=jill", &[]);
    assert_eq!(jill, forbidden);
    event_log.expect(&["Some(\"jill\") None"]);
    Client::open(address, "/pf?ch=restricted&user=jack").leave();
    event_log.expect(&["Some(\"jack\") None"]);
    // The rule applies only to this name and in this namespace.
    for path in ["/own?ch=restricted", "/other?ch=restricted", "/pf?ch=any"] {
        Client::open(address, path).leave();
    }
    let mut client = Client::open(address, "/wsrv");
    client.send(&wsrv_request("join", "1", "{}"));
    assert_eq!(client.receive(), wsrv_response("join", "1", 0, "ok", "{}"));
    client.leave();
    event_log.expect_nothing();
    stop(gateway);
}

#[test]
fn a_channel_declared_on_one_route_can_be_joined_on_another() {
    let gateway: Gateway = builder(routes())
        .route("/pf")
        .channel("room")
        .channel_with("restricted", async |_| Err(Failure::error("nobody")))
        .channel_with("validated", async |_| Ok(()))
        .start()
        .expect("it starts");
    let mut client = Client::open_with(gateway.local_addr(), "/easyws", COOKIE);
    client.send("listen: restricted");
    assert_eq!(client.receive(), "websocket: not authorized");
    for channel in ["room", "validated"] {
        let listen = format!("listen: {channel}");
        client.send(&listen);
        client.expect_no_message();
        client.send(&listen);
        assert_eq!(client.receive(), "websocket: already listening");
    }
    client.leave();
    stop(gateway);
}
