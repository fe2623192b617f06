//! Names of detections, as one of our kinds (facts: sentinel §2.1, graph §3.2).
//!
//! One table for `riskEventType`, alert titles, `AlertType` codes, behaviour action types, detector ids and legacy
//! categories. Names are compared without case, spaces and punctuation; a name that is not in the table is not
//! guessed at. Titles of Defender incidents ("… involving one user") lose their tail first.

use crate::domain::Kind;

/// Every known name, folded (`a-z0-9` only), beside its kind.
const NAMES: &[(&str, Kind)] = &[
    // Impossible travel: Defender for Cloud Apps
    ("mcasimpossibletravel", Kind::ImpossibleTravel),
    ("impossibletravel", Kind::ImpossibleTravel),
    ("impossibletravelactivity", Kind::ImpossibleTravel),
    ("mcasalertanubisdetectionvelocity", Kind::ImpossibleTravel),
    // Atypical travel: Entra ID Protection; the long title is its old one
    ("unlikelytravel", Kind::AtypicalTravel),
    ("atypicaltravel", Kind::AtypicalTravel),
    ("impossibletraveltoatypicallocations", Kind::AtypicalTravel),
    ("signinsfromatypicallocations", Kind::AtypicalTravel),
    // Anonymous addresses, old and new names
    ("anonymizedipaddress", Kind::AnonymizedIp),
    ("anonymizedip", Kind::AnonymizedIp),
    ("anonymousipaddress", Kind::AnonymizedIp),
    ("anonymouslogin", Kind::AnonymizedIp),
    ("riskyipaddress", Kind::AnonymizedIp),
    ("activityfromanonymousipaddress", Kind::AnonymizedIp),
    ("activityfromanonymousipaddresses", Kind::AnonymizedIp),
    ("activityfromananonymousproxy", Kind::AnonymizedIp),
    ("activityfromatoripaddress", Kind::AnonymizedIp),
    ("anonymousproxyactivity", Kind::AnonymizedIp),
    ("signinsfromanonymousipaddresses", Kind::AnonymizedIp),
    ("mcasalertanubisdetectionriskyipanonymous", Kind::AnonymizedIp),
    // Malicious addresses
    ("maliciousipaddress", Kind::MaliciousIp),
    ("maliciousip", Kind::MaliciousIp),
    ("maliciousipaddressvalidcredentialsblockedip", Kind::MaliciousIp),
    ("malwareinfectedipaddress", Kind::MaliciousIp),
    ("malwarelinkedipaddress", Kind::MaliciousIp),
    ("suspiciousipaddress", Kind::MaliciousIp),
    ("nationstateip", Kind::MaliciousIp),
    ("verifiedthreatactorip", Kind::MaliciousIp),
    ("activityfromsuspiciousipaddresses", Kind::MaliciousIp),
    ("successfullogonfromasuspiciousipaddress", Kind::MaliciousIp),
    ("activityfromapasswordsprayassociatedipaddress", Kind::MaliciousIp),
    // New country
    ("newcountry", Kind::NewCountry),
    ("activityfrominfrequentcountry", Kind::NewCountry),
    ("mcasalertanubisdetectionnewcountry", Kind::NewCountry),
    // Tokens
    ("anomaloustoken", Kind::AnomalousToken),
    ("tokenissueranomaly", Kind::TokenIssuerAnomaly),
    ("attackerinthemiddle", Kind::AdversaryInTheMiddle),
    ("adversaryinthemiddle", Kind::AdversaryInTheMiddle),
    ("usercompromisedinaitmphishingattack", Kind::AdversaryInTheMiddle),
    ("usercompromisedviaaknownaitmphishingkit", Kind::AdversaryInTheMiddle),
    ("possibleaitmphishingattempt", Kind::AdversaryInTheMiddle),
    ("stolensessioncookiewasused", Kind::AdversaryInTheMiddle),
    ("connectiontoadversaryinthemiddleaitmphishingsite", Kind::AdversaryInTheMiddle),
    ("attemptedprtaccess", Kind::PrtAccess),
    ("prtaccess", Kind::PrtAccess),
    ("possibleprtaccess", Kind::PrtAccess),
    ("possibleattempttoaccessprt", Kind::PrtAccess),
    ("possibleattempttoaccessprimaryrefreshtokenprt", Kind::PrtAccess),
    ("possibleattempttoaccessprimaryrefreshtoken", Kind::PrtAccess),
    // Mailbox
    ("mcassuspiciousinboxmanipulationrules", Kind::InboxRule),
    ("suspiciousinboxmanipulationrules", Kind::InboxRule),
    ("suspiciousinboxmanipulationrule", Kind::InboxRule),
    ("suspiciousinboxmanipulation", Kind::InboxRule),
    ("inboxrule", Kind::InboxRule),
    ("suspiciousinboxforwarding", Kind::InboxForwarding),
    ("suspiciousemailforwardingrulecreatedbythirdpartyapp", Kind::InboxForwarding),
    ("suspiciousemailforwardingactivity", Kind::InboxForwarding),
    ("inboxforwarding", Kind::InboxForwarding),
    // Credentials and sign-in
    ("leakedcredentials", Kind::LeakedCredentials),
    ("userswithleakedcredentials", Kind::LeakedCredentials),
    ("passwordspray", Kind::PasswordSpray),
    ("unfamiliarfeatures", Kind::UnfamiliarSignIn),
    ("unfamiliarlocation", Kind::UnfamiliarSignIn),
    ("unfamiliarsignin", Kind::UnfamiliarSignIn),
    ("unfamiliarsigninproperties", Kind::UnfamiliarSignIn),
    ("unfamiliarsigninpropertiesforsessioncookies", Kind::UnfamiliarSignIn),
    ("signinsfromunfamiliarlocations", Kind::UnfamiliarSignIn),
    ("authenticatorphishing", Kind::MfaFraud),
    ("suspiciousmfaauthenticationapproval", Kind::MfaFraud),
    ("userreportedsuspiciousactivity", Kind::MfaFraud),
    ("mfafraud", Kind::MfaFraud),
    // An administrator's word, and the licence that hides the name
    ("adminconfirmedusercompromised", Kind::AdminConfirmed),
    ("adminconfirmed", Kind::AdminConfirmed),
    ("generic", Kind::Generic),
    ("additionalriskdetected", Kind::Generic),
];

/// The kind of a name, or none when the table does not have it.
pub fn kind(name: &str) -> Option<Kind> {
    let folded = fold(name);
    let named = |folded: &str| NAMES.iter().find(|(known, _)| *known == folded).map(|(_, kind)| *kind);
    named(&folded).or_else(|| named(fold(without_tail(name)?).as_str()))
}

/// The first of several names that is known, with its spelling; else the first that is there, kept raw.
pub fn pick<'a>(names: impl IntoIterator<Item = Option<&'a str>>) -> (Option<Kind>, &'a str) {
    let mut fallback = "";
    for name in names.into_iter().flatten().map(str::trim).filter(|name| !name.is_empty()) {
        if let Some(kind) = kind(name) {
            return (Some(kind), name);
        }
        if fallback.is_empty() {
            fallback = name;
        }
    }
    (None, fallback)
}

/// What people call a kind, where a source gives no title.
pub fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::ImpossibleTravel => "Impossible travel",
        Kind::AtypicalTravel => "Atypical travel",
        Kind::AnonymizedIp => "Anonymous IP address",
        Kind::MaliciousIp => "Malicious IP address",
        Kind::NewCountry => "New country",
        Kind::AnomalousToken => "Anomalous token",
        Kind::TokenIssuerAnomaly => "Token issuer anomaly",
        Kind::AdversaryInTheMiddle => "Attacker in the Middle",
        Kind::PrtAccess => "Possible attempt to access Primary Refresh Token",
        Kind::InboxRule => "Suspicious inbox manipulation rules",
        Kind::InboxForwarding => "Suspicious inbox forwarding",
        Kind::LeakedCredentials => "Leaked credentials",
        Kind::PasswordSpray => "Password spray",
        Kind::UnfamiliarSignIn => "Unfamiliar sign-in properties",
        Kind::MfaFraud => "Suspicious MFA authentication approval",
        Kind::AdminConfirmed => "Admin confirmed user compromised",
        Kind::Generic => "Additional risk detected",
        Kind::Other => "Other detection",
    }
}

fn fold(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).take(120).map(|c| c.to_ascii_lowercase()).collect()
}

/// The title before " involving one user", " involving multiple users", " reported by …", " (Preview)".
fn without_tail(name: &str) -> Option<&str> {
    let lower = name.to_ascii_lowercase();
    [" involving ", " reported by ", " (preview)"]
        .iter()
        .filter_map(|tail| lower.find(tail))
        .min()
        .map(|at| &name[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_sources_are_known_whatever_their_case() {
        for (name, expected) in [
            ("UNLIKELYTRAVEL", Kind::AtypicalTravel),
            ("MCAS_ALERT_ANUBIS_DETECTION_VELOCITY", Kind::ImpossibleTravel),
            ("ImpossibleTravelActivity", Kind::ImpossibleTravel),
            ("Anonymous IP address involving one user", Kind::AnonymizedIp),
            ("Connection to adversary-in-the-middle (AiTM) phishing site", Kind::AdversaryInTheMiddle),
            ("attackerinTheMiddle", Kind::AdversaryInTheMiddle),
            ("Suspicious inbox manipulation rule", Kind::InboxRule),
            ("Unfamiliar sign-in properties for session cookies", Kind::UnfamiliarSignIn),
            ("AnonymousLogin", Kind::AnonymizedIp),
            ("authenticatorPhishing", Kind::MfaFraud),
        ] {
            assert_eq!(kind(name), Some(expected), "{name}");
        }
    }

    #[test]
    fn every_word_of_the_vocabulary_but_other_names_itself() {
        for word in Kind::ALL.iter().filter(|kind| **kind != Kind::Other) {
            assert_eq!(kind(word.word()), Some(*word), "{word}");
        }
        assert_eq!(kind("other"), None);
    }

    #[test]
    fn the_table_is_folded_and_says_each_name_once() {
        let mut names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        assert!(names.iter().all(|name| fold(name) == *name));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), NAMES.len());
    }

    #[test]
    fn an_unknown_name_is_kept_raw_and_a_known_one_is_preferred() {
        assert_eq!(
            pick([Some("Rare process"), None, Some("unlikelyTravel")]),
            (Some(Kind::AtypicalTravel), "unlikelyTravel")
        );
        assert_eq!(pick([None, Some(" "), Some("Rare process"), Some("x")]), (None, "Rare process"));
        assert_eq!(pick([]), (None, ""));
    }
}
