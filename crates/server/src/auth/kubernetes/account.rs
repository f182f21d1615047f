//! A service account, as its token names it.

use crate::auth::jose::Claims;
use crate::json::{Object, Value};

/// Whose a token is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid: one that is made anew under the same name has another.
    pub uid: String,
    /// The Secret that an old token comes from; of others empty.
    pub secret: String,
}

impl Account {
    /// Whom the claims name: those of tokens that are projected into pods, or of old tokens from Secrets.
    ///
    /// # Errors
    /// A claim that has another form.
    pub fn of(claims: &Claims) -> Result<Self, String> {
        let bad = |name: &str| format!("the claim {name} of the token has not the form that Kubernetes gives it");
        let old = |name: &str| -> Result<String, String> {
            let whole = format!("kubernetes.io/serviceaccount/{name}");
            match claims.plain(&whole) {
                None => Ok(String::new()),
                Some(Value::String(text)) => Ok(text.clone()),
                Some(_) => Err(bad(&whole)),
            }
        };
        let mut account = Self {
            namespace: old("namespace")?,
            name: old("service-account.name")?,
            uid: old("service-account.uid")?,
            secret: old("secret.name")?,
        };
        let Some(projected) = claims.plain("kubernetes.io") else { return Ok(account) };
        let bad = || bad("kubernetes.io");
        let projected = projected.as_object().ok_or_else(bad)?;
        let text = |object: &Object, name: &str| match object.get(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(bad()),
        };
        account.namespace = text(projected, "namespace")?;
        match projected.get("serviceaccount") {
            None | Some(Value::Null) => {}
            Some(Value::Object(named)) => {
                account.name = text(named, "name")?;
                account.uid = text(named, "uid")?;
            }
            Some(_) => return Err(bad()),
        }
        Ok(account)
    }
}
