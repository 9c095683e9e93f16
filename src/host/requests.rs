//! The HTTP side of a host's connections, from their first byte to the upgrade or the end.

use super::Host;
use crate::http::{HttpConnection, OVERLOADED, Progress, Room, Standing, TIMED_OUT, Upgraded};
use crate::logging::limited;
use crate::runtime::fault::Fault;
use crate::shard::users::ANY_EVENT;
use crate::shard::{HttpPhase, Joined};
use crate::vocabulary::close::End;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::metrics::Rejected;
use bytes::BytesMut;

impl Host {
    /// Gives a connection its HTTP side: its first bytes have come.
    pub(super) fn open_http(&mut self, id: ConnectionId) {
        let mut room = self.crowd.make_room(self.now);
        if let Room::Evict(other) = room {
            self.evict(other);
            room = Room::Free;
        }
        let http = if room == Room::Full {
            self.shard.reject(id, Rejected::Request, "overloaded");
            HttpConnection::farewell(id, &self.wakes, OVERLOADED)
        } else {
            let (in_max, out_max) = (
                self.limits.http_in_bytes_max,
                self.limits.http_out_bytes_max,
            );
            let mut http = HttpConnection::new(id, &self.context, &self.wakes, in_max, out_max);
            http.place = Some(self.crowd.enter(id));
            http
        };
        self.http[id.index()] = Some(Box::new(http));
    }

    /// Closes an HTTP connection to make room for another.
    fn evict(&mut self, id: ConnectionId) {
        let http = self.http[id.index()].as_ref();
        let phase = http.expect("those in the crowd have it").phase();
        tracing::debug!(connection = %id, ?phase, "too many connections, evicted");
        self.shard.count_evicted();
        self.break_off(id);
    }

    /// Closes an HTTP connection in the middle of whatever it does. What the kernel holds of it is
    /// freed when its send has been cancelled, everything else now.
    fn break_off(&mut self, id: ConnectionId) {
        let http = self.http[id.index()].as_mut();
        let http = http.expect("whoever is broken off has it");
        if let Some(place) = http.place.take() {
            self.crowd.leave(place);
        }
        let is_unread = !http.is_quiet();
        if http.is_flying() {
            http.abandon();
            self.shrank = true;
        } else {
            self.drop_http(id);
        }
        if is_unread {
            self.shard.reset_http(id);
        } else {
            self.shard.close_http(id);
        }
    }

    /// Ends the connections whose requests have not become whole, or whose answers have not been
    /// read, in time. Those that have begun a request are told.
    pub(super) fn end_expired(&mut self) {
        while let Some((id, phase)) = self.shard.poll_expired() {
            let Some(http) = &mut self.http[id.index()] else {
                self.shard.close_http(id);
                continue;
            };
            tracing::debug!(connection = %id, ?phase, "timed out");
            if phase != HttpPhase::Unread && http.end_saying(TIMED_OUT) {
                if let Some(place) = http.place.take() {
                    self.crowd.leave(place);
                }
                self.after_http(id);
            } else {
                self.break_off(id);
            }
        }
    }

    pub(super) fn drop_http(&mut self, id: ConnectionId) {
        if let Some(http) = &self.http[id.index()] {
            assert!(!http.is_flying(), "what the kernel holds is not freed");
            if http.paused {
                self.readings.push_back((id, true));
            }
            self.forget_http(id);
            self.shrank = true;
        }
    }

    /// Frees a connection's HTTP side, if it has one.
    pub(super) fn forget_http(&mut self, id: ConnectionId) {
        if let Some(http) = self.http[id.index()].take()
            && let Some(place) = http.place
        {
            self.crowd.leave(place);
        }
    }

    /// Lets hyper work until it waits, carrying out what its requests ask on the way.
    pub(super) fn poll_http(&mut self, id: ConnectionId) {
        Fault::Http.provoke(self.fault);
        loop {
            let Some(http) = &mut self.http[id.index()] else {
                return;
            };
            http.take_woken();
            match http.poll() {
                Progress::Pending => {}
                Progress::Done => break,
                Progress::Malformed => {
                    self.shard.reject(id, Rejected::Request, "malformed");
                    break;
                }
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
        if !self.shard.is_http(id) {
            return; // only its send under way and its close are awaited
        }
        if self.closes_idle && http.is_at_rest() {
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
            if self.is_stopping {
                self.http_ends.insert(id.slot());
            }
            if peer_ended {
                self.shard.handle_hangup(id, false);
            } else {
                self.shard.handle_http_done(id);
            }
            return;
        }
        let is_ending = http.is_ending();
        let phase = if is_ending {
            HttpPhase::Last
        } else {
            http.phase()
        };
        let (has_moved, served) = (http.take_moved(), http.take_served());
        match phase {
            HttpPhase::Last => self.shard.handle_http_last(id),
            HttpPhase::Unread => self.shard.handle_http_phase(id, phase, has_moved),
            HttpPhase::Head | HttpPhase::Body | HttpPhase::Answer | HttpPhase::Idle => {
                self.shard.handle_http_phase(id, phase, served);
            }
        }
        if let Some(place) = http.place {
            let standing = Standing {
                phase,
                merit: http.take_merit(),
                has_moved,
                unread_bytes: http.unread_bytes(),
            };
            self.crowd.update(place, &standing, self.now);
        }
        if is_ending {
            return;
        }
        let (inbound, is_held_up) = (http.inbound_bytes(), http.holds_request());
        let pause = inbound > self.limits.http_in_bytes_max || (is_held_up && inbound > 0);
        let resume = inbound * 2 < self.limits.http_in_bytes_max && !is_held_up;
        if (pause && !http.paused) || (resume && http.paused) {
            http.paused = pause;
            self.readings.push_back((id, !pause));
        }
        self.bound_unread();
    }

    /// Resets connections while those who do not read hold too much together.
    fn bound_unread(&mut self) {
        while let Some(id) = self.crowd.first_unread_beyond_max() {
            self.evict(id);
        }
    }

    pub(super) fn after_http_send(&mut self, id: ConnectionId) {
        let http = self.http[id.index()]
            .as_ref()
            .expect("its send has just ended");
        if http.has_upgrade() {
            self.finish_upgrade(id);
        } else if http.take_woken() {
            // It waited for room to write more.
            self.poll_http(id);
        } else {
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
