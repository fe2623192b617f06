//! What every store must do for the sign-in: each consumption has one winner, and nothing half-done stays behind.

use std::any::Any;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use oust::domain::TaskId;
use oust::domain::reviewer::{Account, How, Proof, Session, Shown, Wanted};
use oust::domain::task::{Role, Verdict};
use oust::store::reviewers::{Challenge, Change, Credential, Invite, Purpose, Reviewers};
use oust::store::sqlite::{Options, Sqlite};
use oust::store::{Batch, Error, Lane, Op};
use serde_json::json;
use uuid::Uuid;

use crate::support::postgres::Place;

macro_rules! contract {
    ($backend:ident = $open:expr) => {
        contract!($backend = $open;
            a_reviewer_is_added_once_found_by_everything_and_edited_while_live,
            an_account_elsewhere_is_one_persons,
            an_invitation_is_used_once_and_in_time,
            a_challenge_is_used_once_and_in_time_by_one_of_fifty,
            a_counter_only_grows,
            a_session_is_found_until_it_or_its_reviewer_ends,
            a_session_that_ended_is_not_changed_and_nothing_is_written_that_needs_it,
            a_disabled_reviewer_cannot_slip_into_a_session,
            a_spent_challenge_takes_the_whole_batch_with_it,
            a_proof_reads_back_as_it_was_written,
            text_from_outside_poisons_nothing,
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

contract!(embedded = super::embedded);
contract!(postgres = super::shared);

type Opened = (Arc<dyn Reviewers>, Box<dyn Any + Send>);

async fn embedded() -> Opened {
    let dir = tempfile::tempdir().expect("a folder");
    (Sqlite::open(dir.path().join("oust.db"), Options::default()).expect("opens"), Box::new(dir))
}

async fn shared() -> Opened {
    let place = Place::new().await;
    (place.open().await, Box::new(place))
}

fn at(seconds: i64) -> Timestamp {
    "2026-11-22T10:00:00.123456Z".parse::<Timestamp>().expect("an instant") + SignedDuration::from_secs(seconds)
}

async fn commit(store: &Arc<dyn Reviewers>, changes: Vec<Change>) -> Result<(), Error> {
    let ops = changes.into_iter().map(Op::from).collect();
    store.commit(Lane::Other, Batch { expect: None, ops }).await
}

fn account(name: &str) -> Account {
    Account {
        id: name.parse().expect("a name"),
        handle: Uuid::new_v4(),
        display_name: "Ada \u{202e}<b>".into(),
        roles: vec![Role::Viewer, Role::Approver],
        groups: vec!["on-call".into()],
        linked: Vec::new(),
        created_at: at(0),
        disabled_at: None,
    }
}

async fn ada(store: &Arc<dyn Reviewers>) -> Account {
    let account = account("ada");
    commit(store, vec![Change::AddReviewer(Box::new(account.clone()))]).await.expect("added");
    account
}

fn session(account: &Account) -> Session {
    Session {
        reviewer: account.id.clone(),
        created_at: at(0),
        used_at: at(0),
        proved_at: at(0),
        how: How::Passkey { credential: "c".into() },
        aal2: true,
        roles: vec![Role::Admin],
        groups: vec!["leads".into()],
        told_at: None,
    }
}

fn challenge(id: &str) -> Challenge {
    Challenge {
        id: id.into(),
        purpose: Purpose::SignIn,
        reviewer: None,
        browser: "b".into(),
        state: json!({ "any": [1, 2] }),
        created_at: at(0),
        expires_at: at(300),
        used_at: None,
    }
}

fn credential(account: &Account, id: &str) -> Credential {
    Credential {
        id: id.into(),
        reviewer: account.id.clone(),
        name: "Phone".into(),
        counter: 5,
        passkey: json!({ "cred": 1 }),
        created_at: at(0),
        used_at: None,
        disabled_at: None,
        disabled_reason: None,
    }
}

fn spent(result: Result<(), Error>) -> bool {
    matches!(result, Err(Error::Spent(_)))
}

async fn a_reviewer_is_added_once_found_by_everything_and_edited_while_live(store: Arc<dyn Reviewers>) {
    let mut account = ada(&store).await;
    let again = commit(&store, vec![Change::AddReviewer(Box::new(self::account("ada")))]).await;
    assert!(matches!(again, Err(Error::Taken(_))), "{again:?}");
    assert_eq!(store.reviewer(&account.id).await.expect("a read"), Some(account.clone()));
    assert_eq!(store.reviewer_by_handle(account.handle).await.expect("a read"), Some(account.clone()));
    assert_eq!(store.reviewer_by_handle(Uuid::nil()).await.expect("a read"), None);
    account.roles = vec![Role::Admin];
    commit(&store, vec![Change::EditReviewer(Box::new(account.clone()))]).await.expect("edited");
    commit(&store, vec![Change::AddReviewer(Box::new(self::account("aaron")))]).await.expect("added");
    let names: Vec<String> =
        store.reviewers().await.expect("a read").into_iter().map(|one| one.id.to_string()).collect();
    assert_eq!(names, ["aaron", "ada"]);
    let end = Change::Disable { reviewer: account.id.clone(), at: at(9) };
    commit(&store, vec![end.clone()]).await.expect("disabled");
    assert!(spent(commit(&store, vec![end]).await));
    assert!(spent(commit(&store, vec![Change::EditReviewer(Box::new(account.clone()))]).await));
    let found = store.reviewer(&account.id).await.expect("a read").expect("kept");
    assert_eq!((found.disabled_at, found.roles), (Some(at(9)), vec![Role::Admin]));
}

async fn an_account_elsewhere_is_one_persons(store: Arc<dyn Reviewers>) {
    let account = ada(&store).await;
    let bob = self::account("bob");
    commit(&store, vec![Change::AddReviewer(Box::new(bob.clone()))]).await.expect("added");
    let link = |reviewer: &Account| Change::Link {
        issuer: "https://idp.example".into(),
        subject: "7".into(),
        reviewer: reviewer.id.clone(),
    };
    commit(&store, vec![link(&account)]).await.expect("linked");
    let theft = commit(&store, vec![link(&bob)]).await;
    assert!(matches!(theft, Err(Error::Taken(_))), "{theft:?}");
    let found = store.reviewer_by_account("https://idp.example", "7").await.expect("a read");
    assert_eq!(found.as_ref(), Some(&account));
    assert_eq!(store.reviewer_by_account("https://other.example", "7").await.expect("a read"), None);
    commit(&store, vec![Change::Disable { reviewer: account.id.clone(), at: at(5) }]).await.expect("ended");
    let found = store.reviewer_by_account("https://idp.example", "7").await.expect("a read").expect("still known");
    assert!(found.id == account.id && !found.is_live(), "they cannot come back by it: {found:?}");
    commit(&store, vec![link(&bob)]).await.expect("passed on");
    let found = store.reviewer_by_account("https://idp.example", "7").await.expect("a read");
    assert_eq!(found, Some(bob));
}

async fn an_invitation_is_used_once_and_in_time(store: Arc<dyn Reviewers>) {
    let account = ada(&store).await;
    let invite = |hash: &str| Invite {
        hash: hash.into(),
        reviewer: account.id.clone(),
        by: "operator:ada".into(),
        created_at: at(0),
        expires_at: at(900),
        used_at: None,
    };
    let put = vec![Change::PutInvite(Box::new(invite("one"))), Change::PutInvite(Box::new(invite("two")))];
    commit(&store, put).await.expect("written");
    let use_it = |hash: &str, seconds| Change::UseInvite { hash: hash.into(), at: at(seconds) };
    assert!(spent(commit(&store, vec![use_it("one", 900)]).await), "at the very instant of its end");
    commit(&store, vec![use_it("one", 899)]).await.expect("used");
    assert!(spent(commit(&store, vec![use_it("one", 899)]).await));
    assert!(spent(commit(&store, vec![use_it("none", 1)]).await));
    let found = store.invite("one").await.expect("a read").expect("there");
    assert_eq!(found, Invite { used_at: Some(at(899)), ..invite("one") });
    commit(&store, vec![Change::Disable { reviewer: account.id.clone(), at: at(5) }]).await.expect("disabled");
    assert!(spent(commit(&store, vec![use_it("two", 6)]).await), "ended with its reviewer");
}

async fn a_challenge_is_used_once_and_in_time_by_one_of_fifty(store: Arc<dyn Reviewers>) {
    commit(&store, vec![Change::PutChallenge(Box::new(challenge("x")))]).await.expect("written");
    assert_eq!(store.challenge("x").await.expect("a read"), Some(challenge("x")));
    let late = Change::UseChallenge { id: "x".into(), at: at(300) };
    assert!(spent(commit(&store, vec![late]).await));
    let tries = (0..50).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { commit(&store, vec![Change::UseChallenge { id: "x".into(), at: at(1) }]).await })
    });
    let mut won = 0;
    for one in tries.collect::<Vec<_>>() {
        match one.await.expect("no panic") {
            Ok(()) => won += 1,
            Err(Error::Spent(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(store.challenge("x").await.expect("a read").and_then(|one| one.used_at), Some(at(1)));
    let fresh = Challenge { created_at: at(200_000), expires_at: at(200_300), ..challenge("y") };
    commit(&store, vec![Change::PutChallenge(Box::new(fresh))]).await.expect("written");
    assert_eq!(store.challenge("x").await.expect("a read"), None, "a day later it is forgotten");
}

async fn a_counter_only_grows(store: Arc<dyn Reviewers>) {
    let account = ada(&store).await;
    let one = credential(&account, "k");
    commit(&store, vec![Change::AddCredential(Box::new(one.clone()))]).await.expect("added");
    let twice = commit(&store, vec![Change::AddCredential(Box::new(one.clone()))]).await;
    assert!(matches!(twice, Err(Error::Taken(_))), "{twice:?}");
    let used = |counter| Change::UseCredential { id: "k".into(), counter, passkey: json!({ "cred": 2 }), at: at(7) };
    for stale in [5, 4, 0] {
        assert!(spent(commit(&store, vec![used(stale)]).await), "{stale}");
    }
    commit(&store, vec![used(6)]).await.expect("used");
    let found = store.credential("k").await.expect("a read").expect("there");
    assert_eq!((found.counter, found.used_at, &found.passkey), (6, Some(at(7)), &json!({ "cred": 2 })));
    let zero = Credential { counter: 0, ..credential(&account, "z") };
    commit(&store, vec![Change::AddCredential(Box::new(zero))]).await.expect("added");
    for _ in 0..2 {
        let used = Change::UseCredential { id: "z".into(), counter: 0, passkey: json!({}), at: at(7) };
        commit(&store, vec![used]).await.expect("it does not count");
    }
    let disable = |reviewer: &str| Change::DisableCredential {
        id: "k".into(),
        reviewer: reviewer.parse().expect("a name"),
        at: at(8),
        reason: "lost".into(),
    };
    assert!(spent(commit(&store, vec![disable("bob")]).await), "not his");
    commit(&store, vec![disable("ada")]).await.expect("disabled");
    assert!(spent(commit(&store, vec![used(7)]).await));
    let all = store.credentials_of(&account.id).await.expect("a read");
    assert_eq!(all.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["k", "z"]);
    assert_eq!(all[0].disabled_reason.as_deref(), Some("lost"));
}

async fn a_session_is_found_until_it_or_its_reviewer_ends(store: Arc<dyn Reviewers>) {
    let account = ada(&store).await;
    let put = |hash: &str| Change::PutSession { hash: hash.into(), session: Box::new(session(&account)) };
    commit(&store, vec![put("a"), put("b"), put("c")]).await.expect("written");
    let (found, of) = store.session("a").await.expect("a read").expect("there");
    assert_eq!((found, of), (session(&account), account.clone()));
    assert_eq!(store.sessions_of(&account.id).await.expect("a read"), vec![session(&account); 3]);
    assert_eq!(store.sessions_of(&"nobody".parse().expect("a name")).await.expect("a read"), []);
    commit(&store, vec![Change::TouchSession { hash: "a".into(), at: at(60) }]).await.expect("touched");
    commit(&store, vec![Change::TouchSession { hash: "a".into(), at: at(30) }]).await.expect("a late one is no error");
    assert_eq!(store.session("a").await.expect("a read").map(|(one, _)| one.used_at), Some(at(60)));
    commit(&store, vec![Change::EndSession { hash: "a".into(), at: at(61) }]).await.expect("ended");
    assert!(spent(commit(&store, vec![Change::EndSession { hash: "a".into(), at: at(62) }]).await));
    assert!(store.session("a").await.expect("a read").is_none());
    let others = Change::EndSessionsOf { reviewer: account.id.clone(), except: Some("b".into()), at: at(63) };
    commit(&store, vec![others]).await.expect("ended");
    assert!(store.session("b").await.expect("a read").is_some() && store.session("c").await.expect("a read").is_none());
    commit(&store, vec![Change::Disable { reviewer: account.id.clone(), at: at(64) }]).await.expect("disabled");
    assert!(store.session("b").await.expect("a read").is_none());
}

async fn a_session_that_ended_is_not_changed_and_nothing_is_written_that_needs_it(store: Arc<dyn Reviewers>) {
    let account = ada(&store).await;
    let put = |hash: &str| Change::PutSession { hash: hash.into(), session: Box::new(session(&account)) };
    commit(&store, vec![put("one"), put("two")]).await.expect("written");
    let lives = |hash: &str| Change::SessionLives(hash.into());
    let edited = Session { roles: vec![Role::Viewer], groups: Vec::new(), ..session(&account) };
    let edit = Change::EditSession { hash: "one".into(), session: Box::new(edited.clone()) };
    commit(&store, vec![lives("one"), edit.clone()]).await.expect("it lives");
    assert_eq!(store.session("one").await.expect("a read").expect("there").0, edited);
    commit(&store, vec![Change::EndSession { hash: "one".into(), at: at(1) }]).await.expect("ended");
    for spent in [lives("one"), edit, lives("never")] {
        let refused = commit(&store, vec![Change::EndSession { hash: "two".into(), at: at(2) }, spent]).await;
        assert!(matches!(refused, Err(Error::Spent(_))), "{refused:?}");
    }
    assert!(store.session("two").await.expect("a read").is_some(), "nothing of it was written");
    commit(&store, vec![Change::Disable { reviewer: account.id.clone(), at: at(3) }]).await.expect("ended");
    assert!(matches!(commit(&store, vec![lives("two")]).await, Err(Error::Spent(_))));
}

async fn a_disabled_reviewer_cannot_slip_into_a_session(store: Arc<dyn Reviewers>) {
    for round in 0..20 {
        let account = self::account(&format!("r{round}"));
        commit(&store, vec![Change::AddReviewer(Box::new(account.clone()))]).await.expect("added");
        let (left, right) = (Arc::clone(&store), Arc::clone(&store));
        let (reviewer, hash) = (account.id.clone(), format!("s{round}"));
        let begin = vec![
            Change::IsLive(account.id.clone()),
            Change::PutSession { hash: hash.clone(), session: Box::new(session(&account)) },
        ];
        let begin = tokio::spawn(async move { commit(&left, begin).await });
        let end = tokio::spawn(async move { commit(&right, vec![Change::Disable { reviewer, at: at(1) }]).await });
        let (begun, ended) = (begin.await.expect("no panic"), end.await.expect("no panic"));
        ended.expect("disabled");
        assert!(begun.is_ok() || spent(begun), "one or the other");
        assert!(store.session(&hash).await.expect("a read").is_none(), "whoever was first");
    }
}

async fn a_spent_challenge_takes_the_whole_batch_with_it(store: Arc<dyn Reviewers>) {
    let account = ada(&store).await;
    commit(&store, vec![Change::PutChallenge(Box::new(challenge("x")))]).await.expect("written");
    let use_it = || Change::UseChallenge { id: "x".into(), at: at(1) };
    commit(&store, vec![use_it()]).await.expect("used");
    let before = store.picture().await.expect("a picture");
    let put = Change::PutSession { hash: "a".into(), session: Box::new(session(&account)) };
    assert!(spent(commit(&store, vec![put, use_it()]).await));
    assert_eq!(store.picture().await.expect("a picture"), before);
}

async fn a_proof_reads_back_as_it_was_written(store: Arc<dyn Reviewers>) {
    let task = TaskId::new(Uuid::from_u128(7));
    let wanted = Wanted {
        task,
        revision: 3,
        verdict: Verdict::Approve,
        digest: "ab".repeat(32).parse().expect("a digest"),
        reason: Some("asked them on the phone".into()),
        recipient_key: Some("key".into()),
    };
    let proof = Proof {
        challenge: "x".into(),
        reviewer: "ada".parse().expect("a name"),
        at: at(4),
        wanted,
        shown_by: Shown::Passkey {
            credential: "c".into(),
            public_key: json!({ "type_": "ES256" }),
            nonce: "n".into(),
            rp_id: "oust.contoso.example".into(),
            authenticator_data: "a".into(),
            client_data: "d".into(),
            signature: "s".into(),
        },
    };
    commit(&store, vec![Change::PutProof(Box::new(proof.clone()))]).await.expect("written");
    assert!(
        spent(commit(&store, vec![Change::PutProof(Box::new(proof.clone()))]).await),
        "once per challenge and task"
    );
    assert_eq!(store.proofs_of(task).await.expect("a read"), [proof]);
    assert_eq!(store.proofs_of(TaskId::new(Uuid::nil())).await.expect("a read"), []);
}

async fn text_from_outside_poisons_nothing(store: Arc<dyn Reviewers>) {
    let account = ada(&store).await;
    let nasty = "'; DROP TABLE sessions; --\u{0}\u{202e}\n";
    let link = Change::Link { issuer: nasty.into(), subject: nasty.into(), reviewer: account.id.clone() };
    commit(&store, vec![link]).await.expect("text is text");
    assert!(store.reviewer_by_account(nasty, "7").await.expect("a read").is_none());
    for hash in [nasty, "", &"x".repeat(10_000)] {
        assert!(store.session(hash).await.expect("a read").is_none());
        assert!(store.challenge(hash).await.expect("a read").is_none());
        assert!(store.invite(hash).await.expect("a read").is_none());
        assert!(store.credential(hash).await.expect("a read").is_none());
    }
}
