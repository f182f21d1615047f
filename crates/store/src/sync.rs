//! Files of a volume that are to become a Secret: what a node service and the operator say to each other about it.
//!
//! A node service may write no Secret: it would be one service account on all nodes that could overwrite every Secret of the cluster, and read it, since
//! an answer to a change has the whole object. So it sends the values to the operator, which looks at whose they are before it writes.
//!
//! ```text
//! POST /v1/sync                        over TLS 1.3, as [`crate::sealed::protocol`] has it
//! Authorization: Bearer TOKEN          the node service's own, for the audience bulla.dev/node
//! {"podToken": "…",                    the pod's, for the audience bulla.dev/pod
//!  "class": "database",                what the pod mounts
//!  "secret": "database",               one of the class's secretObjects
//!  "data": {"password": "BASE64"}}     its keys, and the files that they are made of
//!
//! 200 {}
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;

use bulla_core::{SecretBytes, SecretString};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::sealed::protocol::Base64;
use crate::sealed::{Authority, OpenError};

/// Where.
pub const PATH: &str = "/v1/sync";
/// The most that the values of one Secret may have, in bytes: what Kubernetes takes.
pub const MOST: usize = 1 << 20;
/// The longest request: those in base64, names and a token.
pub const LONGEST_REQUEST: usize = 2 << 20;

/// What is to be written, as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request<'a> {
    /// The token of the pod that mounts the files.
    #[serde(borrow)]
    pub pod_token: Cow<'a, str>,
    /// The class.
    pub class: String,
    /// The Secret's name.
    pub secret: String,
    /// Its keys and their values in base64: borrowed, so that no copy is left behind.
    #[serde(borrow)]
    pub data: BTreeMap<Cow<'a, str>, &'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    pod_token: &'a str,
    class: &'a str,
    secret: &'a str,
    data: BTreeMap<&'a str, Base64<'a>>,
}

impl Authority {
    /// Has a Secret written for a class that the pod of this token mounts.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn sync(
        &self,
        pod_token: &SecretString,
        class: &str,
        secret: &str,
        data: &BTreeMap<String, SecretBytes>,
    ) -> Result<(), OpenError> {
        // Room for all of it: growing would leave pieces behind.
        let values: usize = data.iter().map(|(key, value)| 6 * key.len() + value.len() / 3 * 4 + 16).sum();
        let mut body = Zeroizing::new(Vec::with_capacity(values + pod_token.expose().len() + 1024));
        let data = data.iter().map(|(key, value)| (key.as_str(), Base64(value))).collect();
        let request = Written { pod_token: pod_token.expose(), class, secret, data };
        serde_json::to_writer(&mut *body, &request).map_err(|error| OpenError::Setup(error.to_string()))?;
        self.send(PATH, Bytes::from_owner(body)).await.map(drop)
    }
}
