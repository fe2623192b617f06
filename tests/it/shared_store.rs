//! What only the shared store does: leases by the server's clock, claims of several workers, hints between processes,
//! connections that break.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use oust::domain::Identity;
use oust::store::postgres::{Config, Postgres};
use oust::store::reviewers::Reviewers;
use oust::store::{
    Acceptance, Access, Batch, Cap, Epoch, Error, Expect, Hint, Lane, Op, Page, PersonRow, Receipt, Store, Waiting,
};
use serde_json::json;
use tokio::sync::broadcast;

use crate::store::{acceptance, at, audit, commit, open_only, person, person_row, signal, signal_id};
use crate::support::postgres::{Place, server};
use crate::support::proxy::Proxy;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

fn by(epoch: Epoch, number: u128, revision: u64) -> Batch {
    let row = PersonRow { owner: Some(epoch), ..person_row(number) };
    Batch {
        expect: Some(Expect { identity: person(number), revision, epoch: Some(epoch) }),
        ops: vec![Op::PutPerson(Box::new(row)), audit("revoke.intended")],
    }
}

/// Ends a lease as if its time had passed.
async fn let_pass(place: &Place, epoch: Epoch) {
    let past = "UPDATE workers SET lease_until = clock_timestamp() - interval '7 seconds' WHERE epoch = $1";
    assert_eq!(place.sql().await.execute(past, &[&epoch.0]).await.expect("edits"), 1);
}

fn names(claimed: Vec<oust::store::Claimed>) -> Vec<Identity> {
    claimed.into_iter().map(|claimed| claimed.identity).collect()
}

#[tokio::test]
async fn a_worker_whose_lease_ended_writes_nothing_any_more() {
    let place = Place::new().await;
    let store = place.open().await;
    let me = store.begin_epoch().await.expect("a lease");
    store.commit(Lane::Containment, by(me, 1, 0)).await.expect("it lives");
    let_pass(&place, me).await;
    let before = store.picture().await.expect("a picture");
    for (number, revision) in [(1, 1), (1, 9), (2, 0)] {
        let refused = store.commit(Lane::Containment, by(me, number, revision)).await;
        assert!(matches!(refused, Err(Error::Fenced)), "{number} at {revision}: {refused:?}");
    }
    assert_eq!(store.picture().await.expect("a picture"), before);
    assert!(!store.renew(me).await.expect("asks"), "a lease that ended never lives again");
    assert!(store.claim_people(at(99), me, 10).await.expect("asks").is_empty());
    assert!(!store.lead("watch", me).await.expect("asks"));
    let next = store.begin_epoch().await.expect("another lease");
    assert!(next > me);
    store.commit(Lane::Containment, by(next, 1, 1)).await.expect("the new lease lives");
}

#[tokio::test]
async fn a_worker_that_never_was_is_fenced_as_well() {
    let place = Place::new().await;
    let store = place.open().await;
    let refused = store.commit(Lane::Containment, by(Epoch(77), 1, 0)).await;
    assert!(matches!(refused, Err(Error::Fenced)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_workers_never_claim_one_person_twice() {
    let place = Place::new().await;
    let stores = [place.open().await, place.open().await, place.open().await];
    let due = |number: u128| PersonRow { due_at: Some(at(0)), urgent: number.is_multiple_of(7), ..person_row(number) };
    let ops = (1..=120).map(|number| Op::PutPerson(Box::new(due(number)))).collect();
    stores[0].commit(Lane::Other, Batch { expect: None, ops }).await.expect("commits");
    let taken = AtomicUsize::new(0);
    let begun = Instant::now();
    let workers = stores.iter().map(|store| async {
        let me = store.begin_epoch().await.expect("a lease");
        let mut mine = Vec::new();
        // Rows another worker is at are passed over: an empty answer does not mean that nobody is left.
        while taken.load(Ordering::SeqCst) < 120 {
            let claimed = names(store.claim_people(at(1), me, 5).await.expect("claims"));
            taken.fetch_add(claimed.len(), Ordering::SeqCst);
            mine.extend(claimed);
            assert!(store.renew(me).await.expect("asks") && begun.elapsed() < PATIENCE);
        }
        let held: BTreeSet<_> = store.held(me).await.expect("reads").into_iter().map(|(who, _)| word(&who)).collect();
        assert_eq!(held, mine.iter().map(word).collect(), "what was claimed is held");
        mine
    });
    let claimed: Vec<Identity> = join_all(workers).await.into_iter().flatten().collect();
    let distinct: BTreeSet<_> = claimed.iter().map(word).collect();
    assert_eq!((claimed.len(), distinct.len()), (120, 120), "everybody once");
}

fn word(identity: &Identity) -> String {
    identity.object_id.to_string()
}

#[tokio::test]
async fn what_a_dead_worker_held_is_taken_over_and_it_cannot_come_back() {
    let place = Place::new().await;
    let (one, two) = (place.open().await, place.open().await);
    let (first, second) = (one.begin_epoch().await.expect("a lease"), two.begin_epoch().await.expect("a lease"));
    let row = PersonRow { owner: Some(first), due_at: Some(at(0)), ..person_row(1) };
    let wait = Waiting { signal: signal(9), attempt: 1, due_at: at(0), reason: "named".into() };
    let ops = vec![Op::PutPerson(Box::new(row)), Op::PutWaiting(Box::new(wait))];
    one.commit(Lane::Other, Batch { expect: None, ops }).await.expect("commits");
    assert_eq!(one.due_waiting(at(1), first, 10).await.expect("claims").len(), 1);
    assert_eq!(one.due_waiting(at(1), first, 10).await.expect("claims").len(), 1, "again to itself");

    assert!(two.claim_people(at(1), second, 10).await.expect("claims").is_empty(), "its lease lives");
    assert!(two.due_waiting(at(1), second, 10).await.expect("claims").is_empty(), "its lease lives");
    let owner = two.person(&person(1)).await.expect("reads").expect("a row").owner.expect("an owner");
    assert_eq!((owner.epoch, owner.ended), (first, None));

    let_pass(&place, first).await;
    let owner = two.person(&person(1)).await.expect("reads").expect("a row").owner.expect("an owner");
    let ended = owner.ended.expect("it ended");
    assert!((Duration::from_secs(7)..PATIENCE).contains(&ended), "by the server's clock: {ended:?}");
    let claimed = two.claim_people(at(1), second, 10).await.expect("claims");
    assert!(claimed.iter().all(|claimed| claimed.ended.is_some()), "it says how long ago: {claimed:?}");
    assert_eq!(names(claimed), [person(1)]);
    assert_eq!(two.due_waiting(at(1), second, 10).await.expect("claims").len(), 1);
    assert_eq!(two.held(second).await.expect("reads"), [(person(1), 1)], "a claim is no change of the person");
    let late = one.commit(Lane::Containment, by(first, 1, 1)).await;
    assert!(matches!(late, Err(Error::Fenced)), "{late:?}");
    two.commit(Lane::Containment, by(second, 1, 1)).await.expect("the successor goes on");
}

#[tokio::test]
async fn rows_of_the_dead_go_when_nothing_refers_to_them() {
    let place = Place::new().await;
    let store = place.open().await;
    let (holds, free) = (store.begin_epoch().await.expect("a lease"), store.begin_epoch().await.expect("a lease"));
    let row = PersonRow { owner: Some(holds), ..person_row(1) };
    store.commit(Lane::Other, Batch { expect: None, ops: vec![Op::PutPerson(Box::new(row))] }).await.expect("commits");
    let sql = place.sql().await;
    sql.batch_execute("UPDATE workers SET lease_until = clock_timestamp() - interval '2 hours'").await.expect("edits");
    let next = store.begin_epoch().await.expect("a lease");
    let left = sql.query("SELECT epoch FROM workers ORDER BY epoch", &[]).await.expect("reads");
    let left: Vec<i64> = left.iter().map(|row| row.get(0)).collect();
    assert_eq!(left, [holds.0, next.0], "{free:?} held nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_first_rows_of_a_person_one_is_written() {
    let place = Place::new().await;
    let stores = [place.open().await, place.open().await];
    let writers = (0..20usize).map(|number| {
        let store = &stores[number % 2];
        let lane = if number % 3 == 0 { Lane::Other } else { Lane::Containment };
        let expect = Some(Expect { identity: person(1), revision: 0, epoch: None });
        let ops = vec![audit("a deed"), Op::PutPerson(Box::new(person_row(1)))];
        store.commit(lane, Batch { expect, ops })
    });
    let results = join_all(writers).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(Error::Conflict(_)))), "{results:?}");
    assert_eq!(stores[0].audit(&Page::default()).await.expect("lists").items.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_writers_of_one_revision_one_wins() {
    let place = Place::new().await;
    let stores = [place.open().await, place.open().await];
    for revision in 0..5 {
        let writers = (0..8usize).map(|number| {
            let expect = Some(Expect { identity: person(1), revision, epoch: None });
            let ops = vec![Op::PutPerson(Box::new(person_row(1)))];
            stores[number % 2].commit(Lane::Containment, Batch { expect, ops })
        });
        let results = join_all(writers).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    }
    assert_eq!(stores[0].person(&person(1)).await.expect("reads").expect("a row").revision, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_blast_radius_is_exact_when_eight_count_at_once() {
    let place = Place::new().await;
    let stores = [place.open().await, place.open().await];
    let writers = (1..=8u128).map(|number| {
        let cap = Some(Cap { revocations: 5, since: at(-600) });
        let ops = vec![
            Op::CountRevocation { identity: person(number), at: at(0), cap },
            Op::PutPerson(Box::new(person_row(number))),
        ];
        stores[usize::from(number % 2 == 0)].commit(Lane::Containment, Batch { expect: None, ops })
    });
    let results = join_all(writers).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 5, "{results:?}");
    let over = |result: &&Result<(), Error>| matches!(result, Err(Error::OverBlastRadius(_)));
    assert_eq!(results.iter().filter(over).count(), 3, "{results:?}");
    let counted = place.sql().await.query_one("SELECT count(*) FROM revocations", &[]).await.expect("counts");
    assert_eq!(counted.get::<_, i64>(0), 5, "what was refused is not counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_equal_deliveries_at_once_one_is_taken() {
    let place = Place::new().await;
    let stores = [place.open().await, place.open().await];
    let first = Acceptance { webhook_id: Some("msg_1".into()), ..acceptance(1) };
    let senders = (0..8u128).map(|number| {
        let again = Acceptance { delivery: acceptance(100 + number).delivery, ..first.clone() };
        stores[usize::from(number % 2 == 0)].accept(again)
    });
    let receipts: Vec<Receipt> = join_all(senders).await.into_iter().map(|one| one.expect("accepts")).collect();
    assert_eq!(receipts.iter().filter(|receipt| **receipt == Receipt::Accepted).count(), 1, "{receipts:?}");
    let answer = first.answer;
    assert_eq!(receipts.iter().filter(|one| **one == Receipt::Replay { answer: answer.clone() }).count(), 7);
    assert_eq!(stores[0].figures(at(0)).await.expect("counts").queue_depth, 1);
}

/// The numbers signals were made from.
async fn claim(store: &Postgres, after: i64, now: i64) -> Vec<(i64, u128)> {
    let rows = store.queued(after, at(now), 100).await.expect("claims");
    rows.into_iter().map(|row| (row.seq, row.signal.id.uuid().as_u128())).collect()
}

#[tokio::test]
async fn a_signal_on_the_queue_is_in_one_workers_hands() {
    let place = Place::new().await;
    let (one, two) = (place.open().await, place.open().await);
    for number in 1..=3 {
        one.accept(acceptance(number)).await.expect("accepts");
    }
    let (first, second) = (one.begin_epoch().await.expect("a lease"), two.begin_epoch().await.expect("a lease"));
    let rows = claim(&one, 0, 0).await;
    assert_eq!(rows.iter().map(|row| row.1).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(claim(&two, 0, 0).await.is_empty(), "they are in the other's hands");
    let last = rows[2].0;
    assert!(claim(&one, last, 0).await.is_empty(), "what it has read is not read again");
    assert_eq!(claim(&one, rows[0].0, 0).await.len(), 2, "unless it asks again");

    // A row below the cursor, of a transaction that became visible late: nobody has it.
    place.sql().await.execute("UPDATE queue SET owner = NULL WHERE seq = $1", &[&rows[0].0]).await.expect("edits");
    assert_eq!(claim(&one, last, 0).await, [rows[0]], "a free row is found wherever it is");

    let back = vec![Op::Requeue { seq: rows[1].0, due_at: at(5) }];
    one.commit(Lane::Other, Batch { expect: None, ops: back }).await.expect("commits");
    assert!(claim(&two, 0, 4).await.is_empty());
    assert_eq!(claim(&two, 0, 5).await, [rows[1]], "put back, it is anybody's");
    assert!(claim(&one, last, 5).await.is_empty());

    let_pass(&place, first).await;
    assert_eq!(claim(&two, last, 4).await, [rows[0], rows[2]], "and so is what a dead worker had, below any cursor");
    assert_eq!(two.held(second).await.expect("reads"), []);
}

#[tokio::test]
async fn a_row_edited_by_hand_is_buried_and_holds_nobody_else_up() {
    let place = Place::new().await;
    let store = place.open().await;
    for number in 1..=3 {
        store.accept(acceptance(number)).await.expect("accepts");
    }
    let wait = |number| Waiting { signal: signal(number), attempt: 1, due_at: at(0), reason: "named".into() };
    let ops = vec![Op::PutWaiting(Box::new(wait(4))), Op::PutWaiting(Box::new(wait(5)))];
    store.commit(Lane::Other, Batch { expect: None, ops }).await.expect("commits");
    let edits =
        "UPDATE queue SET doc = '{\"id\": 7}' WHERE seq = 2; UPDATE waiting SET doc = 'x' WHERE signal LIKE '%4'";
    place.sql().await.batch_execute(edits).await.expect("edits");
    let me = store.begin_epoch().await.expect("a lease");
    assert_eq!(claim(&store, 0, 0).await.iter().map(|row| row.1).collect::<Vec<_>>(), [1, 3]);
    let named = store.due_waiting(at(0), me, 10).await.expect("claims");
    assert_eq!(named.iter().map(|row| row.signal.id).collect::<Vec<_>>(), [signal_id(5)]);
    let mut contents = BTreeSet::new();
    for row in store.buried_list(&open_only(), &Page::default()).await.expect("lists").items {
        contents.insert(store.buried(row.id).await.expect("reads").expect("is there").content.to_string());
    }
    assert_eq!(contents, BTreeSet::from(["\"x\"".to_owned(), "\"{\\\"id\\\": 7}\"".to_owned()]));
}

#[tokio::test]
async fn a_character_the_server_cannot_hold_does_not_poison_a_batch() {
    let place = Place::new().await;
    let store: Arc<dyn Store> = place.open().await;
    let mut hostile = signal(1);
    hostile.finding.content = "a\0b".into();
    hostile.finding.title = "T\0".into();
    hostile.source = "s\0".into();
    let row = oust::store::SignalRow {
        signal: hostile.clone(),
        identity: Some(person(1)),
        outcome: oust::store::SignalOutcome { word: "act".into(), reason: None, case: None, run: None, first: None },
        first_of_content: true,
    };
    let setting = Op::PutSetting { key: "k\0".into(), value: json!("v\0") };
    commit(&store, vec![Op::TakeSignal(Box::new(row)), setting]).await;
    let found = store.first_of_content("s\0", &person(1), "a\0b", None).await.expect("reads");
    assert_eq!(found.map(|brief| brief.id), Some(hostile.id));
    assert_eq!(store.setting("k\0").await.expect("reads"), Some(json!("v\0")), "documents keep it");
    let kept = Acceptance { webhook_id: Some("w\0".into()), signals: vec![hostile], ..acceptance(2) };
    assert_eq!(store.accept(kept.clone()).await.expect("accepts"), Receipt::Accepted);
    assert!(matches!(store.accept(kept).await.expect("accepts"), Receipt::Replay { .. }));
}

/// The next hint that is told until somebody hears it: a listener may not be there yet.
async fn heard(hints: &mut broadcast::Receiver<Hint>, tell: impl AsyncFn()) -> Hint {
    let begun = Instant::now();
    loop {
        tell().await;
        match tokio::time::timeout(Duration::from_millis(100), hints.recv()).await {
            Ok(hint) => return hint.expect("the store lives"),
            Err(_) => assert!(begun.elapsed() < PATIENCE, "no hint came"),
        }
    }
}

/// Waits for this hint; others may come before it.
async fn until(hints: &mut broadcast::Receiver<Hint>, wanted: &Hint) {
    let wait = async { while hints.recv().await.expect("the store lives") != *wanted {} };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{wanted:?} never came"));
}

#[tokio::test]
async fn hints_reach_other_processes_and_not_oneself() {
    let place = Place::new().await;
    let (one, two) = (place.open().await, place.open().await);
    let (mut of_one, mut of_two) = (one.hints(), two.hints());
    let pause = |store: Arc<Postgres>| async move {
        let ops = vec![Op::PutSetting { key: "pause".into(), value: json!({}) }];
        store.commit(Lane::Other, Batch { expect: None, ops }).await.expect("commits");
    };
    let stamp = one.stamp().await.expect("reads");
    assert_eq!(heard(&mut of_two, async || pause(Arc::clone(&one)).await).await, Hint::Settings);
    assert_ne!(one.stamp().await.expect("reads"), stamp, "and the stamp tells whoever did not listen");
    one.accept(acceptance(1)).await.expect("accepts");
    until(&mut of_two, &Hint::Queue).await;
    let forward = Op::Forward { identity: person(3), signal: Box::new(signal(3)) };
    one.commit(Lane::Other, Batch { expect: None, ops: vec![forward] }).await.expect("commits");
    until(&mut of_two, &Hint::Person(person(3))).await;
    let decided = Batch {
        expect: Some(Expect { identity: person(4), revision: 0, epoch: None }),
        ops: vec![Op::PutPerson(Box::new(person_row(4)))],
    };
    one.commit(Lane::Other, decided).await.expect("commits");
    until(&mut of_two, &Hint::Person(person(4))).await;

    // The first thing `one` hears is what `two` says: its own words did not come back.
    let forward = || vec![Op::Forward { identity: person(5), signal: Box::new(signal(5)) }];
    let tell = async || two.commit(Lane::Other, Batch { expect: None, ops: forward() }).await.expect("commits");
    assert_eq!(heard(&mut of_one, tell).await, Hint::Person(person(5)));
}

#[tokio::test]
async fn the_stamp_changes_with_pause_and_releases_only() {
    let place = Place::new().await;
    let store: Arc<dyn Store> = place.open().await;
    let set = |key: &str, value| vec![Op::PutSetting { key: key.into(), value }];
    let empty = store.stamp().await.expect("reads");
    commit(&store, set("storm:contoso", json!(1))).await;
    assert_eq!(store.stamp().await.expect("reads"), empty);
    commit(&store, set("release:contoso", json!(1))).await;
    let released = store.stamp().await.expect("reads");
    assert_ne!(released, empty);
    commit(&store, set("release:contoso", json!(2))).await;
    assert_ne!(store.stamp().await.expect("reads"), released);
    commit(&store, vec![Op::DropSetting { key: "release:contoso".into() }]).await;
    assert_eq!(store.stamp().await.expect("reads"), empty);
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_heal_by_themselves() {
    let place = Place::new().await;
    let store = place.open().await;
    let other = place.open().await;
    let mut hints = store.hints();
    let me = store.begin_epoch().await.expect("a lease");
    let tell = async || {
        let ops = vec![Op::PutSetting { key: "pause".into(), value: json!({}) }];
        other.commit(Lane::Other, Batch { expect: None, ops }).await.expect("commits");
    };
    heard(&mut hints, tell).await;
    for round in 0..3u64 {
        store.commit(Lane::Containment, by(me, 1, round)).await.expect("commits");
        assert!(place.cut_connections().await > 2);
        assert!(store.renew(me).await.expect("a renewal is sent again"), "round {round}");
        assert_eq!(store.person(&person(1)).await.expect("reads").expect("a row").revision, round + 1);
        store.accept(acceptance(u128::from(round) + 1)).await.expect("accepts");
    }
    // The line was made anew, and says that it missed something.
    until(&mut hints, &Hint::Anything).await;
    heard(&mut hints, tell).await;
}

/// Waits until so many statements of stores in this place wait for locks.
async fn stuck(place: &Place, many: i64) {
    let (sql, begun) = (place.sql().await, Instant::now());
    let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'";
    while sql.query_one(count, &[&place.schema]).await.expect("counts").get::<_, i64>(0) < many {
        assert!(begun.elapsed() < PATIENCE, "{many} never waited");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_wait_hold_up_neither_deliveries_nor_other_work() {
    let place = Place::new().await;
    // Whoever meets the lock stays.
    let patient = "%20-c%20lock_timeout%3D60s%20-c%20statement_timeout%3D60s&application_name=";
    let mut config = Config::parse(&place.url.replace("&application_name=", patient)).expect("a URL");
    config.pool = 8;
    let store = Postgres::open(&config, Access::Write).await.expect("opens");
    let pages = Arc::clone(&store).for_pages();
    let other = || Batch { expect: None, ops: vec![audit("a deed")] };
    store.commit(Lane::Other, other()).await.expect("commits");
    store.accept(acceptance(1)).await.expect("accepts");
    let lock = place.sql().await;
    lock.batch_execute("BEGIN; LOCK TABLE reviewers IN ACCESS EXCLUSIVE MODE").await.expect("locks");
    let ask = |store: &Arc<dyn Reviewers>| {
        let store = Arc::clone(store);
        tokio::spawn(async move { store.reviewers().await })
    };
    let mut asked: Vec<_> = (0..40).map(|_| ask(&pages)).collect();
    stuck(&place, 6).await;
    store.commit(Lane::Other, other()).await.expect("commits");
    store.setting("pause").await.expect("reads");
    store.accept(acceptance(2)).await.expect("accepts");
    let all: Arc<dyn Reviewers> = store.clone();
    asked.extend((0..8).map(|_| ask(&all)));
    stuck(&place, 14).await;
    store.accept(acceptance(3)).await.expect("accepts though nothing else goes on");
    lock.batch_execute("ROLLBACK").await.expect("lets go");
    for answer in join_all(asked).await {
        let answer = answer.expect("no panic");
        assert!(matches!(answer, Ok(_) | Err(Error::Away(_))), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_called_so_by_reads_and_writes_alike() {
    let place = Place::new().await;
    let mut url = url::Url::parse(&place.url).expect("a URL");
    let server = (url.host_str().expect("a host"), url.port().unwrap_or(5432));
    let server = tokio::net::lookup_host(server).await.expect("a host").next().expect("an address");
    let proxy = Proxy::to(server).await;
    url.set_ip_host(proxy.address.ip()).expect("it has a host");
    url.set_port(Some(proxy.address.port())).expect("it has a host");
    let store = Postgres::open(&Config::parse(url.as_str()).expect("a URL"), Access::Write).await.expect("opens");
    let pages = Arc::clone(&store).for_pages();
    proxy.shut();
    let away = |result: Option<Error>| assert!(matches!(result, Some(Error::Away(_))), "{result:?}");
    away(store.figures(at(0)).await.err());
    away(store.setting("pause").await.err());
    away(store.audit(&Page::default()).await.err());
    away(pages.reviewers().await.err());
    away(pages.session("none").await.err());
    away(store.accept(acceptance(1)).await.err());
    away(store.commit(Lane::Other, Batch { expect: None, ops: vec![audit("a deed")] }).await.err());
    proxy.resume();
    assert!(pages.reviewers().await.expect("it is back").is_empty());
    assert!(store.audit(&Page::default()).await.expect("it is back").items.is_empty());
}

#[tokio::test]
async fn a_database_that_cannot_be_used_says_what_to_do_and_no_password() {
    let place = Place::new().await;
    let refusal = async |url: String| {
        let config = Config::parse(&url).expect("a URL");
        match Postgres::open(&config, Access::Write).await {
            Err(Error::Unusable(text)) => {
                assert!(!text.contains("oust-test") && !text.contains("hunter2"), "{text}");
                text
            }
            other => panic!("{other:?}"),
        }
    };
    let (before, after) = place.url.split_once("/postgres?").expect("the database of tests");
    let nowhere = refusal(format!("{before}/no_such_database?{after}")).await;
    assert!(nowhere.contains("does not exist") && nowhere.contains("create the database"), "{nowhere}");
    let wrong = refusal(place.url.replace("oust-test", "hunter2")).await;
    assert!(wrong.contains("check the user, the password"), "{wrong}");
    let none = refusal("postgres://oust:hunter2@127.0.0.1:1/oust".into()).await;
    assert!(none.contains("is PostgreSQL running"), "{none}");
    let schema = refusal(place.url.replace("search_path%3Dtest_", "search_path%3Dnone_")).await;
    assert!(schema.contains("the tables of"), "{schema}");
    let store = place.open().await;
    assert!(!format!("{store:?}").contains("oust-test"), "{store:?}");
    assert!(server().contains("oust-test"), "or this test would prove nothing");
}

#[tokio::test]
async fn a_store_opened_for_looking_changes_nothing() {
    let place = Place::new().await;
    let empty = Postgres::open(&place.config(), Access::Look).await;
    assert!(matches!(&empty, Err(Error::Unusable(text)) if text.contains("run `oust migrate`")), "{empty:?}");
    let store: Arc<dyn Store> = place.open().await;
    commit(&store, vec![audit("one")]).await;
    let reader = Postgres::open(&place.config(), Access::Look).await.expect("opens");
    assert_eq!(reader.audit(&Page::default()).await.expect("lists").items.len(), 1);
    let refused = reader.commit(Lane::Other, Batch { expect: None, ops: vec![audit("two")] }).await;
    assert!(matches!(refused, Err(Error::Unusable(_))), "{refused:?}");
    assert!(matches!(reader.begin_epoch().await, Err(Error::Unusable(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_migrate_at_once_make_one_set_of_tables() {
    let place = Place::new().await;
    let opened = join_all((0..6).map(|_| place.open())).await;
    let row = place.sql().await.query_one("SELECT version FROM schema_version", &[]).await.expect("one row");
    assert!(row.get::<_, i64>(0) >= 1);
    for store in opened {
        assert_eq!(store.figures(at(0)).await.expect("counts").queue_depth, 0);
    }
}

/// The authority of the server of tests; another one lies beside it.
fn authority() -> std::path::PathBuf {
    let environment = oust::config::Environment::of_process();
    let named = environment.get("OUST_TEST_POSTGRES_CA").map(std::path::PathBuf::from);
    named.expect("OUST_TEST_POSTGRES_CA names the authority of the server: `eval \"$(tests/servers postgres)\"`")
}

#[tokio::test]
async fn the_server_is_who_its_certificate_says_or_nothing_is_sent() {
    let place = Place::new().await;
    let open = async |change: &dyn Fn(&mut Config), url: String| {
        let mut config = Config::parse(&url).expect("a URL");
        change(&mut config);
        Postgres::open(&config, Access::Write).await
    };
    let with = |mode: &str| place.url.replace("sslmode=disable", &format!("sslmode={mode}"));
    let trusting = |config: &mut Config| config.ca = Some(authority());
    let encrypted = async || {
        let query =
            "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = $1";
        let row = place.sql().await.query_one(query, &[&place.schema]).await.expect("asks");
        row.get::<_, Option<bool>>(0)
    };
    for (mode, change) in [("require", &(|_: &mut Config| ()) as &dyn Fn(&mut Config)), ("verify-full", &trusting)] {
        let store = open(change, with(mode)).await.expect("opens");
        assert_eq!(store.figures(at(0)).await.expect("counts").queue_depth, 0);
        assert_eq!(encrypted().await, Some(true), "{mode}");
    }
    let refused = async |change: &dyn Fn(&mut Config), url: String| match open(change, url).await {
        Err(Error::Unusable(text)) => assert!(text.contains("check sslmode, and `ca`"), "{text}"),
        other => panic!("{other:?}"),
    };
    refused(&|_| (), with("verify-full")).await;
    refused(&|config| config.ca = Some(authority().with_file_name("other.pem")), with("verify-full")).await;
    refused(&|config| config.ca = Some(authority().with_file_name("other.pem")), with("require")).await;
    refused(&trusting, with("verify-full").replace("@127.0.0.1:", "@localhost:")).await;
    let no_pem = open(&|config| config.ca = Some(authority().with_file_name("password")), with("verify-full")).await;
    assert!(matches!(&no_pem, Err(Error::Unusable(text)) if text.contains("no authority's certificate")), "{no_pem:?}");
}
