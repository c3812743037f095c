//! One disk that was mounted: its steps, each as a process, and what is told of them.

use std::ffi::OsString;
use std::process::{Command, ExitStatus, Stdio};

use distbackup_engine::ops::OpError;
use distbackup_engine::platform;
use serde_json::json;

use super::{Found, Watch};
use crate::args::ProgressChoice;
use crate::failure::{Exit, Failure};

/// What is done with a disk, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Update,
    Backup,
    Verify,
}

/// How far a pass came.
pub enum Ended {
    /// To its end, well or not.
    Done(Exit),
    /// Another dsb is at work: later, from the same step on.
    Busy,
    /// The user wants the watch to end.
    Stopped,
}

/// One disk that was mounted.
pub struct Pass {
    /// Which.
    pub disk: Found,
    step: Step,
    announced: bool,
    /// The backup ended in order: everything that it wrote is durable.
    written: bool,
    trouble: Vec<String>,
    exit: Exit,
}

impl Pass {
    /// A disk that was just found.
    pub fn new(disk: Found) -> Self {
        Pass {
            disk,
            step: Step::Update,
            announced: false,
            written: false,
            trouble: Vec::new(),
            exit: Exit::DONE,
        }
    }

    /// Does the steps that are left.
    pub fn go_on(&mut self, watch: &mut Watch<'_>) -> Result<Ended, Failure> {
        let name = self.disk.name.clone();
        if !self.announced {
            self.announced = true;
            watch.event("found", &name, json!({ "uuid": self.disk.uuid }));
            watch.tell(true, &name, "the backup begins. Leave the disk connected.");
        }
        loop {
            if self.step == Step::Verify && watch.verify.is_none() {
                return Ok(self.end(watch));
            }
            let status = self.child(watch)?;
            if platform::interrupted() {
                return Ok(Ended::Stopped);
            }
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            if code == Some(Exit::IN_USE.0) {
                watch.event("busy", &name, json!({ "command": self.verb() }));
                return Ok(Ended::Busy);
            }
            watch.event("step", &name, json!({ "command": self.verb(), "exit": code }));
            self.exit = self.exit.or_graver(code.map_or(Exit::FAILED, Exit));
            let why = words(code, status);
            self.trouble.extend(why.map(|why| format!("{}: {why}", self.verb())));
            let goes_on = match (self.step, code) {
                // What was recorded before can be backed up whatever happened, unless the catalog itself is the trouble.
                (Step::Update, Some(code)) => ![Exit::NO_CATALOG.0, Exit::INTERRUPTED.0].contains(&code),
                (Step::Update, None) => true,
                (Step::Backup, code) => {
                    let in_order = [Exit::DONE, Exit::PART, Exit::DAMAGE, Exit::FULL, Exit::CONSENT];
                    self.written = in_order.iter().any(|exit| Some(exit.0) == code);
                    self.written
                }
                (Step::Verify, _) => false,
            };
            self.step = match self.step {
                Step::Update if goes_on => Step::Backup,
                Step::Backup if goes_on => Step::Verify,
                _ => return Ok(self.end(watch)),
            };
        }
    }

    fn verb(&self) -> &'static str {
        match self.step {
            Step::Update => "update",
            Step::Backup => "backup",
            Step::Verify => "verify",
        }
    }

    /// Runs the step as a process of its own, in a group of its own: what the terminal sends is passed on once, not twice.
    fn child(&self, watch: &mut Watch<'_>) -> Result<ExitStatus, Failure> {
        use std::os::unix::process::CommandExt;
        let context = watch.context;
        let mut words: Vec<OsString> = vec!["--db".into(), context.path.clone().into(), "--no-input".into()];
        let global = context.global;
        words.extend(global.log.iter().flat_map(|file| ["--log".into(), file.clone()]));
        let flags = [
            (global.nolog, "--nolog"),
            (global.quiet, "--quiet"),
            (global.dry_run, "--dry-run"),
            (global.bytes, "--bytes"),
            (global.json || global.progress == ProgressChoice::None, "--progress=none"),
            (global.progress == ProgressChoice::Plain, "--progress=plain"),
        ];
        words.extend(flags.iter().filter(|(given, _)| *given).map(|(_, flag)| OsString::from(flag)));
        words.push(self.verb().into());
        if self.step != Step::Update {
            words.push(self.disk.name.clone().into());
        }
        if let (Step::Verify, Some(time)) = (self.step, &watch.verify) {
            words.extend(["--for".into(), time.into()]);
        }
        let mut command = Command::new(&watch.program);
        command.args(words).stdin(Stdio::null()).process_group(0);
        if global.json {
            // Ours is the only answer on standard output.
            command.stdout(Stdio::null());
        }
        let mut child = command.spawn().map_err(OpError::io("run", &watch.program))?;
        watch.wait_for(&mut child)
    }

    /// Tells how it went.
    fn end(&self, watch: &Watch<'_>) -> Ended {
        let (name, trouble) = (&self.disk.name, self.trouble.join("; "));
        watch.event(
            "done",
            name,
            json!({ "exit": self.exit.0, "written": self.written, "trouble": self.trouble }),
        );
        let unplug = format!("Safe to unplug once it is unmounted: dsb disk eject {name}");
        match (self.written, trouble.is_empty()) {
            (true, _) if watch.context.global.dry_run => {
                watch.tell(true, name, "this was a dry run; nothing was written.")
            }
            (true, true) => watch.tell(true, name, &format!("backed up. {unplug}")),
            (true, false) => {
                watch.tell(false, name, &format!("backed up, but look at this: {trouble}. {unplug}"))
            }
            (false, _) => watch.tell(false, name, &format!("NOT backed up: {trouble}. See: dsb log")),
        }
        Ended::Done(self.exit)
    }
}

/// What an exit code means for whoever looks at a notice; `None`: all is well.
fn words(code: Option<u8>, status: ExitStatus) -> Option<String> {
    let text = match code.map(Exit) {
        Some(Exit::DONE) => return None,
        Some(Exit::PART) => "some files were left out",
        Some(Exit::DAMAGE) => "damage was found",
        Some(Exit::FULL) => "the disk refused room that it had promised",
        Some(Exit::CONSENT) => "it waits for your word; nothing was confirmed for you. See: dsb status",
        Some(Exit::NO_DISK) => "the disk is not there any more, cannot be written, or is another one",
        Some(Exit::NO_CATALOG) => "there is no good catalog",
        Some(Exit::INTERRUPTED) => "it was interrupted",
        Some(Exit(code)) => return Some(format!("it failed (exit code {code})")),
        None => return Some(format!("it did not end in order ({status})")),
    };
    Some(text.to_owned())
}
