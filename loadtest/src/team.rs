//! Several engines side by side, a thread each, and whoever leads them.
//!
//! The engines share nothing but counters ([`Shared`]). The leader hands each the same order, does
//! something of its own meanwhile (shows progress, looks at the server) and collects the results.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::engine::{Accounts, Engine, Setup, Shared};
use crate::failure::Outcome;
use crate::protocol::Member;

/// The engines of a run.
pub(crate) struct Team {
    engines: Vec<Engine>,
    shared: Arc<Shared>,
}

impl Team {
    /// `threads` engines without sessions.
    ///
    /// # Errors
    ///
    /// The target is unknown, or the kernel has no epoll for us.
    pub(crate) fn new(setup: &Setup, threads: usize) -> Outcome<Self> {
        let shared = Arc::new(Shared::new(threads)?);
        let engines = (0..threads).map(|number| Engine::new(setup, &shared, number));
        Ok(Self {
            engines: engines.collect::<Outcome<_>>()?,
            shared,
        })
    }

    /// How many engines there are.
    pub(crate) const fn size(&self) -> usize {
        self.engines.len()
    }

    /// What the engines tell each other.
    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The engine that publishes.
    pub(crate) fn first(&mut self) -> &mut Engine {
        &mut self.engines[0]
    }

    /// Has every engine do `work`, while the caller does `meanwhile`, which is told how to find out
    /// that all are done.
    ///
    /// # Errors
    ///
    /// The first of the engines' errors.
    pub(crate) fn all<T: Send, U>(
        &mut self,
        work: impl Fn(usize, &mut Engine) -> Outcome<T> + Sync,
        meanwhile: impl FnOnce(&dyn Fn() -> bool) -> U,
    ) -> Outcome<(Vec<T>, U)> {
        let busy = AtomicUsize::new(self.engines.len());
        let (work, busy) = (&work, &busy);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..)
                .zip(&mut self.engines)
                .map(|(number, engine)| {
                    scope.spawn(move || {
                        let result = work(number, engine);
                        busy.fetch_sub(1, Ordering::SeqCst);
                        result
                    })
                })
                .collect();
            let own = meanwhile(&|| busy.load(Ordering::SeqCst) == 0);
            let results: Vec<_> = threads
                .into_iter()
                .map(|thread| thread.join().expect("a panic of an engine is ours"))
                .collect();
            Ok((results.into_iter().collect::<Outcome<_>>()?, own))
        })
    }

    /// How often sessions came or went.
    pub(crate) fn moved(&self) -> u64 {
        self.engines.iter().map(|engine| engine.moved).sum()
    }

    /// Closes the books of all engines.
    pub(crate) fn accounts(&mut self) -> Accounts {
        let mut all = Accounts::default();
        for engine in &mut self.engines {
            all.add(engine.accounts());
        }
        all
    }

    /// Which of `members` engine `number` looks after.
    pub(crate) fn share(members: &[Member], number: usize, engines: usize) -> Vec<Member> {
        members
            .iter()
            .skip(number)
            .step_by(engines)
            .copied()
            .collect()
    }
}
