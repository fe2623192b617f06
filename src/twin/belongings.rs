//! What hangs on a person: inbox rules, authentication methods, consents, devices, temporary access passes.
//!
//! Created only when first asked for, so that a hundred thousand people cost nothing.

use super::{
    Tenant,
    clock::{iso, lock, mix, write},
    page::{Options, Sizes, narrow, page},
    person::Person,
    reply::{Call, Fail, Reply},
};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

const SIZES: Sizes = Sizes { default: 100, max: 999 };
const PASSWORD_METHOD: &str = "28c10230-6103-485e-b985-444c60001490";

/// Path segment of a kind of method, and its type name.
const METHODS: &[(&str, &str)] = &[
    ("phoneMethods", "phoneAuthenticationMethod"),
    ("microsoftAuthenticatorMethods", "microsoftAuthenticatorAuthenticationMethod"),
    ("fido2Methods", "fido2AuthenticationMethod"),
    ("softwareOathMethods", "softwareOathAuthenticationMethod"),
    ("windowsHelloForBusinessMethods", "windowsHelloForBusinessAuthenticationMethod"),
    ("emailMethods", "emailAuthenticationMethod"),
    ("temporaryAccessPassMethods", "temporaryAccessPassAuthenticationMethod"),
    ("platformCredentialMethods", "platformCredentialAuthenticationMethod"),
    ("externalMethods", "externalAuthenticationMethod"),
];

#[derive(Debug)]
pub(super) struct Belongings {
    rules: Vec<Value>,
    methods: Vec<Value>,
    grants: Vec<Value>,
    devices: Vec<Value>,
}

/// Something to plant on a person, as the thief would.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
pub enum Plant {
    /// An inbox rule: `displayName`, `conditions`, `actions`, `isReadOnly` as Graph names them.
    Rule {
        /// The rule; `id` is drawn if absent.
        rule: Value,
    },
    /// An authentication method, by its path segment such as `phoneMethods`.
    Method {
        /// Path segment.
        kind: String,
        /// Its other fields.
        #[serde(default)]
        fields: Value,
    },
    /// A consent to an application.
    Grant {
        /// Object id of the application's service principal.
        client_id: String,
        /// The consented scope.
        scope: String,
    },
    /// A registered device.
    Device {
        /// Its name.
        name: String,
    },
}

impl Belongings {
    fn of(person: &Person) -> Self {
        let rule = json!({"id": "AQAAAJ5dZqA=", "displayName": "Newsletters", "sequence": 1, "isEnabled": true,
            "isReadOnly": false, "hasError": false, "conditions": {"subjectContains": ["newsletter"]},
            "actions": {"moveToFolder": "AQMkADYAAAIBXQAAAA==", "stopProcessingRules": true}});
        let at = iso(person.created);
        Belongings {
            rules: vec![rule],
            methods: vec![
                json!({"@odata.type": "#microsoft.graph.passwordAuthenticationMethod", "id": PASSWORD_METHOD,
                    "password": null, "createdDateTime": at}),
                json!({"@odata.type": "#microsoft.graph.microsoftAuthenticatorAuthenticationMethod",
                    "id": Uuid::from_u128(person.id.as_u128() ^ 1), "displayName": "Phone of the owner",
                    "deviceTag": "SoftwareTokenActivated", "phoneAppVersion": "6.2511.1", "createdDateTime": at}),
                json!({"@odata.type": "#microsoft.graph.phoneAuthenticationMethod",
                    "id": "3179e48a-750b-4051-897c-87b9720928f7", "phoneNumber": "+49 5550100", "phoneType": "mobile",
                    "smsSignInState": "notAllowedByPolicy", "createdDateTime": at}),
            ],
            grants: Vec::new(),
            devices: Vec::new(),
        }
    }
}

impl Person {
    fn belongings(&mut self) -> &mut Belongings {
        if self.belongings.is_none() {
            self.belongings = Some(Box::new(Belongings::of(self)));
        }
        self.belongings.as_mut().expect("it was put there the line before")
    }
}

fn has_id(row: &Value, id: &str) -> bool {
    row["id"].as_str().is_some_and(|it| it.eq_ignore_ascii_case(id))
}

impl Tenant {
    /// Plants something on a person and returns its id.
    pub(super) fn plant(&self, user: Uuid, plant: Plant) -> Option<String> {
        let person = self.find(user)?;
        let drawn = self.clock.fresh_id().to_string();
        let now = iso(self.clock.now());
        let mut person = lock(&person);
        let things = person.belongings();
        match plant {
            Plant::Rule { rule } => {
                let mut whole = json!({"id": drawn, "displayName": ".", "sequence": things.rules.len() + 1,
                    "isEnabled": true, "isReadOnly": false, "hasError": false, "conditions": {}, "actions": {}});
                merge(&mut whole, &rule);
                let id = whole["id"].as_str().map(str::to_owned);
                things.rules.push(whole);
                id
            }
            Plant::Method { kind, fields } => {
                let (_, name) = METHODS.iter().find(|(path, _)| *path == kind)?;
                let mut whole = json!({"@odata.type": format!("#microsoft.graph.{name}"), "id": drawn,
                    "createdDateTime": now});
                merge(&mut whole, &fields);
                let id = whole["id"].as_str().map(str::to_owned);
                things.methods.push(whole);
                id
            }
            Plant::Grant { client_id, scope } => {
                things.grants.push(json!({"id": drawn, "clientId": client_id, "consentType": "Principal",
                    "principalId": user, "resourceId": "00000003-0000-0000-c000-000000000000", "scope": scope}));
                drop(person);
                write(&self.directory).grants.insert(drawn.clone(), user);
                Some(drawn)
            }
            Plant::Device { name } => {
                things.devices.push(json!({"@odata.type": "#microsoft.graph.device", "id": drawn, "deviceId": drawn,
                    "displayName": name, "accountEnabled": true, "operatingSystem": "Windows",
                    "operatingSystemVersion": "10.0.26100", "trustType": "AzureAd", "isCompliant": true,
                    "isManaged": true, "approximateLastSignInDateTime": now}));
                drop(person);
                let id = drawn.parse().ok()?;
                write(&self.directory).devices.insert(id, user);
                Some(drawn)
            }
        }
    }

    pub(super) fn read_rules(&self, user: &str, rule: &str, call: &Call<'_>) -> Result<Reply, Fail> {
        let options = Options::of(call, &["displayName", "isEnabled"])?;
        let person = self.user(user)?;
        let mut person = lock(&person);
        let rules = &person.belongings().rules;
        if !rule.is_empty() {
            let found = rules.iter().find(|row| has_id(row, rule));
            return found.map(|row| Reply::ok(row.clone())).ok_or_else(item_not_found);
        }
        let rows: Vec<&Value> = rules.iter().filter(|row| options.admits(row)).collect();
        Ok(page(rows, &options, call, SIZES, "messageRules", |row| narrow(row, options.select.as_deref())))
    }

    pub(super) fn update_rule(&self, user: &str, rule: &str, call: &Call<'_>) -> Result<Reply, Fail> {
        let changes = Value::Object(call.body.object()?.clone());
        let person = self.user(user)?;
        let mut person = lock(&person);
        let rows = &mut person.belongings().rules;
        let row = rows.iter_mut().find(|row| has_id(row, rule)).ok_or_else(item_not_found)?;
        refuse_read_only(row)?;
        merge(row, &changes);
        Ok(Reply::ok(row.clone()).applied())
    }

    pub(super) fn delete_rule(&self, user: &str, rule: &str) -> Result<Reply, Fail> {
        let person = self.user(user)?;
        let mut person = lock(&person);
        let rows = &mut person.belongings().rules;
        let at = rows.iter().position(|row| has_id(row, rule)).ok_or_else(item_not_found)?;
        refuse_read_only(&rows[at])?;
        rows.remove(at);
        Ok(Reply::no_content().applied())
    }

    pub(super) fn read_methods(&self, user: &str, call: &Call<'_>) -> Result<Reply, Fail> {
        let options = Options::of(call, &[])?;
        let person = self.user(user)?;
        let mut person = lock(&person);
        let rows: Vec<&Value> = person.belongings().methods.iter().collect();
        Ok(page(rows, &options, call, SIZES, "authentication/methods", Value::clone))
    }

    pub(super) fn delete_method(&self, user: &str, kind: &str, method: &str) -> Result<Reply, Fail> {
        let (_, name) = METHODS
            .iter()
            .find(|(path, _)| *path == kind)
            .ok_or_else(|| Fail::bad(format!("Resource not found for the segment '{kind}'.")))?;
        let wanted = format!("#microsoft.graph.{name}");
        let person = self.user(user)?;
        let mut person = lock(&person);
        let rows = &mut person.belongings().methods;
        let at = rows.iter().position(|row| has_id(row, method) && row["@odata.type"] == wanted.as_str());
        rows.remove(at.ok_or_else(|| Fail::not_found(method))?);
        Ok(Reply::no_content().applied())
    }

    /// A temporary access pass: shown in this answer only, replaces a live one (facts: graph §4).
    pub(super) fn create_access_pass(&self, user: &str, call: &Call<'_>) -> Result<Reply, Fail> {
        let minutes = call.body.get("lifetimeInMinutes").map_or(Some(60), Value::as_u64);
        let minutes = minutes
            .filter(|minutes| (10..=43_200).contains(minutes))
            .ok_or_else(|| Fail::bad("lifetimeInMinutes is outside of what the policy allows."))?;
        let once = call.body.get("isUsableOnce").and_then(Value::as_bool).unwrap_or(true);
        let person = self.user(user)?;
        let id = self.clock.fresh_id();
        let code = format!("{:012x}", mix(id.as_u64_pair().0) >> 16);
        let mut person = lock(&person);
        let rows = &mut person.belongings().methods;
        let kind = "#microsoft.graph.temporaryAccessPassAuthenticationMethod";
        rows.retain(|row| row["@odata.type"] != kind);
        let mut row = json!({"@odata.type": kind, "id": id, "isUsable": true, "isUsableOnce": once,
            "lifetimeInMinutes": minutes, "methodUsabilityReason": "EnabledByPolicy", "createdDateTime": iso(call.now),
            "startDateTime": iso(call.now), "temporaryAccessPass": null});
        rows.push(row.clone());
        row["temporaryAccessPass"] = json!(code);
        Ok(Reply::status(201, Some(row)).applied())
    }

    pub(super) fn read_grants(&self, user: &str, call: &Call<'_>) -> Result<Reply, Fail> {
        let options = Options::of(call, &["clientId"])?;
        let person = self.user(user)?;
        let mut person = lock(&person);
        let rows: Vec<&Value> = person.belongings().grants.iter().filter(|row| options.admits(row)).collect();
        Ok(page(rows, &options, call, SIZES, "oauth2PermissionGrants", Value::clone))
    }

    pub(super) fn delete_grant(&self, grant: &str) -> Result<Reply, Fail> {
        let owner = write(&self.directory).grants.remove(grant);
        let person = owner.and_then(|owner| self.find(owner)).ok_or_else(|| Fail::not_found(grant))?;
        lock(&person).belongings().grants.retain(|row| !has_id(row, grant));
        Ok(Reply::no_content().applied())
    }

    pub(super) fn read_devices(&self, user: &str, call: &Call<'_>) -> Result<Reply, Fail> {
        let options = Options::of(call, &["displayName"])?;
        let person = self.user(user)?;
        let mut person = lock(&person);
        let rows: Vec<&Value> = person.belongings().devices.iter().filter(|row| options.admits(row)).collect();
        Ok(page(rows, &options, call, SIZES, "directoryObjects", |row| narrow(row, options.select.as_deref())))
    }

    pub(super) fn update_device(&self, device: &str, call: &Call<'_>) -> Result<Reply, Fail> {
        let changes = Value::Object(call.body.object()?.clone());
        let id: Option<Uuid> = device.parse().ok();
        let owner = id.and_then(|id| super::clock::read(&self.directory).devices.get(&id).copied());
        let person = owner.and_then(|owner| self.find(owner)).ok_or_else(|| Fail::not_found(device))?;
        let mut person = lock(&person);
        let rows = &mut person.belongings().devices;
        let row = rows.iter_mut().find(|row| has_id(row, device)).ok_or_else(|| Fail::not_found(device))?;
        merge(row, &changes);
        Ok(Reply::no_content().applied())
    }
}

/// Lays the fields of `changes` over `row`.
pub(super) fn merge(row: &mut Value, changes: &Value) {
    if let (Value::Object(row), Value::Object(changes)) = (row, changes) {
        for (name, value) in changes {
            row.insert(name.clone(), value.clone());
        }
    }
}

fn refuse_read_only(rule: &Value) -> Result<(), Fail> {
    if rule["isReadOnly"] == true {
        return Err(Fail::new(403, "ErrorAccessDenied", "The rule is read-only and cannot be changed."));
    }
    Ok(())
}

fn item_not_found() -> Fail {
    Fail::new(404, "ErrorItemNotFound", "The specified object was not found in the store.")
}
