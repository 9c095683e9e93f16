//! Pushes and drops over HTTP on a route's own paths, apart from the server API.

use super::body::{BodyError, RequestBody, read_whole};
use super::connection_context::{ConnectionContext, Credit};
use super::response::{self, HttpResponse};
use super::service::{HttpCommand, HttpContext, has_bearer_secret};
use crate::auth::BEARER_CHALLENGE;
use crate::config::PushAuth;
use crate::dialect::DropRequest;
use crate::handler::{HeadFn, Registered, RequestHead};
use crate::shard::message::DropTarget;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

/// The authorization rules of pushes or drops on one path, and the route that they go to.
struct PushRules<'c> {
    route: u16,
    auth: &'c PushAuth,
    function: Option<&'c Registered<HeadFn>>,
}

impl PushRules<'_> {
    /// Returns the response that rejects an unauthorized request; `None` if it is authorized.
    fn rejection(&self, context: &HttpContext, head: &Parts) -> Option<HttpResponse> {
        let (is_authorized, challenge) = match self.auth {
            PushAuth::None => {
                let why = context.keyless.decide(head).err()?;
                return Some(response::forbidden(&format!(
                    "without a secret, only requests of this machine itself may push or drop, and \
                     {why}; set push_secret or push_header on the route"
                )));
            }
            PushAuth::Bearer { secret } => {
                (has_bearer_secret(&head.headers, secret), BEARER_CHALLENGE)
            }
            PushAuth::Header { name, value } => {
                let given = head.headers.get(name);
                let is_authorized = given.is_some_and(|given| value.matches(given.as_bytes()));
                (is_authorized, API_KEY_CHALLENGE)
            }
        };
        (!is_authorized).then(|| response::unauthorized(challenge))
    }

    /// Records the credit of a push or drop with a complete body: if a secret or function has
    /// authorized the request, or if the request succeeded (`is_done`).
    fn authorize(&self, connection: &ConnectionContext, is_done: bool) {
        let is_guarded = self.function.is_some() || *self.auth != PushAuth::None;
        if is_done || is_guarded {
            connection.add_credit(Credit::Authorized);
        }
    }
}

impl HttpContext {
    fn rules_of_push<'c>(&'c self, index: u16, auth: &'c PushAuth) -> PushRules<'c> {
        PushRules {
            route: index,
            auth,
            function: self.registry.routes[usize::from(index)]
                .authorize_push
                .as_ref(),
        }
    }
}

/// The operation of a POST.
#[derive(Clone, Copy)]
pub(super) enum PushOrDrop {
    Push,
    Drop,
}

/// Serves a push to users of a route, or a drop of a user's sessions.
pub(super) async fn push_or_drop(
    context: &HttpContext,
    connection: &ConnectionContext,
    (operation, index, auth): (PushOrDrop, u16, &PushAuth),
    head: &Parts,
    body: Incoming,
) -> HttpResponse {
    let rules = context.rules_of_push(index, auth);
    let response = response_to(context, connection, (operation, &rules), head, body).await;
    context.note_response(connection, response.status(), head.uri.path());
    response
}

async fn response_to(
    context: &HttpContext,
    connection: &ConnectionContext,
    (operation, rules): (PushOrDrop, &PushRules<'_>),
    head: &Parts,
    body: Incoming,
) -> HttpResponse {
    let body = match admitted_body(context, connection, rules, head, body).await {
        Ok(body) => body,
        Err(rejection) => return rejection,
    };
    let index = rules.route;
    let command = match operation {
        PushOrDrop::Push => HttpCommand::Push { route: index, body },
        PushOrDrop::Drop => {
            let route = &context.settings.routes[usize::from(index)];
            match route.dialect.read_drop(&mut body.into_vec()) {
                Ok(DropRequest { user, event }) => HttpCommand::Drop(DropTarget {
                    namespace: route.namespace,
                    name: user.into_bytes().into(),
                    event: event.map(|event| event.into_bytes().into()),
                }),
                Err(why) => {
                    rules.authorize(connection, false);
                    return response::text(StatusCode::BAD_REQUEST, why);
                }
            }
        }
    };
    let total = context.execute(command).await.total();
    rules.authorize(connection, total.is_ok());
    match (total, operation) {
        (Ok(total), PushOrDrop::Push) => {
            response::text(StatusCode::OK, format!("message sent to {total} clients"))
        }
        (Ok(total), PushOrDrop::Drop) => {
            response::text(StatusCode::OK, format!("dropped {total} connections"))
        }
        (Err(error), _) => error.response(),
    }
}

/// Checks the authorization of a POST and reads its body.
///
/// # Errors
///
/// The response that rejects it.
async fn admitted_body(
    context: &HttpContext,
    connection: &ConnectionContext,
    rules: &PushRules<'_>,
    head: &Parts,
    body: Incoming,
) -> Result<RequestBody, HttpResponse> {
    if head.method != Method::POST {
        return Err(response::method_not_allowed("POST"));
    }
    let result = rules.function.map(|rule| {
        let head = RequestHead::new(head);
        context.watch.run(rule.label, || (rule.function)(&head))
    });
    match result {
        Some(Ok(true)) => {}
        None => {
            if let Some(rejection) = rules.rejection(context, head) {
                return Err(rejection);
            }
        }
        Some(Ok(false)) => return Err(response::unauthorized(BEARER_CHALLENGE)),
        Some(Err(_)) => return Err(response::internal_error()),
    }
    let read = read_whole(context, connection, head, body).await;
    read.map(|(body, _)| body).map_err(BodyError::response)
}

/// The `WWW-Authenticate` challenge for a secret in the header of `push_header`. `ApiKey` is not a
/// registered scheme.
const API_KEY_CHALLENGE: HeaderValue = HeaderValue::from_static("ApiKey");
