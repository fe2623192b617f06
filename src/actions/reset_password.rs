//! `reset_password`: a new temporary password that only the approving reviewer's browser can open (law 6).
//!
//! Order: read the person afresh, draw, seal, have the ciphertext kept, and only then tell Graph. Sent once: a lost
//! reply is `unknown` and verified by the time of the last password change (contract §13.4). Synced accounts and
//! guests have their password elsewhere: they are refused with what a human has to do instead.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::domain::TaskId;
use crate::domain::ledger::Fault;
use crate::domain::plan::{EffectClass, Phase, RESET};
use crate::graph::{Error, Terms, UserState};
use crate::playbook::ActionInfo;
use crate::seal::{RecipientKey, Rules, TemporaryPassword, generate, seal};

use super::{Action, Call, Done, LOOK, Verification, target};

static INFO: ActionInfo = ActionInfo {
    name: RESET,
    summary: "Sets a one-time password, shown once to the reviewer who approved it.",
    phases: &[Phase::Recover],
    class: EffectClass::Hard,
    containing: false,
    free: false,
    may_be_unattended: false,
    requires_revoke: true,
    reveals: true,
    idempotent: false,
    permissions: &["User-PasswordProfile.ReadWrite.All", "User.Read.All"],
    parameters: &[],
    undo: "none",
    example: "do: reset_password\napproval: on_call",
    timeout_ms: 15_000,
};

/// Draws at most: Entra's list of banned words is not known.
const DRAWS: u32 = 3;
/// Clocks and whole seconds (contract §13.4).
const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

#[derive(Debug)]
pub(super) struct ResetPassword;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Patch<'a> {
    password_profile: Profile<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile<'a> {
    password: &'a str,
    force_change_password_next_sign_in: bool,
}

/// The JSON of the PATCH in a buffer that is wiped when dropped.
fn patch(password: &TemporaryPassword) -> Result<Bytes, Fault> {
    // Large enough not to grow: growing would leave a copy behind.
    let mut body = Zeroizing::new(Vec::with_capacity(512));
    let profile = Profile { password: password.expose(), force_change_password_next_sign_in: true };
    serde_json::to_writer(&mut *body, &Patch { password_profile: profile })
        .map_err(|_| Fault::refuse("OUST-R-SEAL", "the request could not be written down"))?;
    Ok(Bytes::from_owner(body))
}

/// Everything that must not be found in the password.
fn names(user: &UserState) -> Rules {
    let addresses = [Some(user.upn.as_str()), user.mail.as_deref()].into_iter().flatten();
    let avoid = addresses
        .flat_map(|address| address.split(['@', '.', '_', '-', '#']).chain([address]))
        .chain([user.display_name.as_str()])
        .map(str::to_owned)
        .collect();
    Rules { avoid }
}

/// A person whose password is not ours to set.
fn refuse_elsewhere(user: &UserState) -> Result<(), Fault> {
    if user.synced {
        return Err(Fault::refuse(
            "OUST-R-SYNCED",
            "the password is mastered on-premises: reset it twice in Active Directory with 'must change password at \
             next logon', let it synchronise, then revoke the sessions again",
        ));
    }
    if user.is_guest() {
        return Err(Fault::refuse(
            "OUST-R-GUEST",
            "a guest's password and sessions belong to the home organisation: tell its security team, and block or \
             remove the guest here if need be",
        ));
    }
    Ok(())
}

/// A federated person's password is at the other identity provider. Where the app may not read domains, Graph's own
/// 400 to the reset says the same.
async fn refuse_federated(call: &Call<'_>, user: &UserState) -> Result<(), Fault> {
    let Some(domain) = user.sign_in_domain() else { return Ok(()) };
    match call.graph.is_federated(domain, &Terms::read(call.timeout.min(LOOK))).await {
        Ok(Some(true)) => Err(Fault::refuse(
            "OUST-R-FEDERATED",
            "the person signs in at a federated identity provider: reset the password and end the sessions there, \
             then revoke the sessions here again",
        )),
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn person(call: &Call<'_>, terms: &Terms) -> Result<UserState, Fault> {
    let user = call.graph.user(call.identity.object_id, terms).await.map_err(|error| match error {
        gone if gone.is_not_found() => {
            Fault::refuse("OUST-R-GONE", "the person is no longer in the directory: look among the deleted users")
        }
        other => other.into(),
    })?;
    refuse_elsewhere(&user)?;
    Ok(user)
}

#[async_trait]
impl Action for ResetPassword {
    fn info(&self) -> &'static ActionInfo {
        &INFO
    }

    async fn before(&self, call: &Call<'_>) -> Result<Value, Fault> {
        let user = person(call, &call.read_terms()).await?;
        refuse_federated(call, &user).await?;
        Ok(json!({ "last_password_change": user.last_password_change, "target": target(&user) }))
    }

    async fn perform(&self, call: &Call<'_>) -> Result<Done, Fault> {
        let (Some(recipient), Some(task)) = (call.recipient, call.task) else {
            return Err(Fault::refuse(
                "OUST-R-NORECIPIENT",
                "nobody could be shown the password: approve from the console so that the password can be sealed to \
                 your browser",
            ));
        };
        let end = call.deadline();
        let rules = names(&person(call, &call.read_terms()).await?);
        for draw in 1..=DRAWS {
            let body = drawn(call, &rules, recipient, task).await?;
            let left = Terms { timeout: end.saturating_duration_since(Instant::now()), ..call.terms() };
            match call.graph.set_password(call.identity.object_id, body, &left).await {
                Ok(accepted) => {
                    let result = json!({ "sealed": true, "must_change": true, "draws": draw });
                    return Ok(Done::of(accepted, result));
                }
                // A 400 about the password is provably not applied: the only answer after which it is drawn again.
                Err(Error::Status { about_password: true, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let why = "the tenant refuses every password drawn: check its list of banned passwords";
        Err(Fault { status: Some(400), ..Fault::refuse("OUST-R-POLICY", why) })
    }

    async fn verify(&self, call: &Call<'_>) -> Result<Verification, Fault> {
        let user = match call.graph.user(call.identity.object_id, &call.read_terms()).await {
            Err(error) if error.is_not_found() => {
                return Ok(Verification::Undetermined("the person is no longer in the directory".into()));
            }
            read => read?,
        };
        judge(call, user.last_password_change)
    }
}

/// Draws a password, has it kept sealed, and gives the request that sets it.
async fn drawn(call: &Call<'_>, rules: &Rules, recipient: &RecipientKey, task: TaskId) -> Result<Bytes, Fault> {
    let (sealed, body) = {
        let unusable = |error: crate::seal::Error| Fault::refuse("OUST-R-SEAL", error.to_string());
        let password = generate(rules, &mut rand::rng()).map_err(unusable)?;
        (seal(&password, recipient, task).map_err(unusable)?, patch(&password)?)
    };
    call.sealed.keep(sealed).await?;
    Ok(body)
}

/// Whether the last change of the password is ours (contract §13.4).
fn judge(call: &Call<'_>, changed_at: Option<Timestamp>) -> Result<Verification, Fault> {
    let undetermined = |why: &str| Ok(Verification::Undetermined(why.to_owned()));
    let Some(before) = call.before.get("last_password_change") else {
        return undetermined("it was not recorded when the password had last changed before the call");
    };
    let before: Option<Timestamp> = before.as_str().and_then(|text| text.parse().ok());
    let Some(intended_at) = call.intended_at else {
        return undetermined("it is not recorded when the reset was intended");
    };
    if changed_at == before {
        // "Unchanged" counts only when a read must show a change.
        return call.too_early(intended_at).map_or(Ok(Verification::NotApplied), Err);
    }
    let Some(changed_at) = changed_at else {
        return undetermined("Graph no longer says when the password last changed");
    };
    let first = call.graph.on_graphs_clock(intended_at);
    let first = first.checked_sub(TOLERANCE).unwrap_or(first);
    let last = call.graph.on_graphs_clock(call.settled_at(intended_at));
    if (first..=last).contains(&changed_at) && before.is_none_or(|before| before < changed_at) {
        Ok(Verification::Applied(json!({ "sealed": true, "must_change": true, "changed_at": changed_at })))
    } else {
        undetermined("the password was changed at another time than the call: somebody else may have done it")
    }
}
