//! Go's regular expressions (RE2 syntax), which sops' rules, `.sops.yaml` and templates are written in.
//!
//! Both engines search leftmost-first, so that only the syntax differs. In Go `\d`, `\w`, `\s` and `\b` are ASCII; a `[` inside a class and a
//! `{` that starts no count stand for themselves; there are `\Q…\E` and octal escapes; and there are no class operations
//! (`&&`, `--`) and no flags but `imsU`. An expression is rewritten accordingly; what Go has and this
//! engine has not (`\C`) is an error.
//!
//! Source: <https://pkg.go.dev/regexp/syntax>.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

/// A compiled expression.
pub type Regex = regex::bytes::Regex;

/// The largest compiled expression, in bytes.
const LARGEST: usize = 10 << 20;

/// Compiles a Go expression.
///
/// # Errors
/// What is wrong with it, in one line.
pub fn compile(expression: &str) -> Result<Regex, String> {
    compile_bounded(expression, LARGEST)
}

/// Compiles a Go expression that comes to no more than `size` bytes.
///
/// # Errors
/// As [`compile`].
pub fn compile_bounded(expression: &str, size: usize) -> Result<Regex, String> {
    let translated = Translator { rest: expression.chars().peekable(), out: String::new() }.run()?;
    let built = regex::bytes::RegexBuilder::new(&translated).size_limit(size).dfa_size_limit(size).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "the expression is too large".to_owned(),
        // The last line of a syntax error says what is wrong; the lines before draw where.
        error => error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    })
}

struct Translator<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
}

impl Translator<'_> {
    fn run(mut self) -> Result<String, String> {
        while let Some(c) = self.rest.next() {
            match c {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '{' if !self.starts_count() => self.out.push_str(r"\{"),
                _ => self.out.push(c),
            }
        }
        Ok(self.out)
    }

    /// After a `(`: checks the flags.
    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if self.rest.peek() != Some(&'?') {
            return Ok(());
        }
        for (place, c) in self.rest.clone().skip(1).enumerate() {
            match c {
                'P' | '<' if place == 0 => {
                    let name = self.rest.clone().skip_while(|&c| c != '<').skip(1).take_while(|&c| c != '>');
                    if !name.into_iter().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                        return Err("invalid named capture".to_owned());
                    }
                    break;
                }
                // The end of the flags.
                ':' | ')' => break,
                'i' | 'm' | 's' | 'U' | '-' => {}
                _ => return Err(format!("(?{c} is not known here")),
            }
        }
        Ok(())
    }

    /// Whether `n}`, `n,}` or `n,m}` follows.
    fn starts_count(&self) -> bool {
        let mut text = self.rest.clone();
        let mut digits = 0;
        let mut commas = 0;
        loop {
            match text.next() {
                Some(c) if c.is_ascii_digit() => digits += 1,
                Some(',') if digits > 0 && commas == 0 => commas = 1,
                Some('}') => return digits > 0,
                _ => return false,
            }
        }
    }

    /// After a `\` outside of a class.
    fn escape(&mut self) -> Result<(), String> {
        let c = self.rest.next().ok_or("trailing backslash")?;
        match c {
            'Q' => self.quoted(),
            'b' => self.out.push_str(r"(?-u:\b)"),
            'B' => self.out.push_str(r"(?-u:\B)"),
            'A' | 'z' => {
                self.out.push('\\');
                self.out.push(c);
            }
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => {
                let negated = if c.is_uppercase() { "^" } else { "" };
                let _ = write!(self.out, "[{negated}{}]", perl_class(c));
            }
            'p' | 'P' => self.property(c)?,
            _ => {
                let c = self.character(c)?;
                push_literal(&mut self.out, c);
            }
        }
        Ok(())
    }

    /// After `\Q`, up to `\E` or the end.
    fn quoted(&mut self) {
        while let Some(c) = self.rest.next() {
            if c == '\\' && self.rest.peek() == Some(&'E') {
                self.rest.next();
                return;
            }
            push_literal(&mut self.out, c);
        }
    }

    /// After `\p` or `\P`.
    fn property(&mut self, kind: char) -> Result<(), String> {
        self.out.push('\\');
        self.out.push(kind);
        let first = self.rest.next().ok_or("invalid character class")?;
        self.out.push(first);
        if first == '{' {
            for c in self.rest.by_ref() {
                // Go has no `\p{name=value}`.
                if c == '=' || c == ':' {
                    return Err("invalid character class".to_owned());
                }
                self.out.push(c);
                if c == '}' {
                    break;
                }
            }
        }
        Ok(())
    }

    /// After a `\` and `first`, where they stand for one character.
    fn character(&mut self, first: char) -> Result<char, String> {
        let octal = |c: char| c.to_digit(8);
        Ok(match first {
            'a' => '\x07',
            'f' => '\x0c',
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'v' => '\x0b',
            'x' => self.hex()?,
            '0'..='7' => {
                let mut code = octal(first).unwrap_or_default();
                // A single digit that is not 0 would be a back-reference, which neither engine has.
                if first != '0' && self.rest.peek().is_none_or(|&c| octal(c).is_none()) {
                    return Err(format!("invalid escape sequence \\{first}"));
                }
                for _ in 0..2 {
                    let Some(digit) = self.rest.peek().and_then(|&c| octal(c)) else { break };
                    self.rest.next();
                    code = code * 8 + digit;
                }
                char::from_u32(code).ok_or("invalid escape sequence")?
            }
            c if c.is_ascii_punctuation() => c,
            c => return Err(format!("invalid escape sequence \\{c}")),
        })
    }

    /// After `\x`: two digits, or any number in braces.
    fn hex(&mut self) -> Result<char, String> {
        const INVALID: &str = "invalid escape sequence \\x";
        let mut digits = String::new();
        if self.rest.peek() == Some(&'{') {
            self.rest.next();
            digits.extend(self.rest.by_ref().take_while(|&c| c != '}'));
        } else {
            digits.extend(self.rest.by_ref().take(2));
            if digits.len() != 2 {
                return Err(INVALID.to_owned());
            }
        }
        let code = u32::from_str_radix(&digits, 16).map_err(|_| INVALID)?;
        char::from_u32(code).ok_or_else(|| INVALID.to_owned())
    }

    /// After a `[`: one class, written again with every character escaped.
    fn class(&mut self) -> Result<(), String> {
        const MISSING: &str = "missing closing ]";
        self.out.push('[');
        if self.rest.peek() == Some(&'^') {
            self.rest.next();
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let c = self.rest.next().ok_or(MISSING)?;
            match c {
                ']' if !first => break,
                '[' if self.rest.peek() == Some(&':') && self.posix_class() => {}
                '\\' if matches!(self.rest.peek(), Some('d' | 'D' | 's' | 'S' | 'w' | 'W')) => {
                    let kind = self.rest.next().unwrap_or_default();
                    let negated = if kind.is_uppercase() { "^" } else { "" };
                    let _ = write!(self.out, "[{negated}{}]", perl_class(kind));
                }
                '\\' if matches!(self.rest.peek(), Some('p' | 'P')) => {
                    let kind = self.rest.next().unwrap_or_default();
                    self.property(kind)?;
                }
                _ => self.range(c)?,
            }
            first = false;
        }
        self.out.push(']');
        Ok(())
    }

    /// In a class, after `c`: one character, or a range.
    fn range(&mut self, c: char) -> Result<(), String> {
        let low = self.class_character(c)?;
        push_class_literal(&mut self.out, low);
        let mut ahead = self.rest.clone();
        if ahead.next() == Some('-') && ahead.next().is_some_and(|next| next != ']') {
            self.rest.next();
            let high = self.rest.next().ok_or("missing closing ]")?;
            let high = self.class_character(high)?;
            self.out.push('-');
            push_class_literal(&mut self.out, high);
        }
        Ok(())
    }

    fn class_character(&mut self, c: char) -> Result<char, String> {
        if c != '\\' {
            return Ok(c);
        }
        let c = self.rest.next().ok_or("trailing backslash")?;
        self.character(c)
    }

    /// In a class, after `[`: copies `[:name:]`, if it is one.
    fn posix_class(&mut self) -> bool {
        let rest: String = self.rest.clone().take(12).collect();
        let Some(end) = rest.find(":]") else { return false };
        let name = &rest[1..end];
        if name.is_empty() || !name.trim_start_matches('^').bytes().all(|byte| byte.is_ascii_lowercase()) {
            return false;
        }
        let _ = write!(self.out, "[:{name}:]");
        // What was looked at is ASCII, so bytes are characters.
        self.rest.nth(end + 1);
        true
    }
}

/// What Go's `\d`, `\s` and `\w` stand for, as the inside of a class.
const fn perl_class(kind: char) -> &'static str {
    match kind {
        'd' | 'D' => "0-9",
        's' | 'S' => r"\t\n\f\r ",
        _ => "0-9A-Za-z_",
    }
}

fn push_literal(out: &mut String, c: char) {
    out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

fn push_class_literal(out: &mut String, c: char) {
    if c.is_ascii_punctuation() || c.is_ascii_whitespace() {
        let _ = write!(out, "\\x{:02x}", u32::from(c));
    } else {
        out.push(c);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    // Each line was run through Go's regexp.MatchString.
    #[test]
    fn expressions_match_what_they_match_in_go() {
        for (expression, text, matches) in [
            ("^(data|stringData)$", "data", true),
            ("^(data|stringData)$", "metadata", false),
            ("pass", "my_password", true),
            (r"^\d+$", "123", true),
            (r"^\d+$", "\u{663}", false),
            (r"^\w+$", "é", false),
            (r"^[\w.-]+$", "a.b-c", true),
            (r"^\S+$", "é\u{a0}", true),
            (r"\bfoo\b", "éfoo", true),
            ("^.{3}$", "äöü", true),
            ("(?i)^SECRET$", "secret", true),
            ("(?P<name>a)b", "ab", true),
            (r"^\Qa.b*\E$", "a.b*", true),
            (r"^\Qa.b*\E$", "aXb*", false),
            (r"^\Qa.b", "a.b", true),
            ("^a{$", "a{", true),
            ("^a{,2}$", "a{,2}", true),
            ("^a{1,2}$", "aa", true),
            ("^[[a]$", "[", true),
            ("^[[a]+$", "a", true),
            ("^[a&&b]+$", "&", true),
            ("^[a~~b]$", "~", true),
            ("^[[:alpha:]_]+$", "ab_", true),
            ("^[[:^alpha:]]+$", "12", true),
            ("^[]a]+$", "]a", true),
            ("^[^]a]$", "]", false),
            ("^[a-]$", "-", true),
            ("^[+--]+$", "+,-", true),
            (r"^[\]\-\\]+$", r"]-\", true),
            (r"^\x41\x{42}\103$", "ABC", true),
            (r"^\<a\>$", "<a>", true),
            (r"^\pL\p{Greek}$", "aβ", true),
            ("(?U)a+", "aa", true),
            ("^a$", "a\nb", false),
            ("(?m)^a$", "a\nb", true),
            ("", "anything", true),
        ] {
            assert_eq!(compile(expression).unwrap().is_match(text.as_bytes()), matches, "{expression} on {text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for expression in [
            "(",
            "[a",
            "a)",
            "*a",
            r"\1",
            r"\8",
            r"\y",
            "(?x)a",
            "(?=a)",
            "(?R)",
            r"\xZZ",
            r"a\",
            "[b-a]",
            r"\p{Nope}",
            r"\C",
        ] {
            assert!(compile(expression).is_err(), "{expression}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_expression_panics(expression in "\\PC{0,20}") {
            let _ = compile(&expression);
        }

        #[test]
        fn quoted_text_matches_itself(text in "[^\\\\]{0,20}") {
            let matches = compile(&format!("^\\Q{text}\\E$")).unwrap().is_match(text.as_bytes());
            proptest::prop_assert!(matches);
        }
    }
}
