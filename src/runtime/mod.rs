//! Process services for the rest of the gateway: panic guards, time-outs, random numbers, the date,
//! and injected faults for tests.

pub(crate) mod deadline;
pub(crate) mod entropy;
pub(crate) mod fault;
pub(crate) mod panic;
pub(crate) mod wall_clock;
