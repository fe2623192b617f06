//! Sessions: a random id in a cookie, its hash in the store. Begun and renewed under a new id, ended by one update.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::HeaderValue;
use axum::http::request::Parts;
use serde_json::json;

use super::browser::{cookie, csrf_of, hash, secret, set_cookie};
use super::state::{SignIn, actor, audit, failed};
use crate::domain::reviewer::{Account, How, Session};
use crate::domain::task::Role;
use crate::http::{Problem, RequestId};
use crate::store::reviewers::Change;
use crate::store::{self, Op};

/// Who sent this request. Only the guard of a route makes one.
#[derive(Debug, Clone)]
pub struct SignedIn {
    pub account: Account,
    pub session: Session,
    pub(super) key: String,
    csrf: String,
}

impl<S: Send + Sync> FromRequestParts<S> for SignedIn {
    type Rejection = Problem;

    /// # Errors
    /// The route has no guard: nobody is signed in.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::not_signed_in("sign in first"))
    }
}

impl SignedIn {
    /// The session with this id. The inner error is for the reader: why they have to sign in again. `used`: somebody is
    /// there; a page that keeps itself up to date is not.
    pub(super) async fn load(
        sign_in: &SignIn,
        secret: &str,
        used: bool,
        id: &RequestId,
    ) -> Result<Result<Self, String>, Problem> {
        let key = hash(secret);
        let found = sign_in.store().session(&key).await.map_err(|error| failed(&error, id))?;
        let Some((session, account)) = found else {
            return Ok(Err("you were signed out; sign in again".to_owned()));
        };
        let now = sign_in.now();
        // Refused here and not ended for everybody: it may be this clock that is wrong. Old ones go when new ones come.
        if let Err(over) = session.check(now) {
            return Ok(Err(over.to_string()));
        }
        if used && session.is_due_for_touch(now) {
            sign_in.touch(key.clone(), now);
        }
        Ok(Ok(Self { account, session, csrf: csrf_of(secret), key }))
    }

    /// Whether the session is live still, for an answer that goes on and on. Not a use of it: its idle time runs.
    ///
    /// # Errors
    /// The store is away.
    pub async fn is_live(&self, sign_in: &SignIn) -> Result<bool, store::Error> {
        let found = sign_in.store().session(&self.key).await?;
        Ok(found.is_some_and(|(session, _)| session.check(sign_in.now()).is_ok()))
    }

    /// The session's key in the store.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The token that this session's forms and scripts send.
    pub fn csrf(&self) -> &str {
        &self.csrf
    }

    /// Roles of the account and of this session, lowest first.
    pub fn roles(&self) -> Vec<Role> {
        let mut roles = self.account.roles.clone();
        roles.extend(self.session.roles.iter().copied());
        roles.sort_unstable();
        roles.dedup();
        roles
    }

    /// Groups of the account and of this session.
    pub fn groups(&self) -> Vec<String> {
        let mut groups = self.account.groups.clone();
        groups.extend(self.session.groups.iter().cloned());
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// # Errors
    /// 403 below the role.
    pub fn require(&self, role: Role) -> Result<(), Problem> {
        if self.roles().into_iter().any(|held| held >= role) {
            return Ok(());
        }
        Err(Problem::forbidden(format!("this needs the role {role}")).with("needs_role", role.word()))
    }

    /// # Errors
    /// 403 with `step_up` unless they proved within five minutes, with a second factor, that it is them.
    pub fn require_fresh(&self, sign_in: &SignIn) -> Result<(), Problem> {
        let why = match (self.session.aal2, self.session.is_fresh(sign_in.now())) {
            (true, true) => return Ok(()),
            (true, false) => "prove again that it is you: the last proof is older than 5 minutes",
            (false, _) => "this needs a second factor: prove again that it is you, with one",
        };
        Err(Problem::forbidden(why).with("step_up", true))
    }
}

/// A session about to be stored: operations, the cookie, the token.
#[derive(Debug)]
pub(super) struct Begun {
    pub ops: Vec<Op>,
    pub cookie: HeaderValue,
    pub csrf: String,
}

/// A sign-in: the account must still be live in the same transaction.
pub(super) fn begin(sign_in: &SignIn, session: Session) -> Begun {
    let detail = json!({ "with": session.how.word(), "aal2": session.aal2, "how": session.how });
    let (at, reviewer) = (session.created_at, session.reviewer.clone());
    let mut begun = put(sign_in, session);
    begun.ops.insert(0, Change::IsLive(reviewer.clone()).into());
    begun.ops.push(audit(at, &actor(&reviewer), "signed_in", detail));
    begun
}

/// The session that this browser had before it signs in again: its id must not live on beside the new one.
pub(super) fn before(sign_in: &SignIn, headers: &HeaderMap) -> Option<Op> {
    let secret = cookie(headers, sign_in.site().session_cookie())?;
    Some(Change::LeaveSession { hash: hash(&secret), at: sign_in.now() }.into())
}

/// A step-up: the same session, proved now, under a new id; the old id is dead.
pub(super) fn renew(sign_in: &SignIn, old: &SignedIn, how: How, aal2: bool) -> Begun {
    let now = sign_in.now();
    let detail = json!({ "with": how.word(), "aal2": aal2 });
    let session = Session { used_at: now, proved_at: now, how, aal2, ..old.session.clone() };
    let mut begun = put(sign_in, session);
    begun.ops.insert(0, Change::EndSession { hash: old.key.clone(), at: now }.into());
    begun.ops.insert(0, Change::IsLive(old.account.id.clone()).into());
    begun.ops.push(audit(now, &actor(&old.account.id), "step_up", detail));
    begun
}

fn put(sign_in: &SignIn, session: Session) -> Begun {
    let secret = secret();
    let site = sign_in.site();
    let cookie = set_cookie(site, site.session_cookie(), &secret);
    let csrf = csrf_of(&secret);
    let put = Change::PutSession { hash: hash(&secret), session: Box::new(session) };
    Begun { ops: vec![put.into()], cookie, csrf }
}

/// The id of this request, which the outermost layer gave it.
#[derive(Debug)]
pub struct Id(pub RequestId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<RequestId>().cloned().unwrap_or_else(|| RequestId(String::new()))))
    }
}
