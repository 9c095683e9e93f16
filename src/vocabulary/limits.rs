//! Limits of the gateway: the name, default, range and effect of each.
//!
//! A row of one of the tables below declares a limit completely. The struct field, its
//! documentation, the key of the config and all that is made from it (`src/config/key.rs`) come
//! from that row. Nothing here knows files, flags or the code that enforces the limits.
//!
//! Names end in their unit; the name of the limit of something that grows ends in `_max`. A limit
//! of bytes is inclusive: a message of exactly `message_bytes_max` bytes passes.

use std::fmt;
use std::num::NonZeroU32;

/// One row of a table: a number that an operator can set.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The key in its table of the config file, which is also the name of the field.
    pub key: &'static str,
    /// The lines of the field's documentation, each with the space that follows `///`.
    pub doc: &'static [&'static str],
    /// The allowed numbers.
    pub allowed: Allowed,
    /// Whether only some dialects have the limit.
    pub is_by_dialect: bool,
}

/// The allowed numbers of a [`Setting`]. Its `Display` follows the words "allowed are".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Allowed {
    min: u64,
    max: u64,
    off: bool,
    auto: bool,
    power_of_two: bool,
}

impl Allowed {
    pub(crate) const fn between(min: u64, max: u64) -> Self {
        assert!(min <= max, "a range has its smaller end first");
        Self {
            min,
            max,
            off: false,
            auto: false,
            power_of_two: false,
        }
    }

    /// Zero is allowed as well, and turns the setting off.
    const fn or_off(mut self) -> Self {
        self.off = true;
        self
    }

    /// The word `"auto"` is allowed as well: the gateway finds the number when it starts.
    pub(crate) const fn or_auto(mut self) -> Self {
        self.auto = true;
        self
    }

    const fn power_of_two(mut self) -> Self {
        self.power_of_two = true;
        self
    }

    /// Whether the word `"auto"` may stand in place of a number.
    #[must_use]
    pub const fn takes_auto(self) -> bool {
        self.auto
    }

    /// Returns the smallest and the largest number.
    #[must_use]
    pub(crate) const fn bounds(self) -> (u64, u64) {
        (self.min, self.max)
    }

    /// Whether zero is allowed as well, to turn the setting off.
    #[must_use]
    pub(crate) const fn takes_off(self) -> bool {
        self.off
    }

    /// Checks a number.
    ///
    /// The number is as wide as anything an operator can type, so that it can be named in full.
    ///
    /// # Errors
    ///
    /// The problem for the operator, such as `12 is too small, allowed are 4096 to 1073741824`.
    pub fn check(self, number: i128) -> Result<(), String> {
        let problem = if self.off && number == 0 {
            return Ok(());
        } else if number < i128::from(self.min) {
            "too small"
        } else if number > i128::from(self.max) {
            "too large"
        } else if self.power_of_two && number.count_ones() != 1 {
            "not a power of two"
        } else {
            return Ok(());
        };
        Err(format!("{number} is {problem}, allowed are {self}"))
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.off {
            f.write_str("0 (off) and ")?;
        }
        if self.auto {
            f.write_str("\"auto\" and ")?;
        }
        if self.power_of_two {
            f.write_str("the powers of two from ")?;
        }
        write!(f, "{} to {}", self.min, self.max)
    }
}

/// The type of a field: a number, or a number that the gateway finds (`None`, `"auto"`).
trait Number {
    /// The caller has checked `number` against a range that this type holds.
    fn from_number(number: Option<u64>) -> Self;
    fn number(self) -> Option<u64>;
}

macro_rules! plain_numbers {
    ($($type:ty)+) => { $(
        impl Number for $type {
            fn from_number(number: Option<u64>) -> Self {
                let number = number.expect("only an Option's range takes \"auto\"");
                Self::try_from(number).expect("every range fits its field")
            }

            fn number(self) -> Option<u64> {
                Some(self.into())
            }
        }
    )+ };
}

plain_numbers!(u16 u32 u64);

impl Number for Option<NonZeroU32> {
    fn from_number(number: Option<u64>) -> Self {
        number.map(|number| {
            let number = u32::try_from(number).expect("every range fits its field");
            NonZeroU32::new(number).expect("a range that takes \"auto\" starts above zero")
        })
    }

    fn number(self) -> Option<u64> {
        self.map(|number| number.get().into())
    }
}

/// The rows of a table of numbers, and its fields by their keys.
pub(crate) trait Settings: Copy + Default + PartialEq {
    /// One row for each field, in the order of the fields.
    const SETTINGS: &[Setting];

    /// Returns the number under `key`; `None` is `"auto"`.
    ///
    /// # Panics
    ///
    /// If no row has this key.
    fn number(&self, key: &str) -> Option<u64>;

    /// Sets the number under `key`; `None` is `"auto"`.
    ///
    /// # Panics
    ///
    /// If no row has this key or its range does not have this number.
    fn set(&mut self, key: &str, number: Option<u64>);
}

/// Makes a struct, its default and its rows for the config file out of one table.
///
/// A row that ends in `by_dialect` is a limit that only some dialects have.
macro_rules! settings {
    (@flag) => { false };
    (@flag by_dialect) => { true };
    (
        $(#[$about:meta])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                pub $field:ident: $type:ty = $default:expr, $allowed:expr $(, $flag:ident)?;
            )+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl Settings for $name {
            const SETTINGS: &[Setting] = &[
                $( Setting {
                    key: stringify!($field),
                    doc: &[$($doc),+],
                    allowed: $allowed,
                    is_by_dialect: settings!(@flag $($flag)?),
                }, )+
            ];

            fn number(&self, key: &str) -> Option<u64> {
                match key {
                    $( stringify!($field) => self.$field.number(), )+
                    _ => panic!("no setting has the key {key:?}"),
                }
            }

            fn set(&mut self, key: &str, number: Option<u64>) {
                match key {
                    $( stringify!($field) => self.$field = Number::from_number(number), )+
                    _ => panic!("no setting has the key {key:?}"),
                }
            }
        }
    };
}

settings! {
    /// The limits of sessions, messages, names and shards: `[limits]`.
    pub struct Limits {
        /// The maximum of sessions and HTTP connections of the process, all shards together. "auto"
        /// is the limit of open files less 256. At the maximum, upgrades are rejected with 503;
        /// pushes are served. Without a free file descriptor, every new connection gets 503 and
        /// existing connections continue.
        pub sessions_max: Option<NonZeroU32> = None, Allowed::between(1, 16_000_000).or_auto();

        /// The maximum size of a message from a client in bytes, all its frames together. A session
        /// that sends a longer one is closed with 1009.
        pub message_bytes_max: u32 = 16 * MIB_32, MESSAGE_BYTES;

        /// The maximum of bytes pending for one session. A session with at most 1 KiB pending
        /// accepts a message of any size. A session above the maximum is a slow consumer and is
        /// closed with 1008.
        pub outbox_bytes_max: u32 = MIB_32, OUTBOX_BYTES;

        /// The maximum of unsent bytes that the kernel accepts for one connection
        /// (`TCP_NOTSENT_LOWAT`), plus one segment; 0 keeps the kernel's default. The rest waits in
        /// the outbox. A client that does not read costs this much kernel memory, with its
        /// overhead, in addition to the bytes in flight.
        pub socket_unsent_bytes_max: u32 = 128 * KIB_32, SOCKET_BYTES.or_off();

        /// The maximum of kernel memory, with its overhead, for what a peer has not acknowledged,
        /// in bytes: twice `SO_SNDBUF`, at most twice `net.core.wmem_max`. 0 leaves it to the
        /// kernel, which grows it up to `net.ipv4.tcp_wmem`. The rest waits in the outbox. A
        /// connection transfers at most this much per round trip.
        pub socket_send_buffer_bytes_max: u32 = 0, SOCKET_BYTES.or_off();

        /// The maximum of input bytes of one session that wait until its earlier input is handled.
        /// Its socket is not read meanwhile, so only bytes that are already in receive buffers can
        /// wait. A session with more is closed with 1009.
        pub held_bytes_per_session_max: u32 = 16 * MIB_32, Allowed::between(64 * KIB, GIB);

        /// The maximum of bytes of a shard's unfinished messages, waiting messages, running calls
        /// and request bodies together. Above it, the session that holds most of them is closed
        /// with 1009, and requests get 503. While running calls hold half of it, sessions with
        /// handlers are not read.
        pub partial_bytes_max: u64 = 256 * MIB, Allowed::between(64 * KIB, TIB);

        /// The maximum of bytes of a shard's publications that are pending for at least one
        /// session. Above it, the pending bytes of sessions that are more than one batch behind are
        /// copied, so that the batches can be freed. If that does not free enough, the sessions
        /// with the most pending bytes are aborted as slow consumers.
        pub publication_bytes_max: u64 = 256 * MIB, Allowed::between(64 * KIB, TIB);

        /// The size in bytes of a buffer that holds the publications of a turn, one after the
        /// other. A full buffer is followed by a new one. A frame that is larger than a buffer gets
        /// its own.
        pub batch_bytes_max: u32 = 512 * KIB_32, Allowed::between(4 * KIB, 16 * MIB);

        /// The maximum size of the name of a user, an event or a channel in bytes. A request with a
        /// longer one fails as its dialect defines; a registration in "wserver" is ignored.
        pub name_bytes_max: u32 = KIB_32, Allowed::between(16, MIB);

        /// The maximum size of a token in bytes, also where the token is itself the name of a user.
        /// An upgrade with a longer one is rejected like one with a wrong token; a registration in
        /// "wserver" is ignored.
        pub token_bytes_max: u32 = 8 * KIB_32, Allowed::between(16, MIB);

        /// The maximum of bytes of the names that a shard keeps for one session: users, events,
        /// channels, its token and claims, with up to 500 bytes of overhead for each. A join above
        /// it is denied; where no response can report that, the session is closed with 1008.
        pub names_bytes_per_session_max: u32 = MIB_32, Allowed::between(4 * KIB, GIB);

        /// The maximum of bytes of the names of all sessions of a shard; a name that several share
        /// counts once. A join above it is denied and a claim of a user gets 503; where no response
        /// can report that, the session is closed with 1013.
        pub names_bytes_max: u64 = 512 * MIB, Allowed::between(64 * KIB, TIB);

        /// The maximum of users that one session may be registered for. A registration above it is
        /// ignored, as the dialect has no response to one.
        pub users_per_session_max: u32 = 1_024, Allowed::between(1, 65_536);

        /// The maximum of channels of one session; `names_bytes_per_session_max` limits them, too.
        /// A join above it is denied.
        pub channels_per_session_max: u32 = 65_536, Allowed::between(1, 1_048_576);

        /// The maximum of commands of an embedding program's handles that wait at one shard. Above
        /// it, a command fails with `HandleError::Busy`.
        pub commands_max: u32 = 4_096, Allowed::between(16, 1_048_576);

        /// The maximum of upgrades that wait for one user, where a user may have one session only.
        /// One more is rejected with 503.
        pub claims_waiting_max: u32 = 16, Allowed::between(1, 1_024);

        /// The time in microseconds for which a shard without work polls before it sleeps; 0 is
        /// off. Polling occupies a core and saves a wake-up: for machines where latency matters
        /// most.
        pub busy_poll_us: u32 = 0, Allowed::between(1, 1_000_000).or_off();

        /// The time in milliseconds for which a handler may block its shard. A handler that blocks
        /// it longer is logged.
        pub handler_stall_ms: u32 = 100, Allowed::between(1, 60_000);

        /// The maximum of messages in the mailbox of a shard. A shard that sends to a full mailbox
        /// queues its messages, in order, and takes no new work until there is room: its sessions
        /// are not read, and pushes get 503.
        pub mailbox_messages_max: u32 = 4_096, Allowed::between(1, 1_048_576);

        /// The maximum of bytes of the messages in the mailbox of a shard. Above it the mailbox is
        /// full. An empty mailbox accepts a message of any size.
        pub mailbox_bytes_max: u64 = 64 * MIB, Allowed::between(4 * KIB, TIB);

        /// The maximum of sends that a shard submits in one system call. The rest is submitted by
        /// the next call, after completions were handled.
        pub sends_per_enter_max: u32 = 1_024, Allowed::between(1, 32_768);

        /// The maximum of sends that a shard submits in one turn. The other sessions with pending
        /// bytes keep their order and are sent to after new input was handled.
        pub sends_per_turn_max: u32 = 2_048, Allowed::between(1, 1_048_576);

        /// The maximum number of times that a shard collects input in one turn before it sends.
        /// Further input is handled in the next turn.
        pub looks_per_turn_max: u32 = 4, Allowed::between(1, 64);

        /// The maximum of bytes of separate pieces of an outbox that are copied into one send.
        /// Larger pieces are sent one by one.
        pub gather_bytes_max: u32 = 16 * KIB_32, Allowed::between(KIB, MIB);

        /// The maximum of pushes of a shard whose total is not known yet. One more gets 503 with
        /// `Retry-After`.
        pub pushes_in_flight_max: u32 = 4_096, Allowed::between(1, 1_048_576);
    }
}

settings! {
    /// The intervals of pings and the time-outs of silent sessions: `[heartbeat]`.
    ///
    /// A shard's clock has ticks of 64 ms, so all times have this resolution.
    pub struct Heartbeat {
        /// The time in milliseconds without input after which a session is sent a ping. If it is
        /// not less than `idle_timeout_ms`, no pings are sent.
        pub ping_interval_ms: u32 = 30_000, TIME_MS;

        /// The time in milliseconds without input after which a session is closed. Every frame of
        /// the client is input, including a pong.
        pub idle_timeout_ms: u32 = 90_000, TIME_MS;

        /// The time in milliseconds from the first byte of a message to its last, including control
        /// frames between its frames; 0 is off. A session whose message takes longer is closed with
        /// 1008.
        pub message_timeout_ms: u32 = 600_000, TIME_MS.or_off();

        /// The time in milliseconds from accepting a connection to the end of its first request's
        /// head, and from the first byte of each later head to its end. A connection that has sent
        /// part of a head gets 408 and is closed; one that has sent nothing is closed without a
        /// response.
        pub handshake_timeout_ms: u32 = 10_000, TIME_MS;

        /// The time in milliseconds that a client has to respond to a close frame. Each pending
        /// byte that its socket takes restarts the time. If the socket still holds bytes at its
        /// end, the time starts again, as long as the client acknowledges some of them. After the
        /// time, or ten times it in total, the connection is closed, with a reset if bytes are
        /// left.
        pub close_grace_ms: u32 = 5_000, TIME_MS;
    }
}

settings! {
    /// The limits of HTTP connections and requests: `[http]`.
    pub struct Http {
        /// The maximum of connections of a shard that have sent something and are not sessions. One
        /// more closes the oldest connection of the first kind that there is: with an incomplete
        /// head, with an incomplete body, with unread responses, idle, with a request to
        /// `health_path` in the last 30 s, with an authorized push, drop or API request.
        /// Connections that never had an authorized request are at most three quarters of the
        /// maximum; a new one above that closes one of them. A connection that waits for its
        /// response is not closed; if all wait, the new one gets 503.
        pub http_connections_max: u32 = 1_024, Allowed::between(1, 1_048_576);

        /// The maximum of bytes received from a connection that the HTTP parser has not read yet.
        /// Above it, nothing is received until less than half of it is left.
        pub http_in_bytes_max: u32 = 64 * KIB_32, Allowed::between(4 * KIB, 16 * MIB);

        /// The maximum of response bytes that the peer of a connection has not taken yet. Above it,
        /// the connection's next requests wait, and nothing is received from it.
        pub http_out_bytes_max: u32 = 64 * KIB_32, Allowed::between(4 * KIB, 16 * MIB);

        /// The maximum of response bytes that the peers have not taken yet and of input bytes not
        /// read yet, of all connections of a shard that have unread responses and never had an
        /// authorized request. Above it, the connection whose peer has taken no bytes for the
        /// longest time is reset.
        pub http_unread_bytes_max: u32 = 64 * MIB_32, Allowed::between(64 * KIB, GIB);

        /// The maximum size of a request's body in bytes. A request with a longer one gets 413.
        pub body_bytes_max: u32 = 16 * MIB_32, Allowed::between(1, GIB);

        /// The time in milliseconds in which a body must arrive. A request that takes longer gets
        /// 408, and its connection is closed.
        pub body_timeout_ms: u32 = 30_000, TIME_MS;

        /// The time in milliseconds in which a peer must take at least one byte of its pending
        /// responses. Then the connection is closed with a reset.
        pub send_timeout_ms: u32 = 30_000, TIME_MS;

        /// The time in milliseconds that a connection may be idle between two requests. Then it is
        /// closed.
        pub keep_alive_timeout_ms: u32 = 75_000, TIME_MS;

        /// The time in milliseconds in which all shards must deliver a push. A push that takes
        /// longer gets 503, whose body says that the delivery may have happened.
        pub push_timeout_ms: u32 = 5_000, TIME_MS;
    }
}

mod process;
pub use self::process::{Logging, ProcessLimits};

settings! {
    /// The sizes of a shard's `io_uring`: `[ring]`.
    ///
    /// They count against the limit of locked memory of an ordinary user. Queues that do not fit
    /// are halved, with a warning, until they do.
    pub struct Ring {
        /// The entries of the submission queue. A full queue is submitted at once.
        pub submission_entries: u32 = 4_096, Allowed::between(64, 32_768).power_of_two();

        /// The entries of the completion queue, at least twice those of the submission queue.
        /// Between two passes over the completions, sends take less than half of it; other sends
        /// wait.
        pub completion_entries: u32 = 16_384, Allowed::between(128, 65_536).power_of_two();

        /// The buffers of a shard into which sessions receive. When all are in use, input waits in
        /// the sockets until one is free.
        pub buffer_count: u16 = 256, Allowed::between(4, 32_768).power_of_two();

        /// The size of one receive buffer in bytes, 64 of which the kernel does not fill. Longer
        /// input takes several buffers.
        pub buffer_bytes: u32 = 16 * KIB_32, Allowed::between(KIB, MIB);

        /// The entries of the submission queue at which halving ends. If these do not fit, the
        /// gateway does not start and says why.
        pub entries_min: u32 = 256, Allowed::between(64, 32_768).power_of_two();
    }
}

settings! {
    /// The limits that a route may set for itself: keys of `[[routes]]`.
    ///
    /// These are resolved: limits that the route does not set come from `[limits]` and
    /// `[heartbeat]`.
    pub struct RouteLimits {
        /// The maximum size of a message from a client in bytes. Without this key,
        /// `limits.message_bytes_max`.
        pub message_bytes_max: u32 = 16 * MIB_32, MESSAGE_BYTES;

        /// The maximum of bytes pending for one session. Without this key,
        /// `limits.outbox_bytes_max`, and for dialect "echo" at least 32 MiB and twice
        /// `limits.message_bytes_max`.
        pub outbox_bytes_max: u32 = MIB_32, OUTBOX_BYTES;

        /// The time in milliseconds without input after which a session is sent a ping. Without
        /// this key, `heartbeat.ping_interval_ms`.
        pub ping_interval_ms: u32 = 30_000, TIME_MS;

        /// The time in milliseconds without input after which a session is closed. Without this
        /// key, `heartbeat.idle_timeout_ms`, except for dialect "wsrv": 30000, and only messages
        /// are input.
        pub idle_timeout_ms: u32 = 90_000, TIME_MS;

        /// The time in milliseconds that a session has for its first registration; 0 is off. A
        /// session without one is then closed.
        pub registration_timeout_ms: u32 = 0, TIME_MS.or_off(), by_dialect;

        /// The maximum of requests of one session that are handled at the same time. At the
        /// maximum, the session is not read.
        pub requests_in_flight_max: u32 = 64, Allowed::between(1, 4_096), by_dialect;
    }
}

settings! {
    /// The limits of requests to one backend, of all shards together.
    pub struct BackendLimits {
        /// The time in milliseconds in which a hook must get its response, including all retries.
        /// Then the hook fails. Time in the queue counts, except for "close".
        pub timeout_ms: u32 = 5_000, TIME_MS;

        /// The time in milliseconds to connect.
        pub connect_timeout_ms: u32 = 1_000, TIME_MS;

        /// The maximum of hooks of one kind whose responses are awaited at the same time. Others of
        /// that kind wait in a queue; no kind waits for another.
        pub requests_in_flight_max: u32 = 64, Allowed::between(1, 65_536);

        /// The maximum of hooks of one kind in the queue. One more fails at once, and is counted.
        pub requests_waiting_max: u32 = 65_536, Allowed::between(0, 1_000_000);

        /// The maximum of bytes of the hooks of one kind in the queue: their bodies, and 2 KiB for
        /// each. One more fails at once, and is counted.
        pub requests_waiting_bytes_max: u32 = 64 * MIB_32, Allowed::between(4 * KIB, GIB);

        /// The maximum of retries of a hook where a retry is safe: if the hook did not reach the
        /// backend, or for all kinds but "message". 0 is none.
        pub retries_max: u32 = 2, Allowed::between(0, 16);

        /// The time in milliseconds before the first retry; it doubles with each retry.
        pub retry_delay_ms: u32 = 100, Allowed::between(1, 60_000);

        /// The maximum size of a response in bytes. A hook with a larger response fails.
        pub answer_bytes_max: u32 = MIB_32, Allowed::between(1_024, GIB);

        /// The maximum of bytes of the values, as JSON, that a backend may keep with one session. A
        /// hook whose response sets more fails.
        pub values_bytes_max: u32 = 16 * KIB_32, Allowed::between(2, MIB);
    }
}

settings! {
    /// The limits of requests to the server API.
    pub struct ApiLimits {
        /// The maximum of calls in one batch. A larger batch gets 400.
        pub batch_calls_max: u32 = 1_000, Allowed::between(1, 100_000);

        /// The maximum of sessions that one publication may exclude. A call that names more gets
        /// 400.
        pub except_sessions_max: u32 = 100, Allowed::between(1, 10_000);

        /// The maximum of items on one page of a list.
        pub page_items_max: u32 = 1_000, Allowed::between(1, 100_000);

        /// The maximum of bytes of the names on one page of a list. The item that exceeds it is the
        /// last of its page.
        pub page_bytes_max: u32 = MIB_32, Allowed::between(1_024, GIB);

        /// The maximum of idempotency keys whose responses are kept, on all shards together. Above
        /// it, the least recently used is forgotten.
        pub idempotency_keys_max: u32 = 100_000, Allowed::between(1, 100_000_000);

        /// The maximum of bytes of idempotency keys and their responses, on all shards together,
        /// with 1 KiB of overhead for each. Above it, the least recently used are forgotten.
        pub idempotency_bytes_max: u64 = 128 * MIB, Allowed::between(64 * KIB, 64 * GIB);

        /// The time in milliseconds for which the response to an idempotency key is kept; it may be
        /// kept up to an eighth longer. A pause of the whole process does not count.
        pub idempotency_ttl_ms: u32 = 600_000, TIME_MS;

        /// The maximum size of a response that is kept for its idempotency key, in bytes. A larger
        /// one is not kept, and a repeated request gets 409.
        pub idempotency_answer_bytes_max: u32 = 64 * KIB_32, Allowed::between(1_024, GIB);
    }
}

impl Limits {
    /// Returns the maximum size of the name of a user in bytes. Where tokens are names, it is a
    /// token's.
    #[must_use]
    pub fn user_bytes_max(&self) -> u32 {
        self.name_bytes_max.max(self.token_bytes_max)
    }
}

/// The upper end of the range of `outbox_bytes_max`.
pub const OUTBOX_BYTES_CEILING: u32 = 1 << 30;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const KIB_32: u32 = 1 << 10;
const MIB_32: u32 = 1 << 20;

const MESSAGE_BYTES: Allowed = Allowed::between(1, GIB);
const SOCKET_BYTES: Allowed = Allowed::between(4 * KIB, GIB);
const OUTBOX_BYTES: Allowed = Allowed::between(4 * KIB, OUTBOX_BYTES_CEILING as u64);
/// From one tick of the wheel to a day.
const TIME_MS: Allowed = Allowed::between(64, 86_400_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_in_its_range() {
        fn check(settings: &[Setting], number: impl Fn(&str) -> Option<u64>) {
            for setting in settings {
                match number(setting.key) {
                    Some(number) => assert_eq!(setting.allowed.check(number.into()), Ok(())),
                    None => assert!(setting.allowed.takes_auto(), "{}", setting.key),
                }
            }
        }

        check(Limits::SETTINGS, |key| Limits::default().number(key));
        check(Heartbeat::SETTINGS, |key| Heartbeat::default().number(key));
        check(Http::SETTINGS, |key| Http::default().number(key));
        check(Ring::SETTINGS, |key| Ring::default().number(key));
        check(RouteLimits::SETTINGS, |key| {
            RouteLimits::default().number(key)
        });
        check(BackendLimits::SETTINGS, |key| {
            BackendLimits::default().number(key)
        });
        check(ApiLimits::SETTINGS, |key| ApiLimits::default().number(key));
        check(Logging::SETTINGS, |key| Logging::default().number(key));
    }

    #[test]
    fn both_ends_of_every_range_fit_their_field() {
        macro_rules! check {
            ($($name:ident)+) => { $(
                for setting in $name::SETTINGS {
                    for number in [setting.allowed.min, setting.allowed.max] {
                        let mut table = $name::default();
                        table.set(setting.key, Some(number));
                        assert_eq!(table.number(setting.key), Some(number), "{}", setting.key);
                    }
                }
            )+ };
        }

        check!(Limits Heartbeat Http Ring RouteLimits BackendLimits ApiLimits Logging);
    }

    #[test]
    fn setting_one_number_leaves_the_others() {
        let mut limits = Limits::default();
        limits.set("sessions_max", Some(7));
        limits.set("partial_bytes_max", Some(1 << 33));
        let expected = Limits {
            sessions_max: NonZeroU32::new(7),
            partial_bytes_max: 1 << 33,
            ..Limits::default()
        };
        assert_eq!(limits, expected);
        limits.set("sessions_max", None);
        assert_eq!(limits.sessions_max, None);
    }

    #[test]
    fn ranges_include_both_ends() {
        #[track_caller]
        fn check(allowed: Allowed, number: i128, expected: Result<(), &str>) {
            assert_eq!(allowed.check(number), expected.map_err(str::to_owned));
        }

        let plain = Allowed::between(4, 9);
        check(plain, 3, Err("3 is too small, allowed are 4 to 9"));
        check(plain, 4, Ok(()));
        check(plain, 9, Ok(()));
        check(plain, 10, Err("10 is too large, allowed are 4 to 9"));

        let off = plain.or_off();
        check(off, 0, Ok(()));
        check(
            off,
            -1,
            Err("-1 is too small, allowed are 0 (off) and 4 to 9"),
        );

        // The word is for the file to find; the number that stands for it is not allowed.
        let auto = plain.or_auto();
        check(
            auto,
            0,
            Err("0 is too small, allowed are \"auto\" and 4 to 9"),
        );

        let power = plain.power_of_two();
        check(power, 8, Ok(()));
        check(
            power,
            6,
            Err("6 is not a power of two, allowed are the powers of two from 4 to 9"),
        );
    }

    #[test]
    fn names_of_settings_end_in_their_unit_or_in_max() {
        let tables = [
            Limits::SETTINGS,
            Heartbeat::SETTINGS,
            Http::SETTINGS,
            Ring::SETTINGS,
            RouteLimits::SETTINGS,
            BackendLimits::SETTINGS,
            ApiLimits::SETTINGS,
            Logging::SETTINGS,
        ];
        for setting in tables.concat() {
            let ends = [
                "_max",
                "_ms",
                "_us",
                "_entries",
                "_count",
                "_bytes",
                "entries_min",
            ];
            assert!(
                ends.iter().any(|end| setting.key.ends_with(end)),
                "{}",
                setting.key
            );
        }
    }
}
