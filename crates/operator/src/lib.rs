//! Kubernetes controllers, one module each, on what `bulla-kube` has for all of them.

pub mod sealing;
