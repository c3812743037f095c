//! What the machine can do at best: the least work that any program of this kind has to do, and nothing else.
//!
//! - `floor stat DIR`: names and facts of all that is below.
//! - `floor hash DIR`: that, and every file read and hashed.
//! - `floor copy DIR NEW`: that, and every content written once to a file named by its hash, then one flush.
//! - `floor store DIR NEW`: the same so that a power cut leaves no name before its content: written under other names, a
//!   flush, then the names, a flush.
//!
//! All processors are used. Large files are written past the memory of the system, many at a time, which is what is fastest on
//! a drive that does not rotate. There is no catalog, no order, no durability before the end, and no second look at anything.

use std::cell::OnceCell;
use std::error::Error;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, StatxFlags};
use sha2::{Digest as _, Sha256};

type Failed = Box<dyn Error + Send + Sync>;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const BUFFER: usize = 1 << 20;
/// What is written past the memory of the system begins at a multiple of this, in memory and in the file.
const ALIGNMENT: usize = 4096;
/// From this size on, a file is written so, and so many of them at a time: each waits for the drive.
const LARGE: u64 = 4 << 20;
const LARGE_AT_A_TIME: usize = 16;
/// Folders below the objects, as on a disk.
const PREFIXES: u32 = 4096;

/// A regular file in an open folder.
struct Found {
    folder: Arc<OwnedFd>,
    name: Vec<u8>,
    size: u64,
}

fn main() -> Result<(), Failed> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments.iter().take(1).filter_map(|word| word.to_str()).collect();
    let paths: Vec<&Path> = arguments.iter().skip(1).map(Path::new).collect();
    let threads = thread::available_parallelism()?.get();
    open_many()?;
    match (words.as_slice(), paths.as_slice()) {
        (["stat"], [folder]) => {
            let files = walk(folder, threads)?;
            let bytes: u64 = files.iter().map(|file| file.size).sum();
            println!("{} files, {bytes} bytes", files.len());
        }
        (["hash"], [folder]) => {
            let files = walk(folder, threads)?;
            let bytes = each(&files, threads, |file, buffer| {
                read(file, buffer, &mut |_| Ok(())).map(|(_, bytes)| bytes)
            })?;
            println!("{} files, {bytes} bytes read", files.len());
        }
        (["copy"], [folder, to]) => {
            let files = walk(folder, threads)?;
            make_folders(to)?;
            let bytes = each(&files, writers(&files, threads), |file, buffer| copy(file, to, buffer))?;
            rustix::fs::syncfs(rustix::fs::open(*to, FOLDER, Mode::empty())?)?;
            println!("{} files, {bytes} bytes copied", files.len());
        }
        (["store"], [folder, to]) => {
            let files = walk(folder, threads)?;
            make_folders(to)?;
            let staged = Mutex::new(Vec::new());
            let writers = writers(&files, threads);
            let bytes = each(&files, writers, |file, buffer| stage(file, to, buffer, &staged))?;
            let whole = rustix::fs::open(*to, FOLDER, Mode::empty())?;
            rustix::fs::syncfs(&whole)?;
            let mut staged = staged.into_inner().map_err(|_| "a thread failed")?;
            // Folder by folder, as they are looked up fastest; by one thread, since a filesystem renames one thing at a time.
            staged.sort_unstable_by_key(|(_, hash)| *hash);
            for (incoming, hash) in staged {
                std::fs::rename(incoming, place(to, hash))?;
            }
            rustix::fs::syncfs(&whole)?;
            println!("{} files, {bytes} bytes stored", files.len());
        }
        _ => return Err("floor stat DIR | floor hash DIR | floor copy DIR NEW | floor store DIR NEW".into()),
    }
    Ok(())
}

/// Every folder stays open while its files are read.
fn open_many() -> Result<(), Failed> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

/// Work that is shared by threads: folders that wait, and how many are in hand or wait.
struct Queue {
    waiting: Mutex<Vec<PathBuf>>,
    open: AtomicUsize,
}

fn walk(root: &Path, threads: usize) -> Result<Vec<Found>, Failed> {
    let queue = Queue { waiting: Mutex::new(vec![root.to_owned()]), open: AtomicUsize::new(1) };
    let all = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| walk_some(&queue))).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().map_err(|_| "a thread failed")??);
        }
        Ok::<_, Failed>(all)
    })?;
    Ok(all)
}

fn walk_some(queue: &Queue) -> Result<Vec<Found>, Failed> {
    let mut found = Vec::new();
    let mut space = vec![MaybeUninit::uninit(); 64 << 10];
    while queue.open.load(Ordering::Acquire) > 0 {
        let next = queue.waiting.lock().map_err(|_| "a thread failed")?.pop();
        let Some(path) = next else {
            thread::yield_now();
            continue;
        };
        let result = list(&path, &mut space, &mut found, queue);
        queue.open.fetch_sub(1, Ordering::Release);
        result?;
    }
    Ok(found)
}

fn list(
    path: &Path,
    space: &mut [MaybeUninit<u8>],
    found: &mut Vec<Found>,
    queue: &Queue,
) -> Result<(), Failed> {
    let folder = Arc::new(rustix::fs::openat(CWD, path, FOLDER, Mode::empty())?);
    let mut names = RawDir::new(&*folder, space);
    while let Some(entry) = names.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let facts = rustix::fs::statx(&*folder, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
        match FileType::from_raw_mode(facts.stx_mode.into()) {
            FileType::Directory => {
                use std::os::unix::ffi::OsStrExt as _;
                queue.open.fetch_add(1, Ordering::Relaxed);
                let below = path.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
                queue.waiting.lock().map_err(|_| "a thread failed")?.push(below);
            }
            FileType::RegularFile => {
                let folder = Arc::clone(&folder);
                found.push(Found { folder, name: name.to_bytes().to_vec(), size: facts.stx_size });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Does the work for each file by all threads; returns the sum.
fn each(
    files: &[Found],
    threads: usize,
    work: impl Fn(&Found, &mut [u8]) -> Result<u64, Failed> + Sync,
) -> Result<u64, Failed> {
    let next = AtomicUsize::new(0);
    let some = || -> Result<u64, Failed> {
        let (mut sum, mut memory) = (0, vec![0; BUFFER + ALIGNMENT]);
        let from = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            sum += work(file, &mut memory[from..][..BUFFER])?;
        }
        Ok(sum)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        let mut sum = 0;
        for worker in workers {
            sum += worker.join().map_err(|_| "a thread failed")??;
        }
        Ok(sum)
    })
}

/// Reads and hashes a file; `to` gets each part.
fn read(
    file: &Found,
    buffer: &mut [u8],
    to: &mut dyn FnMut(&[u8]) -> Result<(), Failed>,
) -> Result<([u8; 32], u64), Failed> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut input =
        File::from(rustix::fs::openat(&*file.folder, file.name.as_slice(), flags, Mode::empty())?);
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    loop {
        let count = input.read(buffer)?;
        if count == 0 {
            return Ok((hash.finalize().into(), bytes));
        }
        hash.update(&buffer[..count]);
        to(&buffer[..count])?;
        bytes += count as u64;
        if bytes >= file.size {
            return Ok((hash.finalize().into(), bytes));
        }
    }
}

fn make_folders(to: &Path) -> Result<(), Failed> {
    for prefix in 0..PREFIXES {
        std::fs::create_dir_all(to.join(format!("{prefix:03x}")))?;
    }
    Ok(())
}

/// Where the content with this hash belongs.
fn place(to: &Path, hash: [u8; 32]) -> PathBuf {
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    to.join(&hex[..3]).join(hex)
}

/// A name that nothing else has, in a folder of this thread: several in one would wait for each other.
fn incoming(to: &Path) -> Result<PathBuf, Failed> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: OnceCell<PathBuf> = const { OnceCell::new() };
    }
    let next = || NUMBER.fetch_add(1, Ordering::Relaxed).to_string();
    OWN.with(|own| match own.get() {
        Some(folder) => Ok(folder.join(next())),
        None => {
            let folder = to.join(format!("incoming-{}", next()));
            std::fs::create_dir(&folder)?;
            Ok(own.get_or_init(|| folder).join(next()))
        }
    })
}

/// How many files are written at a time.
fn writers(files: &[Found], threads: usize) -> usize {
    if files.iter().all(|file| file.size >= LARGE) { LARGE_AT_A_TIME } else { threads }
}

/// A file that is being written; a large one straight, where the filesystem can.
struct Output {
    file: File,
    straight: bool,
    at: u64,
}

impl Output {
    fn new(path: &Path, size: u64) -> Result<Self, Failed> {
        use rustix::fs::FallocateFlags;
        let file = File::create_new(path)?;
        let straight = size >= LARGE && rustix::fs::fcntl_setfl(&file, OFlags::DIRECT).is_ok();
        if straight {
            // Where there is no such thing, files lie in pieces; where there is no room, writing fails.
            let _in_one_piece = rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, size);
        }
        Ok(Output { file, straight, at: 0 })
    }

    fn write(&mut self, part: &[u8]) -> Result<(), Failed> {
        if self.straight && !part.len().is_multiple_of(ALIGNMENT) {
            rustix::fs::fcntl_setfl(&self.file, OFlags::empty())?;
            self.straight = false;
        }
        self.file.write_all_at(part, self.at)?;
        self.at += part.len() as u64;
        Ok(())
    }
}

/// Writes a file under another name, and notes what it is to be called.
fn stage(
    file: &Found,
    to: &Path,
    buffer: &mut [u8],
    staged: &Mutex<Vec<(PathBuf, [u8; 32])>>,
) -> Result<u64, Failed> {
    let incoming = incoming(to)?;
    let mut output = Output::new(&incoming, file.size)?;
    let (hash, bytes) = read(file, buffer, &mut |part| output.write(part))?;
    staged.lock().map_err(|_| "a thread failed")?.push((incoming, hash));
    Ok(bytes)
}

fn copy(file: &Found, to: &Path, buffer: &mut [u8]) -> Result<u64, Failed> {
    if file.size <= buffer.len() as u64 {
        let mut content = Vec::with_capacity(file.size as usize);
        let (hash, bytes) = read(file, buffer, &mut |part| {
            content.extend_from_slice(part);
            Ok(())
        })?;
        // What is twice in the source is written once.
        match File::create_new(place(to, hash)) {
            Ok(mut output) => output.write_all(&content)?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
        return Ok(bytes);
    }
    let incoming = incoming(to)?;
    let mut output = Output::new(&incoming, file.size)?;
    let (hash, bytes) = read(file, buffer, &mut |part| output.write(part))?;
    std::fs::rename(incoming, place(to, hash))?;
    Ok(bytes)
}
