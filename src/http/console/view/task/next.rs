//! What this reviewer can do with a task, and what follows from it.

use super::super::{Eye, paths, words};
use crate::domain::task::{Kind, Order, Progress, Task, Verdict};

/// What the buttons say and whether they are there.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    pub approve: bool,
    pub deny: bool,
    /// The denial takes an approval back.
    pub withdraws: bool,
    pub done: bool,
    /// A held task: say who it is about.
    pub name: bool,
    /// Why nothing is offered, in a sentence.
    pub why_not: Option<String>,
    /// Needs a browser key: script is not optional.
    pub reveals: bool,
    /// Where the forms go.
    pub decision: String,
    pub done_url: String,
    pub named_url: String,
}

impl Choices {
    pub(super) fn of(task: &Task, eye: Eye<'_>) -> Self {
        let mut choices = Self {
            reveals: task.reveals(),
            decision: paths::decision(task.id),
            done_url: paths::done(task.id),
            named_url: paths::named(task.id),
            ..Self::default()
        };
        if task.state.is_terminal() {
            return choices;
        }
        let Some(me) = eye.me else {
            choices.why_not = Some("Sign in to decide.".to_owned());
            return choices;
        };
        let open = task.state.is_undecided();
        let withdrawable = task.approval.as_ref().is_some_and(|approval| approval.withdrawn.is_none())
            && task
                .rows
                .iter()
                .all(|row| matches!(row.progress, Progress::Waiting | Progress::Failed { may_retry: true, .. }));
        if !open && !withdrawable {
            return choices;
        }
        // Presence is proved with the decision itself.
        let mut proved = me.clone();
        proved.proved_at = eye.now;
        if let Err(why) = task.may_decide(&proved, eye.now) {
            choices.why_not = Some(format!("You cannot decide this: {why}."));
            return choices;
        }
        if open && task.decide_by().is_some_and(|by| by <= eye.now) {
            choices.why_not = Some("The time to decide is up.".to_owned());
            return choices;
        }
        let person = me.person();
        let voted = task.votes.iter().find(|vote| vote.person.is(&person));
        if let Some(vote) = voted.filter(|vote| open || vote.verdict == Verdict::Deny) {
            let need = words::count(u64::from(task.policy.approve.max(1)), "person", "persons");
            choices.why_not = Some(format!("You {} it already; it needs {need}.", vote.verdict.past()));
            return choices;
        }
        choices.offer(task.kind, open, task.identity.is_none());
        choices
    }

    fn offer(&mut self, kind: Kind, open: bool, unnamed: bool) {
        match kind {
            Kind::Manual => self.done = open,
            Kind::Held => {
                self.name = open && unnamed;
                self.approve = open;
                self.deny = open;
            }
            Kind::Approval | Kind::Release | Kind::Undecided | Kind::Order => {
                self.approve = open;
                self.deny = true;
                self.withdraws = !open;
            }
        }
    }

    /// Something is offered.
    pub fn any(&self) -> bool {
        self.approve || self.deny || self.done || self.name
    }
}

/// What happens after yes and after no, in the order in which it happens.
pub(super) fn what_follows(task: &Task, who: &str, may: bool) -> Vec<String> {
    if task.shadow {
        return vec![
            "This task was made in shadow mode. Whatever is decided, nothing of it is ever executed.".to_owned(),
        ];
    }
    if task.state.is_terminal() {
        return Vec::new();
    }
    match task.kind {
        Kind::Approval => approval(task, who, may),
        Kind::Manual => {
            let then = "Once it is reported done, oust revokes the sessions again.";
            let by_hand = "Nothing is done by oust for this task: follow the instructions, then report it done.";
            [by_hand].into_iter().chain(task.revokes_after.then_some(then)).map(str::to_owned).collect()
        }
        Kind::Release => vec![
            "Approve frees everything parked in this tenant, oldest first: each person's sessions are revoked now."
                .to_owned(),
            "Deny leaves it parked: those sessions keep working until a newer alert about one of them, or a revoke asked for by hand in the case, is judged anew.".to_owned(),
            "Check first that a faulty detection rule did not name half the company.".to_owned(),
        ],
        Kind::Held => vec![
            "Nothing was done yet; “Why it waits” says why.".to_owned(),
            "Approve marks it as dealt with; deny closes it as no threat. Neither has an effect at Microsoft."
                .to_owned(),
        ],
        Kind::Undecided => vec![
            "The playbook's condition could not be evaluated.".to_owned(),
            "Approve runs the step; deny skips it. The rest of the run goes on either way.".to_owned(),
        ],
        Kind::Order => order(task, who, may),
    }
}

fn order(task: &Task, who: &str, may: bool) -> Vec<String> {
    if task.reveals() {
        return approval(task, who, may);
    }
    let again = match task.order().is_some_and(Order::sends) {
        true => "Deny is final: nothing of it happens. Whoever asks for it again cannot approve it alone.",
        false => "Deny is final: nothing of it happens. It can be asked for again.",
    };
    vec![
        "This was asked for by hand. Approve carries it out at once, under the same guards as everything else."
            .to_owned(),
        again.to_owned(),
    ]
}

/// `may`: whoever reads it can approve it; others are told what the approver will do.
fn approval(task: &Task, who: &str, may: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let more = task.policy.approve.max(1) > 1;
    if more {
        lines.push(format!("It is executed once {} people approved.", task.policy.approve));
    }
    if task.reveals() {
        let whose = match (may, more) {
            (true, false) => "this browser",
            (_, true) => "the last approver's browser",
            (false, false) => "the approver's browser",
        };
        lines.push(format!("A temporary password is made and sealed to {whose}; nobody else can ever open it."));
        if may {
            lines.push(
                "Keep this page open: the password is set only while the page is there to receive it.".to_owned(),
            );
            lines.push(format!(
                "You see it once, for 15 minutes. Pass it to {who} by voice, after you made sure who is speaking."
            ));
        } else {
            lines.push(format!("The approver sees it once, for 15 minutes, and passes it to {who} by voice."));
        }
    } else {
        lines.push("The steps are executed at once, in this order.".to_owned());
    }
    if task.rows.iter().any(|row| row.action == crate::domain::plan::RESET) {
        lines.push(
            "Then all sessions are revoked again, so that nothing signed in with the old password stays.".to_owned(),
        );
    }
    lines.push(format!("Deny is final: nothing of it happens, and the password of {who} stays as it is."));
    lines
}
