//! The end of a visit: the catalog and the recovery files go to the disk, then it counts as visited.

use std::path::Path;

use distbackup_core::model::{Bytes, ObjectId};

use super::Visit;
use super::prepare::{self, LocalCopy, Page, Preparation, Prepared};
use crate::catalog::inspect;
use crate::disk::DiskError;
use crate::ops::{OpError, ahead, page, tempdir::TempFolder};
use crate::progress::{Event, Phase};

/// For people who have the disk but not this program.
const RESTORE_TXT: &str = include_str!("../../../recovery/RESTORE.txt");
/// The same as a program that needs only Python.
const RESTORE_PY: &str = include_str!("../../../recovery/restore.py");

/// Copies the catalog to the disk, unless a checked copy of its current state is there. Tells
/// whether anything was written.
pub fn publish(visit: &mut Visit<'_>, interrupted: bool) -> Result<bool, OpError> {
    let generation = visit.catalog.read().generation()?;
    let recorded = visit.row.copy_sha256.is_some();
    let current = recorded && visit.row.copy_generation == Some(generation);
    let differs = current && visit.disk.catalog_hash() != visit.row.copy_sha256;
    if current && !differs && !visit.writing {
        // A visit that was interrupted, or found no room for it, has left the page before.
        return Ok(!interrupted && refresh_page(visit));
    }
    visit.observer.event(Event::Begin { phase: Phase::Publish, files: 1, bytes: Bytes(0) });
    let written = write_copy_and_rest(visit, interrupted, differs || !recorded);
    visit.observer.event(Event::End);
    let prepared = written?;
    if interrupted {
        // The claims are true, but the visit did not end as planned: its evidence settles at the next one, which also
        // brings the page up to date. Nobody who says stop wants to wait for that.
        return Ok(true);
    }
    let (disk, now_ns) = (visit.row.disk, visit.time.now_ns);
    visit.catalog.write_aside("record the end of a visit", |writer| writer.record_visit_end(disk, now_ns))?;
    let Some(Prepared { page, answers, .. }) = prepared else { return Ok(true) };
    match answers {
        // One that cannot be kept is worked out when it is asked for.
        Ok(answers) => answers.iter().for_each(|answer| _ = visit.catalog.read().keep(answer)),
        // An answer costs no visit.
        Err(error) => ahead::tell_failure(visit.observer, &error),
    }
    let page = match page {
        Some(page) => page.and_then(|page| finish_page(visit, &page)),
        None => take_page_away(visit),
    };
    tell_of_page(visit, page);
    Ok(true)
}

/// Writes the catalog onto the disk. Beside that the rest is prepared, unless it was before, or the visit is interrupted: all
/// of it only reads the catalog, and takes about as long.
fn write_copy_and_rest(
    visit: &mut Visit<'_>,
    interrupted: bool,
    in_question: bool,
) -> Result<Option<Prepared>, OpError> {
    visit.begin_writing()?;
    let changes = visit.catalog.read().changes()?;
    let mut before = visit.prepared.take().filter(|prepared| prepared.changes == changes);
    if interrupted || before.is_some() {
        let copy = before.as_mut().and_then(|prepared| prepared.copy.take());
        return write_copy(visit, in_question, copy).map(|()| before);
    }
    let preparation = Preparation::of(visit);
    let (view, other_view) = (visit.catalog.view()?, visit.catalog.view()?);
    let (copied, page, answers) = std::thread::scope(|scope| {
        let preparation = &preparation;
        let page = scope.spawn(move || preparation.page(view.read()));
        let answers = scope.spawn(move || preparation.answers(&other_view.read()));
        let copied = write_copy(visit, in_question, None);
        let page = page.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let answers = answers.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (copied, page, answers)
    });
    copied.map(|()| Some(Prepared { changes, copy: None, page, answers }))
}

/// Puts the page onto the disk by which the catalog can be browsed there, or takes it away if nobody wants it, unless it
/// is as it should be. Tells whether anything was written. What goes wrong is told and costs no visit: the
/// page only shows what the catalog says, which is safely there.
fn refresh_page(visit: &Visit<'_>) -> bool {
    tell_of_page(visit, write_page(visit))
}

fn tell_of_page(visit: &Visit<'_>, written: Result<bool, OpError>) -> bool {
    match written {
        Ok(written) => written,
        Err(error) => {
            let name = &visit.row.name;
            let text = format!("{name} has no new CATALOG.html: {error}; the catalog itself is there");
            visit.observer.event(Event::Note { text: &text });
            false
        }
    }
}

fn write_page(visit: &Visit<'_>) -> Result<bool, OpError> {
    if !page::is_wanted(&visit.catalog.read())? {
        return take_page_away(visit);
    }
    let data = prepare::data_of(visit);
    if visit.disk.page_data().map_err(OpError::disk(&visit.row.name))?.as_ref() == Some(&data) {
        return Ok(false);
    }
    let folder = beside_catalog(visit)?;
    let files = visit.catalog.read().entry_count()?;
    visit.observer.event(Event::Begin { phase: Phase::Page, files, bytes: Bytes(0) });
    let tree = page::write_tree(visit.catalog.read(), folder.path(), &data, visit.observer);
    visit.observer.event(Event::End);
    finish_page(visit, &Page { folder, data, tree: tree? })
}

/// Tells whether there was one.
fn take_page_away(visit: &Visit<'_>) -> Result<bool, OpError> {
    let present = visit.disk.page_data().map_err(OpError::disk(&visit.row.name))?;
    visit.disk.remove_page().map_err(OpError::disk(&visit.row.name))?;
    Ok(present.is_some())
}

/// Adds what the page says of the disks, and puts it onto the disk.
fn finish_page(visit: &Visit<'_>, page: &Page) -> Result<bool, OpError> {
    let options = page::PageOptions { disk: Some(visit.row.disk), written_ns: visit.time.now_ns };
    page::write_rest(visit.catalog.read(), options, page.folder.path(), &page.data, &page.tree)?;
    visit.disk.publish_page(page.folder.path(), &page.data).map_err(OpError::disk(&visit.row.name))?;
    Ok(true)
}

fn beside_catalog(visit: &Visit<'_>) -> Result<TempFolder, OpError> {
    prepare::beside(visit.catalog.path())
}

/// With `in_question` the copy that is there may be damaged: it is looked at before it becomes the previous one (C4). `ready` is
/// sent if nothing was recorded since.
fn write_copy(visit: &mut Visit<'_>, in_question: bool, ready: Option<LocalCopy>) -> Result<(), OpError> {
    let name = visit.row.name.clone();
    let text = RESTORE_TXT.replace("{disk_name}", &name);
    visit.disk.write_recovery_file("RESTORE.txt", text.as_bytes()).map_err(OpError::disk(&name))?;
    visit.disk.write_recovery_file("restore.py", RESTORE_PY.as_bytes()).map_err(OpError::disk(&name))?;
    let folder = beside_catalog(visit)?;
    if in_question && !present_is_whole(visit, &folder.path().join("present.sqlite")) {
        visit.disk.drop_catalog().map_err(OpError::disk(&name))?;
    }
    let generation = visit.catalog.read().generation()?;
    let hash = match ready.filter(|copy| copy.generation == generation) {
        Some(copy) => {
            let sent = visit.disk.publish_catalog(&copy.path(), Box::new(|| Ok(())));
            sent.map_err(OpError::disk(&name))?
        }
        None => {
            let local = folder.path().join("copy.sqlite");
            visit.catalog.write_copy(&local)?;
            send_copy(visit, &local)?
        }
    };
    let disk = visit.row.disk;
    visit.catalog.write_aside("record the catalog copy", |writer| {
        writer.record_catalog_copy(disk, generation, &hash)
    })?;
    Ok(())
}

/// Sends a copy to the disk. It is checked on the way, and takes its place there only if it is good.
fn send_copy(visit: &Visit<'_>, local: &Path) -> Result<ObjectId, OpError> {
    let mut damaged = None;
    let sent = std::thread::scope(|scope| {
        let checking = scope.spawn(|| inspect(local, true));
        let check = || match checking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
            Ok(_whole) => Ok(()),
            Err(error) => {
                damaged = Some(error);
                Err(std::io::ErrorKind::InvalidData.into())
            }
        };
        visit.disk.publish_catalog(local, Box::new(check))
    });
    match damaged {
        Some(error) => Err(error.into()),
        None => sent.map_err(OpError::disk(&visit.row.name)),
    }
}

/// Whether the catalog on the disk can be read and is one. What this computer has no room for counts as whole.
fn present_is_whole(visit: &Visit<'_>, local: &Path) -> bool {
    let whole = match visit.disk.fetch_catalog(local) {
        Ok(false) | Err(DiskError::Io { action: "write", .. }) => true,
        // The state that was recorded, in other bytes than were recorded: a flipped bit that hurts no structure.
        Ok(true) => inspect(local, true).is_ok_and(|copy| visit.row.copy_generation != Some(copy.generation)),
        Err(_) => false,
    };
    // It takes as much room as the catalog itself; the folder goes in any case.
    let _room = std::fs::remove_file(local);
    whole
}
