//! Pushes to the users of a route, and drops of them, as requests without an API.

use super::answer::{self, Answer};
use super::line::Line;
use super::service::{Context, HttpAsk, PushRules, admitted_body};
use crate::dialect::wserver;
use crate::shard::publication::DropTarget;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::http::request::Parts;

/// Answers a push.
pub(super) async fn push(
    context: &Context,
    line: &Line,
    rules: &PushRules<'_>,
    head: &Parts,
    body: Incoming,
) -> Answer {
    let body = match admitted_body(context, line, rules, head, body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let namespace = rules.namespace;
    let total = context.ask(HttpAsk::Push { namespace, body }).await.total();
    rules.judge(line, total.is_ok());
    match total {
        Ok(total) => answer::text(StatusCode::OK, format!("message sent to {total} clients")),
        Err(refused) => refused.answer(),
    }
}

/// Answers a drop.
pub(super) async fn drop_user(
    context: &Context,
    line: &Line,
    rules: &PushRules<'_>,
    head: &Parts,
    body: Incoming,
) -> Answer {
    let body = match admitted_body(context, line, rules, head, body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let target = match wserver::read_drop(&mut body.into_vec()) {
        Ok(wserver::Drop { user, event }) => DropTarget {
            namespace: rules.namespace,
            name: user.into_bytes().into(),
            event: event.map(|event| event.into_bytes().into()),
        },
        Err(why) => {
            rules.judge(line, false);
            return answer::text(StatusCode::BAD_REQUEST, why);
        }
    };
    let total = context.ask(HttpAsk::Drop(target)).await.total();
    rules.judge(line, total.is_ok());
    match total {
        Ok(total) => answer::text(StatusCode::OK, format!("dropped {total} connections")),
        Err(refused) => refused.answer(),
    }
}
