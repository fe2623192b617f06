//! `oust pause` and `oust resume`: recorded with the name of who asked.

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::store::{WRITE, failed, open};
use super::{ConfigArg, Context, Failure};
use crate::http::{self, PAUSE};
use crate::store::{Audit, Batch, Lane, Op};

/// `oust pause`
#[derive(Debug, Args)]
pub(super) struct Pause {
    /// Why; shown to everybody who wonders.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
}

/// `oust resume`
#[derive(Debug, Args)]
pub(super) struct Resume {
    #[command(flatten)]
    config: ConfigArg,
}

impl Pause {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let store = open(context, &self.config, WRITE).await?;
        if let Some(held) = store.setting(PAUSE).await.map_err(|error| failed(&error))? {
            context.out.say(&json!({ "paused": true, "pause": held }), || "already paused; nothing changed".into());
            return Ok(());
        }
        let pause = http::Pause { by: context.environment.operator(), reason: self.reason, at: Timestamp::now() };
        store.commit(Lane::Containment, pause.batch()).await.map_err(|error| failed(&error))?;
        context.out.say(&json!({ "paused": true, "pause": pause }), || {
            "paused: no effect leaves any more, containment included; signals are still taken. `oust resume` ends it".into()
        });
        Ok(())
    }
}

impl Resume {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let store = open(context, &self.config, WRITE).await?;
        let Some(held) = store.setting(PAUSE).await.map_err(|error| failed(&error))? else {
            context.out.say(&json!({ "paused": false }), || "nothing is paused".into());
            return Ok(());
        };
        let audit = Audit {
            at: Timestamp::now(),
            actor: context.environment.operator(),
            verb: "resume".into(),
            tenant: None,
            object_id: None,
            case: None,
            detail: json!({ "pause": held }),
        };
        let ops = vec![Op::DropSetting { key: PAUSE.into() }, Op::Audit(Box::new(audit))];
        store.commit(Lane::Containment, Batch { expect: None, ops }).await.map_err(|error| failed(&error))?;
        context.out.say(&json!({ "paused": false }), || {
            "resumed: containment goes out at once, the rest after its preconditions were checked again".into()
        });
        Ok(())
    }
}
