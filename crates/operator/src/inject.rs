//! Environment variables from mounted volumes, for pods that ask for them: an admission webhook.
//!
//! A pod with the label `bulla.dev/env: "true"` gets what is typed by hand otherwise ([`patch`]): a volume for each class that its
//! annotations name, an init container that installs `bulla`, and `bulla env --` before the command of its container. No Secret is made, and no
//! registry is asked: a container whose command is its image's own cannot be wrapped, and the pod is refused with a word on what to write.
//!
//! **What it may do.** It sees pods with the label when they are made, and answers with a patch that only adds. It has no permission on
//! pods, classes or Secrets. The one object it writes beside its certificates' ConfigMap is its own webhook configuration, and of that
//! the certificates to believe ([`authority`]).
//!
//! **When it is away** pods with the label are not made (`failurePolicy: Fail`): a program that starts without its secrets is worse than
//! one that starts a moment later. Other pods never come here.

pub mod authority;
pub mod http;
pub mod patch;
pub mod pod;
pub mod review;
pub mod wish;

use serde_json::Value;

/// What is put into pods.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The image of the init container: this program's own.
    pub image: String,
    /// When nodes fetch it.
    pub pull_policy: String,
    /// The CSI driver of the volumes.
    pub driver: String,
    /// The `resources` of the init container.
    pub resources: Value,
    /// Namespaces whose pods are left alone.
    pub excluded: Vec<String>,
}
