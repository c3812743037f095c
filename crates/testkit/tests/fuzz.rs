//! Hands thousands of damaged inputs to everything that a disk or a user can hand in, for some seconds.
//!
//! Each input is made from a seed by a few changes; the number that all of it comes from is printed. With
//! `DSB_FUZZ_SECONDS=600` it goes on for ten minutes, with `DISTBACKUP_TEST_SEED` from another number on, with
//! `DSB_FUZZ_TARGET=NAME` for one target only, and with `DSB_FUZZ_INPUT=FILE` beside that one input that failed is tried
//! again. For more, see `fuzz/README.md`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use distbackup_testkit::fuzz::{TARGETS, Target, target};
use distbackup_testkit::rng::Rng;

/// Seconds that all targets have together, if nothing else is said.
const SECONDS: f64 = 12.0;
/// Inputs that were understood and serve as seeds, too.
const POOL_MAX: usize = 512;
/// An input that takes longer hangs.
const HANGS_AFTER: Duration = Duration::from_secs(120);
/// Memory that no input may make the program take: a thousand times what any of them is long.
const MEMORY_MAX: u64 = 2 << 30;

/// What is being tried, for whoever has to say what hung.
type InHand = Arc<Mutex<Option<(&'static str, Instant, Vec<u8>)>>>;

/// Keeps an input that failed, and says how to try it again.
fn keep(target: &str, input: &[u8], why: &str) -> String {
    let folder = std::env::var_os("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let file = folder.join(format!("fuzz-{target}-{:016x}", checksum(input)));
    fs::write(&file, input).unwrap();
    format!(
        "{target}: {why}\ninput of {} bytes, try it again with:\n\
         DSB_FUZZ_TARGET={target} DSB_FUZZ_INPUT={} cargo test -p distbackup-testkit --test fuzz",
        input.len(),
        file.display()
    )
}

fn checksum(input: &[u8]) -> u64 {
    input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Ends everything when one input takes for ever: a thread that hangs cannot be stopped.
fn watch(in_hand: InHand) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let in_hand = in_hand.lock().unwrap();
            if let Some((target, since, input)) = in_hand.as_ref()
                && since.elapsed() > HANGS_AFTER
            {
                eprintln!("{}", keep(target, input, "it hangs"));
                std::process::abort();
            }
        }
    });
}

/// The most memory that this process held.
fn memory_max() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) << 10
}

/// An input made from another one.
fn changed(rng: &mut Rng, pool: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut input = rng.pick(pool).clone();
    for _ in 0..=rng.below(6) {
        let at = rng.below(input.len() as u64 + 1) as usize;
        let end = (at + rng.below(16) as usize).min(input.len());
        match rng.below(10) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..end)),
            2 => input.splice(at..at, rng.pick(words).bytes()).for_each(drop),
            3 => input.splice(at..end, rng.pick(words).bytes()).for_each(drop),
            4 => {
                let piece = input[at..end].to_vec();
                let times = 1 + rng.below(8) as usize;
                input.splice(at..at, piece.repeat(times)).for_each(drop);
            }
            5 => {
                let other = rng.pick(pool);
                let from = rng.below(other.len() as u64 + 1) as usize;
                let to = (from + rng.below(64) as usize).min(other.len());
                input.splice(at..end, other[from..to].iter().copied()).for_each(drop);
            }
            6 => {
                let some = rng.next_u64().to_le_bytes();
                input.splice(at..end, some[..rng.below(8) as usize + 1].iter().copied()).for_each(drop);
            }
            kind => {
                if let Some(byte) = input.get_mut(at) {
                    match kind {
                        7 => *byte ^= 1 << rng.below(8),
                        8 => *byte = *rng.pick(&[0, 1, 0x7f, 0x80, 0xff, b'0', b'/']),
                        _ => *byte = rng.next_u64() as u8,
                    }
                }
            }
        }
    }
    input
}

/// One input; `Err` with what to print.
fn attempt(target: &Target, input: &[u8]) -> Result<bool, String> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        keep(target.name, input, &text.unwrap_or_default())
    })
}

/// Tries one target for a while; number of inputs, and of those that were understood.
fn drive(target: &'static Target, time: Duration, seed: u64, in_hand: &InHand) -> (u64, u64) {
    let mut rng = Rng::new(seed ^ checksum(target.name.as_bytes()));
    let mut pool = (target.seeds)();
    let seeds = pool.len();
    let (mut tried, mut understood) = (0, 0);
    let mut next = pool.clone().into_iter();
    let began = Instant::now();
    // Each seed as it is, then changed ones until the time is over.
    while let Some(input) = next.next().or_else(|| {
        let input = changed(&mut rng, &pool, target.words);
        (began.elapsed() < time).then_some(input)
    }) {
        *in_hand.lock().unwrap() = Some((target.name, Instant::now(), input.clone()));
        let good = attempt(target, &input).unwrap_or_else(|report| panic!("seed {seed}: {report}"));
        tried += 1;
        understood += u64::from(good);
        // What is understood leads further than what is not.
        if good && input.len() < 1 << 20 {
            if pool.len() < POOL_MAX {
                pool.push(input);
            } else {
                let at = seeds + rng.below((POOL_MAX - seeds) as u64) as usize;
                pool[at] = input;
            }
        }
        if target.slow || tried % 1000 == 0 {
            let memory = memory_max();
            let (_, _, input) = in_hand.lock().unwrap().take().unwrap();
            assert!(
                memory < MEMORY_MAX,
                "seed {seed}: {}",
                keep(target.name, &input, "it takes too much memory")
            );
        }
    }
    *in_hand.lock().unwrap() = None;
    (tried, understood)
}

#[test]
fn n12_c7_no_input_makes_the_program_fall_hang_or_take_all_memory() {
    if let Some(file) = std::env::var_os("DSB_FUZZ_INPUT") {
        let name = std::env::var("DSB_FUZZ_TARGET").unwrap();
        let understood =
            attempt(target(&name), &fs::read(file).unwrap()).unwrap_or_else(|why| panic!("{why}"));
        eprintln!("{name}: {}", if understood { "understood" } else { "refused" });
        return;
    }
    let seconds: f64 = std::env::var("DSB_FUZZ_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let mut seeds = Rng::from_environment(20_261_123);
    let seed = seeds.next_u64();
    let only = std::env::var("DSB_FUZZ_TARGET").ok();
    let shares = |target: &Target| if target.slow { 6.0 } else { 1.0 };
    let all: f64 = if only.is_some() { 6.0 } else { TARGETS.iter().map(shares).sum() };
    let in_hand = InHand::default();
    watch(Arc::clone(&in_hand));
    let mut total = 0;
    for target in TARGETS.iter().filter(|target| only.as_deref().is_none_or(|name| name == target.name)) {
        let time = Duration::from_secs_f64(seconds * shares(target) / all);
        let (tried, understood) = drive(target, time, seed, &in_hand);
        println!("{:16} {tried:9} inputs, {understood:9} understood", target.name);
        // A target that understands nothing, or everything, tries nothing.
        assert!(understood > 0 && tried > understood, "{}: {understood} of {tried}", target.name);
        total += tried;
    }
    println!("{total} inputs");
}
