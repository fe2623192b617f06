//! Accounts of every spelling, as people: which identifiers count, in which order, and which accounts are nobody.
//!
//! Order of facts sentinel §1.1: object id; `name@suffix`; SID (an Entra SID decodes to the object id); domain and
//! name; friendly name. A strong identifier wins over a generic-looking name: `admin@contoso.example` with an object
//! id is a person. `objectGuid` is an on-premises id and never taken for an Entra object id.

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::json::first_text;
use super::{cut, limits};
use crate::domain::identity::{SamAccount, Sid, Subject, is_generic_account};

/// Domains whose accounts are never people.
const SERVICE_DOMAINS: &[&str] =
    &["nt authority", "nt service", "window manager", "font driver host", "iis apppool", "nt virtual machine"];

/// One person of a detection.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Person {
    pub subject: Subject,
    /// The Entra tenant the account claims to be of.
    pub tenant: Option<Uuid>,
    /// Latest instant of this person's own activity, where the source tells it apart.
    pub activity_at: Option<Timestamp>,
}

/// The people of a detection, merged, at most [`limits::PEOPLE`]; and what was left out, with the reason.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct People {
    list: Vec<Person>,
    dropped: Vec<String>,
    overflow: bool,
}

/// The texts of an account before they are judged.
#[derive(Debug, Clone, Copy, Default)]
pub struct Account<'a> {
    pub object_id: Option<&'a str>,
    pub upn: Option<&'a str>,
    pub name: Option<&'a str>,
    pub suffix: Option<&'a str>,
    pub sid: Option<&'a str>,
    pub domain: Option<&'a str>,
    pub friendly: Option<&'a str>,
    pub tenant: Option<&'a str>,
}

impl<'a> Account<'a> {
    /// Reads an account object: Sentinel entity, alert entity, `userAccount`, `userStates` or hunting row.
    pub fn read(value: &'a Value) -> Self {
        Self {
            object_id: first_text(value, &["aadUserId", "azureAdUserId", "accountObjectId"]),
            upn: first_text(value, &["userPrincipalName", "accountUpn", "upn"]),
            name: first_text(value, &["accountName", "name"]),
            suffix: first_text(value, &["upnSuffix"]),
            sid: first_text(value, &["sid", "userSid", "accountSid", "onPremisesSecurityIdentifier"]),
            domain: first_text(value, &["ntDomain", "domainName", "accountDomain", "dnsDomain"]),
            friendly: first_text(value, &["friendlyName", "displayName"]),
            tenant: first_text(value, &["aadTenantId"]),
        }
    }

    /// The person, or why it is none.
    fn judge(&self) -> Result<Person, String> {
        let label = [self.upn, self.name, self.friendly, self.sid, self.object_id].into_iter().flatten().next();
        let label = cut(label.unwrap_or("an account without a name"), 64);
        let tenant = self.tenant.and_then(|text| Uuid::try_parse(text).ok()).filter(|id| !id.is_nil());
        let sid: Option<Sid> = self.sid.or(self.friendly).and_then(|text| text.parse().ok());
        let well_known = sid.as_ref().is_some_and(Sid::is_well_known);
        let sid = sid.filter(|sid| !sid.is_well_known());
        let object_id =
            self.object_id.and_then(|text| text.parse().ok()).or_else(|| sid.as_ref().and_then(Sid::object_id));
        let upn = self.upn_texts().into_iter().flatten().find_map(|text| text.parse().ok());
        let mut subject = Subject { object_id, upn, sid, sam: None };
        if subject.object_id.is_none() {
            if well_known {
                return Err(format!("{label}: a built-in account"));
            }
            if subject.upn.as_ref().map(|upn| upn.local_part()).or(self.name).is_some_and(|name| name.ends_with('$')) {
                return Err(format!("{label}: a machine account"));
            }
            if self.domain.is_some_and(|domain| SERVICE_DOMAINS.contains(&domain.trim().to_lowercase().as_str())) {
                return Err(format!("{label}: a service account"));
            }
        }
        subject.sam = self.sam(&subject);
        if !subject.is_empty() {
            return Ok(Person { subject, tenant, activity_at: None });
        }
        let generic = self.name.or(self.upn).is_some_and(is_generic_account);
        let why = if generic { "a generic account" } else { "no identifier that can be used" };
        Err(format!("{label}: {why}"))
    }

    fn upn_texts(&self) -> [Option<String>; 4] {
        let name = self.name.filter(|name| !name.contains('\\'));
        let joined = match (name, self.suffix) {
            (Some(name), Some(suffix)) if !name.contains('@') => Some(format!("{name}@{suffix}")),
            _ => None,
        };
        [
            self.upn.map(str::to_owned),
            joined,
            name.filter(|name| name.contains('@')).map(str::to_owned),
            self.friendly.filter(|text| text.contains('@')).map(str::to_owned),
        ]
    }

    /// `DOMAIN\name`, else domain and name; a bare name only when nothing stronger is there (it is weak).
    fn sam(&self, so_far: &Subject) -> Option<SamAccount> {
        let name = self.name.or_else(|| {
            let plain = |text: &&str| !text.contains(char::is_whitespace) && !is_distinguished(text) && !is_sid(text);
            self.friendly.filter(plain).filter(|_| so_far.is_empty())
        })?;
        let (domain, name) = match name.split_once('\\') {
            Some((domain, name)) => (Some(domain), name),
            None => (self.domain, name),
        };
        if is_generic_account(name) || name.contains('@') || (domain.is_none() && !so_far.is_empty()) {
            return None;
        }
        SamAccount::parse(domain, name)
    }
}

fn is_distinguished(text: &str) -> bool {
    text.get(..3).is_some_and(|head| head.eq_ignore_ascii_case("CN="))
}

fn is_sid(text: &str) -> bool {
    text.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("S-1-"))
}

impl Person {
    /// True when both name the same person for certain. Different object ids are different people, whatever else
    /// agrees.
    pub fn is_same(&self, other: &Self) -> bool {
        let (a, b) = (&self.subject, &other.subject);
        match (a.known_object_id(), b.known_object_id()) {
            (Some(a), Some(b)) => a == b,
            _ => {
                let agree = |a: &Option<_>, b: &Option<_>| a.is_some() && a == b;
                agree(&a.upn.as_ref().map(|v| v.as_str()), &b.upn.as_ref().map(|v| v.as_str()))
                    || agree(&a.sid.as_ref().map(|v| v.as_str()), &b.sid.as_ref().map(|v| v.as_str()))
                    || (a.sam.is_some() && a.sam == b.sam)
            }
        }
    }

    fn absorb(&mut self, other: Self) {
        let (mine, theirs) = (&mut self.subject, other.subject);
        mine.object_id = mine.object_id.or(theirs.object_id);
        mine.upn = mine.upn.take().or(theirs.upn);
        mine.sid = mine.sid.take().or(theirs.sid);
        mine.sam = mine.sam.take().or(theirs.sam);
        self.tenant = self.tenant.or(other.tenant);
        self.activity_at = self.activity_at.max(other.activity_at);
    }
}

impl People {
    /// Adds an account; what is nobody is noted with its reason.
    pub fn add(&mut self, account: &Account<'_>) {
        self.add_active(account, None);
    }

    /// Adds an account with the instant of its own activity.
    pub fn add_active(&mut self, account: &Account<'_>, activity_at: Option<Timestamp>) {
        match account.judge() {
            Ok(person) => self.join(Person { activity_at, ..person }),
            Err(reason) => {
                if self.dropped.len() < limits::EVIDENCE && !self.dropped.contains(&reason) {
                    self.dropped.push(reason);
                }
            }
        }
    }

    /// Adds a person, merged with the one it is the same as.
    pub fn join(&mut self, person: Person) {
        match self.list.iter().position(|known| known.is_same(&person)) {
            Some(index) => self.list[index].absorb(person),
            None if self.list.len() == limits::PEOPLE => self.overflow = true,
            None => self.list.push(person),
        }
    }

    /// Adds everybody of another list.
    pub fn join_all(&mut self, other: &Self) {
        other.list.iter().cloned().for_each(|person| self.join(person));
        self.overflow |= other.overflow;
        self.dropped.extend(other.dropped.iter().take(limits::EVIDENCE).cloned());
        self.dropped.truncate(limits::EVIDENCE);
    }

    /// True when everybody of another list fits in beside those already here.
    pub fn has_room_for(&self, other: &Self) -> bool {
        let is_new = |person: &&Person| !self.list.iter().any(|known| known.is_same(person));
        self.list.len() + other.list.iter().filter(is_new).count() <= limits::PEOPLE
    }

    /// The people, in order of appearance.
    pub fn list(&self) -> &[Person] {
        &self.list
    }

    /// True when nobody is named.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// True when there were more than can be taken.
    pub fn is_overflowing(&self) -> bool {
        self.overflow
    }

    /// The accounts left out, with reasons; empty when there were none.
    pub fn dropped(&self) -> String {
        cut(&self.dropped.join("; "), limits::TITLE)
    }
}

/// Why a claimed tenant is not this source's; none when it is, or is no tenant id at all.
pub fn foreign_tenant(claimed: Option<Uuid>, ours: Uuid) -> Option<String> {
    claimed.filter(|id| !id.is_nil() && *id != ours).map(|id| format!("tenant {id} is not this source's"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ADA: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";

    fn people(accounts: &[Value]) -> People {
        let mut people = People::default();
        accounts.iter().for_each(|account| people.add(&Account::read(account)));
        people
    }

    #[test]
    fn identifiers_are_read_in_every_spelling() {
        for (account, who) in [
            (json!({"AadUserId": ADA}), format!("oid {ADA}")),
            (json!({"accountName": "Ada", "upnSuffix": "Contoso.example"}), "upn ada@contoso.example".to_owned()),
            (json!({"Name": "ada@contoso.example"}), "upn ada@contoso.example".to_owned()),
            (json!({"Sid": "s-1-5-21-1-2-3-1104"}), "sid S-1-5-21-1-2-3-1104".to_owned()),
            (json!({"accountName": "ada", "ntDomain": "CONTOSO"}), "sam contoso\\ada".to_owned()),
            (json!({"Name": "CONTOSO\\ada"}), "sam contoso\\ada".to_owned()),
            (json!({"friendlyName": "S-1-5-21-1-2-3-1104"}), "sid S-1-5-21-1-2-3-1104".to_owned()),
            (json!({"friendlyName": "ada@contoso.example"}), "upn ada@contoso.example".to_owned()),
            (json!({"friendlyName": "ada"}), "sam \\ada".to_owned()),
        ] {
            let people = people(std::slice::from_ref(&account));
            let subject = &people.list()[0].subject;
            let text = match (subject.object_id, &subject.upn, &subject.sid, &subject.sam) {
                (Some(id), ..) => format!("oid {id}"),
                (_, Some(upn), ..) => format!("upn {upn}"),
                (_, _, Some(sid), _) => format!("sid {sid}"),
                (_, _, _, Some(sam)) => format!("sam {}\\{}", sam.domain.as_deref().unwrap_or(""), sam.name),
                _ => "nobody".to_owned(),
            };
            assert_eq!(text, who, "{account}");
        }
    }

    #[test]
    fn accounts_that_are_nobody_are_dropped_with_a_reason() {
        for (account, why) in [
            (json!({"Name": "PC42$", "NTDomain": "CONTOSO"}), "a machine account"),
            (json!({"Name": "SYSTEM", "NTDomain": "NT AUTHORITY"}), "a service account"),
            (json!({"Name": "ADMINISTRATOR"}), "a generic account"),
            (json!({"Sid": "S-1-5-18"}), "a built-in account"),
            (json!({"friendlyName": "CN=Ada,OU=People"}), "no identifier that can be used"),
            (json!({"aadUserId": "../me"}), "no identifier that can be used"),
            (json!({"userPrincipalName": "ANONYMIZED"}), "a generic account"),
            (json!({}), "no identifier that can be used"),
            (json!(["not", "an", "object"]), "no identifier that can be used"),
        ] {
            let people = people(std::slice::from_ref(&account));
            assert!(people.is_empty(), "{account}");
            assert!(people.dropped().contains(why), "{account}: {}", people.dropped());
        }
    }

    #[test]
    fn an_object_id_outweighs_a_generic_name() {
        let people = people(&[json!({"Name": "admin", "UPNSuffix": "contoso.example", "AadUserId": ADA})]);
        assert_eq!(people.list()[0].subject.object_id, ADA.parse().ok());
    }

    #[test]
    fn the_same_person_is_merged_and_different_object_ids_never_are() {
        let upn = "ada@contoso.example";
        let merged = people(&[json!({"upn": upn}), json!({"aadUserId": ADA, "upn": "ADA@contoso.example"})]);
        assert_eq!(merged.list().len(), 1);
        assert_eq!(merged.list()[0].subject.object_id, ADA.parse().ok());
        let other = "00000000-1111-2222-3333-444444444444";
        assert_eq!(
            people(&[json!({"aadUserId": ADA, "upn": upn}), json!({"aadUserId": other, "upn": upn})]).list().len(),
            2
        );
    }

    #[test]
    fn more_people_than_the_limit_overflow() {
        let accounts: Vec<Value> =
            (0..=limits::PEOPLE).map(|n| json!({"upn": format!("u{n}@contoso.example")})).collect();
        let people = people(&accounts);
        assert!(people.is_overflowing());
        assert_eq!(people.list().len(), limits::PEOPLE);
    }
}
