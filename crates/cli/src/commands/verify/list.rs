//! `--errors FILE|@FD`: a line for each object that is damaged or missing, for scripts.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;

use distbackup_core::model::escape_bytes;
use distbackup_engine::disk::layout;
use distbackup_engine::ops::{OpError, shelf};
use distbackup_engine::platform;
use distbackup_engine::progress::{Event, Observer};

use crate::context::Context;
use crate::failure::Failure;
use crate::render::Render;

/// Watches for whoever watches anyhow, and writes a list meanwhile.
///
/// Columns are parted by tabs: disk, path of the object's file, size that it should have, virtual path (or hash), and
/// `size=`, `hash=`, `missing` or `error=` as found. Names are escaped, so a line is a line.
pub struct ErrorList<'r> {
    render: &'r Render,
    disk: String,
    folder: String,
    file: Mutex<(File, Option<io::Error>)>,
}

impl<'r> ErrorList<'r> {
    /// Opens the list: a new file, or a descriptor that is open for us.
    pub fn open(target: &Path, context: &Context<'r>, disk: &shelf::Connected) -> Result<Self, Failure> {
        let text = target.to_string_lossy();
        let file = match text.strip_prefix('@').map(str::parse::<i32>) {
            Some(Ok(number)) => platform::inherited_file(number),
            Some(Err(_)) => {
                return Err(Failure::Usage(format!("{text}: @ needs the number of a descriptor")));
            }
            None if context.global.dry_run => {
                return Err(Failure::Usage("a dry run writes no file; --errors @1, or --check".into()));
            }
            None => File::create(target),
        };
        let file = file.map_err(OpError::io("write", target))?;
        Ok(ErrorList {
            render: context.render,
            disk: disk.row.name.clone(),
            folder: escape_bytes(&platform::bytes_of_path(&disk.folder)),
            file: Mutex::new((file, None)),
        })
    }

    /// The list is complete; an error of writing it is told now.
    pub fn close(self) -> Result<(), Failure> {
        let (file, failed) = self.file.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(error) = failed {
            return Err(Failure::Output(error));
        }
        // A pipe or a terminal has nothing to sync.
        let _for_files_only = file.sync_all();
        Ok(())
    }
}

impl Observer for ErrorList<'_> {
    fn event(&self, event: Event<'_>) {
        if let Event::Damaged { id, size, path, what } = &event {
            let object = layout::object_path(*id);
            let (path, what) = (escape_bytes(path), escape_bytes(what.as_bytes()));
            let line = format!("{}\t{}/{object}\t{}\t{path}\t{what}\n", self.disk, self.folder, size.0);
            let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if file.1.is_none() {
                file.1 = file.0.write_all(line.as_bytes()).err();
            }
        }
        self.render.event(event);
    }

    fn stop_requested(&self) -> bool {
        self.render.stop_requested()
    }
}
