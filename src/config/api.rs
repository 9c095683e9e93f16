//! The server API: who may use it, and its bounds.

use super::secret::Secret;
use crate::limits::ApiLimits;

/// The server API, under `/api/v1/`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Api {
    /// Whether it is served; see [`Config::serves_api`](super::Config::serves_api).
    pub enabled: Option<bool>,
    /// What a request must show, as `Authorization: Bearer <key>` or `X-Api-Key: <key>`: one of
    /// these, at most 64, so that keys can be changed one after the other. Without any, nothing.
    pub keys: Vec<Secret>,
    /// The bounds of what is asked.
    pub limits: ApiLimits,
}

/// Where the server API is; while it is served, nothing else is there.
pub(super) const API_ROOT: &str = "/api/";
