//! The logs of a simulation: the publications that each shard applied, in its order.

use crate::link::Link;
use crate::simulator::Simulator;
use std::collections::BTreeMap;

/// The log of one shard: the ids of its publications, and the position of each.
pub(crate) struct Log {
    pub(crate) ids: Vec<usize>,
    pub(crate) places: BTreeMap<usize, usize>,
}

impl Log {
    fn new(ids: Vec<usize>) -> Self {
        let places = ids.iter().enumerate().map(|(at, &id)| (id, at)).collect();
        Self { ids, places }
    }
}

/// The logs of all shards, and what sessions that have moved should know of them.
pub(crate) struct Logs {
    pub(crate) shards: Vec<Log>,
    /// By link: the parts of the logs of its shards, one after the other. When a session moves, all
    /// shards have applied the same publications, so the parts have each publication once.
    moved: BTreeMap<usize, Log>,
}

impl Logs {
    pub(crate) fn of(simulator: &Simulator) -> Self {
        let witnesses = simulator.links[..simulator.scenario.shards].iter();
        let shards = witnesses.map(|it| Log::new(it.client.received.clone()));
        let shards: Vec<Log> = shards.collect();
        let links = simulator.links.iter().enumerate();
        let moved = links.filter(|(_, link)| !link.earlier.is_empty());
        let moved = moved.map(|(at, link)| {
            let mut ids: Vec<usize> = Vec::new();
            for &(shard, until) in &link.earlier {
                ids.extend(&shards[shard].ids[ids.len()..until]);
            }
            ids.extend(&shards[link.shard].ids[ids.len()..]);
            (at, Log::new(ids))
        });
        let moved = moved.collect();
        Self { shards, moved }
    }

    /// Returns the log of the publications that a link's shard applied while it was there.
    pub(crate) fn of_link(&self, at: usize, link: &Link) -> &Log {
        self.moved.get(&at).unwrap_or(&self.shards[link.shard])
    }
}
