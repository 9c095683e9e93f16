//! The HTTP side of a host's connections, from their first byte to the upgrade or the end.

use super::Host;
use crate::close::End;
use crate::embedder::Fault;
use crate::http::{HttpConnection, OVERLOADED, Progress, Upgraded};
use crate::id::ConnectionId;
use crate::logging::limited;
use crate::metrics::Rejected;
use crate::shard::users::ANY_EVENT;
use crate::shard::{HttpPhase, Joined};
use bytes::BytesMut;

impl Host {
    /// Gives a connection its HTTP side: its first bytes have come.
    pub(super) fn open_http(&mut self, id: ConnectionId) {
        let is_crowded = self.http_count >= self.limits.http_connections_max;
        let http = if is_crowded && !self.close_idle_http() {
            self.shard.reject(id, Rejected::Request, "overloaded");
            HttpConnection::farewell(id, &self.wakes, OVERLOADED)
        } else {
            let out_max = self.limits.http_out_bytes_max;
            HttpConnection::new(id, &self.context, &self.wakes, out_max)
        };
        self.http[id.index()] = Some(Box::new(http));
        self.http_count += 1;
    }

    /// Closes the HTTP connection that has waited longest for its next request, if there is one.
    fn close_idle_http(&mut self) -> bool {
        let idle = self
            .http
            .iter()
            .flatten()
            .filter(|http| http.phase() == HttpPhase::Idle && http.is_quiet())
            .map(|http| http.id())
            .min_by_key(|&id| self.shard.phase_began(id));
        let Some(id) = idle else { return false };
        self.drop_http(id);
        self.shard.handle_http_done(id);
        true
    }

    pub(super) fn drop_http(&mut self, id: ConnectionId) {
        if let Some(http) = self.http[id.index()].take() {
            assert!(!http.is_flying(), "what the kernel holds is not freed");
            self.http_count -= 1;
            self.shrank = true;
            if http.paused {
                self.readings.push_back((id, true));
            }
        }
    }

    /// Lets hyper work until it waits, carrying out what its requests ask on the way.
    pub(super) fn poll_http(&mut self, id: ConnectionId) {
        self.context.embedder.provoke(Fault::Http);
        loop {
            let Some(http) = &mut self.http[id.index()] else {
                return;
            };
            http.take_woken();
            match http.poll() {
                Progress::Pending => {}
                Progress::Done => break,
                Progress::Upgraded(upgraded) => {
                    http.adopt(upgraded);
                    self.finish_upgrade(id);
                    return;
                }
            }
            let worked = self.carry_out_asks();
            let http = self.http[id.index()]
                .as_ref()
                .expect("asks close no connection");
            if !worked && !http.take_woken() {
                break;
            }
        }
        self.after_http(id);
    }

    /// Looks at what a connection needs after hyper has worked.
    pub(super) fn after_http(&mut self, id: ConnectionId) {
        let Some(http) = &mut self.http[id.index()] else {
            return;
        };
        if self.is_stopping && http.is_at_rest() {
            http.drain();
        }
        if http.wants_to_send() {
            if !http.queued {
                http.queued = true;
                self.answers.push_back(id);
            }
        } else if http.is_done() && !http.is_flying() {
            let peer_ended = http.peer_ended;
            self.drop_http(id);
            if peer_ended {
                self.shard.handle_hangup(id, false);
            } else {
                self.shard.handle_http_done(id);
            }
            return;
        }
        if http.is_ending() {
            self.shard.handle_http_last(id);
            return;
        }
        let anew = http.take_served();
        self.shard.handle_http_phase(id, http.phase(), anew);
        let inbound = http.inbound_bytes();
        let pause = inbound > self.limits.http_in_bytes_max;
        let resume = inbound * 2 < self.limits.http_in_bytes_max;
        if (pause && !http.paused) || (resume && http.paused) {
            http.paused = pause;
            self.readings.push_back((id, !pause));
        }
    }

    pub(super) fn after_http_send(&mut self, id: ConnectionId) {
        let http = self.http[id.index()]
            .as_ref()
            .expect("its send has just ended");
        if http.has_upgrade() {
            self.finish_upgrade(id);
        } else {
            // Had hyper waited to write more, it would have been woken when this was lent.
            self.after_http(id);
        }
    }

    /// Makes a session of a connection whose upgrade was granted, once no send of it is under way.
    pub(super) fn finish_upgrade(&mut self, id: ConnectionId) {
        let http = self.http[id.index()]
            .as_mut()
            .expect("it has just been upgraded");
        if http.is_flying() || !self.shard.is_http(id) {
            return;
        }
        let upgraded = http.take_upgrade().expect("granted before");
        let peer_ended = http.peer_ended;
        self.drop_http(id);
        let mut input = self.open(id, *upgraded);
        self.feed_session(id, &mut input);
        if self.is_stopping {
            self.shard.end_session(id, End::Shutdown);
        }
        if peer_ended {
            self.hang_up(id, false);
        }
    }

    /// Makes a session of a connection; returns what its client has said already.
    fn open(&mut self, id: ConnectionId, upgraded: Upgraded) -> BytesMut {
        let Upgraded {
            route,
            admitted,
            greeting,
            input,
        } = upgraded;
        let is_kept = self.settings.routes[usize::from(route)].observes_ends;
        let opens = self.opens(route);
        let session = self.shard.handle_upgraded(id, route, &greeting, opens);
        let admission = &admitted.admission;
        if let Some(user) = &admission.user {
            self.shard.bind(id, user, ANY_EVENT);
        }
        self.show_arrival(id, &admission.profile);
        if is_kept {
            self.shard.keep(id, admitted.kept_bytes());
        }
        for channel in &admission.channels {
            match self.shard.join(id, channel) {
                Joined::TooManyChannels => {
                    let path = &self.handle.routes()[usize::from(route)].path;
                    let channel = &**channel;
                    limited!(
                        WARN,
                        "a session begins on more than it may be on",
                        path,
                        channel
                    );
                }
                Joined::NoRoom(no_room) => self.shard.end_session(id, no_room.end()),
                Joined::Now | Joined::Before | Joined::Refused => {}
            }
        }
        if admitted.wants_fresh_channel {
            let name = &self.handle.routes()[usize::from(route)].name;
            let channel = format!(
                "{name}-{}",
                self.shard.random_text(FRESH_CHANNEL_CHARACTERS)
            );
            if let Joined::NoRoom(no_room) = self.shard.join(id, &channel) {
                self.shard.end_session(id, no_room.end());
            }
        }
        if is_kept && self.shard.is_open(id) {
            let state = self.begin_session(id, admitted, session);
            if opens {
                self.open_session(&state);
            }
        }
        self.notice_ends();
        input
    }
}

/// How many random characters make the channel of a session that names none (wire.md 5.1).
const FRESH_CHANNEL_CHARACTERS: usize = 8;
