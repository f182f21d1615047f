//! The objects that are worked on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bulla_format::sealed::{Algorithm, Binding, Certificate, PrivateKey, Scope, seal_value, self_signed};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// The keys of an installation, newest first.
pub struct Ring(Vec<Key>);

/// A key and its certificate.
pub struct Key {
    private: PrivateKey,
    pub certificate: Certificate,
}

/// Which keys of the ring the values are sealed to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// The newest alone: what was sealed since the last renewal.
    Newest,
    /// Each as often as any other: what has been sealed over a year.
    All,
}

impl Spread {
    /// For the table.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Newest => "12 keys in the ring, sealed to the newest",
            Self::All => "12 keys in the ring, sealed to all of them",
        }
    }
}

impl Ring {
    /// Keys of RSA-4096, a month apart, the newest an hour old.
    pub fn generate(count: u32) -> Result<Self> {
        let now = Timestamp::now();
        let key = |age: u32| {
            let private = PrivateKey::generate(Algorithm::Rsa)?;
            let not_before = now - SignedDuration::from_hours(1 + i64::from(age) * 24 * 30);
            let certificate = self_signed(&private, "", not_before, now + SignedDuration::from_hours(24 * 3650))?;
            anyhow::Ok(Key { private, certificate })
        };
        Ok(Self((0..count).map(key).collect::<Result<_>>()?))
    }

    /// The newest key.
    pub fn newest(&self) -> &Key {
        &self.0[0]
    }

    /// The Secrets that the keys are kept in, as sealed-secrets makes them.
    pub fn secrets(&self) -> Result<Vec<Value>> {
        self.0.iter().enumerate().map(|(index, key)| key.secret(index)).collect()
    }

    /// A SealedSecret of `values` values, sealed for its namespace and name.
    pub fn sealed(&self, namespace: &str, index: usize, values: usize, spread: Spread) -> Result<Value> {
        let key = match spread {
            Spread::Newest => self.newest(),
            Spread::All => &self.0[index % self.0.len()],
        };
        let name = format!("sealed-{index:05}");
        let mut data = BTreeMap::new();
        for value in 0..values {
            let item = format!("key-{value}");
            let binding = Binding::new(Scope::Strict, namespace, &name, &item);
            let plain = format!("the value of {item} in {name}, thirty-two bytes and more");
            data.insert(item.clone(), seal_value(key.private.public_key(), &binding, plain.as_bytes())?);
        }
        Ok(json!({
            "apiVersion": "bitnami.com/v1alpha1",
            "kind": "SealedSecret",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"encryptedData": data, "template": {"metadata": {"name": name, "namespace": namespace}}},
        }))
    }
}

impl Key {
    pub const fn private(&self) -> &PrivateKey {
        &self.private
    }

    fn secret(&self, index: usize) -> Result<Value> {
        let key = self.private.to_pem()?;
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {
                "name": format!("sealed-secrets-key{index:02}"),
                "labels": {"sealedsecrets.bitnami.com/sealed-secrets-key": "active"},
            },
            "data": {
                "tls.crt": BASE64.encode(self.certificate.to_pem()),
                "tls.key": BASE64.encode(key.expose()),
            },
        }))
    }
}

/// A Secret of somebody else, of 2 KiB.
pub fn foreign(index: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": format!("foreign-{index:05}")},
        "data": {"value": BASE64.encode([b'x'; 2048])},
    })
}

/// The manifest of a plain Secret.
pub fn plain_secret(keys: usize) -> Result<String> {
    let mut text = String::from("apiVersion: v1\nkind: Secret\nmetadata:\n  name: example\n  namespace: team\ndata:\n");
    for key in 0..keys {
        writeln!(text, "  key-{key}: {}", BASE64.encode(format!("the value of key {key}, forty bytes of it or so")))
            .context("a text")?;
    }
    Ok(text)
}
