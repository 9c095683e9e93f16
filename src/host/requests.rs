//! The HTTP connections of a host, from the first byte to the upgrade or the end.

use super::Host;
use crate::http::{
    ConnectionState, EvictionDecision, HttpConnection, OVERLOADED, Progress, TIMED_OUT, Upgraded,
};
use crate::logging::limited;
use crate::runtime::fault::Fault;
use crate::shard::users::ANY_EVENT;
use crate::shard::{HttpPhase, JoinResult};
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::metrics::RejectionKind;
use bytes::BytesMut;

impl Host {
    /// Creates the HTTP state of a connection whose first bytes have arrived. If there is no room
    /// even after an eviction, the connection is sent a 503 and closed.
    pub(super) fn open_http(&mut self, id: ConnectionId) {
        let mut room = self.eviction.decide_eviction(self.now);
        if let EvictionDecision::Evict(other) = room {
            self.evict(other);
            room = EvictionDecision::Free;
        }
        let http = if room == EvictionDecision::Full {
            self.shard.reject(id, RejectionKind::Request, "overloaded");
            HttpConnection::closing_response(id, &self.wakes, OVERLOADED)
        } else {
            let (in_max, out_max) = (
                self.limits.http_in_bytes_max,
                self.limits.http_out_bytes_max,
            );
            let mut http = HttpConnection::new(id, &self.context, &self.wakes, in_max, out_max);
            http.place = Some(self.eviction.insert(id));
            http
        };
        self.http[id.index()] = Some(Box::new(http));
    }

    /// Closes an HTTP connection to make room for another.
    fn evict(&mut self, id: ConnectionId) {
        let http = self.http[id.index()].as_ref();
        let phase = http
            .expect("connections in the eviction queues have HTTP state")
            .phase();
        tracing::debug!(connection = %id, ?phase, "too many connections, evicted");
        self.shard.count_evicted();
        self.disconnect(id);
    }

    /// Closes an HTTP connection in any state, without a response. Memory that the kernel may read
    /// is freed when its send has completed, the rest now.
    fn disconnect(&mut self, id: ConnectionId) {
        let http = self.http[id.index()].as_mut();
        let http = http.expect("an aborted HTTP connection has it");
        if let Some(place) = http.place.take() {
            self.eviction.remove(place);
        }
        let is_unread = !http.is_quiet();
        if http.is_sending() {
            http.drop_buffers();
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

    /// Closes connections whose requests are incomplete, or whose responses are unread, after their
    /// timeout. Those that have begun a request are sent a 408.
    pub(super) fn end_expired(&mut self) {
        while let Some((id, phase)) = self.shard.poll_expired() {
            let Some(http) = &mut self.http[id.index()] else {
                self.shard.close_http(id);
                continue;
            };
            tracing::debug!(connection = %id, ?phase, "timed out");
            if phase != HttpPhase::Unread && http.end_with_response(TIMED_OUT) {
                if let Some(place) = http.place.take() {
                    self.eviction.remove(place);
                }
                self.after_http(id);
            } else {
                self.disconnect(id);
            }
        }
    }

    pub(super) fn drop_http(&mut self, id: ConnectionId) {
        if let Some(http) = &self.http[id.index()] {
            assert!(!http.is_sending(), "what the kernel holds is not freed");
            if http.paused {
                self.readings.push_back((id, true));
            }
            self.remove_http(id);
            self.shrank = true;
        }
    }

    /// Frees a connection's HTTP state, if it has one.
    pub(super) fn remove_http(&mut self, id: ConnectionId) {
        if let Some(http) = self.http[id.index()].take()
            && let Some(place) = http.place
        {
            self.eviction.remove(place);
        }
    }

    /// Polls hyper until it waits, and runs the commands of its requests.
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
                    self.shard.reject(id, RejectionKind::Request, "malformed");
                    break;
                }
                Progress::Upgraded(upgraded) => {
                    http.set_upgrade(upgraded);
                    self.finish_upgrade(id);
                    return;
                }
            }
            let worked = self.run_http_commands();
            let http = self.http[id.index()]
                .as_ref()
                .expect("commands close no connection");
            if !worked && !http.take_woken() {
                break;
            }
        }
        self.after_http(id);
    }

    /// Updates a connection after hyper has run: queues its send, or closes it; sets its timers and
    /// its eviction queue; pauses or resumes its socket.
    pub(super) fn after_http(&mut self, id: ConnectionId) {
        let Some(http) = &mut self.http[id.index()] else {
            return;
        };
        if !self.shard.is_http(id) {
            return; // the connection only waits for its send and its close
        }
        if self.closes_idle && http.is_at_rest() {
            http.drain();
        }
        if http.wants_to_send() {
            if !http.queued {
                http.queued = true;
                self.http_sends.push_back(id);
            }
        } else if http.is_done() && !http.is_sending() {
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
        let (has_progress, served) = (http.take_has_moved(), http.take_served());
        match phase {
            HttpPhase::Last => self.shard.handle_http_last(id),
            HttpPhase::Unread => self.shard.handle_http_phase(id, phase, has_progress),
            HttpPhase::Head | HttpPhase::Body | HttpPhase::Response | HttpPhase::Idle => {
                self.shard.handle_http_phase(id, phase, served);
            }
        }
        if let Some(place) = http.place {
            let standing = ConnectionState {
                phase,
                credit: http.take_credit(),
                has_progress,
                unread_bytes: http.unread_bytes(),
            };
            self.eviction.update(place, &standing, self.now);
        }
        if is_ending {
            return;
        }
        let (inbound, is_delayed) = (http.inbound_bytes(), http.delays_request());
        let pause = inbound > self.limits.http_in_bytes_max || (is_delayed && inbound > 0);
        let resume = inbound * 2 < self.limits.http_in_bytes_max && !is_delayed;
        if (pause && !http.paused) || (resume && http.paused) {
            http.paused = pause;
            self.readings.push_back((id, !pause));
        }
        self.enforce_unread_limit();
    }

    /// Evicts connections while clients that do not read hold too many bytes together.
    fn enforce_unread_limit(&mut self) {
        while let Some(id) = self.eviction.first_over_unread_max() {
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
            // Hyper waited for room in its output.
            self.poll_http(id);
        } else {
            self.after_http(id);
        }
    }

    /// Turns a connection whose upgrade was accepted into a session, once no send of it is pending.
    pub(super) fn finish_upgrade(&mut self, id: ConnectionId) {
        let http = self.http[id.index()]
            .as_mut()
            .expect("it has just been upgraded");
        if http.is_sending() || !self.shard.is_http(id) {
            return;
        }
        let upgraded = http.take_upgrade().expect("granted before");
        let peer_ended = http.peer_ended;
        self.drop_http(id);
        let mut input = self.open(id, *upgraded);
        self.feed_session(id, &mut input);
        if self.is_stopping {
            self.shard.close_session(id, CloseCause::Shutdown);
        }
        if peer_ended {
            self.handle_peer_end(id, false);
        }
    }

    /// Turns a connection into a session; returns the input that follows the request.
    fn open(&mut self, id: ConnectionId, upgraded: Upgraded) -> BytesMut {
        let Upgraded {
            route,
            format,
            admitted,
            greeting,
            input,
        } = upgraded;
        let is_kept = self.settings.routes[usize::from(route)].observes_ends;
        let opens = self.opens(route);
        let session = self
            .shard
            .handle_upgraded(id, route, format, &greeting, opens);
        let admission = &admitted.admission;
        if let Some(user) = &admission.user {
            self.shard.bind(id, user, ANY_EVENT);
        }
        self.shard.greet(id);
        self.shard.report_opened(id);
        self.pass_events(Some(&admission.profile));
        if is_kept {
            self.shard.count_host_bytes(id, admitted.kept_bytes());
        }
        for channel in &admission.channels {
            match self.shard.join(id, channel) {
                JoinResult::TooManyChannels => {
                    let path = &self.handle.routes()[usize::from(route)].path;
                    let channel = &**channel;
                    limited!(
                        WARN,
                        "a session opens on more channels than channels_per_session_max",
                        path,
                        channel
                    );
                }
                JoinResult::NamesLimit(limit) => self.shard.close_session(id, limit.close_cause()),
                JoinResult::Joined | JoinResult::AlreadyJoined | JoinResult::Invalid => {}
            }
        }
        if admitted.wants_fresh_channel {
            let name = &self.handle.routes()[usize::from(route)].name;
            let channel = format!(
                "{name}-{}",
                self.shard.random_text(FRESH_CHANNEL_CHARACTERS)
            );
            if let JoinResult::NamesLimit(limit) = self.shard.join(id, &channel) {
                self.shard.close_session(id, limit.close_cause());
            }
        }
        if is_kept && self.shard.is_open(id) {
            let state = self.begin_session(id, admitted, session);
            if opens {
                self.open_session(&state);
            }
        }
        self.process_ended_sessions();
        input
    }
}

/// Random characters in the name of a generated channel (docs/dialects/projectforge.md, "Upgrade").
const FRESH_CHANNEL_CHARACTERS: usize = 8;
