//! Tokens that make, look up, renew and take back tokens: `auth/token/`.

use std::sync::Arc;

use async_trait::async_trait;

use crate::core::{Link, Open};
use crate::logical::{Access, Engine, Field, Kind, Operation, Result, Route};

mod create;
mod lookup;
mod renew;
mod revoke;
mod role;

/// The method.
pub struct Token {
    link: Link,
}

impl Token {
    /// One that finds the server by `link`.
    pub fn new(link: &Link) -> Self {
        Self { link: link.clone() }
    }

    fn open(&self) -> Result<Arc<Open>> {
        self.link.open()
    }
}

const TOKEN: Field = Field::new("token", Kind::Text, "The token.");
const ACCESSOR: Field = Field::new("accessor", Kind::Text, "The token's accessor.");
const INCREMENT: Field = Field::new("increment", Kind::Seconds, "How long it is to live from now.");
static CREATE: [Field; 16] = [
    Field::new("role_name", Kind::Text, "The role that it is made by."),
    Field::new("id", Kind::Text, "Its text. Only with `sudo`."),
    Field::new("display_name", Kind::Text, "The name it is shown under."),
    Field::new("explicit_max_ttl", Kind::Text, "How long it lives at most, whatever is renewed."),
    Field::new("entity_alias", Kind::Text, "Not supported yet."),
    Field::new("num_uses", Kind::Int, "How often it can be used. 0: as often as wanted."),
    Field::new("period", Kind::Text, "How long each renewal gives it, without an end."),
    Field::new("renewable", Kind::Bool, "Whether it can be renewed."),
    Field::new("ttl", Kind::Text, "How long it lives."),
    Field::new("lease", Kind::Text, "`ttl`, as older clients name it."),
    Field::new("type", Kind::Text, "`service` or `batch`."),
    Field::new("no_default_policy", Kind::Bool, "Whether the policy `default` is left out."),
    Field::new("meta", Kind::TextMap, "What is known of who gets it."),
    Field::new("no_parent", Kind::Bool, "Whether it outlives the caller. Only with `sudo`."),
    Field::new("policies", Kind::Texts, "Its policies. Those of the caller, if none are given."),
    Field::new("format", Kind::Text, "Without effect."),
];

#[async_trait]
impl Engine for Token {
    const ABOUT: &'static str = "Makes, looks up, renews and takes back tokens.";

    fn routes() -> Vec<Route<Self>> {
        let route = Route::<Self>::new;
        vec![
            route("create", "Make a token")
                .fields(&CREATE)
                .on(Operation::Update, |method, call| Box::pin(create::child(method, call))),
            route("create-orphan", "Make a token that outlives the caller")
                .fields(&CREATE)
                .access(Access::Sudo)
                .on(Operation::Update, |method, call| Box::pin(create::orphan(method, call))),
            route("create/{role_name}", "Make a token by a role")
                .fields(&CREATE)
                .on(Operation::Update, |method, call| Box::pin(create::by_role(method, call))),
            route("lookup", "What is known of a token")
                .fields(&[TOKEN])
                .on(Operation::Read, |method, call| Box::pin(lookup::given(method, call)))
                .on(Operation::Update, |method, call| Box::pin(lookup::given(method, call))),
            route("lookup/{token*}", "What is known of a token")
                .fields(&[TOKEN])
                .on(Operation::Read, |method, call| Box::pin(lookup::given(method, call)))
                .on(Operation::Update, |method, call| Box::pin(lookup::given(method, call))),
            route("lookup-self", "What is known of the caller's token")
                .fields(&[TOKEN])
                .on(Operation::Read, |method, call| Box::pin(lookup::own(method, call)))
                .on(Operation::Update, |method, call| Box::pin(lookup::own(method, call))),
            route("lookup-accessor", "What is known of a token, by its accessor")
                .fields(&[ACCESSOR])
                .on(Operation::Update, |method, call| Box::pin(lookup::by_accessor(method, call))),
            route("accessors/?", "The accessors of all tokens")
                .access(Access::Sudo)
                .on(Operation::List, |method, call| Box::pin(lookup::accessors(method, call))),
            route("renew", "Renew a token")
                .fields(&[TOKEN, INCREMENT])
                .on(Operation::Update, |method, call| Box::pin(renew::given(method, call))),
            route("renew/{token*}", "Renew a token")
                .fields(&[TOKEN, INCREMENT])
                .on(Operation::Update, |method, call| Box::pin(renew::given(method, call))),
            route("renew-self", "Renew the caller's token")
                .fields(&[TOKEN, INCREMENT])
                .on(Operation::Update, |method, call| Box::pin(renew::own(method, call))),
            route("renew-accessor", "Renew a token, by its accessor")
                .fields(&[ACCESSOR, INCREMENT])
                .on(Operation::Update, |method, call| Box::pin(renew::by_accessor(method, call))),
            route("revoke", "Take a token back, with all it made")
                .fields(&[TOKEN])
                .on(Operation::Update, |method, call| Box::pin(revoke::given(method, call))),
            route("revoke-self", "Take the caller's token back")
                .fields(&[TOKEN])
                .on(Operation::Update, |method, call| Box::pin(revoke::own(method, call))),
            route("revoke-orphan", "Take a token back, without what it made")
                .fields(&[TOKEN])
                .access(Access::Sudo)
                .on(Operation::Update, |method, call| Box::pin(revoke::alone(method, call))),
            route("revoke-accessor", "Take a token back, by its accessor")
                .fields(&[ACCESSOR])
                .on(Operation::Update, |method, call| Box::pin(revoke::by_accessor(method, call))),
            route("roles/?", "The names of all roles").on(Operation::List, |_, call| Box::pin(role::list(call))),
            route("roles/{role_name}", "A role")
                .fields(&role::FIELDS)
                .exists(|_, call| Box::pin(role::exists(call)))
                .on(Operation::Read, |_, call| Box::pin(role::read(call)))
                .on(Operation::Update, |_, call| Box::pin(role::write(call)))
                .on(Operation::Delete, |_, call| Box::pin(role::delete(call))),
            route("tidy", "Look for what is left of tokens")
                .access(Access::Sudo)
                .on(Operation::Update, |_, call| Box::pin(revoke::tidy(call))),
        ]
    }
}
