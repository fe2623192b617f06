//! What can go wrong with a call, and what to do about it: decided here, so that nobody else looks at a status code.

use std::time::Duration;

use crate::domain::ledger::{Disposition, Fault};

use super::terms::{Nature, Operation};
use super::token::TokenError;

/// A call that did not end in a usable answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No token: nothing was sent to Graph.
    #[error("{}: no access token", operation.name)]
    Token {
        operation: &'static Operation,
        #[source]
        source: TokenError,
    },
    /// `send_by` had passed before the request was written.
    #[error("{}: not sent, its time to be sent had passed", operation.name)]
    Late { operation: &'static Operation },
    /// A limit of Graph's would have kept the call waiting beyond its deadline; nothing was sent.
    #[error("{}: not sent, Graph's rate limit has no room before the deadline", operation.name)]
    Busy { operation: &'static Operation, after: Duration },
    /// No connection came up, or the deadline passed before anything was written.
    #[error("{}: not sent, no connection", operation.name)]
    NotSent {
        operation: &'static Operation,
        #[source]
        source: Option<reqwest::Error>,
    },
    /// The request was written and no (complete) answer came.
    #[error("{}: sent, and the answer was lost", operation.name)]
    Lost {
        operation: &'static Operation,
        #[source]
        source: Option<reqwest::Error>,
    },
    /// Graph answered with a status other than 2xx.
    #[error("{}: Graph answered {status} {code}", operation.name)]
    Status {
        operation: &'static Operation,
        status: u16,
        /// Graph's error code; may be empty.
        code: String,
        /// Graph's words, shortened, without anything that looks like a name. Empty where a secret was sent.
        detail: String,
        /// The answer complains about the password itself.
        about_password: bool,
        request_id: Option<String>,
        retry_after: Option<Duration>,
    },
    /// The answer is larger than anything this operation needs.
    #[error("{}: the answer is larger than {limit} bytes", operation.name)]
    TooLarge { operation: &'static Operation, limit: usize },
    /// A 2xx whose body is not what is documented. The position only: the text may hold names.
    #[error("{}: the answer is not what Graph documents (line {line}, column {column})", operation.name)]
    Unreadable { operation: &'static Operation, line: usize, column: usize },
    /// A 2xx that says no (`value: false` of a revoke).
    #[error("{}: Graph answered that it did not do it", operation.name)]
    Declined { operation: &'static Operation, request_id: Option<String> },
    /// `@odata.nextLink` points somewhere else.
    #[error("{}: the next page is not on Graph's host", operation.name)]
    ForeignLink { operation: &'static Operation },
}

impl Error {
    /// The operation that failed.
    pub fn operation(&self) -> &'static Operation {
        match self {
            Self::Token { operation, .. }
            | Self::Late { operation }
            | Self::Busy { operation, .. }
            | Self::NotSent { operation, .. }
            | Self::Lost { operation, .. }
            | Self::Status { operation, .. }
            | Self::TooLarge { operation, .. }
            | Self::Unreadable { operation, .. }
            | Self::Declined { operation, .. }
            | Self::ForeignLink { operation } => operation,
        }
    }

    /// Graph's answer, when there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// True when Graph says that what was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// What to do about it (contract, laws 7 and §13.4).
    pub fn disposition(&self) -> Disposition {
        let nature = self.operation().nature;
        match self {
            Self::Token { source, .. } => source.disposition(),
            Self::Late { .. } | Self::NotSent { .. } | Self::Declined { .. } => Disposition::Retry { after_ms: None },
            Self::Busy { after, .. } => Disposition::Retry { after_ms: Some(millis(*after)) },
            Self::Lost { .. } | Self::Unreadable { .. } | Self::TooLarge { .. } => match nature {
                Nature::Read if matches!(self, Self::TooLarge { .. }) => Disposition::Refuse,
                Nature::Read => Disposition::Retry { after_ms: None },
                Nature::Idempotent | Nature::Once => Disposition::Unknown,
            },
            Self::ForeignLink { .. } => Disposition::Refuse,
            Self::Status { status, retry_after, .. } => of_status(*status, *retry_after, nature),
        }
    }

    /// The stable code, explained in README.
    pub fn code(&self) -> String {
        match self {
            Self::Status { status, .. } => format!("OUST-G{status}"),
            Self::NotSent { .. } => "OUST-G001".into(),
            Self::Late { .. } => "OUST-G002".into(),
            Self::Lost { .. } => "OUST-G003".into(),
            Self::Busy { .. } => "OUST-G004".into(),
            Self::Token { source, .. } if source.disposition() == Disposition::Refuse => "OUST-G006".into(),
            Self::Token { .. } => "OUST-G005".into(),
            Self::Unreadable { .. } | Self::TooLarge { .. } | Self::ForeignLink { .. } => "OUST-G007".into(),
            Self::Declined { .. } => "OUST-G008".into(),
        }
    }

    /// What happened and what to do, for an operator.
    fn message(&self) -> String {
        let advice = match self {
            Self::Token { source, .. } => source.to_string(),
            Self::Status { operation, status, detail, .. } => {
                let advice = advice(operation, *status);
                if detail.is_empty() { advice } else { format!("{advice} (Graph says: {detail})") }
            }
            Self::NotSent { .. } => "check the network, DNS and proxy between oust and Microsoft".into(),
            Self::Late { .. } | Self::Busy { .. } | Self::Declined { .. } => "it is tried again".into(),
            Self::Lost { .. } => match self.operation().nature {
                Nature::Once => "whether it took effect is being verified; it is not sent again".into(),
                Nature::Read | Nature::Idempotent => "it is safe to repeat and is tried again".into(),
            },
            Self::TooLarge { .. } | Self::Unreadable { .. } | Self::ForeignLink { .. } => {
                "something between oust and Microsoft may be answering in Graph's place".into()
            }
        };
        format!("{self}: {advice}")
    }
}

fn of_status(status: u16, retry_after: Option<Duration>, nature: Nature) -> Disposition {
    let retry = Disposition::Retry { after_ms: retry_after.map(millis) };
    match (status, nature) {
        // Throttled before anything was done; 425 is the same from a front end.
        (425 | 429, _) => retry,
        // Provably refused. A redirect is not followed and did nothing either.
        (300..=399 | 400..=407 | 409..=499, _) => Disposition::Refuse,
        // 408 and every 5xx: the effect may have happened behind the front end that gave up.
        (_, Nature::Once) => Disposition::Unknown,
        (501 | 505, _) => Disposition::Refuse,
        _ => retry,
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// What to do about a status, in words.
fn advice(operation: &Operation, status: u16) -> String {
    let permission = operation.permission;
    match status {
        401 => "Graph does not accept the token: check that the app registration is in this tenant and cloud".into(),
        403 if operation.name == "reset_password" => format!(
            "the app lacks the right: grant the application permission {permission} and assign its service principal \
             the role User Administrator (Privileged Authentication Administrator where the person is an admin)"
        ),
        403 if operation.name == "set_enabled" => format!(
            "the app lacks the right: grant {permission}; for a person with an admin role its service principal also \
             needs Privileged Authentication Administrator"
        ),
        403 if permission.is_empty() => "the app lacks the right for this call".into(),
        403 => format!("the app lacks the right: grant the application permission {permission} with admin consent"),
        404 => "it does not exist in this tenant (any more)".into(),
        400 => "Graph does not accept the request for this object".into(),
        409 => "it is being changed by something else, or is not in a state that allows this".into(),
        429 => "the tenant's request limit is reached; it is tried again when Graph allows".into(),
        500..=599 if operation.nature == Nature::Once => {
            "whether it took effect is being verified; it is not sent again".into()
        }
        500..=599 => "Graph has a problem; it is tried again".into(),
        _ => "an unexpected answer".into(),
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let request_id = match &error {
            Error::Status { request_id, .. } | Error::Declined { request_id, .. } => request_id.clone(),
            _ => None,
        };
        Self {
            disposition: error.disposition(),
            code: error.code(),
            message: error.message(),
            status: error.status(),
            request_id,
        }
    }
}

/// Shortens somebody else's words to one line without names: a word with `@` in it may be a UPN.
pub(super) fn redact(text: &str) -> String {
    let mut shown = String::new();
    for word in text.split_whitespace() {
        let word: String = word.chars().filter(|c| !c.is_control()).collect();
        let word = if word.contains('@') || word.contains("%40") { "[name]" } else { word.as_str() };
        if shown.chars().count() + word.chars().count() > 200 {
            shown.push('…');
            break;
        }
        if !shown.is_empty() {
            shown.push(' ');
        }
        shown.push_str(word);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_but_a_plain_refusal_leaves_a_reset_unknown() {
        for status in [408, 500, 502, 503, 504, 599] {
            assert_eq!(of_status(status, Some(Duration::from_secs(1)), Nature::Once), Disposition::Unknown, "{status}");
        }
        for status in [301, 400, 401, 403, 404, 409, 412] {
            assert_eq!(of_status(status, None, Nature::Once), Disposition::Refuse, "{status}");
        }
        assert_eq!(
            of_status(429, Some(Duration::from_secs(2)), Nature::Once),
            Disposition::Retry { after_ms: Some(2000) }
        );
    }

    #[test]
    fn what_may_be_repeated_is_retried_after_a_server_failure() {
        for nature in [Nature::Read, Nature::Idempotent] {
            for status in [429, 500, 502, 503, 504] {
                assert_eq!(of_status(status, None, nature), Disposition::Retry { after_ms: None }, "{status}");
            }
        }
    }

    #[test]
    fn a_message_of_graph_is_shortened_and_holds_no_name() {
        let shown = redact(&format!("Resource ada@contoso.example\u{7} missing {}", "x ".repeat(500)));
        assert!(!shown.contains("contoso"), "{shown}");
        assert!(shown.starts_with("Resource [name] missing"));
        assert!(shown.chars().count() < 210);
    }
}
