//! What must be known of the machine to say how much memory a gateway may take.

use super::probe;
use crate::config::{Config, Machine};
use rustix::process::Resource;
use std::fs;

/// The machine under a gateway with this config, before it is started. What `/proc` does not say is
/// taken to be Linux's default.
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

/// What one socket's send buffer may take. `TCP_NOTSENT_LOWAT` alone is no bound of it: what is
/// under way to a peer that acknowledges nothing comes on top.
fn send_bytes(config: &Config) -> u64 {
    match config.limits.socket_send_buffer_bytes_max {
        0 => largest("tcp_wmem", SEND_BYTES),
        bytes => bytes.into(),
    }
}

/// The last of three numbers, which is the largest that the kernel chooses by itself.
fn largest(name: &str, default: u64) -> u64 {
    numbers(name).last().copied().unwrap_or(default)
}

fn numbers(name: &str) -> Vec<u64> {
    let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    let numbers = text.split_whitespace().map(str::parse);
    numbers.collect::<Result<_, _>>().unwrap_or_default()
}

const RECEIVE_BYTES: u64 = 6 << 20;
const SEND_BYTES: u64 = 4 << 20;
