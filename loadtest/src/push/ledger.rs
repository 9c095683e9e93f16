//! What a run has counted so far: shared by its sessions and publishers, which take turns.
//!
//! Everything runs on one thread, so a `RefCell` around it is enough; nobody holds a borrow across
//! an await.

use hdrhistogram::Histogram;

use super::judge::{SessionJudge, Verdict};
use super::message::{PROBE, Stamp};
use crate::stats;

/// The counts of a run.
#[derive(Debug)]
pub(super) struct Ledger {
    /// One per session.
    judges: Vec<SessionJudge>,
    /// Pushes handed to each publisher for each user; index `publisher * users + user`.
    sent: Vec<u64>,
    users: usize,
    message_bytes: usize,
    /// When the run started, on the monotonic clock.
    pub(super) started_ns: u64,
    /// From the moment a push was due to its frame at a session, in nanoseconds.
    pub(super) latency: Histogram<u64>,
    /// From the moment a push was due to the moment its request was written.
    pub(super) lateness: Histogram<u64>,
    /// Messages received by sessions, whatever the verdict on them.
    pub(super) delivered: u64,
    /// When the last of them came, on the monotonic clock.
    pub(super) delivered_last_ns: u64,
    /// Messages that sessions are owed by the pushes handed out so far.
    pub(super) owed: u64,
    /// Pushes handed to publishers.
    pub(super) pushed: u64,
    /// Pushes answered as they should be.
    pub(super) answered: u64,
    /// Sessions that are open and have sent their register message.
    pub(super) open: usize,
    /// Set at the end: a session that ends from now on is no news.
    pub(super) finishing: bool,
    complaints: Vec<String>,
    complaints_count: u64,
}

/// The sizes of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) clients: usize,
    pub(super) users: usize,
    pub(super) publishers: usize,
    pub(super) message_bytes: usize,
}

impl Sizes {
    /// How many sessions `user` has: sessions are dealt out to users in turn.
    pub(super) fn sessions_of(self, user: usize) -> u64 {
        let rest = usize::from(user < self.clients % self.users);
        stats::count(self.clients / self.users + rest)
    }
}

impl Ledger {
    /// An empty ledger.
    pub(super) fn new(sizes: Sizes) -> Self {
        Self {
            judges: vec![SessionJudge::new(sizes.publishers); sizes.clients],
            sent: vec![0; sizes.publishers * sizes.users],
            users: sizes.users,
            message_bytes: sizes.message_bytes,
            started_ns: 0,
            latency: stats::latencies(),
            lateness: stats::latencies(),
            delivered: 0,
            delivered_last_ns: 0,
            owed: 0,
            pushed: 0,
            answered: 0,
            open: 0,
            finishing: false,
            complaints: Vec::new(),
            complaints_count: 0,
        }
    }

    /// Stamps the next push from `publisher` to `user`.
    pub(super) fn stamp(&mut self, publisher: usize, user: usize, due_ns: u64) -> Stamp {
        let sent = &mut self.sent[publisher * self.users + user];
        let sequence = *sent;
        *sent += 1;
        self.pushed += 1;
        Stamp {
            publisher,
            user,
            sequence,
            due_ns,
        }
    }

    /// Notes a text message that `session` received at `now_ns` of the monotonic clock.
    pub(super) fn receive(&mut self, session: usize, message: &[u8], now_ns: u64) {
        if message == PROBE.as_bytes() {
            return;
        }
        let user = session % self.users;
        let stamp = Stamp::read(message, self.message_bytes).filter(|stamp| {
            let index = stamp.publisher.saturating_mul(self.users) + user;
            stamp.user == user && self.sent.get(index).is_some_and(|n| stamp.sequence < *n)
        });
        let Some(stamp) = stamp else {
            let shown = message[..message.len().min(80)].escape_ascii().to_string();
            self.complain(format!(
                "session {session} got what nobody sent it: `{shown}`"
            ));
            return;
        };
        assert!(
            self.judges[session].receive(stamp.publisher, stamp.sequence),
            "a publisher that has sent exists"
        );
        self.delivered += 1;
        self.delivered_last_ns = now_ns;
        let latency = now_ns.saturating_sub(self.started_ns + stamp.due_ns);
        self.latency.saturating_record(latency);
    }

    /// Keeps a complaint; the first few are shown, all are counted.
    pub(super) fn complain(&mut self, complaint: String) {
        self.complaints_count += 1;
        if self.complaints.len() < COMPLAINTS_SHOWN_MAX {
            self.complaints.push(complaint);
        }
    }

    /// The first complaints, and how many there were.
    pub(super) fn complaints(&self) -> (&[String], u64) {
        (&self.complaints, self.complaints_count)
    }

    /// The verdict over all sessions.
    pub(super) fn verdict(&self) -> Verdict {
        let mut all = Verdict::default();
        for (session, judge) in self.judges.iter().enumerate() {
            let user = session % self.users;
            all.add(judge.verdict(|publisher| self.sent[publisher * self.users + user]));
        }
        all
    }
}

const COMPLAINTS_SHOWN_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes {
        clients: 5,
        users: 2,
        publishers: 1,
        message_bytes: 64,
    };

    #[test]
    fn sessions_are_dealt_out_to_users_in_turn() {
        assert_eq!((SIZES.sessions_of(0), SIZES.sessions_of(1)), (3, 2));
        let lonely = Sizes { users: 9, ..SIZES };
        assert_eq!((lonely.sessions_of(4), lonely.sessions_of(5)), (1, 0));
    }

    #[test]
    fn a_message_reaches_the_histogram_and_the_judge() {
        let mut ledger = Ledger::new(SIZES);
        ledger.started_ns = 1_000_000;
        let text = ledger.stamp(0, 1, 500_000).word(64);
        for session in [1, 3] {
            ledger.receive(session, text.as_bytes(), 1_700_000);
        }
        assert_eq!(ledger.delivered, 2);
        assert!(ledger.verdict().is_clean());
        let p50 = ledger.latency.value_at_quantile(0.5);
        assert!((199_000..=201_000).contains(&p50), "{p50}");
    }

    #[test]
    fn what_nobody_sent_to_this_user_is_a_complaint() {
        let mut ledger = Ledger::new(SIZES);
        let text = ledger.stamp(0, 1, 0).word(64);
        ledger.receive(0, text.as_bytes(), 0); // session 0 is user 0's
        ledger.receive(1, b"hello", 0);
        assert_eq!(ledger.complaints().1, 2);
        assert_eq!(ledger.delivered, 0);
        assert_eq!(ledger.verdict().lost, 2);
    }

    #[test]
    fn probes_are_not_counted() {
        let mut ledger = Ledger::new(SIZES);
        ledger.receive(0, PROBE.as_bytes(), 0);
        assert_eq!((ledger.delivered, ledger.complaints().1), (0, 0));
    }
}
