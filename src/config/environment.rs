//! The process environment: the only place that reads it. Everything else gets its values from here.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Variables with the prefix `OUST_` that override a scalar of `oust.yaml`, and the key each one stands for.
pub const OVERRIDES: &[(&str, &[&str])] = &[
    ("OUST_LISTEN", &["listen"]),
    ("OUST_PUBLIC_URL", &["public_url"]),
    ("OUST_MODE", &["mode"]),
    ("OUST_STORE", &["store"]),
    ("OUST_QUEUE", &["queue"]),
    ("OUST_PLAYBOOKS", &["playbooks"]),
    ("OUST_MAX_AGE", &["guards", "max_age"]),
    ("OUST_MAX_BODY", &["limits", "max_body"]),
    ("OUST_CONCURRENCY", &["limits", "concurrency"]),
    ("OUST_LOG", &["telemetry", "log"]),
    ("OUST_LOG_LEVEL", &["telemetry", "level"]),
    ("OUST_OTLP", &["telemetry", "otlp"]),
];

/// Names the file to read; an option on the command line wins over it.
pub const CONFIG: &str = "OUST_CONFIG";

/// This very program, to be started again as a child.
///
/// # Errors
/// The system does not say.
pub fn executable() -> std::io::Result<PathBuf> {
    std::env::current_exe()
}

/// A snapshot of the environment. `Debug` shows names only: values may be secrets.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// The environment of this process; variables that are not Unicode are left out.
    pub fn of_process() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        let all = std::env::vars_os();
        Self(all.filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect())
    }

    /// An environment made of these pairs.
    pub fn of<const N: usize>(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Names with the prefix `OUST_`.
    pub(super) fn ours(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str).filter(|name| name.starts_with("OUST_"))
    }

    /// Who runs the command, for the audit trail: `operator:<name>`.
    pub fn operator(&self) -> String {
        let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| self.get(name));
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name: String = named.unwrap_or_default().chars().filter(plain).take(64).collect();
        if name.is_empty() { format!("operator:{}", user_id()) } else { format!("operator:{name}") }
    }

    /// True when colours are welcome: nobody said `NO_COLOR`.
    pub fn colour(&self) -> bool {
        self.get("NO_COLOR").is_none_or(str::is_empty)
    }
}

/// The number of the user this process runs as, where the system says so.
fn user_id() -> String {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if let Ok(me) = std::fs::metadata("/proc/self") {
            return format!("uid-{}", me.uid());
        }
    }
    "unknown".to_owned()
}
