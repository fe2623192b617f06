//! Builds the floors bottom-up and runs them (skeleton).

use std::future::Future;

use crate::config::{Config, Role};

/// Serves until `shutdown` resolves.
///
/// # Errors
/// Nothing is built yet.
pub async fn serve(_: Config, _: &[Role], shutdown: impl Future<Output = ()> + Send) -> anyhow::Result<()> {
    shutdown.await;
    anyhow::bail!("not built yet")
}
