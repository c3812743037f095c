//! Bytes, sizes as people write them, and durations.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

/// A number of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// Nanoseconds in a day.
pub const DAY_NS: i64 = 86_400 * 1_000_000_000;

/// Copies that everything should have unless `mincopies` says otherwise: one disk may die (PLACEMENT 1).
pub const COPIES_WANTED: u16 = 2;

/// The block in which room is billed (PLACEMENT 1).
pub const BLOCK: u64 = 4096;

/// Room that an object of `size` bytes takes on a disk: one block for its metadata, and its
/// content in whole allocation units of `unit` bytes, at least [`BLOCK`] each (PLACEMENT 1).
pub fn billed(size: Bytes, unit: u64) -> Bytes {
    let unit = unit.max(BLOCK);
    Bytes(size.0.div_ceil(unit).saturating_mul(unit).saturating_add(BLOCK))
}

impl Add for Bytes {
    type Output = Bytes;
    fn add(self, other: Bytes) -> Bytes {
        Bytes(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Bytes) {
        *self = *self + other;
    }
}

impl Sub for Bytes {
    type Output = Bytes;
    /// Never below zero: room that is overdrawn is no room.
    fn sub(self, other: Bytes) -> Bytes {
        Bytes(self.0.saturating_sub(other.0))
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Bytes>>(iter: I) -> Bytes {
        iter.fold(Bytes(0), Add::add)
    }
}

impl fmt::Display for Bytes {
    /// Decimal units, as printed on the disk's box: `9.4 GB`, `812 GB`, `3.91 TB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
        if self.0 < 1000 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut value = self.0 as f64;
        let mut unit = 0;
        // 999.95 would be shown as "1000": step on before rounding can reach it.
        while value >= 999.5 && unit + 1 < UNITS.len() {
            value /= 1000.0;
            unit += 1;
        }
        let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
        f.pad(&format!("{value:.digits$} {}", UNITS[unit]))
    }
}

/// A text is not a size or a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Neither a number nor a number with a unit.
    #[error("not a size: {0:?} (examples: 500G, 7.4T, 1.5TiB, 80%, -20G)")]
    Size(String),
    /// The size is larger than any disk.
    #[error("too large: {0:?}")]
    TooLarge(String),
    /// Neither days nor a number with `d`, `w`, `m` or `y`.
    #[error("not a duration: {0:?} (examples: 90d, 12w, 6m, 2y)")]
    Duration(String),
    /// Not a number with `s`, `min`, `h` or `d`.
    #[error("not a length of time: {0:?} (examples: 2h, 30min, 45s, 1d)")]
    TimeBox(String),
    /// Not a number of percent above 0 and up to 100.
    #[error("not a share: {0:?} (examples: 5%, 0.5%)")]
    Share(String),
}

/// How the capacity of a disk was given: `7.4T`, `80%` or `-20G`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeRule {
    /// What is really free there, less a reserve.
    Automatic,
    /// So many bytes.
    Fixed(Bytes),
    /// So many thousandths of the whole filesystem.
    PerMille(u32),
    /// All but so many bytes of the whole filesystem.
    LeaveFree(Bytes),
}

/// Parses a plain amount: `500G`, `7.4T`, `1.5TiB`, `1,000`, `12 MB`. Decimal unless `i` is given.
pub fn parse_size(text: &str) -> Result<Bytes, UnitError> {
    let bad = || UnitError::Size(text.to_owned());
    let clean: String = text.chars().filter(|c| !c.is_whitespace() && *c != ',' && *c != '_').collect();
    let split = clean.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(clean.len());
    let (number, unit) = clean.split_at(split);
    let factor = unit_factor(unit).ok_or_else(bad)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(bad());
    }
    if !fraction.bytes().all(|c| c.is_ascii_digit()) || fraction.len() > 18 {
        return Err(bad());
    }
    // Integers throughout: a capacity decides what is deleted, so no rounding of floats.
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| bad())? };
    let scale = 10u128.pow(fraction.len() as u32);
    let bytes = whole
        .checked_mul(factor)
        .and_then(|bytes| bytes.checked_add(part * factor / scale))
        .filter(|&bytes| bytes <= i64::MAX as u128)
        .ok_or_else(|| UnitError::TooLarge(text.to_owned()))?;
    Ok(Bytes(bytes as u64))
}

fn unit_factor(unit: &str) -> Option<u128> {
    let lower = unit.to_ascii_lowercase();
    let (letter, binary) = match lower.as_str() {
        "" | "b" => return Some(1),
        other => match other.strip_suffix("ib").or_else(|| other.strip_suffix('i')) {
            Some(letter) => (letter, true),
            None => (other.strip_suffix('b').unwrap_or(other), false),
        },
    };
    let power = match letter {
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        "e" => 6,
        _ => return None,
    };
    Some(if binary { 1u128 << (10 * power) } else { 1000u128.pow(power) })
}

impl SizeRule {
    /// Parses what `--size` takes: an amount, `80%` of the filesystem, `-20G` to leave free, `auto`.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let clean = text.trim();
        if clean.eq_ignore_ascii_case("auto") {
            return Ok(SizeRule::Automatic);
        }
        if let Some(amount) = clean.strip_prefix('-') {
            return parse_size(amount).map(SizeRule::LeaveFree);
        }
        let Some(percent) = clean.strip_suffix('%') else {
            return parse_size(clean).map(SizeRule::Fixed);
        };
        let (whole, tenth) = percent.trim().split_once('.').unwrap_or((percent.trim(), "0"));
        let bad = || UnitError::Size(text.to_owned());
        let whole: u32 = whole.parse().map_err(|_| bad())?;
        let tenth: u32 = if tenth.len() == 1 { tenth.parse().map_err(|_| bad())? } else { return Err(bad()) };
        let per_mille = whole.checked_mul(10).and_then(|n| n.checked_add(tenth)).ok_or_else(bad)?;
        if per_mille == 0 || per_mille > 1000 { Err(bad()) } else { Ok(SizeRule::PerMille(per_mille)) }
    }
}

impl fmt::Display for SizeRule {
    /// The spelling that [`SizeRule::parse`] reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SizeRule::Automatic => f.write_str("auto"),
            SizeRule::Fixed(bytes) => write!(f, "{}", bytes.0),
            SizeRule::PerMille(n) => write!(f, "{}.{}%", n / 10, n % 10),
            SizeRule::LeaveFree(bytes) => write!(f, "-{}", bytes.0),
        }
    }
}

/// Parses a retention or trust time into whole days: `90d`, `12w`, `6m` (30 days each), `2y` (365), or plain days.
pub fn parse_duration_days(text: &str) -> Result<u32, UnitError> {
    let bad = || UnitError::Duration(text.to_owned());
    let clean = text.trim().to_ascii_lowercase();
    let split = clean.find(|c: char| !c.is_ascii_digit()).unwrap_or(clean.len());
    let (number, unit) = clean.split_at(split);
    let days: u32 = match unit.trim() {
        "" | "d" => 1,
        "w" => 7,
        "m" => 30,
        "y" => 365,
        _ => return Err(bad()),
    };
    number.parse::<u32>().ok().and_then(|n| n.checked_mul(days)).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_size("500G"), Ok(Bytes(500_000_000_000)));
        assert_eq!(parse_size("7.4T"), Ok(Bytes(7_400_000_000_000)));
        assert_eq!(parse_size("1.5TiB"), Ok(Bytes(1_649_267_441_664)));
        assert_eq!(parse_size("12,288"), Ok(Bytes(12_288)));
        assert_eq!(parse_size("2 MB"), Ok(Bytes(2_000_000)));
        for bad in ["", "G", "1.2.3G", "-5", "5X", "1e9", "."] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert!(matches!(parse_size("99999999999E"), Err(UnitError::TooLarge(_))));
    }

    #[test]
    fn a_size_rule_survives_being_written_and_read() {
        for text in ["7.4T", "80%", "99.5%", "-20G", "auto"] {
            let rule = SizeRule::parse(text).unwrap();
            assert_eq!(SizeRule::parse(&rule.to_string()), Ok(rule), "{text}");
        }
        assert!(SizeRule::parse("101%").is_err());
        assert!(SizeRule::parse("0%").is_err());
    }

    #[test]
    fn sizes_are_shown_in_three_digits() {
        let shown: Vec<String> = [0, 999, 1000, 9_400_000, 999_999, 812_000_000_000, 3_912_000_000_000]
            .map(|n| Bytes(n).to_string())
            .into();
        assert_eq!(shown, ["0 B", "999 B", "1.00 kB", "9.40 MB", "1.00 MB", "812 GB", "3.91 TB"]);
    }

    #[test]
    fn room_is_billed_in_whole_units_and_one_block() {
        assert_eq!(billed(Bytes(0), 4096), Bytes(4096));
        assert_eq!(billed(Bytes(1), 512), Bytes(8192));
        assert_eq!(billed(Bytes(4097), 4096), Bytes(12288));
        assert_eq!(billed(Bytes(1), 131_072), Bytes(135_168));
    }

    #[test]
    fn durations_are_days() {
        assert_eq!(parse_duration_days("90d"), Ok(90));
        assert_eq!(parse_duration_days("2y"), Ok(730));
        assert!(parse_duration_days("soon").is_err());
    }
}
