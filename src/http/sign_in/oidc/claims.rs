//! What an identity token says about a person, read by rule: who they are here, which roles and groups, how sure the
//! provider was. The token was verified before; nothing here trusts a name.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::domain::ObjectId;
use crate::domain::reviewer::{Linked, ReviewerId};
use crate::domain::task::Role;

/// Which claims make a sign-in multi-factor: any one of them suffices. None configured: no sign-in is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Aal2 {
    /// Values of `acr`; also asked for at step-up.
    pub acr: Vec<String>,
    /// Values within `amr`.
    pub amr: Vec<String>,
    /// Entra's authentication contexts (`c1` …), values within `acrs`; also asked for at step-up.
    pub acrs: Vec<String>,
}

/// Most groups read from a token.
const MOST_GROUPS: usize = 500;

/// The claims we read.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Claims {
    pub iss: String,
    pub sub: String,
    #[serde(default)]
    pub sid: Option<String>,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub preferred_username: Option<String>,
    #[serde(default)]
    pub azp: Option<String>,
    #[serde(default)]
    pub acr: Option<String>,
    #[serde(default, deserialize_with = "one_or_many")]
    pub amr: Vec<String>,
    #[serde(default, deserialize_with = "one_or_many")]
    pub acrs: Vec<String>,
    #[serde(default)]
    pub auth_time: Option<i64>,
    #[serde(default)]
    pub nbf: Option<i64>,
    /// Entra's tenant.
    #[serde(default)]
    pub tid: Option<Uuid>,
    /// Entra's object id.
    #[serde(default)]
    pub oid: Option<ObjectId>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(String),
        Many(Vec<String>),
        None(()),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::One(one) => vec![one],
        Either::Many(many) => many,
        Either::None(()) => Vec::new(),
    })
}

/// Why a verified token signs nobody in. The texts are shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotSignedIn {
    #[error(
        "the provider sent only a link to your groups, because they are too many: let the application send only groups assigned to it (Entra: Token configuration, Groups assigned to the application)"
    )]
    GroupsOverage,
    #[error("the token is of another directory ({0})")]
    OtherTenant(Uuid),
    #[error("the token names no directory and object (Entra: tid and oid)")]
    NoObject,
    #[error("your account has no role here: ask for a group of reviewers.oidc.roles, or to be invited")]
    NoRole,
    #[error("the token has more than {MOST_GROUPS} groups")]
    TooManyGroups,
    #[error(
        "the provider does not say when you signed in: let it send auth_time (Entra: an optional claim of the ID token)"
    )]
    NoAuthTime,
    #[error("the provider did not ask you again: the sign-in it reports is older than this attempt")]
    OldAuthTime,
}

impl Claims {
    /// Entra's directory and object. It is a token of Entra when the configured issuer's path names a directory, as
    /// Entra's issuers do, and the token says the same: no other provider gets to claim somebody's object id.
    pub fn linked(&self, issuer: &url::Url) -> Result<Option<Linked>, NotSignedIn> {
        const HOSTS: [&str; 4] = [
            "login.microsoftonline.com",
            "login.microsoftonline.us",
            "login.partner.microsoftonline.cn",
            "sts.windows.net",
        ];
        let named = issuer.path_segments().into_iter().flatten().find_map(|part| Uuid::try_parse(part).ok());
        let entra = issuer.host_str().is_some_and(|host| HOSTS.contains(&host));
        match (named, self.tid, self.oid) {
            (Some(own), Some(tenant), _) if own != tenant => Err(NotSignedIn::OtherTenant(tenant)),
            (Some(_), Some(tenant), Some(object_id)) => Ok(Some(Linked { tenant, object_id })),
            _ if entra => Err(NotSignedIn::NoObject),
            _ => Ok(None),
        }
    }

    /// The groups in the configured claim. Entra replaces a long list by a reference, which must not read as "none".
    pub fn groups(&self, claim: &str) -> Result<Vec<String>, NotSignedIn> {
        let referred =
            self.rest.get("_claim_names").and_then(Value::as_object).is_some_and(|names| names.contains_key(claim));
        let has_many = self.rest.get("hasgroups").is_some_and(|has| has.as_bool() == Some(true) || has == "true");
        if referred || (has_many && claim == "groups") {
            return Err(NotSignedIn::GroupsOverage);
        }
        let groups: Vec<String> = match self.rest.get(claim) {
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(Value::String(one)) => vec![one.clone()],
            _ => Vec::new(),
        };
        if groups.len() > MOST_GROUPS { Err(NotSignedIn::TooManyGroups) } else { Ok(groups) }
    }

    /// Multi-factor, as configured.
    pub fn is_aal2(&self, aal2: &Aal2) -> bool {
        let any = |wanted: &[String], has: &[String]| wanted.iter().any(|one| has.contains(one));
        self.acr.as_ref().is_some_and(|acr| aal2.acr.contains(acr))
            || any(&aal2.amr, &self.amr)
            || any(&aal2.acrs, &self.acrs)
    }

    /// When the person last signed in at the provider.
    pub fn authenticated_at(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.auth_time?).ok()
    }

    /// What people read.
    pub fn display_name(&self) -> String {
        let name = self.name.as_deref().or(self.preferred_username.as_deref()).unwrap_or("(without a name)");
        name.chars().filter(|c| !c.is_control()).take(100).collect()
    }

    /// The id of somebody who was not invited: of issuer and subject, never of a name that they could choose.
    pub fn provisioned_id(&self) -> ReviewerId {
        let mut hasher = Sha256::new();
        hasher.update(self.iss.as_bytes());
        hasher.update(b"\0");
        hasher.update(self.sub.as_bytes());
        let text = format!("oidc-{}", &hex::encode(hasher.finalize())[..24]);
        text.parse().expect("a prefix and hexadecimal digits are a name")
    }
}

/// The roles that groups give; `*` is everybody.
pub(super) fn roles(mapping: &BTreeMap<Role, Vec<String>>, groups: &[String]) -> Vec<Role> {
    let gives = |wanted: &[String]| wanted.iter().any(|one| one == "*" || groups.contains(one));
    mapping.iter().filter(|(_, wanted)| gives(wanted)).map(|(role, _)| *role).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(more: Value) -> Claims {
        let mut all = json!({ "iss": "https://idp.example", "sub": "s" });
        if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
            all.extend(more);
        }
        serde_json::from_value(all).expect("claims")
    }

    fn url(text: &str) -> url::Url {
        text.parse().expect("a URL")
    }

    const TENANT: &str = "11111111-2222-3333-4444-555555555555";
    const PERSON: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";

    #[test]
    fn multi_factor_is_what_the_configuration_says() {
        let aal2 = Aal2 { acr: vec!["high".into()], amr: vec!["mfa".into()], acrs: vec!["c1".into()] };
        for good in
            [json!({"acr": "high"}), json!({"amr": ["pwd", "mfa"]}), json!({"acrs": ["c1"]}), json!({"acrs": "c1"})]
        {
            assert!(claims(good.clone()).is_aal2(&aal2), "{good}");
            assert!(!claims(good.clone()).is_aal2(&Aal2::default()), "{good}");
        }
        for bad in
            [json!({}), json!({"acr": "mfa"}), json!({"amr": ["pwd"]}), json!({"acrs": ["c2"]}), json!({"amr": null})]
        {
            assert!(!claims(bad.clone()).is_aal2(&aal2), "{bad}");
        }
    }

    #[test]
    fn too_many_groups_are_not_read_as_none() {
        let over =
            json!({ "_claim_names": { "groups": "src1" }, "_claim_sources": { "src1": { "endpoint": "https://…" } } });
        assert_eq!(claims(over.clone()).groups("groups"), Err(NotSignedIn::GroupsOverage));
        assert_eq!(claims(json!({ "hasgroups": true })).groups("groups"), Err(NotSignedIn::GroupsOverage));
        assert_eq!(claims(json!({ "hasgroups": "true" })).groups("groups"), Err(NotSignedIn::GroupsOverage));
        assert_eq!(claims(over).groups("teams"), Ok(vec![]));
        assert_eq!(claims(json!({ "groups": ["a", 7, "b"] })).groups("groups"), Ok(vec!["a".into(), "b".into()]));
        let many: Vec<String> = (0..501).map(|n| n.to_string()).collect();
        assert_eq!(claims(json!({ "groups": many })).groups("groups"), Err(NotSignedIn::TooManyGroups));
    }

    #[test]
    fn a_token_of_entra_names_directory_and_object_and_no_other_directory() {
        let issuer = url(&format!("https://login.microsoftonline.com/{TENANT}/v2.0"));
        let both = claims(json!({ "tid": TENANT, "oid": PERSON }));
        let linked = both.linked(&issuer).expect("fits").expect("an account");
        assert_eq!(linked.to_string(), format!("{TENANT}/{PERSON}"));
        assert_eq!(claims(json!({ "tid": TENANT })).linked(&issuer), Err(NotSignedIn::NoObject));
        assert_eq!(claims(json!({})).linked(&issuer), Err(NotSignedIn::NoObject));
        let other = claims(json!({ "tid": PERSON, "oid": PERSON }));
        assert!(matches!(other.linked(&issuer), Err(NotSignedIn::OtherTenant(_))));
        let claimed = claims(json!({ "tid": TENANT, "oid": PERSON }));
        assert_eq!(claimed.linked(&url("https://idp.example")), Ok(None), "another provider may not name an object");
    }

    #[test]
    fn groups_give_roles_and_names_give_nothing() {
        let mapping =
            BTreeMap::from([(Role::Viewer, vec!["*".to_owned()]), (Role::Approver, vec!["on-call".to_owned()])]);
        assert_eq!(roles(&mapping, &[]), [Role::Viewer]);
        assert_eq!(roles(&mapping, &["on-call".to_owned()]), [Role::Viewer, Role::Approver]);
        let one = claims(json!({ "preferred_username": "admin", "name": "a\u{7}b" }));
        assert_eq!(one.display_name(), "ab");
        assert!(one.provisioned_id().as_str().starts_with("oidc-"));
        assert_ne!(one.provisioned_id(), claims(json!({ "sub": "t" })).provisioned_id());
    }
}
