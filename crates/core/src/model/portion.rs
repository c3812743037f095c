//! How much of a long work is to be done: a length of time, or a share.

use core::time::Duration;

use super::units::UnitError;

/// Parses how long something may take: `45s`, `30min`, `2h`, `1.5h`, `1d`. A bare number has no unit and is refused.
pub fn parse_time_box(text: &str) -> Result<Duration, UnitError> {
    let bad = || UnitError::TimeBox(text.to_owned());
    let clean = text.trim().to_ascii_lowercase();
    let split = clean.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(clean.len());
    let (number, unit) = clean.split_at(split);
    let seconds = match unit.trim() {
        "s" | "sec" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(bad()),
    };
    let number: f64 = number.parse().map_err(|_| bad())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())
}

/// Parses a share in percent as parts of a million: `5%`, `0.1%`, `5`. More than nothing, at most all.
pub fn parse_share_ppm(text: &str) -> Result<u32, UnitError> {
    let bad = || UnitError::Share(text.to_owned());
    let number = text.trim().trim_end_matches('%').trim_end();
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let percent: f64 = number.parse().ok().filter(|_| plain).ok_or_else(bad)?;
    let ppm = (percent * 10_000.0).round();
    if (1.0..=1_000_000.0).contains(&ppm) { Ok(ppm as u32) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_box_needs_a_unit() {
        assert_eq!(parse_time_box("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_time_box("1.5 h"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_time_box("90min"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_time_box("0s"), Ok(Duration::ZERO));
        for bad in ["", "2", "h", "-1h", "2y", "1e99h", "nan h", "1..5h"] {
            assert!(parse_time_box(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_share_is_more_than_nothing_and_at_most_all() {
        assert_eq!(parse_share_ppm("5%"), Ok(50_000));
        assert_eq!(parse_share_ppm("0.1"), Ok(1000));
        assert_eq!(parse_share_ppm("100 %"), Ok(1_000_000));
        for bad in ["", "%", "0%", "101%", "-5%", "inf", "1e1", "five"] {
            assert!(parse_share_ppm(bad).is_err(), "{bad}");
        }
    }
}
