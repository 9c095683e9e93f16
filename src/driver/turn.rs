//! The order of one turn of a shard, which the driver's loop and the simulator both run.
//!
//! ```text
//!   wake --> look --> clock --> handle --+--> deadlines --> flush --> sleep, or the next turn
//!              ^-------------------------/ a few times, while there is something
//! ```
//!
//! The clock is read after every look, before anything that the look has shown is handled, so no
//! event is dated with the time before a sleep. Deadlines fire last: what had arrived before a
//! deadline counts before it. This file knows no kernel and no clock: both are behind [`Steps`].

use crate::host::Moment;

/// The steps of a turn.
pub trait Steps {
    /// Why a turn cannot go on.
    type Error;

    /// Makes visible what has arrived: enters the kernel if there is a reason to.
    fn look(&mut self) -> Result<(), Self::Error>;

    /// Reads the clock, and sets the host's time.
    fn read_clock(&mut self) -> Moment;

    /// Handles what the last look has shown; returns how many events there were.
    fn handle(&mut self, now: &Moment) -> Result<usize, Self::Error>;

    /// Fires the deadlines up to this moment: all that had arrived until then has been handled.
    fn fire_deadlines(&mut self, until: &Moment) -> Result<(), Self::Error>;

    /// Sends what is pending. What enters the kernel on the way does so by [`look`].
    fn flush(&mut self) -> Result<(), Self::Error>;
}

/// Runs one turn, which looks at most `looks_max` times before it sends.
pub fn turn<S: Steps>(steps: &mut S, looks_max: u32) -> Result<(), S::Error> {
    // A shard that always finds more has handled what was there when its turn began.
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

/// Looks once and handles what is there; returns when that was, and how many events there were.
pub fn look<S: Steps>(steps: &mut S) -> Result<(Moment, usize), S::Error> {
    steps.look()?;
    let now = steps.read_clock();
    let handled = steps.handle(&now)?;
    Ok((now, handled))
}
