//! `oust twin`: the simulated tenant alone, to point a configuration at.

use std::net::SocketAddr;

use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;

use super::serve::told_to_stop;
use super::{Code, Context, Failure};
use crate::twin;

/// `oust twin`
#[derive(Debug, Args)]
pub(super) struct Twin {
    /// Where to listen; it simulates passwords and has no TLS: keep it on this machine.
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// How many ordinary people there are.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    people: u32,
}

impl Twin {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let unreachable = |error: &std::io::Error| {
            Failure::of(Code::Unreachable, error, format!("choose another address than {} with --listen", self.listen))
        };
        let listener = TcpListener::bind(self.listen).await.map_err(|error| unreachable(&error))?;
        let address = listener.local_addr().map_err(|error| unreachable(&error))?;
        let config = twin::Config { people: self.people as usize, ..twin::Config::default() };
        let url = format!("http://{address}/");
        let value = json!({ "url": url, "tenant_id": config.tenant_id, "client_id": config.client_id });
        context.out.say(&value, || {
            format!(
                "simulated tenant at {url}\n  graph_url, login_url, arm_url: {url}\n  tenant_id: {}\n  client_id: {}\n  \
                 client_secret: {}\n  control: {url}twin/counters",
                config.tenant_id, config.client_id, config.client_secret
            )
        });
        twin::Twin::new(config).serve(listener, told_to_stop()).await.map_err(|error| unreachable(&error))
    }
}
