//! Decimal numbers of any length: what sprig's float functions compute with, so that 0.1 + 0.2 is 0.3.

use num_bigint::{BigInt, Sign};

/// Digits after the point that a division gives.
const DIVISION: i32 = 16;

/// `value * 10^exponent`
pub(super) struct Decimal {
    value: BigInt,
    exponent: i32,
}

impl Decimal {
    /// The shortest decimal that is this float; none for an infinity.
    pub fn from_float(float: f64) -> Option<Self> {
        if !float.is_finite() {
            return None;
        }
        let text = format!("{float:e}");
        let (mantissa, exponent) = text.split_once('e')?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let value = BigInt::parse_bytes(format!("{whole}{fraction}").as_bytes(), 10)?;
        let exponent = exponent.parse::<i32>().ok()? - i32::try_from(fraction.len()).ok()?;
        Some(Self { value, exponent })
    }

    /// The nearest float.
    pub fn to_float(&self) -> f64 {
        format!("{}e{}", self.value, self.exponent).parse().unwrap_or(f64::NAN)
    }

    /// About how many digits there are.
    pub fn digits(&self) -> usize {
        usize::try_from(self.value.bits() / 3).unwrap_or(usize::MAX)
    }

    pub fn add(&self, other: &Self) -> Self {
        let exponent = self.exponent.min(other.exponent);
        Self { value: self.scaled(exponent) + other.scaled(exponent), exponent }
    }

    pub fn sub(&self, other: &Self) -> Self {
        let exponent = self.exponent.min(other.exponent);
        Self { value: self.scaled(exponent) - other.scaled(exponent), exponent }
    }

    pub fn mul(&self, other: &Self) -> Self {
        Self { value: &self.value * &other.value, exponent: self.exponent + other.exponent }
    }

    /// Rounded to 16 digits after the point, halves away from zero; none where `other` is zero.
    pub fn div(&self, other: &Self) -> Option<Self> {
        if other.value.sign() == Sign::NoSign {
            return None;
        }
        let shift = self.exponent - other.exponent + DIVISION;
        let power = power_of_ten(shift.unsigned_abs());
        let (dividend, divisor) =
            if shift >= 0 { (&self.value * power, other.value.clone()) } else { (self.value.clone(), &other.value * power) };
        let mut quotient = &dividend / &divisor;
        let rest = &dividend - &quotient * &divisor;
        if (rest.magnitude() * 2u32) >= *divisor.magnitude() {
            let same = dividend.sign() == divisor.sign();
            quotient += if same { 1 } else { -1 };
        }
        Some(Self { value: quotient, exponent: -DIVISION })
    }

    fn scaled(&self, exponent: i32) -> BigInt {
        &self.value * power_of_ten(self.exponent.abs_diff(exponent))
    }
}

fn power_of_ten(exponent: u32) -> BigInt {
    BigInt::from(10u32).pow(exponent)
}
