//! `dsb watch`: waits until a disk of the set is mounted, then updates, backs up, and verifies a part.
//!
//! Each step is this same program as a process of its own, with the locks and the brake of any other run: what needs the user's word
//! is told, never given. A disk is taken care of once for each time that it is mounted.

mod pass;
mod unit;

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use distbackup_core::model::parse_time_box;
use distbackup_engine::ops::tools::Tool;
use distbackup_engine::ops::{OpError, shelf};
use distbackup_engine::platform::{self, MountWatch, Mounts};
use serde_json::json;

use crate::Outcome;
use crate::args::WatchArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use pass::{Ended, Pass};

/// Mounts come in bunches, and whoever mounts a disk has to finish with it.
const SETTLE: Duration = Duration::from_millis(300);
/// The first wait for another dsb; each next one is twice as long, up to the longest.
const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often to look where the system tells nothing of mounts.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How soon a wish to stop is noticed, at the latest: a signal that comes just before a wait does not end it.
const ATTENTIVE: Duration = Duration::from_secs(1);
/// How soon a child's end is noticed.
const CHILD: Duration = Duration::from_millis(100);

/// Installs, uninstalls, or watches.
pub fn run(context: &Context<'_>, args: &WatchArgs) -> Outcome {
    // A wrong time is better known now than when a disk comes.
    let verify = match args.verify.as_str() {
        "0" | "off" | "none" => None,
        time => parse_time_box(time).map(|_| Some(time.to_owned()))?,
    };
    if args.uninstall {
        return unit::uninstall(context);
    }
    if args.install {
        return unit::install(context, &args.verify);
    }
    let program = std::env::current_exe().map_err(OpError::io("find", "this program"))?;
    let mounts = MountWatch::begin().map_err(OpError::io("watch", "/proc/self/mountinfo"))?;
    let mut watch = Watch {
        context,
        program,
        verify,
        mounts,
        handled: Vec::new(),
        open: Vec::new(),
        changed: true,
        pause: PAUSE,
    };
    watch.run(args.once)
}

/// A disk as it is mounted now.
#[derive(Debug, Clone)]
struct Found {
    uuid: String,
    name: String,
    /// Number and device of its mount: another one means that it was mounted anew.
    mount: Option<(u64, (u32, u32))>,
}

impl Found {
    /// The same disk in the same mount, whatever it is called by now.
    fn is(&self, other: &Found) -> bool {
        (&self.uuid, self.mount) == (&other.uuid, other.mount)
    }
}

struct Watch<'w> {
    context: &'w Context<'w>,
    program: std::path::PathBuf,
    verify: Option<String>,
    mounts: MountWatch,
    /// Disks that were taken care of and are still mounted.
    handled: Vec<Found>,
    /// Disks that wait for another dsb.
    open: Vec<Pass>,
    /// Mounts changed since the last look.
    changed: bool,
    /// The next wait for another dsb.
    pause: Duration,
}

impl Watch<'_> {
    fn run(&mut self, once: bool) -> Outcome {
        let mut look_at = Instant::now();
        let mut first = true;
        loop {
            if platform::interrupted() {
                self.context.render.note("The watch has ended, as asked.");
                return Ok(Exit::INTERRUPTED);
            }
            if self.changed || Instant::now() >= look_at {
                self.changed = false;
                match self.look(once) {
                    Ok(Some(exit)) => return Ok(exit),
                    Ok(None) => {}
                    Err(failure) if is_busy(&failure) => self.busy("the catalog"),
                    // Without a catalog there is nothing to watch for; later it may be away for a moment.
                    Err(failure @ Failure::Operation(OpError::Catalog(_))) if first => return Err(failure),
                    Err(failure) => {
                        self.context.render.failure(&failure);
                        self.longer_pause();
                    }
                }
                if first {
                    self.context
                        .render
                        .note("Waiting for a disk of the set to be mounted. Ctrl-C ends the watch.");
                    first = false;
                }
                look_at = Instant::now() + self.next_look();
            } else {
                self.wait(look_at.saturating_duration_since(Instant::now()).min(ATTENTIVE))?;
                if self.changed {
                    self.wait(SETTLE)?;
                }
            }
        }
    }

    /// How long until the next look if no mount changes.
    fn next_look(&self) -> Duration {
        match (self.pause > PAUSE || !self.open.is_empty(), self.mounts.tells()) {
            // It was doubled for the next time already.
            (true, _) => self.pause / 2,
            (false, true) => Duration::from_secs(3600),
            (false, false) => LOOK_EVERY,
        }
    }

    /// Somebody else works: patience, more of it each time.
    fn busy(&mut self, what: &str) {
        if self.pause == PAUSE {
            self.context.render.note(&format!("Waiting for {what}; another dsb is at work."));
        }
        self.longer_pause();
    }

    fn longer_pause(&mut self) {
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    /// Takes care of every disk that is mounted anew. An exit code ends the watch.
    fn look(&mut self, once: bool) -> Result<Option<Exit>, Failure> {
        let found = self.connected()?;
        self.handled.retain(|disk| found.iter().any(|other| other.is(disk)));
        self.open.retain(|pass| found.iter().any(|other| other.is(&pass.disk)));
        let mut waits = false;
        for disk in found {
            if self.handled.iter().any(|other| other.is(&disk)) {
                continue;
            }
            let known = self.open.iter().position(|pass| pass.disk.is(&disk));
            let mut pass = known.map_or_else(|| Pass::new(disk.clone()), |at| self.open.swap_remove(at));
            match pass.go_on(self)? {
                Ended::Done(exit) => {
                    self.handled.push(disk);
                    if once {
                        return Ok(Some(exit));
                    }
                }
                Ended::Busy => {
                    waits = true;
                    self.open.push(pass);
                }
                // The main loop ends.
                Ended::Stopped => return Ok(None),
            }
        }
        if waits {
            self.busy("its turn");
        } else {
            self.pause = PAUSE;
        }
        Ok(None)
    }

    /// Disks of the set that are mounted now, recognised by what stands on them.
    fn connected(&self) -> Result<Vec<Found>, Failure> {
        let opened = self.context.open_to_read()?;
        let reader = opened.catalog.read();
        let folders = shelf::connected_folders(&reader)?;
        let mounts = Mounts::read().map_err(OpError::io("read", "/proc/self/mountinfo"))?;
        let rows = reader.disks()?.into_iter();
        let found = rows.filter_map(|row| {
            let mount = mounts.mount_of(folders.get(&row.disk)?);
            let mount = mount.map(|mount| (mount.mount_id, mount.device));
            // One that is to leave receives nothing: it is for `disk retire`.
            (!row.retiring).then_some(Found { uuid: row.uuid.0, name: row.name, mount })
        });
        Ok(found.collect())
    }

    /// Waits for mounts to change; who was unmounted meanwhile counts as new when he comes back, however soon.
    fn wait(&mut self, at_most: Duration) -> Result<(), Failure> {
        if !self.mounts.wait(at_most).map_err(OpError::io("watch", "/proc/self/mountinfo"))? {
            return Ok(());
        }
        self.changed = true;
        let mounts = Mounts::read().map_err(OpError::io("read", "/proc/self/mountinfo"))?;
        let there = |disk: &Found| {
            let (number, device) = disk.mount?;
            mounts.by_id(number).filter(|mount| mount.device == device)
        };
        self.handled.retain(|disk| disk.mount.is_none() || there(disk).is_some());
        Ok(())
    }

    /// Waits for a child; a wish to stop is passed on once, so that it ends in order.
    fn wait_for(&mut self, child: &mut Child) -> Result<ExitStatus, Failure> {
        let mut passed_on = false;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if platform::interrupted() && !passed_on {
                passed_on = true;
                self.context.render.note("Ending in order; what is done is recorded.");
                // One that has just ended needs no signal.
                let _ = platform::ask_to_stop(child.id());
            }
            self.wait(CHILD)?;
        }
    }

    /// Tells the user at the desktop, if there is one, and in a line.
    fn tell(&self, good: bool, title: &str, text: &str) {
        let line = format!("{title}: {text}");
        if good {
            self.context.render.say(&line);
        } else {
            self.context.render.warning(&line);
        }
        let urgency = if good { "--urgency=normal" } else { "--urgency=critical" };
        // Some desktops read markup in the text.
        let plain = text.replace(['<', '>', '&'], " ");
        let notice =
            Tool::new("notify-send", ["--app-name=distbackup", urgency, "--", title, plain.as_str()]);
        if let Some(Err(why)) = notice.run().map(|done| done.map(drop)) {
            self.context.render.note(&format!("no notice on the desktop: {why}"));
        }
    }

    fn event(&self, event: &str, disk: &str, mut more: serde_json::Value) {
        if let Some(map) = more.as_object_mut() {
            map.insert("event".into(), json!(event));
            map.insert("disk".into(), json!(disk));
        }
        self.context.render.object("watch", more);
    }
}

fn is_busy(failure: &Failure) -> bool {
    matches!(failure, Failure::Operation(OpError::InUse { .. }))
}
