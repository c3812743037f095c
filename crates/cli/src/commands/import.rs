//! `dsb import-v1`.

use std::path::Path;

use distbackup_engine::catalog::Catalog;
use distbackup_engine::clock::Clock;
use distbackup_engine::ops::OpError;
use distbackup_engine::ops::import_v1::{self, ImportedV1};
use distbackup_engine::platform::{self, Access};
use serde_json::json;

use super::plan::tally;
use crate::Outcome;
use crate::context::{CATALOG, Context};
use crate::failure::{Exit, Failure};
use crate::render::words::{count, grouped};

/// Takes over a catalog of distbackup 1.x.
pub fn run(context: &Context<'_>, path: Option<&Path>) -> Outcome {
    let from = match path {
        None => context.path.clone(),
        Some(path) if path.is_dir() => path.join(CATALOG),
        Some(path) => path.to_owned(),
    };
    let dry_run = context.global.dry_run;
    if !dry_run {
        std::fs::create_dir_all(&context.folder)
            .map_err(OpError::io("make the folder", context.folder.clone()))?;
        platform::make_private(&context.folder).map_err(OpError::io("protect", context.folder.clone()))?;
    }
    let _lock = if dry_run { None } else { Some(context.lock(Access::Exclusive)?) };
    let now_ns = context.clock().now_ns();
    let imported = import_v1::import(&from, &context.path, now_ns, dry_run, context.render)?;
    if !dry_run {
        record(context, &imported)?;
    }
    report(context, &from, &imported);
    Ok(Exit::DONE)
}

/// The first line of the new catalog's log.
fn record(context: &Context<'_>, imported: &ImportedV1) -> Result<(), Failure> {
    let mut catalog = Catalog::open(&context.path)?;
    let run = context.begin_run(&mut catalog)?;
    let details = json!({ "schema": imported.schema, "files": tally(imported.files), "problems": imported.problems.count });
    context.end_run(&mut catalog, run, &Ok(Exit::DONE), &details)?;
    Ok(catalog.close()?)
}

fn report(context: &Context<'_>, from: &Path, imported: &ImportedV1) {
    let render = context.render;
    let saved = imported.saved.as_ref().map(|path| path.display().to_string());
    render.object(
        "imported",
        json!({
            "schema": imported.schema, "files": tally(imported.files), "unhashed": imported.unhashed,
            "links": imported.links, "deleted": tally(imported.deleted), "configured": imported.configured,
            "sources": imported.sources.iter().map(|(vpath, real)| {
                json!({ "vpath": vpath.display(), "path": real.display().to_string() })
            }).collect::<Vec<_>>(),
            "disks": imported.disks.iter().map(|(name, held)| json!({ "name": name, "held": tally(*held) })).collect::<Vec<_>>(),
            "problems": imported.problems.count, "saved": saved,
        }),
    );
    render.say(&format!("Catalog of distbackup 1.x (schema {}): {}", imported.schema, from.display()));
    for (vpath, real) in &imported.sources {
        render.say(&format!("  source {} -> {}", vpath.display(), real.display()));
    }
    let files = count(imported.files.objects, "file", "files");
    let mut tree = format!("  {files} ({})", render.size(imported.files.bytes));
    if imported.links > 0 {
        tree += &format!(", {}", count(imported.links, "symlink", "symlinks"));
    }
    if imported.unhashed > 0 {
        tree += &format!(", {} not hashed yet", grouped(imported.unhashed));
    }
    if imported.configured > 0 {
        tree += &format!(", {}", count(imported.configured, "configured path", "configured paths"));
    }
    render.say(&tree);
    for (name, held) in &imported.disks {
        let objects = count(held.objects, "object", "objects");
        render.say(&format!("  disk {name}: {objects} ({})", render.size(held.bytes)));
    }
    if imported.deleted.objects > 0 {
        render.say(&format!(
            "  {} ({}) were deleted from the sources and are still on disks: kept as history, dsb ls --at 1",
            count(imported.deleted.objects, "object", "objects"),
            render.size(imported.deleted.bytes)
        ));
    }
    render.problems("not taken over as they were", &imported.problems);
    if context.global.dry_run {
        render.say("Nothing was changed.");
        return;
    }
    if let Some(saved) = &saved {
        render.say(&format!("The old catalog is kept: {saved}"));
    }
    render.say("Nothing on the disks was touched; each is compared and adopted by its next visit.");
    render.say(
        "Next: dsb update  reads every file once, to prove what the old catalog said; it can be interrupted.",
    );
}
