//! Other programs that do something for an operation, and how they are named to a user.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Output;

use distbackup_core::model::harmless;

use crate::platform;

/// Characters of another program's message that are passed on.
const MESSAGE_MAX: usize = 300;

/// A command line of another program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// The program's name.
    pub program: &'static str,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl Tool {
    /// A program with its arguments.
    pub fn new<A: AsRef<OsStr>>(program: &'static str, arguments: impl IntoIterator<Item = A>) -> Self {
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        Tool { program, arguments }
    }

    /// Runs it. `None` if it is not installed; otherwise what it wrote, or why it could not be started.
    pub fn run(&self) -> Option<Result<Output, String>> {
        let program = platform::find_program(self.program)?;
        Some(platform::run_program(&program, &self.arguments).map_err(|error| error.to_string()))
    }

    /// Runs it and asks only whether it did its work; otherwise what it said.
    pub fn does(&self) -> Result<(), String> {
        match self.run() {
            None => Err(format!("{} is not installed", self.program)),
            Some(Err(error)) => Err(format!("{}: {error}", self.program)),
            Some(Ok(output)) if output.status.success() => Ok(()),
            Some(Ok(output)) => Err(format!("{}: {}", self.program, said(&output))),
        }
    }

    /// The line as a shell would read it.
    pub fn line(&self) -> String {
        let words = self.arguments.iter().map(|argument| format!(" {}", quoted(argument)));
        format!("{}{}", self.program, words.collect::<String>())
    }

    /// The line as it can be pasted into a shell to do what failed here: with `sudo` for who is not root.
    pub fn pasted(&self) -> String {
        let sudo = if platform::is_superuser() { "" } else { "sudo " };
        format!("{sudo}{}", self.line())
    }
}

/// The first line of what a program complained about, without what would steer a terminal.
pub fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    match line {
        Some(line) => harmless(&line.chars().take(MESSAGE_MAX).collect::<String>()).into_owned(),
        None => format!("it failed ({})", output.status),
    }
}

fn quoted(word: &OsStr) -> String {
    let text = Path::new(word).display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_pasted_means_one_word_each() {
        let line = Tool::new("umount", ["/media/my disk", "it's"]).pasted();
        assert!(line.ends_with(r"umount '/media/my disk' 'it'\''s'"), "{line}");
    }

    #[test]
    fn a_program_that_is_missing_or_fails_says_so() {
        let missing = Tool::new("no-such-program-of-dsb", [""; 0]);
        assert!(missing.run().is_none());
        assert_eq!(missing.does().unwrap_err(), "no-such-program-of-dsb is not installed");
        let failing = Tool::new("sh", ["-c", "echo; echo it\x1b[31m hurts >&2; exit 1"]);
        assert_eq!(failing.does().unwrap_err(), "sh: it\\x1b[31m hurts");
    }
}
