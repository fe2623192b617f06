//! What comes in: a signal of this person, new or told again.

use super::{Gone, Incoming, Lane, Origin};
use crate::domain::{Signal, SignalId};
use crate::engine::record::Turn;
use crate::store::{Op, SignalOutcome, SignalRow};

impl Lane {
    /// A redelivery joins its signal and starts nothing, but makes an unfinished one continue (contract §13.1).
    pub(super) async fn take_signal(&mut self, incoming: Incoming, turn: &mut Turn) -> Result<(), Gone> {
        let Incoming { origin, signal, arrival, also_matched } = incoming;
        // A sender's repetition has the same id over a broker; in one turn it is the same row.
        let is_here = turn.signals.iter().any(|row| row.signal.id == signal.id);
        match origin {
            Origin::Queue(claim) => {
                turn.ops.extend(claim.take_off());
                turn.claims.push(*claim);
                if !is_here {
                    turn.fresh.insert(signal.id);
                }
            }
            Origin::Forwarded(id) => turn.ops.push(Op::DropForwarded(id)),
            Origin::Waiting(asking) => {
                turn.ops.push(Op::DropWaiting(asking.id));
                turn.asking.push(asking);
            }
        }
        if is_here {
            return Ok(());
        }
        let content = signal.finding.content.clone();
        let same = |row: &SignalRow| row.signal.source == signal.source && row.signal.finding.content == content;
        let first = match turn.signals.iter().find(|row| row.first_of_content && same(row)) {
            Some(row) => Some(row.signal.id),
            None => self.first_of(&signal).await?,
        };
        let mut outcome = SignalOutcome { word: "redelivery".into(), reason: None, case: None, run: None, first };
        if first.is_none() {
            outcome.word = "act".into();
            if !also_matched.is_empty() {
                outcome.reason = Some(format!("also matched: {}", also_matched.join(", ")));
            }
            turn.arrivals.push(arrival);
        } else {
            self.inner.telemetry.signal_outcome(&signal, "redelivery");
        }
        let identity = Some(self.identity.clone());
        turn.signals.push(SignalRow { signal, identity, outcome, first_of_content: first.is_none() });
        Ok(())
    }

    pub(super) async fn first_of(&mut self, signal: &Signal) -> Result<Option<SignalId>, Gone> {
        let since = (!signal.finding.is_timed()).then(|| signal.received_at - Signal::UNTIMED_WINDOW);
        let mut failures = 0;
        loop {
            let found =
                self.inner.store.first_of_content(&signal.source, &self.identity, &signal.finding.content, since).await;
            match found {
                // A signal that was claimed again after a crash is not its own redelivery.
                Ok(found) => return Ok(found.map(|first| first.id).filter(|id| *id != signal.id)),
                Err(error) => {
                    self.inner.telemetry.store_error("signal.first_of_content", &error);
                    self.inner.pause_after_failure(&mut failures).await.map_err(|()| Gone)?;
                }
            }
        }
    }
}
