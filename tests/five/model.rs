//! What must have been heard, said as plainly as possible.

use std::sync::atomic::{AtomicU64, Ordering};

/// What publishers have begun and what all shards have applied, by language, channel and publisher.
pub(crate) struct Ledger {
    begun: Vec<AtomicU64>,
    applied: Vec<AtomicU64>,
    channels: usize,
    publishers: usize,
}

/// One session's stay on one channel.
pub(crate) struct Stay {
    pub(crate) who: String,
    pub(crate) language: usize,
    pub(crate) channel: usize,
    /// By publisher: what had been applied when the session asked to leave.
    pub(crate) applied_at_leave: Vec<u64>,
    /// By publisher: the numbers that were heard, in the order in which they were.
    pub(crate) heard: Vec<Vec<u64>>,
    /// By publisher: what had been begun when the session knew that it had joined.
    pub(crate) begun_at_join: Vec<u64>,
}

impl Stay {
    /// Something was heard.
    pub(crate) fn note(&mut self, publisher: usize, number: u64) {
        self.heard[publisher].push(number);
    }

    pub(crate) fn note_all(&mut self, words: &[(usize, u64)]) {
        for &(publisher, number) in words {
            self.note(publisher, number);
        }
    }

    /// Whether the last of so many publications is still to come, of any publisher that had not
    /// begun it when the session joined.
    pub(crate) fn is_owed_more(&self, publications: u64) -> bool {
        let mut all = self.heard.iter().zip(&self.begun_at_join);
        all.any(|(heard, &begun)| begun < publications && heard.last() != Some(&(publications - 1)))
    }
}

impl Ledger {
    pub(crate) fn new(languages: usize, channels: usize, publishers: usize) -> Self {
        let cells = languages * channels * publishers;
        let zeros = || (0..cells).map(|_| AtomicU64::new(0)).collect();
        Self {
            begun: zeros(),
            applied: zeros(),
            channels,
            publishers,
        }
    }

    /// A publisher is about to publish this number.
    pub(crate) fn begin(&self, language: usize, channel: usize, publisher: usize, number: u64) {
        self.begun[self.cell(language, channel, publisher)].store(number + 1, Ordering::SeqCst);
    }

    /// Every shard has applied it.
    pub(crate) fn applied(&self, language: usize, channel: usize, publisher: usize, number: u64) {
        self.applied[self.cell(language, channel, publisher)].store(number + 1, Ordering::SeqCst);
    }

    /// By publisher: how many publications to a channel have begun.
    pub(crate) fn begun_on(&self, language: usize, channel: usize) -> Vec<u64> {
        let all = (0..self.publishers).map(|publisher| self.cell(language, channel, publisher));
        all.map(|cell| self.begun[cell].load(Ordering::SeqCst))
            .collect()
    }

    /// By publisher: how many publications to a channel have been applied by every shard.
    pub(crate) fn applied_on(&self, language: usize, channel: usize) -> Vec<u64> {
        let all = (0..self.publishers).map(|publisher| self.cell(language, channel, publisher));
        all.map(|cell| self.applied[cell].load(Ordering::SeqCst))
            .collect()
    }

    /// Holds a stay against what was published; returns how much was heard.
    pub(crate) fn judge(&self, stay: &Stay) -> u64 {
        let begun = self.begun_on(stay.language, stay.channel);
        let who = &stay.who;
        for (publisher, heard) in stay.heard.iter().enumerate() {
            for pair in heard.windows(2) {
                assert_eq!(
                    pair[1],
                    pair[0] + 1,
                    "{who} heard of {publisher}: {heard:?}"
                );
            }
            let (from, to) = (
                stay.begun_at_join[publisher],
                stay.applied_at_leave[publisher],
            );
            if from < to {
                let (first, last) = (heard.first(), heard.last());
                assert!(
                    first.is_some_and(|&it| it <= from),
                    "{who} missed {from}: {heard:?}"
                );
                assert!(
                    last.is_some_and(|&it| it + 1 >= to),
                    "{who} missed {to}: {heard:?}"
                );
            }
            let is_said = |&it: &u64| it < begun[publisher];
            assert!(heard.iter().all(is_said), "{who} heard what nobody said");
        }
        stay.heard.iter().map(|heard| heard.len() as u64).sum()
    }

    fn cell(&self, language: usize, channel: usize, publisher: usize) -> usize {
        (language * self.channels + channel) * self.publishers + publisher
    }
}

pub(crate) fn channel_name(channel: usize) -> String {
    format!("channel-{channel}")
}

/// What is published.
pub(crate) fn word(publisher: usize, channel: usize, number: u64) -> String {
    format!("<{publisher}/{channel}/{number}>")
}

/// Finds such a word in whatever a session has heard, in any language.
pub(crate) fn find_word(message: &[u8]) -> Option<(usize, usize, u64)> {
    let text = String::from_utf8_lossy(message)
        .replace("\\u003c", "<")
        .replace("\\u003e", ">");
    let (_, rest) = text.split_once('<')?;
    let (word, _) = rest.split_once('>')?;
    let mut parts = word.split('/');
    let mut next = || parts.next()?.parse::<u64>().ok();
    let (publisher, channel, number) = (next()?, next()?, next()?);
    let index = |number: u64| usize::try_from(number).expect("small");
    Some((index(publisher), index(channel), number))
}
