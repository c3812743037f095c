//! Outcomes and events into words: on a terminal, as plain lines, or as JSON.
//!
//! Standard output carries the answer, standard error progress and messages (INTERFACE). In JSON every line
//! of standard output is one object; the last one is always a `summary`, success or not.
//!
//! Whatever is said may contain the name of a file or of a disk, or what a stranger's catalog says (N12). So here, where
//! everything passes, what would steer a terminal is escaped; only our own colours are added after that.

pub mod label;
mod log;
mod progress;
pub mod words;

use std::io::Write;
use std::sync::Mutex;

use anstyle::{AnsiColor, Style};
use distbackup_core::model::{Bytes, escape_bytes, harmless, is_steering};
use distbackup_engine::ops::Problems;
use distbackup_engine::progress::{Event, Observer};
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
pub use log::LogFile;
use progress::Progress;

/// Problems that are shown by path; all are counted, and all are in the log file.
const SHOWN_MAX: usize = 20;

/// Where everything that is said goes.
pub struct Render {
    json: bool,
    quiet: bool,
    verbose: u8,
    exact: bool,
    progress: Option<Progress>,
    log: Mutex<Option<LogFile>>,
    /// Whether the user asked to stop.
    stop: fn() -> bool,
}

/// How to say things.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// As JSON.
    pub json: bool,
    /// Only what went wrong.
    pub quiet: bool,
    /// More; from 2 on everything.
    pub verbose: u8,
    /// Sizes in exact bytes.
    pub exact: bool,
    /// With colour or without; `None`: as the terminal and `NO_COLOR` say.
    pub colour: Option<bool>,
    /// How progress is shown.
    pub progress: ShowProgress,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShowProgress {
    /// Bars on a terminal, plain lines elsewhere.
    Fitting,
    /// Plain lines.
    Plain,
    /// Not at all.
    Never,
}

/// How things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// As they should be.
    Good,
    /// Something could be better.
    Fair,
    /// Something is to be done.
    Bad,
}

impl Render {
    /// Prepares output.
    pub fn new(settings: &Settings, log: Option<LogFile>, stop: fn() -> bool) -> Self {
        if let Some(colour) = settings.colour {
            let choice = if colour { anstream::ColorChoice::Always } else { anstream::ColorChoice::Never };
            choice.write_global();
        }
        let show = !settings.quiet && !settings.json && settings.progress != ShowProgress::Never;
        Render {
            json: settings.json,
            quiet: settings.quiet,
            verbose: settings.verbose,
            exact: settings.exact,
            progress: show.then(|| Progress::new(settings.progress == ShowProgress::Plain)),
            log: Mutex::new(log),
            stop,
        }
    }

    /// Whether the answer is JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// A size, as the user asked for sizes.
    pub fn size(&self, bytes: Bytes) -> String {
        if self.exact { words::grouped(bytes.0) } else { bytes.to_string() }
    }

    fn log(&self, level: &str, text: &str) {
        if let Some(log) = self.log.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).as_mut() {
            log.line(level, &harmless(text));
        }
    }

    /// A line of the answer.
    pub fn line(&self, text: &str) {
        self.log("INFO", text);
        if !self.json {
            self.out(text);
        }
    }

    /// A line of the answer that begins with words which tell how things are; the colour only repeats them.
    pub fn headline(&self, mood: Mood, words: &str, rest: &str) {
        self.log("INFO", &format!("{words}{rest}"));
        if self.json {
            return;
        }
        let colour = match mood {
            Mood::Good => AnsiColor::Green,
            Mood::Fair => AnsiColor::Yellow,
            Mood::Bad => AnsiColor::Red,
        };
        let style = Style::new().fg_color(Some(colour.into())).bold();
        let (words, rest) = (harmless(words), harmless(rest));
        let write = || writeln!(anstream::stdout().lock(), "{style}{words}{style:#}{rest}");
        match &self.progress {
            Some(progress) => progress.suspended(|| drop(write())),
            None => drop(write()),
        }
    }

    /// A line of the result that `--quiet` leaves out.
    pub fn say(&self, text: &str) {
        self.log("INFO", text);
        if !self.json && !self.quiet {
            self.out(text);
        }
    }

    fn out(&self, text: &str) {
        let text = harmless(text);
        let write = || writeln!(anstream::stdout().lock(), "{text}");
        // A reader that has gone away has seen enough; there is nowhere else to say it.
        match &self.progress {
            Some(progress) => progress.suspended(|| drop(write())),
            None => drop(write()),
        }
    }

    fn err(&self, text: &str) {
        self.err_after("", text);
    }

    /// A message behind a word in colour.
    fn err_after(&self, word: &str, text: &str) {
        // Some messages draw where a rule is wrong. Whatever breaks a line, no later one looks like one of ours.
        let lines: Vec<_> = text.split('\n').map(harmless).collect();
        let text = lines.join("\n    ");
        let write = || writeln!(anstream::stderr().lock(), "{word}{text}");
        match &self.progress {
            Some(progress) => progress.suspended(|| drop(write())),
            None => drop(write()),
        }
    }

    /// One object of a JSON answer.
    pub fn object(&self, kind: &str, mut value: Value) {
        if self.json {
            if let Value::Object(map) = &mut value {
                map.insert("v".into(), json!(1));
                map.insert("type".into(), json!(kind));
            }
            let _ = writeln!(std::io::stdout().lock(), "{}", plain_json(&value));
        }
    }

    /// Something the user should know.
    pub fn note(&self, text: &str) {
        self.log("INFO", text);
        if self.json {
            self.object("status", json!({ "message": text }));
        } else if !self.quiet {
            self.err(text);
        }
    }

    /// Something that is not as it should be.
    pub fn warning(&self, text: &str) {
        self.log("WARNING", text);
        if self.json {
            self.object("warning", json!({ "message": text }));
        } else {
            let style = Style::new().fg_color(Some(AnsiColor::Yellow.into())).bold();
            self.err_after(&format!("{style}warning:{style:#} "), text);
        }
    }

    /// Problems with files: the first ones by path, all of them counted.
    pub fn problems(&self, title: &str, problems: &Problems) {
        if problems.is_empty() {
            return;
        }
        for problem in &problems.first {
            self.log("WARNING", &format!("{}: {}", escape_bytes(&problem.path), problem.reason));
        }
        if self.json {
            return;
        }
        self.err(&format!("! {title}:"));
        for problem in problems.first.iter().take(SHOWN_MAX) {
            self.err(&format!("    {}   {}", escape_bytes(&problem.path), problem.reason));
        }
        let more = problems.count.saturating_sub(problems.first.len().min(SHOWN_MAX) as u64);
        if more > 0 {
            self.err(&format!("    and {} more; the log file has them", words::grouped(more)));
        }
    }

    /// What ended the command: what, why, hint.
    pub fn failure(&self, failure: &Failure) -> Exit {
        let advice = failure.advice();
        self.log("ERROR", &failure.to_string());
        if self.json {
            let value = json!({
                "code": advice.code, "message": failure.to_string(), "hint": advice.hint, "exit": advice.exit.0,
            });
            self.object("error", value);
        } else {
            let style = Style::new().fg_color(Some(AnsiColor::Red.into())).bold();
            self.err_after(&format!("{style}error:{style:#} "), &failure.to_string());
            if let Some(hint) = &advice.hint {
                let style = Style::new().fg_color(Some(AnsiColor::Cyan.into()));
                self.err_after(&format!("{style}hint:{style:#} "), hint);
            }
        }
        advice.exit
    }

    /// The last object of a JSON answer.
    pub fn summary(&self, command: &str, exit: Exit) {
        self.object("summary", json!({ "command": command, "exit": exit.0 }));
    }
}

/// JSON in which texts hold no character that would steer a terminal: JSON itself escapes only some of them.
fn plain_json(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(is_steering) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_steering(c) {
            // They stand in texts only, and none needs more than one unit of UTF-16.
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

impl Observer for Render {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Skipped { path, reason } => {
                self.log("WARNING", &format!("{}: {reason}", escape_bytes(path)));
                if self.json {
                    self.object("warning", json!({ "path": escape_bytes(path), "message": reason }));
                }
            }
            Event::Note { text } => self.note(text),
            Event::Working { path } if self.verbose >= 2 => {
                self.log("DEBUG", &escape_bytes(path));
                if let Some(progress) = &self.progress {
                    progress.working(path);
                }
            }
            other => {
                if let Some(progress) = &self.progress {
                    progress.event(other);
                }
            }
        }
    }

    fn stop_requested(&self) -> bool {
        (self.stop)()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n12_json_holds_no_control_characters_and_means_the_same() {
        let value = json!({ "name": "a\u{9b}2J\u{1b}\u{202e}\u{7f}Fj\u{f6}r\n" });
        let text = plain_json(&value);
        assert!(!text.contains(is_steering), "{text}");
        assert!(text.contains('ö'));
        assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value));
    }
}
