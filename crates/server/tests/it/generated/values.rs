//! What stands in fields: right, odd, hostile.

use super::dice::Dice;
use super::saved::Saved;

const TIMES: &[&str] = &[
    "\"1h\"",
    "\"60\"",
    "60",
    "\"90s\"",
    "\"1d\"",
    "\"1.5h\"",
    "0",
    "\"0\"",
    "\"-1s\"",
    "-1",
    "\"abc\"",
    "\"1h30m\"",
    "\"9999999h\"",
    "2764800",
    "\"768h\"",
    "\"769h\"",
    "3e3",
    "1.5",
    "\"\"",
    "\" 5m \"",
    "\"1y\"",
    "\"1w\"",
    "\"1h1\"",
    "\"+60\"",
    "\"0x10\"",
    "\"1_000\"",
    "\"5m5\"",
    "\"2540400h\"",
    "9223372036854775807",
    "\".5h\"",
    "\"1H\"",
];
const NAMES: &[&str] =
    &["\"x\"", "\"a b\"", "\"é∞\"", "\"\"", "\"X\"", "\"a/b\"", "\"-\"", "\"a\\nb\"", "\"a\\tb\\u0001\"", "\"<&>\""];
const BOOLEANS: &[&str] = &["true", "false", "\"true\"", "\"1\"", "0", "\"yes\"", "\"\"", "\"TRUE\"", "1.0"];
const NUMBERS: &[&str] =
    &["1", "2", "0", "\"3\"", "-1", "1.0", "1e2", "\"0x2\"", "\"\"", "\" 1\"", "10", "1.5", "\"1.5\""];
const LISTS: &[&str] = &[
    "[\"a\"]",
    "[]",
    "\"a,b\"",
    "[\"a\",\"b\"]",
    "\"\"",
    "[\"a\",1,true]",
    "[\"a\",\"a\"]",
    "[\" a \",\"\"]",
    "\"a, b ,,\"",
];
const MAPS: &[&str] = &[
    "{}",
    "{\"a\":\"b\"}",
    "{\"a\":1,\"b\":[1,null]}",
    "{\"a\":{\"b\":{}}}",
    "{\"A\":\"\",\"é\":\"∞\"}",
    "\"a=b\"",
    "{\"a\":null}",
];
const PAIRS: &[&str] = &[
    "{\"a\":\"b\"}",
    "{}",
    "\"a=b\"",
    "[\"a=b\",\"c=d=e\"]",
    "{\"a\":1}",
    "\"a\"",
    "{\"a\":true}",
    "{\"a\":[1]}",
    "\"{\\\"a\\\":\\\"b\\\"}\"",
    "{\"a\":null}",
];
const WRONG: &[&str] = &[
    "null",
    "true",
    "-1",
    "1.5",
    "1e400",
    "12345678901234567890123",
    "\"\"",
    "\"x\"",
    "[]",
    "[1]",
    "{}",
    "{\"a\":{}}",
    "[null]",
    "\"a\\u0000b\"",
    "\"\\ud800\"",
    "[[[]]]",
    "[{}]",
    "\"\\\"\"",
    "-0",
    "1E5",
    "0.0000001",
    "\"%s%n\"",
    "\"../../x\"",
    "[\"a\",{}]",
];
const CIDRS: &[&str] = &[
    "[\"127.0.0.0/8\"]",
    "\"127.0.0.1/32\"",
    "\"127.0.0.1\"",
    "[]",
    "\"\"",
    "[\"127.0.0.1/8\",\"::1/128\"]",
    "\"10.0.0.0/33\"",
    "\"x\"",
    "[\"127.0.0.1/32\",\"127.0.0.1/32\"]",
];
const POLICIES: &[&str] = &[
    "[\"default\"]",
    "\"{w}-p\"",
    "[\"{w}-p\",\"default\"]",
    "[]",
    "\"a,B, c\"",
    "[\"root\"]",
    "\"none\"",
    "[\"{w}-P\"]",
    "[\" {w}-p \"]",
    "[\"response-wrapping\"]",
    "[\"a b\"]",
];
const TOKENS: &[&str] = &[
    "\"{limited}\"",
    "\"{batch}\"",
    "\"{revoked}\"",
    "\"x\"",
    "\"\"",
    "\"{spare}\"",
    "\"s.\"",
    "\" {limited}\"",
    "\"{limited}.x\"",
    "\"hvs.x\"",
];
const ACCESSORS: &[&str] = &["\"{limited-accessor}\"", "\"x\"", "\"\"", "\"{spare-accessor}\"", "\"{limited}\""];
const TEXTS: &[&str] = &[
    "\"aGVsbG8=\"",
    "\"\"",
    "\"aGVsbG8\"",
    "\"aHVudGVyMmh1bnRlcjJodW50ZXIy\"",
    "\"hello\"",
    "\"+/+/\"",
    "\"-_-_\"",
    "\"AAAA\"",
    "\"!\"",
    "\"aGVs bG8=\"",
    "\"aGVsbG8=\\n\"",
];
const ALGORITHMS: &[&str] = &[
    "\"sha2-256\"",
    "\"sha2-512\"",
    "\"sha2-224\"",
    "\"sha3-256\"",
    "\"sha1\"",
    "\"none\"",
    "\"md5\"",
    "\"SHA2-256\"",
    "\"\"",
    "\"sha2-384\"",
];
const KEY_TYPES: &[&str] = &[
    "\"aes256-gcm96\"",
    "\"aes128-gcm96\"",
    "\"chacha20-poly1305\"",
    "\"xchacha20-poly1305\"",
    "\"ed25519\"",
    "\"ecdsa-p256\"",
    "\"ecdsa-p384\"",
    "\"ecdsa-p521\"",
    "\"hmac\"",
    "\"x\"",
    "\"\"",
    "\"AES256-GCM96\"",
];
const RULES: &[&str] = &[
    "\"path \\\"{w}-kv2/*\\\" { capabilities = [\\\"read\\\"] }\"",
    "\"{\\\"path\\\":{\\\"a/*\\\":{\\\"capabilities\\\":[\\\"list\\\"]}}}\"",
    "\"path \\\"a\\\" { policy = \\\"write\\\" }\"",
    "\"path \\\"a\\\" { capabilities = [\\\"fly\\\"] }\"",
    "\"path \\\"a\\\" {\"",
    "\"x\"",
    "\"\"",
    "\"path \\\"a/+/b\\\" { capabilities = [\\\"create\\\"] required_parameters = [\\\"x\\\"] }\"",
    "\"path \\\"a\\\" { capabilities = [\\\"deny\\\"] } path \\\"a\\\" { capabilities = [\\\"read\\\"] }\"",
    "\"path \\\"a/*/b\\\" { capabilities = [\\\"read\\\"] }\"",
    "\"path \\\"+*\\\" { capabilities = [\\\"read\\\"] }\"",
    "\"path \\\"a\\\" { capabilities = [\\\"read\\\"] min_wrapping_ttl = \\\"1h\\\" max_wrapping_ttl = \\\"1m\\\" }\"",
    "\"path \\\"a\\\" { capabilities = [\\\"update\\\"] allowed_parameters = { \\\"*\\\" = [] } denied_parameters = { \\\"b\\\" = [\\\"c*\\\"] } }\"",
    "\"# nothing\"",
    "\"cGF0aCAiYSIgeyBjYXBhYmlsaXRpZXMgPSBbInJlYWQiXSB9\"",
    "\"{}\"",
    "\"[]\"",
    "\"name = \\\"x\\\"\"",
    "\"path \\\"a\\\" { capabilities = \\\"read\\\" }\"",
    "\"path \\\"a\\\" { nothing = 1 }\"",
    "\"path \\\"\\\" { capabilities = [\\\"read\\\"] }\"",
    "\"path \\\"/a\\\" { capabilities = [\\\"read\\\"] }\"",
    "\"path \\\"a\\\" \\\"b\\\" { capabilities = [\\\"read\\\"] }\"",
];
const PASSWORD_RULES: &[&str] = &[
    "\"length = 20\\nrule \\\"charset\\\" { charset = \\\"abcde\\\" }\"",
    "\"length = 4\\nrule \\\"charset\\\" { charset = \\\"a\\\" min-chars = 4 }\"",
    "\"length = 3\"",
    "\"length = 20\"",
    "\"x\"",
    "\"\"",
    "\"length = 20\\nrule \\\"x\\\" { charset = \\\"a\\\" }\"",
    "\"length = 20\\nrule \\\"charset\\\" { charset = \\\"\\\" }\"",
    "\"length = 200\\nrule \\\"charset\\\" { charset = \\\"ab\\\" }\"",
];
const PATHS: &[&str] = &[
    "\"{w}-kv2/data/a\"",
    "[\"{w}-kv2/data/a\",\"sys/mounts\"]",
    "\"sys/seal\"",
    "[]",
    "\"/x\"",
    "\"\"",
    "\"auth/token/lookup-self\"",
    "[\"a\",\"a\"]",
    "\"{w}-kv2/data/a,{w}-kv1/x\"",
    "\"cubbyhole/x\"",
    "\"../x\"",
    "\"*\"",
];
const BATCHES: &[&str] = &[
    "[{\"plaintext\":\"aGVsbG8=\"},{\"plaintext\":\"YQ==\"}]",
    "[]",
    "[{}]",
    "[{\"ciphertext\":\"vault:v1:AAAA\"}]",
    "\"x\"",
    "{}",
    "[1]",
    "[{\"plaintext\":\"!\"},{\"plaintext\":\"YQ==\"}]",
    "[{\"plaintext\":\"YQ==\",\"reference\":\"r\"},{}]",
    "[{\"input\":\"aGVsbG8=\"}]",
    "[{\"input\":\"!\"},{\"input\":\"YQ==\"}]",
    "[{\"plaintext\":1}]",
    "[null]",
    "[{\"plaintext\":\"YQ==\",\"context\":\"Y29udGV4dA==\"}]",
    "[{\"input\":\"YQ==\",\"signature\":\"vault:v1:AAAA\"}]",
    "[{\"plaintext\":\"YQ==\",\"key_version\":9}]",
    "[{\"plaintext\":\"YQ==\",\"nope\":1}]",
];
/// Keys for public ones and the like: nothing that a key is.
const PEMS: &[&str] =
    &["[]", "\"\"", "\"x\"", "[\"-----BEGIN PUBLIC KEY-----\\nAAAA\\n-----END PUBLIC KEY-----\"]", "[\"x\"]"];

/// JSON of what a field takes, by its name, or else by its kind.
pub fn right(field: &str, kind: &str, template: &str, dice: &mut Dice, saved: &Saved) -> String {
    let all: &[&str] = match field {
        "policy" | "rules" if template.contains("password") => PASSWORD_RULES,
        "policy" | "rules" => RULES,
        "policies"
        | "token_policies"
        | "allowed_policies"
        | "disallowed_policies"
        | "allowed_policies_glob"
        | "disallowed_policies_glob" => POLICIES,
        name if name.contains("cidr") => CIDRS,
        "token" if template.contains("wrapping") => return saved.any("wrapping", dice, TOKENS),
        "token" => return saved.any("token", dice, TOKENS),
        "accessor" => return saved.any("accessor", dice, ACCESSORS),
        "lease_id" | "url_lease_id" => {
            &["\"x\"", "\"\"", "\"auth/token/create/x\"", "\"auth/token/create/h0\"", "\"/\""]
        }
        "ciphertext" => {
            return saved.any(
                "ciphertext",
                dice,
                &["\"vault:v1:AAAA\"", "\"x\"", "\"\"", "\"vault:v9:AAAA\"", "\"vault:v1:\"", "\"vault:v1:!\""],
            );
        }
        "signature" | "hmac" if kind.starts_with("string") => {
            return saved.any(
                "signature",
                dice,
                &["\"vault:v1:AAAA\"", "\"x\"", "\"\"", "\"vault:v9:AAAA\"", "\"vault:v1:!\""],
            );
        }
        "plaintext" | "input" | "context" | "associated_data" | "nonce" => TEXTS,
        "batch_input" => BATCHES,
        "algorithm" | "hash_algorithm" | "urlalgorithm" => ALGORITHMS,
        "hash_function" => &["\"SHA256\"", "\"SHA1\"", "\"x\"", "\"\""],
        "marshaling_algorithm" => &["\"asn1\"", "\"jws\"", "\"x\"", "\"\""],
        "signature_algorithm" => &["\"pss\"", "\"pkcs1v15\"", "\"x\"", "\"\""],
        "salt_length" => &["\"auto\"", "\"hash\"", "\"0\"", "20", "\"x\""],
        "type" if template.contains("keys") => KEY_TYPES,
        "type" if template.contains("token") => &["\"service\"", "\"batch\"", "\"x\"", "\"default\"", "\"\""],
        "type" if template.starts_with("sys/auth") => {
            &["\"userpass\"", "\"approle\"", "\"kv\"", "\"x\"", "\"\"", "\"token\""]
        }
        "type" if template.starts_with("sys/mounts") => {
            &["\"kv\"", "\"kv-v2\"", "\"transit\"", "\"x\"", "\"\"", "\"cubbyhole\"", "\"approle\"", "\"system\""]
        }
        "token_type" => {
            &["\"service\"", "\"batch\"", "\"default\"", "\"default-service\"", "\"default-batch\"", "\"x\"", "\"\""]
        }
        "format" => &["\"hex\"", "\"base64\"", "\"x\"", "\"\""],
        "bytes" | "urlbytes" => &["16", "0", "-1", "\"32\"", "1000000", "\"x\""],
        "source" => &["\"platform\"", "\"seal\"", "\"all\"", "\"x\""],
        "version" | "key_version" | "min_available_version" | "min_decryption_version" | "min_encryption_version" => {
            &["1", "2", "0", "-1", "\"1\"", "9", "\"x\""]
        }
        "versions" => &["[1]", "[1,2]", "\"1\"", "[]", "[9]", "[-1]", "\"1,2\"", "[\"1\"]", "[0]", "\"x\""],
        "data" => &[
            "{\"a\":\"hunter2hunter2hunter2\"}",
            "{}",
            "{\"a\":{\"b\":[1,null,\"x\"]},\"é\":1e3}",
            "{\"n\":12345678901234567890123,\"f\":1.10}",
            "{\"a\":null}",
            "\"x\"",
            "[]",
        ],
        "options" if template.contains("-kv2/data") => &[
            "{\"cas\":0}",
            "{\"cas\":1}",
            "{\"cas\":2}",
            "{}",
            "{\"cas\":\"1\"}",
            "{\"cas\":-1}",
            "{\"cas\":\"x\"}",
            "{\"x\":1}",
            "null",
        ],
        "options" => &["{\"version\":\"2\"}", "{\"version\":\"1\"}", "{}", "{\"version\":2}", "{\"version\":\"3\"}"],
        "config" => &[
            "{}",
            "{\"default_lease_ttl\":\"1h\"}",
            "{\"max_lease_ttl\":\"1h\",\"default_lease_ttl\":\"2h\"}",
            "{\"force_no_cache\":true}",
            "{\"default_lease_ttl\":\"x\"}",
            "{\"listing_visibility\":\"unauth\"}",
            "{\"listing_visibility\":\"x\"}",
            "{\"token_type\":\"batch\"}",
            "{\"passthrough_request_headers\":[\"X-A\",\"x-b\"]}",
            "{\"allowed_response_headers\":\"X-A\"}",
            "{\"audit_non_hmac_request_keys\":[\"a\"],\"audit_non_hmac_response_keys\":[]}",
            "{\"max_lease_ttl\":\"2h\"}",
        ],
        "user_lockout_config" => {
            &["{}", "{\"lockout_disable\":true}", "{\"lockout_threshold\":\"3\"}", "{\"lockout_duration\":\"x\"}"]
        }
        "listing_visibility" => &["\"unauth\"", "\"hidden\"", "\"\"", "\"x\""],
        name if name.contains("_headers") || name.contains("_hmac_") => {
            &["[\"X-A\",\"x-b\"]", "\"X-A\"", "[]", "\"\"", "\"a,b\"", "[\"*\"]", "[\"a\",\"a\"]"]
        }
        "path" if template.contains("quotas") => &[
            "\"{w}-kv2/\"",
            "\"{w}-kv2/data/a\"",
            "\"{w}-kv1\"",
            "\"\"",
            "\"{w}-none\"",
            "\"auth/{w}-approle\"",
            "\"auth/{w}-approle/login\"",
            "\"{w}-kv2/da*\"",
            "\"sys/mounts\"",
            "\"/{w}-kv1/\"",
            "\"{w}-kv2/data/+\"",
        ],
        "role" if template.contains("quotas") => &["\"\"", "\"\"", "\"r\"", "\"none\""],
        "default_lease_ttl" | "max_lease_ttl" => {
            &["\"1h\"", "\"2h\"", "\"0\"", "\"system\"", "\"x\"", "3600", "\"99999h\""]
        }
        "metadata" if kind.starts_with("string") => {
            &["\"{\\\"a\\\":\\\"b\\\"}\"", "\"\"", "\"x\"", "\"{\\\"a\\\":1}\"", "\"[]\""]
        }
        "password" => &["\"U*U\"", "\"\"", "\"hunter2hunter2hunter2\""],
        "role_id" => &["\"{role}\"", "\"x\"", "\"\""],
        "secret_id" => return saved.any("secret_id", dice, &["\"x\"", "\"\""]),
        "secret_id_accessor" => return saved.any("secret_id_accessor", dice, &["\"x\"", "\"\""]),
        "paths" | "path" => PATHS,
        "partial_failure_response_code" => &["200", "400", "0", "\"x\"", "207"],
        "public_key"
        | "jwt_validation_pubkeys"
        | "pem_keys"
        | "pgp_keys"
        | "pgp_key"
        | "certificate_chain"
        | "csr"
        | "jwks_ca_pem"
        | "oidc_discovery_ca_pem"
        | "kubernetes_ca_cert" => PEMS,
        "kubernetes_host" | "jwks_url" | "oidc_discovery_url" => {
            &["\"http://127.0.0.1:1\"", "\"\"", "\"x\"", "\"http://127.0.0.1:1/\""]
        }
        "jwt" => &["\"x\"", "\"a.b.c\"", "\"\"", "\"eyJhbGciOiJub25lIn0.e30.\""],
        "role" => &["\"r\"", "\"none\"", "\"R\"", "\"\""],
        "user_claim" => &["\"sub\"", "\"\"", "\"/a/b\""],
        "role_type" => &["\"jwt\"", "\"\"", "\"x\""],
        "bound_claims" | "claim_mappings" => &["{\"a\":\"b\"}", "{}", "{\"a\":[\"b\",\"c\"]}", "{\"a\":1}"],
        "alias_name_source" => &["\"serviceaccount_uid\"", "\"serviceaccount_name\"", "\"x\"", "\"\""],
        "rate" => &["1000000", "\"1000000\"", "1e6", "1000000.5", "0", "-1", "\"x\"", "\"\""],
        _ if field.contains("ttl")
            || field.contains("period")
            || field.contains("leeway")
            || field.contains("duration")
            || field.contains("after")
            || matches!(field, "increment" | "interval" | "lease") =>
        {
            TIMES
        }
        _ => match kind.split(' ').next().unwrap_or_default() {
            "boolean" => BOOLEANS,
            "integer" if kind.contains("seconds") => TIMES,
            "integer" | "number" => NUMBERS,
            "array" => LISTS,
            "object" if kind.contains("kvpairs") => PAIRS,
            "object" => MAPS,
            _ => NAMES,
        },
    };
    dice.pick(all).to_owned()
}

/// JSON of another kind than a field's.
pub fn wrong(dice: &mut Dice) -> String {
    if dice.chance(5) { format!("\"{}\"", "A".repeat(3000)) } else { dice.pick(WRONG).to_owned() }
}
