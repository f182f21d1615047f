//! The command lines and configurations of a node's components.
//!
//! As a cluster in production has them (Node and RBAC authorizers, `NodeRestriction`, TLS with client certificates everywhere), but for
//! what a machine without `CAP_SYS_RESOURCE`, systemd and cgroup v2 asks for: containerd leaves out-of-memory scores alone
//! (`restrict_oom_score_adj`), the kubelet takes cgroup v1 and swap and makes no cgroups of its own above the pods', kube-proxy leaves
//! the limits of connection tracking alone.

use std::net::SocketAddr;

use anyhow::Result;
use serde_json::{Value, json};

use super::pki::API_SERVICE;
use super::state::{Cluster, Node, write};

/// The file in a node's folder that says [`After::ApiReady`].
pub const API_READY: &str = "api-ready";

/// The pause container's image.
pub const PAUSE: &str = "bulla.test/pause:1";

/// A program of a node, kept running by the node's first process.
#[derive(Debug)]
pub struct Component {
    /// Names its log.
    pub name: String,
    pub command: Vec<String>,
    /// What it waits for.
    pub after: Option<After>,
}

/// What a component waits for before it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Something listens there.
    Answers(SocketAddr),
    /// The API server has its first roles: what starts before is refused, ends, and costs a second or two.
    ApiReady,
}

impl Component {
    fn new(name: &str, command: Vec<String>) -> Self {
        Self { name: name.to_owned(), command, after: None }
    }

    fn after(mut self, after: After) -> Self {
        self.after = Some(after);
        self
    }

    /// As it is written down for the node's first process.
    pub fn to_json(&self) -> Value {
        let after = self.after.map(|after| match after {
            After::Answers(address) => address.to_string(),
            After::ApiReady => API_READY.to_owned(),
        });
        json!({"name": self.name, "command": self.command, "after": after})
    }

    /// Reads [`to_json`](Self::to_json).
    pub fn from_json(value: &Value) -> Option<Self> {
        let command = value["command"].as_array()?.iter().map(|word| word.as_str().map(str::to_owned));
        Some(Self {
            name: value["name"].as_str()?.to_owned(),
            command: command.collect::<Option<_>>()?,
            after: value["after"].as_str().and_then(|after| match after {
                API_READY => Some(After::ApiReady),
                address => address.parse().ok().map(After::Answers),
            }),
        })
    }
}

/// The components of a node, with their configurations written to its folder.
pub fn of(cluster: &Cluster, node: &Node) -> Result<Vec<Component>> {
    let mut components = Vec::new();
    if node.index == 1 {
        components.extend(control_plane(cluster));
    }
    let api = After::Answers(SocketAddr::V4(cluster.api()));
    let file = |name: &str| node.folder.join(name).display().to_string();
    write(&node.folder.join("containerd.toml"), &containerd(node))?;
    std::fs::create_dir_all(node.folder.join("cni"))?;
    write(&node.folder.join("cni/10-bulla.conflist"), &cni(node).to_string())?;
    write(&node.folder.join("kubelet.yaml"), &kubelet(cluster, node).to_string())?;
    components.push(Component::new("containerd", words(&["containerd", "--config", &file("containerd.toml")])));
    components.push(
        Component::new(
            "kubelet",
            kube(
                cluster,
                "kubelet",
                &[
                    ("config", file("kubelet.yaml")),
                    ("kubeconfig", file("node.kubeconfig")),
                    ("hostname-override", node.name.clone()),
                    ("node-ip", node.address.to_string()),
                ],
            ),
        )
        .after(api),
    );
    components.push(
        Component::new(
            "kube-proxy",
            kube(
                cluster,
                "kube-proxy",
                &[
                    ("kubeconfig", in_pki(cluster, "proxy.kubeconfig")),
                    ("hostname-override", node.name.clone()),
                    ("proxy-mode", "nftables".to_owned()),
                    ("cluster-cidr", cluster.pods()),
                    ("conntrack-max-per-core", "0".to_owned()),
                    ("conntrack-min", "0".to_owned()),
                    ("conntrack-tcp-timeout-established", "0s".to_owned()),
                    ("conntrack-tcp-timeout-close-wait", "0s".to_owned()),
                    ("oom-score-adj", "0".to_owned()),
                    ("healthz-bind-address", "127.0.0.1:10256".to_owned()),
                ],
            ),
        )
        .after(api),
    );
    Ok(components)
}

fn control_plane(cluster: &Cluster) -> Vec<Component> {
    let pki = |name: &str| in_pki(cluster, name);
    let etcd = After::Answers(SocketAddr::from(([127, 0, 0, 1], 2379)));
    let node = cluster.node(1);
    vec![
        Component::new(
            "etcd",
            kube(
                cluster,
                "etcd",
                &[
                    ("data-dir", node.folder.join("etcd").display().to_string()),
                    ("listen-client-urls", "https://127.0.0.1:2379".to_owned()),
                    ("advertise-client-urls", "https://127.0.0.1:2379".to_owned()),
                    ("listen-peer-urls", "http://127.0.0.1:2380".to_owned()),
                    ("cert-file", pki("etcd.crt")),
                    ("key-file", pki("etcd.key")),
                    ("client-cert-auth", "true".to_owned()),
                    ("trusted-ca-file", pki("ca.crt")),
                ],
            ),
        ),
        Component::new(
            "kube-apiserver",
            kube(
                cluster,
                "kube-apiserver",
                &[
                    ("advertise-address", node.address.to_string()),
                    ("secure-port", "6443".to_owned()),
                    ("etcd-servers", "https://127.0.0.1:2379".to_owned()),
                    ("etcd-cafile", pki("ca.crt")),
                    ("etcd-certfile", pki("etcd-client.crt")),
                    ("etcd-keyfile", pki("etcd-client.key")),
                    ("authorization-mode", "Node,RBAC".to_owned()),
                    ("enable-admission-plugins", "NodeRestriction".to_owned()),
                    ("allow-privileged", "true".to_owned()),
                    ("anonymous-auth", "true".to_owned()),
                    ("client-ca-file", pki("ca.crt")),
                    ("tls-cert-file", pki("apiserver.crt")),
                    ("tls-private-key-file", pki("apiserver.key")),
                    ("kubelet-client-certificate", pki("kubelet-client.crt")),
                    ("kubelet-client-key", pki("kubelet-client.key")),
                    ("kubelet-certificate-authority", pki("ca.crt")),
                    ("kubelet-preferred-address-types", "InternalIP".to_owned()),
                    ("proxy-client-cert-file", pki("front-proxy-client.crt")),
                    ("proxy-client-key-file", pki("front-proxy-client.key")),
                    ("requestheader-client-ca-file", pki("front-proxy-ca.crt")),
                    ("requestheader-allowed-names", "front-proxy-client".to_owned()),
                    ("requestheader-username-headers", "X-Remote-User".to_owned()),
                    ("requestheader-group-headers", "X-Remote-Group".to_owned()),
                    ("requestheader-extra-headers-prefix", "X-Remote-Extra-".to_owned()),
                    ("service-account-issuer", "https://kubernetes.default.svc".to_owned()),
                    ("service-account-key-file", pki("sa.pub")),
                    ("service-account-signing-key-file", pki("sa.key")),
                    ("service-cluster-ip-range", services()),
                ],
            ),
        )
        .after(etcd),
        Component::new(
            "kube-controller-manager",
            kube(
                cluster,
                "kube-controller-manager",
                &[
                    ("kubeconfig", pki("controller-manager.kubeconfig")),
                    ("authentication-kubeconfig", pki("controller-manager.kubeconfig")),
                    ("authorization-kubeconfig", pki("controller-manager.kubeconfig")),
                    ("bind-address", "127.0.0.1".to_owned()),
                    ("client-ca-file", pki("ca.crt")),
                    ("root-ca-file", pki("ca.crt")),
                    ("cluster-signing-cert-file", pki("ca.crt")),
                    ("cluster-signing-key-file", pki("ca.key")),
                    ("service-account-private-key-file", pki("sa.key")),
                    ("use-service-account-credentials", "true".to_owned()),
                    ("service-cluster-ip-range", services()),
                    ("leader-elect", "false".to_owned()),
                    // It starts sixty controllers, each with an account of its own: 180 requests, which the default of 20 a
                    // second makes six seconds.
                    ("kube-api-qps", "500".to_owned()),
                    ("kube-api-burst", "1000".to_owned()),
                ],
            ),
        )
        .after(After::ApiReady),
        Component::new(
            "kube-scheduler",
            kube(
                cluster,
                "kube-scheduler",
                &[
                    ("kubeconfig", pki("scheduler.kubeconfig")),
                    ("authentication-kubeconfig", pki("scheduler.kubeconfig")),
                    ("authorization-kubeconfig", pki("scheduler.kubeconfig")),
                    ("bind-address", "127.0.0.1".to_owned()),
                    ("leader-elect", "false".to_owned()),
                ],
            ),
        )
        .after(After::ApiReady),
    ]
}

fn kubelet(cluster: &Cluster, node: &Node) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": in_pki(cluster, "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": node.folder.join("kubelet.crt"),
        "tlsPrivateKeyFile": node.folder.join("kubelet.key"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", super::node::cgroup(node)),
        "failCgroupV1": false,
        "failSwapOn": false,
        "enforceNodeAllocatable": [],
        // What else fills the machine's disk is no reason to end tests' pods, or to take their images away.
        "evictionHard": {"imagefs.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "memory.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "oomScoreAdj": 0,
        // No name service: pods reach each other by Service addresses.
        "resolvConf": "",
        "volumePluginDir": "/var/lib/kubelet/volumeplugins",
        "nodeStatusUpdateFrequency": "2s",
        "syncFrequency": "10s",
        "shutdownGracePeriod": "0s",
    })
}

fn containerd(node: &Node) -> String {
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{}"
"#,
        node.folder.join("cni").display()
    )
}

/// A link of its own for each pod, routed: unlike a bridge this needs no help from the kernel's bridge filter for Services.
fn cni(node: &Node) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "bulla",
        "plugins": [
            {"type": "ptp", "mtu": 1500, "ipam": {
                "type": "host-local",
                "dataDir": "/run/cni",
                "ranges": [[{"subnet": node.pods}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            }},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

fn kube(cluster: &Cluster, component: &str, flags: &[(&str, String)]) -> Vec<String> {
    let mut command = vec![cluster.program().display().to_string(), component.to_owned()];
    command.extend(flags.iter().map(|(name, value)| format!("--{name}={value}")));
    command
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn in_pki(cluster: &Cluster, name: &str) -> String {
    cluster.pki().join(name).display().to_string()
}

fn services() -> String {
    let [a, b, ..] = API_SERVICE.octets();
    format!("{a}.{b}.0.0/16")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_read_as_it_was_written() {
        let component = Component::new("x", words(&["a", "b c"])).after(After::Answers(([10, 0, 0, 1], 5).into()));
        let read = Component::from_json(&component.to_json()).unwrap();
        assert_eq!((read.name, read.command, read.after), (component.name, component.command, component.after));
        let waits = Component::new("y", words(&["a"])).after(After::ApiReady);
        assert_eq!(Component::from_json(&waits.to_json()).unwrap().after, Some(After::ApiReady));
        assert!(Component::from_json(&json!({"name": "x"})).is_none());
    }
}
