//! One turn of a shard: the order of its steps, for the driver's loop and for the simulator.
//!
//! ```text
//!   wake --> look --> clock --> handle --+--> deadlines --> flush --> sleep, or the next turn
//!              ^-------------------------/ up to `looks_max` times, while there are events
//! ```
//!
//! The clock is read after each look and before its events are handled, so that no event is dated
//! with a time from before a sleep. Deadlines fire last: input that arrived before a deadline
//! counts. This file uses no kernel and no clock: both are behind [`TurnSteps`].

use crate::host::Moment;

/// The steps of a turn.
pub trait TurnSteps {
    /// The error that ends a turn.
    type Error;

    /// Makes arrivals visible: enters the kernel if there is a reason to.
    ///
    /// # Errors
    ///
    /// Fails if the kernel cannot be entered.
    fn look(&mut self) -> Result<(), Self::Error>;

    /// Reads the clock and sets the host's time.
    fn read_clock(&mut self) -> Moment;

    /// Handles the events of the last look; returns their number.
    ///
    /// # Errors
    ///
    /// Fails if an operation cannot be submitted.
    fn handle(&mut self, now: &Moment) -> Result<usize, Self::Error>;

    /// Fires the deadlines up to `until`. All events that arrived before it have been handled.
    ///
    /// # Errors
    ///
    /// Fails if an operation cannot be submitted.
    fn fire_deadlines(&mut self, until: &Moment) -> Result<(), Self::Error>;

    /// Sends pending bytes. If it enters the kernel in between, it does so by `look`.
    ///
    /// # Errors
    ///
    /// Fails if an operation cannot be submitted.
    fn flush(&mut self) -> Result<(), Self::Error>;
}

/// Runs one turn, which looks at least once and at most `looks_max` times before it sends.
///
/// # Errors
///
/// The first error of a step.
pub fn turn<S: TurnSteps>(steps: &mut S, looks_max: u32) -> Result<(), S::Error> {
    // If events keep arriving, only those before the first look are surely all handled.
    let (mut until, mut handled) = look(steps)?;
    for _ in 1..looks_max {
        if handled == 0 {
            break;
        }
        let (now, more) = look(steps)?;
        if more == 0 {
            until = now;
        }
        handled = more;
    }
    steps.fire_deadlines(&until)?;
    steps.flush()
}

/// Looks once and handles the events; returns the time of the look and the number of events.
///
/// # Errors
///
/// The first error of a step.
pub fn look<S: TurnSteps>(steps: &mut S) -> Result<(Moment, usize), S::Error> {
    steps.look()?;
    let now = steps.read_clock();
    let handled = steps.handle(&now)?;
    Ok((now, handled))
}
