//! Who it is about, as a page shows them: a name where one is known, always the tenant and the object id.

use serde_json::Value;

use super::evidence::Known;
use super::markup::{Tag, Tone};
use super::text;
use crate::domain::Identity;

/// A person in one line and a few flags.
#[derive(Debug, Clone)]
pub struct PersonCard {
    /// Display name, else UPN, else the object id; for sentences.
    pub name: String,
    /// Shown beneath where it is not the name.
    pub upn: Option<String>,
    /// `None` while nobody could be named.
    pub object_id: Option<String>,
    pub tenant: Option<String>,
    /// Role holder, guest, synced, disabled: what changes what can be done.
    pub flags: Vec<Tag>,
}

impl PersonCard {
    /// What is known of a person; without an identity: nobody could be named.
    pub fn of(identity: Option<&Identity>, known: &Known) -> Self {
        let user = known.user.as_ref();
        let read = |key: &str| user.and_then(|user| user.get(key)).and_then(Value::as_str);
        let upn = text::some(read("upn")).or_else(|| known.upn.clone());
        let object_id = identity.map(|identity| identity.object_id.to_string());
        let name = text::some(read("display_name")).or_else(|| upn.clone()).or_else(|| object_id.clone());
        let upn = upn.filter(|upn| Some(upn) != name.as_ref());
        Self {
            name: name.unwrap_or_else(|| "Somebody who could not be named".to_owned()),
            upn,
            object_id,
            tenant: identity.map(|identity| identity.tenant.to_string()),
            flags: flags(user),
        }
    }
}

fn flags(user: Option<&Value>) -> Vec<Tag> {
    let is = |key: &str, wanted: bool| user.and_then(|user| user.get(key)).and_then(Value::as_bool) == Some(wanted);
    [
        (is("privileged", true), "Holds a directory role", Tone::Warn),
        (is("guest", true), "Guest", Tone::Warn),
        (is("synced", true), "Synced from Active Directory", Tone::Warn),
        (is("federated", true), "Signs in at another provider", Tone::Warn),
        (is("account_enabled", false), "Account disabled", Tone::Plain),
    ]
    .into_iter()
    .filter(|(holds, ..)| *holds)
    .map(|(_, text, tone)| Tag::new(text, tone))
    .collect()
}
