//! This process: interrupts, open files, what it may do.

use std::sync::atomic::{AtomicBool, Ordering};

/// Set by the first interrupt.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether the user has asked to stop (Ctrl-C, or a polite kill).
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// The first Ctrl-C asks operations to end in order; the second ends the process at once, by which nothing is lost (DESIGN 6).
#[cfg(unix)]
pub fn watch_interrupts() {
    extern "C" fn handle(_: libc::c_int) {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            // SAFETY: `_exit` may be called in a signal handler (signal-safety(7)).
            unsafe { libc::_exit(130) };
        }
    }
    let handler: extern "C" fn(libc::c_int) = handle;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only touches an atomic and calls `_exit`, both allowed in a signal handler.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
    // SAFETY: ignoring a signal has no handler that could misbehave.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// There are no signals to watch here.
#[cfg(not(unix))]
pub fn watch_interrupts() {}

/// Allows as many open files as the system lets this user have: deep folders are held open by descriptor.
#[cfg(unix)]
pub fn raise_open_files_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a valid pointer to a local structure of the right type.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// There is no such limit here.
#[cfg(not(unix))]
pub fn raise_open_files_limit() {}

/// Asks a child that was not waited for yet to end in order, as Ctrl-C would (its number cannot be another's).
#[cfg(unix)]
pub fn ask_to_stop(child: u32) -> std::io::Result<()> {
    let number = i32::try_from(child).ok().and_then(rustix::process::Pid::from_raw);
    let number = number.ok_or(std::io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::kill_process(number, rustix::process::Signal::INT)?)
}

/// Whether this process may do everything (root).
pub fn is_superuser() -> bool {
    rustix::process::geteuid().is_root()
}
