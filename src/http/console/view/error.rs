//! Refusals and failures as pages: what happened, and what to do. 5xx say no more than the request's id.

use jiff::Timestamp;

use super::markup::When;
use super::{Names, paths, text, words};
use crate::domain::task::{Changed, Refused};

/// One thing that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub what: String,
    pub shown: String,
    pub now: String,
}

/// The page.
#[derive(Debug, Clone)]
pub struct ErrorView {
    pub status: u16,
    pub title: String,
    pub what: String,
    pub when: Option<When>,
    pub todo: Vec<String>,
    /// A 409's difference.
    pub changes: Vec<Change>,
    /// Where to go on.
    pub links: Vec<(String, &'static str)>,
    pub request_id: Option<String>,
    pub retry_after: Option<u64>,
}

impl ErrorView {
    fn new(status: u16, title: &str, what: &str) -> Self {
        Self {
            status,
            title: title.to_owned(),
            what: text::line(what),
            when: None,
            todo: Vec::new(),
            changes: Vec::new(),
            links: vec![(paths::HOME.to_owned(), "Identities at risk"), (paths::TASKS.to_owned(), "Tasks")],
            request_id: None,
            retry_after: None,
        }
    }

    fn todo(mut self, lines: &[&str]) -> Self {
        self.todo = lines.iter().map(|line| text::line(line)).collect();
        self
    }

    /// Under which the log has the chain.
    pub fn of_request(mut self, id: &str) -> Self {
        self.request_id = text::some(Some(id));
        self
    }

    /// A page to go back to.
    pub fn back_to(mut self, href: String, words: &'static str) -> Self {
        self.links.insert(0, (href, words));
        self
    }

    /// 403.
    pub fn forbidden(why: &str) -> Self {
        Self::new(403, "You may not do this", &words::capital(&format!("{}.", text::line(why).trim_end_matches('.'))))
            .todo(&["Nothing was changed, and the attempt is in the audit trail."])
    }

    /// 404.
    pub fn not_found(what: &str) -> Self {
        Self::new(404, "There is nothing here", &words::capital(what))
            .todo(&["The link may be cut or mistyped: ids look like case_ or task_ and 32 hexadecimal digits."])
    }

    /// 404 of an enrolment link.
    pub fn no_invitation() -> Self {
        let mut view = Self::new(404, "This link does not work", "It was used, has expired or never was.").todo(&[
            "A link makes one passkey and lives for 15 minutes. Ask an operator for another.",
            "You have a passkey already? Then sign in.",
        ]);
        view.links = vec![(paths::SIGN_IN.to_owned(), "Sign in")];
        view
    }

    /// 409 or 403, 422: a decision was refused. The loser is told who was first, when, and what.
    pub fn refused(refused: &Refused, names: &Names, now: Timestamp) -> Self {
        match refused {
            Refused::Conflict { who, when, what } => {
                let by: Vec<String> = who.split(", ").filter(|id| !id.is_empty()).map(|id| who_is(id, names)).collect();
                let by = if by.is_empty() { String::new() } else { format!(" by {}", words::and(&by)) };
                let mut view =
                    Self::new(409, "Somebody was faster", &format!("It is already {}{by}.", text::line(what)))
                        .todo(&["Your decision was not recorded. Open the task to see where it stands now."]);
                view.when = Some(When::new(*when, now));
                view
            }
            Refused::Stale { difference } => {
                let mut view = Self::new(
                    409,
                    "This changed since you opened it",
                    "What would be done now is not what you were shown.",
                )
                .todo(&["Your decision was not recorded. Open the task again, read it, and decide anew."]);
                view.changes = changes(difference);
                view
            }
            Refused::TooLate { at, .. } => {
                let mut view = Self::new(409, "Too late", "The time to do this is over.")
                    .todo(&["Nothing was changed. The case stays open; ask for a new task on its page."]);
                view.when = Some(When::new(*at, now));
                view
            }
            Refused::NotYet { why } => Self::new(409, "Not yet", &words::capital(why))
                .todo(&["Nothing was changed. Try again when it is so far."]),
            Refused::Fenced { .. } => Self::new(409, "Another worker took over", "This was recorded by somebody else.")
                .todo(&["Open the task to see where it stands now."]),
            Refused::Forbidden { why } => Self::forbidden(&why.to_string()),
            Refused::Invalid { why } => Self::new(422, "This could not be understood", &words::capital(why))
                .todo(&["Go back, correct it and send it again."]),
        }
    }

    /// Says what is not as it was shown.
    pub fn changed(mut self, difference: &[Changed]) -> Self {
        self.changes = changes(difference);
        self
    }

    /// 429.
    pub fn too_many(retry_after: u64) -> Self {
        let mut view = Self::new(429, "Too many attempts", &format!("Wait {} s, then try again.", retry_after))
            .todo(&["The limit is per address and per account. If it was not you, tell your administrator."]);
        view.retry_after = Some(retry_after);
        view
    }

    /// 500.
    pub fn internal(request_id: &str) -> Self {
        Self::new(500, "This went wrong on our side", "The page could not be made.")
            .todo(&[
                "Containment does not depend on this page and goes on.",
                "Tell your operator the request's id: the log has the reason under it.",
            ])
            .of_request(request_id)
    }

    /// 503: all hands are busy.
    pub fn busy(why: &str, retry_after: Option<u64>) -> Self {
        let wait = retry_after.map_or_else(|| "Wait a moment".to_owned(), |seconds| format!("Wait {seconds} s"));
        let mut view = Self::new(503, "Too much at once", &words::capital(&format!("{}.", text::line(why))))
            .todo(&[&format!("{wait}, then try again.")]);
        view.retry_after = retry_after;
        view
    }

    /// 503: the store is away.
    pub fn store_away(request_id: &str) -> Self {
        Self::new(503, "The store is away", "Nothing can be read or decided until it is back.")
            .todo(&[
                "Reload in a few seconds.",
                "What senders deliver meanwhile is not lost: they are told to send it again, or it is kept until the store is back.",
            ])
            .of_request(request_id)
    }
}

/// A voter's id, or an actor such as `operator:root`.
fn who_is(id: &str, names: &Names) -> String {
    if id.contains(':') { names.actor(id) } else { names.of(id) }
}

/// A difference as rows.
fn changes(difference: &[Changed]) -> Vec<Change> {
    let one = |changed: &Changed| Change {
        what: words::capital(&text::line(&changed.what)),
        shown: text::line(&changed.shown),
        now: text::line(&changed.now),
    };
    difference.iter().take(20).map(one).collect()
}

super::page!(
    /// Errors.
    ErrorPage, ErrorView, "error.html"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_becomes_rows_of_shown_and_now() {
        let rows = changes(&[
            Changed::new("parameters of reset_password", "{\"a\":1}", "{\"a\":2}"),
            Changed::new("target", "an enabled member", "guest\u{202e}"),
        ]);
        assert_eq!(rows[0].what, "Parameters of reset_password");
        assert_eq!((rows[0].shown.as_str(), rows[0].now.as_str()), ("{\"a\":1}", "{\"a\":2}"));
        assert_eq!((rows[1].what.as_str(), rows[1].now.contains('\u{202e}')), ("Target", false));
    }

    #[test]
    fn the_loser_is_told_who_when_and_what() {
        let now: Timestamp = "2026-11-22T14:10:00Z".parse().expect("an instant");
        let refused = Refused::Conflict { who: "ada, ben".into(), when: now, what: "denied".into() };
        let names = Names([("ada".to_owned(), "Ada".to_owned())].into());
        let view = ErrorView::refused(&refused, &names, now);
        assert_eq!((view.status, view.what.as_str()), (409, "It is already denied by Ada (ada) and ben."));
        assert_eq!(view.when.map(|when| when.at), Some(now));
    }
}
