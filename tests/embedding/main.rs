//! Tests of the embedding library with gateways in this process: handlers, their order, their
//! failures, and handles.
//!
//! Every test embeds its own gateway with real sockets. Clients are tungstenite's or raw HTTP.
//! No test sleeps or measures time; tests wait for events. The bytes of the dialects are tested in
//! the transcripts.

mod admission;
mod batches;
mod chain;
mod client_messages;
mod control;
mod exclusive;
mod failures;
mod fixture;
mod http;
mod logs;
mod namespaces;
mod order;
mod pushing;
mod runtime;
mod setup;
mod stopping;
mod values;
