//! The playbooks of the repository's `playbooks/`, compiled in, so that a process without a folder has them.

/// File name and text of each.
pub const SHIPPED: &[(&str, &str)] = &[
    ("anonymized-ip.yaml", include_str!("../../../playbooks/anonymized-ip.yaml")),
    ("impossible-travel.yaml", include_str!("../../../playbooks/impossible-travel.yaml")),
    ("leaked-credentials.yaml", include_str!("../../../playbooks/leaked-credentials.yaml")),
    ("suspicious-inbox-rule.yaml", include_str!("../../../playbooks/suspicious-inbox-rule.yaml")),
    ("token-theft.yaml", include_str!("../../../playbooks/token-theft.yaml")),
];
