//! A simulated connection: the client's end, the host's end, and the bytes in flight.

use crate::actions::PendingAction;
use crate::client::Client;
use crate::session_history::SessionHistory;
use campanile::id::ConnectionId;
use campanile::public_id::PublicId;
use std::collections::BTreeMap;

/// A connection with both ends.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) shard: usize,
    pub(crate) id: ConnectionId,
    /// The shards that it was on before, each with the length of its log when the session left.
    pub(crate) earlier: Vec<(usize, usize)>,
    pub(crate) client: Client,
    pub(crate) history: SessionHistory,
    /// The public id, once the embedder has reported it.
    pub(crate) public_id: Option<PublicId>,
    /// The pending action on the session.
    pub(crate) pending_action: Option<PendingAction>,
    /// Number of bytes delivered to the host.
    pub(crate) delivered: u64,
    /// By place in the shard's log, from the connect on: the number of bytes that the client had
    /// received when the publication was applied.
    pub(crate) received_at: BTreeMap<usize, u64>,
    /// Tick of the connect.
    pub(crate) connected_at: u32,
    /// Tick of the last input.
    pub(crate) input_at: u32,
    /// Tick at which the session opened.
    pub(crate) opened_at: u32,
    /// Tick at which the session began to end.
    pub(crate) ended_at: u32,
    /// The bytes of the send in flight.
    pub(crate) in_flight_bytes: Option<Vec<u8>>,
    pub(crate) is_reading: bool,
    /// True if the client reads nothing.
    pub(crate) is_stalled: bool,
    /// True if the client has shut down its write side.
    pub(crate) has_ended: bool,
    pub(crate) has_reset: bool,
    /// True if the host has been told of the client's end.
    pub(crate) knows_end: bool,
    pub(crate) is_shut: bool,
    pub(crate) is_finishing: bool,
    pub(crate) is_closed: bool,
    /// True if the connection was closed before the client had read all pending bytes.
    pub(crate) was_aborted: bool,
}

impl Link {
    pub(crate) fn begin_send(&mut self, bytes: &[u8]) {
        assert!(!bytes.is_empty());
        assert!(self.in_flight_bytes.is_none(), "one send at a time");
        assert!(!self.is_shut, "a send behind the end");
        assert!(!self.is_finishing, "a send for a socket that is closing");
        self.in_flight_bytes = Some(bytes.to_vec());
    }
}
