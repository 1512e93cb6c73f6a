//! Kubernetes' quantities, such as `100m` and `1.5Gi` (apimachinery `resource.Quantity`).

/// An amount, in units of 10⁻⁹.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i128);

/// Units of one whole.
const WHOLE: i128 = 1_000_000_000;

/// Maximum number of digits of a quantity. More digits do not fit into an amount.
const MAX_DIGITS: usize = 28;

impl Quantity {
    /// Reads a quantity: a decimal number with a suffix. Parts below 10⁻⁹ are rounded up, as in Kubernetes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (sign, rest) = match text.as_bytes().first()? {
            b'-' => (-1, &text[1..]),
            b'+' => (1, &text[1..]),
            _ => (1, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') || number.len() > MAX_DIGITS {
            return None;
        }
        let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
        let scale = u32::try_from(fraction.len()).ok()?;
        let (factor, power) = factor(suffix)?;
        // digits × factor × 10^(power + 9 - scale)
        let amount = digits.checked_mul(factor)?;
        let power = power + 9 - i32::try_from(scale).ok()?;
        let ten = 10_i128.checked_pow(power.unsigned_abs())?;
        let amount =
            if power >= 0 { amount.checked_mul(ten)? } else { amount / ten + i128::from(amount % ten != 0) };
        Some(Self(sign * amount))
    }

    /// Returns the integer, unless there is a fraction or the integer needs more than 64 bits.
    pub(super) fn as_integer(self) -> Option<i64> {
        (self.0 % WHOLE == 0).then(|| i64::try_from(self.0 / WHOLE).ok())?
    }

    #[expect(clippy::cast_precision_loss, reason = "the function promises an approximation")]
    pub(super) fn as_float(self) -> f64 {
        self.0 as f64 / WHOLE as f64
    }

    pub(super) fn from_integer(value: i64) -> Self {
        Self(i128::from(value) * WHOLE)
    }

    pub(super) fn sign(self) -> i64 {
        i64::try_from(self.0.signum()).unwrap_or_default()
    }

    pub(super) fn add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    pub(super) fn sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

/// Returns the factor and the power of ten of a suffix.
fn factor(suffix: &str) -> Option<(i128, i32)> {
    if let Some(binary) = suffix.strip_suffix('i') {
        let n = "KMGTPE".find(binary).filter(|_| binary.len() == 1)?;
        return Some((1024_i128.pow(u32::try_from(n).ok()? + 1), 0));
    }
    let power = match suffix {
        "n" => -9,
        "u" => -6,
        "m" => -3,
        "" => 0,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        "T" => 12,
        "P" => 15,
        "E" => 18,
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            exponent.parse::<i32>().ok().filter(|power| power.abs() <= 18)?
        }
    };
    Some((1, power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_suffixes_of_kubernetes() {
        let amount = |text: &str| Quantity::parse(text).map(|quantity| quantity.0);
        for (text, units) in [
            ("0", 0),
            ("1", WHOLE),
            ("+1.5", 3 * WHOLE / 2),
            ("-2", -2 * WHOLE),
            ("100m", WHOLE / 10),
            ("1n", 1),
            ("1u", 1000),
            ("0.1n", 1),
            (".5", WHOLE / 2),
            ("5.", 5 * WHOLE),
            ("1k", 1000 * WHOLE),
            ("1Ki", 1024 * WHOLE),
            ("1.5Gi", 3 * 512 * 1024 * 1024 * WHOLE),
            ("2E", 2_000_000_000_000_000_000 * WHOLE),
            ("2E3", 2000 * WHOLE),
            ("1e-3", WHOLE / 1000),
            ("7Ei", 7 * 1_152_921_504_606_846_976 * WHOLE),
        ] {
            assert_eq!(amount(text), Some(units), "{text}");
        }
        for text in ["", "-", "m", "1K", "1.2.3", "1 Gi", "1ki", "1KMi", "1e", "1e+", "1e99", "0x1", "1i"] {
            assert_eq!(amount(text), None, "{text}");
        }
        assert_eq!(amount(&"9".repeat(29)), None);
    }

    #[test]
    fn an_integer_has_no_fraction_and_64_bits() {
        let integer = |text: &str| Quantity::parse(text).and_then(Quantity::as_integer);
        assert_eq!((integer("2k"), integer("1500m"), integer("20E")), (Some(2000), None, None));
    }

    #[test]
    fn compares_and_computes() {
        let quantity = |text: &str| Quantity::parse(text).expect("a quantity");
        assert!(quantity("100Mi") < quantity("1Gi") && quantity("1000m") == quantity("1"));
        assert_eq!(quantity("1").add(quantity("500m")), Some(quantity("1.5")));
        assert_eq!(quantity("1").sub(Quantity::from_integer(2)), Some(quantity("-1")));
        assert_eq!((quantity("-1").sign(), quantity("1500m").as_float()), (-1, 1.5));
    }
}
