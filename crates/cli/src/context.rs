//! What every command stands on: the catalog and its lock, the observer, the log of runs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use distbackup_core::model::RunNo;
use distbackup_engine::catalog::{Catalog, CatalogError};
use distbackup_engine::clock::{Clock, SystemClock};
use distbackup_engine::ops::tempdir::TempFolder;
use distbackup_engine::ops::{OpError, shelf};
use distbackup_engine::platform::{self, Access, DirectoryLock, LockError};

use crate::args::Global;
use crate::failure::{Exit, Failure};
use crate::render::{LogFile, Render};

/// Name of the catalog inside its folder.
pub const CATALOG: &str = "distbackup.sqlite";

/// What every command stands on.
pub struct Context<'r> {
    /// Global options.
    pub global: &'r Global,
    /// Where answers and progress go.
    pub render: &'r Render,
    /// The command line, for the log of runs.
    pub command: String,
    /// The folder of the catalog.
    pub folder: PathBuf,
    /// The catalog's file.
    pub path: PathBuf,
}

/// An open catalog with its lock; a private copy for a dry run.
pub struct Opened {
    /// The catalog.
    pub catalog: Catalog,
    /// Held until the command has ended.
    _lock: DirectoryLock,
    /// Removed when the command has ended.
    _private: Option<TempFolder>,
}

/// Where the catalog is: a folder means `distbackup.sqlite` in it (PARITY).
pub fn locate(global: &Global) -> Result<(PathBuf, PathBuf), Failure> {
    let given = match &global.db {
        Some(path) => path.clone(),
        None => {
            use etcetera::BaseStrategy;
            let base = etcetera::base_strategy::Xdg::new().map_err(|_| {
                Failure::Usage("there is no home folder; name the catalog's folder with -d".into())
            })?;
            base.config_dir().join("distbackup")
        }
    };
    let is_file =
        given.is_file() || (!given.exists() && given.extension().is_some_and(|end| end == "sqlite"));
    if is_file {
        let folder = given.parent().filter(|parent| !parent.as_os_str().is_empty());
        Ok((folder.unwrap_or(Path::new(".")).to_owned(), given))
    } else {
        Ok((given.clone(), given.join(CATALOG)))
    }
}

/// The log file of a command; `None` where there shall be none, as in a dry run.
pub fn log_file(global: &Global) -> Option<LogFile> {
    if global.nolog || global.dry_run {
        return None;
    }
    match &global.log {
        Some(given) if given.is_empty() => None,
        Some(given) => Some(LogFile::new(Path::new(given))),
        // Only beside a catalog that exists: looking for one must not leave anything behind.
        None => {
            let (folder, catalog) = locate(global).ok()?;
            catalog.exists().then(|| LogFile::new(&folder.join("log").join("log-@@.txt")))
        }
    }
}

impl<'r> Context<'r> {
    /// Prepares a command.
    pub fn new(global: &'r Global, render: &'r Render, arguments: &[OsString]) -> Result<Self, Failure> {
        let (folder, path) = locate(global)?;
        let words: Vec<_> =
            arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        Ok(Context { global, render, command: words.join(" "), folder, path })
    }

    /// The time.
    pub fn clock(&self) -> SystemClock {
        SystemClock
    }

    /// Asks for a line of text; `None` where nobody can answer.
    pub fn ask(&self, question: &str) -> Option<String> {
        use std::io::{BufRead, IsTerminal};
        if self.global.no_input || self.global.json || !std::io::stdin().is_terminal() {
            return None;
        }
        if !question.is_empty() {
            self.render.note(question);
        }
        let mut answer = String::new();
        (std::io::stdin().lock().read_line(&mut answer).ok()? > 0).then(|| answer.trim().to_owned())
    }

    /// Asks for one of some letters; `None` where nobody can answer.
    pub fn choose(&self, question: &str, letters: &str) -> Option<char> {
        use std::io::{BufRead, IsTerminal};
        if self.global.no_input || self.global.json || !std::io::stdin().is_terminal() {
            return None;
        }
        loop {
            self.render.note(question);
            let mut answer = String::new();
            if std::io::stdin().lock().read_line(&mut answer).ok()? == 0 {
                return None;
            }
            let letter = answer.trim().chars().next().map(|letter| letter.to_ascii_lowercase());
            if let Some(letter) = letter.filter(|letter| letters.contains(*letter)) {
                return Some(letter);
            }
        }
    }

    /// Takes the lock on the catalog's folder (C5).
    pub fn lock(&self, mode: Access) -> Result<DirectoryLock, Failure> {
        match DirectoryLock::acquire_catalog(&self.folder, mode) {
            Ok(lock) => Ok(lock),
            Err(LockError::Held { pid, command, .. }) => {
                let what = format!("the catalog in {}", self.folder.display());
                Err(OpError::InUse { what, pid, command }.into())
            }
            Err(LockError::Io(source)) if source.kind() == std::io::ErrorKind::NotFound => {
                Err(CatalogError::Missing { path: self.path.clone() }.into())
            }
            Err(LockError::Io(source)) => Err(OpError::io("lock", self.folder.clone())(source).into()),
        }
    }

    /// Opens the catalog for looking; a dry run gets a private copy, since the database leaves traces of looking, too.
    pub fn open_to_read(&self) -> Result<Opened, Failure> {
        if self.global.dry_run {
            return self.open_privately();
        }
        let lock = self.lock(Access::Shared)?;
        Ok(Opened { catalog: Catalog::open(&self.path)?, _lock: lock, _private: None })
    }

    /// Opens the catalog for changing; a dry run gets a private copy.
    pub fn open_to_write(&self) -> Result<Opened, Failure> {
        if !self.global.dry_run {
            let lock = self.lock(Access::Exclusive)?;
            let catalog = Catalog::open(&self.path)?;
            // Room for the next copy of the catalog; what cannot be removed now will be tried again.
            let _left_over = TempFolder::clear_left_behind(&self.folder);
            return Ok(Opened { catalog, _lock: lock, _private: None });
        }
        self.open_privately()
    }

    /// Opens a private copy of the catalog: for what must leave no trace.
    pub fn open_privately(&self) -> Result<Opened, Failure> {
        let lock = self.lock(Access::Shared)?;
        let private = TempFolder::new().map_err(OpError::io("make a folder in", std::env::temp_dir()))?;
        let copy = private.path().join(CATALOG);
        // Plain copies, journal included: opening the original could already write beside it.
        for end in ["", "-wal"] {
            let mut from = self.path.clone().into_os_string();
            from.push(end);
            let mut to = copy.clone().into_os_string();
            to.push(end);
            match std::fs::copy(&from, &to) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(OpError::io("copy", PathBuf::from(from))(error).into()),
            }
        }
        if !copy.exists() {
            return Err(CatalogError::Missing { path: self.path.clone() }.into());
        }
        Ok(Opened { catalog: Catalog::open(&copy)?, _lock: lock, _private: Some(private) })
    }

    /// Opens the catalog for changing; a set that does not exist yet begins.
    pub fn open_or_create(&self) -> Result<Opened, Failure> {
        if self.path.exists() || self.global.dry_run {
            return self.open_to_write();
        }
        // An older catalog that lost its file must not be replaced by an empty one unseen (C3): journals tell.
        let wal = self.path.with_extension("sqlite-wal");
        if wal.exists() {
            let why = "only its journal is there".to_owned();
            return Err(CatalogError::Damaged { path: self.path.clone(), why }.into());
        }
        std::fs::create_dir_all(&self.folder).map_err(OpError::io("make the folder", self.folder.clone()))?;
        platform::make_private(&self.folder).map_err(OpError::io("protect", self.folder.clone()))?;
        let lock = self.lock(Access::Exclusive)?;
        let catalog = Catalog::create(&self.path, self.clock().now_ns())?;
        self.render.note(&format!("A new catalog begins in {}", self.folder.display()));
        Ok(Opened { catalog, _lock: lock, _private: None })
    }

    /// Records that the command begins; nothing in a dry run.
    pub fn begin_run(&self, catalog: &mut Catalog) -> Result<Option<RunNo>, Failure> {
        if self.global.dry_run {
            return Ok(None);
        }
        let now_ns = self.clock().now_ns();
        Ok(Some(
            catalog.write_aside("record a run", |writer| writer.record_run_begin(&self.command, now_ns))?,
        ))
    }

    /// Records how the command ended. Where it failed, and the catalog now fails too, the first failure is the one to
    /// be told: this one is a warning then.
    pub fn end_run(
        &self,
        catalog: &mut Catalog,
        run: Option<RunNo>,
        outcome: &Result<Exit, Failure>,
        details: &serde_json::Value,
    ) -> Result<(), Failure> {
        let Some(run) = run else { return Ok(()) };
        let (exit, result) = match outcome {
            Ok(exit) => (*exit, "done".to_owned()),
            Err(failure) => (failure.advice().exit, failure.to_string()),
        };
        let now_ns = self.clock().now_ns();
        let recorded: Result<(), CatalogError> = catalog.write_aside("record the end of a run", |writer| {
            writer.record_run_end(run, now_ns, exit.0, &result, &details.to_string())
        });
        match recorded {
            Err(error) if outcome.is_err() => {
                self.render.warning(&error.to_string());
                Ok(())
            }
            recorded => Ok(recorded?),
        }
    }

    /// Takes the lock on a disk's folder (C5).
    pub fn lock_disk(&self, connected: &shelf::Connected, mode: Access) -> Result<DirectoryLock, Failure> {
        match DirectoryLock::acquire(&connected.folder, mode) {
            Ok(lock) => Ok(lock),
            Err(LockError::Held { pid, command, .. }) => {
                Err(OpError::InUse { what: format!("disk {}", connected.row.name), pid, command }.into())
            }
            Err(LockError::Io(source)) => Err(OpError::io("lock", connected.folder.clone())(source).into()),
        }
    }
}
