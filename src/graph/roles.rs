//! Directory roles a person holds now, through groups too.

use serde::{Deserialize, Serialize};

use crate::domain::ObjectId;

use super::client::{Graph, Request};
use super::error::Error;
use super::odata::{lenient_text, or_default};
use super::terms::{Nature, Operation, Terms, Workload};

static READ: Operation = Operation {
    name: "read_roles",
    permission: "RoleManagement.Read.Directory",
    nature: Nature::Read,
    workload: Workload::Directory,
};

/// An active directory role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct DirectoryRole {
    #[serde(default, deserialize_with = "or_default")]
    pub id: String,
    /// Absent when the app may only list ids.
    #[serde(rename(deserialize = "displayName"), default, deserialize_with = "lenient_text")]
    pub name: Option<String>,
    #[serde(rename(deserialize = "roleTemplateId"), default, deserialize_with = "lenient_text")]
    pub template: Option<String>,
}

impl Graph {
    /// The directory roles of a person. Eligible (not activated) roles are not among them.
    ///
    /// # Errors
    /// As any read.
    pub async fn roles_of(&self, user: ObjectId, terms: &Terms) -> Result<Vec<DirectoryRole>, Error> {
        let user = user.to_string();
        let path = ["users", &user, "transitiveMemberOf", "microsoft.graph.directoryRole"];
        let request = Request::get(self, &READ, &path).query(&[("$select", &"id,displayName,roleTemplateId")]);
        self.list(request, terms, 200).await
    }
}
