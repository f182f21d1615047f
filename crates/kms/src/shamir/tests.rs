//! The shares of the Go code open here, and what must not be put together is refused.

use proptest::prelude::*;

use super::*;

/// Made with `github.com/getsops/sops/v3/shamir` of sops 3.13.3: how many are needed, the secret, its shares.
const VECTORS: &[(usize, &str, &[&str])] = &[
    (
        2,
        "030a11181f262d343b424950575e656c737a81888f969da4abb2b9c0c7ced5dc",
        &[
            "44f493618ce889029792e1bac3b1b9d69e90c10555f95ab62e2edac08663bc1e01",
            "8ded0eea22a17e5878f9029f649bc603b2b5018920480880ba917fc0458f074302",
        ],
    ),
    (
        2,
        "030a11181f262d343b424950575e656c737a81888f969da4abb2b9c0c7ced5dc",
        &[
            "528391003b0be12f686dd00112b676d0e2e6e19a44a65d1eb5b481921273c75c01",
            "a1030a28577cae029d1c60f2dd95430f4a5941ac02f606cb97bec96476aff1c702",
            "f08a8a3073516219ce33f9a3987d50b3dbc521bec9c6c67189b8f136a312e34703",
        ],
    ),
    (
        3,
        "030a11181f262d343b424950575e656c737a81888f969da4abb2b9c0c7ced5dc",
        &[
            "6f2dfb22337a14e43df262e2cf170f2073b3d33131b9372f21594c15bd1c6c8701",
            "f015424114e1865d3688609745ca121bde9bb6fa7c403844a70a075255d3e99702",
            "9c32a87b38bdbf8d30384b25dd837857de52e443c26f92cf2de1f2872f0150cc03",
        ],
    ),
    (
        3,
        "030a11181f262d343b424950575e656c737a81888f969da4abb2b9c0c7ced5dc",
        &[
            "ca03765c282bd4b3336f4d6e0fcf7d79309ffc005c3186f79691497e536bdfd501",
            "587d5311f7dc82ff21b426b585d1d1da404c38053fc5edb900b5b75b7fed3fd202",
            "91743455c0d17b782999228bdd40c9cf03a9458dec62f6ea3d9647e5eb4835db03",
            "d06b9338fa646bec273310d37bb5305df7a7ffa7c0287e448fa35c30b65bcfb004",
            "1962f47ccd69926b2f1e14ed23242848b442822f138f6517b280ac8e22fec5b905",
        ],
    ),
    (
        5,
        "030a1118",
        &["a13165e501", "466758cd02", "837113d403", "23215a9b04", "c8f4ac0805", "733ff02f06", "ffc7395807"],
    ),
    // The first and last of 255.
    (4, "03", &["7d01", "5302", "ad03", "57fa", "fcfb", "64fc", "62fd", "3afe", "bcff"]),
];

fn hex(text: &str) -> SecretBytes {
    let byte = |i| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
    SecretBytes::from((0..text.len()).step_by(2).map(byte).collect::<Vec<u8>>())
}

/// Those of `shares` whose bit is set in `which`.
fn subset(shares: &[SecretBytes], which: u32) -> Vec<SecretBytes> {
    let chosen = |(i, share): (usize, &SecretBytes)| (which >> i & 1 == 1).then(|| share.clone());
    shares.iter().enumerate().filter_map(chosen).collect()
}

#[test]
fn enough_shares_of_the_go_code_give_its_secret_back_and_fewer_do_not() {
    for (threshold, secret, shares) in VECTORS {
        let shares: Vec<_> = shares.iter().map(|share| hex(share)).collect();
        for which in 1_u32..1 << shares.len() {
            let count = which.count_ones() as usize;
            if count < 2 {
                continue;
            }
            let combined = combine(&subset(&shares, which)).unwrap();
            // A secret of one byte comes out by chance once in 256.
            assert!(combined == hex(secret) || count < *threshold, "{secret} {which:b}");
            assert!(combined != hex(secret) || count >= *threshold || secret.len() == 2, "{secret} {which:b}");
        }
    }
}

/// The share numbers reach into all of the field, so the weights of these vectors prove its multiplication against the Go code's;
/// this proves it against its definition.
#[test]
fn the_field_is_that_of_aes() {
    // FIPS 197, section 4.2.
    assert_eq!(multiply(0x57, 0x83), 0xc1);
    assert_eq!(multiply(0x57, 0x13), 0xfe);
    assert_eq!(invert(0), 0);
    for a in 1..=255 {
        assert_eq!(multiply(a, invert(a)), 1, "{a}");
        assert_eq!(multiply(a, 1), a);
        assert_eq!(multiply(a, 0), 0);
    }
}

#[test]
fn shares_are_numbered_from_1_and_one_byte_longer() {
    let shares = split(&SecretBytes::zeroed(32), 255, 2).unwrap();
    assert!(shares.iter().all(|share| share.len() == 33));
    assert!(shares.iter().map(|share| share.expose()[32]).eq(1..=255));
}

#[test]
fn what_cannot_be_split_is_refused() {
    let secret = SecretBytes::zeroed(32);
    for (parts, threshold) in [(0, 0), (1, 1), (2, 0), (2, 1), (2, 3), (256, 2), (256, 256), (usize::MAX, 2)] {
        assert_eq!(split(&secret, parts, threshold).unwrap_err(), Error::Threshold { parts, threshold });
    }
    assert_eq!(split(&SecretBytes::new(), 2, 2).unwrap_err(), Error::Empty);
}

#[test]
fn what_cannot_be_put_together_is_refused() {
    let shares = split(&SecretBytes::zeroed(32), 3, 2).unwrap();
    let with = |bytes: &[u8]| combine(&[shares[0].clone(), SecretBytes::from(bytes)]).unwrap_err();
    assert_eq!(combine(&[]).unwrap_err(), Error::TooFew(0));
    assert_eq!(combine(&shares[..1]).unwrap_err(), Error::TooFew(1));
    assert_eq!(with(&[7; 32]), Error::Length);
    assert_eq!(with(&[7; 34]), Error::Length);
    assert_eq!(with(&[0; 33]), Error::Zero);
    assert_eq!(with(shares[0].expose()), Error::Duplicate(1));
    for bytes in [&[][..], &[1]] {
        let short = SecretBytes::from(bytes);
        assert_eq!(combine(&[short.clone(), short]).unwrap_err(), Error::Length);
    }
}

#[test]
fn one_share_is_as_likely_for_one_secret_as_for_another() {
    // With the same secret each time, the first byte of share 1 must take all values evenly: 256 values, 100 times each.
    const ROUNDS: usize = 25_600;
    let secret = SecretBytes::from(&[0x42][..]);
    let mut counts = [0_i64; 256];
    for _ in 0..ROUNDS {
        counts[usize::from(split(&secret, 2, 2).unwrap()[0].expose()[0])] += 1;
    }
    let chi_squared: i64 = counts.iter().map(|count| (count - 100) * (count - 100) / 100).sum();
    // 255 degrees of freedom: above 400 once in 10⁸ runs.
    assert!(chi_squared < 400, "{chi_squared}");
}

proptest! {
    #[test]
    fn any_threshold_of_the_shares_gives_the_secret_and_one_less_does_not(
        secret in prop::collection::vec(any::<u8>(), 16..40),
        parts in 2_usize..12,
        threshold in 0_usize..10,
        which in any::<prop::sample::Index>(),
        order in any::<u64>(),
    ) {
        let threshold = 2 + threshold % (parts - 1);
        let secret = SecretBytes::from(secret);
        let shares = split(&secret, parts, threshold).unwrap();
        let subsets: Vec<u32> = (0..1 << parts).filter(|bits: &u32| bits.count_ones() as usize == threshold).collect();
        let mut chosen = subset(&shares, subsets[which.index(subsets.len())]);
        // The order in which they come does not matter.
        let middle = usize::try_from(order % threshold as u64).unwrap();
        chosen.rotate_left(middle);
        prop_assert!(combine(&chosen).unwrap() == secret);
        chosen.pop();
        if chosen.len() >= 2 {
            prop_assert!(combine(&chosen).unwrap() != secret);
        }
        prop_assert!(combine(&shares).unwrap() == secret);
    }
}
