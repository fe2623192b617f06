//! A person's authentication methods: a thief likes to leave one of his own.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::domain::ObjectId;

use super::client::{Graph, Request};
use super::error::Error;
use super::terms::{Nature, Operation, Terms, Workload};

static LIST: Operation = Operation {
    name: "read_auth_methods",
    permission: "UserAuthenticationMethod.Read.All",
    nature: Nature::Read,
    workload: Workload::Directory,
};

/// A way to prove to be somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuthMethod {
    pub id: String,
    /// Graph's type without its prefix and suffix: `phone`, `microsoftAuthenticator`, `fido2`, `password`, …
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(rename = "created")]
    pub created_at: Option<Timestamp>,
    /// A device's or key's name, or a number with most digits hidden.
    pub display: Option<String>,
}

impl AuthMethod {
    fn of(method: &Value) -> Option<Self> {
        let text = |name: &str| method.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let kind = text("@odata.type").unwrap_or_default().trim_start_matches("#microsoft.graph.");
        let kind = kind.strip_suffix("AuthenticationMethod").unwrap_or(kind);
        let display = ["displayName", "model", "deviceTag"].iter().find_map(|name| text(name)).map(str::to_owned);
        let hidden = || text("phoneNumber").or_else(|| text("emailAddress")).map(hide);
        Some(Self {
            id: text("id")?.to_owned(),
            kind: kind.to_owned(),
            created_at: text("createdDateTime").and_then(|at| at.parse().ok()),
            display: display.or_else(hidden),
        })
    }
}

/// The last two characters of a number, the first and the domain of an address.
fn hide(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((local, domain)) => format!("{}…@{domain}", local.chars().next().unwrap_or('…')),
        None => {
            let last: Vec<char> = text.chars().rev().take(2).collect();
            format!("…{}", last.iter().rev().collect::<String>())
        }
    }
}

impl Graph {
    /// A person's authentication methods, at most `most`.
    ///
    /// # Errors
    /// As any read.
    pub async fn auth_methods(&self, user: ObjectId, most: usize, terms: &Terms) -> Result<Vec<AuthMethod>, Error> {
        let request = Request::get(self, &LIST, &["users", &user.to_string(), "authentication", "methods"]);
        let found: Vec<Value> = self.list(request, terms, most).await?;
        Ok(found.iter().filter_map(AuthMethod::of).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_method_shows_its_kind_and_hides_its_number() {
        let method = AuthMethod::of(&json!({
            "@odata.type": "#microsoft.graph.phoneAuthenticationMethod", "id": "3179e48a", "phoneNumber": "+49 1510000042",
        }))
        .expect("a method");
        assert_eq!((method.kind.as_str(), method.display.as_deref()), ("phone", Some("…42")));
        assert_eq!(AuthMethod::of(&json!({ "@odata.type": 7 })), None);
        assert_eq!(hide("ada@contoso.example"), "a…@contoso.example");
    }
}
