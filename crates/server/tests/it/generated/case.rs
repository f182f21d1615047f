//! One request, made up: a declared path, fields that are right, missing, of another kind or unknown, and now and then all that is odd about HTTP.

use super::dice::Dice;
use super::routes::Route;
use super::saved::Saved;
use super::{parts, values};

/// A request in which `{name}` stands for what each server gave out.
#[derive(Clone, Debug)]
pub struct Case {
    /// `POST -kv2/data/{path}`: by this differences are listed.
    pub name: String,
    pub method: &'static str,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

const METHODS: &[&str] =
    &["GET", "POST", "PUT", "DELETE", "LIST", "PATCH", "SCAN", "HEAD", "OPTIONS", "FOO", "get", "TRACE"];
const MERGE: &str = "application/merge-patch+json";

impl Case {
    /// Makes one up.
    pub fn new(routes: &[(usize, Vec<Route>)], dice: &mut Dice, saved: &Saved) -> Self {
        let total = routes.iter().map(|(weight, _)| weight).sum();
        let mut at = dice.below(total);
        let family = routes.iter().find(|(weight, _)| {
            let here = at < *weight;
            at = at.saturating_sub(*weight);
            here
        });
        let family = &family.unwrap().1;
        let route = &family[dice.below(family.len())];
        let method = match dice.pick(&route.methods) {
            _ if dice.chance(10) => dice.pick(METHODS),
            "POST" if dice.chance(30) => "PUT",
            method => method,
        };
        let mut case = Self {
            name: format!("{method} {}", route.template),
            method,
            target: target(route, dice),
            headers: Vec::new(),
            body: Vec::new(),
        };
        if matches!(method, "POST" | "PUT" | "PATCH") || dice.chance(3) {
            case.body = body(route, dice, saved);
        }
        if method == "PATCH" && dice.chance(85) {
            case.header("Content-Type", MERGE);
        }
        case.query(route, dice);
        case.token(route, dice, saved);
        if route.template.ends_with("wrapping/wrap") && dice.chance(70) {
            case.header("X-Vault-Wrap-TTL", dice.pick(&["60", "1m", "1h"]));
        } else if dice.chance(12) {
            case.odd_header(dice);
        }
        case
    }

    fn header(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    fn query(&mut self, route: &Route, dice: &mut Dice) {
        let reads = matches!(self.method, "GET" | "LIST" | "SCAN");
        if reads && route.template.contains("-kv2/data") && dice.chance(40) {
            self.target.push_str(dice.pick(&[
                "?version=1",
                "?version=2",
                "?version=0",
                "?version=x",
                "?version=99",
                "?version=-1",
                "?version=",
            ]));
        } else if reads && route.template.contains("subkeys") && dice.chance(40) {
            self.target.push_str(dice.pick(&["?depth=1", "?depth=0", "?version=1&depth=2", "?depth=x", "?depth=-1"]));
        } else if reads && dice.chance(8) {
            let odd = [
                "?list=true",
                "?list=1",
                "?list=x",
                "?help=1",
                "?scan=true",
                "?x=%zz",
                "?a=b;c",
                "?list=true&after=a&limit=1",
                "?&&",
                "?limit=x&list=true",
                "?list=true&limit=-1",
            ];
            self.target.push_str(dice.pick(&odd));
        } else if dice.chance(2) {
            self.target.push_str(dice.pick(&["?", "?x=y", "?data=x"]));
        }
    }

    fn token(&mut self, route: &Route, dice: &mut Dice, saved: &Saved) {
        // Whoever has nothing but the token of an answer.
        if route.template.starts_with("sys/wrapping") && dice.chance(25) {
            let token = saved.any("wrapping", dice, &["\"x\"", "\"{limited}\""]);
            self.header("X-Vault-Token", token.trim_matches('"'));
            return;
        }
        // Not even by chance: without it nothing more could be asked.
        let ends_itself = route.template.contains("revoke-self");
        let who = match dice.below(100) {
            0..72 if !ends_itself => "{root}",
            0..82 => "{limited}",
            82..86 => "{batch}",
            86..89 => "{spare}",
            89..91 => "{revoked}",
            91..93 => dice.pick(&["x", "hvs.x", "s.x", " ", "hvb.AAAA", "{limited}x", "s.{limited}"]),
            93 => "{limited-accessor}",
            94 => "{once}",
            95..97 if !ends_itself => {
                self.header(
                    "Authorization",
                    dice.pick(&[
                        "Bearer {root}",
                        "bearer {root}",
                        "Bearer  {root}",
                        "Basic {root}",
                        "Bearer",
                        "{root}",
                    ]),
                );
                return;
            }
            _ => return,
        };
        self.header(dice.pick(&["X-Vault-Token", "X-Vault-Token", "X-Vault-Token", "x-vault-token"]), who);
    }

    fn odd_header(&mut self, dice: &mut Dice) {
        match dice.below(8) {
            0..4 => self.header("X-Vault-Wrap-TTL", dice.pick(&["60", "1m", "0", "-1", "x", "1d", "", "1.5", "60s"])),
            4 => self.header("X-Vault-Namespace", dice.pick(&["", "/", "root", "none", "root/", "a/b", "none/"])),
            5 => self.header(
                "Content-Type",
                dice.pick(&[
                    "application/x-www-form-urlencoded",
                    "text/plain",
                    "application/json; charset=utf-8",
                    MERGE,
                    "x",
                    "application/json-patch+json",
                ]),
            ),
            6 => self.header("X-Vault-Request", dice.pick(&["true", "false"])),
            _ => self.header(
                dice.pick(&[
                    "X-Vault-Policy-Override",
                    "X-Vault-No-Request-Forwarding",
                    "X-Vault-MFA",
                    "X-Vault-Forward",
                    "Origin",
                    "X-Forwarded-For",
                ]),
                dice.pick(&["true", "x", "active-node", "http://a"]),
            ),
        }
    }
}

fn target(route: &Route, dice: &mut Dice) -> String {
    let mut target = String::from("/v1/");
    for (at, segment) in route.template.split('/').enumerate() {
        if at > 0 {
            target.push('/');
        }
        match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) => target.push_str(&parts::in_path(name, &route.template, dice)),
            None if segment.starts_with('-') => {
                target.push_str("{w}");
                target.push_str(segment);
            }
            None => target.push_str(segment),
        }
    }
    match dice.below(60) {
        0 => target.push('/'),
        1 => target = target.replacen("/v1/", "/v1//", 1),
        2 => target = target.replacen("/v1/", "/V1/", 1),
        3 => target = target.replacen("/v1/", "/v1/../v1/", 1),
        _ => {}
    }
    target
}

/// A body: mostly an object of the declared fields.
fn body(route: &Route, dice: &mut Dice, saved: &Saved) -> Vec<u8> {
    if dice.chance(8) {
        return odd_body(dice);
    }
    // Paths that take any field declare none.
    let any = route.template.contains("-kv1/")
        || route.template.starts_with("cubbyhole/")
        || route.template.ends_with("wrapping/wrap");
    if any && dice.chance(80) {
        let objects = [
            "{\"a\":\"hunter2hunter2hunter2\"}",
            "{\"a\":1,\"b\":[1,{\"c\":null}],\"d\":{\"e\":1.10}}",
            "{\"ttl\":\"1h\",\"x\":\"y\"}",
            "{}",
            "{\"ttl\":60}",
            "{\"lease\":\"5m\"}",
            "{\"ttl\":\"x\"}",
            "{\"é\":\"<&>\\u2028\"}",
            "{\"n\":12345678901234567890123,\"m\":1e400}",
            "{\"ttl\":-5}",
            "{\"ttl\":\"1y\"}",
            "{\"zap\":\"\\ud83d\\ude00\"}",
        ];
        return dice.pick(&objects).as_bytes().to_vec();
    }
    let all: Vec<_> = route.fields.iter().collect();
    let mut chosen: Vec<_> = match dice.below(10) {
        0 => Vec::new(),
        // Those without which nothing is done, and one or two more.
        1..8 => all.iter().copied().filter(|(name, _)| needed(name) || dice.chance(150 / all.len().max(2))).collect(),
        _ => all.iter().copied().filter(|_| dice.chance(40)).collect(),
    };
    if dice.chance(10) && !chosen.is_empty() {
        chosen.remove(dice.below(chosen.len()));
    }
    let wrong_at = if dice.chance(18) { dice.below(chosen.len()) } else { usize::MAX };
    let mut parts: Vec<String> = chosen
        .iter()
        .enumerate()
        .map(|(at, (name, kind))| {
            let value = if at == wrong_at {
                values::wrong(dice)
            } else {
                values::right(name, kind, &route.template, dice, saved)
            };
            format!("\"{name}\":{value}")
        })
        .collect();
    match dice.below(24) {
        0 => parts.push("\"nope\":1".to_owned()),
        1 => parts.push("\"name\":\"other\",\"path\":\"other\"".to_owned()),
        2 if !parts.is_empty() => parts.push(parts[0].clone()),
        3 => parts = parts.iter().map(|part| part.replacen(|c: char| c.is_ascii_lowercase(), "A", 1)).collect(),
        _ => {}
    }
    format!("{{{}}}", parts.join(",")).into_bytes()
}

fn needed(name: &str) -> bool {
    matches!(
        name,
        "data"
            | "plaintext"
            | "ciphertext"
            | "input"
            | "policy"
            | "token"
            | "accessor"
            | "password"
            | "versions"
            | "paths"
            | "type"
            | "role_id"
            | "secret_id"
            | "secret_id_accessor"
            | "lease_id"
            | "hash_algorithm"
            | "jwt"
            | "role"
            | "custom_metadata"
            | "kubernetes_host"
            | "user_claim"
            | "signature"
    )
}

fn odd_body(dice: &mut Dice) -> Vec<u8> {
    match dice.below(14) {
        0 => b"{\"a\":".to_vec(),
        1 => b"[]".to_vec(),
        2 => b"\"x\"".to_vec(),
        3 => b"null".to_vec(),
        4 => format!("{}{}", "{\"a\":".repeat(400), "1").into_bytes(),
        5 => format!("{{\"data\":{}1{}}}", "[".repeat(100), "]".repeat(100)).into_bytes(),
        6 => b"\xef\xbb\xbf{\"a\":1}".to_vec(),
        7 => b"{\"data\":{\"a\":\"\xff\xfe\"}}".to_vec(),
        8 => b"{\"a\":1} {\"b\":2}".to_vec(),
        9 => b"  \n{\"data\":{\"a\":1}}\n ".to_vec(),
        10 => b"a=b&c=d".to_vec(),
        11 => b"{\"a\":NaN}".to_vec(),
        12 => b"{'a':1}".to_vec(),
        _ => Vec::new(),
    }
}
