//! Kubernetes manifests of `kind: Secret` whose values are not encrypted.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bulla_core::SecretBytes;
use bulla_document::{Document, Kind, NodeId, Scalar, Step, Syntax};

use super::{BYTE_ORDER_MARK, Finding, What, contains, is_placeholder};

/// Looks for plain values in Secrets: in YAML and JSON as they read, in templates (Helm) by their lines. And for those that
/// kustomize is told to make Secrets of.
pub(super) fn scan(path: &str, contents: &[u8]) -> Vec<Finding> {
    let is_manifest = contains(contents, b"Secret") && contains(contents, b"kind");
    if !is_manifest && !contains(contents, GENERATOR.as_bytes()) || contains(contents, b"# kubesec:v:") {
        return Vec::new();
    }
    let Some(syntax) = syntax(path) else { return Vec::new() };
    let text = contents.strip_prefix(b"\xef\xbb\xbf").unwrap_or(contents);
    match Document::parse(syntax, SecretBytes::from(text)) {
        Ok(document) => in_document(&document),
        Err(_) => in_lines(&String::from_utf8_lossy(text)),
    }
}

/// By the last ending that is one of a manifest: a template may have another behind it (`secret.yaml.j2`).
fn syntax(path: &str) -> Option<Syntax> {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    name.rsplit('.').find_map(|ending| match ending {
        "json" => Some(Syntax::Json),
        "yaml" | "yml" | "tpl" => Some(Syntax::Yaml),
        _ => None,
    })
}

/// kustomize's list of Secrets to make; their `literals` are `name=value`.
const GENERATOR: &str = "secretGenerator";

fn in_document(document: &Document) -> Vec<Finding> {
    let nodes = || document.roots().iter().flat_map(|root| document.subtree(*root));
    let child = |node, key: &str| document.child(node, &Step::Key(key.to_owned()));
    let scalars = |node| document.subtree(node).filter(|node| document.kind(*node) == Kind::Scalar);
    let mut findings = Vec::new();
    let mut found = |node, field: String| {
        findings.push(Finding { line: document.line(node), what: What::Manifest { field } });
    };
    for secret in nodes().filter(|node| is_secret(document, *node)) {
        for field in ["data", "stringData"] {
            // What a merge key (`<<`) brings stands deeper.
            for value in child(secret, field).into_iter().flat_map(scalars) {
                if is_plain(field, &document.scalar(value)) {
                    found(value, format!("{field}.{}", document.key(value).unwrap_or_default()));
                }
            }
        }
    }
    for list in document.roots().iter().filter_map(|root| child(*root, GENERATOR)) {
        for literal in document.children(list).filter_map(|item| child(item, "literals")).flat_map(scalars) {
            let scalar = document.scalar(literal);
            let Some((name, value)) = scalar.as_str().and_then(|literal| literal.split_once('=')) else { continue };
            if !is_placeholder(value.trim_matches(['"', '\''])) {
                found(literal, format!("{GENERATOR}.literals.{name}"));
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

/// What reads as no YAML because a template is in it: the entries below a `data:` or `stringData:` of a part that says
/// `kind: Secret`.
fn in_lines(text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines: Vec<&str> = text.trim_start_matches(BYTE_ORDER_MARK).lines().collect();
    let mut start = 0;
    while start < lines.len() {
        let end = lines[start..].iter().position(|line| is_separator(line)).map_or(lines.len(), |at| start + at);
        let part = &lines[start..end];
        let is_kind = |line: &&&str| entry(line).is_some_and(|(key, kind)| key == "kind" && kind == "Secret");
        let depths: Vec<usize> = part.iter().filter(is_kind).map(|line| depth(line)).collect();
        if !depths.is_empty() {
            in_part(part, &depths, start, &mut findings);
        }
        start = end + 1;
    }
    findings
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r']))
}

/// How deep a line's key stands; that of a list's item behind the dash.
fn depth(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t', '-']).len()
}

/// `depths`: those of `kind: Secret`, beside which the fields stand.
fn in_part(part: &[&str], depths: &[usize], before: usize, findings: &mut Vec<Finding>) {
    // The field that the lines are in, and how deep it stands.
    let mut field: Option<(&str, usize)> = None;
    // Lines up to this one are done with.
    let mut done = 0;
    for (index, line) in part.iter().enumerate() {
        let text = line.trim();
        // What a template's commands stand on has no depth.
        let is_command = text.starts_with("{{") && text.ends_with("}}");
        if index < done || text.is_empty() || text.starts_with('#') || is_command {
            continue;
        }
        let deep = depth(line);
        if field.is_some_and(|(_, above)| deep <= above) {
            field = None;
        }
        let Some((key, value)) = entry(line) else { continue };
        let Some((field, _)) = field else {
            if ["data", "stringData"].contains(&key) && depths.contains(&deep) {
                field = Some((key, deep));
            }
            continue;
        };
        let mut found = |line| {
            let what = What::Manifest { field: format!("{field}.{key}") };
            findings.push(Finding { line: before + line + 1, what });
        };
        if value.starts_with(['|', '>']) {
            let block = &part[index + 1..];
            let end = block.iter().position(|line| !line.trim().is_empty() && depth(line) <= deep);
            let block = &block[..end.unwrap_or(block.len())];
            // One that a template has a part in is looked at line by line.
            if !block.iter().any(|line| line.contains("{{")) && block.iter().any(|line| !is_placeholder(line)) {
                found(index + 1);
                done = index + 1 + block.len();
            }
        } else if !key.contains("{{") && !is_placeholder(value) {
            found(index);
        }
    }
}

/// `key: value`, with quotes around either, and a comment or a comma behind.
fn entry(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let line = line.strip_prefix("- ").unwrap_or(line).trim_start();
    // JSON needs no space behind the colon.
    let quoted = line.strip_prefix('"').and_then(|rest| rest.split_once('"'));
    let (key, value) = match quoted.and_then(|(key, rest)| Some((key, rest.trim_start().strip_prefix(':')?))) {
        Some(entry) => entry,
        None => line.strip_suffix(':').map(|key| (key, "")).or_else(|| line.split_once(": "))?,
    };
    let value = value.split(" #").next().unwrap_or(value).trim().trim_end_matches(',');
    let quotes = ['"', '\''];
    (!key.starts_with('#')).then(|| (key.trim().trim_matches(quotes), value.trim_matches(quotes)))
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
    fn a_template_hides_nothing_behind_quotes_comments_blocks_and_depth() {
        let text = "{{- range .Values.x }}\n--- # next\n  \"kind\": \"Secret\" # of {{ . }}\n  stringData: # plain\n    'a': 'hunter2'\n\
                    {{- if .y }}\n    b: |-\n      hunter2\n    c: |\n      [x]\n      y={{ .z }}\n{{- end }}\n    d: ${D}\n  type: Opaque\n{{- end }}\n";
        assert_eq!(fields(in_lines(text)), [(5, "stringData.a".to_owned()), (8, "stringData.b".to_owned())]);
    }

    #[test]
    fn what_a_merge_key_brings_and_what_kustomize_makes_are_secrets_too() {
        let merged = "kind: Secret\nstringData:\n  <<: {a: hunter2}\n  b: ENC[x]\n";
        assert_eq!(fields(scan("a.yaml", merged.as_bytes())), [(3, "stringData.a".to_owned())]);
        let made = "secretGenerator:\n- name: x\n  envs: [.env]\n  literals:\n  - a=hunter2\n  - b=${B}\n";
        assert_eq!(fields(scan("kustomization.yaml", made.as_bytes())), [(5, "secretGenerator.literals.a".to_owned())]);
    }

    #[test]
    fn json_with_comments_and_a_template_s_second_ending_are_looked_at() {
        let json = "// c\n{\n  \"kind\":\"Secret\",\n  \"data\": {\n    \"a\":\"aHVudGVyMg==\"}\n}\n";
        assert_eq!(fields(scan("a.json", json.as_bytes())), [(5, "data.a".to_owned())]);
        assert_eq!(scan("a.yaml.j2", b"kind: Secret\ndata:\n  a: b\n").len(), 1);
    }

    #[test]
    fn other_kinds_and_encrypted_values_are_not_looked_at() {
        assert_eq!(scan("a.yaml", b"kind: ConfigMap\nx: Secret\ndata:\n  a: b\n"), []);
        assert_eq!(scan("a.yaml", b"kind: Secret\ndata:\n  a: b\n# kubesec:v:3\n"), []);
        assert_eq!(scan("a.rs", b"kind: Secret\ndata:\n  a: b\n"), []);
    }
}
