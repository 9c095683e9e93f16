//! What the gateway's own code needs of the process it runs in: guards, time-outs, randomness, the
//! date, and the faults that tests want.

pub(crate) mod deadline;
pub(crate) mod entropy;
pub(crate) mod fault;
pub(crate) mod panic;
pub(crate) mod wall_clock;
