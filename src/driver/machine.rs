//! Facts about the machine that determine how much memory a gateway may use.

use super::probe;
use crate::config::{Config, Machine};
use rustix::process::Resource;
use std::fs;

/// Returns the machine's limits for a gateway with this config, before it starts. Linux's defaults
/// replace values that `/proc` does not give.
pub(crate) fn machine(config: &Config) -> Machine {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let shards = probe::shard_count(config).count;
    Machine {
        shards: shards as u64,
        sessions: probe::sessions_max(config, limit.maximum) as u64,
        socket_bytes: largest("tcp_rmem", RECEIVE_BYTES) + send_bytes(config),
        sockets_bytes: numbers("tcp_mem").last().map(|pages| {
            let page_bytes = rustix::param::page_size() as u64;
            pages.saturating_mul(page_bytes)
        }),
    }
}

/// Returns the most bytes that one socket's send buffer may use. `TCP_NOTSENT_LOWAT` alone does not
/// limit it: sent bytes that the peer has not acknowledged come on top.
fn send_bytes(config: &Config) -> u64 {
    match config.limits.socket_send_buffer_bytes_max {
        0 => largest("tcp_wmem", SEND_BYTES),
        bytes => bytes.into(),
    }
}

/// Returns the last of a sysctl's three numbers: the size up to which the kernel tunes a buffer.
fn largest(name: &str, default: u64) -> u64 {
    numbers(name).last().copied().unwrap_or(default)
}

/// Reads a sysctl of `net.ipv4`; empty if it cannot be read or is not numeric.
fn numbers(name: &str) -> Vec<u64> {
    let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    let numbers = text.split_whitespace().map(str::parse);
    numbers.collect::<Result<_, _>>().unwrap_or_default()
}

/// Linux's default maximum of `tcp_rmem`, in bytes.
const RECEIVE_BYTES: u64 = 6 << 20;
/// Linux's default maximum of `tcp_wmem`, in bytes.
const SEND_BYTES: u64 = 4 << 20;
