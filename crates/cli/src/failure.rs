//! The one table: error → message, hint, exit code (INTERFACE 1.2).

use std::io::ErrorKind;

use distbackup_core::model::{PathError, UnitError};
use distbackup_engine::browse::BrowseError;
use distbackup_engine::catalog::CatalogError;
use distbackup_engine::disk::DiskError;
use distbackup_engine::ops::OpError;

/// How a command ended, as an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(pub u8);

impl Exit {
    /// Done.
    pub const DONE: Exit = Exit(0);
    /// Failed.
    pub const FAILED: Exit = Exit(1);
    /// Wrong usage.
    pub const USAGE: Exit = Exit(2);
    /// Done in part.
    pub const PART: Exit = Exit(3);
    /// Bad or missing objects.
    pub const DAMAGE: Exit = Exit(4);
    /// `status --check`: below the wanted number of copies, or a check is overdue.
    pub const BELOW: Exit = Exit(5);
    /// No catalog here.
    pub const NO_CATALOG: Exit = Exit(10);
    /// In use by another dsb.
    pub const IN_USE: Exit = Exit(11);
    /// Disk not connected, not recognised, or another one.
    pub const NO_DISK: Exit = Exit(12);
    /// The disk refused room that it had promised.
    pub const FULL: Exit = Exit(13);
    /// Confirmation needed or refused.
    pub const CONSENT: Exit = Exit(14);
    /// Interrupted.
    pub const INTERRUPTED: Exit = Exit(130);

    /// The graver of two (DESIGN 9): 130 > 1 > 10-12 > 14 > 4 > 13 > 3 > 5.
    pub fn or_graver(self, other: Exit) -> Exit {
        const ORDER: [u8; 12] = [0, 5, 3, 13, 4, 14, 12, 11, 10, 2, 1, 130];
        let rank = |exit: Exit| ORDER.iter().position(|&code| code == exit.0).unwrap_or(ORDER.len());
        if rank(other) > rank(self) { other } else { self }
    }
}

/// What ended a command.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An operation.
    #[error(transparent)]
    Operation(#[from] OpError),
    /// A size or duration.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// A virtual path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Arguments that do not fit together.
    #[error("{0}")]
    Usage(String),
    /// The user said no, or could not be asked.
    #[error("{what}")]
    Consent {
        /// What was not done.
        what: String,
    },
    /// There is a catalog already.
    #[error("there is a catalog already: {}", path.display())]
    Exists {
        /// Its file.
        path: std::path::PathBuf,
    },
    /// Output could not be written.
    #[error("cannot write the answer: {0}")]
    Output(#[from] std::io::Error),
}

impl From<BrowseError> for Failure {
    fn from(error: BrowseError) -> Self {
        Failure::Operation(OpError::Browse(error))
    }
}

impl From<CatalogError> for Failure {
    fn from(error: CatalogError) -> Self {
        Failure::Operation(OpError::Catalog(error))
    }
}

/// Machine-readable name, exit code and hint of a failure.
pub struct Advice {
    /// For `--json`.
    pub code: &'static str,
    /// The exit code.
    pub exit: Exit,
    /// What to do.
    pub hint: Option<String>,
}

fn advice(code: &'static str, exit: Exit, hint: impl Into<Option<&'static str>>) -> Advice {
    Advice { code, exit, hint: hint.into().map(str::to_owned) }
}

impl Failure {
    /// What to do about it. No catch-all: a new kind of error has to choose its code.
    pub fn advice(&self) -> Advice {
        match self {
            Failure::Operation(error) => operation(error),
            Failure::Unit(_) | Failure::Path(_) | Failure::Usage(_) => {
                advice("usage", Exit::USAGE, "dsb COMMAND --help shows what is understood")
            }
            Failure::Consent { .. } => advice("consent", Exit::CONSENT, "to go on without a question: --yes"),
            Failure::Exists { .. } => {
                advice("exists", Exit::FAILED, "dsb status shows it; another place for a new one: -d FOLDER")
            }
            Failure::Output(_) => advice("output", Exit::FAILED, None),
        }
    }
}

fn operation(error: &OpError) -> Advice {
    match error {
        OpError::Catalog(error) => catalog(error),
        OpError::Browse(error) => browse(error),
        OpError::Disk { source, .. } => disk(source),
        OpError::NoSuchDisk { similar, .. } => {
            let hint = match similar.as_slice() {
                [] => "dsb disk list  shows the disks of the set".to_owned(),
                names => format!("did you mean {}?", names.join(" or ")),
            };
            Advice { code: "no-such-disk", exit: Exit::NO_DISK, hint: Some(hint) }
        }
        OpError::NotConnected { connected, .. } => {
            let hint = match connected.as_slice() {
                [] => "connect and mount it, then run the command again".to_owned(),
                names => format!("connected now: {}", names.join(", ")),
            };
            Advice { code: "disk-not-connected", exit: Exit::NO_DISK, hint: Some(hint) }
        }
        OpError::WhichDisk { connected } if connected.is_empty() => advice(
            "disk-not-connected",
            Exit::NO_DISK,
            "connect and mount a disk of the set, or add one: dsb disk add NAME PATH",
        ),
        OpError::WhichDisk { .. } => advice("which-disk", Exit::NO_DISK, "name the one you mean"),
        OpError::WrongDisk { .. } => {
            advice("wrong-disk", Exit::NO_DISK, "dsb disk list  shows the disks of the set")
        }
        OpError::NotEmpty { .. } => {
            advice("not-empty", Exit::USAGE, "choose a new or an empty folder; nothing was written")
        }
        OpError::BadDiskName { .. } => advice("bad-disk-name", Exit::USAGE, None),
        OpError::AlreadyADisk { .. } => {
            advice("already-a-disk", Exit::NO_DISK, "choose another folder; nothing was changed on this one")
        }
        OpError::StampMismatch { catalog_is_old: true, .. } => advice(
            "catalog-is-old",
            Exit::NO_CATALOG,
            "dsb recover PATH  takes the newer catalog from that disk (two computers in turn: dsb recover --share PATH); nothing was changed",
        ),
        OpError::StampMismatch { .. } => advice("stamp", Exit::NO_DISK, None),
        OpError::InUse { .. } => advice("in-use", Exit::IN_USE, "wait until it has finished"),
        OpError::Busy { .. } => {
            advice("disk-busy", Exit::IN_USE, "close it, then run the command again; nothing was changed")
        }
        OpError::NotEjected { command, .. } => Advice {
            code: "not-ejected",
            exit: Exit::FAILED,
            hint: Some(format!("everything is flushed; to go on: {command}")),
        },
        OpError::NoProgram { command, .. } => {
            Advice { code: "no-program", exit: Exit::FAILED, hint: Some((*command).to_owned()) }
        }
        OpError::NoSources => {
            advice("no-sources", Exit::USAGE, "dsb source map /photos ~/Pictures  says what to protect")
        }
        OpError::NoDiskBeside { .. } => advice(
            "no-disk-beside",
            Exit::NO_DISK,
            "make the drive a disk of the set first: dsb disk add NAME MOUNTPOINT; or name one: --disk DISK",
        ),
        OpError::BadRequest { .. } => advice("bad-request", Exit::USAGE, None),
        OpError::DestinationTooSmall { .. } => advice(
            "destination-too-small",
            Exit::FULL,
            "choose a larger destination, or restore a part: dsb restore PATTERN --to DEST",
        ),
        OpError::Io { source, .. } => match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                advice("io", Exit::FAILED, "make room on the disk that holds it; nothing is lost")
            }
            _ => advice("io", Exit::FAILED, "see what is wrong with it, then run the same command again"),
        },
        OpError::Stopped => advice("interrupted", Exit::INTERRUPTED, "run the same command again to go on"),
        OpError::NeedsConsent { .. } => {
            advice("consent", Exit::CONSENT, "dsb disk drop NAME  forgets what it holds first")
        }
    }
}

fn browse(error: &BrowseError) -> Advice {
    match error {
        BrowseError::Catalog(error) => catalog(error),
        BrowseError::BadPattern { .. } => {
            advice("bad-pattern", Exit::USAGE, "patterns are globs: *.nef, /photos/2011, '/mail/[a-c]*'")
        }
        BrowseError::NotThere { .. } => {
            advice("not-there", Exit::USAGE, "dsb ls  shows what there is; --at DATE what there was")
        }
        BrowseError::HostileName { .. } | BrowseError::Circle { .. } => advice(
            "catalog-damaged",
            Exit::NO_CATALOG,
            "dsb recover PATH-OF-A-DISK  takes the catalog from a disk of the set",
        ),
    }
}

fn catalog(error: &CatalogError) -> Advice {
    const RECOVER: &str = "dsb recover PATH-OF-A-DISK  takes the catalog from a disk of the set";
    const CATALOG_DISK: &str = "what was recorded before is safe; check the disk that holds the catalog, \
                                then run the same command again";
    match error {
        CatalogError::Missing { .. } => advice(
            "no-catalog",
            Exit::NO_CATALOG,
            "to begin: dsb source map /photos ~/Pictures; if it was lost: dsb recover PATH-OF-A-DISK",
        ),
        CatalogError::Damaged { .. } | CatalogError::DamagedRow { .. } => {
            advice("catalog-damaged", Exit::NO_CATALOG, RECOVER)
        }
        CatalogError::Foreign { .. } => {
            advice("catalog-foreign", Exit::NO_CATALOG, "name the catalog with -d FOLDER")
        }
        CatalogError::Version1 { version, .. } if *version < 21 => advice(
            "catalog-v1",
            Exit::NO_CATALOG,
            "open it once with distbackup 1.0.20 (dsb info), which brings it to schema 31; then: dsb import-v1",
        ),
        CatalogError::Version1 { .. } => advice(
            "catalog-v1",
            Exit::NO_CATALOG,
            "dsb import-v1  takes it over and keeps the old one beside it; nothing was changed",
        ),
        CatalogError::NotVersion1 { .. } => {
            advice("catalog-not-v1", Exit::USAGE, "it can be used as it is: name it with -d PATH")
        }
        CatalogError::Stopped => advice("interrupted", Exit::INTERRUPTED, "run the same command again"),
        CatalogError::Newer { .. } => {
            advice("catalog-newer", Exit::NO_CATALOG, "install a newer dsb; nothing was changed")
        }
        CatalogError::Sql { .. } if error.is_full() => catalog_full(),
        CatalogError::Sql { source, .. } => match source.sqlite_error_code() {
            Some(code) if format!("{code:?}") == "DatabaseCorrupt" => {
                advice("catalog-damaged", Exit::NO_CATALOG, RECOVER)
            }
            _ => advice("catalog", Exit::FAILED, CATALOG_DISK),
        },
        CatalogError::Io { source, .. } if source.kind() == ErrorKind::StorageFull => catalog_full(),
        CatalogError::Io { .. } => advice("catalog", Exit::FAILED, CATALOG_DISK),
    }
}

fn disk_failed() -> Advice {
    let hint = "what was recorded before is safe; check the disk and its cable, then run dsb verify";
    advice("disk-failed", Exit::FAILED, hint)
}

fn disk_read_only() -> Advice {
    advice("disk-read-only", Exit::NO_DISK, "mount it writable; verify and restore work as it is")
}

fn disk_full() -> Advice {
    advice(
        "disk-full",
        Exit::FULL,
        "what was copied before is safe; make room on the disk, then go on with dsb backup",
    )
}

fn catalog_full() -> Advice {
    advice("catalog-full", Exit::FAILED, "make room on the disk that holds the catalog; nothing is lost")
}

fn disk(error: &DiskError) -> Advice {
    match error {
        DiskError::NotADisk { .. } => advice(
            "not-a-disk",
            Exit::NO_DISK,
            "is the disk mounted there? A new disk joins with: dsb disk add NAME PATH",
        ),
        DiskError::DamagedIdentity { .. } => advice(
            "identity-damaged",
            Exit::NO_DISK,
            "nothing was changed; docs/format.md says what distbackup-disk.json should contain",
        ),
        DiskError::UnknownFeature { .. } => {
            advice("disk-newer", Exit::NO_DISK, "install a newer dsb; nothing was changed")
        }
        DiskError::Full { .. } => disk_full(),
        // Some filesystems find out only then.
        DiskError::NotDurable { source, .. } => match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => disk_full(),
            ErrorKind::ReadOnlyFilesystem => disk_read_only(),
            _ => disk_failed(),
        },
        DiskError::TooLarge { .. } => advice("file-too-large", Exit::PART, None),
        DiskError::ReadOnly => disk_read_only(),
        DiskError::Missing(_) => {
            advice("object-missing", Exit::DAMAGE, "dsb verify DISK  finds out what else is missing")
        }
        DiskError::Io { .. } => disk_failed(),
        DiskError::AlreadyADisk { .. } => {
            advice("already-a-disk", Exit::NO_DISK, "choose another folder; nothing was changed on this one")
        }
        DiskError::Foreign { .. } => advice(
            "foreign",
            Exit::FAILED,
            "move it away: this name belongs to the backup; nothing was changed",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_codes_the_gravest_wins() {
        let gravest =
            |codes: &[u8]| codes.iter().fold(Exit::DONE, |exit, &code| exit.or_graver(Exit(code))).0;
        assert_eq!(gravest(&[3, 13, 4]), 4);
        assert_eq!(gravest(&[4, 12, 14]), 12);
        assert_eq!(gravest(&[1, 130, 3]), 130);
        assert_eq!(gravest(&[5, 3]), 3);
    }
}
