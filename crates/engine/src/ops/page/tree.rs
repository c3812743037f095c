//! The tree as text: for each folder the files in it, and its folders with what is in them.
//!
//! A folder's own files are written when it is entered, straight from the catalog, and its list of folders when it is left:
//! so all that is below is counted by then, and only the way from the root to one folder is held in memory.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use distbackup_core::model::{Bytes, DirNo, DiskNo, Kind, escape_bytes};
use distbackup_core::plan::Tally;

use super::chunks::{Chunks, Span, push_number, push_signed};
use crate::browse::BrowseError;
use crate::catalog::{At, DiskRow, DiskSets, EntryRow, Reader};
use crate::ops::OpError;
use crate::progress::{Event, Observer};

/// Text in one file of names: small enough to be there at once, large enough that a million names are few files.
const FILES_BYTES_MAX: usize = 512 << 10;
/// Text in one file of folders: one of them is read for each step down the tree.
const FOLDERS_BYTES_MAX: usize = 256 << 10;
/// Deeper trees than this are damage: folders that contain each other.
const DEPTH_MAX: usize = 100_000;
/// Entries after which the observer is told.
const REPORTED_EVERY: u64 = 8192;

/// What a folder holds, with all that is below it.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    /// Entries that need no copy: empty files, symlinks and the like. They are in the catalog itself.
    other: u64,
    /// Files by number of copies.
    levels: Vec<Tally>,
    /// Files on each disk, by its place in the list of disks.
    disks: Vec<Tally>,
}

impl Totals {
    fn add(&mut self, size: Bytes, copies: usize, disks: &[usize]) {
        tally(&mut self.levels, copies).add(size);
        disks.iter().for_each(|&disk| tally(&mut self.disks, disk).add(size));
    }

    fn merge(&mut self, other: &Totals) {
        self.other += other.other;
        for (at, level) in other.levels.iter().enumerate() {
            tally(&mut self.levels, at).merge(*level);
        }
        for (at, disk) in other.disks.iter().enumerate() {
            tally(&mut self.disks, at).merge(*disk);
        }
    }

    /// Appends `OTHER TAB files.bytes,files.bytes TAB disk.files.bytes,disk.files.bytes`.
    pub fn push(&self, text: &mut String) {
        push_number(text, self.other);
        text.push('\t');
        for (at, level) in self.levels.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            push_tally(text, *level);
        }
        text.push('\t');
        let held = self.disks.iter().enumerate().filter(|(_, tally)| tally.objects > 0);
        for (number, (at, disk)) in held.enumerate() {
            if number > 0 {
                text.push(',');
            }
            push_number(text, at as u64);
            text.push('.');
            push_tally(text, *disk);
        }
    }
}

fn tally(tallies: &mut Vec<Tally>, at: usize) -> &mut Tally {
    if tallies.len() <= at {
        tallies.resize(at + 1, Tally::default());
    }
    &mut tallies[at]
}

fn push_tally(text: &mut String, tally: Tally) {
    push_number(text, tally.objects);
    text.push('.');
    push_number(text, tally.bytes.0);
}

/// A combination of disks as the page knows it.
#[derive(Debug)]
struct Set {
    /// Copies that count: those on disks that are to leave do not.
    copies: usize,
    /// Places of its disks in the list of disks.
    disks: Vec<usize>,
}

/// A folder as the one above knows it.
struct Subfolder {
    /// Escaped.
    name: String,
    mtime_ns: i64,
    node: DirNo,
}

impl Subfolder {
    fn root() -> Self {
        Subfolder { name: String::new(), mtime_ns: 0, node: DirNo::ROOT }
    }
}

/// A folder whose folders are being written.
struct Open {
    own: Subfolder,
    /// Its path, escaped.
    path: String,
    files: Option<Span>,
    /// Folders in it that are still to come, last first.
    to_come: Vec<Subfolder>,
    /// Lines of those that are done.
    done: String,
    totals: Totals,
}

impl Open {
    /// Takes over what is known of a folder in it, which is done.
    fn take(&mut self, line: &str, below: &Open) {
        self.done.push_str(line);
        self.done.push('\t');
        push_signed(&mut self.done, seconds(below.own.mtime_ns));
        self.done.push('\t');
        self.done.push_str(&below.own.name);
        self.done.push('\n');
        self.totals.merge(&below.totals);
    }
}

fn seconds(time_ns: i64) -> i64 {
    time_ns.div_euclid(1_000_000_000)
}

/// What was written.
#[derive(Debug)]
pub(super) struct WrittenTree {
    /// Where the root is, and what is in it: the line that a folder above it would have of it, without time and name.
    pub root: String,
    /// Names that are no folders.
    pub files: u64,
    /// Folders, the root included.
    pub folders: u64,
    /// Number of files of names.
    pub files_chunks: u64,
    /// Number of files of folders.
    pub folders_chunks: u64,
    /// Their sizes.
    pub bytes: Bytes,
}

/// Writes the tree.
pub(super) struct TreeWriter<'a> {
    reader: Reader<'a>,
    observer: &'a dyn Observer,
    held: &'a DiskSets,
    sets: Vec<Set>,
    files: Chunks,
    folders: Chunks,
    line: String,
    met: u64,
    rows: u64,
    file_count: u64,
    folder_count: u64,
}

impl<'a> TreeWriter<'a> {
    /// `rows` are all disks in the order in which the page lists them.
    pub fn new(
        reader: Reader<'a>,
        rows: &[DiskRow],
        held: &'a DiskSets,
        folder: &Path,
        observer: &'a dyn Observer,
    ) -> Result<Self, OpError> {
        let places: HashMap<DiskNo, usize> =
            rows.iter().enumerate().map(|(place, row)| (row.disk, place)).collect();
        let counts = |place: usize| rows.get(place).is_some_and(|row| !row.retiring);
        let set = |disks: &Vec<DiskNo>| {
            let disks: Vec<usize> = disks.iter().filter_map(|disk| places.get(disk).copied()).collect();
            Set { copies: disks.iter().filter(|&&place| counts(place)).count(), disks }
        };
        Ok(TreeWriter {
            reader,
            observer,
            held,
            sets: held.all().iter().map(set).collect(),
            files: Chunks::new(folder, "files", FILES_BYTES_MAX),
            folders: Chunks::new(folder, "folders", FOLDERS_BYTES_MAX),
            line: String::new(),
            met: 0,
            rows: reader.entry_count()?,
            file_count: 0,
            folder_count: 0,
        })
    }

    /// Places of the disks of each combination, as the lines number them.
    pub fn sets(&self) -> Vec<&[usize]> {
        self.sets.iter().map(|set| set.disks.as_slice()).collect()
    }

    /// Walks the current tree.
    pub fn write(&mut self) -> Result<WrittenTree, OpError> {
        let mut on_the_way = HashSet::from([DirNo::ROOT]);
        let mut open = vec![self.enter("/".to_owned(), Subfolder::root())?];
        let mut root = String::new();
        while let Some(folder) = open.last_mut() {
            if let Some(below) = folder.to_come.pop() {
                let path = match folder.path.as_str() {
                    "/" => format!("/{}", below.name),
                    above => format!("{above}/{}", below.name),
                };
                if open.len() > DEPTH_MAX || !on_the_way.insert(below.node) {
                    return Err(BrowseError::Circle { path }.into());
                }
                open.push(self.enter(path, below)?);
                continue;
            }
            let Some(done) = open.pop() else { break };
            on_the_way.remove(&done.own.node);
            let line = self.block(&done)?;
            match open.last_mut() {
                Some(above) => above.take(&line, &done),
                None => root = line,
            }
        }
        let (files_chunks, folders_chunks) = (self.files.finish()?, self.folders.finish()?);
        Ok(WrittenTree {
            root,
            files: self.file_count,
            folders: self.folder_count,
            files_chunks,
            folders_chunks,
            bytes: self.files.written + self.folders.written,
        })
    }

    /// Reads a folder: its files are written at once.
    fn enter(&mut self, path: String, own: Subfolder) -> Result<Open, OpError> {
        let (to_come, done, totals) = (Vec::new(), String::new(), Totals::default());
        let mut folder = Open { own, path, files: None, to_come, done, totals };
        self.folder_count += 1;
        let mut entries = self.reader.entries(At::Now)?;
        let mut cursor = entries.of(folder.own.node)?;
        let mut any = false;
        while let Some(entry) = cursor.next_entry()? {
            self.count(&folder.path)?;
            if let Some(node) = entry.node {
                let name = escape_bytes(&entry.name);
                folder.to_come.push(Subfolder { name, mtime_ns: entry.stamp.mtime_ns, node });
                continue;
            }
            if !any {
                any = true;
                self.line.clear();
                self.line.push_str(&folder.path);
                self.line.push('\t');
                self.files.begin(&self.line)?;
            }
            self.file(&entry, &mut folder.totals)?;
        }
        folder.files = any.then(|| self.files.end());
        folder.to_come.reverse();
        Ok(folder)
    }

    /// A tree cannot have more names than the catalog has rows: then a folder stands at several places (C7).
    fn count(&mut self, path: &str) -> Result<(), OpError> {
        self.met += 1;
        if self.met > self.rows {
            return Err(BrowseError::Circle { path: path.to_owned() }.into());
        }
        if self.met.is_multiple_of(REPORTED_EVERY) {
            if self.observer.stop_requested() {
                return Err(OpError::Stopped);
            }
            self.observer.event(Event::Done { files: REPORTED_EVERY, bytes: Bytes(0) });
        }
        Ok(())
    }

    /// `SIZE TAB TIME TAB DISKS TAB NAME`.
    fn file(&mut self, entry: &EntryRow, totals: &mut Totals) -> Result<(), OpError> {
        self.file_count += 1;
        let line = &mut self.line;
        line.clear();
        push_number(line, entry.stamp.size);
        line.push('\t');
        push_signed(line, seconds(entry.stamp.mtime_ns));
        line.push('\t');
        match (entry.kind, entry.object) {
            (Kind::File, Some(object)) => {
                let number = self.held.of(object);
                push_number(line, number as u64);
                if let Some(set) = self.sets.get(number) {
                    totals.add(Bytes(entry.stamp.size), set.copies, &set.disks);
                }
            }
            (Kind::File, None) if entry.pending => {
                line.push('?');
                totals.add(Bytes(entry.stamp.size), 0, &[]);
            }
            (kind, _) => {
                line.push(match kind {
                    Kind::File => '.',
                    Kind::Symlink => '@',
                    Kind::Fifo => '|',
                    _ => '%',
                });
                totals.other += 1;
            }
        }
        line.push('\t');
        line.push_str(&escape_bytes(&entry.name));
        self.files.line(line)
    }

    /// Writes a folder's list of folders; returns its line for the folder above, without time and name.
    fn block(&mut self, folder: &Open) -> Result<String, OpError> {
        self.line.clear();
        self.line.push_str(&folder.path);
        self.line.push('\t');
        if let Some(span) = folder.files {
            span.push(&mut self.line);
        }
        self.folders.begin(&self.line)?;
        for line in folder.done.lines() {
            self.folders.line(line)?;
        }
        let mut line = String::new();
        self.folders.end().push(&mut line);
        line.push('\t');
        folder.totals.push(&mut line);
        Ok(line)
    }
}
