//! The directory: who is there, and how they are found by id, UPN, mail, SID or account name.
//!
//! Deterministic from the seed. Special users stand for the cases a responder must get right; each is named here.

use super::{
    clock::{name_number, person_id, seeded_id},
    person::{Kind, NewUser, Person},
};
use serde::Serialize;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};
use uuid::Uuid;

/// A user who stands for one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Special {
    /// Ada, an ordinary cloud user; the one the demo robs.
    Ada,
    /// Mastered in Active Directory.
    Synced,
    /// In a federated domain.
    Federated,
    /// From another tenant.
    Guest,
    /// A Global Administrator.
    Admin,
    /// A Helpdesk Administrator: a role that a User Administrator may still reset.
    Helpdesk,
    /// No role now, but may activate Global Administrator.
    Eligible,
    /// Account disabled.
    Disabled,
    /// Deleted: every call answers 404.
    Deleted,
    /// In the break-glass group.
    BreakGlass,
    /// Shares a mail address and a `sAMAccountName` with [`Special::AlexTwo`].
    AlexOne,
    /// Shares a mail address and a `sAMAccountName` with [`Special::AlexOne`].
    AlexTwo,
}

impl Special {
    /// All of them.
    pub const ALL: [Special; 12] = [
        Special::Ada,
        Special::Synced,
        Special::Federated,
        Special::Guest,
        Special::Admin,
        Special::Helpdesk,
        Special::Eligible,
        Special::Disabled,
        Special::Deleted,
        Special::BreakGlass,
        Special::AlexOne,
        Special::AlexTwo,
    ];

    /// The user's principal name.
    #[must_use]
    pub fn upn(self) -> &'static str {
        match self {
            Special::Ada => "ada@contoso.example",
            Special::Synced => "sybil@contoso.example",
            Special::Federated => "fay@federated.example",
            Special::Guest => "gus_partner.example#EXT#@contoso.onmicrosoft.example",
            Special::Admin => "root.admin@contoso.example",
            Special::Helpdesk => "hal@contoso.example",
            Special::Eligible => "ella@contoso.example",
            Special::Disabled => "dan@contoso.example",
            Special::Deleted => "gone@contoso.example",
            Special::BreakGlass => "breakglass1@contoso.example",
            Special::AlexOne => "alex@contoso.example",
            Special::AlexTwo => "alex@fabrikam.example",
        }
    }

    /// The user's object id in a tenant with this seed.
    #[must_use]
    pub fn id(self, seed: u64) -> Uuid {
        seeded_id(seed, name_number(self.upn()))
    }

    fn user(self, seed: u64) -> NewUser {
        let plain = NewUser { id: Some(self.id(seed)), upn: self.upn().to_owned(), ..NewUser::default() };
        let synced = |sam: &str, domain: &str| NewUser {
            kind: Kind::Synced,
            sam_account_name: Some(sam.to_owned()),
            domain: Some(domain.to_owned()),
            ..NewUser::default()
        };
        let named = |name: &str, user: NewUser| NewUser {
            id: plain.id,
            upn: plain.upn.clone(),
            display_name: Some(name.to_owned()),
            ..user
        };
        match self {
            Special::Ada => named("Ada Example", NewUser::default()),
            Special::Synced => named("Sybil Synced", synced("sybil", "corp.contoso.example")),
            Special::Federated => named("Fay Federated", NewUser { kind: Kind::Federated, ..NewUser::default() }),
            Special::Guest => named(
                "Gus Guest",
                NewUser { kind: Kind::Guest, mail: Some("gus@partner.example".to_owned()), ..NewUser::default() },
            ),
            Special::Admin => {
                named("Root Admin", NewUser { roles: vec!["Global Administrator".to_owned()], ..NewUser::default() })
            }
            Special::Helpdesk => named(
                "Hal Helpdesk",
                NewUser { roles: vec!["Helpdesk Administrator".to_owned()], ..NewUser::default() },
            ),
            Special::Eligible => named(
                "Ella Eligible",
                NewUser { eligible_roles: vec!["Global Administrator".to_owned()], ..NewUser::default() },
            ),
            Special::Disabled => named("Dan Disabled", NewUser { disabled: true, ..NewUser::default() }),
            Special::Deleted => named("Gone Deleted", NewUser { deleted: true, ..NewUser::default() }),
            Special::BreakGlass => named(
                "Break Glass One",
                NewUser { break_glass: true, roles: vec!["Global Administrator".to_owned()], ..NewUser::default() },
            ),
            Special::AlexOne => named(
                "Alex One",
                NewUser { mail: Some("alex@contoso.example".to_owned()), ..synced("alex", "corp.contoso.example") },
            ),
            Special::AlexTwo => named(
                "Alex Two",
                NewUser { mail: Some("alex@contoso.example".to_owned()), ..synced("alex", "corp.fabrikam.example") },
            ),
        }
    }
}

/// Object id of the break-glass group in a tenant with this seed.
#[must_use]
pub fn break_glass_group(seed: u64) -> Uuid {
    seeded_id(seed, name_number("group: break glass"))
}

/// UPN of the `index`-th ordinary user (from 1).
#[must_use]
pub fn person_upn(index: usize) -> String {
    format!("user{index:04}@contoso.example")
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) members: Vec<Uuid>,
}

#[derive(Debug, Default)]
pub(super) struct Directory {
    people: HashMap<Uuid, Arc<Mutex<Person>>>,
    pub(super) order: Vec<Uuid>,
    /// Lower-case UPN, mail, SID and account name, each prefixed by its field.
    index: HashMap<String, Vec<Uuid>>,
    pub(super) groups: HashMap<Uuid, Group>,
    pub(super) devices: HashMap<Uuid, Uuid>,
    pub(super) grants: HashMap<String, Uuid>,
}

impl Directory {
    pub(super) fn new(seed: u64, people: usize, now: i64) -> Self {
        let mut directory = Directory::default();
        directory.groups.insert(break_glass_group(seed), Group { name: "break-glass".to_owned(), members: Vec::new() });
        for special in Special::ALL {
            directory.add(special.user(seed), special.id(seed), seed, now);
        }
        for index in 1..=people {
            let user = NewUser {
                upn: person_upn(index),
                display_name: Some(format!("User {index:04}")),
                ..NewUser::default()
            };
            directory.add(user, person_id(seed, index), seed, now);
        }
        directory
    }

    /// Adds a user; `false` if the id or the UPN is taken.
    pub(super) fn add(&mut self, user: NewUser, id: Uuid, seed: u64, now: i64) -> bool {
        let upn = key("userPrincipalName", &user.upn);
        if self.people.contains_key(&id) || self.index.contains_key(&upn) {
            return false;
        }
        let break_glass = user.break_glass;
        let person = Person::new(user, id, now);
        let mut keys = vec![upn];
        keys.extend(person.mail.as_deref().map(|mail| key("mail", mail)));
        if let Some(on_premises) = &person.on_premises {
            keys.push(key("onPremisesSecurityIdentifier", &on_premises.sid));
            keys.push(key("onPremisesSamAccountName", &on_premises.sam));
        }
        for key in keys {
            self.index.entry(key).or_default().push(id);
        }
        if break_glass && let Some(group) = self.groups.get_mut(&break_glass_group(seed)) {
            group.members.push(id);
        }
        self.people.insert(id, Arc::new(Mutex::new(person)));
        self.order.push(id);
        true
    }

    pub(super) fn get(&self, id: Uuid) -> Option<Arc<Mutex<Person>>> {
        self.people.get(&id).cloned()
    }

    /// Ids whose indexed `field` equals `value`; `None` if the field has no index.
    pub(super) fn by(&self, field: &str, value: &str) -> Option<Vec<Uuid>> {
        match field {
            "id" => Some(value.parse().ok().filter(|id| self.people.contains_key(id)).into_iter().collect()),
            "userPrincipalName" | "mail" | "onPremisesSecurityIdentifier" | "onPremisesSamAccountName" => {
                Some(self.index.get(&key(field, value)).cloned().unwrap_or_default())
            }
            _ => None,
        }
    }

    /// All users in a group and, if `deep`, in the groups inside it.
    pub(super) fn members(&self, group: Uuid, deep: bool) -> Option<Vec<Uuid>> {
        self.groups.get(&group)?;
        let mut seen = HashSet::new();
        let mut waiting = vec![group];
        let mut found = Vec::new();
        while let Some(next) = waiting.pop() {
            if !seen.insert(next) {
                continue;
            }
            for member in self.groups.get(&next).map_or(&[][..], |group| &group.members) {
                if self.groups.contains_key(member) {
                    waiting.extend(deep.then_some(*member));
                } else if seen.insert(*member) {
                    found.push(*member);
                }
            }
        }
        Some(found)
    }
}

fn key(field: &str, value: &str) -> String {
    format!("{field}:{}", value.to_lowercase())
}
