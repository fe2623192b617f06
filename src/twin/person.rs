//! One person of the directory: identity, password, session state, and how Graph shows them.
//!
//! Knows nothing of HTTP and of other people. What Graph would show late is kept as [`Lagged`].

use super::{
    belongings::Belongings,
    clock::{cloud_sid, iso},
    config::Knobs,
    password,
    signins::SignIn,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{collections::VecDeque, sync::Arc};
use uuid::Uuid;

/// Where a user is mastered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// In Entra.
    #[default]
    Cloud,
    /// In a local Active Directory (`onPremisesSyncEnabled`).
    Synced,
    /// In another identity provider that the domain is federated with.
    Federated,
    /// In another tenant.
    Guest,
}

/// A user to add.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewUser {
    /// Object id; drawn if absent.
    pub id: Option<Uuid>,
    /// User principal name.
    pub upn: String,
    /// Display name; the UPN's local part if absent.
    pub display_name: Option<String>,
    /// Mail address; the UPN if absent.
    pub mail: Option<String>,
    /// Where mastered.
    pub kind: Kind,
    /// Sign-in is blocked.
    pub disabled: bool,
    /// The id once existed: every call answers 404.
    pub deleted: bool,
    /// Member of the break-glass group.
    pub break_glass: bool,
    /// Names of directory roles held.
    pub roles: Vec<String>,
    /// Names of directory roles the user may activate.
    pub eligible_roles: Vec<String>,
    /// Member of a role-assignable group.
    pub role_assignable_group: bool,
    /// Password; the seeded one if absent.
    pub password: Option<String>,
    /// `onPremisesSecurityIdentifier`.
    pub on_premises_sid: Option<String>,
    /// `onPremisesSamAccountName`.
    pub sam_account_name: Option<String>,
    /// `onPremisesDomainName`.
    pub domain: Option<String>,
}

impl std::fmt::Debug for NewUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewUser").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A value that readers see change only after a while.
#[derive(Clone, Debug)]
pub(super) struct Lagged<T> {
    shown: T,
    coming: VecDeque<(i64, T)>,
}

impl<T: Copy> Lagged<T> {
    pub(super) fn new(shown: T) -> Self {
        Lagged { shown, coming: VecDeque::new() }
    }

    /// Sets the value as of `visible_at`; what was to come earlier still comes.
    pub(super) fn set(&mut self, value: T, now: i64, visible_at: i64) {
        if visible_at <= now {
            self.coming.clear();
            self.shown = value;
        } else {
            self.coming.push_back((visible_at, value));
        }
    }

    pub(super) fn get(&mut self, now: i64) -> T {
        while let Some((_, value)) = self.coming.pop_front_if(|(at, _)| *at <= now) {
            self.shown = value;
        }
        self.shown
    }
}

#[derive(Clone, Debug)]
pub(super) struct OnPremises {
    pub(super) sid: String,
    pub(super) sam: String,
    pub(super) domain: String,
}

/// What identity protection thinks of a person.
#[derive(Clone, Debug)]
pub(super) struct RiskView {
    pub(super) level: &'static str,
    pub(super) state: &'static str,
    pub(super) detail: &'static str,
    pub(super) updated: i64,
}

#[derive(Debug)]
pub(super) struct Person {
    pub(super) id: Uuid,
    pub(super) upn: String,
    pub(super) display_name: String,
    pub(super) mail: Option<String>,
    pub(super) kind: Kind,
    pub(super) enabled: bool,
    pub(super) deleted: bool,
    pub(super) on_premises: Option<OnPremises>,
    pub(super) roles: Vec<String>,
    pub(super) eligible_roles: Vec<String>,
    pub(super) role_assignable_group: bool,
    pub(super) created: i64,
    /// `None` while the seeded password holds.
    pub(super) password: Option<password::Digest>,
    pub(super) must_change: bool,
    pub(super) valid_from: Lagged<i64>,
    pub(super) password_changed: Lagged<i64>,
    /// Refresh tokens issued before this event are dead.
    pub(super) dead_before: Lagged<u64>,
    /// Access tokens issued before this event are refused where continuous access evaluation works.
    pub(super) critical: Lagged<u64>,
    pub(super) risk: RiskView,
    pub(super) belongings: Option<Box<Belongings>>,
    pub(super) sign_ins: VecDeque<Arc<SignIn>>,
}

/// What Graph returns of a user when nothing is selected.
const DEFAULT_FIELDS: &[&str] = &[
    "businessPhones",
    "displayName",
    "givenName",
    "jobTitle",
    "mail",
    "mobilePhone",
    "officeLocation",
    "preferredLanguage",
    "surname",
    "userPrincipalName",
    "id",
];

/// Every field the twin can show, for filters.
pub(super) const ALL_FIELDS: &[&str] = &[
    "id",
    "userPrincipalName",
    "displayName",
    "givenName",
    "surname",
    "mail",
    "otherMails",
    "proxyAddresses",
    "accountEnabled",
    "userType",
    "createdDateTime",
    "securityIdentifier",
    "onPremisesSyncEnabled",
    "onPremisesSecurityIdentifier",
    "onPremisesSamAccountName",
    "onPremisesDomainName",
    "signInSessionsValidFromDateTime",
    "lastPasswordChangeDateTime",
];

impl Person {
    pub(super) fn new(user: NewUser, id: Uuid, now: i64) -> Self {
        let created = now - 90 * 86_400_000;
        let local = user.upn.split('@').next().unwrap_or_default().to_owned();
        let on_premises = (user.kind == Kind::Synced || user.on_premises_sid.is_some()).then(|| OnPremises {
            sid: user.on_premises_sid.unwrap_or_else(|| {
                let low = id.as_u128() as u32;
                format!("S-1-5-21-1004336348-1177238915-682003330-{}", 1000 + low % 1_000_000)
            }),
            sam: user.sam_account_name.unwrap_or_else(|| local.clone()),
            domain: user.domain.unwrap_or_else(|| "corp.contoso.example".to_owned()),
        });
        Person {
            id,
            display_name: user.display_name.unwrap_or(local),
            mail: Some(user.mail.unwrap_or_else(|| user.upn.clone())),
            upn: user.upn,
            kind: user.kind,
            enabled: !user.disabled,
            deleted: user.deleted,
            on_premises,
            roles: user.roles,
            eligible_roles: user.eligible_roles,
            role_assignable_group: user.role_assignable_group,
            created,
            password: user.password.as_deref().map(|word| password::digest(id, word)),
            must_change: false,
            valid_from: Lagged::new(created),
            password_changed: Lagged::new(created),
            dead_before: Lagged::new(0),
            critical: Lagged::new(0),
            risk: RiskView { level: "none", state: "none", detail: "none", updated: created },
            belongings: None,
            sign_ins: VecDeque::new(),
        }
    }

    /// Whether `word` is the person's password.
    pub(super) fn knows(&self, seed: u64, word: &str) -> bool {
        match &self.password {
            Some(digest) => password::same(digest, &password::digest(self.id, word)),
            None => password::same_text(&password::initial(seed, self.id), word),
        }
    }

    /// Holds a role that only a privileged caller may touch (facts: graph §4.2).
    pub(super) fn is_protected_admin(&self) -> bool {
        self.role_assignable_group || self.roles.iter().any(|role| !super::roles::is_limited(role))
    }

    /// One field as Graph shows it; `None` if Graph has no such field.
    pub(super) fn field(&mut self, name: &str, now: i64, knobs: &Knobs) -> Option<Value> {
        let stamp = |ms: i64| iso(if knobs.whole_seconds { ms.div_euclid(1000) * 1000 } else { ms });
        let on_premises = |pick: fn(&OnPremises) -> &str| self.on_premises.as_ref().map(pick);
        Some(match name {
            "id" => json!(self.id),
            "userPrincipalName" => json!(self.upn),
            "displayName" => json!(self.display_name),
            "givenName" => json!(self.display_name.split(' ').next()),
            "surname" => json!(self.display_name.split_once(' ').map(|(_, last)| last)),
            "mail" => json!(self.mail),
            "accountEnabled" => json!(self.enabled),
            "userType" => json!(if self.kind == Kind::Guest { "Guest" } else { "Member" }),
            "createdDateTime" => json!(stamp(self.created)),
            "securityIdentifier" => json!(cloud_sid(self.id)),
            "onPremisesSyncEnabled" => json!((self.kind == Kind::Synced).then_some(true)),
            "onPremisesSecurityIdentifier" => json!(on_premises(|it| &it.sid)),
            "onPremisesSamAccountName" => json!(on_premises(|it| &it.sam)),
            "onPremisesDomainName" => json!(on_premises(|it| &it.domain)),
            "signInSessionsValidFromDateTime" | "refreshTokensValidFromDateTime" => {
                json!(stamp(self.valid_from.get(now)))
            }
            "lastPasswordChangeDateTime" => json!(stamp(self.password_changed.get(now))),
            "businessPhones" | "otherMails" => json!([]),
            "proxyAddresses" => {
                json!(self.mail.iter().map(|mail| format!("SMTP:{mail}")).collect::<Vec<_>>())
            }
            "jobTitle" | "mobilePhone" | "officeLocation" | "preferredLanguage" | "department" => Value::Null,
            _ => return None,
        })
    }

    /// The person as Graph shows it, only `select`ed fields if any are given.
    pub(super) fn show(&mut self, select: Option<&[String]>, now: i64, knobs: &Knobs) -> Map<String, Value> {
        let mut out = Map::new();
        match select {
            Some(names) => {
                for name in names {
                    if let Some(value) = self.field(name, now, knobs) {
                        out.insert(name.clone(), value);
                    }
                }
            }
            None => {
                for name in DEFAULT_FIELDS {
                    if let Some(value) = self.field(name, now, knobs) {
                        out.insert((*name).to_owned(), value);
                    }
                }
            }
        }
        out
    }
}
