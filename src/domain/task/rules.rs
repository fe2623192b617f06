//! What the machine asks of itself: checks, counts, and the state that follows from the rows.

use jiff::Timestamp;

use super::event::{Ballot, Consequence, Refused, Verdict};
use super::machine::invalid;
use super::reviewer::{Forbidden, Person};
use super::{Binding, Changed, Kind, Progress, RiskClosed, Row, State, Task};

impl Task {
    // ── checks ──

    pub(super) fn check_text(&self, text: Option<&str>) -> Result<(), Refused> {
        if text.is_some_and(|text| text.chars().count() > Ballot::LONGEST_REASON) {
            return Err(invalid(&format!("a reason has at most {} characters", Ballot::LONGEST_REASON)));
        }
        Ok(())
    }

    /// `<`, not `≤`: at the very instant of expiry it is too late.
    pub(super) fn check_in_time(&self, now: Timestamp) -> Result<(), Refused> {
        match self.decide_by().filter(|by| *by <= now) {
            Some(at) => Err(Refused::TooLate { what: "to decide".to_owned(), at }),
            None => Ok(()),
        }
    }

    pub(super) fn check_digest(&self, ballot: &Ballot) -> Result<(), Refused> {
        let digest = self.digest();
        if ballot.digest == digest {
            return Ok(());
        }
        let now = self.binding();
        let shown = self.earlier.iter().rev().map(|earlier| {
            let (identity, target) = (earlier.identity.clone(), earlier.target.clone());
            Binding { identity, target, ..now.clone() }
        });
        let difference = shown
            .filter(|shown| shown.digest(&self.snapshot) == ballot.digest)
            .map(|shown| now.difference_from(&shown))
            .find(|difference| !difference.is_empty());
        let (was, is) = (ballot.digest.to_string(), digest.to_string());
        let page = || vec![Changed::new("page", &was[..12], &is[..12])];
        Err(Refused::Stale { difference: difference.unwrap_or_else(page) })
    }

    /// Whoever is not at risk any more is not approved about: a denial closes it.
    pub(super) fn check_risk(&self) -> Result<(), Refused> {
        // What only changes the case has nothing to do with the risk.
        let is_about_case = self.order().is_some_and(|order| !order.sends());
        match &self.risk_closed {
            None => Ok(()),
            Some(_) if is_about_case => Ok(()),
            Some(RiskClosed { at, by }) => {
                Err(Refused::Stale { difference: vec![Changed::new("risk", "open", format!("{by}, {at}"))] })
            }
        }
    }

    pub(super) fn check_approvable(&self, ballot: &Ballot) -> Result<(), Refused> {
        match self.kind {
            Kind::Manual => return Err(invalid("this is done by hand: say done when it is, or deny it")),
            Kind::Held if self.identity.is_none() => {
                return Err(invalid("nobody is named: name the person first, or deny to close it"));
            }
            _ => {}
        }
        let key = ballot.recipient_key.as_deref().unwrap_or_default();
        if self.reveals() && (key.is_empty() || key.len() > Ballot::LONGEST_KEY) {
            return Err(invalid("an approval that reveals a secret needs the public key of your browser"));
        }
        Ok(())
    }

    pub(super) fn check_recipient(&self, by: &str, key: &str) -> Result<(), Refused> {
        let recipient = self.approval.as_ref().and_then(|approval| approval.recipient.as_ref());
        match recipient {
            Some(recipient) if recipient.reviewer == by && recipient.key == key => Ok(()),
            _ => Err(Forbidden::NotRecipient.into()),
        }
    }

    /// Refuses while a worker is at a row, and when nothing is left to withhold.
    pub(super) fn check_withdrawable(&self) -> Result<(), Refused> {
        let open = |row: &Row| row.progress.is_claimable() || matches!(row.progress, Progress::Unknown { .. });
        let claimed = self.rows.iter().any(|row| matches!(row.progress, Progress::Claimed { .. }));
        let withdrawn = self.approval.as_ref().is_some_and(|approval| approval.withdrawn.is_some());
        if claimed || withdrawn || !self.rows.iter().any(open) { Err(self.conflict()) } else { Ok(()) }
    }

    // ── counts ──

    pub(super) fn need(&self, verdict: Verdict) -> u32 {
        match verdict {
            Verdict::Approve => self.policy.approve.max(1),
            Verdict::Deny => self.policy.deny.max(1),
        }
    }

    pub(super) fn count(&self, verdict: Verdict) -> u32 {
        let mut persons: Vec<&Person> = Vec::new();
        for vote in self.votes.iter().filter(|vote| vote.verdict == verdict) {
            if !persons.iter().any(|person| person.is(&vote.person)) {
                persons.push(&vote.person);
            }
        }
        u32::try_from(persons.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn reached(&self, verdict: Verdict) -> bool {
        self.count(verdict) >= self.need(verdict)
    }

    pub(super) fn voters(&self, verdict: Verdict) -> Vec<String> {
        self.votes.iter().filter(|vote| vote.verdict == verdict).map(|vote| vote.person.id.clone()).collect()
    }

    // ── rows ──

    pub(super) fn row(&self, step: &str) -> Result<&Row, Refused> {
        self.rows.iter().find(|row| row.step == step).ok_or_else(|| no_such(step))
    }

    pub(super) fn row_mut(&mut self, step: &str) -> Result<&mut Row, Refused> {
        self.rows.iter_mut().find(|row| row.step == step).ok_or_else(|| no_such(step))
    }

    /// The row a worker is at. A successor reports with a higher fence and takes it over; a late writer is refused.
    pub(super) fn working(&mut self, step: &str, fence: u64) -> Result<&mut Row, Refused> {
        if fence < self.fence {
            return Err(Refused::Fenced { fence, latest: self.fence });
        }
        if !matches!(self.row(step)?.progress, Progress::Claimed { .. }) {
            return Err(self.conflict());
        }
        self.fence = fence;
        let row = self.row_mut(step)?;
        if let Progress::Claimed { fence: of_row, .. } = &mut row.progress {
            *of_row = fence;
        }
        Ok(row)
    }

    /// The row whose secret waits, while its time lasts.
    pub(super) fn revealing(&mut self, now: Timestamp) -> Result<&mut Row, Refused> {
        let conflict = self.conflict();
        let row = self.rows.iter_mut().find(|row| matches!(row.progress, Progress::Sealed { .. })).ok_or(conflict)?;
        match row.progress.reveal_by().filter(|by| *by <= now) {
            Some(at) => Err(Refused::TooLate { what: "to fetch the secret".to_owned(), at }),
            None => Ok(row),
        }
    }

    // ── states ──

    /// Nothing more is begun. What was begun goes on to its own end; a task of which nothing was begun closes as `to`.
    pub(super) fn withdraw(&mut self, to: State, now: Timestamp) -> Result<Vec<Consequence>, Refused> {
        if self.approval.is_some() {
            self.check_withdrawable()?;
        }
        let why = match &to {
            State::Cancelled { reason, .. } => format!("cancelled: {reason}"),
            State::Revoked { reason, .. } => format!("revoked: {reason}"),
            _ => "not executed in time".to_owned(),
        };
        match &mut self.approval {
            None => self.state = to,
            Some(approval) => {
                approval.withdrawn = Some(to);
                for row in &mut self.rows {
                    match &mut row.progress {
                        Progress::Failed { may_retry, .. } => *may_retry = false,
                        waiting @ Progress::Waiting => *waiting = Progress::Skipped { at: now },
                        _ => {}
                    }
                }
                self.settle(now);
            }
        }
        Ok(vec![Consequence::Undone { why }, Consequence::Wake])
    }

    /// The state of an approved task follows from its rows: first what somebody must look at, last how it ended.
    pub(super) fn settle(&mut self, now: Timestamp) {
        let Some(approval) = &self.approval else { return };
        let (at, by, execute_by) = (approval.at, approval.by.clone(), approval.execute_by);
        let withdrawn = approval.withdrawn.clone();
        let find = |wanted: fn(&Progress) -> bool| self.rows.iter().find(|row| wanted(&row.progress));
        let open = find(|p| matches!(p, Progress::Claimed { .. }))
            .or_else(|| find(|p| matches!(p, Progress::Unknown { .. })))
            .or_else(|| find(|p| matches!(p, Progress::Sealed { .. })))
            .or_else(|| find(|p| matches!(p, Progress::Waiting)))
            .or_else(|| find(|p| matches!(p, Progress::Failed { may_retry: true, .. })));
        self.state = match open.map(|row| (row.step.clone(), &row.progress)) {
            Some((step, Progress::Claimed { at, fence, .. })) => State::Claimed { at: *at, step, fence: *fence },
            Some((step, Progress::Unknown { at, .. })) => State::Unknown { at: *at, step },
            Some((step, Progress::Sealed { at, until })) => State::Sealed { at: *at, step, until: *until },
            Some((_, Progress::Failed { at, reason, .. })) => {
                State::Failed { at: *at, reason: reason.clone(), may_retry: true }
            }
            Some(_) => State::Approved { at, by, execute_by },
            None => ended(&self.rows, withdrawn, by, now),
        };
    }

    /// Who was first, when, and what it was: for the one who came second.
    pub fn conflict(&self) -> Refused {
        let (who, when, what) = match &self.state {
            State::Pending => (String::new(), self.created_at, "pending"),
            State::Escalated { at } => ("clock".to_owned(), *at, "escalated"),
            State::Approved { at, by, .. } => (by.join(", "), *at, "approved"),
            State::Denied { at, by, .. } => (by.join(", "), *at, "denied"),
            State::Expired { at } => ("clock".to_owned(), *at, "expired"),
            State::Cancelled { at, by, .. } => (by.clone(), *at, "cancelled"),
            State::Revoked { at, by, .. } => (by.join(", "), *at, "revoked"),
            State::Lapsed { at } => ("clock".to_owned(), *at, "lapsed"),
            State::Claimed { at, step, .. } => (step.clone(), *at, "executing"),
            State::Executed { at, by } => (by.join(", "), *at, "executed"),
            State::Failed { at, reason, .. } => (reason.clone(), *at, "failed"),
            State::Unknown { at, step } => (step.clone(), *at, "executed with unknown outcome"),
            State::Sealed { at, step, .. } => (step.clone(), *at, "executed"),
            State::Revealed { at } => (self.recipient(), *at, "revealed"),
            State::RevealExpired { at } => ("clock".to_owned(), *at, "over: the secret is gone"),
        };
        Refused::Conflict { who, when, what: what.to_owned() }
    }

    fn recipient(&self) -> String {
        let recipient = self.approval.as_ref().and_then(|approval| approval.recipient.as_ref());
        recipient.map(|recipient| recipient.reviewer.clone()).unwrap_or_default()
    }
}

/// How it ended when no row is open: a withdrawal shows while it withheld something, then the worst that happened.
fn ended(rows: &[Row], withdrawn: Option<State>, by: Vec<String>, now: Timestamp) -> State {
    let any = |wanted: fn(&Progress) -> bool| rows.iter().any(|row| wanted(&row.progress));
    let skipped = any(|p| matches!(p, Progress::Skipped { .. }));
    let failure = rows.iter().find_map(|row| match &row.progress {
        Progress::Failed { at, reason, .. } => Some((*at, reason.clone())),
        _ => None,
    });
    match (withdrawn, failure) {
        (Some(State::Lapsed { at }), None) if skipped => State::Lapsed { at },
        (Some(state @ (State::Revoked { .. } | State::Cancelled { .. })), failure) if skipped || failure.is_some() => {
            state
        }
        (_, Some((at, reason))) => State::Failed { at, reason, may_retry: false },
        _ if rows.iter().all(|row| matches!(row.progress, Progress::Skipped { .. })) => State::Cancelled {
            at: now,
            by: "worker".to_owned(),
            reason: "its steps came to their end without it".to_owned(),
        },
        _ if any(|p| matches!(p, Progress::RevealExpired { .. })) => State::RevealExpired { at: now },
        _ if any(|p| matches!(p, Progress::Revealed { .. })) => State::Revealed { at: now },
        _ => State::Executed { at: now, by },
    }
}

fn no_such(step: &str) -> Refused {
    invalid(&format!("no step {step} in this task"))
}
