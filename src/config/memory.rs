//! The most memory that a gateway takes by its limits, in its own process and in the kernel.
//!
//! Each term is an upper bound, and so is the sum: limits are not reached all at once, and most of
//! them never. Memory of an embedding program is not included. Reads no file; the facts about the
//! machine come as a [`Machine`].

use super::Config;
use std::fmt;

/// The facts about a machine that limits are multiplied with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Machine {
    /// The number of shards.
    pub shards: u64,
    /// The maximum of sessions and HTTP connections of the process.
    pub sessions: u64,
    /// The maximum of one socket's receive and send buffers in the kernel, in bytes.
    pub socket_bytes: u64,
    /// The maximum of all sockets of the machine, in bytes; `None` if it is not known.
    pub sockets_bytes: Option<u64>,
}

/// The most memory that a gateway takes. Its `Display` is one line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MemoryBound {
    machine: Machine,
    user: Vec<MemoryTerm>,
    kernel: Vec<MemoryTerm>,
}

/// One term of the sum.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MemoryTerm {
    /// The key that limits it most.
    pub key: &'static str,
    /// The bytes of the whole process.
    pub bytes: u64,
}

impl MemoryBound {
    /// Computes the bound of a gateway with this config.
    #[must_use]
    pub fn of(config: &Config, machine: Machine) -> Self {
        Self {
            machine,
            user: user_terms(config, machine),
            kernel: kernel_terms(config, machine),
        }
    }

    /// Returns the bound of the process in bytes.
    #[must_use]
    pub fn user_bytes(&self) -> u64 {
        sum(&self.user)
    }

    /// Returns the bound of the kernel's memory for it in bytes.
    #[must_use]
    pub fn kernel_bytes(&self) -> u64 {
        sum(&self.kernel)
    }

    /// Returns the terms of both sums, the process's first.
    pub fn terms(&self) -> impl Iterator<Item = &MemoryTerm> {
        self.user.iter().chain(&self.kernel)
    }
}

fn sum(terms: &[MemoryTerm]) -> u64 {
    let bytes = terms.iter().map(|term| term.bytes);
    bytes.fold(0, u64::saturating_add)
}

/// The terms of the process itself.
fn user_terms(config: &Config, machine: Machine) -> Vec<MemoryTerm> {
    let (limits, http, ring) = (&config.limits, &config.http, &config.ring);
    let term = |key, bytes| MemoryTerm { key, bytes };
    let per_shard = |key, bytes: u64| term(key, bytes.saturating_mul(machine.shards));
    let mailbox_bytes = if machine.shards > 1 {
        // One message of any size goes alone, and one batch may wait for room.
        u64::from(limits.mailbox_messages_max) * MESSAGE_BYTES
            + limits.mailbox_bytes_max.max(http.body_bytes_max.into())
            + limits.partial_bytes_max
    } else {
        0
    };
    let (input, output) = (
        u64::from(http.http_in_bytes_max),
        u64::from(http.http_out_bytes_max),
    );
    // Both pipes have grown to twice what is in them, and hyper reads as far as it may write.
    let http_bytes = HTTP_BYTES + 2 * (input + u64::from(ring.buffer_bytes)) + 3 * output;
    let ring_bytes = u64::from(ring.buffer_count) * (u64::from(ring.buffer_bytes) + ENTRY_BYTES);
    let mut terms = vec![
        per_shard(
            "limits.publication_bytes_max",
            limits.publication_bytes_max + 2 * u64::from(limits.batch_bytes_max),
        ),
        // The last message that comes whole is beyond it.
        per_shard(
            "limits.partial_bytes_max",
            limits.partial_bytes_max + u64::from(longest_message(config)),
        ),
        // Tables keep their room for a while when names have gone.
        per_shard(
            "limits.names_bytes_max",
            limits.names_bytes_max.saturating_mul(2),
        ),
        per_shard(
            "http.http_connections_max",
            u64::from(http.http_connections_max) * http_bytes,
        ),
        per_shard("ring.buffer_count", ring_bytes),
        per_shard("limits.mailbox_bytes_max", mailbox_bytes),
        per_shard(
            "limits.commands_max",
            u64::from(limits.commands_max) * COMMAND_BYTES,
        ),
        term(
            "api.idempotency_bytes_max",
            config.api.limits.idempotency_bytes_max,
        ),
        term(
            "logging.bytes_max",
            u64::from(config.logging.bytes_max) + u64::from(config.logging.lines_max) * LINE_BYTES,
        ),
        term(
            "limits.sessions_max",
            machine.sessions.saturating_mul(SESSION_BYTES),
        ),
    ];
    terms.extend(backend_terms(config, machine));
    terms
}

/// The terms of hooks: each kind has a queue and requests in flight of its own.
fn backend_terms(config: &Config, machine: Machine) -> [MemoryTerm; 3] {
    let term = |key, bytes| MemoryTerm { key, bytes };
    let backends = config.backends.iter().map(|backend| &backend.limits);
    let queues = backends
        .clone()
        .map(|backend| HOOK_KINDS as u64 * u64::from(backend.requests_waiting_bytes_max));
    // Responses that are being read.
    let answers = backends.clone().map(|backend| {
        HOOK_KINDS as u64
            * u64::from(backend.requests_in_flight_max)
            * u64::from(backend.answer_bytes_max)
    });
    let values = backends.map(|backend| u64::from(backend.values_bytes_max));
    [
        term("backends.requests_waiting_bytes_max", queues.sum()),
        term("backends.answer_bytes_max", answers.sum()),
        term(
            "backends.values_bytes_max",
            machine.sessions.saturating_mul(values.max().unwrap_or(0)),
        ),
    ]
}

/// The terms of the kernel.
fn kernel_terms(config: &Config, machine: Machine) -> Vec<MemoryTerm> {
    let ring = &config.ring;
    let entries = u64::from(ring.submission_entries) * SUBMISSION_BYTES
        + u64::from(ring.completion_entries) * COMPLETION_BYTES;
    let buffers = machine.sessions.saturating_mul(machine.socket_bytes);
    let (buffers, key) = match machine.sockets_bytes {
        Some(all) if all < buffers => (all, "net.ipv4.tcp_mem"),
        _ => (buffers, "limits.sessions_max"),
    };
    vec![
        MemoryTerm {
            key,
            bytes: buffers,
        },
        MemoryTerm {
            key: "limits.sessions_max",
            bytes: machine.sessions.saturating_mul(SOCKET_BYTES),
        },
        MemoryTerm {
            key: "ring.completion_entries",
            bytes: machine.shards * (entries + LISTENER_BYTES),
        },
    ]
}

fn longest_message(config: &Config) -> u32 {
    let routes = config.routes.iter();
    let longest = routes.map(|route| route.limits.message_bytes_max).max();
    longest.unwrap_or(config.limits.message_bytes_max)
}

impl fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let largest = |terms: &[MemoryTerm]| {
            let largest = terms.iter().max_by_key(|term| term.bytes);
            *largest.expect("there are some")
        };
        let (user, kernel) = (largest(&self.user), largest(&self.kernel));
        write!(
            f,
            "at most {} ({} by {}), and {} in the kernel ({} by {})",
            Size(self.user_bytes()),
            Size(user.bytes),
            user.key,
            Size(self.kernel_bytes()),
            Size(kernel.bytes),
            kernel.key,
        )
    }
}

/// A number of bytes, formatted in the largest unit that leaves two digits.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unit = 0;
        while unit + 1 < UNITS.len() && self.0 >> (10 * (unit + 1)) >= 10 {
            unit += 1;
        }
        let number = self.0.div_ceil(1 << (10 * unit));
        write!(f, "{number} {}", UNITS[unit])
    }
}

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// A connection in all arrays by slot, twice as large as they must be, and what is kept of it for
/// handlers; 370 to 430 bytes were measured.
const SESSION_BYTES: u64 = 1_536;
/// hyper and what is around it, without buffers.
const HTTP_BYTES: u64 = 29 * 1_024;
/// The kinds of hook: open, authenticate, message, join, publish, command, close.
pub(crate) const HOOK_KINDS: usize = 7;
/// A line that waits to be written, without its text.
const LINE_BYTES: u64 = 64;
/// A message between shards without what it points to.
const MESSAGE_BYTES: u64 = 256;
/// A command of a handle.
const COMMAND_BYTES: u64 = 1_024;
/// A buffer's entry in the ring, and what is known of it.
const ENTRY_BYTES: u64 = 32;
/// A socket, its file, and two operations in flight.
const SOCKET_BYTES: u64 = 8 * 1_024;
const SUBMISSION_BYTES: u64 = 64 + 256;
const COMPLETION_BYTES: u64 = 16;
/// A full backlog of connections that were not accepted.
const LISTENER_BYTES: u64 = 4_096 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    const MACHINE: Machine = Machine {
        shards: 1,
        sessions: 1_000,
        socket_bytes: 1 << 20,
        sockets_bytes: None,
    };

    fn bound(text: &str, machine: Machine) -> MemoryBound {
        let config = Config::from_toml("f.toml", text, &Overrides::default());
        MemoryBound::of(&config.expect("valid"), machine)
    }

    #[test]
    fn every_bound_that_is_raised_raises_the_sum() {
        let two = Machine {
            shards: 2,
            ..MACHINE
        };
        let before = bound("", two);
        for key in [
            "limits.publication_bytes_max = 1_000_000_000",
            "limits.batch_bytes_max = 1_000_000",
            "limits.partial_bytes_max = 1_000_000_000",
            "limits.message_bytes_max = 100_000_000",
            "limits.names_bytes_max = 1_000_000_000",
            "limits.mailbox_messages_max = 5_000",
            "limits.mailbox_bytes_max = 1_000_000_000",
            "limits.commands_max = 5_000",
            "http.http_connections_max = 5_000",
            "http.http_in_bytes_max = 100_000",
            "http.http_out_bytes_max = 100_000",
            "http.body_bytes_max = 100_000_000",
            "api.idempotency_bytes_max = 1_000_000_000",
            "ring.buffer_count = 512",
            "ring.buffer_bytes = 20_000",
            "logging.bytes_max = 10_000_000",
            "logging.lines_max = 10_000",
            "backends = [{ name = 'app', url = 'http://127.0.0.1/' }]",
        ] {
            let after = bound(key, two);
            assert!(after.user_bytes() > before.user_bytes(), "{key}");
        }
        let rings = bound("ring.completion_entries = 32_768", two);
        assert!(rings.kernel_bytes() > before.kernel_bytes());
    }

    #[test]
    fn shards_and_sessions_multiply_what_is_theirs() {
        let with = |shards, sessions| {
            let machine = Machine {
                shards,
                sessions,
                ..MACHINE
            };
            bound("", machine)
        };
        let (one, two) = (with(1, 0), with(2, 0));
        let is_of_process = |term: &&MemoryTerm| {
            ["api.idempotency_bytes_max", "logging.bytes_max"].contains(&term.key)
        };
        let of_process: u64 = one.terms().filter(is_of_process).map(|it| it.bytes).sum();
        let of_shards = |bound: &MemoryBound| bound.user_bytes() - of_process;
        assert!(of_shards(&two) >= 2 * of_shards(&one));
        let more = with(1, 1_000);
        assert_eq!(more.user_bytes() - one.user_bytes(), 1_000 * SESSION_BYTES);
        let each = MACHINE.socket_bytes + SOCKET_BYTES;
        assert_eq!(more.kernel_bytes() - one.kernel_bytes(), 1_000 * each);
    }

    #[test]
    fn the_line_names_the_key_that_counts_most() {
        let line = bound("", MACHINE).to_string();
        assert!(line.contains("by limits.names_bytes_max), and "), "{line}");
        assert!(line.ends_with("by limits.sessions_max)"), "{line}");
        let machine = Machine {
            sessions: 1 << 40,
            socket_bytes: 1 << 30,
            sockets_bytes: Some(5 << 30),
            ..MACHINE
        };
        let limited = bound("", machine);
        let buffers = limited.terms().find(|it| it.key == "net.ipv4.tcp_mem");
        assert_eq!(buffers.map(|it| it.bytes), Some(5 << 30));
        let machine = Machine {
            sockets_bytes: None,
            ..machine
        };
        assert_eq!(bound("", machine).kernel_bytes(), u64::MAX);
    }

    #[test]
    fn sizes_have_two_to_four_digits_and_are_never_too_small() {
        let sizes = [0, 1_023, 10 << 10, (10 << 10) + 1, 9_999 << 20, u64::MAX];
        let texts = sizes.map(|size| Size(size).to_string());
        let expected = [
            "0 B",
            "1023 B",
            "10 KiB",
            "11 KiB",
            "9999 MiB",
            "16777216 TiB",
        ];
        assert_eq!(texts, expected);
    }
}
