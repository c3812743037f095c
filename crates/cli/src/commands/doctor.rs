//! `dsb doctor`: what a report of a bug should contain, and what is wrong on this computer.

use distbackup_core::model::Bytes;
use distbackup_engine::catalog::{Catalog, peek};
use distbackup_engine::clock::Clock;
use distbackup_engine::ops::shelf;
use distbackup_engine::platform;
use serde_json::json;

use crate::Outcome;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::words::timestamp;

/// Looks at everything that the program stands on.
pub fn run(context: &Context<'_>) -> Outcome {
    let mut findings = Findings { context, exit: Exit::DONE };
    findings.good("program", &format!("dsb {} on {}", env!("CARGO_PKG_VERSION"), std::env::consts::OS));
    let now_ns = context.clock().now_ns();
    findings.good("clock", &timestamp(now_ns));
    findings.good("locale", &locale());
    if !context.path.exists() {
        findings.bad("catalog", &format!("none at {}", context.path.display()), Exit::NO_CATALOG);
        return Ok(findings.exit);
    }
    findings.place(&context.folder);
    match peek(&context.path).and_then(|copy| copy.check_all(&context.path)) {
        Ok(()) => findings.good("catalog", &format!("{}, every page is whole", context.path.display())),
        Err(error) => {
            findings.bad("catalog", &error.to_string(), Exit::NO_CATALOG);
            return Ok(findings.exit);
        }
    }
    let opened = context.open_to_read()?;
    findings.times(&opened.catalog, now_ns)?;
    findings.sources(&opened.catalog)?;
    findings.disks(&opened.catalog)?;
    Ok(findings.exit)
}

fn locale() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let value = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable);
    value.unwrap_or_else(|| "C; names of files are bytes to dsb, whatever it is".to_owned())
}

struct Findings<'f> {
    context: &'f Context<'f>,
    exit: Exit,
}

impl Findings<'_> {
    fn say(&self, about: &str, good: bool, text: &str) {
        self.context.render.object("finding", json!({ "about": about, "good": good, "text": text }));
        let mark = if good { "ok " } else { "BAD" };
        self.context.render.line(&format!("{mark}  {about:<8}  {text}"));
    }

    fn good(&self, about: &str, text: &str) {
        self.say(about, true, text);
    }

    fn bad(&mut self, about: &str, text: &str, exit: Exit) {
        self.say(about, false, text);
        self.exit = self.exit.or_graver(exit);
    }

    /// The folder of the catalog: its room, and whether it is for its owner only (C8).
    fn place(&mut self, folder: &std::path::Path) {
        match platform::space_at(folder) {
            Ok(space) if space.free.0 < 100_000_000 => {
                let text = format!("only {} are free where the catalog lies", space.free);
                self.bad("room", &text, Exit::FAILED);
            }
            Ok(space) => self.good("room", &format!("{} are free where the catalog lies", space.free)),
            Err(error) => self.bad("room", &format!("{}: {error}", folder.display()), Exit::FAILED),
        }
        match platform::stat_path(&self.context.path) {
            Ok(stat) if stat.mode & 0o077 != 0 => {
                let text = format!("others may read the catalog: chmod 600 {}", self.context.path.display());
                self.bad("privacy", &text, Exit::FAILED);
            }
            Ok(_) => self.good("privacy", "the catalog is readable for its owner only"),
            Err(error) => self.bad("privacy", &error.to_string(), Exit::FAILED),
        }
    }

    /// The clock against what the catalog has seen (S11).
    fn times(&mut self, catalog: &Catalog, now_ns: i64) -> Result<(), Failure> {
        const HOUR_NS: i64 = 3_600_000_000_000;
        let newest_ns = catalog.read().newest_ns()?;
        if now_ns < newest_ns - HOUR_NS {
            let text =
                format!("this computer's is behind the catalog's newest time, {}", timestamp(newest_ns));
            self.bad("clock", &text, Exit::FAILED);
        }
        Ok(())
    }

    fn sources(&mut self, catalog: &Catalog) -> Result<(), Failure> {
        for source in catalog.read().sources()?.into_iter().filter(|source| source.elsewhere.is_none()) {
            let text = format!("{} -> {}", source.vpath.display(), source.path.display());
            match std::fs::read_dir(&source.path).map(|mut names| names.next().is_some()) {
                Ok(true) => self.good("source", &text),
                Ok(false) => self.bad("source", &format!("{text}: it is empty; is it mounted?"), Exit::PART),
                Err(error) => self.bad("source", &format!("{text}: {error}"), Exit::PART),
            }
        }
        Ok(())
    }

    fn disks(&mut self, catalog: &Catalog) -> Result<(), Failure> {
        let folders = shelf::connected_folders(&catalog.read())?;
        for row in catalog.read().disks()? {
            let name = row.name.clone();
            let Some(folder) = folders.get(&row.disk) else {
                self.good("disk", &format!("{name} is not connected"));
                continue;
            };
            match shelf::open_at(catalog, row, folder) {
                Ok(connected) => {
                    let room: Bytes = connected.row.capacity;
                    self.good("disk", &format!("{name} at {}, {room} for objects", folder.display()));
                }
                Err(error) => {
                    self.bad("disk", &format!("{name} at {}: {error}", folder.display()), Exit::NO_DISK);
                }
            }
        }
        Ok(())
    }
}
