//! The records of received and published messages that an engine hands over after its phases.

use std::collections::BTreeMap;

use super::churn::{MembershipLog, Published};
use super::pipe::EndCause;
use super::session::{Pace, Session};
use super::{Engine, run};
use crate::delivery_check::{DeliveryCheck, DeliveryErrors};
use crate::protocol::Member;

/// The record of one session.
#[derive(Debug)]
pub(crate) struct SessionAccount {
    pub(crate) member: Member,
    pub(crate) pace: Pace,
    /// The end of the session; `None` if it is still open.
    pub(crate) end: Option<EndCause>,
    pub(crate) membership_log: Option<Box<MembershipLog>>,
    check: DeliveryCheck,
    commands_sent: u32,
}

/// The records of one engine or of several.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    pub(crate) sessions: Vec<SessionAccount>,
    /// Per group: publishers and the number of messages that each sent to it.
    sent: BTreeMap<usize, Vec<(u32, u64)>>,
    /// Publications with their times; empty unless `Setup::keeps_times`.
    pub(crate) published: Vec<Published>,
}

impl Engine {
    /// Takes the records. The sessions stay open and begin new, empty records.
    pub(crate) fn accounts(&mut self) -> Accounts {
        let mut accounts = Accounts {
            published: std::mem::take(&mut self.published),
            ..Accounts::default()
        };
        for (publisher, sent) in (0..).zip(&mut self.publishers) {
            for (group, messages) in sent.sent.iter_mut().enumerate() {
                accounts.note_sent(group, publisher, std::mem::take(messages));
            }
        }
        for session in &mut self.sessions {
            let has_ended = session.has_ended();
            let Session { state, .. } = session;
            let publisher = run::publisher_of(state.member);
            accounts.note_sent(
                state.member.group,
                publisher,
                std::mem::take(&mut state.messages_sent),
            );
            accounts.sessions.push(SessionAccount {
                member: state.member,
                pace: state.pace,
                end: state.end.filter(|_| has_ended),
                membership_log: state.membership_log.take(),
                check: std::mem::take(&mut state.check),
                commands_sent: std::mem::take(&mut state.commands_sent),
            });
        }
        accounts
    }
}

impl Accounts {
    /// Adds the records of another engine.
    pub(crate) fn add(&mut self, other: Self) {
        self.sessions.extend(other.sessions);
        self.published.extend(other.published);
        for (group, more) in other.sent {
            self.sent.entry(group).or_default().extend(more);
        }
    }

    /// Returns the delivery errors of all sessions except those that join and leave, which need
    /// the times of their memberships. A slow session that was disconnected may miss the end.
    pub(crate) fn errors(&self) -> DeliveryErrors {
        let mut all = DeliveryErrors::default();
        for session in self
            .sessions
            .iter()
            .filter(|session| session.membership_log.is_none())
        {
            let mut sent = self
                .sent
                .get(&session.member.group)
                .cloned()
                .unwrap_or_default();
            if session.commands_sent > 0 {
                sent.push((
                    run::commander_of(session.member),
                    u64::from(session.commands_sent),
                ));
            }
            let is_whole = session.pace == Pace::Eager || session.end.is_none();
            all.add(session.check.errors(&sent, is_whole));
        }
        all
    }

    fn note_sent(&mut self, group: usize, publisher: u32, messages: u32) {
        if messages > 0 {
            let sent = self.sent.entry(group).or_default();
            sent.push((publisher, u64::from(messages)));
        }
    }
}
