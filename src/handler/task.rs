//! Execution of an embedder's functions and futures: panics are caught, run times are watched.
//!
//! A panic in a guarded future, or in its destructor, ends only that future. While the future is
//! polled, the shard's [`WatchSlot`] holds its label and start time, so that the watchdog can name
//! a function that blocks its shard.

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

/// The name of a registered function, as an index into the labels of a [`Watch`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Label(pub(crate) u32);

impl Label {
    /// Middleware of a call without a handler.
    pub(crate) const MIDDLEWARE: Self = Self(u32::MAX);
    /// The handler that a session was admitted with.
    pub(crate) const SESSION_HANDLER: Self = Self(u32::MAX - 1);
    /// The setup of a shard.
    pub(crate) const SETUP: Self = Self(u32::MAX - 3);
    /// A server API request with an idempotency key.
    pub(crate) const API: Self = Self(u32::MAX - 4);
    /// The destructors of a session's values.
    pub(crate) const CLOSING: Self = Self(u32::MAX - 2);
}

/// The state of one shard that the watchdog reads.
#[derive(Debug, Default)]
pub(crate) struct WatchSlot {
    /// Start of the running function, in microseconds since the gateway's start, plus one; zero
    /// while no embedder's function runs.
    since_us: AtomicU64,
    label: AtomicU32,
    labels: OnceLock<Box<[Box<str>]>>,
}

/// A function of an embedder that is running on a shard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Running {
    /// The start, as the time since the gateway's start.
    pub(crate) since: Duration,
    /// The number of the run; two runs have different numbers.
    pub(crate) turn: u64,
    /// The function's name.
    pub(crate) label: String,
}

/// A shard's write access to its [`WatchSlot`].
#[derive(Clone, derive_more::Debug)]
#[debug("Watch {{ .. }}")]
pub(crate) struct Watch {
    slot: Arc<WatchSlot>,
    began: Instant,
    stall: Duration,
}

impl WatchSlot {
    /// Returns the running function; `None` if there is none.
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
            Label(_) => registered().unwrap_or("an unregistered function"),
        }
    }
}

impl Watch {
    pub(crate) fn new(slot: Arc<WatchSlot>, began: Instant, stall: Duration) -> Self {
        Self { slot, began, stall }
    }

    /// Sets the names of the registered functions.
    ///
    /// # Panics
    ///
    /// If they were set before.
    pub(crate) fn name(&self, labels: Vec<Box<str>>) {
        let named = self.slot.labels.set(labels.into_boxed_slice());
        named.expect("a shard is set up once");
    }

    pub(crate) fn label(&self, label: Label) -> &str {
        self.slot.label(label)
    }

    /// Drops a value of an embedder's type. A panic in its destructor is caught; the panic hook has
    /// reported it.
    pub(crate) fn discard<T>(&self, label: Label, value: T) {
        match self.run(label, || drop(value)) {
            Ok(()) | Err(Panicked) => {}
        }
    }

    /// Runs an embedder's function: catches its panic and records its run time. Logs a warning if
    /// it ran longer than the stall limit.
    ///
    /// # Errors
    ///
    /// [`Panicked`] if the function panicked.
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
            limited!(
                WARN,
                "a handler blocked its shard; move blocking work to Context::blocking",
                %handler,
                held_ms
            );
        }
        result
    }
}

/// A future of an embedder. A panic becomes its output.
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
            self.watch.discard(self.label, future); // its destructors are an embedder's code
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
