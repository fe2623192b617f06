//! `GET /console/settings`, and the one switch there: pause and resume, recorded as the reviewer's.

use axum::Extension;
use axum::extract::State as Shared;
use axum::response::Response;
use serde_json::json;

use super::answer::{Asked, Deed, not_done};
use super::gather::failed;
use super::state::{Console, may_act};
use super::view::overview::SourceFacts as Source;
use super::view::settings::{PasskeyLine, ReviewerFacts, ReviewerLine, SettingsPage, SettingsView, TenantLine};
use super::view::{Section, Tag, Tone, paths};
use crate::domain::run::Mode;
use crate::http::pause::{PAUSE, Pause};
use crate::http::sign_in::SignedIn;
use crate::http::{Problem, RequestId};
use crate::store::{self, Audit, Batch, Lane, Op};

/// Reviewers whose passkeys are counted.
const REVIEWERS: usize = 100;
/// Longest reason, in characters.
const REASON: usize = 500;

/// What is configured, and one's own passkeys.
pub(super) async fn show(
    Shared(console): Shared<Console>,
    Extension(id): Extension<RequestId>,
    who: SignedIn,
    asked: Asked,
) -> Result<Response, Problem> {
    let shell = console.shell(Section::Settings, &who, &id).await?;
    let (now, configured) = (console.now(), console.configured());
    let plain = || Tag::new("Configured", Tone::Plain);
    let sources: Vec<Source> = configured.sources.iter().map(source).collect();
    let mut view = SettingsView {
        mode: if configured.mode == Mode::Shadow { "shadow".into() } else { "enforce".into() },
        public_url: configured.public_url.clone(),
        tenants: configured
            .tenants
            .iter()
            .map(|tenant| TenantLine {
                state: plain(),
                ..TenantLine::of(tenant.name.as_str(), &tenant.tenant_id, &tenant.cloud, None)
            })
            .collect(),
        reviewers: reviewers(&console, &id).await?,
        passkeys: passkeys(&console, &who, &id).await?,
        passkeys_on: console.sign_in().has_passkeys(),
        oidc: configured.oidc.clone(),
        break_glass: configured.break_glass,
        break_glass_group: configured.break_glass_group.clone(),
        blast_radius: configured.blast_radius.clone(),
        may_pause: may_act(&who),
        ..SettingsView::default()
    }
    .sources(&sources, now);
    for line in &mut view.sources {
        line.state = plain();
    }
    asked.show(&SettingsPage { shell: &shell, view: &view })
}

fn source(source: &super::state::SourceFacts) -> Source {
    Source { name: source.name.clone(), kind: source.kind.clone(), tenant: source.tenant.clone(), ..Source::default() }
}

async fn passkeys(console: &Console, who: &SignedIn, id: &RequestId) -> Result<Vec<PasskeyLine>, Problem> {
    let mut known = console.store().credentials_of(&who.account.id).await.map_err(failed(id))?;
    known.retain(|one| one.disabled_at.is_none());
    let others = known.len().saturating_sub(1);
    let line = |one: &store::reviewers::Credential| {
        PasskeyLine::of(&one.id, &one.name, one.created_at, one.used_at, others, console.now())
    };
    Ok(known.iter().map(line).collect())
}

async fn reviewers(console: &Console, id: &RequestId) -> Result<Vec<ReviewerLine>, Problem> {
    let mut lines = Vec::new();
    for account in console.store().reviewers().await.map_err(failed(id))?.into_iter().take(REVIEWERS) {
        let keys = console.store().credentials_of(&account.id).await.map_err(failed(id))?;
        let signed_in = console
            .store()
            .sessions_of(&account.id)
            .await
            .map_err(failed(id))?
            .first()
            .map(|session| session.created_at);
        let live = keys.iter().filter(|one| one.disabled_at.is_none()).count();
        let facts = ReviewerFacts {
            id: account.id.to_string(),
            name: account.display_name.clone(),
            roles: account.roles.clone(),
            groups: account.groups.clone(),
            linked: account.linked.iter().map(|linked| linked.object_id.to_string()).collect(),
            passkeys: u32::try_from(live).unwrap_or(u32::MAX),
            last_seen: keys.iter().filter_map(|one| one.used_at).chain(signed_in).max(),
            disabled: account.disabled_at.is_some(),
        };
        lines.push(ReviewerLine::of(&facts, console.now()));
    }
    Ok(lines)
}

/// Stops every effect, containment included.
pub(super) async fn pause(deed: Deed) -> Result<Response, Problem> {
    let reason = deed.sent.text("reason", REASON)?;
    if reason.is_none() {
        return Err(Problem::unfit("say why: everybody who wonders is shown the reason"));
    }
    deed.may_act().await?;
    let (actor, live) = (deed.actor(), deed.live());
    let Deed { console, id, sent, .. } = deed;
    let pause = Pause { by: actor, reason, at: console.now() };
    // Whoever paused first stays the one who did.
    if console.pause(&id).await?.is_none() {
        let mut batch = pause.batch();
        batch.ops.insert(0, live);
        console.store().commit(Lane::Containment, batch).await.map_err(not_done(&id))?;
        console.telemetry().paused(true, &pause.by);
        console.engine().settings_changed();
    }
    Ok(sent.done(paths::SETTINGS))
}

/// Lets effects go on; containment at once.
pub(super) async fn resume(deed: Deed) -> Result<Response, Problem> {
    deed.may_act().await?;
    let (actor, live) = (deed.actor(), deed.live());
    let Deed { console, id, sent, .. } = deed;
    let reason = sent.text("reason", REASON)?;
    let Some(held) = console.pause(&id).await? else { return Ok(sent.done(paths::SETTINGS)) };
    let audit = Audit {
        at: console.now(),
        actor: actor.clone(),
        verb: "resume".into(),
        tenant: None,
        object_id: None,
        case: None,
        detail: json!({ "pause": held, "reason": reason }),
    };
    let ops = vec![live, Op::DropSetting { key: PAUSE.into() }, Op::Audit(Box::new(audit))];
    console.store().commit(Lane::Containment, Batch { expect: None, ops }).await.map_err(not_done(&id))?;
    console.telemetry().paused(false, &actor);
    console.engine().settings_changed();
    Ok(sent.done(paths::SETTINGS))
}
