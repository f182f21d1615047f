//! The container image that is shipped: nothing but the static binary, for a user without privileges and a read-only root.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::json;

use crate::image::{Entry, Image};
use crate::{cluster, dist, sbom};

/// The image's name, written out as `docker load` and Kubernetes understand `bulla:latest`.
const NAME: &str = "docker.io/library/bulla:latest";

/// The most that the image may weigh as it is shipped, in bytes.
const BUDGET: u64 = 40_000_000;

/// The same without link-time optimisation.
const FAST_BUDGET: u64 = 78_000_000;

/// The user that it runs as. Numeric, so that Kubernetes can tell that it is not root (`runAsNonRoot`).
const USER: &str = "65532:65532";

/// Builds the binary and writes the image and its bill of materials under `target/image`. Answers the image's file.
pub fn write(root: &Path, profile: dist::Profile) -> Result<PathBuf> {
    let binary = dist::build(root, profile)?;
    let folder = root.join("target/image");
    fs::create_dir_all(&folder)?;
    let file = folder.join("bulla.oci.tar");
    let image = Image {
        name: NAME,
        entries: vec![
            Entry::Folder { path: "bin/".to_owned(), mode: 0o755 },
            Entry::program("bin/bulla", &binary)?,
            link("sops"),
            link("kubeseal"),
            link("sealed-secrets-controller"),
            link("vault"),
            link("bao"),
        ],
        config: json!({
            "Entrypoint": ["/bin/bulla"],
            "User": USER,
            "Env": ["PATH=/bin"],
            "Labels": {"org.opencontainers.image.licenses": "Apache-2.0", "org.opencontainers.image.title": "bulla"},
        }),
    };
    let digest = image.write(&file)?;
    let size = fs::metadata(&file)?.len();
    let budget = match profile {
        dist::Profile::Release => FAST_BUDGET,
        dist::Profile::Dist => BUDGET,
    };
    println!("image: {size} bytes of {budget} ({} %), {digest}, {}", size * 100 / budget, file.display());
    if size > budget {
        bail!("the image is over its budget");
    }
    let bill = folder.join("bulla.cdx.json");
    serde_json::to_writer_pretty(fs::File::create(&bill)?, &sbom::of_binary(root)?)?;
    println!("image: made of what {} lists", bill.display());
    Ok(file)
}

/// Another name of the program, under which it has that program's command line.
fn link(name: &str) -> Entry {
    Entry::Link { path: format!("bin/{name}"), target: "bulla".to_owned() }
}

/// Runs the image in a cluster of its own, in a namespace that enforces the `restricted` standard, with a read-only root.
pub fn run(root: &Path, image: &Path) -> Result<()> {
    cluster::with("image", root, |cluster| {
        cluster.import(image)?;
        cluster.apply(&json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": "restricted", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }))?;
        let account = ["get", "serviceaccount", "default", "--namespace", "restricted"];
        cluster::wait_for("the service account", || cluster.kubectl(account).quiet())?;
        cluster.apply(&json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "bulla", "namespace": "restricted"},
            "spec": {
                "restartPolicy": "Never",
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "bulla",
                    "image": NAME,
                    "imagePullPolicy": "Never",
                    "args": ["version"],
                    "securityContext": {
                        "readOnlyRootFilesystem": true,
                        "allowPrivilegeEscalation": false,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }],
            },
        }))?;
        let phase = ["get", "pod", "bulla", "--namespace", "restricted", "--output", "jsonpath={.status.phase}"];
        cluster::wait_for("the pod's end", || {
            cluster.kubectl(phase).output().is_ok_and(|phase| phase == b"Succeeded")
        })?;
        let log = cluster.kubectl(["logs", "bulla", "--namespace", "restricted"]).output()?;
        println!("image: ran in a restricted pod: {}", String::from_utf8_lossy(&log).trim());
        Ok(())
    })
}
