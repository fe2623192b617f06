//! Passwords: the documented policy, and digests, so that the twin itself keeps none in clear.
//!
//! The lists of banned words are Microsoft's secret; the twin knows a few that everybody knows, plus the user's and
//! the tenant's names.

use super::clock::mix;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

pub(super) type Digest = [u8; 32];

const SYMBOLS: &str = "@#$%^&*-_!+=[]{}|\\:',.?/`~\"();<> ";
const BANNED: &[&str] = &["password", "welcome", "summer", "winter", "qwerty", "letmein", "admin", "oust"];

pub(super) fn digest(person: Uuid, word: &str) -> Digest {
    let mut hash = Sha256::new();
    hash.update(person.as_bytes());
    hash.update(word.as_bytes());
    hash.finalize().into()
}

pub(super) fn same(one: &Digest, other: &Digest) -> bool {
    one.ct_eq(other).into()
}

pub(super) fn same_text(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// The password a person has before anyone changed it; it follows from the seed.
pub(super) fn initial(seed: u64, person: Uuid) -> String {
    let (high, low) = person.as_u64_pair();
    format!("Tw-{:016x}-X", mix(seed ^ mix(high) ^ low))
}

/// Why the policy refuses `word`, if it does (facts: graph §5). `names` are the person's and the tenant's names.
pub(super) fn refusal(word: &str, names: &[&str]) -> Option<&'static str> {
    let length = word.chars().count();
    if !(8..=256).contains(&length) {
        return Some("length");
    }
    if !word.chars().all(|it| it.is_ascii_alphanumeric() || SYMBOLS.contains(it)) {
        return Some("characters");
    }
    let classes: [fn(&char) -> bool; 4] =
        [char::is_ascii_lowercase, char::is_ascii_uppercase, char::is_ascii_digit, |it| SYMBOLS.contains(*it)];
    if classes.iter().filter(|class| word.chars().any(|it| class(&it))).count() < 3 {
        return Some("classes");
    }
    let normal = normalise(word);
    let parts = names.iter().flat_map(|name| name.split(|it: char| !it.is_alphanumeric()));
    for part in parts.filter(|part| part.len() >= 4) {
        if normal.contains(&normalise(part)) {
            return Some("name");
        }
    }
    let mut rest = normal;
    let mut points = 0;
    for banned in BANNED {
        points += rest.matches(banned).count();
        rest = rest.replace(banned, "");
    }
    (points + rest.chars().count() < 5).then_some("banned")
}

fn normalise(word: &str) -> String {
    word.chars()
        .map(|it| match it.to_ascii_lowercase() {
            '0' => 'o',
            '1' => 'l',
            '$' => 's',
            '@' => 'a',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::refusal;

    #[test]
    fn the_policy_wants_length_three_classes_known_characters_and_no_names() {
        let names = ["ada@contoso.example", "Ada Lovelace"];
        assert_eq!(refusal("Ab1-xyz", &names), Some("length"));
        assert_eq!(refusal("onlylowercase", &names), Some("classes"));
        assert_eq!(refusal("Gr\u{fc}nkohl-2026", &names), Some("characters"));
        assert_eq!(refusal("xK9-C0nt0so-pq7", &names), Some("name"));
        assert_eq!(refusal("xK9-L0ve1ace-pq", &names), Some("name"));
        assert_eq!(refusal("Password1", &names), Some("banned"));
        assert_eq!(refusal("qR7-vT2_mN8.kZ4!hB6", &names), None);
    }
}
