//! Nobody reviews their own decision: whether a reviewer is tied to the decision that they would review.
//!
//! Enters: the reviewer as the site knows them, the decision as it was recorded, the agreement it was shared under, and
//! who handed in the record. Leaves: the tie, if there is one. A decision names who decided in words, so a name counts as
//! theirs if it has the same words, in any order and case, without titles and what stands in brackets. That two people of
//! one name are taken for one costs a second reviewer; the other way round would cost the review.

use std::fmt;

use crate::audit::submitted_by;
use crate::disclosure::{Agreement, SharingDecision};
use crate::identity::principal::Principal;
use crate::identity::{MessageId, PrincipalId};
use crate::storage::{Content, Error, Store};

/// What ties a reviewer to a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// The decision names them as who decided.
    Decided,
    /// They handed in the record with the decision.
    Submitted,
}

impl fmt::Display for Tie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tie::Decided => "the decision names them as who decided",
            Tie::Submitted => "they handed in the record with the decision",
        })
    }
}

/// What ties `reviewer` to the decision behind `message`, if anything does.
///
/// # Errors
/// When the store cannot read, or what it holds of the decision cannot be read.
pub async fn tie(
    store: &dyn Store,
    message: MessageId,
    reviewer: &Principal,
    agreement: Option<&Agreement>,
) -> Result<Option<Tie>, Error> {
    let unreadable = |_| Error::Damaged(format!("the decision of message {message} cannot be read"));
    let decision = store.content(message, Content::Decision).await?;
    let decision: Option<SharingDecision> =
        decision.map(|bytes| serde_json::from_slice(&bytes)).transpose().map_err(unreadable)?;
    let submitter = store.events_of(message).await?.iter().find_map(|stored| submitted_by(&stored.event));
    Ok(tie_between(reviewer, decision.as_ref(), agreement, submitter.as_ref()))
}

fn tie_between(
    reviewer: &Principal,
    decision: Option<&SharingDecision>,
    agreement: Option<&Agreement>,
    submitted_by: Option<&PrincipalId>,
) -> Option<Tie> {
    let own_id = reviewer.id.as_str();
    let people = agreement.into_iter().flat_map(|agreement| agreement.roles().iter());
    let by_agreement = people.filter(|(_, person)| person.principal.as_deref() == Some(own_id));
    let mut names = by_agreement.map(|(_, person)| &*person.name).chain([&*reviewer.name, own_id]);
    let decided = decision.is_some_and(|decision| names.any(|name| is_one_name(name, &decision.decided_by)));
    let submitted = submitted_by == Some(&reviewer.id);
    decided.then_some(Tie::Decided).or(submitted.then_some(Tie::Submitted))
}

/// Words before a name that are no part of it.
const TITLES: [&str; 9] = ["dr", "mr", "mrs", "ms", "miss", "mx", "prof", "professor", "sir"];

fn is_one_name(one: &str, other: &str) -> bool {
    let words = words(one);
    !words.is_empty() && words == self::words(other)
}

/// The words of a name in alphabetical order.
fn words(name: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let outside = name.to_lowercase().replace(['\'', '’'], "");
    let outside = outside.chars().filter(|letter| {
        let is_outside = depth == 0 && *letter != '(';
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        is_outside
    });
    let outside: String = outside.collect();
    let mut words: Vec<String> = outside
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty() && !TITLES.contains(word))
        .map(str::to_owned)
        .collect();
    words.sort_unstable();
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_person_s_however_it_is_written() {
        for (one, other) in [
            ("Sue Safeguarding (synthetic)", "sue  SAFEGUARDING"),
            ("Sue Safeguarding", "Safeguarding, Sue"),
            ("Sue Safeguarding", "Dr. Sue Safeguarding (duty)"),
            ("Anne-Marie O'Placeholder", "Anne Marie OPlaceholder"),
            ("demo-safeguarding", "demo-safeguarding"),
        ] {
            assert!(is_one_name(one, other), "{one} / {other}");
        }
        for (one, other) in [
            ("Sue Safeguarding", "Sam Safeguarding"),
            ("Sue Safeguarding", "Sue"),
            ("Sue Safeguarding", "Sue Sue Safeguarding"),
            ("(synthetic)", "(another)"),
            ("Dr", "Mr"),
        ] {
            assert!(!is_one_name(one, other), "{one} / {other}");
        }
    }
}
