//! Secrets: `{ file: … }`, `{ env: … }`, or inline where a demonstration allows it.

use std::fs;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::playbook::diagnostic::quote;
use crate::playbook::yaml::{Mark, Node, Tree};

use super::environment::Environment;
use super::reader::Reader;

/// Largest secret file, in bytes.
const MAX_SECRET: u64 = 64 * 1024;

/// Where secrets come from.
#[derive(Debug)]
pub(super) struct Vault<'a> {
    pub environment: &'a Environment,
    /// Relative paths start here: the folder of `oust.yaml`.
    pub folder: &'a Path,
    /// Secrets may stand in the file itself: demonstrations and tests only.
    pub inline: bool,
}

impl Vault<'_> {
    /// A path of the configuration, relative to the file it stands in.
    pub fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }

    /// Resolves one secret. Messages name the file or variable, never the value.
    pub fn secret(&self, reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<SecretString> {
        match &node.value {
            Tree::Text(text) if self.inline && !text.is_empty() => {
                reader.hide(text);
                Some(SecretString::from(text.clone()))
            }
            Tree::Map(_) => self.referenced(reader, node, what),
            Tree::Text(text) => {
                let help = "keep it out of this file: { file: /run/secrets/… } or { env: NAME }";
                reader.hide(text);
                reader.error(node.at, format!("{what} stands here in clear"), help);
                None
            }
            other => {
                let message = format!("{what} must be {{ file: … }} or {{ env: … }}, not {}", other.kind());
                reader.error(node.at, message, "");
                None
            }
        }
    }

    fn referenced(&self, reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<SecretString> {
        let mut section = reader.section(node, what)?;
        let (file, variable) = (section.take("file"), section.take("env"));
        reader.finish(section, what, &[]);
        match (file, variable) {
            (Some(file), None) => {
                let path = self.path(reader.text(file, "file")?);
                self.filed(reader, file.at, &path, what)
            }
            (None, Some(variable)) => {
                let name = reader.text(variable, "env")?;
                let value = self.environment.get(name).filter(|value| !value.trim().is_empty());
                if value.is_none() {
                    let message = format!("{what}: the environment variable {} is not set", quote(name));
                    reader.error(variable.at, message, "set it for this process, or use { file: … }");
                }
                value.map(|value| SecretString::from(value.trim().to_owned()))
            }
            _ => {
                reader.error(node.at, format!("{what} must be either {{ file: … }} or {{ env: … }}"), "");
                None
            }
        }
    }

    fn filed(&self, reader: &mut Reader<'_>, at: Mark, path: &Path, what: &str) -> Option<SecretString> {
        match read(path) {
            Ok((secret, readable_by_all)) => {
                if readable_by_all {
                    let message = format!("{}: everybody on this machine can read this secret", path.display());
                    reader.warn(at, message, format!("chmod 600 {}", path.display()));
                }
                Some(secret)
            }
            Err(reason) => {
                reader.error(at, format!("{what}: {}: {reason}", path.display()), "the secret is the file's content");
                None
            }
        }
    }
}

fn read(path: &Path) -> Result<(SecretString, bool), String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("not a file".into());
    }
    if metadata.len() > MAX_SECRET {
        return Err(format!("{} bytes are no secret (at most {MAX_SECRET})", metadata.len()));
    }
    let bytes = Zeroizing::new(fs::read(path).map_err(|error| error.to_string())?);
    let text = std::str::from_utf8(&bytes).map_err(|_| "not UTF-8 text".to_owned())?.trim();
    if text.is_empty() {
        return Err("the file is empty".into());
    }
    Ok((SecretString::from(text.to_owned()), readable_by_all(&metadata)))
}

#[cfg(unix)]
fn readable_by_all(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o004 != 0
}

#[cfg(not(unix))]
fn readable_by_all(_: &fs::Metadata) -> bool {
    false
}
