//! `dsb disk label`.

use std::io::{IsTerminal, Write};
use std::path::Path;

use distbackup_core::model::Bytes;
use distbackup_engine::ops::{OpError, shelf};
use serde_json::json;

use crate::Outcome;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::label::Label;
use crate::render::words::moment;

/// Digits of a UUID that tell disks of one shelf apart.
const SHORT: usize = 8;

/// Shows the label of a disk, or writes it as a drawing; `-` is standard output. The disk may be in the drawer.
pub fn run(context: &Context<'_>, disk: &str, svg: Option<&Path>) -> Outcome {
    let opened = context.open_to_read()?;
    let reader = opened.catalog.read();
    let row = shelf::named(&reader, disk)?;
    let short = |uuid: &str| uuid.chars().take(SHORT).collect::<String>();
    // A disk that was never connected has only what it is said to have.
    let size = if row.total > Bytes(0) { row.total } else { row.capacity };
    let label = Label {
        content: format!("dsb:{}", row.uuid.0),
        name: row.name.clone(),
        size: context.render.size(size),
        added: moment(row.added_ns).chars().take("2026-11-23".len()).collect(),
        location: row.location.clone(),
        set: short(&reader.set_uuid()?.0),
        uuid: short(&row.uuid.0),
    };
    context.render.object(
        "label",
        json!({ "disk": row.name, "uuid": row.uuid.0, "content": label.content, "size": size.0, "added_ns": row.added_ns,
                "location": row.location, "set": label.set }),
    );
    match svg {
        Some(file) => draw(context, &label, file)?,
        None => {
            let lines = label.text(std::io::stdout().is_terminal()).map_err(Failure::Usage)?;
            lines.iter().for_each(|line| context.render.line(line));
        }
    }
    Ok(Exit::DONE)
}

fn draw(context: &Context<'_>, label: &Label, file: &Path) -> Result<(), Failure> {
    let svg = label.svg().map_err(Failure::Usage)?;
    if file == Path::new("-") {
        if context.render.is_json() {
            return Err(Failure::Usage("--json and --svg - both want standard output; name a file".into()));
        }
        return Ok(std::io::stdout().lock().write_all(svg.as_bytes())?);
    }
    if context.global.dry_run {
        context.render.say(&format!("{} would be written.", file.display()));
        return Ok(());
    }
    std::fs::write(file, svg).map_err(OpError::io("write", file))?;
    context.render.say(&format!("Label of {}, 62 x 29 mm: {}", label.name, file.display()));
    Ok(())
}
