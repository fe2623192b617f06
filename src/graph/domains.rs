//! Whether a domain's people sign in somewhere else.

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

impl Graph {
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
