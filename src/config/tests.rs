use std::path::Path;

mod reviewers;

use secrecy::ExposeSecret;

use super::*;
use crate::store::postgres::Tls;

const WHSEC: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn environment() -> Environment {
    Environment::of([
        ("OUST_CLIENT_SECRET", "the client's secret"),
        ("OUST_SENTINEL_SECRET", WHSEC),
        ("OUST_HMAC_SECRET", "0123456789abcdef"),
        ("OUST_BEARER_SECRET", "0123456789abcdef"),
        ("OUST_QUERY_SECRET", "0123456789abcdef"),
        ("OUST_CLIENT_STATE", "0123456789abcdef"),
        ("OUST_SPLUNK_SECRET", "0123456789abcdef"),
        ("OUST_SHORT", "whsec_AAAA"),
    ])
}

fn options() -> Options {
    Options { environment: environment(), inline_secrets: false }
}

fn read(text: &str) -> Result<Loaded, Diagnostics> {
    parse(text, Path::new("/etc/oust/oust.yaml"), &options())
}

/// The smallest configuration, with more lines.
fn with(more: &str) -> String {
    format!(
        "mode: enforce\ntenants:\n  - name: contoso\n    tenant_id: 11111111-2222-3333-4444-555555555555\n    \
         credential: {{ client_id: 22222222-3333-4444-5555-666666666666, client_secret: {{ env: OUST_CLIENT_SECRET }} }}\n{more}"
    )
}

#[track_caller]
fn refused(text: &str, place: (usize, usize), words: &str) {
    let found = read(text).expect_err("it is wrong");
    let hit = found.iter().find(|one| one.message.contains(words) && one.severity == Severity::Error);
    let hit = hit.unwrap_or_else(|| panic!("{words:?} is not among:\n{found}"));
    assert_eq!((hit.line, hit.column), place, "{hit}");
}

#[test]
fn the_annotated_example_is_valid_and_means_what_it_says() {
    let Loaded { config, .. } = read(EXAMPLE).expect("the example is valid");
    assert_eq!(config.mode, Mode::Shadow);
    assert!(matches!(&config.store, StoreAt::Sqlite(path) if path == Path::new("/etc/oust/oust.db")));
    assert_eq!(config.sources.len(), 3);
    assert_eq!(config.tenants[0].credential.client_secret.expose_secret(), "the client's secret");
    assert_eq!(config.guards.blast_radius.map(|cap| cap.revocations), Some(500));
    assert_eq!(config.approvals["on_call"].escalate.as_ref().map(|e| e.to.len()), Some(1));
    assert_eq!(config.limits, Limits::default(), "the example shows the defaults");
    assert!(!format!("{config:?}").contains("the client's secret"));
}

#[test]
fn the_smallest_configuration_has_safe_defaults_and_warns() {
    let Loaded { config, warnings } = read(&with("").replace("mode: enforce\n", "")).expect("valid");
    assert_eq!(config.mode, Mode::Shadow);
    assert_eq!(config.guards.privileged, Privileged::Task);
    assert_eq!(config.guards.max_age.as_secs(), 72 * 3600);
    assert!(config.listen.ip().is_loopback());
    for words in ["shadow", "blast_radius", "break_glass", "no sources"] {
        assert!(warnings.iter().any(|one| one.message.contains(words)), "{words} in {warnings}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once_with_their_places() {
    let text = "listen: nowhere\nmod: enforce\nmode: enforc\nguards:\n  break_glass: [me]\n  max_age: soon\n";
    let found = read(text).expect_err("all wrong");
    let places: Vec<_> = found
        .iter()
        .filter(|one| one.severity == Severity::Error)
        .map(|one| (one.line, one.column, one.message.split(':').next().unwrap_or_default().to_owned()))
        .collect();
    let lines: Vec<usize> = places.iter().map(|(line, ..)| *line).collect();
    for line in [1, 2, 3, 5, 6] {
        assert!(lines.contains(&line), "line {line} in {places:?}");
    }
    assert!(found.iter().any(|one| one.message.contains("tenants")));
    assert!(found.iter().any(|one| one.help.as_deref() == Some("did you mean mode?")), "{}", found.render(false));
    assert!(found.iter().any(|one| one.help.as_deref() == Some("did you mean enforce?")), "{}", found.render(false));
}

#[test]
fn what_a_later_version_brings_is_refused_by_name() {
    let absent = "is not available in this version";
    refused(&with("notifiers: []\n"), (6, 1), absent);
    refused(&with("    poll: { alerts: 1s }\n"), (6, 21), "between 10s and 1h");
    refused(&with("    recover_credential: { managed_identity: {} }\n"), (6, 27), absent);
    refused(&with("sources: [{ name: a, kind: microsoft, auth: [{ entra: { audience: x } }] }]\n"), (6, 48), absent);
}

#[test]
fn a_key_that_stands_twice_is_a_mistake() {
    refused(&with("listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n"), (7, 1), "twice");
}

#[test]
fn variables_win_over_the_file_and_their_mistakes_name_them() {
    let mut options = options();
    options.environment = Environment::of([
        ("OUST_LISTEN", "0.0.0.0:9"),
        ("OUST_LOG", "json"),
        ("OUST_CLIENT_SECRET", "x"),
        ("OUST_LISTN", "0.0.0.0:10"),
        ("OUST_MAX_BODY", "2MiB"),
    ]);
    let loaded = parse(&with("listen: 127.0.0.1:1\n"), Path::new("oust.yaml"), &options).expect("valid");
    assert_eq!(loaded.config.listen.to_string(), "0.0.0.0:9");
    assert_eq!(loaded.config.telemetry.log, telemetry::Log::Json);
    assert_eq!(loaded.config.limits.max_body, 2 * 1024 * 1024);
    assert!(loaded.warnings.iter().any(|one| one.message.contains("OUST_LISTN")));
    options.environment = Environment::of([("OUST_MODE", "on"), ("OUST_CLIENT_SECRET", "x")]);
    let found = parse(&with(""), Path::new("oust.yaml"), &options).expect_err("no such mode");
    assert!(found.iter().any(|one| one.file == "OUST_MODE" && one.line == 0), "{found}");
}

#[test]
fn a_secret_in_clear_is_refused_and_never_shown() {
    let text = with("").replace("{ env: OUST_CLIENT_SECRET }", "hunter2hunter2");
    let found = read(&text).expect_err("in clear");
    assert!(found.iter().any(|one| one.message.contains("in clear")));
    assert!(!found.render(false).contains("hunter2"), "{}", found.render(false));
    assert!(!found.json().to_string().contains("hunter2"));
    let demo = Options { inline_secrets: true, ..options() };
    let loaded = parse(&text, Path::new("oust.yaml"), &demo).expect("a demonstration may");
    assert_eq!(loaded.config.tenants[0].credential.client_secret.expose_secret(), "hunter2hunter2");
}

#[cfg(unix)]
#[test]
fn a_secret_file_that_all_can_read_is_warned_of_and_an_empty_one_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    let text = with("").replace("{ env: OUST_CLIENT_SECRET }", "{ file: secret }");
    let file = folder.path().join("oust.yaml");
    std::fs::write(&secret, "s3cret\n").expect("written");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).expect("set");
    let loaded = parse(&text, &file, &options()).expect("valid");
    assert_eq!(loaded.config.tenants[0].credential.client_secret.expose_secret(), "s3cret");
    assert!(loaded.warnings.iter().any(|one| one.message.contains("can read this secret")));
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("set");
    let loaded = parse(&text, &file, &options()).expect("valid");
    assert!(!loaded.warnings.iter().any(|one| one.message.contains("can read this secret")));
    std::fs::write(&secret, " \n").expect("written");
    assert!(parse(&text, &file, &options()).expect_err("empty").to_string().contains("the file is empty"));
    std::fs::remove_file(&secret).expect("removed");
    assert!(parse(&text, &file, &options()).is_err());
}

#[test]
fn sources_are_checked_as_strictly_as_the_rest() {
    let source = |body: &str| with(&format!("sources:\n  - {{ {body} }}\n"));
    let bearer = "auth: [{ bearer: { secrets: [{ env: OUST_BEARER_SECRET }] } }]";
    read(&source(&format!("name: a, kind: microsoft, {bearer}"))).expect("valid");
    for (body, words) in [
        ("name: a, kind: microsoft".to_owned(), "believe anybody"),
        ("name: a, kind: microsoft, auth: []".to_owned(), "believe anybody"),
        (format!("name: a/b, kind: microsoft, {bearer}"), "cannot name a source"),
        (format!("name: a, kind: microsft, {bearer}"), "kind must be"),
        (format!("name: a, kind: microsoft, tenant: other, {bearer}"), "no tenant is called"),
        (format!("name: a, kind: microsoft, {bearer}, rate: 5/h"), "rate must be"),
        (format!("name: a, kind: microsoft, {bearer}, rate: 0/s"), "rate must be"),
        (format!("name: a, kind: microsoft, {bearer}, networks: [10.0.0.0/33]"), "is not a network"),
        (format!("name: a, kind: microsoft, {bearer}, map: {{}}"), "unknown key 'map'"),
        (format!("name: a, kind: graph, client_state: {{ secrets: [] }}, {bearer}"), "takes no auth"),
        ("name: a, kind: graph".to_owned(), "lacks client_state"),
        ("name: a, kind: microsoft, auth: [{ bearer: { secrets: [] } }]".to_owned(), "no secrets"),
        ("name: a, kind: microsoft, auth: [{ bearer: { secrets: [{ env: NOPE }] } }]".to_owned(), "is not set"),
        (
            "name: a, kind: microsoft, auth: [{ standard_webhooks: { secrets: [{ env: OUST_SHORT }] } }]".to_owned(),
            "standard_webhooks",
        ),
        ("name: a, kind: mapped, auth: [{ magic: {} }]".to_owned(), "no way to authenticate"),
    ] {
        let found = read(&source(&body)).expect_err(&body);
        assert!(found.iter().any(|one| one.message.contains(words)), "{body}: {words:?} is not in\n{found}");
    }
    let twice = with(&format!(
        "sources:\n  - {{ name: a, kind: microsoft, {bearer} }}\n  - {{ name: a, kind: microsoft, {bearer} }}\n"
    ));
    refused(&twice, (8, 5), "two sources are called a");
}

#[test]
fn policies_that_nobody_could_decide_are_refused() {
    refused(&with("approvals: { on_call: { reviewers: [] } }\n"), (6, 36), "names nobody");
    refused(&with("approvals: { on_call: { reviewers: ['team:x'] } }\n"), (6, 37), "names no reviewer");
    let late = "approvals: { a: { reviewers: [b], decide_within: 1h, escalate: { after: 2h, to: [c] } } }\n";
    refused(&with(late), (6, 17), "escalate.after");
    let unsure = "approvals: { a: { reviewers: [b], fresh_at_claim: perhaps } }\n";
    refused(&with(unsure), (6, 51), "true or false");
    let fresh = read(&with("approvals: { a: { reviewers: [b], fresh_at_claim: true } }\n")).expect("valid");
    assert!(fresh.config.approvals["a"].fresh_at_claim);
}

#[test]
fn a_secret_never_travels_without_tls_beyond_this_machine() {
    refused(&with("    graph_url: http://graph.example\n"), (6, 16), "must be https");
    read(&with("    graph_url: http://127.0.0.1:9000/\n")).expect("this machine");
    refused(&with("    graph_url: 'https://u:p@graph.example'\n"), (6, 16), "no user");
}

#[test]
fn hostile_files_are_refused_and_empty_ones_say_what_is_missing() {
    for text in ["", "~", "[]", "a: [", "\u{0}", "- - - -", "tenants: {}", "tenants: [[]]", "guards: 1"] {
        assert!(read(text).is_err(), "{text:?}");
    }
    assert!(read("").expect_err("nothing").to_string().contains("no tenants"));
    assert!(read(&"a: b\n".repeat(100_000)).is_err());
}

#[test]
fn the_store_alone_can_be_found_in_a_file_with_other_mistakes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("oust.yaml");
    std::fs::write(&file, "store: sqlite:state/x.db\nnonsense: 1\n").expect("written");
    let found = store_of(&file, &options()).expect("found");
    assert_eq!(found.to_string(), folder.path().join("state/x.db").display().to_string());
    std::fs::write(&file, "store: mysql://x\n").expect("written");
    assert!(matches!(store_of(&file, &options()), Err(Error::Wrong { .. })));
}

#[test]
fn a_shared_store_is_a_url_a_secret_or_a_mapping() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, ca) = (folder.path().join("oust.yaml"), folder.path().join("ca.pem"));
    std::fs::write(folder.path().join("password"), "hunter2\n").expect("written");
    std::fs::write(&ca, "PEM").expect("written");
    let environment = Environment::of([("DATABASE", "postgresql://oust:hunter2@db.contoso.example/cases")]);
    let options = Options { environment, ..options() };
    let found = |text: &str| {
        std::fs::write(&file, text).expect("written");
        match store_of(&file, &options).expect(text) {
            StoreAt::Postgres(config) => config,
            other => panic!("{text}: {other:?}"),
        }
    };
    let inline = found("store: postgres://oust:hunter2@db.contoso.example:6432/cases?sslmode=require\n");
    assert_eq!((inline.tls, inline.has_password(), inline.pool), (Tls::Require, true, 16));
    assert_eq!(StoreAt::Postgres(inline.clone()).to_string(), "cases at db.contoso.example:6432");
    assert!(!format!("{inline:?}").contains("hunter2"));
    let secret = found("store: { env: DATABASE }\n");
    assert_eq!((secret.tls, secret.has_password()), (Tls::Verify, true));
    let url = "url: postgres://oust@db.contoso.example/cases";
    let apart = found(&format!("store: {{ {url}, password: {{ file: password }}, ca: ca.pem, pool: 40 }}\n"));
    assert_eq!((apart.has_password(), apart.ca.as_deref(), apart.pool), (true, Some(ca.as_path()), 40));
}

#[test]
fn a_password_in_the_file_is_warned_about_and_never_shown() {
    let text = with("store: postgres://oust:hunter2@127.0.0.1/cases\n");
    let Loaded { warnings, .. } = read(&text).expect("it works");
    assert!(warnings.iter().any(|one| one.message.contains("stands here in clear")), "{warnings}");
    assert!(!warnings.render(false).contains("hunter2"), "{warnings}");
    let long = format!("store: postgres://oust:hunter2@127.0.0.1/cases?application_name={}\n", "x".repeat(500));
    let Loaded { warnings, .. } = read(&with(&long)).expect("it works");
    assert!(!warnings.render(false).contains("hunter2"), "a long line is cut, and hidden all the same: {warnings}");
    for (store, words) in [
        ("store: postgres://oust:hunter2@127.0.0.1\n", "names no database"),
        ("store: postgres://oust:hunter2@127.0.0.1/d?sslmode=perhaps\n", "sslmode must be"),
        ("store: mysql://oust:hunter2@127.0.0.1/d\n", "store must be"),
        ("store: { url: 'postgres://oust:hunter2@127.0.0.1/d', pool: 0 }\n", "pool must be"),
        ("store: { url: 'postgres://oust:hunter2@127.0.0.1/d', ca: nowhere.pem }\n", "is not a file"),
        ("store: { url: 'postgres://oust:hunter2@127.0.0.1/d', password: { env: NOWHERE } }\n", "is not set"),
        ("store: { url: 'sqlite:x.db', pool: 3 }\n", "has no password, ca or pool"),
        ("store: { url: 'postgres://oust:hunter2@127.0.0.1/d', colour: red }\n", "unknown key"),
        ("store: [1]\n", "must be text"),
    ] {
        let found = read(&with(store)).expect_err(store);
        assert!(found.iter().any(|one| one.message.contains(words)), "{store}: {found}");
        assert!(!found.render(false).contains("hunter2"), "{store}: {found}");
    }
}

fn broker(more: &str) -> Result<(QueueAt, Option<SpoolAt>, Diagnostics), Diagnostics> {
    let Loaded { config, warnings } = read(&with(more))?;
    Ok((config.queue, config.spool, warnings))
}

#[test]
fn a_broker_is_named_in_every_form() {
    for form in [
        "queue: amqps://ada:hunter2@mq.contoso.example/prod\n",
        "queue: { env: OUST_BROKER }\n",
        "queue: { url: 'amqps://ada@mq.contoso.example/prod', password: { env: OUST_SHORT } }\n",
        "queue: { url: { env: OUST_BROKER }, prefix: eu, prefetch: 64, in_flight: 10 }\nspool: spool.db\n",
    ] {
        let url = "amqps://ada:hunter2@mq.contoso.example/prod";
        let environment =
            Environment::of([("OUST_CLIENT_SECRET", "x"), ("OUST_SHORT", "hunter2"), ("OUST_BROKER", url)]);
        let options = Options { environment, inline_secrets: false };
        let loaded = parse(&with(form), Path::new("/etc/oust/oust.yaml"), &options).expect(form);
        let QueueAt::Amqp(config) = &loaded.config.queue else { panic!("{form}") };
        assert_eq!(config.endpoint.to_string(), "amqps://ada@mq.contoso.example:5671/prod");
        assert!(!format!("{:?} {}", loaded.config, loaded.warnings).contains("hunter2"), "{form}");
        let warned = loaded.warnings.iter().any(|one| one.message.contains("password stands here"));
        assert_eq!(warned, form.contains("hunter2"), "{form}: {}", loaded.warnings);
        if form.contains("prefix") {
            assert_eq!((config.prefix.as_str(), config.prefetch, config.in_flight), ("eu", 64, 10));
            let spool = loaded.config.spool.expect("a spool");
            assert_eq!((spool.path.as_path(), spool.max), (Path::new("/etc/oust/spool.db"), 1 << 30));
        }
    }
    let (_, spool, _) = broker("queue: amqp://localhost\nspool: { path: /x/s.db, max: 2GiB }\n").expect("valid");
    assert_eq!(spool, Some(SpoolAt { path: "/x/s.db".into(), max: 2 << 30 }));
}

#[test]
fn a_broker_that_cannot_be_is_refused_and_its_password_not_repeated() {
    let cases = [
        ("queue: amqp:///v\n", "names no host"),
        ("queue: amqp://u:hunter2@h/v?x=1\n", "must end with the vhost"),
        ("queue: ampq://u:hunter2@h\n", "not a broker's address"),
        ("queue: rabbit\n", "must be embedded"),
        ("queue: [a]\n", "must be text"),
        ("queue: { password: { env: OUST_SHORT } }\n", "lacks url"),
        ("queue: { url: 'amqp://localhost', ca: /no/such.pem }\n", "is no file"),
        ("queue: { url: 'amqps://h', certificate: /dev/null }\n", "is no file"),
        ("queue: { url: 'amqp://localhost', prefix: 'a b' }\n", "does not name queues"),
        ("queue: { url: 'amqp://localhost', prefetch: 0 }\n", "whole number"),
        ("queue: { url: 'amqp://localhost', heartbeat: 3 }\n", "unknown key"),
        ("queue: { url: 'amqp://localhost', password: hunter2 }\n", "in clear"),
        ("queue: amqp://localhost\nspool: { max: 1GiB }\n", "lacks path"),
        ("queue: amqp://localhost\nspool: { path: s, max: 1 }\n", "must be a size"),
        ("queue: amqp://localhost\nlimits: { max_body: 16MiB }\n", "max_body"),
        ("queue: embedded\nspool: spool.db\n", "in front of a broker"),
        ("spool: spool.db\n", "in front of a broker"),
    ];
    for (text, words) in cases {
        let found = read(&with(text)).expect_err(text);
        assert!(found.iter().any(|one| one.message.contains(words)), "{text}: {found}");
        assert!(!format!("{found:?} {}", found.render(false)).contains("hunter2"), "{text}: {found}");
    }
}

#[test]
fn a_broker_beyond_this_machine_without_tls_is_warned_about() {
    let (_, _, warnings) = broker("queue: amqp://mq.contoso.example\n").expect("valid");
    assert!(warnings.iter().any(|one| one.message.contains("without TLS")), "{warnings}");
    let (_, _, warnings) = broker("queue: amqp://127.0.0.1:5672\n").expect("valid");
    assert!(!warnings.iter().any(|one| one.message.contains("TLS")), "{warnings}");
}
