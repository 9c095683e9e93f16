//! A periodic log line with the counts of ended sessions, rejections and failures.
//!
//! A thread requests the counters of all shards with a command and logs their increase since the
//! last line. It does not wait for a blocked shard: its counts are in a later line.

use crate::driver::start_error::StartError;
use crate::handler::HandleCore;
use crate::logging;
use crate::vocabulary::id::ShardId;
use crate::vocabulary::metrics::{Counters, RejectionKind};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tracing::field::{DebugValue, debug};

/// The summary's thread. Dropping this ends it.
#[derive(Debug)]
pub(crate) struct Summary(Option<(Sender<()>, JoinHandle<()>)>);

/// Returns the hooks that have failed since the start, by reason.
pub(crate) type HookFailures = Box<dyn Fn() -> Counts + Send>;

/// Counts by reason.
type Counts = BTreeMap<&'static str, u64>;

/// Counts since the start, or the increase between two times.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Sums {
    ends: Counts,
    upgrades: Counts,
    joins: Counts,
    publishes: Counts,
    commands: Counts,
    tokens: Counts,
    requests: Counts,
    hooks: Counts,
    /// Publications that slow members of channels missed.
    dropped: u64,
}

/// The state of the summary's thread.
struct SummaryWorker {
    core: Arc<HandleCore>,
    hook_failures: HookFailures,
    /// By shard: its last counters.
    latest: Vec<Counters>,
    reported: Sums,
}

impl Summary {
    /// Starts the thread; `None` if `interval_ms` is 0.
    ///
    /// # Errors
    ///
    /// [`StartError::Thread`] if the thread cannot be started.
    pub(crate) fn start(
        interval_ms: u32,
        core: Arc<HandleCore>,
        hook_failures: HookFailures,
    ) -> Result<Option<Self>, StartError> {
        if interval_ms == 0 {
            return Ok(None);
        }
        let interval = Duration::from_millis(interval_ms.into());
        let latest = vec![Counters::default(); core.exchange.shards()];
        let mut worker = SummaryWorker {
            core,
            hook_failures,
            latest,
            reported: Sums::default(),
        };
        let (end, ended) = channel();
        let thread = std::thread::Builder::new()
            .name("log-summary".to_owned())
            .spawn(move || {
                while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                    logging::report_left_out();
                    worker.log_increase();
                }
            });
        let thread = thread.map_err(StartError::Thread)?;
        Ok(Some(Self(Some((end, thread)))))
    }
}

impl Drop for Summary {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.0.take() {
            drop(end);
            // The panic hook has reported a panic of the thread.
            drop(thread.join());
        }
    }
}

impl SummaryWorker {
    fn log_increase(&mut self) {
        if !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        self.request_counters();
        let mut all = Counters::default();
        self.latest.iter().for_each(|counters| all.add(counters));
        let sums = Sums::of(&all, (self.hook_failures)());
        let new = sums.since(&self.reported);
        self.reported = sums;
        if new == Sums::default() {
            return;
        }
        tracing::info!(
            ends = non_empty(&new.ends),
            upgrades = non_empty(&new.upgrades),
            joins = non_empty(&new.joins),
            publishes = non_empty(&new.publishes),
            commands = non_empty(&new.commands),
            tokens = non_empty(&new.tokens),
            requests = non_empty(&new.requests),
            hooks = non_empty(&new.hooks),
            dropped = Some(new.dropped).filter(|&count| count > 0),
            "counts of ended sessions, rejections and failed hooks"
        );
    }

    /// Requests the counters of all shards and stores those that arrive within
    /// [`RESPONSE_TIMEOUT`].
    fn request_counters(&mut self) {
        let (sender, responses) = channel();
        for index in 0..self.core.exchange.shards() {
            let sender = sender.clone();
            let queued = self.core.commands.enqueue(
                ShardId::new(index),
                Box::new(move |shard| {
                    // The thread may have stopped waiting.
                    drop(sender.send((index, shard.all_counters())));
                }),
            );
            if let Err(error) = queued {
                tracing::debug!(shard = index, %error, "a shard is left out of the summary");
            }
        }
        drop(sender);
        while let Ok((index, counters)) = responses.recv_timeout(RESPONSE_TIMEOUT) {
            self.latest[index] = counters;
        }
    }
}

impl Sums {
    fn of(counters: &Counters, hooks: Counts) -> Self {
        Self {
            ends: counters.ends.clone(),
            upgrades: counters.rejections_of(RejectionKind::Upgrade),
            joins: counters.rejections_of(RejectionKind::Join),
            publishes: counters.rejections_of(RejectionKind::Publish),
            commands: counters.rejections_of(RejectionKind::Command),
            tokens: counters.rejections_of(RejectionKind::Token),
            requests: counters.rejections_of(RejectionKind::Request),
            hooks,
            dropped: counters.publications_dropped,
        }
    }

    /// Returns the increase since `before`, without zeros.
    fn since(&self, before: &Self) -> Self {
        let more = |now: &Counts, before: &Counts| -> Counts {
            let more = now.iter().map(|(&reason, &count)| {
                let before = before.get(reason).copied().unwrap_or(0);
                (reason, count.saturating_sub(before))
            });
            more.filter(|&(_, count)| count > 0).collect()
        };
        Self {
            ends: more(&self.ends, &before.ends),
            upgrades: more(&self.upgrades, &before.upgrades),
            joins: more(&self.joins, &before.joins),
            publishes: more(&self.publishes, &before.publishes),
            commands: more(&self.commands, &before.commands),
            tokens: more(&self.tokens, &before.tokens),
            requests: more(&self.requests, &before.requests),
            hooks: more(&self.hooks, &before.hooks),
            dropped: self.dropped.saturating_sub(before.dropped),
        }
    }
}

/// Returns counts as a log field; `None` if there are none.
fn non_empty(counts: &Counts) -> Option<DebugValue<&Counts>> {
    (!counts.is_empty()).then(|| debug(counts))
}

/// Time that shards have to respond.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
