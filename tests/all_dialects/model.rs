//! The log of publications and received messages, and its verification.
//!
//! A shard applies a join between the command and the reply. So of each publisher's messages on a
//! channel a session must receive all that were published after the reply. It may receive those
//! that were not applied everywhere at the command, from some point on without a gap. The same
//! holds for a leave. A member for the whole time receives everything.
//!
//! ```text
//!   seq of one publisher    0 .. m ...... n ............. m' ..... n' ...
//!                           none  a suffix  all of them     a prefix  none
//!                                command reply           command   reply
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The audience of a publication: a channel or a user.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Target(pub(crate) usize);

/// A publication: its publisher, target and sequence number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PendingPublication {
    pub(crate) publisher: usize,
    pub(crate) target: Target,
    pub(crate) seq: u32,
}

/// The publications of each publisher to each target.
#[derive(Debug)]
pub(crate) struct PublicationLog {
    publishers: usize,
    /// Number of publications that were begun.
    begun: Vec<AtomicU32>,
    /// Number of publications that all shards have applied.
    applied: Vec<AtomicU32>,
    /// Sum of the totals that the gateway returned.
    pub(crate) delivered: AtomicU64,
    /// Number of messages that all clients have received.
    pub(crate) received: AtomicU64,
}

/// The number of publications of each publisher to one target.
pub(crate) type Progress = Vec<u32>;

/// A membership of one target.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) target: Target,
    /// The publications applied at the join command, and those begun at its reply.
    pub(crate) join: (Progress, Progress),
    /// The same for the leave; `None` without one.
    pub(crate) leave: Option<(Progress, Progress)>,
}

/// The record of one client.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) received: Vec<PendingPublication>,
    pub(crate) memberships: Vec<Membership>,
    /// Received presence messages: channel, public id, `true` for a join.
    pub(crate) presence: Vec<(Target, String, bool)>,
    /// The client's own joins and leaves, with its public id at that time.
    pub(crate) moves: Vec<(Target, String, bool)>,
    /// True if the client stayed on its channels from before the first move until the end.
    pub(crate) is_anchor: bool,
    pub(crate) ends: u64,
}

/// The numbers of channels of three dialects, users, channels of `edk`, channels of `projectforge`.
const COUNTS: [(&str, usize); 4] = [("t", 12), ("u", 4), ("e", 6), ("p", 8)];

impl Target {
    /// Returns the targets whose names begin with `letter`.
    pub(crate) fn of(letter: &str) -> impl ExactSizeIterator<Item = Self> {
        let before = COUNTS.iter().take_while(|(other, _)| *other != letter);
        let start: usize = before.map(|(_, count)| count).sum();
        let (_, count) = COUNTS
            .iter()
            .find(|(other, _)| *other == letter)
            .expect("a letter");
        (start..start + count).map(Self)
    }

    /// Returns the number of all targets.
    pub(crate) fn count() -> usize {
        COUNTS.iter().map(|(_, count)| count).sum()
    }

    pub(crate) fn letter(self) -> &'static str {
        let of = |letter: &str| Self::of(letter).any(|it| it == self);
        let (letter, _) = COUNTS
            .iter()
            .find(|(letter, _)| of(letter))
            .expect("one of them");
        letter
    }

    pub(crate) fn name(self) -> String {
        format!("{}{}", self.letter(), self.0)
    }

    pub(crate) fn named(name: &str) -> Self {
        let target = Self(name[1..].parse().expect("a number"));
        assert_eq!(target.name(), name);
        target
    }
}

impl PendingPublication {
    pub(crate) fn parse(body: &str) -> Self {
        let mut numbers = body.split(' ').map(|it| it.parse().expect("a number"));
        let mut number = || numbers.next().expect("three numbers");
        Self {
            publisher: number(),
            target: Target(number()),
            seq: u32::try_from(number()).expect("few"),
        }
    }

    pub(crate) fn body(self) -> String {
        let Self {
            publisher,
            target,
            seq,
        } = self;
        format!("{publisher} {} {seq}", target.0)
    }
}

impl PublicationLog {
    pub(crate) fn new(publishers: usize) -> Self {
        let zeros = || {
            (0..publishers * Target::count())
                .map(|_| AtomicU32::new(0))
                .collect()
        };
        Self {
            publishers,
            begun: zeros(),
            applied: zeros(),
            delivered: AtomicU64::new(0),
            received: AtomicU64::new(0),
        }
    }

    /// Returns the next publication of a publisher. Call it before publishing.
    pub(crate) fn begin(&self, publisher: usize, target: Target) -> PendingPublication {
        let seq = self.begun[at(publisher, target)].fetch_add(1, Ordering::SeqCst);
        PendingPublication {
            publisher,
            target,
            seq,
        }
    }

    /// Records that all shards have applied a publication, and the `total` that was returned.
    pub(crate) fn complete(&self, pushed: PendingPublication, total: u64) {
        let index = at(pushed.publisher, pushed.target);
        let before = self.applied[index].swap(pushed.seq + 1, Ordering::SeqCst);
        assert_eq!(before, pushed.seq, "completed in order");
        self.delivered.fetch_add(total, Ordering::SeqCst);
    }

    pub(crate) fn begun(&self, target: Target) -> Progress {
        self.progress(&self.begun, target)
    }

    pub(crate) fn applied(&self, target: Target) -> Progress {
        self.progress(&self.applied, target)
    }

    /// Returns the number of publications.
    pub(crate) fn count(&self) -> u64 {
        let begun = self
            .begun
            .iter()
            .map(|it| u64::from(it.load(Ordering::SeqCst)));
        begun.sum()
    }

    fn progress(&self, of: &[AtomicU32], target: Target) -> Progress {
        let all = (0..self.publishers).map(|publisher| at(publisher, target));
        all.map(|at| of[at].load(Ordering::SeqCst)).collect()
    }
}

fn at(publisher: usize, target: Target) -> usize {
    publisher * Target::count() + target.0
}

/// Verifies the messages that one client received. Call it after the end of the run.
pub(crate) fn verify(name: &str, record: &Record, log: &PublicationLog) {
    let mut received: BTreeMap<(Target, usize), Vec<u32>> = BTreeMap::new();
    for pushed in &record.received {
        let so_far = received
            .entry((pushed.target, pushed.publisher))
            .or_default();
        assert!(
            so_far.last().is_none_or(|last| *last < pushed.seq),
            "{name} received {pushed:?} after {:?}",
            so_far.last()
        );
        so_far.push(pushed.seq);
    }
    for target in (0..Target::count()).map(Target) {
        let memberships: Vec<&Membership> = record
            .memberships
            .iter()
            .filter(|it| it.target == target)
            .collect();
        let begun = log.begun(target);
        assert_eq!(begun, log.applied(target), "everything was applied");
        for (publisher, &all) in begun.iter().enumerate() {
            let received = received.remove(&(target, publisher)).unwrap_or_default();
            let spans: Vec<Span> = memberships
                .iter()
                .map(|membership| membership.span(publisher, all))
                .collect();
            verify_publisher(
                &format!("{name}, {target:?} of {publisher}"),
                &received,
                &spans,
            );
        }
    }
    assert!(received.is_empty());
}

/// A membership as ranges of one publisher's sequence numbers.
#[derive(Clone, Copy, Debug)]
struct Span {
    earliest: u32,
    from: u32,
    until: u32,
    latest: u32,
}

impl Membership {
    fn span(&self, publisher: usize, all: u32) -> Span {
        let (until, latest) = match &self.leave {
            Some((applied, begun)) => (applied[publisher], begun[publisher]),
            None => (all, all),
        };
        Span {
            earliest: self.join.0[publisher],
            from: self.join.1[publisher],
            until,
            latest,
        }
    }
}

fn verify_publisher(name: &str, received: &[u32], spans: &[Span]) {
    let was_heard = |seq: u32| received.binary_search(&seq).is_ok();
    for (index, span) in spans.iter().enumerate() {
        let missed = (span.from..span.until).find(|&seq| !was_heard(seq));
        assert_eq!(
            missed, None,
            "{name}: lost, {span:?}, received {received:?}"
        );
        // If two memberships may touch, a message may belong to either.
        let before = index.checked_sub(1).map_or(0, |index| spans[index].latest);
        let after = spans.get(index + 1).map_or(u32::MAX, |next| next.earliest);
        if before <= span.earliest && span.from <= span.until {
            let flags: Vec<bool> = (span.earliest..span.from).map(was_heard).collect();
            assert!(
                flags.is_sorted(),
                "{name}: a gap after its join, {span:?}, received {received:?}"
            );
        }
        if span.latest <= after && span.from <= span.until {
            let flags: Vec<bool> = (span.until..span.latest).map(was_heard).collect();
            let is_prefix = flags.is_sorted_by(|before, after| before >= after);
            assert!(
                is_prefix,
                "{name}: a gap before its leave, {span:?}, received {received:?}"
            );
        }
    }
    let is_due = |seq: u32| {
        let mut spans = spans.iter();
        spans.any(|span| (span.earliest..span.latest).contains(&seq))
    };
    let surplus = received.iter().copied().find(|&seq| !is_due(seq));
    assert_eq!(surplus, None, "{name}: not there, {spans:?}");
}

/// Verifies presence messages: a member for the whole time received each join and leave of the
/// others on its channel, once and in order.
pub(crate) fn verify_presence(records: &[(String, Record)]) {
    let mut moves: BTreeMap<(Target, &str), Vec<bool>> = BTreeMap::new();
    for (_, record) in records {
        for (target, who, connected) in &record.moves {
            moves.entry((*target, who)).or_default().push(*connected);
        }
    }
    assert!(!moves.is_empty());
    let movers = moves.keys().map(|(_, who)| *who);
    let movers: std::collections::BTreeSet<&str> = movers.collect();
    for (name, record) in records.iter().filter(|(_, record)| record.is_anchor) {
        let mut seen: BTreeMap<(Target, &str), Vec<bool>> = BTreeMap::new();
        for (target, who, connected) in &record.presence {
            // Joins of other permanent members may come before or after this one's own.
            if movers.contains(&**who) {
                seen.entry((*target, who)).or_default().push(*connected);
            }
        }
        let there = |target: Target| {
            record
                .memberships
                .iter()
                .any(|membership| membership.target == target)
        };
        for (key, expected) in moves.iter().filter(|((target, _), _)| there(*target)) {
            let seen = seen.remove(key).unwrap_or_default();
            assert_eq!(seen, *expected, "{name} about {key:?}");
        }
        assert!(
            seen.is_empty(),
            "{name} received presence of other channels: {seen:?}"
        );
    }
}
