//! The log of the executable: nobody is hurt where it cannot be written, and it says what it must.

#[path = "support/client.rs"]
mod client;
#[path = "support/full_pipe.rs"]
mod full_pipe;
#[path = "logs/hurt.rs"]
mod hurt;
#[path = "support/peer.rs"]
mod peer;
#[path = "support/process.rs"]
mod process;
#[path = "logs/said.rs"]
mod said;
#[path = "logs/stage.rs"]
mod stage;
