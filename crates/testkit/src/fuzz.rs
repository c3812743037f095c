//! Whatever a disk or a user can hand in: functions that take any bytes and say whether they were understood.
//!
//! Each checks, beside not falling over, what must hold of anything that is understood: it is bounded, leads nowhere, and comes
//! back from its written form as it was. `tests/fuzz.rs` drives them for a few seconds, `fuzz/` with coverage for as
//! long as one likes.

mod catalog;

use std::path::Path;

use distbackup_core::model::{
    Bytes, Holes, ObjectId, SizeRule, VirtualPath, escape_bytes, harmless, is_steering, parse_duration_days,
    parse_size,
};
use distbackup_core::rules::Rule;
use distbackup_engine::browse::Selection;
use distbackup_engine::catalog::{decode_xattrs, encode_xattrs};
use distbackup_engine::disk::{identity, layout};
use distbackup_engine::platform::Mounts;

/// One kind of input.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Pieces that make inputs mean something.
    pub words: &'static [&'static str],
    /// Hands an input in; whether it was understood. Panics if anything is not as it must be.
    pub run: fn(&[u8]) -> bool,
    /// Milliseconds rather than microseconds an input.
    pub slow: bool,
}

/// All kinds of input.
pub const TARGETS: &[Target] = &[
    Target {
        name: "identity",
        seeds: || {
            texts(&[
                r#"{"uuid":"7b1f-0c","name":"red","set":"s","format":1,"features_required":[],"stamp":{"counter":3,"random":"0f"},"x":[1e3,"\u00e4"]}"#,
                r#"{"uuid": "7b1f2f0e-0c52-4b8e-a5f4-0f6a3c7f9d11", "name": null}"#,
                r#"{"uuid":"u","format":2,"features_required":["encrypted"]}"#,
            ])
        },
        words: &[
            "\"uuid\":",
            "\"stamp\":",
            "null",
            "{",
            "}",
            "[",
            "\\u001b",
            "\\ud800",
            "1e999",
            "9007199254740993",
            "\"a\"",
        ],
        run: an_identity,
        slow: false,
    },
    Target {
        name: "object-name",
        seeds: || {
            let id = "0123456789abcdef".repeat(4);
            texts(&[&id, "012", "fff", &id[..63], "previous.distbackup", &id.to_uppercase()])
        },
        words: &["..", "/", "\0", "0", "f", "é"],
        run: an_object_name,
        slow: false,
    },
    Target {
        name: "virtual-path",
        seeds: || texts(&["/photos/2011", "a\\b//c/./d", "..", "/x\u{1b}[2J\u{202e}y\n", "\u{9b}"]),
        words: &["/", "..", ".", "\\", "\0", "\u{1b}[31m", "\u{202e}", "é"],
        run: a_virtual_path,
        slow: false,
    },
    Target {
        name: "pattern",
        seeds: || texts(&["*.nef", "/photos/**/[a-z]?{x,y}", "\\*", "{a,{b,c}}", "[!]]"]),
        words: &["*", "**", "{", "}", ",", "[", "]", "!", "\\", "/", "?"],
        run: a_pattern,
        slow: false,
    },
    Target {
        name: "rule",
        seeds: || {
            texts(&["*.tmp", "!.*", "!!! keep", ":literal*", "? [a-z]?{x}", "/^(a|b)+\\.o$", "/(?i)x{1,9}"])
        },
        words: &[
            "!",
            ":",
            "?",
            "/",
            "*",
            "[",
            "]",
            "(",
            ")",
            "{999}",
            "{1000000}",
            "\\p{L}",
            "(?P<",
            "|",
            "+",
            "é",
        ],
        run: a_rule,
        slow: false,
    },
    Target {
        name: "size",
        seeds: || texts(&["500G", "7.4T", "1.5TiB", "80%", "-20G", "auto", "1,000", "0.000000000000000001E"]),
        words: &[".", "%", "-", "i", "B", "E", "99999999999999999999", "+", " ", "é"],
        run: a_size,
        slow: false,
    },
    Target {
        name: "duration",
        seeds: || texts(&["90d", "12w", "6m", "2y", "7", " 3 D "]),
        words: &["d", "y", "4294967295", "-", "+", "é"],
        run: a_duration,
        slow: false,
    },
    Target {
        name: "mountinfo",
        seeds: || {
            texts(&["27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n\
                     40 27 8:1 / /media/red rw shared:7 master:2 - ext4 /dev/sda1 rw\n\
                     42 27 0:50 / /mnt/with\\040blank\\134\\012x rw - fuse.sshfs  rw\n\
                     44 40 8:33 /part /media/red/inner ro - xfs /dev/sdc1 rw\n"])
        },
        words: &[" ", "\n", " - ", "\\040", "\\377", "/", ":", "18446744073709551616", "ro"],
        run: a_table_of_mounts,
        slow: false,
    },
    Target {
        name: "holes",
        seeds: || {
            let many = (0..2000).map(|at| (at * 8192, 4096)).collect();
            vec![Holes(vec![(4096, 4096), (1 << 20, 1 << 40)]).encode(), Holes(many).encode(), vec![0xff; 20]]
        },
        words: &["\u{0}", "\u{1}", "\u{7f}"],
        run: holes,
        slow: false,
    },
    Target {
        name: "xattrs",
        seeds: || vec![b"\x06\0user.a\x02\0\0\0xy\x01\0b\0\0\0\0".to_vec(), b"\xff\xff".to_vec(), Vec::new()],
        words: &["\u{0}\u{0}", "user.", "\u{7f}\u{0}\u{0}\u{0}"],
        run: xattrs,
        slow: false,
    },
    Target {
        name: "catalog-bytes",
        seeds: || vec![catalog::seed()],
        words: &["CREATE VIEW", "CREATE TRIGGER", "\u{0}\u{0}\u{0}\u{0}", "\u{7f}\u{7f}", ".."],
        run: catalog::bytes,
        slow: true,
    },
    Target {
        name: "catalog-values",
        seeds: || (0..64).map(|at| (0..16).map(|byte| (at * 37 + byte * 11) as u8).collect()).collect(),
        words: &["\u{0}", "\u{1}", "\u{7f}"],
        run: catalog::values,
        slow: true,
    },
];

/// The target of this name.
pub fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("there is no target {name}"))
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// What is shown steers no terminal.
fn shown(text: &str) {
    assert!(!harmless(text).contains(is_steering), "{text:?}");
}

fn an_identity(input: &[u8]) -> bool {
    let path = Path::new("/media/red/distbackup-disk.json");
    match identity::parse(input, path) {
        Ok(identity) => {
            assert!(
                identity.uuid.0.len() <= 64 && !identity.uuid.0.contains(['/', '.', '\0']),
                "{identity:?}"
            );
            assert!(identity.stamp.is_none_or(|stamp| stamp.counter.checked_add(1).is_some()));
            let again = identity::parse(&identity::render(&identity), path).unwrap();
            assert_eq!(again, identity, "written and read back");
            true
        }
        Err(error) => {
            shown(&error.to_string());
            false
        }
    }
}

fn an_object_name(input: &[u8]) -> bool {
    if let Some(prefix) = layout::prefix_of_name(input) {
        assert!(prefix < 4096 && layout::folder_name(prefix).as_bytes() == input);
    }
    match ObjectId::from_name(input) {
        Some(id) => {
            assert_eq!(id.hex().as_bytes(), input, "one name for each object");
            assert!(layout::object_path(id).split('/').all(|part| !matches!(part, "" | "." | "..")));
            true
        }
        None => layout::is_left_by_v1(input),
    }
}

fn a_virtual_path(input: &[u8]) -> bool {
    let escaped = escape_bytes(input);
    assert!(!escaped.contains(is_steering), "{escaped:?}");
    let Ok(path) = VirtualPath::parse(input) else { return false };
    assert_eq!(VirtualPath::parse(path.as_bytes()).as_ref(), Ok(&path), "its own spelling means the same");
    assert!(path.components().all(|name| !matches!(name, b"" | b"." | b"..") && !name.contains(&0)));
    assert!(!path.display().contains(is_steering));
    match path.parent() {
        Some((folder, name)) => {
            assert!(path.is_within(&folder));
            assert_eq!(folder.join(name), path);
        }
        None => assert_eq!(path, VirtualPath::root()),
    }
    let mut left = path.clone();
    for _ in path.components() {
        left.pop();
    }
    assert_eq!(left, VirtualPath::root());
    true
}

fn a_pattern(input: &[u8]) -> bool {
    let path = VirtualPath::parse(b"/photos/2011/a much longer name that goes on and on.jpeg").unwrap();
    match Selection::parse(&[input.to_vec()]) {
        Ok(selection) => {
            selection.names(&path);
            if let Ok(own) = VirtualPath::parse(input) {
                selection.names(&own);
            }
            true
        }
        Err(error) => {
            shown(&error.to_string());
            false
        }
    }
}

fn a_rule(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    match Rule::parse(&text) {
        Ok(rule) => {
            for name in [b"a.o".as_slice(), b"\xff\n", &[b'a'; 255], input] {
                rule.matches(name);
            }
            assert_eq!(rule.text(), text);
            true
        }
        Err(why) => {
            shown(&why);
            false
        }
    }
}

fn a_size(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    if let Ok(Bytes(bytes)) = parse_size(&text) {
        assert!(i64::try_from(bytes).is_ok(), "the catalog can store it");
        assert_eq!(parse_size(&bytes.to_string()), Ok(Bytes(bytes)));
    }
    match SizeRule::parse(&text) {
        Ok(rule) => {
            assert_eq!(SizeRule::parse(&rule.to_string()), Ok(rule));
            true
        }
        Err(error) => {
            shown(&error.to_string());
            false
        }
    }
}

fn a_duration(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    match parse_duration_days(&text) {
        Ok(days) => {
            assert_eq!(parse_duration_days(&days.to_string()), Ok(days));
            true
        }
        Err(error) => {
            shown(&error.to_string());
            false
        }
    }
}

fn a_table_of_mounts(input: &[u8]) -> bool {
    let mounts = Mounts::parse(input);
    let lines = input.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count();
    assert_eq!(mounts.all().len() + mounts.not_understood.len(), lines);
    assert!(mounts.all().iter().all(|mount| mount.point.is_absolute()));
    for path in ["/", "/media/red/inner/x", "/mnt/with blank\\\nx/y", "relative"] {
        if let Some(mount) = mounts.mount_of(Path::new(path)) {
            assert!(Path::new(path).starts_with(&mount.point));
        }
    }
    !mounts.all().is_empty()
}

fn holes(input: &[u8]) -> bool {
    let Some(holes) = Holes::decode(input) else { return false };
    assert!(holes.0.len() <= Holes::MAX);
    let mut end = 0;
    for &(offset, length) in &holes.0 {
        assert!(offset >= end, "they ascend");
        end = offset.checked_add(length).expect("they end somewhere");
    }
    assert_eq!(Holes::decode(&holes.encode()), Some(holes));
    true
}

fn xattrs(input: &[u8]) -> bool {
    let Some(xattrs) = decode_xattrs(input) else { return false };
    assert_eq!(encode_xattrs(&xattrs), input, "one coding for each");
    true
}
