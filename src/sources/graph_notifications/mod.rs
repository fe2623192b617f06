//! tmp
pub use super::microsoft::{judge_arm_entities, judge_fetched, judge_incident};
