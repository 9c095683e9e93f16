//! A byte stage of the records of `campanile_tests`.

use crate::driver::stage::{Stage, StageError};
use campanile_tests::records::{Opener, Record, Sealer};

/// A stage that opens and seals records. It seals nothing before the client's greeting.
pub(super) struct RecordStage {
    opener: Opener,
    sealer: Sealer,
    is_greeted: bool,
    owes_greeting: bool,
}

impl RecordStage {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            opener: Opener::new(),
            sealer: Sealer::new(seed),
            is_greeted: false,
            owes_greeting: false,
        }
    }
}

impl Stage for RecordStage {
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), StageError> {
        let mut is_greeted = false;
        let opened = self.opener.open(bytes, &mut |record| match record {
            Record::Hello => is_greeted = true,
            Record::Data(bytes) => plain(bytes),
            Record::End => {}
        });
        self.is_greeted |= is_greeted;
        self.owes_greeting |= is_greeted;
        opened.map_err(StageError)
    }

    fn receive_end(&mut self) -> Result<(), StageError> {
        if self.opener.has_ended() {
            Ok(())
        } else {
            Err(StageError("the end was not announced"))
        }
    }

    fn wants_to_send(&self) -> bool {
        self.owes_greeting
    }

    fn send_own(&mut self, out: &mut Vec<u8>) {
        self.owes_greeting = false;
        self.sealer.hello(out);
    }

    fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> usize {
        if !self.is_greeted {
            return 0;
        }
        self.sealer.seal(plain, out);
        plain.len()
    }

    fn seal_end(&mut self, out: &mut Vec<u8>) {
        if !self.is_greeted {
            self.sealer.hello(out);
        }
        self.sealer.end(out);
    }

    fn held_bytes(&self) -> usize {
        self.opener.held_bytes()
    }
}
