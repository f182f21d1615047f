//! What all commands share: which program we are, the environment, the runtime, the key services.

use std::sync::{Arc, OnceLock};

use bulla_core::Env;
use bulla_core::env::ProcessEnv;
use tokio::runtime::Runtime;

use crate::cli::GlobalArgs;
use crate::config::Configs;
use crate::error::Failure;

/// Which program's habits are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Personality {
    /// Ours.
    Bulla,
    /// Those of sops: unknown file endings are binary, the configuration is looked for from the current folder.
    Sops,
    /// Those of kubeseal: JSON unless YAML is asked for, failures are status 1.
    Kubeseal,
}

/// The state of one run.
pub(crate) struct App {
    /// Which program's habits are kept.
    pub(crate) personality: Personality,
    /// The environment.
    pub(crate) env: Arc<dyn Env>,
    /// The flags that every command has.
    pub(crate) global: GlobalArgs,
    /// The configurations that were read.
    pub(crate) configs: Configs,
    runtime: OnceLock<Runtime>,
}

impl App {
    /// The state for a run with these flags.
    pub(crate) fn new(personality: Personality, global: GlobalArgs) -> Self {
        Self { personality, env: Arc::new(ProcessEnv), global, configs: Configs::default(), runtime: OnceLock::new() }
    }

    /// Runs a future to its end. The runtime is made when it is first needed: some commands finish sooner than it starts.
    ///
    /// Several threads may do so at the same time: whichever waits drives the sockets and timers of all.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Failure> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime.block_on(future));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::generic(format!("cannot start the asynchronous runtime: {error}")))?;
        let runtime = self.runtime.get_or_init(|| runtime);
        Ok(runtime.block_on(future))
    }

    /// Whether the habits of kubeseal are kept.
    pub(crate) fn is_kubeseal(&self) -> bool {
        self.personality == Personality::Kubeseal
    }

    /// Whether the habits of sops are kept.
    pub(crate) fn is_sops(&self) -> bool {
        self.personality == Personality::Sops
    }
}
