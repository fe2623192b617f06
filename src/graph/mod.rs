//! Microsoft Graph: one client, one retry policy, one file per resource.
//!
//! Everything that leaves for Microsoft passes `Graph::send`: the token, the lane, the throttle, `send_by`, the
//! size of the answer and the meaning of a failure are decided there, once. What it deliberately does not do: repeat
//! effects (the engine does, from its ledger), know cases or playbooks, or log (the span and the observer tell).
//! URLs are built from typed ids only; whatever a payload said has been parsed before it comes here.

mod arm;
mod client;
mod clock;
mod config;
mod domains;
mod error;
mod exchange;
mod groups;
mod mail;
mod methods;
mod odata;
mod outgoing;
pub mod retry;
mod risk;
mod roles;
mod security;
mod sign_ins;
mod terms;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod throttle;
mod token;
mod users;

pub use arm::ArmIncident;
pub use client::Graph;
pub use clock::{SendBy, since_boot};
pub use config::{Cloud, Config, ConfigError, Credential, Hooks, Limit, Limits};
pub use error::Error;
pub use exchange::answered;
pub use mail::{InboxRule, Recipient, RuleId};
pub use methods::AuthMethod;
pub use odata::PAGE_LIMIT;
pub use risk::{Location, RiskDetection, RiskyUser};
pub use roles::DirectoryRole;
pub use security::ResourceId;
pub use sign_ins::SignIn;
pub use terms::{Accepted, GraphCall, Nature, Observer, Operation, Terms, Workload};
pub use token::TokenError;
pub use users::{UserBrief, UserState};
