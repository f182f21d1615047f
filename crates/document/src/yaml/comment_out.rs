//! Items of lists that become comments.
//!
//! sops encrypts a comment in a list as an item of its own, `- ENC[…,type:comment]`. Decrypted, the item is a comment again.

use super::around::entries;
use super::chars::is_printable;
use super::write::is_break;
use crate::{Kind, NodeId, Patch, Syntax};

impl Patch<'_> {
    /// Writes a comment in the place of a list's item: `- item` becomes `#text`. `false`, and nothing is changed, where
    /// there is no place for one: in JSON, in a list in brackets, for a text of several lines, for a list's only item (nothing
    /// would be left of the list).
    pub fn comment_out(&mut self, id: NodeId, text: &[u8]) -> bool {
        let document = self.document;
        let is_item = document
            .parent(id)
            .is_some_and(|list| document.kind(list) == Kind::Seq && entries(document, list).take(2).count() == 2);
        // A reader of YAML 1.1 takes U+2028 for the end of the line, and what follows it for no comment.
        let is_line = std::str::from_utf8(text).is_ok_and(|text| text.chars().all(|c| is_printable(c) && !is_break(c)));
        if document.syntax() != Syntax::Yaml || !is_item || !is_line || document.kind(id) != Kind::Scalar {
            return false;
        }
        let span = document.node(id).span.range();
        let before = &document.text().expose()[..span.start];
        let blanks = before.iter().rev().take_while(|&&byte| byte == b' ' || byte == b'\t').count();
        let dash = before.len() - blanks;
        let value = document.source(id);
        // Only an item that is all of its line: nothing is cut off that does not belong to it.
        let ends_line = !value.contains(&b'\n') && {
            let after = &document.text().expose()[span.end..];
            matches!(after.iter().find(|&&byte| byte != b' ' && byte != b'\t'), None | Some(b'\n' | b'\r'))
        };
        if blanks == 0 || !before[..dash].ends_with(b"-") || !ends_line {
            return false;
        }
        let mut comment = zeroize::Zeroizing::new(Vec::with_capacity(text.len() + 1));
        comment.push(b'#');
        comment.extend_from_slice(text);
        self.replace(dash - 1..span.end, &comment);
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bulla_core::SecretBytes;

    use crate::{Document, Step, Syntax};

    fn comment_out(syntax: Syntax, text: &str, index: usize) -> Option<String> {
        let document = Document::parse(syntax, SecretBytes::from(text.as_bytes())).unwrap();
        let way = [Step::Key("l".into()), Step::Index(index)];
        let item = document.find(document.roots()[0], &way).unwrap();
        let mut patch = document.patch();
        let done = patch.comment_out(item, b" text");
        done.then(|| String::from_utf8(patch.finish().expose().to_vec()).unwrap())
    }

    #[test]
    fn an_item_on_its_own_line_becomes_a_comment() {
        assert_eq!(comment_out(Syntax::Yaml, "l:\n  - a\n  - b\n", 0).unwrap(), "l:\n  # text\n  - b\n");
        assert_eq!(comment_out(Syntax::Yaml, "l:\n- a\n-   b\n", 1).unwrap(), "l:\n- a\n# text\n");
        assert_eq!(comment_out(Syntax::Yaml, "l:\r\n- a\r\n- b", 1).unwrap(), "l:\r\n- a\r\n# text");
    }

    #[test]
    fn what_would_end_the_line_is_no_comment() {
        let document = Document::parse(Syntax::Yaml, SecretBytes::from(b"l:\n- a\n- b\n".as_slice())).unwrap();
        let item = document.find(document.roots()[0], &[Step::Key("l".into()), Step::Index(0)]).unwrap();
        for text in ["x\ny: 1", "x\ry: 1", "x\u{85}y: 1", "x\u{2028}y: 1", "x\u{2029}y: 1", "x\0"] {
            assert!(!document.patch().comment_out(item, text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn an_item_that_shares_its_line_or_has_several_is_left() {
        for text in ["l:\n- a\n", "l: [a, b]\n", "l:\n- |\n  a\n- b\n", "l:\n- a # c\n- b\n"] {
            assert_eq!(comment_out(Syntax::Yaml, text, 0), None, "{text}");
        }
        assert_eq!(comment_out(Syntax::Json, "{\"l\": [\"a\"]}", 0), None);
    }
}
