//! Making tokens.

use super::Token;
use super::role::{self, Role};
use crate::core::policies;
use crate::core::policy::{DEFAULT, ROOT, WRAPPING};
use crate::core::token::Entry;
use crate::core::ttl::{self, Wanted};
use crate::logical::{Auth, Call, Caller, Error, Response, Result, TokenText, TokenType, parse_seconds};

pub async fn child(method: &Token, call: &Call<'_>) -> Result<Response> {
    create(method, call, None, false).await
}

pub async fn orphan(method: &Token, call: &Call<'_>) -> Result<Response> {
    create(method, call, None, true).await
}

pub async fn by_role(method: &Token, call: &Call<'_>) -> Result<Response> {
    let unknown = || Error::bad_request(format!("unknown role {}", call.input.capture("role_name")));
    let role = role::find(call).await?.ok_or_else(unknown)?;
    let orphan = role.orphan;
    create(method, call, Some(role), orphan).await
}

async fn create(method: &Token, call: &Call<'_>, role: Option<Role>, orphan: bool) -> Result<Response> {
    let open = method.open()?;
    let input = &call.input;
    let caller = call.caller.ok_or_else(Error::no_token)?;
    if caller.entry.batch {
        return Err(Error::bad_request("batch tokens cannot create more tokens"));
    }
    if caller.entry.auth.num_uses > 0 {
        return Err(Error::bad_request("restricted use token cannot generate child tokens"));
    }
    // With `sudo` on the path, also what is not the caller's can be given.
    let sudo = caller.acl.check(call.request.operation, &call.request.path, call.request).sudo;
    let no_parent = input.bool("no_parent")?.unwrap_or(false);
    if no_parent && !sudo {
        return Err(Error::bad_request("root or sudo privileges required to create orphan token"));
    }
    let id = input.text("id")?.filter(|id| !id.is_empty());
    if let Some(id) = &id {
        check_id(id, sudo)?;
    }
    if input.text("entity_alias")?.is_some_and(|alias| !alias.is_empty()) {
        return Err(Error::bad_request("entity_alias needs the identity engine, which this server does not have yet"));
    }
    let names = choose_policies(call, caller, role.as_ref(), sudo)?;
    let is_root = names.iter().any(|name| name == ROOT);
    let batch = is_batch(call, role.as_ref())?;
    let seconds = |field: &str| -> Result<i64> {
        let text = input.text(field)?.unwrap_or_default();
        let seconds = parse_seconds(&text).map_err(Error::bad_request)?;
        if seconds < 0 { Err(Error::bad_request(format!("{field} must be positive"))) } else { Ok(seconds) }
    };
    let asked = if input.has("ttl") { seconds("ttl")? } else { seconds("lease")? };
    let mut period = seconds("period")?;
    if period > 0 && !sudo {
        return Err(Error::bad_request("root or sudo privileges required to create periodic token"));
    }
    let mut explicit_max_ttl = seconds("explicit_max_ttl")?;
    let mut num_uses = input.int("num_uses")?.unwrap_or(0);
    if num_uses < 0 {
        return Err(Error::bad_request("number of uses cannot be negative"));
    }
    // A child is used from where its parent may be; one that outlives it, or is made by a role, goes its own ways.
    let mut bound_cidrs =
        if orphan || no_parent || role.is_some() { Vec::new() } else { caller.entry.auth.bound_cidrs.clone() };
    if let Some(role) = &role {
        period = lesser(period, role.period);
        explicit_max_ttl = lesser(explicit_max_ttl, role.explicit_max_ttl);
        num_uses = lesser(num_uses, role.num_uses);
        bound_cidrs.clone_from(&role.bound_cidrs);
        if role.strictly_bind_ip
            && let Some(remote) = call.request.remote
        {
            bound_cidrs = vec![remote.to_canonical().to_string()];
        }
    }
    if batch {
        refuse_for_batch(is_root, id.is_some(), period, explicit_max_ttl, num_uses)?;
    }
    let wanted = Wanted { ttl: asked, period, explicit_max_ttl, ..Wanted::default() };
    let (mut ttl, mut warnings) = ttl::resolve(wanted, call.mount);
    if is_root && asked == 0 && period == 0 && explicit_max_ttl == 0 {
        // A caller that ends makes no root token that does not.
        if caller.entry.expires != 0 {
            return Err(Error::bad_request("expiring root tokens cannot create non-expiring root tokens"));
        }
        ttl = 0;
        warnings.clear();
    }
    for name in &names {
        if name != ROOT && open.policies.read(name).await?.is_none() {
            warnings.push(format!("Policy {name:?} does not exist"));
        }
    }
    if id.is_some() {
        warnings.push("A token whose text you chose is as secret as your choice: it can be guessed.".to_owned());
    }
    let display_name = input.text("display_name")?.filter(|name| !name.is_empty());
    let display_name = display_name.map_or_else(|| "token".to_owned(), |name| format!("token-{}", plain(&name)));
    let renewable =
        !batch && input.bool("renewable")?.unwrap_or(true) && !role.as_ref().is_some_and(|role| role.not_renewable);
    let parent = (!orphan && !no_parent).then(|| caller.hash.clone());
    let suffix = role.as_ref().filter(|role| !role.path_suffix.is_empty());
    let entry = Entry {
        parent,
        path: suffix
            .map_or_else(|| call.request.path.clone(), |role| format!("{}/{}", call.request.path, role.path_suffix)),
        auth: Auth {
            policies: names.clone(),
            no_default_policy: !names.iter().any(|name| name == DEFAULT),
            metadata: input.text_map("meta")?.unwrap_or_default(),
            display_name,
            // What a renewal gives that asks for nothing.
            ttl: if asked > 0 { ttl } else { 0 },
            explicit_max_ttl,
            period,
            num_uses,
            renewable,
            bound_cidrs,
            ..Auth::default()
        },
        policies: names,
        ttl,
        role: role.map(|role| role.name).unwrap_or_default(),
        batch,
        ..Entry::default()
    };
    let (issued, _) = open.tokens.issue(entry, id.map(TokenText::new), &open.expiry).await?;
    open.core()?.metrics.created("token", &call.mount.path, issued.lease_duration, issued.token_type.name());
    Ok(Response { issued: Some(issued), warnings, ..Response::empty() })
}

/// The lesser of two limits, of which 0 is none.
pub fn lesser(a: i64, b: i64) -> i64 {
    if a > 0 && b > 0 { a.min(b) } else { a.max(b) }
}

fn check_id(id: &str, sudo: bool) -> Result<()> {
    if !sudo {
        return Err(Error::bad_request("root or sudo privileges required to specify token id"));
    }
    for prefix in ["s.", "b.", "r.", "hvs.", "hvb.", "hvr."] {
        if id.starts_with(prefix) {
            return Err(Error::bad_request(format!("custom token ID cannot have the '{prefix}' prefix")));
        }
    }
    if id.contains('.') {
        return Err(Error::bad_request("custom token ID cannot have a '.' in the value"));
    }
    if id.len() > 512 || id.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Error::bad_request("custom token ID is too long, or has spaces"));
    }
    Ok(())
}

fn is_batch(call: &Call<'_>, role: Option<&Role>) -> Result<bool> {
    let asked = call.input.text("type")?.unwrap_or_default();
    let by_role = role.and_then(|role| role.token_type).unwrap_or(TokenType::DefaultService);
    Ok(match (by_role, asked.as_str()) {
        (_, other) if !matches!(other, "" | "service" | "batch") => {
            return Err(Error::bad_request("invalid 'token_type' value"));
        }
        (TokenType::Service, _) => false,
        (TokenType::Batch, _) | (TokenType::DefaultBatch, "" | "batch") | (_, "batch") => true,
        _ => false,
    })
}

fn refuse_for_batch(root: bool, id: bool, period: i64, explicit_max_ttl: i64, num_uses: i64) -> Result<()> {
    let refused = [
        (root, "batch tokens cannot be root tokens"),
        (id, "batch tokens cannot have a chosen ID"),
        (period > 0, "batch tokens cannot be periodic"),
        (explicit_max_ttl > 0, "batch tokens cannot have explicit max TTLs"),
        (num_uses > 0, "batch tokens cannot have limited uses"),
    ];
    match refused.iter().find(|(refused, _)| *refused) {
        Some((_, why)) => Err(Error::bad_request(*why)),
        None => Ok(()),
    }
}

/// The policies of the new token: what the caller asks for, as far as it may.
fn choose_policies(call: &Call<'_>, caller: &Caller, role: Option<&Role>, sudo: bool) -> Result<Vec<String>> {
    let input = &call.input;
    let asked = input.texts("policies")?.unwrap_or_default();
    let no_default = input.bool("no_default_policy")?.unwrap_or(false);
    let own = &caller.entry.policies;
    let names = if let Some(role) = role.filter(|role| role.limits_policies()) {
        let no_default = no_default || role.no_default_policy || role.disallowed.iter().any(|name| name == DEFAULT);
        let wanted = if asked.is_empty() { role.allowed.clone() } else { asked };
        let names = policies(&wanted, no_default);
        check_role(role, &names)?;
        names
    } else {
        let no_default = no_default || role.is_some_and(|role| role.no_default_policy);
        if asked.is_empty() {
            // As the caller, `default` too only if the caller has it.
            let mut names = own.clone();
            names.retain(|name| !(no_default && name == DEFAULT));
            names
        } else {
            let add_default = !no_default && (sudo || own.iter().any(|name| name == DEFAULT));
            let names = policies(&asked, !add_default);
            if !sudo && !caller.acl.is_root() && !names.iter().all(|name| own.contains(name)) {
                return Err(Error::bad_request("child policies must be subset of parent"));
            }
            names
        }
    };
    if names.iter().any(|name| name == WRAPPING) {
        return Err(Error::bad_request(format!("cannot assign policy {WRAPPING:?}")));
    }
    // Nobody but root makes root.
    if names.iter().any(|name| name == ROOT) && !own.iter().any(|name| name == ROOT) {
        return Err(Error::bad_request("root tokens may not be created without parent token being root"));
    }
    if names.is_empty() {
        return Err(Error::bad_request("token must have at least one policy"));
    }
    Ok(names)
}

fn check_role(role: &Role, names: &[String]) -> Result<()> {
    let glob = |patterns: &[String], name: &str| patterns.iter().any(|pattern| glob_matches(pattern, name));
    if !role.allowed.is_empty() || !role.allowed_globs.is_empty() {
        let allowed = policies(&role.allowed, role.no_default_policy);
        let fits = |name: &String| allowed.contains(name) || glob(&role.allowed_globs, name) || name == DEFAULT;
        if !names.iter().all(fits) {
            return Err(Error::bad_request(format!(
                "token policies ({}) must be subset of the role's allowed policies ({}) or glob policies ({})",
                go_list(names),
                go_list(&allowed),
                go_list(&role.allowed_globs)
            )));
        }
    }
    match names.iter().find(|name| role.disallowed.contains(name) || glob(&role.disallowed_globs, name)) {
        Some(name) => Err(Error::bad_request(format!("token policy {name:?} is disallowed by this role"))),
        None => Ok(()),
    }
}

/// `["a" "b"]`, as Go prints a list of texts.
fn go_list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

/// `*` stands for anything, wherever it is.
fn glob_matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some((last, inner)) = parts.collect::<Vec<_>>().split_last().map(|(last, inner)| (*last, inner.to_vec()))
    else {
        return rest.is_empty();
    };
    for part in inner {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Letters, digits and dashes, as the peer leaves of a name.
fn plain(name: &str) -> String {
    let kept: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).collect();
    kept.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, expected) in [
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*b*c", "aXbYc", true),
            ("abc", "abc", true),
            ("a*", "b", false),
            ("a*c", "ab", false),
            ("abc", "abcd", false),
            ("*", "", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(glob_matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
