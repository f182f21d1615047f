//! Certificates and configurations for clients, as kubeadm lays them out: one authority for the cluster, one for the front
//! proxy, a client certificate for each component with the name and group that RBAC and the Node authorizer know.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use serde_json::json;

use super::state::{Cluster, write};

/// The API's own Service: the first address of the Services' range.
pub const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// Who a client is: common name, organisation.
struct Client<'a>(&'a str, Option<&'a str>);

/// Makes everything anew.
pub fn create(cluster: &Cluster) -> Result<()> {
    let folder = cluster.pki();
    std::fs::create_dir_all(&folder)?;
    let authority = Authority::create(&folder, "ca")?;
    let front_proxy = Authority::create(&folder, "front-proxy-ca")?;
    let api = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(API_SERVICE), IpAddr::V4(*cluster.api().ip())];
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    authority.server(&folder, "apiserver", &names, &api)?;
    authority.server(&folder, "etcd", &["localhost"], &[IpAddr::V4(Ipv4Addr::LOCALHOST)])?;
    authority.client(&folder, "etcd-client", &Client("kube-apiserver-etcd-client", None))?;
    authority.client(&folder, "kubelet-client", &Client("kube-apiserver-kubelet-client", None))?;
    front_proxy.client(&folder, "front-proxy-client", &Client("front-proxy-client", None))?;
    for (name, client) in [
        ("admin", Client("admin", Some("system:masters"))),
        ("controller-manager", Client("system:kube-controller-manager", None)),
        ("scheduler", Client("system:kube-scheduler", None)),
        ("proxy", Client("system:kube-proxy", None)),
    ] {
        authority.kubeconfig(cluster, &folder, name, &client)?;
    }
    for node in cluster.all_nodes() {
        authority.server(&node.folder, "kubelet", &[&node.name], &[IpAddr::V4(node.address)])?;
        let user = format!("system:node:{}", node.name);
        authority.kubeconfig(cluster, &node.folder, "node", &Client(&user, Some("system:nodes")))?;
    }
    let service_accounts = KeyPair::generate()?;
    write(&folder.join("sa.key"), &service_accounts.serialize_pem())?;
    write(&folder.join("sa.pub"), &service_accounts.public_key_pem())
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    fn create(folder: &Path, name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = named(&Client(name, None));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key)?.pem();
        write(&folder.join(format!("{name}.crt")), &certificate)?;
        write(&folder.join(format!("{name}.key")), &key.serialize_pem())?;
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    fn server(&self, folder: &Path, name: &str, names: &[&str], addresses: &[IpAddr]) -> Result<()> {
        let mut params = named(&Client(name, None));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            params.subject_alt_names.push(SanType::DnsName((*name).try_into().context("a DNS name")?));
        }
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        let (certificate, key) = self.sign(&params)?;
        write(&folder.join(format!("{name}.crt")), &certificate)?;
        write(&folder.join(format!("{name}.key")), &key)
    }

    fn client(&self, folder: &Path, name: &str, client: &Client) -> Result<()> {
        let (certificate, key) = self.sign(&client_params(client))?;
        write(&folder.join(format!("{name}.crt")), &certificate)?;
        write(&folder.join(format!("{name}.key")), &key)
    }

    /// A configuration with everything in it. It is JSON, which is YAML.
    fn kubeconfig(&self, cluster: &Cluster, folder: &Path, name: &str, client: &Client) -> Result<()> {
        let (certificate, key) = self.sign(&client_params(client))?;
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": cluster.name.to_string(), "cluster": {
                "server": format!("https://{}", cluster.api()),
                "certificate-authority-data": base64(self.certificate.as_bytes()),
            }}],
            "users": [{"name": name, "user": {
                "client-certificate-data": base64(certificate.as_bytes()),
                "client-key-data": base64(key.as_bytes()),
            }}],
            "contexts": [{"name": name, "context": {"cluster": cluster.name.to_string(), "user": name}}],
            "current-context": name,
        });
        write(&folder.join(format!("{name}.kubeconfig")), &config.to_string())
    }

    fn sign(&self, params: &CertificateParams) -> Result<(String, String)> {
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }
}

fn named(client: &Client) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, client.0);
    if let Some(organisation) = client.1 {
        params.distinguished_name.push(DnType::OrganizationName, organisation);
    }
    params
}

fn client_params(client: &Client) -> CertificateParams {
    let mut params = named(client);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
