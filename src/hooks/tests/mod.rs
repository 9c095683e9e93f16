//! Hooks against a backend that the test controls.

mod backend;
mod client;
mod gateway;
mod queues;
mod responses;
