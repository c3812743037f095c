//! What the user of these tests protects, and what he does to it between two visits.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use distbackup_testkit::compare::{Compare, Difference, Tree};
use distbackup_testkit::dsb::{Dsb, give_to, open_to_all};
use distbackup_testkit::mounts::{Filesystem, LoopDisk};
use distbackup_testkit::rng::Rng;
use distbackup_testkit::{is_root, tree};
use tempfile::TempDir;

const MB: u64 = 1_000_000;
/// No more than this is taken from `/usr`, and no part with more than a third of it.
const REAL_BYTES_MAX: u64 = 250 * MB;
/// So much there is at least in a large tree: more than an XFS needs for itself.
const LARGE_BYTES_MIN: u64 = 360 * MB;
/// How many films there are, and how large at least.
const FILMS: usize = 6;
const FILM_BYTES_MIN: u64 = 3 * MB;

/// Three folders: `/data`, in it `/data/odd` from elsewhere, and `/films`.
pub struct Sources {
    folder: PathBuf,
    _medium: Medium,
}

/// What keeps the folder in being.
enum Medium {
    Folder { _folder: TempDir },
    // Not only as on a real PC: this is gone at once, and a folder of so many files is not.
    Disk { _disk: LoopDisk },
}

impl Sources {
    /// A few thousand small files, and everything odd.
    pub fn small() -> Sources {
        let folder = TempDir::new().unwrap();
        open_to_all(folder.path());
        let path = folder.path().to_path_buf();
        Sources::new(path, Medium::Folder { _folder: folder }, 2_000, false)
    }

    /// No fewer than `files`, real ones as far as `/usr` has them, and everything odd; `None`, with a loud
    /// line, where there are no disks to be mounted.
    pub fn large(files: usize) -> Option<Sources> {
        const BYTES: u64 = 2000 * MB;
        let disk = LoopDisk::new(Filesystem::Ext4, BYTES)?;
        Some(Sources::new(disk.path(), Medium::Disk { _disk: disk }, files, true))
    }

    fn new(folder: PathBuf, medium: Medium, files: usize, large: bool) -> Sources {
        let sources = Sources { folder, _medium: medium };
        // As on a real PC: a mount point is an empty folder of what lies around it.
        fs::create_dir_all(sources.data().join("odd")).unwrap();
        let (found, real_bytes) = if large { copy_usr(&sources.data(), files) } else { (0, 0) };
        let missing = files.saturating_sub(found);
        let bytes = real_bytes + tree::many_small(&sources.data().join("many small"), missing, 5).unwrap();
        let film_bytes = if large { LARGE_BYTES_MIN.saturating_sub(bytes) / FILMS as u64 } else { 0 };
        tree::large(&sources.films(), FILMS, film_bytes.max(FILM_BYTES_MIN), 2).unwrap();

        tree::odd_tree(&sources.odd(), 1).unwrap();
        if large {
            // Is planned with all of its size, and would need a disk that could hold all other files.
            fs::remove_file(sources.odd().join("sparse/one byte after a big hole")).unwrap();
        }
        // The catalog counts nanoseconds from 1970 in 64 bits, which last until 2262.
        let times = sources.odd().join("times");
        fs::remove_dir_all(times.join("folder 2400")).unwrap();
        fs::remove_file(times.join("link 2400")).unwrap();
        fs::remove_file(times.join("2400")).unwrap();
        sources
    }

    /// The same, all owned by `user`, who has nothing that he could not read or make himself.
    pub fn owned_by(self, user: u32) -> Sources {
        fs::remove_dir_all(self.odd().join("owners")).unwrap();
        for device in ["null", "block"] {
            // A container may have refused to make them.
            let _ = fs::remove_file(self.odd().join("special").join(device));
        }
        give_to(&self.folder, user);
        self
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data of the PC")
    }

    fn odd(&self) -> PathBuf {
        self.folder.join("odd things")
    }

    fn films(&self) -> PathBuf {
        self.folder.join("films")
    }

    /// Maps the three.
    pub fn map(&self, dsb: &Dsb) {
        for (vpath, folder) in [("/data", self.data()), ("/films", self.films()), ("/data/odd", self.odd())] {
            dsb.run(["source".as_ref(), "map".as_ref(), vpath.as_ref(), folder.as_os_str()]).ok();
        }
        dsb.run(["source", "list"]).ok().says("/data/odd").says("/films");
    }

    /// How it looks now, as it should look after a restore.
    pub fn read(&self) -> State {
        let read = |folder: &Path| Tree::read(folder, Compare::as_far_as_possible());
        let mut data = read(&self.data());
        data.graft(b"odd", read(&self.odd()));
        State { data, films: read(&self.films()) }
    }

    /// All that a user does to his files, to well below a quarter of them: the brake is another story (S3).
    pub fn change(&self, user: Option<u32>) {
        let data = self.data();
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        for path in tree::paths(&data).unwrap() {
            match fs::symlink_metadata(&path).unwrap() {
                metadata if metadata.is_file() && metadata.len() > 0 => files.push(path),
                metadata if metadata.is_dir() => folders.push(path),
                _ => {}
            }
        }
        for (number, path) in files.iter().enumerate() {
            change_file(number, path, &data);
        }
        // A full folder moves, with all in it and what was just done to it, and another one goes.
        let mut full = folders.iter().filter(|folder| holds_some(folder));
        let (moves, goes) = (full.next().unwrap(), full.next().unwrap());
        fs::rename(moves, data.join("moved, with all that is in it")).unwrap();
        fs::remove_dir_all(goes).unwrap();
        tree::many_small(&data.join("added later"), 200, 77).unwrap();

        let films = self.films();
        fs::remove_file(films.join("film-0000.mov")).unwrap();
        fs::rename(films.join("film-0001.mov"), films.join("a better title.mov")).unwrap();
        tree::write_random(&films.join("premiere.mov"), 5 * MB, &mut Rng::new(88)).unwrap();

        let links = self.odd().join("hard-links");
        fs::remove_file(links.join("two")).unwrap();
        fs::hard_link(links.join("same bytes, no link"), links.join("now a link")).unwrap();
        fs::remove_file(self.odd().join("sparse/islands")).unwrap();
        fs::remove_file(self.odd().join("metadata/acl")).unwrap();
        fs::remove_file(self.odd().join("names/\n")).unwrap();
        fs::remove_dir_all(self.odd().join("contents/empty folder")).unwrap();
        if let Some(user) = user {
            // What this test made as root is his too.
            give_to(&self.folder, user);
        }
    }
}

/// One of each thing that may happen to a file; most stay as they are.
fn change_file(number: usize, path: &Path, data: &Path) {
    match number % 500 {
        0..=4 => fs::remove_file(path).unwrap(),
        5..=9 => append(path),
        // An editor: another inode takes the name.
        10 => {
            let fresh = path.with_extension("new");
            fs::write(&fresh, format!("rewritten {number}")).unwrap();
            fs::rename(&fresh, path).unwrap();
        }
        11 => fs::set_permissions(path, Permissions::from_mode(0o640)).unwrap(),
        12 => {
            fs::remove_file(path).unwrap();
            symlink("somewhere else", path).unwrap();
        }
        13 => {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }
        14 => fs::rename(path, data.join(format!("renamed {number}"))).unwrap(),
        15 if is_root() => chown(path, Some(1000), Some(1000)).unwrap(),
        _ => {}
    }
}

fn append(path: &Path) {
    let mut file = fs::File::options().append(true).open(path).unwrap();
    file.write_all(b"one line more\n").unwrap();
}

/// Whether the folder holds a few dozen names, directly and only.
fn holds_some(folder: &Path) -> bool {
    let entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).collect();
    (20..200).contains(&entries.len()) && entries.iter().all(|entry| !entry.file_type().unwrap().is_dir())
}

/// All that is protected, at one moment.
pub struct State {
    data: Tree,
    films: Tree,
}

impl State {
    /// In what the restored tree at `root` differs.
    pub fn differences(&self, root: &Path, what: Compare) -> Vec<Difference> {
        // Nothing beside the two, either.
        let mut names: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["data", "films"]);
        let mut found = self.data.differences(&Tree::read(&root.join("data"), what), what);
        found.extend(self.films.differences(&Tree::read(&root.join("films"), what), what));
        found
    }

    /// Names that are no folders.
    pub fn files(&self) -> usize {
        self.data.files() + self.films.files()
    }

    /// Bytes of all different contents.
    pub fn bytes(&self) -> u64 {
        self.data.bytes() + self.films.bytes()
    }
}

/// Copies parts of `/usr` until there are enough files or bytes; returns how many of both came.
fn copy_usr(root: &Path, enough: usize) -> (usize, u64) {
    let (mut files, mut bytes) = (0, 0);
    for whole in ["/usr/share", "/usr/lib"] {
        let Ok(parts) = fs::read_dir(whole) else { continue };
        let mut parts: Vec<PathBuf> = parts.map(|part| part.unwrap().path()).collect();
        parts.sort();
        for part in parts {
            let (part_files, part_bytes) = count(&part);
            let fits = bytes + part_bytes <= REAL_BYTES_MAX && part_bytes <= REAL_BYTES_MAX / 3;
            if files >= enough || !fits {
                continue;
            }
            let to = root.join(Path::new(whole).file_name().unwrap());
            fs::create_dir_all(&to).unwrap();
            let copied = Command::new("cp").arg("-a").arg(&part).arg(&to).output().unwrap();
            assert!(copied.status.success(), "cp: {}", String::from_utf8_lossy(&copied.stderr));
            files += part_files;
            bytes += part_bytes;
        }
    }
    (files, bytes)
}

/// Names below `root` that are no folders, and the bytes of their files.
fn count(root: &Path) -> (usize, u64) {
    let metadata = fs::symlink_metadata(root).unwrap();
    if !metadata.is_dir() {
        return (1, metadata.len());
    }
    let inside = fs::read_dir(root).unwrap().map(|entry| count(&entry.unwrap().path()));
    inside.fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
}
