//! What the gateway's own code needs of the process it runs in: guards, time-outs, randomness.

pub(crate) mod deadline;
pub(crate) mod entropy;
pub(crate) mod fault;
pub(crate) mod panic;
pub(crate) mod wall_clock;
