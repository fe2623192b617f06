//! Lists as pages need them: ordered by the store, bounded, and whole across pages.

use std::sync::Arc;

use jiff::SignedDuration;
use oust::domain::task::{Kind, State, Task};
use oust::store::{Audit, Error, Op, Page, RunRow, SignalRow, Store};
use serde_json::json;

use super::{at, case_id, commit, page, run_id, run_row, signal_id, signal_row, task};

pub async fn the_newest_signals_of_many_cases_come_in_one_read(store: Arc<dyn Store>) {
    let put = |number: u128, case: u128| {
        let mut row: SignalRow = signal_row(number, Some(case_id(case)));
        row.signal.received_at = at(i64::try_from(number).expect("small"));
        Op::PutSignal(Box::new(row))
    };
    commit(&store, vec![put(1, 1), put(2, 1), put(3, 2), put(4, 1), put(5, 3)]).await;
    let found = store.signals_of_cases(&[case_id(1), case_id(2), case_id(9)], 2).await.expect("reads");
    let ids = |case: u128| -> Vec<String> {
        let signals = found.get(&case_id(case)).into_iter().flatten();
        signals.filter_map(|one| one["signal"]["id"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(ids(1), [signal_id(2).to_string(), signal_id(4).to_string()], "the newest two, oldest first");
    assert_eq!(ids(2), [signal_id(3).to_string()]);
    assert_eq!(found.len(), 2, "what has none and what was not asked for is left out");
    assert_eq!(found[&case_id(2)], store.signals_of(case_id(2)).await.expect("reads"), "read as alone");
    assert!(store.signals_of_cases(&[], 2).await.expect("reads").is_empty());
}

pub async fn cases_are_found_by_a_text_in_their_newest_signals(store: Arc<dyn Store>) {
    let put = |number: u128, case: u128, agent: &str| {
        let mut row: SignalRow = signal_row(number, Some(case_id(case)));
        row.signal.received_at = at(i64::try_from(number).expect("small"));
        row.signal.finding.evidence.user_agents = vec![agent.to_owned()];
        Op::PutSignal(Box::new(row))
    };
    let kali = "Curl/8.5 (Kali)";
    commit(&store, vec![put(1, 1, kali), put(2, 1, "a"), put(3, 2, "b"), put(4, 4, kali)]).await;
    commit(&store, vec![put(5, 3, kali), put(6, 3, "c"), put(7, 3, "d")]).await;
    let asked = [case_id(1), case_id(2), case_id(3), case_id(9)];
    let found = async |text: &str| {
        let found = store.cases_mentioning(&asked, 2, text).await.expect("reads");
        found.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(found("curl/8.5 (kali)").await, [case_id(1)], "in any case of letters, and in the newest only");
    assert_eq!(found("%").await, [], "no letter stands for others");
    assert_eq!(found("c_rl").await, []);
    assert_eq!(found("\0").await, []);
    assert!(store.cases_mentioning(&[], 2, "curl").await.expect("reads").is_empty());
}

pub async fn open_tasks_come_by_urgency_page_by_page(store: Arc<dyn Store>) {
    let make = |number: u128, kind, mins: Option<i64>| -> Task {
        let mut task = Task { kind, ..task(number, None) };
        task.policy.decide_within = mins.map(SignedDuration::from_mins);
        task
    };
    let mut closed = make(9, Kind::Approval, Some(1));
    closed.state = State::Expired { at: at(0) };
    let tasks = [
        make(1, Kind::Manual, None),
        make(2, Kind::Approval, Some(60)),
        make(3, Kind::Approval, Some(5)),
        make(4, Kind::Release, None),
        make(5, Kind::Manual, None),
        make(6, Kind::Approval, None),
        make(7, Kind::Manual, Some(5)),
        closed,
    ];
    commit(&store, tasks.iter().map(|task| Op::PutTask(Box::new(task.clone()))).collect()).await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let listed = store.tasks_by_urgency(&page(2, after)).await.expect("reads");
        assert!(listed.items.len() <= 2);
        seen.extend(listed.items.iter().map(|task| task.id.uuid().as_u128()));
        after = listed.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(
        seen,
        [4, 3, 2, 6, 7, 1, 5],
        "a release, what ends soonest, what nothing ends, work by hand, oldest first"
    );
    let mut late = tasks[0].clone();
    late.revision += 1;
    late.state = State::Unknown { at: at(1), step: "reset_password".into() };
    commit(&store, vec![Op::PutTask(Box::new(late))]).await;
    let first = store.tasks_by_urgency(&page(1, None)).await.expect("reads");
    assert_eq!(first.items[0].id.uuid().as_u128(), 1, "a change moves it");
    let forged = store.tasks_by_urgency(&page(1, Some("x".into()))).await;
    assert!(matches!(forged, Err(Error::BadCursor)), "{forged:?}");
}

pub async fn the_trail_of_a_case_is_its_own_page_by_page(store: Arc<dyn Store>) {
    let line = |verb: &str, case: Option<u128>| {
        Op::Audit(Box::new(Audit {
            at: at(0),
            actor: "system".into(),
            verb: verb.into(),
            tenant: None,
            object_id: None,
            case: case.map(case_id),
            detail: json!({}),
        }))
    };
    for number in 0..5 {
        commit(&store, vec![line(&format!("mine.{number}"), Some(1)), line("theirs", Some(2)), line("nobodys", None)])
            .await;
    }
    let verbs = async |page: Page| {
        let listed = store.audit_of(case_id(1), &page).await.expect("reads");
        (listed.items.into_iter().map(|(_, line)| line.verb).collect::<Vec<_>>(), listed.next)
    };
    let (first, next) = verbs(page(2, None)).await;
    assert_eq!(first, ["mine.4", "mine.3"], "newest first");
    let (second, next) = verbs(page(2, next)).await;
    assert_eq!(second, ["mine.2", "mine.1"]);
    assert_eq!(verbs(page(2, next)).await, (vec!["mine.0".to_owned()], None));
    let all = store.audit(&page(1, None)).await.expect("reads").items.remove(0).0;
    let mine = store.audit_of(case_id(1), &page(1, None)).await.expect("reads").items.remove(0).0;
    assert!(mine < all, "numbers are those of the whole trail");
    assert!(matches!(store.audit_of(case_id(1), &page(1, Some("x".into()))).await, Err(Error::BadCursor)));
}

pub async fn runs_of_a_playbook_and_open_runs_come_newest_first(store: Arc<dyn Store>) {
    let put = |number: u128, playbook: &str, open: bool| {
        let closed_at = (!open).then(|| at(500));
        Op::PutRun(Box::new(RunRow { playbook: playbook.into(), closed_at, ..run_row(number, number, number) }))
    };
    let all = vec![put(1, "a", true), put(2, "b", true), put(3, "a", false), put(4, "a", true)];
    commit(&store, all).await;
    let ids = |rows: Vec<RunRow>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(store.runs_of_playbook("a", 2).await.expect("reads")), [run_id(4), run_id(3)]);
    assert_eq!(ids(store.runs_of_playbook("a", 9).await.expect("reads")), [run_id(4), run_id(3), run_id(1)]);
    assert!(store.runs_of_playbook("c", 9).await.expect("reads").is_empty());
    assert_eq!(ids(store.open_runs(9).await.expect("reads")), [run_id(4), run_id(2), run_id(1)]);
    assert_eq!(ids(store.open_runs(1).await.expect("reads")), [run_id(4)]);
}
