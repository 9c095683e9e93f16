//! What an engine has to show in the end: what each session received, what each publisher sent.

use std::collections::BTreeMap;

use super::pipe::End;
use super::session::{Pace, Session};
use super::wander::{Published, Wandering};
use super::{Engine, run};
use crate::judge::{Judge, Verdict};
use crate::protocol::Member;

/// One session's account.
#[derive(Debug)]
pub(crate) struct SessionAccount {
    pub(crate) member: Member,
    pub(crate) pace: Pace,
    /// How it ended; `None` while it has not.
    pub(crate) end: Option<End>,
    pub(crate) wandering: Option<Box<Wandering>>,
    judge: Judge,
    asked: u32,
}

/// One engine's accounts, or those of several.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    pub(crate) sessions: Vec<SessionAccount>,
    /// By group: who sent it how much.
    sent: BTreeMap<usize, Vec<(u32, u64)>>,
    /// Publications with their times, where members come and go.
    pub(crate) published: Vec<Published>,
}

impl Engine {
    /// Closes the books. The sessions go on, with nothing in theirs.
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
            let speaker = run::speaker_of(state.member);
            accounts.note_sent(state.member.group, speaker, std::mem::take(&mut state.said));
            accounts.sessions.push(SessionAccount {
                member: state.member,
                pace: state.pace,
                end: state.end.filter(|_| has_ended),
                wandering: state.wandering.take(),
                judge: std::mem::take(&mut state.judge),
                asked: std::mem::take(&mut state.asked),
            });
        }
        accounts
    }
}

impl Accounts {
    /// Adds another engine's.
    pub(crate) fn add(&mut self, other: Self) {
        self.sessions.extend(other.sessions);
        self.published.extend(other.published);
        for (group, more) in other.sent {
            self.sent.entry(group).or_default().extend(more);
        }
    }

    /// The verdict over all sessions but those that come and go, who are judged by when they were
    /// there. One that reads slowly and was let go may miss the end.
    pub(crate) fn verdict(&self) -> Verdict {
        let mut all = Verdict::default();
        for session in self
            .sessions
            .iter()
            .filter(|session| session.wandering.is_none())
        {
            let mut sent = self
                .sent
                .get(&session.member.group)
                .cloned()
                .unwrap_or_default();
            if session.asked > 0 {
                sent.push((run::asker_of(session.member), u64::from(session.asked)));
            }
            let is_whole = session.pace == Pace::Eager || session.end.is_none();
            all.add(session.judge.verdict(&sent, is_whole));
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
