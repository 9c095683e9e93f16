//! The order of one turn of a shard, which the driver's loop and the simulator both run.
//!
//! ```text
//!   wake --> look --> handle --+--> clock --> deadlines --> flush --> sleep, or the next turn
//!              ^---------------/ a few times, while there is something
//! ```
//!
//! This file knows no kernel and no clock: both are behind [`Steps`].

/// The steps of a turn.
pub trait Steps {
    /// Why a turn cannot go on.
    type Error;

    /// Makes visible what has arrived: enters the kernel if there is a reason to.
    fn look(&mut self) -> Result<(), Self::Error>;

    /// Handles what is visible; returns how many events there were.
    fn handle(&mut self) -> Result<usize, Self::Error>;

    /// Reads the clock, and does what is due.
    fn keep_time(&mut self) -> Result<(), Self::Error>;

    /// Sends what is pending.
    fn flush(&mut self) -> Result<(), Self::Error>;
}

/// Runs one turn, which looks at most `looks_max` times before it sends.
pub fn turn<S: Steps>(steps: &mut S, looks_max: u32) -> Result<(), S::Error> {
    for _ in 0..looks_max {
        steps.look()?;
        if steps.handle()? == 0 {
            break;
        }
    }
    steps.keep_time()?;
    steps.flush()
}
