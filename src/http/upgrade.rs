//! The upgrade: identifies the client, checks the request, and opens the session.
//!
//! ```text
//!   the dialect reads   -->  the embedder admits,  -->  Origin, RFC 6455  -->  a claim, if the
//!   token, user, channel     or the config's tokens     (ws/handshake.rs)      user is exclusive
//! ```
//!
//! A plain GET that opens a session takes the same way, with other checks (`answered_get.rs`).

use super::UserClaim;
use super::answered_get::{self, Opening};
use super::connection_context::ConnectionContext;
use super::rejections::reason_of;
use super::response::{self, HttpResponse};
use super::route::Parameters;
use super::service::{
    self, CommandError, CommandResult, GrantedUpgrade, HttpCommand, HttpContext, TapRule,
    UpgradeRules,
};
use crate::auth::host_of;
use crate::config::Origin;
use crate::dialect::{Credentials, Framing, InitialChannel, Rejection, UpgradeRequest};
use crate::handler::{Admission, Admitted, Joining, Permission, Upgrade};
use crate::logging::limited;
use crate::shard::ClaimOutcome;
use crate::shard::settings::{RouteSettings, TokenLookup};
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::metrics;
use crate::ws::handshake::{self, HandshakeError};
use hyper::StatusCode;
use hyper::header::{CONNECTION, HeaderName, HeaderValue, ORIGIN, UPGRADE};
use hyper::http::request::Parts;
use smallvec::SmallVec;
use std::rc::Rc;

/// Serves an upgrade request, or a GET that opens a session without one. hyper's own 101 is
/// discarded (see `HttpConnection::poll`); it only ends hyper's part of the connection.
pub(super) async fn response(
    context: &HttpContext,
    connection: &ConnectionContext,
    index: u16,
    head: Parts,
    parameters: Parameters,
) -> HttpResponse {
    let head = Rc::new(head);
    let result = if connection.offers_upgrade.get() {
        decide(context, connection, index, &head, parameters).await
    } else if let Some(rejected) =
        answered_get::http_10(&context.settings.routes[usize::from(index)])
    {
        Err(rejected)
    } else {
        // An HTTP/1.0 upgrade whose head was not inspected: RFC 9110 7.8 requires to ignore it.
        Err(RejectedUpgrade::by_handshake(
            HandshakeError::NoWebSocketInUpgrade,
        ))
    };
    match result {
        Ok(granted) => {
            *connection.upgrade.borrow_mut() = Some(granted);
            let mut response = response::empty(StatusCode::SWITCHING_PROTOCOLS);
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            response
        }
        Err(rejected) => {
            let RejectedUpgrade {
                reason,
                mut response,
            } = *rejected;
            let refused = HeaderValue::from_static(reason);
            response.headers_mut().insert(REASON_HEADER, refused);
            // Taps are routes of the shard, not of the config.
            let route = context.handle.routes().get(usize::from(index));
            let path = route.map_or_else(|| head.uri.path(), |route| &route.path);
            let status = response.status();
            context.reject(
                connection,
                metrics::RejectionKind::Upgrade,
                reason,
                status,
                path,
            );
            response
        }
    }
}

/// The response to a rejected upgrade request, with the reason for the log and for the header
/// `Campanile-Refused`.
pub(super) struct RejectedUpgrade {
    reason: &'static str,
    response: HttpResponse,
}

impl RejectedUpgrade {
    pub(super) fn with_reason(reason: &'static str, response: HttpResponse) -> Box<Self> {
        Box::new(Self { reason, response })
    }

    fn by_handshake(refusal: HandshakeError) -> Box<Self> {
        let reason = match refusal {
            HandshakeError::NoUpgradeInConnection => "no_upgrade_in_connection",
            HandshakeError::NoWebSocketInUpgrade => "no_websocket_in_upgrade",
            HandshakeError::NotGet => "method",
            HandshakeError::NotVersion13 => "not_version_13",
            HandshakeError::Origin => "origin",
            HandshakeError::NoKey => "no_key",
            HandshakeError::BadKey => "bad_key",
            HandshakeError::Body => "body",
        };
        Self::with_reason(reason, response::handshake_error(refusal))
    }

    /// Creates the rejection for a [`Rejection`], whose status determines the reason.
    fn by(rejection: &Rejection) -> Box<Self> {
        let response = response::rejection(rejection);
        Self::with_reason(reason_of(response.status()), response)
    }
}

/// Returns the format that the dialect chose for a session.
///
/// # Errors
///
/// A 500 if the dialect has no such format, which is its fault.
fn format_of(
    route: &RouteSettings,
    credentials: &Credentials<'_>,
) -> Result<u8, Box<RejectedUpgrade>> {
    let format = credentials.format;
    if usize::from(format) < route.formats.len() {
        return Ok(format);
    }
    limited!(
        ERROR,
        "a dialect chose a format that it does not have",
        format
    );
    Err(RejectedUpgrade::by(&Rejection::INTERNAL_ERROR))
}

async fn decide(
    context: &HttpContext,
    connection: &ConnectionContext,
    index: u16,
    head: &Rc<Parts>,
    parameters: Parameters,
) -> Result<Box<GrantedUpgrade>, Box<RejectedUpgrade>> {
    let route = &context.settings.routes[usize::from(index)];
    let rules = &context.upgrades[usize::from(index)];
    if let Some(tap) = &rules.tap {
        admit_to_tap(tap, head)?;
    }
    let lines = head.headers.iter();
    let headers: SmallVec<[(&str, &[u8]); 16]> = lines
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let request = UpgradeRequest {
        query: head.uri.query(),
        headers: &headers,
    };
    let credentials = route
        .dialect
        .admit(&request, &route.formats[0].options)
        .map_err(|rejection| RejectedUpgrade::by(&rejection))?;
    let token_bytes = credentials.token.as_ref().map_or(0, |token| token.len());
    if token_bytes > context.settings.token_bytes_max {
        return Err(RejectedUpgrade::by(&route.dialect.rejection()));
    }
    let mut admission = admit(context, connection, index, head, &credentials, parameters)
        .await
        .map_err(|rejection| RejectedUpgrade::by(&rejection))?;
    let trusts_claimed_user = rules.trusts_claimed_user(&credentials, head);
    resolve_user(route, &credentials, trusts_claimed_user, &mut admission)?;

    let format = format_of(route, &credentials)?;
    let lines = headers.iter().copied();
    let origin_passes = || origin_passes(context, index, head);
    let opening = match route.dialect.framing(format) {
        Framing::WebSocket => {
            let accept = handshake::validate(head.method.as_str(), lines.clone(), origin_passes);
            let own = credentials.subprotocol.as_deref();
            let agreed = || handshake::subprotocols(lines).find(|it| rules.accepts_subprotocol(it));
            Opening::Switching {
                accept: accept.map_err(RejectedUpgrade::by_handshake)?,
                subprotocol: own.or_else(agreed).map(Into::into),
            }
        }
        Framing::Stream(framing) => {
            answered_get::check(head, origin_passes)?;
            Opening::Stream(framing)
        }
    };
    check_room(context)?;

    let admitted = resolve_channels(context, connection.id, index, credentials, admission).await?;
    if route.exclusive {
        claim(context, connection, route, &admitted.admission).await?;
    }
    Ok(Box::new(GrantedUpgrade {
        route: index,
        format,
        opening,
        admitted,
    }))
}

impl UpgradeRules {
    /// Returns whether the user that a client or proxy names is trusted.
    fn trusts_claimed_user(&self, credentials: &Credentials<'_>, head: &Parts) -> bool {
        credentials.user.is_some() && self.user_header.decide(head).is_ok()
    }

    /// Returns whether the route accepts a subprotocol that its dialect does not know.
    fn accepts_subprotocol(&self, offered: &str) -> bool {
        self.subprotocols.iter().any(|it| **it == *offered)
    }
}

/// Checks whether a request may tap a route.
///
/// # Errors
///
/// The rejection.
fn admit_to_tap(rule: &TapRule, head: &Parts) -> Result<(), Box<RejectedUpgrade>> {
    match rule {
        TapRule::Secret(secret) if service::has_bearer_secret(&head.headers, secret) => Ok(()),
        TapRule::Secret(_) => Err(RejectedUpgrade::by(&Rejection::UNAUTHORIZED)),
        TapRule::Keyless(keyless) => keyless.decide(head).map_err(|why| {
            let why = format!(
                "without a secret, only requests of this machine itself may watch the traffic, and \
                 {why}; set tap_secret on the route"
            );
            RejectedUpgrade::with_reason("not_local", response::forbidden(&why))
        }),
    }
}

/// Checks whether there is room for another session.
///
/// # Errors
///
/// The rejection if there are too many sessions, or the gateway is stopping.
fn check_room(context: &HttpContext) -> Result<(), Box<RejectedUpgrade>> {
    if !context.is_full.get() {
        return Ok(());
    }
    let text = if context.rejects_work.get() {
        "stopping\n"
    } else {
        "too many sessions\n"
    };
    let response = response::with_close(response::unavailable(text));
    Err(RejectedUpgrade::with_reason(
        context.full_reason(),
        response,
    ))
}

/// Adds the initial channels of a session to its admission: the one that the client names, if the
/// client may join it, those of the admission, and those of the route.
///
/// # Errors
///
/// The rejection if the client may not join the channel that it names.
async fn resolve_channels(
    context: &HttpContext,
    id: ConnectionId,
    index: u16,
    credentials: Credentials<'_>,
    mut admission: Admission,
) -> Result<Admitted, Box<RejectedUpgrade>> {
    let shown = credentials.token.as_deref().map(Into::into);
    let token: Option<Box<str>> = admission.token.take().or(shown);
    let mut wants_fresh_channel = false;
    match credentials.channel {
        InitialChannel::None => {}
        InitialChannel::Named(channel) => {
            let token = token.clone();
            let channel = may_join(context, id, index, &admission, token, &channel).await?;
            admission.channels.insert(0, channel);
        }
        InitialChannel::Generated => wants_fresh_channel = admission.channels.is_empty(),
    }
    let user = admission.user.as_deref();
    let on_open = context.settings.routes[usize::from(index)]
        .joins_on_open
        .iter();
    let on_open: Vec<Box<str>> = on_open.filter_map(|name| name.name_for(user)).collect();
    admission.channels.extend(on_open);
    Ok(Admitted {
        admission,
        token,
        wants_fresh_channel,
    })
}

/// Runs the embedder's admission, or looks the credentials up in the config.
///
/// # Errors
///
/// The rejection.
async fn admit(
    context: &HttpContext,
    connection: &ConnectionContext,
    index: u16,
    head: &Rc<Parts>,
    credentials: &Credentials<'_>,
    parameters: Parameters,
) -> Result<Admission, Rejection> {
    let id = connection.id;
    let route = &context.settings.routes[usize::from(index)];
    let registry = &context.registry.routes[usize::from(index)];
    let token: Option<Box<str>> = credentials.token.as_deref().map(Into::into);
    if let Some(function) = &registry.admit {
        let channel = match &credentials.channel {
            InitialChannel::Named(name) => Some(name.as_ref().into()),
            InitialChannel::None | InitialChannel::Generated => None,
        };
        let upgrade = Upgrade {
            head: Rc::clone(head),
            token,
            claimed_user: credentials.user.map(Into::into),
            trusts_claimed_user: context.upgrades[usize::from(index)]
                .trusts_claimed_user(credentials, head),
            channel,
            parameters,
            route: context.handle.route_at(usize::from(index)),
            address: connection.address,
        };
        let (label, function) = (function.label, Rc::clone(&function.function));
        let future = Box::pin(async move { function(upgrade).await });
        return match context.run(label, future, Some(id)).await {
            Ok(admitted) => admitted,
            Err(error) => Err(error.rejection()),
        };
    }
    let Some(token) = token else {
        return Ok(Admission::new());
    };
    let user = match route.tokens.look_up(&token) {
        // A user that the client names itself is not proof of identity.
        TokenLookup::Unverified(_) => return Ok(Admission::new()),
        TokenLookup::User(user) => Some(user.to_owned()),
        TokenLookup::Invalid => None,
        TokenLookup::AskHost => match &registry.authenticate {
            Some(function) => {
                let (label, function) = (function.label, Rc::clone(&function.function));
                let future = Box::pin(async move { function(token).await });
                match context.run(label, future, Some(id)).await {
                    Ok(user) => user,
                    Err(error) => return Err(error.rejection()),
                }
            }
            None => None,
        },
    };
    match user {
        Some(user) => Ok(Admission::new().user(user)),
        None => Err(route.dialect.rejection()),
    }
}

/// Sets the user of an admission without one, and checks that a header does not contradict it.
///
/// # Errors
///
/// The rejection if a required user is missing.
fn resolve_user(
    route: &RouteSettings,
    credentials: &Credentials<'_>,
    trusts_claimed_user: bool,
    admission: &mut Admission,
) -> Result<(), Box<RejectedUpgrade>> {
    let rejected = |reason, rejection: &_| {
        RejectedUpgrade::with_reason(reason, response::rejection(rejection))
    };
    match (&admission.user, credentials.user) {
        (Some(user), Some(claimed)) if **user != *claimed => {
            return Err(rejected("user", &route.dialect.rejection()));
        }
        (None, Some(claimed)) if trusts_claimed_user => {
            admission.user = Some(claimed.into());
        }
        _ => {}
    }
    match &admission.user {
        None if route.exclusive && credentials.user.is_some() => {
            let Rejection { status, body } = route.dialect.no_user();
            let why = "the header that names one is not believed here (trust_user_header)";
            let rejection = Rejection::new(status, format!("{}: {why}\n", body.trim_end()));
            Err(rejected("user_not_believed", &rejection))
        }
        None if route.exclusive => Err(rejected("user", &route.dialect.no_user())),
        _ => Ok(()),
    }
}

fn origin_passes(context: &HttpContext, index: u16, head: &Parts) -> bool {
    let registry = &context.registry.routes[usize::from(index)];
    if let Some(rule) = &registry.origin {
        return context.matches_head(rule, head);
    }
    let mut origins = head.headers.get_all(ORIGIN).iter();
    let origin = origins.next().map(HeaderValue::as_bytes);
    let is_one = origins.next().is_none();
    match &context.upgrades[usize::from(index)].origin {
        Origin::Any => true,
        // Browsers send one Origin. With several it is unclear which one is valid.
        Origin::Same | Origin::List(_) if !is_one => false,
        Origin::Same => handshake::same_origin(origin, host_of(head).unwrap_or_default()),
        Origin::List(origins) => origin.is_none_or(|origin| {
            let mut listed = origins.iter();
            listed.any(|each| each.as_bytes().eq_ignore_ascii_case(origin))
        }),
    }
}

/// Claims the exclusive user for the connection and waits for the outcome.
///
/// # Errors
///
/// The rejection if the claim fails.
async fn claim(
    context: &HttpContext,
    connection: &ConnectionContext,
    route: &RouteSettings,
    admission: &Admission,
) -> Result<(), Box<RejectedUpgrade>> {
    let user = admission.user.clone().expect("exclusive users are known");
    if user.is_empty() || user.len() > context.settings.name_bytes_max {
        let response = response::rejection(&route.dialect.rejection());
        return Err(RejectedUpgrade::with_reason("user", response));
    }
    let claim = UserClaim {
        id: connection.id,
        namespace: route.namespace,
        user,
        yields: route.newcomer_yields,
    };
    let unavailable = |text| response::with_close(response::unavailable(text));
    let (reason, response) = match context.execute(HttpCommand::Claim(claim)).await {
        CommandResult::Claimed(ClaimOutcome::Granted) => return Ok(()),
        CommandResult::Claimed(ClaimOutcome::Taken) => {
            let text = "the user is connected already\n";
            ("user_taken", response::text(StatusCode::CONFLICT, text))
        }
        CommandResult::Claimed(ClaimOutcome::NamesLimit) => (
            "no_room",
            unavailable("no room for another name, try again\n"),
        ),
        CommandResult::Failed(CommandError::TimedOut) => {
            ("claim_timed_out", unavailable("timed out, try again\n"))
        }
        CommandResult::Claimed(ClaimOutcome::TooManyWaiting)
        | CommandResult::Failed(_)
        | CommandResult::Total(_)
        | CommandResult::Ran(_) => ("claims_crowded", unavailable("too many of one user\n")),
    };
    Err(RejectedUpgrade::with_reason(reason, response))
}

/// Checks whether a client may join the channel that it names.
///
/// # Errors
///
/// The rejection if it may not.
async fn may_join(
    context: &HttpContext,
    id: ConnectionId,
    index: u16,
    admission: &Admission,
    token: Option<Box<str>>,
    channel: &str,
) -> Result<Box<str>, Box<RejectedUpgrade>> {
    let route = &context.settings.routes[usize::from(index)];
    let forbidden = || {
        RejectedUpgrade::with_reason("channel", response::handshake_error(HandshakeError::Origin))
    };
    if channel.is_empty() || channel.len() > context.settings.name_bytes_max {
        let response = response::handshake_error(HandshakeError::NoUpgradeInConnection);
        return Err(RejectedUpgrade::with_reason("channel", response));
    }
    let validator = match context.registry.may_join(&context.settings, route, channel) {
        Permission::Granted => return Ok(channel.into()),
        Permission::Denied => return Err(forbidden()),
        Permission::Validate(validator) => validator,
    };
    let joining = Joining {
        channel: channel.into(),
        session: None,
        user: admission.user.clone(),
        token,
        profile: admission.profile.clone(),
        values: Rc::clone(&admission.values),
        reply: Rc::default(),
    };
    let label = validator.label;
    let future = Box::pin(async move { (validator.function)(joining).await.is_ok() });
    match context.run(label, future, Some(id)).await {
        Ok(true) => Ok(channel.into()),
        Ok(false) => Err(forbidden()),
        Err(error) => Err(RejectedUpgrade::by(&error.rejection())),
    }
}

/// The header with the reason of a rejection, for debugging in browsers and proxies.
const REASON_HEADER: HeaderName = HeaderName::from_static("campanile-refused");
