//! Idempotency keys: a repeated request is processed once and gets the same response again.
//!
//! ```text
//!   claim --> in progress --> response stored --> the same response again, until it expires
//!                         \-> nothing was done --> the key is unused again
//! ```
//!
//! All shards of the process share the stored responses. Of two concurrent claims of a key one
//! succeeds. A key is scoped to the API key of its request. If the owner of a claim is dropped
//! without a response, the request may have been processed; the stored response says so.
//!
//! Claims are kept apart from the stored responses, so that they neither expire nor are evicted
//! while their requests are processed. There are never more claims than requests in progress.
//!
//! The stored responses are limited in number and in bytes. The cache has one capacity, so each
//! entry weighs its bytes, but at least the capacity divided by the maximum number.

#![expect(
    clippy::disallowed_types,
    reason = "a key may arrive at any shard; only requests with one take the lock, for a lookup"
)]

use super::expiry::ExpiryClock;
use super::problem::{Code, Problem};
use super::response::ApiResponse;
use crate::vocabulary::limits::ApiLimits;
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::HeaderName;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The store of responses to requests with a key.
#[derive(Clone)]
pub(super) struct ResponseCache {
    /// Requests in progress.
    running: Arc<Mutex<BTreeMap<RequestKey, Fingerprint>>>,
    cache: Cache<RequestKey, StoredResponse>,
    expiry: ExpiryClock,
    answer_bytes_max: usize,
    capacity: Capacity,
}

/// The capacity of the store, in units of [`UNIT_BYTES`].
#[derive(Clone, Copy, Debug)]
struct Capacity {
    units: u64,
    /// Minimum weight of an entry.
    units_min: u64,
}

impl Capacity {
    fn of(limits: &ApiLimits) -> Self {
        let (units, keys) = (
            limits.idempotency_bytes_max / UNIT_BYTES,
            u64::from(limits.idempotency_keys_max),
        );
        let units_min = (units / keys).max(1);
        Self {
            units: units.min(units_min * keys),
            units_min,
        }
    }

    fn weight(self, key: &RequestKey, body_bytes: usize) -> u64 {
        let bytes = ENTRY_BYTES + key.name.len() + body_bytes;
        (bytes as u64).div_ceil(UNIT_BYTES).max(self.units_min)
    }
}

/// An idempotency key with the caller that it belongs to.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct RequestKey {
    /// The index of the request's API key in the config.
    pub(super) caller: usize,
    name: Box<str>,
}

/// A hash of a request's path, query and body, to detect a key that is used for another request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Fingerprint(u128);

#[derive(Clone)]
struct StoredResponse {
    fingerprint: Fingerprint,
    outcome: StoredOutcome,
    /// The step of [`ExpiryClock`] at which the response was stored.
    stored_at: u64,
}

#[derive(Clone)]
enum StoredOutcome {
    Response(ApiResponse),
    TooLarge,
}

/// A claimed idempotency key. Its owner processes the request and stores the response.
#[derive(derive_more::Debug)]
#[debug("ClaimedKey {{ key: {key:?}, .. }}")]
pub(crate) struct ClaimedKey {
    cache: ResponseCache,
    key: RequestKey,
    fingerprint: Fingerprint,
    is_finished: bool,
}

impl ResponseCache {
    pub(super) fn new(limits: &ApiLimits) -> Self {
        let capacity = Capacity::of(limits);
        let cache = Cache::builder()
            .max_capacity(capacity.units)
            .weigher(move |key, remembered: &StoredResponse| {
                let weight = capacity.weight(key, remembered.body_bytes());
                u32::try_from(weight).expect("64 GiB are fewer units")
            })
            .eviction_policy(EvictionPolicy::lru())
            .support_invalidation_closures()
            .build();
        Self {
            running: Arc::default(),
            cache,
            expiry: ExpiryClock::new(Duration::from_millis(limits.idempotency_ttl_ms.into())),
            answer_bytes_max: limits.idempotency_answer_bytes_max as usize,
            capacity,
        }
    }

    /// Claims a key for a request.
    ///
    /// # Errors
    ///
    /// The response to send without processing the request: the stored one, or a problem.
    pub(super) fn claim(
        &self,
        key: RequestKey,
        fingerprint: Fingerprint,
    ) -> Result<ClaimedKey, ApiResponse> {
        let mut running = self.in_progress();
        match running.get(&key) {
            Some(before) if *before == fingerprint => {
                return Err(error_response(Code::InProgress, IN_PROGRESS));
            }
            Some(_) => return Err(error_response(Code::KeyReused, KEY_REUSED)),
            None => {}
        }
        // Looked up under the lock: a response is stored before its claim ends.
        if let Some(before) = self.stored(&key) {
            return Err(before.response_to(fingerprint));
        }
        running.insert(key.clone(), fingerprint);
        drop(running);
        Ok(ClaimedKey {
            cache: self.clone(),
            key,
            fingerprint,
            is_finished: false,
        })
    }

    fn in_progress(&self) -> MutexGuard<'_, BTreeMap<RequestKey, Fingerprint>> {
        // No code that holds the lock panics, so it is never poisoned.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stored(&self, key: &RequestKey) -> Option<StoredResponse> {
        let remembered = self.cache.get(key)?;
        (!self.expiry.is_expired(remembered.stored_at)).then_some(remembered)
    }

    fn store(&self, key: &RequestKey, fingerprint: Fingerprint, outcome: StoredOutcome) {
        let cache = self.cache.clone();
        let stored_at = self.expiry.store(move |oldest| {
            let is_over = move |_: &RequestKey, it: &StoredResponse| it.stored_at < oldest;
            let forgotten = cache.invalidate_entries_if(is_over);
            forgotten.expect("the cache was built with support for it");
            cache.run_pending_tasks();
        });
        let remembered = StoredResponse {
            fingerprint,
            outcome,
            stored_at,
        };
        self.cache.insert(key.clone(), remembered);
        // Evict now, not when the cache next runs its own tasks.
        self.cache.run_pending_tasks();
    }
}

impl StoredResponse {
    fn body_bytes(&self) -> usize {
        match &self.outcome {
            StoredOutcome::TooLarge => 0,
            StoredOutcome::Response(answer) => answer.body.len(),
        }
    }

    /// Returns the response to a repeated request with this fingerprint.
    fn response_to(self, fingerprint: Fingerprint) -> ApiResponse {
        match self.outcome {
            _ if self.fingerprint != fingerprint => error_response(Code::KeyReused, KEY_REUSED),
            StoredOutcome::TooLarge => error_response(Code::AnswerNotKept, ANSWER_NOT_KEPT),
            StoredOutcome::Response(answer) => ApiResponse {
                is_replayed: true,
                ..answer
            },
        }
    }
}

impl ClaimedKey {
    /// Stores the response to the processed request and returns it. Stores nothing if nothing was
    /// done.
    pub(super) fn store_response(mut self, answer: ApiResponse) -> ApiResponse {
        self.is_finished = true;
        if !answer.may_be_processed {
            return answer;
        }
        let ResponseCache {
            answer_bytes_max,
            capacity,
            ..
        } = self.cache;
        let body = &answer.body;
        let outcome = if body.len() > answer_bytes_max
            || capacity.weight(&self.key, body.len()) > capacity.units
        {
            StoredOutcome::TooLarge
        } else {
            StoredOutcome::Response(ApiResponse {
                // A copy has no unused capacity.
                body: Bytes::copy_from_slice(body),
                ..answer.clone()
            })
        };
        self.cache.store(&self.key, self.fingerprint, outcome);
        answer
    }
}

impl Drop for ClaimedKey {
    fn drop(&mut self) {
        if !self.is_finished {
            let unknown = StoredOutcome::Response(Problem::internal().response());
            self.cache.store(&self.key, self.fingerprint, unknown);
        }
        // Only now: the stored response must be visible before the claim ends.
        self.cache.in_progress().remove(&self.key);
    }
}

impl RequestKey {
    /// Reads the key of a request's head; `None` if there is none.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if the key is invalid or there are several.
    pub(super) fn read(headers: &HeaderMap, caller: usize) -> Result<Option<Self>, Problem> {
        let mut all = headers.get_all(&HEADER).iter();
        let (Some(value), second) = (all.next(), all.next()) else {
            return Ok(None);
        };
        let is_visible = |byte: &u8| byte.is_ascii_graphic();
        let value = value.as_bytes();
        let is_good = (1..=KEY_BYTES_MAX).contains(&value.len()) && value.iter().all(is_visible);
        match str::from_utf8(value) {
            Ok(name) if is_good && second.is_none() => Ok(Some(Self {
                caller,
                name: name.into(),
            })),
            _ => Err(Problem::of_field(
                HEADER_AS_WRITTEN,
                "Idempotency-Key must be sent once, with 1 to 255 visible ASCII characters",
            )),
        }
    }
}

impl Fingerprint {
    /// Returns the fingerprint of a request. `key` is random for each process.
    pub(super) fn of(key: [u64; 2], path: &str, query: Option<&str>, body: &[u8]) -> Self {
        let mut hasher = SipHasher24::new_with_keys(key[0], key[1]);
        let query = query.unwrap_or_default();
        for part in [path.as_bytes(), query.as_bytes(), body] {
            hasher.write_u64(part.len() as u64);
            hasher.write(part);
        }
        Self(hasher.finish128().as_u128())
    }
}

fn error_response(code: Code, message: &'static str) -> ApiResponse {
    Problem::new(code, message).at(HEADER_AS_WRITTEN).response()
}

impl fmt::Debug for ResponseCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseCache({})", self.cache.entry_count())
    }
}

const KEY_REUSED: &str = "the idempotency key was used for another request";
const IN_PROGRESS: &str = "a request with this idempotency key is in progress";
const ANSWER_NOT_KEPT: &str = "a request with this idempotency key was processed; its response was \
    too large to be kept (api.idempotency_answer_bytes_max)";
const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const HEADER_AS_WRITTEN: &str = "Idempotency-Key";
const KEY_BYTES_MAX: usize = 255;
/// Maximum memory of an entry besides the texts of its key and its response, in bytes.
const ENTRY_BYTES: usize = 1024;
/// Bytes of one unit of weight.
const UNIT_BYTES: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_tests::prng::Prng;

    fn cache(limits: ApiLimits) -> ResponseCache {
        ResponseCache::new(&limits)
    }

    fn key(caller: usize, name: &str) -> RequestKey {
        RequestKey {
            caller,
            name: name.into(),
        }
    }

    fn print(body: &str) -> Fingerprint {
        Fingerprint::of([1, 2], "/p", None, body.as_bytes())
    }

    fn done(text: &'static str) -> ApiResponse {
        ApiResponse {
            may_be_processed: true,
            ..ApiResponse::of_json(200, Bytes::from_static(text.as_bytes()))
        }
    }

    #[track_caller]
    fn rejected(cache: &ResponseCache, key: RequestKey, body: &str) -> u16 {
        let answer = cache.claim(key, print(body)).expect_err("it is taken");
        assert!(!answer.is_replayed);
        answer.status
    }

    #[test]
    fn a_request_is_carried_out_once_and_answered_the_same_again() {
        let cache = cache(ApiLimits::default());
        let claimed = cache.claim(key(0, "k"), print("a")).expect("it is new");
        assert_eq!(rejected(&cache, key(0, "k"), "a"), 409);
        assert_eq!(rejected(&cache, key(0, "k"), "b"), 422);
        let other = cache.claim(key(1, "k"), print("b")).expect("of another");
        assert_eq!(claimed.store_response(done("1")), done("1"));
        let again = cache.claim(key(0, "k"), print("a")).expect_err("known");
        let expected = ApiResponse {
            is_replayed: true,
            ..done("1")
        };
        assert_eq!(again, expected);
        assert_eq!(rejected(&cache, key(0, "k"), "b"), 422);
        drop(other.store_response(done("2")));
    }

    #[test]
    fn a_failed_request_is_not_stored_and_an_unknown_result_is() {
        let cache = cache(ApiLimits::default());
        let busy = Problem::overloaded().response();
        let claimed = cache.claim(key(0, "k"), print("a")).expect("it is new");
        assert_eq!(claimed.store_response(busy.clone()), busy);
        let claimed = cache.claim(key(0, "k"), print("b")).expect("new again");
        drop(claimed);
        let again = cache.claim(key(0, "k"), print("b")).expect_err("known");
        assert_eq!((again.status, again.is_replayed), (500, true));
    }

    #[test]
    fn a_response_too_large_to_store_is_remembered_as_given() {
        let cache = cache(ApiLimits {
            idempotency_answer_bytes_max: 1,
            ..ApiLimits::default()
        });
        let claimed = cache.claim(key(0, "k"), print("a")).expect("it is new");
        drop(claimed.store_response(done("12")));
        assert_eq!(rejected(&cache, key(0, "k"), "a"), 409);
    }

    #[test]
    fn the_key_not_used_for_longest_is_forgotten_first() {
        let cache = cache(ApiLimits {
            idempotency_keys_max: 2,
            ..ApiLimits::default()
        });
        for name in ["a", "b"] {
            let claimed = cache.claim(key(0, name), print("")).expect("it is new");
            drop(claimed.store_response(done("1")));
            cache.cache.run_pending_tasks();
        }
        assert!(cache.claim(key(0, "a"), print("")).is_err());
        cache.cache.run_pending_tasks();
        let third = cache.claim(key(0, "c"), print("")).expect("it is new");
        drop(third.store_response(done("1")));
        cache.cache.run_pending_tasks();
        assert!(cache.claim(key(0, "a"), print("")).is_err());
        assert!(cache.claim(key(0, "b"), print("")).is_ok());
    }

    /// Random responses of random sizes: after each one, the newest that fit are stored, within the
    /// limits of bytes and keys.
    #[test]
    fn stored_responses_respect_both_limits() {
        for seed in 0..20 {
            let mut prng = Prng::from_seed(seed);
            let limits = ApiLimits {
                idempotency_keys_max: prng.range(1, 200),
                idempotency_bytes_max: 65_536 + prng.below(1 << 20),
                ..ApiLimits::default()
            };
            let cache = cache(limits);
            for index in 0..200 {
                let name = format!("key {index}");
                let claimed = cache.claim(key(0, &name), print("")).expect("new");
                let body = Bytes::from(vec![b'x'; prng.range(0, 70_000) as usize]);
                let is_kept = body.len() <= 65_536 && body.len() + 2_000 < 65_536;
                let answer = ApiResponse { body, ..done("") };
                drop(claimed.store_response(answer.clone()));
                let again = cache.claim(key(0, &name), print("")).expect_err("known");
                if is_kept {
                    assert_eq!(again.body, answer.body, "the newest is there");
                }
                let entries = cache.cache.iter();
                let bytes = entries
                    .map(|(key, it)| (ENTRY_BYTES + key.name.len() + it.body_bytes()) as u64);
                assert!(bytes.sum::<u64>() <= limits.idempotency_bytes_max);
                let count = cache.cache.entry_count();
                assert!(count <= limits.idempotency_keys_max.into(), "{count}");
            }
        }
    }

    /// A response that can never fit is not stored, and its request is not repeated.
    #[test]
    fn a_response_larger_than_the_cache_is_stored_as_given() {
        let cache = cache(ApiLimits {
            idempotency_bytes_max: 65_536,
            idempotency_answer_bytes_max: 1 << 20,
            ..ApiLimits::default()
        });
        let claimed = cache.claim(key(0, "k"), print("a")).expect("it is new");
        let body = Bytes::from(vec![b'x'; 65_000]);
        drop(claimed.store_response(ApiResponse { body, ..done("") }));
        assert_eq!(rejected(&cache, key(0, "k"), "a"), 409);
    }

    #[test]
    fn a_claim_neither_expires_nor_is_evicted_while_its_request_runs() {
        let cache = cache(ApiLimits {
            idempotency_keys_max: 1,
            idempotency_ttl_ms: 64,
            ..ApiLimits::default()
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let claimed = cache.claim(key(0, "k"), print("a")).expect("it is new");
            let other = cache.claim(key(0, "o"), print("")).expect("it is new");
            drop(other.store_response(done("1")));
            // Until a younger response has expired.
            while let Err(answer) = cache.claim(key(0, "o"), print("")) {
                assert!(answer.is_replayed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            for name in ["x", "y", "z"] {
                let claimed = cache.claim(key(0, name), print("")).expect("it is new");
                drop(claimed.store_response(done("1")));
                cache.cache.run_pending_tasks();
            }
            assert_eq!(rejected(&cache, key(0, "k"), "a"), 409);
            assert_eq!(rejected(&cache, key(0, "k"), "b"), 422);
            assert_eq!(claimed.store_response(done("1")), done("1"));
            let again = cache.claim(key(0, "k"), print("a")).expect_err("known");
            assert!(again.is_replayed);
        });
    }

    #[test]
    fn requests_that_differ_anywhere_have_fingerprints_that_differ() {
        let of = |path, query, body: &str| Fingerprint::of([3, 4], path, query, body.as_bytes());
        let all = [
            of("/a", None, "bc"),
            of("/a", Some("b"), "c"),
            of("/ab", None, "c"),
            of("/a", None, "b"),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one));
        }
        assert_eq!(of("/a", None, "bc"), all[0]);
    }

    #[test]
    fn a_key_has_visible_characters_and_comes_once() {
        let read = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                let value = hyper::header::HeaderValue::from_bytes(value).expect("a value");
                headers.append(HEADER, value);
            }
            RequestKey::read(&headers, 7)
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[b"!~"]), Ok(Some(key(7, "!~"))));
        let longest = "k".repeat(255);
        assert_eq!(read(&[longest.as_bytes()]), Ok(Some(key(7, &longest))));
        let long = "k".repeat(256);
        for bad in [
            &[&b""[..]][..],
            &[b"a b"],
            &[b"\xe9"],
            &[long.as_bytes()],
            &[b"a", b"a"],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
