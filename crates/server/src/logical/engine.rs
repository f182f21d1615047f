//! The trait behind which every secrets engine and every auth method stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::route::Route;
use super::{Auth, Call, Described, Error, Input, MountInfo, Operation, Response, Result, Tree};
use crate::barrier::View;

/// A secrets engine or an auth method. One folder each, and a line in the catalog.
#[async_trait]
pub trait Engine: Send + Sync + Sized + 'static {
    /// What it is, for help.
    const ABOUT: &'static str;

    /// Whether its `login` is by a role, for which there can be quotas.
    const HAS_ROLES: bool = false;

    /// Its paths.
    fn routes() -> Vec<Route<Self>>;

    /// The role that a login with these fields is by, whether it succeeds or not. Nothing is verified.
    async fn login_role(&self, _storage: &View, _data: &crate::json::Object) -> Result<Option<String>> {
        Ok(None)
    }

    /// Whether a login of `auth` may be renewed, and with what limits from now on. Auth methods say.
    async fn renew_login(&self, _storage: &View, auth: Auth) -> Result<Auth> {
        Ok(auth)
    }

    /// Renews a secret that this engine gave out. The core has judged the time.
    async fn renew_secret(&self, _lease: &Lease<'_>) -> Result<()> {
        Err(Error::bad_request("lease is not renewable"))
    }

    /// Takes back a secret that this engine gave out.
    async fn revoke_secret(&self, _lease: &Lease<'_>) -> Result<()> {
        Ok(())
    }
}

/// A secret that was given out.
pub struct Lease<'a> {
    /// Where the engine is mounted.
    pub mount: &'a MountInfo,
    /// The mount's storage.
    pub storage: &'a View,
    /// What the engine kept for itself.
    pub internal: &'a BTreeMap<String, String>,
    /// How many seconds it is to live from now.
    pub ttl: i64,
}

/// An engine as the core sees it.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The route of `path`, and what the path has for its names.
    fn find(&self, path: &str) -> Option<Found>;

    /// All routes.
    fn described(&self) -> Vec<&Described>;

    /// What it is.
    fn about(&self) -> &'static str;

    /// See [`Engine::HAS_ROLES`].
    fn has_roles(&self) -> bool;

    /// See [`Engine::login_role`].
    async fn login_role(&self, storage: &View, data: &crate::json::Object) -> Result<Option<String>>;

    /// Whether there is something at the path of a call; `None` if it does not matter.
    async fn exists(&self, found: &Found, call: &Call<'_>) -> Result<Option<bool>>;

    /// Does what is asked.
    async fn handle(&self, found: &Found, call: &Call<'_>, operation: Operation) -> Result<Response>;

    /// See [`Engine::renew_login`].
    async fn renew_login(&self, storage: &View, auth: Auth) -> Result<Auth>;

    /// See [`Engine::renew_secret`].
    async fn renew_secret(&self, lease: &Lease<'_>) -> Result<()>;

    /// See [`Engine::revoke_secret`].
    async fn revoke_secret(&self, lease: &Lease<'_>) -> Result<()>;
}

/// A route that was found.
pub struct Found {
    route: usize,
    /// What the path has for the names of the pattern.
    pub captures: Vec<(&'static str, String)>,
    /// The route.
    pub described: Arc<Described>,
}

impl Found {
    /// The fields of a call by this route.
    pub fn input<'a>(&self, data: &'a crate::json::Object) -> Input<'a> {
        Input { captures: self.captures.clone(), data, fields: self.described.fields }
    }
}

/// An engine with its routes compiled.
pub struct Declared<E: Engine> {
    engine: E,
    routes: Vec<Route<E>>,
    described: Vec<Arc<Described>>,
    tree: Tree,
}

impl<E: Engine> Declared<E> {
    /// Compiles the routes of `engine`.
    pub fn new(engine: E) -> Self {
        let routes = E::routes();
        let mut tree = Tree::default();
        for (at, route) in routes.iter().enumerate() {
            tree.add(route.described.pattern, at);
        }
        let described = routes.iter().map(|route| Arc::new(route.described.clone())).collect();
        Self { engine, routes, described, tree }
    }
}

#[async_trait]
impl<E: Engine> Backend for Declared<E> {
    fn find(&self, path: &str) -> Option<Found> {
        let (route, captures) = self.tree.find(path)?;
        Some(Found { route, captures, described: Arc::clone(self.described.get(route)?) })
    }

    fn described(&self) -> Vec<&Described> {
        self.described.iter().map(AsRef::as_ref).collect()
    }

    fn about(&self) -> &'static str {
        E::ABOUT
    }

    fn has_roles(&self) -> bool {
        E::HAS_ROLES
    }

    async fn login_role(&self, storage: &View, data: &crate::json::Object) -> Result<Option<String>> {
        self.engine.login_role(storage, data).await
    }

    async fn exists(&self, found: &Found, call: &Call<'_>) -> Result<Option<bool>> {
        match self.routes.get(found.route).and_then(|route| route.exists) {
            Some(exists) => exists(&self.engine, call).await.map(Some),
            None => Ok(None),
        }
    }

    async fn handle(&self, found: &Found, call: &Call<'_>, operation: Operation) -> Result<Response> {
        let route = self.routes.get(found.route).ok_or_else(Error::unsupported_path)?;
        let named = |wanted| route.handlers.iter().find(|(one, _)| *one == wanted).map(|(_, handler)| handler);
        let handler = match operation {
            // A path that does not tell the two apart has one of them.
            Operation::Create => named(Operation::Create).or_else(|| named(Operation::Update)),
            Operation::Update => named(Operation::Update).or_else(|| named(Operation::Create)),
            other => named(other),
        };
        let handler = handler.ok_or_else(Error::unsupported_operation)?;
        call.input.check()?;
        handler(&self.engine, call).await
    }

    async fn renew_login(&self, storage: &View, auth: Auth) -> Result<Auth> {
        self.engine.renew_login(storage, auth).await
    }

    async fn renew_secret(&self, lease: &Lease<'_>) -> Result<()> {
        self.engine.renew_secret(lease).await
    }

    async fn revoke_secret(&self, lease: &Lease<'_>) -> Result<()> {
        self.engine.revoke_secret(lease).await
    }
}
