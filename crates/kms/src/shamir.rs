//! Shamir's secret sharing over GF(256), as HashiCorp Vault and sops have it.
//!
//! For each byte of the secret there is a polynomial of degree `threshold - 1` with that byte at x = 0 and random other
//! coefficients. Share number x is `y(x) of each byte || x`, so one byte longer than the secret, with x = 1, 2, … in order.
//! The field is that of AES: polynomials over GF(2) modulo x⁸ + x⁴ + x³ + x + 1 (0x11b).
//!
//! Nothing here branches on, or indexes by, a secret.
//!
//! Source: <https://github.com/hashicorp/vault/blob/main/shamir/shamir.go>, which sops took over.

use bulla_core::SecretBytes;

/// Why shares could not be made or put together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Fewer than 2 shares are needed, more than there are, or there would be more than 255.
    #[error(
        "cannot split a key into {parts} parts of which {threshold} are needed: 2 to 255 parts, and 2 to all of them, can be"
    )]
    Threshold {
        /// How many shares.
        parts: usize,
        /// How many of them give the secret back.
        threshold: usize,
    },
    /// There is nothing to split.
    #[error("an empty secret cannot be split")]
    Empty,
    /// One share says nothing.
    #[error("at least 2 shares are needed, {0} given")]
    TooFew(usize),
    /// A share of another secret, or a damaged one.
    #[error("the shares have different lengths, or are too short to be shares")]
    Length,
    /// Number 0 is where the secret is; no share has it.
    #[error("a share has the number 0, which none can have")]
    Zero,
    /// The same share twice, or two with the same number.
    #[error("two shares have the number {0}")]
    Duplicate(u8),
    /// The system has no randomness to give.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// Splits `secret` into `parts` shares of which any `threshold` give it back, and fewer say nothing.
///
/// # Errors
/// [`Error::Threshold`], [`Error::Empty`], [`Error::Random`].
pub fn split(secret: &SecretBytes, parts: usize, threshold: usize) -> Result<Vec<SecretBytes>, Error> {
    let (Ok(last), 2..) = (u8::try_from(parts), threshold) else { return Err(Error::Threshold { parts, threshold }) };
    if threshold > parts {
        return Err(Error::Threshold { parts, threshold });
    }
    if secret.is_empty() {
        return Err(Error::Empty);
    }
    // Row i holds the coefficients of xⁱ for all bytes: row 0 is the secret.
    let len = secret.len();
    let mut coefficients = SecretBytes::zeroed(len * threshold);
    let (constant, random) = coefficients.expose_mut().split_at_mut(len);
    constant.copy_from_slice(secret.expose());
    getrandom::fill(random)?;
    Ok((1..=last).map(|x| evaluate(&coefficients, len, x)).collect())
}

/// The share number `x`, by Horner's rule.
fn evaluate(coefficients: &SecretBytes, len: usize, x: u8) -> SecretBytes {
    let mut share = SecretBytes::zeroed(len + 1);
    for row in coefficients.expose().chunks_exact(len).rev() {
        for (y, coefficient) in share.expose_mut().iter_mut().zip(row) {
            *y = multiply(*y, x) ^ coefficient;
        }
    }
    share.expose_mut()[len] = x;
    share
}

/// Puts a secret together from `shares`. All that are given are used. Too few, or ones that do not belong together, give a
/// wrong secret and no error: nothing in a share could tell.
///
/// # Errors
/// [`Error::TooFew`] below 2, [`Error::Length`], [`Error::Zero`], [`Error::Duplicate`].
pub fn combine(shares: &[SecretBytes]) -> Result<SecretBytes, Error> {
    let [first, _, ..] = shares else { return Err(Error::TooFew(shares.len())) };
    if first.len() < 2 || shares.iter().any(|share| share.len() != first.len()) {
        return Err(Error::Length);
    }
    let len = first.len() - 1;
    // The numbers of shares are no secret.
    let numbers: Vec<u8> = shares.iter().map(|share| share.expose()[len]).collect();
    for (i, number) in numbers.iter().enumerate() {
        match number {
            0 => return Err(Error::Zero),
            number if numbers[..i].contains(number) => return Err(Error::Duplicate(*number)),
            _ => {}
        }
    }
    let mut secret = SecretBytes::zeroed(len);
    for (share, number) in shares.iter().zip(&numbers) {
        let weight = lagrange(*number, &numbers);
        for (byte, y) in secret.expose_mut().iter_mut().zip(share.expose()) {
            *byte ^= multiply(*y, weight);
        }
    }
    Ok(secret)
}

/// How much the share `number` counts at x = 0: the product of `other / (number - other)` over the others, where minus is
/// plus in this field.
fn lagrange(number: u8, numbers: &[u8]) -> u8 {
    let others = numbers.iter().filter(|other| **other != number);
    others.fold(1, |weight, other| multiply(weight, multiply(*other, invert(number ^ other))))
}

/// The product in GF(256), a bit of `b` at a time and each bit the same work.
fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    for _ in 0..8 {
        product ^= mask(b & 1) & a;
        a = (a << 1) ^ (mask(a >> 7) & 0x1b);
        b >>= 1;
    }
    product
}

/// All ones for 1, all zeros for 0. The compiler must not see that it is one or the other, and make it a branch.
fn mask(bit: u8) -> u8 {
    std::hint::black_box(bit.wrapping_neg())
}

/// The inverse: a²⁵⁴, because a²⁵⁵ = 1. 0 for 0.
fn invert(a: u8) -> u8 {
    // 254 = 2 + 4 + 8 + … + 128.
    let mut square = a;
    let mut result = 1;
    for _ in 0..7 {
        square = multiply(square, square);
        result = multiply(result, square);
    }
    result
}

#[cfg(test)]
mod tests;
