//! Files of data for the page: each a call of a function with one long text, so that a page that was opened from a disk may
//! load it (a browser lets no page of a disk read files, but it lets it run scripts beside it).

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use distbackup_core::model::Bytes;

use crate::ops::OpError;

/// Appends a number in base 36, the shortest form that every JavaScript reads.
pub(super) fn push_number(text: &mut String, number: u64) {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut digits = [0u8; 13];
    let (mut at, mut rest) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = DIGITS[(rest % 36) as usize];
        rest /= 36;
        if rest == 0 {
            break;
        }
    }
    text.extend(digits[at..].iter().map(|&digit| char::from(digit)));
}

/// The same for a number that may be negative.
pub(super) fn push_signed(text: &mut String, number: i64) {
    if number < 0 {
        text.push('-');
    }
    push_number(text, number.unsigned_abs());
}

/// Appends `text` as it has to stand in a template literal: nothing in it ends the literal, or begins anything else.
fn push_literal(out: &mut String, text: &str) {
    let mut before = ' ';
    for c in text.chars() {
        if matches!(c, '\\' | '`' | '$') || (c == '/' && before == '<') {
            out.push('\\');
        }
        out.push(c);
        before = c;
    }
}

/// Which chunks hold a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    first: u64,
    last: u64,
}

impl Span {
    /// Appends it as `3` or `3-5`.
    pub fn push(self, text: &mut String) {
        push_number(text, self.first);
        if self.last != self.first {
            text.push('-');
            push_number(text, self.last);
        }
    }
}

/// Writes blocks of lines into numbered files. Each file is whole: a block that goes on in the next one has its head there again.
#[derive(Debug)]
pub(super) struct Chunks {
    folder: PathBuf,
    kind: &'static str,
    bytes_max: usize,
    text: String,
    next: u64,
    head: String,
    begun_in: u64,
    /// What was written so far.
    pub written: Bytes,
}

impl Chunks {
    /// Files `KIND-000.js` and so on in a folder, each about `bytes_max` long.
    pub fn new(folder: &Path, kind: &'static str, bytes_max: usize) -> Self {
        Chunks {
            folder: folder.to_owned(),
            kind,
            bytes_max,
            text: String::with_capacity(bytes_max + 4096),
            next: 0,
            head: String::new(),
            begun_in: 0,
            written: Bytes(0),
        }
    }

    /// Begins a block. `head` is its first line, without the line's end.
    pub fn begin(&mut self, head: &str) -> Result<(), OpError> {
        self.head.clear();
        self.head.push_str(head);
        if self.text.len() + self.head.len() > self.bytes_max {
            self.flush()?;
        }
        self.begun_in = self.next;
        self.push_head();
        Ok(())
    }

    fn push_head(&mut self) {
        if self.text.is_empty() {
            self.text.push_str(&format!("dsbChunk(\"{}\",{},`\n", self.kind, self.next));
        }
        push_literal(&mut self.text, &self.head);
        self.text.push('\n');
    }

    /// Adds a line to the block.
    pub fn line(&mut self, line: &str) -> Result<(), OpError> {
        if self.text.len() + line.len() > self.bytes_max {
            self.flush()?;
            self.push_head();
        }
        push_literal(&mut self.text, line);
        self.text.push('\n');
        Ok(())
    }

    /// Ends the block; returns where it is.
    pub fn end(&mut self) -> Span {
        Span { first: self.begun_in, last: self.next }
    }

    /// Writes what is left; returns the number of files.
    pub fn finish(&mut self) -> Result<u64, OpError> {
        self.flush()?;
        Ok(self.next)
    }

    fn flush(&mut self) -> Result<(), OpError> {
        if self.text.is_empty() {
            return Ok(());
        }
        self.text.push_str("`);\n");
        let path = self.folder.join(format!("{}-{:03}.js", self.kind, self.next));
        write_new(&path, self.text.as_bytes()).map_err(OpError::io("write", &path))?;
        self.written += Bytes(self.text.len() as u64);
        self.text.clear();
        self.next += 1;
        Ok(())
    }
}

/// Makes a file, which must not be there yet.
pub(super) fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    File::create_new(path)?.write_all(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_base_36() {
        let mut text = String::new();
        for number in [0, 35, 36, u64::MAX] {
            push_number(&mut text, number);
            text.push(' ');
        }
        push_signed(&mut text, -37);
        assert_eq!(text, "0 z 10 3w5e11264sgsf -11");
    }

    #[test]
    fn nothing_in_a_name_ends_the_text_that_it_stands_in() {
        let mut text = String::new();
        push_literal(&mut text, "a`;alert(1)${2}\\x41</script><!--");
        assert_eq!(text, "a\\`;alert(1)\\${2}\\\\x41<\\/script><!--");
    }

    #[test]
    fn a_block_that_goes_on_in_the_next_file_has_its_head_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut chunks = Chunks::new(folder.path(), "files", 70);
        chunks.begin("/a").unwrap();
        chunks.line("first").unwrap();
        assert_eq!(chunks.end(), Span { first: 0, last: 0 });
        chunks.begin("/b").unwrap();
        (0..4).for_each(|_| chunks.line("twenty bytes at least").unwrap());
        let span = chunks.end();
        assert_eq!(span, Span { first: 0, last: 2 });
        assert_eq!(chunks.finish().unwrap(), 3);
        let second = std::fs::read_to_string(folder.path().join("files-001.js")).unwrap();
        assert!(second.starts_with("dsbChunk(\"files\",1,`\n/b\ntwenty"), "{second}");
        assert!(second.ends_with("\n`);\n"), "{second}");
    }
}
