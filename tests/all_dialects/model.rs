//! What was published and heard, and whether that is right.
//!
//! A join counts from when its shard applied it, which is somewhere between the moment when it was
//! asked for and the moment when the joiner was told. So of each publisher's messages on a channel
//! a session must hear all that were published after it was told, may hear from the first that had
//! not been applied everywhere when it asked, and hears no gap in between; and the same with a
//! leave. Whoever is there for all the time hears everything.
//!
//! ```text
//!   seq of one publisher    0 .. m ...... n ............. m' ..... n' ...
//!                           none  a suffix  all of them     a prefix  none
//!                                 asked told                asked    told
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Somewhere that is published to: a channel, or a user.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Target(pub(crate) usize);

/// One message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PendingPublication {
    pub(crate) publisher: usize,
    pub(crate) target: Target,
    pub(crate) seq: u32,
}

/// What each publisher has published to each target.
#[derive(Debug)]
pub(crate) struct PublicationLog {
    publishers: usize,
    /// So many have been begun.
    begun: Vec<AtomicU32>,
    /// So many have been applied everywhere.
    applied: Vec<AtomicU32>,
    /// The sum of their totals.
    pub(crate) delivered: AtomicU64,
    /// How many have been heard, by all.
    pub(crate) heard: AtomicU64,
}

/// How far each publisher was with one target.
pub(crate) type Progress = Vec<u32>;

/// A stay on one target.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) target: Target,
    /// What had been applied when it asked to join, and begun when it was told.
    pub(crate) join: (Progress, Progress),
    /// The same for its leave; `None` if it stayed.
    pub(crate) leave: Option<(Progress, Progress)>,
}

/// Everything about one client.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) heard: Vec<PendingPublication>,
    pub(crate) memberships: Vec<Membership>,
    /// Who came to where it was, and went, in order.
    pub(crate) presence: Vec<(Target, String, bool)>,
    /// Its own comings and goings, under the id that it had then.
    pub(crate) moves: Vec<(Target, String, bool)>,
    /// It was there before anybody moved, until the end.
    pub(crate) is_anchor: bool,
    pub(crate) ends: u64,
}

/// So many channels that three languages share, users, channels of `edk` and of `projectforge`.
const COUNTS: [(&str, usize); 4] = [("t", 12), ("u", 4), ("e", 6), ("p", 8)];

impl Target {
    /// The targets whose names begin with this letter.
    pub(crate) fn of(letter: &str) -> impl ExactSizeIterator<Item = Self> {
        let before = COUNTS.iter().take_while(|(other, _)| *other != letter);
        let start: usize = before.map(|(_, count)| count).sum();
        let (_, count) = COUNTS
            .iter()
            .find(|(other, _)| *other == letter)
            .expect("a letter");
        (start..start + count).map(Self)
    }

    /// How many there are.
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
            heard: AtomicU64::new(0),
        }
    }

    /// The next message of a publisher; to be called before it is published.
    pub(crate) fn begin(&self, publisher: usize, target: Target) -> PendingPublication {
        let seq = self.begun[at(publisher, target)].fetch_add(1, Ordering::SeqCst);
        PendingPublication {
            publisher,
            target,
            seq,
        }
    }

    /// A message has been applied everywhere, and was added to so many outboxes.
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

    /// How many messages there have been.
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

/// Judges what one client heard, once everything is over.
pub(crate) fn verify(name: &str, record: &Record, log: &PublicationLog) {
    let mut heard: BTreeMap<(Target, usize), Vec<u32>> = BTreeMap::new();
    for pushed in &record.heard {
        let so_far = heard.entry((pushed.target, pushed.publisher)).or_default();
        assert!(
            so_far.last().is_none_or(|last| *last < pushed.seq),
            "{name} heard {pushed:?} after {:?}",
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
            let heard = heard.remove(&(target, publisher)).unwrap_or_default();
            let spans: Vec<Span> = memberships
                .iter()
                .map(|membership| membership.span(publisher, all))
                .collect();
            verify_publisher(
                &format!("{name}, {target:?} of {publisher}"),
                &heard,
                &spans,
            );
        }
    }
    assert!(heard.is_empty());
}

/// One stay, as places in what one publisher said.
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

fn verify_publisher(name: &str, heard: &[u32], spans: &[Span]) {
    let was_heard = |seq: u32| heard.binary_search(&seq).is_ok();
    for (index, span) in spans.iter().enumerate() {
        let missed = (span.from..span.until).find(|&seq| !was_heard(seq));
        assert_eq!(missed, None, "{name}: lost, {span:?}, heard {heard:?}");
        // Where two stays may touch, nobody can say to which of them a message belongs.
        let before = index.checked_sub(1).map_or(0, |index| spans[index].latest);
        let after = spans.get(index + 1).map_or(u32::MAX, |next| next.earliest);
        if before <= span.earliest && span.from <= span.until {
            let flags: Vec<bool> = (span.earliest..span.from).map(was_heard).collect();
            assert!(
                flags.is_sorted(),
                "{name}: a gap after its join, {span:?}, heard {heard:?}"
            );
        }
        if span.latest <= after && span.from <= span.until {
            let flags: Vec<bool> = (span.until..span.latest).map(was_heard).collect();
            let is_prefix = flags.is_sorted_by(|before, after| before >= after);
            assert!(
                is_prefix,
                "{name}: a gap before its leave, {span:?}, heard {heard:?}"
            );
        }
    }
    let is_due = |seq: u32| {
        let mut spans = spans.iter();
        spans.any(|span| (span.earliest..span.latest).contains(&seq))
    };
    let surplus = heard.iter().copied().find(|&seq| !is_due(seq));
    assert_eq!(surplus, None, "{name}: not there, {spans:?}");
}

/// Judges who heard of whom: whoever was on a channel all the time heard of each coming and going
/// of the others there, once and in order.
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
            // Others that stay have come while this one did.
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
            "{name} heard of others' channels: {seen:?}"
        );
    }
}
