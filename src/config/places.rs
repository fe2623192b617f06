//! Where things are kept: `store`.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use crate::playbook::yaml::{Mark, Node, Tree};
use crate::store::postgres;

use super::reader::{Reader, Section};
use super::secret::Vault;

/// What a URL of a store looks like.
const STORES: &str = "sqlite:///var/lib/oust/oust.db, or postgres://user@host:5432/database?sslmode=verify-full";

/// Where the store is.
#[derive(Debug, Clone)]
pub enum StoreAt {
    /// A file on this machine.
    Sqlite(PathBuf),
    /// A database that several machines share.
    Postgres(Box<postgres::Config>),
}

/// For people: a path, or `database at host:port`.
impl std::fmt::Display for StoreAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(config) => f.write_str(&config.place()),
        }
    }
}

/// `store`: a URL, a secret that holds one, or a mapping with the password apart.
pub(super) fn store(reader: &mut Reader<'_>, vault: &Vault<'_>, top: &mut Section<'_>) -> Option<StoreAt> {
    let Some(node) = top.take("store") else { return Some(StoreAt::Sqlite(vault.path("oust.db"))) };
    match &node.value {
        Tree::Map(entries) if entries.iter().any(|(key, _)| key.text == "url") => mapping(reader, vault, node),
        Tree::Map(_) => {
            let url = vault.secret(reader, node, "store")?;
            place(reader, vault, node.at, url.expose_secret())
        }
        _ => {
            let text = reader.text(node, "store")?;
            let at = place(reader, vault, node.at, text)?;
            conceal(reader, node.at, text, &at);
            Some(at)
        }
    }
}

fn place(reader: &mut Reader<'_>, vault: &Vault<'_>, at: Mark, text: &str) -> Option<StoreAt> {
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return match postgres::Config::parse(text) {
            Ok(config) => Some(StoreAt::Postgres(Box::new(config))),
            Err(error) => {
                reader.hide(text);
                reader.error(at, format!("store: {error}"), "");
                None
            }
        };
    }
    let path = text.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
    match path.filter(|path| !path.is_empty() && !path.ends_with('/') && !path.contains(['?', '\0'])) {
        Some(path) => Some(StoreAt::Sqlite(vault.path(path))),
        None => {
            // It may be a URL with a password in it, of whatever kind.
            reader.hide(text);
            reader.error(
                at,
                format!("store must be {STORES}"),
                "a path after sqlite:// is absolute with three slashes",
            );
            None
        }
    }
}

/// A password in the file works, and is not shown again; values of variables have no line.
fn conceal(reader: &mut Reader<'_>, at: Mark, text: &str, place: &StoreAt) {
    let StoreAt::Postgres(config) = place else { return };
    if config.has_password() {
        reader.hide(text);
        if at.line > 0 {
            let help = "write `store: { url: …, password: { file: … } }`, or { env: NAME } for the whole URL";
            reader.warn(at, "the password of the database stands here in clear", help);
        }
    }
}

fn mapping(reader: &mut Reader<'_>, vault: &Vault<'_>, node: &Node) -> Option<StoreAt> {
    let mut section = reader.section(node, "store")?;
    let url = reader.need(&mut section, "url", "store")?;
    let password = section.take("password").map(|node| vault.secret(reader, node, "password"));
    let ca = section.take("ca").map(|node| {
        let path = vault.path(reader.text(node, "ca")?);
        if !path.is_file() {
            let help = "the certificate of the authority that signed the server's, as PEM";
            reader.error(node.at, format!("ca: {} is not a file", path.display()), help);
        }
        Some(path)
    });
    let pool = section.take("pool").map(|node| reader.integer(node, "pool", 1..=500));
    reader.finish(section, "store", &[]);
    let text = reader.text(url, "url")?;
    let at = place(reader, vault, url.at, text)?;
    conceal(reader, url.at, text, &at);
    let StoreAt::Postgres(mut config) = at else {
        if password.is_some() || ca.is_some() || pool.is_some() {
            reader.error(node.at, "a store in a file has no password, ca or pool", "write `store: sqlite:…`");
            return None;
        }
        return Some(at);
    };
    if let Some(ca) = ca {
        config.ca = Some(ca?);
    }
    if let Some(pool) = pool {
        config.pool = usize::try_from(pool?).unwrap_or(postgres::POOL);
    }
    if let Some(password) = password {
        let password: SecretString = password?;
        *config = config.with_password(password);
    }
    Some(StoreAt::Postgres(config))
}
