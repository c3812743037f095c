//! Progress: bars on a terminal, a plain line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use distbackup_core::model::{Bytes, escape_bytes};
use distbackup_engine::progress::{Event, Phase};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::words;

/// Plain lines come no more often than this.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// A bar appears only if the phase takes longer than this.
const BAR_AFTER: Duration = Duration::from_millis(700);

/// Shows what an operation tells.
pub struct Progress {
    plain: bool,
    state: Mutex<State>,
    files: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Default)]
struct State {
    phase: Option<(Phase, Instant)>,
    totals: (u64, u64),
    bar: Option<ProgressBar>,
    shown: Option<Instant>,
    path: String,
    /// A phase within which this one began, with the files and bytes that it had counted.
    outer: Option<(Box<State>, u64, u64)>,
}

fn title(phase: Phase) -> &'static str {
    match phase {
        Phase::Scan => "scanning",
        Phase::Hash => "hashing",
        Phase::Reread => "reading again",
        Phase::Reconcile => "comparing the disk",
        Phase::Plan => "planning",
        Phase::Remove => "removing",
        Phase::Copy => "copying",
        Phase::Stage => "copying to the staging folder",
        Phase::ReadBack => "reading back",
        Phase::Publish => "copying the catalog",
        Phase::Page => "writing CATALOG.html",
        Phase::Verify => "verifying",
        Phase::Restore => "restoring",
        Phase::Import => "importing",
        Phase::Adopt => "adopting",
        Phase::LookAhead => "working out what to connect next",
    }
}

impl Progress {
    /// Bars if standard error is a terminal, unless plain lines are wanted.
    pub fn new(plain: bool) -> Self {
        let plain = plain || !std::io::stderr().is_terminal();
        Progress { plain, state: Mutex::default(), files: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes the bar away while something else is written.
    pub fn suspended(&self, write: impl FnOnce()) {
        let bar = self.lock().bar.clone();
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// The file in hand, said at once (`-vv`).
    pub fn working(&self, path: &[u8]) {
        self.suspended(|| drop(writeln!(anstream::stderr().lock(), "  {}", escape_bytes(path))));
    }

    /// Takes in an event.
    pub fn event(&self, event: Event<'_>) {
        match event {
            Event::Begin { phase, files, bytes } => {
                let mut state = self.lock();
                let counted = (self.files.swap(0, Ordering::Relaxed), self.bytes.swap(0, Ordering::Relaxed));
                let mut before = std::mem::take(&mut *state);
                // Two bars at a time would write over each other; the outer one comes back with its next file.
                if let Some(bar) = before.bar.take() {
                    bar.finish_and_clear();
                }
                *state = State {
                    phase: Some((phase, Instant::now())),
                    totals: (files, bytes.0),
                    outer: before.phase.is_some().then(|| (Box::new(before), counted.0, counted.1)),
                    ..State::default()
                };
            }
            Event::Done { files, bytes } => {
                self.files.fetch_add(files, Ordering::Relaxed);
                let before = self.bytes.fetch_add(bytes.0, Ordering::Relaxed);
                // Looked at once for each mebibyte or each few files: the lock is not on the fast path.
                let counted = self.files.load(Ordering::Relaxed);
                if counted.is_multiple_of(64) || (before >> 20) != ((before + bytes.0) >> 20) {
                    self.show();
                }
            }
            Event::Working { path } => {
                if let Ok(mut state) = self.state.try_lock() {
                    state.path = escape_bytes(path);
                }
            }
            Event::End => {
                let mut state = self.lock();
                if let Some(bar) = state.bar.take() {
                    bar.finish_and_clear();
                }
                state.phase = None;
                if let Some((outer, files, bytes)) = state.outer.take() {
                    *state = *outer;
                    self.files.store(files, Ordering::Relaxed);
                    self.bytes.store(bytes, Ordering::Relaxed);
                }
            }
            Event::Skipped { .. } | Event::Damaged { .. } | Event::Note { .. } => {}
        }
    }

    fn show(&self) {
        let Ok(mut state) = self.state.try_lock() else { return };
        let Some((phase, began)) = state.phase else { return };
        let (files, bytes) = (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        if self.plain {
            let due = state.shown.map_or(began.elapsed(), |shown| shown.elapsed()) >= PLAIN_EVERY;
            if due {
                state.shown = Some(Instant::now());
                let line = plain_line(phase, began, files, bytes, state.totals);
                let _ = writeln!(anstream::stderr().lock(), "{line}");
            }
            return;
        }
        if state.bar.is_none() {
            if began.elapsed() < BAR_AFTER {
                return;
            }
            state.bar = Some(new_bar(phase, state.totals, began));
        }
        if state.shown.is_some_and(|shown| shown.elapsed() < Duration::from_millis(100)) {
            return;
        }
        state.shown = Some(Instant::now());
        if let Some(bar) = &state.bar {
            bar.set_position(if state.totals.1 > 0 { bytes } else { files });
            let counted = words::count(files, "file", "files");
            bar.set_message(format!("{counted}  {}", shorten(&state.path)));
        }
    }
}

/// The end of a path says more than its begin.
fn shorten(path: &str) -> String {
    const WIDTH: usize = 60;
    let length = path.chars().count();
    if length <= WIDTH {
        return path.to_owned();
    }
    format!("…{}", path.chars().skip(length - WIDTH + 1).collect::<String>())
}

fn new_bar(phase: Phase, (files, bytes): (u64, u64), began: Instant) -> ProgressBar {
    let total = if bytes > 0 { bytes } else { files };
    let template = match (bytes > 0, total > 0) {
        (true, _) => {
            "{prefix} {bar:24} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta} left\n  {wide_msg}"
        }
        (false, true) => "{prefix} {bar:24} {percent} %\n  {wide_msg}",
        (false, false) => "{prefix} {spinner} {wide_msg}",
    };
    let bar = if total > 0 { ProgressBar::new(total) } else { ProgressBar::new_spinner() };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar.set_prefix(title(phase));
    bar.with_elapsed(began.elapsed())
}

fn plain_line(
    phase: Phase,
    began: Instant,
    files: u64,
    bytes: u64,
    (total_files, total_bytes): (u64, u64),
) -> String {
    let seconds = began.elapsed().as_secs().max(1);
    let rate = Bytes(bytes / seconds);
    let percent = match (total_bytes, total_files) {
        (0, 0) => String::new(),
        (0, total) => format!("{} %  ", files.min(total) * 100 / total),
        (total, _) => format!("{} %  ", (u128::from(bytes.min(total)) * 100 / u128::from(total)) as u64),
    };
    let files = words::count(files, "file", "files");
    if bytes > 0 {
        format!("{}: {percent}{}  {files}  {rate}/s", title(phase), Bytes(bytes))
    } else {
        format!("{}: {percent}{files}", title(phase))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_within_another_one_leaves_the_outer_counts_as_they_were() {
        let progress = Progress::new(true);
        let begin = |phase| progress.event(Event::Begin { phase, files: 10, bytes: Bytes(100) });
        let done = |files| progress.event(Event::Done { files, bytes: Bytes(7) });
        let now = || (progress.lock().phase.map(|(phase, _)| phase), progress.files.load(Ordering::Relaxed));
        begin(Phase::Copy);
        done(3);
        begin(Phase::ReadBack);
        done(2);
        assert_eq!(now(), (Some(Phase::ReadBack), 2));
        progress.event(Event::End);
        assert_eq!(now(), (Some(Phase::Copy), 3));
        assert_eq!(progress.bytes.load(Ordering::Relaxed), 7);
        progress.event(Event::End);
        assert_eq!(now().0, None);
    }
}
