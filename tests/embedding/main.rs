//! The embeddable library against a gateway in this process: what handlers see, in which order they
//! run, what their failures do, and what can be done from outside.
//!
//! Every test is a program that embeds a gateway of its own, with real sockets; its clients are
//! tungstenite's, or raw HTTP. Nothing sleeps and no time is measured: where something has to come,
//! it is waited for. Words and bytes of the languages are for the transcripts.

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
