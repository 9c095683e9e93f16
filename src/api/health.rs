//! The health report: a status for load balancers, and details for authorized callers.
//!
//! ```text
//!   {"status": "ok", "version": "0.1.0", "shards": 4}
//!   {"status": "degraded", .., "sessions": 12, "backends": [{"name": "b", "state": "down", ..}],
//!    "limits": {"sessions_max": 19744, "http_connections_max": 1024, "open_files_max": 20000}}
//!   {"status": "stopping"}                                                                  503
//! ```

use super::response::ApiResponse;
use super::run::with_timeout;
use super::{Api, Caller};
use crate::handler::Handle;
use crate::vocabulary::limits::ProcessLimits;
use hyper::http::request::Parts;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

/// A function that returns the state of the hooks' backends: one JSON object for each, whose member
/// `state` is `down` if the backend does not respond.
pub(crate) type BackendReport = Arc<dyn Fn() -> Vec<Value> + Send + Sync>;

#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
    shards: usize,
    #[serde(flatten)]
    more: Option<More>,
}

/// The details for callers that may use the API.
#[derive(Serialize)]
struct More {
    /// `None` if the shards are too busy to count.
    sessions: Option<usize>,
    backends: Vec<Value>,
    limits: HealthLimits,
}

/// Limits of the process. `http_connections_max` is that of one shard.
#[derive(Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "they are the names of the limits in the report"
)]
struct HealthLimits {
    sessions_max: usize,
    http_connections_max: usize,
    open_files_max: usize,
}

#[derive(Serialize)]
struct HealthStopping {
    status: &'static str,
}

impl From<ProcessLimits> for HealthLimits {
    fn from(limits: ProcessLimits) -> Self {
        Self {
            sessions_max: limits.sessions_max,
            http_connections_max: limits.http_connections_max,
            open_files_max: limits.open_files_max,
        }
    }
}

impl Api {
    /// Returns the health report.
    pub(crate) async fn health(
        &self,
        head: &Parts,
        handle: &Handle,
        is_stopping: bool,
    ) -> ApiResponse {
        if is_stopping {
            let status = "stopping";
            return ApiResponse::new(503, &HealthStopping { status });
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
            Caller::Unknown | Caller::NotLocalError(_) => false,
        };
        let more = if may_know {
            let counts = with_timeout(handle.sessions_count(), &self.limits)
                .await
                .ok();
            Some(More {
                sessions: counts.map(|counts| counts.into_iter().sum()),
                backends,
                limits: HealthLimits::from(self.process_limits),
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
