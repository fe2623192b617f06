//! Every URL the pages use, in one place, with what it expects. `GET`s change nothing; everything else is a `POST`
//! that carries `csrf` (a form field; the header `X-CSRF-Token` from scripts).
//!
//! A form with `data-decide` is a decision: `decide.js` sends its fields as one JSON object to [`DECIDE_BEGIN`], the
//! answer `{"ceremony": …, "publicKey": …}` is proved with a passkey and sent to [`DECIDE_FINISH`] as `{"ceremony": …,
//! "credential": …}`; `{"redirect": url}` goes to the identity provider instead. A form with `data-proof` is anything
//! else: its fields go as JSON to its `action`; a refusal with `"step_up": true` is proved at `/console/prove/…` and sent
//! again. Either is answered with `{"location": url}`, where to go when it is done. Refusals are
//! `application/problem+json` with `title`, `detail` and, for a 409, `difference: [{"what", "shown", "now"}]`.
//! Without script the same form is posted to its `action`, and answered with a page.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::domain::{BuriedId, CaseId, TaskId};

/// Identities at risk.
pub const HOME: &str = "/console";
/// Contained, and whoever has the password gets in again.
pub const PASSWORD_UNCHANGED: &str = "/console?state=password_unchanged";
pub const TASKS: &str = "/console/tasks";
pub const BURIED: &str = "/console/buried";
pub const PLAYBOOKS: &str = "/console/playbooks";
pub const AUDIT: &str = "/console/audit";
pub const OVERVIEW: &str = "/console/overview";
pub const SETTINGS: &str = "/console/settings";
pub const SIGN_IN: &str = "/console/sign-in";
/// Server-sent events: `event: changed`, `data: {"topics": ["cases", "task:task_…"]}`; a comment every 15 s. Topics:
/// `status` (pause, mode), `cases`, `case:<id>`, `tasks`, `task:<id>`, `buried`, `playbooks`, `audit`, `overview`,
/// `settings`, and `*` for everything (something was missed). The last event is `event: ended` with `data: session` (it is
/// over) or `data: crowded` (this session opened too many); a stream without it broke off.
pub const EVENTS: &str = "/console/events";
/// See the module's head.
pub const DECIDE_BEGIN: &str = "/console/decide/begin";
/// See the module's head.
pub const DECIDE_FINISH: &str = "/console/decide/finish";
/// Form: `verdict` (`approve`, `deny`), `reason`, and `task` once per chosen task, as `id/revision/digest`.
pub const BULK: &str = "/console/tasks/decisions";
/// Form: `reason`.
pub const PAUSE: &str = "/console/pause";
/// Form: `reason`.
pub const RESUME: &str = "/console/resume";

const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Text as one segment of a path or one value of a query.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// One task.
pub fn task(id: TaskId) -> String {
    format!("{TASKS}/{id}")
}

/// Form: `task`, `revision`, `digest`, `verdict` (`approve`, `deny`), `reason`, and `recipient_key` where the task
/// reveals a secret.
pub fn decision(id: TaskId) -> String {
    format!("{TASKS}/{id}/decision")
}

/// Form: `task`, `revision`, `note`.
pub fn done(id: TaskId) -> String {
    format!("{TASKS}/{id}/done")
}

/// Form: `task`, `revision`, `object_id`: who a held task is about.
pub fn named(id: TaskId) -> String {
    format!("{TASKS}/{id}/person")
}

/// JSON `{"key": …}` while the deciding browser has the page open (every 15 s); 204.
pub fn presence(id: TaskId) -> String {
    format!("{TASKS}/{id}/presence")
}

/// JSON `{"key": …}`: 200 `{"enc", "ciphertext", "until"}` (the first fetch starts the 15 minutes), 404 not yet, 403,
/// 409 and 410 when it is over.
pub fn reveal(id: TaskId) -> String {
    format!("{TASKS}/{id}/reveal")
}

/// JSON `{"key": …}`: "I have passed it on"; 204.
pub fn acknowledge(id: TaskId) -> String {
    format!("{TASKS}/{id}/acknowledge")
}

/// One case.
pub fn case(id: CaseId) -> String {
    format!("/console/cases/{id}")
}

/// Form: `order` (`revoke`, `reset`, `confirm_compromised`, `dismiss_risk`, `again`, `skip`, `took_effect`,
/// `took_no_effect`, `cancel`, `close`), `run` and `step` where it is about one, `reason`, `policy` for a reset. JSON is
/// answered with `{"location", "task", "revision", "digest", "decide", "reveals"}`: where `decide` is true, the asker
/// decides it, and `decide.js` goes straight on to the proof.
pub fn orders(id: CaseId) -> String {
    format!("/console/cases/{id}/orders")
}

/// The audit trail of one case.
pub fn audit_of(id: CaseId) -> String {
    format!("{AUDIT}?case={id}")
}

/// One buried row.
pub fn buried(id: BuriedId) -> String {
    format!("{BURIED}/{id}")
}

/// Form: `verb` (`replay`, `drop`), `reason`.
pub fn settle_buried(id: BuriedId) -> String {
    format!("{BURIED}/{id}/settle")
}

/// One playbook, by name.
pub fn playbook(name: &str) -> String {
    format!("{PLAYBOOKS}/{}", segment(name))
}

/// A version of it, by the hash that runs are pinned to.
pub fn playbook_version(name: &str, hash: &str) -> String {
    format!("{}?version={}", playbook(name), segment(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_segment() {
        assert_eq!(playbook("../../x?y#z"), "/console/playbooks/..%2F..%2Fx%3Fy%23z");
        assert_eq!(segment("<ü>"), "%3C%C3%BC%3E");
    }
}
