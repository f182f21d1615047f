//! What stands in the parts of a path: right, odd, hostile.

use super::dice::Dice;

/// What stands for a parameter of a path.
pub fn in_path(name: &str, template: &str, dice: &mut Dice) -> String {
    let family = template.split('/').next().unwrap_or_default();
    let known: &[&str] = match name {
        "path" if family.ends_with("-kv2") || family.ends_with("-kv1") || family == "cubbyhole" => {
            &["a", "b", "dir/c", "dir/", "dir", "none", "a/b"]
        }
        // Never a mount that others need.
        "path" if template.ends_with("tune") => &["{w}-kv2", "{w}-approle", "{w}-new", "{w}-none", "{w}-transit"],
        "path" if template.contains("mounts") || template.contains("auth") => {
            &["{w}-new", "{w}-new/sub", "{w}-other/", "{w}-none", "{w}-kv2/x", "{w}-NEW"]
        }
        "prefix" => &["auth/{w}-userpass/", "{w}-kv2/", "auth/{w}-approle/login", "{w}-none", "{w}-kv2/data/a"],
        "name" if template.contains("polic") => {
            &["{w}-p", "{w}-none", "{w}-q", "{w}-P", "root", "{w}-a/b", "response-wrapping"]
        }
        "name" if template.contains("-transit") => &["aes", "ed", "ec", "derived", "hmac", "none", "fresh", "rsa"],
        "name" if template.contains("quotas") => &["{w}-q", "{w}-none", "{w}-q2", "{w}-Q"],
        "role_name" if template.starts_with("auth/token") => &["{w}-r", "{w}-none", "{w}-R", "{w}-s"],
        "role_name" | "name" => &["r", "none", "R", "s", "t.u"],
        "username" => &["u", "none", "U", "v"],
        "type" => &["encryption-key", "signing-key", "hmac-key", "public-key", "x"],
        "version" => &["1", "2", "latest", "x", "0", "-1"],
        "plaintext" => &["plaintext", "wrapped", "x"],
        "urlalgorithm" => &["sha2-256", "sha1", "x", "none"],
        "urlbytes" => &["16", "0", "x", "-1", "32"],
        "source" | "destination" => &["platform", "seal", "all", "aes", "ed", "x"],
        "subsystem" => &["license", "x"],
        "mount_accessor" => &["x", "auth_userpass_00000000"],
        "url_lease_id" => &["x", "auth/token/create/x"],
        _ => &["x", "a", "none"],
    };
    if dice.chance(85) {
        return dice.pick(known).to_owned();
    }
    match dice.below(12) {
        0 => "a".repeat(dice.pick(&["x", "xx"]).len() * 260),
        1 => format!("{}/..", dice.pick(known)),
        2 => format!("../{}", dice.pick(known)),
        3 => format!("{}/", dice.pick(known)),
        4 => format!("{}//b", dice.pick(known)),
        5 => format!("{}%2Fb", dice.pick(known)),
        _ => dice.pick(ODD).to_owned(),
    }
}

const ODD: &[&str] = &[
    "x%20y",
    "%2e%2e",
    "..",
    ".",
    "%C3%A9",
    "%F0%9F%98%80",
    "a%00b",
    "%0a",
    "%zz",
    "a?x=y",
    "a*",
    "*",
    "+",
    "-x",
    "x-",
    ".x",
    "x.",
    "@",
    "a@b",
    "%7f",
    "%ff",
    "_",
    "0",
    "a;b",
    "a=b",
    "a&b",
    "a,b",
    "~",
    "%25",
    "a%3Fb",
    "a%23b",
    "%2F",
    "%5C",
    "a%2e%2e",
    "..%2f..%2fsys",
    "{}",
    "%7B%7B",
    "a'b",
    "a%22b",
    "$x",
    "(x)",
    "a:b",
    "%E2%80%8B",
    "%EF%BB%BF",
    "%C0%AE",
    "x%09",
    "",
    "a b",
];
