//! The log file: appended, flushed line by line, without colour (PARITY).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::args::Global;

/// A log file, named after the date where its pattern has `@@`.
#[derive(Debug)]
pub struct LogFile {
    pattern: String,
    open: Option<(String, File)>,
}

impl LogFile {
    /// The log file of a command; `None` where there shall be none, as in a dry run.
    pub fn of(global: &Global, folder: &Path) -> Option<Self> {
        if global.nolog || global.dry_run {
            return None;
        }
        let pattern = match &global.log {
            Some(given) if given.is_empty() => return None,
            Some(given) => PathBuf::from(given),
            None => folder.join("log").join("log-@@.txt"),
        };
        // Only beside a catalog that exists: looking for one must not leave anything behind.
        if global.log.is_none() && !folder.is_dir() {
            return None;
        }
        Some(LogFile { pattern: pattern.to_string_lossy().into_owned(), open: None })
    }

    /// Appends a line: `time LEVEL: [dsb] message`. A log that cannot be written stops nothing.
    pub fn line(&mut self, level: &str, text: &str) {
        let now = jiff::Zoned::now();
        let name = self.pattern.replace("@@", &now.strftime("%Y-%m-%d").to_string());
        if self.open.as_ref().is_none_or(|(open, _)| *open != name) {
            self.open = open(Path::new(&name)).map(|file| (name, file));
        }
        if let Some((_, file)) = &mut self.open {
            let line = format!("{} {level}: [dsb] {text}\n", now.strftime("%Y-%m-%d %H:%M:%S"));
            if file.write_all(line.as_bytes()).is_err() {
                self.open = None;
            }
        }
    }
}

/// Opens a log file for its owner only (C8).
fn open(path: &Path) -> Option<File> {
    if let Some(folder) = path.parent()
        && !folder.as_os_str().is_empty()
        && !folder.is_dir()
    {
        std::fs::create_dir_all(folder).ok()?;
        distbackup_engine::platform::make_private(folder).ok()?;
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).ok()
}
