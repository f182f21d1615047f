//! The chart, installed by the real helm, and the image that it runs.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::{Namespace, Outcome, bulla, kubeconfig, kubectl_as, own_name, xtask};

/// The chart's folder.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/chart");

/// What [`bulla_image`] is called, without its tag.
const IMAGE: &str = "bulla.test/bulla";

/// Runs helm. It keeps nothing in the user's folders.
pub fn helm(arguments: &[&str]) -> Outcome {
    helm_as(&kubeconfig(), arguments)
}

fn helm_as(kubeconfig: &Path, arguments: &[&str]) -> Outcome {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(bulla_test_support::program("bin/helm"))
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .env("HELM_CACHE_HOME", home.path())
        .env("HELM_CONFIG_HOME", home.path())
        .env("HELM_DATA_HOME", home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Outcome::of(output)
}

/// Gives the cluster's nodes an image with bulla as it is now, built for tests. Answers the settings that make the chart run it.
///
/// It is the program alone, with this machine's C library; the image that is shipped runs in `cargo xtask image --run`.
pub fn bulla_image() -> [String; 2] {
    static LOADED: OnceLock<[String; 2]> = OnceLock::new();
    LOADED.get_or_init(|| bulla_image_for(&own_name())).clone()
}

/// Gives the cluster's nodes an image with a busybox in whose containers [`bulla`] as it is now can run. Answers its name.
pub fn busybox_for_bulla() -> &'static str {
    static LOADED: OnceLock<()> = OnceLock::new();
    let (image, program) = ("bulla.test/busybox-for-bulla:1", bulla());
    LOADED.get_or_init(|| {
        let arguments =
            ["load", "--name", &own_name(), "--image", image, "--ready-for", program.to_str().unwrap(), "/bin/busybox"];
        xtask(arguments).ok();
    });
    image
}

/// The same for another cluster of our own than the tests'.
pub fn bulla_image_for(cluster: &str) -> [String; 2] {
    let image = format!("{IMAGE}:dev");
    xtask(["load", "--name", cluster, "--image", &image, bulla().to_str().unwrap()]).ok();
    [format!("image.repository={IMAGE}"), "image.tag=dev".to_owned()]
}

/// Installs the custom resource definitions, once, for tests that install no chart or one without them.
pub fn definitions() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| definitions_for(&kubeconfig()));
}

/// The same for another API server than the cluster's.
pub fn definitions_for(kubeconfig: &Path) {
    let folder = format!("{CHART}/files/crds");
    let apply = ["apply", "--server-side", "--force-conflicts", "--filename", &folder];
    Outcome::of(kubectl_as(kubeconfig).args(apply).output().unwrap()).ok();
    let wait = ["wait", "--for=condition=Established", "--timeout=60s", "--filename", &folder];
    Outcome::of(kubectl_as(kubeconfig).args(wait).output().unwrap()).ok();
}

/// A release of the chart in a namespace, gone with the test.
pub struct Release<'a> {
    /// Its name.
    pub name: &'static str,
    namespace: &'a Namespace,
}

impl<'a> Release<'a> {
    /// The release of that name; nothing is installed yet.
    pub fn new(name: &'static str, namespace: &'a Namespace) -> Self {
        Self { name, namespace }
    }

    /// Installs or upgrades it, with these settings (`NAME=VALUE`) and no others.
    pub fn set(&self, settings: &[&str]) -> Outcome {
        let mut arguments = vec!["upgrade", "--install", self.name, CHART, "--namespace", &self.namespace.name];
        // The definitions may be another test's.
        arguments.extend(["--take-ownership", "--reset-values"]);
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        helm_as(&self.namespace.kubeconfig, &arguments)
    }

    /// Uninstalls it and waits until its objects are gone.
    pub fn uninstall(&self) -> Outcome {
        helm_as(
            &self.namespace.kubeconfig,
            &["uninstall", self.name, "--namespace", &self.namespace.name, "--wait", "--timeout", "60s"],
        )
    }

    /// The user that the operator is to the API server.
    pub fn operator(&self) -> String {
        format!("system:serviceaccount:{}:{}-bulla-operator", self.namespace.name, self.name)
    }

    /// What the chart would install with these settings.
    pub fn render(settings: &[&str]) -> Vec<Value> {
        let mut arguments = vec!["template", "r", CHART, "--namespace", "n"];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        serde_saphyr::from_multiple(&helm(&arguments).ok()).unwrap()
    }
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        // What it has outside of its namespace does not go with that.
        let uninstall = ["uninstall", self.name, "--namespace", &self.namespace.name, "--ignore-not-found"];
        let _ = helm_as(&self.namespace.kubeconfig, &uninstall);
    }
}
