//! `--watch`: run again when a file was saved, until Ctrl-C.
//!
//! Files are looked at five times a second: that sees editors that replace a file, network folders and containers
//! alike, and needs nothing of the system. What changed is told by time, size and, for a folder, names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::output::Output;
use crate::server::clock;

const PAUSE: Duration = Duration::from_millis(200);

/// How a file looks from outside; `None` when it is not there.
type Looks = BTreeMap<PathBuf, Option<(Option<SystemTime>, u64)>>;

fn looks(paths: &[PathBuf]) -> Looks {
    let mut looks = Looks::new();
    for path in paths {
        note(path, &mut looks);
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            note(&entry.path(), &mut looks);
        }
    }
    looks
}

fn note(path: &Path, looks: &mut Looks) {
    let about = fs::metadata(path).ok();
    looks.insert(path.to_owned(), about.map(|about| (about.modified().ok(), about.len())));
}

/// The files that look different, as a line.
fn changed(before: &Looks, after: &Looks) -> String {
    let all = before.keys().chain(after.keys().filter(|path| !before.contains_key(*path)));
    let mut names: Vec<String> = all
        .filter(|path| before.get(*path) != after.get(*path) && !path.is_dir())
        .map(|path| path.display().to_string())
        .collect();
    names.dedup();
    if names.is_empty() { "a folder changed".to_owned() } else { format!("{} changed", names.join(", ")) }
}

/// Runs `turn` now and whenever one of `paths` (a file, or what lies in a folder) changes. Ends on Ctrl-C.
pub(super) fn watch(paths: &[PathBuf], output: &Output, mut turn: impl FnMut()) -> anyhow::Result<()> {
    super::runtime()?.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut why = "watching; Ctrl-C ends".to_owned();
        loop {
            let before = looks(paths);
            say(output, &why);
            turn();
            let mut after = looks(paths);
            while after == before {
                tokio::select! {
                    _ = interrupt.recv() => return Ok(()),
                    _ = terminate.recv() => return Ok(()),
                    () = sleep(PAUSE) => after = looks(paths),
                }
                if output.is_closed() {
                    return Ok(());
                }
            }
            after = settled(paths, after).await;
            why = changed(&before, &after);
        }
    })
}

/// Waits until nothing changes any more: an editor may write a file in several steps.
async fn settled(paths: &[PathBuf], mut seen: Looks) -> Looks {
    loop {
        sleep(PAUSE / 2).await;
        let now = looks(paths);
        if now == seen {
            return now;
        }
        seen = now;
    }
}

fn say(output: &Output, why: &str) {
    let now = clock::now();
    let time = format!("{:02}:{:02}:{:02}Z", now.hour(), now.minute(), now.second());
    if output.is_json() {
        output.remark(&serde_json::json!({ "time": time, "event": why }).to_string());
    } else {
        output.remark(&format!("--- {time} {why}"));
    }
}

/// The lines that differ, `-` before and `+` after, with the line number of the new text; empty if none do.
pub(super) fn difference(before: &str, after: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let head = old.iter().zip(&new).take_while(|(one, other)| one == other).count();
    let most = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(one, other)| one == other).count();
    let (old, new) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut out = String::new();
    let mut at = head;
    for step in steps(old, new) {
        match step {
            Step::Same => at += 1,
            Step::Removed(line) => out.push_str(&format!("{:>5} - {line}\n", at + 1)),
            Step::Added(line) => {
                at += 1;
                out.push_str(&format!("{at:>5} + {line}\n"));
            }
        }
    }
    out
}

#[derive(Debug, PartialEq, Eq)]
enum Step<'t> {
    Same,
    Removed(&'t str),
    Added(&'t str),
}

/// The longest common subsequence as steps; texts too long for its table are replaced whole.
fn steps<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<Step<'t>> {
    let width = new.len() + 1;
    if old.len().saturating_mul(width) > 4_000_000 {
        let removed = old.iter().map(|line| Step::Removed(line));
        return removed.chain(new.iter().map(|line| Step::Added(line))).collect();
    }
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for row in (0..old.len()).rev() {
        for column in (0..new.len()).rev() {
            common[row * width + column] = match old[row] == new[column] {
                true => common[(row + 1) * width + column + 1] + 1,
                false => common[(row + 1) * width + column].max(common[row * width + column + 1]),
            };
        }
    }
    let (mut row, mut column, mut steps) = (0, 0, Vec::new());
    while row < old.len() || column < new.len() {
        if row < old.len() && column < new.len() && old[row] == new[column] {
            steps.push(Step::Same);
            (row, column) = (row + 1, column + 1);
        } else if column == new.len()
            || row < old.len() && common[(row + 1) * width + column] >= common[row * width + column + 1]
        {
            steps.push(Step::Removed(old[row]));
            row += 1;
        } else {
            steps.push(Step::Added(new[column]));
            column += 1;
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_differ_are_shown() {
        assert_eq!(difference("a\nb\nc\nd\n", "a\nx\nc\ny\nd\n"), "    2 - b\n    2 + x\n    4 + y\n");
        assert_eq!(difference("a\nb\n", "a\nb\n"), "");
        assert_eq!(difference("", "a\n"), "    1 + a\n");
        assert_eq!(difference("a\na\n", "a\n"), "    2 - a\n");
    }
}
