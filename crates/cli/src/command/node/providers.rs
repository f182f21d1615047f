//! Settings of the providers that are built in.

mod vault;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bulla_kube::Operator;
use bulla_node::cluster::trust;
use bulla_node::provider::{Provider, Sealed, sealed, vault as vault_provider};
use bulla_node::volume::Limits;
use bulla_store::sealed::{Authority, Trusted};
use clap::Args;
use tokio::sync::watch;

use self::vault::VaultArgs;
use crate::app::App;
use crate::error::Failure;

/// Which there are, and whom they ask.
#[derive(Args, Debug)]
pub(in crate::command) struct ProviderArgs {
    #[command(flatten)]
    sealed: SealedArgs,

    #[command(flatten)]
    vault: VaultArgs,
}

/// Who opens SealedSecrets for volumes.
#[derive(Args, Debug)]
#[command(next_help_heading = "Provider sealed")]
struct SealedArgs {
    /// The sealing operator's address for node services; without it there is no provider `sealed`
    #[arg(long = "sealing-operator", value_name = "https://HOST:PORT")]
    operator: Option<String>,

    /// The sealing operator's namespace, where it names its certificates (default: this pod's)
    #[arg(long = "sealing-namespace", value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// The file with this service's token for the sealing operator
    #[arg(long = "sealing-token", value_name = "FILE", default_value = "/var/run/secrets/bulla.dev/node/token")]
    token: PathBuf,
}

/// What is built in.
pub(in crate::command) struct BuiltIn {
    /// The providers.
    pub(in crate::command) named: BTreeMap<String, Arc<dyn Provider>>,
    /// Who writes Secrets of mounted files, if that is wanted.
    pub(in crate::command) secrets: Option<Authority>,
}

impl ProviderArgs {
    /// Those that are configured, and what else asks the operator: `sync`, at its address.
    ///
    /// # Errors
    /// An address that is none, or a namespace that is not known.
    pub(in crate::command) fn built_in(
        &self,
        app: &App,
        operator: &mut Operator,
        limits: Limits,
        sync: Option<&str>,
    ) -> Result<BuiltIn, Failure> {
        let (tell, trusted) = watch::channel::<Trusted>([].into());
        let authority = |address: Option<&str>| {
            let authority = |address| Authority::new(address, self.sealed.token.clone(), trusted.clone());
            address.map(authority).transpose().map_err(|error| Failure::generic(error.to_string()))
        };
        let (opener, secrets) = (authority(self.sealed.operator.as_deref())?, authority(sync)?);
        if opener.is_some() || secrets.is_some() {
            let namespace = self.sealed.namespace.clone().or_else(|| app.env.text("POD_NAMESPACE"));
            let namespace = namespace.filter(|namespace| !namespace.is_empty()).ok_or_else(|| {
                Failure::generic("the sealing operator's namespace is not known")
                    .with_hint("give it with --sealing-namespace")
            })?;
            operator.add_task(trust::follow(operator.client(), namespace, operator.gate(), tell));
        }
        let mut named = BTreeMap::<String, Arc<dyn Provider>>::new();
        if let Some(authority) = opener {
            named.insert(sealed::NAME.to_owned(), Arc::new(Sealed::new(authority, limits)));
        }
        if let Some(vault) = self.vault.provider(limits) {
            operator.add_task(vault.sweep());
            named.insert(vault_provider::NAME.to_owned(), Arc::new(vault));
        }
        Ok(BuiltIn { named, secrets })
    }
}
