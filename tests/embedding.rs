//! The embeddable library against a gateway in this process: what handlers see, in which order they
//! run, what their failures do, and what can be done from outside.
//!
//! Every test is a program that embeds a gateway of its own, with real sockets; its clients are
//! tungstenite's, or raw HTTP. Nothing sleeps and no time is measured: where something has to come,
//! it is waited for. Words and bytes of the languages are for the transcripts.

#[path = "embedding/admission.rs"]
mod admission;
#[path = "embedding/batches.rs"]
mod batches;
#[path = "embedding/chain.rs"]
mod chain;
#[path = "embedding/control.rs"]
mod control;
#[path = "embedding/exclusive.rs"]
mod exclusive;
#[path = "embedding/failures.rs"]
mod failures;
#[path = "embedding/http.rs"]
mod http;
#[path = "embedding/logs.rs"]
mod logs;
#[path = "embedding/namespaces.rs"]
mod namespaces;
#[path = "embedding/order.rs"]
mod order;
#[path = "embedding/pushing.rs"]
mod pushing;
#[path = "embedding/runtime.rs"]
mod runtime;
#[path = "embedding/setup.rs"]
mod setup;
#[path = "embedding/stage.rs"]
mod stage;
#[path = "embedding/stopping.rs"]
mod stopping;
#[path = "embedding/values.rs"]
mod values;
#[path = "embedding/words.rs"]
mod words;
