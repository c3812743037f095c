//! `dsb recover`.

use std::path::Path;

use distbackup_engine::catalog::Catalog;
use distbackup_engine::clock::Clock;
use distbackup_engine::ops::{OpError, recover};
use distbackup_engine::platform::{self, Access};
use serde_json::json;

use crate::Outcome;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::words::{count, moment};

/// Takes the catalog from a disk.
pub fn run(context: &Context<'_>, disk: &Path) -> Outcome {
    if context.global.dry_run {
        return Err(Failure::Usage(
            "recover has no dry run: the catalog that is replaced is always kept".into(),
        ));
    }
    std::fs::create_dir_all(&context.folder)
        .map_err(OpError::io("make the folder", context.folder.clone()))?;
    platform::make_private(&context.folder).map_err(OpError::io("protect", context.folder.clone()))?;
    let _lock = context.lock(Access::Exclusive)?;
    // A good catalog is not replaced by an older one without a word.
    if let Ok(catalog) = Catalog::open(&context.path) {
        let newest = catalog.read().newest_snapshot()?;
        catalog.close()?;
        if !context.global.yes {
            let has = newest.map_or("no snapshot".to_owned(), |row| format!("snapshot {}", row.snapshot.0));
            let what = format!(
                "there is a good catalog at {} ({has}); it would be set aside",
                context.path.display()
            );
            return Err(Failure::Consent { what });
        }
    }
    let recovered = recover::recover(disk, &context.path, context.clock().now_ns())?;
    context.render.object(
        "recovered",
        json!({ "disk": recovered.disk, "disks": recovered.disks, "newest_ns": recovered.newest_ns,
                "snapshot": recovered.snapshot.as_ref().map(|row| row.snapshot.0),
                "saved": recovered.saved.as_ref().map(|path| path.display().to_string()),
                "newer": recovered.newer.iter().map(|(name, folder)| json!({
                    "disk": name, "path": folder.display().to_string() })).collect::<Vec<_>>() }),
    );
    let state = moment(recovered.newest_ns);
    context.render.say(&format!(
        "Took the catalog from {}: as of {state}, {}.",
        recovered.disk,
        count(recovered.disks as u64, "disk", "disks")
    ));
    if let Some(saved) = &recovered.saved {
        context.render.say(&format!("What was there before is kept as {}.", saved.display()));
    }
    for (name, folder) in &recovered.newer {
        context.render.warning(&format!(
            "{name} is connected, too, and carries a newer catalog: dsb --yes recover {}  takes that one instead",
            folder.components().as_path().display()
        ));
    }
    context.render.say("Each disk will be compared when it is connected next: dsb backup DISK. Files back: dsb restore --to DEST");
    Ok(Exit::DONE)
}
