//! Makes a large catalog without the files that it speaks of, by the functions that an update and a backup use.
//!
//! ```text
//! cargo run --release -p distbackup-engine --example generate_catalog -- FOLDER FILES
//! ```
//!
//! `FOLDER/distbackup.sqlite` then holds FILES files of one source in folders of a hundred, one in ten with the content
//! of another, and three disks that hold every content: a set that is complete. The same number makes the same catalog.

use std::error::Error;
use std::path::{Path, PathBuf};

use distbackup_core::model::{
    Bytes, DirNo, DiskNo, DiskUuid, FilesystemNo, Holes, Kind, Metadata, ObjectId, ObjectNo, Owner, ProofNo,
    SnapshotNo, Stamp, VirtualPath,
};
use distbackup_engine::catalog::{Catalog, CatalogError, NewDisk, NewEntry, ProofKind, Writer};

const FILES_PER_FOLDER: u64 = 100;
const FOLDERS_PER_GROUP: u64 = 100;
/// One file in so many has the content of an earlier one.
const DUPLICATE_ONCE_IN: u64 = 10;
/// Rows of one transaction, as in an update.
const BATCH: u64 = 4096;
/// 2026-01-01, in nanoseconds since 1970.
const NOW: i64 = 1_767_225_600_000_000_000;
const DISKS: [&str; 3] = ["red", "green", "blue"];
const FILESYSTEM: FilesystemNo = FilesystemNo(1);

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1);
    let (Some(folder), Some(files)) = (words.next().map(PathBuf::from), words.next()) else {
        return Err("generate_catalog FOLDER FILES".into());
    };
    let files: u64 = files.to_str().ok_or("FILES is no number")?.parse()?;
    let mut catalog = Catalog::create(&folder.join("distbackup.sqlite"), NOW)?;
    let (snapshot, disks) = catalog.write("begin", |writer| begin(writer, &folder))?;
    let mut last_folder = DirNo::ROOT;
    let mut at = 0;
    while at < files {
        let end = (at + BATCH).min(files);
        catalog.write("generate", |writer| {
            // Objects of the batch before its copies, as an update comes before a backup; both in batches.
            for number in at..end {
                if number.is_multiple_of(FILES_PER_FOLDER) {
                    last_folder = make_folders(writer, number / FILES_PER_FOLDER, snapshot)?;
                }
                make_file(writer, number, last_folder, snapshot)?;
            }
            Ok::<_, CatalogError>(())
        })?;
        at = end;
    }
    for disk in disks {
        at = 1;
        while at <= files {
            let found = catalog.write("generate copies", |writer| {
                let proof = writer.record_proof(None, NOW, ProofKind::Written)?;
                claim(writer, at..at + BATCH, disk, proof)
            })?;
            at += BATCH;
            if found < BATCH {
                break;
            }
        }
        catalog.write("end of the visit", |writer| writer.record_visit_end(disk, NOW))?;
    }
    catalog.close()?;
    Ok(())
}

/// The disks, the source and the snapshot.
fn begin(writer: &Writer<'_>, folder: &Path) -> Result<(SnapshotNo, Vec<DiskNo>), Box<dyn Error>> {
    let mut disks = Vec::new();
    for name in DISKS {
        let uuid = DiskUuid(format!("00000000-0000-4000-8000-{:012}", disks.len()));
        let new =
            NewDisk { uuid: &uuid, name, size_rule: "auto", location: None, added_ns: NOW, unproven: false };
        let disk = writer.record_disk(&new)?;
        if let Some(mut row) = writer.disk(disk)? {
            (row.capacity, row.total, row.free) = (Bytes(1 << 48), Bytes(1 << 48), Bytes(1 << 47));
            writer.record_disk_seen(&row, NOW)?;
        }
        disks.push(disk);
    }
    let path = VirtualPath::parse(b"/data")?;
    writer.record_filesystem(FILESYSTEM, "generated", "ext4", true)?;
    writer.record_source(&path, &folder.join("source"))?;
    writer.begin_scan()?;
    let snapshot = writer.record_snapshot(None, NOW, false, None)?;
    insert(writer, (DirNo::ROOT, b"data".to_vec()), Kind::Directory, Some(DirNo(2)), None, 0, 2, snapshot)?;
    Ok((snapshot, disks))
}

/// The folder of this number, and its group if it is the first in it.
fn make_folders(writer: &Writer<'_>, number: u64, snapshot: SnapshotNo) -> Result<DirNo, CatalogError> {
    let group = number / FOLDERS_PER_GROUP;
    // Permanent numbers: 3, 4… in the order of birth, a group before its folders.
    let own = |below: u64| 3 + (below + below / FOLDERS_PER_GROUP + 1) as i64;
    let group_node = DirNo(own(group * FOLDERS_PER_GROUP) - 1);
    if number.is_multiple_of(FOLDERS_PER_GROUP) {
        let name = format!("year-{group:05}").into_bytes();
        insert(
            writer,
            (DirNo(2), name),
            Kind::Directory,
            Some(group_node),
            None,
            0,
            group_node.0 as u64,
            snapshot,
        )?;
    }
    let node = DirNo(own(number));
    let name = format!("folder-{number:06}").into_bytes();
    insert(writer, (group_node, name), Kind::Directory, Some(node), None, 0, node.0 as u64, snapshot)?;
    Ok(node)
}

fn make_file(
    writer: &Writer<'_>,
    number: u64,
    folder: DirNo,
    snapshot: SnapshotNo,
) -> Result<(), CatalogError> {
    let content = match mixed(number) {
        drawn if drawn.is_multiple_of(DUPLICATE_ONCE_IN) => mixed(drawn) % (number + 1),
        _ => number,
    };
    let size = 1 + mixed(content ^ 0x5a5a) % (4 << 20);
    let object = writer.intern_object(&id_of(content), Bytes(size))?;
    let name = format!("IMG_{number:08}.jpg").into_bytes();
    // Inodes of files follow those of folders, of which there are fewer than files.
    let inode = 20_000_000_000 + number;
    insert(writer, (folder, name), Kind::File, None, Some(object), size, inode, snapshot)
}

#[allow(clippy::too_many_arguments, reason = "the columns of a row, named by their types")]
fn insert(
    writer: &Writer<'_>,
    (directory, name): (DirNo, Vec<u8>),
    kind: Kind,
    node: Option<DirNo>,
    object: Option<ObjectNo>,
    size: u64,
    inode: u64,
    snapshot: SnapshotNo,
) -> Result<(), CatalogError> {
    let time = NOW - (mixed(inode) >> 4) as i64 % 300_000_000_000_000_000;
    let owner = Owner { uid: 1000, gid: 1000, user: Some(b"ann".to_vec()), group: Some(b"ann".to_vec()) };
    let entry = NewEntry {
        directory,
        name,
        kind,
        node,
        object,
        pending: false,
        stamp: Stamp { filesystem: FILESYSTEM, inode, size, mtime_ns: time, ctime_ns: time + 1_234_567 },
        metadata: Metadata { mode: if node.is_some() { 0o755 } else { 0o644 }, owner, xattrs: Vec::new() },
        target: None,
        holes: Holes::default(),
    };
    writer.insert_entry(&entry, snapshot)
}

/// Claims the objects of a range of numbers for a disk; returns how many there were.
fn claim(
    writer: &Writer<'_>,
    numbers: std::ops::Range<u64>,
    disk: DiskNo,
    proof: ProofNo,
) -> Result<u64, CatalogError> {
    let mut found = 0;
    for number in numbers {
        // Numbers of objects have no gaps here: the first that is missing is the end.
        let object = ObjectNo(number as i64);
        if writer.object(object)?.is_none() {
            break;
        }
        writer.claim_copy(object, disk, proof)?;
        found += 1;
    }
    Ok(found)
}

/// A hash for a content that does not exist.
fn id_of(content: u64) -> ObjectId {
    let mut id = [0; 32];
    for (part, bytes) in id.chunks_exact_mut(8).enumerate() {
        bytes.copy_from_slice(&mixed(content * 4 + part as u64).to_be_bytes());
    }
    ObjectId(id)
}

/// Spreads numbers over all 64 bits (splitmix64), each number to another.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
