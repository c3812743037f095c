//! Sources: what is to be protected, and how much.

use std::path::{Path, PathBuf};

use distbackup_core::model::VirtualPath;
use distbackup_core::rules::{ConfigTree, Configured, PathConfig};

use super::OpError;
use crate::catalog::{Catalog, Reader, SourceRow};

/// Maps a real folder to a virtual path; one mapped there before is replaced. A relative path is made absolute.
pub fn map(catalog: &mut Catalog, vpath: &VirtualPath, path: &Path) -> Result<PathBuf, OpError> {
    let absolute = std::path::absolute(path).map_err(OpError::io("find", path))?;
    let why = match std::fs::metadata(&absolute) {
        Ok(metadata) if metadata.is_dir() => None,
        Ok(_) => Some("it is not a folder"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some("there is no such folder"),
        Err(error) => return Err(OpError::io("look at", absolute)(error)),
    };
    if let Some(why) = why {
        return Err(OpError::BadRequest { what: absolute.display().to_string(), why: why.into() });
    }
    catalog.write("record a source", |writer| writer.record_source(vpath, &absolute))?;
    Ok(absolute)
}

/// Removes a mapping; what it held becomes history at the next update.
pub fn unmap(catalog: &mut Catalog, vpath: &VirtualPath) -> Result<(), OpError> {
    if catalog.write("remove a source", |writer| writer.remove_source(vpath))? {
        return Ok(());
    }
    Err(OpError::BadRequest { what: vpath.display(), why: "no source is mapped there".into() })
}

/// Maps a folder under its own name, unless it is mapped already or lies in a source; returns the virtual path.
pub fn map_by_name(catalog: &mut Catalog, path: &Path) -> Result<(VirtualPath, bool), OpError> {
    let absolute = std::path::absolute(path).map_err(OpError::io("find", path))?;
    let sources: Vec<SourceRow> = catalog.read().sources()?;
    if let Some(source) = sources.iter().find(|source| source.path == absolute) {
        return Ok((source.vpath.clone(), false));
    }
    let name = absolute
        .file_name()
        .map_or_else(|| b"root".to_vec(), |name| crate::platform::bytes_of_path(Path::new(name)));
    let mut vpath = VirtualPath::root().join(&name);
    let mut number = 2;
    while sources.iter().any(|source| source.vpath == vpath) {
        vpath = VirtualPath::root().join(&[name.as_slice(), format!("-{number}").as_bytes()].concat());
        number += 1;
    }
    map(catalog, &vpath, &absolute)?;
    Ok((vpath, true))
}

/// All configured paths, their rules read; without locks if they are not to count.
pub fn configuration(reader: &Reader<'_>, ignore_locks: bool) -> Result<ConfigTree, OpError> {
    let mut configs = reader.path_configs()?;
    if ignore_locks {
        configs.iter_mut().for_each(|(_, config)| config.lock = None);
    }
    // What belongs to another computer is taken to be unchanged here.
    for source in reader.sources()?.into_iter().filter(|source| source.elsewhere.is_some()) {
        match configs.iter_mut().find(|(path, _)| *path == source.vpath) {
            Some((_, config)) => config.lock = Some(true),
            None => configs.push((source.vpath, PathConfig { lock: Some(true), ..PathConfig::default() })),
        }
    }
    ConfigTree::of(configs)
        .map_err(|(path, error)| OpError::BadRequest { what: path.display(), why: error.to_string() })
}

/// The same, with other rules for one folder: to see what they would do.
pub fn configuration_with(
    reader: &Reader<'_>,
    folder: &VirtualPath,
    rules: &[String],
) -> Result<ConfigTree, OpError> {
    let mut configs = reader.path_configs()?;
    let mut config = PathConfig::default();
    if let Some(at) = configs.iter().position(|(path, _)| path == folder) {
        config = configs.remove(at).1;
    }
    config.rules = Some(rules.to_vec());
    configs.push((folder.clone(), config));
    ConfigTree::of(configs)
        .map_err(|(path, error)| OpError::BadRequest { what: path.display(), why: error.to_string() })
}

/// Changes the configuration of a path; returns it before and after. Rules that cannot be read change nothing.
pub fn configure(
    catalog: &mut Catalog,
    vpath: &VirtualPath,
    change: impl FnOnce(&mut PathConfig),
) -> Result<(PathConfig, PathConfig), OpError> {
    let before =
        catalog.read().path_configs()?.into_iter().find(|(path, _)| path == vpath).map(|(_, config)| config);
    let before = before.unwrap_or_default();
    let mut after = before.clone();
    change(&mut after);
    if after == before {
        return Ok((before, after));
    }
    Configured::new(after.clone())
        .map_err(|error| OpError::BadRequest { what: vpath.display(), why: error.to_string() })?;
    catalog.write("configure a path", |writer| writer.record_path_config(vpath, &after))?;
    Ok((before, after))
}
