//! `tenants`: directories we may act in, and the application each one knows us by.

use std::time::Duration;

use secrecy::SecretString;
use url::{Host, Url};
use uuid::Uuid;

use crate::domain::{ObjectId, TenantName};
use crate::engine::Polling;
use crate::playbook::diagnostic::quote;
use crate::playbook::yaml::Node;

use super::reader::{Reader, Section};
use super::secret::Vault;

/// One Entra directory.
#[derive(Debug, Clone)]
pub struct Tenant {
    pub name: TenantName,
    pub tenant_id: Uuid,
    pub cloud: Cloud,
    /// Instead of the cloud's own addresses: proxies, tests, the simulated tenant.
    pub graph_url: Option<Url>,
    pub login_url: Option<Url>,
    pub arm_url: Option<Url>,
    pub credential: Credential,
    /// A second application: only it may reset passwords.
    pub recover_credential: Option<Credential>,
    pub polling: Polling,
}

/// How often a collection may be read.
const SOONEST: Duration = Duration::from_secs(10);
const LATEST: Duration = Duration::from_secs(3_600);

/// Which of Microsoft's clouds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    Global,
    UsGov,
    UsDod,
    China,
}

/// How we prove who we are. `Debug` does not show the secret.
#[derive(Debug, Clone)]
pub struct Credential {
    pub client_id: Uuid,
    pub client_secret: SecretString,
}

pub(super) fn tenants(reader: &mut Reader<'_>, vault: &Vault<'_>, top: &mut Section<'_>) -> Option<Vec<Tenant>> {
    let Some(node) = top.take("tenants") else {
        reader.error(top.at, "no tenants: oust would have nowhere to act", "add `tenants:` with one entry");
        return None;
    };
    let items = reader.list(node, "tenants", 200);
    if super::is_empty(node) {
        reader.error(node.at, "no tenants: oust would have nowhere to act", "add one");
    }
    let mut tenants: Vec<Tenant> = Vec::new();
    for item in items {
        let Some(tenant) = tenant(reader, vault, item) else { continue };
        if tenants.iter().any(|other| other.name == tenant.name) {
            reader.error(item.at, format!("two tenants are called {}", tenant.name), "names are unique");
        }
        if tenants.iter().any(|other| other.tenant_id == tenant.tenant_id) {
            reader.error(item.at, format!("the directory {} stands here twice", tenant.tenant_id), "one entry each");
        }
        tenants.push(tenant);
    }
    // A tenant with a mistake was reported; what refers to it should not be reported as well.
    (tenants.len() == items.len()).then_some(tenants)
}

fn tenant(reader: &mut Reader<'_>, vault: &Vault<'_>, node: &Node) -> Option<Tenant> {
    let mut section = reader.section(node, "a tenant")?;
    let name = reader.need(&mut section, "name", "a tenant").and_then(|node| reader.parse(node, "name"));
    let tenant_id = reader.need(&mut section, "tenant_id", "a tenant").and_then(|node| guid(reader, node, "tenant_id"));
    let cloud = match section.take("cloud") {
        Some(node) => {
            reader.word(node, "cloud", &["global", "us_gov", "us_dod", "china"], &[]).map(|word| match word {
                "us_gov" => Cloud::UsGov,
                "us_dod" => Cloud::UsDod,
                "china" => Cloud::China,
                _ => Cloud::Global,
            })
        }
        None => Some(Cloud::Global),
    };
    let graph_url = section.take("graph_url").and_then(|node| url(reader, node, "graph_url"));
    let login_url = section.take("login_url").and_then(|node| url(reader, node, "login_url"));
    let arm_url = section.take("arm_url").and_then(|node| url(reader, node, "arm_url"));
    let own = reader.need(&mut section, "credential", "a tenant");
    let own = own.and_then(|node| credential(reader, vault, node, "credential"));
    let recover = section.take("recover_credential");
    let recover_credential = recover.and_then(|node| credential(reader, vault, node, "recover_credential"));
    let polling = match section.take("poll") {
        Some(node) => polling(reader, node),
        None => Some(Polling::default()),
    };
    reader.finish(section, "a tenant", &[]);
    Some(Tenant {
        name: name?,
        tenant_id: tenant_id?,
        cloud: cloud?,
        graph_url,
        login_url,
        arm_url,
        credential: own?,
        recover_credential,
        polling: polling?,
    })
}

/// How often collections are read; a second is Microsoft's own limit, shared with every other application.
fn polling(reader: &mut Reader<'_>, node: &Node) -> Option<Polling> {
    let mut section = reader.section(node, "poll")?;
    let mut period = |key: &'static str| {
        let Some(node) = section.take(key) else { return Some(None) };
        let period = reader.duration(node, key)?;
        if !(SOONEST..=LATEST).contains(&period) {
            reader.error(node.at, format!("{key} must be between 10s and 1h"), "write 30s");
            return None;
        }
        Some(Some(period))
    };
    let (risk_detections, alerts) = (period("risk_detections"), period("alerts"));
    reader.finish(section, "poll", &[]);
    Some(Polling { risk_detections: risk_detections?, alerts: alerts? })
}

fn credential(reader: &mut Reader<'_>, vault: &Vault<'_>, node: &Node, what: &str) -> Option<Credential> {
    let mut section = reader.section(node, what)?;
    let later = ["certificate", "workload_identity", "managed_identity"];
    let other = later.iter().any(|key| section.all().any(|(k, _)| k.text == *key));
    let client_id = match other {
        true => section.take("client_id"),
        false => reader.need(&mut section, "client_id", what),
    };
    let client_id = client_id.and_then(|node| guid(reader, node, "client_id"));
    let secret = match other {
        true => section.take("client_secret"),
        false => reader.need(&mut section, "client_secret", what),
    };
    let client_secret = secret.and_then(|node| vault.secret(reader, node, "client_secret"));
    let help = "use client_id and client_secret: { file: … }";
    reader.finish(section, what, &later.map(|key| (key, help)));
    Some(Credential { client_id: client_id?, client_secret: client_secret? })
}

/// A GUID in its hyphenated form.
pub(super) fn guid(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Uuid> {
    let text = reader.text(node, what)?;
    let parsed = text.parse::<ObjectId>().ok().map(ObjectId::uuid);
    if parsed.is_none() {
        let help = "a GUID such as 3f2504e0-4f89-41d3-9a0c-0305e82c3301";
        reader.error(node.at, format!("{what} {} is not a GUID", quote(text)), help);
    }
    parsed
}

/// An absolute address; without TLS only on this machine, for secrets travel there.
pub(super) fn url(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Url> {
    let text = reader.text(node, what)?;
    let url = Url::parse(text).ok().filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"));
    let Some(url) = url else {
        reader.error(node.at, format!("{what} must be a URL with host"), "https://…");
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        reader.error(node.at, format!("{what} must have no user, query or fragment"), "https://host/path");
        return None;
    }
    // A collector gets no secrets; everything else does.
    if what != "otlp" && url.scheme() == "http" && !is_loopback(&url) {
        reader.error(node.at, format!("{what} must be https: without TLS only this machine itself is allowed"), "");
        return None;
    }
    Some(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
