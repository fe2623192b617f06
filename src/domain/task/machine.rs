//! `apply`: the one place where a task changes. All or nothing: a refused event leaves no trace on the task.

use jiff::Timestamp;

use super::event::{Ballot, Claim, Consequence, Event, Refused, Verdict};
use super::reviewer::{Forbidden, Reviewer};
use super::{Approval, Changed, Earlier, Kind, Progress, Recipient, RiskClosed, Row, State, Target, Task, Vote, after};
use crate::domain::identity::Identity;

type Answer = Result<Vec<Consequence>, Refused>;

impl Task {
    /// Folds one event at `now` (the server's clock, read in the transaction that stores the result).
    pub fn apply(&mut self, event: Event, now: Timestamp) -> Answer {
        if self.state.is_terminal() {
            return if matches!(event, Event::Tick) { Ok(Vec::new()) } else { Err(self.conflict()) };
        }
        if let Event::NewerEvidence { risk, acute } = event {
            self.newer = self.newer.saturating_add(1);
            self.risk = Some(risk);
            if acute {
                self.risk_closed = None;
            }
            return Ok(Vec::new());
        }
        let mut next = self.clone();
        let consequences = next.fold(event, now)?;
        if next != *self {
            next.revision += 1;
            *self = next;
        }
        Ok(consequences)
    }

    fn fold(&mut self, event: Event, now: Timestamp) -> Answer {
        match event {
            Event::Vote(ballot) => self.vote(*ballot, now),
            Event::Done { by, note } => self.done(&by, note.as_deref(), now),
            Event::Named { by, identity } => self.named(&by, identity, now),
            Event::Cancel { by, reason } => self.withdraw(State::Cancelled { at: now, by, reason }, now),
            Event::Tick => Ok(self.tick(now)),
            Event::Claim(claim) => self.claim(*claim, now),
            Event::Sealed { step, fence } => self.sealed(&step, fence),
            Event::Executed { step, fence } => self.executed(&step, fence, now),
            Event::Failed { step, fence, reason, provably_no_effect: true } => self.failed(&step, fence, reason, now),
            Event::Failed { step, fence, .. } | Event::Unknown { step, fence } => self.unknown(&step, fence, now),
            Event::Dropped { step } => self.dropped(&step, now),
            Event::Verified { step, applied } => self.verified(&step, applied, now),
            Event::Fetched { by, key } => self.fetched(&by, &key, now),
            Event::Acknowledged { by, key } => self.acknowledged(&by, &key, now),
            Event::RevealExpired => self.reveal_expired(now),
            Event::NewerEvidence { .. } => Ok(Vec::new()),
            Event::Learned { target, risk_closed } => Ok(self.learned(target, risk_closed, now)),
        }
    }

    // ── decisions ──

    fn vote(&mut self, ballot: Ballot, now: Timestamp) -> Answer {
        self.check_text(ballot.reason.as_deref())?;
        self.may_decide(&ballot.by, now)?;
        if !self.state.is_undecided() {
            return match ballot.verdict {
                Verdict::Deny if self.approval.is_some() => self.revoke(ballot, now),
                _ => Err(self.conflict()),
            };
        }
        self.check_in_time(now)?;
        let person = ballot.by.person();
        if let Some(first) = self.votes.iter().find(|vote| vote.person.is(&person)) {
            return Err(Refused::Conflict {
                who: first.person.id.clone(),
                when: first.at,
                what: first.verdict.past().to_owned(),
            });
        }
        self.check_digest(&ballot)?;
        if ballot.verdict == Verdict::Approve {
            self.check_risk()?;
            self.check_approvable(&ballot)?;
        }
        let key = self.record(&ballot, now);
        Ok(self.tally(ballot.by.id, key, now))
    }

    /// Stores a vote; gives back the browser key it brought.
    fn record(&mut self, ballot: &Ballot, now: Timestamp) -> Option<String> {
        self.votes.push(Vote {
            person: ballot.by.person(),
            verdict: ballot.verdict,
            reason: ballot.reason.clone(),
            at: now,
            digest: ballot.digest,
        });
        ballot.recipient_key.clone()
    }

    /// Denials are counted first: a denial outranks.
    fn tally(&mut self, last: String, key: Option<String>, now: Timestamp) -> Vec<Consequence> {
        let (denied, approved) = (self.voters(Verdict::Deny), self.voters(Verdict::Approve));
        if self.reached(Verdict::Deny) {
            let reason = self.votes.last().and_then(|vote| vote.reason.clone());
            let why = reason.as_deref().map_or_else(|| "denied".to_owned(), |reason| format!("denied: {reason}"));
            self.state = State::Denied { at: now, by: denied, reason };
            return vec![Consequence::Undone { why }, Consequence::Wake];
        }
        if !self.reached(Verdict::Approve) {
            let verdict = self.votes.last().map_or(Verdict::Approve, |vote| vote.verdict);
            return vec![Consequence::Counted { verdict, have: self.count(verdict), need: self.need(verdict) }];
        }
        let execute_by = self.policy.execute_within.and_then(|span| after(now, span));
        let recipient = key.filter(|_| self.reveals()).map(|key| Recipient { reviewer: last, key });
        let by = approved.clone();
        self.approval = Some(Approval { at: now, by, digest: self.digest(), execute_by, recipient, withdrawn: None });
        self.state = if self.is_claimed_by_step() {
            State::Approved { at: now, by: approved, execute_by }
        } else {
            State::Executed { at: now, by: approved }
        };
        vec![Consequence::Wake]
    }

    /// A denial after the approval, before the claim. Whoever approved may take it back; a reason is needed.
    fn revoke(&mut self, ballot: Ballot, now: Timestamp) -> Answer {
        self.check_withdrawable()?;
        let Some(reason) = ballot.reason.clone().filter(|reason| !reason.trim().is_empty()) else {
            return Err(invalid("taking back an approval needs a reason"));
        };
        let person = ballot.by.person();
        let denial = |vote: &&Vote| vote.verdict == Verdict::Deny && vote.person.is(&person);
        if let Some(first) = self.votes.iter().find(denial) {
            return Err(Refused::Conflict {
                who: first.person.id.clone(),
                when: first.at,
                what: Verdict::Deny.past().into(),
            });
        }
        self.check_digest(&ballot)?;
        self.record(&ballot, now);
        if !self.reached(Verdict::Deny) {
            let (have, need) = (self.count(Verdict::Deny), self.need(Verdict::Deny));
            return Ok(vec![Consequence::Counted { verdict: Verdict::Deny, have, need }]);
        }
        let by = self.voters(Verdict::Deny);
        self.withdraw(State::Revoked { at: now, by, reason }, now)
    }

    fn done(&mut self, by: &Reviewer, note: Option<&str>, now: Timestamp) -> Answer {
        if self.kind != Kind::Manual {
            return Err(invalid("only a manual task is done by hand: approve or deny this one"));
        }
        self.check_text(note)?;
        self.may_decide(by, now)?;
        self.check_in_time(now)?;
        self.note = note.map(str::to_owned);
        self.state = State::Executed { at: now, by: vec![by.id.clone()] };
        Ok(vec![Consequence::Wake])
    }

    /// Whoever is named is dealt with by the signal, which starts over: the task is done. Nobody names himself.
    fn named(&mut self, by: &Reviewer, identity: Identity, now: Timestamp) -> Answer {
        if self.kind != Kind::Held || !self.state.is_undecided() {
            return Err(invalid("only an open held task can be given a person"));
        }
        if let Some(known) = &self.identity {
            return Err(invalid(&format!("this task is already about {known}")));
        }
        self.identity = Some(identity);
        self.may_decide(by, now)?;
        self.check_in_time(now)?;
        self.state = State::Executed { at: now, by: vec![by.id.clone()] };
        Ok(vec![Consequence::Wake])
    }

    /// What is known of the account or its risk changes what is decided. Approvals of what was shown before are
    /// dropped; a denial stands whatever the account is.
    fn learned(&mut self, target: Option<Target>, risk_closed: Option<String>, now: Timestamp) -> Vec<Consequence> {
        if !self.state.is_undecided() {
            return Vec::new();
        }
        if let Some(by) = risk_closed {
            self.risk_closed.get_or_insert(RiskClosed { at: now, by });
        }
        if target.is_some() && target != self.target {
            let learnt = Self { target, ..self.clone() };
            // A plain account is what everybody took for granted.
            if learnt.digest() != self.digest() {
                self.keep_what_was_shown();
                self.votes.retain(|vote| vote.verdict == Verdict::Deny);
            }
            self.target = learnt.target;
        }
        Vec::new()
    }

    fn keep_what_was_shown(&mut self) {
        if self.earlier.len() == Self::EARLIER {
            self.earlier.remove(0);
        }
        let (identity, target) = (self.identity.clone(), self.target.clone());
        self.earlier.push(Earlier { revision: self.revision, identity, target });
    }

    // ── time ──

    fn tick(&mut self, now: Timestamp) -> Vec<Consequence> {
        if self.state.is_undecided() {
            return self.tick_undecided(now);
        }
        let mut consequences = Vec::new();
        let lapsed = self.approval.as_ref().and_then(|approval| approval.execute_by).is_some_and(|by| by <= now);
        let claimable = self.rows.iter().any(|row| row.progress.is_claimable());
        // A claim freezes the clock: the rest lapses when that row has come to an end.
        if lapsed
            && claimable
            && let Ok(mut undone) = self.withdraw(State::Lapsed { at: now }, now)
        {
            consequences.append(&mut undone);
        }
        if self.rows.iter().any(|row| row.progress.reveal_by().is_some_and(|by| by <= now)) {
            consequences.extend(self.drop_secrets(now, |row| row.progress.reveal_by().is_some_and(|by| by <= now)));
        }
        consequences
    }

    fn tick_undecided(&mut self, now: Timestamp) -> Vec<Consequence> {
        if self.decide_by().is_some_and(|by| by <= now) {
            self.state = State::Expired { at: now };
            return vec![Consequence::Undone { why: "nobody decided in time".to_owned() }, Consequence::Wake];
        }
        if matches!(self.state, State::Pending) && self.escalates_at().is_some_and(|at| at <= now) {
            self.state = State::Escalated { at: now };
            let to = self.policy.escalate.as_ref().map(|escalation| escalation.to.clone()).unwrap_or_default();
            return vec![Consequence::Escalated { to }];
        }
        Vec::new()
    }

    // ── execution ──

    fn claim(&mut self, claim: Claim, now: Timestamp) -> Answer {
        let Some(approval) = self.approval.clone() else {
            return Err(Refused::NotYet { why: "nobody approved it".to_owned() });
        };
        if self.shadow {
            return Err(Forbidden::Shadow.into());
        }
        if claim.fence < self.fence {
            return Err(Refused::Fenced { fence: claim.fence, latest: self.fence });
        }
        if self.rows.iter().any(|row| matches!(row.progress, Progress::Claimed { .. })) {
            return Err(self.conflict());
        }
        let row = self.row(&claim.step)?;
        if !row.progress.is_claimable() {
            return Err(self.conflict());
        }
        if let Some(at) = approval.execute_by.filter(|by| *by <= now) {
            return Err(Refused::TooLate { what: "to execute".to_owned(), at });
        }
        if let Some((reason, ask_again)) = self.objection(&claim, &approval) {
            let cancelled = State::Cancelled { at: now, by: "precondition".to_owned(), reason: Changed::line(&reason) };
            let mut consequences = self.withdraw(cancelled, now)?;
            if ask_again {
                consequences.push(Consequence::AskAgain { difference: reason });
            }
            return Ok(consequences);
        }
        let present = claim.browser_seen.is_some_and(|seen| now.duration_since(seen).abs() <= Self::BROWSER_PRESENT);
        if self.row(&claim.step)?.reveals && !present {
            return Err(Refused::NotYet { why: "open this page to continue".to_owned() });
        }
        self.fence = claim.fence;
        self.row_mut(&claim.step)?.progress = Progress::Claimed { at: now, fence: claim.fence, sealed: false };
        self.settle(now);
        Ok(Vec::new())
    }

    /// What stands against executing what was approved, and whether people should be asked anew.
    fn objection(&self, claim: &Claim, approval: &Approval) -> Option<(Vec<Changed>, bool)> {
        if let Some(by) = &claim.risk_closed {
            return Some((vec![Changed::new("risk", "open", format!("closed: {by}"))], false));
        }
        if claim.now.digest(&self.snapshot) != approval.digest {
            let mut difference = claim.now.difference_from(&self.binding());
            if difference.is_empty() {
                difference.push(Changed::new("task", "what was approved", "something else in the store"));
            }
            return Some((difference, true));
        }
        let standing = approval.by.iter().filter(|id| !claim.lost.contains(id)).count();
        if self.policy.fresh_at_claim && standing < self.need(Verdict::Approve) as usize {
            let lost = format!("no longer entitled: {}", claim.lost.join(", "));
            return Some((vec![Changed::new("approvers", "entitled", lost)], true));
        }
        None
    }

    fn sealed(&mut self, step: &str, fence: u64) -> Answer {
        let row = self.working(step, fence)?;
        if !row.reveals {
            return Err(invalid("this step reveals nothing"));
        }
        if let Progress::Claimed { sealed, .. } = &mut row.progress {
            *sealed = true;
        }
        Ok(Vec::new())
    }

    fn executed(&mut self, step: &str, fence: u64, now: Timestamp) -> Answer {
        let row = self.working(step, fence)?;
        let sealed = matches!(row.progress, Progress::Claimed { sealed: true, .. });
        if row.reveals && !sealed {
            return Err(invalid("the secret of this step is not sealed: its outcome is unknown, not executed"));
        }
        Ok(self.conclude(step, sealed, now))
    }

    fn failed(&mut self, step: &str, fence: u64, reason: String, now: Timestamp) -> Answer {
        let row = self.working(step, fence)?;
        let sealed = matches!(row.progress, Progress::Claimed { sealed: true, .. });
        Ok(self.without_effect(step, reason, sealed, now))
    }

    fn unknown(&mut self, step: &str, fence: u64, now: Timestamp) -> Answer {
        let row = self.working(step, fence)?;
        let sealed = matches!(row.progress, Progress::Claimed { sealed: true, .. });
        row.progress = Progress::Unknown { at: now, fence, sealed };
        self.settle(now);
        Ok(vec![Consequence::Verify { step: step.to_owned() }])
    }

    fn dropped(&mut self, step: &str, now: Timestamp) -> Answer {
        let conflict = self.conflict();
        if self.approval.is_none() {
            return Err(Refused::NotYet { why: "nobody approved it".to_owned() });
        }
        match &mut self.row_mut(step)?.progress {
            waiting @ Progress::Waiting => *waiting = Progress::Skipped { at: now },
            Progress::Failed { may_retry: may_retry @ true, .. } => *may_retry = false,
            _ => return Err(conflict),
        }
        self.settle(now);
        Ok(Vec::new())
    }

    fn verified(&mut self, step: &str, applied: bool, now: Timestamp) -> Answer {
        let Progress::Unknown { sealed, .. } = self.row(step)?.progress else { return Err(self.conflict()) };
        if applied {
            return Ok(self.conclude(step, sealed, now));
        }
        Ok(self.without_effect(step, "the target shows no effect".to_owned(), sealed, now))
    }

    /// A row took effect.
    fn conclude(&mut self, step: &str, sealed: bool, now: Timestamp) -> Vec<Consequence> {
        let mut consequences = vec![Consequence::Wake];
        if let Some(row) = self.rows.iter_mut().find(|row| row.step == step) {
            row.progress = if row.reveals && sealed {
                consequences.push(Consequence::Reveal { step: step.to_owned() });
                Progress::Sealed { at: now, until: None }
            } else {
                if row.reveals {
                    consequences.push(Consequence::SecretLost { step: step.to_owned() });
                }
                Progress::Executed { at: now }
            };
        }
        self.settle(now);
        consequences
    }

    /// A row provably took no effect: it may run again as long as the approval stands.
    fn without_effect(&mut self, step: &str, reason: String, sealed: bool, now: Timestamp) -> Vec<Consequence> {
        let may_retry = self
            .approval
            .as_ref()
            .is_some_and(|approval| approval.withdrawn.is_none() && approval.execute_by.is_none_or(|by| now < by));
        if let Some(row) = self.rows.iter_mut().find(|row| row.step == step) {
            row.progress = Progress::Failed { at: now, reason, may_retry };
        }
        self.settle(now);
        let mut consequences = vec![Consequence::Wake];
        if sealed {
            consequences.push(Consequence::DropSecret { step: step.to_owned() });
        }
        if self.state.is_terminal() {
            consequences.push(Consequence::Undone { why: format!("{step} failed") });
        }
        consequences
    }

    // ── reveal ──

    fn fetched(&mut self, by: &str, key: &str, now: Timestamp) -> Answer {
        self.check_recipient(by, key)?;
        let row = self.revealing(now)?;
        if let Progress::Sealed { until: until @ None, .. } = &mut row.progress {
            *until = after(now, Self::REVEAL_WITHIN);
        }
        self.settle(now);
        Ok(Vec::new())
    }

    fn acknowledged(&mut self, by: &str, key: &str, now: Timestamp) -> Answer {
        self.check_recipient(by, key)?;
        let row = self.revealing(now)?;
        if matches!(row.progress, Progress::Sealed { until: None, .. }) {
            return Err(Refused::NotYet { why: "the secret was not fetched".to_owned() });
        }
        row.progress = Progress::Revealed { at: now };
        let step = row.step.clone();
        self.settle(now);
        Ok(vec![Consequence::DropSecret { step }, Consequence::Wake])
    }

    fn reveal_expired(&mut self, now: Timestamp) -> Answer {
        if !self.rows.iter().any(|row| matches!(row.progress, Progress::Sealed { .. })) {
            return Err(invalid("no secret waits here"));
        }
        Ok(self.drop_secrets(now, |row| matches!(row.progress, Progress::Sealed { .. })))
    }

    fn drop_secrets(&mut self, now: Timestamp, due: impl Fn(&Row) -> bool) -> Vec<Consequence> {
        let mut consequences = vec![Consequence::Wake];
        for row in self.rows.iter_mut().filter(|row| due(row)) {
            row.progress = Progress::RevealExpired { at: now };
            consequences.push(Consequence::DropSecret { step: row.step.clone() });
        }
        self.settle(now);
        consequences
    }
}

/// The event does not fit.
pub(super) fn invalid(why: &str) -> Refused {
    Refused::Invalid { why: why.to_owned() }
}
