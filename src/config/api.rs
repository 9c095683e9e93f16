//! The server API: who may use it, and its bounds.

use super::secret::Secret;
use crate::vocabulary::limits::ApiLimits;

/// The server API, under `/api/v1/`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Api {
    /// Whether it is served; see [`Config::serves_api`](super::Config::serves_api).
    pub enabled: Option<bool>,
    /// Whether requests of this machine need no key: see
    /// [`Config::trusts_this_machine`](super::Config::trusts_this_machine). `false` is for a
    /// gateway behind a proxy on the same machine that leaves no trace in a request.
    pub open: bool,
    /// What a request must show, as `Authorization: Bearer <key>` or `X-Api-Key: <key>`: one of
    /// these, at most 64, so that keys can be changed one after the other. Without any, nothing,
    /// and requests are served as [`Api::open`] says.
    pub keys: Vec<Secret>,
    /// The origins of pages that browsers let use the API (CORS), at most 64, each
    /// `scheme://host` or `scheme://host:port` in lower case.
    pub allowed_origins: Vec<String>,
    /// The bounds of what is asked.
    pub limits: ApiLimits,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            enabled: None,
            open: true,
            keys: Vec::new(),
            allowed_origins: Vec::new(),
            limits: ApiLimits::default(),
        }
    }
}

/// Where the server API is; while it is served, nothing else is there.
pub(super) const API_ROOT: &str = "/api/";
