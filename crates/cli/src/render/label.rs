//! The label of a disk: what is printed and stuck on it, as text for a terminal and as a drawing for a printer of labels.
//!
//! Names and places are the user's words: whatever they contain, they stay in their place and mean nothing else.

use distbackup_core::model::harmless;
use qrcode::{Color, EcLevel, QrCode};

/// What stands on a label.
#[derive(Debug, Clone)]
pub struct Label {
    /// What the code says: `dsb:` and the disk's UUID. Whatever else stands there may change one day.
    pub content: String,
    /// The disk's name.
    pub name: String,
    /// Its size, as on its box.
    pub size: String,
    /// The day on which it joined: `2026-11-23`.
    pub added: String,
    /// Where it is kept.
    pub location: Option<String>,
    /// Which set it belongs to, and which disk it is: the beginnings of their UUIDs.
    pub set: String,
    /// See `set`.
    pub uuid: String,
}

/// Light modules around a code, as the standard asks for.
const QUIET: usize = 4;
/// The label, in millimetres: the width of the usual rolls, and the height of their small labels.
const WIDTH_MM: f64 = 62.0;
const HEIGHT_MM: f64 = 29.0;
/// The code with its light frame, in millimetres, and where the words begin.
const CODE_MM: f64 = 27.0;
const WORDS_X_MM: f64 = 29.0;
const WORDS_MM: f64 = WIDTH_MM - WORDS_X_MM - 1.5;
/// Width of a narrow character as a part of the height of the letters: of a wide font, so that others fit, too.
const NARROW: f64 = 0.62;
/// Columns of words beside a code of characters.
const COLUMNS: usize = 48;

/// The code, frame included: rows of dark (`true`) and light modules.
fn code(content: &str) -> Result<Vec<Vec<bool>>, String> {
    let code = QrCode::with_error_correction_level(content, EcLevel::M).map_err(|error| error.to_string())?;
    let (width, colors) = (code.width(), code.to_colors());
    let side = width + 2 * QUIET;
    let mut rows = vec![vec![false; side]; side];
    for (row, line) in colors.chunks(width).enumerate() {
        for (column, color) in line.iter().enumerate() {
            rows[row + QUIET][column + QUIET] = *color == Color::Dark;
        }
    }
    Ok(rows)
}

impl Label {
    /// The words, from the most to the least important, each with its height in millimetres, at most and at least, and how
    /// many lines it may take.
    fn words(&self) -> Vec<(String, f64, f64, usize)> {
        let mut words = vec![
            (self.name.clone(), 5.5, 2.6, 2),
            (self.size.clone(), 3.8, 2.6, 1),
            (format!("added {}", self.added), 2.6, 2.0, 1),
        ];
        words.extend(self.location.iter().map(|location| (location.clone(), 3.0, 2.2, 2)));
        words.push((format!("set {} · disk {}", self.set, self.uuid), 1.9, 1.5, 1));
        words
            .into_iter()
            .map(|(text, most, least, lines)| (harmless(&text).into_owned(), most, least, lines))
            .collect()
    }

    /// The label as lines of characters, two modules above each other in one. `light_letters`: what is written shines, as on
    /// most terminals; on paper it is dark.
    pub fn text(&self, light_letters: bool) -> Result<Vec<String>, String> {
        let rows = code(&self.content)?;
        let light = vec![false; rows.len()];
        let mut lines: Vec<String> = rows
            .chunks(2)
            .map(|pair| {
                let below = pair.get(1).unwrap_or(&light);
                let both = pair[0].iter().zip(below);
                both.map(|(&above, &below)| match (above != light_letters, below != light_letters) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                })
                .collect()
            })
            .collect();
        let words: Vec<String> = self
            .words()
            .into_iter()
            .flat_map(|(text, _, _, most)| wrap(&text, COLUMNS as f64, most))
            .collect();
        let first = lines.len().saturating_sub(words.len()) / 2;
        for (line, words) in lines.iter_mut().skip(first).zip(&words) {
            line.push_str("  ");
            line.push_str(words);
        }
        Ok(lines)
    }

    /// The label as a drawing of 62 x 29 mm that needs nothing else: black on white.
    pub fn svg(&self) -> Result<String, String> {
        let rows = code(&self.content)?;
        let module = CODE_MM / rows.len() as f64;
        let margin = (HEIGHT_MM - CODE_MM) / 2.0;
        let mut path = String::new();
        for (y, row) in rows.iter().enumerate() {
            let mut x = 0;
            while x < row.len() {
                let run = row[x..].iter().take_while(|dark| **dark).count();
                if run > 0 {
                    path.push_str(&format!("M{x} {y}h{run}v1h-{run}z"));
                }
                x += run.max(1);
            }
        }
        let mut words = String::new();
        let mut y = margin + 0.5;
        for (at, (text, most, least, lines_max)) in self.words().into_iter().enumerate() {
            let (height, lines) = fit(&text, most, least, lines_max);
            let bold = if at == 0 { " font-weight=\"bold\"" } else { "" };
            for line in lines {
                y += height * 1.15;
                let line = escaped(&line);
                words.push_str(&format!(
                    "  <text x=\"{WORDS_X_MM}\" y=\"{y:.2}\" font-size=\"{height:.2}\"{bold}>{line}</text>\n"
                ));
            }
        }
        Ok(format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH_MM}mm\" height=\"{HEIGHT_MM}mm\" viewBox=\"0 0 {WIDTH_MM} {HEIGHT_MM}\">\n\
             \x20 <title>{title}</title>\n\
             \x20 <clipPath id=\"words\"><rect x=\"{WORDS_X_MM}\" y=\"0\" width=\"{WORDS_MM}\" height=\"{HEIGHT_MM}\"/></clipPath>\n\
             \x20 <rect width=\"{WIDTH_MM}\" height=\"{HEIGHT_MM}\" fill=\"#fff\"/>\n\
             \x20 <path transform=\"translate({margin} {margin}) scale({module:.5})\" fill=\"#000\" shape-rendering=\"crispEdges\" d=\"{path}\"/>\n\
             \x20 <g clip-path=\"url(#words)\" font-family=\"DejaVu Sans, Arial, sans-serif\" fill=\"#000\">\n{words}  </g>\n</svg>\n",
            title = escaped(&harmless(&self.name)),
        ))
    }
}

/// The greatest height of letters at which a text fits into so many lines; at the smallest one the rest is left out.
fn fit(text: &str, most: f64, least: f64, lines_max: usize) -> (f64, Vec<String>) {
    let mut height = most;
    loop {
        let columns = WORDS_MM / (height * NARROW);
        // What takes two lines is not as high as what takes one.
        let lines = if height > most * 0.7 { 1 } else { lines_max };
        if height <= least || width(text) <= columns || (lines > 1 && wrapped(text, columns).len() <= lines) {
            return (height, wrap(text, columns, lines_max));
        }
        height = (height - 0.1).max(least);
    }
}

/// Lines of at most so many columns, at most so many of them; an ellipsis stands for the rest.
fn wrap(text: &str, columns: f64, lines_max: usize) -> Vec<String> {
    let mut lines = wrapped(text, columns);
    if lines.len() > lines_max {
        lines.truncate(lines_max);
        if let Some(last) = lines.last_mut() {
            while width(last) + 1.0 > columns && last.pop().is_some() {}
            last.push('…');
        }
    }
    lines
}

/// Lines of at most so many columns, broken at blanks where there are some.
fn wrapped(text: &str, columns: f64) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for c in text.chars() {
        if width(&line) + width_of(c) > columns && c == ' ' {
            lines.push(std::mem::take(&mut line));
        } else if width(&line) + width_of(c) > columns {
            let rest = line.rfind(' ').map(|at| line.split_off(at).trim_start().to_owned());
            lines.push(std::mem::take(&mut line));
            line = rest.unwrap_or_default();
        }
        if !(line.is_empty() && c == ' ') {
            line.push(c);
        }
    }
    lines.push(line);
    lines
}

/// Columns that a text takes.
fn width(text: &str) -> f64 {
    text.chars().map(width_of).sum()
}

/// Columns of one character: East Asian ones and pictures take two, what stands above another one none.
fn width_of(c: char) -> f64 {
    match u32::from(c) {
        0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0.0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f000..=0x1faff
        | 0x20000..=0x3fffd => 2.0,
        // Letters of a proportional font that are far from narrow.
        0x40 | 0x57 | 0x4d | 0x6d | 0x77 | 0x25 => 1.5,
        _ => 1.0,
    }
}

/// A text inside XML. Characters that XML forbids even escaped become a replacement.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(location: &str) -> Label {
        Label {
            content: "dsb:0198f1c2-7c1d-4b8e-9a51-3f4d2c1b0a99".into(),
            name: "A-blue".into(),
            size: "4.0 TB".into(),
            added: "2026-11-23".into(),
            location: Some(location.into()),
            set: "77aa01ff".into(),
            uuid: "0198f1c2".into(),
        }
    }

    /// The modules that characters show, read back.
    fn modules(lines: &[String], side: usize, light_letters: bool) -> Vec<Vec<bool>> {
        let mut rows = Vec::new();
        for line in lines {
            let half = |upper: bool| {
                let drawn = line.chars().take(side).map(move |c| if upper { "█▀" } else { "█▄" }.contains(c));
                drawn.map(|drawn| drawn != light_letters).collect::<Vec<_>>()
            };
            rows.extend([half(true), half(false)]);
        }
        rows.truncate(side);
        rows
    }

    #[test]
    fn the_code_of_characters_is_the_code_on_paper_and_on_a_terminal() {
        let label = label("office safe");
        let expected = code(&label.content).unwrap();
        assert_eq!(expected.len(), 29 + 2 * QUIET, "a code of version 3");
        for light_letters in [false, true] {
            let lines = label.text(light_letters).unwrap();
            assert_eq!(modules(&lines, expected.len(), light_letters), expected);
        }
    }

    #[test]
    fn the_drawn_code_has_the_same_modules() {
        let label = label("office safe");
        let (expected, svg) = (code(&label.content).unwrap(), label.svg().unwrap());
        let mut drawn = vec![vec![false; expected.len()]; expected.len()];
        let path = svg.split_once(" d=\"").unwrap().1.split_once('"').unwrap().0;
        for run in path.split_terminator('z') {
            let (place, rest) = run.strip_prefix('M').unwrap().split_once('h').unwrap();
            let (x, y) = place.split_once(' ').unwrap();
            let length: usize = rest.split_once('v').unwrap().0.parse().unwrap();
            let (x, y): (usize, usize) = (x.parse().unwrap(), y.parse().unwrap());
            drawn[y][x..x + length].iter_mut().for_each(|module| *module = true);
        }
        assert_eq!(drawn, expected);
    }

    #[test]
    fn n12_hostile_and_endless_words_stay_words_inside_the_label() {
        for hostile in [
            "<script>&\"'>]]>",
            "</text></g></svg><svg onload=\"x()\">",
            "\u{1b}[31m\u{0}\u{202e}\u{ffff}\r\n",
            "&#0;&amp;",
            &"very long ".repeat(500),
            &"x".repeat(5000),
            &"倉庫".repeat(900),
            "🧰📦",
            "",
            " ",
            &" ".repeat(300),
        ] {
            let label = Label { name: hostile.into(), ..label(hostile) };
            let svg = label.svg().unwrap();
            let tags: Vec<&str> =
                svg.split('<').skip(1).map(|tag| tag.split([' ', '>']).next().unwrap()).collect();
            let known = [
                "?xml",
                "svg",
                "title",
                "/title",
                "clipPath",
                "rect",
                "/clipPath",
                "path",
                "g",
                "text",
                "/text",
                "/g",
                "/svg",
            ];
            assert!(tags.iter().all(|tag| known.contains(tag)), "{hostile:?}: {tags:?}");
            assert!(!svg.chars().any(|c| c.is_control() && c != '\n'), "{hostile:?}");
            // Every line of words ends on the label, and no letter reaches the code.
            let lowest =
                svg.split(" y=\"").skip(1).filter_map(|rest| rest.split('"').next()?.parse::<f64>().ok());
            assert!(lowest.fold(0.0, f64::max) < HEIGHT_MM, "{hostile:?}\n{svg}");
            let lines = label.text(false).unwrap();
            assert!(lines.iter().all(|line| width(line) <= (37 + 2 + COLUMNS) as f64), "{hostile:?}");
            assert_eq!(lines.len(), 19);
        }
    }

    #[test]
    fn words_are_broken_at_blanks_and_cut_with_an_ellipsis() {
        assert_eq!(wrap("home shelf", 20.0, 2), ["home shelf"]);
        assert_eq!(wrap("the office safe", 11.0, 2), ["the office", "safe"]);
        assert_eq!(wrap("aaaa bbbb cccc dddd", 9.0, 2), ["aaaa bbbb", "cccc…"]);
        assert_eq!(wrap("倉庫倉庫", 4.0, 1), ["倉…"]);
    }
}
