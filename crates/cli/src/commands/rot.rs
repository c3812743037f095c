//! Source files that rotted: what is said of them, and the commands that bring the good content back.

use std::path::Path;

use distbackup_core::model::{escape_bytes, is_steering};
use distbackup_engine::catalog::Catalog;
use distbackup_engine::ops::rot::{self, Rot, Rotten, WayBack};
use distbackup_engine::platform::bytes_of_path;
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::Failure;
use crate::render::words::count;

/// So many files are named, and stand in the commands.
const NAMED: u32 = 10;

/// All that is known to be rotten.
pub fn known(catalog: &Catalog) -> Result<Rot, Failure> {
    Ok(rot::rot(&catalog.read(), NAMED)?)
}

/// Says it after something was found rotten just now.
pub fn say(context: &Context<'_>, catalog: &Catalog, found: u64) -> Result<(), Failure> {
    if found > 0 {
        lines(context, &known(catalog)?).iter().for_each(|line| context.render.say(line));
    }
    Ok(())
}

/// What is rotten, on which disks it is good, and how it gets back; nothing if nothing is.
pub fn lines(context: &Context<'_>, rot: &Rot) -> Vec<String> {
    if rot.total.objects == 0 {
        return Vec::new();
    }
    let files = count(rot.total.objects, "file of the sources is", "files of the sources are");
    let size = context.render.size(rot.total.bytes);
    let mut lines =
        vec![format!("ROT: {files} not what was recorded, under the same size and times ({size}):")];
    for file in &rot.first {
        let who = match file.disks.is_empty() {
            true => "NO DISK has the good content".to_owned(),
            false => format!("good on {}", file.disks.join(", ")),
        };
        lines.push(format!("    {}   {who}", escape_bytes(file.path.as_bytes())));
    }
    let more = rot.total.objects.saturating_sub(rot.first.len() as u64);
    if more > 0 {
        lines.push(format!("    and {more} more, named when these are repaired"));
    }
    let commands = commands(rot);
    if !commands.is_empty() {
        lines.push("Bring the good content back, then update:".to_owned());
        lines.extend(commands.iter().map(|command| format!("    {command}")));
    }
    if rot.first.iter().any(|file| file.disks.is_empty()) {
        lines.push("What is to stay as it is now: touch the file, then dsb update".to_owned());
    }
    lines
}

/// The same as JSON.
pub fn as_json(rot: &Rot) -> Value {
    let file = |file: &Rotten| {
        json!({ "path": escape_bytes(file.path.as_bytes()), "bytes": file.size.0, "seen_ns": file.seen_ns,
                "disks": file.disks })
    };
    json!({ "files": rot.total.objects, "bytes": rot.total.bytes.0,
            "first": rot.first.iter().map(file).collect::<Vec<_>>(), "commands": commands(rot) })
}

/// Commands to paste that bring the good content of the named files back to their places.
fn commands(rot: &Rot) -> Vec<String> {
    // All files with one destination in one restore, so that hard links are made again.
    let mut restores: Vec<(&Path, String)> = Vec::new();
    let mut copies = Vec::new();
    for file in rot.first.iter().filter(|file| !file.disks.is_empty()) {
        let pattern = shell_word(&pattern(file.path.as_bytes()));
        match &file.way_back {
            WayBack::Restore(to) => match restores.iter_mut().find(|(known, _)| known == to) {
                Some((_, patterns)) => patterns.push_str(&format!(" {pattern}")),
                None => restores.push((to, pattern)),
            },
            WayBack::CopyOver(place) => {
                let place = shell_word(&bytes_of_path(place));
                copies.push(format!(
                    "good=$(mktemp -d) && dsb restore {pattern} --to \"$good\" && \
                     cp --preserve=timestamps -- \"$good\"{} {place} && rm -r \"$good\"",
                    shell_word(file.path.as_bytes())
                ));
            }
            WayBack::Unmapped => {}
        }
    }
    let restores = restores.into_iter().map(|(to, patterns)| {
        format!("dsb restore {patterns} --to {} --overwrite", shell_word(&bytes_of_path(to)))
    });
    restores.chain(copies).collect()
}

/// The pattern that matches one path. A byte that is no text can only be matched as any character.
fn pattern(path: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\' | '!') {
                pattern.push(b'\\');
            }
            pattern.extend(c.encode_utf8(&mut [0; 4]).bytes());
        }
        pattern.extend(chunk.invalid().iter().map(|_| b'?'));
    }
    pattern
}

/// A word as a shell understands it, with nothing in it that could steer a terminal.
fn shell_word(word: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-+=:,./@%".contains(byte);
    if !word.is_empty() && word.iter().all(is_plain) {
        return String::from_utf8_lossy(word).into_owned();
    }
    // What is shown as it is needs no more than quotes.
    if let Ok(text) = std::str::from_utf8(word)
        && !text.contains(is_steering)
    {
        return format!("'{}'", text.replace('\'', "'\\''"));
    }
    let byte = |byte: &u8| match byte {
        b' '..=b'~' if !b"'\\".contains(byte) => char::from(*byte).to_string(),
        byte => format!("\\x{byte:02x}"),
    };
    format!("$'{}'", word.iter().map(byte).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn n12_a_shell_reads_every_word_as_it_is_meant_and_a_terminal_is_not_steered() {
        let words: [&[u8]; 8] = [
            b"/photos/1.jpg",
            b"it's",
            b"a b\\*[c]{d}!$HOME`id`\"",
            b"",
            b"line\nbreak \x1b[2J",
            b"\xff\xfe not text",
            "Jörg ü".as_bytes(),
            "\u{202e}gpj.exe".as_bytes(),
        ];
        for word in words {
            let quoted = shell_word(word);
            assert!(!quoted.contains(['\n', '\x1b', '\u{202e}', '\u{fffd}']), "{quoted}");
            let echoed = Command::new("bash").arg("-c").arg(format!("printf %s {quoted}")).output().unwrap();
            assert_eq!(echoed.stdout, word, "{quoted}");
        }
    }
}
