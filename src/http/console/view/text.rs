//! Text from outside, made fit to show: cut, and freed of what could break a line or turn its direction around.
//!
//! Escaping is the templates' work and happens after this.

/// Longest single line, in characters.
pub const LINE: usize = 200;
/// Longest block, in characters.
pub const BLOCK: usize = 4_000;

/// One line: white space of every kind becomes one space, invisible and direction characters go, the rest is cut.
pub fn line(text: &str) -> String {
    cut(text, LINE)
}

/// One line of at most `most` characters; the last is `…` where something was cut.
pub fn cut(text: &str, most: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    let mut space = false;
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() {
            space = length > 0;
            continue;
        }
        if is_hidden(c) {
            continue;
        }
        let needed = 1 + usize::from(space);
        if length + needed > most {
            while length + 1 > most {
                out.pop();
                length -= 1;
            }
            out.push('…');
            return out;
        }
        if std::mem::take(&mut space) {
            out.push(' ');
        }
        out.push(c);
        length += needed;
    }
    out
}

/// Several lines; empty ones at the ends go, at most 100 stay.
pub fn block(text: &str) -> String {
    let mut left = BLOCK;
    let mut lines = Vec::new();
    for raw in text.lines().take(100) {
        let clean: String = raw.chars().filter(|c| !is_hidden(*c) && !c.is_control()).take(left).collect();
        left -= clean.chars().count();
        lines.push(clean.trim_end().to_owned());
        if left == 0 {
            lines.push("…".to_owned());
            break;
        }
    }
    lines.join("\n").trim_matches('\n').to_owned()
}

/// Longest text of a file, in characters.
pub const FILE: usize = 20_000;

/// A file as it stands: its lines and indentation stay, what could hide or turn text around goes, the rest is cut.
pub fn code(text: &str) -> String {
    let shown = |c: &char| *c == '\n' || *c == '\t' || !(c.is_control() || is_hidden(*c));
    let mut out: String = text.chars().filter(shown).take(FILE).collect();
    if text.chars().nth(FILE).is_some() {
        out.push_str("\n…");
    }
    out
}

/// A line, or nothing where nothing readable is left.
pub fn some(text: Option<&str>) -> Option<String> {
    text.map(line).filter(|line| !line.is_empty())
}

/// Zero-width, direction-changing, tag and private characters: nothing a name needs, much a forger likes. The joiner of
/// emoji stays.
pub fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{200B}' | '\u{200C}' | '\u{200E}' | '\u{200F}' | '\u{061C}' | '\u{2060}'..='\u{206F}' | '\u{202A}'..='\u{202E}'
        | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}' | '\u{E000}'..='\u{F8FF}' | '\u{00AD}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_reads_in_one_direction() {
        assert_eq!(line("  Ada\r\n\tLovelace\u{0}\u{2028} "), "Ada Lovelace");
        assert_eq!(line("evil\u{202E}moc.elpmaxe"), "evilmoc.elpmaxe");
        assert_eq!(line("a\u{200B}b\u{FEFF}"), "ab");
        assert_eq!(line("👩\u{200D}💻 عليّ"), "👩\u{200D}💻 عليّ");
    }

    #[test]
    fn ten_thousand_characters_become_two_hundred_and_say_so() {
        let long = line(&"ü".repeat(10_000));
        assert_eq!(long.chars().count(), LINE);
        assert!(long.ends_with('…'));
        assert_eq!((cut("ab cd", 4).as_str(), cut("abcde", 4).as_str()), ("ab …", "abc…"));
        assert_eq!(cut("abcd", 4), "abcd");
        assert!(block(&"x\n".repeat(100_000)).lines().count() <= 101);
        assert!(block(&"y".repeat(100_000)).chars().count() <= BLOCK + 2);
    }

    #[test]
    fn nothing_readable_is_nothing() {
        assert_eq!(some(Some("\u{200B}\n")), None);
        assert_eq!(some(Some(" x")), Some("x".to_owned()));
    }
}
