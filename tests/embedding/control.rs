//! Tests of handles besides publishing: join, leave, close, drop, lists, and errors.

use crate::client_messages::wsrv_request;
use crate::fixture::{
    Client, Hold, Latch, ReleaseOnDrop, all, builder, config_of, done, event_log, in_time, stop,
};
use campanile::config::Route;
use campanile::dialect::projectforge::Projectforge;
use campanile::dialect::wserver::Wserver;
use campanile::dialect::wsrv::Wsrv;
use campanile::handler::{Admission, Gathered, HandleError, MemberCount, Profile, SessionInfo};
use campanile::public_id::PublicId;
use campanile::{Context, Gateway, Message, Reply, RouteHandle};

fn route_of(gateway: &Gateway) -> RouteHandle {
    gateway.route("/x").expect("it is there")
}

/// Opens a session on a shard and returns it with its id.
fn open_one(gateway: &Gateway, shard: usize) -> (Client, PublicId) {
    let before: Vec<PublicId> = ids(&all(route_of(gateway).sessions()));
    let client = Client::open_on(gateway.local_addr(), shard, "/x", &[]);
    let now = ids(&all(route_of(gateway).sessions()));
    let new = now.into_iter().find(|id| !before.contains(id));
    (client, new.expect("it is listed"))
}

/// Waits until every shard has processed the messages of the others up to now.
fn wait_for_mailboxes(gateway: &Gateway) {
    for _ in 0..gateway.shards_count() {
        // Each call publishes through the next shard, and its count needs all shards.
        let route = route_of(gateway);
        assert_eq!(done(route.publish("nobody", Message::new("m"))), Ok(0));
    }
}

fn ids(sessions: &[SessionInfo]) -> Vec<PublicId> {
    sessions.iter().map(|session| session.id).collect()
}

#[test]
fn sessions_join_and_leave_channels_by_their_id() {
    let mut config = config_of(2, &Projectforge);
    config.limits.channels_per_session_max = 3;
    let gateway = builder(config).start().expect("it starts");
    let route = route_of(&gateway);
    let (mut first, first_id) = open_one(&gateway, 0);
    let (mut second, second_id) = open_one(&gateway, 1);
    assert_eq!(done(route.join(first_id, "room")), Ok(true));
    assert_eq!(done(route.join(first_id, "room")), Ok(false));
    // An earlier member receives later joins, not the reverse.
    wait_for_mailboxes(&gateway);
    assert_eq!(done(route.join(second_id, "room")), Ok(true));
    // The other members receive the presence message of the dialect, the joining one does not.
    let received = first.receive();
    assert!(received.contains("online-update") && received.contains(&second_id.to_string()));
    second.expect_no_message();
    let pushed = route.publish("room", Message::text("m", "hello"));
    assert_eq!(done(pushed), Ok(2));
    assert!(first.receive().contains("hello") && second.receive().contains("hello"));

    // The generated channel, the room, and one more.
    assert_eq!(done(route.join(first_id, "hall")), Ok(true));
    let too_many = Err(HandleError::TooManyChannels);
    assert_eq!(done(route.join(first_id, "attic")), too_many);
    assert_eq!(done(route.join(first_id, "")), Err(HandleError::BadName));
    let long = "x".repeat(8 * 1024 + 1);
    assert_eq!(done(route.join(first_id, long)), Err(HandleError::BadName));

    assert_eq!(done(route.leave(second_id, "hall")), Ok(false));
    assert_eq!(done(route.leave(second_id, "room")), Ok(true));
    assert_eq!(done(route.leave(second_id, "room")), Ok(false));
    let received = first.receive();
    assert!(received.contains("online-update") && received.contains("false"));
    first.expect_no_message();
    let pushed = route.publish("room", Message::text("m", "hello"));
    assert_eq!(done(pushed), Ok(1));
    second.expect_no_message();

    let own: Vec<String> = all(route.sessions())
        .into_iter()
        .find(|session| session.id == first_id)
        .expect("it is there")
        .channels;
    assert!(own[0].starts_with("x-") && own[0].len() == 10, "{own:?}");
    assert_eq!(own[1..], ["room", "hall"]);
    drop((first, second));
    stop(gateway);
}

#[test]
fn a_session_is_closed_with_a_valid_code_and_reason() {
    let gateway = builder(config_of(2, &Wsrv)).start();
    let gateway = gateway.expect("it starts");
    let route = route_of(&gateway);
    let longest = "x".repeat(123);
    let good = [1000, 1001, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013];
    for (index, code) in good.into_iter().chain([3000, 4001, 4999]).enumerate() {
        let (mut client, id) = open_one(&gateway, index % 2);
        assert_eq!(done(route.close(id, code, longest.as_str())), Ok(()));
        assert_eq!(client.closing(), (code, longest.clone()));
        client.end();
        let again = route.close(id, code, "");
        assert_eq!(done(again), Err(HandleError::NoSession));
    }
    let (mut client, id) = open_one(&gateway, 0);
    for code in [
        0, 999, 1002, 1004, 1005, 1006, 1014, 1015, 1016, 2999, 5000, 65535,
    ] {
        let closed = done(route.close(id, code, ""));
        assert_eq!(closed, Err(HandleError::BadClose), "{code}");
    }
    let too_long = "\u{e9}".repeat(62);
    let closed = done(route.close(id, 1000, too_long));
    assert_eq!(closed, Err(HandleError::BadClose));
    client.expect_no_message();
    assert_eq!(done(route.close(id, 3000, "")), Ok(()));
    assert_eq!(client.closing(), (3000, String::new()));
    client.end();
    assert_eq!(stop(gateway).ended("closed"), 14);
}

#[test]
fn a_user_is_dropped_for_all_events_or_for_one() {
    let gateway = builder(config_of(3, &Wserver)).start();
    let gateway = gateway.expect("it starts");
    let route = route_of(&gateway);
    let open = |shard, user: &str, event: &str| {
        let mut client = Client::open_on(gateway.local_addr(), shard, "/x", &[]);
        client.send(&format!(r#"{{"token":"{user}","event":"{event}"}}"#));
        client.expect_no_message();
        client
    };
    let mut jacks = [
        open(0, "jack", "a"),
        open(1, "jack", "b"),
        open(2, "jack", "b"),
    ];
    let mut jill = open(0, "jill", "b");
    assert_eq!(done(route.drop_user("nobody", None)), Ok(0));
    assert_eq!(done(route.drop_user("jack", Some("c"))), Ok(0));
    assert_eq!(done(route.drop_user("jack", Some("b"))), Ok(2));
    let dropped = (1000, "dropped by the server".to_owned());
    jacks[0].expect_no_message();
    for jack in &mut jacks[1..] {
        assert_eq!(jack.closing(), dropped);
    }
    assert_eq!(done(route.drop_user("jack", None)), Ok(1));
    assert_eq!(jacks[0].closing(), dropped);
    jill.expect_no_message();
    drop((jacks, jill));
    stop(gateway);
}

/// Starts a gateway with two routes. On `/x` are jack, jill and jack, one per shard, all in a room.
fn with_three_in_a_room() -> (Gateway, RouteHandle, [Client; 3]) {
    let mut config = config_of(3, &Wsrv);
    config.routes.push(Route::new("/y", &Wsrv));
    let gateway = builder(config)
        .route("/x")
        .admit(async |upgrade| {
            let user = upgrade.query("user").unwrap_or_default();
            let admission = Admission::new().profile(Profile::named(user.to_uppercase()));
            Ok(admission.user(user).join("room"))
        })
        .handle("c", async |_| Reply::ok())
        .start()
        .expect("it starts");
    let open = |shard, user| {
        let path = format!("/x?user={user}");
        Client::open_on(gateway.local_addr(), shard, &path, &[])
    };
    let clients = [open(0, "jack"), open(1, "jill"), open(2, "jack")];
    let route = route_of(&gateway);
    (gateway, route, clients)
}

/// Returns the sessions of a route, by number.
fn sessions_of(route: &RouteHandle) -> Vec<SessionInfo> {
    let mut sessions = all(route.sessions());
    sessions.sort_by_key(|session| session.number);
    sessions
}

#[test]
fn sessions_are_listed_with_their_properties_and_counters() {
    let (gateway, route, mut clients) = with_three_in_a_room();
    let (request, message) = (wsrv_request("c", "1", "{}"), Message::text("m", "12345678"));
    clients[1].send(&request);
    let response = clients[1].receive();
    assert_eq!(done(route.publish("room", message)), Ok(3));
    let push = clients[1].receive();
    let joined = gateway.handle().join(sessions_of(&route)[1].id, "hall");
    assert_eq!(done(joined), Ok(true));

    let sessions = sessions_of(&route);
    let users: Vec<&[String]> = sessions.iter().map(|it| &it.users[..]).collect();
    assert_eq!(users, [["jack"], ["jill"], ["jack"]]);
    let names: Vec<&str> = sessions.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["JACK", "JILL", "JACK"]);
    assert_eq!(sessions[0].channels, ["room"]);
    assert_eq!(sessions[1].channels, ["room", "hall"]);
    assert!(sessions.iter().all(|it| it.path == "/x"));
    assert!(sessions.iter().map(|it| it.number).eq(1..=3));
    let counted = sessions[1].statistics;
    assert_eq!((counted.messages_received, counted.messages_sent), (1, 2));
    assert_eq!(counted.bytes_received, request.len() as u64);
    assert_eq!(counted.bytes_sent, (response.len() + push.len()) as u64);
    let counted = sessions[0].statistics;
    assert_eq!((counted.messages_received, counted.messages_sent), (0, 1));
    assert_eq!(counted.bytes_received, 0);
    assert_eq!(counted.bytes_sent, push.len() as u64);

    let looked_up = done(gateway.handle().session(sessions[1].id));
    assert_eq!(looked_up.as_ref(), Ok(&sessions[1]));
    clients.into_iter().for_each(Client::leave);
    assert_eq!(all(route.sessions()), []);
    stop(gateway);
}

/// Returns the merged counts of all shards.
fn counts(counts: Gathered<MemberCount>) -> Vec<(String, usize)> {
    let merged = MemberCount::merge(all(counts)).into_iter();
    merged.map(|count| (count.name, count.sessions)).collect()
}

#[track_caller]
fn expect_counts(gathered: Gathered<MemberCount>, expected: &[(&str, usize)]) {
    let found = counts(gathered);
    let found: Vec<(&str, usize)> = found
        .iter()
        .map(|(name, it)| (name.as_str(), *it))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn channels_members_and_users_are_listed_over_all_shards() {
    let (gateway, route, clients) = with_three_in_a_room();
    let other = Client::open(gateway.local_addr(), "/y");
    let sessions = sessions_of(&route);
    let joined = gateway.handle().join(sessions[1].id, "hall");
    assert_eq!(done(joined), Ok(true));

    let sessions = sessions_of(&route);
    let mut members = all(route.members("room"));
    members.sort_by_key(|session| session.number);
    assert_eq!(members, sessions);
    assert_eq!(all(route.members("hall")), sessions[1..2]);
    assert_eq!(all(route.members("nowhere")), []);
    expect_counts(route.channels(), &[("hall", 1), ("room", 3)]);
    expect_counts(route.users(), &[("jack", 2), ("jill", 1)]);
    let total: usize = all(gateway.handle().sessions_count()).iter().sum();
    assert_eq!(total, 4);
    let other_route = gateway.route("/y").expect("it is there");
    assert_eq!(all(other_route.sessions()).len(), 1);
    expect_counts(other_route.channels(), &[]);
    expect_counts(other_route.users(), &[]);

    clients.into_iter().for_each(Client::leave);
    expect_counts(route.channels(), &[]);
    expect_counts(route.users(), &[]);
    other.leave();
    let total: usize = all(gateway.handle().sessions_count()).iter().sum();
    assert_eq!(total, 0);
    stop(gateway);
}

/// Asserts that every operation on an id returns `NoSession`.
#[track_caller]
fn expect_unknown(gateway: &Gateway, id: PublicId) {
    let (handle, none) = (gateway.handle(), HandleError::NoSession);
    assert_eq!(done(handle.push_session(id, Message::new("e"))), Err(none));
    assert_eq!(done(handle.session(id)), Err(none));
    assert_eq!(done(handle.join(id, "room")), Err(none));
    assert_eq!(done(handle.leave(id, "room")), Err(none));
    assert_eq!(done(handle.close(id, 1000, "")), Err(none));
}

#[test]
fn stale_unknown_and_forged_ids_are_errors() {
    let start = || builder(config_of(3, &Wsrv)).start();
    let (gateway, another) = (start().expect("it starts"), start().expect("it starts"));
    let (client, id) = open_one(&gateway, 1);
    let (foreign_client, foreign) = open_one(&another, 1);
    expect_unknown(&gateway, foreign);
    expect_unknown(&another, id);
    // Every id that differs from a valid one in one bit, and values that are no ids.
    for bit in 0..128_u32 {
        let bytes = u128::from_be_bytes(id.bytes()) ^ (1 << bit);
        expect_unknown(&gateway, PublicId::from_bytes(bytes.to_be_bytes()));
    }
    expect_unknown(&gateway, PublicId::from_bytes([0; 16]));
    expect_unknown(&gateway, PublicId::from_bytes([0xff; 16]));
    let pushed = gateway.handle().push_session(id, Message::new("e"));
    assert_eq!(done(pushed), Ok(1));
    client.leave();
    expect_unknown(&gateway, id);
    // The id of an ended session is not valid for the next session in its slot.
    let (client, newer) = open_one(&gateway, 1);
    assert_ne!(id, newer);
    expect_unknown(&gateway, id);
    // Excluding unknown ids has no effect.
    let broadcast = route_of(&gateway).broadcast_except(Message::new("e"), &[id, foreign]);
    assert_eq!(done(broadcast), Ok(1));
    drop((client, foreign_client));
    stop(gateway);
    stop(another);
}

/// Starts a gateway with one shard that the command `hold` blocks. At most `commands_max` commands
/// may wait for it.
fn held(commands_max: u32) -> (Gateway, Client, Hold) {
    let hold = Hold::default();
    let held = hold.clone();
    let (recorder, event_log) = event_log();
    let mut config = config_of(1, &Wsrv);
    config.limits.commands_max = commands_max;
    let gateway = builder(config)
        .route("/x")
        .handle("hold", move |_| {
            let (recorder, hold) = (recorder.clone(), held.clone());
            async move {
                recorder.note("holding");
                hold.wait();
            }
        })
        .admit(async |_| Ok(Admission::new().join("room")))
        .start()
        .expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.send(&wsrv_request("hold", "1", "{}"));
    event_log.expect(&["holding"]);
    (gateway, client, hold)
}

#[test]
fn a_full_command_queue_is_an_error_and_accepted_commands_run() {
    let (gateway, mut client, hold) = held(16);
    let _release = ReleaseOnDrop(hold.clone());
    let route = route_of(&gateway);
    let message = |index: usize| Message::text("m", index.to_string());
    let mut taken = Vec::new();
    for index in 0..16 {
        let pending = route.publish("room", message(index));
        // The command runs even if its future is dropped.
        if index % 2 == 0 {
            taken.push(pending);
        }
    }
    assert_eq!(
        done(route.publish("room", message(16))),
        Err(HandleError::Busy)
    );
    let counting = gateway.handle().sessions_count();
    assert_eq!(in_time(move || counting.wait()), Err(HandleError::Busy));
    hold.release();
    for pending in taken {
        assert_eq!(done(pending), Ok(1));
    }
    for index in 0..16 {
        let received = client.receive();
        assert!(
            received.ends_with(&format!(r#""data":"{index}"}}"#)),
            "{received}"
        );
    }
    let silence = client.receive();
    assert!(silence.contains("not implement"), "{silence}");
    client.expect_no_message();
    assert_eq!(done(route.publish("room", message(17))), Ok(1));
    drop(client);
    stop(gateway);
}

#[test]
fn handles_of_a_stopped_gateway_return_errors() {
    let latch = Latch::new();
    let (recorder, event_log) = event_log();
    let gateway = builder(config_of(2, &Wsrv))
        .route("/x")
        .handle("c", move |_: Context| {
            let (recorder, latch) = (recorder.clone(), latch.clone());
            async move {
                recorder.note("at work");
                latch.pass().await;
            }
        })
        .start()
        .expect("it starts");
    let (mut client, id) = open_one(&gateway, 0);
    client.send(&wsrv_request("c", "1", "{}"));
    event_log.expect(&["at work"]);
    let (handle, route) = (gateway.handle(), route_of(&gateway));
    client.abort();
    in_time(move || gateway.stop(std::time::Duration::ZERO));
    let stopped = HandleError::Stopped;
    let message = || Message::new("e");
    assert_eq!(done(handle.push_session(id, message())), Err(stopped));
    assert_eq!(done(handle.session(id)), Err(stopped));
    assert_eq!(done(handle.join(id, "room")), Err(stopped));
    assert_eq!(done(handle.close(id, 1000, "")), Err(stopped));
    assert_eq!(done(route.publish("room", message())), Err(stopped));
    assert_eq!(done(route.push_user("jack", message())), Err(stopped));
    assert_eq!(done(route.broadcast(message())), Err(stopped));
    assert_eq!(done(route.drop_user("jack", None)), Err(stopped));
    let listed = route.sessions();
    assert_eq!(in_time(move || listed.wait()), Err(stopped));
    // Invalid arguments still have their own errors.
    let forged = PublicId::from_bytes([0; 16]);
    assert_eq!(done(handle.session(forged)), Err(HandleError::NoSession));
    assert_eq!(
        done(route.push_user("", message())),
        Err(HandleError::BadName)
    );
}
