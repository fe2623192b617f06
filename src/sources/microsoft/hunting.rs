//! Shape `hunting`: rows of Defender's streaming API and of advanced hunting (`AlertInfo`, `AlertEvidence`,
//! `BehaviorInfo`, `BehaviorEntities`), with or without their envelope.
//!
//! One row per entity: rows of one delivery are joined by `AlertId` or `BehaviorId` (facts: sentinel §1.5). A user
//! row on its own still names the person. An info row on its own is looked up where Defender can be asked; any other
//! row on its own starts nothing, because the person comes in a row of its own.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::entities::opened;
use super::{Context, Draft, Shape};
use crate::domain::Outcome;
use crate::domain::signal::{Collection, Lookup};
use crate::sources::draft::tenant;
use crate::sources::normalise::json::{first, first_text, get, reference, text};
use crate::sources::normalise::person::{Account, People};
use crate::sources::normalise::{clock, evidence, risk};

#[derive(Debug)]
pub(super) struct Hunting;

impl Shape for Hunting {
    fn word(&self) -> &'static str {
        "hunting"
    }

    fn tells(&self, item: &Value) -> bool {
        match text(item, "category") {
            Some(category) if get(item, "properties").is_some() => prefixed(category),
            _ => {
                (get(item, "behaviorId").is_some() && get(item, "actionType").is_some())
                    || (get(item, "alertId").is_some() && first(item, &["entityType", "detectionSource"]).is_some())
            }
        }
    }

    fn read(&self, items: &[&Value], _ctx: &Context) -> Vec<Draft> {
        let rows: Vec<Row<'_>> = items.iter().map(|item| Row::of(item)).collect();
        let mut groups: Vec<(String, Vec<&Row<'_>>)> = Vec::new();
        for row in &rows {
            match groups.iter_mut().find(|(id, _)| *id == row.id && !id.is_empty()) {
                Some((_, group)) => group.push(row),
                None => groups.push((row.id.clone(), vec![row])),
            }
        }
        groups.iter().map(|(id, rows)| draft(id, rows)).collect()
    }
}

fn prefixed(category: &str) -> bool {
    category.get(..16).is_some_and(|head| head.eq_ignore_ascii_case("AdvancedHunting-"))
}

/// One row, out of its envelope.
#[derive(Debug)]
struct Row<'a> {
    envelope: &'a Value,
    row: Cow<'a, Value>,
    /// `alert …` or `behavior …`; empty for rows of another table.
    id: String,
}

impl<'a> Row<'a> {
    fn of(item: &'a Value) -> Self {
        let row = match text(item, "category") {
            Some(category) if prefixed(category) => opened(item, &["properties"]),
            _ => Cow::Borrowed(item),
        };
        let id = match (reference(&row, &["alertId"]), reference(&row, &["behaviorId"])) {
            (Some(id), _) => format!("alert {id}"),
            (None, Some(id)) => format!("behavior {id}"),
            (None, None) => String::new(),
        };
        Self { envelope: item, row, id }
    }

    fn is_entity(&self) -> bool {
        get(&self.row, "entityType").is_some()
    }

    fn names_a_person(&self) -> bool {
        match text(&self.row, "entityType") {
            Some(kind) => ["user", "account"].iter().any(|word| kind.eq_ignore_ascii_case(word)),
            // BehaviorInfo itself carries the account.
            None => first(&self.row, &["accountObjectId", "accountUpn"]).is_some(),
        }
    }

    fn is_impacted(&self) -> bool {
        first_text(&self.row, &["evidenceRole", "entityRole"]).is_some_and(|role| role.eq_ignore_ascii_case("impacted"))
    }
}

fn draft(id: &str, rows: &[&Row<'_>]) -> Draft {
    let any = |key: &'static str| rows.iter().find_map(move |row| text(&row.row, key));
    let mut draft = Draft::new("hunting").named([any("title"), any("actionType")]);
    draft.title = any("title").or_else(|| any("description")).map(str::to_owned);
    draft.risk = rows.iter().fold(draft.risk, |level, row| risk::higher(level, risk::of(get(&row.row, "severity"))));
    draft.tenant = rows.iter().find_map(|row| tenant(text(row.envelope, "tenantId")).filter(|_| is_enveloped(row)));
    draft.activity_at = rows.iter().filter_map(|row| clock::of(&row.row, &["endTime", "startTime"])).max();
    draft.detected_at = rows
        .iter()
        .find_map(|row| clock::of(&row.row, &["timestamp"]))
        .or_else(|| rows.iter().find_map(|row| clock::of(row.envelope, &["time"])));
    let people: Vec<&&Row<'_>> = rows.iter().filter(|row| row.names_a_person()).collect();
    let has_impacted = people.iter().any(|row| row.is_impacted());
    people.iter().filter(|row| !has_impacted || row.is_impacted()).for_each(|row| add_person(&mut draft.people, row));
    for row in rows {
        evidence::add_ip(&mut draft.evidence, first_text(&row.row, &["remoteIP", "localIP", "ipAddress"]));
    }
    let (family, number) = id.split_once(' ').unwrap_or(("", ""));
    if !number.is_empty() {
        draft.refer(family, Some(number.to_owned()));
    }
    if draft.people.is_empty() {
        draft.nobody = alone(&draft, rows, family, number);
    }
    draft.about = if number.is_empty() {
        Value::Array(rows.iter().map(|row| row.row.clone().into_owned()).collect())
    } else {
        json!({"row": id, "kind": draft.raw_kind, "activity": draft.activity_at, "detected": draft.detected_at})
    };
    draft
}

/// The `TenantId` of a bare row is a workspace, never the Entra tenant (facts: sentinel §1.1).
fn is_enveloped(row: &Row<'_>) -> bool {
    get(row.envelope, "properties").is_some()
}

fn add_person(people: &mut People, row: &Row<'_>) {
    let more = opened(&row.row, &["additionalFields"]);
    let main = Account::read(&row.row);
    let extra = Account::read(&more);
    people.add(&Account {
        object_id: main.object_id.or(extra.object_id),
        upn: main.upn.or(extra.upn),
        name: first_text(&row.row, &["accountName"]).or(extra.name),
        suffix: extra.suffix,
        sid: main.sid.or(extra.sid),
        domain: main.domain.or(extra.domain),
        friendly: None,
        tenant: extra.tenant,
    });
}

/// What to do with rows that name nobody.
fn alone(draft: &Draft, rows: &[&Row<'_>], family: &str, number: &str) -> Outcome {
    if rows.iter().any(|row| row.names_a_person()) {
        return Outcome::Held { reason: "the user row carries no identifier that can be used".to_owned() };
    }
    if family.is_empty() {
        return Outcome::Ignored { reason: "out of scope: a table that names neither alert nor behavior".to_owned() };
    }
    if rows.iter().all(|row| row.is_entity()) {
        return Outcome::Ignored {
            reason: "out of scope: evidence that is no person; the person comes in a row of its own".to_owned(),
        };
    }
    let fits = number.len() <= 128 && number.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match (draft.kind, family, fits) {
        (Some(_), "alert", true) => {
            Outcome::Lookup { what: Lookup::GraphObject { collection: Collection::AlertsV2, id: number.to_owned() } }
        }
        (Some(_), ..) => Outcome::Held { reason: "the row names nobody; send the entity rows too".to_owned() },
        (None, ..) => {
            Outcome::Ignored { reason: "out of scope: not a detection oust knows, and it names nobody".to_owned() }
        }
    }
}
