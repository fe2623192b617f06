//! Sign-in and enrolment: the two pages that nobody needs to be signed in for.
//!
//! `passkey.js` does the ceremonies on buttons with `data-passkey`; the URLs it talks to are attributes beside it.

use jiff::Timestamp;

use super::markup::{Left, When};
use super::{paths, text};
use crate::domain::task::Role;

/// The sign-in page.
#[derive(Debug, Clone, Default)]
pub struct SignInView {
    pub passkeys: bool,
    /// What the identity provider is called, and where signing in there begins.
    pub oidc: Option<(String, String)>,
    /// Why the last attempt failed, and what to do.
    pub error: Option<String>,
    /// Where to go afterwards: a path of ours.
    pub next: String,
    /// The session ended: idle, absolute limit, or signed out.
    pub ended: Option<String>,
}

impl SignInView {
    /// `next` is kept only where it is a path of the console; anything else would be a redirect to elsewhere.
    pub fn of(passkeys: bool, oidc: Option<(&str, &str)>, next: Option<&str>) -> Self {
        let ours = |path: &&str| {
            let inside =
                *path == paths::HOME || path.strip_prefix(paths::HOME).is_some_and(|rest| rest.starts_with(['/', '?']));
            inside && path.len() <= 512 && path.chars().all(|c| c.is_ascii_graphic() && c != '\\')
        };
        Self {
            passkeys,
            oidc: oidc.map(|(name, url)| (text::cut(name, 60), url.to_owned())),
            next: next.filter(ours).unwrap_or(paths::HOME).to_owned(),
            ..Self::default()
        }
    }

    /// The last attempt failed.
    pub fn failed(mut self, error: &str) -> Self {
        self.error = text::some(Some(error));
        self
    }
}

/// Where an enrolment link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrolState {
    Open,
    Used,
    Expired,
    Unknown,
}

/// The page behind a one-time link.
#[derive(Debug, Clone)]
pub struct EnrolView {
    pub state: EnrolState,
    pub name: String,
    pub role: &'static str,
    pub groups: String,
    pub until: Option<(When, Left)>,
    /// `…/begin` and `…/finish` are below it.
    pub url: String,
}

impl EnrolView {
    /// An open link for this reviewer.
    pub fn open(name: &str, role: Role, groups: &[String], until: Timestamp, url: &str, now: Timestamp) -> Self {
        let groups: Vec<String> = groups.iter().take(10).map(|group| text::cut(group, 60)).collect();
        Self {
            state: EnrolState::Open,
            name: text::cut(name, 80),
            role: role.word(),
            groups: super::words::and(&groups),
            until: Some((When::new(until, now), Left::new(until, now))),
            url: url.to_owned(),
        }
    }

    /// A link that cannot be used: says nothing about whom it was for.
    pub fn closed(state: EnrolState) -> Self {
        Self { state, name: String::new(), role: "", groups: String::new(), until: None, url: String::new() }
    }

    /// The link works.
    pub fn is_open(&self) -> bool {
        self.state == EnrolState::Open
    }

    /// Why it does not.
    pub fn why(&self) -> &'static str {
        match self.state {
            EnrolState::Open => "",
            EnrolState::Used => "This link was used before. If that was not you, tell your administrator at once.",
            EnrolState::Expired => "This link is older than 15 minutes.",
            EnrolState::Unknown => "This is not a link that was given out.",
        }
    }
}

super::page!(
    /// Sign-in.
    SignInPage, SignInView, "sign_in.html"
);
super::page!(
    /// Enrolment.
    EnrolPage, EnrolView, "enrol.html"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_never_leads_elsewhere() {
        for bad in
            ["https://evil.example", "//evil.example", "/\\evil.example", "/console\\x", "/consolex", "", "/console/ü"]
        {
            assert_eq!(SignInView::of(true, None, Some(bad)).next, paths::HOME, "{bad}");
        }
        for good in ["/console", "/console/tasks/task_1?x=1"] {
            assert_eq!(SignInView::of(true, None, Some(good)).next, good);
        }
    }
}
