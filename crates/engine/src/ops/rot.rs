//! Source files that are known to be rotten (S4): where they are, who has the good content, and how it gets back.

use std::path::PathBuf;

use distbackup_core::model::{Bytes, ObjectNo, VirtualPath};
use distbackup_core::plan::Tally;

use super::mapping::Mapping;
use crate::catalog::{CatalogError, Reader};
use crate::platform::{bytes_of_path, path_of_bytes};

/// How the good content gets back to its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WayBack {
    /// By a restore of its path to this destination.
    Restore(PathBuf),
    /// By a restore to anywhere, and a copy from there over this file: no destination gives its path this place.
    CopyOver(PathBuf),
    /// Its source is not mapped any more.
    Unmapped,
}

/// One rotten file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotten {
    /// Where it stands in the backup.
    pub path: VirtualPath,
    /// Its size.
    pub size: Bytes,
    /// Catalog time when it was seen last.
    pub seen_ns: i64,
    /// Names of the disks that have the good content.
    pub disks: Vec<String>,
    /// How it gets back.
    pub way_back: WayBack,
}

/// All that are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rot {
    /// How many names, and their sizes.
    pub total: Tally,
    /// The first ones, in the order of the tree's numbers.
    pub first: Vec<Rotten>,
}

/// Looks up the rotten source files, the first `limit` of them by name.
pub fn rot(reader: &Reader<'_>, limit: u32) -> Result<Rot, CatalogError> {
    let (rows, total) = reader.rotten_sources(limit)?;
    let mut rot = Rot { total, ..Rot::default() };
    if rows.is_empty() {
        return Ok(rot);
    }
    let mapping = Mapping::load(reader)?;
    for row in rows {
        let path = reader.path_of(row.key.directory)?.join(&row.key.name);
        let size = reader.object(row.object)?.map_or(Bytes(0), |object| object.size);
        let (disks, way_back) = (holders(reader, row.object)?, way_back(&mapping, &path));
        rot.first.push(Rotten { path, size, seen_ns: row.seen_ns, disks, way_back });
    }
    Ok(rot)
}

/// Names of the disks that hold an object.
pub(super) fn holders(reader: &Reader<'_>, object: ObjectNo) -> Result<Vec<String>, CatalogError> {
    let mut names = Vec::new();
    for disk in reader.holders(object)? {
        names.extend(reader.disk(disk)?.map(|row| row.name));
    }
    Ok(names)
}

fn way_back(mapping: &Mapping, path: &VirtualPath) -> WayBack {
    let Some(real) = mapping.real_path(path) else { return WayBack::Unmapped };
    // A restore puts a file at its whole virtual path below the destination.
    let place = bytes_of_path(&real);
    match place.strip_suffix(path.as_bytes()) {
        Some([]) => WayBack::Restore(PathBuf::from("/")),
        Some(to) => WayBack::Restore(path_of_bytes(to)),
        None => WayBack::CopyOver(real),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::SourceRow;
    use distbackup_core::model::SourceNo;

    #[test]
    fn a_restore_leads_back_only_where_the_source_bears_the_name_it_has_in_the_backup() {
        let back = |vpath: &str, source: &str, file: &str| {
            let parse = |text: &str| VirtualPath::parse(text.as_bytes()).unwrap();
            let source = SourceRow {
                source: SourceNo(1),
                vpath: parse(vpath),
                path: source.into(),
                filesystem: None,
                scanned_ns: None,
            };
            way_back(&Mapping::of(vec![source]), &parse(file))
        };
        let restore = |to: &str| WayBack::Restore(to.into());
        assert_eq!(back("/photos", "/home/a/photos", "/photos/rome/1"), restore("/home/a"));
        assert_eq!(back("/photos", "/photos", "/photos/1"), restore("/"));
        assert_eq!(back("/", "/srv", "/a/b"), restore("/srv"));
        assert_eq!(back("/photos", "/mnt/card", "/photos/1"), WayBack::CopyOver("/mnt/card/1".into()));
        assert_eq!(back("/tos", "/mnt/photos", "/tos/1"), WayBack::CopyOver("/mnt/photos/1".into()));
        assert_eq!(back("/photos", "/photos", "/films/1"), WayBack::Unmapped);
    }
}
