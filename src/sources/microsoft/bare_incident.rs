//! Shape `bare_incident`: an incident object as ARM returns it, perhaps with the entities that a Logic App fetched
//! beside it (facts: sentinel §1.7, row 7).

use serde_json::Value;

use super::{Context, Draft, Shape, incident};
use crate::sources::normalise::json::{first, first_text, get};

#[derive(Debug)]
pub(super) struct BareIncident;

impl Shape for BareIncident {
    fn word(&self) -> &'static str {
        "bare_incident"
    }

    fn tells(&self, item: &Value) -> bool {
        let says_incident = |text: &str| {
            let lower = text.to_ascii_lowercase();
            lower.ends_with("/incidents") || lower.contains("/incidents/")
        };
        get(item, "properties").is_some_and(Value::is_object)
            && first_text(item, &["type", "id"])
                .is_some_and(|_| ["type", "id"].iter().filter_map(|key| first_text(item, &[key])).any(says_incident))
    }

    fn read(&self, items: &[&Value], ctx: &Context) -> Vec<Draft> {
        let story =
            |item: &&Value| incident::story(item, first(item, &["entities", "relatedEntities"]), self.word(), ctx);
        items.iter().flat_map(|item| story(item).drafts(ctx)).collect()
    }
}
