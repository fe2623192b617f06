//! Whether a domain's people sign in somewhere else.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::client::{Graph, Request};
use super::error::Error;
use super::odata::lenient_text;
use super::terms::{Nature, Operation, Terms, Workload};

static READ: Operation = Operation {
    name: "read_domain",
    permission: "Domain.Read.All",
    nature: Nature::Read,
    workload: Workload::Directory,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Domain {
    #[serde(default, deserialize_with = "lenient_text")]
    authentication_type: Option<String>,
}

/// What was read of domains lately, or may not be read: a tenant has few, and its people are many.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<String, (Instant, Option<bool>)>>);

/// A domain is read again after so long, and after so long where it could not be read.
const KEPT: Duration = Duration::from_mins(10);
const BUSY: Duration = Duration::from_secs(15);
/// More than a tenant may have verified.
const MOST: usize = 5_000;

impl Known {
    fn get(&self, domain: &str) -> Option<Option<bool>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(domain).filter(|(until, _)| Instant::now() < *until).map(|(_, federated)| *federated)
    }

    fn put(&self, domain: String, federated: Option<bool>, kept: Duration) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(domain, (Instant::now() + kept, federated));
    }
}

impl Graph {
    /// [`Graph::is_federated`] as it was within the last ten minutes; `None` also where it may not or could not be read.
    pub async fn was_federated(&self, domain: &str, terms: &Terms) -> Option<bool> {
        let domain = domain.to_ascii_lowercase();
        if let Some(known) = self.inner.domains.get(&domain) {
            return known;
        }
        let (federated, kept) = match self.is_federated(&domain, terms).await {
            Ok(federated) => (federated, KEPT),
            Err(error) if error.status() == Some(403) => (None, KEPT),
            // Nobody else waits for it meanwhile.
            Err(_) => (None, BUSY),
        };
        self.inner.domains.put(domain, federated, kept);
        federated
    }

    /// Whether people of this domain sign in at another identity provider. `None` when Graph does not know the domain
    /// or the text is no domain name.
    ///
    /// # Errors
    /// As any read; 403 without Domain.Read.All, which nothing else needs.
    pub async fn is_federated(&self, domain: &str, terms: &Terms) -> Result<Option<bool>, Error> {
        if !is_domain(domain) {
            return Ok(None);
        }
        let request = Request::get(self, &READ, &["domains", &domain.to_ascii_lowercase()]);
        match self.one::<Domain>(request, terms).await {
            Ok(domain) => Ok(domain.authentication_type.map(|kind| kind.eq_ignore_ascii_case("federated"))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn is_domain(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').count() >= 2
        && text.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_not_a_domain() {
        assert!(is_domain("contoso.example"));
        for bad in ["", ".", "..", "contoso", "a..b", "a/b.c", "a?.b", ".a.b"] {
            assert!(!is_domain(bad), "{bad}");
        }
    }
}
