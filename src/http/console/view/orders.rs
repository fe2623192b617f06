//! What people can ask for by hand in a case, as buttons: each offer of the engine with its words.

use super::{text, words};
use crate::domain::RunId;
use crate::domain::task::{Order, Role, State, Task};

/// One button.
#[derive(Debug, Clone)]
pub struct OrderLine {
    /// The field `order` of the form.
    pub word: &'static str,
    pub button: &'static str,
    pub says: String,
    pub danger: bool,
    pub needs_reason: bool,
    /// A policy may be chosen.
    pub policies: bool,
}

/// The value of the field `order`.
pub fn word(order: &Order) -> &'static str {
    match order {
        Order::Settle { applied: true, .. } => "took_effect",
        Order::Settle { applied: false, .. } => "took_no_effect",
        order => order.word(),
    }
}

/// Who may ask for it: everything that the asker decides is for those who decide.
pub fn needs(order: &Order) -> Role {
    if *order == Order::Reset { Role::Analyst } else { Role::Approver }
}

/// An order in a line: what is asked for.
pub fn title(order: &Order) -> String {
    let about = |verb: &str, step: &str| format!("{verb}: {}", words::step(step));
    match order {
        Order::Again { step, .. } => about("Try again", &step.0),
        Order::Skip { step, .. } => about("Skip", &step.0),
        Order::Settle { step, applied: true, .. } => about("Settle as taken effect", &step.0),
        Order::Settle { step, applied: false, .. } => about("Settle as not taken effect", &step.0),
        order => text::line(&order.title()),
    }
}

/// The offers about the whole case, for whoever has one of these roles; `lost`: a password was set and reached nobody.
pub fn of_case(offers: &[Order], roles: &[Role], who: &str, lost: bool) -> Vec<OrderLine> {
    let allowed = |order: &&Order| roles.iter().any(|role| *role >= needs(order));
    offers.iter().filter(allowed).filter_map(|order| line(order, who, lost)).collect()
}

fn line(order: &Order, who: &str, lost: bool) -> Option<OrderLine> {
    let (button, says, danger) = match order {
        Order::Revoke => ("Revoke sessions", words::effect("revoke_sessions", who), false),
        Order::Reset if lost => (
            "Ask for another",
            "The password that was set reached nobody: a new task, a new approval, a new password.".to_owned(),
            false,
        ),
        Order::Reset => (
            "Request reset",
            "Raises a task that somebody else approves; the password is shown to them.".to_owned(),
            false,
        ),
        Order::ConfirmCompromised => ("Confirm compromised", words::effect("confirm_compromised", who), true),
        Order::DismissRisk => ("Dismiss risk", words::effect("dismiss_risk", who), true),
        Order::Close => (
            "Close case",
            "Closes the case as it is: what waits in it is cancelled. Say why that is right.".to_owned(),
            true,
        ),
        Order::Again { .. } | Order::Skip { .. } | Order::Settle { .. } | Order::Cancel { .. } => return None,
    };
    let policies = *order == Order::Reset;
    Some(OrderLine { word: word(order), button, says, danger, needs_reason: danger || order.needs_reason(), policies })
}

/// The offers about one step: (word, button, a reason is needed).
pub fn of_step(offers: &[Order], run: RunId, step: &str) -> Vec<(&'static str, &'static str, bool)> {
    let denial = |order: &Order| matches!(order, Order::Settle { run: of, step: id, applied: false } if *of == run && id.0 == step);
    let in_doubt = offers.iter().any(denial);
    let button = |order: &Order| {
        let words = match order {
            Order::Settle { applied: true, .. } if !in_doubt => "Done by hand",
            Order::Again { .. } => "Try again",
            Order::Skip { .. } => "Skip",
            Order::Settle { applied: true, .. } => "It took effect",
            Order::Settle { applied: false, .. } => "It did not",
            _ => return None,
        };
        Some((word(order), words, order.needs_reason()))
    };
    let about = |order: &&Order| order.step().is_some_and(|(of, id)| of == run && id.0 == step);
    offers.iter().filter(about).filter_map(button).collect()
}

/// The run may be cancelled.
pub fn cancels(offers: &[Order], run: RunId) -> bool {
    offers.contains(&Order::Cancel { run })
}

/// The newest password of the case was set and passed on by nobody.
pub fn is_lost(tasks: &[Task]) -> bool {
    let newest = tasks.iter().filter(|task| task.reveals()).max_by_key(|task| (task.created_at, task.id));
    newest.is_some_and(|task| matches!(task.state, State::RevealExpired { .. }))
}
