//! Reads a chart's `values.yaml` in the form that ours has: each setting below a comment that says what it is.
//!
//! Not YAML in general, which has no comments once it is parsed: maps by indentation of two, one line a setting. What has another form is an error, so
//! nothing goes undocumented.

use anyhow::{Context, Result, bail};

/// A setting, or a group of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// The keys that lead to it.
    pub path: Vec<String>,
    /// The comment above it, on one line.
    pub description: String,
    /// What it is by default, as YAML on one line; nothing for a group.
    pub default: Option<String>,
}

/// All settings, in their order.
pub fn parse(text: &str) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if content.is_empty() {
            comment.clear();
        } else if let Some(words) = content.strip_prefix('#') {
            comment.push(words.trim());
        } else {
            let place = || format!("values.yaml:{}: {content}", number + 1);
            let (key, value) = content.split_once(':').with_context(|| format!("{}: no setting", place()))?;
            if indent % 2 != 0 || indent / 2 > path.len() || key.contains([' ', '-', '"']) {
                bail!("{}: not a setting, or indented by other than its depth times two", place());
            }
            if comment.is_empty() {
                bail!("{}: a comment above it must say what it is", place());
            }
            path.truncate(indent / 2);
            path.push(key.to_owned());
            let value = value.trim();
            settings.push(Setting {
                path: path.clone(),
                description: comment.join(" "),
                default: (!value.is_empty()).then(|| value.to_owned()),
            });
            comment.clear();
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_has_its_path_comment_and_default() {
        let text = "# Not of a setting.\n\n# A group.\na:\n  # Of two\n  # lines.\n  b: [1, 2]\n# C.\nc: \"\"\n";
        let found = parse(text).unwrap();
        let setting = |path: &[&str], description: &str, default: Option<&str>| Setting {
            path: path.iter().map(|&key| key.to_owned()).collect(),
            description: description.to_owned(),
            default: default.map(str::to_owned),
        };
        assert_eq!(
            found,
            [
                setting(&["a"], "A group.", None),
                setting(&["a", "b"], "Of two lines.", Some("[1, 2]")),
                setting(&["c"], "C.", Some("\"\"")),
            ]
        );
    }

    #[test]
    fn what_is_not_documented_or_not_in_this_form_is_an_error() {
        for (text, complaint) in [
            ("a: 1\n", "a comment above it"),
            ("# A.\na:\n  b: 1\n", "a comment above it"),
            ("# A.\na:\n    # B.\n    b: 1\n", "indented"),
            ("# A.\n- b: 1\n", "not a setting"),
            ("# A.\nb\n", "no setting"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(complaint), "{text}: {error}");
        }
    }
}
