//! Kubernetes manifests of `kind: Secret` whose values are not encrypted.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bulla_core::SecretBytes;
use bulla_document::{Document, Kind, NodeId, Scalar, Step, Syntax};

use super::{Finding, What, contains, is_placeholder};

/// Looks for plain values in Secrets: in YAML and JSON as they read, in templates (Helm) by their lines.
pub(super) fn scan(path: &str, contents: &[u8]) -> Vec<Finding> {
    if !contains(contents, b"Secret") || !contains(contents, b"kind") || contains(contents, b"# kubesec:v:") {
        return Vec::new();
    }
    let Ok(text) = std::str::from_utf8(contents) else { return Vec::new() };
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let syntax = match extension.as_deref() {
        Some("json") => Syntax::Json,
        Some("yaml" | "yml" | "tpl") => Syntax::Yaml,
        _ => return Vec::new(),
    };
    match Document::parse(syntax, SecretBytes::from(contents)) {
        Ok(document) => in_document(&document),
        Err(_) => in_lines(text),
    }
}

fn in_document(document: &Document) -> Vec<Finding> {
    let nodes = document.roots().iter().flat_map(|root| document.subtree(*root));
    let mut findings = Vec::new();
    for secret in nodes.filter(|node| is_secret(document, *node)) {
        for field in ["data", "stringData"] {
            let Some(values) = document.child(secret, &Step::Key(field.to_owned())) else { continue };
            for value in document.children(values) {
                if document.kind(value) == Kind::Scalar && is_plain(field, &document.scalar(value)) {
                    let key = document.key(value).unwrap_or_default();
                    let what = What::Manifest { field: format!("{field}.{key}") };
                    findings.push(Finding { line: document.line(value), what });
                }
            }
        }
    }
    findings
}

/// Whether the node is a map with `kind: Secret` and the core API's version: at the top, or among a list's items.
fn is_secret(document: &Document, node: NodeId) -> bool {
    let text = |key: &str| {
        let child = document.child(node, &Step::Key(key.to_owned()))?;
        document.scalar(child).as_str().map(str::to_owned)
    };
    document.kind(node) == Kind::Map
        && text("kind").as_deref() == Some("Secret")
        && matches!(text("apiVersion").as_deref(), None | Some("v1"))
}

fn is_plain(field: &str, value: &Scalar<'_>) -> bool {
    let text = match value {
        Scalar::Null => return false,
        Scalar::Str(_) => value.as_str(),
        Scalar::Bool(_) | Scalar::Int(_) | Scalar::Float(_) | Scalar::Time(_) => return true,
    };
    let Some(text) = text else { return true };
    if is_placeholder(text) {
        return false;
    }
    let decoded = BASE64_STANDARD.decode(text.trim()).ok().map(zeroize::Zeroizing::new);
    let decoded = decoded.as_ref().and_then(|bytes| std::str::from_utf8(bytes).ok());
    !(field == "data" && decoded.is_some_and(is_placeholder))
}

/// What reads as no YAML because a template is in it: the entries below a top-level `data:` or `stringData:` of a part that says
/// `kind: Secret`.
fn in_lines(text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    let mut start = 0;
    while start < lines.len() {
        let end = lines[start..].iter().position(|line| line.trim_end() == "---").map_or(lines.len(), |at| start + at);
        let part = &lines[start..end];
        let is_kind = |line: &&str| {
            line.strip_prefix("kind:").is_some_and(|kind| kind.trim().trim_matches(['"', '\'']) == "Secret")
        };
        if part.iter().any(is_kind) {
            in_part(part, start, &mut findings);
        }
        start = end + 1;
    }
    findings
}

fn in_part(part: &[&str], before: usize, findings: &mut Vec<Finding>) {
    let mut field = None;
    for (index, line) in part.iter().enumerate() {
        if !line.starts_with([' ', '\t', '#', '{']) && !line.is_empty() {
            field = ["data", "stringData"].into_iter().find(|field| line.trim_end() == format!("{field}:"));
            continue;
        }
        let (Some(field), Some((key, value))) = (field, line.trim().split_once(": ")) else { continue };
        let value = value.trim().trim_matches(['"', '\'']);
        let is_block = value.starts_with(['|', '>']);
        if !key.starts_with('#') && !key.contains("{{") && !is_block && !is_placeholder(value) {
            let what = What::Manifest { field: format!("{field}.{key}") };
            findings.push(Finding { line: before + index + 1, what });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(findings: Vec<Finding>) -> Vec<(usize, String)> {
        let fields = findings.into_iter().map(|finding| match finding.what {
            What::Manifest { field } => (finding.line, field),
            other => (finding.line, format!("{other}")),
        });
        fields.collect()
    }

    #[test]
    fn a_template_that_is_no_yaml_is_read_by_its_lines() {
        let text = "{{- if .Values.x }}\napiVersion: v1\nkind: Secret\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  \
                    a: {{ .Values.a | b64enc }}\n  b: aHVudGVyMg==\n{{- end }}\n---\nkind: ConfigMap\ndata:\n  c: plain\n";
        assert_eq!(fields(in_lines(text)), [(8, "data.b".to_owned())]);
    }

    #[test]
    fn other_kinds_and_encrypted_values_are_not_looked_at() {
        assert_eq!(scan("a.yaml", b"kind: ConfigMap\nx: Secret\ndata:\n  a: b\n"), []);
        assert_eq!(scan("a.yaml", b"kind: Secret\ndata:\n  a: b\n# kubesec:v:3\n"), []);
        assert_eq!(scan("a.rs", b"kind: Secret\ndata:\n  a: b\n"), []);
    }
}
