//! `oust serve`: the whole thing, until it is told to stop.

use clap::Args;

use super::{Code, ConfigArg, Context, Failure};
use crate::config::Role;
use crate::{app, telemetry};

/// `oust serve`
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigArg,
    /// What this process does. Health and metrics every process serves.
    #[arg(long, value_delimiter = ',', default_value = "receiver,worker,console,poller")]
    roles: Vec<Role>,
}

impl Serve {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let config = context.load(&self.config)?;
        let next = "see `telemetry` in the configuration";
        let _guard =
            telemetry::install(&config.telemetry).map_err(|error| Failure::of(Code::Problems, &error, next))?;
        app::serve(config, &self.roles, told_to_stop()).await.map_err(|error| {
            let next = "see the log; `oust check` finds what can be found without starting";
            Failure::of(Code::Unreachable, error.as_ref(), next)
        })
    }
}

/// Resolves when the process is told to stop (SIGINT, SIGTERM).
pub(super) async fn told_to_stop() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = interrupt.await;
}
