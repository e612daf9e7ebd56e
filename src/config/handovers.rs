//! `[interfaces.NAME.handover]`: the clocks of an interface's handovers, checked.

use std::collections::BTreeMap;
use std::time::Duration;

use super::faults::Fault;
use super::site::{PRIORITIES, SITE};
use super::written;
use crate::delivery::deadline::LONGEST;
use crate::handover::{Near, ROUTINE, Terms};
use crate::identity::InterfaceName;

/// After which share of its time a handover is nearly due, where nothing else is said.
const SHARE: f64 = 0.75;

/// Says what is wrong with a key, and what to write instead.
pub(super) type Say<'a> = dyn FnMut(&str, &str, &str) + 'a;

/// The clocks of one interface's handovers.
///
/// # Errors
/// Everything that is wrong with them.
pub(super) fn check(name: &InterfaceName, written: &written::Handover) -> Result<Terms, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut fault = |key: &str, problem: &str, hint: &str| {
        faults.push(Fault::new(SITE, format!("interfaces.{name}.handover.{key} {problem}"), hint));
    };
    for (key, clocks) in
        [("accept_minutes", &written.accept_minutes), ("first_contact_minutes", &written.first_contact_minutes)]
    {
        check_clocks(key, clocks, &mut fault);
    }
    let near = (written.near_due_share, written.near_due_minutes);
    let near = check_near(near, &written.accept_minutes, &mut fault);
    let terms = Terms { accept: times(&written.accept_minutes), contact: times(&written.first_contact_minutes), near };
    if faults.is_empty() { Ok(terms) } else { Err(faults) }
}

/// Looks at minutes by priority: there is one for each that has none of its own.
pub(super) fn check_clocks(key: &str, clocks: &BTreeMap<String, f64>, fault: &mut Say<'_>) {
    if !clocks.contains_key(ROUTINE) {
        fault(key, "has no routine", "write one: it stands for every priority that is not listed");
    }
    for (priority, minutes) in clocks {
        let key = format!("{key}.{priority}");
        if !PRIORITIES.contains(&priority.as_str()) {
            fault(&key, "is no priority of a request", "write stat, asap, urgent or routine");
        }
        if !(0.01..=LONGEST.as_secs_f64() / 60.0).contains(minutes) {
            fault(&key, "is out of range", "write minutes from 0.01 to 43200");
        }
    }
}

/// When one of these times is nearly over: after a share of it, or so many minutes before its end.
pub(super) fn check_near(
    (share, minutes): (Option<f64>, Option<f64>),
    clocks: &BTreeMap<String, f64>,
    fault: &mut Say<'_>,
) -> Near {
    match (share, minutes) {
        (Some(_), Some(_)) => {
            fault("near_due_share", "stands beside near_due_minutes", "write one of them");
            Near::Share(SHARE)
        }
        (None, Some(minutes)) => {
            let shortest = clocks.values().copied().fold(f64::INFINITY, f64::min);
            if !(0.0..=shortest).contains(&minutes) {
                let hint = "write fewer minutes than the shortest";
                fault("near_due_minutes", "is longer than one of the times", hint);
            }
            Near::Before(time(minutes))
        }
        (share, None) => {
            let share = share.unwrap_or(SHARE);
            if !(0.01..=0.99).contains(&share) {
                fault("near_due_share", "is out of range", "write a share from 0.01 to 0.99");
            }
            Near::Share(share)
        }
    }
}

/// Times by priority.
pub(super) fn times(clocks: &BTreeMap<String, f64>) -> BTreeMap<String, Duration> {
    clocks.iter().map(|(priority, minutes)| (priority.clone(), time(*minutes))).collect()
}

/// Whole milliseconds, as the store keeps them. What is out of range is told as a fault.
fn time(minutes: f64) -> Duration {
    let time = Duration::try_from_secs_f64(minutes * 60.0).unwrap_or(LONGEST);
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<Terms, Vec<String>> {
        let written = toml::from_str(text).expect("it is a section");
        let terms = check(&"crisis-escalation".parse().expect("a name"), &written);
        terms.map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_clocks_are_read_and_what_is_wrong_is_named() {
        let good = "accept_minutes = { stat = 15, routine = 60 }\nfirst_contact_minutes = { routine = 240 }";
        let terms = checked(good).expect("it is right");
        assert_eq!(terms.accept["stat"], Duration::from_secs(900));
        assert_eq!((terms.contact[ROUTINE], terms.near), (Duration::from_secs(14_400), Near::Share(0.75)));
        let minutes = checked(&format!("{good}\nnear_due_minutes = 5")).expect("it is right");
        assert_eq!(minutes.near, Near::Before(Duration::from_secs(300)));
        for (more, says) in [
            ("near_due_minutes = 16", "near_due_minutes is longer than one of the times"),
            ("near_due_share = 1.0", "near_due_share is out of range"),
            ("near_due_share = 0.5\nnear_due_minutes = 5", "stands beside near_due_minutes"),
        ] {
            let faults = checked(&format!("{good}\n{more}")).expect_err(more);
            assert!(faults.len() == 1 && faults[0].contains(says), "{faults:?}");
        }
        let bad = "accept_minutes = { stat = 0, soon = 5 }\nfirst_contact_minutes = {}";
        let faults = checked(bad).expect_err("nothing of it is right").join("\n");
        for says in
            ["accept_minutes has no routine", "stat is out of range", "soon is no priority", "contact_minutes has no"]
        {
            assert!(faults.contains(says), "{says}: {faults}");
        }
    }
}
