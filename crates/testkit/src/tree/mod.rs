//! Builders of real source trees. The same seed gives the same names and bytes on every machine.

mod odd;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

pub use odd::{
    contents, deep, hard_links, metadata, names, odd_tree, owners, sparse, special, symlinks, times,
};

use crate::rng::Rng;

/// Files of [`many_small`] in one folder.
const FILES_PER_FOLDER: usize = 100;
/// Size of the largest file of [`many_small`], in bytes.
const SMALL_BYTES_MAX: u64 = 16 << 10;
/// One in so many files of [`many_small`] repeats the bytes of an earlier one.
const DUPLICATE_ONCE_IN: u64 = 10;

/// Makes `count` files of 0 to 16 KiB below `root`, in folders of about a hundred, one file in ten a
/// duplicate of another. Returns how many bytes were written.
pub fn many_small(root: &Path, count: usize, seed: u64) -> io::Result<u64> {
    let mut rng = Rng::new(seed);
    let mut buffer = vec![0; SMALL_BYTES_MAX as usize];
    let mut written = 0;
    // A duplicate is made by drawing its bytes from the same seed again: no earlier file is kept.
    let mut seeds: Vec<u64> = Vec::new();
    for number in 0..count {
        let folder = root.join(format!("folder-{:05}", number / FILES_PER_FOLDER));
        if number % FILES_PER_FOLDER == 0 {
            fs::create_dir_all(&folder)?;
        }
        let fresh = rng.next_u64();
        let content =
            if !seeds.is_empty() && rng.once_in(DUPLICATE_ONCE_IN) { *rng.pick(&seeds) } else { fresh };
        seeds.push(content);
        let mut drawn = Rng::new(content);
        let size = drawn.within(0..SMALL_BYTES_MAX + 1) as usize;
        drawn.fill(&mut buffer[..size]);
        fs::write(folder.join(format!("file-{number:07}.bin")), &buffer[..size])?;
        written += size as u64;
    }
    Ok(written)
}

/// Makes `count` files of `bytes` each below `root`, all different.
pub fn large(root: &Path, count: usize, bytes: u64, seed: u64) -> io::Result<()> {
    fs::create_dir_all(root)?;
    for number in 0..count {
        let path = root.join(format!("film-{number:04}.mov"));
        write_random(&path, bytes, &mut Rng::new(seed.wrapping_add(number as u64)))?;
    }
    Ok(())
}

/// Writes `bytes` bytes from `rng` to a new file at `path`.
pub fn write_random(path: &Path, bytes: u64, rng: &mut Rng) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut buffer = vec![0; 64 << 10];
    let mut left = bytes;
    while left > 0 {
        let part = left.min(buffer.len() as u64) as usize;
        rng.fill(&mut buffer[..part]);
        file.write_all(&buffer[..part])?;
        left -= part as u64;
    }
    file.flush()
}

/// All paths of files, symlinks and folders below `root`, sorted; for small trees.
pub fn paths(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}
