//! The configuration of a set as a file: mappings, configured paths, disks and settings, as JSON.
//!
//! The form is that of distbackup 1.x, with a few keys more, so its exports can be imported.

use std::collections::BTreeMap;
use std::path::PathBuf;

use distbackup_core::model::{SizeRule, VirtualPath, parse_duration_days};
use distbackup_core::rules::{Configured, PathConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{OpError, disks};
use crate::catalog::{Catalog, CatalogError, DiskRow, Reader};
use crate::platform::bytes_of_path;

/// The configuration of a set. Unknown keys are refused, so that a slip of the pen is not lost.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigFile {
    /// Real folders by virtual path.
    pub path_map: BTreeMap<String, String>,
    /// What is configured, by virtual path.
    pub path_config: BTreeMap<String, PathSettings>,
    /// Disks by UUID. An import changes those that are known and adds none.
    pub disks: BTreeMap<String, DiskSettings>,
    /// Settings of the set.
    pub settings: BTreeMap<String, String>,
}

/// What is configured for a path.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the keys are those of `PathConfig`")]
pub struct PathSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mincopies: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maxcopies: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hide: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noinherit: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follow_symlinks: Option<bool>,
    /// Of 1.x, without effect.
    #[serde(skip_serializing)]
    pub include: Option<Value>,
    /// Of 1.x, without effect.
    #[serde(skip_serializing)]
    pub exclude: Option<Value>,
}

/// What is said of a disk.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiskSettings {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How much of it is used, as `disk set --size` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// The same in 1.x: bytes, with commas.
    #[serde(skip_serializing)]
    pub size_bytes: Option<String>,
    /// Its folder below the mount point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative_path: Option<String>,
    /// Where it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The owner's note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Of 1.x: found anew by looking.
    #[serde(skip_serializing)]
    pub fstype: Option<Value>,
    /// Of 1.x: found anew by looking.
    #[serde(skip_serializing)]
    pub fsuuid: Option<Value>,
}

/// Which part of the configuration is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything.
    All,
    /// Mappings.
    Map,
    /// Configured paths.
    Paths,
    /// Disks.
    Disks,
}

/// Settings of a set, by name.
pub const SETTINGS: [&str; 4] = ["keep-deleted", "keep-snapshots", super::page::SETTING, "trust-time"];

/// Checks a setting and brings it into the form that is stored.
pub fn check_setting(name: &str, value: &str) -> Result<String, OpError> {
    let value = value.trim().to_ascii_lowercase();
    match (name, value.as_str()) {
        ("keep-deleted" | "keep-snapshots", "off") => {}
        (super::page::SETTING, "on" | "off") => {}
        (super::page::SETTING, other) => return Err(bad(other, "page is on or off")),
        ("keep-snapshots", number) => {
            number.parse::<u32>().map_err(|_| bad(number, "keep-snapshots is a number, or off"))?;
        }
        ("keep-deleted" | "trust-time", text) => {
            parse_duration_days(text).map_err(|error| bad(name, &error.to_string()))?;
        }
        _ => return Err(bad(name, &format!("there is no such setting; there are {}", SETTINGS.join(", ")))),
    }
    Ok(value)
}

impl From<PathConfig> for PathSettings {
    fn from(config: PathConfig) -> Self {
        let PathConfig { priority, mincopies, maxcopies, lock, hide, follow_symlinks, noinherit, rules } =
            config;
        PathSettings {
            priority,
            mincopies,
            maxcopies,
            lock,
            hide,
            follow_symlinks,
            noinherit,
            rules,
            ..Self::default()
        }
    }
}

impl From<&PathSettings> for PathConfig {
    fn from(settings: &PathSettings) -> Self {
        let PathSettings {
            priority,
            mincopies,
            maxcopies,
            lock,
            hide,
            follow_symlinks,
            noinherit,
            rules,
            ..
        } = settings.clone();
        // What 1.x says where nothing is followed is what holds anyway.
        let follow_symlinks = follow_symlinks.filter(|follow| *follow);
        PathConfig { priority, mincopies, maxcopies, lock, hide, follow_symlinks, noinherit, rules }
    }
}

/// The configuration at and below a virtual path. What is no text cannot stand in JSON, and is an error.
pub fn export(reader: &Reader<'_>, prefix: &VirtualPath, part: Part) -> Result<ConfigFile, OpError> {
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|_| OpError::BadRequest {
            what: distbackup_core::model::escape_bytes(bytes),
            why: "the name is no UTF-8 text, so it cannot be exported".into(),
        })
    };
    let mut file = ConfigFile::default();
    if matches!(part, Part::All | Part::Map) {
        for source in reader.sources()?.into_iter().filter(|source| source.vpath.is_within(prefix)) {
            file.path_map.insert(text(source.vpath.as_bytes())?, text(&bytes_of_path(&source.path))?);
        }
    }
    if matches!(part, Part::All | Part::Paths) {
        for (path, config) in reader.path_configs()?.into_iter().filter(|(path, _)| path.is_within(prefix)) {
            file.path_config.insert(text(path.as_bytes())?, config.into());
        }
    }
    if matches!(part, Part::All | Part::Disks) {
        for row in reader.disks()? {
            let settings = DiskSettings {
                name: Some(row.name),
                size: Some(row.size_rule),
                relative_path: Some(text(&row.relative_path)?),
                location: row.location,
                note: row.note,
                ..DiskSettings::default()
            };
            file.disks.insert(row.uuid.0, settings);
        }
    }
    if part == Part::All {
        for name in SETTINGS {
            file.settings.extend(reader.setting(name)?.map(|value| (name.to_owned(), value)));
        }
    }
    Ok(file)
}

/// What an import did, in sentences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// What changed.
    pub changes: Vec<String>,
    /// What was left out, and why.
    pub ignored: Vec<String>,
}

/// Replaces mappings and configured paths at and below a virtual path by those of a file, and changes the disks that it
/// names. All of it, or at an error nothing.
pub fn import(
    catalog: &mut Catalog,
    file: &ConfigFile,
    prefix: &VirtualPath,
    part: Part,
) -> Result<Imported, OpError> {
    let mut outcome = Imported::default();
    let wanted = Wanted::check(&catalog.read(), file, prefix, part, &mut outcome)?;
    catalog.write("import a configuration", |writer| -> Result<(), CatalogError> {
        for (path, before) in &wanted.gone_sources {
            writer.remove_source(path)?;
            outcome.changes.push(format!("{}: no longer mapped to {}", path.display(), before.display()));
        }
        for (path, real) in &wanted.sources {
            writer.record_source(path, real)?;
            outcome.changes.push(format!("{} -> {}", path.display(), real.display()));
        }
        for (path, config) in &wanted.configs {
            writer.record_path_config(path, config)?;
            outcome.changes.push(format!("{}: configured anew", path.display()));
        }
        for row in &wanted.disks {
            if let Some(seen_ns) = row.seen_ns {
                writer.record_disk_seen(row, seen_ns)?;
            }
            writer.record_disk_settings(row)?;
            outcome.changes.push(format!("disk {}: changed", row.name));
        }
        for (name, value) in &wanted.settings {
            writer.record_setting(name, value)?;
            outcome.changes.push(format!("{name} = {value}"));
        }
        Ok(())
    })?;
    Ok(outcome)
}

/// What an import is going to write: only what differs.
#[derive(Default)]
struct Wanted {
    gone_sources: Vec<(VirtualPath, PathBuf)>,
    sources: Vec<(VirtualPath, PathBuf)>,
    configs: Vec<(VirtualPath, PathConfig)>,
    disks: Vec<DiskRow>,
    settings: Vec<(String, String)>,
}

impl Wanted {
    fn check(
        reader: &Reader<'_>,
        file: &ConfigFile,
        prefix: &VirtualPath,
        part: Part,
        outcome: &mut Imported,
    ) -> Result<Wanted, OpError> {
        let mut wanted = Wanted::default();
        if matches!(part, Part::All | Part::Map) {
            wanted.check_sources(reader, file, prefix, outcome)?;
        }
        if matches!(part, Part::All | Part::Paths) {
            wanted.check_configs(reader, file, prefix, outcome)?;
        }
        if matches!(part, Part::All | Part::Disks) {
            wanted.check_disks(reader, file, outcome)?;
        }
        for (name, value) in file.settings.iter().filter(|_| part == Part::All) {
            let value = check_setting(name, value)?;
            if reader.setting(name)?.as_ref() != Some(&value) {
                wanted.settings.push((name.clone(), value));
            }
        }
        Ok(wanted)
    }

    fn check_sources(
        &mut self,
        reader: &Reader<'_>,
        file: &ConfigFile,
        prefix: &VirtualPath,
        outcome: &mut Imported,
    ) -> Result<(), OpError> {
        let mut before: BTreeMap<VirtualPath, PathBuf> =
            reader.sources()?.into_iter().map(|source| (source.vpath, source.path)).collect();
        before.retain(|path, _| path.is_within(prefix));
        for (path, real) in &file.path_map {
            let path = within(path, prefix, outcome)?;
            let real = PathBuf::from(real);
            if !real.is_absolute() {
                return Err(bad(&path.display(), "it is mapped to a path that does not begin with /"));
            }
            if before.remove(&path).as_ref() != Some(&real) {
                self.sources.push((path, real));
            }
        }
        self.sources.retain(|(path, _)| path.is_within(prefix));
        self.gone_sources = before.into_iter().collect();
        Ok(())
    }

    fn check_configs(
        &mut self,
        reader: &Reader<'_>,
        file: &ConfigFile,
        prefix: &VirtualPath,
        outcome: &mut Imported,
    ) -> Result<(), OpError> {
        let mut before: BTreeMap<VirtualPath, PathConfig> = reader.path_configs()?.into_iter().collect();
        before.retain(|path, _| path.is_within(prefix));
        for (path, settings) in &file.path_config {
            let path = within(path, prefix, outcome)?;
            if !path.is_within(prefix) {
                continue;
            }
            let config = PathConfig::from(settings);
            Configured::new(config.clone()).map_err(|error| bad(&path.display(), &error.to_string()))?;
            if before.remove(&path).unwrap_or_default() != config {
                self.configs.push((path, config));
            }
        }
        self.configs.extend(before.into_keys().map(|path| (path, PathConfig::default())));
        Ok(())
    }

    fn check_disks(
        &mut self,
        reader: &Reader<'_>,
        file: &ConfigFile,
        outcome: &mut Imported,
    ) -> Result<(), OpError> {
        let mut rows = reader.disks()?;
        for (uuid, settings) in &file.disks {
            let Some(row) = rows.iter_mut().find(|row| row.uuid.0 == *uuid) else {
                let name = settings.name.as_deref().unwrap_or("");
                outcome
                    .ignored
                    .push(format!("disk {name} ({uuid}): it is not in this set; disk add adds it"));
                continue;
            };
            let before = row.clone();
            if let Some(name) = &settings.name {
                disks::check_name(name)?;
                row.name.clone_from(name);
            }
            if let Some(size) = settings.size.as_ref().or(settings.size_bytes.as_ref()) {
                let size = SizeRule::parse(size).map_err(|error| bad(uuid, &error.to_string()))?;
                row.size_rule = size.to_string();
                if let SizeRule::Fixed(bytes) = size {
                    row.capacity = bytes;
                }
            }
            if let Some(relative) = &settings.relative_path {
                row.relative_path = relative.trim_start_matches('/').as_bytes().to_vec();
            }
            row.location = settings.location.clone().or(row.location.take());
            row.note = settings.note.clone().or(row.note.take());
            if *row != before {
                self.disks.push(row.clone());
            }
        }
        for row in &rows {
            if rows.iter().any(|other| other.name == row.name && other.disk != row.disk) {
                return Err(bad(&row.name, "two disks would have this name"));
            }
        }
        Ok(())
    }
}

/// A path of the file; one outside the prefix is named as left out.
fn within(text: &str, prefix: &VirtualPath, outcome: &mut Imported) -> Result<VirtualPath, OpError> {
    let path = VirtualPath::parse(text.as_bytes()).map_err(|error| bad(text, &error.to_string()))?;
    if !path.is_within(prefix) {
        outcome.ignored.push(format!("{}: not below {}", path.display(), prefix.display()));
    }
    Ok(path)
}

fn bad(what: &str, why: &str) -> OpError {
    OpError::BadRequest { what: what.to_owned(), why: why.to_owned() }
}
