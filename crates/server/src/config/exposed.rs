//! Files with keys that others may read.

use std::path::{Path, PathBuf};

use bulla_core::file::exposed_mode;

use super::{Config, Seal, Storage};

impl Config {
    /// What is to be said of files with a secret that group or others may read: keys of certificates, and `files`, which this configuration is
    /// from, if there is a key or a password in it. They are used all the same: where Kubernetes mounts a Secret, the mode is often the volume's.
    pub fn exposed(&self, files: &[PathBuf]) -> Vec<String> {
        let keys = self.listeners.iter().filter_map(|listener| Some((&listener.tls.as_ref()?.1, "a private key")));
        let files = if self.has_secret() { files } else { &[] };
        let own = files.iter().map(|path| (path, "a key or a password"));
        keys.chain(own).filter_map(|(path, what)| warning(path, what)).collect()
    }

    fn has_secret(&self) -> bool {
        let is_elsewhere = |place: &str| place.starts_with("file://") || place.starts_with("env://");
        let is_key = |seal: &Seal| match seal {
            Seal::Static { key, previous, .. } => {
                !is_elsewhere(key) || previous.as_ref().is_some_and(|(_, key)| !is_elsewhere(key))
            }
            Seal::Transit(_) | Seal::AwsKms(_) | Seal::Local(_) => false,
        };
        let has_password = match &self.storage {
            Storage::Postgresql(settings) => has_password(settings.url.expose()),
            Storage::Memory | Storage::Embedded(_) => false,
        };
        has_password || self.seals.iter().chain(&self.old_seals).any(is_key)
    }
}

/// Whether there is one in a `connection_url`, in either form.
fn has_password(url: &str) -> bool {
    let user = url.split_once("://").and_then(|(_, rest)| rest.split_once('@')).map(|(user, _)| user);
    url.contains("password") || user.is_some_and(|user| user.contains(':'))
}

fn warning(path: &Path, what: &str) -> Option<String> {
    let mode = std::fs::metadata(path).ok().as_ref().and_then(exposed_mode)?;
    let path = path.display();
    Some(format!("{path} holds {what} and others may read it (mode {mode:04o}); run: chmod 600 {path}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use crate::config::parse;

    #[test]
    fn keys_and_passwords_that_others_may_read_are_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let [own, key, certificate] = ["bulla.hcl", "key.pem", "cert.pem"].map(|name| folder.path().join(name));
        let set = |path: &std::path::Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        for path in [&own, &key, &certificate] {
            bulla_core::file::replace(path, b"", 0o600).unwrap();
            set(path, 0o644);
        }
        let listener = format!(
            "listener \"tcp\" {{ tls_cert_file = \"{}\"\ntls_key_file = \"{}\" }}\n",
            certificate.display(),
            key.display()
        );
        let of = |rest: &str| parse(&format!("{listener}{rest}")).unwrap().exposed(std::slice::from_ref(&own));
        let embedded = "storage \"embedded\" { path = \"/x\" }\n";
        let seal =
            |key: &str| format!("{embedded}seal \"static\" {{ current_key_id = \"1\"\ncurrent_key = \"{key}\" }}");
        let database = |url: &str| format!("storage \"postgresql\" {{ connection_url = \"{url}\" }}");
        let only = of(embedded);
        assert_eq!(only.len(), 1, "{only:?}");
        assert!(only[0].contains("key.pem holds a private key") && only[0].contains("mode 0644"), "{only:?}");
        set(&key, 0o600);
        for nothing in [
            embedded.to_owned(),
            seal("file:///key"),
            seal("env://KEY"),
            database("postgres://bulla@db/bulla"),
            database(""),
        ] {
            assert_eq!(of(&nothing), Vec::<String>::new(), "{nothing}");
        }
        let inline = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        for secret in [
            seal(inline),
            format!(
                "{}\nseal \"static\" {{ disabled = true\ncurrent_key_id = \"2\"\ncurrent_key = \"{inline}\" }}",
                seal("env://KEY")
            ),
            database("postgres://bulla:hunter2@db/bulla"),
            database("host=db user=bulla password=hunter2"),
        ] {
            let said = of(&secret);
            assert!(said.len() == 1 && said[0].contains("bulla.hcl holds a key or a password"), "{said:?}");
            assert!(!said[0].contains("hunter2") && !said[0].contains(inline), "{said:?}");
        }
        set(&own, 0o600);
        assert_eq!(of(&seal(inline)), Vec::<String>::new());
        assert_eq!(parse(&format!("{listener}{}", seal(inline))).unwrap().exposed(&[]), Vec::<String>::new());
    }
}
