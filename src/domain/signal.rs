//! What a source said, normalised: the closed vocabulary of kinds and risks, a `Finding` (what a payload says about
//! one person) and a `Signal` (a finding that was received, with its id and receipt stamp).

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::identity::{Subject, TenantName};
use super::ids::{DeliveryId, SignalId};

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        pub enum $name { $(#[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every word of the vocabulary, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word used in YAML, tables, logs and metrics.
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            /// The value of a word, case-insensitively.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.word().eq_ignore_ascii_case(word))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

vocabulary!(
    /// The closed vocabulary of detections (contract §6.3).
    Kind {
        ImpossibleTravel = "impossible_travel",
        AtypicalTravel = "atypical_travel",
        AnonymizedIp = "anonymized_ip",
        MaliciousIp = "malicious_ip",
        NewCountry = "new_country",
        AnomalousToken = "anomalous_token",
        TokenIssuerAnomaly = "token_issuer_anomaly",
        AdversaryInTheMiddle = "adversary_in_the_middle",
        PrtAccess = "prt_access",
        InboxRule = "inbox_rule",
        InboxForwarding = "inbox_forwarding",
        LeakedCredentials = "leaked_credentials",
        PasswordSpray = "password_spray",
        UnfamiliarSignIn = "unfamiliar_sign_in",
        MfaFraud = "mfa_fraud",
        AdminConfirmed = "admin_confirmed",
        Generic = "generic",
        Other = "other",
    }
);

vocabulary!(
    /// How sure the sender is. `unknown` when it carried no level.
    Risk { Low = "low", Medium = "medium", High = "high", Unknown = "unknown" }
);

/// What becomes of one person in a delivery, as far as body and configuration tell (contract §6.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Named and in scope: go.
    Act,
    /// To be fetched or named by Graph, then act.
    Lookup { what: Lookup },
    /// In scope, nobody can be named or judged: a task, never silence.
    Held { reason: String },
    /// Closed, resolved, dismissed, our own deed, out of scope.
    Ignored { reason: String },
}

/// What the worker asks Microsoft before it can act. Every id in here parsed as what it claims to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "lookup", rename_all = "snake_case")]
pub enum Lookup {
    /// The finding's `subject` has no object id: find the one user it names.
    Person,
    /// An incident came without entities: ask `GET /security/incidents/{id}?$expand=alerts` (providerName Microsoft XDR).
    XdrIncident { incident: String },
    /// An incident came without entities: ask ARM `POST {incident id}/entities`. `arm_id` is the validated ARM path.
    ArmIncident { arm_id: String, subscription: String, workspace: String },
    /// A Graph notification: fetch the object from an allow-listed collection.
    GraphObject { collection: Collection, id: String },
    /// A notification about a user: read that person's risk detections.
    RiskOf { user: super::identity::ObjectId },
}

/// Collections a Graph notification may point into (contract §6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Collection {
    Alerts,
    AlertsV2,
    RiskDetections,
    RiskyUsers,
}

impl Collection {
    /// The path below `/v1.0`, as Graph spells it.
    pub fn path(self) -> &'static str {
        match self {
            Self::Alerts => "security/alerts",
            Self::AlertsV2 => "security/alerts_v2",
            Self::RiskDetections => "identityProtection/riskDetections",
            Self::RiskyUsers => "identityProtection/riskyUsers",
        }
    }
}

/// A place and time of activity, as far as the source told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// What a reviewer and the watch need: bounded lists, texts cut at 512 characters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Place>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub user_agents: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<String>,
    /// Sign-in request and correlation ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<String>,
    /// Anything else worth showing, by the source's own name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub other: BTreeMap<String, String>,
}

/// What one payload says about one person (or about nobody it could name).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub kind: Kind,
    /// The kind as the source spelled it; unknown values are kept.
    pub raw_kind: String,
    pub risk: Risk,
    /// Short text for people, at most 200 characters.
    pub title: String,
    /// The recognised shape, e.g. `incident`, `risk_detection`.
    pub shape: String,
    pub subject: Subject,
    /// Latest instant of that person's activity (an alert's end, never the incident's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detected_at: Option<Timestamp>,
    /// The provider's ids of this detection (risk detection, alert, incident), for people and for joins.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refs: BTreeMap<String, String>,
    #[serde(default)]
    pub evidence: Evidence,
    /// SHA-256 (hex) of the canonical content about this person; redeliveries share it (contract §13.1).
    pub content: String,
    pub outcome: Outcome,
}

impl Finding {
    /// Somebody closed this person's risk as a whole (dismissed, confirmed safe): in the sender's words. A single
    /// detection that was dismissed, or a risk that was remediated, closes nothing here.
    pub fn closes_risk(&self) -> Option<&str> {
        let Outcome::Ignored { reason } = &self.outcome else { return None };
        let said = reason.strip_prefix("closed: ")?;
        let of_user = self.raw_kind == "riskyUser"
            && said.strip_prefix("the risk is ").is_some_and(|state| {
                ["dismissed", "confirmedSafe"].iter().any(|closed| state.eq_ignore_ascii_case(closed))
            });
        let in_whole = ["adminDismissedAllRiskForUser", "adminConfirmedAccountSafe"];
        (of_user || in_whole.iter().any(|detail| said.eq_ignore_ascii_case(detail))).then_some(said)
    }

    /// True when the content carries an instant of its own; then a repetition is a redelivery for ever.
    pub fn is_timed(&self) -> bool {
        self.activity_at.is_some() || self.detected_at.is_some()
    }
}

/// A finding that was received.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    pub id: SignalId,
    pub delivery: DeliveryId,
    /// The configured source it came by (`watch` for our own reading of sign-ins).
    pub source: String,
    pub tenant: TenantName,
    pub received_at: Timestamp,
    /// W3C `traceparent` of the receipt, so that one trace spans the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    #[serde(flatten)]
    pub finding: Finding,
}

/// An activity time more than this after receipt counts as absent (contract §13.2).
const FUTURE_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

impl Signal {
    /// The instant a revoke must come after: activity, else detection, else the receipt stamp; never the time of
    /// processing (contract §13.2).
    pub fn activity(&self) -> Timestamp {
        let latest = self.received_at + FUTURE_TOLERANCE;
        [self.finding.activity_at, self.finding.detected_at]
            .into_iter()
            .flatten()
            .find(|at| *at <= latest)
            .unwrap_or(self.received_at)
    }

    /// A repetition without any time of its own is a redelivery only for this long after the first receipt.
    pub const UNTIMED_WINDOW: SignedDuration = SignedDuration::from_mins(10);
}
