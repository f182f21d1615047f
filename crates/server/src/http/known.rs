//! Whose long bodies are read.

use std::net::SocketAddr;

use http::request::Parts;

use super::asked::{self, Early};
use super::{answer, limited};
use crate::core::audit::Record;
use crate::core::{Core, is_from};
use crate::logical::{self, Error};

/// Whether who asks brings a good token. Whoever does not is told so, and it is written down, as if the whole request had been read.
pub async fn check(core: &Core, head: &Parts, address: SocketAddr) -> Result<(), Early> {
    let path = asked::path(&head.uri)?;
    look_up(core, head, path, address).await.map_err(|error| Box::new(answer::error(&error)))
}

/// No use of the token is counted: that is done when the request is answered.
async fn look_up(core: &Core, head: &Parts, path: String, address: SocketAddr) -> logical::Result<()> {
    let open = core.open()?;
    let token = asked::token(&head.headers);
    if let Some(token) = &token
        && let Some((_, entry)) = open.tokens.find(token).await?
        && is_from(&entry.auth.bound_cidrs, Some(address.ip()))
    {
        return Ok(());
    }
    let mut request = limited::unread(head, path, address)?;
    request.token = token;
    let error = Error::no_token();
    let record = Record { request: &request, caller: None, mount: None, response: None, error: Some(&error) };
    open.audit.response(open.audit.asked(&record), &record).await?;
    Err(error)
}
