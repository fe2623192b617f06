//! Which orders make sense for a person's open case now. Asked when an order is written down, and again when it is to be
//! carried out: in between a call may have been sent, a run ended, a password changed.

use super::super::ids::{RunId, TaskId};
use super::super::ledger::Disposition;
use super::super::plan::{CONFIRM, DISMISS, EffectClass, Phase, RESET, REVOKE, Step, StepId};
use super::super::run::{Mode, Run, StepState, Verdict};
use super::super::task::{Order, Progress, State, Task};
use super::Person;
use super::denied::is_denied;

/// Why an order makes no sense now. Texts are shown as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// The same waits in this task.
    #[error("{what} ({task})")]
    AlreadyAsked { task: TaskId, what: &'static str },
    #[error("{0}")]
    Unfit(String),
}

fn unfit<T>(why: impl Into<String>) -> Result<T, NotNow> {
    Err(NotNow::Unfit(why.into()))
}

impl Person {
    /// People said no to this step.
    pub fn was_denied(&self, run: RunId, step: &StepId) -> bool {
        matches!(self.state(run, step), StepState::Declined { verdict: Verdict::Denied | Verdict::Revoked })
    }

    /// The verb that an order sends.
    pub fn action_of<'a>(&'a self, order: &'a Order) -> Option<&'a str> {
        match order {
            Order::Revoke => Some(REVOKE),
            Order::Reset => Some(RESET),
            Order::ConfirmCompromised => Some(CONFIRM),
            Order::DismissRisk => Some(DISMISS),
            Order::Again { run, step } => Some(&self.run(*run)?.plan.step(step)?.action),
            Order::Skip { .. } | Order::Settle { .. } | Order::Cancel { .. } | Order::Close => None,
        }
    }

    /// Others than this reviewer said no to what it asks for, as a step of a run or as an order before it. What was said
    /// in a rehearsal was practice.
    pub fn overrules(&self, order: &Order, asker: &str) -> bool {
        let Some(action) = self.action_of(order) else { return false };
        // What was asked about the run's steps, jobs for hands among it; where none of it tells who said no, others did.
        let alone = |run: &Run| {
            let mut who = self.tasks.values().filter(|task| task.run == Some(run.id)).flat_map(deniers).peekable();
            who.peek().is_some() && who.all(|who| who == asker)
        };
        let said_no = |run: &Run| {
            let denied = run.steps().any(|(step, _)| step.action == action && self.was_denied(run.id, &step.id));
            denied && !alone(run)
        };
        let denied = |task: &Task| {
            let others = deniers(task).any(|who| who != asker);
            others && task.order().is_some_and(|other| self.action_of(other) == Some(action))
        };
        self.runs.iter().any(|run| run.mode == Mode::Enforce && said_no(run)) || self.tasks.values().any(denied)
    }

    /// Both cannot be asked for at once: the same order, or the same done to the person under another name.
    fn is_the_same(&self, one: &Order, other: &Order) -> bool {
        let of_person = |order| self.action_of(order).filter(|word| [REVOKE, RESET, CONFIRM, DISMISS].contains(word));
        one.is_about_the_same(other) || of_person(one).is_some_and(|action| of_person(other) == Some(action))
    }

    /// The orders that make sense for the open case now.
    pub fn offers(&self, mode: Mode) -> Vec<Order> {
        let mut orders = vec![Order::Revoke, Order::Reset, Order::ConfirmCompromised, Order::DismissRisk];
        for run in &self.runs {
            for (step, _) in run.steps() {
                let (run, step) = (run.id, &step.id);
                orders.extend([
                    Order::Again { run, step: step.clone() },
                    Order::Skip { run, step: step.clone() },
                    Order::Settle { run, step: step.clone(), applied: true },
                    Order::Settle { run, step: step.clone(), applied: false },
                ]);
            }
            orders.push(Order::Cancel { run: run.id });
        }
        orders.push(Order::Close);
        orders.retain(|order| self.may_be_ordered(order, mode).is_ok());
        orders
    }

    /// Whether an order makes sense now, beside everything that is asked for already.
    ///
    /// # Errors
    /// Why not.
    pub fn may_be_ordered(&self, order: &Order, mode: Mode) -> Result<(), NotNow> {
        let open = self
            .tasks
            .values()
            .find(|task| !task.state.is_terminal() && task.order().is_some_and(|other| self.is_the_same(other, order)));
        if let Some(task) = open {
            return Err(NotNow::AlreadyAsked { task: task.id, what: "this is asked for already" });
        }
        self.fits(order, mode, None)
    }

    /// The same when an approved order (`mine`) is about to be carried out.
    pub(super) fn fits(&self, order: &Order, mode: Mode, mine: Option<&Task>) -> Result<(), NotNow> {
        if mode == Mode::Shadow {
            return unfit("shadow: nothing has effects");
        }
        if self.doc.case.is_none() {
            return unfit("the case is closed");
        }
        match order {
            Order::Revoke => self.fits_revoke(),
            Order::Reset => self.fits_reset(mine),
            Order::ConfirmCompromised => self.fits_confirm(),
            Order::DismissRisk => self.fits_action(DISMISS),
            Order::Again { run, step } => self.fits_again(*run, step, mine),
            Order::Skip { run, step } => self.fits_skip(*run, step),
            Order::Settle { run, step, applied } => self.fits_settle(*run, step, *applied),
            Order::Cancel { run } => self.fits_cancel(*run),
            Order::Close => self.fits_close(),
        }
    }

    fn fits_revoke(&self) -> Result<(), NotNow> {
        let parked = |(step, state): (&Step, &StepState)| {
            step.action == REVOKE
                && step.phase == Phase::Contain
                && matches!(state, StepState::Parked { .. })
                && !is_denied(state)
        };
        if self.enforced().any(|run| run.steps().any(parked)) {
            return unfit("a guard holds the revoke: release it or resume, and it goes at once");
        }
        if self.has_revoke_in_flight() {
            return unfit("the sessions are being revoked already");
        }
        Ok(())
    }

    fn fits_reset(&self, mine: Option<&Task>) -> Result<(), NotNow> {
        let mine = mine.map(|task| task.id);
        let waits = |task: &&Task| {
            use Progress as P;
            let open = |progress: &P| {
                matches!(
                    progress,
                    P::Waiting
                        | P::Claimed { .. }
                        | P::Unknown { .. }
                        | P::Sealed { .. }
                        | P::Failed { may_retry: true, .. }
                )
            };
            !task.state.is_terminal()
                && !task.shadow
                && task.rows.iter().any(|row| row.action == RESET && open(&row.progress))
        };
        if let Some(task) = self.tasks.values().filter(|task| Some(task.id) != mine).find(waits) {
            return Err(NotNow::AlreadyAsked { task: task.id, what: "a password reset is asked for already" });
        }
        let steps = self.enforced().flat_map(|run| run.steps().map(move |(step, state)| (run, step, state)));
        for (run, step, state) in steps.filter(|(_, step, _)| step.action == RESET) {
            match state {
                state if state.is_settled() => {}
                _ if self.is_left_to_hand(run, step) => {}
                StepState::Waiting { task } => {
                    let what = "the password is to be reset by hand already";
                    return Err(NotNow::AlreadyAsked { task: *task, what });
                }
                // Where this was approved before a playbook came to it, the playbook's step joins this one; whoever cannot
                // sign in does not wait for it.
                StepState::Todo if mine.is_some() || self.is_password_lost() => {}
                StepState::Todo => return unfit(format!("a playbook that runs comes to {} by itself", step.id)),
                StepState::Unknown { .. } => {
                    return unfit(format!("it is not known what became of {}: settle that first", step.id));
                }
                _ => return unfit("a password reset is under way already"),
            }
        }
        Ok(())
    }

    fn fits_confirm(&self) -> Result<(), NotNow> {
        if self.doc.case.as_ref().is_some_and(|case| case.reset_at.is_some()) {
            return unfit("the password was reset since: confirming the compromise now would raise the risk again");
        }
        self.fits_action(CONFIRM)
    }

    /// Nothing of the kind is on its way.
    fn fits_action(&self, action: &str) -> Result<(), NotNow> {
        let on_its_way = |(step, state): (&Step, &StepState)| {
            let begun = matches!(
                state,
                StepState::Ready { .. }
                    | StepState::Intended { .. }
                    | StepState::Backoff { .. }
                    | StepState::Unknown { .. }
            );
            step.action == action && begun
        };
        if self.enforced().any(|run| run.steps().any(on_its_way)) {
            return unfit("this is under way already");
        }
        Ok(())
    }

    fn fits_again(&self, run: RunId, step: &StepId, mine: Option<&Task>) -> Result<(), NotNow> {
        let (of_run, spec) = self.find(run, step)?;
        if of_run.mode == Mode::Shadow {
            return unfit("that run was a rehearsal: nothing of it is ever executed");
        }
        let state = of_run.state(step);
        if !matches!(state, StepState::Failed { .. } | StepState::Declined { .. } | StepState::Refused { .. }) {
            return unfit(format!(
                "{step} is {}: only what failed, was refused, declined or lapsed is done again",
                state.word().replace('_', " ")
            ));
        }
        let same = |(other, state): (&Step, &StepState)| {
            let is_done = matches!(state, StepState::Done { .. } | StepState::ByHand { .. });
            let is_open = !state.is_settled() && *state != StepState::Todo;
            other.action == spec.action && other.with == spec.with && (is_done || is_open)
        };
        if spec.class != EffectClass::Read && self.since(run).any(|run| run.steps().any(same)) {
            return unfit(format!("{} was done since, or is under way", spec.action));
        }
        match spec.action.as_str() {
            REVOKE => self.fits_revoke(),
            RESET => self.fits_reset(mine),
            CONFIRM => self.fits_confirm(),
            _ => Ok(()),
        }
    }

    fn fits_skip(&self, run: RunId, step: &StepId) -> Result<(), NotNow> {
        let (of_run, spec) = self.find(run, step)?;
        if !of_run.is_open() {
            return unfit("that run has ended");
        }
        if let Some(followed) = &spec.follows {
            return unfit(format!(
                "the sessions are revoked after {followed} in any case: this cannot be skipped; where Graph refuses it, revoke them by hand and settle it"
            ));
        }
        match of_run.state(step) {
            StepState::Intended { .. } => unfit(format!("{step} is being sent: wait for its outcome")),
            StepState::Unknown { .. } => unfit(format!("it is not known what became of {step}: settle it")),
            state if state.is_settled() => unfit(format!("{step} came to its end already")),
            _ => Ok(()),
        }
    }

    fn fits_settle(&self, run: RunId, step: &StepId, applied: bool) -> Result<(), NotNow> {
        let (of_run, spec) = self.find(run, step)?;
        match of_run.state(step) {
            // It would be refused for ever, and cannot be left out: a person did it and says so.
            StepState::Backoff { fault, .. } if spec.action == REVOKE && fault.disposition == Disposition::Refuse => {
                if applied {
                    Ok(())
                } else {
                    unfit(format!("{step} is tried until it succeeds"))
                }
            }
            // What may be repeated is repeated until it is known.
            StepState::Unknown { verify_at, .. } if !spec.idempotent || verify_at.is_none() => Ok(()),
            StepState::Unknown { .. } => unfit(format!("{step} is repeated until its outcome is known")),
            _ => unfit(format!("the outcome of {step} is not in doubt")),
        }
    }

    fn fits_cancel(&self, run: RunId) -> Result<(), NotNow> {
        match self.run(run) {
            None => unfit("this case has no such run"),
            Some(run) if !run.is_open() => unfit("that run has ended"),
            Some(run) => nothing_in_the_air(run),
        }
    }

    fn fits_close(&self) -> Result<(), NotNow> {
        if !self.doc.pending.is_empty() || self.has_revoke_in_flight() {
            return unfit("the sessions are still to be revoked: wait for that, or skip it with a reason");
        }
        for run in self.runs.iter().filter(|run| run.is_open()) {
            nothing_in_the_air(run)?;
        }
        let hands_over = |task: &&Task| matches!(task.state, State::Claimed { .. } | State::Sealed { .. });
        match self.tasks.values().find(hands_over) {
            Some(task) => unfit(format!("a temporary password waits to be passed on ({})", task.id)),
            None => Ok(()),
        }
    }

    fn find(&self, run: RunId, step: &StepId) -> Result<(&Run, &Step), NotNow> {
        let Some(run) = self.run(run) else { return unfit("this case has no such run") };
        match run.plan.step(step) {
            Some(spec) => Ok((run, spec)),
            None => unfit("that run has no such step"),
        }
    }

    fn enforced(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| run.is_open() && run.mode == Mode::Enforce)
    }

    /// Runs that began after this one.
    fn since(&self, run: RunId) -> impl Iterator<Item = &Run> {
        self.runs.iter().skip_while(move |other| other.id != run).skip(1).filter(|run| run.mode == Mode::Enforce)
    }

    /// The password of the latest reset was passed on by nobody and cannot be shown any more.
    pub fn is_password_lost(&self) -> bool {
        let Some(case) = &self.doc.case else { return false };
        let rows = self.tasks.values().flat_map(|task| &task.rows).filter(|row| row.reveals);
        rows.filter_map(|row| match row.progress {
            Progress::RevealExpired { at } | Progress::Executed { at } => Some(at),
            _ => None,
        })
        .any(|at| case.reset_at.is_none_or(|reset| at >= reset))
    }
}

/// Who said no to a task, or took back what was approved.
fn deniers(task: &Task) -> impl Iterator<Item = &str> {
    let withdrawn = task.approval.as_ref().and_then(|approval| approval.withdrawn.as_ref());
    [Some(&task.state), withdrawn].into_iter().flatten().flat_map(|state| match state {
        State::Denied { by, .. } | State::Revoked { by, .. } => by.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    })
}

/// No call is out, none has an unknown outcome, and no revoke is owed after one (law 3).
fn nothing_in_the_air(run: &Run) -> Result<(), NotNow> {
    for (step, state) in run.steps() {
        match state {
            StepState::Intended { .. } => return unfit(format!("{} is being sent: wait for its outcome", step.id)),
            StepState::Unknown { .. } => {
                return unfit(format!("it is not known what became of {}: settle it first", step.id));
            }
            _ => {}
        }
        let Some(followed) = &step.follows else { continue };
        let begun = run.was_attempted(followed) || matches!(run.state(followed), StepState::ByHand { .. });
        if begun && !state.is_settled() {
            return unfit(format!("the sessions are still to be revoked after {followed}"));
        }
    }
    Ok(())
}
