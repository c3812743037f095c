//! One of everything odd that a source may hold: what a restore has to bring back (S10, S11, S14, R6).
//!
//! Each function makes one family in a folder of its own, so that a test can take what it needs.
//! What needs root, or a filesystem that can hold it, is left out with a loud line.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, lchown, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

use super::write_random;
use crate::folder::Folder;
use crate::rng::Rng;
use crate::{is_root, skipped};

const MIB: u64 = 1 << 20;

/// Makes all families below `root`, which is created: `contents`, `hard-links`, `sparse`, `names`,
/// `symlinks`, `special`, `times`, `metadata`, `owners` (root only) and `deep`.
///
/// An ordinary user gets no entry that he could not read himself.
pub fn odd_tree(root: &Path, seed: u64) -> io::Result<()> {
    let mut rng = Rng::new(seed);
    fs::create_dir_all(root)?;
    contents(&root.join("contents"), &mut rng)?;
    hard_links(&root.join("hard-links"), &mut rng)?;
    sparse(&root.join("sparse"), &mut rng)?;
    names(&root.join("names"))?;
    symlinks(&root.join("symlinks"))?;
    special(&root.join("special"))?;
    times(&root.join("times"))?;
    metadata(&root.join("metadata"))?;
    if is_root() {
        owners(&root.join("owners"))?;
    } else {
        skipped("odd owners, devices, capabilities and unreadable modes need root");
    }
    deep(&root.join("deep"))
}

/// Files around the sizes where buffers end, empty ones, empty folders, and duplicates.
pub fn contents(root: &Path, rng: &mut Rng) -> io::Result<()> {
    fs::create_dir_all(root.join("empty folder/empty folder in it"))?;
    fs::create_dir_all(root.join("copies"))?;
    for size in [0, 1, 511, 512, 513, 4095, 4096, 4097, 65_536, MIB - 1, MIB, MIB + 1, 3 * MIB + 7] {
        write_random(&root.join(format!("{size} bytes")), size, rng)?;
    }
    fs::write(root.join("another empty file"), b"")?;
    fs::write(root.join("zeros that are written"), vec![0; 300_000])?;
    for (from, to) in [("1 bytes", "copies/1"), ("4097 bytes", "copies/2"), ("3145735 bytes", "copies/3")] {
        let bytes = fs::read(root.join(from))?;
        fs::write(root.join(to), bytes)?;
    }
    Ok(())
}

/// Three groups: within a folder, across folders, and of empty files; beside one equal file that is no link.
pub fn hard_links(root: &Path, rng: &mut Rng) -> io::Result<()> {
    fs::create_dir_all(root.join("a/b"))?;
    fs::create_dir_all(root.join("z"))?;
    let link = |from: &str, to: &str| fs::hard_link(root.join(from), root.join(to));
    write_random(&root.join("one"), 5000, rng)?;
    link("one", "two")?;
    fs::copy(root.join("one"), root.join("same bytes, no link"))?;
    write_random(&root.join("a/b/first"), 2 * MIB, rng)?;
    link("a/b/first", "a/second")?;
    link("a/b/first", "z/third")?;
    fs::write(root.join("empty 1"), b"")?;
    link("empty 1", "z/empty 2")?;
    symlink("nowhere", root.join("symlink 1"))?;
    // std's `hard_link` links the symlink itself, not what it points to.
    link("symlink 1", "z/symlink 2")
}

/// Files with holes at the start, in the middle, at the end, everywhere, and of one big hole only.
pub fn sparse(root: &Path, rng: &mut Rng) -> io::Result<()> {
    fs::create_dir_all(root)?;
    let mut make = |name: &str, size: u64, data: &[(u64, usize)]| -> io::Result<()> {
        let file = File::create(root.join(name))?;
        file.set_len(size)?;
        for &(offset, bytes) in data {
            file.write_all_at(&rng.bytes(bytes), offset)?;
        }
        // Blocks that are only promised are counted differently by each filesystem.
        file.sync_all()
    };
    const DATA: usize = 100_000;
    make("hole at the start", 3 * MIB, &[(3 * MIB - DATA as u64, DATA)])?;
    make("hole in the middle", 4 * MIB, &[(0, DATA), (4 * MIB - DATA as u64, DATA)])?;
    make("hole at the end", 3 * MIB + 1, &[(0, DATA)])?;
    let islands: Vec<(u64, usize)> = (0..8).map(|island| (island * 2 * MIB + MIB, 4096)).collect();
    make("islands", 16 * MIB, &islands)?;
    make("nothing but a hole", 5 * MIB, &[])?;
    make("one byte after a big hole", 200 * MIB, &[(200 * MIB - 1, 1)])
}

/// Files whose names are legal and unkind.
pub fn names(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root)?;
    let long_ascii = "L".repeat(255);
    let long_unicode = "é".repeat(127);
    let texts = [
        " leading space",
        "trailing space ",
        "new\nline",
        "\n",
        "tab\tand\rreturn",
        "bell\x07",
        "\x1b[31mred\x1b[0m",
        "\x1b]0;title\x07",
        "\x7f",
        "back\\slash",
        "\\",
        "quote'single",
        "quote\"double",
        "`backtick`",
        "$HOME",
        "%s%n",
        "-rf",
        "--help",
        "*",
        "?",
        "[a-z]",
        "{a,b}",
        "#hash",
        "~",
        "!",
        "&;|<>",
        ":",
        "a:b",
        "...",
        ".hidden",
        "..two",
        "comma,name",
        "=",
        "@",
        "CON",
        "nul.txt",
        "trailing dot.",
        "UPPER",
        "upper",
        "é composed",
        "e\u{301} composed",
        "日本語",
        "🦀",
        "\u{202e}fdp.exe",
        "\u{200b}",
        "\u{feff}bom",
        "\u{2028}",
        "\u{9b}csi",
        &long_ascii,
        &long_unicode,
    ];
    for text in texts {
        fs::write(root.join(text), text)?;
    }
    let raw: [&[u8]; 6] = [
        b"\xff",
        b"\xfe\xff",
        b"caf\xe9 latin1",
        b"half \xc3",
        b"\xed\xa0\x80 surrogate",
        b"\x01\x02\x80\x81",
    ];
    for bytes in raw {
        let name = OsString::from_vec(bytes.to_vec());
        fs::write(root.join(&name), bytes)?;
        let mut folder = bytes.to_vec();
        folder.extend_from_slice(b" folder");
        let folder = root.join(OsString::from_vec(folder));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(&name), bytes)?;
    }
    fs::write(root.join(OsString::from_vec(vec![0xfd; 255])), b"255 bytes, none of them text")
}

/// Symlinks that lead anywhere but to a file of their own folder.
pub fn symlinks(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root.join("folder/inner"))?;
    fs::write(root.join("folder/file"), b"reached through the folder only")?;
    let long = "far/".repeat(250);
    let links: [(&str, &OsStr); 10] = [
        ("to a file", "folder/file".as_ref()),
        ("to a folder", "folder".as_ref()),
        ("dangling", "not/there".as_ref()),
        ("absolute", "/etc/passwd".as_ref()),
        ("to the root", "/".as_ref()),
        ("upwards", "../../../../../..".as_ref()),
        ("to itself", "to itself".as_ref()),
        ("folder/inner/loop", "../..".as_ref()),
        ("long", long.as_ref()),
        ("escape", "\x1b[2J\n".as_ref()),
    ];
    for (name, target) in links {
        symlink(target, root.join(name))?;
    }
    let raw = OsString::from_vec(b"\xff\xfe".to_vec());
    symlink(&raw, root.join("target is no text"))?;
    // Nearly as long as a path may be; XFS takes 1024 bytes only.
    match symlink("further/".repeat(500), root.join("very long")) {
        Err(error) if error.kind() == io::ErrorKind::InvalidFilename => {
            skipped("no symlink of 4000 bytes on this filesystem");
        }
        result => result?,
    }
    set_mtime(&root.join("dangling"), -86_400, 123_456_789)
}

/// A fifo, a socket and, as root, device nodes. Whoever opens one of them may hang for ever (S14).
pub fn special(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root)?;
    let make = |name: &str, kind, mode, device| {
        rustix::fs::mknodat(CWD, root.join(name), kind, Mode::from_raw_mode(mode), device)
            .map_err(io::Error::from)
    };
    make("fifo", FileType::Fifo, 0o640, 0)?;
    make("socket", FileType::Socket, 0o600, 0)?;
    if is_root() {
        let null = make("null", FileType::CharacterDevice, 0o666, rustix::fs::makedev(1, 3));
        // Numbers above eight bits, and nothing behind them.
        let block = make("block", FileType::BlockDevice, 0o660, rustix::fs::makedev(259, 70_000));
        for made in [null, block] {
            match made {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    skipped("a container's root may not make devices");
                }
                other => other?,
            }
        }
    }
    Ok(())
}

/// Files, a folder and a symlink from before 1970 to after 2106, with nanoseconds.
pub fn times(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root)?;
    // ext4 knows 1901 to 2446. A filesystem that knows less clamps, and a comparison sees both clamped.
    let moments = [
        ("1902", -2_145_916_800, 1),
        ("1930", -1_262_304_000, 999_999_999),
        ("a nanosecond before 1970", -1, 999_999_999),
        ("1970", 0, 0),
        ("a nanosecond after 1970", 0, 1),
        ("2001", 1_000_000_000, 0),
        ("the second 2^31 - 1", 2_147_483_647, 500_000_000),
        ("the second 2^31", 2_147_483_648, 0),
        ("2100", 4_102_444_800, 123_456_789),
        ("the second 2^32", 4_294_967_296, 7),
        ("2400", 13_569_465_600, 987_654_321),
    ];
    for (name, seconds, nanoseconds) in moments {
        let (file, folder) = (root.join(name), root.join(format!("folder {name}")));
        fs::write(&file, name)?;
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("inside"), name)?;
        symlink(name, root.join(format!("link {name}")))?;
        set_mtime(&file, seconds, nanoseconds)?;
        set_mtime(&folder, seconds, nanoseconds)?;
        set_mtime(&root.join(format!("link {name}")), seconds, nanoseconds)?;
    }
    set_mtime(root, 1_234_567_890, 987_654_321)
}

/// Modes, user attributes and ACLs that the owner of the files can set.
pub fn metadata(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root)?;
    for mode in [0o400, 0o444, 0o600, 0o640, 0o755, 0o777, 0o1644, 0o2755, 0o4755, 0o6711] {
        let path = root.join(format!("mode {mode:04o}"));
        fs::write(&path, format!("{mode:o}"))?;
        chmod(&path, mode)?;
    }
    for mode in [0o700, 0o711, 0o1777, 0o2775] {
        let path = root.join(format!("folder mode {mode:04o}"));
        fs::create_dir_all(&path)?;
        fs::write(path.join("inside"), b"inside")?;
        chmod(&path, mode)?;
    }

    let file = root.join("attributes");
    fs::write(&file, b"with attributes")?;
    // One block of ext4 holds all attributes of a file: stay well below 4096 bytes.
    let attributes: [(&[u8], &[u8]); 6] = [
        (b"user.comment", b"a holiday"),
        (b"user.empty", b""),
        (b"user.binary", b"\0\xff\n\0"),
        (b"user.long", &[b'x'; 1500]),
        (b"user.name is no text \xff\x1b", b"1"),
        (b"user.xdg.origin.url", "https://example.org/é".as_bytes()),
    ];
    for (name, value) in attributes {
        set_xattr(&file, OsStr::from_bytes(name), value)?;
    }
    // What the owner may not write is where an attribute is easily set too late.
    let read_only = root.join("attributes, read-only");
    fs::write(&read_only, b"read-only")?;
    set_xattr(&read_only, "user.comment".as_ref(), b"on a read-only file")?;
    chmod(&read_only, 0o444)?;
    let folder = root.join("folder with attributes");
    fs::create_dir_all(&folder)?;
    set_xattr(&folder, "user.comment".as_ref(), b"on a folder")?;

    let acl_file = root.join("acl");
    fs::write(&acl_file, b"with an ACL")?;
    set_xattr(&acl_file, "system.posix_acl_access".as_ref(), &acl(0o6, 0o4))?;
    let acl_folder = root.join("folder with ACLs");
    fs::create_dir_all(&acl_folder)?;
    fs::write(acl_folder.join("made before the default"), b"has none")?;
    set_xattr(&acl_folder, "system.posix_acl_access".as_ref(), &acl(0o7, 0o5))?;
    set_xattr(&acl_folder, "system.posix_acl_default".as_ref(), &acl(0o7, 0o4))?;
    fs::write(acl_folder.join("made after the default"), b"inherits")?;
    set_mtime(&acl_folder, 1_111_111_111, 111_111_111)
}

/// What only root can make: odd owners, modes that lock everybody out, `trusted.*` and capabilities.
pub fn owners(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root)?;
    let mut made = 0;
    for (uid, gid) in [(0, 1), (1000, 1000), (65_534, 65_534), (4_000_000_000, 3_999_999_999)] {
        let (file, folder) = (root.join(format!("{uid}-{gid}")), root.join(format!("folder {uid}-{gid}")));
        let link = root.join(format!("link {uid}-{gid}"));
        fs::write(&file, format!("{uid}:{gid}"))?;
        fs::create_dir_all(&folder)?;
        symlink("anywhere", &link)?;
        for path in [&file, &folder, &link] {
            lchown(path, Some(uid), Some(gid))?;
            made += 1;
            set_mtime(path, 1_600_000_000 + made, 1)?;
        }
    }
    // A change of owner takes setuid and setgid away: a restore that sets them first loses them.
    for mode in [0o4755, 0o6755, 0o2750] {
        let path = root.join(format!("not mine, mode {mode:04o}"));
        fs::write(&path, b"#!/bin/true")?;
        lchown(&path, Some(1000), Some(1000))?;
        chmod(&path, mode)?;
    }
    for mode in [0o000, 0o200, 0o111] {
        let path = root.join(format!("mode {mode:04o}"));
        fs::write(&path, b"locked")?;
        chmod(&path, mode)?;
    }
    for mode in [0o000, 0o444, 0o555] {
        let path = root.join(format!("folder mode {mode:04o}"));
        fs::create_dir_all(&path)?;
        fs::write(path.join("inside"), b"behind a locked door")?;
        chmod(&path, mode)?;
        set_mtime(&path, 1_500_000_000, 42)?;
    }

    let capable = root.join("capability");
    fs::write(&capable, b"#!/bin/true")?;
    lchown(&capable, Some(1000), Some(1000))?;
    chmod(&capable, 0o755)?;
    // Revision 2, effective; permitted: cap_net_raw (13). A change of owner or bytes takes it away.
    let mut value = vec![0; 20];
    value[..8].copy_from_slice(&[1, 0, 0, 2, 0, 0x20, 0, 0]);
    set_xattr(&capable, "security.capability".as_ref(), &value)?;
    for name in ["trusted file", "trusted folder", "trusted link"] {
        let path = root.join(name);
        match name {
            "trusted file" => fs::write(&path, b"trusted")?,
            "trusted folder" => fs::create_dir_all(&path)?,
            _ => symlink("anywhere", &path)?,
        }
        set_xattr(&path, "trusted.distbackup-test".as_ref(), b"only root sees this\0")?;
    }
    Ok(())
}

/// A path of more than 4096 bytes, which no system call takes at once, with a file and a link at its end.
pub fn deep(root: &Path) -> io::Result<()> {
    const LEVELS: usize = 24;
    const NAME_BYTES: usize = 200;
    fs::create_dir_all(root)?;
    let mut folder = Folder::open(root)?;
    for level in 0..LEVELS {
        let name = format!("{level:02}-{}", "d".repeat(NAME_BYTES - 3));
        fs::write(folder.at("beside"), format!("level {level}"))?;
        folder = folder.create(name.as_ref())?;
    }
    fs::write(folder.at("at the bottom"), b"4096 bytes below")?;
    fs::hard_link(folder.at("at the bottom"), folder.at("its twin"))?;
    symlink("at the bottom", folder.at("link"))?;
    fs::create_dir(folder.at("empty"))?;
    set_mtime(&folder.at("empty"), 1_000_000_007, 7)?;
    set_mtime(&folder.at("at the bottom"), 1_000_000_008, 8)
}

/// The raw value of an ACL that gives user 12345 `user` and group 23456 `group` permissions.
fn acl(user: u16, group: u16) -> Vec<u8> {
    // linux/posix_acl_xattr.h: version 2, then (tag, permissions, id), all little-endian, tags ascending.
    const NOBODY: u32 = u32::MAX;
    let entries = [
        (1, 7, NOBODY),
        (2, user, 12_345),
        (4, 5, NOBODY),
        (8, group, 23_456),
        (16, 7, NOBODY),
        (32, 0, NOBODY),
    ];
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend_from_slice(&u16::to_le_bytes(tag));
        value.extend_from_slice(&u16::to_le_bytes(permissions));
        value.extend_from_slice(&u32::to_le_bytes(id));
    }
    value
}

/// Sets an attribute; a filesystem that has none of its kind is said loudly, once per attribute.
fn set_xattr(path: &Path, name: &OsStr, value: &[u8]) -> io::Result<()> {
    match xattr::set(path, name, value) {
        // A container may refuse even its root what is `trusted.*` or `security.*`.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EPERM | libc::EINVAL)) => {
            skipped(&format!("{} cannot hold {}", path.display(), name.display()));
            Ok(())
        }
        result => result,
    }
}

fn chmod(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Sets the modification time of `path` itself, which may be a symlink, and its access time too.
fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) -> io::Result<()> {
    let moment = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: moment, last_modification: moment };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
