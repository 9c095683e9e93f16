//! Taps: a listener that publishes the events of a namespace to its tap sessions.

use super::Host;
use crate::dialect::SessionReport;
use crate::handler::Profile;
use crate::runtime::wall_clock::rfc3339;
use crate::shard::{Event, SessionSnapshot};
use crate::vocabulary::content::{Content, Data};

impl Host {
    /// Publishes an event to the taps of its namespace. `opening` is the profile of a session that
    /// is being opened.
    pub(super) fn tap_event(&mut self, event: &Event, opening: Option<&Profile>) {
        let (namespace, message) = match event {
            Event::Opened(snapshot) => {
                let profile = opening.cloned().unwrap_or_default();
                return self.tap_session(true, snapshot, &profile);
            }
            Event::Ended {
                snapshot: Some(snapshot),
                ..
            } => {
                let state = self.state_of(snapshot.session.session);
                let profile = state.map_or_else(Profile::default, |state| state.profile.clone());
                return self.tap_session(false, snapshot, &profile);
            }
            Event::Called(session, message) | Event::Replied(session, message) => {
                (session.namespace, message)
            }
            Event::Published { namespace, message } => (*namespace, message),
            Event::Ended { snapshot: None, .. }
            | Event::Rejected { .. }
            | Event::MessageIn(..)
            | Event::MessageOut(..)
            | Event::Joined(..)
            | Event::Left(..)
            | Event::Dropped(..) => return,
        };
        self.publish_to_taps(namespace, &message.borrow());
    }

    fn tap_session(&mut self, is_open: bool, snapshot: &SessionSnapshot, profile: &Profile) {
        let mut routes = self.settings.routes.iter();
        let namespace = snapshot.session.namespace;
        let Some(tap) = routes.find(|it| it.is_tap && it.namespace == namespace) else {
            return;
        };
        let statistics = &snapshot.statistics;
        let opened_ms = statistics.opened.begins_at_ms();
        let user = snapshot.user.as_deref().map(String::from_utf8_lossy);
        let fields = profile.fields.iter();
        let fields: Vec<(&str, &str)> = fields
            .map(|(field, value)| (field.as_str(), value.as_str()))
            .collect();
        let report = SessionReport {
            is_open,
            id: &snapshot.session.public_id.to_string(),
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
        self.publish_to_taps(namespace, &content);
    }

    fn publish_to_taps(&mut self, namespace: u16, content: &Content<'_>) {
        if self.shard.has_taps(namespace) {
            self.shard.publish_to_taps(namespace, content);
        }
    }
}
