//! Paths of the virtual tree: bytes, absolute, normalised.

use std::fmt::Write as _;

/// An absolute path of the virtual tree, such as `/photos/2011`; `/` is the root.
///
/// Bytes, because names on Unix are bytes (N12). Components are never empty, `.` or `..`, so a
/// virtual path can be joined below a destination without leaving it (rule 7).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualPath(Vec<u8>);

/// A text is not a virtual path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// `..` would climb out of the tree.
    #[error("a virtual path may not contain `..`: {0}")]
    Climbs(String),
    /// A NUL byte cannot be part of a name.
    #[error("a path may not contain a NUL byte: {0}")]
    Nul(String),
}

impl VirtualPath {
    /// The root of the virtual tree.
    pub fn root() -> Self {
        VirtualPath(b"/".to_vec())
    }

    /// Reads a path as a user may write it: `\` and repeated `/` collapse to one `/`, a missing
    /// leading `/` is added, `.` is dropped (PARITY, "virtual paths").
    pub fn parse(text: &[u8]) -> Result<Self, PathError> {
        let mut path = Self::root();
        for part in text.split(|&byte| byte == b'/' || byte == b'\\') {
            match part {
                b"" | b"." => {}
                b".." => return Err(PathError::Climbs(escape_bytes(text))),
                _ if part.contains(&0) => return Err(PathError::Nul(escape_bytes(text))),
                _ => path.push(part),
            }
        }
        Ok(path)
    }

    /// The path of `name` in this folder. `name` must be one valid component.
    pub fn join(&self, name: &[u8]) -> Self {
        let mut path = self.clone();
        path.push(name);
        path
    }

    /// Enters `name`, which must be one valid component.
    pub fn push(&mut self, name: &[u8]) {
        if self.0.len() > 1 {
            self.0.push(b'/');
        }
        self.0.extend_from_slice(name);
    }

    /// Goes back to the folder that holds this path; the root stays where it is.
    pub fn pop(&mut self) {
        let at = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        self.0.truncate(at.max(1));
    }

    /// All components from the root down.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|part| !part.is_empty())
    }

    /// The folder that holds this path and the name in it; `None` for the root.
    pub fn parent(&self) -> Option<(VirtualPath, &[u8])> {
        if self.0.len() == 1 {
            return None;
        }
        let at = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        let folder = if at == 0 { Self::root() } else { VirtualPath(self.0[..at].to_vec()) };
        Some((folder, &self.0[at + 1..]))
    }

    /// Whether this path is `folder` itself or lies below it.
    pub fn is_within(&self, folder: &VirtualPath) -> bool {
        folder.0.len() == 1
            || self.0 == folder.0
            || (self.0.starts_with(&folder.0) && self.0.get(folder.0.len()) == Some(&b'/'))
    }

    /// The raw bytes, starting with `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For people: control characters and bytes that are not UTF-8 are escaped.
    pub fn display(&self) -> String {
        escape_bytes(&self.0)
    }
}

/// Shows raw bytes on one line: printable text as it is, everything else as `\n`, `\x1b`, `\xff`.
///
/// A backslash is doubled, so that the text can be read back.
pub fn escape_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                c => push_harmless(&mut out, c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Whether a character does something to a terminal instead of being shown: controls, and marks that reorder or hide text.
pub fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn push_harmless(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\t' => out.push_str("\\t"),
        '\r' => out.push_str("\\r"),
        c if is_steering(c) => {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
        c => out.push(c),
    }
}

/// A line that is about to be shown, of which a part may come from a disk or a file's name: what would steer a terminal
/// is escaped as by [`escape_bytes`], all else stays, also backslashes of parts that were escaped before.
pub fn harmless(line: &str) -> std::borrow::Cow<'_, str> {
    if !line.contains(is_steering) {
        return line.into();
    }
    let mut out = String::with_capacity(line.len() + 16);
    line.chars().for_each(|c| push_harmless(&mut out, c));
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_as_1x_did() {
        let parse = |text: &str| VirtualPath::parse(text.as_bytes()).map(|path| path.display());
        assert_eq!(parse("photos//2011/"), Ok("/photos/2011".into()));
        assert_eq!(parse("\\photos\\2011"), Ok("/photos/2011".into()));
        assert_eq!(parse(""), Ok("/".into()));
        assert!(matches!(parse("/a/../b"), Err(PathError::Climbs(_))));
    }

    #[test]
    fn a_name_that_only_starts_alike_is_not_within() {
        let path = |text: &str| VirtualPath::parse(text.as_bytes()).unwrap();
        assert!(path("/a/b").is_within(&path("/a")));
        assert!(path("/a").is_within(&path("/a")));
        assert!(path("/a").is_within(&path("/")));
        assert!(!path("/ab").is_within(&path("/a")));
    }

    #[test]
    fn what_is_entered_can_be_left_again() {
        let mut path = VirtualPath::root();
        path.push(b"photos");
        path.push(b"2011");
        assert_eq!(path.as_bytes(), b"/photos/2011");
        path.pop();
        assert_eq!(path.as_bytes(), b"/photos");
        path.pop();
        path.pop();
        assert_eq!(path, VirtualPath::root());
    }

    #[test]
    fn terminal_escapes_in_names_are_harmless() {
        assert_eq!(escape_bytes(b"a\x1b[31m\n\xff"), "a\\x1b[31m\\n\\xff");
        assert_eq!(escape_bytes("Fjörður".as_bytes()), "Fjörður");
        assert_eq!(escape_bytes("a\u{9b}2J\u{202e}b\\".as_bytes()), "a\\xc2\\x9b2J\\xe2\\x80\\xaeb\\\\");
        assert_eq!(harmless("a\u{1b}[2J\n\u{9b}\\x"), "a\\x1b[2J\\n\\xc2\\x9b\\x");
        assert_eq!(harmless("Fjörður \\n"), "Fjörður \\n");
    }
}
