//! Texts of others in messages.

use std::fmt;

/// A text in quotes, with what is no letter escaped; of a long one the begin, so many characters.
///
/// (A precision, `{:.9?}`, does not shorten a text that is shown for debugging.)
#[derive(Clone, Copy)]
pub struct Shown<'a>(pub &'a str, pub usize);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text, most) = *self;
        match text.char_indices().nth(most) {
            Some((end, _)) => write!(f, "{:?}…", &text[..end]),
            None => write!(f, "{text:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_between_characters() {
        assert_eq!(format!("{:?}", Shown("öä\n", 3)), "\"öä\\n\"");
        assert_eq!(format!("{:?}", Shown("öä\nü", 3)), "\"öä\\n\"…");
        assert_eq!(format!("{:?}", Shown("", 0)), "\"\"");
    }
}
