//! The server API: its keys, its openness and its limits.

use super::key::{Table, keys};
use super::secret::Secret;
use super::texts;
use crate::vocabulary::limits::ApiLimits;

keys! {
    /// The server API, under `/api/v1/`: `[api]`.
    pub struct Api {
        /// Serves the server API. Without this key it is served if `keys` is set, if only this
        /// machine can connect, or with `--insecure`. While it is served, no other path may be
        /// under `/api/`.
        pub enabled: Option<bool> = None, example("true");

        /// Serves requests without a key or secret if nothing in them shows that they come from
        /// elsewhere: at the server API, `push_path`, `drop_path` and `tap_path`, and upgrades with
        /// a header `x-user-id`. A request comes from this machine if both ends of its connection
        /// are on it, it is HTTP/1.1, `Host` is localhost or a loopback address, it has no header
        /// of a proxy (`Forwarded`, `X-Forwarded-*`, `X-Real-IP`, `Via`, `CF-*`), and `Origin`, if
        /// any, is of this machine too. A proxy on this machine that sets none of these headers
        /// cannot be detected; behind such a proxy, use `false`.
        pub open: bool = true;

        /// The keys of the server API. A request must show one of them, as `Authorization: Bearer
        /// KEY` or `X-Api-Key: KEY`. At most 64, so that keys can be rotated. Without keys, only
        /// requests of this machine are served; see `open`.
        pub keys: Vec<Secret> = Vec::new(),
            example("[\"...\"]"), count(0, 64), check(texts::bearer), distinct;

        /// The origins of pages whose requests browsers may send to the server API (CORS), at most
        /// 64, each such as `https://a.example` or `http://a.example:8080`, in lower case. Their
        /// requests need a key.
        pub allowed_origins: Vec<String> = Vec::new(),
            example("[\"https://a.example\"]"), count(0, texts::ORIGINS_MAX), check(texts::origin);

        ..
        /// The limits of requests and of idempotency keys.
        pub limits: ApiLimits;
    }
}

impl Table for Api {}

impl Default for Api {
    fn default() -> Self {
        super::key::Keys::blank()
    }
}

/// The root of the server API; while it is served, no other path may be under it.
pub(super) const API_ROOT: &str = "/api/";
