//! What a new file starts with.

use bulla_core::SecretBytes;
use bulla_document::Syntax;
use bulla_format::sops::FileKind;

/// A text of this type that shows what can stand in it.
pub(crate) fn text(kind: FileKind) -> SecretBytes {
    let text = match kind {
        FileKind::Text(Syntax::Yaml) => {
            "# Every value in this file is encrypted when you save it. Replace them all.\n\
             database:\n    user: app\n    password: change-me\n\
             ports:\n    - 5432\nenabled: true\n\
             # A key that ends in _unencrypted stays readable.\nnote_unencrypted: who to ask\n"
        }
        FileKind::Text(Syntax::Json) => {
            "{\n\t\"database\": {\n\t\t\"user\": \"app\",\n\t\t\"password\": \"change-me\"\n\t},\n\
             \t\"ports\": [\n\t\t5432\n\t],\n\t\"enabled\": true\n}\n"
        }
        FileKind::Text(Syntax::Dotenv) => {
            "# Every value in this file is encrypted when you save it.\nDB_USER=app\nDB_PASSWORD=change-me\n"
        }
        FileKind::Text(Syntax::Ini) => {
            "; Every value in this file is encrypted when you save it.\n[database]\nuser = app\npassword = change-me\n"
        }
        FileKind::Text(Syntax::Toml) => {
            "# Every value in this file is encrypted when you save it.\n[database]\nuser = \"app\"\npassword = \"change-me\"\n"
        }
        FileKind::Text(_) | FileKind::Binary => "Replace this text. All of it is encrypted when you save it.\n",
    };
    SecretBytes::from(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_of_its_type() {
        for syntax in [Syntax::Yaml, Syntax::Json, Syntax::Dotenv, Syntax::Ini, Syntax::Toml] {
            let result = bulla_document::Document::parse(syntax, text(FileKind::Text(syntax)));
            assert!(result.is_ok(), "{syntax:?}: {:?}", result.err());
        }
    }
}
