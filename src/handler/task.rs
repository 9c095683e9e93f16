//! How an embedder's futures are run: guarded, and watched.
//!
//! A guarded future's panic ends that future and nothing else, its destructor's too. While it is
//! polled, its shard's watch says what runs and since when, so that the watchdog can name what
//! holds the shard.

use crate::logging::limited;
use crate::runtime::panic::{Panicked, guarded};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A future that stays on its thread.
pub(crate) type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// The name of something that an embedder has registered, as an index into [`Watch`]'s labels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Label(pub(crate) u32);

impl Label {
    /// Middleware, where no handler is at the end of its chain.
    pub(crate) const MIDDLEWARE: Self = Self(u32::MAX);
    /// The handler that a session was admitted with.
    pub(crate) const SESSION_HANDLER: Self = Self(u32::MAX - 1);
    /// What sets a shard up.
    pub(crate) const SETUP: Self = Self(u32::MAX - 3);
    /// What was asked of the server API under an idempotency key.
    pub(crate) const API: Self = Self(u32::MAX - 4);
    /// The destructors of what was kept with a session.
    pub(crate) const CLOSING: Self = Self(u32::MAX - 2);
}

/// What a watchdog may see of one shard.
#[derive(Debug, Default)]
pub(crate) struct WatchSlot {
    /// Microseconds since the gateway started, plus one; zero while nothing of an embedder's runs.
    since_us: AtomicU64,
    label: AtomicU32,
    labels: OnceLock<Box<[Box<str>]>>,
}

/// What runs on a shard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Running {
    /// Since when, as time since the gateway started.
    pub(crate) since: Duration,
    /// Differs from one run to the next.
    pub(crate) turn: u64,
    /// Its name.
    pub(crate) label: String,
}

/// One shard's side of the watch.
#[derive(Clone, derive_more::Debug)]
#[debug("Watch {{ .. }}")]
pub(crate) struct Watch {
    slot: Arc<WatchSlot>,
    began: Instant,
    stall: Duration,
}

impl WatchSlot {
    /// What runs; `None` while nothing does.
    pub(crate) fn running(&self) -> Option<Running> {
        let turn = self.since_us.load(Ordering::Acquire);
        let since = Duration::from_micros(turn.checked_sub(1)?);
        let label = Label(self.label.load(Ordering::Relaxed));
        Some(Running {
            since,
            turn,
            label: self.label(label).to_owned(),
        })
    }

    fn label(&self, label: Label) -> &str {
        let registered = || self.labels.get()?.get(label.0 as usize).map(AsRef::as_ref);
        match label {
            Label::MIDDLEWARE => "middleware",
            Label::SESSION_HANDLER => "the handler of a session",
            Label::CLOSING => "the values of a session",
            Label::SETUP => "the setup",
            Label::API => "the server API",
            Label(_) => registered().unwrap_or("something that was not registered"),
        }
    }
}

impl Watch {
    pub(crate) fn new(slot: Arc<WatchSlot>, began: Instant, stall: Duration) -> Self {
        Self { slot, began, stall }
    }

    /// Makes the names of what was registered known, once.
    pub(crate) fn name(&self, labels: Vec<Box<str>>) {
        let named = self.slot.labels.set(labels.into_boxed_slice());
        named.expect("a shard is set up once");
    }

    pub(crate) fn label(&self, label: Label) -> &str {
        self.slot.label(label)
    }

    /// Drops a value of an embedder's. A panic in its destructor has been reported then, and hurts
    /// nobody.
    pub(crate) fn discard<T>(&self, label: Label, value: T) {
        match self.run(label, || drop(value)) {
            Ok(()) | Err(Panicked) => {}
        }
    }

    /// Runs an embedder's function guarded and watched.
    #[expect(
        clippy::disallowed_methods,
        reason = "how long an embedder's code takes is the one thing that it must not say itself"
    )]
    pub(crate) fn run<T>(&self, label: Label, function: impl FnOnce() -> T) -> Result<T, Panicked> {
        let before = Instant::now();
        let since = before.duration_since(self.began).as_micros();
        let since = u64::try_from(since).expect("microseconds since the start fit") + 1;
        self.slot.label.store(label.0, Ordering::Relaxed);
        self.slot.since_us.store(since, Ordering::Release);
        let result = guarded(function);
        self.slot.since_us.store(0, Ordering::Release);
        let held = Instant::now().duration_since(before);
        if held > self.stall {
            let held_ms = held.as_millis();
            let handler = self.label(label);
            limited!(WARN, "a handler has held its shard", %handler, held_ms);
        }
        result
    }
}

/// A future of an embedder's: its panic is its output.
pub(crate) struct Guarded<T> {
    future: Option<LocalFuture<T>>,
    label: Label,
    watch: Watch,
}

impl<T> Guarded<T> {
    pub(crate) fn new(future: LocalFuture<T>, label: Label, watch: &Watch) -> Self {
        Self {
            future: Some(future),
            label,
            watch: watch.clone(),
        }
    }

    fn discard(&mut self) {
        let future = self.future.take();
        if future.is_some() {
            self.watch.discard(self.label, future); // its destructors are an embedder's
        }
    }
}

impl<T> Future for Guarded<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let future = this.future.as_mut().expect("polled after its end");
        let polled = this.watch.run(this.label, || future.as_mut().poll(cx));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => {
                this.discard();
                Poll::Ready(Ok(output))
            }
            Err(panicked) => {
                this.discard();
                Poll::Ready(Err(panicked))
            }
        }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        self.discard();
    }
}

impl<T> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}
