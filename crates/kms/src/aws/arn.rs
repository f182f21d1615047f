//! ARNs of keys of AWS KMS, checked before anything is done with one.
//!
//! ```text
//! arn = "arn:aws" *( word / "-" ) ":kms:" region ":" account ":" ( "key" / "alias" ) "/" name
//! ```
//! As sops checks them in 3.11 and 3.13 (its `kms/keysource.go`), but stricter about the region, for which it takes anything:
//! letters, digits and dashes, because it becomes part of a host name that requests are signed for.

/// The region in a key's or alias' ARN.
///
/// # Errors
/// What is wrong with the ARN.
pub(super) fn region(arn: &str) -> Result<&str, String> {
    let mut parts = arn.splitn(6, ':');
    let mut part = || parts.next().unwrap_or_default();
    let (scheme, partition, service, region, account, resource) = (part(), part(), part(), part(), part(), part());
    let word = |text: &str, also: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c));
    let named = ["key/", "alias/"].iter().any(|kind| resource.strip_prefix(kind).is_some_and(|name| !name.is_empty()));
    let is_arn = scheme == "arn"
        && partition.strip_prefix("aws").is_some_and(|rest| word(rest, "-_"))
        && service == "kms"
        && !region.is_empty()
        && word(region, "-")
        && !account.is_empty()
        && account.bytes().all(|b| b.is_ascii_digit())
        && named;
    if is_arn {
        return Ok(region);
    }
    Err(format!(
        "`{arn}` is not the ARN of a KMS key or alias (expected arn:aws:kms:REGION:ACCOUNT:key/ID or …:alias/NAME)"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "arn:aws:kms:us-west-2:107501996527:key/612d5f0p-p1l3-45e6-aca6-a5b005693a48";

    #[test]
    fn the_region_of_keys_aliases_and_other_partitions_is_found() {
        assert_eq!(region(KEY).unwrap(), "us-west-2");
        assert_eq!(region("arn:aws-us-gov:kms:us-gov-west-1:1:alias/a/b").unwrap(), "us-gov-west-1");
        assert_eq!(region("arn:aws-cn:kms:cn-north-1:1:key/mrk-1").unwrap(), "cn-north-1");
    }

    #[test]
    fn what_is_no_kms_arn_is_refused() {
        for text in [
            "",
            "arn:aws:kms",
            "arn:aws:iam::1:role/r",
            "arn:aws:kms::1:key/k",
            "arn:aws:kms:us-east-1:acc:key/k",
            "arn:aws:kms:us-east-1:1:key/",
            "arn:aws:kms:us-east-1:1:grant/g",
            "arn:awful!:kms:us-east-1:1:key/k",
            "alias/name",
        ] {
            assert!(region(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_region_cannot_name_another_host() {
        for region_text in ["evil.example", "x/", "x@y", "x#", "x y"] {
            assert!(region(&format!("arn:aws:kms:{region_text}:1:key/k")).is_err(), "{region_text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_check_panic(text in "(arn:aws:kms:)?\\PC{0,80}") {
            let _ = region(&text);
        }
    }
}
