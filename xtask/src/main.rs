//! `cargo xtask dist [FOLDER]`: makes what is given to users, in `target/dist` unless told otherwise.
//!
//! - `distbackup_VERSION_ARCH.deb`: the program for Debian and its kin, with manual pages, completions and the
//!   documents; needs `dpkg-deb`.
//! - `dsb-VERSION-ARCH-linux-static.tar.gz`: one file that runs on any Linux, also on a NAS; needs the `musl` target of
//!   Rust and `musl-gcc`.
//!
//! What cannot be made here is said, and the rest is made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The target of the static program.
const STATIC: &str = "x86_64-unknown-linux-musl";

/// Folders of completions in a Debian package: shell, folder, name.
const COMPLETIONS: &[(&str, &str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions", "dsb"),
    ("zsh", "usr/share/zsh/vendor-completions", "_dsb"),
    ("fish", "usr/share/fish/vendor_completions.d", "dsb.fish"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["dist"] => dist(&root().join("target/dist")),
        ["dist", folder] => dist(Path::new(folder)),
        _ => Err("usage: cargo xtask dist [FOLDER]".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

fn dist(to: &Path) -> Result<(), String> {
    fs::create_dir_all(to).map_err(failed("make", to))?;
    let program = build(None)?;
    if available("dpkg-deb") {
        package(&program, to)?;
    } else {
        println!("left out: the Debian package, for which dpkg-deb is missing");
    }
    let target = run(Command::new("rustup").args(["target", "list", "--installed"])).unwrap_or_default();
    if target.lines().any(|line| line == STATIC) && available("musl-gcc") {
        archive(&build(Some(STATIC))?, to)?;
    } else {
        println!(
            "left out: the static program; rustup target add {STATIC}, and musl-gcc (musl-tools of Debian)"
        );
    }
    Ok(())
}

/// Builds the program for users; returns where it is.
fn build(target: Option<&str>) -> Result<PathBuf, String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).args(["build", "--release", "--locked", "--package", "distbackup"]);
    cargo.args(target.into_iter().flat_map(|target| ["--target", target]));
    run(&mut cargo)?;
    let built = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(built.join(target.unwrap_or_default()).join("release/dsb"))
}

/// The static program with the documents, as one archive.
fn archive(program: &Path, to: &Path) -> Result<(), String> {
    let name = format!("dsb-{}-{}-linux-static", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let stage = Stage::new(to, &name)?;
    let folder = stage.0.join(&name);
    put(program, &folder.join("dsb"), 0o755)?;
    for document in ["README.md", "LICENSE", "CHANGELOG.md"] {
        put(&root().join(document), &folder.join(document), 0o644)?;
    }
    run(Command::new(program).arg("man").arg(made(&folder.join("man"))?))?;
    let file = to.join(format!("{name}.tar.gz"));
    // The same input makes the same file, whoever makes it and when.
    let tar = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "-czf"];
    run(Command::new("tar").args(tar).arg(&file).arg("-C").arg(&stage.0).arg(&name))?;
    say(&file)
}

/// The Debian package.
fn package(program: &Path, to: &Path) -> Result<(), String> {
    let architecture = run(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned();
    // `~` sorts before nothing: an alpha is older than its release.
    let version = env!("CARGO_PKG_VERSION").replacen('-', "~", 1);
    let name = format!("distbackup_{version}_{architecture}");
    let stage = Stage::new(to, &name)?;
    let inside = |path: &str| stage.0.join(path);
    put(program, &inside("usr/bin/dsb"), 0o755)?;
    let pages = made(&inside("usr/share/man/man1"))?;
    run(Command::new(program).arg("man").arg(&pages))?;
    for entry in fs::read_dir(&pages).map_err(failed("list", &pages))? {
        let page = entry.map_err(failed("list", &pages))?.path();
        run(Command::new("gzip").args(["-9n"]).arg(&page))?;
    }
    for (shell, folder, file) in COMPLETIONS {
        let script = run(Command::new(program).args(["completions", shell]))?;
        // The script calls whichever `dsb` is in the path, not the one that was built.
        write(&made(&inside(folder))?.join(file), &script.replace(&program.display().to_string(), "dsb"))?;
    }
    let documents = made(&inside("usr/share/doc/distbackup"))?;
    put(&root().join("README.md"), &documents.join("README.md"), 0o644)?;
    put(&root().join("LICENSE"), &documents.join("copyright"), 0o644)?;
    put(&root().join("CHANGELOG.md"), &documents.join("changelog"), 0o644)?;
    run(Command::new("gzip").args(["-9n"]).arg(documents.join("changelog")))?;
    for entry in fs::read_dir(root().join("docs")).map_err(failed("list", &root().join("docs")))? {
        let path = entry.map_err(failed("list", &root()))?.path();
        if let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|end| end == "md")) {
            put(&path, &documents.join("docs").join(name), 0o644)?;
        }
    }
    let size = run(Command::new("du").args(["-sk", "--apparent-size"]).arg(&stage.0))?;
    let size = size.split_whitespace().next().unwrap_or("0").to_owned();
    let needs = libraries(program)?;
    let control = format!(
        "Package: distbackup\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: distbackup <distbackup@users.noreply.github.com>\n\
         Installed-Size: {size}\nDepends: {needs}\nSuggests: smartmontools, ncdu, udisks2, libnotify-bin\nSection: utils\nPriority: optional\n\
         Homepage: {}\nDescription: one backup on a shelf of disks of all sizes\n \
         Files are stored once by content as plain files on whichever disk is connected,\n \
         with as many redundant copies as there is room for. Every disk carries the catalog.\n",
        env!("CARGO_PKG_REPOSITORY")
    );
    write(&made(&inside("DEBIAN"))?.join("control"), &control)?;
    let file = to.join(format!("{name}.deb"));
    let mut deb = Command::new("dpkg-deb");
    deb.env("SOURCE_DATE_EPOCH", "0").args(["--root-owner-group", "--build"]).arg(&stage.0).arg(&file);
    run(&mut deb)?;
    say(&file)
}

/// What the program needs at least: the newest version of glibc of which it uses something.
fn libraries(program: &Path) -> Result<String, String> {
    let symbols = run(Command::new("objdump").arg("-T").arg(program))?;
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let text: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let mut numbers = text.split('.').map(|part| part.parse::<u32>().ok());
        Some((numbers.next()??, numbers.next()??))
    });
    let (major, minor) = versions.max().ok_or("the program uses no glibc")?;
    Ok(format!("libc6 (>= {major}.{minor}), libgcc-s1"))
}

/// A folder for the parts of a package, gone at the end.
struct Stage(PathBuf);

impl Stage {
    fn new(to: &Path, name: &str) -> Result<Self, String> {
        let folder = to.join(format!(".stage-{name}"));
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("clear", &folder)(error));
            }
            _ => made(&folder).map(Stage),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("warning: {}", failed("clear", &self.0)(error));
        }
    }
}

fn made(folder: &Path) -> Result<PathBuf, String> {
    fs::create_dir_all(folder).map_err(failed("make", folder))?;
    Ok(folder.to_owned())
}

fn put(from: &Path, to: &Path, mode: u32) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    to.parent().map(made).transpose()?;
    fs::copy(from, to).map_err(failed("copy", from))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).map_err(failed("set the mode of", to))
}

fn write(to: &Path, text: &str) -> Result<(), String> {
    fs::write(to, text).map_err(failed("write", to))
}

fn failed(what: &str, path: &Path) -> impl Fn(io::Error) -> String {
    let place = format!("cannot {what} {}", path.display());
    move |error| format!("{place}: {error}")
}

fn available(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Runs a program; what it prints, or why it failed.
fn run(command: &mut Command) -> Result<String, String> {
    let line = format!("{command:?}");
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| format!("{line}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{line}: {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{line}: {error}"))
}

fn say(file: &Path) -> Result<(), String> {
    let bytes = fs::metadata(file).map_err(failed("look at", file))?.len();
    println!("{}   {:.1} MB", file.display(), bytes as f64 / 1e6);
    Ok(())
}
