//! Users: read, find, revoke, enable, reset.

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::domain::ObjectId;
use crate::domain::identity::{SamAccount, Sid, Upn};

use super::client::{Graph, Request};
use super::error::Error;
use super::odata::{lenient_instant, lenient_text, or_default, quoted};
use super::terms::{Accepted, Nature, Operation, Terms, Workload};

static READ: Operation =
    Operation { name: "read_user", permission: "User.Read.All", nature: Nature::Read, workload: Workload::Directory };
static FIND: Operation =
    Operation { name: "find_user", permission: "User.Read.All", nature: Nature::Read, workload: Workload::Directory };
static REVOKE: Operation = Operation {
    name: "revoke_sessions",
    permission: "User.RevokeSessions.All",
    nature: Nature::Idempotent,
    workload: Workload::Directory,
};
static ENABLE: Operation = Operation {
    name: "set_enabled",
    permission: "User.EnableDisableAccount.All",
    nature: Nature::Idempotent,
    workload: Workload::Directory,
};
static RESET: Operation = Operation {
    name: "reset_password",
    permission: "User-PasswordProfile.ReadWrite.All",
    nature: Nature::Once,
    workload: Workload::Directory,
};

const STATE: &str = "id,userPrincipalName,displayName,mail,accountEnabled,userType,onPremisesSyncEnabled,\
                     signInSessionsValidFromDateTime,lastPasswordChangeDateTime,createdDateTime";
const BRIEF: &str = "id,userPrincipalName,displayName,accountEnabled,userType,onPremisesSyncEnabled,\
                     onPremisesDomainName";
/// Several matches are as good as many: a human decides.
const MATCHES: usize = 10;

/// A user as read just now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct UserState {
    #[serde(rename(deserialize = "id"))]
    pub object_id: ObjectId,
    /// For display and for keeping its parts out of a password.
    #[serde(rename(deserialize = "userPrincipalName"), default, deserialize_with = "or_default")]
    pub upn: String,
    #[serde(default, deserialize_with = "or_default")]
    pub display_name: String,
    #[serde(default, deserialize_with = "lenient_text")]
    pub mail: Option<String>,
    /// `None` when Graph does not say.
    #[serde(default)]
    pub account_enabled: Option<bool>,
    /// `Member` or `Guest`.
    #[serde(default, deserialize_with = "lenient_text")]
    pub user_type: Option<String>,
    /// Mastered on-premises: password and state change there, not here.
    #[serde(rename(deserialize = "onPremisesSyncEnabled"), default, deserialize_with = "or_default")]
    pub synced: bool,
    /// `signInSessionsValidFromDateTime`: sessions from before it are dead.
    #[serde(rename(deserialize = "signInSessionsValidFromDateTime"), default, deserialize_with = "lenient_instant")]
    pub sessions_valid_from: Option<Timestamp>,
    #[serde(rename(deserialize = "lastPasswordChangeDateTime"), default, deserialize_with = "lenient_instant")]
    pub last_password_change: Option<Timestamp>,
    #[serde(rename(deserialize = "createdDateTime"), default, deserialize_with = "lenient_instant")]
    pub created_at: Option<Timestamp>,
}

impl UserState {
    /// A guest's home tenant owns the sessions and the password.
    pub fn is_guest(&self) -> bool {
        is_guest(self.user_type.as_deref(), &self.upn)
    }

    /// The domain the person signs in with.
    pub fn sign_in_domain(&self) -> Option<&str> {
        self.upn.rsplit_once('@').map(|(_, domain)| domain)
    }

    /// The domain of the mail address, else of the UPN, lower-cased.
    pub fn domain(&self) -> Option<String> {
        let address = self.mail.as_deref().unwrap_or(&self.upn);
        address.rsplit_once('@').map(|(_, domain)| domain.to_lowercase())
    }
}

/// A user found by something else than the object id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct UserBrief {
    #[serde(rename(deserialize = "id"))]
    pub object_id: ObjectId,
    #[serde(rename(deserialize = "userPrincipalName"), default, deserialize_with = "or_default")]
    pub upn: String,
    #[serde(default, deserialize_with = "or_default")]
    pub display_name: String,
    #[serde(default)]
    pub account_enabled: Option<bool>,
    #[serde(default, deserialize_with = "lenient_text")]
    pub user_type: Option<String>,
    #[serde(rename(deserialize = "onPremisesSyncEnabled"), default, deserialize_with = "or_default")]
    pub synced: bool,
    #[serde(rename(deserialize = "onPremisesDomainName"), default, deserialize_with = "lenient_text")]
    domain: Option<String>,
}

impl UserBrief {
    /// A guest's home tenant owns the sessions and the password.
    pub fn is_guest(&self) -> bool {
        is_guest(self.user_type.as_deref(), &self.upn)
    }
}

fn is_guest(user_type: Option<&str>, upn: &str) -> bool {
    user_type.is_some_and(|kind| kind.eq_ignore_ascii_case("guest")) || upn.to_ascii_uppercase().contains("#EXT#")
}

/// `value` of a revoke's answer; absent where the code was 204 or the body something else.
fn declined(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(deserialize_with = "flag")]
        value: Option<bool>,
    }
    fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
        Ok(Value::deserialize(from)?.as_bool())
    }
    serde_json::from_slice::<Answer>(body).is_ok_and(|answer| answer.value == Some(false))
}

impl Graph {
    /// Reads a user by object id.
    ///
    /// # Errors
    /// As any read; 404 when there is no such user (any more).
    pub async fn user(&self, id: ObjectId, terms: &Terms) -> Result<UserState, Error> {
        let request = Request::get(self, &READ, &["users", &id.to_string()]).query(&[("$select", &STATE)]);
        self.one(request, terms).await
    }

    /// The users of this UPN; where there is none, those of this mail address. Empty or several = for a human.
    ///
    /// # Errors
    /// As any read.
    pub async fn find_by_upn(&self, upn: &Upn, terms: &Terms) -> Result<Vec<UserBrief>, Error> {
        let end = tokio::time::Instant::now() + terms.timeout;
        let found = self.find(&format!("userPrincipalName eq {}", quoted(upn.as_str())), false, terms).await?;
        if !found.is_empty() {
            return Ok(found);
        }
        let left = end.saturating_duration_since(tokio::time::Instant::now());
        self.find(&format!("mail eq {}", quoted(upn.as_str())), false, &Terms { timeout: left, ..*terms }).await
    }

    /// The users with this on-premises security identifier.
    ///
    /// # Errors
    /// As any read.
    pub async fn find_by_sid(&self, sid: &Sid, terms: &Terms) -> Result<Vec<UserBrief>, Error> {
        self.find(&format!("onPremisesSecurityIdentifier eq {}", quoted(sid.as_str())), true, terms).await
    }

    /// The users with this on-premises account name and, where given, domain (its DNS name or first label).
    ///
    /// # Errors
    /// As any read.
    pub async fn find_by_sam(&self, sam: &SamAccount, terms: &Terms) -> Result<Vec<UserBrief>, Error> {
        let mut found = self.find(&format!("onPremisesSamAccountName eq {}", quoted(&sam.name)), true, terms).await?;
        if let Some(wanted) = &sam.domain {
            found.retain(|user| {
                user.domain.as_deref().is_some_and(|domain| {
                    let first = domain.split('.').next().unwrap_or(domain);
                    domain.eq_ignore_ascii_case(wanted) || first.eq_ignore_ascii_case(wanted)
                })
            });
        }
        Ok(found)
    }

    async fn find(&self, filter: &str, eventual: bool, terms: &Terms) -> Result<Vec<UserBrief>, Error> {
        let mut request = Request::get(self, &FIND, &["users"]);
        request = if eventual {
            // On-premises attributes need an advanced query.
            request.query(&[("$filter", &filter), ("$select", &BRIEF), ("$count", &"true"), ("$top", &MATCHES)])
        } else {
            request.query(&[("$filter", &filter), ("$select", &BRIEF), ("$top", &MATCHES)])
        };
        self.list(if eventual { request.eventual() } else { request }, terms, MATCHES).await
    }

    /// Invalidates every refresh token and Entra session cookie issued before now (facts: graph §4.1). Safe to repeat.
    ///
    /// # Errors
    /// `Declined` when Graph answers `value: false`; else as any effect.
    pub async fn revoke(&self, id: ObjectId, terms: &Terms) -> Result<Accepted, Error> {
        let request = Request::new(self, &REVOKE, Method::POST, &["users", &id.to_string(), "revokeSignInSessions"])
            .json(&json!({}));
        let reply = self.send(&request, terms).await?;
        if declined(&reply.body) {
            return Err(Error::Declined { operation: &REVOKE, request_id: reply.request_id });
        }
        Ok(reply.accepted())
    }

    /// Lets a person sign in, or not. Safe to repeat.
    ///
    /// # Errors
    /// As any effect.
    pub async fn set_enabled(&self, id: ObjectId, enabled: bool, terms: &Terms) -> Result<Accepted, Error> {
        let request = Request::new(self, &ENABLE, Method::PATCH, &["users", &id.to_string()])
            .json(&json!({ "accountEnabled": enabled }));
        self.effect(request, terms).await
    }

    /// Sets a password; `body` is the JSON of the PATCH, made by the caller so that it is wiped with its buffer. Sent
    /// once, by `recover_credential` where there is one.
    ///
    /// # Errors
    /// As any non-idempotent effect; no word of Graph's answer is repeated in it.
    pub async fn set_password(&self, id: ObjectId, body: Bytes, terms: &Terms) -> Result<Accepted, Error> {
        let request = Request::new(self, &RESET, Method::PATCH, &["users", &id.to_string()]).bytes(body);
        self.effect(request, terms).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_reads_with_everything_but_the_id_missing_or_null() {
        let user: UserState = serde_json::from_value(json!({
            "id": "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "userPrincipalName": null, "accountEnabled": null,
            "onPremisesSyncEnabled": null, "lastPasswordChangeDateTime": "yesterday",
        }))
        .expect("lenient");
        assert!(!user.synced && user.account_enabled.is_none() && user.last_password_change.is_none());
        assert!(serde_json::from_value::<UserState>(json!({ "id": "../me" })).is_err());
    }

    #[test]
    fn a_guest_is_known_by_type_or_by_name() {
        assert!(is_guest(Some("Guest"), "ada@contoso.example"));
        assert!(is_guest(Some("Member"), "ada_fabrikam.example#EXT#@contoso.example"));
        assert!(!is_guest(None, "ada@contoso.example"));
    }

    #[test]
    fn only_a_plain_false_declines_a_revoke() {
        assert!(declined(br#"{"@odata.context":"x","value":false}"#));
        for body in ["", "{}", "null", "<html>", r#"{"value":true}"#, r#"{"value":null}"#, r#"{"value":"false"}"#] {
            assert!(!declined(body.as_bytes()), "{body}");
        }
    }
}
