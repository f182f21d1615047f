//! Self-initialization: what a server asks of itself when it starts for the first time, with a seal that opens it by itself.
//!
//! A [`Block`] is an `initialize "…" { request "…" { … } }` of the configuration, as the peer has it. The requests are made in order, in the name of a
//! root token that never leaves this process and is revoked at the end. Nothing is served before. Values that come from variables and files are read
//! before anything is written; a request that fails after that leaves a storage that no later start opens: half of what was asked for may be
//! less safe than nothing.

use std::net::{IpAddr, Ipv4Addr};

use bulla_core::Env;

use crate::core::Core;
use crate::json::Value;
use crate::logical::{self, Error, Operation, Request, Response, TokenText};

mod convert;
mod field;

pub use convert::Kind;
pub use field::{At, Field, Reference, Source};

use self::field::History;

/// Requests that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Its name, which no other has.
    pub name: String,
    /// Whether it is done; if nothing is said, it is.
    pub when: Option<Field>,
    /// In the order they are made in.
    pub requests: Vec<Step>,
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its name, which no other of its block has.
    pub name: String,
    /// `create`, `read`, `update`, `patch`, `delete`, `list`, `scan`.
    pub operation: Field,
    /// Below `/v1/`.
    pub path: Field,
    /// In whose name; if nothing is said, the root token's.
    pub token: Option<Field>,
    /// The fields.
    pub data: Option<Field>,
    /// Whether the next is made though this one failed.
    pub allow_failure: Option<Field>,
    /// Whether it is made; if nothing is said, it is.
    pub when: Option<Field>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All was done.
    Done,
    /// The server was initialized before.
    NotNeeded,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// People hold shares of its key.
    #[error(
        "initialize blocks need a seal that opens the server by itself, like seal \"static\": with shares of an unseal key there is nobody here to give them to. Configure one, or take the blocks out and initialize with sys/init"
    )]
    Shares,
    /// A value is not to be had. Nothing was written.
    #[error("{at}: {why}; nothing was initialized")]
    Value {
        /// Which block and request.
        at: String,
        /// What is wrong.
        why: String,
    },
    /// A request failed.
    #[error("{at}: {why}; the server is initialized by half and is not opened: empty the storage and start again")]
    Request {
        /// Which block and request.
        at: String,
        /// What was answered.
        why: String,
    },
    /// Something of the server's own.
    #[error("self-initialization: {0}")]
    Server(#[from] Error),
}

impl Block {
    fn at(&self, step: Option<&Step>) -> String {
        match step {
            Some(step) => format!("initialize {:?}, request {:?}", self.name, step.name),
            None => format!("initialize {:?}", self.name),
        }
    }
}

impl Step {
    fn fields(&self) -> impl Iterator<Item = &Field> {
        let some = [&self.token, &self.data, &self.allow_failure, &self.when].into_iter().filter_map(Option::as_ref);
        [&self.operation, &self.path].into_iter().chain(some)
    }

    fn settled(&self, env: &dyn Env) -> Result<Self, String> {
        let maybe = |field: &Option<Field>| field.as_ref().map(|field| field.settled(env)).transpose();
        Ok(Self {
            name: self.name.clone(),
            operation: self.operation.settled(env)?,
            path: self.path.settled(env)?,
            token: maybe(&self.token)?,
            data: maybe(&self.data)?,
            allow_failure: maybe(&self.allow_failure)?,
            when: maybe(&self.when)?,
        })
    }
}

/// Whether blocks have names of their own, and refer to what is before them.
///
/// # Errors
/// What is wrong, and where.
pub fn check(blocks: &[Block]) -> Result<(), String> {
    let mut before: Vec<(&str, &str)> = Vec::new();
    for (number, block) in blocks.iter().enumerate() {
        let at = block.at(None);
        if !is_name(&block.name) {
            return Err(format!("{at}: a name has letters, digits, _ and -, and begins with a letter or _"));
        }
        if blocks[..number].iter().any(|other| other.name == block.name) {
            return Err(format!("{at}: there are two of this name"));
        }
        let known = |field: &Field, before: &[(&str, &str)]| {
            let missing = field.references().into_iter().find(|reference| {
                !before.iter().any(|(block, step)| *block == reference.block && *step == reference.request)
            });
            missing.map_or(Ok(()), |reference| {
                Err(format!("no request {:?} of initialize {:?} is before it", reference.request, reference.block))
            })
        };
        block.when.iter().try_for_each(|field| known(field, &before)).map_err(|why| format!("{at}: {why}"))?;
        for step in &block.requests {
            let at = block.at(Some(step));
            if !is_name(&step.name) {
                return Err(format!("{at}: a name has letters, digits, _ and -, and begins with a letter or _"));
            }
            if before.contains(&(&block.name, &step.name)) {
                return Err(format!("{at}: there are two of this name"));
            }
            if let Field::Value(Value::String(name)) = &step.operation {
                operation(name).map_err(|why| format!("{at}: {why}"))?;
            }
            step.fields().try_for_each(|field| known(field, &before)).map_err(|why| format!("{at}: {why}"))?;
            before.push((&block.name, &step.name));
        }
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

/// Initializes a server that is not, and does what the blocks say.
///
/// # Errors
/// [`Failure`], with which the server does not start.
pub async fn run(core: &Core, blocks: &[Block], env: &dyn Env) -> Result<Outcome, Failure> {
    if !core.has_auto_seal() {
        return Err(Failure::Shares);
    }
    if core.is_initialized().await? {
        return Ok(Outcome::NotNeeded);
    }
    let blocks = settled(blocks, env)?;
    let root = core.begin_by_itself().await?;
    let mut done = perform(core, &blocks, &root).await;
    if let Err(why) = revoke(core, &root).await {
        let why = format!("the root token was not revoked: {why}");
        done = done.and(Err(Failure::Request { at: "self-initialization".to_owned(), why }));
    }
    if done.is_ok() {
        done = core.finish_by_itself().await.map_err(Failure::from);
    }
    if let Err(error) = done {
        core.seal().await;
        return Err(error);
    }
    Ok(Outcome::Done)
}

/// The blocks with what variables and files hold.
fn settled(blocks: &[Block], env: &dyn Env) -> Result<Vec<Block>, Failure> {
    let settle = |block: &Block| {
        let when = block.when.as_ref().map(|field| field.settled(env)).transpose();
        let when = when.map_err(|why| Failure::Value { at: block.at(None), why })?;
        let requests = block
            .requests
            .iter()
            .map(|step| step.settled(env).map_err(|why| Failure::Value { at: block.at(Some(step)), why }));
        Ok(Block { name: block.name.clone(), when, requests: requests.collect::<Result<_, Failure>>()? })
    };
    blocks.iter().map(settle).collect()
}

async fn perform(core: &Core, blocks: &[Block], root: &TokenText) -> Result<(), Failure> {
    let mut history = History::default();
    for (number, block) in blocks.iter().enumerate() {
        let failed = |why: String| Failure::Request { at: block.at(None), why };
        if !is_on(block.when.as_ref(), true, &history).map_err(failed)? {
            continue;
        }
        for (index, step) in block.requests.iter().enumerate() {
            let at = block.at(Some(step));
            tracing::info!(at, "self-initialization");
            core.note_step(&at).await?;
            let id = format!("initialize[{number}].{}.request[{index}].{}", block.name, step.name);
            let done = one(core, block, step, id, root, &mut history).await;
            done.map_err(|why| Failure::Request { at, why })?;
        }
    }
    Ok(())
}

async fn one(
    core: &Core,
    block: &Block,
    step: &Step,
    id: String,
    root: &TokenText,
    history: &mut History,
) -> Result<(), String> {
    let text = |field: &Field| convert::text(&field.value(history)?);
    let path = text(&step.path)?;
    let operation = operation(&text(&step.operation)?)?;
    let token = match &step.token {
        None => Some(root.clone()),
        Some(field) => Some(text(field)?).filter(|token| !token.is_empty()).map(TokenText::new),
    };
    let data = match step.data.as_ref().map(|field| field.value(history)).transpose()? {
        None => crate::json::Object::new(),
        Some(value) => convert::map(value)?,
    };
    let may_fail = is_on(step.allow_failure.as_ref(), false, history)?;
    let is_made = is_on(step.when.as_ref(), true, history)?;
    let request = Request {
        id: id.clone(),
        token,
        remote: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ..Request::new(operation, clean(&path, operation)?, data)
    };
    let seen = object! {
        "id": id.as_str(),
        "operation": operation.name(),
        "path": request.path.as_str(),
        "data": request.data.clone(),
        // The peer's documentation says `data`, and the peer has it here.
        "map": request.data.clone(),
    };
    history.add_request(&block.name, &step.name, seen.into());
    if !is_made {
        return Ok(());
    }
    match core.handle(request).await {
        Ok(response) => {
            for warning in &response.warnings {
                tracing::warn!(at = block.at(Some(step)), warning, "self-initialization");
            }
            let answer = logical::render(&response, &id);
            let answer = crate::json::parse_object(&answer).map_err(|error| error.to_string())?;
            history.add_response(&block.name, &step.name, answer.into());
            Ok(())
        }
        // Nothing is there: that is an answer to whoever looks.
        Err(error) if error.status == 404 && error.messages.is_empty() => {
            history.add_response(&block.name, &step.name, Value::Null);
            Ok(())
        }
        Err(error) if may_fail => {
            tracing::warn!(at = block.at(Some(step)), %error, "a request of the self-initialization failed, as it may");
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn is_on(field: Option<&Field>, otherwise: bool, history: &History) -> Result<bool, String> {
    field.map_or(Ok(otherwise), |field| convert::is_on(&field.value(history)?))
}

/// Writing is writing: whether something was there shows when it is done.
fn operation(name: &str) -> Result<Operation, String> {
    Ok(match name {
        "create" | "update" => Operation::Update,
        "read" => Operation::Read,
        "patch" => Operation::Patch,
        "delete" => Operation::Delete,
        "list" => Operation::List,
        "scan" => Operation::Scan,
        other => {
            return Err(format!(
                "the operation {other:?} is not known; \"create\", \"read\", \"update\", \"patch\", \"delete\", \"list\" and \"scan\" are"
            ));
        }
    })
}

/// A path as it is below `/v1/`.
fn clean(path: &str, operation: Operation) -> Result<String, String> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let inner = path.strip_suffix('/').unwrap_or(path);
    if inner.chars().any(char::is_control) || inner.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(format!("the path {path:?} is not clean"));
    }
    let lists = matches!(operation, Operation::List | Operation::Scan) && !path.ends_with('/');
    Ok(if lists { format!("{path}/") } else { path.to_owned() })
}

/// Ends the root token, unless one of the requests did.
async fn revoke(core: &Core, root: &TokenText) -> Result<(), Error> {
    let request = Request {
        id: "self-init-revoke-root".to_owned(),
        token: Some(root.clone()),
        remote: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ..Request::new(Operation::Update, "auth/token/revoke-self", crate::json::Object::new())
    };
    let answer: Result<Response, Error> = core.handle(request).await;
    match core.open()?.tokens.find(root).await? {
        None => Ok(()),
        Some(_) => answer.and(Err(Error::internal(&"it is still there"))),
    }
}

#[cfg(test)]
mod tests;
