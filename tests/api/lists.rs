//! Tests of the lists of the server API: pages over all shards.

use crate::GATEWAY;
use crate::calls::id_of;
use crate::http::Http;
use campanile_tests::client::{Client, open, open_as, open_on, read_text};
use campanile_tests::net::connect_slowly;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Reads all items of a list in pages of at most `limit`.
#[track_caller]
fn all_pages(http: &mut Http, path: &str, limit: usize) -> Vec<Value> {
    pages_after(http, path, limit, None)
}

/// Reads all items of a list after the cursor `after`.
#[track_caller]
fn pages_after(http: &mut Http, path: &str, limit: usize, after: Option<&str>) -> Vec<Value> {
    let mut all = Vec::new();
    let mut after = after.map_or_else(String::new, |after| format!("&after={after}"));
    loop {
        let join = if path.contains('?') { '&' } else { '?' };
        let page = http.get(&format!("{path}{join}limit={limit}{after}"));
        let items = page["items"].as_array().expect("items");
        assert!(items.len() <= limit, "{page}");
        all.extend(items.iter().cloned());
        if page["next"].is_null() {
            return all;
        }
        assert!(!items.is_empty(), "{page}");
        after = format!("&after={}", page["next"].as_str().expect("a place"));
    }
}

fn ids(items: &[Value]) -> BTreeSet<String> {
    let id = |item: &Value| item["id"].as_str().expect("an id").to_owned();
    let ids: BTreeSet<String> = items.iter().map(id).collect();
    assert_eq!(ids.len(), items.len(), "nothing is there twice");
    ids
}

#[test]
fn a_thousand_sessions_of_four_shards_are_on_one_page_each() {
    const SESSIONS: usize = 1_100;
    let process = GATEWAY.start(None);
    let address = process.address;
    let clients: Vec<Client> = (0..SESSIONS)
        .map(|index| {
            let user = format!("user{index:04}");
            open_as(address, &user, "e")
        })
        .collect();
    let other = open(address, "/wsrv");
    let mut http = Http::connect(address);
    let sessions = all_pages(&mut http, "sessions?route=/ws", 100);
    let known = ids(&sessions);
    assert_eq!(known.len(), SESSIONS);
    assert_eq!(
        ids(&all_pages(&mut http, "sessions", 1_000)).len(),
        SESSIONS + 1
    );
    let users: BTreeSet<&str> = sessions
        .iter()
        .map(|session| session["users"][0].as_str().expect("a user"))
        .collect();
    assert_eq!(users.len(), SESSIONS);

    // The cursor is valid even if its session has ended.
    let page = http.get("sessions?route=/ws&limit=10");
    let after = page["next"].as_str().expect("there are more").to_owned();
    let end = json!({"session": after}).to_string();
    assert_eq!(http.done("disconnect", &end), json!({"disconnected": 1}));
    let rest = pages_after(&mut http, "sessions?route=/ws", 7, Some(&after));
    assert_eq!(rest.len(), SESSIONS - 10);

    let calls: Vec<Value> = known
        .iter()
        .filter(|id| **id != after)
        .map(|id| json!({"call": "join", "session": id, "channel": "all/of them"}))
        .collect();
    for calls in calls.chunks(1_000) {
        http.done("batch", &json!({"calls": calls}).to_string());
    }
    let members = all_pages(&mut http, "channels/all%2Fof%20them/members", 64);
    let mut expected = known;
    expected.remove(&after);
    assert_eq!(ids(&members), expected);
    let channels = http.get("channels");
    let item = json!({
        "name": "all/of them", "sessions": SESSIONS - 1, "dropped": 0, "routes": ["/ws"],
    });
    assert!(
        channels["items"].as_array().expect("items").contains(&item),
        "{channels}"
    );

    let names = all_pages(&mut http, "users?prefix=user0", 33);
    let names: Vec<&str> = names
        .iter()
        .map(|item| {
            let count = item["sessions"].as_u64();
            assert_eq!(count, Some(1), "{item}");
            item["name"].as_str().expect("a name")
        })
        .collect();
    assert!(names.is_sorted() && (999..=1_000).contains(&names.len()));
    drop((clients, other));
    let ended = process.stop();
    assert!(ended.status.success(), "{}", ended.log);
}

#[test]
fn names_are_sorted_and_include_declared_ones_with_their_routes() {
    let config = "
        [[routes]]
        path = '/a'
        dialect = 'wsrv'
        namespace = 'n'
        channels = [{ name = 'first' }, { name = 'lazy', create = 'first-join' }]
        [[routes]]
        path = '/b'
        dialect = 'projectforge'
        namespace = 'n'
        [[routes]]
        path = '/c'
        dialect = 'wsrv'";
    let process = GATEWAY.start(Some(config));
    let clients = ["/a", "/c"].map(|path| open(process.address, path));
    let mut http = Http::connect(process.address);
    for (route, channels) in [("/a", &["room", "first"][..]), ("/c", &["room", "x:y"])] {
        let session = id_of(&mut http, route);
        for channel in channels {
            let join = json!({"session": session, "channel": channel}).to_string();
            http.done("join", &join);
        }
    }
    let item = |name: &str, sessions: usize, routes: &[&str]| {
        let mut item = json!({"name": name, "sessions": sessions, "dropped": 0});
        item["routes"] = routes.into();
        item
    };
    let all = [
        item("first", 1, &["/a", "/b"]),
        item("room", 1, &["/a", "/b"]),
        item("room", 1, &["/c"]),
        item("x:y", 1, &["/c"]),
    ];
    for limit in 1..=5 {
        assert_eq!(all_pages(&mut http, "channels", limit), all, "{limit}");
    }
    assert_eq!(all_pages(&mut http, "channels?route=/b", 9), all[..2]);
    assert_eq!(
        all_pages(&mut http, "channels?prefix=ro&route=/c", 9),
        all[2..3]
    );

    let session = id_of(&mut http, "/a");
    http.done(
        "leave",
        &json!({"session": session, "channel": "first"}).to_string(),
    );
    let first = http.get("channels?prefix=first");
    assert_eq!(first["items"], json!([item("first", 0, &["/a", "/b"])]));
    assert_eq!(http.get("channels/nobodys/members")["items"], json!([]));
    drop(clients);
}

#[test]
fn a_session_has_all_its_members() {
    let process = GATEWAY.start(None);
    let client = open_as(process.address, "jack", "e");
    let mut http = Http::connect(process.address);
    let id = id_of(&mut http, "/ws");
    http.done("join", &json!({"session": id, "channel": "c"}).to_string());
    http.done("push", &json!({"session": id, "data": "12345"}).to_string());
    let mut session = http.get(&format!("sessions/{id}"));
    let opened = session["opened"].take();
    let opened = opened.as_str().expect("a moment");
    assert!(
        opened.starts_with("20") && opened.ends_with('Z'),
        "{opened}"
    );
    let statistics = session["statistics"].take();
    assert_eq!(statistics["messages_sent"], 1);
    assert_eq!(statistics["bytes_sent"], 5);
    assert_eq!(statistics["messages_received"], 1);
    let expected = json!({
        "id": id, "route": "/ws", "number": 0, "users": ["jack"], "name": "", "channels": ["c"],
        "dropped": {}, "opened": null, "statistics": null,
    });
    assert_eq!(session, expected);
    drop(client);
}

#[test]
fn what_a_slow_member_missed_is_shown() {
    let config = "
        limits.socket_unsent_bytes_max = 16384
        limits.outbox_bytes_max = 65536
        [[routes]]
        path = '/ws'
        dialect = 'wserver'
        channels = [{ name = 'prices-*', slow = 'drop_newest' }]";
    let process = GATEWAY.start(Some(config));
    let mut http = Http::connect(process.address);
    let mut slow = open_on(connect_slowly(process.address), "/ws").expect("granted");
    let slow_id = id_of(&mut http, "/ws");
    let mut fast = open(process.address, "/ws");
    let sessions = all_pages(&mut http, "sessions", 9);
    let calls: Vec<Value> = ids(&sessions)
        .iter()
        .map(|id| json!({"call": "join", "session": id, "channel": "prices-1"}))
        .collect();
    assert_eq!(calls.len(), 2);
    http.done("batch", &json!({"calls": calls}).to_string());

    let publish = |http: &mut Http, data: &str| {
        let call = json!({"channel": "prices-1", "data": data}).to_string();
        http.done("publish", &call)["delivered"].as_u64()
    };
    // More than the kernel takes for a client that does not read.
    let large = "x".repeat(8 << 20);
    assert_eq!(publish(&mut http, &large), Some(2));
    assert!(read_text(&mut fast) == large);
    for number in 0..3 {
        let text = format!("missed {number}");
        assert_eq!(publish(&mut http, &text), Some(1));
        assert_eq!(read_text(&mut fast), text);
    }
    let dropped_of = |http: &mut Http| {
        let session = http.get(&format!("sessions/{slow_id}"));
        let channels = http.get("channels?prefix=prices");
        let members = http.get("channels/prices-1/members");
        let mut of_members = members["items"].as_array().expect("items").iter();
        let of_member = of_members.find(|member| member["id"] == *slow_id);
        assert_eq!(
            of_member.expect("it is a member")["dropped"],
            session["dropped"]
        );
        (
            session["dropped"].clone(),
            channels["items"][0]["dropped"].clone(),
        )
    };
    assert_eq!(dropped_of(&mut http), (json!({"prices-1": 3}), json!(3)));

    // It reads again. The gateway may learn a little later that all was taken.
    assert!(read_text(&mut slow) == large);
    let mut dropped = 3;
    while publish(&mut http, "more") == Some(1) {
        assert_eq!(read_text(&mut fast), "more");
        dropped += 1;
    }
    assert_eq!(read_text(&mut slow), "more");
    let expected = (json!({"prices-1": dropped}), json!(dropped));
    assert_eq!(dropped_of(&mut http), expected);
}

#[test]
fn invalid_page_parameters_are_errors() {
    let process = GATEWAY.start(Some("[api]\npage_items_max = 5"));
    let mut http = Http::connect(process.address);
    let nobody = "00000000-0000-0000-0000-000000000000";
    for (path, expected) in [
        ("sessions?limit=0", "400 bad_request limit"),
        ("sessions?limit=6", "400 bad_request limit"),
        ("sessions?limit=+1", "400 bad_request limit"),
        ("sessions?limit=", "400 bad_request limit"),
        ("sessions?limit=1&limit=1", "400 bad_request limit"),
        ("sessions?prefix=a", "400 bad_request prefix"),
        ("sessions?route=/nowhere", "404 no_route route"),
        ("sessions?after=x", "400 bad_request after"),
        (&format!("sessions?after={nobody}"), "400 bad_request after"),
        ("sessions?route=%ff", "400 bad_request"),
        ("channels?after=room", "400 bad_request after"),
        ("channels?after=00:room", "400 bad_request after"),
        ("users?more=1", "400 bad_request more"),
        ("channels/%ff/members", "400 bad_request name"),
        ("sessions/x", "404 no_session"),
        (&format!("sessions/{nobody}"), "404 no_session"),
        (
            &format!("sessions/{nobody}?route=/ws"),
            "400 bad_request route",
        ),
    ] {
        let response = http.request("GET", &format!("/api/v1/{path}"), "", "");
        assert_eq!(response.error(), expected, "{path}");
    }
    assert_eq!(http.get("sessions?limit=5")["items"], json!([]));
}

/// Clients choose names, so their length must not make a page too large.
#[test]
fn a_page_ends_at_its_limit_of_bytes() {
    let process = GATEWAY.start(Some("[api]\npage_bytes_max = 1_024"));
    let clients: Vec<Client> = (0..8).map(|_| open(process.address, "/ws")).collect();
    let mut http = Http::connect(process.address);
    let sessions = all_pages(&mut http, "sessions", 100);
    for (index, id) in ids(&sessions).into_iter().enumerate() {
        let channel = format!("{index}{}", "c".repeat(600));
        http.done(
            "join",
            &json!({"session": id, "channel": channel}).to_string(),
        );
    }
    for path in ["sessions", "channels"] {
        let page = http.get(path);
        assert_eq!(page["items"].as_array().map(Vec::len), Some(2), "{path}");
        assert_eq!(all_pages(&mut http, path, 100).len(), 8, "{path}");
    }
    drop(clients);
}
