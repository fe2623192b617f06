//! Every page in every state.

use jiff::{SignedDuration, Timestamp};
use oust::domain::task::{Changed, Forbidden, Kind, Order, Progress, Refused, Role, State, Task, Verdict};
use oust::domain::{BuriedId, DeliveryId};
use oust::http::console::view::audit::{AuditPage, AuditView, Chain};
use oust::http::console::view::buried::{BuriedDetail, BuriedLine, BuriedPage, BuriedView};
use oust::http::console::view::case::{CasePage, CaseView};
use oust::http::console::view::error::{ErrorPage, ErrorView};
use oust::http::console::view::evidence::Known;
use oust::http::console::view::home::{CaseLine, HomeFilter, HomePage, HomeView};
use oust::http::console::view::overview::{CountedFacts, OverviewFacts, OverviewPage, OverviewView, SourceFacts};
use oust::http::console::view::playbooks::{Differing, PlaybookCard, PlaybooksPage, PlaybooksView, Written};
use oust::http::console::view::settings::{
    PasskeyLine, ReviewerFacts, ReviewerLine, SettingsPage, SettingsView, TenantLine,
};
use oust::http::console::view::sign_in::{EnrolPage, EnrolState, EnrolView, SignInPage, SignInView};
use oust::http::console::view::task::{Held, Parked, TaskPage, TaskView};
use oust::http::console::view::tasks::{Shown, TaskLine, TasksPage, TasksView};
use oust::http::console::view::{Page, Section, Shell};
use oust::store::{Buried, BuriedState, Figures, Settled};
use serde_json::json;
use uuid::Uuid;

use super::sample::{self, at, case, eye, names, now, person, reset, reviewer, signals, task_id, vote};

/// One rendered page.
pub struct Shot {
    pub name: &'static str,
    pub html: String,
    /// The live region alone, where the page has one.
    pub live: Option<String>,
    pub status: String,
}

fn shot(name: &'static str, page: &dyn Page) -> Shot {
    let html = page.html().expect("a page renders");
    let live = page.fragment("live").expect("a region renders").expect("every page has this block");
    let status = page.fragment("status").expect("a region renders").expect("every page has this block");
    assert!(page.fragment("other").expect("no region").is_none());
    Shot { name, html, live: Some(live).filter(|live| live.contains("data-live")), status }
}

fn shell(section: Section) -> Shell {
    let mut shell = Shell::of(section, "Grace Hopper", Role::Approver, "csrf-token", now());
    (shell.tasks, shell.buried) = (3, 1);
    shell
}

pub fn gallery() -> Vec<Shot> {
    let mut shots = Vec::new();
    homes(&mut shots);
    tasks(&mut shots);
    task_states(&mut shots);
    task_kinds(&mut shots);
    cases(&mut shots);
    lists(&mut shots);
    overviews(&mut shots);
    settings(&mut shots);
    outside(&mut shots);
    errors(&mut shots);
    shots
}

fn known(name: &str, upn: &str) -> Known {
    let (row, journal, plan) = (sample::run_row(0), sample::journal(&sample::user(name, upn)), sample::plan());
    Known::of(&signals(upn, "Impossible travel activity"), &[sample::facts(&row, &journal, Some(&plan))], now())
}

fn ada() -> Known {
    known("Ada Lovelace", "ada@contoso.example")
}

fn hostile() -> Vec<(String, String)> {
    vec![
        ("<script>alert(1)</script>".into(), "\"><img src=x onerror=alert(1)>@contoso.example".into()),
        ("\u{202E}gnp.exe\u{2066} \u{200B}Ada\u{0}\r\nBcc: x".into(), "rtl@contoso.example".into()),
        ("A".repeat(10_000), format!("{}@contoso.example", "B".repeat(10_000))),
        ("👩‍🚀🏳️‍🌈 محمد عبد الله אברהם".into(), "emoji@contoso.example".into()),
        ("{{ 7 * 7 }} {% include \"x\" %} ' onfocus=alert(1) autofocus x='".into(), "x@contoso.example".into()),
    ]
}

fn homes(shots: &mut Vec<Shot>) {
    let tenants = ["contoso".to_owned(), "fabrikam".to_owned()];
    let bare = Known::default();
    let states = [
        "contained",
        "open",
        "revoke_accepted",
        "not_contained",
        "not_contained_guest",
        "parked",
        "password_unchanged",
    ];
    let mut rows: Vec<CaseLine> = states
        .iter()
        .zip(0..)
        .map(|(state, n)| {
            CaseLine::of(&case(n, state), if n % 3 == 2 { &bare } else { &ADA_KNOWN }, &[reset(n)], now())
        })
        .collect();
    rows[0].task = None;
    let mut parked = case(5, "parked");
    parked.detail["parked"] = json!("blast_radius");
    let release = sample::task(4, Kind::Release, Vec::new());
    rows[5] = CaseLine::of(&parked, &ADA_KNOWN, &[], now()).released_by(&parked, Some(&release), now());
    let view = HomeView::of(HomeFilter::default(), rows, Some("cursor="), &tenants, false);
    shots.push(shot("home", &HomePage { shell: &shell(Section::Home), view: &view }));
    let paused =
        shell(Section::Home).paused("operator:root", Some("change freeze until 16:00"), at("2026-11-22T13:58:00Z"));
    let paused = Shell { shadow: true, demo: true, ..paused };
    shots.push(shot("home-paused-shadow", &HomePage { shell: &paused, view: &view }));
    let empty = HomeView::of(HomeFilter::default(), Vec::new(), None, &tenants, false);
    shots.push(shot("home-empty", &HomePage { shell: &shell(Section::Home), view: &empty }));
    let first = HomeView::of(HomeFilter::default(), Vec::new(), None, &tenants, true);
    shots.push(shot("home-untouched", &HomePage { shell: &shell(Section::Home), view: &first }));
    let filter = HomeFilter { q: "\"><script>".into(), risk: "high".into(), ..HomeFilter::default() };
    let none = HomeView::of(filter, Vec::new(), None, &tenants, false);
    shots.push(shot("home-nothing-found", &HomePage { shell: &shell(Section::Home), view: &none }));
    let line =
        |(name, upn): &(String, String)| CaseLine::of(&case(0, "contained"), &known(name, upn), &[reset(1)], now());
    let rows = hostile().iter().map(line).collect();
    let view = HomeView::of(HomeFilter::default(), rows, None, &tenants, false);
    shots.push(shot("home-hostile", &HomePage { shell: &shell(Section::Home), view: &view }));
    let full = (0..50).map(|n| CaseLine::of(&case(n, "contained"), &ADA_KNOWN, &[reset(n)], now())).collect();
    let view = HomeView::of(HomeFilter::default(), full, Some("more"), &tenants, false);
    shots.push(shot("home-full", &HomePage { shell: &shell(Section::Home), view: &view }));
}

static ADA_KNOWN: std::sync::LazyLock<Known> = std::sync::LazyLock::new(ada);

fn tasks(shots: &mut Vec<Shot>) {
    let (me, names) = (reviewer("grace", 2, Role::Approver), names());
    let eye = eye(Some(&me), &names);
    let line = |task: &Task| TaskLine::of(task, &ADA_KNOWN, eye);
    let mut manual = sample::task(3, Kind::Manual, Vec::new());
    manual.title = "Check authentication methods and devices".into();
    let mut release = sample::task(4, Kind::Release, Vec::new());
    (release.title, release.identity) = ("Release 412 parked revocations".into(), None);
    release.policy.decide_within = None;
    let soft = sample::task(5, Kind::Approval, vec![sample::row("disable_inbox_rules", false, Progress::Waiting)]);
    let sealed = sealed_task();
    let unknown = sample::approved(
        Progress::Unknown { at: now(), fence: 1, sealed: true },
        State::Unknown { at: now(), step: "reset_password".into() },
    );
    let rows = [&manual, &reset(1), &release, &soft, &sealed, &unknown].map(line).into();
    let view = TasksView::of(rows, Shown::Open, Some("x"), "");
    assert!(view.rows[0].mine_waits, "one's own waiting password comes first");
    shots.push(shot("tasks", &TasksPage { shell: &shell(Section::Tasks), view: &view }));
    let empty = TasksView::of(Vec::new(), Shown::Open, None, "");
    shots.push(shot("tasks-empty", &TasksPage { shell: &shell(Section::Tasks), view: &empty }));
    let full = (0..50)
        .map(|n| line(&sample::task(n, Kind::Approval, vec![sample::row("dismiss_risk", false, Progress::Waiting)])));
    let view = TasksView::of(full.collect(), Shown::All, None, "x");
    shots.push(shot("tasks-full", &TasksPage { shell: &shell(Section::Tasks), view: &view }));
}

fn sealed_task() -> Task {
    let (since, until) = (at("2026-11-22T14:06:02Z"), Some(at("2026-11-22T14:21:00Z")));
    let progress = Progress::Sealed { at: since, until };
    sample::approved(progress, State::Sealed { at: since, step: "reset_password".into(), until })
}

fn push_task(shots: &mut Vec<Shot>, name: &'static str, task: &Task, me: Option<(&str, u128, Role)>) {
    let (me, names) = (me.map(|(id, number, role)| reviewer(id, number, role)), names());
    let view = TaskView::of(task, ada(), Some("soc-teams, pager"), eye(me.as_ref(), &names));
    shots.push(shot(name, &TaskPage { shell: &shell(Section::Tasks), view: &view }));
}

const GRACE: Option<(&str, u128, Role)> = Some(("grace", 2, Role::Approver));

fn task_states(shots: &mut Vec<Shot>) {
    let when = at("2026-11-22T14:06:30Z");
    let by = || vec!["grace".to_owned()];
    let execute_by = Some(at("2026-11-22T14:36:00Z"));
    let step = || "reset_password".to_owned();
    let plain = |state: State| Task { state, ..reset(1) };
    let skipped = |state| sample::approved(Progress::Skipped { at: when }, state);
    let denied = State::Denied { at: when, by: by(), reason: Some("It was her, from the airport.".into()) };
    let failure = || Progress::Failed { at: when, reason: "the service said no".into(), may_retry: true };
    let all: Vec<(&'static str, Task)> = vec![
        ("task-pending", reset(1)),
        ("task-escalated", plain(State::Escalated { at: when })),
        ("task-approved", sample::approved(Progress::Waiting, State::Approved { at: when, by: by(), execute_by })),
        ("task-denied", plain(denied)),
        ("task-expired", plain(State::Expired { at: when })),
        (
            "task-cancelled",
            plain(State::Cancelled { at: when, by: "precondition".into(), reason: "the account was disabled".into() }),
        ),
        ("task-revoked", skipped(State::Revoked { at: when, by: by(), reason: "she called back".into() })),
        ("task-lapsed", skipped(State::Lapsed { at: when })),
        (
            "task-claimed",
            sample::approved(
                Progress::Claimed { at: when, fence: 1, sealed: true },
                State::Claimed { at: when, step: step(), fence: 1 },
            ),
        ),
        ("task-executed", sample::approved(Progress::Executed { at: when }, State::Executed { at: when, by: by() })),
        (
            "task-failed",
            sample::approved(
                failure(),
                State::Failed { at: when, reason: "the service said no".into(), may_retry: true },
            ),
        ),
        (
            "task-unknown",
            sample::approved(
                Progress::Unknown { at: when, fence: 1, sealed: true },
                State::Unknown { at: when, step: step() },
            ),
        ),
        ("task-sealed", sealed_task()),
        ("task-revealed", sample::approved(Progress::Revealed { at: when }, State::Revealed { at: when })),
        (
            "task-reveal_expired",
            sample::approved(Progress::RevealExpired { at: when }, State::RevealExpired { at: when }),
        ),
    ];
    for (name, mut task) in all {
        // Alan did not vote: what he may do is what the state allows.
        let me = if matches!(name, "task-pending" | "task-escalated" | "task-approved" | "task-failed") {
            ("alan", 3, Role::Approver)
        } else {
            ("grace", 2, Role::Approver)
        };
        if name == "task-failed" {
            task.rows[0].progress = Progress::Waiting;
        }
        push_task(shots, name, &task, Some(me));
    }
    let waiting = sample::approved(Progress::Waiting, State::Approved { at: when, by: by(), execute_by });
    push_task(shots, "task-approved-mine", &waiting, Some(("grace", 2, Role::Approver)));
    let names = names();
    let grace = reviewer("grace", 2, Role::Approver);
    for (name, held) in [
        ("task-held-pause", Held::paused()),
        ("task-held-release", Held::parked(Some(&sample::task(4, Kind::Release, Vec::new())), sample::case_id(0))),
    ] {
        let mut view = TaskView::of(&waiting, ada(), Some("soc-teams, pager"), eye(Some(&grace), &names));
        view.held = Some(held);
        shots.push(shot(name, &TaskPage { shell: &shell(Section::Tasks), view: &view }));
    }
    push_task(shots, "task-sealed-other", &sealed_task(), Some(("alan", 3, Role::Approver)));
}

fn task_kinds(shots: &mut Vec<Shot>) {
    let mut busy = reset(1);
    busy.newer = 2;
    busy.policy.approve = 2;
    vote(&mut busy, "edith", Verdict::Approve);
    push_task(shots, "task", &busy, GRACE);
    push_task(shots, "task-viewer", &busy, Some(("vera", 4, Role::Viewer)));
    push_task(shots, "task-subject", &busy, Some(("ada", sample::ADA, Role::Approver)));
    push_task(shots, "task-voted", &busy, Some(("edith", 5, Role::Approver)));
    let mut shadow = reset(1);
    shadow.shadow = true;
    push_task(shots, "task-shadow", &shadow, GRACE);
    let mut manual = sample::task(3, Kind::Manual, Vec::new());
    manual.title = "Reset the password in Active Directory".into();
    manual.instructions = Some("This person is mastered in Active Directory; Entra refuses a password from here.\n1. Disable the account or keep it in sight.\n2. Reset the password twice, with \"user must change password at next logon\".\n3. Wait for (or start) a sync.\n4. Report this done: oust revokes the sessions again.".into());
    push_task(shots, "task-manual", &manual, GRACE);
    let (partial, by_hand) = sample::taken_over();
    let (me, names) = (reviewer("grace", 2, Role::Approver), names());
    let mut view = TaskView::of(&partial, ada(), None, eye(Some(&me), &names));
    view.goes_on_by_hand(&[("reset_password".into(), by_hand)]);
    shots.push(shot("task-by-hand", &TaskPage { shell: &shell(Section::Tasks), view: &view }));
    let done = State::Executed { at: now(), by: vec!["grace".into()] };
    push_task(shots, "task-manual-done", &Task { state: done, ..manual }, GRACE);
    let mut release = sample::task(4, Kind::Release, Vec::new());
    (release.title, release.identity) = ("Release parked revocations in contoso".into(), None);
    release.instructions =
        Some("More people than guards.blast_radius allows (500 per 10 min): 412 people wait.".into());
    push_release(shots, &release);
    let mut held = sample::task(5, Kind::Held, Vec::new());
    (held.title, held.identity) = ("Somebody is at risk, but nobody can be named".into(), None);
    held.instructions = Some("The alert named \u{202E}<b>ADMINISTRATOR</b>, which is no person.".into());
    push_task(shots, "task-held", &held, GRACE);
    let mut undecided =
        sample::task(6, Kind::Undecided, vec![sample::row("disable_inbox_rules", false, Progress::Waiting)]);
    undecided.title = "Could not decide disable_inbox_rules: run or skip".into();
    undecided.instructions = Some(
        "Could not decide: collect.read_inbox_rules is missing; run or skip. Approve runs the step, deny skips it."
            .into(),
    );
    push_task(shots, "task-undecided", &undecided, GRACE);
    for (name, (who, upn)) in ["task-hostile", "task-hostile-rtl", "task-hostile-long"].into_iter().zip(hostile()) {
        let mut task = reset(1);
        task.instructions = Some(format!("{who}\n{upn}"));
        task.rows[0].params = json!({ &who: upn, "b": [who], "c": { "d": who } });
        vote(&mut task, &who, Verdict::Approve);
        let view = TaskView::of(&task, known(&who, &upn), Some(&who), eye(None, &names));
        shots.push(shot(name, &TaskPage { shell: &shell(Section::Tasks), view: &view }));
    }
}

fn push_release(shots: &mut Vec<Shot>, release: &Task) {
    let (me, names) = (reviewer("grace", 2, Role::Approver), names());
    let parked: Vec<_> = (0..40).map(|number| case(number, "parked")).collect();
    let told = parked.iter().map(|case| (case.id, signals("ada@contoso.example", "Impossible travel activity")));
    let mut view = TaskView::of(release, Known::default(), None, eye(Some(&me), &names));
    view.parked = Some(Parked::of(&parked, false, &told.collect(), now()));
    shots.push(shot("task-release", &TaskPage { shell: &shell(Section::Tasks), view: &view }));
}

fn push_case(
    shots: &mut Vec<Shot>,
    name: &'static str,
    state: &str,
    upn: (&str, &str),
    change: impl Fn(&mut oust::store::CaseRow),
) {
    let (me, names) = (reviewer("grace", 2, Role::Approver), names());
    let mut row = case(0, state);
    change(&mut row);
    let (run, mut journal, plan) = (sample::run_row(0), sample::journal(&sample::user(upn.0, upn.1)), sample::plan());
    if row.revoke_accepted_at.is_none() {
        journal.truncate(2);
    }
    let view = CaseView::of(
        &row,
        &signals(upn.1, upn.0),
        &[sample::facts(&run, &journal, Some(&plan))],
        &[reset(1)],
        (&sample::audit(), &offers(run.id)),
        eye(Some(&me), &names),
    );
    shots.push(shot(name, &CasePage { shell: &shell(Section::Home), view: &view }));
}

fn offers(run: oust::domain::RunId) -> Vec<Order> {
    let step = oust::domain::plan::StepId("reset_password".into());
    let read = oust::domain::plan::StepId("read_inbox_rules".into());
    vec![
        Order::Again { run, step: read },
        Order::Revoke,
        Order::Reset,
        Order::ConfirmCompromised,
        Order::DismissRisk,
        Order::Skip { run, step },
        Order::Cancel { run },
        Order::Close,
    ]
}

fn cases(shots: &mut Vec<Shot>) {
    let ada = ("Ada Lovelace", "ada@contoso.example");
    push_case(shots, "case", "contained", ada, |_| {});
    push_case(shots, "case-open", "open", ada, |_| {});
    push_case(shots, "case-guest", "not_contained_guest", ada, |_| {});
    push_case(shots, "case-unchanged", "password_unchanged", ada, |_| {});
    push_case(shots, "case-reset", "contained", ada, |row| row.detail["reset_at"] = json!("2026-02-01T10:00:00Z"));
    push_case(shots, "case-shadow", "open", ada, |row| row.mode = oust::domain::run::Mode::Shadow);
    push_case(shots, "case-again", "contained", ada, |row| {
        row.last_revoke_at = Some(at("2026-11-22T14:08:00Z"));
    });
    push_case(shots, "case-parked", "parked", ada, |row| row.detail["parked"] = json!("blast_radius"));
    push_case(shots, "case-paused", "parked", ada, |row| row.detail["parked"] = json!("paused"));
    push_case(shots, "case-nobody", "not_contained", ada, |row| row.detail["nobody"] = json!(true));
    many(shots);
    push_case(shots, "case-closed", "closed", ada, |_| {});
    for (name, (who, upn)) in ["case-hostile", "case-hostile-rtl", "case-hostile-long"].into_iter().zip(hostile()) {
        push_case(shots, name, "contained", (&who, &upn), |row| row.kinds.push(who.clone()));
    }
}

/// Many signals, a playbook behind another, and travel that only the sign-ins tell.
fn many(shots: &mut Vec<Shot>) {
    let (me, names, plan) = (reviewer("grace", 2, Role::Approver), names(), sample::plan());
    let eye = eye(Some(&me), &names);
    let journal = sample::journal(&sample::user("Ada Lovelace", "ada@contoso.example"));
    let (first, mut second) = (sample::run_row(0), sample::run_row(1));
    second.playbook = "token-theft".into();
    let runs = [sample::facts(&first, &journal, Some(&plan)), sample::facts(&second, &journal[..3], Some(&plan))];
    let view = CaseView::of(&case(0, "contained"), &sample::many(60), &runs, &[reset(1)], (&[], &[]), eye);
    shots.push(shot("case-many", &CasePage { shell: &shell(Section::Home), view: &view }));
    let mut untold = signals("ada@contoso.example", "Impossible travel activity");
    for row in &mut untold {
        row["signal"]["evidence"]["places"] = json!([]);
    }
    let view = CaseView::of(&case(0, "contained"), &untold, &runs[..1], &[reset(1)], (&[], &[]), eye);
    shots.push(shot("case-travel", &CasePage { shell: &shell(Section::Home), view: &view }));
}

fn buried(number: u128, state: BuriedState, reason: &str, content: serde_json::Value) -> Buried {
    Buried {
        id: BuriedId::new(Uuid::from_u128(number)),
        at: at("2026-11-22T13:30:00Z"),
        source: "splunk".into(),
        tenant: "contoso".parse().ok(),
        delivery: Some(DeliveryId::new(Uuid::from_u128(number))),
        reason: reason.into(),
        state,
        settled: None,
        content,
    }
}

fn lists(shots: &mut Vec<Shot>) {
    let (names, section) = (names(), shell(Section::Buried));
    let one = buried(
        1,
        BuriedState::Buried,
        "no known shape: the body has no field that names a person",
        json!("{\"result\": {\"user\": \"<script>alert(1)</script>\"}}"),
    );
    let two = buried(2, BuriedState::Replayed, "the tenant id in it is not this source's", json!({ "a": 1 }));
    let mut dropped = buried(4, BuriedState::Dropped, "no known shape", json!("{}"));
    let (by, reason) = ("reviewer:grace".into(), "a test of the forwarder".into());
    dropped.settled = Some(Settled { by, reason, at: at("2026-11-22T14:05:00Z") });
    let eye = eye(None, &names);
    let lines = [&one, &two, &dropped].map(|row| BuriedLine::of(row, eye)).into();
    let view = BuriedView::of(lines, false, Some("next"), "before", true);
    shots.push(shot("buried", &BuriedPage { shell: &section, view: &view }));
    shots.push(shot(
        "buried-empty",
        &BuriedPage { shell: &section, view: &BuriedView::of(Vec::new(), true, None, "", true) },
    ));
    shots.push(shot(
        "buried-one",
        &BuriedPage { shell: &section, view: &BuriedView::one(BuriedDetail::of(&one, eye), true) },
    ));
    shots.push(shot(
        "buried-dropped",
        &BuriedPage { shell: &section, view: &BuriedView::one(BuriedDetail::of(&dropped, eye), true) },
    ));
    let huge = buried(3, BuriedState::Buried, &"A".repeat(10_000), json!("A ".repeat(1_000_000)));
    shots.push(shot(
        "buried-huge",
        &BuriedPage { shell: &section, view: &BuriedView::one(BuriedDetail::of(&huge, eye), false) },
    ));

    let chain = Chain { to: Some(1040), last: 1044, lag: Some(SignedDuration::from_millis(800)) };
    let view = AuditView::of(&sample::audit(), chain, (Some("x"), "y"), None, eye);
    shots.push(shot("audit", &AuditPage { shell: &shell(Section::Audit), view: &view }));
    let empty = AuditView::of(&[], Chain::default(), (None, ""), None, eye);
    shots.push(shot("audit-empty", &AuditPage { shell: &shell(Section::Audit), view: &empty }));

    let plan = sample::plan();
    let runs = vec![sample::run_row(0); 3];
    let card = |source| PlaybookCard::of(&plan, "0123456789abcdef0123", source, &runs, eye);
    let rows = PlaybooksView { rows: vec![card(None), card(None)], ..PlaybooksView::default() };
    shots.push(shot("playbooks", &PlaybooksPage { shell: &shell(Section::Playbooks), view: &rows }));
    let one = PlaybooksView {
        one: Some(card(Some(Written::Folder {
            file: "/etc/oust/playbooks/impossible-travel.yaml",
            text: "name: impossible-travel\nversion: 1\n# <b>\u{202E}\n  - do: revoke_sessions\n",
        }))),
        ..PlaybooksView::default()
    };
    shots.push(shot("playbook", &PlaybooksPage { shell: &shell(Section::Playbooks), view: &one }));
    let broken =
        PlaybooksView { differing: vec![Differing::of("<b>", &"ab".repeat(32), 2, true)], ..PlaybooksView::default() };
    let broken = broken.broken("error: unknown key `do_not`\n --> token-theft.yaml:12:3\n");
    shots.push(shot("playbooks-broken", &PlaybooksPage { shell: &shell(Section::Playbooks), view: &broken }));
}

fn sources() -> Vec<SourceFacts> {
    let source = |name: &str, last: Option<Timestamp>, problem: Option<&str>| SourceFacts {
        name: name.into(),
        kind: "microsoft".into(),
        tenant: "contoso".into(),
        last,
        accepted: 1_204,
        refused: vec![("bad_signature".into(), 3), ("too_fast".into(), 1)],
        problem: problem.map(str::to_owned),
    };
    vec![
        source("sentinel", Some(at("2026-11-22T14:04:41Z")), None),
        source("splunk", None, Some("the newest delivery was refused: bad signature")),
        SourceFacts { refused: Vec::new(), ..source("graph", None, None) },
    ]
}

fn overviews(shots: &mut Vec<Shot>) {
    let ms = |n: i64| SignedDuration::from_millis(n);
    let facts = OverviewFacts {
        figures: Figures {
            cases_open: 7,
            cases_by_state: vec![("contained".into(), 4), ("password_unchanged".into(), 3)],
            tasks_open: vec![("approval".into(), 2), ("manual".into(), 1)],
            tasks_oldest: Some(at("2026-11-22T11:10:00Z")),
            effects_unknown: 1,
            buried: 1,
            parked: 12,
            ..Figures::default()
        },
        revokes: (0..400).map(|n| ms(8 + n * n % 71 * 3)).chain([ms(1_900), ms(41_000)]).collect(),
        lags: (0..100).map(|n| ms(60_000 + n * 4_000)).collect(),
        counted: Some(CountedFacts {
            since: at("2026-11-22T11:00:00Z"),
            sources: Some(sources()),
            calls: Some((4_100, vec![("revoke_sign_in_sessions".into(), 14, at("2026-11-22T14:09:30Z"))])),
        }),
        unready: vec![("queue".into(), "the broker does not answer; receivers spool".into())],
    };
    let view = OverviewView::of(&facts, now());
    shots.push(shot("overview", &OverviewPage { shell: &shell(Section::Overview), view: &view }));
    let view = OverviewView::of(&OverviewFacts::default(), now());
    shots.push(shot("overview-empty", &OverviewPage { shell: &shell(Section::Overview), view: &view }));
}

fn settings(shots: &mut Vec<Shot>) {
    let facts = |id: &str, name: &str, roles: Vec<Role>, linked: bool, disabled| ReviewerFacts {
        id: id.into(),
        name: name.into(),
        roles,
        groups: vec!["on-call".into()],
        linked: if linked { vec![person(2).object_id.to_string()] } else { Vec::new() },
        passkeys: 2,
        last_seen: Some(at("2026-11-22T13:00:00Z")),
        disabled,
    };
    let reviewers = [
        facts("grace", "Grace Hopper", vec![Role::Approver], true, false),
        facts("alan", "<script>alert(1)</script>", vec![Role::Admin], false, false),
        facts("old", "Edith Clarke", vec![Role::Viewer], true, true),
    ];
    let view = SettingsView {
        mode: "enforce".into(),
        public_url: Some("https://oust.contoso.example".into()),
        tenants: vec![
            TenantLine::of("contoso", "11111111-2222-3333-4444-555555555555", "global", None),
            TenantLine::of(
                "fabrikam",
                "21111111-2222-3333-4444-555555555555",
                "us_gov",
                Some("User.RevokeSessions.All is missing"),
            ),
        ],
        reviewers: reviewers.iter().map(|facts| ReviewerLine::of(facts, now())).collect(),
        passkeys: vec![PasskeyLine::of("cred-1", "Pixel 9", at("2026-01-02T03:04:05Z"), Some(now()), 0, now())],
        passkeys_on: true,
        break_glass: 2,
        blast_radius: Some("500 per 10 min".into()),
        may_pause: true,
        ..SettingsView::default()
    }
    .sources(&sources(), now());
    shots.push(shot("settings", &SettingsPage { shell: &shell(Section::Settings), view: &view }));
    let paused =
        shell(Section::Settings).paused("Grace Hopper", Some("a rule names everybody"), at("2026-11-22T13:58:00Z"));
    shots.push(shot("settings-paused", &SettingsPage { shell: &paused, view: &view }));
    let viewer = SettingsView { may_pause: false, passkeys_on: false, oidc: Some("Entra ID".into()), ..view };
    shots.push(shot("settings-viewer", &SettingsPage { shell: &shell(Section::Settings), view: &viewer }));
}

fn outside(shots: &mut Vec<Shot>) {
    let shell = Shell::outside(now());
    let view = SignInView::of(true, Some(("Entra ID", "/console/sign-in/oidc")), Some("/console/tasks"));
    shots.push(shot("sign-in", &SignInPage { shell: &shell, view: &view }));
    let view = SignInView::of(true, None, None).failed("This passkey is not known here, or it was removed.");
    shots.push(shot("sign-in-failed", &SignInPage { shell: &shell, view: &view }));
    let view = EnrolView::open(
        "Grace Hopper",
        Role::Approver,
        &["on-call".into()],
        at("2026-11-22T14:21:00Z"),
        "/console/enrol/x",
        now(),
    );
    shots.push(shot("enrol", &EnrolPage { shell: &shell, view: &view }));
    for (name, state) in [
        ("enrol-used", EnrolState::Used),
        ("enrol-expired", EnrolState::Expired),
        ("enrol-unknown", EnrolState::Unknown),
    ] {
        shots.push(shot(name, &EnrolPage { shell: &shell, view: &EnrolView::closed(state) }));
    }
}

fn errors(shots: &mut Vec<Shot>) {
    let (names, shell) = (names(), shell(Section::None));
    let difference = vec![
        Changed::new("parameters of reset_password", "{\"force_change\":true}", "{\"force_change\":false}"),
        Changed::new(
            "playbook",
            "impossible-travel version 1 (0123456789ab)",
            "impossible-travel version 2 (ba9876543210)",
        ),
        Changed::new("target", "an enabled member", "guest, disabled"),
    ];
    let conflict = Refused::Conflict { who: "alan".into(), when: at("2026-11-22T14:09:41Z"), what: "denied".into() };
    let pages = [
        ("error-403", ErrorView::refused(&Forbidden::Subject.into(), &names, now())),
        ("error-404", ErrorView::not_found("There is no task with this id.")),
        ("error-409", ErrorView::refused(&conflict, &names, now())),
        ("error-409-difference", ErrorView::refused(&Refused::Stale { difference }, &names, now())),
        (
            "error-409-late",
            ErrorView::refused(&Refused::TooLate { what: "to decide".into(), at: now() }, &names, now()),
        ),
        ("error-429", ErrorView::too_many(30)),
        ("error-500", ErrorView::internal("req_0193")),
        ("error-503", ErrorView::store_away("req_0193")),
    ];
    for (name, view) in pages {
        let view = view.back_to(oust::http::console::view::paths::task(task_id(1)), "The task");
        shots.push(shot(name, &ErrorPage { shell: &shell, view: &view }));
    }
}
