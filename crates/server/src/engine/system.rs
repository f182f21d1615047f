//! `sys/`: the server itself, for whoever has a token. (What needs none and works while it is sealed is answered by [`crate::http`].)

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::core::{Link, Open};
use crate::logical::{Access, Engine, Field, Kind, Operation, Result, Route};

mod audit;
mod capabilities;
mod keys;
mod leases;
mod locked;
pub(crate) mod metrics;
mod mounts;
mod passwords;
mod policies;
mod quotas;
mod rekey;
mod root;
mod server;
mod show;
mod snapshot;
mod tools;
mod ui;
mod wrapping;

/// The engine.
pub struct System {
    link: Link,
    moves: Mutex<VecDeque<mounts::Move>>,
}

impl System {
    /// One that finds the server by `link`.
    pub fn new(link: &Link) -> Self {
        Self { link: link.clone(), moves: Mutex::default() }
    }

    fn open(&self) -> Result<Arc<Open>> {
        self.link.open()
    }
}

/// A path with functions as handlers.
macro_rules! route {
    ($route:expr $(, $operation:ident => $handler:path)* $(,)?) => {
        $route$(.on(Operation::$operation, |engine, call| Box::pin($handler(engine, call))))*
    };
}

const PATH: Field = Field::new("path", Kind::Text, "The path of the mount.");
const POLICY: Field = Field::new("policy", Kind::Text, "The policy, also in base64.");
const NAME: Field = Field::new("name", Kind::LowerText, "The name of the policy.");
const POLICY_FIELDS: &[Field] = &[
    NAME,
    POLICY,
    Field::new("rules", Kind::Text, "The same, as older clients name it."),
    Field::new("cas", Kind::Int, "Refused: policies have no check-and-set here."),
    Field::new("cas_required", Kind::Bool, "Refused if true."),
    Field::new("expiration", Kind::Text, "Refused: policies have no end here."),
    Field::new("ttl", Kind::Seconds, "Refused: policies have no end here."),
    Field::new("allow_slashes_in_identity_templates", Kind::Bool, "Refused if true."),
    Field::new("allow_wildcards_in_identity_templates", Kind::Bool, "Refused if true."),
];
const OLD_PATHS: Field = Field::new("path", Kind::Texts, "The same, as older clients name it.");
const TOKEN: Field = Field::new("token", Kind::Text, "The token.");
const LEASE: Field = Field::new("lease_id", Kind::Text, "The lease.");
const INCREMENT: Field = Field::new("increment", Kind::Seconds, "How long it is to live from now.");

const MOUNT: &[Field] = &[
    PATH,
    Field::new("type", Kind::Text, "Which engine."),
    Field::new("description", Kind::Text, "What people call it by."),
    Field::new("config", Kind::Map, "What can be tuned."),
    Field::new("options", Kind::TextMap, "Options of the engine."),
    Field::new("local", Kind::Bool, "Kept, without effect."),
    Field::new("seal_wrap", Kind::Bool, "Kept, without effect: all entries are encrypted alike."),
    Field::new("external_entropy_access", Kind::Bool, "Without effect."),
    Field::new("plugin_name", Kind::Text, "The type, as older clients name it."),
    Field::new("plugin_version", Kind::Text, "Without effect: there are no plugins."),
    // Of `…/tune`.
    Field::new("default_lease_ttl", Kind::Text, "How long what it gives out lives."),
    Field::new("max_lease_ttl", Kind::Text, "How long at most."),
    Field::new("listing_visibility", Kind::Text, "`unauth` shows it to who has no token."),
    Field::new("token_type", Kind::Text, "How tokens of logins are kept."),
    Field::new("user_lockout_config", Kind::Map, "When names are locked out, and for how long."),
    Field::new("passthrough_request_headers", Kind::Texts, "Headers that are given to the engine."),
    Field::new("allowed_response_headers", Kind::Texts, "Headers that it may set."),
    Field::new("audit_non_hmac_request_keys", Kind::Texts, "Fields of requests that audit records show."),
    Field::new("audit_non_hmac_response_keys", Kind::Texts, "Fields of answers that audit records show."),
];

#[async_trait]
impl Engine for System {
    const ABOUT: &'static str = "The server itself: mounts, policies, leases, wrapped answers, audit, keys.";

    fn routes() -> Vec<Route<Self>> {
        let route = Route::<Self>::new;
        let paths = &[PATH][..];
        vec![
            route!(route("mounts/?", "What is mounted"), Read => mounts::list_secret),
            route!(route("mounts/{path*}", "Mount, unmount, tune").fields(MOUNT),
                Read => mounts::read_secret, Update => mounts::mount_secret, Delete => mounts::unmount_secret),
            route!(route("auth/?", "The auth methods"), Read => mounts::list_auth),
            route!(route("auth/{path*}", "Enable, disable, tune").fields(MOUNT).access(Access::Sudo),
                Read => mounts::read_auth, Update => mounts::mount_auth, Delete => mounts::unmount_auth),
            route!(route("remount", "Move a mount").access(Access::Sudo)
                .fields(const { &[Field::new("from", Kind::Text, "From."), Field::new("to", Kind::Text, "To.")] }),
                Update => mounts::remount),
            route!(route("remount/status/{migration_id}", "Whether a mount was moved")
                .fields(const { &[Field::new("migration_id", Kind::Text, "What moving it answered.")] }),
                Read => mounts::remount_status),
            route!(route("policy/?", "The policies"), Read => policies::list_old, List => policies::list_old),
            route!(route("policy/{name*}", "A policy").fields(POLICY_FIELDS),
                Read => policies::read_old, Update => policies::write, Delete => policies::delete),
            route!(route("policies/acl/?", "The policies"), List => policies::list),
            route!(route("policies/acl/{name*}", "A policy").fields(POLICY_FIELDS),
                Read => policies::read, Update => policies::write, Delete => policies::delete),
            route!(route("policies/detailed/acl/?", "The policies, with what they say"), List => policies::list_whole),
            route!(route("policies/password/?", "The password policies"), List => passwords::list),
            route!(route("policies/password/{name*}", "A password policy, or a password by it").fields(const { &[
                Field::new("name", Kind::Text, "The name of the policy; with `/generate` behind it a password is made up."), POLICY]}),
                Read => passwords::read, Update => passwords::write, Delete => passwords::delete),
            route!(route("capabilities", "What a token may do").fields(const { &[
                TOKEN, OLD_PATHS, Field::new("paths", Kind::Texts, "On which paths.")] }), Update => capabilities::of_token),
            route!(route("capabilities-self", "What the caller may do").fields(const { &[
                TOKEN, OLD_PATHS, Field::new("paths", Kind::Texts, "On which paths.")] }), Update => capabilities::of_caller),
            route!(route("capabilities-accessor", "What the token with an accessor may do").fields(const { &[
                Field::new("accessor", Kind::Text, "The accessor."), OLD_PATHS, Field::new("paths", Kind::Texts, "On which paths.")] }),
                Update => capabilities::of_accessor),
            route!(route("leases", "Leases that could not be taken back").access(Access::Sudo)
                .fields(const { &[Field::new("type", Kind::Text, "`irrevocable`.")] }), Read => leases::irrevocable),
            route!(route("leases/lookup", "A lease").fields(&[LEASE]), Update => leases::lookup),
            route!(route("leases/lookup/{prefix*}", "Leases below a path").access(Access::Sudo), List => leases::list),
            route!(route("leases/renew/?", "Renew a lease").fields(&[LEASE, INCREMENT]), Update => leases::renew),
            route!(route("leases/renew/{lease_id*}", "Renew a lease").fields(&[LEASE, INCREMENT]), Update => leases::renew),
            route!(route("renew/?", "Renew a lease").fields(&[LEASE, INCREMENT]), Update => leases::renew),
            route!(route("renew/{lease_id*}", "Renew a lease").fields(&[LEASE, INCREMENT]), Update => leases::renew),
            route!(route("leases/revoke/?", "Take a lease back").fields(const { &[LEASE, Field::new("sync", Kind::Bool, "Always so here.")] }), Update => leases::revoke),
            route!(route("leases/revoke/{lease_id*}", "Take a lease back").fields(&[LEASE]), Update => leases::revoke),
            route!(route("revoke/?", "Take a lease back").fields(&[LEASE]), Update => leases::revoke),
            route!(route("revoke/{lease_id*}", "Take a lease back").fields(&[LEASE]), Update => leases::revoke),
            route!(route("leases/revoke-prefix/{prefix*}", "Take back all leases below a path").access(Access::Sudo), Update => leases::revoke_prefix),
            route!(route("revoke-prefix/{prefix*}", "Take back all leases below a path").access(Access::Sudo), Update => leases::revoke_prefix),
            route!(route("leases/revoke-force/{prefix*}", "Forget all leases below a path").access(Access::Sudo), Update => leases::revoke_force),
            route!(route("leases/tidy", "Look for what is left of leases").access(Access::Sudo), Update => leases::tidy),
            route!(route("leases/count", "How many leases there are").access(Access::Sudo)
                .fields(const { &[Field::new("type", Kind::Text, "`irrevocable`.")] }), Read => leases::count),
            route!(route("locked-users", "Who is locked out").fields(&[locked::ACCESSOR]), Read => locked::list),
            route!(route("locked-users/{mount_accessor}/unlock/{alias_identifier*}", "Let somebody log in again"), Update => locked::unlock),
            route!(route("quotas/config", "What holds for all quotas").fields(quotas::CONFIG), Read => quotas::config, Update => quotas::configure),
            route!(route("quotas/rate-limit/?", "The quotas").fields(quotas::RULE), List => quotas::list),
            route!(route("quotas/rate-limit/{name}", "A quota").fields(quotas::RULE),
                Read => quotas::read, Update => quotas::write, Delete => quotas::delete),
            route!(route("metrics", "What the server counts").fields(metrics::FORMAT), Read => metrics::read),
            route!(route("wrapping/wrap", "Wrap what is sent").any_field(), Update => wrapping::wrap),
            route!(route("wrapping/unwrap", "The wrapped answer").fields(&[TOKEN]), Update => wrapping::unwrap),
            route!(route("wrapping/lookup", "When an answer was wrapped").fields(&[TOKEN]).access(Access::Open),
                Read => wrapping::lookup, Update => wrapping::lookup),
            route!(route("wrapping/rewrap", "Wrap a wrapped answer anew").fields(&[TOKEN]), Update => wrapping::rewrap),
            route!(route("internal/ui/mounts/?", "What the caller may see of what is mounted").access(Access::Open), Read => ui::mounts),
            route!(route("internal/ui/mounts/{path*}", "The mount of a path").fields(paths).access(Access::Open), Read => ui::mount),
            route!(route("internal/ui/resultant-acl", "All that the caller may do"), Read => ui::acl_handler),
            route!(route("internal/specs/openapi", "All paths, as OpenAPI has them").access(Access::Open), Read => ui::openapi, Update => ui::openapi),
            route!(route("audit", "The audit devices").access(Access::Sudo), Read => audit::list),
            route!(route("audit/{path*}", "An audit device").access(Access::Sudo), Update => audit::enable, Delete => audit::disable),
            route!(route("audit-hash/{path*}", "A text as an audit device writes it").fields(const { &[
                PATH, Field::new("input", Kind::Text, "The text.")] }), Update => audit::hash),
            route!(route("config/auditing/request-headers", "Headers in audit records").access(Access::Sudo), Read => audit::headers),
            route!(route("config/auditing/request-headers/{header}", "A header in audit records").fields(audit::HEADER).access(Access::Sudo),
                Read => audit::header, Update => audit::set_header, Delete => audit::remove_header),
            route!(route("key-status", "The newest term of the keyring"), Read => keys::status),
            route!(route("rotate", "Begin a new term").access(Access::Sudo), Update => keys::rotate),
            route!(route("rotate/keyring", "Begin a new term").access(Access::Sudo), Update => keys::rotate),
            route!(route("generate-root/attempt", "A root token from shares of the key").fields(root::ATTEMPT).access(Access::Open),
                Read => root::status_bare, Update => root::begin_bare, Delete => root::cancel),
            route!(route("generate-root/update", "Give a share").fields(root::SHARE).access(Access::Open), Update => root::give_bare),
            route!(route("generate-root-token/attempt", "A root token from shares of the key").fields(root::ATTEMPT),
                Read => root::status, Update => root::begin_token, Delete => root::cancel),
            route!(route("generate-root-token/update", "Give a share").fields(root::SHARE), Update => root::give),
            route!(route("decode-token", "Show an encoded root token").fields(root::DECODE).access(Access::Open), Update => root::decode),
            rekey_init("rekey/init").access(Access::Open),
            rekey_update("rekey/update").access(Access::Open),
            rekey_verify("rekey/verify").access(Access::Open),
            rekey_init("rekey-recovery-key/init").access(Access::Open),
            rekey_update("rekey-recovery-key/update").access(Access::Open),
            rekey_verify("rekey-recovery-key/verify").access(Access::Open),
            rekey_backup("rekey/backup"),
            rekey_backup("rekey/recovery-key-backup"),
            route!(route("rotate/root", "A new root key").access(Access::Sudo), Update => rekey::rotate_root_key),
            rekey_init("rotate/root/init"),
            rekey_update("rotate/root/update"),
            rekey_verify("rotate/root/verify"),
            rekey_backup("rotate/root/backup"),
            // With no recovery key yet, nobody has to agree.
            rekey_init("rotate/recovery/init").access(Access::Sudo),
            rekey_update("rotate/recovery/update"),
            rekey_verify("rotate/recovery/verify"),
            rekey_backup("rotate/recovery/backup"),
            rotation("rotate/keyring/config"),
            rotation("rotate/config"),
            route!(route("ha-status", "The servers on this storage"), Read => server::nodes),
            route!(route("step-down", "Let another server take over").access(Access::Sudo), Update => server::step_down),
            route!(route("version-history/?", "Which versions have opened this storage").access(Access::Sudo), List => server::versions),
            route!(route("storage/raft/snapshot", "All of the storage, in one file"), Read => snapshot::save),
            route!(route("seal", "Forget all keys").access(Access::Sudo), Update => keys::seal),
            route!(route("config/reload/{subsystem}", "Read the configuration again").access(Access::Sudo), Update => keys::reload),
            route!(route("tools/random/?", "Random bytes").fields(tools::RANDOM), Update => tools::random),
            route!(route("tools/random/{source}", "Random bytes").fields(tools::RANDOM), Update => tools::random),
            route!(route("tools/random/{source}/{urlbytes}", "Random bytes").fields(tools::RANDOM), Update => tools::random),
            route!(route("tools/hash/?", "The hash of a text").fields(tools::HASH), Update => tools::hash),
            route!(route("tools/hash/{urlalgorithm}", "The hash of a text").fields(tools::HASH), Update => tools::hash),
            route!(route("plugins/catalog/?", "What can be mounted"), Read => ui::catalog),
        ]
    }
}

fn rotation(pattern: &'static str) -> Route<System> {
    route!(Route::<System>::new(pattern, "When terms begin by themselves").fields(keys::CONFIG).access(Access::Sudo),
        Read => keys::config, Update => keys::configure)
}

fn rekey_init(pattern: &'static str) -> Route<System> {
    route!(Route::<System>::new(pattern, "New shares of the key, and a new key").fields(rekey::INIT),
        Read => rekey::status, Update => rekey::begin, Delete => rekey::cancel)
}

fn rekey_update(pattern: &'static str) -> Route<System> {
    route!(Route::<System>::new(pattern, "Give a share of the old key").fields(root::SHARE), Update => rekey::give)
}

fn rekey_verify(pattern: &'static str) -> Route<System> {
    route!(Route::<System>::new(pattern, "Give a share of the new key").fields(root::SHARE),
        Read => rekey::verification, Update => rekey::verify, Delete => rekey::restart)
}

fn rekey_backup(pattern: &'static str) -> Route<System> {
    route!(Route::<System>::new(pattern, "Shares that were encrypted for PGP keys"), Read => rekey::backup, Delete => rekey::delete_backup)
}
