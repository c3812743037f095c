//! `dsb disk eject`.

use distbackup_engine::ops::eject::{self, Ejected, Ejection};
use distbackup_engine::ops::shelf;
use distbackup_engine::platform::Access;
use serde_json::json;

use crate::Outcome;
use crate::context::Context;
use crate::failure::Exit;
use crate::render::words::shell_word;

/// Lets go of a disk: the one named, or the one that is connected.
pub fn run(context: &Context<'_>, disk: Option<&str>) -> Outcome {
    let opened = context.open_to_read()?;
    let connected = shelf::open(&opened.catalog, disk)?;
    // Nobody else works with it; but to be unmounted, it must not be held by us either.
    drop(context.lock_disk(&connected, Access::Exclusive)?);
    let needed: Vec<_> = std::env::home_dir().into_iter().chain([context.folder.clone()]).collect();
    let ejection = eject::prepare(&opened.catalog, &connected, &needed)?;
    drop((connected, opened));
    if context.global.dry_run {
        return Ok(rehearse(context, &ejection));
    }
    let ejected = ejection.carry_out()?;
    report(context, &ejection, &ejected)
}

/// What would be done.
fn rehearse(context: &Context<'_>, ejection: &Ejection) -> Exit {
    let render = context.render;
    let commands = ejection.commands();
    render.object("eject-plan", json!({ "disk": ejection.name, "commands": commands }));
    render.line(&format!("{} at {} would be flushed.", ejection.name, ejection.folder.display()));
    if let Some(stays) = &ejection.stays {
        render.line(&format!(
            "Nothing to unmount: it lies on the filesystem of {}.",
            stays.because_of.display()
        ));
    }
    for command in commands {
        render.line(&format!("  {command}"));
    }
    Exit::DONE
}

fn report(context: &Context<'_>, ejection: &Ejection, ejected: &Ejected) -> Outcome {
    let (render, name) = (context.render, &ejection.name);
    let others: &[_] = if let Ejected::Shared(others) = ejected { others } else { &[] };
    let powered_off = matches!(ejected, Ejected::PoweredOff | Ejected::Released);
    render.object(
        "ejected",
        json!({
            "disk": name, "mount": ejection.mount_point().display().to_string(),
            "device": ejection.device().map(|device| device.display().to_string()),
            "drives": ejection.drives().iter().map(|drive| drive.display().to_string()).collect::<Vec<_>>(),
            "unmounted": !matches!(ejected, Ejected::Flushed(_)), "powered_off": powered_off,
            "also_mounted": others.iter().map(|other| other.display().to_string()).collect::<Vec<_>>(),
        }),
    );
    match ejected {
        Ejected::PoweredOff => render.say(&format!("{name} is unmounted and powered off. Safe to unplug.")),
        Ejected::Released => render.say(&format!("{name} is unmounted and ejected. Safe to unplug.")),
        Ejected::Unmounted => {
            render.say(&format!("{name} is unmounted; it has no drive that could be powered off."));
        }
        Ejected::Flushed(stays) => render.say(&format!(
            "Everything on {name} is flushed. There is nothing to unmount: it is a folder on the filesystem of {}.",
            stays.because_of.display()
        )),
        Ejected::Shared(others) => {
            render.say(&format!("{name} is unmounted."));
            let points: Vec<_> = others.iter().map(|other| shell_word(&other.display().to_string())).collect();
            render.warning(&format!(
                "the same drive is in use at {0}: not safe to unplug before: umount {0}",
                points.join(" ")
            ));
            return Ok(Exit::PART);
        }
    }
    Ok(Exit::DONE)
}
