//! Shape `common_alert`: Azure Monitor's common alert schema, from an action group.
//!
//! Version 2 carries no rows: the person is known only where the rule splits by a dimension `UserId` or
//! `UserPrincipalName`; the kind comes from the custom property `oust_kind` or a dimension `RiskEventType`
//! (contract §6.3). Version 1 carries `SearchResults` tables, a row per person.

use serde_json::{Value, json};

use super::{Context, Draft, Shape};
use crate::domain::{Kind, Risk};
use crate::sources::normalise::json::{first, first_text, get, list, reference, text};
use crate::sources::normalise::person::Account;
use crate::sources::normalise::{clock, cut, evidence, limits, names, risk};

#[derive(Debug)]
pub(super) struct CommonAlert;

impl Shape for CommonAlert {
    fn word(&self) -> &'static str {
        "common_alert"
    }

    fn tells(&self, item: &Value) -> bool {
        text(item, "schemaId").is_some_and(|id| id.eq_ignore_ascii_case("azureMonitorCommonAlertSchema"))
    }

    fn read(&self, items: &[&Value], _ctx: &Context) -> Vec<Draft> {
        items.iter().flat_map(|item| self.drafts(item)).collect()
    }
}

impl CommonAlert {
    fn drafts(&self, item: &Value) -> Vec<Draft> {
        let data = get(item, "data").unwrap_or(&Value::Null);
        let context = get(data, "alertContext").unwrap_or(&Value::Null);
        let said = said_kind(data, context);
        let mut rows = dimensions(context);
        rows.extend(tables(context));
        if rows.is_empty() {
            rows.push(Vec::new());
        }
        rows.iter().take(limits::ITEMS).map(|row| self.draft(data, said, row)).collect()
    }

    fn draft(&self, data: &Value, said: Option<&str>, row: &Row) -> Draft {
        let essentials = get(data, "essentials").unwrap_or(&Value::Null);
        let cell = |name: &str| row.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let words = |name: &str| cell(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
        let rule = text(essentials, "alertRule");
        let mut draft = Draft::new(self.word()).named([said, words("oust_kind"), words("RiskEventType"), rule]);
        draft.title = rule.map(str::to_owned);
        draft.risk = match risk::of(cell("RiskLevel")) {
            Risk::Unknown => risk::of(get(essentials, "severity")),
            level => level,
        };
        draft.detected_at = clock::of(essentials, &["firedDateTime"]);
        let times = ["ActivityDateTime", "CreatedDateTime", "EndTime"];
        draft.activity_at = times.iter().filter_map(|name| cell(name)).find_map(clock::parse);
        draft.closed = draft.closed.or_else(|| closed(essentials));
        draft.people.add(&Account {
            object_id: words("UserId"),
            upn: words("UserPrincipalName"),
            ..Account::default()
        });
        match said.filter(|word| names::kind(word).is_none() && !word.eq_ignore_ascii_case(Kind::Other.word())) {
            Some(word) => {
                draft.people = Default::default();
                draft.hold_if_nobody(&format!(
                    "the custom property oust_kind says {:?}, which is no kind",
                    cut(word, 64)
                ));
            }
            None => draft
                .hold_if_nobody("the alert names nobody: split the rule by a dimension UserId or UserPrincipalName"),
        }
        for name in ["IpAddress", "IPAddress", "ClientIp"] {
            evidence::add_ip(&mut draft.evidence, words(name));
        }
        for (name, value) in row.iter().filter_map(|(name, value)| Some((name, value.as_str()?))) {
            evidence::add_other(&mut draft.evidence, name, value);
        }
        let id = reference(essentials, &["alertId", "originAlertId"]);
        draft.refer("alert", id.clone());
        draft.refer("alert_rule", reference(essentials, &["alertRuleId", "alertRule"]));
        draft.about = json!({"alert": id, "fired": draft.detected_at, "kind": draft.raw_kind, "row": row,
            "condition": text(essentials, "monitorCondition")});
        draft
    }
}

/// Names and values: the dimensions of one condition, or the cells of one row.
type Row = Vec<(String, Value)>;

fn said_kind<'a>(data: &'a Value, context: &'a Value) -> Option<&'a str> {
    let holders = [first(data, &["customProperties"]), first(context, &["properties", "customProperties"])];
    holders.into_iter().flatten().find_map(|holder| text(holder, "oust_kind"))
}

fn closed(essentials: &Value) -> Option<String> {
    if text(essentials, "monitorCondition").is_some_and(|word| word.eq_ignore_ascii_case("Resolved")) {
        return Some("closed: the monitor condition is Resolved".to_owned());
    }
    let signal = text(essentials, "signalType")?;
    let kind = ["Metric", "Activity Log"].iter().find(|kind| signal.eq_ignore_ascii_case(kind))?;
    Some(format!("out of scope: a {kind} alert is about a resource, not a person"))
}

/// One row for each condition that has dimensions.
fn dimensions(context: &Value) -> Vec<Row> {
    let condition = get(context, "condition").unwrap_or(&Value::Null);
    let cells = |one: &Value| -> Row {
        let pair = |cell: &Value| Some((cut(first_text(cell, &["name"])?, 64), get(cell, "value")?.clone()));
        list(one, "dimensions").iter().take(limits::EVIDENCE).filter_map(pair).collect()
    };
    list(condition, "allOf").iter().take(limits::ITEMS).map(cells).filter(|row| !row.is_empty()).collect()
}

/// One row for each row of version 1's tables.
fn tables(context: &Value) -> Vec<Row> {
    let results = get(context, "searchResults").unwrap_or(&Value::Null);
    let mut rows = Vec::new();
    for table in list(results, "tables") {
        let names: Vec<&str> =
            list(table, "columns").iter().map(|column| text(column, "name").unwrap_or_default()).collect();
        let named = |row: &Value| -> Row {
            let cells = row.as_array().map_or(&[] as &[Value], Vec::as_slice);
            names.iter().zip(cells).take(64).map(|(name, cell)| (cut(name, 64), cell.clone())).collect()
        };
        rows.extend(list(table, "rows").iter().take(limits::ITEMS).map(named));
    }
    rows
}
