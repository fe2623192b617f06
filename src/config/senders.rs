//! `auth` of a source: how its senders prove themselves. Secrets come out resolved.

use secrecy::{ExposeSecret, SecretString};

use crate::playbook::diagnostic::quote;
use crate::playbook::yaml::{Node, Tree};
use crate::sources::auth::{self, Authenticator, SecretRef, bearer, query_token, standard_webhooks};

use super::reader::{Reader, Section};
use super::secret::Vault;
use super::sources::Resolved;

/// `auth`: any one entry suffices.
pub(super) fn list(reader: &mut Reader<'_>, vault: &Vault<'_>, list: &Node) -> Option<Vec<auth::Config>> {
    let items = reader.list(list, "auth", 16);
    if super::is_empty(list) {
        reader.error(list.at, "a source without auth would believe anybody", "add one entry");
        return None;
    }
    let entries: Vec<auth::Config> = items.iter().filter_map(|item| entry(reader, vault, item)).collect();
    (entries.len() == items.len() && !entries.is_empty()).then_some(entries)
}

fn entry(reader: &mut Reader<'_>, vault: &Vault<'_>, node: &Node) -> Option<auth::Config> {
    const WORDS: &[&str] = &["standard_webhooks", "hmac", "bearer", "query_token"];
    let section = reader.section(node, "an auth entry")?;
    let entries: Vec<_> = section.all().collect();
    let [(key, inner)] = entries.as_slice() else {
        reader.error(node.at, "an auth entry must have exactly one key", WORDS.join(", "));
        return None;
    };
    if key.text == "entra" {
        let help = "use standard_webhooks, hmac or bearer";
        reader.error(key.at, "auth by entra is not available in this version", help);
        return None;
    }
    if !WORDS.contains(&key.text.as_str()) {
        reader.error(key.at, format!("{} is no way to authenticate", quote(&key.text)), WORDS.join(", "));
        return None;
    }
    let mut fields = reader.section(inner, &key.text)?;
    let secrets = references(reader, vault, &mut fields, &key.text);
    let entry = match key.text.as_str() {
        "standard_webhooks" => {
            secrets.map(|secrets| auth::Config::StandardWebhooks(standard_webhooks::Config { secrets }))
        }
        "hmac" => hmac(reader, &mut fields, secrets),
        "bearer" => secrets.map(|secrets| auth::Config::Bearer(bearer::Config { secrets })),
        _ => {
            let help = "only for senders that can do nothing else: addresses end up in logs of proxies";
            reader.warn(key.at, "query_token puts a secret into the address", help);
            parameter(reader, &mut fields)
                .zip(secrets)
                .map(|(parameter, secrets)| auth::Config::QueryToken(query_token::Config { parameter, secrets }))
        }
    };
    let at = fields.at;
    reader.finish(fields, &key.text, &[]);
    // What only the way itself can tell, such as a key that is no base64.
    let built = entry.as_ref().map(|entry| Authenticator::build(std::slice::from_ref(entry), &[], &Resolved));
    for mistake in built.and_then(Result::err).unwrap_or_default() {
        let help = match key.text.as_str() {
            "standard_webhooks" => "make a secret with: echo whsec_$(openssl rand -base64 32)",
            _ => "make a secret with: openssl rand -base64 32",
        };
        reader.error(at, mistake.to_string(), help);
    }
    entry
}

fn parameter(reader: &mut Reader<'_>, fields: &mut Section<'_>) -> Option<String> {
    let Some(node) = fields.take("parameter") else { return Some("token".to_owned()) };
    let text = reader.text(node, "parameter")?;
    // Graph's handshake uses this one; the two must not be confused.
    if text == "validationToken" || !super::is_name(text) {
        reader.error(node.at, format!("{} cannot name the parameter", quote(text)), "token");
        return None;
    }
    Some(text.to_owned())
}

fn hmac(reader: &mut Reader<'_>, fields: &mut Section<'_>, secrets: Option<Vec<SecretRef>>) -> Option<auth::Config> {
    use auth::hmac::{Algorithm, Encoding};
    let header = reader.need(fields, "header", "hmac").and_then(|node| reader.parse(node, "header"));
    let header: Option<::http::HeaderName> = header;
    let prefix = match fields.take("prefix") {
        Some(Node { value: Tree::Text(text), .. }) if text.is_empty() => Some(String::new()),
        Some(node) => reader.text(node, "prefix").map(str::to_owned),
        None => Some(String::new()),
    };
    let encoding = match fields.take("encoding") {
        Some(node) => reader.word(node, "encoding", &["hex", "base64"], &[]),
        None => Some("hex"),
    };
    let algorithm = match fields.take("algorithm") {
        Some(node) => reader.word(node, "algorithm", &["sha256", "sha512"], &[]),
        None => Some("sha256"),
    };
    Some(auth::Config::Hmac(auth::hmac::Config {
        header: header?.to_string(),
        prefix: prefix?,
        encoding: if encoding? == "base64" { Encoding::Base64 } else { Encoding::Hex },
        algorithm: if algorithm? == "sha512" { Algorithm::Sha512 } else { Algorithm::Sha256 },
        secrets: secrets?,
    }))
}

/// `secrets` as references that are already resolved.
fn references(
    reader: &mut Reader<'_>,
    vault: &Vault<'_>,
    fields: &mut Section<'_>,
    what: &str,
) -> Option<Vec<SecretRef>> {
    let secrets = secrets(reader, vault, fields, what, 0)?;
    Some(secrets.into_iter().map(SecretRef::Inline).collect())
}

/// `secrets`: several = rotation. `shortest` in characters, so that nobody guesses one.
pub(super) fn secrets(
    reader: &mut Reader<'_>,
    vault: &Vault<'_>,
    section: &mut Section<'_>,
    what: &str,
    shortest: usize,
) -> Option<Vec<SecretString>> {
    let node = reader.need(section, "secrets", what)?;
    let items = reader.list(node, "secrets", 16);
    if super::is_empty(node) {
        reader.error(node.at, format!("{what} has no secrets: nobody could authenticate"), "add one");
    }
    let mut secrets = Vec::new();
    for item in items {
        let Some(secret) = vault.secret(reader, item, "a secret") else { continue };
        if secret.expose_secret().chars().count() < shortest {
            let message = format!("a secret of {what} is shorter than {shortest} characters");
            reader.error(item.at, message, "make one with: openssl rand -base64 32");
        }
        secrets.push(secret);
    }
    (secrets.len() == items.len() && !secrets.is_empty()).then_some(secrets)
}
