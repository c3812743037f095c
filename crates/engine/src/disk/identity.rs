//! The identity file of a disk, `distbackup-disk.json`: read as untrusted input, written so that 1.x still reads it.
//!
//! 1.x knows `uuid` and `name`. We add `set`, `format`, `features_required` and `stamp`; whatever else
//! stands there was put there by someone and is kept, in its order.

use std::path::Path;

use distbackup_core::model::{DiskUuid, SetUuid};
use serde_json::{Map, Value, json};

use super::port::{DiskError, DiskStamp, Identity};

/// Nobody writes an identity file larger than this; a larger one is not read into memory.
pub const IDENTITY_BYTES_MAX: u64 = 1 << 20;

/// The layout that this program reads and writes.
pub const FORMAT: u32 = 1;

/// What a disk may require of its reader and this program can do. Nothing yet.
const FEATURES_KNOWN: [&str; 0] = [];

/// Longest identity of a disk or set that is accepted; a UUID has 36 characters.
const UUID_CHARS_MAX: usize = 64;

/// Highest counter of a stamp: what every reader of JSON takes exactly. A disk that is visited once a second gets there
/// in 285 million years; so nothing overflows because somebody wrote a number into the file (N12).
const COUNTER_MAX: u64 = 1 << 53;

const OUR_KEYS: [&str; 6] = ["uuid", "name", "set", "format", "features_required", "stamp"];

/// Whether a new disk may have this name: letters, digits, `.`, `_` and `-`, not beginning with `-` or `.`.
///
/// Names are typed on command lines. Names of disks made by 1.x are kept whatever they are.
pub fn is_valid_name(name: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 255 && name.chars().all(fits) && !name.starts_with(['-', '.'])
}

/// Whether a text is a UUID as it is usually written: 32 hexadecimal digits in five groups.
pub fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Understands the content of the identity file at `path` (used for messages only).
///
/// What a newer program requires is looked at before anything else, since it may have changed the rest.
pub fn parse(text: &[u8], path: &Path) -> Result<Identity, DiskError> {
    let damaged = |why: String| DiskError::DamagedIdentity { path: path.to_owned(), why };
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    if text.len() as u64 > IDENTITY_BYTES_MAX {
        return Err(damaged("it is too large".into()));
    }
    let value: Value = serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
    let Value::Object(mut keys) = value else { return Err(damaged("it is not a JSON object".into())) };

    let features_required = features(keys.shift_remove("features_required")).map_err(damaged)?;
    if let Some(feature) = features_required.iter().find(|name| !FEATURES_KNOWN.contains(&name.as_str())) {
        return Err(DiskError::UnknownFeature { folder, feature: feature.clone() });
    }
    let format = match keys.shift_remove("format") {
        None => FORMAT,
        Some(value) => match value.as_u64().and_then(|number| u32::try_from(number).ok()) {
            Some(FORMAT) => FORMAT,
            Some(newer) if newer > FORMAT => {
                return Err(DiskError::UnknownFeature { folder, feature: format!("format {newer}") });
            }
            _ => return Err(damaged("\"format\" is not a version number".into())),
        },
    };
    let uuid = match keys.shift_remove("uuid") {
        Some(value) => identifier(value, "uuid").map_err(damaged)?,
        None => return Err(damaged("it has no \"uuid\"".into())),
    };
    let name = match keys.shift_remove("name") {
        Some(Value::String(name)) => name,
        // 1.x writes null for a disk that it adopted without a name.
        None | Some(Value::Null) => String::new(),
        Some(_) => return Err(damaged("\"name\" is not a text".into())),
    };
    let set = match keys.shift_remove("set") {
        None | Some(Value::Null) => None,
        Some(value) => Some(SetUuid(identifier(value, "set").map_err(damaged)?)),
    };
    let stamp = match keys.shift_remove("stamp") {
        None | Some(Value::Null) => None,
        Some(value) => Some(stamp(&value).ok_or_else(|| damaged("\"stamp\" cannot be understood".into()))?),
    };
    Ok(Identity { uuid: DiskUuid(uuid), name, set, format, features_required, stamp, other: keys })
}

/// The content of an identity file, in the indentation of 1.x.
pub fn render(identity: &Identity) -> Vec<u8> {
    let mut keys = Map::new();
    keys.insert("uuid".into(), json!(identity.uuid.0));
    keys.insert("name".into(), json!(identity.name));
    if let Some(set) = &identity.set {
        keys.insert("set".into(), json!(set.0));
    }
    keys.insert("format".into(), json!(identity.format));
    keys.insert("features_required".into(), json!(identity.features_required));
    if let Some(stamp) = identity.stamp {
        // A text, because many readers of JSON keep numbers of 64 bits only in part.
        let random = format!("{:016x}", stamp.random);
        keys.insert("stamp".into(), json!({ "counter": stamp.counter, "random": random }));
    }
    let other = identity.other.iter().filter(|(key, _)| !OUR_KEYS.contains(&key.as_str()));
    keys.extend(other.map(|(key, value)| (key.clone(), value.clone())));
    let mut text = format!("{:#}", Value::Object(keys)).into_bytes();
    text.push(b'\n');
    text
}

fn features(value: Option<Value>) -> Result<Vec<String>, String> {
    let text = |value| match value {
        Value::String(feature) => Ok(feature),
        _ => Err("\"features_required\" holds something that is not a text".to_owned()),
    };
    match value {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => list.into_iter().map(text).collect(),
        Some(_) => Err("\"features_required\" is not a list".into()),
    }
}

/// Identities are compared, printed and stored; so only what a UUID can be made of is let in.
fn identifier(value: Value, key: &str) -> Result<String, String> {
    let Value::String(text) = value else { return Err(format!("{key:?} is not a text")) };
    if text.is_empty() {
        return Err(format!("{key:?} is empty"));
    }
    if text.len() > UUID_CHARS_MAX || !text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
        return Err(format!("{key:?} is not an identity"));
    }
    Ok(text)
}

fn stamp(value: &Value) -> Option<DiskStamp> {
    let counter = value.get("counter")?.as_u64().filter(|counter| *counter <= COUNTER_MAX)?;
    let digits = value.get("random")?.as_str()?;
    // `from_str_radix` alone would take a sign.
    let plain = (1..=16).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_hexdigit());
    let random = u64::from_str_radix(digits, 16).ok().filter(|_| plain)?;
    Some(DiskStamp { counter, random })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Identity, DiskError> {
        parse(text.as_bytes(), Path::new("/media/red/distbackup-disk.json"))
    }

    fn why(text: &str) -> String {
        match read(text) {
            Err(DiskError::DamagedIdentity { why, .. }) => why,
            other => panic!("{text} was read as {other:?}"),
        }
    }

    #[test]
    fn a_disk_of_distbackup_1_is_read_as_it_stands() {
        let red =
            read("{\n    \"uuid\": \"7b1f2f0e-0c52-4b8e-a5f4-0f6a3c7f9d11\",\n    \"name\": \"red\"\n}")
                .unwrap();
        assert_eq!(red.uuid.0, "7b1f2f0e-0c52-4b8e-a5f4-0f6a3c7f9d11");
        assert_eq!((red.name.as_str(), red.format, red.set, red.stamp), ("red", 1, None, None));
    }

    #[test]
    fn what_is_written_is_read_back_with_foreign_keys_in_their_order() {
        let text = r#"{"zebra":[1,{"b":1,"a":null}],"uuid":"u-1","apple":1.5,"name":"Fjörður 2","set":"s-1","format":1,
            "features_required":[],"stamp":{"counter":9007199254740992,"random":"00000000deadbeef"},"middle":"x"}"#;
        let identity = read(text).unwrap();
        assert_eq!(identity.stamp, Some(DiskStamp { counter: 1 << 53, random: 0xdead_beef }));
        let written = String::from_utf8(render(&identity)).unwrap();
        assert_eq!(read(&written).unwrap(), identity);
        assert_eq!(identity.other.keys().collect::<Vec<_>>(), ["zebra", "apple", "middle"]);
        assert!(written.find("\"b\"") < written.find("\"a\""), "{written}");
        assert!(
            written.find("zebra") < written.find("apple")
                && written.contains("\"random\": \"00000000deadbeef\"")
        );
    }

    #[test]
    fn a_disk_that_needs_a_newer_program_is_refused_whatever_else_it_says() {
        for (text, feature) in [
            (r#"{"uuid":"u","features_required":["encrypted"]}"#, "encrypted"),
            (r#"{"uuid":7,"features_required":["split"]}"#, "split"),
            (r#"{"uuid":"u","format":2}"#, "format 2"),
        ] {
            assert!(
                matches!(read(text), Err(DiskError::UnknownFeature { feature: ref found, ref folder })
                    if found == feature && folder == Path::new("/media/red")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_damaged_identity_says_what_is_wrong_with_it() {
        assert!(why("").contains("EOF"));
        assert!(why("[]").contains("not a JSON object"));
        assert!(why("{}").contains("no \"uuid\""));
        assert!(why(r#"{"uuid":""}"#).contains("empty"));
        assert!(why(r#"{"uuid":"../../etc"}"#).contains("not an identity"));
        assert!(why("{\"uuid\":\"a\\u001b[2J\"}").contains("not an identity"));
        assert!(why(r#"{"uuid":"u","name":3}"#).contains("name"));
        assert!(why(r#"{"uuid":"u","set":3}"#).contains("set"));
        assert!(why(r#"{"uuid":"u","format":-1}"#).contains("format"));
        assert!(why(r#"{"uuid":"u","format":0}"#).contains("format"));
        assert!(why(r#"{"uuid":"u","features_required":"x"}"#).contains("not a list"));
        for stamp in [
            "7",
            "{}",
            r#"{"counter":-1,"random":"0"}"#,
            r#"{"counter":9007199254740993,"random":"0"}"#,
            r#"{"counter":1,"random":"+f"}"#,
            r#"{"counter":1,"random":7}"#,
        ] {
            assert!(why(&format!(r#"{{"uuid":"u","stamp":{stamp}}}"#)).contains("stamp"));
        }
        let huge = format!("{{\"uuid\":\"u\"}}{}", " ".repeat(IDENTITY_BYTES_MAX as usize));
        assert!(why(&huge).contains("too large"));
        assert!(why(&"[".repeat(100_000)).contains("recursion"));
    }

    #[test]
    fn names_of_new_disks_are_letters_digits_and_three_signs() {
        for good in ["red", "Disk-2", "wd_4.5TB", "grün"] {
            assert!(is_valid_name(good), "{good}");
        }
        for bad in ["", "-red", ".red", "a b", "a/b", "a\n", "all,red", &"x".repeat(256)] {
            assert!(!is_valid_name(bad), "{bad:?}");
        }
    }

    /// Whatever bytes a disk holds: an identity, or an error, never a panic; and what is read survives rewriting.
    #[test]
    fn random_damage_never_panics() {
        let mut state = getrandom::u64().unwrap();
        eprintln!("seed {state:#x}");
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let whole = br#"{"uuid":"7b1f-0c","name":"red","set":"s","format":1,"features_required":[],"stamp":{"counter":3,"random":"0f"},"x":[1e3,"\u00e4"]}"#;
        for _ in 0..20_000 {
            let mut text = whole.to_vec();
            for _ in 0..1 + next() % 4 {
                let at = next() % text.len();
                match next() % 4 {
                    0 => text[at] = next() as u8,
                    1 => text[at] ^= 1 << (next() % 8),
                    2 => text.truncate(at.max(1)),
                    _ => text.insert(at, b"{}[],:\"\\0-e"[next() % 11]),
                }
            }
            if let Ok(identity) = parse(&text, Path::new("d/i")) {
                assert_eq!(parse(&render(&identity), Path::new("d/i")).unwrap(), identity);
            }
            let noise: Vec<u8> = (0..next() % 60).map(|_| next() as u8).collect();
            let _ = parse(&noise, Path::new(""));
        }
    }
}
