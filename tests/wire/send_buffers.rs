//! Tests of the kernel's send buffers for peers that do not read.

use crate::GATEWAY;
use campanile_tests::client::{Client, open_as};
use campanile_tests::peer::{Peer, sent_to};
use campanile_tests::process::Process;

#[test]
fn the_kernel_buffers_little_for_a_peer_that_does_not_read() {
    const UNSENT_BYTES_MAX: usize = 32 << 10;
    let process = GATEWAY.start_on(1, Some("limits.socket_unsent_bytes_max = 32768"));
    expect_buffered_at_most(&process, UNSENT_BYTES_MAX + SEGMENT_BYTES_MAX);
}

#[test]
fn the_kernel_buffers_little_by_default() {
    const UNSENT_BYTES_MAX: usize = 128 << 10;
    let process = GATEWAY.start_on(1, Some(""));
    expect_buffered_at_most(&process, UNSENT_BYTES_MAX + SEGMENT_BYTES_MAX);
}

#[test]
fn the_kernel_buffers_at_most_the_send_buffer() {
    let process = GATEWAY.start_on(
        1,
        Some("[limits]\nsocket_unsent_bytes_max = 0\nsocket_send_buffer_bytes_max = 65536"),
    );
    expect_buffered_at_most(&process, 65_536 + SEGMENT_BYTES_MAX);
}

#[test]
fn a_reader_that_keeps_up_gets_sixteen_mebibytes_whole() {
    let process = GATEWAY.start_on(1, Some("limits.socket_unsent_bytes_max = 4096"));
    let mut client = open_as(process.address, "jack", "e");
    let large = "x".repeat((16 << 20) - 1024);
    let mut peer = Peer::connect(process.address);
    assert_eq!(peer.push("jack", "e", &large), sent_to(1));
    let message = client.read().expect("it comes");
    assert!(message.into_data() == large.as_bytes());
}

/// Publishes 4 MiB to sessions that read nothing, and checks the send queues of their sockets.
#[track_caller]
fn expect_buffered_at_most(process: &Process, bytes_max: usize) {
    const SESSIONS_COUNT: usize = 20;
    let address = process.address;
    let sessions: Vec<Client> = (0..SESSIONS_COUNT)
        .map(|_| open_as(address, "jack", "e"))
        .collect();
    let mut peer = Peer::connect(address);
    let large = "x".repeat(4 << 20);
    assert_eq!(peer.push("jack", "e", &large), sent_to(SESSIONS_COUNT));
    let mut held = Vec::new();
    for _ in 0..LOOKS_MAX {
        // Sent bytes count until they are acknowledged.
        held = send_queues(address.port());
        held.retain(|&bytes| bytes > 0);
        if held.len() >= SESSIONS_COUNT && held.iter().all(|&bytes| bytes <= bytes_max) {
            drop(sessions);
            return;
        }
        // Runs a turn of the shard, in which it fills the sockets.
        assert_eq!(peer.push("nobody", "e", "m"), sent_to(0));
    }
    panic!("more than {bytes_max}, or too few: {held:?}");
}

/// Returns the unacknowledged bytes (`tx_queue`) of each established connection accepted on a port.
fn send_queues(port: u16) -> Vec<usize> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("there is a kernel");
    let local = format!(":{port:04X}");
    let mut queues = Vec::new();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields[1].ends_with(&local) && fields[3] == "01" {
            let (sending, _) = fields[4].split_once(':').expect("two queues");
            queues.push(usize::from_str_radix(sending, 16).expect("hexadecimal"));
        }
    }
    queues
}

/// The largest segment that the kernel builds, in bytes.
const SEGMENT_BYTES_MAX: usize = 64 << 10;
const LOOKS_MAX: u32 = 1_000;
