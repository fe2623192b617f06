//! `oust reviewer …`: who may sign in. An invitation's link is printed once; only its hash is stored.

use std::net::SocketAddr;

use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::out::table;
use super::store::{LOOK, WRITE, failed, open};
use super::{Code, ConfigArg, Context, Failure};
use crate::config;
use crate::domain::reviewer::{Account, INVITED_FOR, Linked, ReviewerId};
use crate::domain::task::Role;
use crate::http::sign_in::{Site, invitation, invitation_url};
use crate::store::reviewers::{Change, Invite};
use crate::store::{self, Audit, Batch, Lane, Op, Store};

/// What a reviewer may do in general; the policies in oust.yaml narrow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum RoleArg {
    /// Looks, and changes nothing.
    Viewer,
    /// Asks for a password reset, which somebody else approves.
    Analyst,
    /// Decides tasks, orders by hand in a case, settles what is buried, pauses.
    Approver,
    /// The same as an approver, under a name that policies can single out (role:admin).
    Admin,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Viewer => Self::Viewer,
            RoleArg::Analyst => Self::Analyst,
            RoleArg::Approver => Self::Approver,
            RoleArg::Admin => Self::Admin,
        }
    }
}

/// `oust reviewer …`
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print a link, once: good for 15 minutes, for one passkey. Again for somebody known: for another device.
    Invite {
        /// Their name in policies and in the audit trail, e.g. ada or ada@contoso.example. Never reused.
        name: ReviewerId,
        /// What they may do; required for somebody new.
        #[arg(long, value_enum, value_delimiter = ',')]
        role: Vec<RoleArg>,
        /// A group that policies name as group:NAME.
        #[arg(long, value_delimiter = ',')]
        group: Vec<String>,
        /// Their own directory account, so that they never decide about themselves.
        #[arg(long, value_name = "TENANT/OBJECT_ID")]
        link: Vec<Linked>,
        /// What people read.
        #[arg(long)]
        display_name: Option<String>,
        /// The address of the console in the link [default: `public_url`].
        #[arg(long)]
        url: Option<Url>,
        #[command(flatten)]
        config: ConfigArg,
    },
    List {
        #[command(flatten)]
        config: ConfigArg,
    },
    /// End somebody's sessions and passkeys at once.
    Disable {
        name: ReviewerId,
        #[command(flatten)]
        config: ConfigArg,
    },
}

impl Command {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Invite { name, role, group, link, display_name, url, config } => {
                let mut roles: Vec<Role> = role.into_iter().map(Role::from).collect();
                roles.sort_unstable();
                roles.dedup();
                let wanted = Wanted { name, roles, groups: group, linked: link, display_name };
                invite(context, &config, wanted, url).await
            }
            Self::List { config } => list(context, &config).await,
            Self::Disable { name, config } => disable(context, &config, name).await,
        }
    }
}

struct Wanted {
    name: ReviewerId,
    roles: Vec<Role>,
    groups: Vec<String>,
    linked: Vec<Linked>,
    display_name: Option<String>,
}

impl Wanted {
    fn check(&self) -> Result<(), Failure> {
        let plain = |text: &str, most| {
            !text.trim().is_empty() && text.chars().count() <= most && !text.chars().any(char::is_control)
        };
        if self.groups.iter().any(|group| !plain(group, 100)) {
            return Err(Failure::new(Code::Usage, "a group's name has 1 to 100 characters", "--group on-call"));
        }
        if self.display_name.as_ref().is_some_and(|name| !plain(name, Account::LONGEST_NAME)) {
            return Err(Failure::new(Code::Usage, "a display name has 1 to 100 characters", "--display-name 'Ada'"));
        }
        Ok(())
    }

    /// The account as it will be: new, or the known one with what was asked for in addition.
    fn account(self, known: Option<Account>, now: Timestamp) -> Result<Account, Failure> {
        let Some(mut account) = known else {
            if self.roles.is_empty() {
                let next = "name a role: --role approver";
                return Err(Failure::new(Code::Usage, format!("{} is not known yet", self.name), next));
            }
            return Ok(Account {
                display_name: self.display_name.unwrap_or_else(|| self.name.to_string()),
                id: self.name,
                handle: Uuid::new_v4(),
                roles: self.roles,
                groups: self.groups,
                linked: self.linked,
                created_at: now,
                disabled_at: None,
            });
        };
        if !account.is_live() {
            let message = format!("{} was disabled; a name is never given twice", self.name);
            return Err(Failure::new(Code::Problems, message, "choose another name, e.g. with a number"));
        }
        if !self.roles.is_empty() {
            account.roles = self.roles;
        }
        for group in self.groups {
            if !account.groups.contains(&group) {
                account.groups.push(group);
            }
        }
        for linked in self.linked {
            if !account.linked.contains(&linked) {
                account.linked.push(linked);
            }
        }
        account.display_name = self.display_name.unwrap_or(account.display_name);
        Ok(account)
    }
}

fn site(context: &Context, arg: &ConfigArg, url: Option<Url>) -> Result<Site, Failure> {
    let (public, listen) = match url {
        Some(url) => (Some(url), SocketAddr::from(([127, 0, 0, 1], 0))),
        None => {
            let found = config::address_of(&context.path(arg), &context.options());
            found.map_err(|error| context.refused(&error))?
        }
    };
    let next = "set public_url in oust.yaml, or name the console's address with --url";
    Site::of(public.as_ref(), listen).map_err(|error| Failure::of(Code::Problems, &error, next))
}

async fn invite(context: &Context, arg: &ConfigArg, wanted: Wanted, url: Option<Url>) -> Result<(), Failure> {
    wanted.check()?;
    let site = site(context, arg, url)?;
    let store = open(context, arg, WRITE).await?;
    let now = Timestamp::now();
    let by = context.environment.operator();
    let known = store.reviewer(&wanted.name).await.map_err(|error| failed(&error))?;
    let (is_new, before) = (known.is_none(), known.as_ref().map(|account| account.linked.clone()).unwrap_or_default());
    let account = wanted.account(known, now)?;
    let (secret, hash) = invitation();
    let expires_at = now.checked_add(INVITED_FOR).unwrap_or(Timestamp::MAX);
    let put = Box::new(account.clone());
    let mut ops: Vec<Op> = vec![if is_new { Change::AddReviewer(put) } else { Change::EditReviewer(put) }.into()];
    for linked in account.linked.iter().filter(|linked| !before.contains(linked)) {
        let (issuer, subject) = (format!("entra:{}", linked.tenant), linked.object_id.to_string());
        ops.push(Change::Link { issuer, subject, reviewer: account.id.clone() }.into());
    }
    let invite =
        Invite { hash, reviewer: account.id.clone(), by: by.clone(), created_at: now, expires_at, used_at: None };
    ops.push(Change::PutInvite(Box::new(invite)).into());
    let detail = json!({
        "reviewer": account.id, "roles": account.roles, "groups": account.groups,
        "linked": account.linked.iter().map(Linked::to_string).collect::<Vec<_>>(), "new": is_new, "until": expires_at,
    });
    ops.push(audited(by, now, "reviewer.invited", detail));
    commit(&*store, ops).await?;
    let link = invitation_url(&site, &secret);
    let value = json!({ "reviewer": account.id, "url": link, "expires_at": expires_at, "new": is_new });
    context.out.say(&value, || {
        let roles: Vec<&str> = account.roles.iter().map(|role| role.word()).collect();
        format!(
            "{link}\n\nfor {} ({}), once, until {expires_at}. Give it to them over a channel that only they read.",
            account.id,
            roles.join(", ")
        )
    });
    Ok(())
}

async fn list(context: &Context, arg: &ConfigArg) -> Result<(), Failure> {
    let store = open(context, arg, LOOK).await?;
    let known = store.reviewers().await.map_err(|error| failed(&error))?;
    let mut rows: Vec<(Account, usize)> = Vec::new();
    for account in known {
        let passkeys = store.credentials_of(&account.id).await.map_err(|error| failed(&error))?;
        let live = passkeys.iter().filter(|one| one.disabled_at.is_none()).count();
        rows.push((account, live));
    }
    let shown = |(account, passkeys): &(Account, usize)| -> Value {
        json!({
            "name": account.id, "display_name": account.display_name, "roles": account.roles,
            "groups": account.groups, "linked": account.linked.iter().map(Linked::to_string).collect::<Vec<_>>(),
            "passkeys": passkeys, "created_at": account.created_at, "disabled_at": account.disabled_at,
        })
    };
    context.out.say(&json!({ "items": rows.iter().map(shown).collect::<Vec<_>>() }), || {
        if rows.is_empty() {
            return "no reviewers; `oust reviewer invite NAME --role approver` prints a link for the first".into();
        }
        let rows = rows.iter().map(|(account, passkeys)| {
            let roles: Vec<&str> = account.roles.iter().map(|role| role.word()).collect();
            let state = if account.is_live() { "live" } else { "disabled" };
            let groups = account.groups.join(" ");
            [
                account.id.to_string(),
                account.display_name.clone(),
                roles.join(" "),
                groups,
                passkeys.to_string(),
                state.into(),
            ]
        });
        table(["name", "display name", "roles", "groups", "passkeys", "state"], rows)
    });
    Ok(())
}

async fn disable(context: &Context, arg: &ConfigArg, name: ReviewerId) -> Result<(), Failure> {
    let store = open(context, arg, WRITE).await?;
    let known = store.reviewer(&name).await.map_err(|error| failed(&error))?;
    let Some(account) = known else {
        let next = "`oust reviewer list` shows them";
        return Err(Failure::new(Code::Problems, format!("there is no reviewer {name}"), next));
    };
    if account.is_live() {
        let (at, by) = (Timestamp::now(), context.environment.operator());
        let linked: Vec<String> = account.linked.iter().map(Linked::to_string).collect();
        let audit = audited(by, at, "reviewer.disabled", json!({ "reviewer": name, "linked": linked }));
        commit(&*store, vec![Change::Disable { reviewer: name.clone(), at }.into(), audit]).await?;
    }
    let text = format!("{name} is disabled: sessions and invitations are over, passkeys are of no use");
    context.out.say(&json!({ "reviewer": name, "disabled": true }), || text);
    Ok(())
}

async fn commit(store: &dyn Store, ops: Vec<Op>) -> Result<(), Failure> {
    store.commit(Lane::Other, Batch { expect: None, ops }).await.map_err(|error| match &error {
        store::Error::Taken(what) => {
            let next = "each directory account and name is one person's; `oust reviewer list` shows whose";
            Failure::new(Code::Problems, format!("{what} is somebody else's already"), next)
        }
        store::Error::Spent(_) => Failure::of(Code::Problems, &error, "somebody else changed it meanwhile; look again"),
        _ => failed(&error),
    })
}

fn audited(actor: String, at: Timestamp, verb: &str, detail: Value) -> Op {
    Op::Audit(Box::new(Audit { at, actor, verb: verb.into(), tenant: None, object_id: None, case: None, detail }))
}
