//! `/users`, `/groups`, `/roleManagement` and the tenant's own objects.
//!
//! The documented refusals: synced and federated users take no cloud password, administrators need the higher role
//! (facts: graph §4.2).

use super::{
    Tenant,
    clock::{lock, millis, read},
    directory::break_glass_group,
    page::{Options, Sizes, context_url, page},
    password,
    person::{ALL_FIELDS, Kind, Person},
    reply::{Call, Fail, Reply},
    roles,
};
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex};
use uuid::Uuid;

const USERS: Sizes = Sizes { default: 100, max: 999 };

impl Tenant {
    /// The person behind an object id.
    pub(super) fn find(&self, id: Uuid) -> Option<Arc<Mutex<Person>>> {
        read(&self.directory).get(id)
    }

    /// The object id behind an id or a UPN as written in a path.
    pub(super) fn resolve(&self, id_or_upn: &str) -> Option<Uuid> {
        if let Ok(id) = id_or_upn.parse() {
            return Some(id);
        }
        read(&self.directory).by("userPrincipalName", id_or_upn)?.first().copied()
    }

    /// The live user behind a path segment, or Graph's 404.
    pub(super) fn user(&self, id_or_upn: &str) -> Result<Arc<Mutex<Person>>, Fail> {
        let person = self.resolve(id_or_upn).and_then(|id| self.find(id));
        let person = person.ok_or_else(|| Fail::not_found(id_or_upn))?;
        if lock(&person).deleted {
            return Err(Fail::not_found(id_or_upn));
        }
        Ok(person)
    }

    pub(super) fn read_user(&self, id: &str, call: &Call<'_>) -> Result<Reply, Fail> {
        let options = Options::of(call, &[])?;
        let person = self.user(id)?;
        let mut out = Map::new();
        out.insert("@odata.context".to_owned(), json!(context_url(call, "users/$entity")));
        out.extend(lock(&person).show(options.select.as_deref(), call.now, &call.knobs));
        Ok(Reply::ok(Value::Object(out)))
    }

    pub(super) fn list_users(&self, call: &Call<'_>) -> Result<Reply, Fail> {
        let options = Options::of(call, ALL_FIELDS)?;
        let candidates = self.candidates(&options);
        let all: Vec<String> = ALL_FIELDS.iter().map(|name| (*name).to_owned()).collect();
        let mut rows = Vec::new();
        for id in candidates {
            let Some(person) = self.find(id) else { continue };
            let mut person = lock(&person);
            if person.deleted {
                continue;
            }
            if options.filter.is_some() {
                let row = Value::Object(person.show(Some(&all), call.now, &call.knobs));
                if !options.admits(&row) {
                    continue;
                }
            }
            rows.push(id);
        }
        Ok(page(rows, &options, call, USERS, "users", |id| self.shown(id, &options, call)))
    }

    fn candidates(&self, options: &Options) -> Vec<Uuid> {
        let directory = read(&self.directory);
        let indexed = ["id", "userPrincipalName", "mail", "onPremisesSecurityIdentifier", "onPremisesSamAccountName"];
        for field in indexed {
            if let Some(values) = options.filter.as_ref().and_then(|filter| filter.pinned(field)) {
                let mut found: Vec<Uuid> =
                    values.iter().flat_map(|value| directory.by(field, value).unwrap_or_default()).collect();
                found.dedup();
                return found;
            }
        }
        directory.order.clone()
    }

    fn shown(&self, id: Uuid, options: &Options, call: &Call<'_>) -> Value {
        self.find(id).map_or(Value::Null, |person| {
            Value::Object(lock(&person).show(options.select.as_deref(), call.now, &call.knobs))
        })
    }

    /// `POST /users/{id}/revokeSignInSessions`: the one call everything turns on (facts: graph §4.1).
    pub(super) fn revoke(&self, id: &str, call: &Call<'_>) -> Result<Reply, Fail> {
        let person = self.user(id)?;
        let knobs = &call.knobs;
        {
            let mut person = lock(&person);
            let now = self.clock.now();
            let event = self.clock.tick();
            if !knobs.revoke_field_frozen {
                person.valid_from.set(now, now, now + millis(knobs.revoke_field_lag_ms));
            }
            if !knobs.revoke_without_effect {
                let effective = now + millis(knobs.revoke_effect_lag_ms);
                person.dead_before.set(event, now, effective);
                person.critical.set(event, now, effective);
            }
        }
        if knobs.revoke_answers_204 {
            return Ok(Reply::no_content().applied());
        }
        Ok(Reply::ok(json!({"@odata.context": context_url(call, "Edm.Boolean"), "value": true})).applied())
    }

    /// `PATCH /users/{id}`.
    pub(super) fn update_user(&self, id: &str, app: usize, call: &Call<'_>) -> Result<Reply, Fail> {
        let body = call.body.object()?;
        let person = self.user(id)?;
        let mut person = lock(&person);
        if (body.contains_key("passwordProfile") || body.contains_key("accountEnabled"))
            && person.is_protected_admin()
            && !self.apps[app].privileged
        {
            return Err(Fail::denied());
        }
        if let Some(profile) = body.get("passwordProfile") {
            self.reset(&mut person, profile)?;
        }
        match body.get("accountEnabled") {
            Some(Value::Bool(enabled)) => {
                if person.kind == Kind::Synced {
                    return Err(mastered_on_premises());
                }
                person.enabled = *enabled;
                if !enabled {
                    person.critical.set(self.clock.tick(), call.now, call.now);
                }
            }
            Some(_) => return Err(Fail::bad("Invalid value specified for property 'accountEnabled'.")),
            None => {}
        }
        if let Some(Value::String(name)) = body.get("displayName") {
            person.display_name.clone_from(name);
        }
        Ok(Reply::no_content().applied())
    }

    fn reset(&self, person: &mut Person, profile: &Value) -> Result<(), Fail> {
        match person.kind {
            Kind::Synced => return Err(mastered_on_premises()),
            Kind::Federated => {
                return Err(Fail::bad("Property passwordProfile cannot be set for a user in a federated domain."));
            }
            Kind::Guest => return Err(Fail::bad("The password of an external user is kept by the home tenant.")),
            Kind::Cloud => {}
        }
        let word = profile
            .get("password")
            .and_then(Value::as_str)
            .ok_or_else(|| Fail::bad("A value is required for property 'password' of resource 'User'."))?;
        let flag = |name: &str| profile.get(name).and_then(Value::as_bool).unwrap_or(false);
        let names = [person.upn.as_str(), person.display_name.as_str(), "contoso"];
        if password::refusal(word, &names).is_some() {
            return Err(Fail::bad(
                "The specified password does not comply with password complexity requirements. Please provide a \
                 different password.",
            ));
        }
        let must_change = flag("forceChangePasswordNextSignIn") || flag("forceChangePasswordNextSignInWithMfa");
        let now = self.clock.now();
        self.set_password(person, word, must_change, now);
        self.risk_after_reset(person, now);
        Ok(())
    }

    pub(super) fn read_roles(&self, id: &str, all: bool, call: &Call<'_>) -> Result<Reply, Fail> {
        let options = Options::of(call, &["id", "displayName", "roleTemplateId"])?;
        let person = self.user(id)?;
        let (oid, roles) = {
            let person = lock(&person);
            (person.id, person.roles.clone())
        };
        let mut rows: Vec<Value> = roles.iter().map(|role| roles::object(self.config.seed, role)).collect();
        if all {
            let directory = read(&self.directory);
            rows.extend(directory.groups.iter().filter(|(_, group)| group.members.contains(&oid)).map(
                |(id, group)| {
                    json!({"@odata.type": "#microsoft.graph.group", "id": id, "displayName": group.name,
                        "isAssignableToRole": *id == break_glass_group(self.config.seed)})
                },
            ));
        }
        Ok(page(rows, &options, call, USERS, "directoryObjects", |row| {
            super::page::narrow(&row, options.select.as_deref())
        }))
    }

    /// Role assignments (active) or eligibility instances of one principal.
    pub(super) fn read_assignments(&self, eligible: bool, call: &Call<'_>) -> Result<Reply, Fail> {
        let options = Options::of(call, &["principalId", "roleDefinitionId"])?;
        let principal = options.filter.as_ref().and_then(|filter| filter.pinned("principalId")).unwrap_or_default();
        let mut rows = Vec::new();
        for id in principal {
            let Some(person) = self.resolve(id).and_then(|id| self.find(id)) else { continue };
            let person = lock(&person);
            let held = if eligible { &person.eligible_roles } else { &person.roles };
            rows.extend(held.iter().map(|role| {
                json!({"id": format!("{}-{}", person.id, roles::template(role)), "principalId": person.id,
                    "roleDefinitionId": roles::template(role), "directoryScopeId": "/",
                    "roleDefinition": {"id": roles::template(role), "displayName": role,
                        "templateId": roles::template(role)}})
            }));
        }
        Ok(page(rows, &options, call, USERS, "roleManagement/directory", |row| row))
    }

    pub(super) fn read_group(&self, id: &str) -> Result<Reply, Fail> {
        let directory = read(&self.directory);
        let group = id.parse().ok().and_then(|id: Uuid| directory.groups.get(&id));
        let group = group.ok_or_else(|| Fail::not_found(id))?;
        Ok(Reply::ok(json!({"id": id, "displayName": group.name, "securityEnabled": true})))
    }

    pub(super) fn read_members(&self, id: &str, deep: bool, call: &Call<'_>) -> Result<Reply, Fail> {
        let options = Options::of(call, ALL_FIELDS)?;
        let members = id.parse().ok().and_then(|id| read(&self.directory).members(id, deep));
        let members = members.ok_or_else(|| Fail::not_found(id))?;
        Ok(page(members, &options, call, USERS, "directoryObjects", |id| {
            let mut row = self.shown(id, &options, call);
            if let Value::Object(fields) = &mut row {
                fields.insert("@odata.type".to_owned(), json!("#microsoft.graph.user"));
                fields.insert("id".to_owned(), json!(id));
            }
            row
        }))
    }

    pub(super) fn read_organization(&self) -> Reply {
        Reply::ok(json!({"value": [{"id": self.config.tenant_id, "displayName": "Contoso (twin)",
            "verifiedDomains": [{"name": "contoso.example", "isDefault": true, "isInitial": false},
                {"name": "federated.example", "isDefault": false, "isInitial": false}],
            "assignedPlans": [{"service": "AADPremiumService", "capabilityStatus": "Enabled"}]}]}))
    }

    pub(super) fn read_domains(&self, id: &str) -> Result<Reply, Fail> {
        let domains =
            [("contoso.example", "Managed"), ("fabrikam.example", "Managed"), ("federated.example", "Federated")];
        let show = |(name, kind): &(&str, &str)| json!({"id": name, "authenticationType": kind, "isVerified": true});
        if id.is_empty() {
            return Ok(Reply::ok(json!({"value": domains.iter().map(show).collect::<Vec<_>>()})));
        }
        let found = domains.iter().find(|(name, _)| name.eq_ignore_ascii_case(id));
        found.map(|domain| Reply::ok(show(domain))).ok_or_else(|| Fail::not_found(id))
    }

    /// Which Graph permissions an application holds; `id` is a service principal's id or `servicePrincipals(appId='…')`.
    pub(super) fn read_app_roles(&self, id: &str, app: usize) -> Reply {
        let named = id.split('\'').nth(1).unwrap_or(id);
        let found = self.apps.iter().position(|it| it.client_id.eq_ignore_ascii_case(named)).unwrap_or(app);
        let value: Vec<Value> = self
            .granted(found)
            .iter()
            .map(|name| {
                json!({"id": super::clock::seeded_id(1, super::clock::name_number(name)), "principalType": "ServicePrincipal",
                    "resourceDisplayName": "Microsoft Graph", "appRoleId": super::permissions::role_id(name)})
            })
            .collect();
        Reply::ok(json!({"value": value}))
    }
}

fn mastered_on_premises() -> Fail {
    Fail::bad(
        "Unable to update the specified properties for on-premises mastered Directory Sync objects or objects \
         currently undergoing migration.",
    )
}
