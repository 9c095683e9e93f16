//! What the floor understands: nothing. A trigger holds the frames that it sends on as they are.
//!
//! A trigger is as long as the HTTP requests that publish as much, so that the floor reads as many
//! bytes as a server does; its end is the frames, which it sends to every socket without a look.
//!
//! ```text
//!   |<------- as long as a gateway's requests for the same ------->|
//!   | filler                                    | frame frame frame |
//! ```

use super::{Ear, Heard, Member, Protocol, Purpose, Upgrade, Way};

/// The protocol of the floor: raw frames, no upgrade.
#[derive(Debug)]
pub(crate) struct Floor;

impl Protocol for Floor {
    fn offers(&self, _way: Way) -> bool {
        false // its triggers are whole batches, made by the engine
    }

    fn upgrade(&self, _member: Member, _purpose: Purpose) -> Option<Upgrade> {
        None
    }

    fn request(&self, _: &str, _: usize, _: &str, _: u64) -> Option<Vec<u8>> {
        None
    }

    fn read(&self, _rest: &mut Vec<u8>, payload: &[u8], ear: Ear<'_>) {
        ear(Heard::Message(payload));
    }
}
