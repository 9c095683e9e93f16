//! What the floor understands: nothing. A trigger holds the frames that it sends on as they are.
//!
//! A trigger is as long as the HTTP requests that publish as much, so that the floor reads as many
//! bytes as a server does; its end is the frames, which it sends to every socket without a look.
//!
//! ```text
//!   |<------- as long as a gateway's requests for the same ------->|
//!   | filler                                    | frame frame frame |
//! ```

use super::wserver::Wserver;
use super::{Ear, Heard, Member, Options, Protocol, Purpose, Upgrade, Way};

/// The protocol of the floor: raw frames, no upgrade.
#[derive(Debug)]
pub(super) struct Floor {
    /// Whose requests its triggers are as long as.
    model: Wserver,
}

impl Floor {
    pub(super) fn new() -> Self {
        Self {
            model: Wserver::new(&Options::default()),
        }
    }
}

impl Protocol for Floor {
    fn offers(&self, _way: Way) -> bool {
        false // its triggers are whole batches
    }

    fn upgrade(&self, _member: Member, _purpose: Purpose) -> Option<Upgrade> {
        None
    }

    fn request(&self, _: &str, _: usize, _: &str, _: u64) -> Option<Vec<u8>> {
        None
    }

    fn trigger(
        &self,
        authority: &str,
        message: &str,
        frames: &[u8],
        count: usize,
    ) -> Option<Vec<u8>> {
        let request = self.model.request(authority, 0, message, 0)?;
        let mut trigger = vec![b' '; (request.len() * count).saturating_sub(frames.len())];
        trigger.extend_from_slice(frames);
        Some(trigger)
    }

    fn read(&self, _rest: &mut Vec<u8>, payload: &[u8], ear: Ear<'_>) {
        ear(Heard::Message(payload));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_is_as_long_as_the_requests_and_ends_with_the_frames() {
        let floor = Floor::new();
        let message = "m".repeat(128);
        let request = floor.model.request("h:1", 0, &message, 0).expect("by HTTP");
        let frames = vec![b'f'; 132 * 3];
        let trigger = floor
            .trigger("h:1", &message, &frames, 3)
            .expect("a trigger");
        assert_eq!(trigger.len(), request.len() * 3);
        assert!(trigger.ends_with(&frames) && trigger.starts_with(b"  "));
    }
}
