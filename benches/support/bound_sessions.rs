//! A shard whose sessions are all bound to one user, without a driver: the caller takes and
//! completes sends.

use crate::frames;
use campanile::config::Config;
use campanile::content::{Content, Data};
use campanile::gateway::shard_settings;
use campanile::id::ShardId;
use campanile::publication::Audience;
use campanile::shard::Shard;
use campanile::shard::hash::HashSeed;
use std::sync::Arc;

/// The shard and its number of sessions.
pub(crate) struct BoundSessions {
    pub(crate) shard: Shard,
    sessions: u32,
}

impl BoundSessions {
    /// Creates a shard with `sessions` sessions and no pending bytes.
    pub(crate) fn of(sessions: u32) -> Self {
        Self::on(ShardId::new(0), 1, sessions)
    }

    /// Creates one of several shards.
    pub(crate) fn on(id: ShardId, shards: usize, sessions: u32) -> Self {
        let settings = Arc::new(shard_settings(&Config::default()));
        let mut shard = Shard::new(id, shards, settings, HashSeed([1, 2]), [3; 32]);
        for _ in 0..sessions {
            let id = shard.handle_accepted().expect("there is room");
            shard.handle_upgraded(id, 0, 0, b"the 101", false);
            let mut frame = frames::masked(br#"{"token":"jack","event":"news"}"#);
            assert_eq!(shard.handle_received(id, &mut frame), frame.len());
        }
        let mut bound = Self { shard, sessions };
        assert_eq!(bound.drain(None).0, u64::from(sessions));
        bound
    }

    /// Publishes to all sessions.
    pub(crate) fn publish(&mut self, payload: &[u8]) {
        let audience = Audience::User {
            namespace: 0,
            name: b"jack",
            event: Some(b"news"),
        };
        let content = Content {
            event: "news",
            data: Data::Bytes(payload),
            ..Content::default()
        };
        let reached = self.shard.publish(audience, &content, None);
        assert_eq!(reached, self.sessions);
    }

    /// Takes and completes all sends, and appends their bytes to `output` if there is one; returns
    /// the number of sends and of bytes.
    ///
    /// One function for both: as in the gateway, the shard's part is inlined into one place.
    pub(crate) fn drain(&mut self, mut output: Option<&mut Vec<u8>>) -> (u64, u64) {
        let mut sum = (0, 0);
        while let Some((id, bytes)) = self.shard.poll_send() {
            if let Some(output) = &mut output {
                output.extend_from_slice(bytes);
            }
            let taken = u32::try_from(bytes.len()).expect("an outbox counts in u32");
            self.shard.handle_sent(id, taken);
            sum = (sum.0 + 1, sum.1 + u64::from(taken));
        }
        sum
    }
}
