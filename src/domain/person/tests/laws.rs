//! What must hold after every turn, at the end of a case, and when the world came to rest.

use super::super::*;
use super::world::World;
use crate::domain::plan::{EffectClass, RESET, REVOKE};
use crate::domain::run::StepState;
use crate::domain::task::Progress;

/// Where every step of every run stands, for messages.
pub fn picture(world: &World) -> Vec<String> {
    let steps = world
        .person
        .runs
        .iter()
        .flat_map(|run| run.steps().map(move |(step, state)| format!("{} {}: {state:?}", run.plan.name, step.id)));
    let tasks = world.person.tasks.values().map(|task| format!("{} {}: {:?}", task.kind, task.title, task.state));
    steps.chain(tasks).collect()
}

pub fn after_turn(world: &mut World, before: &Person, out: &Output) {
    for (run, _, entry) in &out.journal {
        match &entry.event {
            Event::Intended { step, .. } => {
                intent(world, *run, step);
                world.intended.push((*run, step.clone()));
            }
            Event::Refused { .. } => world.excused = true,
            _ => {}
        }
    }
    closed_runs_take_only_late_evidence(before, out);
    settled_steps_stay(world, out);
    one_reset_at_a_time(world);
}

/// What must be true of the moment at which an effect begins.
fn intent(world: &World, run: RunId, step: &StepId) {
    let of_run = world.person.run(run).expect("an intent belongs to a run in hand");
    let spec = of_run.plan.step(step).expect("a step of the plan");
    assert_eq!(of_run.mode, Mode::Enforce, "a rehearsal sends nothing");
    assert!(spec.class != EffectClass::Read, "a read needs no intent");
    assert!(world.facts.paused.is_none(), "{step} was intended while paused");
    assert!(!world.facts.listed, "{step} was intended for a break-glass identity");
    if spec.approval.is_some() || spec.when.as_deref() == Some("error") {
        let claimed = |task: &&Task| {
            let row = |row: &task::Row| row.step == step.0 && matches!(row.progress, Progress::Claimed { .. });
            task.run == Some(run) && task.approval.is_some() && task.rows.iter().any(row)
        };
        assert!(world.person.tasks.values().any(|task| claimed(&task)), "{step} was intended without an approved task");
    }
    if spec.action == RESET {
        let latest = world.latest.expect("a case is about something");
        let left = world.accepted.iter().any(|left| *left >= latest);
        assert!(left || world.person.covers(latest), "a reset without a revoke accepted after the latest activity");
    }
}

fn closed_runs_take_only_late_evidence(before: &Person, out: &Output) {
    for (run, _, entry) in &out.journal {
        let was_closed = before.run(*run).is_some_and(|run| !run.is_open());
        let is_late = matches!(entry.event, Event::Attached { .. } | Event::Verified { .. });
        assert!(!was_closed || is_late, "a closed run took {entry:?}");
    }
}

/// Terminal states never change, but for the revoke that is owed anew because what it follows was sent again.
fn settled_steps_stay(world: &mut World, out: &Output) {
    let again: BTreeSet<_> = out
        .journal
        .iter()
        .filter_map(|(run, _, entry)| match &entry.event {
            Event::Again { step } => Some((*run, step.clone())),
            _ => None,
        })
        .collect();
    let mut now = BTreeMap::new();
    for run in &world.person.runs {
        for (step, state) in run.steps() {
            let place = (run.id, step.id.clone());
            if let Some(was) = world.settled.get(&place) {
                let is_owed = again.contains(&place);
                assert!(*was == format!("{state:?}") || is_owed, "{} was {was}, is {state:?}", step.id);
            }
            if state.is_settled() {
                now.insert(place, format!("{state:?}"));
            }
        }
    }
    world.settled = now;
}

fn one_reset_at_a_time(world: &World) {
    let asks = |task: &&Task| {
        let open = |row: &task::Row| {
            row.action == RESET
                && matches!(row.progress, Progress::Waiting | Progress::Claimed { .. } | Progress::Unknown { .. })
        };
        !task.shadow && !task.state.is_terminal() && task.rows.iter().any(open)
    };
    let open = world.person.tasks.values().filter(asks).count();
    assert!(open <= 1, "{open} reset tasks are open: {:#?}", picture(world));
}

/// At the end of a case everything owed was done.
pub fn after_case(world: &mut World, case: &Case) {
    assert!(world.person.runs.iter().all(|run| !run.is_open()), "a case closed over an open run");
    assert!(!case.unchanged, "a case with an unchanged password closed by itself");
    revokes_follow(world);
    let owed = std::mem::take(&mut world.owed);
    nobody_waits(world, &owed);
    world.excused = false;
}

/// Every signal that was not covered was followed by an accepted revoke that left later.
pub fn nobody_waits(world: &World, owed: &[Timestamp]) {
    for activity in owed {
        let followed = world.accepted.iter().any(|left| left >= activity);
        assert!(followed || world.excused, "no revoke after the activity of {activity}: {:#?}", picture(world));
    }
}

/// Every sending of a step that requires a revoke was followed by one.
pub fn revokes_follow(world: &World) {
    for run in &world.person.runs {
        for step in run.plan.steps.iter() {
            let Some(followed) = &step.follows else { continue };
            let Some(sent) = run.intent(followed) else { continue };
            if matches!(run.state(&step.id), StepState::Refused { .. } | StepState::Failed { .. }) {
                assert!(world.excused, "a required revoke was given up");
                continue;
            }
            let last =
                |wanted: &StepId| world.intended.iter().rposition(|(of_run, step)| *of_run == run.id && step == wanted);
            assert_eq!(step.action, REVOKE);
            assert!(
                last(&step.id) > last(followed),
                "no revoke after {followed} of {}: {:#?}",
                sent.at,
                picture(world)
            );
        }
    }
}

/// What is read back from the store is what is in hand.
pub fn replay_equals_live(world: &World) {
    let stored = world.restored();
    assert_eq!(stored.doc, world.person.doc);
    assert_eq!(stored.tasks, world.person.tasks);
    assert_eq!(stored.runs.len(), world.person.runs.len());
    for (stored, live) in stored.runs.iter().zip(&world.person.runs) {
        let of = |run: &Run| {
            let steps: Vec<_> = run
                .steps()
                .map(|(step, state)| (step.id.clone(), state.clone(), run.attempts(&step.id), run.gate(&step.id)))
                .collect();
            (run.id, run.len, run.end, run.collect_started, run.collect_ended, run.results.clone(), steps)
        };
        assert_eq!(of(stored), of(live), "replay equals live");
    }
}

/// When everything works and everybody answered, nothing is left but what nobody can know or must close by hand.
pub fn at_rest(world: &World) {
    assert!(world.person.doc.pending.is_empty(), "a signal waits for nothing");
    for run in world.person.runs.iter().filter(|run| run.is_open()) {
        let unknown = run.steps().any(|(_, state)| matches!(state, StepState::Unknown { verify_at: None, .. }));
        let earlier = world.person.runs.iter().take_while(|other| other.id != run.id).any(Run::is_open);
        assert!(unknown || earlier, "a run is stuck: {:#?}", picture(world));
    }
    revokes_follow(world);
    nobody_waits(world, &world.owed);
}
