//! `sources`: the ways in, who may use them, and how their bodies are read.

use std::num::NonZeroU32;
use std::sync::Arc;

use ipnet::IpNet;
use secrecy::SecretString;
use uuid::Uuid;

use crate::domain::TenantName;
use crate::http::buried::OpenSource;
use crate::http::{self, OnUnknown, Rate, SourceKind};
use crate::playbook::diagnostic::quote;
use crate::playbook::yaml::Node;
use crate::sources::ArmWorkspace;
use crate::sources::auth::networks::Networks;
use crate::sources::auth::{self, Authenticator, ClientState, Resolve, SecretRef};
use crate::sources::mapped::{self, Mapping};

use super::reader::{Reader, Section};
use super::secret::Vault;
use super::senders;
use super::tenants::{Tenant, guid};

/// A configured way in: `POST /webhooks/<name>`.
#[derive(Debug, Clone)]
pub struct Source {
    pub name: String,
    pub tenant: TenantName,
    pub entra_tenant_id: Uuid,
    pub kind: Kind,
    /// Any one suffices, secrets resolved; empty for kind `graph`, whose senders prove themselves by `client_state`.
    pub auth: Vec<auth::Config>,
    /// Only these peers, in addition; empty = any.
    pub networks: Vec<IpNet>,
    /// `None` = no cap.
    pub rate: Option<Rate>,
    /// `None`: accept where a refusal would mute the sender, reject elsewhere (contract §6.2).
    pub on_unknown: Option<OnUnknown>,
}

/// How bodies are read.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Every shape of Sentinel, Defender, Azure Monitor and Identity Protection.
    Microsoft { arm: Vec<ArmWorkspace> },
    /// Graph change notifications.
    Graph { client_state: Vec<SecretString> },
    /// Any JSON: expressions say where things are.
    Mapped(Box<mapped::Config>),
}

impl Source {
    /// The way in as the HTTP surface wants it.
    ///
    /// # Errors
    /// What `load` would have refused: a `Source` made otherwise may be wrong.
    pub fn open(&self) -> Result<http::Source, String> {
        let kind = match &self.kind {
            Kind::Microsoft { arm } => SourceKind::Microsoft { arm: arm.clone() },
            Kind::Graph { client_state } => SourceKind::Graph { client_state: ClientState::of(client_state) },
            Kind::Mapped(config) => SourceKind::Mapped(Box::new(Mapping::compile(config).map_err(|m| joined(&m))?)),
        };
        let auth = match &kind {
            SourceKind::Graph { .. } => None,
            _ => Some(Authenticator::build(&self.auth, &self.networks, &Resolved).map_err(|m| joined(&m))?),
        };
        Ok(http::Source {
            name: self.name.clone(),
            tenant: self.tenant.clone(),
            entra_tenant_id: self.entra_tenant_id,
            kind,
            auth,
            networks: Networks::new(&self.networks),
            rate: self.rate,
            on_unknown: self.on_unknown,
        })
    }
}

/// Opens a source by its name, later: what was set aside is read again with the source as it is configured now.
pub fn opener(sources: &[Source]) -> OpenSource {
    let sources = sources.to_vec();
    Arc::new(move |name| {
        let source = sources.iter().find(|source| source.name == name);
        source.ok_or_else(|| format!("no source is called {name} any more"))?.open()
    })
}

fn joined(mistakes: &[impl ToString]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Secrets were resolved when the file was read.
#[derive(Debug)]
pub struct Resolved;

impl Resolve for Resolved {
    fn secret(&self, reference: &SecretRef) -> Result<SecretString, String> {
        match reference {
            SecretRef::Inline(secret) => Ok(secret.clone()),
            SecretRef::File(_) | SecretRef::Env(_) => Err("a secret that was not resolved".into()),
        }
    }
}

pub(super) fn sources(
    reader: &mut Reader<'_>,
    vault: &Vault<'_>,
    top: &mut Section<'_>,
    tenants: &[Tenant],
) -> Option<Vec<Source>> {
    let node = top.take("sources");
    let items = node.map_or(&[][..], |node| reader.list(node, "sources", 200));
    if items.is_empty() {
        let help = "add `sources:` with one entry; its name is the path: POST /webhooks/<name>";
        reader.warn(node.map_or(top.at, |node| node.at), "no sources: nobody can send anything", help);
    }
    let mut sources: Vec<Source> = Vec::new();
    for item in items {
        let Some(source) = source(reader, vault, item, tenants) else { continue };
        if sources.iter().any(|other| other.name == source.name) {
            reader.error(item.at, format!("two sources are called {}", source.name), "names are unique");
        }
        sources.push(source);
    }
    (sources.len() == items.len()).then_some(sources)
}

fn source(reader: &mut Reader<'_>, vault: &Vault<'_>, node: &Node, tenants: &[Tenant]) -> Option<Source> {
    let mut section = reader.section(node, "a source")?;
    let name = name(reader, &mut section);
    let tenant = tenant(reader, &mut section, tenants);
    let word = reader.need(&mut section, "kind", "a source");
    let word = word.and_then(|node| reader.word(node, "kind", &["microsoft", "graph", "mapped"], &[]));
    let kind = word.and_then(|word| kind(reader, vault, &mut section, word));
    let auth = match (word, section.take("auth")) {
        (Some("graph"), None) => Some(Vec::new()),
        (Some("graph"), Some(auth)) => {
            let help = "Graph cannot sign its requests; client_state proves them";
            reader.error(auth.at, "a graph source takes no auth", help);
            None
        }
        (_, Some(list)) => senders::list(reader, vault, list),
        (_, None) => {
            let help = "any one suffices: standard_webhooks, hmac, bearer or query_token";
            reader.error(section.at, "a source without auth would believe anybody", help);
            None
        }
    };
    let networks = section.take("networks").map(|node| networks(reader, node)).unwrap_or_default();
    let rate = section.take("rate").and_then(|node| rate(reader, node));
    let on_unknown = section.take("on_unknown").and_then(|node| {
        let word = reader.word(node, "on_unknown", &["reject", "accept"], &[])?;
        Some(if word == "accept" { OnUnknown::Accept } else { OnUnknown::Reject })
    });
    let what = match word {
        Some("microsoft") => "a microsoft source",
        Some("graph") => "a graph source",
        Some("mapped") => "a mapped source",
        _ => "a source",
    };
    if word.is_some() {
        reader.finish(section, what, &[]);
    }
    let (tenant, entra_tenant_id) = tenant?;
    Some(Source { name: name?, tenant, entra_tenant_id, kind: kind?, auth: auth?, networks, rate, on_unknown })
}

fn name(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<String> {
    let node = reader.need(section, "name", "a source")?;
    let text = reader.text(node, "name")?;
    // `watch` is the word for signals from our own reading of sign-ins.
    if !super::is_name(text) || text == "watch" {
        let help = "letters, digits, '-' and '_', at most 64; it becomes part of the address";
        reader.error(node.at, format!("{} cannot name a source", quote(text)), help);
        return None;
    }
    Some(text.to_owned())
}

fn tenant(reader: &mut Reader<'_>, section: &mut Section<'_>, tenants: &[Tenant]) -> Option<(TenantName, Uuid)> {
    let Some(node) = section.take("tenant") else {
        if let [only] = tenants {
            return Some((only.name.clone(), only.tenant_id));
        }
        if !tenants.is_empty() {
            let names = tenants.iter().map(|tenant| tenant.name.as_str()).collect::<Vec<_>>().join(", ");
            reader.error(section.at, "a source lacks tenant", format!("one of {names}"));
        }
        return None;
    };
    let text = reader.text(node, "tenant")?;
    let found = tenants.iter().find(|tenant| tenant.name.as_str() == text);
    if found.is_none() && !tenants.is_empty() {
        let names = tenants.iter().map(|tenant| tenant.name.as_str()).collect::<Vec<_>>().join(", ");
        reader.error(node.at, format!("no tenant is called {}", quote(text)), format!("there is {names}"));
    }
    found.map(|tenant| (tenant.name.clone(), tenant.tenant_id))
}

fn kind(reader: &mut Reader<'_>, vault: &Vault<'_>, section: &mut Section<'_>, word: &str) -> Option<Kind> {
    match word {
        "microsoft" => {
            let list = section.take("arm").map_or(&[][..], |node| reader.list(node, "arm", 500));
            Some(Kind::Microsoft { arm: list.iter().filter_map(|item| allow(reader, item)).collect() })
        }
        "graph" => {
            let node = reader.need(section, "client_state", "a graph source")?;
            let mut inner = reader.section(node, "client_state")?;
            let client_state = senders::secrets(reader, vault, &mut inner, "client_state", auth::MIN_SECRET);
            reader.finish(inner, "client_state", &[]);
            Some(Kind::Graph { client_state: client_state? })
        }
        _ => mapped(reader, section).map(Box::new).map(Kind::Mapped),
    }
}

fn mapped(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<mapped::Config> {
    let node = reader.need(section, "map", "a mapped source")?;
    let inner = reader.section(node, "map")?;
    let mut texts = serde_json::Map::new();
    for (key, value) in inner.all() {
        if let Some(text) = reader.text(value, &key.text) {
            texts.insert(key.text.clone(), text.into());
        }
    }
    let each = section.take("each").and_then(|node| reader.text(node, "each")).map(str::to_owned);
    let map = match serde_json::from_value(texts.into()) {
        Ok(map) => map,
        Err(error) => {
            reader.error(node.at, format!("map: {error}"), "every value is an expression over `body`");
            return None;
        }
    };
    let config = mapped::Config { map, each };
    let mistakes = Mapping::compile(&config).err().unwrap_or_default();
    for mistake in &mistakes {
        let of = |key: &str| inner.all().find(|(k, _)| k.text == key).map(|(_, value)| value.at);
        let at = match mistake {
            mapped::ConfigError::Expression { key, .. } => of(key),
            mapped::ConfigError::NoPerson => None,
        };
        reader.error(at.unwrap_or(node.at), mistake.to_string(), "");
    }
    mistakes.is_empty().then_some(config)
}

fn allow(reader: &mut Reader<'_>, node: &Node) -> Option<ArmWorkspace> {
    let mut section = reader.section(node, "an arm entry")?;
    let subscription = reader.need(&mut section, "subscription", "an arm entry");
    let subscription = subscription.and_then(|node| guid(reader, node, "subscription"));
    let workspace = reader.need(&mut section, "workspace", "an arm entry");
    let workspace = workspace.and_then(|node| {
        let text = reader.text(node, "workspace")?;
        if !super::is_name(text) {
            reader.error(node.at, format!("{} is not a workspace's name", quote(text)), "letters, digits and '-'");
        }
        Some(text.to_owned())
    });
    reader.finish(section, "an arm entry", &[]);
    Some(ArmWorkspace { subscription: subscription?, workspace: workspace? })
}

fn networks(reader: &mut Reader<'_>, node: &Node) -> Vec<IpNet> {
    let items = reader.list(node, "networks", 500);
    if super::is_empty(node) {
        reader.error(node.at, "networks is empty: nobody could send", "leave the key out to allow any peer");
    }
    let mut networks = Vec::new();
    for item in items {
        let Some(text) = reader.text(item, "networks") else { continue };
        let parsed = text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
        match parsed {
            Ok(network) => networks.push(network),
            Err(_) => reader.error(item.at, format!("{} is not a network", quote(text)), "write 203.0.113.0/24"),
        }
    }
    networks
}

fn rate(reader: &mut Reader<'_>, node: &Node) -> Option<Rate> {
    let text = reader.text(node, "rate")?;
    let parsed = text.split_once('/').and_then(|(number, unit)| {
        let per_minute = match unit.trim() {
            "s" => false,
            "m" => true,
            _ => return None,
        };
        let deliveries = number.trim().parse().ok().filter(|n: &NonZeroU32| n.get() <= 1_000_000)?;
        Some(Rate { deliveries, per_minute })
    });
    if parsed.is_none() {
        reader.error(node.at, format!("rate must be a number per second or minute, not {}", quote(text)), "200/s");
    }
    parsed
}
