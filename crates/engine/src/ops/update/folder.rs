//! One folder of a scan: what is there, merged with what the catalog knows, name by name.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Sender;
use distbackup_core::diff::{Verdict, judge};
use distbackup_core::model::{Bytes, DirNo, Holes, Kind, Metadata, Owner, Stamp, VirtualPath};

use super::first::Gathered;
use super::follow::{Seen, Target, look};
use super::parcel::Parcel;
use super::place::{Place, SKIP_MARK};
use super::record::Difference;
use super::walk::{Job, NO_FILESYSTEM, OpenFolder, RealPaths, Walk, Where, open, open_target};
use crate::catalog::{At, CatalogError, Entries, EntryRow, LinkName, NewEntry, Reader, SourceRow};
use crate::metadata;
use crate::ops::filesystems::Filesystem;
use crate::platform::{self, Stat};
use crate::progress::Event;

/// Metadata rows met lately by one thread, for comparing folders and links without asking again.
pub struct MetadataCache<'c> {
    reader: Reader<'c>,
    rows: HashMap<i64, Metadata>,
    paths: RealPaths,
}

impl<'c> MetadataCache<'c> {
    pub fn new(reader: Reader<'c>) -> Self {
        MetadataCache { reader, rows: HashMap::new(), paths: RealPaths::default() }
    }

    fn equals(&mut self, row: i64, metadata: &Metadata) -> Result<bool, CatalogError> {
        const ROWS_MAX: usize = 4096;
        if let Some(known) = self.rows.get(&row) {
            return Ok(known == metadata);
        }
        let known = self.reader.metadata(row)?;
        if self.rows.len() >= ROWS_MAX {
            self.rows.clear();
        }
        let equal = known == *metadata;
        self.rows.insert(row, known);
        Ok(equal)
    }
}

/// What comparing needs besides the folder itself.
struct Comparison<'w, 'm, 'p, 'c, 'a> {
    walk: &'w Walk<'m, 'p>,
    reader: Reader<'c>,
    cache: &'a mut MetadataCache<'c>,
    gathered: &'a mut Gathered,
    parcel: Parcel<'a>,
}

/// Begins a scan at the root of the virtual tree: puts the first folders on the stack.
pub fn begin<'m>(walk: &Walk<'m, '_>, reader: Reader<'_>) -> Result<Vec<Difference>, CatalogError> {
    let mut cache = MetadataCache::new(reader);
    let parcel = Parcel::default();
    let gathered = &mut Gathered::default();
    let mut comparison = Comparison { walk, reader, cache: &mut cache, gathered, parcel };
    let root = VirtualPath::root();
    let place = Place::root(walk.mapping, walk.config);
    if walk.mapping.source.is_some() {
        // The root's own metadata stands under the empty name in no folder.
        comparison.mapped(DirNo(0), b"", &place, &root)?;
    } else {
        walk.push(Job { place: Where::Virtual(root), node: DirNo::ROOT, fresh: false, below: place });
    }
    Ok(comparison.parcel.into_differences())
}

/// Compares one folder with its rows and puts its children on the stack.
pub fn compare<'m, 'c>(
    walk: &Walk<'m, '_>,
    reader: Reader<'c>,
    entries: &mut Entries<'c>,
    cache: &mut MetadataCache<'c>,
    gathered: &mut Gathered,
    job: Job<'m>,
    out: &Sender<Vec<Difference>>,
) -> Result<(), CatalogError> {
    let parcel = Parcel::to(out);
    let mut comparison = Comparison { walk, reader, cache, gathered, parcel };
    comparison.folder(entries, job)?;
    comparison.parcel.send();
    Ok(())
}

impl<'m> Comparison<'_, 'm, '_, '_, '_> {
    fn folder(&mut self, entries: &mut Entries<'_>, job: Job<'m>) -> Result<(), CatalogError> {
        let here = job.below;
        let (opened, vpath) = match job.place {
            Where::Virtual(vpath) => (None, Some(vpath)),
            Where::Open(folder) => (Some(folder), None),
            Where::Below(parent, name) => match open(&parent, &name, self.walk.filesystems) {
                Ok(folder) => (Some(folder), None),
                Err(error) => return self.unopened(job.node, &here, &parent.vpath().join(&name), &error),
            },
            Where::Target(parent, name, real) => {
                match open_target(&parent, &name, &real, self.walk.filesystems) {
                    Ok(folder) => (Some(folder), None),
                    Err(error) => return self.unopened(job.node, &here, &parent.vpath().join(&name), &error),
                }
            }
        };
        let Some(opened) = opened else {
            let vpath = vpath.unwrap_or_else(VirtualPath::root);
            return self.without_listing(entries, job.node, &here, &vpath);
        };
        let names = match opened.folder.names() {
            Ok(names) => names,
            Err(error) => {
                // S12: an incomplete listing is no evidence that anything was deleted.
                let path = opened.vpath();
                self.walk.problems.add(path.as_bytes(), &format!("cannot list the folder: {error}"));
                return self.unseen(job.node, &here, &path);
            }
        };
        if opened.is_root()
            && names.is_empty()
            && !job.fresh
            && !self.walk.accept
            && self.reader.has_entries(job.node)?
        {
            // S1: a source that is empty where it was not is most likely not mounted.
            let path = opened.vpath();
            self.walk.keep(&path, "the source is empty now; is its filesystem mounted?");
            return self.unseen(job.node, &here, &path);
        }
        let opened = Arc::new(opened);
        let mapped = here.mapped_names();
        let skipped = names.iter().any(|name| name == SKIP_MARK);
        // Real folders on the way to a mapping, which are entries like others.
        let mut on_the_way: Vec<Vec<u8>> = Vec::new();
        let mut cursor = if job.fresh { None } else { Some(entries.of(job.node)?) };
        let mut row = cursor.as_mut().map(|cursor| cursor.next_entry()).transpose()?.flatten();
        let (mut files, mut bytes) = (0, 0);
        for name in names.iter().filter(|_| !skipped) {
            let below = mapped.and_then(|children| children.get(name));
            if below.is_some_and(|mapping| mapping.source.is_some()) {
                continue; // S13: the inner mapping wins
            }
            while let Some(known) = row.take_if(|known| known.name.as_slice() < name) {
                self.vanished(known, Some(&here));
                row = cursor.as_mut().map(|cursor| cursor.next_entry()).transpose()?.flatten();
            }
            let known = row.take_if(|known| known.name.as_slice() == name);
            if known.is_some() {
                row = cursor.as_mut().map(|cursor| cursor.next_entry()).transpose()?.flatten();
            }
            if here.locks(name) {
                self.walk.counts.locked.fetch_add(1, Ordering::Relaxed);
                on_the_way.extend(below.map(|_| name.to_vec()));
                continue;
            }
            if here.hides(name) {
                if let Some(known) = known {
                    self.vanished(known, Some(&here));
                }
                continue;
            }
            match look(&opened, name, here.follows(), self.walk.mapping) {
                // What stands in the way of a mapping farther below is hidden by it, too (S13).
                Ok(seen) if below.is_some() && seen.stat.kind.to_kind() != Some(Kind::Directory) => {}
                Ok(seen) => {
                    if seen.stat.kind.to_kind() == Some(Kind::File) {
                        files += 1;
                        bytes += seen.stat.size;
                    }
                    on_the_way.extend(below.map(|_| name.to_vec()));
                    let was_more = known.as_ref().is_some_and(|row| row.kind != Kind::Symlink);
                    if let Some(why) = seen.unfollowed.as_ref().filter(|_| was_more) {
                        // What it led to may only be unmounted: its entries stay (S2).
                        self.walk.keep(&opened.vpath().join(name), why.as_str());
                        continue;
                    }
                    self.entry(&opened, job.node, name, &seen, known, &here)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if let Some(known) = known {
                        self.vanished(known, Some(&here));
                    }
                }
                // S12, for one name: what is known of it stays.
                Err(error) => {
                    let path = opened.vpath().join(name);
                    self.walk.problems.add(path.as_bytes(), &format!("cannot look at it: {error}"));
                }
            }
        }
        while let Some(known) = row {
            self.vanished(known, Some(&here));
            row = cursor.as_mut().map(|cursor| cursor.next_entry()).transpose()?.flatten();
        }
        self.count(files, bytes);
        for name in mapped.into_iter().flat_map(|names| names.keys()) {
            if !on_the_way.contains(name) {
                self.mapped(job.node, name, &here.child(name), &opened.vpath().join(name))?;
            }
        }
        Ok(())
    }

    fn unopened(
        &mut self,
        node: DirNo,
        here: &Place<'m>,
        path: &VirtualPath,
        error: &io::Error,
    ) -> Result<(), CatalogError> {
        self.walk.problems.add(path.as_bytes(), &format!("cannot open the folder: {error}"));
        self.unseen(node, here, path)
    }

    fn count(&self, files: u64, bytes: u64) {
        self.walk.counts.files.fetch_add(files, Ordering::Relaxed);
        self.walk.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.walk.observer.event(Event::Done { files, bytes: Bytes(bytes) });
    }

    /// A folder of the virtual tree that no source provides: only mappings stand in it. What else the catalog
    /// knows there came from a source that is not mapped any more.
    fn without_listing(
        &mut self,
        entries: &mut Entries<'_>,
        node: DirNo,
        here: &Place<'m>,
        vpath: &VirtualPath,
    ) -> Result<(), CatalogError> {
        let mut cursor = entries.of(node)?;
        while let Some(known) = cursor.next_entry()? {
            self.vanished(known, Some(here));
        }
        self.unseen(node, here, vpath)
    }

    /// A folder that cannot be seen keeps its entries (N6); sources mapped below it are scanned all the same.
    fn unseen(&mut self, node: DirNo, here: &Place<'m>, vpath: &VirtualPath) -> Result<(), CatalogError> {
        for name in here.mapped_names().into_iter().flat_map(|names| names.keys()) {
            self.mapped(node, name, &here.child(name), &vpath.join(name))?;
        }
        Ok(())
    }

    /// A name that is not there any more, or not to be in the tree; `here` is its folder.
    fn vanished(&mut self, known: EntryRow, here: Option<&Place<'m>>) {
        if here.and_then(Place::mapped_names).is_some_and(|names| names.contains_key(&known.name)) {
            return; // its place is taken by a mapping, which is compared on its own
        }
        if here.is_some_and(|here| here.keeps(&known.name)) {
            self.walk.counts.locked.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let EntryRow { directory, name, node, .. } = known;
        self.parcel.push(match node {
            Some(node) => Difference::DeadFolder { directory, name, node },
            None => Difference::Death { directory, name },
        });
    }

    /// A place where a source is mapped, or that leads to one.
    fn mapped(
        &mut self,
        directory: DirNo,
        name: &[u8],
        place: &Place<'m>,
        vpath: &VirtualPath,
    ) -> Result<(), CatalogError> {
        if place.is_locked() {
            self.walk.counts.locked.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let known = self.reader.entry(directory, name, At::Now)?;
        if place.is_hidden() {
            known.into_iter().for_each(|known| self.vanished(known, None));
            return Ok(());
        }
        let Some(source) = place.mapping().and_then(|mapping| mapping.source.as_ref()) else {
            return self.virtual_folder(directory, name, place, vpath, known);
        };
        let root = match self.open_root(source, vpath) {
            Some(root) => root,
            None => {
                let node = known.and_then(|row| row.node);
                return node.map_or(Ok(()), |node| self.unseen(node, place, vpath));
            }
        };
        let stat = match root.folder.stat_self() {
            Ok(stat) => stat,
            Err(error) => {
                self.walk.keep(vpath, format!("cannot look at the source's folder: {error}"));
                return Ok(());
            }
        };
        self.parcel.push(Difference::Source(source.source, root.filesystem.number));
        let stamp = root.filesystem.stamp(&stat, 0);
        let captured = metadata::capture(root.folder.as_fd(), b".", &stat, &self.walk.accounts);
        let metadata = self.metadata_or_basics(captured, &stat, vpath);
        let node = known.as_ref().and_then(|row| row.node);
        let fresh = node.is_none() && directory != DirNo(0);
        let node =
            node.unwrap_or_else(|| if directory == DirNo(0) { DirNo::ROOT } else { self.walk.new_node() });
        let entry = NewEntry {
            directory,
            name: name.to_vec(),
            kind: Kind::Directory,
            node: Some(node),
            object: None,
            pending: false,
            stamp,
            metadata,
            target: None,
            holes: Holes::default(),
        };
        self.folder_row(entry, known)?;
        self.walk.push(Job { place: Where::Open(root), node, fresh, below: place.clone() });
        Ok(())
    }

    /// Opens the root of a source, unless it is not what it was (S1, N6).
    fn open_root(&self, source: &SourceRow, vpath: &VirtualPath) -> Option<OpenFolder> {
        let root = match OpenFolder::root(source, self.walk.filesystems) {
            Ok(root) => root,
            Err(error) => {
                self.walk.keep(vpath, format!("cannot open the source {}: {error}", source.path.display()));
                return None;
            }
        };
        let moved = source.filesystem.is_some_and(|before| before != root.filesystem.number);
        if moved && !self.walk.accept {
            self.walk.keep(vpath, "the source is on another filesystem than last time; is its own mounted?");
            return None;
        }
        Some(root)
    }

    fn virtual_folder(
        &mut self,
        directory: DirNo,
        name: &[u8],
        below: &Place<'m>,
        vpath: &VirtualPath,
        known: Option<EntryRow>,
    ) -> Result<(), CatalogError> {
        let node = known.as_ref().and_then(|row| row.node);
        let fresh = node.is_none();
        let node = node.unwrap_or_else(|| self.walk.new_node());
        let stamp = Stamp { filesystem: NO_FILESYSTEM, inode: 0, size: 0, mtime_ns: 0, ctime_ns: 0 };
        let metadata = Metadata { mode: 0o755, ..Metadata::default() };
        let entry = NewEntry {
            directory,
            name: name.to_vec(),
            kind: Kind::Directory,
            node: Some(node),
            object: None,
            pending: false,
            stamp,
            metadata,
            target: None,
            holes: Holes::default(),
        };
        self.folder_row(entry, known)?;
        let place = Where::Virtual(vpath.clone());
        self.walk.push(Job { place, node, fresh, below: below.clone() });
        Ok(())
    }

    /// The row of a folder that stands where a mapping is: new, changed or as it was.
    fn folder_row(&mut self, entry: NewEntry, known: Option<EntryRow>) -> Result<(), CatalogError> {
        let difference = match known {
            None => Some(Difference::Birth(Box::new(entry))),
            Some(row) if row.node.is_none() => Some(Difference::Replacement(Box::new(entry))),
            Some(row) if row.stamp == entry.stamp => None,
            Some(row) => Some(self.compare_others(entry, &row)?),
        };
        if let Some(difference) = difference {
            self.parcel.push(difference);
        }
        Ok(())
    }

    /// Whether anything that is restored differs between two states of something that is no file.
    fn compare_others(&mut self, entry: NewEntry, row: &EntryRow) -> Result<Difference, CatalogError> {
        let same = row.stamp.mtime_ns == entry.stamp.mtime_ns
            && row.target == entry.target
            && self.cache.equals(row.metadata, &entry.metadata)?;
        Ok(if same {
            Difference::Refresh { directory: entry.directory, name: entry.name, stamp: entry.stamp }
        } else {
            Difference::Replacement(Box::new(entry))
        })
    }

    /// One name that was found.
    fn entry(
        &mut self,
        folder: &Arc<OpenFolder>,
        directory: DirNo,
        name: &[u8],
        seen: &Seen,
        known: Option<EntryRow>,
        here: &Place<'m>,
    ) -> Result<(), CatalogError> {
        let (stat, through) = (&seen.stat, seen.through.as_ref());
        let Some(kind) = stat.kind.to_kind() else {
            // A socket means nothing without its program (S14).
            self.walk.counts.sockets.fetch_add(1, Ordering::Relaxed);
            if let Some(known) = known {
                self.vanished(known, None);
            }
            return Ok(());
        };
        if kind != Kind::File {
            self.walk.counts.others.fetch_add(1, Ordering::Relaxed);
        }
        let filesystem = match self.filesystem_of(folder, name, kind, seen) {
            Ok(filesystem) => filesystem,
            Err(error) => {
                let path = folder.vpath().join(name);
                self.walk.problems.add(path.as_bytes(), &format!("cannot identify its filesystem: {error}"));
                return Ok(());
            }
        };
        let stamp = filesystem.stamp(stat, if kind == Kind::File { stat.size } else { 0 });
        let verdict = known.as_ref().map(|row| judge((row.kind, &row.stamp), (kind, &stamp)));
        if verdict == Some(Verdict::Unchanged) {
            if let Some(node) = known.and_then(|row| row.node) {
                self.push_child(folder, name, node, false, through, here);
            }
            return Ok(());
        }
        if let Some(row) = &known
            && row.node.is_some()
            && kind == Kind::Directory
            && row.stamp.filesystem != stamp.filesystem
            && row.stamp.filesystem != NO_FILESYSTEM
            && !self.walk.accept
        {
            // S2: a mount point whose filesystem is not mounted, or has another one over it.
            let path = folder.vpath().join(name);
            self.walk.keep(&path, "the folder is on another filesystem than last time; is its own mounted?");
            return Ok(());
        }
        if stat.mtime_ns == i64::MIN || stat.mtime_ns == i64::MAX {
            let why =
                "its modification time lies outside the years 1677 to 2262; the nearest one is recorded";
            self.walk.problems.add(folder.vpath().join(name).as_bytes(), why);
        }
        if known.is_none()
            && kind == Kind::File
            && through.is_none()
            && let Some(first) = &self.walk.first_reading
            && let Some(read) = first.read(&folder.folder, name, stat, &self.walk.accounts, self.gathered)
        {
            let entry = NewEntry {
                directory,
                name: name.to_vec(),
                kind,
                node: None,
                object: None,
                pending: false,
                stamp,
                metadata: read.metadata,
                target: None,
                holes: read.holes,
            };
            match read.id {
                Some(id) => self.parcel.push(Difference::Read(Box::new(entry), id)),
                None => self.gathered.keep(Box::new(entry)),
            }
            if self.gathered.is_full() {
                first.hash(self.gathered, |entry, id| self.parcel.push(Difference::Read(entry, id)));
            }
            return Ok(());
        }
        let captured = match through {
            None => metadata::capture(folder.folder.as_fd(), name, stat, &self.walk.accounts),
            Some(target) => {
                metadata::capture(target.folder().as_fd(), target.name(), stat, &self.walk.accounts)
            }
        };
        let metadata = match captured {
            Ok(metadata) => metadata,
            Err(error) => self.metadata_or_basics(Err(error), stat, &folder.vpath().join(name)),
        };
        let target = match self.target(folder, name, kind, stat) {
            Ok(target) => target,
            Err(error) => {
                let path = folder.vpath().join(name);
                self.walk.problems.add(path.as_bytes(), &format!("cannot read the link: {error}"));
                return Ok(());
            }
        };
        let entry = NewEntry {
            directory,
            name: name.to_vec(),
            kind,
            node: None,
            object: None,
            pending: kind == Kind::File && stamp.size > 0,
            stamp,
            metadata,
            target,
            holes: Holes::default(),
        };
        // Other names of what a followed link leads to are restored as files of their own.
        let link = (kind != Kind::Directory && stat.nlink > 1 && through.is_none()).then(|| LinkName {
            directory,
            name: name.to_vec(),
            stamp,
            before: known
                .as_ref()
                .filter(|row| (row.stamp.filesystem, row.stamp.inode) == (stamp.filesystem, stamp.inode))
                .and_then(|row| row.link),
        });
        match (verdict, known) {
            (None | Some(Verdict::Unchanged), _) | (_, None) => self.birth(folder, entry, seen, here)?,
            (Some(Verdict::Confirm), Some(row)) => {
                // The content is presumed, so its copies stay those of a live object until it was read.
                let (object, holes) = (row.object, row.holes);
                self.parcel.push(Difference::Replacement(Box::new(NewEntry { object, holes, ..entry })));
            }
            (Some(Verdict::Changed), Some(_)) => self.parcel.push(Difference::Replacement(Box::new(entry))),
            (Some(Verdict::Compare), Some(row)) => {
                let difference = self.compare_others(NewEntry { node: row.node, ..entry }, &row)?;
                self.parcel.push(difference);
                if let Some(node) = row.node {
                    self.push_child(folder, name, node, false, through, here);
                }
            }
            (Some(Verdict::Replaced), Some(row)) => {
                self.vanished(row, None);
                self.birth(folder, entry, seen, here)?;
            }
        }
        if let Some(link) = link.filter(|link| link.stamp.inode != 0) {
            self.parcel.push(Difference::Link(link));
        }
        Ok(())
    }

    fn birth(
        &mut self,
        folder: &Arc<OpenFolder>,
        mut entry: NewEntry,
        seen: &Seen,
        here: &Place<'m>,
    ) -> Result<(), CatalogError> {
        if entry.kind == Kind::Directory {
            let moved = self.moved_from(&entry, &seen.stat)?;
            let node = moved.unwrap_or_else(|| self.walk.new_node());
            entry.node = Some(node);
            let name = entry.name.clone();
            self.parcel.push(Difference::Birth(Box::new(entry)));
            self.push_child(folder, &name, node, moved.is_none(), seen.through.as_ref(), here);
        } else {
            self.parcel.push(Difference::Birth(Box::new(entry)));
        }
        Ok(())
    }

    /// The number of a directory that stood elsewhere until now. Its old place must be free of any
    /// directory: otherwise the old name keeps the number, and this one is new.
    fn moved_from(&mut self, entry: &NewEntry, stat: &Stat) -> Result<Option<DirNo>, CatalogError> {
        let stamp = &entry.stamp;
        if stamp.inode == 0 {
            return Ok(None);
        }
        let Some((node, directory, name)) = self.reader.directory_by_inode(stamp.filesystem, stamp.inode)?
        else {
            return Ok(None);
        };
        let Some(old) = self.old_place(directory, &name)? else {
            return Ok(None);
        };
        let free = match platform::stat_path(&old) {
            Ok(there) => there.kind.to_kind() != Some(Kind::Directory),
            // Only a certain absence counts: an unreadable place may still hold it.
            Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        };
        let same_kind = stat.kind.to_kind() == Some(Kind::Directory);
        Ok((free && same_kind && self.walk.moved.claim(node)).then_some(node))
    }

    /// The real path of a name that the catalog knows; where a link is followed, what it leads to.
    fn old_place(&mut self, directory: DirNo, name: &[u8]) -> Result<Option<PathBuf>, CatalogError> {
        if self.walk.mapping.follows_links() {
            let path = self.reader.path_of(directory)?.join(name);
            return Ok(self.walk.mapping.real_path(&path));
        }
        let folder = self.cache.paths.of(self.reader, self.walk.mapping, directory)?;
        Ok(folder.map(|folder| folder.join(platform::path_of_bytes(name))))
    }

    fn push_child(
        &self,
        folder: &Arc<OpenFolder>,
        name: &[u8],
        node: DirNo,
        fresh: bool,
        through: Option<&Target>,
        here: &Place<'m>,
    ) {
        let below = here.child(name);
        let (parent, name) = (Arc::clone(folder), name.to_vec());
        let place = match through {
            None => Where::Below(parent, name),
            Some(target) => Where::Target(parent, name, target.path().to_owned()),
        };
        self.walk.push(Job { place, node, fresh, below });
    }

    /// The filesystem of a name: its folder's, unless something is mounted there.
    fn filesystem_of(
        &self,
        folder: &OpenFolder,
        name: &[u8],
        kind: Kind,
        seen: &Seen,
    ) -> io::Result<Filesystem> {
        let stat = &seen.stat;
        if stat.device == folder.device {
            return Ok(folder.filesystem);
        }
        if let Some(known) = self.walk.filesystems.known_device(stat.device) {
            return Ok(known);
        }
        if let Some(target) = &seen.through {
            return target.filesystem(stat, self.walk.filesystems);
        }
        if kind == Kind::Directory {
            let child = crate::scan::Folder::open_at(&folder.folder, name)?;
            return self.walk.filesystems.of_device(stat.device, child.as_fd());
        }
        // A single file mounted over another: without its filesystem its inode number means nothing.
        Ok(Filesystem { stable_inodes: false, ..folder.filesystem })
    }

    fn target(
        &self,
        folder: &OpenFolder,
        name: &[u8],
        kind: Kind,
        stat: &Stat,
    ) -> io::Result<Option<Vec<u8>>> {
        Ok(match kind {
            Kind::Symlink => Some(folder.folder.read_link(name)?),
            Kind::CharDevice | Kind::BlockDevice => {
                Some(format!("{}:{}", stat.rdev.major, stat.rdev.minor).into_bytes())
            }
            _ => None,
        })
    }

    /// Metadata, or what `stat` alone says of it when attributes cannot be read: that is reported.
    fn metadata_or_basics(
        &self,
        captured: io::Result<Metadata>,
        stat: &Stat,
        path: &VirtualPath,
    ) -> Metadata {
        if stat.mtime_ns == i64::MIN || stat.mtime_ns == i64::MAX {
            let why =
                "its modification time lies outside the years 1677 to 2262; the nearest one is recorded";
            self.walk.problems.add(path.as_bytes(), why);
        }
        captured.unwrap_or_else(|error| {
            self.walk.problems.add(path.as_bytes(), &format!("cannot read its attributes: {error}"));
            let owner = Owner { uid: stat.uid, gid: stat.gid, user: None, group: None };
            Metadata { mode: stat.mode, owner, xattrs: Vec::new() }
        })
    }
}
