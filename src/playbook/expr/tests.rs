use proptest::prelude::*;
use serde_json::json;

use super::*;

fn holds(source: &str, context: &Value) -> Result<bool, String> {
    Condition::compile(source).map_err(|error| error.message)?.holds(context)
}

fn refused(source: &str) -> ExprError {
    Condition::compile(source).expect_err(source)
}

#[test]
fn a_condition_answers_from_its_context() {
    let context = json!({
        "signal": { "risk": "high", "evidence": { "ips": ["203.0.113.7"] } },
        "collect": { "read_inbox_rules": { "suspicious": [{ "id": "1" }], "n": 3 } },
    });
    for yes in [
        "signal.risk != 'low'",
        "size(collect.read_inbox_rules.suspicious) > 0",
        "has(signal.risk) && !has(signal.city)",
        "signal.evidence.ips.exists(ip, ip.startsWith('203.'))",
        "collect['read_inbox_rules'].n == 3",
        "signal.risk in ['medium', 'high']",
        "'a.c'.matches('^a\\\\.c$')",
        "type(signal.risk) == string",
        "signal.risk == 'high' ? true : false",
        "int('3') + 1 == 4 && string(3) == '3' && double(1) < 2.0 && uint(1) == 1u && dyn(1) == 1",
        "'abc'.contains('b') && 'abc'.endsWith('c')",
        "collect.read_inbox_rules.suspicious.map(r, r.id).all(id, id == '1')",
        "collect.read_inbox_rules.suspicious.filter(r, has(r.id)).exists_one(r, true)",
    ] {
        assert_eq!(holds(yes, &context), Ok(true), "{yes}");
    }
}

#[test]
fn what_cannot_be_told_is_an_error_and_not_false() {
    let context = json!({ "signal": { "risk": null, "n": "3", "name": "ada@contoso.example" }, "collect": {} });
    for unknown in [
        "signal.city == 'Oslo'",
        "collect.read_user.synced",
        "case.id == 'x'",
        "signal.n + 1 > 3",
        "signal.n > 3",
        "signal.name",
        "signal.risk",
        "signal.n / 0 == 1",
        "[1][3] == 1",
    ] {
        let error = holds(unknown, &context).expect_err(unknown);
        assert!(!error.contains("ada@"), "{unknown}: {error}");
    }
    assert_eq!(holds("signal.city == 'Oslo'", &context), Err("there is no 'city' in the data".into()));
    assert_eq!(holds("case.x", &context), Err("there is no 'case' yet".into()));
    assert!(holds("signal.name", &context).expect_err("text").contains("neither true nor false"));
}

#[test]
fn what_can_never_be_an_answer_is_refused_at_load_time() {
    for (source, told) in [
        ("size(signal.ips)", "not true or false"),
        ("'high'", "not true or false"),
        ("1 + 1", "not true or false"),
        ("[true]", "not true or false"),
        ("signal.risk = 'low'", "write '=='"),
        ("signal.risk & true", "write '&&'"),
        ("signal.risk | true", "write '||'"),
        ("sizee(signal.x) > 0", "did you mean size"),
        ("signal.ips.all(x)", "all is written"),
        ("", "empty"),
        ("   ", "empty"),
        ("signal.", "unexpected '.'"),
        ("signal.risk ==", "ends too early"),
        ("signal.risk == 'a' 'b'", "unexpected"),
        ("'open", "does not end"),
        ("r'raw' == ''", "raw"),
        ("'''x''' == ''", "three quotes"),
        ("true // no", "comments"),
        ("signal.risk == “low”", "no meaning"),
        ("'\\q' == ''", "escape"),
        ("a.all(x, x.all(y, y.all(z, z)))", "loops"),
    ] {
        let error = refused(source);
        assert!(error.message.contains(told), "{source}: {error}");
        assert!(error.offset <= source.len(), "{source}");
    }
}

#[test]
fn references_name_root_path_and_place_and_leave_out_loop_names() {
    let source = "signal.risk == 'low' || collect[\"read_user\"].groups.exists(g, g == case.id) && has(eradicate.a.b)";
    let condition = Condition::compile(source).expect("compiles");
    let told: Vec<String> =
        condition.references().iter().map(|r| format!("{}:{}@{}", r.root, r.path.join("."), r.offset)).collect();
    let at = |word: &str| source.find(word).expect("is there");
    assert_eq!(
        told,
        [
            format!("signal:risk@{}", at("signal")),
            format!("collect:read_user.groups@{}", at("collect")),
            format!("case:id@{}", at("case")),
            format!("eradicate:a.b@{}", at("eradicate")),
        ]
    );
}

#[test]
fn a_condition_without_data_has_a_constant_answer() {
    assert_eq!(Condition::compile("1 > 2").expect("compiles").constant(), Some(false));
    assert_eq!(Condition::compile("true").expect("compiles").constant(), Some(true));
    assert_eq!(Condition::compile("signal.x").expect("compiles").constant(), None);
}

#[test]
fn a_signal_shows_conditions_what_its_source_said_and_nothing_of_ours() {
    let bare = json!({
        "id": format!("sig_{}", "0".repeat(32)), "delivery": format!("dlv_{}", "0".repeat(32)), "source": "sentinel",
        "tenant": "contoso", "received_at": "2026-01-02T03:04:05Z", "traceparent": "00-1-2-01",
        "kind": "impossible_travel", "raw_kind": "impossibleTravel", "risk": "unknown", "title": "t", "shape": "incident",
        "subject": { "upn": "ada@contoso.example" }, "activity_at": "2026-01-02T03:00:00Z",
        "detected_at": "2026-01-02T03:01:00Z", "refs": { "alert": "1" }, "evidence": { "ips": ["203.0.113.7"] },
        "content": "00", "outcome": { "outcome": "act" },
    });
    let full: Signal = serde_json::from_value(bare.clone()).expect("a signal");
    let context = signal_context(&full);
    let mut shown: Vec<&str> = context.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut known = SIGNAL_FIELDS.to_vec();
    shown.sort_unstable();
    known.sort_unstable();
    assert_eq!(shown, known);
    assert_eq!(context["risk"], "unknown");

    let mut poor = full;
    poor.finding.activity_at = None;
    poor.finding.evidence = crate::domain::signal::Evidence::default();
    poor.finding.refs.clear();
    let context = json!({ "signal": signal_context(&poor) });
    assert_eq!(holds("size(signal.evidence.ips) == 0 && !has(signal.refs.alert)", &context), Ok(true));
    assert_eq!(holds("has(signal.activity_at)", &context), Ok(false));
    assert!(holds("signal.activity_at > signal.detected_at", &context).is_err());
}

#[test]
fn hostile_sources_are_refused_or_compiled_without_harm() {
    let chain = |part: &str, n: usize| vec![part; n].join("");
    for source in [
        chain("(", 2_000) + &chain(")", 2_000),
        chain("[", 500) + &chain("]", 500),
        chain("!", 4_000) + "true",
        chain("-", 4_000) + "1",
        chain("a.", 2_000) + "b",
        chain("a+", 2_000) + "b",
        chain("a?b:", 1_000) + "c",
        chain("a||", 1_300) + "b",
        "\"".to_owned() + &chain("(", 4_000),
        "x".repeat(5_000),
        "é".repeat(1_000),
    ] {
        let error = refused(&source);
        assert!(error.message.len() < 300, "{error}");
    }
    for allowed in [
        chain("!", 398) + "true",
        chain("-", 300) + "1 == 1",
        chain("a.", 198) + "b",
        chain("a+", 198) + "b == 1",
        chain("a?b:", 90) + "c",
        chain("a||", 132) + "b",
        chain("(", 32) + "true" + &chain(")", 32),
        chain("{1:", 32) + "1" + &chain("}", 32) + " == 1",
        chain("[", 32) + &chain("]", 32) + " == []",
        "true == ".to_owned() + &chain("true == ", 198) + "true",
    ] {
        // Whether the compiler takes it is its business; that it and evaluation come back, with words, is ours.
        let told = Condition::compile(&allowed).map(|condition| condition.holds(&json!({ "a": 1, "b": true })));
        let words = told.map(|answer| answer.err().unwrap_or_else(|| "answered".into()));
        assert!(!words.unwrap_or_else(|error| error.message).is_empty(), "{allowed}");
    }
}

#[test]
fn pinned_conditions_are_compiled_once_and_errors_are_told_each_time() {
    let conditions = Conditions::new();
    let context = json!({ "signal": { "risk": "low" } });
    for _ in 0..2 {
        assert_eq!(conditions.holds("signal.risk == 'low'", &context), Ok(true));
        assert!(conditions.holds("signal.risk ==", &context).is_err());
    }
    for n in 0..MAX_CACHED + 10 {
        assert_eq!(conditions.holds(&format!("{n} >= 0"), &context), Ok(true));
    }
    assert!(conditions.compiled.lock().expect("not poisoned").len() <= MAX_CACHED);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_compiler_or_the_evaluator_panic(
        source in "([a-z]{1,3}|[0-9]|'x'|\\.|\\(|\\)|\\[|\\]|\\{|\\}|==|!=|&&|\\|\\||!|-|\\?|:|,|\\+| in |has|size|all){0,30}"
    ) {
        if let Ok(condition) = Condition::compile(&source) {
            let answer = condition.holds(&json!({ "a": { "b": [1, "x", null] }, "x": true }));
            prop_assert_ne!(answer, Err(String::new()));
        }
    }

    #[test]
    fn arbitrary_text_is_refused_with_an_offset_inside_it(source in "\\PC{0,60}") {
        if let Err(error) = Condition::compile(&source) {
            prop_assert!(error.offset <= source.len());
        }
    }
}
