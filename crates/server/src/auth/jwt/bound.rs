//! Whether the claims of a token are those that a role wants.

use crate::auth::glob;
use crate::auth::jose::Claims;
use crate::json::{Object, Value};

/// How claims are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// As they are.
    Exactly,
    /// As patterns.
    Patterns,
}

/// One value, or those of a list; `None` for what is neither.
pub fn values(value: &Value) -> Option<Vec<&Value>> {
    match value {
        Value::Array(values) => Some(values.iter().collect()),
        Value::String(_) | Value::Bool(_) | Value::Number(_) => Some(vec![value]),
        _ => None,
    }
}

/// Whether each wanted claim is there and has one of its values.
///
/// # Errors
/// The text for the client. Of the token it says nothing that it was not sent with.
pub fn check(wanted: &Object, compare: Compare, claims: &Claims) -> Result<(), String> {
    for (name, value) in wanted {
        // One audience is a list of one.
        let found = claims.get(name).ok_or_else(|| format!("claim {name:?} is missing"))?;
        let found = values(found).ok_or("received claim is not a string, bool, int or list")?;
        let wanted = values(value).ok_or("bound claim is not a string, bool, int or list")?;
        if !wanted.iter().any(|wanted| found.iter().any(|found| is(wanted, found, compare))) {
            return Err(format!("claim {name:?} does not match any associated bound claim values"));
        }
    }
    Ok(())
}

fn is(wanted: &Value, found: &Value, compare: Compare) -> bool {
    match (wanted, found, compare) {
        (Value::String(wanted), Value::String(found), Compare::Patterns) => glob::matches(wanted, found),
        (_, _, Compare::Patterns) => false,
        (Value::Number(wanted), Value::Number(found), Compare::Exactly) => {
            // Whole numbers are written in more than one way, `5` and `5.0`; past what a float holds exactly, one alone counts.
            let number =
                |digits: &str| digits.parse::<f64>().ok().filter(|number| number.abs() < 9_007_199_254_740_992.0);
            wanted == found || number(wanted).zip(number(found)).is_some_and(|(a, b)| a.total_cmp(&b).is_eq())
        }
        (wanted, found, Compare::Exactly) => wanted == found,
    }
}
