//! How the gateway is, for whoever decides whether it gets traffic, and more for whoever may know.
//!
//! ```text
//!   {"status": "ok", "version": "0.1.0", "shards": 4}
//!   {"status": "degraded", .., "sessions": 12, "backends": [{"name": "b", "state": "down", ..}],
//!    "limits": {"sessions_max": 19744, "http_connections_max": 1024, "open_files_max": 20000}}
//!   {"status": "stopping"}                                                                  503
//! ```

use super::response::ApiResponse;
use super::run::bounded;
use super::{Api, Caller};
use crate::handler::Handle;
use crate::vocabulary::limits::ProcessLimits;
use hyper::http::request::Parts;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

/// Says how the backends of hooks are, one JSON object for each, with a member `state` that is
/// `down` where one does not answer.
pub(crate) type BackendReport = Arc<dyn Fn() -> Vec<Value> + Send + Sync>;

#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
    shards: usize,
    #[serde(flatten)]
    more: Option<More>,
}

/// What only those are told who may use the API.
#[derive(Serialize)]
struct More {
    /// `None`: the shards have too much to do to say.
    sessions: Option<usize>,
    backends: Vec<Value>,
    limits: Limits,
}

/// Those of the process; HTTP connections are those of one shard.
#[derive(Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "they are the names of the limits in the report"
)]
struct Limits {
    sessions_max: usize,
    http_connections_max: usize,
    open_files_max: usize,
}

#[derive(Serialize)]
struct Stopping {
    status: &'static str,
}

impl From<ProcessLimits> for Limits {
    fn from(limits: ProcessLimits) -> Self {
        Self {
            sessions_max: limits.sessions_max,
            http_connections_max: limits.http_connections_max,
            open_files_max: limits.open_files_max,
        }
    }
}

impl Api {
    /// How the gateway is.
    pub(crate) async fn health(
        &self,
        head: &Parts,
        handle: &Handle,
        is_stopping: bool,
    ) -> ApiResponse {
        if is_stopping {
            let status = "stopping";
            return ApiResponse::new(503, &Stopping { status });
        }
        let backends = (self.backends)();
        let is_down = |backend: &Value| backend["state"] == "down";
        let status = if backends.iter().any(is_down) {
            "degraded"
        } else {
            "ok"
        };
        let may_know = match self.caller(head) {
            Caller::Key(_) | Caller::Anyone => self.is_served,
            Caller::Unknown | Caller::NotLocal(_) => false,
        };
        let more = if may_know {
            let counts = bounded(handle.sessions_count(), &self.bounds).await.ok();
            Some(More {
                sessions: counts.map(|counts| counts.into_iter().sum()),
                backends,
                limits: Limits::from(self.process_limits),
            })
        } else {
            None
        };
        let health = Health {
            status,
            version: env!("CARGO_PKG_VERSION"),
            shards: handle.shards_count(),
            more,
        };
        ApiResponse::new(200, &health)
    }
}
