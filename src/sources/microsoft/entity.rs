//! Shape `entity`: the body of Sentinel's entity trigger: somebody pressed "Run playbook" on an account. A human's
//! word about a person, so the kind is `admin_confirmed`; it carries neither risk nor time.

use serde_json::{Value, json};

use super::arm::ArmIncident;
use super::entities::{self, word};
use super::{Context, Draft, Shape};
use crate::domain::Kind;
use crate::sources::normalise::cut;
use crate::sources::normalise::json::{get, text};

#[derive(Debug)]
pub(super) struct EntityTrigger;

impl Shape for EntityTrigger {
    fn word(&self) -> &'static str {
        "entity"
    }

    fn tells(&self, item: &Value) -> bool {
        get(item, "incidentArmId").is_some() && get(item, "entity").is_some_and(Value::is_object)
    }

    fn read(&self, items: &[&Value], _ctx: &Context) -> Vec<Draft> {
        items.iter().map(|item| self.draft(item)).collect()
    }
}

impl EntityTrigger {
    fn draft(&self, item: &Value) -> Draft {
        let mut draft = Draft::new(self.word());
        draft.kind = Some(Kind::AdminConfirmed);
        draft.raw_kind = "entity trigger".to_owned();
        draft.title = Some("Playbook run by hand on an entity".to_owned());
        let entity = get(item, "entity").unwrap_or(item);
        let mut list = entity.clone();
        // Older connectors send the account without its kind.
        if word(entity).is_empty()
            && let Some(map) = list.as_object_mut()
        {
            map.insert("kind".to_owned(), Value::from("Account"));
        }
        let kind = cut(word(entity), 40);
        draft.people = entities::read(Some(&Value::Array(vec![list]))).people;
        draft.hold_if_nobody(&format!(
            "the entity ({}) names nobody",
            if kind.is_empty() { "of no kind" } else { &kind }
        ));
        let arm = text(item, "incidentArmId").and_then(ArmIncident::parse);
        draft.refer("incident_arm_id", arm.map(|arm| arm.path));
        draft.about = json!({"entity": entity, "incident": text(item, "incidentArmId")});
        draft
    }
}
