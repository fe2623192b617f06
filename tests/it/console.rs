//! The console's pages: rendered in every state, small, escaped, complete; and the browser's half of the seal.

mod facts;
mod gallery;
mod sample;
mod seal;
mod told;

use std::path::PathBuf;

use gallery::{Shot, gallery};

/// What a page may weigh.
const HEAVIEST: usize = 100 * 1024;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("console")
}

fn count(html: &str, what: &str) -> usize {
    html.matches(what).count()
}

#[test]
fn every_page_in_every_state_is_whole_and_small_and_lies_ready_to_be_looked_at() {
    let folder = folder();
    std::fs::create_dir_all(&folder).expect("a folder for the pages");
    let shots = gallery();
    for Shot { name, html, .. } in &shots {
        assert!(html.len() < HEAVIEST, "{name} has {} bytes", html.len());
        assert!(html.starts_with("<!doctype html>"), "{name} does not begin as a page");
        assert!(html.trim_end().ends_with("</html>"), "{name} breaks off");
        for once in ["<h1", "<main ", "</main>", "class=\"skip\""] {
            assert_eq!(count(html, once), 1, "{name}: {once}");
        }
        // Drawings have titles of their own.
        let head = html.split("</head>").next().expect("a head");
        assert_eq!(count(head, "<title>"), 1, "{name}: <title>");
        std::fs::write(folder.join(format!("{name}.html")), html).expect("a page is written");
    }
    let mut names: Vec<&str> = shots.iter().map(|shot| shot.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), shots.len(), "two pages share a name");
}

#[test]
fn no_page_has_inline_script_style_or_anything_from_elsewhere() {
    for Shot { name, html, .. } in gallery() {
        for bad in
            [" style=", "<style", "javascript:", " onclick", " onload", " onerror=\"", "src=\"http", "href=\"http"]
        {
            assert!(!html.contains(bad), "{name} has {bad}");
        }
        for (at, _) in html.match_indices("<script") {
            let tag = &html[at..at + html[at..].find("</script>").expect("a script ends")];
            assert!(tag.contains(" src=\"/console/assets/") && tag.ends_with('>'), "{name}: {tag}");
        }
    }
}

#[test]
fn every_id_is_there_once_and_every_label_and_reference_finds_it() {
    for Shot { name, html, .. } in gallery() {
        let values = |attribute: &str| -> Vec<String> {
            let opening = format!(" {attribute}=\"");
            html.split(&opening).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
        };
        let mut ids = values("id");
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "{name} has an id twice");
        for reference in ["for", "aria-labelledby", "aria-describedby"].iter().flat_map(|attribute| values(attribute)) {
            assert!(ids.contains(&reference), "{name} refers to {reference}");
        }
    }
}

#[test]
fn a_hostile_name_is_text_and_stays_on_its_line() {
    for Shot { name, html, .. } in gallery() {
        assert!(!html.contains("<script>") && !html.contains("<img"), "{name} lets markup through");
        for hidden in ['\u{202E}', '\u{2066}', '\u{200B}', '\u{0}', '\u{FEFF}'] {
            assert!(!html.contains(hidden), "{name} lets {:?} through", hidden);
        }
        assert!(!html.contains(&"A".repeat(4_001)), "{name} shows all of ten thousand characters");
    }
    let hostile = gallery().into_iter().find(|shot| shot.name == "home-hostile").expect("the page of hostile names");
    assert!(hostile.html.contains("&#60;script&#62;") || hostile.html.contains("&lt;script&gt;"), "shown as text");
}

#[test]
fn the_names_that_tools_rely_on_are_there() {
    let shots = gallery();
    let html =
        |name: &str| &shots.iter().find(|shot| shot.name == name).unwrap_or_else(|| panic!("no page {name}")).html;
    for (page, name) in [
        ("home", "<h1>Identities at risk</h1>"),
        ("tasks", "<h1>Tasks</h1>"),
        ("task", "Task</span></h1>"),
        ("task", ">Approve</button>"),
        ("task", ">Deny</button>"),
        ("task", ">Show password</button>"),
        ("task", ">Copy password</button>"),
        ("task", ">I have passed it on</button>"),
        ("task", "<h2 id=\"reveal-title\" tabindex=\"-1\">Temporary password</h2>"),
        ("case", "Case</span></h1>"),
        ("case", ">Revoke sessions</button>"),
        ("buried", "<h1>Buried</h1>"),
        ("playbooks", "<h1>Playbooks</h1>"),
        ("audit", "<h1>Audit</h1>"),
        ("overview", "<h1>Overview</h1>"),
        ("settings", ">Pause</button>"),
        ("settings-paused", ">Resume</button>"),
        ("sign-in", ">Sign in with a passkey</button>"),
    ] {
        assert!(html(page).contains(name), "{page} lacks {name}");
    }
}

#[test]
fn a_viewer_is_offered_nothing_and_told_why() {
    let shots = gallery();
    for name in ["task-viewer", "task-subject"] {
        let html = &shots.iter().find(|shot| shot.name == name).expect("the page").html;
        assert!(!html.contains(">Approve</button>") && !html.contains(">Deny</button>"), "{name} offers a decision");
        assert!(html.contains("You cannot decide this: "), "{name} says why not");
    }
}

#[test]
fn a_region_fetched_alone_is_the_one_of_the_page() {
    let mut alive = 0;
    for Shot { name, html, live, status } in gallery() {
        let Some(live) = live else { continue };
        alive += 1;
        assert!(live.contains("id=\"live\"") && !live.contains("<html"), "{name}: {live:.80}");
        assert!(html.contains(live.trim()), "{name}: the region differs from the page's");
        assert!(status.trim().starts_with("<div id=\"status\""), "{name}: {status:.80}");
    }
    assert!(alive > 5, "pages that keep themselves up to date: {alive}");
}

#[test]
fn residual_exposure_is_told_with_its_times_and_its_limits() {
    let shots = gallery();
    let html = &shots.iter().find(|shot| shot.name == "case").expect("the page").html;
    for text in [
        "Revoked 0.4 s after receipt",
        "Exchange, SharePoint and Teams",
        "14:17 UTC",
        "15:32 UTC",
        "16:02 UTC",
        "out of reach",
    ] {
        assert!(html.contains(text), "the case lacks {text}");
    }
    let guest = &shots.iter().find(|shot| shot.name == "case-guest").expect("the page").html;
    assert!(guest.contains("Not contained here") && guest.contains("home tenant"), "a guest is not ours to contain");
}

#[test]
fn every_task_state_has_a_page_that_says_how_it_stands() {
    let shots = gallery();
    for word in [
        "pending",
        "escalated",
        "approved",
        "denied",
        "expired",
        "cancelled",
        "revoked",
        "lapsed",
        "claimed",
        "executed",
        "failed",
        "unknown",
        "sealed",
        "revealed",
        "reveal_expired",
    ] {
        let name = format!("task-{word}");
        let shot = shots.iter().find(|shot| shot.name == name).unwrap_or_else(|| panic!("no page {name}"));
        let decidable = matches!(word, "pending" | "escalated");
        assert_eq!(shot.html.contains(">Approve</button>"), decidable, "{name}");
        let withdrawable = decidable || matches!(word, "approved" | "failed");
        assert_eq!(shot.html.contains(">Deny</button>"), withdrawable, "{name}");
    }
}
