//! Which Graph permissions the tenant's applications hold, with Microsoft's role ids (facts: graph §4.3).

use super::{
    Tenant,
    clock::{name_number, seeded_id},
    reply::Fail,
    verb::Verb,
};
use uuid::Uuid;

const ROLES: &[(&str, &str)] = &[
    ("User.RevokeSessions.All", "77f3a031-c388-4f99-b373-dc68676a979e"),
    ("User.Read.All", "df021288-bdef-4463-88db-98f22de89214"),
    ("User-PasswordProfile.ReadWrite.All", "cc117bb9-00cf-4eb8-b580-ea2a878fe8f7"),
    ("User.EnableDisableAccount.All", "3011c876-62b7-4ada-afa2-506cbbecc68c"),
    ("IdentityRiskEvent.Read.All", "6e472fd1-ad78-48da-a0f0-97ab2c6b769e"),
    ("IdentityRiskyUser.Read.All", "dc5007c0-2d7d-4c42-879c-2dab87571379"),
    ("IdentityRiskyUser.ReadWrite.All", "656f6061-f9fe-4807-9708-6a2e0934df76"),
    ("SecurityAlert.Read.All", "472e4a4d-bb4a-4026-98d1-0b0d74cb74a5"),
    ("SecurityIncident.Read.All", "45cc0394-e837-488b-a098-1918f48d186c"),
    ("AuditLog.Read.All", "b0afded3-3588-46d8-8b3d-9842eff778da"),
    ("MailboxSettings.Read", "40f97065-369a-49f4-947c-6a255697ae91"),
    ("MailboxSettings.ReadWrite", "6931bccd-447a-43d1-b442-00a195474933"),
    ("RoleManagement.Read.Directory", "483bed4a-2ad3-4361-a73b-c83ccdbdc53c"),
    ("UserAuthenticationMethod.Read.All", "38d9df27-64da-44fd-b7c5-a6fbac20248f"),
    ("UserAuthMethod-TAP.ReadWrite.All", "627169a8-8c15-451c-861a-5b80e383de5c"),
    ("DelegatedPermissionGrant.ReadWrite.All", "8e8e4742-1d95-4f68-9d56-6ee75648c72a"),
    ("Directory.Read.All", "7ab1d382-f21e-4acd-a863-ba3e13f7da61"),
];

/// The app role id of a permission; one that follows from the name where Microsoft's is not known here.
pub(super) fn role_id(permission: &str) -> Uuid {
    ROLES
        .iter()
        .find(|(name, _)| *name == permission)
        .and_then(|(_, id)| id.parse().ok())
        .unwrap_or_else(|| seeded_id(0, name_number(permission)))
}

impl Tenant {
    /// The permissions of an application; all the twin knows of, if none are configured.
    pub(super) fn granted(&self, app: usize) -> Vec<&str> {
        match &self.apps[app].permissions {
            Some(names) => names.iter().map(String::as_str).collect(),
            None => {
                let mut all: Vec<&str> = Verb::ALL.iter().flat_map(|verb| verb.permissions()).copied().collect();
                all.sort_unstable();
                all.dedup();
                all
            }
        }
    }

    /// Refuses a call whose application lacks every permission that would do.
    pub(super) fn permit(&self, verb: Verb, app: usize) -> Result<(), Fail> {
        let needed = verb.permissions();
        match &self.apps[app].permissions {
            Some(held) if !needed.is_empty() && !needed.iter().any(|need| held.iter().any(|it| it == need)) => {
                Err(Fail::denied())
            }
            _ => Ok(()),
        }
    }
}
