//! Kubernetes controllers: one runtime for all of them, one module a controller.

pub mod api;
pub mod sealing;
