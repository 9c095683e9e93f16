//! Publications, from their publisher to the outboxes, in four steps.
//!
//! ```text
//!   the publisher's shard                               every other shard
//!
//!   publish
//!     accept    gives it an id and a nonce,
//!       |       finds its channel, and with it the
//!       |       channel's class
//!       |
//!      (stamp)  no step of its own: no channel has
//!       |       positions. `Shard::home_of` is where
//!       |       they will come from
//!       |
//!     spread --------- MailboxMessage ----------------> receive
//!       |                                                 |  finds its channel
//!     deliver                                           deliver
//!       |--> outboxes, by output.rs                       |--> outboxes
//!       |                                                 |
//!       v                                                 v
//!   sessions reached here                               sessions reached there, as a count
//! ```
//!
//! Spread and deliver need nothing of accept but the publication, so a later step between them may
//! move to another shard. Nothing but `deliver` enqueues a publication, with the help of
//! `own_channels.rs` for those that name each session's own channel (`tests/tidy/main.rs`).

use super::channels::ChannelIndex;
use super::core::Shard;
use super::events::Event;
use super::message::{CountRequestId, MailboxMessage};
use crate::vocabulary::channel_rules::SlowMembers;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::content::{ChannelName, Content};
use crate::vocabulary::publication::{Audience, OwnedPublication, Publication, PublicationId};
use rand_core::RngCore;
use std::sync::Arc;

impl Shard {
    /// Publishes: delivers to the sessions of this shard, and sends the publication to the other
    /// shards.
    ///
    /// Returns the number of sessions of this shard to which the publication was enqueued. The
    /// other shards report theirs under `count_request`, if there is one. A publication to one
    /// session is not sent to other shards.
    pub fn publish(
        &mut self,
        audience: Audience<'_>,
        content: &Content<'_>,
        count_request: Option<CountRequestId>,
    ) -> u32 {
        let (publication, channel) = self.accept(audience, content);
        self.spread(&publication, count_request);
        let reached = self.deliver(&publication, channel);
        self.report_publication(&publication);
        reached
    }

    /// Applies a publication that another shard accepted. Returns the number of sessions to which
    /// it was enqueued.
    pub(super) fn receive(&mut self, publication: &Publication<'_>) -> u32 {
        let channel = self.channel_of(&publication.audience);
        self.deliver(publication, channel)
    }

    /// Names a publication and finds its channel.
    #[inline]
    fn accept<'p>(
        &mut self,
        audience: Audience<'p>,
        content: &Content<'p>,
    ) -> (Publication<'p>, Option<ChannelIndex>) {
        let id = PublicationId {
            origin: self.id,
            sequence: self.sequence,
        };
        self.sequence += 1;
        let publication = Publication {
            id,
            position: None,
            audience,
            content: *content,
            nonce: self.random.next_u64(),
        };
        (publication, self.channel_of(&audience))
    }

    /// Sends a publication to all other shards, unless it is for one session.
    #[inline]
    fn spread(&mut self, publication: &Publication<'_>, count_request: Option<CountRequestId>) {
        let is_for_one = matches!(publication.audience, Audience::Session(_));
        if self.shards > 1 && !is_for_one {
            let copy = Arc::new(OwnedPublication::copy(publication));
            self.send_to_other_shards(|| MailboxMessage::Publication {
                publication: Arc::clone(&copy),
                count_request,
            });
        }
    }

    /// Enqueues a publication to all sessions of its audience on this shard. Returns their number.
    #[inline]
    fn deliver(&mut self, publication: &Publication<'_>, channel: Option<ChannelIndex>) -> u32 {
        let (reached, slow) = match publication.content.channel {
            ChannelName::Own => self.fan_out_on_own_channels(publication, channel),
            ChannelName::Given(_) => self.fan_out(publication, channel),
        };
        self.counters.publications += 1;
        self.counters.deliveries += u64::from(reached);
        if !slow.is_empty() {
            self.handle_slow(&slow, channel);
        }
        reached
    }

    /// Returns the channel of an audience; `None` if it is for no channel, or for one without
    /// members on this shard.
    #[inline]
    fn channel_of(&self, audience: &Audience<'_>) -> Option<ChannelIndex> {
        match *audience {
            Audience::Channel {
                namespace, name, ..
            } => self.channels.find(namespace, name),
            Audience::User { .. } | Audience::Session(_) | Audience::Everyone { .. } => None,
        }
    }

    /// Closes the sessions whose outbox had no room for a publication, or counts it as dropped if
    /// that is the class of its channel.
    #[cold]
    fn handle_slow(&mut self, slots: &[u32], channel: Option<ChannelIndex>) {
        let Some(channel) = channel else {
            return self.end_slow(slots);
        };
        let class = self.channels.class_of(channel);
        match self.settings.classes.get(class).slow {
            SlowMembers::Disconnect => self.end_slow(slots),
            SlowMembers::DropNewest => {
                for &slot in slots {
                    self.channels.count_dropped(channel, slot);
                    if self.is_everything_wanted() {
                        let id = self.connections.id_of(slot).expect("members are open");
                        let name = self.channels.name_of(channel).into();
                        self.report(id, |session| Event::Dropped(session, name));
                    }
                }
                self.counters.publications_dropped += slots.len() as u64;
            }
        }
    }

    /// Closes slow consumers.
    ///
    /// Closing a session may announce its leave to other sessions whose outbox is full too. They
    /// are appended to `self.slow`, so this is a loop instead of a recursion.
    #[cold]
    fn end_slow(&mut self, slots: &[u32]) {
        let is_under_way = !self.slow.is_empty();
        self.slow.extend(slots);
        if is_under_way {
            return;
        }
        while let Some(&slot) = self.slow.front() {
            if let Some(id) = self.connections.id_of(slot).filter(|&id| self.is_open(id)) {
                self.end(id, CloseCause::SlowConsumer);
            }
            self.slow.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::shard::classes::ChannelClass;
    use crate::shard::hash::HashSeed;
    use crate::vocabulary::channel_pattern::ChannelPattern;
    use crate::vocabulary::channel_rules::ChannelRules;
    use crate::vocabulary::content::Data;
    use crate::vocabulary::id::{ConnectionId, SessionId, ShardId};

    /// Indices of the default config's routes.
    const WSERVER: u16 = 0;
    const PROJECTFORGE: u16 = 4;

    /// A shard of two, on which the channels `lossy-*` drop the newest publication.
    fn shard() -> Shard {
        let mut config = Config::default();
        for route in &mut config.routes {
            route.namespace = Some("town".to_owned());
            route.channels.clear();
            route.limits.outbox_bytes_max = 2_000;
        }
        let mut settings = crate::gateway::shard_settings(&config);
        let mut rules = ChannelRules::default();
        let pattern = ChannelPattern::parse("lossy-*").expect("a pattern");
        let class = ChannelClass {
            slow: SlowMembers::DropNewest,
        };
        rules.declare(pattern, class).expect("declared once");
        Arc::make_mut(&mut settings.classes).assign(0, rules);
        let (seed, settings) = (HashSeed([1, 2]), Arc::new(settings));
        Shard::new(ShardId::new(0), 2, settings, seed, [3; 32])
    }

    /// A session on the channels, whose greeting and announcements are sent.
    fn open(shard: &mut Shard, route: u16, channels: &[&str]) -> ConnectionId {
        let id = shard.handle_accepted().expect("there is room");
        shard.handle_upgraded(id, route, 0, b"greeting", false);
        for channel in channels {
            shard.join(id, channel);
        }
        send(shard, |_| true);
        id
    }

    /// Completes the sends of the chosen sessions; the others' sockets take nothing. Returns the
    /// bytes of each send without the frame's head.
    fn send(
        shard: &mut Shard,
        reads: impl Fn(ConnectionId) -> bool,
    ) -> Vec<(ConnectionId, String)> {
        let (mut sent, mut stuck) = (Vec::new(), Vec::new());
        while let Some((id, bytes)) = shard.poll_send() {
            if reads(id) {
                let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
                let taken = u32::try_from(bytes.len()).expect("small");
                shard.handle_sent(id, taken);
                sent.push((id, text));
            } else {
                stuck.push(id);
            }
        }
        shard.invariants();
        for id in stuck {
            shard.handle_sent(id, 0);
        }
        sent
    }

    fn to_channel(shard: &mut Shard, name: &str, text: &str) -> u32 {
        let audience = Audience::Channel {
            namespace: 0,
            name: name.as_bytes(),
            except: &[],
        };
        publish(shard, audience, text)
    }

    fn publish(shard: &mut Shard, audience: Audience<'_>, text: &str) -> u32 {
        let content = Content {
            event: "e",
            data: Data::Text(text),
            ..Content::default()
        };
        let reached = shard.publish(audience, &content, None);
        shard.invariants();
        reached
    }

    fn dropped_of(shard: &Shard, id: ConnectionId) -> Vec<(String, u32)> {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let all = shard.dropped_of(id);
        all.map(|(name, count)| (text(name), count)).collect()
    }

    fn dropped_on(shard: &Shard, channel: &str) -> Option<u32> {
        let mut all = shard.channels(0);
        let found = all.find(|listed| listed.name == channel.as_bytes());
        found.map(|listed| listed.dropped)
    }

    #[test]
    fn a_slow_member_of_a_lossy_channel_misses_what_does_not_fit_and_stays() {
        let mut shard = shard();
        let slow = open(&mut shard, WSERVER, &["lossy-1", "lossy-2"]);
        let fast = open(&mut shard, WSERVER, &["lossy-1", "lossy-2"]);
        let large = "x".repeat(900);
        let mut expected = Vec::new();
        for number in 0..6 {
            let text = format!("{number}{large}");
            // Two fit.
            let reached = if number < 2 { 2 } else { 1 };
            assert_eq!(to_channel(&mut shard, "lossy-1", &text), reached);
            let sent = send(&mut shard, |id| id == fast);
            assert!(matches!(&sent[..], [(id, bytes)] if *id == fast && bytes.ends_with(&text)));
            expected.extend((number < 2).then_some(text));
        }
        // A smaller one fits.
        assert_eq!(to_channel(&mut shard, "lossy-2", "small"), 2);
        assert_eq!(to_channel(&mut shard, "lossy-2", &large), 1);
        assert_eq!(
            dropped_of(&shard, slow),
            [("lossy-1".to_owned(), 4), ("lossy-2".to_owned(), 1)]
        );
        assert_eq!(dropped_of(&shard, fast), []);
        assert_eq!(dropped_on(&shard, "lossy-1"), Some(4));
        assert_eq!(dropped_on(&shard, "lossy-2"), Some(1));
        assert_eq!(shard.counters().publications_dropped, 5);
        assert_eq!(
            (shard.counters().publications, shard.counters().deliveries),
            (8, 11)
        );
        assert_eq!(shard.counters().bytes_dropped, 0);

        // It reads again, and gets what it did not miss, in order.
        expected.push("small".to_owned());
        let sent: String = send(&mut shard, |id| id == slow)
            .into_iter()
            .map(|(_, bytes)| bytes)
            .collect();
        let places: Vec<usize> = expected
            .iter()
            .map(|text| sent.find(text.as_str()).expect("it was not dropped"))
            .collect();
        assert!(places.is_sorted());
        assert!(sent.len() < 2 * 901 + 5 + 3 * 10 + 1, "nothing else");
        assert_eq!(to_channel(&mut shard, "lossy-1", &large), 2);
        assert_eq!(shard.counters().publications_dropped, 5);

        // The counts of a session end with its membership, those of a channel with the channel.
        assert!(shard.leave_channel(slow, "lossy-1"));
        assert_eq!(
            shard.join(slow, "lossy-1"),
            super::super::JoinResult::Joined
        );
        assert_eq!(dropped_of(&shard, slow), [("lossy-2".to_owned(), 1)]);
        assert_eq!(dropped_on(&shard, "lossy-1"), Some(4));
        assert!(shard.leave_channel(slow, "lossy-1") && shard.leave_channel(fast, "lossy-1"));
        assert_eq!(
            shard.join(slow, "lossy-1"),
            super::super::JoinResult::Joined
        );
        assert_eq!(dropped_on(&shard, "lossy-1"), Some(0));
    }

    #[test]
    fn a_publication_of_another_shard_is_dropped_alike() {
        let mut shard = shard();
        let slow = open(&mut shard, WSERVER, &["lossy-1"]);
        let large = "x".repeat(1_900);
        assert_eq!(to_channel(&mut shard, "lossy-1", &large), 1);
        let (to, message) = shard.poll_message().expect("it is for all shards");
        assert_eq!(to, ShardId::new(1));
        shard.handle_message(&message);
        shard.invariants();
        assert_eq!(dropped_of(&shard, slow), [("lossy-1".to_owned(), 1)]);
    }

    /// The class is that of the channel, not of its members.
    #[test]
    fn a_slow_member_is_closed_for_every_other_audience() {
        for audience in 0..4 {
            let mut shard = shard();
            let slow = open(&mut shard, WSERVER, &["lossy-1", "plain"]);
            shard.bind(slow, "jack", b"e");
            let large = "x".repeat(1_900);
            assert_eq!(to_channel(&mut shard, "lossy-1", &large), 1);
            assert_eq!(to_channel(&mut shard, "lossy-1", &large), 0);
            assert!(shard.is_open(slow));
            let session = SessionId::new(ShardId::new(0), slow);
            let audience = match audience {
                0 => Audience::Session(session),
                1 => Audience::User {
                    namespace: 0,
                    name: b"jack",
                    event: None,
                },
                2 => Audience::Everyone {
                    namespace: 0,
                    except: &[],
                },
                _ => Audience::Channel {
                    namespace: 0,
                    name: b"plain",
                    except: &[],
                },
            };
            assert_eq!(publish(&mut shard, audience, &large), 0);
            assert!(!shard.is_open(slow), "{audience:?}");
            assert_eq!(shard.counters().ended("slow_consumer"), 1);
            assert_eq!(shard.counters().publications_dropped, 1);
        }
    }

    #[test]
    fn an_announcement_of_presence_is_a_publication_to_the_channel() {
        let mut shard = shard();
        let slow = open(&mut shard, PROJECTFORGE, &["lossy-1"]);
        let large = "x".repeat(1_900);
        assert_eq!(to_channel(&mut shard, "lossy-1", &large), 1);
        let other = shard.handle_accepted().expect("there is room");
        shard.handle_upgraded(other, PROJECTFORGE, 0, b"greeting", false);
        shard.join(other, "lossy-1");
        shard.close_session(other, CloseCause::Dropped);
        shard.invariants();
        assert!(shard.is_open(slow));
        assert_eq!(dropped_of(&shard, slow), [("lossy-1".to_owned(), 2)]);
        assert_eq!(shard.counters().publications_dropped, 2);
    }
}
