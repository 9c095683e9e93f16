//! What routes share, and what they do not.

use crate::client_messages::{wsrv_request, wsrv_response};
use crate::fixture::{Client, all, builder, config, diary, done, rejection, stop};
use campanile::config::{Config, Route};
use campanile::dialect::easyws::Easyws;
use campanile::dialect::projectforge::Projectforge;
use campanile::dialect::wsrv::Wsrv;
use campanile::handler::{Admission, Joining};
use campanile::{Failure, Gateway, Message, Reply};

/// Three routes that share a namespace, one that has another, and one with its own.
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
    easyws.say("listen: room");
    easyws.settle();
    let mut pf = open(1, "/pf?ch=room");
    let mut wsrv = open(2, "/wsrv");
    let (mut other, mut own) = (open(0, "/other?ch=room"), open(1, "/own?ch=room"));
    // Somebody has come to the channel, and those who were there hear so in their own words.
    assert!(easyws.hear().starts_with("online-update: {"));

    let total = |path| {
        let route = gateway.route(path).expect("it is there");
        done(route.publish("room", Message::text("m", path)))
    };
    for path in ["/easyws", "/pf", "/wsrv"] {
        assert_eq!(total(path), Ok(3));
        assert_eq!(easyws.hear(), format!("m: {path}"));
        assert!(pf.hear().contains(&format!(r#""param": "{path}""#)));
        assert!(wsrv.hear().contains(&format!(r#""data":"{path}""#)));
    }
    assert_eq!(total("/other"), Ok(1));
    assert!(other.hear().contains("/other"));
    assert_eq!(total("/own"), Ok(1));
    assert!(own.hear().contains("/own"));
    for client in [&mut easyws, &mut pf, &mut wsrv, &mut other, &mut own] {
        client.settle();
    }
    let members = |path| all(gateway.route(path).expect("it is there").members("room"));
    let paths: Vec<String> = members("/pf").into_iter().map(|it| it.path).collect();
    assert_eq!(paths.len(), 3);
    for path in ["/easyws", "/pf", "/wsrv"] {
        assert!(paths.iter().any(|it| it == path), "{paths:?}");
    }
    assert_eq!(members("/other").len(), 1);
    for client in [easyws, pf, wsrv, other, own] {
        client.hang_up();
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
        // Its sessions are its own in any case.
        assert_eq!(all(route.sessions()).len(), 1);
    }
    let route = gateway.route("/pf").expect("it is there");
    assert_eq!(done(route.drop_user("jack", None)), Ok(3));
    let total: usize = all(gateway.handle().sessions_count()).iter().sum();
    assert_eq!(total, 2);
    clients.into_iter().for_each(Client::hang_up);
    stop(gateway);
}

#[test]
fn the_rule_of_a_channel_holds_for_whoever_joins_in_whatever_language() {
    let (pen, diary) = diary();
    let validate = move |joining: Joining| {
        pen.note(format!("{:?} {:?}", joining.user, joining.token));
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
        // What a program does itself, nobody judges.
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
        client.say("listen: restricted");
        if user == "jill" {
            assert_eq!(client.hear(), "websocket: not authorized");
        }
        client.settle();
        diary.expect(&[&format!("Some({user:?}) Some({token:?})")]);
        client.say("listen: open");
        client.settle();
        client.say("listen: undeclared");
        assert_eq!(client.hear(), "websocket: channel does not exist");
        client.leave();
    }
    let forbidden = (403, "Forbidden\n".to_owned());
    assert_eq!(rejection(address, "/pf?ch=restricted", &[]), forbidden);
    diary.expect(&["None None"]);
    let jill = rejection(address, "/pf?ch=restricted&user=jill", &[]);
    assert_eq!(jill, forbidden);
    diary.expect(&["Some(\"jill\") None"]);
    Client::open(address, "/pf?ch=restricted&user=jack").leave();
    diary.expect(&["Some(\"jack\") None"]);
    // No rule holds for channels of this name elsewhere, or of other names here.
    for path in ["/own?ch=restricted", "/other?ch=restricted", "/pf?ch=any"] {
        Client::open(address, path).leave();
    }
    let mut client = Client::open(address, "/wsrv");
    client.say(&wsrv_request("join", "1", "{}"));
    assert_eq!(client.hear(), wsrv_response("join", "1", 0, "ok", "{}"));
    client.leave();
    diary.expect_nothing();
    stop(gateway);
}

#[test]
fn what_is_declared_on_one_route_can_be_joined_on_another_of_its_namespace() {
    let gateway: Gateway = builder(routes())
        .route("/pf")
        .channel("room")
        .channel_with("restricted", async |_| Err(Failure::error("nobody")))
        .channel_with("judged", async |_| Ok(()))
        .start()
        .expect("it starts");
    let mut client = Client::open_with(gateway.local_addr(), "/easyws", COOKIE);
    client.say("listen: restricted");
    assert_eq!(client.hear(), "websocket: not authorized");
    for channel in ["room", "judged"] {
        let listen = format!("listen: {channel}");
        client.say(&listen);
        client.settle();
        client.say(&listen);
        assert_eq!(client.hear(), "websocket: already listening");
    }
    client.leave();
    stop(gateway);
}
