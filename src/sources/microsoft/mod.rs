//! Kind `microsoft`: whatever Sentinel, Defender, Azure Monitor and Entra send, in any wrapper.
//!
//! There is no native Sentinel webhook: the body is what the customer's Logic App, action group or forwarder passes
//! on (facts: sentinel §0). So every shape has a file that recognises itself by a tell-tale and reads its items;
//! the list below is the order in which they are asked (facts: sentinel §1.7). Outcomes follow contract §6.4.
//! Nothing here asks anybody: what must be asked is said as an `Outcome::Lookup`.

use serde_json::Value;

use super::draft::{self, Draft};
use super::normalise::json;
pub use super::{ArmWorkspace, Context, Error, Parsed};

mod alert_v2;
mod arm;
mod bare_incident;
mod common_alert;
mod diagnostic;
mod entities;
mod entity;
mod hunting;
mod incident;
mod late;
mod legacy_alert;
mod recognise;
mod risk_detection;
mod risky_user;
mod security_alert;
mod sign_in;

pub use late::{judge_arm_entities, judge_fetched, judge_incident};

/// One shape of body: how to tell it, how to read it.
trait Shape: std::fmt::Debug + Send + Sync {
    /// The word for it in findings, metrics and the folder of its fixtures.
    fn word(&self) -> &'static str;
    /// True when the item is of this shape. Looks at keys only, so that asking is cheap.
    fn tells(&self, item: &Value) -> bool;
    /// Reads all items of this shape in one delivery together, so that rows which belong together can be joined.
    fn read(&self, items: &[&Value], ctx: &Context) -> Vec<Draft>;
}

/// Every shape, in the order in which they are asked; the first that recognises itself reads.
static SHAPES: &[&dyn Shape] = &[
    &common_alert::CommonAlert,
    &incident::IncidentTrigger,
    &security_alert::SecurityAlert,
    &entity::EntityTrigger,
    &hunting::Hunting,
    &diagnostic::Diagnostic,
    &bare_incident::BareIncident,
    &risk_detection::RiskDetection,
    &alert_v2::AlertV2,
    &legacy_alert::LegacyAlert,
    &risky_user::RiskyUser,
    &sign_in::SignIn,
];

/// The words of all shapes, in order.
pub fn shapes() -> impl Iterator<Item = &'static str> {
    SHAPES.iter().map(|shape| shape.word())
}

/// Reads a body of unknown shape into findings.
///
/// # Errors
/// When the body is not JSON, out of bounds, or nothing in it is of a known shape. A delivery with some known and
/// some unknown items is read; the unknown ones become one held finding.
pub fn parse(body: &[u8], ctx: &Context) -> Result<Parsed, Error> {
    let documents = json::documents(body)?;
    let saw = documents.first().map(json::keys).unwrap_or_default();
    let items = recognise::unwrap(documents)?;
    if items.is_empty() {
        return Err(Error::Empty);
    }
    let known: Vec<usize> = items.iter().filter_map(|item| item.shape).collect();
    if known.is_empty() {
        return Err(Error::Unknown { saw, hint: None });
    }
    let mut order: Vec<usize> = Vec::new();
    known.into_iter().for_each(|index| {
        if !order.contains(&index) {
            order.push(index);
        }
    });
    let mut drafts = Vec::new();
    for index in &order {
        let values: Vec<&Value> =
            items.iter().filter(|item| item.shape == Some(*index)).map(|item| &item.value).collect();
        drafts.extend(SHAPES[*index].read(&values, ctx));
    }
    let strangers: Vec<&Value> = items.iter().filter(|item| item.shape.is_none()).map(|item| &item.value).collect();
    drafts.extend(not_understood(&strangers));
    Ok(Parsed {
        shapes: order.iter().map(|index| SHAPES[*index].word()).collect(),
        findings: draft::settle(drafts, ctx),
    })
}

/// Items of no known shape beside known ones: one held finding, so that they are seen.
fn not_understood(items: &[&Value]) -> Option<Draft> {
    let first = items.first()?;
    let mut draft = Draft::new("unknown");
    draft.about = Value::Array(items.iter().map(|item| (*item).clone()).collect());
    draft.hold_if_nobody(&format!(
        "{} of the items are of no shape oust knows; the first has {}",
        items.len(),
        json::keys(first)
    ));
    Some(draft)
}
