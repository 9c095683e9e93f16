//! What hooks do against a backend that does as the test says.

mod answers;
mod backend;
mod client;
mod gateway;
mod queues;
