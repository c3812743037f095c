//! Plans visits of a set that is described on standard input, line by line:
//!
//! ```text
//! disk CAPACITY [UNIT [LOCATION [DAYS_AWAY]]]    location - if not said
//! class PRIORITY COPIES_MAX                      - for no limit
//! object BLOCKS DIRECTORY CLASS STATE [DISK,…]   state live, unreadable, new, history or dead
//! plan DISK                                      prints clean, excess and copy lines, then done
//! advise                                         prints one line per disk, best first, then done
//! ```
//!
//! `plan` and `advise` use and then forget all lines before them. To try the planner by hand, and
//! to compare it with others from a script.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};

use distbackup_core::model::Bytes;
use distbackup_core::planner::{Class, Disk, Input, Nexus, Object, Options, State, advise, plan_visit};

fn main() -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut set = Set::default();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        match words.first().copied() {
            Some("disk") => set.input.disks.push(Disk {
                capacity: Bytes(number(1).unwrap_or(0)),
                occupied_otherwise: Bytes(0),
                unit: number(2).unwrap_or(4096),
                file_max: Bytes(u64::MAX),
                location: number(3).map(|location| location as u16),
                days_away: number(4).unwrap_or(0) as u32,
            }),
            Some("class") => set.input.classes.push(Class {
                priority: number(1).unwrap_or(1) as u32,
                copies_max: number(2).map(|copies| copies as u16),
            }),
            Some("object") => set.object(&words),
            Some("plan") => {
                let plan = plan_visit(&set.input, &options(number(1).unwrap_or(0) as u16));
                for row in &plan.clean {
                    writeln!(out, "clean {row}")?;
                }
                for row in &plan.excess {
                    writeln!(out, "excess {row}")?;
                }
                for copy in plan.copies() {
                    write!(out, "copy {}", copy.object)?;
                    for victim in copy.victims {
                        write!(out, " {victim}")?;
                    }
                    writeln!(out)?;
                }
                writeln!(out, "done")?;
                out.flush()?;
                set = Set::default();
            }
            Some("advise") => {
                for advice in advise(&set.input, &options(0)) {
                    writeln!(out, "{} {:?}", advice.disk, advice.gain)?;
                }
                writeln!(out, "done")?;
                out.flush()?;
                set = Set::default();
            }
            _ => {}
        }
    }
    Ok(())
}

fn options(disk: u16) -> Options {
    Options {
        disk,
        copies_max: None,
        bytes_max: None,
        reserve: Bytes(0),
        away_days: 120,
        allow_history_loss: false,
    }
}

/// The set read so far; nexuses by the word that stands for them.
#[derive(Default)]
struct Set {
    input: Input,
    nexuses: HashMap<String, u32>,
}

impl Set {
    fn object(&mut self, words: &[&str]) {
        let word = |at: usize| words.get(at).copied().unwrap_or("");
        let number = |at: usize| word(at).parse::<u32>().unwrap_or(0);
        let nexus = *self.nexuses.entry(word(5).to_owned()).or_insert_with(|| {
            let disks: Vec<u16> = word(5).split(',').filter_map(|disk| disk.parse().ok()).collect();
            self.input.nexuses.push(Nexus { claimed: disks.clone(), standing: disks });
            self.input.nexuses.len() as u32 - 1
        });
        let state = match word(4) {
            "unreadable" => State::LiveUnreadable,
            "new" => State::Provisional,
            "history" => State::History,
            "dead" => State::Dead,
            _ => State::Live,
        };
        self.input.objects.push(Object {
            blocks: number(1),
            nexus,
            directory: number(2),
            class: number(3) as u16,
            state,
        });
    }
}
