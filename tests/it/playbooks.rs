//! Playbooks from the outside: what is refused and in which words, what a plan guarantees, which playbook a signal gets.

use std::path::Path;
use std::time::{Duration, Instant};

use oust::domain::plan::{EffectClass, OnFailure, Phase, Plan, RESET, REVOKE, StepId};
use oust::domain::signal::Kind;
use oust::playbook::catalog::{SHIPPED, Source};
use oust::playbook::{
    ActionInfo, Catalog, Conditions, Known, Parameter, ParameterType, Reloader, Vocabulary, lint, parse, pin, schema,
    unpin,
};
use proptest::prelude::*;
use serde_json::{Value, json};

// --- the vocabulary of these tests ---

const ALL_BUT_COLLECT: &[Phase] = &[Phase::Contain, Phase::Eradicate, Phase::Recover];
const COLLECT: &[Phase] = &[Phase::Collect];
const LATE: &[Phase] = &[Phase::Eradicate, Phase::Recover];
const RECOVER: &[Phase] = &[Phase::Recover];

const BLANK: ActionInfo = ActionInfo {
    name: "",
    summary: "An action of the tests.",
    phases: &[],
    class: EffectClass::Read,
    containing: false,
    free: false,
    may_be_unattended: false,
    requires_revoke: false,
    reveals: false,
    idempotent: true,
    permissions: &[],
    parameters: &[],
    undo: "none",
    example: "",
    timeout_ms: 10_000,
};

const fn read(name: &'static str) -> ActionInfo {
    ActionInfo { name, phases: COLLECT, free: true, ..BLANK }
}

const fn hard(name: &'static str, phases: &'static [Phase]) -> ActionInfo {
    ActionInfo { name, phases, class: EffectClass::Hard, ..BLANK }
}

const fn parameter(name: &'static str, kind: ParameterType, required: bool) -> Parameter {
    Parameter { name, kind, required, summary: "A parameter of the tests." }
}

const WINDOW: &[Parameter] = &[parameter("window", ParameterType::Duration, false)];
const MANUAL: &[Parameter] =
    &[parameter("instructions", ParameterType::Text, true), parameter("title", ParameterType::Text, false)];

static ACTIONS: &[ActionInfo] = &[
    ActionInfo {
        name: REVOKE,
        phases: ALL_BUT_COLLECT,
        class: EffectClass::Soft,
        containing: true,
        free: true,
        ..BLANK
    },
    ActionInfo {
        containing: true,
        may_be_unattended: true,
        requires_revoke: true,
        ..hard("disable_account", ALL_BUT_COLLECT)
    },
    hard("enable_account", RECOVER),
    ActionInfo { may_be_unattended: true, ..hard("confirm_compromised", LATE) },
    ActionInfo { requires_revoke: true, reveals: true, idempotent: false, ..hard(RESET, RECOVER) },
    read("read_user"),
    ActionInfo { parameters: WINDOW, ..read("read_sign_ins") },
    read("read_risk"),
    read("read_inbox_rules"),
    ActionInfo { class: EffectClass::Soft, ..hard("disable_inbox_rules", &[Phase::Eradicate]) },
    read("read_auth_methods"),
    ActionInfo { name: "manual", phases: LATE, class: EffectClass::Soft, free: true, parameters: MANUAL, ..BLANK },
];

#[derive(Debug)]
struct Words;

impl Vocabulary for Words {
    fn action(&self, name: &str) -> Option<&ActionInfo> {
        ACTIONS.iter().find(|action| action.name == name)
    }

    fn all(&self) -> Vec<&ActionInfo> {
        ACTIONS.iter().collect()
    }
}

// --- helpers ---

/// A playbook of these phases, named `x`.
fn playbook(phases: &str) -> String {
    format!("name: x\nversion: 1\non: {{ signals: [generic] }}\n{phases}")
}

const FIRST: &str = "contain: [{ do: revoke_sessions }]\n";

fn plan(phases: &str) -> Plan {
    parse(&playbook(phases), "x.yaml", &Words).unwrap_or_else(|wrong| panic!("{}", wrong.render(false)))
}

/// What is said of a playbook of these phases, one line each: `line:column: message (help)`.
fn remarks(text: &str) -> Vec<String> {
    match parse(text, "x.yaml", &Words) {
        Ok(plan) => panic!("accepted: {plan:?}"),
        Err(wrong) => wrong
            .iter()
            .map(|one| format!("{}:{}: {} ({})", one.line, one.column, one.message, one.help.as_deref().unwrap_or("-")))
            .collect(),
    }
}

#[track_caller]
fn refused(phases: &str, words: &str) {
    let said = remarks(&playbook(phases));
    assert!(said.len() == 1 && said[0].contains(words), "expected one remark with {words:?}, got {said:#?}");
}

fn ids(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.id.0.as_str()).collect()
}

// --- diagnostics ---

#[test]
fn a_file_full_of_mistakes_is_told_all_of_them_at_once_with_place_and_remedy() {
    let text = include_str!("fixtures/full-of-mistakes.yaml");
    let wrong = parse(text, "playbooks/full-of-mistakes.yaml", &Words).expect_err("full of mistakes");
    assert_eq!(wrong.render(false), include_str!("fixtures/full-of-mistakes.txt").trim_end());
    let json = wrong.json();
    assert_eq!(json.as_array().map(Vec::len), Some(wrong.len()));
    assert_eq!(json[0]["severity"], "error");
    assert!(json[0]["source_line"].is_string() && json[0]["line"].is_u64(), "{json}");
}

#[test]
fn a_misspelled_action_is_guessed() {
    refused("contain: [{ do: revoke_session }]", "unknown action 'revoke_session' (did you mean revoke_sessions?)");
}

#[test]
fn a_syntax_error_is_told_with_its_line() {
    let said = remarks("name: x\nversion: [1\non: {}\n");
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("3:") || said[0].starts_with("2:"), "{said:?}");
}

#[test]
fn a_name_must_be_the_files() {
    let text = playbook(FIRST);
    let wrong = parse(&text, "playbooks/other.yaml", &Words).expect_err("wrong name");
    assert!(wrong.to_string().contains("named 'x' but its file 'other'"), "{wrong}");
    assert!(parse(&text, "-", &Words).is_ok(), "standard input has no name");
    for bad in ["X", "a b", "", "é", &"a".repeat(65)] {
        let text = text.replace("name: x", &format!("name: '{bad}'"));
        assert!(parse(&text, "-", &Words).is_err(), "{bad}");
    }
}

#[test]
fn what_is_no_playbook_at_all_is_refused_in_words() {
    for (text, words) in [
        ("", "must be a mapping, not nothing"),
        ("[]", "must be a mapping, not a list"),
        ("just text", "must be a mapping, not text"),
        ("{}", "'name' is missing"),
        ("name: x\nname: x\n", "stands here a second time"),
        ("name: 7\n", "put it in quotes"),
        ("on: [generic]\n", "on must be a mapping"),
        ("contain:\n", "contain must be a list, not nothing"),
        ("contain: [revoke_sessions]\n", "write - do: revoke_sessions"),
        ("contain: [[]]\n", "a step must be a mapping"),
        ("contain: [{ with: {} }]\n", "does not say what to do"),
        ("<<: { name: x }\n", ""),
    ] {
        let said = remarks(text);
        assert!(said.iter().any(|line| line.contains(words)), "{text:?}: {said:#?}");
    }
}

#[test]
fn hostile_files_are_refused_at_once() {
    let steps = format!("{FIRST}collect:\n{}", "  - do: nonsense\n".repeat(900));
    let many_keys: String = (0..2_000).map(|n| format!("key{n}: 1\n")).collect();
    let wide_condition = format!("contain: [{{ do: revoke_sessions, when: '{}' }}]", "(".repeat(5_000));
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d]\n";
    let started = Instant::now();
    for text in [
        playbook(&steps),
        many_keys,
        playbook(&wide_condition),
        bomb.to_owned(),
        format!("on: {}{}", "{a: ".repeat(2_000), "}".repeat(2_000)),
        "\u{feff}\u{202e}: \u{1b}[31m".to_owned(),
        "x".repeat(10_000_000),
    ] {
        let wrong = parse(&text, "x.yaml", &Words).expect_err("hostile");
        assert!(wrong.len() <= 200 && !wrong.is_empty());
        let picture = wrong.render(false);
        assert!(!picture.contains('\u{1b}'), "{picture:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

// --- the laws ---

#[test]
fn contain_is_required_and_begins_with_revoke() {
    refused("", "'contain' is missing");
    refused("contain: []", "begins with revoke_sessions");
    refused(
        "contain: [{ do: disable_account, approval: on_call }, { do: revoke_sessions }]",
        "not disable_account (put - do: revoke_sessions in front of it)",
    );
}

#[test]
fn enriching_before_revoking_is_unwritable() {
    let said = remarks(&playbook("contain:\n  - do: read_user\n  - do: revoke_sessions\n"));
    assert!(said[0].contains("contain begins with revoke_sessions, not read_user"), "{said:#?}");
    assert!(said[0].contains("move read_user to collect"), "{said:#?}");
    assert!(said[1].contains("takes only what stops an intruder"), "{said:#?}");
    // An alias to a step elsewhere in the file hides nothing.
    let aliased = "collect: [&look { do: read_user }]\ncontain: [*look, { do: revoke_sessions }]\n";
    let said = remarks(&playbook(aliased));
    assert!(said.iter().any(|line| line.contains("begins with revoke_sessions, not read_user")), "{said:#?}");
    // The order of phases in the file means nothing: they run in theirs.
    let plan = plan("collect: [{ do: read_user }]\ncontain: [{ do: revoke_sessions }]\n");
    assert_eq!(ids(&plan), ["revoke_sessions", "read_user"]);
}

#[test]
fn each_law_refuses_its_breach() {
    let recover = |steps: &str| format!("{FIRST}recover: [{steps}]");
    let collect = |step: &str| format!("{FIRST}collect: [{step}]");
    let contain = |step: &str| format!("contain: [{{ do: revoke_sessions }}, {step}]");
    let reset = "{ do: reset_password, approval: on_call }";
    for (phases, words) in [
        // where an action stands
        (contain("{ do: reset_password, approval: on_call }"), "contain takes only"),
        (contain("{ do: confirm_compromised, approval: on_call }"), "contain takes only"),
        (collect("{ do: disable_inbox_rules }"), "collect only reads"),
        (collect("{ do: revoke_sessions, id: again }"), "collect only reads"),
        (format!("{FIRST}eradicate: [{reset}]"), "reset_password stands only in recover"),
        (recover("{ do: read_user }"), "read_user does not stand in recover (read_user may stand in collect)"),
        (format!("{FIRST}eradicate: [{{ do: enable_account, approval: on_call }}]"), "does not stand in eradicate"),
        // who says yes
        (recover("{ do: reset_password }"), "reset_password needs an approval"),
        (recover("{ do: enable_account }"), "enable_account needs an approval"),
        (recover("{ do: reset_password, unattended: true }"), "reset_password may not run unattended"),
        (recover("{ do: disable_account, unattended: true }"), "in recover disable_account may not run unattended"),
        (contain("{ do: disable_account }"), "or unattended: true"),
        (contain("{ do: disable_account, approval: a, unattended: true }"), "not both"),
        ("contain: [{ do: revoke_sessions, approval: on_call }]".into(), "waits for nobody"),
        ("contain: [{ do: revoke_sessions, unattended: true }]".into(), "never waits for a human"),
        (collect("{ do: read_user, approval: on_call }"), "collecting waits for nobody"),
        // what comes after what
        (
            recover("{ do: reset_password, approval: a }, { do: confirm_compromised, approval: a }"),
            "confirm_compromised after reset_password would raise the risk again",
        ),
        (recover(&format!("{reset}, {{ do: reset_password, id: again, approval: a }}")), "a second reset_password"),
        (recover(&format!("{reset}, {{ do: revoke_sessions, when: 'signal.risk == \"high\"' }}")), "sent in any case"),
        (recover(&format!("{reset}, {{ do: revoke_sessions, id: again, approval: a }}")), "sent in any case"),
        (recover(&format!("{reset}, {{ do: revoke_sessions, on_failure: continue }}")), "always escalates"),
        // failing
        ("contain: [{ do: revoke_sessions, on_failure: continue }]".into(), "always escalates"),
        (contain("{ do: disable_account, approval: a, on_failure: stop }"), "no stop here"),
        (collect("{ do: read_user, on_failure: stop }"), "no stop here"),
        // names
        (collect("{ do: read_user }, { do: read_user }"), "a step 'read_user' is already in line"),
        (collect("{ do: read_user, id: Read }"), "is not a step id"),
        (collect("{ do: read_user, id: in }"), "is not a step id"),
        (
            format!("{FIRST}collect: [{{ do: read_user, id: revoke_after_reset_password }}]\nrecover: [{reset}]"),
            "belongs to the revoke appended",
        ),
        // values
        (collect("{ do: read_user, timeout: 21s }"), "between 100ms and 20s"),
        (collect("{ do: read_user, timeout: soon }"), "must be a duration"),
        (collect("{ do: read_user, retry: 0 }"), "from 1 to 20"),
        (collect("{ do: read_user, retry: { attempts: 21 } }"), "from 1 to 20"),
        (collect("{ do: read_user, retry: often }"), "a number or a mapping"),
        (collect("{ do: read_user, on_failure: shrug }"), "stop, continue or escalate"),
        (collect("{ do: read_user, with: { depth: 3 } }"), "takes no parameters"),
        (collect("{ do: read_sign_ins, with: { windw: 24h } }"), "did you mean window?"),
        (collect("{ do: read_sign_ins, with: { window: 24 } }"), "window must be a duration"),
        (recover("{ do: manual }"), "manual needs instructions"),
        (recover("{ do: manual, with: { instructions: [a] } }"), "instructions must be text"),
        (recover("{ do: reset_password, approval: 'on call' }"), "is not a name"),
        // conditions
        (
            "contain: [{ do: revoke_sessions, when: size(collect.read_user.x) > 0 }]".into(),
            "'collect' is not known yet",
        ),
        (collect("{ do: read_user }, { do: read_risk, when: collect.read_user.synced }"), "'collect' is not known yet"),
        (recover("{ do: manual, with: { instructions: x }, when: collect.read_user.synced }"), "no collect.read_user"),
        (recover("{ do: manual, with: { instructions: x }, when: signal.rsk == 'x' }"), "did you mean signal.risk?"),
        (recover("{ do: manual, with: { instructions: x }, when: sgnal.risk == 'x' }"), "did you mean signal?"),
        (recover("{ do: manual, with: { instructions: x }, when: case.gest }"), "did you mean case.guest?"),
        (recover("{ do: manual, with: { instructions: x }, when: signal.risk = 'x' }"), "write '=='"),
        (recover("{ do: manual, with: { instructions: x }, when: [] }"), "must be a condition"),
    ] {
        refused(&phases, words);
    }
}

#[test]
fn a_condition_mistake_is_shown_inside_the_line() {
    let text = playbook(FIRST).replace("signals: [generic]", "signals: [generic], when: 'true && case.guest'");
    let wrong = parse(&text, "x.yaml", &Words).expect_err("case is not known");
    let one = wrong.iter().next().expect("one");
    assert_eq!(&one.source_line[one.span.0..one.span.1], "case");
    assert!(one.message.contains("'case' is not known yet in on.when"), "{one}");
}

#[test]
fn an_eradicate_condition_sees_only_the_eradicate_steps_before_it() {
    let step = |id: &str, when: &str| format!("{{ do: manual, id: {id}, with: {{ instructions: x }}, when: {when} }}");
    let phases = |a: &str, b: &str| format!("{FIRST}eradicate: [{}, {}]", step("one", a), step("two", b));
    assert_eq!(ids(&plan(&phases("true", "has(eradicate.one)"))), ["revoke_sessions", "one", "two"]);
    refused(&phases("has(eradicate.two)", "true"), "there is no eradicate.two");
}

// --- what a plan carries ---

#[test]
fn defaults_come_from_phase_and_action() {
    let plan = plan(&format!(
        "{FIRST}collect: [{{ do: read_user, retry: {{ attempts: 2 }}, timeout: 3s }}]\n\
         eradicate: [{{ do: disable_inbox_rules, approval: on_call }}]\n\
         recover: [{{ do: reset_password, approval: on_call, retry: 1, on_failure: continue }}]\n"
    ));
    let told: Vec<_> = plan
        .steps
        .iter()
        .map(|step| (step.id.0.as_str(), step.on_failure, step.on_failure_written, step.attempts, step.timeout_ms))
        .collect();
    assert_eq!(
        told,
        [
            (REVOKE, OnFailure::Escalate, false, 5, 10_000),
            ("read_user", OnFailure::Continue, false, 2, 3_000),
            ("disable_inbox_rules", OnFailure::Continue, false, 5, 10_000),
            (RESET, OnFailure::Continue, true, 1, 10_000),
            ("revoke_after_reset_password", OnFailure::Escalate, false, 5, 10_000),
        ]
    );
    let reset = plan.step(&StepId(RESET.into())).expect("is there");
    assert!(reset.reveals && !reset.idempotent && reset.with == json!({}));
}

#[test]
fn the_second_revoke_is_appended_unless_it_was_written_and_means_the_same() {
    let reset = "{ do: reset_password, approval: on_call }";
    let appended = plan(&format!("{FIRST}recover: [{reset}]"));
    let written = plan(&format!("{FIRST}recover: [{reset}, {{ do: revoke_sessions }}]"));
    let named = plan(&format!("{FIRST}recover: [{reset}, {{ do: revoke_sessions, id: again }}]"));
    assert_eq!(appended, written);
    assert_eq!(pin(&appended).hash, pin(&written).hash);
    assert_eq!(ids(&named), [REVOKE, RESET, "again"]);
    assert_eq!(named.steps[2].follows, Some(StepId(RESET.into())));
    assert_eq!(named.steps[2].on_failure, OnFailure::Escalate);
}

#[test]
fn a_disable_in_contain_is_followed_there() {
    let phases = "contain: [{ do: revoke_sessions }, { do: disable_account, unattended: true }]\n";
    let plan = plan(phases);
    assert_eq!(ids(&plan), [REVOKE, "disable_account", "revoke_after_disable_account"]);
    assert_eq!(plan.steps[2].phase, Phase::Contain);
    assert!(plan.steps[1].unattended);
}

#[test]
fn a_pin_covers_meaning_and_not_spelling() {
    let terse =
        plan(&format!("{FIRST}collect: [{{ do: read_sign_ins, with: {{ window: 24h }} }}, {{ do: read_user }}]"));
    let spelled = parse(
        "# the same\nversion: 1\ncontain:\n  - id: revoke_sessions # first\n    do: 'revoke_sessions'\n    with: {}\n\
         \ncollect:\n  - with:\n      window: \"24h\"\n    do: read_sign_ins\n    retry: 5\n  - do: read_user\n\
         \non:\n  signals:\n    - generic\nname: x\nattack: []\nnotify: { closed: [] }\n",
        "x.yaml",
        &Words,
    )
    .expect("valid");
    assert_eq!(pin(&terse), pin(&spelled));
    assert_eq!(unpin(&pin(&terse).json).expect("a plan"), terse);
    let other =
        plan(&format!("{FIRST}collect: [{{ do: read_sign_ins, with: {{ window: 25h }} }}, {{ do: read_user }}]"));
    assert_ne!(pin(&terse).hash, pin(&other).hash);
    assert_eq!(pin(&terse).hash.len(), 64);
}

// --- choosing ---

fn source(name: &str, on: &str) -> Source {
    Source { file: format!("{name}.yaml"), text: format!("name: {name}\nversion: 1\non: {on}\n{FIRST}") }
}

fn catalog(sources: &[Source]) -> Catalog {
    Catalog::of(sources, &Words).unwrap_or_else(|wrong| panic!("{wrong:?}"))
}

fn risk(risk: &str) -> Value {
    json!({ "signal": { "risk": risk } })
}

#[test]
fn the_playbook_with_the_fewest_kinds_wins_and_the_name_breaks_ties() {
    let set = catalog(&[
        source("broad", "{ signals: [generic, other, prt_access] }"),
        source("zeta", "{ signals: [generic, other] }"),
        source("alpha", "{ signals: [generic, other] }"),
        source("narrow", "{ signals: [generic], when: signal.risk == 'high' }"),
    ]);
    let choice = set.choose_in(Kind::Generic, &risk("high"));
    assert_eq!(choice.plan().map(|plan| plan.name.as_str()), Some("narrow"));
    assert_eq!(choice.also_matched, ["alpha", "zeta", "broad"]);
    let choice = set.choose_in(Kind::Generic, &risk("low"));
    assert_eq!(choice.plan().map(|plan| plan.name.as_str()), Some("alpha"));
    assert_eq!((choice.declined.as_slice(), choice.is_near_miss()), (["narrow".to_owned()].as_slice(), false));
    assert!(set.choose_in(Kind::InboxRule, &risk("high")).entry.is_none());
}

#[test]
fn a_condition_that_cannot_be_decided_counts_as_a_match() {
    let set = catalog(&[source("only", "{ signals: [generic], when: signal.refs.ticket == 'x' }")]);
    let choice = set.choose_in(Kind::Generic, &json!({ "signal": { "refs": {} } }));
    assert_eq!(choice.plan().map(|plan| plan.name.as_str()), Some("only"));
    assert_eq!(choice.undecided, [("only".to_owned(), "there is no 'ticket' in the data".to_owned())]);
}

#[test]
fn a_kind_that_is_named_but_not_wanted_is_a_near_miss() {
    let set = catalog(&[source("only", "{ signals: [generic], when: signal.risk == 'high' }")]);
    let choice = set.choose_in(Kind::Generic, &risk("unknown"));
    assert!(choice.is_near_miss() && set.near_miss(Kind::Generic));
    assert!(!set.near_miss(Kind::Other) && !set.choose_in(Kind::Other, &risk("unknown")).is_near_miss());
}

#[test]
fn a_set_has_one_hash_whatever_the_order_of_its_files() {
    let (a, b) = (source("a", "{ signals: [generic] }"), source("b", "{ signals: [other] }"));
    let one = catalog(&[a.clone(), b.clone()]);
    assert_eq!(one.set_hash(), catalog(&[b, a.clone()]).set_hash());
    assert_ne!(one.set_hash(), catalog(&[a]).set_hash());
}

// --- folders ---

fn write(dir: &Path, source: &Source) {
    std::fs::write(dir.join(&source.file), &source.text).expect("a writable folder");
}

#[test]
fn a_folder_is_loaded_without_its_tests_and_every_bad_file_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    assert!(Catalog::load(dir.path(), &Words).expect_err("empty")[0].to_string().contains("no playbook"));
    assert!(Catalog::load(&dir.path().join("absent"), &Words).expect_err("absent")[0].to_string().contains("read"));
    write(dir.path(), &source("good", "{ signals: [generic] }"));
    std::fs::write(dir.path().join("good.test.yaml"), "not: [a playbook").expect("written");
    std::fs::write(dir.path().join(".hidden.yaml"), "not: [a playbook").expect("written");
    std::fs::write(dir.path().join("notes.txt"), "hello").expect("written");
    std::fs::create_dir(dir.path().join("folder.yaml")).expect("made");
    let set = Catalog::load(dir.path(), &Words).expect("valid");
    assert_eq!(set.entries().len(), 1);
    std::fs::write(dir.path().join("bytes.yaml"), [0xff, 0xfe, 0x00]).expect("written");
    std::fs::write(dir.path().join("huge.yaml"), "#".repeat(300_000)).expect("written");
    assert_eq!(Catalog::load(dir.path(), &Words).expect_err("two bad files").len(), 2);
    let text = source("good", "{ signals: [generic] }").text;
    for gone in ["bytes.yaml", "huge.yaml"] {
        std::fs::remove_file(dir.path().join(gone)).expect("removed");
    }
    std::fs::write(dir.path().join("good.yml"), text).expect("written");
    let wrong = Catalog::load(dir.path(), &Words).expect_err("one name twice");
    assert!(wrong[0].to_string().contains("also defines 'good'"), "{wrong:?}");
}

#[test]
fn a_folder_is_taken_over_only_when_all_of_it_is_valid() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), &source("one", "{ signals: [generic] }"));
    let mut reloader = Reloader::open(dir.path(), &Words).expect("valid");
    assert!(!reloader.changed());
    let before = reloader.catalog();

    write(dir.path(), &source("two", "{ signals: [other] }"));
    std::fs::write(dir.path().join("three.yaml"), "name: three\n").expect("written");
    assert!(reloader.changed());
    assert!(!reloader.reload(&Words), "one of them is wrong");
    assert_eq!(reloader.problems().len(), 1);
    assert_eq!(reloader.catalog().set_hash(), before.set_hash());
    assert!(!reloader.changed(), "the same mistake is not read again and again");

    std::fs::remove_file(dir.path().join("three.yaml")).expect("removed");
    assert!(reloader.changed() && reloader.reload(&Words));
    assert!(reloader.problems().is_empty());
    assert_eq!(reloader.catalog().entries().len(), 2);
    assert!(!Reloader::fixed(Catalog::shipped(&Words).expect("valid")).changed());
}

// --- lint and schema ---

#[test]
fn lint_warns_of_overlaps_unknown_names_and_steps_that_never_run() {
    let mut first = source("a", "{ signals: [generic, other] }");
    first.text.push_str(
        "collect:\n  - do: read_user\n  - { do: read_user, id: again }\n  - { do: read_risk, when: 1 > 2 }\n\
         recover: [{ do: reset_password, approval: on_cal }]\nnotify: { closed: [soc] }\n",
    );
    let second = source("b", "{ signals: [generic], when: false }");
    let (policies, notifiers) = (["on_call".to_owned()], []);
    let known = Known { policies: Some(&policies), notifiers: Some(&notifiers) };
    let said: Vec<String> = lint(&[first.clone(), second.clone()], &Words, known)
        .iter()
        .flat_map(|file| file.iter().map(|one| format!("{one} ({})", one.help.as_deref().unwrap_or("-"))))
        .collect();
    let all = said.join("\n");
    for words in [
        "a.yaml:7:11: the same as the step in line 6",
        "this is never true: the step never runs",
        "there is no approval policy 'on_cal' (did you mean on_call?)",
        "there is no notifier 'soc' (oust.yaml configures no notifier)",
        "b.yaml:3:17: generic is also answered by a (a.yaml) (where both match, b runs",
        "the playbook is never chosen",
    ] {
        assert!(all.contains(words), "{words:?} is not in\n{all}");
    }
    assert_eq!(said.len(), 6, "{all}");
    assert_eq!(lint(&[first], &Words, Known::default()).len(), 1, "unknown configuration says nothing of names");
    let twice = lint(&[second.clone(), second], &Words, Known::default());
    assert!(twice.iter().any(|file| file.to_string().contains("also defines 'b'")), "{twice:?}");
}

#[test]
fn the_schema_knows_every_action_where_it_may_stand_and_its_parameters() {
    let schema = schema(&Words);
    let verbs = |phase: &str| -> Vec<String> {
        let steps = schema["properties"][phase]["items"]["oneOf"].as_array().expect("steps");
        steps.iter().filter_map(|step| step["properties"]["do"]["const"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(verbs("contain"), [REVOKE, "disable_account"]);
    assert!(verbs("recover").contains(&RESET.to_owned()) && !verbs("eradicate").contains(&RESET.to_owned()));
    assert!(verbs("collect").iter().all(|verb| verb.starts_with("read_")));
    let recover = schema["properties"]["recover"]["items"]["oneOf"].as_array().expect("steps");
    let reset = recover.iter().find(|step| step["properties"]["do"]["const"] == RESET).expect("is there");
    assert_eq!(reset["required"], json!(["do", "approval"]));
    let manual = recover.iter().find(|step| step["properties"]["do"]["const"] == "manual").expect("is there");
    assert_eq!(manual["properties"]["with"]["required"], json!(["instructions"]));
    assert_eq!(manual["required"], json!(["do", "with"]));
}

// --- the shipped playbooks ---

#[test]
fn the_shipped_playbooks_are_valid_without_remarks_and_share_no_kind() {
    let sources: Vec<Source> =
        SHIPPED.iter().map(|(file, text)| Source { file: (*file).into(), text: (*text).into() }).collect();
    let policies = ["on_call".to_owned()];
    let said = lint(&sources, &Words, Known { policies: Some(&policies), notifiers: Some(&[]) });
    assert!(said.is_empty(), "{}", said.iter().map(|file| file.render(false)).collect::<String>());
    let set = Catalog::shipped(&Words).expect("valid");
    assert_eq!(set.entries().len(), 5);
    for entry in set.entries() {
        let text = SHIPPED.iter().find(|(file, _)| *file == entry.file).expect("shipped").1;
        assert!(text.starts_with("# ") && text.contains("The reviewer decides"), "{} explains itself", entry.file);
        assert!(entry.plan.steps.iter().any(|step| step.action == RESET), "{}", entry.file);
        keeps_the_laws(&entry.plan);
    }
}

#[test]
fn every_file_of_the_playbooks_folder_is_shipped() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks");
    let folder = Catalog::load(&dir, &Words).expect("valid");
    assert_eq!(folder.set_hash(), Catalog::shipped(&Words).expect("valid").set_hash());
}

#[test]
fn the_shipped_playbooks_answer_what_they_say_they_answer() {
    let set = Catalog::shipped(&Words).expect("valid");
    let chosen = |kind: Kind, risk: &str| {
        let context = json!({ "signal": { "kind": kind.word(), "risk": risk } });
        let choice = set.choose_in(kind, &context);
        assert!(choice.undecided.is_empty(), "{choice:?}");
        choice.plan().map(|plan| plan.name.clone()).unwrap_or_default()
    };
    for (kind, low, unknown) in [
        (Kind::ImpossibleTravel, "", "impossible-travel"),
        (Kind::AtypicalTravel, "", "impossible-travel"),
        (Kind::NewCountry, "", "impossible-travel"),
        (Kind::AnonymizedIp, "", "anonymized-ip"),
        (Kind::MaliciousIp, "", "anonymized-ip"),
        (Kind::AnomalousToken, "token-theft", "token-theft"),
        (Kind::AdversaryInTheMiddle, "token-theft", "token-theft"),
        (Kind::TokenIssuerAnomaly, "token-theft", "token-theft"),
        (Kind::PrtAccess, "token-theft", "token-theft"),
        (Kind::MfaFraud, "token-theft", "token-theft"),
        (Kind::InboxRule, "suspicious-inbox-rule", "suspicious-inbox-rule"),
        (Kind::InboxForwarding, "suspicious-inbox-rule", "suspicious-inbox-rule"),
        (Kind::LeakedCredentials, "leaked-credentials", "leaked-credentials"),
        (Kind::PasswordSpray, "leaked-credentials", "leaked-credentials"),
        (Kind::UnfamiliarSignIn, "", "leaked-credentials"),
        (Kind::AdminConfirmed, "", ""),
        (Kind::Generic, "", ""),
        (Kind::Other, "", ""),
    ] {
        assert_eq!((chosen(kind, "low"), chosen(kind, "unknown")), (low.into(), unknown.into()), "{kind}");
    }
}

#[test]
fn every_condition_of_the_shipped_playbooks_decides_both_ways_on_real_looking_data() {
    let conditions = Conditions::new();
    let context = |rules: Value, kind: &str| {
        json!({
            "signal": { "kind": kind, "risk": "high" },
            "case": {},
            "collect": { "read_inbox_rules": { "suspicious": rules, "rules": [] } },
            "eradicate": {},
        })
    };
    let yes = context(json!([{ "id": "r1" }]), "inbox_forwarding");
    let no = context(json!([]), "inbox_rule");
    let mut decided = 0;
    for entry in Catalog::shipped(&Words).expect("valid").entries() {
        for step in &entry.plan.steps {
            let Some(when) = &step.when else { continue };
            assert_eq!(conditions.holds(when, &yes), Ok(true), "{}: {when}", entry.file);
            assert_eq!(conditions.holds(when, &no), Ok(false), "{}: {when}", entry.file);
            assert!(conditions.holds(when, &json!({})).is_err(), "{}: {when}", entry.file);
            decided += 1;
        }
    }
    assert!(decided > 0, "some steps have a condition");
}

// --- properties ---

/// What no plan may violate, whoever wrote it.
fn keeps_the_laws(plan: &Plan) {
    let first = plan.steps.first().expect("a plan has steps");
    assert_eq!((first.action.as_str(), first.phase), (REVOKE, Phase::Contain));
    assert!(first.approval.is_none());
    assert!(plan.steps.windows(2).all(|pair| pair[0].phase <= pair[1].phase), "phases in order");
    let reset = plan.steps.iter().position(|step| step.action == RESET);
    for (index, step) in plan.steps.iter().enumerate() {
        let action = Words.action(&step.action).expect("known");
        match step.phase {
            Phase::Contain => assert!(action.containing),
            Phase::Collect => assert!(step.class == EffectClass::Read && step.approval.is_none()),
            Phase::Eradicate => assert_ne!(step.action, RESET),
            Phase::Recover => {}
        }
        assert!(action.free || step.approval.is_some() || (step.unattended && action.may_be_unattended), "{step:?}");
        if action.requires_revoke {
            let next = plan.steps.get(index + 1).expect("a revoke follows");
            assert_eq!((next.action.as_str(), next.phase), (REVOKE, step.phase));
            assert_eq!(next.follows.as_ref(), Some(&step.id));
            assert!(next.when.is_none() && next.approval.is_none() && next.on_failure == OnFailure::Escalate);
        }
        if step.action == "confirm_compromised" {
            assert!(reset.is_none_or(|reset| index < reset));
        }
        assert_eq!(plan.steps.iter().filter(|other| other.id == step.id).count(), 1, "{}", step.id);
    }
}

/// Steps without a mistake of their own; whether they may stand where they stand is the grammar's to say.
fn any_step() -> impl Strategy<Value = String> {
    let verb = prop::sample::select(ACTIONS.iter().map(|action| action.name).collect::<Vec<_>>());
    let extra = prop::sample::select(vec![
        "",
        "",
        "",
        ", approval: on_call",
        ", approval: on_call",
        ", unattended: true",
        ", on_failure: escalate",
        ", when: signal.risk == 'high'",
        ", approval: on_call, when: case.signals == 1",
        ", approval: on_call, on_failure: stop",
    ]);
    (verb, extra, prop::option::of(0..40_u8)).prop_map(|(verb, extra, id)| {
        let with = if verb == "manual" { ", with: { instructions: look }" } else { "" };
        let id = id.map(|n| format!(", id: s{n}")).unwrap_or_default();
        format!("{{ do: {verb}{with}{extra}{id} }}")
    })
}

fn any_phase(longest: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(any_step(), 0..longest).prop_map(|steps| steps.join(", "))
}

/// Steps of recover that have a fair chance to be lawful, so that acceptance is not a rarity.
fn fair_recover() -> impl Strategy<Value = String> {
    let steps = vec![
        "{ do: confirm_compromised, approval: a }",
        "{ do: confirm_compromised, unattended: true }",
        "{ do: reset_password, approval: a }",
        "{ do: revoke_sessions }",
        "{ do: revoke_sessions, id: once_more }",
        "{ do: disable_account, approval: a }",
        "{ do: enable_account, approval: a }",
        "{ do: manual, with: { instructions: x } }",
    ];
    prop::sample::subsequence(steps, 0..=8).prop_shuffle().prop_map(|steps| steps.join(", "))
}

fn lawful_or_refused(phases: &str) -> bool {
    match parse(&playbook(phases), "x.yaml", &Words) {
        Ok(plan) => {
            keeps_the_laws(&plan);
            assert_eq!(unpin(&pin(&plan).json).expect("a plan"), plan);
            true
        }
        Err(wrong) => {
            assert!(!wrong.is_empty() && wrong.iter().all(|one| one.line > 0), "{wrong}");
            false
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_steps_is_refused_or_keeps_the_laws(
        contain in any_phase(3), collect in any_phase(3), eradicate in any_phase(3), recover in any_phase(4),
        lawful_start in any::<bool>(),
    ) {
        let start = if lawful_start { "{ do: revoke_sessions }, " } else { "" };
        lawful_or_refused(&format!(
            "contain: [{start}{contain}]\ncollect: [{collect}]\neradicate: [{eradicate}]\nrecover: [{recover}]\n"
        ));
    }

    #[test]
    fn any_order_of_recover_is_refused_or_keeps_the_laws(recover in fair_recover()) {
        let accepted = lawful_or_refused(&format!("{FIRST}recover: [{recover}]\n"));
        let late = recover.find(RESET).zip(recover.rfind("confirm_compromised")).is_some_and(|(r, c)| c > r);
        prop_assert!(!(accepted && late), "{recover}");
    }

    #[test]
    fn any_text_is_refused_with_a_place_or_is_a_lawful_plan(text in "([a-z]{1,6}|: |\n|  |- |\\[|\\]|\\{|\\}|'|#|&|\\*|!|\\|){0,60}") {
        match parse(&text, "x.yaml", &Words) {
            Ok(plan) => keeps_the_laws(&plan),
            Err(wrong) => prop_assert!(!wrong.render(false).is_empty()),
        }
    }
}
