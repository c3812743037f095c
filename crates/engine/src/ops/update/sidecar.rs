//! Sidecars `NAME.meta-inf` of distbackup 1.x: JSON that ranks the file beside it.

use std::io::Read;
use std::path::Path;

use distbackup_core::model::ObjectId;
use serde_json::Value;

use crate::catalog::{Sidecar, partner_of};
use crate::content::Segment;
use crate::hash::{Digest, Hashed};
use crate::platform;

/// A larger file of that name is no sidecar.
const BYTES_MAX: u64 = 64 * 1024;

/// What a file says of its partner; `None`: it is no sidecar. Reads it once more, and takes only what
/// has the hash that was just found, so both are one content.
pub fn read(name: &[u8], path: &Path, hashed: &Hashed) -> Option<Result<Sidecar, String>> {
    partner_of(name)?;
    if hashed.size.0 == 0 || hashed.size.0 > BYTES_MAX {
        return None;
    }
    let mut text = Vec::new();
    let read =
        platform::open_source(path).and_then(|(file, _)| file.take(BYTES_MAX + 1).read_to_end(&mut text));
    if let Err(error) = read {
        return Some(Err(format!("cannot read what it says of the file beside it: {error}")));
    }
    let mut digest = Digest::new();
    digest.update(&Segment::Data(&text));
    if digest.finish() != hashed.id {
        return Some(Err("it changes while it is read; what it says is not used".to_owned()));
    }
    Some(parse(text).map_err(|why| format!("what it says of the file beside it is not used: {why}")))
}

/// Reads the text of a sidecar: `hash` (64 hex digits), `priority` (0 or more; 0 means nothing special, as in 1.x) and
/// `maxcopies` (1 or more, or "inf"). Other keys are the user's own.
pub fn parse(text: Vec<u8>) -> Result<Sidecar, String> {
    let text = String::from_utf8(text).map_err(|_| "it is no UTF-8".to_owned())?;
    let json: Value = serde_json::from_str(&text).map_err(|error| format!("it is no JSON: {error}"))?;
    let Value::Object(said) = &json else { return Err("it is no JSON object".to_owned()) };
    let number = |key: &str, least: u64| match said.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64().and_then(|number| u32::try_from(number).ok()) {
            Some(number) if u64::from(number) >= least => Ok(Some(number)),
            _ => Err(format!("`{key}` is {value}, not a number of {least} or more")),
        },
    };
    let hash = match said.get("hash") {
        None | Some(Value::Null) => None,
        Some(Value::String(hash)) if hash.is_empty() => None,
        Some(Value::String(hash)) => Some(
            ObjectId::from_name(hash.to_ascii_lowercase().as_bytes())
                .ok_or_else(|| format!("`hash` is {hash:?}, not 64 hex digits"))?,
        ),
        Some(other) => return Err(format!("`hash` is {other}, not a text of 64 hex digits")),
    };
    let maxcopies = match said.get("maxcopies") {
        Some(Value::String(endless)) if endless == "inf" => Some(0),
        _ => number("maxcopies", 1)?,
    };
    let priority = number("priority", 0)?.map(|priority| priority.max(1));
    Ok(Sidecar { hash, priority, maxcopies, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Result<Sidecar, String> {
        parse(text.as_bytes().to_vec())
    }

    #[test]
    fn what_1_x_understood_is_understood() {
        let id = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
        let sidecar =
            said(&format!(r#"{{"hash": "{id}", "priority": 3, "maxcopies": 2, "mine": [1]}}"#)).unwrap();
        assert_eq!(sidecar.hash.unwrap().hex(), id.to_lowercase());
        assert_eq!((sidecar.priority, sidecar.maxcopies), (Some(3), Some(2)));
        assert!(sidecar.text.contains("mine"));
        assert_eq!(said(r#"{"maxcopies": "inf"}"#).unwrap().maxcopies, Some(0));
        assert_eq!(said(r#"{"priority": 0}"#).unwrap().priority, Some(1));
        assert_eq!(said("{}").unwrap(), Sidecar { text: "{}".into(), ..Sidecar::default() });
    }

    #[test]
    fn what_it_did_not_is_refused_with_the_key_that_is_wrong() {
        let wrong = [
            (r#"{"hash": "abc"}"#, "hash"),
            (r#"{"hash": 1}"#, "hash"),
            (r#"{"priority": -1}"#, "priority"),
            (r#"{"priority": 1.5}"#, "priority"),
            (r#"{"priority": 99999999999}"#, "priority"),
            (r#"{"maxcopies": 0}"#, "maxcopies"),
            (r#"{"maxcopies": "many"}"#, "maxcopies"),
            ("[]", "object"),
            ("{", "JSON"),
        ];
        for (text, why) in wrong {
            let error = said(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(parse(vec![0xff]).unwrap_err().contains("UTF-8"));
        assert!(parse(vec![b'['; 60_000]).is_err(), "deeply nested");
    }
}
