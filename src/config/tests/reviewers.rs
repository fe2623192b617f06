//! `reviewers`: what is refused, and what it means when nothing is said.

use super::{read, refused, with};

#[test]
fn reviewers_sign_in_by_passkeys_unless_the_file_says_otherwise() {
    let reviewers = |text: &str| read(&with(text)).expect("valid").config.reviewers;
    assert!(reviewers("").passkeys, "localhost will do");
    assert!(!reviewers("listen: 0.0.0.0:80\n").passkeys, "no browser would");
    assert!(reviewers("public_url: https://oust.contoso.example\nreviewers: { passkeys: true }\n").passkeys);
    let warned = |text: &str| {
        let loaded = read(&with(text)).expect("valid");
        loaded.warnings.iter().any(|one| one.message.contains("nobody can sign in"))
    };
    assert!(warned("reviewers: { passkeys: false }\n"));
    assert!(warned("listen: 0.0.0.0:80\n"), "said nothing, and no browser would");
    assert!(!warned("") && !warned("listen: 0.0.0.0:80\npublic_url: https://oust.contoso.example\n"));
    refused(&with("reviewers: { passkeys: maybe }\n"), (6, 24), "true or false");
    refused(&with("reviewers: { passkey: true }\n"), (6, 14), "unknown key");
    refused(&with("listen: 0.0.0.0:80\nreviewers: { passkeys: true }\n"), (7, 12), "needs public_url");
    let address = "public_url: https://203.0.113.7\nreviewers: { passkeys: true }\n";
    refused(&with(address), (7, 24), "host name");
}

#[test]
fn an_identity_provider_is_read_with_what_multi_factor_means() {
    let oidc = |text: &str| format!("public_url: https://oust.contoso.example\nreviewers:\n  oidc:\n{text}");
    let issuer = "    issuer: https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0\n";
    let rest = "    client_id: app\n    aal2: { acr: [high], amr: [mfa], acrs: [c1] }\n    roles: { approver: [a], viewer: ['*'] }\n";
    let loaded = read(&with(&oidc(&format!("{issuer}{rest}")))).expect("valid");
    let config = loaded.config.reviewers.oidc.expect("a provider");
    assert_eq!((config.groups_claim.as_str(), config.client_id.as_str()), ("groups", "app"));
    assert_eq!((config.aal2.acr.len(), config.aal2.amr.len(), config.aal2.acrs.len()), (1, 1, 1));
    assert_eq!(config.roles.len(), 2);
    let weak = read(&with(&oidc(&format!("{issuer}    client_id: app\n")))).expect("valid");
    assert!(weak.warnings.iter().any(|one| one.message.contains("no claim means multi-factor")));
    for (text, words) in [
        ("    issuer: https://login.microsoftonline.com/common/v2.0\n    client_id: app\n", "every directory"),
        ("    issuer: http://idp.example\n    client_id: app\n", "must be https"),
        ("    client_id: app\n", "lacks issuer"),
        ("    issuer: https://idp.example\n", "lacks client_id"),
        ("    issuer: https://idp.example\n    client_id: a\n    aal3: {}\n", "unknown key"),
        ("    issuer: https://idp.example\n    client_id: a\n    aal2: { amrs: [mfa] }\n", "unknown key"),
        ("    issuer: https://idp.example\n    client_id: a\n    roles: { approver: ['*'] }\n", "everybody"),
        ("    issuer: https://idp.example\n    client_id: a\n    roles: { boss: [a] }\n", "unknown key"),
    ] {
        let found = read(&with(&oidc(text))).expect_err("it is wrong");
        assert!(found.iter().any(|one| one.message.contains(words)), "{words} in {found}");
    }
}
