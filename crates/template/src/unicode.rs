//! What kind of character one is, in the terms of Go's `unicode` package.

use std::sync::LazyLock;

use regex::Regex;

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident $class:literal $ascii:expr;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name(c: char) -> bool {
            static CLASS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(concat!("^", $class, "$")).ok());
            if c.is_ascii() {
                let ascii: fn(char) -> bool = $ascii;
                return ascii(c);
            }
            CLASS.as_ref().is_some_and(|class| class.is_match(c.encode_utf8(&mut [0; 4])))
        }
    )*};
}

classes! {
    is_letter r"\p{L}" |c| c.is_ascii_alphabetic();
    /// A decimal digit.
    is_digit r"\p{Nd}" |c| c.is_ascii_digit();
    is_number r"\p{N}" |c| c.is_ascii_digit();
    is_upper r"\p{Lu}" |c| c.is_ascii_uppercase();
    is_lower r"\p{Ll}" |c| c.is_ascii_lowercase();
    is_title r"\p{Lt}" |_| false;
    is_punct r"\p{P}" |c| c.is_ascii_punctuation() && !"$+<=>^`|~".contains(c);
    /// Letters, marks, numbers, punctuation, symbols and the plain space.
    is_print r"[\p{L}\p{M}\p{N}\p{P}\p{S}]" |c| (' '..='~').contains(&c);
}

/// White space.
pub(crate) fn is_space(c: char) -> bool {
    match c {
        '\t' | '\n' | '\x0b' | '\x0c' | '\r' | ' ' | '\u{85}' | '\u{a0}' => true,
        c => !c.is_ascii() && c.is_whitespace(),
    }
}

/// The upper case of one character, itself where that would be more than one.
pub(crate) fn to_upper(c: char) -> char {
    single(c, c.to_uppercase())
}

/// The lower case of one character.
pub(crate) fn to_lower(c: char) -> char {
    match c {
        // Its full lower case has a combining dot, the simple one has not.
        'İ' => 'i',
        c => single(c, c.to_lowercase()),
    }
}

/// The title case of one character.
pub(crate) fn to_title(c: char) -> char {
    match c {
        'Ǆ'..='ǆ' => 'ǅ',
        'Ǉ'..='ǉ' => 'ǈ',
        'Ǌ'..='ǌ' => 'ǋ',
        'Ǳ'..='ǳ' => 'ǲ',
        c => to_upper(c),
    }
}

fn single(c: char, mut mapped: impl Iterator<Item = char>) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(mapped), None) => mapped,
        _ => c,
    }
}
