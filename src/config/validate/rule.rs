//! What a rule may ask about a client, by what there is to find it out.

use super::super::{Limits, Rule};
use super::access::{CLAIM_NAME_BYTES_MAX, CLAIM_VALUE_BYTES_MAX};
use super::texts::{Complaint, check_length, complain};

/// What there is where a rule stands.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'c> {
    /// Whether the channel's name has `{user}`.
    pub(super) names_user: bool,
    /// Whether clients can have claims, or what is said if they cannot.
    pub(super) claims: Result<(), &'static str>,
    /// Whether the route has hooks.
    pub(super) hooks: bool,
    pub(super) limits: &'c Limits,
}

/// Checks the rule under `key`.
pub(super) fn check(rule: &Rule, key: &str, around: Surroundings<'_>) -> Result<(), Complaint> {
    match rule {
        Rule::Owner if !around.names_user => {
            complain(key, "\"owner\" is for channels whose name has {user}")
        }
        Rule::Hook if !around.hooks => {
            let problem = "\"hook\" asks the backend of the route's hooks, and the route has none";
            complain(key, problem)
        }
        Rule::Tokens(tokens) => {
            let key = format!("{key}.tokens");
            let count = tokens.len();
            if !(1..=RULE_TOKENS_MAX).contains(&count) {
                let problem = format!("lists {count} tokens, allowed are 1 to {RULE_TOKENS_MAX}");
                return complain(&key, problem);
            }
            let max = around.limits.name_bytes_max as usize;
            for (index, token) in tokens.iter().enumerate() {
                if !(1..=max).contains(&token.as_bytes().len()) {
                    let problem = format!("tokens have 1 to {max} bytes (limits.name_bytes_max)");
                    return complain(&format!("{key}[{index}]"), problem);
                }
            }
            Ok(())
        }
        Rule::Claim { name, value } => {
            let key = |part: &str| format!("{key}.{part}");
            check_length(&key("claim"), name, CLAIM_NAME_BYTES_MAX)?;
            check_length(&key("value"), value, CLAIM_VALUE_BYTES_MAX)?;
            around
                .claims
                .or_else(|problem| complain(&key("claim"), problem))
        }
        Rule::Anyone | Rule::Nobody | Rule::Identified | Rule::Owner | Rule::Hook => Ok(()),
    }
}

const RULE_TOKENS_MAX: usize = 1_024;
