//! Keys in files as Kubernetes mounts them: root's, for a group of the pod's to read, behind two links.

use std::fs::{Permissions, set_permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use bulla_test_support::{http, unused_address};

const USER: u32 = 65532;
const GROUP: u32 = 2000;

/// A volume with a key, and a storage of the user's.
struct World(tempfile::TempDir);

impl World {
    fn new(mode: u32, group: u32) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test gives files to other users and runs a server as one: it needs to be root"
        );
        let folder = tempfile::tempdir().unwrap();
        set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("volume/..2026_11_26")).unwrap();
        let key = at("volume/..2026_11_26/key");
        std::fs::File::create(&key).unwrap().write_all("ab".repeat(32).as_bytes()).unwrap();
        chown(&key, Some(0), Some(group)).unwrap();
        set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        symlink("..2026_11_26", at("volume/..data")).unwrap();
        symlink("..data/key", at("volume/key")).unwrap();
        std::fs::create_dir(at("data")).unwrap();
        chown(at("data"), Some(USER), Some(USER)).unwrap();
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs the server as a pod's user, with this group beside its own, until it answers. Whether it did, and what it said.
    fn serves(&self, group: u32) -> (bool, Output) {
        self.serves_with(group, &[("KUBERNETES_SERVICE_HOST", "127.0.0.1")])
    }

    fn serves_with(&self, group: u32, variables: &[(&str, &str)]) -> (bool, Output) {
        let address = unused_address();
        let config = self.path().join("server.hcl");
        let text = format!(
            "listener \"tcp\" {{\n  address = \"{address}\"\n  tls_disable = true\n}}\nstorage \"embedded\" {{ path = \"{0}/data\" }}\nseal \"static\" {{\n  current_key_id = \"1\"\n  current_key = \"file://{0}/volume/key\"\n}}\n",
            self.path().display(),
        );
        std::fs::File::create(&config).unwrap().write_all(text.as_bytes()).unwrap();
        let mut child = Command::new("setpriv")
            .args([format!("--reuid={USER}"), format!("--regid={USER}"), format!("--groups={group}")])
            .arg(env!("CARGO_BIN_EXE_bulla"))
            .args(["server", "-config"])
            .arg(&config)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answered = false;
        while !answered && child.try_wait().unwrap().is_none() {
            answered = http(address, "GET", "/v1/sys/health", &[], "").0 == 501;
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        (answered, child.wait_with_output().unwrap())
    }
}

#[test]
fn a_key_that_root_gave_to_a_group_of_the_pod_opens_the_server() {
    for mode in [0o440, 0o640] {
        let (answered, output) = World::new(mode, GROUP).serves(GROUP);
        assert!(answered, "{mode:o}: {output:?}");
        // Outside of a pod the groups beside its own are those of people.
        let (answered, output) = World::new(mode, GROUP).serves_with(GROUP, &[]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!answered && text.contains("can be read by others"), "{mode:o}: {text}");
        let (answered, output) = World::new(mode, USER).serves_with(GROUP, &[]);
        assert!(answered, "{mode:o}: {output:?}");
    }
}

#[test]
fn one_that_others_can_read_or_write_is_refused_with_what_to_write_in_the_pod() {
    for mode in [0o444, 0o460, 0o644] {
        let (answered, output) = World::new(mode, GROUP).serves(GROUP);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!answered && text.contains("defaultMode: 0400") && text.contains("fsGroup"), "{mode:o}: {text}");
        assert!(!text.contains("abab"), "{text}");
    }
    // It is root's, and for nobody else.
    let (answered, output) = World::new(0o400, 0).serves(GROUP);
    assert!(!answered && String::from_utf8_lossy(&output.stderr).contains("denied"), "{output:?}");
}
