//! How a new file is encrypted: its recipients and rules, from flags and configuration.

use std::path::Path;

use bulla_core::KeyId;
use bulla_format::sops::{FileKind, Metadata, Rules};
use clap::Args;

use crate::app::App;
use crate::args::{EncryptKeys, RuleArgs};
use crate::command::version::SOPS_VERSION;
use crate::error::Failure;
use crate::exit::Code;
use crate::key_names::AwsArgs;
use crate::rekey::{self, Recipients};
use crate::term;

/// What sops leaves plain when nothing else is said.
const DEFAULT_UNENCRYPTED_SUFFIX: &str = "_unencrypted";

/// Flags of commands that make new encrypted files.
#[derive(Args, Clone, Debug)]
pub(crate) struct NewFileArgs {
    #[command(flatten)]
    pub(crate) keys: EncryptKeys,

    #[command(flatten)]
    pub(crate) aws: AwsArgs,

    #[command(flatten)]
    pub(crate) rules: RuleArgs,

    /// How many key groups are needed to open the file
    #[arg(long, value_name = "N", help_heading = "Keys (lists separated by commas)")]
    pub(crate) shamir_secret_sharing_threshold: Option<usize>,
}

/// How a new file is encrypted.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// For whom.
    pub(crate) recipients: Recipients,
    /// What of it.
    pub(crate) rules: Rules,
}

impl Plan {
    /// The metadata of a file encrypted so now, with no key wrapped yet.
    pub(crate) fn metadata(&self) -> Metadata {
        Metadata {
            shamir_threshold: self.recipients.threshold,
            rules: self.rules.clone(),
            last_modified: rekey::now(),
            version: SOPS_VERSION.to_owned(),
            ..Metadata::default()
        }
    }
}

/// The plan for the file called `path` (`None`: no name). `Ok(None)` if nothing says how: neither flags name keys, nor does
/// a rule of the configuration meet the path.
///
/// # Errors
/// Malformed flags or configuration.
pub(crate) fn find(
    app: &App,
    args: &NewFileArgs,
    path: Option<&Path>,
    kind: FileKind,
) -> Result<Option<Plan>, Failure> {
    let aws = args.aws.settings()?;
    let said = args.keys.ids(&aws)?;
    let found = app.configs.for_file(app, path)?;
    let rule = match &found {
        Some(found) => found.rule(path.unwrap_or(Path::new("")))?.map(|(_, rule)| rule.clone()),
        None => None,
    };
    // sops wants a rule wherever there is a configuration with rules, even for keys that flags name.
    let rule_wanted = said.is_empty() || (app.is_sops() && found.is_some_and(|found| found.has_rules()));
    if rule.is_none() && rule_wanted {
        return Ok(None);
    }
    let rule = rule.unwrap_or_default();
    let groups = if said.is_empty() { with_context(rule.groups, &aws.context) } else { vec![said] };
    let threshold = args.shamir_secret_sharing_threshold.filter(|&n| n != 0).or(rule.shamir_threshold);
    let recipients = Recipients { groups, threshold }.checked()?;
    Ok(Some(Plan { recipients, rules: rules(args.rules.over(&rule.rules), kind)? }))
}

/// The plan, where there must be one.
///
/// # Errors
/// As [`find`], and if there is none.
pub(crate) fn require(app: &App, args: &NewFileArgs, path: Option<&Path>, kind: FileKind) -> Result<Plan, Failure> {
    if let Some(plan) = find(app, args, path, kind)? {
        return Ok(plan);
    }
    let hint = "name a key, for example with --age RECIPIENT, or write a rule that meets the path into .sops.yaml";
    Err(match app.configs.for_file(app, path)? {
        Some(found) => Failure::generic(format!(
            "error loading config: no matching creation rules found in {} for {}",
            found.path.display(),
            path.map_or_else(|| "standard input".to_owned(), |path| path.display().to_string())
        )),
        None => Failure::generic(
            "config file not found, or has no creation rules, and no keys provided through command line options",
        ),
    }
    .with_hint(hint))
}

/// Rules as they go into a file: at most one, and sops' default where there is none.
fn rules(mut rules: Rules, kind: FileKind) -> Result<Rules, Failure> {
    let selections = [
        &mut rules.unencrypted_suffix,
        &mut rules.encrypted_suffix,
        &mut rules.unencrypted_regex,
        &mut rules.encrypted_regex,
        &mut rules.unencrypted_comment_regex,
        &mut rules.encrypted_comment_regex,
    ];
    let set = selections.iter().filter(|rule| rule.is_some()).count();
    if kind == FileKind::Binary {
        if set > 0 {
            term::warn("rules about what is encrypted are ignored: a binary file is one value");
        }
        return Ok(Rules::default());
    }
    match set {
        0 => *selections[0] = Some(DEFAULT_UNENCRYPTED_SUFFIX.to_owned()),
        1 => {}
        _ => {
            return Err(Failure::new(
                Code::ConflictingFlags,
                "Error: cannot use more than one of encrypted_suffix, unencrypted_suffix, encrypted_regex, \
                 unencrypted_regex, encrypted_comment_regex, or unencrypted_comment_regex in the same file",
            ));
        }
    }
    Ok(rules)
}

/// Gives `--encryption-context` to AWS keys of the configuration that have none of their own.
fn with_context(mut groups: Vec<Vec<KeyId>>, said: &std::collections::BTreeMap<String, String>) -> Vec<Vec<KeyId>> {
    for id in groups.iter_mut().flatten() {
        if let KeyId::AwsKms { context, .. } = id
            && context.is_empty()
        {
            context.clone_from(said);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bulla_document::Syntax;

    use super::*;

    #[test]
    fn a_file_gets_one_rule_or_the_default_suffix() {
        let kind = FileKind::Text(Syntax::Yaml);
        let none = rules(Rules::default(), kind).unwrap();
        assert_eq!(none.unencrypted_suffix.as_deref(), Some("_unencrypted"));
        let one = Rules { encrypted_regex: Some("^a".into()), ..Rules::default() };
        assert_eq!(rules(one.clone(), kind).unwrap(), one);
        let two = Rules { encrypted_suffix: Some("x".into()), ..one };
        assert_eq!(rules(two.clone(), kind).unwrap_err().code, Code::ConflictingFlags);
        assert_eq!(rules(two, FileKind::Binary).unwrap(), Rules::default());
    }
}
