//! What a route may ask of a backend.

use super::super::words::{quoted, quoted_list, unknown};
use super::super::{Action, Config, DialectName, HookKind, Route, Rule};
use super::texts::{Complaint, complain};

/// Checks a route's hooks.
pub(super) fn check(route: &Route, config: &Config) -> Result<(), Complaint> {
    let Some(hooks) = &route.hooks else {
        return Ok(());
    };
    if config.backend(&hooks.backend).is_none() {
        let names = config.backends.iter().map(|it| it.name.as_str());
        let problem = match &names.collect::<Vec<_>>()[..] {
            [] => {
                let name = quoted(&hooks.backend);
                format!("{name} is unknown, there are no [[backends]]")
            }
            names => unknown(&hooks.backend, names),
        };
        return complain("hooks.backend", problem);
    }
    for (index, kind) in hooks.on.iter().enumerate() {
        let problem = match kind {
            HookKind::Message if route.dialect == DialectName::Wserver => {
                "\"message\" is for dialects with commands, and \"wserver\" has none"
            }
            HookKind::Authenticate if route.dialect != DialectName::Wserver => {
                "\"authenticate\" is for \"wserver\", where messages have a token; elsewhere \
                 \"open\" says who a client is"
            }
            HookKind::Authenticate if route.tokens.is_some() || route.jwt.is_some() => {
                "\"authenticate\" does not go together with tokens or a jwt, which say what a \
                 token is worth"
            }
            HookKind::Open | HookKind::Authenticate | HookKind::Message | HookKind::Close => {
                continue;
            }
        };
        return complain(&format!("hooks.on[{index}]"), problem);
    }
    if hooks.on.is_empty() && !asks_by_rule_or_command(route) {
        let allowed = quoted_list(HookKind::SPELLINGS);
        let problem = format!(
            "nothing is asked of the backend: no rule and no command says \"hook\", and on is \
             empty; allowed are {allowed}"
        );
        return complain("hooks.on", problem);
    }
    Ok(())
}

/// Whether the backend is asked by something else than an event.
fn asks_by_rule_or_command(route: &Route) -> bool {
    let mut channels = route.channels.iter();
    let mut commands = route.commands.values();
    channels.any(|it| it.join == Rule::Hook || it.publish == Rule::Hook)
        || commands.any(|it| it.action == Action::Hook || it.allow == Rule::Hook)
}
