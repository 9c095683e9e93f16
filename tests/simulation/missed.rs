//! The model of a channel whose slow members miss publications.

use crate::link::Link;
use crate::logs::{Log, Logs};
use crate::scenario::{FRAME_BYTES_MAX, HEADROOM_BYTES, LOSSY};
use crate::simulator::Simulator;
use campanile::handler::SessionInfo;
use campanile::host::Host;

/// Verifies that the outbox of a session that missed the publication at `place` was full then.
/// Everything that was pending has been received before the next publication, if there was one.
pub(crate) fn check_full(at: usize, simulator: &Simulator, log: &Log, place: usize) {
    let link = &simulator.links[at];
    let received = link.client.received.iter().zip(&link.client.received_after);
    let mut later = received.filter(|(id, _)| log.places.get(id).is_some_and(|it| *it > place));
    let end = later.next().map(|(_, bytes)| *bytes);
    let end = end.unwrap_or_else(|| link.client.received_bytes());
    let pending_max = end - link.received_at[&place];
    let outbox_bytes = u64::from(simulator.scenario.outbox_bytes);
    assert!(
        pending_max > HEADROOM_BYTES && pending_max + FRAME_BYTES_MAX > outbox_bytes,
        "session {at} missed {} with at most {pending_max} bytes pending",
        log.ids[place]
    );
}

/// Verifies, in an idle simulation, the numbers of publications that members of a channel missed.
/// `members` are those of the channel, `on_shards` is the sum of its counts.
pub(crate) fn verify_missed(simulator: &Simulator, members: &[SessionInfo], on_shards: u64) {
    let hosts = simulator.hosts.iter().map(Host::counters);
    let counted: u64 = hosts.map(|counters| counters.publications_dropped).sum();
    assert_eq!(on_shards, counted, "the witnesses keep the channel");
    let logs = Logs::of(simulator);
    for member in members {
        let is_its = |link: &Link| link.public_id == Some(member.id);
        let Some(at) = simulator.links.iter().position(is_its) else {
            assert_eq!(member.dropped, [], "it is a witness");
            continue;
        };
        let link = &simulator.links[at];
        let Link {
            client, history, ..
        } = link;
        let ids = &logs.of_link(at, link).ids;
        let joined = history.membership_changes(LOSSY).last();
        let joined = joined.expect("it is a member").window.start;
        let (mut least, mut most) = (0, 0);
        for (place, &id) in ids.iter().enumerate().skip(joined) {
            let push = &simulator.pushes[id];
            if push.is_lossy() && !client.received.contains(&id) {
                let reaches = history.reaches(at, push, place);
                least += u32::from(reaches == Some(true));
                most += u32::from(reaches != Some(false));
            }
        }
        let dropped = member.dropped.iter().map(|(channel, count)| {
            assert_eq!(channel, LOSSY);
            *count
        });
        let dropped: u32 = dropped.sum();
        assert!(
            (least..=most).contains(&dropped),
            "session {at} missed {least} to {most}, not {dropped}"
        );
    }
}
