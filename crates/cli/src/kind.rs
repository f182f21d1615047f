//! Which type a file is of: said by a flag, by its name, or by its content.

use bulla_document::Syntax;
use bulla_format::sops::{self, FileKind};

use crate::app::Personality;
use crate::args::{FileType, TypeArgs};
use crate::git::conflict;

/// The type of a file called `name` with contents `text`.
///
/// Under the name `sops` the ending alone decides, and TOML is binary, as there. Under our own, the content of a file
/// whose ending says nothing is looked at; of a merge conflict, that of its sides.
pub(crate) fn kind_of(personality: Personality, said: Option<FileType>, name: &str, text: &[u8]) -> FileKind {
    if let Some(said) = said {
        return said.into();
    }
    match personality {
        Personality::Bulla | Personality::Kubeseal if bulla_document::syntax_of_name(name).is_none() => {
            match conflict::unfold(text) {
                Some(sides) => sops::kind_of(name, sides.ours.expose()),
                None => sops::kind_of(name, text),
            }
        }
        Personality::Bulla | Personality::Kubeseal => sops::kind_of(name, text),
        Personality::Sops => bulla_document::syntax_of_name(name)
            .filter(|&syntax| syntax != Syntax::Toml)
            .map_or(FileKind::Binary, FileKind::Text),
    }
}

/// The type that the result is written as, for an input of type `input`.
///
/// sops goes by the name again, also where `--input-type` says that the name is wrong.
pub(crate) fn output_kind(personality: Personality, types: TypeArgs, name: &str, input: FileKind) -> FileKind {
    match (types.output_type, personality) {
        (Some(said), _) => said.into(),
        (None, Personality::Bulla | Personality::Kubeseal) => input,
        (None, Personality::Sops) => kind_of(personality, None, name, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_the_name_sops_only_the_ending_counts() {
        let kind = |name, text| kind_of(Personality::Sops, None, name, text);
        assert_eq!(kind("a.yml", b""), FileKind::Text(Syntax::Yaml));
        assert_eq!(kind("prod.env", b""), FileKind::Text(Syntax::Dotenv));
        assert_eq!(kind(".env.prod", b"A=1\n"), FileKind::Binary);
        assert_eq!(kind("a.toml", b"a = 1\n"), FileKind::Binary);
    }
}
