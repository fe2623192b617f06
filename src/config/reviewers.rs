//! `reviewers`: how people sign in, and what of an identity provider's claims means multi-factor.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use url::{Host, Url};

use crate::domain::task::Role;
use crate::http::sign_in::{Aal2, OidcConfig, Site};
use crate::playbook::diagnostic::quote;
use crate::playbook::yaml::Node;

use super::reader::{Reader, Section};
use super::secret::Vault;
use super::tenants;

/// How people sign in. Both absent: nobody does.
#[derive(Debug, Clone, Default)]
pub struct Reviewers {
    /// Passkeys of our own.
    pub passkeys: bool,
    pub oidc: Option<OidcConfig>,
}

/// Without the section there are passkeys wherever browsers allow them.
pub(super) fn reviewers(
    reader: &mut Reader<'_>,
    vault: &Vault<'_>,
    top: &mut Section<'_>,
    public_url: Option<&Url>,
    listen: SocketAddr,
) -> Option<Reviewers> {
    let site = Site::of(public_url, listen);
    let named = site.as_ref().is_ok_and(|site| matches!(site.origin().host(), Some(Host::Domain(_))));
    let Some(node) = top.take("reviewers") else {
        if !named {
            let help =
                "add `public_url: https://…` with a host name, the address your reviewers open, or reviewers.oidc";
            reader.warn(top.at, "nobody can sign in: no task can be decided", help);
        }
        return Some(Reviewers { passkeys: named, oidc: None });
    };
    let mut section = reader.section(node, "reviewers")?;
    let passkeys = match section.take("passkeys") {
        Some(node) => reader.flag(node, "passkeys").map(|wanted| (wanted, node.at)),
        None => Some((named, node.at)),
    };
    let oidc = match section.take("oidc") {
        Some(node) => oidc(reader, vault, node).map(Some),
        None => Some(None),
    };
    let at = section.at;
    reader.finish(section, "reviewers", &[]);
    let ((passkeys, passkeys_at), oidc) = (passkeys?, oidc?);
    if let Err(error) = &site
        && (passkeys || oidc.is_some())
    {
        reader.error(at, error.to_string(), "add `public_url: https://…`, the address your reviewers open");
    } else if passkeys && !named {
        let help = "give public_url a host name: passkeys are bound to it for ever";
        reader.error(passkeys_at, "passkeys need a host name in public_url, not an address", help);
    }
    if !passkeys && oidc.is_none() {
        reader.warn(at, "nobody can sign in: no task can be decided", "set `passkeys: true`, or add oidc");
    }
    Some(Reviewers { passkeys, oidc })
}

fn oidc(reader: &mut Reader<'_>, vault: &Vault<'_>, node: &Node) -> Option<OidcConfig> {
    let mut section = reader.section(node, "oidc")?;
    let issuer = reader.need(&mut section, "issuer", "oidc").and_then(|node| issuer(reader, node));
    let client_id = reader.need(&mut section, "client_id", "oidc").and_then(|node| reader.text(node, "client_id"));
    let client_secret = match section.take("client_secret") {
        Some(node) => vault.secret(reader, node, "client_secret").map(Some),
        None => Some(None),
    };
    let aal2 = match section.take("aal2") {
        Some(node) => aal2(reader, node),
        None => Some(Aal2::default()),
    };
    if aal2.as_ref().is_some_and(|aal2| *aal2 == Aal2::default()) {
        let help = "name what your provider says for multi-factor: aal2: { amr: [mfa] }, or acr, or acrs (Entra)";
        reader.warn(section.at, "no claim means multi-factor: nobody who signs in here can decide", help);
    }
    let groups_claim = match section.take("groups_claim") {
        Some(node) => reader.text(node, "groups_claim").map(str::to_owned),
        None => Some("groups".to_owned()),
    };
    let roles = match section.take("roles") {
        Some(node) => roles(reader, node),
        None => Some(BTreeMap::new()),
    };
    let scopes = section.take("scopes").map(|node| texts(reader, node, "scopes", 16)).unwrap_or_default();
    reader.finish(section, "oidc", &[]);
    Some(OidcConfig {
        issuer: issuer?,
        client_id: client_id?.to_owned(),
        client_secret: client_secret?,
        aal2: aal2?,
        groups_claim: groups_claim?,
        roles: roles?,
        scopes,
    })
}

/// Kept as written: it is compared with what the provider says about itself, byte for byte.
fn issuer(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let url = tenants::url(reader, node, "issuer")?;
    let text = reader.text(node, "issuer")?;
    for every in ["common", "organizations", "consumers"] {
        let entra = url.host_str().is_some_and(|host| host.starts_with("login.microsoftonline."));
        if entra && url.path_segments().into_iter().flatten().any(|part| part == every) {
            let help = "write https://login.microsoftonline.com/<tenant id>/v2.0";
            reader.error(node.at, format!("the issuer {} stands for every directory there is", quote(every)), help);
            return None;
        }
    }
    Some(text.to_owned())
}

fn aal2(reader: &mut Reader<'_>, node: &Node) -> Option<Aal2> {
    let mut section = reader.section(node, "aal2")?;
    let mut words = |key| section.take(key).map(|node| texts(reader, node, key, 16)).unwrap_or_default();
    let aal2 = Aal2 { acr: words("acr"), amr: words("amr"), acrs: words("acrs") };
    reader.finish(section, "aal2", &[]);
    Some(aal2)
}

fn roles(reader: &mut Reader<'_>, node: &Node) -> Option<BTreeMap<Role, Vec<String>>> {
    let mut section = reader.section(node, "roles")?;
    let mut roles = BTreeMap::new();
    for (role, key) in
        [(Role::Viewer, "viewer"), (Role::Analyst, "analyst"), (Role::Approver, "approver"), (Role::Admin, "admin")]
    {
        let Some(node) = section.take(key) else { continue };
        let groups = texts(reader, node, key, 100);
        if role >= Role::Approver && groups.iter().any(|group| group == "*") {
            reader.error(node.at, format!("everybody the provider knows would be {key}"), "name groups");
        }
        roles.insert(role, groups);
    }
    reader.finish(section, "roles", &[]);
    Some(roles)
}

fn texts(reader: &mut Reader<'_>, node: &Node, what: &str, most: usize) -> Vec<String> {
    let items = reader.list(node, what, most);
    items.iter().filter_map(|item| reader.text(item, what)).map(str::to_owned).collect()
}
