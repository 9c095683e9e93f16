//! The HTTP side of the server API and of the health report.
//!
//! A request with an idempotency key runs as a task of the shard: a repetition gets its response
//! even if the first connection is gone. All other requests are polled with their connection.

use super::body::{BodyError, read_whole};
use super::connection_context::{ConnectionContext, Credit};
use super::response::{self, HttpResponse};
use super::service::HttpContext;
use crate::api::{Api, ApiResponse, Caller, Problem, Started};
use crate::auth::BEARER_CHALLENGE;
use crate::handler::Label;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use std::sync::Arc;

/// Serves a request to the API.
pub(super) async fn serve(
    context: &HttpContext,
    connection: &ConnectionContext,
    head: Parts,
    body: Incoming,
) -> HttpResponse {
    let caller = context.api.caller(&head);
    let result = handle(context, connection, &head, caller, body).await;
    let result = result.unwrap_or_else(|response| response);
    if Api::is_authorized(&head, caller, result.status) {
        connection.add_credit(Credit::Authorized);
    }
    let mut response = to_http(result);
    context.api.add_cors(&head, response.headers_mut());
    context.note_response(connection, response.status(), head.uri.path());
    response
}

/// Serves the health report.
pub(super) async fn health(
    context: &HttpContext,
    connection: &ConnectionContext,
    head: &Parts,
) -> HttpResponse {
    if head.method != Method::GET && head.method != Method::HEAD {
        let mut response = response::method_not_allowed("GET, HEAD, OPTIONS");
        if head.method == Method::OPTIONS {
            *response.status_mut() = StatusCode::NO_CONTENT;
        }
        return response;
    }
    connection.add_credit(Credit::Health);
    let is_stopping = context.is_stopping.get();
    let health = context.api.health(head, &context.handle, is_stopping);
    to_http(health.await)
}

async fn handle(
    context: &HttpContext,
    connection: &ConnectionContext,
    head: &Parts,
    caller: Caller,
    body: Incoming,
) -> Result<ApiResponse, ApiResponse> {
    let (api, handle) = (&context.api, &context.handle);
    let post = match api.begin(head, caller, handle)? {
        Started::Response(response) => return Ok(response),
        Started::Lookup(lookup) => return Ok(api.read_list(lookup, handle).await),
        Started::Post(post) => post,
    };
    let read = read_whole(context, connection, head, body).await;
    // The parsed task uses about as much memory as its body, so the body's bytes stay counted.
    let (body, _held) = read.map_err(|bad| problem_of(bad).response())?;
    let task = api.read(post, head, body.as_slice(), handle);
    let mut task = task.map_err(|problem| problem.response())?;
    drop(body);
    let claimed = api.claim(&mut task)?;
    if context.rejects_work.get() {
        return Err(Api::stopping_response(claimed));
    }
    let Some(claimed) = claimed else {
        return Ok(api.execute(task, None, handle).await);
    };
    let (api, handle) = (Arc::clone(api), handle.clone());
    let work = async move { api.execute(task, Some(claimed), &handle).await };
    let ran = context.run(Label::API, Box::pin(work), None).await;
    ran.map_err(|_| Problem::internal().response())
}

fn problem_of(bad: BodyError) -> Problem {
    match bad {
        BodyError::Broken => Problem::broken_body(),
        BodyError::TooLarge => Problem::body_too_large(),
        BodyError::Overloaded => Problem::overloaded(),
        BodyError::Coding => Problem::unsupported_encoding(),
        BodyError::NotGzip => Problem::not_gzip(),
    }
}

/// Converts a response of the API to an HTTP response.
fn to_http(result: ApiResponse) -> HttpResponse {
    let status = StatusCode::from_u16(result.status);
    let mut response = response::text(status.expect("the table has statuses"), result.body);
    let headers = response.headers_mut();
    if result.status == 204 {
        headers.remove(CONTENT_TYPE);
    } else {
        headers.insert(CONTENT_TYPE, JSON);
    }
    match result.status {
        401 => drop(headers.insert(WWW_AUTHENTICATE, BEARER_CHALLENGE)),
        415 => drop(headers.insert(ACCEPT_ENCODING, response::READ_ENCODINGS)),
        503 => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
        _ => {}
    }
    if let Some(allow) = result.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if result.is_replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
