//! The part of `OData` `$filter` that responders use: comparisons, `in`, `startswith`, `and`, `or`, `not`, `any`.
//!
//! Evaluated on JSON. A property outside a collection's list is refused, as Graph does. Bounded in length and depth.

use super::reply::Fail;
use jiff::Timestamp;
use serde_json::Value;
use std::cmp::Ordering;

const MAX_LENGTH: usize = 8_192;
const MAX_DEPTH: usize = 16;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Compare { path: String, op: Op, value: Literal },
    In { path: String, values: Vec<Literal> },
    StartsWith { path: String, prefix: String },
    Any { path: String, variable: String, test: Box<Expr> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Text(String),
    Time(Timestamp),
    Number(f64),
    Bool(bool),
    Null,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Open,
    Close,
    Comma,
    Colon,
}

impl Expr {
    /// Parses a filter; `allowed` are the properties (first path segment) that the collection can filter by.
    pub(super) fn parse(text: &str, allowed: &[&str]) -> Result<Self, Fail> {
        if text.len() > MAX_LENGTH {
            return Err(Fail::bad("The filter is too long."));
        }
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
        let expr = parser.or()?;
        if parser.at != tokens.len() {
            return Err(invalid());
        }
        expr.check(allowed)?;
        Ok(expr)
    }

    fn check(&self, allowed: &[&str]) -> Result<(), Fail> {
        match self {
            Expr::And(all) | Expr::Or(all) => all.iter().try_for_each(|expr| expr.check(allowed)),
            Expr::Not(expr) => expr.check(allowed),
            Expr::Compare { path, .. }
            | Expr::In { path, .. }
            | Expr::StartsWith { path, .. }
            | Expr::Any { path, .. } => {
                let first = path.split('/').next().unwrap_or_default();
                if allowed.contains(&first) {
                    Ok(())
                } else {
                    Err(Fail::bad(format!("Invalid filter clause: unsupported property '{first}'.")))
                }
            }
        }
    }

    /// Whether `row` passes.
    pub(super) fn admits(&self, row: &Value) -> bool {
        match self {
            Expr::And(all) => all.iter().all(|expr| expr.admits(row)),
            Expr::Or(any) => any.iter().any(|expr| expr.admits(row)),
            Expr::Not(expr) => !expr.admits(row),
            Expr::Compare { path, op, value } => compare(at(row, path), *op, value),
            Expr::In { path, values } => {
                let found = at(row, path);
                values.iter().any(|value| compare(found, Op::Eq, value))
            }
            Expr::StartsWith { path, prefix } => at(row, path)
                .as_str()
                .and_then(|text| text.get(..prefix.len()))
                .is_some_and(|head| head.eq_ignore_ascii_case(prefix)),
            Expr::Any { path, variable, test } => at(row, path).as_array().is_some_and(|items| {
                items.iter().any(|item| test.admits(&serde_json::json!({ variable.as_str(): item })))
            }),
        }
    }

    /// The values that `path` must equal for a row to pass, if the filter says so at its top level.
    pub(super) fn pinned(&self, name: &str) -> Option<Vec<&str>> {
        fn text(value: &Literal) -> Option<&str> {
            if let Literal::Text(text) = value { Some(text) } else { None }
        }
        match self {
            Expr::And(all) => all.iter().find_map(|expr| expr.pinned(name)),
            Expr::Compare { path, op: Op::Eq, value } if path == name => text(value).map(|text| vec![text]),
            Expr::In { path, values } if path == name => values.iter().map(text).collect(),
            _ => None,
        }
    }
}

fn at<'a>(row: &'a Value, path: &str) -> &'a Value {
    path.split('/')
        .filter(|part| !part.starts_with("microsoft.graph"))
        .fold(row, |value, part| value.get(part).unwrap_or(&Value::Null))
}

fn compare(found: &Value, op: Op, wanted: &Literal) -> bool {
    let order = match (found, wanted) {
        (Value::String(found), Literal::Time(wanted)) => found.parse::<Timestamp>().ok().map(|found| found.cmp(wanted)),
        (Value::String(found), Literal::Text(wanted)) => Some(found.to_lowercase().cmp(&wanted.to_lowercase())),
        (Value::Number(found), Literal::Number(wanted)) => found.as_f64().and_then(|it| it.partial_cmp(wanted)),
        (Value::Bool(found), Literal::Bool(wanted)) => Some(found.cmp(wanted)),
        (Value::Null, Literal::Null) => Some(Ordering::Equal),
        _ => None,
    };
    match op {
        Op::Eq => order == Some(Ordering::Equal),
        Op::Ne => order != Some(Ordering::Equal),
        Op::Gt => order == Some(Ordering::Greater),
        Op::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        Op::Lt => order == Some(Ordering::Less),
        Op::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
    }
}

fn invalid() -> Fail {
    Fail::bad("Invalid filter clause")
}

fn tokens(text: &str) -> Result<Vec<Token>, Fail> {
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&next) = chars.peek() {
        match next {
            ' ' | '\t' => drop(chars.next()),
            '(' | ')' | ',' | ':' => {
                chars.next();
                out.push(match next {
                    '(' => Token::Open,
                    ')' => Token::Close,
                    ',' => Token::Comma,
                    _ => Token::Colon,
                });
            }
            '\'' => {
                chars.next();
                out.push(Token::Text(quoted(&mut chars)?));
            }
            _ => {
                let number = next.is_ascii_digit();
                let mut word = String::new();
                while let Some(&it) = chars.peek() {
                    let part = it.is_alphanumeric() || "._-/@$".contains(it) || (number && "+:".contains(it));
                    if !part {
                        break;
                    }
                    word.push(it);
                    chars.next();
                }
                if word.is_empty() {
                    return Err(invalid());
                }
                out.push(Token::Word(word));
            }
        }
    }
    Ok(out)
}

/// A string literal after its opening quote; `''` is a quote.
fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, Fail> {
    let mut text = String::new();
    while let Some(it) = chars.next() {
        if it != '\'' {
            text.push(it);
        } else if chars.next_if_eq(&'\'').is_some() {
            text.push('\'');
        } else {
            return Ok(text);
        }
    }
    Err(Fail::bad("There is an unterminated string literal in the filter."))
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek_word(&self, wanted: &str) -> bool {
        matches!(self.tokens.get(self.at), Some(Token::Word(word)) if word == wanted)
    }

    fn take(&mut self) -> Result<Token, Fail> {
        let token = self.tokens.get(self.at).cloned().ok_or_else(invalid)?;
        self.at += 1;
        Ok(token)
    }

    fn expect(&mut self, wanted: &Token) -> Result<(), Fail> {
        if self.take()? == *wanted { Ok(()) } else { Err(invalid()) }
    }

    fn word(&mut self) -> Result<String, Fail> {
        if let Token::Word(word) = self.take()? { Ok(word) } else { Err(invalid()) }
    }

    fn or(&mut self) -> Result<Expr, Fail> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Fail::bad("The filter is nested too deeply."));
        }
        let mut any = vec![self.and()?];
        while self.peek_word("or") {
            self.at += 1;
            any.push(self.and()?);
        }
        self.depth -= 1;
        Ok(if any.len() == 1 { any.remove(0) } else { Expr::Or(any) })
    }

    fn and(&mut self) -> Result<Expr, Fail> {
        let mut all = vec![self.unary()?];
        while self.peek_word("and") {
            self.at += 1;
            all.push(self.unary()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expr::And(all) })
    }

    fn unary(&mut self) -> Result<Expr, Fail> {
        if self.peek_word("not") {
            self.at += 1;
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(Fail::bad("The filter is nested too deeply."));
            }
            let inner = self.unary()?;
            self.depth -= 1;
            return Ok(Expr::Not(Box::new(inner)));
        }
        if self.tokens.get(self.at) == Some(&Token::Open) {
            self.at += 1;
            let inner = self.or()?;
            self.expect(&Token::Close)?;
            return Ok(inner);
        }
        let path = self.word()?;
        if path.eq_ignore_ascii_case("startswith") {
            return self.starts_with();
        }
        if let Some(path) = path.strip_suffix("/any") {
            return self.any(path);
        }
        self.comparison(path)
    }

    fn starts_with(&mut self) -> Result<Expr, Fail> {
        self.expect(&Token::Open)?;
        let path = self.word()?;
        self.expect(&Token::Comma)?;
        let Token::Text(prefix) = self.take()? else { return Err(invalid()) };
        self.expect(&Token::Close)?;
        Ok(Expr::StartsWith { path, prefix })
    }

    fn any(&mut self, path: &str) -> Result<Expr, Fail> {
        self.expect(&Token::Open)?;
        let variable = self.word()?;
        self.expect(&Token::Colon)?;
        let test = Box::new(self.or()?);
        self.expect(&Token::Close)?;
        Ok(Expr::Any { path: path.to_owned(), variable, test })
    }

    fn comparison(&mut self, path: String) -> Result<Expr, Fail> {
        let op = match self.word()?.as_str() {
            "eq" => Op::Eq,
            "ne" => Op::Ne,
            "gt" => Op::Gt,
            "ge" => Op::Ge,
            "lt" => Op::Lt,
            "le" => Op::Le,
            "in" => return self.list(path),
            _ => return Err(invalid()),
        };
        Ok(Expr::Compare { path, op, value: self.literal()? })
    }

    fn list(&mut self, path: String) -> Result<Expr, Fail> {
        self.expect(&Token::Open)?;
        let mut values = vec![self.literal()?];
        loop {
            match self.take()? {
                Token::Comma => values.push(self.literal()?),
                Token::Close => break,
                _ => return Err(invalid()),
            }
        }
        if values.len() > 15 {
            return Err(Fail::bad("Too many child clauses specified in search filter expression, the limit is 15."));
        }
        Ok(Expr::In { path, values })
    }

    fn literal(&mut self) -> Result<Literal, Fail> {
        match self.take()? {
            Token::Text(text) => Ok(Literal::Text(text)),
            Token::Word(word) => match word.as_str() {
                "true" => Ok(Literal::Bool(true)),
                "false" => Ok(Literal::Bool(false)),
                "null" => Ok(Literal::Null),
                word => match (word.parse::<Timestamp>(), word.parse::<f64>()) {
                    (Ok(time), _) => Ok(Literal::Time(time)),
                    (_, Ok(number)) => Ok(Literal::Number(number)),
                    _ => Err(invalid()),
                },
            },
            _ => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Expr;
    use serde_json::json;

    #[test]
    fn filters_compare_text_times_lists_and_nested_evidence() {
        let row = json!({"upn": "o'neil@contoso.example", "at": "2026-11-20T08:12:41.123Z", "n": null,
            "evidence": [{"user": {"id": "a"}}, {"user": {"id": "b"}}]});
        let admits =
            |text: &str| Expr::parse(text, &["upn", "at", "n", "evidence"]).is_ok_and(|expr| expr.admits(&row));
        assert!(admits("upn eq 'O''Neil@contoso.example' and at ge 2026-11-20T08:12:41Z"));
        assert!(!admits("at ge 2026-11-20T09:12:41+00:00"));
        assert!(admits("(upn in ('x','o''neil@contoso.example')) and not (n ne null)"));
        assert!(admits("startswith(upn,'O''n') or n eq 'x'"));
        assert!(admits("evidence/any(e: e/microsoft.graph.security.userEvidence/user/id eq 'b')"));
        assert!(!admits("evidence/any(e: e/user/id eq 'c')"));
    }

    #[test]
    fn a_filter_on_an_unknown_property_or_without_end_is_refused() {
        for text in ["risk eq 'x'", "upn eq 'x", "upn", "upn eq", "((((((((((((((((((((upn eq 'a'", "upn eq 'a' 'b'"] {
            let refusal = Expr::parse(text, &["upn"]).map(|_| ()).map_err(|fail| fail.status);
            assert_eq!(refusal, Err(400), "{text}");
        }
    }
}
