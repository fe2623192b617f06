//! The endpoint validation of Graph: the token of `?validationToken=` goes back as plain text (facts: graph §1.1).
//! Anybody can call it: it has no side effect, and what it echoes is bounded and free of control characters.

use url::form_urlencoded;

/// Characters of a token.
const MAX: usize = 1_024;

/// A validation token that is not echoed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the validation token is empty, longer than {MAX} characters, there twice, or no plain text")]
pub struct BadToken;

/// The decoded token of a raw query string; none when this is no handshake.
///
/// # Errors
/// [`BadToken`]
pub fn validation_token(query: &str) -> Result<Option<String>, BadToken> {
    let mut tokens = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "validationToken");
    let Some((_, token)) = tokens.next() else { return Ok(None) };
    // Bytes that are no UTF-8 come out as the replacement character: echoing that would not be the token.
    let fits = (1..=MAX).contains(&token.chars().count())
        && !token.chars().any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER);
    if fits && tokens.next().is_none() { Ok(Some(token.into_owned())) } else { Err(BadToken) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_decoded_as_a_form() {
        let query = "a=1&validationToken=Validation%3A+Testing%20reachability%2B";
        assert_eq!(validation_token(query), Ok(Some("Validation: Testing reachability+".to_owned())));
        assert_eq!(validation_token("a=1"), Ok(None));
        assert_eq!(validation_token(""), Ok(None));
    }

    #[test]
    fn tokens_that_could_do_harm_are_refused() {
        let long = format!("validationToken={}", "a".repeat(MAX + 1));
        for query in [
            "validationToken=",
            "validationToken=a%0d%0ab",
            "validationToken=%ff",
            &long,
            "validationToken=a&validationToken=b",
        ] {
            assert_eq!(validation_token(query), Err(BadToken), "{query}");
        }
    }
}
