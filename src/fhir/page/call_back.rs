//! The number to call back.
//!
//! Enters: a request with its tasks. Leaves: a number and whose it is, or that there is none. Invariant: it is a number of whoever
//! asks for it, or of their team; somebody else's only where nobody is said to ask.

use super::amounts::number;
use super::banner::MOST_NAMES;
use super::frame::Frame;
use super::references::shortened;
use crate::fhir::Node;
use crate::fhir::r4::schema;

/// How long a number may be with the name of whose it is, in characters.
const LONGEST: usize = 160;
/// Kinds of numbers that take a call or a text; a number without a kind may.
const CALLED: [&str; 3] = ["phone", "sms", "pager"];

impl<'a> Frame<'a> {
    /// Whom to call about a request with its tasks.
    pub(super) fn call_back(&self, nodes: &[Node<'a>]) -> Option<String> {
        let asking: Vec<Node<'a>> = nodes.iter().flat_map(|node| node.items_of("requester")).take(MOST_NAMES).collect();
        let Some(first) = asking.first() else {
            return self.authors.iter().find_map(|author| self.number_of(*author));
        };
        let found = asking.iter().filter_map(|to| self.reader.entries.target(*to)).find_map(|who| self.number_of(who));
        found.or_else(|| {
            let name = self.named(*first)?;
            Some(format!("No number of {} is in the message", shortened(&name.in_words(), LONGEST)))
        })
    }

    /// The number of somebody in their role, else of themselves, else of their team.
    fn number_of(&self, who: Node<'a>) -> Option<String> {
        let beside = ["practitioner", "organization"].iter().flat_map(|name| self.follow(who, name));
        [who].into_iter().chain(beside).find_map(|of| {
            let number = shortened(&self.number(of)?, LONGEST);
            let of = self.follow(of, "practitioner").into_iter().next().unwrap_or(of);
            Some(self.reader.name(of).map_or(number.clone(), |name| format!("{number} · {name}")))
        })
    }

    /// The number that somebody wants to be called on: the first of the best rank that holds.
    fn number(&self, of: Node<'a>) -> Option<String> {
        let rank = |point: &Node<'a>| number(*point, "rank").and_then(|rank| rank.parse().ok()).unwrap_or(u32::MAX);
        let points = of.items_of("telecom").filter(|_| !is_inactive(of));
        let mut points: Vec<Node<'a>> = points.filter(|point| self.takes_calls(*point)).collect();
        points.sort_by_key(rank);
        let contact_point = schema().type_named("ContactPoint")?;
        points.into_iter().find_map(|point| self.reader.value(point, contact_point))
    }

    fn takes_calls(&self, point: Node<'a>) -> bool {
        let is_called = point.text_of("system").is_none_or(|system| CALLED.contains(&&*system));
        is_called && point.member("value").is_some() && !self.reader.is_former(point)
    }
}

/// Whether somebody is said to be in a role, or close to the person, no longer.
pub(super) fn is_inactive(of: Node<'_>) -> bool {
    of.member("active").and_then(Node::scalar).as_deref() == Some("false")
}
