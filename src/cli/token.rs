//! `oust token …`: tokens for the read API. The text is printed once; only its hash is stored.

use base64::Engine;
use clap::{Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use uuid::Uuid;

use super::out::table;
use super::store::{LOOK, WRITE, failed, open};
use super::{Code, ConfigArg, Context, Failure};
use crate::domain::TokenId;
use crate::http::hash_of;
use crate::playbook::vocabulary::parse_duration;
use crate::store::{Audit, Batch, Lane, Op, Token};

/// What a token may do. None decides a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Scope {
    /// Read everything.
    Read,
    /// Stop every effect.
    Pause,
}

impl Scope {
    fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Pause => "pause",
        }
    }
}

/// `oust token …`
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make one and print it, once.
    Create {
        /// What it is for, e.g. grafana.
        name: String,
        #[arg(long, value_enum, value_delimiter = ',', default_value = "read")]
        scope: Vec<Scope>,
        /// How long it lives, e.g. 90d, or never.
        #[arg(long, default_value = "90d")]
        expires: String,
        #[command(flatten)]
        config: ConfigArg,
    },
    List {
        #[command(flatten)]
        config: ConfigArg,
    },
    /// End one at once.
    Revoke {
        id: TokenId,
        #[command(flatten)]
        config: ConfigArg,
    },
}

impl Command {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Create { name, scope, expires, config } => create(context, &config, name, &scope, &expires).await,
            Self::List { config } => list(context, &config).await,
            Self::Revoke { id, config } => revoke(context, &config, id).await,
        }
    }
}

async fn create(
    context: &Context,
    config: &ConfigArg,
    name: String,
    scopes: &[Scope],
    expires: &str,
) -> Result<(), Failure> {
    if name.trim().is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
        return Err(Failure::new(Code::Usage, "a token's name has 1 to 64 characters", "oust token create grafana"));
    }
    let now = Timestamp::now();
    let expires_at = match expires {
        "never" => None,
        text => {
            let wrong = || Failure::new(Code::Usage, format!("{text} is no duration"), "write 90d, 12h or never");
            let lives = parse_duration(text).filter(|lives| !lives.is_zero()).ok_or_else(wrong)?;
            let lives = SignedDuration::try_from(lives).map_err(|_| wrong())?;
            Some(now.checked_add(lives).map_err(|_| wrong())?)
        }
    };
    let secret = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    let text = format!("oust_{secret}");
    let mut scopes: Vec<String> = scopes.iter().map(|scope| scope.word().to_owned()).collect();
    scopes.sort();
    scopes.dedup();
    let id = TokenId::new(Uuid::now_v7());
    let token = Token { id, name, hash: hash_of(&text), scopes, created_at: now, expires_at, revoked_at: None };
    let store = open(context, config, WRITE).await?;
    let detail = json!({ "token": id, "name": token.name, "scopes": token.scopes, "expires_at": expires_at });
    let audit = audited(context, now, "token.created", detail);
    let ops = vec![Op::PutToken(Box::new(token)), audit];
    store.commit(Lane::Other, Batch { expect: None, ops }).await.map_err(|error| failed(&error))?;
    context.out.say(&json!({ "id": id, "token": text, "expires_at": expires_at }), || {
        let until = expires_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
        format!("{text}\n\n{id}, expires {until}. It is shown this once; send it as Authorization: Bearer …")
    });
    Ok(())
}

async fn list(context: &Context, config: &ConfigArg) -> Result<(), Failure> {
    let store = open(context, config, LOOK).await?;
    let tokens = store.tokens().await.map_err(|error| failed(&error))?;
    let now = Timestamp::now();
    let state = |token: &Token| match (token.revoked_at, token.expires_at) {
        (Some(_), _) => "revoked",
        (None, Some(at)) if at <= now => "expired",
        _ => "live",
    };
    let shown = |token: &Token| {
        json!({
            "id": token.id, "name": token.name, "scopes": token.scopes, "state": state(token),
            "created_at": token.created_at, "expires_at": token.expires_at, "revoked_at": token.revoked_at,
        })
    };
    context.out.say(&json!({ "items": tokens.iter().map(shown).collect::<Vec<_>>() }), || {
        if tokens.is_empty() {
            return "no tokens".into();
        }
        let rows = tokens.iter().map(|token| {
            let until = token.expires_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
            let (id, scopes) = (token.id.to_string(), token.scopes.join(" "));
            [id, token.name.clone(), scopes, state(token).into(), token.created_at.to_string(), until]
        });
        table(["token", "name", "scopes", "state", "created", "expires"], rows)
    });
    Ok(())
}

async fn revoke(context: &Context, config: &ConfigArg, id: TokenId) -> Result<(), Failure> {
    let store = open(context, config, WRITE).await?;
    let tokens = store.tokens().await.map_err(|error| failed(&error))?;
    let Some(token) = tokens.into_iter().find(|token| token.id == id) else {
        return Err(Failure::new(Code::Problems, format!("there is no token {id}"), "`oust token list` shows them"));
    };
    let at = Timestamp::now();
    if token.revoked_at.is_none() {
        let audit = audited(context, at, "token.revoked", json!({ "token": id, "name": token.name }));
        let ops = vec![Op::RevokeToken { id, at }, audit];
        store.commit(Lane::Other, Batch { expect: None, ops }).await.map_err(|error| failed(&error))?;
    }
    context.out.say(&json!({ "id": id, "revoked": true }), || format!("{id} is revoked"));
    Ok(())
}

fn audited(context: &Context, at: Timestamp, verb: &str, detail: serde_json::Value) -> Op {
    let actor = context.environment.operator();
    Op::Audit(Box::new(Audit { at, actor, verb: verb.into(), tenant: None, object_id: None, case: None, detail }))
}
