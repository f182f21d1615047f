//! Our tree is sops' tree.

use super::{generate, oracle, parse};

/// Compares many texts; tells the first few that differ.
fn compare(texts: &[Vec<u8>]) {
    let answers = oracle::ask(texts);
    let mut faults = Vec::new();
    let (mut taken, mut refused) = (0, 0);
    for (text, theirs) in texts.iter().zip(&answers) {
        let ours = parse(text);
        let fault = match &ours {
            // What sops looks for in the first document only, we look for in all.
            Ok(_) if theirs.contains("\"error\"") || theirs.contains("\"strict\"") => Some("we take it".to_owned()),
            Ok(document) => {
                taken += 1;
                let ours = oracle::describe(document);
                (ours != *theirs).then_some(ours)
            }
            Err(_) if theirs.contains("\"error\"") || theirs.contains("\"strict\"") => {
                refused += 1;
                None
            }
            Err(error) if is_known(text, theirs, error) => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(ours) = fault {
            faults.push(format!(
                "{:?}\n{}\nours   {ours}\ntheirs {theirs}\n",
                text.escape_ascii().to_string(),
                String::from_utf8_lossy(text)
            ));
        }
    }
    eprintln!("{taken} taken, {refused} refused, {} differ", faults.len());
    assert!(faults.is_empty(), "{}", faults[..faults.len().min(5)].join("\n----\n"));
}

/// What we refuse and sops takes.
fn is_known(text: &[u8], theirs: &str, error: &crate::Error) -> bool {
    match &error.kind {
        // Keys that are equal only once an alias is followed.
        crate::ErrorKind::DuplicateKey(_) => text.contains(&b'*'),
        // sops' decoder does not look at what stands under a null.
        crate::ErrorKind::Syntax(problem) => problem.contains("'<<'") && theirs.contains("\"k\":null"),
        crate::ErrorKind::NonStringKey(which) => which.contains("!!binary"),
        _ => false,
    }
}

#[test]
fn mutated_texts_have_the_tree_that_sops_sees() {
    let rounds = std::env::var("BULLA_YAML_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    compare(&generate::mutants(rounds));
    compare(&generate::styled(rounds));
}

#[test]
fn texts_of_all_kinds_have_the_tree_that_sops_sees() {
    compare(&generate::corpus());
}
