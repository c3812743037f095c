//! The program as its user meets it: a process with arguments, a home, output and an exit code.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io::{Read, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tempfile::TempDir;

use crate::folder::Folder;

/// Nobody's number, for runs as an ordinary user.
pub const NOBODY: u32 = 65_534;

/// How long a run may take before it counts as hanging, unless the test says otherwise.
const HANGS_AFTER: Duration = Duration::from_secs(300);

/// The program with a home and a catalog folder of its own, which vanish with this value.
#[derive(Debug)]
pub struct Dsb {
    program: PathBuf,
    home: TempDir,
    catalog: PathBuf,
    user: Option<u32>,
    variables: Vec<(OsString, OsString)>,
    patience: Duration,
}

impl Dsb {
    /// Runs `program`; a test of the package passes `env!("CARGO_BIN_EXE_dsb")`.
    pub fn new(program: impl Into<PathBuf>) -> Dsb {
        let home = TempDir::new().unwrap();
        let catalog = home.path().join("catalog");
        let variables = Vec::new();
        Dsb { program: program.into(), home, catalog, user: None, variables, patience: HANGS_AFTER }
    }

    /// The same program with an empty home: another PC.
    pub fn another_pc(&self) -> Dsb {
        let other = Dsb::new(&self.program);
        if let Some(user) = self.user { other.as_user(user) } else { other }
    }

    /// Runs as the user and group `id` from now on, without other groups. Needs root.
    pub fn as_user(mut self, id: u32) -> Dsb {
        // The build folder may lie where only root may look.
        let copy = self.home.path().join("dsb");
        fs::copy(&self.program, &copy).unwrap();
        self.program = copy;
        chown(self.home.path(), Some(id), Some(id)).unwrap();
        if self.catalog.exists() {
            chown(&self.catalog, Some(id), Some(id)).unwrap();
        }
        self.user = Some(id);
        self
    }

    /// Sets a variable of the environment, which is otherwise nearly empty.
    pub fn with_env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Dsb {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Lets a run take so long before it counts as hanging.
    pub fn with_patience(mut self, patience: Duration) -> Dsb {
        self.patience = patience;
        self
    }

    /// `$HOME` of the runs.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// `$DISTBACKUP_PATH` of the runs; the program makes it.
    pub fn catalog(&self) -> &Path {
        &self.catalog
    }

    /// Runs to the end, with nothing to read on stdin.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        self.start(arguments).wait()
    }

    /// Runs to the end; `input` is what the user types.
    pub fn run_with_input<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        input: &str,
    ) -> Run {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        let mut running = Running::start(command, self.patience);
        // A program that never asks closes its end: not this function's business.
        let _ = running.child.stdin.take().unwrap().write_all(input.as_bytes());
        running.wait()
    }

    /// Starts a run that goes on beside the test.
    pub fn start<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Running {
        Running::start(self.command(arguments), self.patience)
    }

    /// Starts what [`command`](Self::command) has prepared and the test has changed.
    pub fn start_prepared(&self, command: Command) -> Running {
        Running::start(command, self.patience)
    }

    /// The prepared command, for what this module does not foresee.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env_clear().current_dir(self.home.path()).stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.home.path()).env("DISTBACKUP_PATH", &self.catalog);
        command.env("NO_COLOR", "1").env("TERM", "dumb").env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(id) = self.user {
            // Beside setting them, std drops the other groups of root.
            command.uid(id).gid(id);
        }
        command
    }
}

/// A run that has not ended yet, or whose end nobody has looked at. Dropping kills it.
#[derive(Debug)]
pub struct Running {
    command: String,
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    patience: Duration,
    reaped: bool,
}

impl Running {
    fn start(mut command: Command, patience: Duration) -> Running {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let text = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
        let command = format!("dsb {}", text.collect::<Vec<_>>().join(" "));
        // Both are read beside the run: a full pipe would stop it.
        let stdout = Some(read_all(child.stdout.take().unwrap()));
        let stderr = Some(read_all(child.stderr.take().unwrap()));
        Running { command, child, stdout, stderr, patience, reaped: false }
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: the machine's way of ending a process, of which it learns nothing (D1).
    pub fn kill(self) -> Run {
        self.signal(Signal::KILL);
        self.wait()
    }

    /// SIGKILL after `delay`, unless the run has ended before.
    pub fn kill_after(self, delay: Duration) -> Run {
        let until = Instant::now() + delay;
        self.kill_when(|| Instant::now() >= until)
    }

    /// SIGKILL as soon as `happened`, unless the run has ended before; asked every 200 microseconds.
    pub fn kill_when(mut self, mut happened: impl FnMut() -> bool) -> Run {
        while !happened() && !self.has_ended() {
            std::thread::sleep(Duration::from_micros(200));
        }
        self.kill()
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Sends any signal. The number cannot belong to a stranger: the run is not yet reaped.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Whether the run is over, though [`wait`](Self::wait) was not called.
    pub fn has_ended(&mut self) -> bool {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let pid = Pid::from_raw(self.child.id() as i32).unwrap();
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), options).unwrap().is_some()
    }

    /// Waits until `happened`; false if the run has ended before.
    pub fn wait_until(&mut self, mut happened: impl FnMut() -> bool) -> bool {
        loop {
            if happened() {
                return true;
            }
            if self.has_ended() {
                return happened();
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Waits for the end.
    ///
    /// # Panics
    ///
    /// If the program hangs, or reports a panic of its own.
    pub fn wait(mut self) -> Run {
        let deadline = Instant::now() + self.patience;
        while !self.has_ended() {
            if Instant::now() > deadline {
                self.signal(Signal::KILL);
                panic!("`{}` hangs", self.command);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let (status, memory_bytes_max) = reap(self.child.id());
        self.reaped = true;
        let collect = |thread: &mut Option<JoinHandle<Vec<u8>>>| thread.take().unwrap().join().unwrap();
        let run = Run {
            command: self.command.clone(),
            status,
            stdout: collect(&mut self.stdout),
            stderr: collect(&mut self.stderr),
            memory_bytes_max,
        };
        assert!(!run.stderr().contains("panicked at"), "the program panicked\n{run}");
        run
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(Signal::KILL);
            reap(self.child.id());
        }
    }
}

/// A run that has ended.
#[derive(Debug, Clone)]
pub struct Run {
    command: String,
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    memory_bytes_max: u64,
}

impl Run {
    /// Expects exit code 0.
    #[track_caller]
    pub fn ok(self) -> Run {
        self.code(0)
    }

    /// Expects this exit code.
    #[track_caller]
    pub fn code(self, expected: i32) -> Run {
        assert_eq!(self.status.code(), Some(expected), "exit code\n{self}");
        self
    }

    /// What was run, for messages.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// The exit code, or `None` if a signal ended the run.
    pub fn exit_code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Whether SIGKILL ended it.
    pub fn was_killed(&self) -> bool {
        self.status.signal() == Some(libc::SIGKILL)
    }

    /// Its answer, as text.
    ///
    /// # Panics
    ///
    /// If it is no UTF-8: even odd names have to be shown escaped (N12).
    #[track_caller]
    pub fn stdout(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap_or_else(|_| panic!("stdout is no text\n{self}"))
    }

    /// Its messages, as text.
    ///
    /// # Panics
    ///
    /// If they are no UTF-8.
    #[track_caller]
    pub fn stderr(&self) -> &str {
        std::str::from_utf8(&self.stderr).unwrap_or_else(|_| panic!("stderr is no text\n{self}"))
    }

    /// Expects `part` in the answer.
    #[track_caller]
    pub fn says(self, part: &str) -> Run {
        assert!(self.stdout().contains(part), "stdout should contain {part:?}\n{self}");
        self
    }

    /// Expects `part` in the messages.
    #[track_caller]
    pub fn warns(self, part: &str) -> Run {
        assert!(self.stderr().contains(part), "stderr should contain {part:?}\n{self}");
        self
    }

    /// Expects `part` neither in answer nor messages.
    #[track_caller]
    pub fn silent_about(self, part: &str) -> Run {
        let said = self.stdout().contains(part) || self.stderr().contains(part);
        assert!(!said, "output should not contain {part:?}\n{self}");
        self
    }

    /// Expects no control character but line ends in the output: names from a disk must not steer a
    /// terminal (rule 7).
    #[track_caller]
    pub fn harmless(self) -> Run {
        let steers = |text: &str| text.chars().any(|c| c.is_control() && c != '\n');
        assert!(!steers(self.stdout()) && !steers(self.stderr()), "control characters\n{self}");
        self
    }

    /// The most memory it held, in bytes, as the kernel counted it.
    ///
    /// The kernel starts counting before `exec`, so this is never less than the memory of the test
    /// process: an upper bound, good for "stays below".
    pub fn memory_bytes_max(&self) -> u64 {
        self.memory_bytes_max
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}\n{}", self.command, self.status)?;
        writeln!(f, "--- stdout\n{}", String::from_utf8_lossy(&self.stdout))?;
        write!(f, "--- stderr\n{}", String::from_utf8_lossy(&self.stderr))
    }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Collects an ended child: its status and its peak memory in bytes.
fn reap(pid: u32) -> (ExitStatus, u64) {
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are valid for writing during the call, and a zeroed rusage is a valid one.
    // The pid is that of our child, which nothing else waits for: `Child::wait` is never called.
    let (got, usage) = unsafe {
        let got = libc::wait4(pid as i32, &raw mut status, 0, usage.as_mut_ptr());
        (got, usage.assume_init())
    };
    assert_eq!(got, pid as i32, "wait4: {}", std::io::Error::last_os_error());
    (ExitStatus::from_raw(status), usage.ru_maxrss as u64 * 1024)
}

/// Makes `path` and everything in it belong to `id`; for trees of ordinary runs. Needs root.
///
/// What belongs to `id` already stays as it is. Files lose set-id bits and capabilities with their
/// owner, as always.
pub fn give_to(path: &Path, id: u32) {
    let metadata = fs::symlink_metadata(path).unwrap();
    if (metadata.uid(), metadata.gid()) != (id, id) {
        lchown(path, Some(id), Some(id)).unwrap();
    }
    if metadata.is_dir() {
        // Not by path: a tree may be deeper than a path may be long.
        let folder = Folder::open(path).unwrap();
        for name in folder.names().unwrap() {
            give_to(&folder.at(&name), id);
        }
    }
}

/// Lets everybody pass through and list `path`: temporary folders are private otherwise.
pub fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
