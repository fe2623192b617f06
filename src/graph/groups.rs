//! Members of a group: who must never be locked out, who may decide.

use serde_json::Value;

use crate::domain::ObjectId;

use super::client::{Graph, Request};
use super::error::Error;
use super::terms::{Nature, Operation, Terms, Workload};

static MEMBERS: Operation = Operation {
    name: "read_group",
    permission: "GroupMember.Read.All",
    nature: Nature::Read,
    workload: Workload::Directory,
};

impl Graph {
    /// The users in a group, through nested groups too; at most `most`. Members of other types are left out.
    ///
    /// # Errors
    /// As any read; 404 when there is no such group.
    pub async fn group_users(&self, group: ObjectId, most: usize, terms: &Terms) -> Result<Vec<ObjectId>, Error> {
        let request = Request::get(self, &MEMBERS, &["groups", &group.to_string(), "transitiveMembers"])
            .query(&[("$select", &"id"), ("$top", &"999")]);
        let members: Vec<Value> = self.list(request, terms, most).await?;
        Ok(members.iter().filter_map(user_id).collect())
    }
}

fn user_id(member: &Value) -> Option<ObjectId> {
    let kind = member.get("@odata.type").and_then(Value::as_str).unwrap_or("#microsoft.graph.user");
    let id = member.get("id").and_then(Value::as_str)?.parse().ok()?;
    (kind == "#microsoft.graph.user").then_some(id)
}
