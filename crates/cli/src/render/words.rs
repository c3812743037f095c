//! Small words: counts, times ago, plurals, tables.

use distbackup_core::model::Bytes;

/// A number with commas: `412,806`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 file`, `2 files`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// How long ago: `3 d ago`, `never`.
pub fn ago(then_ns: Option<i64>, now_ns: i64) -> String {
    let Some(then_ns) = then_ns else { return "never".into() };
    let seconds = now_ns.saturating_sub(then_ns).max(0) / 1_000_000_000;
    match seconds {
        0..60 => "just now".into(),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        86_400..4_838_400 => format!("{} d ago", seconds / 86_400),
        4_838_400..63_072_000 => format!("{} wk ago", seconds / 604_800),
        _ => format!("{} y ago", seconds / 31_536_000),
    }
}

/// A length of time as people say it: `40 s`, `12 min`, `1 h 25 min`, `3 d 4 h`.
pub fn duration(time: std::time::Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..90 => format!("{} s", seconds.max(1)),
        90..3600 => format!("{} min", (seconds + 30) / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A moment in local time: `2026-11-23 14:05`.
pub fn moment(time_ns: i64) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(time_ns)) {
        Ok(time) => time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string(),
        Err(_) => "?".into(),
    }
}

/// A moment to the second with its offset: `2026-11-23T14:05:09+01:00`.
pub fn timestamp(time_ns: i64) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(time_ns)) {
        Ok(time) => time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        Err(_) => "?".into(),
    }
}

/// A share of a whole as `21 %`; never `100 %` or `0 %` for what is not.
pub fn share(part: Bytes, whole: Bytes) -> String {
    if whole.0 == 0 || part == whole {
        return if whole.0 == 0 { "0 %".into() } else { "100 %".into() };
    }
    let per_mille = (u128::from(part.0) * 1000 / u128::from(whole.0)) as u64;
    match per_mille {
        _ if part.0 == 0 => "0 %".into(),
        0 => "<0.1 %".into(),
        995.. => format!("{}.{} %", (per_mille / 10).min(99), per_mille % 10),
        _ if per_mille < 100 => format!("{}.{} %", per_mille / 10, per_mille % 10),
        _ => format!("{} %", (per_mille + 5) / 10),
    }
}

/// A word of a command line that is shown to be pasted: quoted where a shell would read it otherwise.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A table: the first column to the left, those marked `>` to the right.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let right: Vec<bool> = head.iter().map(|title| title.starts_with('>')).collect();
    let titles: Vec<String> = head.iter().map(|title| title.trim_start_matches('>').to_owned()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(titles.get(column).map(|title| title.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let line = |cells: &[String]| {
        let mut out = String::from(" ");
        for ((cell, &width), &right) in cells.iter().zip(&widths).zip(&right) {
            let space = " ".repeat(width.saturating_sub(cell.chars().count()));
            out.push(' ');
            if right {
                out.push_str(&space);
                out.push_str(cell);
            } else {
                out.push_str(cell);
                out.push_str(&space);
            }
            out.push(' ');
        }
        out.trim_end().to_owned()
    };
    std::iter::once(line(&titles)).chain(rows.iter().map(|row| line(row))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_shares_never_lie() {
        assert_eq!(grouped(412_806), "412,806");
        assert_eq!(grouped(7), "7");
        assert_eq!(share(Bytes(999_999), Bytes(1_000_000)), "99.9 %");
        assert_eq!(share(Bytes(1), Bytes(1_000_000)), "<0.1 %");
        assert_eq!(share(Bytes(5), Bytes(5)), "100 %");
        assert_eq!(share(Bytes(0), Bytes(5)), "0 %");
        assert_eq!(share(Bytes(21), Bytes(100)), "21 %");
    }
}
