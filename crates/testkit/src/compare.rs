//! In what two trees differ: everything a restore has to bring back.
//!
//! Reads both trees by itself, with none of the program's code, never follows a symlink and works at
//! any depth. Not compared: access, change and birth times, which nobody can set, and sockets, which
//! live only as long as their server.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{File, FileType, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use distbackup_core::model::escape_bytes;
use sha2::{Digest as _, Sha256};

use crate::folder::Folder;

/// Allocated sizes may differ by this many bytes, or by [`ALLOCATED_PERCENT`] if that is more:
/// filesystems count blocks of different sizes and allocate ahead.
const ALLOCATED_SLACK_BYTES: u64 = 64 << 10;
/// See [`ALLOCATED_SLACK_BYTES`].
const ALLOCATED_PERCENT: u64 = 5;

/// What is looked at besides types, bytes, symlink targets, hard links and device numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compare {
    /// Numbers of owner and group.
    pub owner: bool,
    /// Permissions with setuid, setgid and sticky bits.
    pub mode: bool,
    /// Modification times, to the nanosecond, of files, folders and symlinks.
    pub mtime: bool,
    /// Extended attributes `user.*` and ACLs.
    pub xattrs: bool,
    /// `security.*`, which only root can set. `security.selinux` is left out: the policy sets it.
    pub security: bool,
    /// `trusted.*`, which only root can see.
    pub trusted: bool,
    /// Room taken, so that a hole stays a hole.
    pub holes: bool,
    /// Hard-link groups.
    pub links: bool,
}

impl Compare {
    /// Everything: what root restores to a filesystem that can hold it.
    pub const EVERYTHING: Compare = Compare {
        owner: true,
        mode: true,
        mtime: true,
        xattrs: true,
        security: true,
        trusted: true,
        holes: true,
        links: true,
    };
    /// What an ordinary user can bring back: no owners, no `security.*`, no `trusted.*`.
    pub const ORDINARY_USER: Compare =
        Compare { owner: false, security: false, trusted: false, ..Compare::EVERYTHING };
    /// Types, bytes, symlink targets and device numbers only.
    pub const CONTENT: Compare = Compare {
        mode: false,
        mtime: false,
        xattrs: false,
        holes: false,
        links: false,
        ..Compare::ORDINARY_USER
    };

    /// [`EVERYTHING`](Self::EVERYTHING) for root, else [`ORDINARY_USER`](Self::ORDINARY_USER).
    pub fn as_far_as_possible() -> Self {
        if crate::is_root() { Self::EVERYTHING } else { Self::ORDINARY_USER }
    }

    fn takes_xattr(&self, name: &[u8]) -> bool {
        match name {
            b"security.selinux" => false,
            _ if name.starts_with(b"security.") => self.security,
            _ if name.starts_with(b"trusted.") => self.trusted,
            _ => self.xattrs,
        }
    }
}

/// One thing that is not the same at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Path below both roots, raw; empty for the roots themselves.
    pub path: Vec<u8>,
    /// What differs: `there`, `type`, `size`, `bytes`, `allocated`, `mode`, `owner`, `mtime`, `xattrs`,
    /// `target`, `device`, `hard links`.
    pub what: &'static str,
    /// Its value in the first tree.
    pub first: String,
    /// Its value in the second tree.
    pub second: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "./{}: {}: {} | {}", escape_bytes(&self.path), self.what, self.first, self.second)
    }
}

/// All differences between the trees at `first` and `second`, in order of path.
///
/// What cannot be read is a difference, even if it cannot be read in both.
///
/// # Panics
///
/// If one of the roots is not a folder that can be opened.
pub fn compare_trees(first: &Path, second: &Path, what: Compare) -> Vec<Difference> {
    Tree::read(first, what).differences(&Tree::read(second, what), what)
}

/// Stops the test with the list if the trees differ.
///
/// # Panics
///
/// If they do.
#[track_caller]
pub fn assert_same_trees(first: &Path, second: &Path, what: Compare) {
    assert_none(
        &compare_trees(first, second, what),
        &format!("between {} and {}", first.display(), second.display()),
    );
}

/// Stops the test with the list if there are differences; `between` says of what.
///
/// # Panics
///
/// If there are any.
#[track_caller]
pub fn assert_none(found: &[Difference], between: &str) {
    const SHOWN_MAX: usize = 50;
    if found.is_empty() {
        return;
    }
    let lines: Vec<String> = found.iter().take(SHOWN_MAX).map(Difference::to_string).collect();
    panic!("{} differences {between}:\n{}", found.len(), lines.join("\n"));
}

fn only(path: &[u8], first: &str, second: &str) -> Difference {
    Difference { path: path.to_vec(), what: "there", first: first.into(), second: second.into() }
}

/// What a restore has to bring back of one name.
struct Node {
    kind: &'static str,
    metadata: Metadata,
    /// SHA-256 of a file's bytes, target of a symlink, or why neither could be read.
    content: String,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Node {
    fn differences(&self, other: &Node, what: Compare, mut found: impl FnMut(&'static str, String, String)) {
        let mut compare = |name, first: String, second: String| {
            if first != second || first.starts_with(UNREADABLE) {
                found(name, first, second);
            }
        };
        let (a, b) = (&self.metadata, &other.metadata);
        if self.kind != other.kind {
            return compare("type", self.kind.into(), other.kind.into());
        }
        match self.kind {
            "file" => {
                compare("size", a.len().to_string(), b.len().to_string());
                compare("bytes", self.content.clone(), other.content.clone());
            }
            "symlink" => compare("target", self.content.clone(), other.content.clone()),
            "character device" | "block device" => compare("device", device(a), device(b)),
            "folder" => compare("listing", self.content.clone(), other.content.clone()),
            _ => {}
        }
        // The mode of a symlink means nothing and cannot be set.
        if what.mode && self.kind != "symlink" {
            compare("mode", format!("{:04o}", a.mode() & 0o7777), format!("{:04o}", b.mode() & 0o7777));
        }
        if what.owner {
            compare("owner", format!("{}:{}", a.uid(), a.gid()), format!("{}:{}", b.uid(), b.gid()));
        }
        if what.mtime {
            compare("mtime", mtime(a), mtime(b));
        }
        compare("xattrs", xattr_text(&self.xattrs, what), xattr_text(&other.xattrs, what));
        if what.holes && self.kind == "file" {
            let (a, b) = (a.blocks() * 512, b.blocks() * 512);
            let slack = ALLOCATED_SLACK_BYTES.max(a.max(b) * ALLOCATED_PERCENT / 100);
            if a.abs_diff(b) > slack {
                compare("allocated", a.to_string(), b.to_string());
            }
        }
    }

    fn inode(&self) -> (u64, u64) {
        (self.metadata.dev(), self.metadata.ino())
    }
}

/// Marks a value that could not be read: two of them are never the same.
const UNREADABLE: &str = "unreadable: ";

/// A tree as it was when it was read, to be compared after it has changed or gone.
///
/// Holds about a kilobyte for each name.
pub struct Tree {
    nodes: BTreeMap<Vec<u8>, Node>,
}

impl Tree {
    /// Number of names that are no folders.
    pub fn files(&self) -> usize {
        self.nodes.values().filter(|node| node.kind != "folder").count()
    }

    /// Bytes of all different contents, holes counted.
    pub fn bytes(&self) -> u64 {
        let files = self.nodes.values().filter(|node| node.kind == "file");
        let contents: BTreeMap<&str, u64> =
            files.map(|node| (node.content.as_str(), node.metadata.len())).collect();
        contents.values().sum()
    }

    /// Puts `other` at `path` in place of what is there, as a nested mapping does.
    pub fn graft(&mut self, path: &[u8], other: Tree) {
        let inside = [path, b"/"].concat();
        self.nodes.retain(|known, _| known != path && !known.starts_with(&inside));
        for (below, node) in other.nodes {
            let whole = if below.is_empty() { path.to_vec() } else { [&inside[..], &below].concat() };
            self.nodes.insert(whole, node);
        }
    }

    /// In what `other` differs, in order of path. Both have to be read with `what`, or more.
    pub fn differences(&self, other: &Tree, what: Compare) -> Vec<Difference> {
        let mut found = Vec::new();
        for (path, left) in &self.nodes {
            match other.nodes.get(path) {
                Some(right) => left.differences(right, what, |what, first, second| {
                    found.push(Difference { path: path.clone(), what, first, second });
                }),
                None => found.push(only(path, left.kind, "missing")),
            }
        }
        for (path, right) in &other.nodes {
            if !self.nodes.contains_key(path) {
                found.push(only(path, "missing", right.kind));
            }
        }
        if what.links {
            self.differing_links(other, &mut found);
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }

    /// Reads the tree at `root`: every byte, and of attributes those that `what` asks for.
    ///
    /// # Panics
    ///
    /// If the root is not a folder that can be opened.
    pub fn read(root: &Path, what: Compare) -> Tree {
        let folder = Folder::open(root).unwrap_or_else(|e| panic!("cannot open {}: {e}", root.display()));
        let mut tree = Tree { nodes: BTreeMap::new() };
        let metadata = std::fs::symlink_metadata(folder.itself()).unwrap();
        let xattrs = read_xattrs(&folder.itself(), what);
        let mut node = Node { kind: "folder", metadata, content: String::new(), xattrs };
        tree.walk(&folder, &mut Vec::new(), what, &mut node);
        tree.nodes.insert(Vec::new(), node);
        tree
    }

    /// Reads what is below `folder`; `path` is its path, and `own` its node, which learns of failure.
    fn walk(&mut self, folder: &Folder, path: &mut Vec<u8>, what: Compare, own: &mut Node) {
        let names = match folder.names() {
            Ok(names) => names,
            Err(error) => {
                own.content = format!("{UNREADABLE}{error}");
                return;
            }
        };
        for name in names {
            let before = path.len();
            if before > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            if let Some(mut node) = read_node(folder, &name, what) {
                if node.kind == "folder" {
                    match folder.child(&name) {
                        Ok(child) => self.walk(&child, path, what, &mut node),
                        Err(error) => node.content = format!("{UNREADABLE}{error}"),
                    }
                }
                self.nodes.insert(path.clone(), node);
            }
            path.truncate(before);
        }
    }

    /// For each path, the paths of this tree that share its inode.
    fn link_groups(&self, common: &Tree) -> BTreeMap<&[u8], Vec<&[u8]>> {
        let mut by_inode: BTreeMap<(u64, u64), Vec<&[u8]>> = BTreeMap::new();
        for (path, node) in &self.nodes {
            // What only one tree has is reported already, and need not be told as a broken group.
            if node.metadata.nlink() > 1 && node.kind != "folder" && common.nodes.contains_key(path) {
                by_inode.entry(node.inode()).or_default().push(path);
            }
        }
        let groups = by_inode.into_values().filter(|group| group.len() > 1);
        groups.flat_map(|group| group.clone().into_iter().map(move |path| (path, group.clone()))).collect()
    }

    fn differing_links(&self, other: &Tree, found: &mut Vec<Difference>) {
        let (first, second) = (self.link_groups(other), other.link_groups(self));
        let mut paths: Vec<&[u8]> = first.keys().chain(second.keys()).copied().collect();
        paths.sort_unstable();
        paths.dedup();
        let text = |group: Option<&Vec<&[u8]>>| match group {
            None => "alone".to_owned(),
            Some(group) => group.iter().map(|path| escape_bytes(path)).collect::<Vec<_>>().join(" = "),
        };
        for path in paths {
            let (a, b) = (text(first.get(path)), text(second.get(path)));
            if a != b {
                found.push(Difference { path: path.to_vec(), what: "hard links", first: a, second: b });
            }
        }
    }
}

/// What is at `name`, or `None` for a socket.
fn read_node(folder: &Folder, name: &OsStr, what: Compare) -> Option<Node> {
    let path = folder.at(name);
    let metadata = std::fs::symlink_metadata(&path).unwrap();
    let kind = kind(metadata.file_type())?;
    let content = match kind {
        "file" => sha256(&path),
        "symlink" => {
            std::fs::read_link(&path).map(|target| escape_bytes(&target.into_os_string().into_vec()))
        }
        _ => Ok(String::new()),
    };
    let content = content.unwrap_or_else(|error| format!("{UNREADABLE}{error}"));
    Some(Node { kind, metadata, content, xattrs: read_xattrs(&path, what) })
}

fn kind(file_type: FileType) -> Option<&'static str> {
    Some(match file_type {
        t if t.is_file() => "file",
        t if t.is_dir() => "folder",
        t if t.is_symlink() => "symlink",
        t if t.is_fifo() => "fifo",
        t if t.is_char_device() => "character device",
        t if t.is_block_device() => "block device",
        _ => return None,
    })
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// The extended attributes that are looked at; none where the filesystem has none.
fn read_xattrs(path: &Path, what: Compare) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let Ok(names) = xattr::list(path) else { return BTreeMap::new() };
    let names = names.filter(|name| what.takes_xattr(name.as_bytes()));
    let read = |name: &OsStr| match xattr::get(path, name) {
        Ok(value) => value.unwrap_or_default(),
        Err(error) => format!("{UNREADABLE}{error}").into_bytes(),
    };
    names.map(|name| (name.as_bytes().to_vec(), read(&name))).collect()
}

fn xattr_text(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>, what: Compare) -> String {
    let one = |(name, value): (&Vec<u8>, &Vec<u8>)| format!("{}={}", escape_bytes(name), escape_bytes(value));
    let asked = xattrs.iter().filter(|(name, _)| what.takes_xattr(name));
    asked.map(one).collect::<Vec<_>>().join(", ")
}

fn mtime(metadata: &Metadata) -> String {
    format!("{}s+{:09}ns", metadata.mtime(), metadata.mtime_nsec())
}

fn device(metadata: &Metadata) -> String {
    format!("{}:{}", rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()))
}
