//! `queue` and `spool`: where signals wait between receipt and intake.

use std::path::PathBuf;

use secrecy::ExposeSecret as _;

use super::reader::{Reader, Section};
use super::secret::Vault;
use crate::http::Limits;
use crate::playbook::diagnostic::quote;
use crate::playbook::yaml::{Mark, Node, Tree};
use crate::queue::amqp;

/// Where the queue is.
#[derive(Debug, Clone)]
pub enum QueueAt {
    /// In the store.
    Embedded,
    Amqp(Box<amqp::Config>),
}

/// The file of a receiver in front of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolAt {
    pub path: PathBuf,
    /// Bytes of deliveries at most.
    pub max: u64,
}

/// Bytes a spool holds unless told otherwise.
const SPOOL: usize = 1024 * 1024 * 1024;
/// A message of RabbitMQ 4 has at most 16 MiB, and bodies travel as base64.
const LARGEST_BODY: usize = 8 * 1024 * 1024;

const FORMS: &str = "write embedded, amqps://user@host/vhost, or { url: …, password: { file: … } }";

pub(super) fn queue(reader: &mut Reader<'_>, vault: &Vault<'_>, top: &mut Section<'_>) -> Option<QueueAt> {
    let Some(node) = top.take("queue") else { return Some(QueueAt::Embedded) };
    match &node.value {
        Tree::Map(entries) if entries.iter().any(|(key, _)| matches!(key.text.as_str(), "file" | "env")) => {
            let url = vault.secret(reader, node, "queue")?;
            let config = amqp::Config::new(endpoint(reader, node.at, url.expose_secret())?);
            Some(QueueAt::Amqp(Box::new(config)))
        }
        Tree::Map(_) => mapping(reader, vault, node),
        _ => {
            let text = reader.text(node, "queue")?;
            if !text.starts_with("amqp://") && !text.starts_with("amqps://") {
                // What stands here may be a URL with a typing mistake in its scheme.
                if text.contains('@') {
                    reader.hide(text);
                    reader.error(node.at, "queue is not a broker's address", FORMS);
                    return None;
                }
                return reader.word(node, "queue", &["embedded"], &[]).map(|_| QueueAt::Embedded);
            }
            let endpoint = inline(reader, node, text)?;
            Some(QueueAt::Amqp(Box::new(amqp::Config::new(endpoint))))
        }
    }
}

fn mapping(reader: &mut Reader<'_>, vault: &Vault<'_>, node: &Node) -> Option<QueueAt> {
    let mut section = reader.section(node, "queue")?;
    let url = reader.need(&mut section, "url", "queue").and_then(|node| match &node.value {
        Tree::Map(_) => {
            let url = vault.secret(reader, node, "url")?;
            endpoint(reader, node.at, url.expose_secret())
        }
        _ => {
            let text = reader.text(node, "url")?;
            inline(reader, node, text)
        }
    });
    let password = section.take("password").map(|node| vault.secret(reader, node, "password"));
    let ca = section.take("ca").map(|node| file(reader, vault, node, "ca"));
    let certificate = section.take("certificate").map(|node| file(reader, vault, node, "certificate"));
    let key = section.take("key").map(|node| file(reader, vault, node, "key"));
    let prefix = section.take("prefix").map(|node| prefix(reader, node));
    let prefetch = section.take("prefetch").map(|node| reader.integer(node, "prefetch", 1..=10_000));
    let in_flight = section.take("in_flight").map(|node| reader.integer(node, "in_flight", 1..=65_536));
    let at = section.at;
    reader.finish(section, "queue", &[]);
    let mut config = amqp::Config::new(url?);
    if let Some(password) = password {
        config.endpoint.password = password?;
    }
    if let Some(ca) = ca {
        config.endpoint.ca = Some(ca?);
    }
    config.endpoint.identity = match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate?, key?)),
        _ => {
            reader.error(at, "queue has one of certificate and key", "a client certificate needs both");
            return None;
        }
    };
    let tls_only = config.endpoint.ca.is_some() || config.endpoint.identity.is_some();
    if tls_only && !config.endpoint.tls {
        reader.error(at, "queue has certificates, but its url is amqp://", "write amqps://");
        return None;
    }
    if let Some(prefix) = prefix {
        config.prefix = prefix?;
    }
    if let Some(prefetch) = prefetch {
        config.prefetch = u16::try_from(prefetch?).unwrap_or(u16::MAX);
    }
    if let Some(in_flight) = in_flight {
        config.in_flight = usize::try_from(in_flight?).unwrap_or(1);
    }
    Some(QueueAt::Amqp(Box::new(config)))
}

fn endpoint(reader: &mut Reader<'_>, at: Mark, text: &str) -> Option<amqp::Endpoint> {
    match amqp::Endpoint::parse(text) {
        Ok(endpoint) => {
            if !endpoint.tls && !endpoint.is_loopback() {
                let message = format!(
                    "{} is reached without TLS: password and alerts can be read on the way",
                    quote(&endpoint.host)
                );
                reader.warn(at, message, "write amqps:// unless something else encrypts");
            }
            Some(endpoint)
        }
        Err(reason) => {
            reader.error(at, format!("the broker's address cannot be used: {reason}"), FORMS);
            None
        }
    }
}

/// An address that stands in the file (or in a variable, where a password is at home).
fn inline(reader: &mut Reader<'_>, node: &Node, text: &str) -> Option<amqp::Endpoint> {
    let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
    let has_password = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    if has_password {
        reader.hide(text);
    }
    let endpoint = endpoint(reader, node.at, text)?;
    let is_from_file = node.at.line > 0;
    let is_default = endpoint.username == "guest" && endpoint.password.expose_secret() == "guest";
    if has_password && is_from_file && !is_default {
        let help = "keep it out of this file: queue: { url: …, password: { file: /run/secrets/… } }";
        reader.warn(node.at, "the broker's password stands here in clear", help);
    }
    Some(endpoint)
}

fn file(reader: &mut Reader<'_>, vault: &Vault<'_>, node: &Node, what: &str) -> Option<PathBuf> {
    let path = vault.path(reader.text(node, what)?);
    if !path.is_file() {
        reader.error(node.at, format!("{what}: {} is no file", path.display()), "PEM, readable by this user");
        return None;
    }
    Some(path)
}

fn prefix(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = reader.text(node, "prefix")?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.len() > 100 || !text.chars().all(fits) || text.starts_with("amq.") {
        let help = "letters, digits, dots, dashes; at most 100; not amq.…";
        reader.error(node.at, format!("prefix {} does not name queues", quote(text)), help);
        return None;
    }
    Some(text.to_owned())
}

/// `spool: path` or `spool: { path, max }`; only in front of a broker.
pub(super) fn spool(
    reader: &mut Reader<'_>,
    vault: &Vault<'_>,
    top: &mut Section<'_>,
    queue: Option<&QueueAt>,
) -> Option<SpoolAt> {
    let node = top.take("spool")?;
    let at = match &node.value {
        Tree::Map(_) => {
            let mut section = reader.section(node, "spool")?;
            let path = reader.need(&mut section, "path", "spool").and_then(|node| reader.text(node, "path"));
            let max = section
                .take("max")
                .map_or(Some(SPOOL), |node| reader.bytes(node, "max", 1024 * 1024..=1024 * 1024 * 1024 * 1024));
            reader.finish(section, "spool", &[]);
            SpoolAt { path: vault.path(path?), max: u64::try_from(max?).unwrap_or(u64::MAX) }
        }
        _ => SpoolAt { path: vault.path(reader.text(node, "spool")?), max: u64::try_from(SPOOL).unwrap_or(u64::MAX) },
    };
    if matches!(queue, Some(QueueAt::Embedded)) {
        let help = "remove it; the embedded queue is a file already and needs nothing in front of it";
        reader.error(node.at, "a spool stands in front of a broker, and the queue is embedded", help);
        return None;
    }
    Some(at)
}

/// What must hold between the queue and the rest.
pub(super) fn check(reader: &mut Reader<'_>, at: Mark, queue: Option<&QueueAt>, limits: &Limits) {
    if matches!(queue, Some(QueueAt::Amqp(_))) && limits.max_body > LARGEST_BODY {
        let message = format!("max_body is {} bytes, and a broker's messages are smaller", limits.max_body);
        reader.error(at, message, "over a broker 8MiB are the most");
    }
}
