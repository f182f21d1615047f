//! How a node is written, in the one byte that a node has for it.

use super::scan::ScalarStyle;

/// The form of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Single,
    Double,
    Literal,
    Folded,
    /// Nothing is written behind the `:` or `-`.
    GapValue,
    /// Nothing is written, not even the `:`.
    GapColon,
    /// Nothing (or a null) is written where a document's map would be.
    GapDocument,
    Block,
    Flow,
    /// `a: b` as a flow list's item.
    Pair,
}

const FORMS: [Form; 11] = [
    Form::Plain,
    Form::Single,
    Form::Double,
    Form::Literal,
    Form::Folded,
    Form::GapValue,
    Form::GapColon,
    Form::GapDocument,
    Form::Block,
    Form::Flow,
    Form::Pair,
];
const FORM: u8 = 0x0F;

/// The span begins with a tag.
pub(super) const TAGGED: u8 = 0x10;
/// The tag is none of YAML's own: what it marks is a string.
pub(super) const CUSTOM_TAG: u8 = 0x20;
/// An anchor stands between the tag and the value, and so within the span.
pub(super) const INNER_ANCHOR: u8 = 0x40;
/// Of a comment: yaml.v3 loses it, so sops' tree does not have it.
pub(super) const LOST: u8 = 0x80;

pub(super) fn form(style: u8) -> Form {
    FORMS.get((style & FORM) as usize).copied().unwrap_or(Form::Plain)
}

impl Form {
    pub(super) const fn style(self) -> u8 {
        self as u8
    }
}

impl From<ScalarStyle> for Form {
    fn from(style: ScalarStyle) -> Self {
        match style {
            ScalarStyle::Plain => Self::Plain,
            ScalarStyle::Single => Self::Single,
            ScalarStyle::Double => Self::Double,
            ScalarStyle::Literal => Self::Literal,
            ScalarStyle::Folded => Self::Folded,
        }
    }
}
