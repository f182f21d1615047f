//! Kubernetes: the [custom resources](api), and what every process that speaks to an API server shares: the client, watches, leases
//! and shards, the queue, writing, metrics, health, HTTP.
//!
//! A controller is a type that implements [`Controller`]; [`Operator`] runs it. A change of an object goes: [`watch`] tells of it,
//! [`store`] remembers a note of it, the controller says what is [due](Controller::due), the [`queue`] orders it, a worker of the
//! [`driver`] takes it if it is in this replica's [share](shards) and the API server is [there](gate), and calls
//! [`reconcile`](Controller::reconcile).

pub mod api;
pub mod apply;
pub use bulla_core::backoff;
pub mod client;
pub mod conditions;
pub mod controller;
pub mod driver;
pub mod events;
pub mod gate;
pub mod health;
pub mod http;
pub mod key;
pub mod leader;
pub mod lease;
pub mod membership;
pub mod metrics;
pub mod operator;
pub mod queue;
pub mod shards;
pub mod stop;
pub mod store;
mod waiting;
pub mod watch;

pub use controller::{Controller, Done, Due, Failure, FailureKind, Job, Known, SecretSeen};
pub use driver::Handle;
pub use key::ObjectKey;
pub use operator::{Operator, Options, Sharing, StartError};
pub use watch::{Namespaces, Selectors};
