//! The server API and the health, as HTTP: statuses, headers, bodies.

use super::answer::{self, Answer};
use super::service::{self, Context, Line};
use crate::api::{ApiAnswer, Endpoint, Look};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

/// Answers a request under the API's root, or for the health.
pub(super) async fn serve(context: &Context, line: &Line, head: Parts, body: Incoming) -> Answer {
    let path = head.uri.path();
    if !context.api.is_at(path) {
        return health(context, &head).await;
    }
    let endpoint = match context.api.endpoint(head.method.as_str(), path) {
        Ok(endpoint) => endpoint,
        Err(wrong) => return worded(wrong),
    };
    let is_for_all = endpoint == Endpoint::Look(Look::OpenApi);
    if !is_for_all && !context.api.admits(&head.headers) {
        return worded(ApiAnswer::unauthorized());
    }
    let what = match endpoint {
        Endpoint::Act(what) => what,
        Endpoint::Look(what) => {
            let query = head.uri.query();
            return worded(context.api.look(&context.handle, &what, query).await);
        }
    };
    let body = match service::whole_body(context, line, &head, body).await {
        Ok(body) => body,
        Err(refusal) => return worded(ApiAnswer::of_refused_body(refusal.status().as_u16())),
    };
    let (handle, headers) = (&context.handle, &head.headers);
    let acted = context
        .api
        .act(handle, what, headers, path, body.as_slice());
    worded(acted.await)
}

async fn health(context: &Context, head: &Parts) -> Answer {
    if head.method != Method::GET && head.method != Method::HEAD {
        let mut answer = answer::empty(StatusCode::METHOD_NOT_ALLOWED);
        let allow = HeaderValue::from_static("GET, HEAD");
        answer.headers_mut().insert(ALLOW, allow);
        return answer;
    }
    let health = if context.is_stopping.get() {
        crate::api::Api::stopping()
    } else {
        let tells_all = context.api.tells_all(&head.headers);
        context.api.health(&context.handle, tells_all).await
    };
    let mut answer = worded(health);
    let no_store = HeaderValue::from_static("no-store");
    answer.headers_mut().insert(CACHE_CONTROL, no_store);
    answer
}

fn worded(said: ApiAnswer) -> Answer {
    let status = StatusCode::from_u16(said.status).expect("a status of ours");
    let mut answer = answer::json(status, said.json);
    let headers = answer.headers_mut();
    if let Some(allow) = said.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if said.is_replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    match status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    answer
}

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
