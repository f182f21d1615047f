//! Labels of namespaces: Kubernetes' `LabelSelector`, of which `matchLabels` is served.

use std::collections::BTreeMap;

use serde::Deserialize;

/// As it is written. A field that is not known is an error: passed over, a selector in another spelling would admit every namespace.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(default)]
    match_labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    match_expressions: Option<Vec<serde::de::IgnoredAny>>,
}

/// Reads a selector, JSON or YAML: the labels that a namespace must have. `None` if it is none, or has expressions. A selector that asks for nothing
/// is that of every namespace.
pub fn parse(text: &str) -> Option<BTreeMap<String, String>> {
    let written: Written = serde_saphyr::from_str(text).ok()?;
    match written.match_expressions {
        None => Some(written.match_labels.unwrap_or_default()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn labels_are_read_and_expressions_refused() {
        let labels = [("a".to_owned(), "b".to_owned())].into();
        for text in [r#"{"matchLabels":{"a":"b"}}"#, "matchLabels:\n  a: b"] {
            assert_eq!(parse(text).as_ref(), Some(&labels), "{text}");
        }
        for text in [
            r#"{"matchExpressions":[{"key":"a","operator":"Exists"}]}"#,
            "hello",
            "{bad",
            "[]",
            r#"{"matchLabels":["a"]}"#,
            r#"{"matchlabels":{"a":"b"}}"#,
            "match_labels:\n  a: b",
            "matchLabels:\n  a: b\nother: c",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
