//! Publications that name each session's own channel: the first that it joined, or its public id if
//! it is on none.
//!
//! ```text
//!   everyone   slots 1 2 3 4 5      by channel             "hall"  2 5     encoded once
//!                                                          "room"  1       encoded once
//!                                   by public id           3               encoded for it alone
//!                                   other dialects         4               encoded without a
//!                                   channel
//! ```
//!
//! Only dialects whose messages name a channel need this. In a namespace without one, the
//! publication is delivered like any other. It costs a sort of the sessions reached, so it is
//! separate from `output.rs`, which does nothing per session that can be done once.

use super::channels::ChannelIndex;
use super::core::Shard;
use super::output::{SlowSlots, local_slots, slots_of, slots_of_everyone};
use crate::vocabulary::content::{ChannelName, Content};
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::publication::{Audience, Publication};

impl Shard {
    /// Enqueues a publication whose channel is [`ChannelName::Own`], as [`Shard::fan_out`] does.
    #[cold]
    pub(super) fn fan_out_on_own_channels(
        &mut self,
        publication: &Publication<'_>,
        channel: Option<ChannelIndex>,
    ) -> (u32, SlowSlots) {
        if !self.needs_channel_names(&publication.audience) {
            return self.fan_out(&with_channel(publication, ""), channel);
        }
        let slots = self.slots_of_audience(&publication.audience);
        let mut by_channel: Vec<(Option<ChannelIndex>, u32)> = Vec::new();
        let mut others = Vec::new();
        for slot in slots {
            if self.names_channels(slot) {
                by_channel.push((self.channels.first_of_slot(slot), slot));
            } else {
                others.push(slot);
            }
        }
        by_channel.sort_unstable();

        // The caller closes slow consumers: their leave announcements could close sessions that the
        // publication has not been enqueued to yet.
        let (mut reached, mut slow) =
            self.fan_out_to(&with_channel(publication, ""), others.into_iter());
        let is_same = |one: &(Option<ChannelIndex>, u32), other: &(Option<ChannelIndex>, u32)| {
            one.0.is_some() && one.0 == other.0
        };
        for sessions in by_channel.chunk_by(is_same) {
            let (channel, slot) = sessions[0];
            let name = match channel {
                Some(channel) => {
                    String::from_utf8_lossy(self.channels.name_of(channel)).into_owned()
                }
                None => self.id_of_slot(slot),
            };
            let slots = sessions.iter().map(|&(_, slot)| slot);
            let (more, full) = self.fan_out_to(&with_channel(publication, &name), slots);
            reached += more;
            slow.extend(full);
        }
        (reached, slow)
    }

    /// Returns whether the audience may include sessions of a dialect whose messages name a
    /// channel, other than the channel that the publication is for.
    fn needs_channel_names(&self, audience: &Audience<'_>) -> bool {
        let routes = &self.settings.routes;
        match *audience {
            Audience::Channel { .. } => false,
            Audience::Session(session) => self
                .find_session(session)
                .is_some_and(|id| self.names_channels(id.slot())),
            Audience::User { namespace, .. } | Audience::Everyone { namespace, .. } => {
                let mut routes = routes.iter().filter(|route| route.namespace == namespace);
                routes.any(|route| route.dialect.spec().names_channels)
            }
        }
    }

    /// Returns the slots of the sessions of this shard in an audience, each once.
    ///
    /// # Panics
    ///
    /// If the audience is a channel: [`Shard::needs_channel_names`] is false for it.
    fn slots_of_audience(&self, audience: &Audience<'_>) -> Vec<u32> {
        match *audience {
            Audience::Channel { .. } => {
                unreachable!("a publication to a channel names that one")
            }
            Audience::User {
                namespace,
                name,
                event,
            } => {
                let members = self.users.reached(namespace, name, event);
                members.into_iter().flat_map(slots_of).collect()
            }
            Audience::Session(session) => {
                let id = self.find_session(session).filter(|&id| self.is_open(id));
                Vec::from_iter(id.map(ConnectionId::slot))
            }
            Audience::Everyone { namespace, except } => {
                let except = local_slots(self.id, &self.connections, except);
                let routes = &self.settings.routes;
                slots_of_everyone(&self.connections, routes, namespace, &except).collect()
            }
        }
    }

    fn names_channels(&self, slot: u32) -> bool {
        let id = self.connections.id_of(slot);
        let session = id.and_then(|id| self.connections.get(id));
        session
            .filter(|session| session.is_open())
            .is_some_and(|session| {
                let route = &self.settings.routes[usize::from(session.route)];
                route.dialect.spec().names_channels
            })
    }

    /// Returns the public id of the session in `slot`, as text.
    fn id_of_slot(&self, slot: u32) -> String {
        let id = self.connections.id_of(slot).expect("it was just listed");
        let id = self.public_id(id).expect("it is open");
        id.to_string()
    }
}

fn with_channel<'p>(publication: &Publication<'p>, channel: &'p str) -> Publication<'p> {
    Publication {
        content: Content {
            channel: ChannelName::Given(channel),
            ..publication.content
        },
        ..*publication
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json::Scratch;
    use crate::config::Config;
    use crate::dialect::{DecodeError, Dialect, DialectSpec, Intents, Options};
    use crate::gateway::shard_settings;
    use crate::shard::CloseStep;
    use crate::shard::hash::HashSeed;
    use crate::shard::settings::RouteFormat;
    use crate::vocabulary::content::Data;
    use crate::vocabulary::id::{SessionId, ShardId};
    use crate::ws::MessageType;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Number of encodings; only one test uses it.
    static ENCODED: AtomicUsize = AtomicUsize::new(0);

    /// A dialect whose messages are a channel's name in brackets, square ones or round ones.
    #[derive(Debug)]
    struct Bracketed;

    impl Dialect for Bracketed {
        fn name(&self) -> &'static str {
            "bracketed"
        }

        fn spec(&self) -> DialectSpec {
            DialectSpec {
                names_channels: true,
                ..DialectSpec::default()
            }
        }

        fn formats(&self) -> u8 {
            2
        }

        fn decode<'m>(
            &self,
            _: MessageType,
            _: &'m mut [u8],
            _: &Options,
            _: &'m mut Scratch,
            _: &mut Intents<'m>,
        ) -> Result<(), DecodeError> {
            Ok(())
        }

        fn encode_publication(
            &self,
            publication: &Publication<'_>,
            options: &Options,
            out: &mut Vec<u8>,
        ) -> MessageType {
            ENCODED.fetch_add(1, Ordering::Relaxed);
            let channel = publication.content.channel.given();
            let [open, close] = [["[", "]"], ["(", ")"]][usize::from(options.format)];
            out.extend_from_slice(format!("{open}{channel}{close}").as_bytes());
            MessageType::Text
        }
    }

    /// Indices of the default config's routes.
    const WSRV: u16 = 2;
    const PROJECTFORGE: u16 = 4;
    const BRACKETED: u16 = 5;

    /// Formats of `bracketed`.
    const SQUARE: u8 = 0;
    const ROUND: u8 = 1;

    fn shard() -> Shard {
        let mut config = Config::default();
        for route in &mut config.routes {
            route.namespace = Some("town".to_owned());
            route.channels.clear();
        }
        let mut settings = shard_settings(&config);
        let bracketed = &mut settings.routes[usize::from(BRACKETED)];
        bracketed.dialect = &Bracketed;
        let options = |format| Options {
            format,
            ..Options::default()
        };
        bracketed.formats = [SQUARE, ROUND].map(options).map(RouteFormat::new).into();
        settings.intern_encodings();
        let (seed, settings) = (HashSeed([1, 2]), Arc::new(settings));
        Shard::new(ShardId::new(0), 1, settings, seed, [3; 32])
    }

    fn open(shard: &mut Shard, route: u16, channels: &[&str]) -> ConnectionId {
        open_as(shard, route, 0, channels)
    }

    fn open_as(shard: &mut Shard, route: u16, format: u8, channels: &[&str]) -> ConnectionId {
        let id = shard.handle_accepted().expect("there is room");
        shard.handle_upgraded(id, route, format, b"greeting", false);
        for channel in channels {
            shard.join(id, channel);
        }
        drain(shard);
        id
    }

    /// Completes all sends. Returns the bytes of each session without frame heads.
    fn drain(shard: &mut Shard) -> Vec<(ConnectionId, String)> {
        let mut sent = Vec::new();
        while let Some((id, bytes)) = shard.poll_send() {
            let text = bytes.get(2..).unwrap_or_default();
            sent.push((id, String::from_utf8_lossy(text).into_owned()));
            let taken = u32::try_from(bytes.len()).expect("small");
            shard.handle_sent(id, taken);
        }
        while let Some((id, step)) = shard.poll_close() {
            assert_eq!(step, CloseStep::Shutdown);
            shard.handle_hangup(id, false);
        }
        sent.sort_by_key(|&(id, _)| id.slot());
        sent
    }

    #[test]
    fn a_publication_is_encoded_once_for_each_channel_and_for_each_session_without() {
        let mut shard = shard();
        let mut room = vec![open(&mut shard, BRACKETED, &["room", "hall"])];
        let hall = open(&mut shard, BRACKETED, &["hall", "room"]);
        let alone = open(&mut shard, BRACKETED, &[]);
        let other = open(&mut shard, WSRV, &["room"]);
        for index in 0..20 {
            let format = [SQUARE, ROUND][index % 2];
            room.push(open_as(&mut shard, BRACKETED, format, &["room"]));
        }
        let round = room.iter().skip(2).step_by(2).copied();
        let round: Vec<ConnectionId> = round.collect();
        let id = shard.public_id(alone).expect("it is open").to_string();
        let everyone = Audience::Everyone {
            namespace: shard.namespace_of(hall),
            except: &[],
        };
        let mut publish = |audience, channel: ChannelName<&str>| {
            let before = ENCODED.load(Ordering::Relaxed);
            let content = Content {
                event: "e",
                data: Data::Text("x"),
                channel,
                ..Content::default()
            };
            let reached = shard.publish(audience, &content, None);
            shard.invariants();
            let sent = drain(&mut shard);
            assert_eq!(sent.len(), reached as usize);
            let encoded = ENCODED.load(Ordering::Relaxed) - before;
            (sent, encoded)
        };

        let (sent, encoded) = publish(everyone, ChannelName::Own);
        assert_eq!(encoded, 4, "room in both formats, hall and an id");
        assert_eq!(sent.len(), room.len() + 3);
        for (session, text) in sent {
            let expected = match session {
                it if it == hall => "[hall]".to_owned(),
                it if it == alone => format!("[{id}]"),
                it if it == other => {
                    assert!(text.contains(r#""cmd":"e""#), "{text}");
                    continue;
                }
                it if round.contains(&it) => "(room)".to_owned(),
                _ => "[room]".to_owned(),
            };
            assert_eq!(text, expected);
        }

        // A given name is used for all sessions, and a publication to a channel names that channel.
        let (sent, encoded) = publish(everyone, ChannelName::Given("given"));
        assert_eq!(
            (sent.len(), encoded),
            (room.len() + 3, 2),
            "once per format"
        );
        let own = room[0];
        let session = Audience::Session(SessionId::new(ShardId::new(0), own));
        let (sent, encoded) = publish(session, ChannelName::Own);
        assert_eq!((sent, encoded), (vec![(own, "[room]".to_owned())], 1));
        let channel = Audience::Channel {
            namespace: 0,
            name: b"empty",
            except: &[],
        };
        assert_eq!(publish(channel, ChannelName::Own), (Vec::new(), 0));
    }

    /// Leave announcements could otherwise close sessions before the publication is enqueued to
    /// them.
    #[test]
    fn slow_consumers_are_closed_after_the_publication_is_enqueued_to_all() {
        let mut shard = shard();
        let channels = ["room", "hall", "attic"];
        let sessions = channels.map(|channel| {
            let all = [&[channel], &channels[..]].concat();
            open(&mut shard, PROJECTFORGE, &all)
        });
        let large = "x".repeat(2_000_000);
        let content = Content {
            event: "e",
            data: Data::Text(&large),
            channel: ChannelName::Own,
            ..Content::default()
        };
        let everyone = Audience::Everyone {
            namespace: shard.namespace_of(sessions[0]),
            except: &[],
        };
        drain(&mut shard);
        assert_eq!(shard.publish(everyone, &content, None), 3);
        // No session has taken the first.
        assert_eq!(shard.publish(everyone, &content, None), 0);
        shard.invariants();
        assert!(sessions.iter().all(|&id| !shard.is_open(id)));
    }
}
