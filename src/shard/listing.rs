//! Queries of a shard's sessions, channels and users.

use super::channels::ListedChannel;
use super::connection::Phase;
use super::core::{SessionStatistics, Shard};
use super::presence::TAP_CHANNEL;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::public_id::PublicId;

impl Shard {
    /// Returns the public id of a session; `None` if `id` is not a session.
    #[must_use]
    pub fn public_id(&self, id: ConnectionId) -> Option<PublicId> {
        let connection = self.connections.get(id)?;
        if matches!(connection.phase, Phase::Http(_)) {
            return None;
        }
        let tag = self.profiles[id.index()].tag;
        Some(self.settings.ids.seal(self.session_id(id), tag))
    }

    /// Returns the open session of this shard with a public id; `None` if there is none.
    #[must_use]
    pub fn find(&self, public_id: PublicId) -> Option<ConnectionId> {
        let (session, tag) = self.settings.ids.open(public_id)?;
        let id = self.find_session(session)?;
        (self.is_open(id) && self.profiles[id.index()].tag == tag).then_some(id)
    }

    /// Returns the open sessions in `slot` and later slots, in slot order.
    pub fn sessions_from(&self, slot: u32) -> impl Iterator<Item = ConnectionId> {
        let all = self.connections.iter_from(slot);
        all.filter(|(_, connection)| connection.phase == Phase::Open)
            .map(|(id, _)| id)
    }

    /// Returns the index of a session's route; `None` if it is not open.
    #[must_use]
    pub fn route_of(&self, id: ConnectionId) -> Option<u16> {
        let connection = self.connections.get(id)?;
        (connection.phase == Phase::Open).then_some(connection.route)
    }

    /// Returns the traffic counters of a session; `None` if it is not open.
    #[must_use]
    pub fn statistics(&self, id: ConnectionId) -> Option<SessionStatistics> {
        let connection = self.connections.get(id)?;
        let profile = &self.profiles[id.index()];
        (connection.phase == Phase::Open).then_some(SessionStatistics {
            messages_sent: u64::from(connection.messages_sent),
            bytes_sent: connection.bytes_sent,
            messages_received: profile.messages_received,
            bytes_received: profile.bytes_received,
            opened: connection.since,
        })
    }

    /// Returns the channels of a session, in the order of joining.
    pub fn channels_of(&self, id: ConnectionId) -> impl Iterator<Item = &[u8]> {
        let names = self.channels.of_slot(id.slot());
        names.filter(|&name| name != TAP_CHANNEL)
    }

    /// Returns the users that a session is bound to, each with its event.
    pub fn users_of(&self, id: ConnectionId) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.users.users_of(id.slot())
    }

    /// Returns the channels of a session with publications that it has missed, because its outbox
    /// was full, and their number.
    pub fn dropped_of(&self, id: ConnectionId) -> impl Iterator<Item = (&[u8], u32)> {
        let memberships = self.channels.memberships_of_slot(id.slot());
        memberships.filter(|&(_, dropped)| dropped > 0)
    }

    /// Returns the channels of a namespace that have members on this shard.
    pub fn channels(&self, namespace: u16) -> impl Iterator<Item = ListedChannel<'_>> {
        let listed = self.channels.list(namespace);
        listed.filter(|channel| channel.name != TAP_CHANNEL)
    }

    /// Returns the members of a channel on this shard.
    pub fn members(&self, namespace: u16, channel: &[u8]) -> impl Iterator<Item = ConnectionId> {
        let members = self.channels.members(namespace, channel).iter();
        members.map(|member| {
            self.connections
                .id_of(member.slot)
                .expect("members of a channel are open")
        })
    }

    /// Returns the users of a namespace with their numbers of sessions on this shard.
    pub fn users(&self, namespace: u16) -> impl Iterator<Item = (&[u8], usize)> {
        self.users.names(namespace)
    }

    /// Returns whether a session is a member of a channel of its namespace.
    #[must_use]
    pub fn is_member(&self, id: ConnectionId, channel: &[u8]) -> bool {
        let namespace = self.namespace_of(id);
        self.channels.is_member(id.slot(), namespace, channel)
    }
}
