//! What was approved and then left to a person: which task it became, and why.

use super::super::markup::{Tag, Tone};
use super::super::{paths, text};
use super::{TaskView, title};
use crate::domain::task::{State, Task};

/// The task that a step became.
#[derive(Debug, Clone)]
pub struct ByHand {
    pub href: String,
    pub title: String,
    /// Why a person has to do it, as that task says.
    pub why: String,
}

impl TaskView {
    /// `taken`: steps of this task that wait for a person, or waited, each with the task that took it over.
    pub fn goes_on_by_hand(&mut self, taken: &[(String, Task)]) {
        for (step, task) in taken {
            let Some(deed) = self.deeds.iter_mut().find(|deed| deed.step == *step) else { continue };
            deed.progress = progress(task);
            deed.by_hand = Some(ByHand {
                href: paths::task(task.id),
                title: title(task),
                why: text::cut(task.instructions.as_deref().unwrap_or_default(), 600),
            });
        }
        let Some((_, last)) = taken.iter().find(|(_, task)| !is_done(task)).or(taken.first()) else { return };
        self.state = progress(last);
        self.status =
            "It was approved, and not all of it can be executed from here: see below what a person does.".into();
    }
}

fn is_done(task: &Task) -> bool {
    matches!(task.state, State::Executed { .. })
}

fn progress(task: &Task) -> Tag {
    match task.state.is_terminal() {
        _ if is_done(task) => Tag::new("Done by hand", Tone::Good),
        true => Tag::new("Not executed", Tone::Warn),
        false => Tag::new("Goes on by hand", Tone::Warn),
    }
}
