//! Kubernetes controllers, one module each, on what `bulla-kube` has for all of them.

pub mod inject;
pub mod nodes;
pub mod sealing;
pub mod sync;
pub mod tls;
