//! The floors hold: imports only go down, and each outside tool is known to one module.

use std::fs;
use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules of `src/lib.rs`, lowest first.
fn floors() -> Vec<String> {
    let map = fs::read_to_string(source().join("lib.rs")).expect("the map is there");
    let name = |line: &str| line.strip_prefix("pub mod ")?.strip_suffix(';').map(str::to_owned);
    map.lines().filter_map(name).collect()
}

/// Every Rust file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder that can be read") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Tests in files of their own may stand on anything, the twin above all.
fn is_test(path: &Path) -> bool {
    path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs" | "testing.rs")))
}

/// The files of each module with its name, comments and tests taken out.
fn modules() -> Vec<(String, PathBuf, String)> {
    let root = source();
    let mut all = Vec::new();
    for path in files(&root) {
        let inside = path.strip_prefix(&root).expect("below src");
        let first = inside.components().next().expect("a name").as_os_str().to_string_lossy();
        let module = first.strip_suffix(".rs").unwrap_or(&first).to_owned();
        if module != "lib" && module != "main" && !is_test(inside) {
            let text = fs::read_to_string(&path).expect("a text file");
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            all.push((module, path.clone(), code.collect::<Vec<_>>().join("\n")));
        }
    }
    all
}

/// The modules that a text reaches by `crate::…`, also in `use crate::{a, b::c}`.
fn reached(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.push(word(rest));
            continue;
        };
        let mut depth = 0_usize;
        let mut start = 0;
        for (index, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    names.push(word(group[start..index].trim_start()));
                    start = index + 1;
                    if c == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn imports_only_go_down() {
    let floors = floors();
    assert!(floors.len() > 10, "the map lost its floors: {floors:?}");
    let floor = |name: &str| floors.iter().position(|floor| floor == name);
    let mut wrong = Vec::new();
    for (module, path, code) in modules() {
        let own = floor(&module).unwrap_or_else(|| panic!("{} is of no module in lib.rs", path.display()));
        for name in reached(&code) {
            if floor(&name).is_some_and(|other| other > own) {
                wrong.push(format!("{}: {module} reaches up to {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_outside_tool_is_known_to_few_modules() {
    let rules: &[(&str, &[&str])] = &[
        ("rusqlite", &["store"]),
        ("tokio_postgres", &["store/postgres"]),
        ("deadpool", &["store/postgres"]),
        ("reqwest", &["graph", "twin", "cli", "http"]),
        ("webauthn_rs", &["http"]),
        ("openidconnect", &["http"]),
        ("axum::", &["http", "twin"]),
        ("clap::", &["cli"]),
        ("serde_saphyr", &["playbook"]),
        ("cel::", &["playbook", "sources"]),
        ("std::env::", &["config"]),
        ("std::process::exit", &[]),
        ("comfy_table", &["cli"]),
        ("anyhow", &["config", "app", "cli"]),
        ("governor", &["http"]),
        ("lapin::", &["queue"]),
        ("async_compat::", &["queue"]),
    ];
    let mut wrong = Vec::new();
    for (module, path, code) in modules() {
        for (tool, allowed) in rules {
            let used = code
                .match_indices(tool)
                .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
            let folder = |allowed: &&str| path.starts_with(source().join(allowed));
            if used && !allowed.contains(&module.as_str()) && !allowed.iter().any(folder) {
                wrong.push(format!("{}: {module} knows {tool}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_ground_does_no_io_and_knows_no_clock_and_no_chance() {
    let banned = [
        "async fn",
        "tokio",
        "tracing",
        "SystemTime",
        "Instant::now",
        "Timestamp::now",
        "rand::",
        "std::fs",
        "std::net",
        "now_v7",
        "new_v4",
    ];
    let mut wrong = Vec::new();
    for (module, path, code) in modules() {
        if module == "domain" {
            let code = code.split("#[cfg(test)]").next().unwrap_or_default();
            wrong.extend(
                banned.iter().filter(|word| code.contains(**word)).map(|word| format!("{}: {word}", path.display())),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn reaching_up_is_noticed_in_every_spelling() {
    assert_eq!(reached("use crate::store::Error;"), ["store"]);
    assert_eq!(reached("use crate::{app, telemetry::{a, b}, http};"), ["app", "telemetry", "http"]);
    assert_eq!(reached("fn f(x: crate::engine::Engine) {}"), ["engine"]);
    assert_eq!(reached("use std::fmt;"), Vec::<String>::new());
}

#[test]
fn every_code_an_operator_can_meet_is_in_the_readme() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("it is there");
    let mut missing = Vec::new();
    for (_, path, code) in modules() {
        for (at, _) in code.match_indices("\"OUST-") {
            let word: String = code[at + 1..].chars().take_while(|c| *c != '"' && *c != '{').collect();
            if word != "OUST-G" && !readme.contains(&format!("`{word}`")) {
                missing.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn the_broker_and_the_database_are_known_to_one_folder_each() {
    let rules = [("lapin", "src/queue/amqp/"), ("async_compat", "src/queue/amqp/"), ("rusqlite", "src/store/sqlite/")];
    let mut wrong = Vec::new();
    for path in files(&source()) {
        let text = fs::read_to_string(&path).expect("a text file");
        let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for (tool, folder) in rules {
            if code.contains(&format!("{tool}::")) && !path.to_string_lossy().contains(folder) {
                wrong.push(format!("{}: knows {tool}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
