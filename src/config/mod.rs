//! `oust.yaml` and `OUST_*`: parsed into types that cannot be wrong, all mistakes at once with line and column.
//!
//! The only module that reads the environment, and the only one besides `playbook` that reads YAML. What a later
//! version brings is refused by name instead of ignored. Relative paths start at the folder of the file.

mod environment;
mod guards;
mod places;
mod queue_at;
mod reader;
mod reviewers;
mod secret;
mod senders;
mod sources;
mod tenants;

#[cfg(test)]
mod tests;

pub use environment::{CONFIG, Environment, executable};
pub use guards::{BlastRadius, Guards, Privileged};
pub use places::StoreAt;
pub use queue_at::{QueueAt, SpoolAt};
pub use reviewers::Reviewers;
pub use sources::{Kind, Resolved, Source, opener};
pub use tenants::{Cloud, Credential, Tenant};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use url::Url;

use crate::domain::run::Mode;
use crate::domain::task::Policy;
use crate::http::Limits;
use crate::playbook::yaml::{self, Mark, Node, Tree};
use crate::playbook::{Diagnostic, Diagnostics, Severity};
use crate::seal::SigningKey;
use crate::telemetry;

use reader::{Reader, Section};
use secret::Vault;

/// The annotated example that documents every key.
pub const EXAMPLE: &str = include_str!("../../deploy/oust.yaml");

/// Everything `oust serve` needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    /// How people and senders reach us, when that differs from `listen`.
    pub public_url: Option<Url>,
    pub mode: Mode,
    pub store: StoreAt,
    pub queue: QueueAt,
    /// Where a receiver keeps deliveries while the broker is away.
    pub spool: Option<SpoolAt>,
    /// Folder of playbooks; `None` = the shipped ones.
    pub playbooks: Option<PathBuf>,
    pub tenants: Vec<Tenant>,
    pub sources: Vec<Source>,
    pub guards: Guards,
    /// Approval policies by name.
    pub approvals: BTreeMap<String, Policy>,
    pub limits: Limits,
    /// How people sign in.
    pub reviewers: Reviewers,
    /// Signs the audit trail's checkpoints.
    pub audit_key: Option<SecretString>,
    pub telemetry: telemetry::Config,
}

/// A configuration and what is odd about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Diagnostics,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Errors, with the warnings found on the way.
    #[error("{} is not a valid configuration: {} mistake(s)", path.display(), found.len())]
    Wrong { path: PathBuf, found: Diagnostics },
}

/// How a file is read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub environment: Environment,
    /// Secrets may stand in the file itself: demonstrations and tests only.
    pub inline_secrets: bool,
}

/// Reads and checks a configuration file.
///
/// # Errors
/// The file cannot be read, or says something it must not: every mistake at once.
pub fn load(path: &Path, options: &Options) -> Result<Loaded, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    parse(&text, path, options).map_err(|found| Error::Wrong { path: path.to_owned(), found })
}

/// Checks the text of a configuration file; `path` is for messages and for relative paths.
///
/// # Errors
/// Every mistake at once, with the warnings found on the way.
pub fn parse(text: &str, path: &Path, options: &Options) -> Result<Loaded, Diagnostics> {
    let file = path.display().to_string();
    let tree = tree(text, &file, &options.environment)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let vault = Vault { environment: &options.environment, folder, inline: options.inline_secrets };
    let mut reader = Reader::new(&file, text);
    let config = root(&mut reader, &vault, &tree);
    strangers(&mut reader, &options.environment, text);
    let found = Diagnostics::new(reader.into_found());
    match config {
        Some(config) if found.iter().all(|one| one.severity == Severity::Warning) => {
            Ok(Loaded { config, warnings: found })
        }
        _ => Err(found),
    }
}

/// Which part of the work a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Takes deliveries.
    Receiver,
    /// Runs playbooks.
    Worker,
    /// Reads what no webhook brings.
    Poller,
    /// Answers people and programs that look: the read API.
    Console,
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "receiver" => Ok(Self::Receiver),
            "worker" => Ok(Self::Worker),
            "poller" => Ok(Self::Poller),
            "console" => Ok(Self::Console),
            _ => Err("a role is receiver, worker, console or poller".into()),
        }
    }
}

/// Where the store is, for commands that need nothing else; other mistakes in the file do not matter to them.
///
/// # Errors
/// The file cannot be read, or its `store` is wrong.
pub fn store_of(path: &Path, options: &Options) -> Result<StoreAt, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    let file = path.display().to_string();
    let wrong = |found| Error::Wrong { path: path.to_owned(), found };
    let tree = tree(&text, &file, &options.environment).map_err(wrong)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let vault = Vault { environment: &options.environment, folder, inline: true };
    let mut reader = Reader::new(&file, &text);
    let found =
        reader.section(&tree, "the configuration").and_then(|mut top| places::store(&mut reader, &vault, &mut top));
    found.ok_or_else(|| wrong(Diagnostics::new(reader.into_found())))
}

/// Where the queue is, for commands that need nothing else of the file.
///
/// # Errors
/// The file cannot be read, or its `queue` is wrong.
pub fn queue_of(path: &Path, options: &Options) -> Result<QueueAt, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    let file = path.display().to_string();
    let wrong = |found| Error::Wrong { path: path.to_owned(), found };
    let tree = tree(&text, &file, &options.environment).map_err(wrong)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let vault = Vault { environment: &options.environment, folder, inline: options.inline_secrets };
    let mut reader = Reader::new(&file, &text);
    let top = reader.section(&tree, "the configuration");
    let found = top.and_then(|mut top| queue_at::queue(&mut reader, &vault, &mut top));
    found.ok_or_else(|| wrong(Diagnostics::new(reader.into_found())))
}

/// Where browsers find us, for commands that need nothing else: `public_url` and `listen`.
///
/// # Errors
/// The file cannot be read, or one of the two is wrong.
pub fn address_of(path: &Path, options: &Options) -> Result<(Option<Url>, SocketAddr), Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    let file = path.display().to_string();
    let wrong = |found| Error::Wrong { path: path.to_owned(), found };
    let tree = tree(&text, &file, &options.environment).map_err(wrong)?;
    let mut reader = Reader::new(&file, &text);
    let mut listen = Some(SocketAddr::from(([127, 0, 0, 1], 8080)));
    let mut public_url = None;
    if let Some(mut top) = reader.section(&tree, "the configuration") {
        if let Some(node) = top.take("listen") {
            listen = reader.parse(node, "listen");
        }
        public_url = top.take("public_url").and_then(|node| tenants::url(&mut reader, node, "public_url"));
    }
    let found = reader.into_found();
    match listen {
        Some(listen) if found.is_empty() => Ok((public_url, listen)),
        _ => Err(wrong(Diagnostics::new(found))),
    }
}

fn tree(text: &str, file: &str, environment: &Environment) -> Result<Node, Diagnostics> {
    let mut tree = match yaml::read(text) {
        Ok(tree) => tree,
        Err(yaml::Error::Syntax { at, message }) => {
            let one = Diagnostic::at(Severity::Error, file, text, at, message, None);
            return Err(Diagnostics::new(vec![one]));
        }
        Err(yaml::Error::TooLarge { bytes }) => {
            let message = format!("{bytes} bytes are too many for a configuration (at most {})", yaml::MAX_BYTES);
            return Err(Diagnostics::new(vec![Diagnostic::of_file(file, message, None)]));
        }
    };
    reader::overlay(&mut tree, environment);
    Ok(tree)
}

/// A variable with our prefix that means nothing, but nearly does, is a slip of the hand.
fn strangers(reader: &mut Reader<'_>, environment: &Environment, text: &str) {
    for name in environment.ours() {
        let known = environment::OVERRIDES.iter().map(|(known, _)| *known).chain([CONFIG]);
        if known.clone().any(|known| known == name) || text.contains(name) {
            continue;
        }
        if let Some(close) = crate::playbook::diagnostic::nearest(name, known) {
            let message = format!("the environment variable {name} means nothing to oust");
            reader.warn(Mark::default(), message, format!("did you mean {close}?"));
        }
    }
}

fn root(reader: &mut Reader<'_>, vault: &Vault<'_>, tree: &Node) -> Option<Config> {
    let mut top = reader.section(tree, "the configuration")?;
    let listen = match top.take("listen") {
        Some(node) => reader.parse(node, "listen"),
        None => Some(SocketAddr::from(([127, 0, 0, 1], 8080))),
    };
    let public_url = top.take("public_url").and_then(|node| tenants::url(reader, node, "public_url"));
    let mode = mode(reader, &mut top);
    let store = places::store(reader, vault, &mut top);
    let queue = queue_at::queue(reader, vault, &mut top);
    let spool = queue_at::spool(reader, vault, &mut top, queue.as_ref());
    let playbooks = playbooks(reader, vault, &mut top);
    let tenants = tenants::tenants(reader, vault, &mut top);
    let sources = sources::sources(reader, vault, &mut top, tenants.as_deref().unwrap_or_default());
    let guards = guards::guards(reader, &mut top);
    let approvals = guards::approvals(reader, &mut top);
    let limits = guards::limits(reader, &mut top);
    let audit_key = audit_key(reader, vault, &mut top);
    queue_at::check(reader, top.at, queue.as_ref(), &limits);
    let listens = listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
    let reviewers = reviewers::reviewers(reader, vault, &mut top, public_url.as_ref(), listens);
    let telemetry = telemetry(reader, &mut top);
    reader.finish(
        top,
        "the configuration",
        &[("notifiers", "remove it; watch /metrics and `oust task list` meanwhile")],
    );
    Some(Config {
        listen: listen?,
        public_url,
        mode: mode?,
        store: store?,
        queue: queue?,
        spool,
        playbooks,
        tenants: tenants?,
        sources: sources?,
        guards: guards?,
        approvals,
        limits,
        reviewers: reviewers?,
        audit_key: audit_key?,
        telemetry: telemetry?,
    })
}

fn mode(reader: &mut Reader<'_>, top: &mut Section<'_>) -> Option<Mode> {
    let Some(node) = top.take("mode") else {
        let help = "write `mode: enforce` when you have seen what it would do";
        reader.warn(top.at, "no mode is set: oust only watches (shadow) and changes nothing", help);
        return Some(Mode::Shadow);
    };
    match reader.word(node, "mode", &["shadow", "enforce"], &[])? {
        "enforce" => Some(Mode::Enforce),
        _ => Some(Mode::Shadow),
    }
}

fn audit_key(reader: &mut Reader<'_>, vault: &Vault<'_>, top: &mut Section<'_>) -> Option<Option<SecretString>> {
    let Some(node) = top.take("audit") else { return Some(None) };
    let mut section = reader.section(node, "audit")?;
    let key = match reader.need(&mut section, "key", "audit") {
        Some(node) => vault.secret(reader, node, "key").map(|key| (node, key)),
        None => None,
    };
    reader.finish(section, "audit", &[]);
    let (node, key) = key?;
    if let Err(error) = SigningKey::parse(&key) {
        reader.error(node.at, error.to_string(), "print one with `oust audit key --new`");
        return None;
    }
    Some(Some(key))
}

fn playbooks(reader: &mut Reader<'_>, vault: &Vault<'_>, top: &mut Section<'_>) -> Option<PathBuf> {
    let node = top.take("playbooks")?;
    let path = vault.path(reader.text(node, "playbooks")?);
    if !path.is_dir() {
        let help = "leave the key out to use the playbooks that come with oust";
        reader.error(node.at, format!("{} is not a folder", path.display()), help);
    }
    Some(path)
}

fn telemetry(reader: &mut Reader<'_>, top: &mut Section<'_>) -> Option<telemetry::Config> {
    let mut config = telemetry::Config::default();
    let Some(node) = top.take("telemetry") else { return Some(config) };
    let mut section = reader.section(node, "telemetry")?;
    config.otlp = section.take("otlp").and_then(|node| tenants::url(reader, node, "otlp"));
    if let Some(node) = section.take("log") {
        config.log = match reader.word(node, "log", &["pretty", "json", "off"], &[])? {
            "json" => telemetry::Log::Json,
            "off" => telemetry::Log::Off,
            _ => telemetry::Log::Pretty,
        };
    }
    if let Some(node) = section.take("level") {
        config.level = reader.text(node, "level")?.to_owned();
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&config.level) {
            reader.error(node.at, format!("level is not a filter: {error}"), "write info, or oust=debug,info");
        }
    }
    reader.finish(section, "telemetry", &[]);
    Some(config)
}

/// True for a name of ours: letters, digits, `-` and `_`, at most 64.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// True for a tree that says nothing.
fn is_empty(node: &Node) -> bool {
    match &node.value {
        Tree::Null => true,
        Tree::List(items) => items.is_empty(),
        _ => false,
    }
}
