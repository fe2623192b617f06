//! What a token that holds brings about: a session, a fresh proof, a decision, or a refusal with what to do.

use axum::response::Response;
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::claims::{Claims, NotSignedIn, roles};
use super::provider::{SKEW, Verified};
use super::see_other;
use crate::domain::reviewer::{Account, How, Session, Shown};
use crate::domain::task::Role;
use crate::http::sign_in::decide;
use crate::http::sign_in::keys::with_cookie;
use crate::http::sign_in::session::{self, SignedIn};
use crate::http::sign_in::state::{SignIn, actor, audit, failed};
use crate::http::{Problem, RequestId};
use crate::store::reviewers::{Challenge, Change, Purpose};
use crate::store::{self, Op};

/// Whom a token is about: the issuer and subject under which the store knows them.
fn keys(claims: &Claims, issuer: &url::Url) -> Result<Vec<(String, String)>, NotSignedIn> {
    let mut keys = Vec::new();
    if let Some(linked) = claims.linked(issuer)? {
        keys.push((format!("entra:{}", linked.tenant), linked.object_id.to_string()));
    }
    keys.push((claims.iss.clone(), claims.sub.clone()));
    Ok(keys)
}

async fn known(sign_in: &SignIn, keys: &[(String, String)], id: &RequestId) -> Result<Option<Account>, Problem> {
    for (issuer, subject) in keys {
        let found = sign_in.store().reviewer_by_account(issuer, subject).await.map_err(|error| failed(&error, id))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// What the token gives for this session.
struct Standing {
    keys: Vec<(String, String)>,
    groups: Vec<String>,
    roles: Vec<Role>,
    aal2: bool,
}

fn standing(sign_in: &SignIn, claims: &Claims) -> Result<Standing, NotSignedIn> {
    let Ok(provider) = sign_in.provider() else { return Err(NotSignedIn::NoRole) };
    let groups = claims.groups(&provider.config.groups_claim)?;
    Ok(Standing {
        keys: keys(claims, provider.issuer())?,
        roles: roles(&provider.config.roles, &groups),
        groups,
        aal2: claims.is_aal2(&provider.config.aal2),
    })
}

/// Somebody whom the provider let in and we do not: the attempt is consumed, the reason told and audited.
async fn turned_away(
    sign_in: &SignIn,
    (challenge, claims): (&Challenge, &Claims),
    verb: &str,
    why: String,
    id: &RequestId,
) -> Problem {
    let now = sign_in.now();
    let who = challenge.reviewer.as_ref().map_or_else(|| "browser".to_owned(), actor);
    let used = Change::UseChallenge { id: challenge.id.clone(), at: now };
    let detail = json!({ "with": "oidc", "issuer": claims.iss, "subject": claims.sub, "reason": why });
    match sign_in.commit(vec![used.into(), audit(now, &who, verb, detail)], id).await {
        Ok(()) if challenge.reviewer.is_some() => Problem::forbidden(why).with("step_up", true),
        Ok(()) => Problem::forbidden(why),
        Err(problem) => problem,
    }
}

/// A sign-in: known people by what the store knows of them, others become reviewers if a role is theirs.
pub(super) async fn welcome(
    sign_in: &SignIn,
    (challenge, before): (&Challenge, Option<Op>),
    verified: &Verified,
    next: &str,
    id: &RequestId,
) -> Result<Response, Problem> {
    let claims = &verified.claims;
    let now = sign_in.now();
    let used = Op::from(Change::UseChallenge { id: challenge.id.clone(), at: now });
    let turn_away =
        |why: NotSignedIn| turned_away(sign_in, (challenge, claims), "sign_in.refused", why.to_string(), id);
    let standing = match standing(sign_in, claims) {
        Ok(standing) => standing,
        Err(why) => return Err(turn_away(why).await),
    };
    let mut ops = vec![used.clone()];
    let account = match known(sign_in, &standing.keys, id).await? {
        Some(account) if account.is_live() => account,
        Some(_) => return Err(turn_away(NotSignedIn::NoRole).await),
        None if standing.roles.is_empty() => return Err(turn_away(NotSignedIn::NoRole).await),
        None => provision(sign_in, claims, &standing, &mut ops),
    };
    if account.roles.is_empty() && standing.roles.is_empty() {
        return Err(turn_away(NotSignedIn::NoRole).await);
    }
    let session = Session {
        reviewer: account.id.clone(),
        created_at: now,
        used_at: now,
        // Not later than they really were asked; a provider that says nothing proves nothing fresh.
        proved_at: claims.authenticated_at().map_or(Timestamp::UNIX_EPOCH, |at| at.min(now)),
        how: How::Oidc { issuer: claims.iss.clone(), subject: claims.sub.clone(), sid: claims.sid.clone() },
        aal2: standing.aal2,
        roles: standing.roles,
        groups: standing.groups,
        told_at: Some(now),
    };
    let started = session::begin(sign_in, session);
    ops.extend(started.ops);
    ops.extend(before);
    sign_in.try_commit(ops).await.map_err(|error| match error {
        store::Error::Taken(_) => Problem::spent("you signed in twice at once; try again"),
        other => failed(&other, id),
    })?;
    Ok(with_cookie(see_other(next), Some(started.cookie)))
}

/// Somebody whom the provider's groups make a reviewer: their account holds no role of its own.
fn provision(sign_in: &SignIn, claims: &Claims, standing: &Standing, ops: &mut Vec<Op>) -> Account {
    let now = sign_in.now();
    let linked = sign_in.provider().ok().and_then(|provider| claims.linked(provider.issuer()).ok()?);
    let account = Account {
        id: claims.provisioned_id(),
        handle: Uuid::new_v4(),
        display_name: claims.display_name(),
        roles: Vec::new(),
        groups: Vec::new(),
        linked: linked.into_iter().collect(),
        created_at: now,
        disabled_at: None,
    };
    ops.push(Change::AddReviewer(Box::new(account.clone())).into());
    for (issuer, subject) in &standing.keys {
        let (issuer, subject) = (issuer.clone(), subject.clone());
        ops.push(Change::Link { issuer, subject, reviewer: account.id.clone() }.into());
    }
    let detail = json!({ "reviewer": account.id, "issuer": claims.iss, "subject": claims.sub });
    ops.push(audit(now, &actor(&account.id), "reviewer.provisioned", detail));
    account
}

/// What the provider says now counts from now on, whatever becomes of the attempt: a role that it took away is gone, and
/// with the last one the session.
async fn follow(
    sign_in: &SignIn,
    signed_in: &mut SignedIn,
    standing: &Standing,
    id: &RequestId,
) -> Result<bool, Problem> {
    let (now, who, hash) = (sign_in.now(), actor(&signed_in.account.id), signed_in.key.clone());
    let session = &mut signed_in.session;
    let changed = session.roles != standing.roles || session.groups != standing.groups;
    session.roles.clone_from(&standing.roles);
    session.groups.clone_from(&standing.groups);
    session.told_at = Some(now);
    let edit = Change::EditSession { hash: hash.clone(), session: Box::new(session.clone()) };
    if signed_in.account.roles.is_empty() && standing.roles.is_empty() {
        let ended = audit(now, &who, "session.ended", json!({ "reason": "no_role" }));
        sign_in.commit(vec![edit.into(), Change::LeaveSession { hash, at: now }.into(), ended], id).await?;
        return Ok(false);
    }
    let detail = json!({ "roles": session.roles, "groups": session.groups });
    let told = changed.then(|| audit(now, &who, "session.changed", detail));
    sign_in.commit([edit.into()].into_iter().chain(told).collect(), id).await?;
    Ok(true)
}

/// A step-up: the same person, asked again after this attempt began, by more than a password.
pub(super) async fn again(
    sign_in: &SignIn,
    challenge: &Challenge,
    verified: &Verified,
    mut signed_in: SignedIn,
    next: &str,
    id: &RequestId,
) -> Result<Response, Problem> {
    let claims = &verified.claims;
    let now = sign_in.now();
    let used = Op::from(Change::UseChallenge { id: challenge.id.clone(), at: now });
    let turn_away = |why: String| turned_away(sign_in, (challenge, claims), "step_up.refused", why, id);
    let standing = match standing(sign_in, claims) {
        Ok(standing) => standing,
        Err(why) => return Err(turn_away(why.to_string()).await),
    };
    let same = known(sign_in, &standing.keys, id).await?.is_some_and(|account| account.id == signed_in.account.id);
    if !same || challenge.reviewer.as_ref() != Some(&signed_in.account.id) {
        return Err(turn_away("somebody else signed in at the provider".to_owned()).await);
    }
    if !follow(sign_in, &mut signed_in, &standing, id).await? {
        return Err(turn_away(NotSignedIn::NoRole.to_string()).await);
    }
    let earliest = challenge.created_at.as_second() - SKEW;
    match claims.authenticated_at() {
        None => return Err(turn_away(NotSignedIn::NoAuthTime.to_string()).await),
        Some(at) if at.as_second() < earliest => return Err(turn_away(NotSignedIn::OldAuthTime.to_string()).await),
        Some(_) => {}
    }
    if !standing.aal2 {
        let text = "the provider did not ask for a second factor (see reviewers.oidc.aal2)";
        return Err(turn_away(text.to_owned()).await);
    }
    if let Purpose::Decide { .. } = challenge.purpose {
        let shown = Shown::Oidc {
            issuer: claims.iss.clone(),
            subject: claims.sub.clone(),
            nonce: challenge.state["nonce"].as_str().unwrap_or_default().to_owned(),
            id_token: verified.raw.clone(),
            claims: verified.payload.clone(),
            key: verified.key.clone(),
        };
        let outcomes = decide::record(sign_in, &signed_in, challenge, (&shown, true), vec![used], id).await?;
        return match decide::refused(&outcomes, id) {
            Some(problem) => Err(problem),
            None => Ok(see_other(next)),
        };
    }
    let how = How::Oidc { issuer: claims.iss.clone(), subject: claims.sub.clone(), sid: claims.sid.clone() };
    let renewed = session::renew(sign_in, &signed_in, how, true);
    let mut ops = vec![used];
    ops.extend(renewed.ops);
    sign_in.commit(ops, id).await?;
    Ok(with_cookie(see_other(next), Some(renewed.cookie)))
}
