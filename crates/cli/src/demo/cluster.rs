//! `demo --cluster`: a secret on its way from Git into a pod of a real cluster, and then a look into every place on that way.
//!
//! First as it is mostly done, with a Secret: that is the control, in which the look must find it. Then with bulla, where it must be in
//! the one pod's volume and process, and nowhere else. Each value is a new random one.

mod api;
mod node;
mod objects;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use bulla_core::{SecretBytes, SecretString};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use sha2::{Digest, Sha256};

use self::api::Cluster;
use self::node::Node;
use self::objects::{Installation, Way};
use super::look::{Look, Moment, Place, Secret};
use super::narrator::{Narrator, Step, Talk};
use super::report::{self, Expected, Run};
use crate::error::Failure;
use crate::exit::Code;

/// How long a pod may take to run.
const PATIENCE: Duration = Duration::from_mins(2);
/// What kubelets and caches may still be about to write.
const SETTLE: Duration = Duration::from_secs(3);

/// What the journey is told.
#[derive(Debug)]
pub(crate) struct Options {
    /// The kubeconfig file.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Its context.
    pub(crate) context: Option<String>,
    /// Whether etcd's files, the node's files and the memory of its processes are looked into.
    pub(crate) node: bool,
    /// The namespace to use instead of a new one.
    pub(crate) namespace: Option<String>,
    /// Whether what was made stays.
    pub(crate) keep: bool,
    /// How it is told.
    pub(crate) talk: Talk,
}

/// Runs the journey. The status is not 0 if the secret was where it must not be, or the control did not find what is there.
///
/// # Errors
/// If bulla is not installed in the cluster, or a step fails.
pub(crate) async fn run(client: Client, options: Options) -> Result<Code, Failure> {
    if options.node && !rustix::process::geteuid().is_root() {
        return Err(Failure::generic("the node's files and the memory of its processes are open to root alone")
            .with_hint("run it as root on the node that runs the pods and etcd, or with --without-node"));
    }
    let stage = tempfile::Builder::new()
        .prefix(super::FOLDER)
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()
        .map_err(|error| Failure::generic(format!("cannot make a temporary folder: {error}")))?;
    let top = fs::canonicalize(stage.path()).map_err(|error| Failure::generic(error.to_string()))?;
    let began = Moment::of(&top).map_err(|error| Failure::generic(format!("{}: {error}", top.display())))?;
    let cluster = Cluster::new(client);
    let installation = cluster.installation(options.namespace.as_deref()).await?;
    let namespace = match &options.namespace {
        Some(namespace) => namespace.clone(),
        None => format!("bulla-demo-{}", &random()?.expose()[..8]),
    };
    let journey =
        Journey { narrator: Narrator::new(options.talk, &top)?, cluster, installation, namespace, top, began, options };
    let runs = journey.both().await;
    if !journey.options.keep {
        journey.clean_up().await?;
    }
    let runs = runs?;
    let notes = journey.notes();
    report::print(journey.options.talk, &runs, &notes, None)?;
    Ok(if runs.iter().all(Run::is_as_expected) { Code::Success } else { Code::Generic })
}

/// What the pod of the journey runs: says the hash of its password, to show that it has it, and waits for its end.
///
/// # Errors
/// If it has none.
pub(crate) fn application() -> Result<Code, Failure> {
    let password = std::env::var("PASSWORD").map(SecretString::from);
    let password = password.map_err(|_| Failure::generic("the variable PASSWORD is missing"))?;
    crate::output::print(format!("{}\n", hash(password.expose())).as_bytes())?;
    loop {
        std::thread::park();
    }
}

struct Journey {
    narrator: Narrator,
    cluster: Cluster,
    installation: Installation,
    namespace: String,
    top: PathBuf,
    began: Moment,
    options: Options,
}

impl Journey {
    async fn both(&self) -> Result<Vec<Run>, Failure> {
        let say = &self.narrator;
        if self.options.namespace.is_none() {
            self.cluster.apply(&objects::namespace(&self.namespace)).await?;
        }
        self.cluster.apply(&objects::account(&self.namespace)).await?;

        say.title("1. With a Secret: the control. The look must find the password, or it proves nothing later.")?;
        let password = random()?;
        say.comment("kubectl create secret generic database --from-literal=password=…")?;
        self.cluster.apply_secret(&objects::secret(&self.namespace, &password)).await?;
        let plain = self.start_and_look(Way::Secret, &password).await?;

        say.title("2. With bulla: ciphertext in Git, ciphertext in etcd, opened for one pod.")?;
        let password = random()?;
        self.seal(&password).await?;
        self.cluster.apply(&objects::class(&self.namespace)).await?;
        say.excerpt_of("class.yaml", &objects::class(&self.namespace), 14)?;
        let sealed = self.start_and_look(Way::Volume(self.installation.driver.clone()), &password).await?;

        let mut found = vec![Place::Api, Place::Etcd, Place::PodFiles, Place::PodMemory, Place::OtherMemory];
        let mut allowed = vec![Place::PodFiles, Place::PodMemory];
        if !self.options.node {
            found.retain(|place| *place == Place::Api);
            allowed.clear();
        }
        let expected = if allowed.is_empty() { Expected::Nothing } else { Expected::Found(allowed) };
        Ok(vec![
            Run { name: "with a Secret", looks: plain, expected: Expected::Found(found) },
            Run { name: "with bulla", looks: sealed, expected },
        ])
    }

    /// Seals the password as one would, and applies the result.
    async fn seal(&self, password: &SecretString) -> Result<(), Failure> {
        let say = &self.narrator;
        let mut arguments = vec![
            "seal",
            "--algorithm=x25519-mlkem768",
            "--controller-namespace",
            &self.installation.namespace,
            "--controller-name",
            &self.installation.service,
        ];
        let kubeconfig = self.options.kubeconfig.as_ref().map(|path| path.to_string_lossy().into_owned());
        if let Some(kubeconfig) = &kubeconfig {
            arguments.extend(["--kubeconfig", kubeconfig]);
        }
        if let Some(context) = &self.options.context {
            arguments.extend(["--context", context]);
        }
        let manifest = objects::manifest(&self.namespace, password);
        let sealed = say.run_with_input(&self.top, &Step::new("bulla", &arguments), manifest.expose().as_bytes())?;
        let path = self.top.join("database.yaml");
        bulla_core::file::replace(&path, sealed.as_bytes(), 0o644)
            .map_err(|error| Failure::generic(error.to_string()))?;
        say.comment("kubectl apply -f database.yaml -f class.yaml -f pod.yaml")?;
        say.excerpt(&path, 16)?;
        self.cluster.apply_text(&sealed).await
    }

    /// Starts the pod, sees that it has the password, and looks while it runs.
    async fn start_and_look(&self, way: Way, password: &SecretString) -> Result<Vec<Look>, Failure> {
        let pod = objects::pod(&self.namespace, &self.installation.image, &way);
        if way != Way::Secret {
            self.narrator.excerpt_of("pod.yaml", &pod, 30)?;
        }
        self.cluster.apply(&pod).await?;
        let pods: Api<Pod> = self.cluster.pods(&self.namespace);
        let pod = self.cluster.running(&pods, way.pod(), PATIENCE).await?;
        let uid = pod.metadata.uid.unwrap_or_default();
        let said = self.cluster.first_line(&pods, way.pod(), PATIENCE).await?;
        if said != hash(password.expose()) {
            return Err(Failure::generic(format!(
                "the pod {} does not have the password: it said {said:?}",
                way.pod()
            )));
        }
        self.narrator.comment("  the pod runs, and has said the hash of its password")?;
        tokio::time::sleep(SETTLE).await;
        let secret = [Secret::new("password", password.expose())];
        let mut looks = vec![self.cluster.look(&secret).await?];
        if self.options.node {
            let (began, top) = (self.began, self.top.clone());
            let look = tokio::task::spawn_blocking(move || Node::new(&uid, began, &top).look(&secret)).await;
            looks.extend(look.map_err(|_| Failure::generic("the look into the node did not end"))??);
        }
        self.cluster.delete_pod(&pods, way.pod()).await?;
        Ok(looks)
    }

    async fn clean_up(&self) -> Result<(), Failure> {
        if self.options.namespace.is_none() {
            return self.cluster.delete(&objects::namespace(&self.namespace)).await;
        }
        let ways = [Way::Secret, Way::Volume(String::new())];
        let pods = ways.map(|way| objects::pod(&self.namespace, "", &way));
        for object in pods.iter().chain(&objects::others(&self.namespace)) {
            self.cluster.delete(object).await?;
        }
        Ok(())
    }

    fn notes(&self) -> String {
        let mut notes = String::new();
        if self.options.node {
            notes.push_str(
                "\nThe pod's volume is memory of the node, and so is its process: who is root on a node can read what its pods have.\n",
            );
        } else {
            notes.push_str(
                "\nNot looked into: etcd's files, the node's files, the memory of its processes (--without-node).\n",
            );
        }
        if self.options.keep {
            notes.push_str(&format!("\nLook around: kubectl --namespace {} get all\n", self.namespace));
        } else {
            notes.push_str("\nWhat was made is deleted; --keep leaves it to look around in.\n");
        }
        notes
    }
}

fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Thirty-two hexadecimal digits.
fn random() -> Result<SecretString, Failure> {
    let bytes = SecretBytes::random(16).map_err(|error| Failure::generic(format!("no random numbers: {error}")))?;
    Ok(SecretString::from(bytes.expose().iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}
