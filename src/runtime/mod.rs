//! What code on a shard's runtime needs of the process: time-outs.

pub(crate) mod deadline;
