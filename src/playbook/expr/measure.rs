//! The size of a condition, taken before the compiler sees it.
//!
//! The compiler and evaluator recurse; this reads the text once, left to right, and refuses what could take them too
//! deep. To be certain of brackets it must be certain of where texts end, so spellings that only complicate that
//! (raw, triple-quoted and byte texts, comments, backquotes) are refused: conditions do not need them.

use super::ExprError;

/// Longest source, in bytes.
pub const MAX_SOURCE: usize = 4 * 1024;
/// Brackets within brackets.
pub const MAX_NESTING: usize = 32;
/// Names, numbers, texts and signs together.
pub const MAX_TOKENS: usize = 400;

/// Refuses what is too long, too deep or spelled unusually.
pub fn check(source: &str) -> Result<(), ExprError> {
    let refuse = |message: String, offset| Err(ExprError { message, offset });
    if source.len() > MAX_SOURCE {
        return refuse(format!("a condition has at most {MAX_SOURCE} bytes, this has {}", source.len()), 0);
    }
    if source.trim().is_empty() {
        return refuse("the condition is empty".into(), 0);
    }
    let bytes = source.as_bytes();
    let (mut at, mut depth, mut tokens) = (0, 0_usize, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        at += 1;
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' | b'\'' => at = end_of_text(bytes, start)?,
            b'/' if bytes.get(at) == Some(&b'/') => {
                return refuse("comments belong into the file (#), not into a condition".into(), start);
            }
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                while bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') {
                    at += 1;
                }
                if matches!(bytes.get(at), Some(b'"' | b'\'')) {
                    return refuse(
                        "raw and byte texts are not supported: write '…' and double backslashes".into(),
                        start,
                    );
                }
            }
            b'.' | b',' | b'-' | b'+' | b'*' | b'/' | b'%' | b'?' | b':' | b'<' | b'>' | b'!' => {}
            b'=' | b'&' | b'|' => match (byte, bytes.get(at)) {
                (_, Some(next)) if *next == byte => at += 1,
                (b'=', _) if matches!(start.checked_sub(1).map(|i| bytes[i]), Some(b'<' | b'>' | b'!')) => {}
                (b'=', _) => return refuse("a single '=' means nothing: write '==' to compare".into(), start),
                (b'&', _) => return refuse("a single '&' means nothing: write '&&' for and".into(), start),
                _ => return refuse("a single '|' means nothing: write '||' for or".into(), start),
            },
            _ => {
                let odd = source[start..].chars().next().unwrap_or_default();
                return refuse(format!("'{}' has no meaning here", odd.escape_debug()), start);
            }
        }
        tokens += 1;
        if depth > MAX_NESTING {
            return refuse(format!("brackets stand more than {MAX_NESTING} deep"), start);
        }
        if tokens > MAX_TOKENS {
            return refuse(format!("a condition has at most {MAX_TOKENS} words and signs"), start);
        }
    }
    Ok(())
}

/// The offset behind a quoted text that starts at `start`.
fn end_of_text(bytes: &[u8], start: usize) -> Result<usize, ExprError> {
    let refuse = |message: &str, offset| Err(ExprError { message: message.into(), offset });
    let quote = bytes[start];
    let mut at = start + 1;
    loop {
        match bytes.get(at) {
            None | Some(b'\n' | b'\r') => return refuse("this text does not end", start),
            Some(b'\\') => at += escape(&bytes[at + 1..]).map_or_else(|| refuse("no such escape", at), Ok)?,
            Some(byte) if *byte == quote => break,
            Some(_) => at += 1,
        }
    }
    if at == start + 1 && bytes.get(at + 1) == Some(&quote) {
        return refuse("texts in three quotes are not supported", start);
    }
    Ok(at + 1)
}

/// Length of an escape including its backslash, given what follows the backslash.
fn escape(after: &[u8]) -> Option<usize> {
    let digits = match after.first()? {
        b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`' => return Some(2),
        b'x' | b'X' => 2,
        b'u' => 4,
        b'U' => 8,
        _ => return None,
    };
    let hex = after.get(1..=digits)?;
    hex.iter().all(u8::is_ascii_hexdigit).then_some(digits + 2)
}
