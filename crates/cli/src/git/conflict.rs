//! Two versions of one text in one file, between conflict markers, and apart again.
//!
//! When both branches changed the same secret, the merge driver leaves a file like this:
//!
//! ```text
//! db:
//! <<<<<<< ours
//!     password: ENC[AES256_GCM,data:…]
//! =======
//!     password: ENC[AES256_GCM,data:…]
//! >>>>>>> theirs
//! ```
//!
//! It is a normal conflict to people and to tools that look for markers, and no plaintext is in it. What makes it more:
//! **each side, taken through the whole file, is a complete encrypted file with a valid MAC**, of the same data
//! key, with everything that could be merged merged in. So [`unfold`] gives two files that decrypt, and `bulla edit`
//! can show the same conflict in the plain.
//!
//! Marker lines are seven of `<`, `|`, `=` or `>`, as git writes them; thirty-one where a line of the text itself looks like one.

use bulla_core::SecretBytes;
use diffy::{DiffOptions, Line};

/// How many characters a marker has: what git writes, and what is taken where the text has such lines itself.
const LENGTHS: [usize; 2] = [7, 31];

/// Two versions of a text.
pub(crate) struct Sides {
    /// The version of the branch that is merged into.
    pub(crate) ours: SecretBytes,
    /// The version of the branch that is merged.
    pub(crate) theirs: SecretBytes,
}

/// One text with markers around the lines that differ. `None` if both are equal, or hold markers of every length.
///
/// The last line gets an end if it has none.
pub(crate) fn fold(ours: &[u8], theirs: &[u8]) -> Option<SecretBytes> {
    let (ours, theirs) = (ended(ours), ended(theirs));
    let (ours, theirs) = (ours.expose(), theirs.expose());
    if ours == theirs {
        return None;
    }
    let length = LENGTHS.into_iter().find(|&length| !has_marker(ours, length) && !has_marker(theirs, length))?;
    let patch = DiffOptions::new().set_context_len(0).create_patch_bytes(ours, theirs);
    let mut out = SecretBytes::with_capacity(ours.len() + theirs.len() / 4);
    let mut lines = ours.split_inclusive(|&byte| byte == b'\n');
    // How many lines of ours are written.
    let mut written = 0;
    for hunk in patch.hunks() {
        let range = hunk.old_range();
        // Of nothing, the range names the line before.
        let start = if range.is_empty() { range.start() } else { range.start().saturating_sub(1) };
        for line in lines.by_ref().take(start - written) {
            out.extend_from_slice(line);
        }
        lines.by_ref().take(range.len()).for_each(drop);
        written = start + range.len();
        let side = |out: &mut SecretBytes, wanted: fn(&Line<'_, [u8]>) -> Option<Vec<u8>>| {
            for line in hunk.lines().iter().filter_map(wanted) {
                out.extend_from_slice(&zeroize::Zeroizing::new(line));
            }
        };
        marker(&mut out, b'<', length, " ours");
        side(&mut out, |line| match line {
            Line::Delete(line) | Line::Context(line) => Some(line.to_vec()),
            Line::Insert(_) => None,
        });
        marker(&mut out, b'=', length, "");
        side(&mut out, |line| match line {
            Line::Insert(line) | Line::Context(line) => Some(line.to_vec()),
            Line::Delete(_) => None,
        });
        marker(&mut out, b'>', length, " theirs");
    }
    for line in lines {
        out.extend_from_slice(line);
    }
    Some(out)
}

/// The two versions in a text with markers, git's own included (a `|||||||` part is left out). `None` if there are no markers,
/// or they do not pair.
pub(crate) fn unfold(text: &[u8]) -> Option<Sides> {
    // Nearly all texts have none, and are not copied to find that out.
    memchr::memmem::find(text, &[b'<'; LENGTHS[0]])?;
    LENGTHS.into_iter().rev().find_map(|length| unfold_by(text, length))
}

/// Whether the markers in the text are such as [`fold`] makes. Between those that Git makes itself, where no driver was called, a side
/// is no whole file: what else changed on the other is merged in by lines.
pub(crate) fn is_folded(text: &[u8]) -> bool {
    let label = |line: &[u8]| line.trim_ascii_end().strip_prefix(b"<").map(|rest| rest.ends_with(b"< ours"));
    let opens = |length| lines(text).find(|line| is_marker(line, b'<', length)).and_then(label);
    LENGTHS.into_iter().find_map(opens).unwrap_or(false)
}

/// Whether any line of the text is a conflict marker: then it is not done.
pub(crate) fn has_markers(text: &[u8]) -> bool {
    LENGTHS.into_iter().any(|length| {
        let opens = lines(text).any(|line| is_marker(line, b'<', length));
        opens || lines(text).any(|line| is_marker(line, b'>', length))
    })
}

fn unfold_by(text: &[u8], length: usize) -> Option<Sides> {
    #[derive(PartialEq)]
    enum Part {
        Both,
        Ours,
        Base,
        Theirs,
    }
    let mut sides =
        Sides { ours: SecretBytes::with_capacity(text.len()), theirs: SecretBytes::with_capacity(text.len()) };
    let mut part = Part::Both;
    let mut conflicts = 0;
    for line in lines(text) {
        let next = match part {
            Part::Both if is_marker(line, b'<', length) => Some(Part::Ours),
            Part::Ours if is_marker(line, b'|', length) => Some(Part::Base),
            Part::Ours | Part::Base if is_marker(line, b'=', length) => Some(Part::Theirs),
            Part::Theirs if is_marker(line, b'>', length) => Some(Part::Both),
            Part::Both | Part::Ours | Part::Base | Part::Theirs => None,
        };
        if let Some(next) = next {
            conflicts += usize::from(next == Part::Ours);
            part = next;
            continue;
        }
        if matches!(part, Part::Both | Part::Ours) {
            sides.ours.extend_from_slice(line);
        }
        if matches!(part, Part::Both | Part::Theirs) {
            sides.theirs.extend_from_slice(line);
        }
    }
    (conflicts > 0 && part == Part::Both).then_some(sides)
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n')
}

fn has_marker(text: &[u8], length: usize) -> bool {
    lines(text).any(|line| b"<|=>".iter().any(|&character| is_marker(line, character, length)))
}

/// Exactly `length` of the character, then the line's end or a space.
fn is_marker(line: &[u8], character: u8, length: usize) -> bool {
    let run = line.iter().take_while(|&&byte| byte == character).count();
    run == length && matches!(line.get(length), None | Some(b' ' | b'\n' | b'\r'))
}

fn marker(out: &mut SecretBytes, character: u8, length: usize, label: &str) {
    out.extend_from_slice(&vec![character; length]);
    out.extend_from_slice(label.as_bytes());
    out.extend_from_slice(b"\n");
}

fn ended(text: &[u8]) -> SecretBytes {
    let mut ended = SecretBytes::from(text);
    if !text.is_empty() && !text.ends_with(b"\n") {
        ended.extend_from_slice(b"\n");
    }
    ended
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_lines_that_differ_stand_between_markers() {
        let folded = fold(b"a\nb\nc\n", b"a\nB\nc\nd\n").unwrap();
        let expected = "a\n<<<<<<< ours\nb\n=======\nB\n>>>>>>> theirs\nc\n<<<<<<< ours\n=======\nd\n>>>>>>> theirs\n";
        assert_eq!(std::str::from_utf8(folded.expose()).unwrap(), expected);
    }

    #[test]
    fn git_s_own_markers_with_a_base_are_understood() {
        let sides = unfold(b"x\n<<<<<<< HEAD\na\n||||||| 123\no\n=======\nb\n>>>>>>> topic\ny\n").unwrap();
        assert_eq!(sides.ours.expose(), b"x\na\ny\n");
        assert_eq!(sides.theirs.expose(), b"x\nb\ny\n");
    }

    #[test]
    fn markers_that_do_not_pair_are_no_conflict() {
        for text in [
            &b"a\n"[..],
            b"<<<<<<< ours\na\n",
            b"=======\n",
            b"<<<<<<< x\n=======\n",
            b"<<<<<<<< a\n=======\n>>>>>>> b\n",
        ] {
            assert!(unfold(text).is_none());
        }
        assert!(has_markers(b"<<<<<<< ours\na\n"));
        assert!(is_folded(b"x\n<<<<<<< ours\na\n"));
        assert!(!is_folded(b"x\n<<<<<<< HEAD\na\n"));
        assert!(!has_markers(b"a\n=======\n"));
    }

    #[test]
    fn a_text_with_markers_of_its_own_gets_longer_ones() {
        let (ours, theirs) = (b"=======\na\n", b"=======\nb\n");
        let folded = fold(ours, theirs).unwrap();
        let sides = unfold(folded.expose()).unwrap();
        assert_eq!((sides.ours.expose(), sides.theirs.expose()), (&ours[..], &theirs[..]));
    }

    proptest! {
        #[test]
        fn what_is_folded_unfolds(
            ours in proptest::collection::vec("[a-c=<>]{0,2}\n", 0..12),
            theirs in proptest::collection::vec("[a-c=<>]{0,2}\n", 0..12),
        ) {
            let (ours, theirs) = (ours.concat(), theirs.concat());
            match fold(ours.as_bytes(), theirs.as_bytes()) {
                None => prop_assert_eq!(ours, theirs),
                Some(folded) => {
                    let sides = unfold(folded.expose()).unwrap();
                    prop_assert_eq!(sides.ours.expose(), ours.as_bytes());
                    prop_assert_eq!(sides.theirs.expose(), theirs.as_bytes());
                }
            }
        }
    }
}
