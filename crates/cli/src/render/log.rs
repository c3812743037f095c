//! The log file: appended, flushed line by line, without colour (PARITY).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// A log file, named after the date where its pattern has `@@`.
#[derive(Debug)]
pub struct LogFile {
    pattern: String,
    open: Option<(String, File)>,
}

impl LogFile {
    /// A log file under this name, opened with its first line.
    pub fn new(pattern: &Path) -> Self {
        LogFile { pattern: pattern.to_string_lossy().into_owned(), open: None }
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
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).ok()?;
        }
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).ok()
}
