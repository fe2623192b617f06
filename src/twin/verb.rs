//! What a call means: the verb, its least permissions, the budget it takes from, and the ids in its path.
//!
//! Recognising a call needs no state; the directory is asked only afterwards.

use super::reply::{Body, Surface};
use percent_encoding::percent_decode_str;
use serde_json::Value;

macro_rules! verbs {
    ($($verb:ident $name:literal [$($permission:literal),*] $class:ident $changes:literal;)*) => {
        /// Everything the tenant understands.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(super) enum Verb { $($verb),* }

        impl Verb {
            pub(super) const ALL: &'static [Verb] = &[$(Verb::$verb),*];

            /// The name used in counters and in the call log.
            pub(super) fn name(self) -> &'static str {
                match self { $(Verb::$verb => $name),* }
            }

            /// Any one of these permissions suffices; none are needed where the list is empty (facts: graph §4).
            pub(super) fn permissions(self) -> &'static [&'static str] {
                match self { $(Verb::$verb => &[$($permission),*]),* }
            }

            pub(super) fn class(self) -> Class {
                match self { $(Verb::$verb => Class::$class),* }
            }

            /// Whether the call is an effect.
            pub(super) fn changes(self) -> bool {
                match self { $(Verb::$verb => $changes),* }
            }
        }
    };
}

/// Whose limits a call counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Directory,
    IdentityProtection,
    AuditLogs,
    Security,
    Other,
}

verbs! {
    Token "token" [] Other false;
    ManagedIdentity "managedIdentityToken" [] Other false;
    Batch "batch" [] Other false;
    Unknown "unknown" [] Other false;
    ListUsers "listUsers" ["User.Read.All", "Directory.Read.All", "User.ReadWrite.All"] Directory false;
    ReadUser "readUser" ["User.Read.All", "Directory.Read.All", "User.ReadWrite.All"] Directory false;
    Revoke "revokeSignInSessions" ["User.RevokeSessions.All", "User.ReadWrite.All", "Directory.ReadWrite.All"] Directory true;
    ResetPassword "resetPassword" ["User-PasswordProfile.ReadWrite.All", "Directory.ReadWrite.All"] Directory true;
    DisableAccount "disableAccount" ["User.EnableDisableAccount.All", "User.ReadWrite.All", "Directory.ReadWrite.All"] Directory true;
    EnableAccount "enableAccount" ["User.EnableDisableAccount.All", "User.ReadWrite.All", "Directory.ReadWrite.All"] Directory true;
    UpdateUser "updateUser" ["User.ReadWrite.All", "Directory.ReadWrite.All"] Directory true;
    ReadRoles "readRoles" ["User.Read.All", "Directory.Read.All", "RoleManagement.Read.Directory"] Directory false;
    ReadRoleAssignments "readRoleAssignments" ["RoleManagement.Read.Directory", "Directory.Read.All"] Directory false;
    ReadRoleEligibility "readRoleEligibility" ["RoleEligibilitySchedule.Read.Directory", "RoleManagement.Read.Directory"] Directory false;
    ReadGroup "readGroup" ["GroupMember.Read.All", "Group.Read.All", "Directory.Read.All"] Directory false;
    ReadGroupMembers "readGroupMembers" ["GroupMember.Read.All", "Group.Read.All", "Directory.Read.All"] Directory false;
    ReadOrganization "readOrganization" [] Directory false;
    ReadDomains "readDomains" ["Domain.Read.All", "Directory.Read.All"] Directory false;
    ReadAppRoles "readAppRoleAssignments" [] Directory false;
    ReadInboxRules "readInboxRules" ["MailboxSettings.Read", "MailboxSettings.ReadWrite"] Other false;
    UpdateInboxRule "updateInboxRule" ["MailboxSettings.ReadWrite"] Other true;
    DeleteInboxRule "deleteInboxRule" ["MailboxSettings.ReadWrite"] Other true;
    ReadAuthMethods "readAuthMethods" ["UserAuthenticationMethod.Read.All", "UserAuthenticationMethod.ReadWrite.All"] Directory false;
    DeleteAuthMethod "deleteAuthMethod" ["UserAuthenticationMethod.ReadWrite.All", "UserAuthMethod-Phone.ReadWrite.All", "UserAuthMethod-MicrosoftAuthApp.ReadWrite.All", "UserAuthMethod-Passkey.ReadWrite.All", "UserAuthMethod-SoftwareOATH.ReadWrite.All", "UserAuthMethod-WindowsHello.ReadWrite.All", "UserAuthMethod-Email.ReadWrite.All", "UserAuthMethod-TAP.ReadWrite.All", "UserAuthMethod-PlatformCred.ReadWrite.All", "UserAuthMethod-External.ReadWrite.All"] Directory true;
    CreateAccessPass "createTemporaryAccessPass" ["UserAuthMethod-TAP.ReadWrite.All", "UserAuthenticationMethod.ReadWrite.All"] Directory true;
    ReadGrants "readOauthGrants" ["Directory.Read.All", "DelegatedPermissionGrant.Read.All", "DelegatedPermissionGrant.ReadWrite.All"] Directory false;
    DeleteGrant "deleteOauthGrant" ["DelegatedPermissionGrant.ReadWrite.All"] Directory true;
    ReadDevices "readDevices" ["Directory.Read.All", "Device.Read.All", "User.Read.All"] Directory false;
    UpdateDevice "updateDevice" ["Device.ReadWrite.All", "Directory.ReadWrite.All"] Directory true;
    ConfirmCompromised "confirmCompromised" ["IdentityRiskyUser.ReadWrite.All"] IdentityProtection true;
    ConfirmSafe "confirmSafe" ["IdentityRiskyUser.ReadWrite.All"] IdentityProtection true;
    DismissRisk "dismissRisk" ["IdentityRiskyUser.ReadWrite.All"] IdentityProtection true;
    ListRiskyUsers "listRiskyUsers" ["IdentityRiskyUser.Read.All", "IdentityRiskyUser.ReadWrite.All"] IdentityProtection false;
    ReadRiskyUser "readRiskyUser" ["IdentityRiskyUser.Read.All", "IdentityRiskyUser.ReadWrite.All"] IdentityProtection false;
    ListRiskDetections "listRiskDetections" ["IdentityRiskEvent.Read.All"] IdentityProtection false;
    ReadRiskDetection "readRiskDetection" ["IdentityRiskEvent.Read.All"] IdentityProtection false;
    ListSignIns "listSignIns" ["AuditLog.Read.All"] AuditLogs false;
    ListAlerts "listAlerts" ["SecurityAlert.Read.All", "SecurityAlert.ReadWrite.All"] Security false;
    ReadAlert "readAlert" ["SecurityAlert.Read.All", "SecurityAlert.ReadWrite.All"] Security false;
    UpdateAlert "updateAlert" ["SecurityAlert.ReadWrite.All"] Security true;
    CommentAlert "commentAlert" ["SecurityAlert.ReadWrite.All"] Security true;
    ListLegacyAlerts "listLegacyAlerts" ["SecurityEvents.Read.All", "SecurityEvents.ReadWrite.All"] Security false;
    ReadLegacyAlert "readLegacyAlert" ["SecurityEvents.Read.All", "SecurityEvents.ReadWrite.All"] Security false;
    ListIncidents "listIncidents" ["SecurityIncident.Read.All", "SecurityIncident.ReadWrite.All"] Security false;
    ReadIncident "readIncident" ["SecurityIncident.Read.All", "SecurityIncident.ReadWrite.All"] Security false;
    UpdateIncident "updateIncident" ["SecurityIncident.ReadWrite.All"] Security true;
    CommentIncident "commentIncident" ["SecurityIncident.ReadWrite.All"] Security true;
    ArmIncident "armReadIncident" [] Other false;
    ArmEntities "armIncidentEntities" [] Other false;
    ArmComment "armCommentIncident" [] Other true;
    CreateSubscription "createSubscription" [] Other true;
    ListSubscriptions "listSubscriptions" [] Other false;
    ReadSubscription "readSubscription" [] Other false;
    RenewSubscription "renewSubscription" [] Other true;
    ReauthorizeSubscription "reauthorizeSubscription" [] Other true;
    DeleteSubscription "deleteSubscription" [] Other true;
    ReadMail "readMail" [] Other false;
}

/// A recognised call: its verb and up to two ids of its path, decoded.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) verb: Verb,
    pub(super) surface: Surface,
    /// The first id (a user, a device, an incident …), empty if there is none.
    pub(super) id: String,
    /// The second id, or the kind of thing.
    pub(super) item: String,
    /// The third id.
    pub(super) third: String,
}

impl Route {
    fn new(verb: Verb, surface: Surface, ids: [&str; 3]) -> Self {
        let [id, item, third] = ids.map(decode);
        Route { verb, surface, id, item, third }
    }

    fn graph(verb: Verb, id: &str, item: &str) -> Self {
        Route::new(verb, Surface::Graph, [id, item, ""])
    }

    /// Recognises a call by method, path and, for `PATCH /users`, body.
    pub(super) fn of(method: &str, path: &str, body: &Body) -> Self {
        let mut segments = [""; 20];
        let mut count = 0;
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            if count == segments.len() {
                return Route::graph(Verb::Unknown, "", "");
            }
            segments[count] = segment;
            count += 1;
        }
        let segments = &segments[..count];
        match (method, segments) {
            (_, ["v1.0" | "beta", rest @ ..]) => graph(method, rest, body),
            ("POST", [tenant, "oauth2", "v2.0", "token"]) => Route::new(Verb::Token, Surface::Login, [tenant, "", ""]),
            ("GET", ["metadata", "identity", "oauth2", "token"]) => {
                Route::new(Verb::ManagedIdentity, Surface::Login, ["", "", ""])
            }
            (_, ["subscriptions", rest @ ..]) => arm(method, rest),
            _ => Route::graph(Verb::Unknown, "", ""),
        }
    }

    /// Whether the first id names a user.
    pub(super) fn about_a_user(&self) -> bool {
        use Verb::{
            CreateAccessPass, DeleteAuthMethod, DeleteInboxRule, DisableAccount, EnableAccount, ReadAuthMethods,
            ReadDevices, ReadGrants, ReadInboxRules, ReadRiskyUser, ReadRoles, ReadUser, ResetPassword, Revoke,
            UpdateInboxRule, UpdateUser,
        };
        matches!(
            self.verb,
            ReadUser
                | Revoke
                | ResetPassword
                | DisableAccount
                | EnableAccount
                | UpdateUser
                | ReadRoles
                | ReadInboxRules
                | UpdateInboxRule
                | DeleteInboxRule
                | ReadAuthMethods
                | DeleteAuthMethod
                | CreateAccessPass
                | ReadGrants
                | ReadDevices
                | ReadRiskyUser
        )
    }
}

fn decode(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

fn graph(method: &str, segments: &[&str], body: &Body) -> Route {
    match segments {
        ["users", rest @ ..] => users(method, rest, body),
        ["identityProtection", rest @ ..] => risk(method, rest),
        ["security", rest @ ..] => security(method, rest),
        ["subscriptions", rest @ ..] => subscriptions(method, rest),
        rest => other(method, rest),
    }
}

fn users(method: &str, segments: &[&str], body: &Body) -> Route {
    let (verb, id, item, third) = match (method, segments) {
        ("GET", []) => (Verb::ListUsers, "", "", ""),
        ("GET", [id]) => (Verb::ReadUser, *id, "", ""),
        ("PATCH", [id]) => (update(body), *id, "", ""),
        ("POST", [id, "revokeSignInSessions" | "microsoft.graph.revokeSignInSessions"]) => (Verb::Revoke, *id, "", ""),
        ("GET", [id, "transitiveMemberOf" | "memberOf"]) => (Verb::ReadRoles, *id, "all", ""),
        ("GET", [id, "transitiveMemberOf" | "memberOf", "microsoft.graph.directoryRole"]) => {
            (Verb::ReadRoles, *id, "", "")
        }
        ("GET", [id, "mailFolders", _inbox, "messageRules"]) => (Verb::ReadInboxRules, *id, "", ""),
        ("GET", [id, "mailFolders", _inbox, "messageRules", rule]) => (Verb::ReadInboxRules, *id, *rule, ""),
        ("PATCH", [id, "mailFolders", _inbox, "messageRules", rule]) => (Verb::UpdateInboxRule, *id, *rule, ""),
        ("DELETE", [id, "mailFolders", _inbox, "messageRules", rule]) => (Verb::DeleteInboxRule, *id, *rule, ""),
        ("GET", [id, "authentication", "methods"]) => (Verb::ReadAuthMethods, *id, "", ""),
        ("POST", [id, "authentication", "temporaryAccessPassMethods"]) => (Verb::CreateAccessPass, *id, "", ""),
        ("DELETE", [id, "authentication", kind, method]) => (Verb::DeleteAuthMethod, *id, *kind, *method),
        ("GET", [id, "oauth2PermissionGrants"]) => (Verb::ReadGrants, *id, "", ""),
        ("GET", [id, "registeredDevices" | "ownedDevices"]) => (Verb::ReadDevices, *id, "", ""),
        _ => (Verb::Unknown, "", "", ""),
    };
    Route::new(verb, Surface::Graph, [id, item, third])
}

fn update(body: &Body) -> Verb {
    match (body.get("passwordProfile"), body.get("accountEnabled")) {
        (Some(_), _) => Verb::ResetPassword,
        (None, Some(Value::Bool(false))) => Verb::DisableAccount,
        (None, Some(Value::Bool(true))) => Verb::EnableAccount,
        _ => Verb::UpdateUser,
    }
}

fn risk(method: &str, segments: &[&str]) -> Route {
    let (verb, id) = match (method, segments) {
        ("POST", ["riskyUsers", "confirmCompromised"]) => (Verb::ConfirmCompromised, ""),
        ("POST", ["riskyUsers", "confirmSafe"]) => (Verb::ConfirmSafe, ""),
        ("POST", ["riskyUsers", "dismiss"]) => (Verb::DismissRisk, ""),
        ("GET", ["riskyUsers"]) => (Verb::ListRiskyUsers, ""),
        ("GET", ["riskyUsers", id]) => (Verb::ReadRiskyUser, *id),
        ("GET", ["riskDetections"]) => (Verb::ListRiskDetections, ""),
        ("GET", ["riskDetections", id]) => (Verb::ReadRiskDetection, *id),
        _ => (Verb::Unknown, ""),
    };
    Route::graph(verb, id, "")
}

fn security(method: &str, segments: &[&str]) -> Route {
    let (verb, id) = match (method, segments) {
        ("GET", ["alerts_v2"]) => (Verb::ListAlerts, ""),
        ("GET", ["alerts_v2", id]) => (Verb::ReadAlert, *id),
        ("PATCH", ["alerts_v2", id]) => (Verb::UpdateAlert, *id),
        ("POST", ["alerts_v2", id, "comments"]) => (Verb::CommentAlert, *id),
        ("GET", ["alerts"]) => (Verb::ListLegacyAlerts, ""),
        ("GET", ["alerts", id]) => (Verb::ReadLegacyAlert, *id),
        ("GET", ["incidents"]) => (Verb::ListIncidents, ""),
        ("GET", ["incidents", id]) => (Verb::ReadIncident, *id),
        ("PATCH", ["incidents", id]) => (Verb::UpdateIncident, *id),
        ("POST", ["incidents", id, "comments"]) => (Verb::CommentIncident, *id),
        _ => (Verb::Unknown, ""),
    };
    Route::graph(verb, id, "")
}

fn subscriptions(method: &str, segments: &[&str]) -> Route {
    let (verb, id) = match (method, segments) {
        ("POST", []) => (Verb::CreateSubscription, ""),
        ("GET", []) => (Verb::ListSubscriptions, ""),
        ("GET", [id]) => (Verb::ReadSubscription, *id),
        ("PATCH", [id]) => (Verb::RenewSubscription, *id),
        ("DELETE", [id]) => (Verb::DeleteSubscription, *id),
        ("POST", [id, "reauthorize"]) => (Verb::ReauthorizeSubscription, *id),
        _ => (Verb::Unknown, ""),
    };
    Route::graph(verb, id, "")
}

fn other(method: &str, segments: &[&str]) -> Route {
    let (verb, id, item) = match (method, segments) {
        ("POST", ["$batch" | "%24batch"]) => (Verb::Batch, "", ""),
        ("GET", ["auditLogs", "signIns"]) => (Verb::ListSignIns, "", ""),
        ("DELETE", ["oauth2PermissionGrants", id]) => (Verb::DeleteGrant, *id, ""),
        ("PATCH", ["devices", id]) => (Verb::UpdateDevice, *id, ""),
        ("GET", ["groups", id]) => (Verb::ReadGroup, *id, ""),
        ("GET", ["groups", id, "members"] | ["groups", id, "members", "microsoft.graph.user"]) => {
            (Verb::ReadGroupMembers, *id, "")
        }
        ("GET", ["groups", id, "transitiveMembers"] | ["groups", id, "transitiveMembers", "microsoft.graph.user"]) => {
            (Verb::ReadGroupMembers, *id, "transitive")
        }
        ("GET", ["organization"]) => (Verb::ReadOrganization, "", ""),
        ("GET", ["domains"]) => (Verb::ReadDomains, "", ""),
        ("GET", ["domains", id]) => (Verb::ReadDomains, *id, ""),
        ("GET", ["roleManagement", "directory", "roleAssignments" | "transitiveRoleAssignments"]) => {
            (Verb::ReadRoleAssignments, "", "")
        }
        ("GET", ["roleManagement", "directory", "roleEligibilityScheduleInstances"]) => {
            (Verb::ReadRoleEligibility, "", "")
        }
        ("GET", ["servicePrincipals", id, "appRoleAssignments"]) => (Verb::ReadAppRoles, *id, ""),
        ("GET", [principal, "appRoleAssignments"]) if principal.starts_with("servicePrincipals(") => {
            (Verb::ReadAppRoles, *principal, "")
        }
        ("GET", ["me", "messages"]) => (Verb::ReadMail, "", ""),
        _ => (Verb::Unknown, "", ""),
    };
    Route::graph(verb, id, item)
}

/// ARM resource type names are matched without regard to case, as ARM does.
fn arm(method: &str, segments: &[&str]) -> Route {
    let incident = segments.iter().position(|segment| segment.eq_ignore_ascii_case("incidents"));
    let rest = incident.map_or(&[][..], |at| &segments[at + 1..]);
    let provider = segments.iter().any(|segment| segment.eq_ignore_ascii_case("Microsoft.SecurityInsights"));
    let (verb, id, item) = match (method, rest) {
        _ if !provider => (Verb::Unknown, "", ""),
        ("GET", [id]) => (Verb::ArmIncident, *id, ""),
        ("POST", [id, action]) if action.eq_ignore_ascii_case("entities") => (Verb::ArmEntities, *id, ""),
        ("PUT", [id, kind, comment]) if kind.eq_ignore_ascii_case("comments") => (Verb::ArmComment, *id, *comment),
        _ => (Verb::Unknown, "", ""),
    };
    Route::new(verb, Surface::Arm, [id, item, ""])
}
