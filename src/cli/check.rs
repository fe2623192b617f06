//! `oust check`: configuration and playbooks, offline. Everything wrong and everything unwise, at once.

use clap::Args;
use serde_json::{Value, json};

use super::out::tally;
use super::playbook::texts;
use super::{Code, ConfigArg, Context, Failure};
use crate::actions::registry;
use crate::config;
use crate::playbook::Diagnostics;
use crate::playbook::lint::{Known, lint};

/// `oust check`
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigArg,
    /// Also ask Microsoft which permissions are missing or more than needed.
    #[arg(long)]
    online: bool,
}

impl Check {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        if self.online {
            let next = "run it without --online; the permissions are listed by `oust playbook actions`";
            return Err(Failure::new(Code::Usage, "check --online is not available in this version", next));
        }
        let mut all: Vec<Diagnostics> = Vec::new();
        match config::load(&context.path(&self.config), &context.options()) {
            Ok(loaded) => {
                let policies: Vec<String> = loaded.config.approvals.keys().cloned().collect();
                all.push(loaded.warnings);
                match texts(loaded.config.playbooks.as_deref()) {
                    Ok(texts) => {
                        all.extend(lint(&texts, &registry(), Known { policies: Some(&policies), notifiers: Some(&[]) }))
                    }
                    Err(wrong) => all.extend(wrong),
                }
            }
            Err(config::Error::Wrong { found, .. }) => all.push(found),
            Err(error @ config::Error::Unreadable { .. }) => return Err(context.refused(&error)),
        }
        report(context, &all)
    }
}

/// Shows all mistakes and sums them up; errors make the command fail.
pub(super) fn report(context: &Context, all: &[Diagnostics]) -> Result<(), Failure> {
    let (errors, warnings) = tally(all);
    all.iter().for_each(|one| context.out.pictures(one));
    let found: Vec<Value> = all.iter().flat_map(|one| one.iter()).map(|one| json!(one)).collect();
    let value = json!({ "ok": errors == 0, "errors": errors, "warnings": warnings, "found": found });
    context.out.say(&value, || match (errors, warnings) {
        (0, 0) => "all good".to_owned(),
        (0, warnings) => format!("valid, with {warnings} warning(s)"),
        (errors, warnings) => format!("{errors} error(s), {warnings} warning(s)"),
    });
    if errors == 0 { Ok(()) } else { Err(Failure::shown()) }
}
