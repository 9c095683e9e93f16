//! Every bound of the gateway: its name, default and range, and what happens when it is reached.
//!
//! A row of one of the tables below is the only place where a bound is spelled. The struct field,
//! its documentation, the key in the config file, the comment that `campanile config` prints and
//! the range that is enforced are all made from that row, so none of them can fall behind the
//! others. Nothing here knows files, flags or the code that keeps to the bounds.
//!
//! Names end in their unit; the name of a bound on something that grows ends in `_max`. A bound on
//! bytes is inclusive: a message of exactly `message_bytes_max` bytes passes.

use std::fmt;
use std::num::NonZeroU32;

/// One row of a table: a number that an operator can set.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The key in its table of the config file, which is also the name of the field.
    pub key: &'static str,
    /// What it bounds and what happens at the bound: the lines of the field's documentation.
    pub doc: &'static [&'static str],
    /// Which numbers it takes.
    pub allowed: Allowed,
}

/// The numbers that a [`Setting`] takes. Its `Display` follows the words "allowed are".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Allowed {
    min: u64,
    max: u64,
    off: bool,
    auto: bool,
    power_of_two: bool,
}

impl Allowed {
    const fn between(min: u64, max: u64) -> Self {
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
    const fn or_auto(mut self) -> Self {
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

    /// Says what is wrong with `number`, or nothing.
    ///
    /// The number is as wide as anything an operator can type, so that it can be named in full.
    ///
    /// # Errors
    ///
    /// The sentence for the operator, such as `12 is too small, allowed are 4096 to 1073741824`.
    pub fn check(self, number: i128) -> Result<(), String> {
        let complaint = if self.off && number == 0 {
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
        Err(format!("{number} is {complaint}, allowed are {self}"))
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

/// A field's type: a number, or a number that may be left to the gateway (`None`, `"auto"`).
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

/// Makes a struct, its default and its rows for the config file out of one table.
macro_rules! settings {
    (
        $(#[$about:meta])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                pub $field:ident: $type:ty = $default:expr, $allowed:expr;
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

        impl $name {
            /// One row for each field, in the order of the fields.
            pub const SETTINGS: &[Setting] = &[
                $( Setting {
                    key: stringify!($field),
                    doc: &[$($doc),+],
                    allowed: $allowed,
                }, )+
            ];

            /// The number under `key`, or `None` when the gateway is to find it (`"auto"`).
            ///
            /// # Panics
            ///
            /// If no row has this key.
            #[must_use]
            pub fn number(&self, key: &str) -> Option<u64> {
                match key {
                    $( stringify!($field) => self.$field.number(), )+
                    _ => panic!("no setting has the key {key:?}"),
                }
            }

            /// Sets the number under `key`; `None` is `"auto"`.
            ///
            /// # Panics
            ///
            /// If no row has this key or its range does not have this number.
            pub(crate) fn set(&mut self, key: &str, number: Option<u64>) {
                match key {
                    $( stringify!($field) => self.$field = Number::from_number(number), )+
                    _ => panic!("no setting has the key {key:?}"),
                }
            }
        }
    };
}

settings! {
    /// What sessions may hold and how much is done at once: `[limits]`.
    pub struct Limits {
        /// Sessions and HTTP connections of the process, all shards together.
        /// "auto" is the limit of open files less 256.
        /// While there are more, upgrades are answered with 503 and closed; pushes are served.
        /// With no file descriptor left every new connection is answered with 503, and those that
        /// are kept go on.
        pub sessions_max: Option<NonZeroU32> = None, Allowed::between(1, 16_000_000).or_auto();

        /// Bytes of one message from a client, all of its frames together, inclusive.
        /// A session that sends a longer one is closed with 1009.
        pub message_bytes_max: u32 = 16 * MIB_32, MESSAGE_BYTES;

        /// Bytes that one session may be owed; one that keeps up takes a message of any size.
        /// A session that falls further behind is closed with 1008, as a slow consumer.
        pub outbox_bytes_max: u32 = MIB_32, OUTBOX_BYTES;

        /// Bytes of one connection that the kernel takes before it can put them on the wire
        /// (`TCP_NOTSENT_LOWAT`), and one segment more; 0 leaves it to the kernel.
        /// What does not fit waits in the outbox. A client that does not read costs so much of the
        /// kernel's memory, and its overhead, besides what is under way to it.
        pub socket_unsent_bytes_max: u32 = 128 * KIB_32, SOCKET_BYTES.or_off();

        /// Bytes of the kernel's memory, its overhead included, for what one connection has not
        /// acknowledged (half of it is `SO_SNDBUF`); 0 leaves it to the kernel, which grows it up
        /// to `net.ipv4.tcp_wmem`. It takes no more than twice `net.core.wmem_max`.
        /// What does not fit waits in the outbox. A connection is no faster than this per round
        /// trip.
        pub socket_send_buffer_bytes_max: u32 = 0, SOCKET_BYTES.or_off();

        /// Bytes that came from one session and wait until what it said before is answered.
        /// Its socket is not read meanwhile, so that only what the ring's buffers had can wait; a
        /// session with more is closed with 1009.
        pub held_bytes_per_session_max: u32 = 16 * MIB_32, Allowed::between(64 * KIB, GIB);

        /// Bytes of all unfinished messages, messages that wait, calls at work and request bodies
        /// of a shard together. Above it the session with the largest is closed with 1009, and a
        /// request is answered with 503. While calls at work hold half of it, sessions with
        /// handlers are not read.
        pub partial_bytes_max: u64 = 256 * MIB, Allowed::between(64 * KIB, TIB);

        /// Bytes that the publications of a shard may take while sessions are still owed them.
        /// Above it, what those more than one batch behind are owed is copied for each of them and
        /// counted, and if that does not help, those that hold most are cut as slow consumers.
        pub publication_bytes_max: u64 = 256 * MIB, Allowed::between(64 * KIB, TIB);

        /// Bytes of one buffer in which the publications of a turn lie next to each other.
        /// A full buffer is sealed and the next one begun; a larger frame has one of its own.
        pub batch_bytes_max: u32 = 512 * KIB_32, Allowed::between(4 * KIB, 16 * MIB);

        /// Bytes of the name of a user, an event or a channel.
        /// What a client says with a longer one is turned down the way its language does that; a
        /// registration in "wserver" is ignored.
        pub name_bytes_max: u32 = KIB_32, Allowed::between(16, MIB);

        /// Bytes of a token, also of one that is itself the name of a user.
        /// An upgrade request with a longer one is rejected as one with a wrong token is; a
        /// registration in "wserver" is ignored.
        pub token_bytes_max: u32 = 8 * KIB_32, Allowed::between(16, MIB);

        /// Bytes that one session may have its shard remember: users, events, channels, its token
        /// and claims, each with what is kept beside it (up to 500 bytes for a name).
        /// A join beyond is refused; a session that cannot be told so is closed with 1008.
        pub names_bytes_per_session_max: u32 = MIB_32, Allowed::between(4 * KIB, GIB);

        /// The same for all sessions of a shard together; a name that several share counts once.
        /// A join beyond is refused, and a claim of a user answered with 503; a session that cannot
        /// be told so is closed with 1013.
        pub names_bytes_max: u64 = 512 * MIB, Allowed::between(64 * KIB, TIB);

        /// Users that one session may be registered for.
        /// A registration for one more is ignored, as the language answers none.
        pub users_per_session_max: u32 = 1_024, Allowed::between(1, 65_536);

        /// Channels that one session may be on; `names_bytes_per_session_max` bounds them too.
        /// A join beyond is refused.
        pub channels_per_session_max: u32 = 65_536, Allowed::between(1, 1_048_576);

        /// Commands of an embedding program's handles that wait at one shard.
        /// Above it they fail as busy.
        pub commands_max: u32 = 4_096, Allowed::between(16, 1_048_576);

        /// Connections that wait for one user who may have a single one, while another is let in.
        /// One more is answered with 503.
        pub claims_waiting_max: u32 = 16, Allowed::between(1, 1_024);

        /// Microseconds that a shard without work looks for some before it sleeps; 0 is off.
        /// It takes all of a core then, and saves a wake-up: for machines where latency is all.
        pub busy_poll_us: u32 = 0, Allowed::between(1, 1_000_000).or_off();

        /// Milliseconds that a handler may hold its shard without giving way.
        /// One that holds it longer is named in the log.
        pub handler_stall_ms: u32 = 100, Allowed::between(1, 60_000);

        /// Messages in the mailbox of a shard.
        /// A shard that finds another's mailbox full keeps what it has for it, in order, and takes
        /// no new work until there is room: its sessions are not read and pushes are answered
        /// with 503.
        pub mailbox_messages_max: u32 = 4_096, Allowed::between(1, 1_048_576);

        /// Bytes of the messages in the mailbox of a shard; one that is larger goes alone.
        /// Above it the mailbox is full.
        pub mailbox_bytes_max: u64 = 64 * MIB, Allowed::between(4 * KIB, TIB);

        /// Sends that a shard submits in one call of the kernel.
        /// What is left over is submitted by the next call, after completions have been taken.
        pub sends_per_enter_max: u32 = 1_024, Allowed::between(1, 32_768);

        /// Sends that a shard submits in one turn.
        /// The other sessions that are owed something wait, in order, behind fresh input.
        pub sends_per_turn_max: u32 = 2_048, Allowed::between(1, 1_048_576);

        /// How often a shard looks for more input in one turn before it sends.
        /// After that it sends, and looks again in the next turn.
        pub looks_per_turn_max: u32 = 4, Allowed::between(1, 64);

        /// Bytes up to which pieces of an outbox that lie apart are copied into one send.
        /// Larger ones are sent one by one.
        pub gather_bytes_max: u32 = 16 * KIB_32, Allowed::between(KIB, MIB);

        /// Pushes of a shard whose total is not known yet.
        /// A push beyond it is answered with 503 and Retry-After.
        pub pushes_in_flight_max: u32 = 4_096, Allowed::between(1, 1_048_576);
    }
}

settings! {
    /// When a silent session is asked, and when it is given up: `[heartbeat]`.
    ///
    /// The shard looks at the clock every 64 ms, so no time is kept more exactly than that.
    pub struct Heartbeat {
        /// Milliseconds without input after which a session is sent a ping.
        /// From `idle_timeout_ms` on, no ping is ever sent.
        pub ping_interval_ms: u32 = 30_000, TIME_MS;

        /// Milliseconds without input after which a session is closed.
        /// Any frame of the client is input, a pong too.
        pub idle_timeout_ms: u32 = 90_000, TIME_MS;

        /// Milliseconds from the first byte of a message to its last, whatever comes between its
        /// frames; 0 is off. A session whose message takes longer is closed with 1008.
        pub message_timeout_ms: u32 = 600_000, TIME_MS.or_off();

        /// Milliseconds from accepting a connection to the end of its first request's head, and
        /// from the first byte of each later head to its end, however the bytes come.
        /// One that has sent a part is answered with 408 and closed, one without a byte closed.
        pub handshake_timeout_ms: u32 = 10_000, TIME_MS;

        /// Milliseconds that a client has to answer a close frame, from the last byte that it took
        /// of what it was sent; twice as many at first if its socket is full, ten times in all.
        /// After that the connection is closed, with a reset if it has not taken everything.
        pub close_grace_ms: u32 = 5_000, TIME_MS;
    }
}

settings! {
    /// What one HTTP connection or request may hold and how long it may take: `[http]`.
    pub struct Http {
        /// Connections of a shard that have sent something and are not sessions, pushers' for one.
        /// One more closes the first of these, of each kind the oldest: without a whole head,
        /// without a whole body, with unread answers, idle, with a request to `health_path` in the
        /// last 30 s, with an authorized push, drop or API request. Three quarters at most may be
        /// held by connections that never had the last: beyond that, a new one closes one of them.
        /// One that is being answered is not closed; if all are, the new one is answered with 503.
        pub http_connections_max: u32 = 1_024, Allowed::between(1, 1_048_576);

        /// Bytes of a connection that have been received and not yet been read by HTTP.
        /// Above it nothing is received from the connection until half of them have been read.
        pub http_in_bytes_max: u32 = 64 * KIB_32, Allowed::between(4 * KIB, 16 * MIB);

        /// Bytes of answers that a connection has not taken yet.
        /// At that many its next requests wait, and nothing is received from it.
        pub http_out_bytes_max: u32 = 64 * KIB_32, Allowed::between(4 * KIB, 16 * MIB);

        /// Bytes of answers that connections have not taken yet, with requests that wait for that,
        /// of all connections of a shard together that never had an authorized request answered.
        /// Above it the one is reset that has taken none for longest.
        pub http_unread_bytes_max: u32 = 64 * MIB_32, Allowed::between(64 * KIB, GIB);

        /// Bytes of one request's body, inclusive.
        /// A request with a longer one is answered with 413.
        pub body_bytes_max: u32 = 16 * MIB_32, Allowed::between(1, GIB);

        /// Milliseconds that a body may take to arrive as a whole, however its bytes come.
        /// A request that takes longer is answered with 408, and its connection closed.
        pub body_timeout_ms: u32 = 30_000, TIME_MS;

        /// Milliseconds in which a connection takes none of the answers that wait for it.
        /// After that it is closed with a reset.
        pub send_timeout_ms: u32 = 30_000, TIME_MS;

        /// Milliseconds that a connection may wait between two requests.
        /// After that it is closed.
        pub keep_alive_timeout_ms: u32 = 75_000, TIME_MS;

        /// Milliseconds that all shards together have to answer a push.
        /// After that it is answered with 503, which says that delivery may have happened.
        pub push_timeout_ms: u32 = 5_000, TIME_MS;
    }
}

mod process;
pub use self::process::{DRAIN_DELAY_MS, DRAIN_MS, Logging, ProcessLimits, SHUTDOWN_GRACE_MS};

settings! {
    /// The sizes of a shard's `io_uring`: `[ring]`.
    ///
    /// For an ordinary user they count against the limit of locked memory. Entries that do not fit
    /// are halved, with a warning, until they do.
    pub struct Ring {
        /// Entries of the submission queue.
        /// A full queue is submitted at once.
        pub submission_entries: u32 = 4_096, Allowed::between(64, 32_768).power_of_two();

        /// Entries of the completion queue, at least twice those of the submission queue.
        /// Sends that are submitted before completions are looked at stay below half of it; the
        /// others wait.
        pub completion_entries: u32 = 16_384, Allowed::between(128, 65_536).power_of_two();

        /// Buffers of a shard into which sessions receive.
        /// When all are in use, input waits in the sockets until one is free.
        pub buffer_count: u16 = 256, Allowed::between(4, 32_768).power_of_two();

        /// Bytes of one such buffer; 64 of them are not offered to the kernel.
        /// Longer input takes several buffers.
        pub buffer_bytes: u32 = 16 * KIB_32, Allowed::between(KIB, MIB);

        /// Entries of the submission queue at which halving ends.
        /// If even these do not fit, the gateway does not start and says why.
        pub entries_min: u32 = 256, Allowed::between(64, 32_768).power_of_two();
    }
}

settings! {
    /// The bounds that a route may have of its own: keys of `[[routes]]`.
    ///
    /// These are resolved: what the route does not set has come from `[limits]` and `[heartbeat]`.
    pub struct RouteLimits {
        /// Bytes of one message from a client; in its absence `limits.message_bytes_max`.
        pub message_bytes_max: u32 = 16 * MIB_32, MESSAGE_BYTES;

        /// Bytes that one session may be owed; in its absence `limits.outbox_bytes_max`, but where
        /// the dialect is "echo" at least 32 MiB and twice `limits.message_bytes_max`.
        pub outbox_bytes_max: u32 = MIB_32, OUTBOX_BYTES;

        /// Milliseconds to a ping; in its absence `heartbeat.ping_interval_ms`.
        pub ping_interval_ms: u32 = 30_000, TIME_MS;

        /// Milliseconds without input to a close; in its absence `heartbeat.idle_timeout_ms`, but
        /// where the dialect is "wsrv" 30000, and there only messages are input.
        pub idle_timeout_ms: u32 = 90_000, TIME_MS;

        /// Milliseconds that a session of "wserver" has for its first registration; 0 is off.
        /// A session that has none by then is closed.
        pub registration_timeout_ms: u32 = 0, TIME_MS.or_off();

        /// Requests of one session of "wsrv" that are handled at the same time.
        /// While there are so many, nothing more is read from the session.
        pub requests_in_flight_max: u32 = 64, Allowed::between(1, 4_096);
    }
}

settings! {
    /// What is asked of one backend, by all shards together.
    pub struct BackendLimits {
        /// Milliseconds for one answer, with everything that is tried again.
        /// A hook that has none by then has failed. Waiting for its turn counts, but for "close".
        pub timeout_ms: u32 = 5_000, TIME_MS;

        /// Milliseconds to connect.
        pub connect_timeout_ms: u32 = 1_000, TIME_MS;

        /// Hooks of one kind that wait for the backend's answer at the same time.
        /// Others of that kind wait for their turn; no kind waits for another.
        pub requests_in_flight_max: u32 = 64, Allowed::between(1, 65_536);

        /// Hooks of one kind that wait for their turn. One more fails at once, and is counted.
        pub requests_waiting_max: u32 = 65_536, Allowed::between(0, 1_000_000);

        /// Bytes of the hooks of one kind that wait for their turn: their bodies, and 2 KiB for
        /// each. What does not fit fails at once, and is counted.
        pub requests_waiting_bytes_max: u32 = 64 * MIB_32, Allowed::between(4 * KIB, GIB);

        /// How often a hook is tried again where that is safe: when nothing was sent yet, and when
        /// it asks or tells without having the backend do something. 0 is never.
        pub retries_max: u32 = 2, Allowed::between(0, 16);

        /// Milliseconds before the first try again; each later one waits twice as long.
        pub retry_delay_ms: u32 = 100, Allowed::between(1, 60_000);

        /// Bytes of one answer. A larger one has failed.
        pub answer_bytes_max: u32 = MIB_32, Allowed::between(1_024, GIB);

        /// Bytes of the values, as JSON, that a backend may keep with one session.
        /// An answer that asks for more has failed.
        pub values_bytes_max: u32 = 16 * KIB_32, Allowed::between(2, MIB);
    }
}

settings! {
    /// What one request to the server API may ask.
    pub struct ApiLimits {
        /// Calls in one batch. A batch of more is refused with 400.
        pub batch_calls_max: u32 = 1_000, Allowed::between(1, 100_000);

        /// Sessions that one publication may pass over.
        /// A call that names more is refused with 400.
        pub except_sessions_max: u32 = 100, Allowed::between(1, 10_000);

        /// Things on one page of a list.
        pub page_items_max: u32 = 1_000, Allowed::between(1, 100_000);

        /// Bytes of the names on one page of a list.
        /// What crosses it is the last on its page.
        pub page_bytes_max: u32 = MIB_32, Allowed::between(1_024, GIB);

        /// Idempotency keys whose answers are remembered, on all shards together.
        /// At more than that, the one not used for longest is forgotten.
        pub idempotency_keys_max: u32 = 100_000, Allowed::between(1, 100_000_000);

        /// Bytes that idempotency keys and their answers may take, on all shards together, with a
        /// kibibyte for each besides its texts.
        /// Above it, those not used for longest are forgotten.
        pub idempotency_bytes_max: u64 = 128 * MIB, Allowed::between(64 * KIB, 64 * GIB);

        /// Milliseconds for which the answer to an idempotency key is remembered, or an eighth
        /// more. A pause of the whole process does not count.
        pub idempotency_ttl_ms: u32 = 600_000, TIME_MS;

        /// Bytes of one answer that is remembered for its idempotency key, at most.
        /// A larger one is not, and a request that is repeated is answered with 409.
        pub idempotency_answer_bytes_max: u32 = 64 * KIB_32, Allowed::between(1_024, GIB);
    }
}

impl Limits {
    /// The longest name of a user, in bytes: where tokens are names, a token's.
    #[must_use]
    pub fn user_bytes_max(&self) -> u32 {
        self.name_bytes_max.max(self.token_bytes_max)
    }
}

/// The largest `outbox_bytes_max` there is.
pub const OUTBOX_BYTES_CEILING: u32 = 1 << 30;

/// How far clocks may differ where a JSON Web Token is checked: a key of a route's `jwt`.
pub const JWT_LEEWAY_S: Setting = Setting {
    key: "leeway_s",
    doc: &[" Seconds for which a token is good before `nbf` and after `exp`."],
    allowed: Allowed::between(0, 300),
};

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
