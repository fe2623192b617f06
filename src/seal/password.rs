//! The generator of temporary passwords (facts: graph §5): 20–24 characters that pass every check Entra is known to
//! make, can be dictated over a phone and cannot be guessed.
//!
//! Letters are without look-alikes, symbols without quoting traps. Four letters in a row never occur, so no
//! dictionary word and no banned word of four letters does either.

use std::collections::HashSet;
use std::fmt;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{CryptoRng, RngExt};
use zeroize::Zeroizing;

use super::Error;

const LOWER: &[u8] = b"abcdefghjkmnpqrstuvwxyz";
const UPPER: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ";
const DIGIT: &[u8] = b"23456789";
const SYMBOL: &[u8] = b"-_.!#%+=";
/// Of each class.
const AT_LEAST: usize = 2;
/// Length of a substring of a name that is not allowed.
const WINDOW: usize = 4;
/// More terms, or longer ones, than any person has; hostile lists are cut.
const MOST_TERMS: usize = 64;
const LONGEST_TERM: usize = 128;
/// About half of the draws pass; with the longest list of names still one in ten.
const ATTEMPTS: usize = 10_000;

/// What a password must not contain parts of: UPN local part, display name, tenant and domain names.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub avoid: Vec<String>,
}

impl Rules {
    /// Every four characters of every term, normalised.
    fn windows(&self) -> HashSet<[char; WINDOW]> {
        let mut windows = HashSet::new();
        for term in self.avoid.iter().take(MOST_TERMS) {
            let normal: Vec<char> = term.chars().take(LONGEST_TERM).flat_map(normalise).collect();
            for part in normal.split(|c| c.is_whitespace() || *c == '@') {
                windows.extend(part.windows(WINDOW).filter_map(|window| <[char; WINDOW]>::try_from(window).ok()));
            }
        }
        windows
    }
}

/// A password in clear. Wiped when dropped; prints as nothing; cannot be stored.
pub struct TemporaryPassword(Zeroizing<String>);

impl TemporaryPassword {
    /// Wraps a pass that the directory issued, the moment it is read.
    pub fn issued(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The clear text, for the one request that sets it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TemporaryPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[temporary password]")
    }
}

/// Draws a password: at least 99 bits of entropy.
pub fn generate(rules: &Rules, rng: &mut impl CryptoRng) -> Result<TemporaryPassword, Error> {
    let forbidden = rules.windows();
    for _ in 0..ATTEMPTS {
        let drawn = draw(rng);
        if is_allowed(&drawn, &forbidden) {
            return Ok(TemporaryPassword(drawn));
        }
    }
    Err(Error::NoPassword { avoided: rules.avoid.len() })
}

/// Two of each class, the rest from any; half letters, a quarter digits, a quarter symbols; then shuffled.
fn draw(rng: &mut impl CryptoRng) -> Zeroizing<String> {
    let length = rng.random_range(20..=24usize);
    let mut bytes = Zeroizing::new(Vec::<u8>::with_capacity(length));
    for class in [LOWER, UPPER, DIGIT, SYMBOL] {
        for _ in 0..AT_LEAST {
            bytes.extend(class.choose(rng));
        }
    }
    while bytes.len() < length {
        let class = [LOWER, UPPER, DIGIT, SYMBOL].choose(rng).copied().unwrap_or(LOWER);
        bytes.extend(class.choose(rng));
    }
    bytes.shuffle(rng);
    let mut text = Zeroizing::new(String::with_capacity(length));
    text.extend(bytes.iter().map(|byte| char::from(*byte)));
    text
}

fn is_allowed(text: &str, forbidden: &HashSet<[char; WINDOW]>) -> bool {
    let normal: Zeroizing<Vec<char>> = Zeroizing::new(text.chars().flat_map(normalise).collect());
    let mut windows = normal.windows(WINDOW).filter_map(|window| <[char; WINDOW]>::try_from(window).ok());
    windows.all(|window| !window.iter().all(|c| c.is_alphabetic()) && !forbidden.contains(&window))
}

/// Lower case, and the substitutions Entra undoes before it compares (facts: graph §5).
fn normalise(c: char) -> impl Iterator<Item = char> {
    c.to_lowercase().map(|c| match c {
        '0' => 'o',
        '1' => 'l',
        '$' => 's',
        '@' => 'a',
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn rng() -> StdRng {
        StdRng::seed_from_u64(7)
    }

    fn count(text: &str, class: &[u8]) -> usize {
        text.bytes().filter(|byte| class.contains(byte)).count()
    }

    /// What the directory is known to check (facts: graph §5), written independently of the generator.
    fn directory_accepts(text: &str, names: &[&str]) -> bool {
        const ALLOWED: &str = " @#$%^&*-_!+=[]{}|\\:',.?/`~\"();<>";
        const BANNED: &[&str] = &["password", "qwerty", "welcome", "letmein", "contoso", "summer", "winter", "admin"];
        let classes: [fn(char) -> bool; 4] =
            [|c| c.is_ascii_lowercase(), |c| c.is_ascii_uppercase(), |c| c.is_ascii_digit(), |c| ALLOWED.contains(c)];
        let normal = text.to_lowercase().replace('0', "o").replace('1', "l").replace('$', "s").replace('@', "a");
        let banned = BANNED.iter().filter(|word| normal.contains(**word)).count();
        let others = BANNED.iter().fold(normal.clone(), |rest, word| rest.replace(word, "")).chars().count();
        (8..=256).contains(&text.len())
            && text.chars().all(|c| classes.iter().any(|class| class(c)))
            && classes.iter().filter(|class| text.chars().any(**class)).count() >= 3
            && banned + others >= 5
            && !names.iter().any(|name| name.len() >= 4 && normal.contains(&name.to_lowercase()))
    }

    #[test]
    fn every_password_has_the_promised_shape_and_passes_the_directory() {
        let names = ["Ada", "Lovelace", "contoso", "contoso.example"];
        let rules = Rules { avoid: names.iter().map(|name| (*name).to_owned()).collect() };
        let mut rng = rng();
        let mut lengths = HashSet::new();
        for _ in 0..2_000 {
            let password = generate(&rules, &mut rng).expect("a password");
            let text = password.expose();
            lengths.insert(text.len());
            for class in [LOWER, UPPER, DIGIT, SYMBOL] {
                assert!(count(text, class) >= 2, "{text}");
            }
            assert!(!text.contains(['l', 'o', 'i', 'I', 'O', '0', '1', '$', '@', '"', '\'', '\\']), "{text}");
            assert!(directory_accepts(text, &names), "{text}");
        }
        assert_eq!(lengths, HashSet::from([20, 21, 22, 23, 24]));
    }

    #[test]
    fn no_two_of_a_hundred_thousand_are_equal() {
        let mut rng = rng();
        let rules = Rules::default();
        let all: HashSet<String> =
            (0..100_000).map(|_| generate(&rules, &mut rng).expect("a password").expose().to_owned()).collect();
        assert_eq!(all.len(), 100_000);
    }

    #[test]
    fn the_entropy_is_over_eighty_bits_even_counted_pessimistically() {
        // Twelve free characters of the shortest password, each at most as likely as the likeliest symbol (1/32); the
        // eight fixed ones by their class; the order of the classes not counted; refused draws subtracted.
        let fixed: f64 = [LOWER, UPPER, DIGIT, SYMBOL].iter().map(|class| 2.0 * (class.len() as f64).log2()).sum();
        let mut rng = rng();
        let accepted = (0..4_000).filter(|_| is_allowed(&draw(&mut rng), &HashSet::new())).count();
        let refused = (4_000.0 / accepted as f64).log2();
        let bits = 12.0 * 5.0 + fixed - refused;
        assert!(bits > 80.0 && refused < 3.0, "{bits} bits, {refused} lost to refusals");
    }

    #[test]
    fn parts_of_names_are_recognised_through_case_and_substitutions() {
        let rules = Rules { avoid: vec!["Ad4.K22-9x@C0nt".into(), "ab".into()] };
        let windows = rules.windows();
        for bad in ["xyAD4.k7", "--k22-P", "22-9", "C0nt", "coNT"] {
            assert!(!is_allowed(bad, &windows), "{bad}");
        }
        for good in ["ad4", "k2-2-9", "ab-ab-ab"] {
            assert!(is_allowed(good, &windows), "{good}");
        }
    }

    #[test]
    fn four_letters_in_a_row_are_no_password() {
        assert!(!is_allowed("22-wOrd-22", &HashSet::new()));
        assert!(is_allowed("22-wOr2d-22", &HashSet::new()));
    }

    #[test]
    fn a_hostile_list_of_names_neither_hangs_nor_wins() {
        let avoid = (0..100_000).map(|n: u32| format!("{n:x}-{n:o}").repeat(50)).collect();
        assert!(generate(&Rules { avoid }, &mut rng()).is_ok());
    }

    #[test]
    fn debug_prints_nothing_of_it() {
        let password = TemporaryPassword::issued("S3cret-Pass".into());
        assert_eq!(format!("{password:?}"), "[temporary password]");
    }
}
