//! `.env` files: variables whose names or values are those of secrets.

use super::{BYTE_ORDER_MARK, Finding, What, is_placeholder};

/// Endings of files that show which variables there are, without their values.
const MODELS: [&str; 7] = ["example", "sample", "template", "tpl", "dist", "defaults", "schema"];

/// Parts of names that secrets have.
const SECRET_NAMES: [&str; 12] = [
    "PASS",
    "PWD",
    "SECRET",
    "TOKEN",
    "APIKEY",
    "API_KEY",
    "PRIVATE_KEY",
    "ACCESS_KEY",
    "CREDENTIAL",
    "_DSN",
    "CONNECTION_STRING",
    "_KEY",
];

/// Parts of names whose values are public, or only say where the secret is.
const PUBLIC_NAMES: [&str; 6] = ["PUBLIC", "_FILE", "_PATH", "KEY_ID", "_TTL", "_EXPIR"];

/// Looks for variables with plain secrets, if the file's name is that of a `.env` file.
pub(super) fn scan(path: &str, contents: &[u8]) -> Vec<Finding> {
    if !is_dotenv(path) {
        return Vec::new();
    }
    let lines = contents.split(|&byte| byte == b'\n').enumerate();
    lines
        .filter_map(|(index, line)| {
            let line = String::from_utf8_lossy(line);
            let (name, value) = assignment(line.trim_start_matches(BYTE_ORDER_MARK))?;
            is_secret(name, value).then(|| Finding { line: index + 1, what: What::Variable { name: name.to_owned() } })
        })
        .collect()
}

fn is_dotenv(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let dotenv = name == ".env"
        || name == ".envrc"
        || name.starts_with(".env.")
        || name.rsplit_once('.').is_some_and(|(_, extension)| extension == "env");
    dotenv && !name.split('.').any(|part| MODELS.contains(&part))
}

/// `NAME=value`, with or without `export` before it and quotes around the value.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let line = line.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then(|| (name, value.trim().trim_matches(['"', '\''])))
}

fn is_secret(name: &str, value: &str) -> bool {
    if is_placeholder(value) {
        return false;
    }
    let name = name.to_ascii_uppercase();
    let named = SECRET_NAMES.iter().any(|part| name.contains(part)) || name == "KEY";
    named && !PUBLIC_NAMES.iter().any(|part| name.contains(part)) || has_password(value)
}

/// Whether the value is a URL with a password in it: `scheme://user:password@host`.
fn has_password(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let Some((user_info, _)) = authority.rsplit_once('@') else { return false };
    user_info.split_once(':').is_some_and(|(_, password)| !is_placeholder(password))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str, text: &str) -> Vec<String> {
        let names = scan(path, text.as_bytes()).into_iter().map(|finding| match finding.what {
            What::Variable { name } => name,
            other => format!("{other}"),
        });
        names.collect()
    }

    #[test]
    fn secrets_are_known_by_name_and_by_password_in_a_url() {
        let text = "# DB\nPORT=80\nDB_PASSWORD=hunter2\nexport API_TOKEN='x1'\nURL=postgres://u:p4ss@h/db\n\
                    DB_PASSWORD_FILE=/run/x\nPUBLIC_KEY=abc\nEMPTY_SECRET=\nOTHER_SECRET=${FROM}\nURL2=http://h/\n";
        assert_eq!(names("deploy/.env", text), ["DB_PASSWORD", "API_TOKEN", "URL"]);
    }

    #[test]
    fn a_byte_order_mark_and_bytes_that_are_no_text_hide_nothing() {
        let text = b"\xef\xbb\xbfA_SECRET=x1\r\nexport\t B_SECRET = 'p\xe4ss'\r\n";
        let lines: Vec<usize> = scan(".env", text).into_iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [1, 2]);
    }

    #[test]
    fn only_files_of_variables_are_looked_at_and_not_their_models() {
        for path in [".env", "a/.env.prod", "prod.env", ".envrc", ".env.distro"] {
            assert_eq!(names(path, "A_SECRET=1\n").len(), 1, "{path}");
        }
        for path in [".env.example", "sample.env.dist", "env.rs", "environment"] {
            assert_eq!(names(path, "A_SECRET=1\n").len(), 0, "{path}");
        }
    }
}
