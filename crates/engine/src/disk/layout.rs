//! Names on a disk (DESIGN 3): a promise to users, specified in `docs/format.md`.

use distbackup_core::model::ObjectId;

/// Which disk, which set, format version.
pub const IDENTITY: &str = "distbackup-disk.json";
/// The catalog at the end of the last visit.
pub const CATALOG: &str = "distbackup.sqlite";
/// The catalog at the end of the visit before.
pub const CATALOG_PREVIOUS: &str = "distbackup.sqlite.previous";
/// The folder of all objects.
pub const OBJECTS: &str = "distbackup-objects";
/// Files being written; always safe to delete.
pub const INCOMING: &str = "distbackup-incoming";
/// Objects that failed verification.
pub const BAD_OBJECTS: &str = "bad-objects";
/// Files that tell how to restore without this program.
pub const RECOVERY_FILES: [&str; 2] = ["RESTORE.txt", "restore.py"];
/// The catalog as a page for a browser.
pub const PAGE: &str = "CATALOG.html";
/// The folder of the page's data. Each writing makes a folder of its own in it, which the page names.
pub const PAGE_DATA: &str = "distbackup-catalog";
/// The first file of the page's data.
pub const PAGE_STATE: &str = "state.js";
/// Number of folders below [`OBJECTS`]: `000` to `fff`.
pub const FOLDERS: u16 = 4096;

/// What SQLite may have left beside an older catalog copy; beside a new one it would be replayed into it.
pub const CATALOG_COMPANIONS: [&str; 3] =
    ["distbackup.sqlite-journal", "distbackup.sqlite-wal", "distbackup.sqlite-shm"];

/// How the line of the page begins that names its data; a name, a quote and a semicolon follow.
const PAGE_DATA_LINE: &str = "const DATA = \"distbackup-catalog/";

/// The name of the data of a page, below [`PAGE_DATA`], as its text gives it.
pub fn data_of_page(text: &str) -> Option<&str> {
    let line = text.lines().find_map(|line| line.strip_prefix(PAGE_DATA_LINE))?;
    line.strip_suffix("\";").filter(|name| !name.is_empty() && !name.starts_with('.') && !name.contains('/'))
}

/// The number of the folder that an object belongs into: its first three hexadecimal digits.
pub fn prefix(id: ObjectId) -> u16 {
    u16::from(id.0[0]) << 4 | u16::from(id.0[1] >> 4)
}

/// The name of folder `prefix`; only its lowest twelve bits count.
pub fn folder_name(prefix: u16) -> String {
    format!("{:03x}", prefix % FOLDERS)
}

/// Reads [`folder_name`] back; only the exact spelling that we write is a folder of ours.
pub fn prefix_of_name(name: &[u8]) -> Option<u16> {
    let exact = name.len() == 3 && name.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    let text = std::str::from_utf8(name).ok().filter(|_| exact)?;
    u16::from_str_radix(text, 16).ok()
}

/// The path of an object relative to the disk's folder: `distbackup-objects/0ab/0ab3…`.
pub fn object_path(id: ObjectId) -> String {
    format!("{OBJECTS}/{}/{id}", folder_name(prefix(id)))
}

/// Whether a file of this name, directly in the disk's folder, is what an interrupted distbackup 1.x left: an
/// object (`distbackup-tmp.PID.NUMBER`) or a catalog copy that was still being written.
pub fn is_left_by_v1(name: &[u8]) -> bool {
    if name == b"distbackup.sqlite.new" {
        return true;
    }
    // Exactly its spelling, not all that begins alike: a user's own file must never match.
    let Some(rest) = name.strip_prefix(b"distbackup-tmp.") else { return false };
    let mut parts = rest.split(|c| *c == b'.');
    let number =
        |part: Option<&[u8]>| part.is_some_and(|p| !p.is_empty() && p.iter().all(u8::is_ascii_digit));
    number(parts.next()) && number(parts.next()) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_lies_in_the_folder_of_its_first_three_digits() {
        let mut id = ObjectId([0x5c; 32]);
        id.0[..2].copy_from_slice(&[0x0a, 0xb3]);
        assert_eq!(prefix(id), 0x0ab);
        assert_eq!(object_path(id), format!("distbackup-objects/0ab/{id}"));
        for number in 0..FOLDERS {
            assert_eq!(prefix_of_name(folder_name(number).as_bytes()), Some(number));
        }
    }

    #[test]
    fn only_three_lower_case_digits_are_a_folder_of_ours() {
        for name in ["0AB", "ab", "0abc", "+ab", "0a ", "", "xyz", "..", "0a\u{fc}"] {
            assert_eq!(prefix_of_name(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn a_page_names_its_data_and_nothing_elsewhere() {
        let page = |name: &str| format!("<script>\nconst DATA = \"distbackup-catalog/{name}\";\n");
        assert_eq!(data_of_page(&page("7-00ff")), Some("7-00ff"));
        for name in ["", "..", "../distbackup-objects", "a/b", ".hidden"] {
            assert_eq!(data_of_page(&page(name)), None, "{name}");
        }
    }

    #[test]
    fn left_overs_of_distbackup_1_are_known_by_their_exact_name() {
        assert!(is_left_by_v1(b"distbackup-tmp.4711.12"));
        assert!(is_left_by_v1(b"distbackup.sqlite.new"));
        for name in [
            "distbackup-tmp.4711",
            "distbackup-tmp.notes.txt",
            "distbackup-tmp.1.2.3",
            "distbackup-tmp..",
            "tmp.1.2",
        ] {
            assert!(!is_left_by_v1(name.as_bytes()), "{name}");
        }
    }
}
