//! Sessions in a document: read, played, and held against what happened.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// What stands in a document, in its order.
enum Piece {
    /// Lines that nobody runs.
    Text(String),
    /// A command that sets the stage.
    Unseen(String),
    /// A command, its exit code, and what it prints.
    Shown { command: String, code: i32, output: Vec<String> },
}

/// A document with its sessions.
pub struct Document(Vec<Piece>);

/// What a command did.
pub struct Happened {
    pub code: i32,
    pub output: Vec<String>,
}

const BEGIN: &str = "```console";

impl Document {
    pub fn read(text: &str) -> Document {
        let mut pieces = Vec::new();
        let mut in_session = false;
        for line in text.lines() {
            if in_session && line == "```" {
                in_session = false;
            } else if in_session {
                match (line.strip_prefix("$ "), pieces.last_mut()) {
                    (Some(command), _) => pieces.push(shown(command)),
                    (None, Some(Piece::Shown { output, .. })) => {
                        output.push(line.to_owned());
                        continue;
                    }
                    (None, _) => panic!("output before any command: {line}"),
                }
                continue;
            } else if let Some(command) =
                line.strip_prefix("<!-- $ ").and_then(|line| line.strip_suffix(" -->"))
            {
                pieces.push(Piece::Unseen(command.to_owned()));
                continue;
            } else if line == BEGIN {
                in_session = true;
            }
            pieces.push(Piece::Text(line.to_owned()));
        }
        assert!(!in_session, "a session does not end");
        Document(pieces)
    }

    /// All commands, seen or not.
    pub fn commands(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Unseen(command) | Piece::Shown { command, .. } => Some(command.as_str()),
        })
    }

    /// Where it says something else than what happened.
    pub fn differences(&self, happened: &[Happened]) -> Vec<String> {
        let run = self.0.iter().filter(|piece| !matches!(piece, Piece::Text(_)));
        let mut wrong = Vec::new();
        for (piece, happened) in run.zip(happened) {
            let (command, code, expected) = match piece {
                Piece::Unseen(command) => (command, 0, None),
                Piece::Shown { command, code, output } => (command, *code, Some(output)),
                Piece::Text(_) => continue,
            };
            let printed = happened.output.join("\n");
            if happened.code != code {
                wrong.push(format!("$ {command}\nends with {}, not {code}\n{printed}", happened.code));
            } else if expected.is_some_and(|expected| !matches(expected, &happened.output)) {
                wrong.push(format!(
                    "$ {command}\nprints:\n{printed}\nnot:\n{}",
                    expected.map_or_else(String::new, |lines| lines.join("\n"))
                ));
            }
        }
        wrong
    }

    /// The document with what really happened, where it says something else.
    pub fn blessed(&self, happened: &[Happened]) -> String {
        let mut happened = happened.iter();
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(line) => writeln!(text, "{line}").unwrap(),
                Piece::Unseen(command) => {
                    happened.next();
                    writeln!(text, "<!-- $ {command} -->").unwrap();
                }
                Piece::Shown { command, output, .. } => {
                    let real = happened.next();
                    let code = real.map_or(0, |real| real.code);
                    let end = if code == 0 { String::new() } else { format!("   # ends with {code}") };
                    writeln!(text, "$ {command}{end}").unwrap();
                    let lines = match real {
                        Some(real) if !matches(output, &real.output) => &real.output,
                        _ => output,
                    };
                    lines.iter().for_each(|line| writeln!(text, "{line}").unwrap());
                }
            }
        }
        text
    }
}

fn shown(command: &str) -> Piece {
    let (command, code) = match command.split_once("   # ends with ") {
        Some((command, code)) => (command, code.parse().unwrap()),
        None => (command, 0),
    };
    Piece::Shown { command: command.trim_end().to_owned(), code, output: Vec::new() }
}

/// Whether lines are as expected: `…` alone stands for any lines, within a line for anything.
fn matches(expected: &[String], lines: &[String]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((any, rest)) if any.trim() == "…" => {
            (0..=lines.len()).any(|skipped| matches(rest, &lines[skipped..]))
        }
        Some((line, rest)) => {
            lines.first().is_some_and(|first| line_matches(line, first)) && matches(rest, &lines[1..])
        }
    }
}

fn line_matches(expected: &str, line: &str) -> bool {
    if !expected.contains('…') {
        return alike(expected, line);
    }
    let mut parts = expected.trim_end().split('…');
    let line = line.trim_end();
    let Some(mut at) = parts.next().and_then(|begin| line.strip_prefix(begin)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return at.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return at.ends_with(part);
        }
        match at.find(part) {
            Some(found) => at = &at[found + part.len()..],
            None => return false,
        }
    }
    true
}

/// The same words; figures may differ by a fiftieth, since filesystems of other versions leave a little more or less room.
fn alike(expected: &str, line: &str) -> bool {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (expected, real) = (words(expected), words(line));
    expected.len() == real.len()
        && expected.iter().zip(&real).all(|(expected, real)| {
            let figures = (expected.parse::<f64>(), real.parse::<f64>());
            expected == real || matches!(figures, (Ok(a), Ok(b)) if (a - b).abs() <= 0.02 * a.abs())
        })
}

/// Plays all commands of a document in a place of their own.
pub fn play(document: &Document, program: &Path) -> Vec<Happened> {
    const PRELUDE: &str = r#"
        mount --make-rprivate /
        mkdir -p /media /home
        mount -t tmpfs none /media && mount -t tmpfs none /home || exit 99
        export HOME=/home/anna TZ=UTC LC_ALL=C.UTF-8 COLUMNS=100 NO_COLOR=1
        unset XDG_CONFIG_HOME DISTBACKUP_PATH
        mkdir -p ~ && cd ~
        disk() { truncate -s "$2" "$STAGE/$1.img" && mkfs.ext4 -q -F -m 0 "$STAGE/$1.img" && plug "$1"; }
        plug() { mkdir -p "/media/$1" && mount -o loop "$STAGE/$1.img" "/media/$1"; }
        unplug() { sync; for _ in 1 2 3 4 5 6 7 8 9; do umount "/media/$1" && rmdir "/media/$1" && return; sleep 0.2; done; return 1; }
        noise() { yes "$2" | head -c "$1" > "$2"; }
    "#;
    let stage = TempDir::new().unwrap();
    let mut script = format!("STAGE={}\n{PRELUDE}\n", stage.path().display());
    writeln!(script, "dsb() {{ '{}' \"$@\"; }}", program.display()).unwrap();
    for (number, command) in document.commands().enumerate() {
        writeln!(
            script,
            "printf '\\n@@@ begin {number}\\n'\n{command}\nprintf '\\n@@@ end {number} %d\\n' $?"
        )
        .unwrap();
    }
    // What is still mounted goes with the namespace; loop devices need it to be said.
    writeln!(script, "cd /; sync; umount /media/* 2>/dev/null; true").unwrap();
    let file = stage.path().join("script");
    std::fs::write(&file, script).unwrap();
    let mut run = Command::new("unshare");
    run.args(["-m", "bash"]).arg(&file).stdin(std::process::Stdio::null());
    let done = merged(&mut run);
    let happened = pieces(&done);
    assert_eq!(happened.len(), document.commands().count(), "the session broke off:\n{done}");
    happened
}

/// Both outputs in the order in which they came.
fn merged(command: &mut Command) -> String {
    let file = tempfile::tempfile().unwrap();
    command.stdout(file.try_clone().unwrap()).stderr(file.try_clone().unwrap());
    command.status().unwrap();
    let mut file = file;
    let mut text = Vec::new();
    std::io::Seek::rewind(&mut file).unwrap();
    std::io::Read::read_to_end(&mut file, &mut text).unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

fn pieces(text: &str) -> Vec<Happened> {
    let mut happened = Vec::new();
    let mut lines: Option<Vec<String>> = None;
    for line in text.lines() {
        if line.starts_with("@@@ begin ") {
            lines = Some(Vec::new());
        } else if let Some(end) = line.strip_prefix("@@@ end ") {
            let code = end.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(-1);
            let mut output = lines.take().unwrap_or_default();
            // The newline of our own mark, and none of the output's own.
            if output.last().is_some_and(String::is_empty) {
                output.pop();
            }
            happened.push(Happened { code, output });
        } else if let Some(lines) = &mut lines {
            lines.push(line.to_owned());
        }
    }
    happened
}

/// Commands of `dsb` that are named anywhere outside of sessions: in code spans, and in blocks line by line.
pub fn mentioned(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut in_block, mut in_session) = (false, false);
    for line in text.lines() {
        if line.starts_with("```") {
            in_session = line == BEGIN;
            in_block = !in_block;
            continue;
        }
        if in_session && in_block {
            continue;
        }
        if let Some(command) = line.strip_prefix("    dsb ") {
            found.push(format!("dsb {command}"));
            continue;
        }
        found.extend(
            line.split('`').skip(1).step_by(2).filter(|code| code.starts_with("dsb ")).map(str::to_owned),
        );
    }
    // Two blanks or more, a `#` or a redirection end the command; brackets and dots are how we write what may be left out.
    let cut = |command: String| {
        let ends = ["  ", " # ", " > ", " | "];
        let end = ends.iter().filter_map(|end| command.find(end)).min().unwrap_or(command.len());
        command[..end].replace(['[', ']'], "").replace("...", "").replace('…', "").trim().to_owned()
    };
    found.into_iter().map(cut).filter(|command| !command.starts_with("dsb COMMAND")).collect()
}

/// The words of a command as a shell would split them; `None` if a quote does not close.
pub fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (Some(_), inner) => word.get_or_insert_default().push(inner),
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, other) => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}
