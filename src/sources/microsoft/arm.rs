//! ARM ids of Sentinel incidents: strictly parsed before they may become part of a URL.

use uuid::Uuid;

use crate::sources::ArmWorkspace;

/// A Sentinel incident in a Log Analytics workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ArmIncident {
    /// The id, rebuilt from its checked parts.
    pub path: String,
    pub subscription: Uuid,
    pub workspace: String,
}

impl ArmIncident {
    /// Parses `/subscriptions/{guid}/resourceGroups/{name}/providers/Microsoft.OperationalInsights/workspaces/{name}/`
    /// `providers/Microsoft.SecurityInsights/Incidents/{guid}`; fixed words in any case, as ARM compares them.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.trim().strip_prefix('/')?.split('/').collect();
        let [
            subs,
            subscription,
            groups,
            group,
            prov,
            insights,
            spaces,
            workspace,
            prov2,
            security,
            incidents,
            incident,
        ] = parts.as_slice().try_into().ok()?;
        let fixed = [
            (subs, "subscriptions"),
            (groups, "resourceGroups"),
            (prov, "providers"),
            (insights, "Microsoft.OperationalInsights"),
            (spaces, "workspaces"),
            (prov2, "providers"),
            (security, "Microsoft.SecurityInsights"),
            (incidents, "Incidents"),
        ];
        let group_fits = |name: &str| {
            (1..=90).contains(&name.len())
                && !name.ends_with('.')
                && !name.starts_with('.')
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.()-".contains(&b))
        };
        let space_fits =
            |name: &str| (4..=63).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !fixed.iter().all(|(part, word): &(&str, &str)| part.eq_ignore_ascii_case(word))
            || !group_fits(group)
            || !space_fits(workspace)
        {
            return None;
        }
        let subscription = guid(subscription)?;
        let incident = guid(incident)?;
        let path = format!(
            "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.OperationalInsights/workspaces/\
             {workspace}/providers/Microsoft.SecurityInsights/Incidents/{incident}"
        );
        Some(Self { path, subscription, workspace: workspace.to_owned() })
    }

    /// True when the source may ask about incidents of this workspace.
    pub fn is_allowed(&self, allowed: &[ArmWorkspace]) -> bool {
        allowed.iter().any(|entry| {
            entry.subscription == self.subscription && entry.workspace.eq_ignore_ascii_case(&self.workspace)
        })
    }
}

fn guid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|id| text.len() == 36 && !id.is_nil())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "/subscriptions/AAAAAAAA-0000-4000-8000-000000000001/resourceGroups/rg-soc/providers/\
        Microsoft.OperationalInsights/workspaces/soc-prod/providers/Microsoft.SecurityInsights/Incidents/\
        bbbbbbbb-0000-4000-8000-000000000002";

    #[test]
    fn an_incident_id_is_rebuilt_from_its_parts() {
        let incident = ArmIncident::parse(ID).expect("an id");
        assert_eq!(incident.workspace, "soc-prod");
        assert!(incident.path.eq_ignore_ascii_case(ID));
        let allow =
            |workspace: &str| [ArmWorkspace { subscription: incident.subscription, workspace: workspace.into() }];
        assert!(incident.is_allowed(&allow("SOC-prod")));
        assert!(!incident.is_allowed(&allow("other")));
        assert!(!incident.is_allowed(&[]));
    }

    #[test]
    fn paths_that_climb_or_point_elsewhere_are_refused() {
        for bad in [
            ID.replace("rg-soc", ".."),
            ID.replace("rg-soc", "a?b"),
            ID.replace("soc-prod", "soc%2fprod"),
            ID.replace("Microsoft.SecurityInsights", "Microsoft.Compute"),
            ID.replace("bbbbbbbb-0000-4000-8000-000000000002", "1"),
            format!("{ID}/entities"),
            format!("https://management.azure.com{ID}"),
            format!("/{ID}"),
            String::new(),
        ] {
            assert_eq!(ArmIncident::parse(&bad), None, "{bad}");
        }
    }
}
