//! A group of engines, one thread each, that run the same work at the same time.
//!
//! The engines share only counters ([`Shared`]). The calling thread gives all engines the same
//! work, meanwhile shows progress or samples the server, and collects the results.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::engine::{Accounts, Engine, Setup, Shared};
use crate::failure::Outcome;
use crate::protocol::Member;

/// The engines of a run.
pub(crate) struct EngineTeam {
    engines: Vec<Engine>,
    shared: Arc<Shared>,
}

impl EngineTeam {
    /// Creates `threads` engines without sessions.
    ///
    /// # Errors
    ///
    /// The target's address does not resolve, or an epoll instance cannot be created.
    pub(crate) fn new(setup: &Setup, threads: usize) -> Outcome<Self> {
        let shared = Arc::new(Shared::new(threads)?);
        let engines = (0..threads).map(|number| Engine::new(setup, &shared, number));
        Ok(Self {
            engines: engines.collect::<Outcome<_>>()?,
            shared,
        })
    }

    /// Returns the number of engines.
    pub(crate) const fn size(&self) -> usize {
        self.engines.len()
    }

    /// Returns the counters that the engines share.
    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Returns the engine that publishes.
    pub(crate) fn first(&mut self) -> &mut Engine {
        &mut self.engines[0]
    }

    /// Runs `work` on every engine's thread and `meanwhile` on the calling thread.
    ///
    /// `meanwhile` gets a function that returns `true` once all engines are done. Returns the
    /// results in the engines' order, and that of `meanwhile`.
    ///
    /// # Errors
    ///
    /// The first engine's error, in the engines' order.
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
                .map(|thread| thread.join().expect("the engine's thread panicked"))
                .collect();
            Ok((results.into_iter().collect::<Outcome<_>>()?, own))
        })
    }

    /// Returns the number of joins and leaves of all engines.
    pub(crate) fn membership_changes(&self) -> u64 {
        self.engines
            .iter()
            .map(|engine| engine.membership_changes)
            .sum()
    }

    /// Returns the sum of the message accounts of all engines.
    pub(crate) fn accounts(&mut self) -> Accounts {
        let mut all = Accounts::default();
        for engine in &mut self.engines {
            all.add(engine.accounts());
        }
        all
    }

    /// Returns the `members` that engine `number` of `engines` runs.
    pub(crate) fn share(members: &[Member], number: usize, engines: usize) -> Vec<Member> {
        members
            .iter()
            .skip(number)
            .step_by(engines)
            .copied()
            .collect()
    }
}
