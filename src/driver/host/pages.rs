//! One shard's part of a page.

use super::Host;
use crate::handler::{MemberCount, Named, NamesPage, SessionInfo, SessionsOf};
use crate::id::ConnectionId;

impl Host {
    /// The first sessions behind a slot, in the order of their slots.
    pub(crate) fn sessions_page(
        &self,
        of: &SessionsOf,
        after_slot: Option<u32>,
        limit: usize,
    ) -> Vec<SessionInfo> {
        let is_behind = |id: &ConnectionId| after_slot.is_none_or(|slot| id.slot() > slot);
        let mut found: Vec<ConnectionId> = match of {
            SessionsOf::Gateway => {
                let routes = u16::try_from(self.handle.routes().len()).expect("routes are few");
                let all = self.shard.sessions();
                all.filter(|&(id, route)| route < routes && is_behind(&id))
                    .map(|(id, _)| id)
                    .take(limit)
                    .collect()
            }
            SessionsOf::Route(route) => {
                let all = self.shard.sessions_of_route(*route);
                all.filter(is_behind).take(limit).collect()
            }
            SessionsOf::Channel(namespaces, channel) => {
                let members = namespaces
                    .iter()
                    .flat_map(|&namespace| self.shard.members(namespace, channel.as_bytes()));
                members.filter(is_behind).collect()
            }
        };
        // The members of a channel are in no order.
        found.sort_unstable_by_key(|id| id.slot());
        found.truncate(limit);
        found
            .into_iter()
            .filter_map(|id| self.info_of(id))
            .collect()
    }

    /// The first names behind another, in their order.
    pub(crate) fn names_page(
        &self,
        named: Named,
        namespace: u16,
        page: &NamesPage,
    ) -> Vec<MemberCount> {
        let is_wanted = |(name, _): &(&[u8], usize)| {
            name.starts_with(page.prefix.as_bytes()) && *name > page.after.as_bytes()
        };
        let mut found: Vec<(&[u8], usize)> = match named {
            Named::Channels => self.shard.channels(namespace).filter(is_wanted).collect(),
            Named::Users => self.shard.users(namespace).filter(is_wanted).collect(),
        };
        if found.len() > page.limit && page.limit > 0 {
            found.select_nth_unstable(page.limit - 1);
            found.truncate(page.limit);
        }
        found.sort_unstable();
        let names = found.into_iter();
        names
            .map(|(name, count)| MemberCount::new(name, count))
            .collect()
    }
}
