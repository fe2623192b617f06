//! What every store must do, as functions over `Arc<dyn Store>`, and what only the embedded one does.
//!
//! Another backend joins with one line of `contract!`.

mod lists;

use std::any::Any;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use oust::domain::ledger::{Effect, EffectKey, EffectState};
use oust::domain::plan::StepId;
use oust::domain::reviewer::{How, Session};
use oust::domain::run::{Entry, Event, Mode};
use oust::domain::signal::Evidence;
use oust::domain::task::{Kind as TaskKind, New, Policy, Snapshot, State, Task};
use oust::domain::{
    BuriedId, CaseId, DeliveryId, Finding, Identity, Kind, ObjectId, Outcome, Risk, RunId, Signal, SignalId, Subject,
    TaskId, TenantName, TokenId,
};
use oust::store::reviewers::Change;
use oust::store::sqlite::{Options, Sqlite};
use oust::store::{
    Acceptance, Audit, Batch, Browser, Buried, BuriedState, Cap, CaseRow, Epoch, Error, Expect, Filter, Lane, Op, Page,
    PersonRow, Receipt, RunRow, SignalOutcome, SignalRow, Store, Token, Waiting,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::postgres::Place;
use lists::{
    cases_are_found_by_a_text_in_their_newest_signals, open_tasks_come_by_urgency_page_by_page,
    runs_of_a_playbook_and_open_runs_come_newest_first, the_newest_signals_of_many_cases_come_in_one_read,
    the_trail_of_a_case_is_its_own_page_by_page,
};

macro_rules! contract {
    ($backend:ident = $open:expr) => {
        contract!($backend = $open;
            a_batch_is_written_whole_or_not_at_all,
            a_stale_revision_is_refused_and_names_the_person,
            two_hundred_writers_each_get_their_own_result,
            a_gap_or_a_repeat_in_a_journal_is_refused,
            a_person_comes_with_the_open_case_only,
            a_person_has_one_open_case,
            an_effect_is_replaced_by_its_key,
            a_task_is_replaced_only_by_a_higher_revision,
            newer_evidence_is_counted_and_never_undoes_a_decision,
            the_same_webhook_id_and_body_get_the_first_answer,
            the_same_webhook_id_with_another_body_is_a_new_delivery,
            a_delivery_that_means_nothing_is_buried_with_its_body_kept,
            a_buried_row_is_settled_once,
            over_the_blast_radius_nothing_is_written,
            the_blast_radius_counts_people_within_the_window,
            a_signal_put_back_comes_again_wherever_the_reader_is,
            a_queued_signal_can_be_looked_up_before_its_intake,
            a_signal_to_be_named_waits_for_its_time,
            urgent_people_come_first_and_dead_owners_hold_nobody,
            whom_a_worker_holds_is_listed_with_the_revision,
            a_signal_is_taken_in_once,
            a_forwarded_signal_waits_with_its_person,
            a_setting_is_swapped_only_from_what_was_read,
            a_browser_that_was_there_comes_with_the_task,
            one_worker_leads_a_duty,
            watched_people_come_soonest_first,
            a_redelivery_finds_the_first_of_its_content,
            lists_go_newest_first_page_by_page,
            a_sealed_secret_is_there_until_dropped,
            a_token_is_found_by_its_hash_while_it_lives,
            settings_and_plans_read_back,
            figures_count_what_is_open,
            the_audit_trail_is_numbered_without_gaps,
            equal_deeds_make_equal_pictures,
            the_newest_signals_of_many_cases_come_in_one_read,
            cases_are_found_by_a_text_in_their_newest_signals,
            open_tasks_come_by_urgency_page_by_page,
            the_trail_of_a_case_is_its_own_page_by_page,
            runs_of_a_playbook_and_open_runs_come_newest_first,
        );
    };
    ($backend:ident = $open:expr; $($test:ident),+ $(,)?) => {
        mod $backend {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let (store, _kept) = $open().await;
                    super::$test(store).await;
                }
            )+
        }
    };
}

contract!(embedded = super::embedded_store);
contract!(postgres = super::shared_store);

type Opened = (Arc<dyn Store>, Box<dyn Any + Send>);

async fn shared_store() -> Opened {
    let place = Place::new().await;
    (place.open().await, Box::new(place))
}

async fn embedded_store() -> Opened {
    let dir = tempfile::tempdir().expect("a folder");
    (open(&dir.path().join("oust.db")), Box::new(dir))
}

fn open(path: &Path) -> Arc<Sqlite> {
    Sqlite::open(path, Options::default()).expect("opens")
}

// ---- what tests write ----

pub fn at(seconds: i64) -> Timestamp {
    "2026-11-22T10:00:00.123456789Z".parse::<Timestamp>().expect("an instant") + SignedDuration::from_secs(seconds)
}

fn tenant() -> TenantName {
    "contoso".parse().expect("a name")
}

pub fn person(number: u128) -> Identity {
    Identity { tenant: tenant(), object_id: ObjectId::new(Uuid::from_u128(number)) }
}

fn case_id(number: u128) -> CaseId {
    CaseId::new(Uuid::from_u128(number))
}

fn run_id(number: u128) -> RunId {
    RunId::new(Uuid::from_u128(number))
}

pub fn signal_id(number: u128) -> SignalId {
    SignalId::new(Uuid::from_u128(number))
}

pub fn signal(number: u128) -> Signal {
    Signal {
        id: signal_id(number),
        delivery: DeliveryId::new(Uuid::from_u128(number)),
        source: "sentinel".to_owned(),
        tenant: tenant(),
        received_at: at(i64::try_from(number).expect("small")),
        traceparent: None,
        finding: Finding {
            kind: Kind::AnomalousToken,
            raw_kind: "anomalousToken".to_owned(),
            risk: Risk::High,
            title: "Anomalous token".to_owned(),
            shape: "risk_detection".to_owned(),
            subject: Subject::of(person(number).object_id),
            activity_at: Some(at(-60)),
            detected_at: None,
            refs: std::collections::BTreeMap::new(),
            evidence: Evidence::default(),
            content: format!("content-{number}"),
            outcome: Outcome::Act,
        },
    }
}

pub fn acceptance(number: u128) -> Acceptance {
    let body = format!("{{\"alert\":{number}}}");
    Acceptance {
        delivery: DeliveryId::new(Uuid::from_u128(number)),
        source: "sentinel".to_owned(),
        tenant: tenant(),
        received_at: at(i64::try_from(number).expect("small")),
        webhook_id: None,
        body_hash: format!("hash of {body}"),
        body: body.into(),
        signals: vec![signal(number)],
        buried: None,
        answer: json!({ "accepted": 1, "ids": [signal_id(number).to_string()] }),
    }
}

fn outcome(word: &str, case: Option<CaseId>) -> SignalOutcome {
    SignalOutcome { word: word.to_owned(), reason: None, case, run: None, first: None }
}

fn signal_row(number: u128, case: Option<CaseId>) -> SignalRow {
    SignalRow {
        signal: signal(number),
        identity: Some(person(number)),
        outcome: outcome("act", case),
        first_of_content: true,
    }
}

pub fn person_row(number: u128) -> PersonRow {
    PersonRow {
        identity: person(number),
        doc: json!({ "number": number.to_string() }),
        owner: None,
        due_at: None,
        urgent: false,
        watch_at: None,
    }
}

fn case_row(number: u128, of: u128) -> CaseRow {
    CaseRow {
        id: case_id(number),
        identity: person(of),
        opened_at: at(i64::try_from(number).expect("small")),
        closed_at: None,
        state: "open".to_owned(),
        kinds: vec!["anomalous_token".to_owned()],
        risk: "high".to_owned(),
        mode: Mode::Enforce,
        signals: 1,
        received_at: at(0),
        revoke_accepted_at: None,
        last_revoke_at: None,
        revoke_verified_at: None,
        detail: json!({}),
    }
}

fn closed(case: CaseRow) -> CaseRow {
    CaseRow { closed_at: Some(at(9_000)), state: "closed".to_owned(), ..case }
}

fn run_row(number: u128, case: u128, of: u128) -> RunRow {
    RunRow {
        id: run_id(number),
        case: case_id(case),
        identity: person(of),
        plan: "hash".to_owned(),
        playbook: "token-theft".to_owned(),
        mode: Mode::Enforce,
        opened_at: at(i64::try_from(number).expect("small")),
        closed_at: None,
        state: "open".to_owned(),
    }
}

fn entry(number: u128) -> Entry {
    Entry { at: at(0), event: Event::Attached { signal: signal_id(number) } }
}

fn journal(run: u128, seq: u64) -> Op {
    Op::Journal { run: run_id(run), seq, entry: Box::new(entry(u128::from(seq))) }
}

fn effect(number: u128, state: EffectState) -> Effect {
    let step = StepId("revoke_sessions".to_owned());
    Effect {
        key: EffectKey::of(run_id(number), &step, 0),
        identity: person(1),
        run: run_id(number),
        step,
        action: "revoke_sessions".to_owned(),
        attempt: 1,
        state,
        intended_at: at(0),
        settled_at: None,
        before: Value::Null,
        request_id: None,
    }
}

fn task(number: u128, case: Option<CaseId>) -> Task {
    Task::open(New {
        id: TaskId::new(Uuid::from_u128(number)),
        kind: TaskKind::Manual,
        title: "Call the user".to_owned(),
        policy: Policy { reviewers: vec!["group:on-call".to_owned()], ..Policy::open() },
        created_at: at(i64::try_from(number).expect("small")),
        snapshot: Snapshot { number: 1, taken_at: at(0), items: Vec::new() },
        shadow: false,
        identity: Some(person(1)),
        case,
        run: None,
        instructions: None,
        requester: None,
        playbook: None,
        rows: Vec::new(),
    })
}

fn finished(task: Task) -> Task {
    Task { revision: task.revision + 1, state: State::RevealExpired { at: at(60) }, ..task }
}

fn buried(number: u128) -> Buried {
    Buried {
        id: BuriedId::new(Uuid::from_u128(number)),
        at: at(i64::try_from(number).expect("small")),
        source: "sentinel".to_owned(),
        tenant: Some(tenant()),
        delivery: Some(DeliveryId::new(Uuid::from_u128(number))),
        reason: "no known shape".to_owned(),
        state: BuriedState::Buried,
        settled: None,
        content: json!("the body"),
    }
}

fn settle(number: u128, state: BuriedState) -> Op {
    let id = BuriedId::new(Uuid::from_u128(number));
    Op::SettleBuried { id, state, by: "operator:root".to_owned(), reason: "seen".to_owned(), at: at(70) }
}

pub fn audit(verb: &str) -> Op {
    Op::Audit(Box::new(Audit {
        at: at(0),
        actor: "system".to_owned(),
        verb: verb.to_owned(),
        tenant: None,
        object_id: None,
        case: None,
        detail: json!({}),
    }))
}

fn token(number: u128, expires_at: Option<Timestamp>) -> Token {
    Token {
        id: TokenId::new(Uuid::from_u128(number)),
        name: "dashboard".to_owned(),
        hash: format!("hash-{number}"),
        scopes: vec!["read".to_owned()],
        created_at: "2026-11-22T10:00:00Z".parse().expect("an instant"),
        expires_at,
        revoked_at: None,
    }
}

fn batch(ops: Vec<Op>) -> Batch {
    Batch { expect: None, ops }
}

fn about(number: u128, revision: u64, ops: Vec<Op>) -> Batch {
    Batch { expect: Some(Expect { identity: person(number), revision, epoch: None }), ops }
}

pub async fn commit(store: &Arc<dyn Store>, ops: Vec<Op>) {
    store.commit(Lane::Other, batch(ops)).await.expect("commits");
}

fn page(limit: u32, after: Option<String>) -> Page {
    Page { after, limit }
}

pub fn open_only() -> Filter {
    Filter { open: true, ..Filter::default() }
}

/// The numbers signals were made from, in the order given.
async fn queue(store: &Arc<dyn Store>, after: i64, now: Timestamp) -> Vec<(i64, u128, bool)> {
    let rows = store.queued(after, now, 100).await.expect("reads");
    rows.into_iter().map(|row| (row.seq, row.signal.id.uuid().as_u128(), row.put_back)).collect()
}

// ---- the contract ----

async fn a_batch_is_written_whole_or_not_at_all(store: Arc<dyn Store>) {
    let before = store.picture().await.expect("a picture");
    let ops = vec![
        Op::PutPerson(Box::new(person_row(1))),
        Op::PutCase(Box::new(case_row(1, 1))),
        Op::PutSignal(Box::new(signal_row(1, Some(case_id(1))))),
        audit("revoke.intended"),
        journal(1, 2),
    ];
    let refused = store.commit(Lane::Containment, batch(ops)).await;
    assert!(matches!(&refused, Err(Error::Conflict(who)) if *who == person(1)), "{refused:?}");
    assert_eq!(store.picture().await.expect("a picture"), before);
}

async fn a_stale_revision_is_refused_and_names_the_person(store: Arc<dyn Store>) {
    let put = || vec![Op::PutPerson(Box::new(person_row(1)))];
    store.commit(Lane::Containment, about(1, 0, put())).await.expect("nobody was there");
    for stale in [0, 2, u64::MAX] {
        let refused = store.commit(Lane::Containment, about(1, stale, put())).await;
        assert!(matches!(&refused, Err(Error::Conflict(who)) if *who == person(1)), "{stale}: {refused:?}");
    }
    store.commit(Lane::Containment, about(1, 1, put())).await.expect("the current revision");
    let record = store.person(&person(1)).await.expect("reads").expect("is there");
    assert_eq!((record.revision, record.doc), (2, json!({ "number": "1" })));
    assert!(store.person(&person(2)).await.expect("reads").is_none());
}

async fn two_hundred_writers_each_get_their_own_result(store: Arc<dyn Store>) {
    let mut writers = Vec::new();
    for number in 1..=200u128 {
        let store = Arc::clone(&store);
        writers.push(tokio::spawn(async move {
            // Every third is decided on a revision that never was.
            let stale = number % 3 == 0;
            let lane = match number % 4 {
                0 => Lane::Containment,
                1 => Lane::Accept,
                _ => Lane::Other,
            };
            let ops = vec![audit(&format!("deed-{number}")), Op::PutPerson(Box::new(person_row(number)))];
            (number, stale, store.commit(lane, about(number, u64::from(stale), ops)).await)
        }));
    }
    for writer in writers {
        let (number, stale, result) = writer.await.expect("no panic");
        match result {
            Ok(()) => assert!(!stale, "{number} was stale and was applied"),
            Err(Error::Conflict(who)) => assert!(stale && who == person(number), "{number} was told of {who}"),
            Err(other) => panic!("{number}: {other}"),
        }
        let there = store.person(&person(number)).await.expect("reads").is_some();
        assert_eq!(there, !stale, "{number}");
    }
    let audited = store.audit(&page(500, None)).await.expect("lists");
    assert_eq!(audited.items.len(), 134, "a refused batch leaves nothing, its neighbours everything");
}

async fn a_gap_or_a_repeat_in_a_journal_is_refused(store: Arc<dyn Store>) {
    commit(&store, vec![Op::PutRun(Box::new(run_row(1, 1, 1))), journal(1, 1), journal(1, 2)]).await;
    for wrong in [0, 1, 2, 4, u64::MAX] {
        let refused = store.commit(Lane::Other, about(1, 0, vec![journal(1, wrong)])).await;
        assert!(matches!(refused, Err(Error::Conflict(_))), "{wrong}: {refused:?}");
    }
    commit(&store, vec![journal(1, 3)]).await;
    let (_, entries) = store.run(run_id(1)).await.expect("reads").expect("is there");
    assert_eq!(entries, [entry(1), entry(2), entry(3)]);
}

async fn a_person_comes_with_the_open_case_only(store: Arc<dyn Store>) {
    let old = vec![
        Op::PutPerson(Box::new(person_row(1))),
        Op::PutCase(Box::new(closed(case_row(1, 1)))),
        Op::PutRun(Box::new(run_row(1, 1, 1))),
        journal(1, 1),
        Op::PutTask(Box::new(task(1, Some(case_id(1))))),
    ];
    commit(&store, old).await;
    let record = store.person(&person(1)).await.expect("reads").expect("is there");
    assert!(record.runs.is_empty() && record.tasks.is_empty(), "{record:?}");

    let new = vec![
        Op::PutCase(Box::new(case_row(2, 1))),
        Op::PutRun(Box::new(run_row(3, 2, 1))),
        Op::PutRun(Box::new(run_row(2, 2, 1))),
        journal(3, 1),
        journal(2, 1),
        journal(2, 2),
        Op::PutTask(Box::new(task(2, Some(case_id(2))))),
        Op::PutTask(Box::new(finished(task(3, Some(case_id(2)))))),
    ];
    commit(&store, new).await;
    let record = store.person(&person(1)).await.expect("reads").expect("is there");
    let runs: Vec<_> = record.runs.iter().map(|(run, entries)| (run.id, entries.len())).collect();
    assert_eq!(runs, [(run_id(2), 2), (run_id(3), 1)], "oldest first, each with its own journal");
    let tasks = [task(2, Some(case_id(2))), finished(task(3, Some(case_id(2))))];
    assert_eq!(record.tasks, tasks, "terminal ones too: steps read their answers from them");
}

async fn a_person_has_one_open_case(store: Arc<dyn Store>) {
    commit(&store, vec![Op::PutCase(Box::new(case_row(1, 1)))]).await;
    let second = store.commit(Lane::Containment, batch(vec![Op::PutCase(Box::new(case_row(2, 1)))])).await;
    assert!(matches!(&second, Err(Error::Conflict(who)) if *who == person(1)), "{second:?}");
    let both = vec![Op::PutCase(Box::new(closed(case_row(1, 1)))), Op::PutCase(Box::new(case_row(2, 1)))];
    commit(&store, both).await;
    assert!(store.case(case_id(2)).await.expect("reads").expect("is there").closed_at.is_none());
}

async fn an_effect_is_replaced_by_its_key(store: Arc<dyn Store>) {
    commit(&store, vec![Op::PutEffect(Box::new(effect(1, EffectState::Intended)))]).await;
    let applied = Effect { settled_at: Some(at(1)), ..effect(1, EffectState::Applied) };
    commit(&store, vec![Op::PutEffect(Box::new(applied.clone()))]).await;
    assert_eq!(store.effects_of(run_id(1)).await.expect("reads"), [applied]);
}

async fn a_task_is_replaced_only_by_a_higher_revision(store: Arc<dyn Store>) {
    let first = task(1, None);
    commit(&store, vec![Op::PutTask(Box::new(first.clone()))]).await;
    let done = finished(first.clone());
    commit(&store, vec![Op::PutTask(Box::new(done.clone()))]).await;
    for late in [first, done.clone()] {
        let refused = store.commit(Lane::Other, batch(vec![Op::PutTask(Box::new(late))])).await;
        assert!(matches!(&refused, Err(Error::Conflict(who)) if *who == person(1)), "{refused:?}");
    }
    assert_eq!(store.task(done.id).await.expect("reads"), Some(done));
}

async fn newer_evidence_is_counted_and_never_undoes_a_decision(store: Arc<dyn Store>) {
    let first = task(1, None);
    let noted = Task { newer: 3, ..first.clone() };
    commit(&store, vec![Op::PutTask(Box::new(first.clone())), Op::PutTask(Box::new(noted.clone()))]).await;
    assert_eq!(store.task(first.id).await.expect("reads"), Some(noted));
    let done = finished(first.clone());
    commit(&store, vec![Op::PutTask(Box::new(done.clone()))]).await;
    let late = Task { newer: 9, ..first };
    let refused = store.commit(Lane::Other, batch(vec![Op::PutTask(Box::new(late))])).await;
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    assert_eq!(store.task(done.id).await.expect("reads"), Some(done));
}

async fn the_same_webhook_id_and_body_get_the_first_answer(store: Arc<dyn Store>) {
    let first = Acceptance { webhook_id: Some("msg_1".to_owned()), ..acceptance(1) };
    let answer = first.answer.clone();
    assert_eq!(store.accept(first.clone()).await.expect("accepts"), Receipt::Accepted);
    let again = Acceptance {
        delivery: DeliveryId::new(Uuid::from_u128(2)),
        signals: vec![signal(2)],
        answer: json!({ "another": true }),
        ..first.clone()
    };
    assert_eq!(store.accept(again).await.expect("accepts"), Receipt::Replay { answer });
    assert_eq!(queue(&store, 0, at(0)).await.len(), 1, "a replay starts nothing");

    let elsewhere = Acceptance { source: "splunk".to_owned(), delivery: DeliveryId::new(Uuid::from_u128(3)), ..first };
    assert_eq!(store.accept(elsewhere).await.expect("accepts"), Receipt::Accepted, "ids are unique per source");
}

async fn the_same_webhook_id_with_another_body_is_a_new_delivery(store: Arc<dyn Store>) {
    let with_id = |number| Acceptance { webhook_id: Some("msg_1".to_owned()), ..acceptance(number) };
    assert_eq!(store.accept(with_id(1)).await.expect("accepts"), Receipt::Accepted);
    assert_eq!(store.accept(with_id(2)).await.expect("accepts"), Receipt::Accepted);
    let first_again = Acceptance { delivery: DeliveryId::new(Uuid::from_u128(9)), ..with_id(1) };
    let answer = acceptance(1).answer;
    assert_eq!(store.accept(first_again).await.expect("accepts"), Receipt::Replay { answer });
    assert_eq!(queue(&store, 0, at(0)).await.len(), 2);
}

async fn a_delivery_that_means_nothing_is_buried_with_its_body_kept(store: Arc<dyn Store>) {
    let body: &[u8] = b"\xff\x00 not text";
    let nothing = Acceptance { body: body.into(), signals: Vec::new(), buried: Some(buried(1)), ..acceptance(1) };
    assert_eq!(store.accept(nothing.clone()).await.expect("accepts"), Receipt::Accepted);
    assert!(queue(&store, 0, at(0)).await.is_empty());
    assert_eq!(store.delivery_body(nothing.delivery).await.expect("reads").as_deref(), Some(body));
    let row = store.buried(buried(1).id).await.expect("reads").expect("is there");
    assert_eq!((row.reason, row.content), ("no known shape".to_owned(), json!("the body")));
}

async fn a_buried_row_is_settled_once(store: Arc<dyn Store>) {
    commit(&store, vec![Op::Bury(Box::new(buried(1))), Op::Bury(Box::new(buried(2)))]).await;
    commit(&store, vec![settle(1, BuriedState::Replayed)]).await;
    for twice in [settle(1, BuriedState::Dropped), settle(3, BuriedState::Dropped)] {
        let refused = store.commit(Lane::Other, batch(vec![twice])).await;
        assert!(matches!(refused, Err(Error::Backend { .. })), "{refused:?}");
    }
    commit(&store, vec![Op::Bury(Box::new(buried(1)))]).await;
    let row = store.buried(buried(1).id).await.expect("reads").expect("is there");
    assert_eq!(row.state, BuriedState::Replayed, "filed again, it stays settled");
    let settled = row.settled.expect("who settled it");
    assert_eq!((settled.by.as_str(), settled.reason.as_str()), ("operator:root", "seen"));
    assert_eq!(settled.at.as_microsecond(), at(70).as_microsecond());
    let open = store.buried_list(&open_only(), &Page::default()).await.expect("lists");
    let all = store.buried_list(&Filter::default(), &Page::default()).await.expect("lists");
    let ids = |rows: &[Buried]| rows.iter().map(|row| row.id.uuid().as_u128()).collect::<Vec<_>>();
    assert_eq!((ids(&open.items), ids(&all.items)), (vec![2], vec![2, 1]));
    assert!(all.items.iter().all(|row| row.content.is_null()), "lists leave contents out");
}

fn count(number: u128, seconds: i64, revocations: u32) -> Op {
    let cap = Some(Cap { revocations, since: at(seconds - 600) });
    Op::CountRevocation { identity: person(number), at: at(seconds), cap }
}

async fn over_the_blast_radius_nothing_is_written(store: Arc<dyn Store>) {
    commit(&store, vec![count(1, 0, 2)]).await;
    commit(&store, vec![count(2, 1, 2)]).await;
    let before = store.picture().await.expect("a picture");
    let ops = vec![Op::PutPerson(Box::new(person_row(3))), count(3, 2, 2), audit("revoke.intended")];
    let refused = store.commit(Lane::Containment, batch(ops)).await;
    assert!(matches!(&refused, Err(Error::OverBlastRadius(over)) if *over == tenant()), "{refused:?}");
    assert_eq!(store.picture().await.expect("a picture"), before);
}

async fn the_blast_radius_counts_people_within_the_window(store: Arc<dyn Store>) {
    for seconds in [0, 1, 2] {
        commit(&store, vec![count(1, seconds, 1)]).await;
    }
    let mut other = person(2);
    other.tenant = "fabrikam".parse().expect("a name");
    let cap = Some(Cap { revocations: 1, since: at(-600) });
    commit(&store, vec![Op::CountRevocation { identity: other, at: at(3), cap }]).await;
    let refused = store.commit(Lane::Containment, batch(vec![count(2, 3, 1)])).await;
    assert!(matches!(refused, Err(Error::OverBlastRadius(_))), "{refused:?}");
    commit(&store, vec![count(2, 603, 1)]).await;
    let uncapped = Op::CountRevocation { identity: person(3), at: at(604), cap: None };
    commit(&store, vec![uncapped]).await;
    let later = store.commit(Lane::Containment, batch(vec![count(4, 605, 2)])).await;
    assert!(matches!(later, Err(Error::OverBlastRadius(_))), "what was sent without a cap counts as well: {later:?}");
}

async fn a_signal_put_back_comes_again_wherever_the_reader_is(store: Arc<dyn Store>) {
    for number in 1..=4 {
        store.accept(acceptance(number)).await.expect("accepts");
    }
    let rows = queue(&store, 0, at(0)).await;
    assert_eq!(rows.iter().map(|row| row.1).collect::<Vec<_>>(), [1, 2, 3, 4], "oldest first");
    let (second, third, last) = (rows[1].0, rows[2].0, rows[3].0);
    commit(&store, vec![Op::Requeue { seq: third, due_at: at(60) }, Op::Requeue { seq: second, due_at: at(90) }]).await;

    let seen = |rows: Vec<(i64, u128, bool)>| rows.into_iter().map(|row| (row.1, row.2)).collect::<Vec<_>>();
    assert_eq!(seen(queue(&store, 0, at(59)).await), [(1, false), (4, false)]);
    assert_eq!(seen(queue(&store, last, at(60)).await), [(3, true)]);
    assert_eq!(seen(queue(&store, last, at(90)).await), [(3, true), (2, true)], "by their time");
    assert_eq!(seen(queue(&store, 0, at(90)).await), [(3, true), (1, false), (2, true), (4, false)], "in turn");

    commit(&store, vec![Op::Dequeue(second), Op::Dequeue(second), Op::Dequeue(third), Op::Dequeue(last)]).await;
    assert_eq!(seen(queue(&store, 0, at(90)).await), [(1, false)]);
    store.accept(acceptance(5)).await.expect("accepts");
    assert_eq!(seen(queue(&store, last, at(90)).await), [(5, false)], "a number once seen is not given again");
}

async fn a_queued_signal_can_be_looked_up_before_its_intake(store: Arc<dyn Store>) {
    store.accept(acceptance(1)).await.expect("accepts");
    let pending = store.signal(signal_id(1)).await.expect("reads").expect("is there");
    assert_eq!(pending["outcome"]["word"], "pending");
    let seq = queue(&store, 0, at(0)).await[0].0;
    commit(&store, vec![Op::Dequeue(seq), Op::PutSignal(Box::new(signal_row(1, Some(case_id(1)))))]).await;
    let row = store.signal(signal_id(1)).await.expect("reads").expect("is there");
    let expected = serde_json::to_value(signal_row(1, Some(case_id(1)))).expect("JSON");
    assert_eq!(row, expected, "reads back as it was written");
    commit(&store, vec![Op::Outcome { signal: signal_id(1), outcome: outcome("covered", Some(case_id(2))) }]).await;
    let of_case = store.signals_of(case_id(2)).await.expect("reads");
    assert_eq!(of_case.len(), 1);
    assert_eq!(of_case[0]["outcome"]["word"], "covered");
    assert!(store.signal(signal_id(2)).await.expect("reads").is_none());
}

async fn a_signal_to_be_named_waits_for_its_time(store: Arc<dyn Store>) {
    let waiting = |number, attempt, seconds| {
        let reason = "directory unavailable".to_owned();
        Op::PutWaiting(Box::new(Waiting { signal: signal(number), attempt, due_at: at(seconds), reason }))
    };
    commit(&store, vec![waiting(1, 1, 30), waiting(2, 1, 10), waiting(3, 1, 99)]).await;
    commit(&store, vec![waiting(1, 2, 40), Op::DropWaiting(signal_id(4))]).await;
    let me = store.begin_epoch().await.expect("a lease");
    let due = store.due_waiting(at(40), me, 10).await.expect("reads");
    let seen: Vec<_> = due.iter().map(|row| (row.signal.id, row.attempt)).collect();
    assert_eq!(seen, [(signal_id(2), 1), (signal_id(1), 2)]);
    commit(&store, vec![Op::DropWaiting(signal_id(2))]).await;
    assert_eq!(store.due_waiting(at(40), me, 10).await.expect("reads").len(), 1);
}

async fn urgent_people_come_first_and_dead_owners_hold_nobody(store: Arc<dyn Store>) {
    let me = store.begin_epoch().await.expect("a lease");
    let dead = Epoch(me.0 - 1);
    let put = |number, due: Option<i64>, urgent, owner| {
        Op::PutPerson(Box::new(PersonRow { due_at: due.map(at), urgent, owner, ..person_row(number) }))
    };
    let ops = vec![
        put(1, Some(5), false, None),
        put(2, Some(9), true, None),
        put(3, Some(1), false, Some(dead)),
        put(4, Some(1), false, Some(me)),
        put(5, Some(11), true, None),
        put(6, None, true, None),
        put(7, Some(8), true, Some(dead)),
    ];
    commit(&store, ops).await;
    let due = |limit| {
        let store = Arc::clone(&store);
        async move {
            let claimed = store.claim_people(at(10), me, limit).await.expect("reads");
            claimed.into_iter().map(|claimed| claimed.identity).collect::<Vec<_>>()
        }
    };
    assert_eq!(due(3).await, [person(7), person(2), person(3)]);
    if store.is_shared() {
        assert_eq!(due(10).await, [person(1)], "a claim is a claim");
    } else {
        assert_eq!(due(10).await, [person(7), person(2), person(3), person(1)]);
    }
}

async fn whom_a_worker_holds_is_listed_with_the_revision(store: Arc<dyn Store>) {
    let me = store.begin_epoch().await.expect("a lease");
    let put = |number, owner| Op::PutPerson(Box::new(PersonRow { owner, ..person_row(number) }));
    commit(&store, vec![put(1, Some(me)), put(2, None), put(3, Some(Epoch(me.0 - 1)))]).await;
    commit(&store, vec![put(1, Some(me))]).await;
    assert_eq!(store.held(me).await.expect("reads"), [(person(1), 2)]);
    let owner = store.person(&person(1)).await.expect("reads").expect("a row").owner.expect("an owner");
    assert_eq!((owner.epoch, owner.ended), (me, None), "a lease that lives");
    let owner = store.person(&person(3)).await.expect("reads").expect("a row").owner.expect("an owner");
    assert!(owner.ended.is_some(), "a lease that ended");
}

async fn a_signal_is_taken_in_once(store: Arc<dyn Store>) {
    let take = || vec![Op::TakeSignal(Box::new(signal_row(1, None))), Op::PutPerson(Box::new(person_row(1)))];
    commit(&store, take()).await;
    let before = store.picture().await.expect("reads");
    let again = store.commit(Lane::Other, Batch { expect: None, ops: take() }).await;
    assert!(matches!(again, Err(Error::Repeated(id)) if id == signal_id(1)), "{again:?}");
    assert_eq!(store.picture().await.expect("reads"), before, "nothing of the batch is written");
    commit(&store, vec![Op::PutSignal(Box::new(signal_row(1, None)))]).await;
}

async fn a_forwarded_signal_waits_with_its_person(store: Arc<dyn Store>) {
    let forward = |number, to| Op::Forward { identity: person(to), signal: Box::new(signal(number)) };
    let person_one = || Op::PutPerson(Box::new(person_row(1)));
    commit(&store, vec![person_one(), forward(2, 1), forward(1, 1), forward(3, 9), forward(2, 1)]).await;
    let ids = async || {
        let record = store.person(&person(1)).await.expect("reads").expect("a row");
        let mut ids: Vec<SignalId> = record.forwarded.iter().map(|signal| signal.id).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids().await, [signal_id(1), signal_id(2)]);
    commit(&store, vec![Op::DropForwarded(signal_id(1)), Op::DropForwarded(signal_id(8))]).await;
    assert_eq!(ids().await, [signal_id(2)]);
}

async fn a_setting_is_swapped_only_from_what_was_read(store: Arc<dyn Store>) {
    let swap = async |was: Option<Value>, value: Value| {
        let ops = vec![Op::SwapSetting { key: "storm:contoso".into(), was, value }];
        store.commit(Lane::Other, Batch { expect: None, ops }).await
    };
    swap(None, json!("one")).await.expect("nothing was there");
    let late = swap(None, json!("two")).await;
    assert!(matches!(&late, Err(Error::Changed(key)) if key == "storm:contoso"), "{late:?}");
    swap(Some(json!("one")), json!("two")).await.expect("as read");
    assert!(matches!(swap(Some(json!("one")), json!("three")).await, Err(Error::Changed(_))));
    assert_eq!(store.setting("storm:contoso").await.expect("reads"), Some(json!("two")));
}

async fn a_browser_that_was_there_comes_with_the_task(store: Arc<dyn Store>) {
    let id = TaskId::new(Uuid::from_u128(1));
    let browser = |second, session: &str| {
        let at = Timestamp::from_microsecond(at(second).as_microsecond()).expect("in range");
        Browser { at, session: session.into() }
    };
    let seen = |task, second, session| Op::Seen { task, browser: browser(second, session) };
    let session = Session {
        reviewer: "rita".parse().expect("a name"),
        created_at: at(0),
        used_at: at(0),
        proved_at: at(0),
        how: How::Passkey { credential: "c".into() },
        aal2: true,
        roles: Vec::new(),
        groups: Vec::new(),
        told_at: None,
    };
    let put = |hash: &str| Change::PutSession { hash: hash.into(), session: Box::new(session.clone()) }.into();
    let ops = vec![
        Op::PutPerson(Box::new(person_row(1))),
        Op::PutCase(Box::new(case_row(1, 1))),
        Op::PutTask(Box::new(task(1, Some(case_id(1))))),
        put("one"),
        put("two"),
        seen(id, 5, "one"),
        seen(id, 25, "two"),
        seen(TaskId::new(Uuid::from_u128(2)), 30, "two"),
    ];
    commit(&store, ops).await;
    let known = async || store.person(&person(1)).await.expect("reads").expect("a row").seen;
    assert_eq!(known().await, [(id, browser(25, "two"))]);
    commit(&store, vec![Change::EndSession { hash: "two".into(), at: at(40) }.into()]).await;
    assert_eq!(known().await, [], "whoever signed out is not there");
    assert_eq!(store.person(&person(1)).await.expect("reads").expect("a row").tasks.len(), 1);
    commit(&store, vec![seen(id, 50, "nobody's")]).await;
    assert_eq!(known().await, []);
}

async fn one_worker_leads_a_duty(store: Arc<dyn Store>) {
    let me = store.begin_epoch().await.expect("a lease");
    assert!(store.lead("watch", me).await.expect("asks"));
    assert!(store.lead("watch", me).await.expect("asks"), "and keeps it");
    assert!(store.renew(me).await.expect("asks"));
    if store.is_shared() {
        let other = store.begin_epoch().await.expect("another lease");
        assert!(!store.lead("watch", other).await.expect("asks"));
        assert!(store.lead("clocks", other).await.expect("asks"), "duties go one by one");
        store.end_epoch(me).await.expect("ends");
        assert!(!store.renew(me).await.expect("asks"), "a lease that ended never lives again");
        assert!(store.lead("watch", other).await.expect("asks"));
        assert!(!store.lead("watch", me).await.expect("asks"));
    }
}

async fn watched_people_come_soonest_first(store: Arc<dyn Store>) {
    let put = |number, watch: Option<i64>| {
        Op::PutPerson(Box::new(PersonRow { watch_at: watch.map(at), ..person_row(number) }))
    };
    commit(&store, vec![put(1, Some(50)), put(2, Some(20)), put(3, None), put(4, Some(90))]).await;
    let watched = store.watched(&tenant(), at(30), 2).await.expect("reads");
    let seen: Vec<_> = watched.into_iter().map(|(who, doc)| (who, doc["number"].clone())).collect();
    assert_eq!(seen, [(person(2), json!("2")), (person(1), json!("1"))]);
    let elsewhere = "fabrikam".parse().expect("a name");
    assert!(store.watched(&elsewhere, at(30), 2).await.expect("reads").is_empty());
}

async fn a_redelivery_finds_the_first_of_its_content(store: Arc<dyn Store>) {
    let later = SignalRow { first_of_content: false, ..signal_row(2, None) };
    let row = |row: SignalRow| Op::PutSignal(Box::new(row));
    commit(&store, vec![row(signal_row(1, Some(case_id(1)))), row(later)]).await;
    let find = |source: &'static str, number: u128, since: Option<i64>| {
        let store = Arc::clone(&store);
        async move {
            let content = format!("content-{number}");
            let found = store.first_of_content(source, &person(number), &content, since.map(at)).await;
            found.expect("reads").map(|brief| (brief.id, brief.outcome.case))
        }
    };
    let first = Some((signal_id(1), Some(case_id(1))));
    assert_eq!(find("sentinel", 1, None).await, first);
    assert_eq!(find("sentinel", 1, Some(1)).await, first, "received in the window");
    assert_eq!(find("sentinel", 1, Some(2)).await, None, "received before the window");
    assert_eq!(find("splunk", 1, None).await, None, "another source");
    assert_eq!(find("sentinel", 2, None).await, None, "not kept as the first");
}

async fn lists_go_newest_first_page_by_page(store: Arc<dyn Store>) {
    for number in 1..=7 {
        let case = case_row(number, number);
        let case = if number % 2 == 0 { closed(case) } else { case };
        let task = task(number, Some(case_id(number)));
        let task = if number % 2 == 0 { finished(task) } else { task };
        commit(&store, vec![Op::PutCase(Box::new(case)), Op::PutTask(Box::new(task))]).await;
    }
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let listed = store.cases(&Filter::default(), &page(3, after)).await.expect("lists");
        pages.push(listed.items.iter().map(|case| case.id.uuid().as_u128()).collect::<Vec<_>>());
        after = listed.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, [vec![7, 6, 5], vec![4, 3, 2], vec![1]]);

    let open = store.cases(&open_only(), &page(500, None)).await.expect("lists");
    assert_eq!(open.items.iter().map(|case| case.id.uuid().as_u128()).collect::<Vec<_>>(), [7, 5, 3, 1]);
    let of_person = Filter { object_id: Some(person(4).object_id), ..Filter::default() };
    assert_eq!(store.cases(&of_person, &Page::default()).await.expect("lists").items.len(), 1);
    let open_of_person = Filter { open: true, ..of_person };
    assert!(store.cases(&open_of_person, &Page::default()).await.expect("lists").items.is_empty());

    let tasks = store.tasks(&open_only(), &page(2, None)).await.expect("lists");
    assert_eq!(tasks.items.iter().map(|task| task.id.uuid().as_u128()).collect::<Vec<_>>(), [7, 5]);
    let rest = store.tasks(&open_only(), &page(2, tasks.next)).await.expect("lists");
    assert_eq!(rest.items.iter().map(|task| task.id.uuid().as_u128()).collect::<Vec<_>>(), [3, 1]);
    let of_case = Filter { case: Some(case_id(3)), ..Filter::default() };
    assert_eq!(store.tasks(&of_case, &Page::default()).await.expect("lists").items, [task(3, Some(case_id(3)))]);
    let of_all = Filter { object_id: Some(person(1).object_id), ..Filter::default() };
    assert_eq!(store.tasks(&of_all, &Page::default()).await.expect("lists").items.len(), 7);

    let forged = store.cases(&Filter::default(), &page(3, Some("' OR 1=1".to_owned()))).await;
    assert!(matches!(forged, Err(Error::BadCursor)), "{forged:?}");
}

async fn a_sealed_secret_is_there_until_dropped(store: Arc<dyn Store>) {
    let id = task(1, None).id;
    commit(&store, vec![Op::PutSealed { task: id, sealed: json!({ "ciphertext": "c2VhbGVk" }) }]).await;
    assert_eq!(store.sealed(id).await.expect("reads"), Some(json!({ "ciphertext": "c2VhbGVk" })));
    commit(&store, vec![Op::DropSealed { task: id }, Op::DropSealed { task: id }]).await;
    assert_eq!(store.sealed(id).await.expect("reads"), None);
}

async fn a_token_is_found_by_its_hash_while_it_lives(store: Arc<dyn Store>) {
    let (eternal, brief) = (token(1, None), token(2, Some("2026-11-22T11:00:00Z".parse().expect("an instant"))));
    commit(&store, vec![Op::PutToken(Box::new(eternal.clone())), Op::PutToken(Box::new(brief.clone()))]).await;
    assert_eq!(store.tokens().await.expect("reads").len(), 2);
    let find = |token: Token, seconds| {
        let store = Arc::clone(&store);
        async move { store.token_by_hash(&token.hash, at(seconds)).await.expect("reads").map(|found| found.id) }
    };
    assert_eq!(find(brief.clone(), 3_590).await, Some(brief.id));
    assert_eq!(find(brief, 3_600).await, None, "expired");
    assert_eq!(find(token(3, None), 0).await, None, "unknown");
    commit(&store, vec![Op::RevokeToken { id: eternal.id, at: at(5) }]).await;
    assert_eq!(find(eternal, 6).await, None, "revoked");
}

async fn settings_and_plans_read_back(store: Arc<dyn Store>) {
    let set = |value| Op::PutSetting { key: "pause".to_owned(), value };
    commit(&store, vec![set(json!({ "by": "ada" })), set(json!(null))]).await;
    assert_eq!(store.setting("pause").await.expect("reads"), Some(Value::Null));
    commit(&store, vec![Op::DropSetting { key: "pause".to_owned() }]).await;
    assert_eq!(store.setting("pause").await.expect("reads"), None);

    let plan = |json: &str| Op::PutPlan { hash: "h1".to_owned(), json: json.to_owned() };
    commit(&store, vec![plan("first"), plan("second")]).await;
    assert_eq!(store.plan("h1").await.expect("reads").as_deref(), Some("first"), "a pinned plan never changes");
    assert_eq!(store.plan("h2").await.expect("reads"), None);
}

async fn figures_count_what_is_open(store: Arc<dyn Store>) {
    for number in 1..=3 {
        store.accept(acceptance(number)).await.expect("accepts");
    }
    let rows = queue(&store, 0, at(0)).await;
    let due = PersonRow { due_at: Some(at(5)), urgent: true, ..person_row(1) };
    let later = PersonRow { due_at: Some(at(50)), ..person_row(2) };
    let parked = CaseRow { state: "parked".to_owned(), ..case_row(2, 2) };
    let unchanged = |number| CaseRow { state: "password_unchanged".to_owned(), ..case_row(number, number) };
    let ops = vec![
        Op::Requeue { seq: rows[0].0, due_at: at(500) },
        Op::Dequeue(rows[1].0),
        Op::PutPerson(Box::new(due)),
        Op::PutPerson(Box::new(later)),
        Op::PutCase(Box::new(case_row(1, 1))),
        Op::PutCase(Box::new(parked)),
        Op::PutCase(Box::new(unchanged(4))),
        Op::PutCase(Box::new(unchanged(5))),
        Op::PutCase(Box::new(closed(unchanged(6)))),
        Op::PutCase(Box::new(closed(case_row(3, 3)))),
        Op::PutRun(Box::new(run_row(1, 1, 1))),
        Op::PutRun(Box::new(RunRow { closed_at: Some(at(9)), ..run_row(2, 1, 1) })),
        Op::PutTask(Box::new(task(4, None))),
        Op::PutTask(Box::new(finished(task(1, None)))),
        Op::PutEffect(Box::new(effect(1, EffectState::Unknown))),
        Op::PutEffect(Box::new(effect(2, EffectState::Applied))),
        Op::Bury(Box::new(buried(1))),
        Op::Bury(Box::new(buried(2))),
        settle(1, BuriedState::Dropped),
    ];
    commit(&store, ops).await;
    let figures = store.figures(at(10)).await.expect("counts");
    let millis = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
    assert_eq!((figures.queue_depth, millis(figures.queue_oldest)), (2, millis(Some(at(1)))));
    assert_eq!((figures.waiting, figures.people_due), (0, 1));
    assert_eq!((figures.runs_open, figures.cases_open, figures.parked), (1, 4, 1));
    let by_state = [("open", 1), ("parked", 1), ("password_unchanged", 2)].map(|(word, n)| (word.to_owned(), n));
    assert_eq!(figures.cases_by_state, by_state);
    assert_eq!((figures.cases_in("password_unchanged"), figures.cases_in("contained")), (2, 0));
    assert_eq!(figures.tasks_open, [("manual".to_owned(), 1)]);
    assert_eq!(millis(figures.tasks_oldest), millis(Some(at(4))));
    assert_eq!((figures.effects_unknown, figures.buried), (1, 1));
}

async fn the_audit_trail_is_numbered_without_gaps(store: Arc<dyn Store>) {
    commit(&store, vec![audit("one"), audit("two")]).await;
    let refused = store.commit(Lane::Other, batch(vec![audit("never"), journal(1, 9)])).await;
    assert!(refused.is_err(), "{refused:?}");
    commit(&store, vec![audit("three")]).await;
    let first = store.audit(&page(2, None)).await.expect("lists");
    let rest = store.audit(&page(2, first.next)).await.expect("lists");
    let seen: Vec<_> = first.items.iter().chain(&rest.items).map(|(seq, line)| (*seq, line.verb.as_str())).collect();
    assert_eq!(seen, [(3, "three"), (2, "two"), (1, "one")]);
    assert_eq!(rest.next, None);
    let forged = store.audit(&page(2, Some("1; DROP".to_owned()))).await;
    assert!(matches!(forged, Err(Error::BadCursor)), "{forged:?}");
}

async fn equal_deeds_make_equal_pictures(store: Arc<dyn Store>) {
    let empty = store.picture().await.expect("a picture");
    let put = || vec![Op::PutEffect(Box::new(effect(1, EffectState::Applied)))];
    commit(&store, put()).await;
    let once = store.picture().await.expect("a picture");
    commit(&store, put()).await;
    assert_eq!(store.picture().await.expect("a picture"), once);
    assert_ne!(once, empty);
    assert!(once.contains("state=applied") && once.contains(&person(1).object_id.to_string()), "{once}");
}

// ---- only the embedded store ----

#[tokio::test]
async fn one_serve_holds_a_file_and_the_next_has_a_later_epoch() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("oust.db");
    let (first, second) = (open(&path), open(&path));
    let epoch = first.begin_epoch().await.expect("free");
    let refused = second.begin_epoch().await;
    assert!(matches!(&refused, Err(Error::Unusable(text)) if text.contains("another oust serve")), "{refused:?}");
    let by_second = second.commit(Lane::Other, batch(vec![audit("from the command line")])).await;
    by_second.expect("short transactions need no lock");
    drop(first);
    assert!(second.begin_epoch().await.expect("free again") > epoch);
}

#[tokio::test]
async fn the_stamp_changes_only_when_another_process_writes() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("oust.db");
    let (ours, theirs) = (open(&path), open(&path));
    let stamp = ours.stamp().await.expect("reads");
    ours.commit(Lane::Other, batch(vec![audit("ours")])).await.expect("commits");
    assert_eq!(ours.stamp().await.expect("reads"), stamp);
    theirs.commit(Lane::Other, batch(vec![audit("theirs")])).await.expect("commits");
    assert_ne!(ours.stamp().await.expect("reads"), stamp);
}

#[tokio::test]
async fn a_full_disk_refuses_honestly_and_heals_by_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("oust.db");
    drop(open(&path));
    let pages: u32 = sql(&path).pragma_query_value(None, "page_count", |row| row.get(0)).expect("a count");
    let store = Sqlite::open(&path, Options { max_pages: Some(pages + 60), ..Options::default() }).expect("opens");
    let large = |number| {
        let mut signal = signal(number);
        signal.finding.evidence.user_agents = vec!["x".repeat(4_000)];
        Acceptance { signals: vec![signal], ..acceptance(number) }
    };
    let mut taken = 0;
    let refused = loop {
        match store.accept(large(taken + 1)).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 1_000, "the limit was never reached");
    };
    assert!(matches!(refused, Error::Away(_)), "{refused:?}");
    let rows = store.queued(0, at(0), 500).await.expect("reading goes on");
    assert_eq!(rows.len() as u128, taken, "what was acknowledged is there, what was refused is not");

    let free = rows.iter().map(|row| Op::Dequeue(row.seq)).collect();
    store.commit(Lane::Other, batch(free)).await.expect("room can be made");
    assert_eq!(store.accept(large(taken + 1)).await.expect("accepts again"), Receipt::Accepted);
}

fn sql(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(path).expect("opens")
}

#[tokio::test]
async fn a_row_edited_by_hand_is_named_and_holds_nobody_else_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("oust.db");
    let store = open(&path);
    for number in 1..=3 {
        store.accept(acceptance(number)).await.expect("accepts");
    }
    let wait = |number| {
        let waiting = Waiting { signal: signal(number), attempt: 1, due_at: at(0), reason: "named".to_owned() };
        Op::PutWaiting(Box::new(waiting))
    };
    let ops = vec![
        Op::PutPerson(Box::new(person_row(1))),
        Op::PutCase(Box::new(case_row(1, 1))),
        Op::PutRun(Box::new(run_row(1, 1, 1))),
        journal(1, 1),
        wait(4),
        wait(5),
    ];
    store.commit(Lane::Other, batch(ops)).await.expect("commits");
    let edits = "UPDATE queue SET doc = '{\"id\": 7}' WHERE seq = 2; \
        UPDATE waiting SET doc = 'x' WHERE signal LIKE '%4'; \
        UPDATE cases SET doc = '[' || doc; UPDATE journal SET doc = replace(doc, 'sig_', 'case_')";
    sql(&path).execute_batch(edits).expect("edits");

    let corrupt = |error: Error| matches!(error, Error::Corrupt { .. }).then(|| error.to_string());
    let case = store.case(case_id(1)).await.expect_err("unreadable");
    assert_eq!(corrupt(case), Some(format!("stored case {} is unreadable", case_id(1))));
    let run = store.person(&person(1)).await.expect_err("unreadable");
    assert_eq!(corrupt(run), Some(format!("stored journal of {} is unreadable", run_id(1))));

    let good = store.queued(0, at(0), 10).await.expect("reads");
    assert_eq!(good.iter().map(|row| row.signal.id).collect::<Vec<_>>(), [signal_id(1), signal_id(3)]);
    let named = store.due_waiting(at(0), Epoch(1), 10).await.expect("reads");
    assert_eq!(named.iter().map(|row| row.signal.id).collect::<Vec<_>>(), [signal_id(5)]);
    let buried = store.buried_list(&open_only(), &Page::default()).await.expect("lists");
    assert_eq!(buried.items.len(), 2, "what cannot be understood is buried: {:?}", buried.items);
    let mut contents = BTreeSet::new();
    for row in buried.items {
        contents.insert(store.buried(row.id).await.expect("reads").expect("is there").content.to_string());
    }
    assert_eq!(contents, BTreeSet::from(["\"x\"".to_owned(), "\"{\\\"id\\\": 7}\"".to_owned()]));
}

#[tokio::test]
async fn a_file_that_cannot_be_used_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let refusal = |path: &Path, options| match Sqlite::open(path, options) {
        Err(Error::Unusable(text)) => text,
        other => panic!("{other:?}"),
    };
    let nowhere = refusal(&dir.path().join("nowhere/oust.db"), Options::default());
    assert!(nowhere.contains("does not exist; create it"), "{nowhere}");

    let path = dir.path().join("oust.db");
    drop(open(&path));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("is there").permissions());
    assert_eq!(mode & 0o777, 0o600);
    sql(&path).pragma_update(None, "user_version", 99).expect("edits");
    let newer = refusal(&path, Options::default());
    assert!(newer.contains("has schema 99") && newer.contains("run the newer oust"), "{newer}");

    let theirs = dir.path().join("theirs.txt");
    std::fs::write(&theirs, "a letter, not a database, and long enough to look at: ".repeat(100)).expect("writes");
    let text = refusal(&theirs, Options::default());
    assert!(text.contains("is not a store of oust"), "{text}");
    let foreign = dir.path().join("theirs.db");
    sql(&foreign).execute_batch("CREATE TABLE theirs (x)").expect("a table");
    assert!(refusal(&foreign, Options::default()).contains("is not a store of oust"));
}

#[tokio::test]
async fn a_file_opened_for_reading_is_not_changed() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("oust.db");
    let store = open(&path);
    store.commit(Lane::Other, batch(vec![audit("one")])).await.expect("commits");
    let reader = Sqlite::open(&path, Options { read_only: true, ..Options::default() }).expect("opens");
    assert_eq!(reader.audit(&Page::default()).await.expect("lists").items.len(), 1);
    let refused = reader.commit(Lane::Other, batch(vec![audit("two")])).await;
    assert!(matches!(refused, Err(Error::Unusable(_))), "{refused:?}");
}

#[tokio::test]
async fn what_a_dropped_secret_was_is_no_longer_in_the_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("oust.db");
    let store = open(&path);
    let id = task(1, None).id;
    let put = vec![Op::PutSealed { task: id, sealed: json!("CIPHERTEXT-TO-FORGET") }];
    store.commit(Lane::Other, batch(put)).await.expect("commits");
    store.commit(Lane::Other, batch(vec![Op::DropSealed { task: id }])).await.expect("commits");
    drop(store);
    assert!(!dir.path().join("oust.db-wal").exists(), "the log was copied back when the store closed");
    let bytes = std::fs::read(&path).expect("is there");
    assert!(!bytes.windows(20).any(|window| window == b"CIPHERTEXT-TO-FORGET"));
}

/// Set for the child of the next test: the file it commits to until it is killed.
const KILLED: &str = "OUST_TEST_KILLED_STORE";

#[test]
#[expect(clippy::disallowed_methods, reason = "a child of this test is told what it is by its environment")]
fn what_was_acknowledged_survives_kill_9() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    if let Some(path) = std::env::var_os(KILLED) {
        runtime.block_on(accept_for_ever(Path::new(&path)));
    }
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("oust.db");
    let name = concat!(module_path!(), "::what_was_acknowledged_survives_kill_9");
    let name = name.split_once("::").map_or(name, |(_, rest)| rest);
    for round in 1..=3 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(KILLED, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let mut acknowledged: Vec<u128> = Vec::new();
        let number = |line: String| line.rsplit_once("taken ").and_then(|(_, number)| number.parse::<u128>().ok());
        while acknowledged.len() < 300 {
            acknowledged.extend(number(lines.next().expect("the child works until it is killed")));
        }
        child.kill().expect("kill -9");
        child.wait().expect("gone");
        acknowledged.extend(lines.filter_map(number));

        let rows = runtime.block_on(async {
            let store = open(&path);
            store.begin_epoch().await.expect("a dead process holds no lock");
            let mut rows = BTreeSet::new();
            for number in &acknowledged {
                if store.signal(signal_id(*number)).await.expect("reads").is_some() {
                    rows.insert(*number);
                }
            }
            rows
        });
        let lost: Vec<_> = acknowledged.iter().filter(|number| !rows.contains(number)).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?} of {}", acknowledged.len());
    }
}

/// Sixteen at a time; each is said aloud only after it was acknowledged.
async fn accept_for_ever(path: &Path) {
    let store = open(path);
    store.begin_epoch().await.expect("the one before was killed");
    let first = u128::from(store.figures(at(0)).await.expect("counts").queue_depth);
    let writers = (0..16).map(|writer| {
        let store = Arc::clone(&store);
        async move {
            for step in 0u128.. {
                let number = first * 1_000 + step * 16 + writer + 1;
                store.accept(acceptance(number)).await.expect("accepts");
                let mut out = std::io::stdout();
                writeln!(out, "taken {number}").expect("the parent listens");
                out.flush().expect("the parent listens");
            }
        }
    });
    futures_util::future::join_all(writers).await;
}
