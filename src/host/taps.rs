//! Session reports to taps: sessions of a namespace that open and close.

use super::Host;
use crate::dialect::SessionReport;
use crate::handler::Profile;
use crate::runtime::wall_clock::rfc3339;
use crate::shard::SessionSnapshot;
use crate::vocabulary::content::{Content, Data};
use crate::vocabulary::id::ConnectionId;

impl Host {
    /// Reports a session that has opened and has joined no channel yet.
    pub(super) fn tap_opened_session(&mut self, id: ConnectionId, profile: &Profile) {
        if let Some(snapshot) = self.shard.snapshot(id) {
            self.tap_session(true, &snapshot, profile);
        }
    }

    /// Reports sessions that have ended.
    pub(super) fn tap_closed_sessions(&mut self) {
        while let Some(snapshot) = self.shard.poll_ended_snapshot() {
            let state = self.state_of(snapshot.session);
            let profile = state.map_or_else(Profile::default, |state| state.profile.clone());
            self.tap_session(false, &snapshot, &profile);
        }
    }

    fn tap_session(&mut self, is_open: bool, snapshot: &SessionSnapshot, profile: &Profile) {
        let mut routes = self.settings.routes.iter();
        let tap = routes.find(|it| it.is_tap && it.namespace == snapshot.namespace);
        let tap = tap.expect("what is watched has a tap");
        let statistics = &snapshot.statistics;
        let opened_ms = statistics.opened.begins_at_ms();
        let user = snapshot.user.as_deref().map(String::from_utf8_lossy);
        let fields = profile.fields.iter();
        let fields: Vec<(&str, &str)> = fields
            .map(|(field, value)| (field.as_str(), value.as_str()))
            .collect();
        let report = SessionReport {
            is_open,
            id: &snapshot.public_id.to_string(),
            user: user.as_deref(),
            name: &profile.name,
            fields: &fields,
            started: &rfc3339(self.settings.started_unix_ms + opened_ms),
            messages: [statistics.messages_sent, statistics.messages_received],
            bytes: [statistics.bytes_sent, statistics.bytes_received],
        };
        let mut json = Vec::new();
        let encoded = tap.dialect.report_session(&report, &mut json);
        let Some((event, channel)) = encoded else {
            return;
        };
        let content = Content {
            event,
            data: Data::Json(&json),
            channel: channel.into(),
            ..Content::default()
        };
        self.shard.publish_to_taps(snapshot.namespace, &content);
    }
}
