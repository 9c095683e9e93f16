//! What those who are shown a namespace's traffic are told of sessions that open and close.

use super::Host;
use crate::dialect::SessionReport;
use crate::handler::Profile;
use crate::runtime::wall_clock::rfc3339;
use crate::shard::Sighting;
use crate::vocabulary::content::{Content, Data};
use crate::vocabulary::id::ConnectionId;

impl Host {
    /// A session has opened, and joined nothing yet.
    pub(super) fn show_arrival(&mut self, id: ConnectionId, profile: &Profile) {
        if let Some(sighting) = self.shard.sighting(id) {
            self.show_session(true, &sighting, profile);
        }
    }

    /// Sessions may have ended.
    pub(super) fn show_departures(&mut self) {
        while let Some(sighting) = self.shard.poll_departure() {
            let state = self.state_of(sighting.session);
            let profile = state.map_or_else(Profile::default, |state| state.profile.clone());
            self.show_session(false, &sighting, &profile);
        }
    }

    fn show_session(&mut self, is_open: bool, sighting: &Sighting, profile: &Profile) {
        let mut routes = self.settings.routes.iter();
        let tap = routes.find(|it| it.watches && it.namespace == sighting.namespace);
        let tap = tap.expect("what is watched has a tap");
        let statistics = &sighting.statistics;
        let opened_ms = statistics.opened.begins_at_ms();
        let user = sighting.user.as_deref().map(String::from_utf8_lossy);
        let fields = profile.fields.iter();
        let fields: Vec<(&str, &str)> = fields
            .map(|(field, value)| (field.as_str(), value.as_str()))
            .collect();
        let report = SessionReport {
            is_open,
            id: &sighting.public_id.to_string(),
            user: user.as_deref(),
            name: &profile.name,
            fields: &fields,
            started: &rfc3339(self.settings.started_unix_ms + opened_ms),
            messages: [statistics.messages_sent, statistics.messages_received],
            bytes: [statistics.bytes_sent, statistics.bytes_received],
        };
        let mut json = Vec::new();
        let told = tap.dialect.report_session(&report, &mut json);
        let Some((event, channel)) = told else {
            return;
        };
        let content = Content {
            event,
            data: Data::Json(&json),
            channel: channel.into(),
            ..Content::default()
        };
        self.shard.show(sighting.namespace, &content);
    }
}
