//! Requests that are sent again: what a client repeats under the same `Idempotency-Key` is done
//! once, on whichever shard it arrives.
//!
//! ```text
//!   a key comes       it is ..                    answer
//!   first             remembered, with what       the answer, which is remembered
//!                     it is the key of
//!   again, meanwhile  being worked on             409 in_progress
//!   again, later      done                        the same answer, Idempotent-Replayed: true
//!   with another      not the same request        422 key_reused
//!   request
//! ```
//!
//! What was refused before anything was done is forgotten: it may be tried again under its key.

use super::ApiAnswer;
use super::error::ApiError;
use crate::limits::ApiLimits;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use std::hash::Hasher as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The keys that are remembered, of all shards.
pub(super) struct Store {
    seen: Cache<Name, Arc<Entry>>,
    answer_bytes_max: usize,
}

/// An idempotency key, and which API key it belongs to.
type Name = (Option<usize>, Box<[u8]>);

struct Entry {
    /// What it is the key of.
    request: u128,
    answer: OnceLock<ApiAnswer>,
}

/// What is known of a request's key.
pub(super) enum Seen<'s> {
    /// It is new: do it, and say what came of it.
    First(Running<'s>),
    /// It has been answered so.
    Before(ApiAnswer),
}

/// A request that is being worked on. Whoever stops waiting for it leaves behind that it may have
/// been done.
pub(super) struct Running<'s> {
    store: &'s Store,
    name: Name,
    entry: Arc<Entry>,
}

impl Store {
    pub(super) fn new(limits: &ApiLimits) -> Self {
        let seen = Cache::builder()
            .max_capacity(limits.idempotency_keys_max.into())
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(Duration::from_millis(limits.idempotency_ttl_ms.into()))
            .build();
        Self {
            seen,
            answer_bytes_max: limits.idempotency_answer_bytes_max as usize,
        }
    }

    /// Looks a key up, and remembers it if it is new.
    pub(super) fn look(
        &self,
        api_key: Option<usize>,
        key: &[u8],
        path: &str,
        body: &[u8],
    ) -> Result<Seen<'_>, ApiError> {
        let is_visible = |byte: &u8| (b'!'..=b'~').contains(byte);
        if !(1..=KEY_BYTES_MAX).contains(&key.len()) || !key.iter().all(is_visible) {
            let message = "has 1 to 255 visible ASCII characters";
            return Err(ApiError::bad("Idempotency-Key", message));
        }
        let name: Name = (api_key, key.into());
        let request = fingerprint(path, body);
        let new = || {
            Arc::new(Entry {
                request,
                answer: OnceLock::new(),
            })
        };
        let found = self.seen.entry_by_ref(&name).or_insert_with(new);
        let (is_new, entry) = (found.is_fresh(), found.into_value());
        if is_new {
            let store = self;
            return Ok(Seen::First(Running { store, name, entry }));
        }
        if entry.request != request {
            return Err(ApiError::key_reused());
        }
        match entry.answer.get() {
            None => Err(ApiError::in_progress()),
            Some(answer) => Ok(Seen::Before(ApiAnswer {
                is_replayed: true,
                ..answer.clone()
            })),
        }
    }
}

impl Running<'_> {
    /// Remembers what came of it, unless nothing was done.
    pub(super) fn finish(self, answer: &ApiAnswer) {
        let is_busy = *answer == ApiError::busy().answer();
        let is_refused = answer.status >= 400 && *answer != ApiError::timed_out().answer();
        let kept = if answer.json.len() > self.store.answer_bytes_max {
            ApiError::not_replayable().answer()
        } else {
            answer.clone()
        };
        // Set in any case, so that whoever has the entry in hand is answered.
        drop(self.entry.answer.set(kept));
        if is_busy || is_refused {
            self.store.seen.invalidate(&self.name);
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // It was given up before it was answered, unless it is set already.
        drop(self.entry.answer.set(ApiError::timed_out().answer()));
    }
}

/// A number that another request does not have by chance.
fn fingerprint(path: &str, body: &[u8]) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write_usize(path.len());
    hasher.write(path.as_bytes());
    hasher.write(body);
    hasher.finish128().as_u128()
}

/// The longest key, in bytes.
const KEY_BYTES_MAX: usize = 255;
