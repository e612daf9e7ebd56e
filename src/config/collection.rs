//! `[interfaces.NAME.collection]`: by when referrals that come in have to be collected, and who is told when they are not; checked.

use std::collections::BTreeMap;

use super::faults::Fault;
use super::handovers::{check_clocks, check_near, times};
use super::site::SITE;
use super::written;
use crate::disclosure::Agreements;
use crate::handover::collection::{MINUTES, Terms};
use crate::identity::InterfaceName;

/// The clock of referrals that come in over one interface. `agreements` are those of the site, as far as they could be read.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn check(
    name: &InterfaceName,
    written: &written::Collection,
    agreements: Option<&Agreements>,
) -> Result<Terms, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut fault = |key: &str, problem: &str, hint: &str| {
        faults.push(Fault::new(SITE, format!("interfaces.{name}.collection.{key} {problem}"), hint));
    };
    let default = || -> BTreeMap<String, f64> {
        MINUTES.into_iter().map(|(priority, minutes)| (priority.to_owned(), minutes)).collect()
    };
    let minutes = written.collect_minutes.clone().unwrap_or_else(default);
    check_clocks("collect_minutes", &minutes, &mut fault);
    let near = check_near((written.near_due_share, written.near_due_minutes), &minutes, &mut fault);
    let escalation = written.escalation.clone();
    let is_there = |id| agreements.is_none_or(|known| known.iter().any(|agreement| agreement.id() == id));
    if let Some(id) = escalation.as_ref().filter(|id| !is_there(*id)) {
        let problem = format!("names the agreement {id}, which is not there");
        fault("escalation", &problem, "write the id of one in agreements/, or leave it out");
    }
    let terms = Terms { within: times(&minutes), near, escalation };
    if faults.is_empty() { Ok(terms) } else { Err(faults) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::Near;
    use std::time::Duration;

    fn checked(text: &str) -> Result<Terms, Vec<String>> {
        let written = toml::from_str(text).expect("it is a section");
        let none = Agreements::load(&[]).expect("there are none");
        let terms = check(&"referral-in".parse().expect("a name"), &written, Some(&none));
        terms.map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_clock_is_read_and_what_is_wrong_is_named() {
        assert_eq!(checked(""), Ok(Terms::default()), "an empty section is none");
        let terms = checked("collect_minutes = { stat = 5, routine = 60 }\nnear_due_minutes = 1").expect("it is right");
        assert_eq!((terms.within["stat"], terms.within.len()), (Duration::from_secs(300), 2));
        assert_eq!(terms.near, Near::Before(Duration::from_secs(60)));
        for (text, says) in [
            ("collect_minutes = { stat = 5 }", "collection.collect_minutes has no routine"),
            ("collect_minutes = { routine = 0 }", "collection.collect_minutes.routine is out of range"),
            ("near_due_minutes = 16", "collection.near_due_minutes is longer than one of the times"),
            ("near_due_share = 1.0", "collection.near_due_share is out of range"),
            ("escalation = 'nobody'", "collection.escalation names the agreement nobody, which is not there"),
        ] {
            let faults = checked(text).expect_err(text);
            assert!(faults.len() == 1 && faults[0].contains(says), "{faults:?}");
        }
    }
}
