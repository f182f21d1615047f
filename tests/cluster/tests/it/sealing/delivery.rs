//! SealedSecrets for volumes, as the operator opens them for node services: each claim of who may have what, tried out.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

use bulla_cluster_tests::{BUSYBOX, Namespace};
use bulla_core::SecretString;
use bulla_format::sealed::{Binding, PublicKey, Scope, seal_value};
use bulla_store::sealed::protocol::{CONFIG_MAP, Code, Kind, Wanted};
use bulla_store::sealed::{Authority, Object, OpenError, Trusted, trusted};
use bulla_test_support::{http, unused_address};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::sealer::client;
use super::{Keys, Operator, message, synced};

/// What nobody may read but the pod.
const SECRET: &str = "correct horse battery staple";
/// The annotations of an object for pods of the account `web`.
const FOR_WEB: [(&str, &str); 2] = [("bulla.dev/deliver", "volume"), ("bulla.dev/service-accounts", "web")];

/// A node service as the operator sees it, without a node.
struct Node<'a> {
    namespace: &'a Namespace,
    runtime: Runtime,
    folder: TempDir,
    address: String,
}

impl Node<'_> {
    /// The certificates that the API server names.
    fn trusted(&self) -> Trusted {
        let map = self.namespace.kubectl(&["get", "configmap", CONFIG_MAP, "--output", "json"]).ok();
        let map: Value = serde_json::from_str(&map).unwrap();
        let data: BTreeMap<String, String> = serde_json::from_value(map["data"].clone()).unwrap();
        trusted(&data, 0).0
    }

    fn ask_with(
        &self,
        trusted: Trusted,
        node: &str,
        pod: &str,
        name: &str,
        there: Option<&str>,
    ) -> Result<Object, OpenError> {
        let file = self.folder.path().join("token");
        fs::File::create(&file).and_then(|mut file| file.write_all(node.as_bytes())).unwrap();
        let (_tell, trusted) = watch::channel(trusted);
        let authority = Authority::new(&self.address, file, trusted).unwrap();
        let wanted = [Wanted { kind: Kind::default(), name: name.to_owned(), version: there.map(str::to_owned) }];
        let token = SecretString::from(pod);
        self.runtime.block_on(authority.open(&token, &wanted)).map(|mut objects| objects.remove(0))
    }

    fn ask(&self, node: &str, pod: &str, name: &str) -> Result<Object, OpenError> {
        self.ask_with(self.trusted(), node, pod, name, None)
    }

    #[track_caller]
    fn refused(&self, node: &str, pod: &str, name: &str) -> (Code, String) {
        match self.ask(node, pod, name) {
            Err(error) => (error.code(), error.to_string()),
            Ok(object) => panic!("{name} was opened: {:?}", object.version),
        }
    }
}

/// A pod that runs, or is only bound to a node.
fn pod(namespace: &Namespace, name: &str, account: &str, node: Option<&str>) {
    let spec = json!({
        "serviceAccountName": account,
        "nodeName": node,
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": BUSYBOX, "command": ["sleep", "600"]}],
    });
    namespace.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})).ok();
    if node.is_none() {
        namespace.wait_for_pod(name, "Running");
    }
}

fn token(namespace: &Namespace, account: &str, audience: &str, pod: Option<&str>) -> String {
    let bound = pod.map(|pod| format!("--bound-object-name={pod}"));
    let mut arguments = vec!["create", "token", account, "--audience", audience];
    if let Some(bound) = &bound {
        arguments.extend(["--bound-object-kind=Pod", bound]);
    }
    namespace.kubectl(&arguments).ok().trim().to_owned()
}

/// An object with one value, sealed to the newest key of an algorithm, with these annotations.
fn sealed(operator: &Operator, algorithm: &str, namespace: &str, name: &str, annotations: &[(&str, &str)]) -> Value {
    let (status, pem) = http(operator.api, "GET", &format!("/v1/cert.pem?algorithm={algorithm}"), &[], "");
    assert_eq!(status, 200, "{pem}");
    let key = PublicKey::from_pem(pem.as_bytes()).unwrap();
    let mut binding = Binding::new(Scope::Strict, namespace, name, "password");
    binding.delivery = annotations.iter().copied().collect();
    let value = seal_value(&key, &binding, SECRET.as_bytes()).unwrap();
    let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
    json!({
        "apiVersion": "bitnami.com/v1alpha1",
        "kind": "SealedSecret",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": {"encryptedData": {"password": value}},
    })
}

#[test]
fn a_node_gets_the_values_of_its_own_pods_and_nothing_else() {
    let (namespace, keys) = (Namespace::new("delivery"), Keys::new());
    let address = unused_address().to_string();
    let services = format!("--node-service-accounts={}/node", namespace.name);
    let listen = format!("--listen-nodes-addr={address}");
    let hybrid = ["--key-algorithm=rsa-4096", "--key-algorithm=x25519-mlkem768"];
    let operator = Operator::start(&namespace, &keys, "a", &[&services, &listen, hybrid[0], hybrid[1]]).ready();
    for account in ["node", "other", "web"] {
        namespace.kubectl(&["create", "serviceaccount", account]).ok();
    }
    let new = |algorithm: &str, name: &str, annotations: &[(&str, &str)]| {
        namespace.apply(&sealed(&operator, algorithm, &namespace.name, name, annotations)).ok();
    };
    new("x25519-mlkem768", "db", &FOR_WEB);
    new("x25519-mlkem768", "for-nobody", &FOR_WEB[..1]);
    new("x25519-mlkem768", "plain", &[]);
    // Somebody who may edit the object adds their own service account.
    let mut widened = sealed(&operator, "x25519-mlkem768", &namespace.name, "widened", &FOR_WEB);
    widened["metadata"]["annotations"]["bulla.dev/service-accounts"] = json!("web,other");
    namespace.apply(&widened).ok();

    pod(&namespace, "service", "node", None);
    pod(&namespace, "web", "web", None);
    pod(&namespace, "other", "other", None);
    pod(&namespace, "far", "web", Some("another-node"));
    let (runtime, _) = client(&bulla_cluster_tests::kubeconfig());
    let node =
        Node { namespace: &namespace, runtime, folder: TempDir::new().unwrap(), address: format!("https://{address}") };
    namespace.eventually("the certificate", || {
        namespace.kubectl(&["get", "configmap", CONFIG_MAP]).success && !node.trusted().is_empty()
    });
    let service = token(&namespace, "node", "bulla.dev/node", Some("service"));
    let web = token(&namespace, "web", "bulla.dev/pod", Some("web"));

    // The one pod gets it, once for each version.
    let object = node.ask(&service, &web, "db").unwrap();
    assert_eq!(object.data.unwrap()["password"].expose(), SECRET.as_bytes());
    let again = node.ask_with(node.trusted(), &service, &web, "db", Some(&object.version)).unwrap();
    assert!(again.data.is_none() && again.version == object.version);
    // No Secret is ever made of it, and its status says that it opens.
    namespace.eventually("the status", || synced(&namespace, "db") == "True");
    assert!(!namespace.kubectl(&["get", "secret", "db"]).success);
    namespace.eventually("the other's Secret", || namespace.kubectl(&["get", "secret", "plain"]).success);

    // Another pod, another object, another node.
    let other = token(&namespace, "other", "bulla.dev/pod", Some("other"));
    let far = token(&namespace, "web", "bulla.dev/pod", Some("far"));
    for (pod, name, code, says) in [
        (&other, "db", Code::Denied, "not for service account other"),
        (&web, "for-nobody", Code::Denied, "not for service account web"),
        (&web, "plain", Code::Denied, "not for volumes"),
        (&web, "none", Code::NotFound, "does not exist"),
        (&other, "widened", Code::DoesNotOpen, "password"),
        (&web, "widened", Code::DoesNotOpen, "password"),
        (&far, "db", Code::Denied, "does not run on node"),
    ] {
        let (refused, message) = node.refused(&service, pod, name);
        assert!(refused == code && message.contains(says), "{name}: {refused:?} {message}");
    }
    namespace.eventually("what was widened", || synced(&namespace, "widened") == "False");
    assert!(message(&namespace, "widened").contains("password"), "{}", message(&namespace, "widened"));

    // Tokens of the wrong kind: for somebody else, not bound, nobody's.
    let own = token(&namespace, "web", "bulla.dev/node", Some("web"));
    let loose_service = token(&namespace, "node", "bulla.dev/node", None);
    let loose = token(&namespace, "web", "bulla.dev/pod", None);
    let general = token(&namespace, "web", "https://kubernetes.default.svc", Some("web"));
    for (service, pod, code) in [
        (&own, &web, Code::Denied),
        (&loose_service, &web, Code::Denied),
        (&service, &loose, Code::Denied),
        (&service, &general, Code::Unauthenticated),
        (&service, &service, Code::Unauthenticated),
        (&web, &web, Code::Unauthenticated),
        (&"x".to_owned(), &web, Code::Unauthenticated),
        (&service, &"x".to_owned(), Code::Unauthenticated),
    ] {
        let (refused, message) = node.refused(service, pod, "db");
        assert_eq!(refused, code, "{message}");
    }

    // A pod that is gone.
    namespace.kubectl(&["delete", "pod", "web", "--wait"]).ok();
    namespace.eventually(
        "the token of a pod that is gone",
        || matches!(node.ask(&service, &web, "db"), Err(error) if error.code() == Code::Unauthenticated),
    );

    // Whoever answers with another certificate is not the operator.
    let stranger = rcgen::generate_simple_self_signed(["bulla-sealing".to_owned()]).unwrap();
    let stranger: Trusted = [stranger.cert.der().clone()].into();
    let error = node.ask_with(stranger, &service, &other, "db", None).unwrap_err();
    assert!(error.to_string().contains("cannot be reached"), "{error}");

    // Everything is in the audit log, and no value or token anywhere.
    let log = operator.log();
    let audit: Vec<&str> = log.lines().filter(|line| line.contains("bulla::audit")).collect();
    let has = |words: &[&str]| audit.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(
        has(&["opened for a pod", "\"object\":\"db\"", "\"service_account\":\"web\"", "\"pod\":\"web\"", "password"]),
        "{log}"
    );
    assert!(has(&["refused to a pod", "\"object\":\"db\"", "\"service_account\":\"other\""]), "{log}");
    for secret in [SECRET, &web, &service, &other] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
}
