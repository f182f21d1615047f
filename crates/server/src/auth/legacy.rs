//! Fields of roles as older clients name them: `ttl` for `token_ttl`, and so on. Who uses an old name reads it back.

use serde::{Deserialize, Serialize};

use super::params::{Params, check_cidrs, parse_policies};
use crate::json::{Object, Value};
use crate::logical::{Field, Input, Kind, Result};

/// The fields.
pub const FIELDS: [Field; 6] = [
    Field::new("policies", Kind::Texts, "`token_policies`, as older clients name it."),
    Field::new("num_uses", Kind::Int, "`token_num_uses`, as older clients name it."),
    Field::new("ttl", Kind::Seconds, "`token_ttl`, as older clients name it."),
    Field::new("max_ttl", Kind::Seconds, "`token_max_ttl`, as older clients name it."),
    Field::new("period", Kind::Seconds, "`token_period`, as older clients name it."),
    Field::new("bound_cidrs", Kind::Texts, "`token_bound_cidrs`, as older clients name it."),
];

/// Which of the old names a role was written with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Legacy(Vec<String>);

impl Legacy {
    /// Changes what is given by an old name, and not by the new one too.
    ///
    /// # Errors
    /// 400 for what cannot be.
    pub fn apply(&mut self, params: &mut Params, input: &Input<'_>) -> Result<()> {
        for field in FIELDS {
            let (old, new) = (field.name, format!("token_{}", field.name));
            let (has_old, has_new) = (input.has(old), input.has(&new));
            if has_old || has_new {
                self.0.retain(|name| name != old);
            }
            if !has_old {
                continue;
            }
            self.0.push(old.to_owned());
            if has_new {
                continue;
            }
            match old {
                "policies" => params.policies = parse_policies(&input.texts(old)?.unwrap_or_default()),
                "num_uses" => params.num_uses = input.int(old)?.unwrap_or_default(),
                "ttl" => params.ttl = input.seconds(old)?.unwrap_or_default(),
                "max_ttl" => params.max_ttl = input.seconds(old)?.unwrap_or_default(),
                "period" => params.period = input.seconds(old)?.unwrap_or_default(),
                _ => {
                    let cidrs = input.texts(old)?.unwrap_or_default();
                    check_cidrs(&cidrs)?;
                    params.bound_cidrs = cidrs;
                }
            }
        }
        params.check()
    }

    /// Adds what was written by an old name, under that name.
    pub fn show(&self, shown: &mut Object) {
        for old in &self.0 {
            let value = shown.get(&format!("token_{old}")).cloned().unwrap_or_default();
            let is_nothing = value == Value::from(0) || value == Value::Array(Vec::new());
            if !is_nothing {
                shown.insert(old.clone(), value);
            }
        }
    }
}
