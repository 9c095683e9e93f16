//! Tests of the listening addresses of the executable, and of its errors.

use super::{PROGRAM, User, assert_serves, assert_start_error, campanile, run};
use crate::GATEWAY;
use campanile_tests::client::{open_as, open_on, read_text};
use campanile_tests::http::post;
use campanile_tests::peer::{Peer, push_body, sent_to};
use campanile_tests::process::Process;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;

#[test]
fn a_port_in_use_is_an_error_also_if_another_gateway_uses_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    let gateway = GATEWAY.start(None);
    for address in [address, gateway.address] {
        let done = run(campanile(&["--listen", &address.to_string()]));
        let (warning, error) = done.errors.split_once('\n').expect("two lines");
        let waits = "the port is in use; retrying for one second";
        assert!(warning.contains(waits), "{warning}");
        assert!(
            warning.ends_with(&format!("address={address}")),
            "{warning}"
        );
        let expected = format!(
            "campanile: cannot listen on {address}: the port is in use; stop the other program, \
             or choose another port with --listen\n"
        );
        assert_eq!(error, expected);
        assert_eq!((done.status.code(), done.output.as_str()), (Some(1), ""));
    }
    assert_serves(&gateway);
}

#[test]
fn a_privileged_port_is_an_error_with_remedies() {
    let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let lowest = std::fs::read_to_string(path).expect("Linux has it");
    if lowest.trim() == "0" {
        return; // Unprivileged users may listen on port 1, as in Docker.
    }
    let user = User::new(65_504);
    let command = user.command_on("127.0.0.1:1", 8 << 20, &["--shards", "1"]);
    assert_start_error(
        command,
        "cannot listen on 127.0.0.1:1: this user may not listen on port 1; choose a higher port \
         with --listen, permit the program (`setcap cap_net_bind_service=+ep campanile`, \
         AmbientCapabilities=CAP_NET_BIND_SERVICE in systemd), or permit all users (`sysctl -w \
         net.ipv4.ip_unprivileged_port_start=1`)",
    );
}

/// Returns the address of the same port on `::1`; `None` without IPv6 loopback.
fn beside(address: SocketAddr) -> Option<SocketAddr> {
    let there = (Ipv6Addr::LOCALHOST, address.port()).into();
    let is_there = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    is_there.then_some(there)
}

fn on_localhost(arguments: &[&str]) -> Process {
    let mut command = campanile(&["--listen", "localhost:0"]);
    command.args(arguments);
    Process::start(command)
}

#[test]
fn localhost_is_served_on_both_of_its_addresses_until_the_stop() {
    let process = on_localhost(&["--shards", "2"]);
    assert_serves(&process);
    if let Some(second) = beside(process.address) {
        let mut client = open_as(second, "jill", "e");
        let mut peer = Peer::connect(process.address);
        assert_eq!(peer.push("jill", "e", "from one to the other"), sent_to(1));
        assert_eq!(read_text(&mut client), "from one to the other");
        let mut peer = Peer::connect(second);
        assert_eq!(peer.push("jill", "e", "and there"), sent_to(1));
        assert_eq!(read_text(&mut client), "and there");

        // A second gateway cannot use the second address either.
        let done = run(campanile(&["--listen", &second.to_string()]));
        let error = format!("campanile: cannot listen on {second}: the port is in use;");
        assert!(done.errors.contains(&error), "{}", done.errors);
    }
    let address = process.address;
    let ended = process.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    for address in [Some(address), beside(address)].into_iter().flatten() {
        TcpStream::connect(address).expect_err("the gateway has stopped");
    }
}

/// As `without_descriptors_open_sessions_are_served_and_new_connections_get_503` of
/// `wire/eviction.rs`, on a second listener: it backs off, answers and recovers by itself.
#[test]
fn without_descriptors_new_connections_get_503_on_both_addresses() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 320; exec \"$0\" \"$@\"", PROGRAM]);
    command.args(["--listen", "localhost:0", "--shards", "1", "--config"]);
    let limits = "limits.sessions_max = 64\nheartbeat.handshake_timeout_ms = 600_000";
    command.arg(GATEWAY.config_file(limits));
    let process = Process::start(command);
    let addresses = [Some(process.address), beside(process.address)];
    let addresses = || addresses.iter().flatten().copied();

    // More connections than there are descriptors.
    let crowd: Vec<Peer> = addresses()
        .flat_map(|address| (0..400).map(move |_| Peer::connect(address)))
        .collect();
    let push = post("/push", "", &push_body("jack", "e", "m"));
    for address in addresses() {
        let mut newcomer = Peer::connect(address);
        newcomer.send(&push);
        assert_eq!(newcomer.response().status, 503, "{address}");
    }
    drop(crowd);
    for address in addresses() {
        let served = (0..TRIES_MAX).any(|_| {
            let mut newcomer = Peer::connect(address);
            newcomer.send(&push);
            newcomer.response().status == 200
        });
        assert!(served, "there are descriptors again: {address}");
    }
    assert_eq!(process.stop().status.code(), Some(0));
}

/// A client that connected before a stop is served on both addresses, even if no shard has accepted
/// the connection yet.
#[test]
fn a_stop_serves_pending_connections_of_both_addresses() {
    let process = on_localhost(&["--shards", "1"]);
    let addresses = [Some(process.address), beside(process.address)];
    let (mut clients, mut waiting) = (Vec::new(), Vec::new());
    for address in addresses.into_iter().flatten() {
        let connect = || TcpStream::connect(address).expect("it listens");
        clients.push(open_on(connect(), "/ws").expect("an upgrade"));
        waiting.push(connect());
    }
    let ended = process.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    let connections = clients.len() + waiting.len();
    let counted = format!("connections={connections} ");
    assert!(ended.log.contains(&counted), "{}", ended.log);
}

#[test]
fn a_port_without_an_address_is_public_and_needs_keys() {
    assert_start_error(
        campanile(&["--listen", ":0"]),
        "listen: :0 is not a loopback address, and /push is open to everyone who reaches it; give \
         its route a push_secret or a push_header, or start with --insecure\n\
         campanile: listen: :0 is not a loopback address, so the header x-user-id is not \
         believed, and nothing else names the user of a client of /edk; give its route tokens, a \
         jwt or hooks on \"open\", or trust_user_header = true if whatever stands in front of the \
         gateway sets that header itself, or, in a program that embeds the gateway, a function \
         that authenticates (authenticated_by_code), or start with --insecure",
    );
}

/// The test runs in its own network namespace. It covers a kernel without IPv6 addresses;
/// `driver/listen.rs` tests a kernel without IPv6.
#[test]
fn a_port_without_an_address_listens_on_all_addresses() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/startup/own_network.py");
    for (ipv6, listen, expected) in [
        ("on", ":8080", "[::]:8080 | 127.0.0.1 200, ::1 200"),
        ("off", ":8080", "[::]:8080 | 127.0.0.1 200, ::1 none"),
        (
            "on",
            "localhost:8080",
            "127.0.0.1:8080 and [::1]:8080 | 127.0.0.1 200, ::1 200",
        ),
        (
            "off",
            "localhost:8080",
            "127.0.0.1:8080 | 127.0.0.1 200, ::1 none",
        ),
    ] {
        let mut command = Command::new("unshare");
        command.args(["-rn", "python3", script, ipv6, PROGRAM, listen]);
        let done = run(command);
        if done.errors.contains("unshare") {
            return; // This user may not create a network namespace.
        }
        assert_eq!(done.output.trim(), expected, "{}", done.errors);
    }
}

const TRIES_MAX: usize = 10_000;
