//! Invariants that the elements of an object decide by being there or not: looked up in a table instead of evaluated.

use smallvec::SmallVec;

use super::plan::Invariant;
use crate::fhir::r4::{TypeDef, TypeKind};

/// Elements of one type, by their places in [`TypeDef::elements`]. No type of R4 has more than 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ElementSet(u64);

impl ElementSet {
    #[inline]
    pub(super) fn insert(&mut self, place: usize) {
        self.0 |= 1 << place;
    }

    #[inline]
    pub(super) fn contains(self, place: usize) -> bool {
        self.0 >> place & 1 == 1
    }

    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are not in `other`.
    #[inline]
    pub(super) fn without(self, other: ElementSet) -> ElementSet {
        ElementSet(self.0 & !other.0)
    }

    /// The places, in order.
    pub(super) fn places(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let place = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            Some(place)
        })
    }
}

impl FromIterator<usize> for ElementSet {
    fn from_iter<I: IntoIterator<Item = usize>>(places: I) -> ElementSet {
        let mut set = ElementSet::default();
        places.into_iter().for_each(|place| set.insert(place));
        set
    }
}

/// The elements that FHIRPath finds in an object of a type.
#[derive(Clone, Copy, Debug)]
pub(super) struct There {
    pub(super) def: &'static TypeDef,
    pub(super) elements: ElementSet,
}

/// Most elements that a gate looks at: its table has a verdict of two bits for each choice of them.
const MOST: usize = 6;

const HOLDS: u128 = 1;
const BROKEN: u128 = 2;

/// What an invariant yields on objects of one type, for each choice of the elements it asks for.
#[derive(Debug)]
pub(super) struct Gate {
    def: &'static TypeDef,
    places: SmallVec<[u8; MOST]>,
    verdicts: u128,
}

impl Gate {
    /// The gate of an invariant on objects of the type `def`; `None` if no choice of elements decides it.
    pub(super) fn of(invariant: &Invariant, def: &'static TypeDef) -> Option<Gate> {
        if def.kind == TypeKind::Primitive || def.is_abstract {
            return None;
        }
        let place = |name: &str| def.elements.iter().position(|element| element.stem == name);
        let names: Vec<&str> = invariant.expression.children_of_focus();
        let asked: Vec<&str> = names.into_iter().filter(|name| place(name).is_some()).collect();
        let (asked, rest) = asked.split_at(asked.len().min(MOST));
        let mut verdicts = 0;
        for choice in 0..1 << asked.len() {
            let has = |name: &str| match asked.iter().position(|own| *own == name) {
                Some(at) => Some(choice >> at & 1 == 1),
                None if rest.contains(&name) => None,
                None => Some(false), // The type has no such element.
            };
            let verdict = match invariant.expression.holds_with(def, &has) {
                Some(true) => HOLDS,
                Some(false) => BROKEN,
                None => 0,
            };
            verdicts |= verdict << (choice * 2);
        }
        let places = asked.iter().filter_map(|name| u8::try_from(place(name)?).ok()).collect();
        (verdicts != 0).then_some(Gate { def, places, verdicts })
    }

    /// Whether the invariant holds, if that is decided.
    #[inline]
    pub(super) fn verdict(&self, there: There) -> Option<bool> {
        if !std::ptr::eq(self.def, there.def) {
            return None;
        }
        let bit = |(at, place): (usize, &u8)| usize::from(there.elements.contains(usize::from(*place))) << at;
        let choice: usize = self.places.iter().enumerate().map(bit).sum();
        match self.verdicts >> (choice * 2) & 3 {
            HOLDS => Some(true),
            BROKEN => Some(false),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::outcome::Severity;
    use crate::fhir::r4::{constraint_rows, schema};
    use crate::fhirpath::Expression;

    fn invariant(expression: &str) -> Invariant {
        let expression = Expression::parse(expression).expect("it parses");
        Invariant { rule: "".into(), severity: Severity::Error, text: "".into(), native: None, expression }
    }

    #[test]
    fn every_type_fits_a_set() {
        assert!(schema().all().all(|def| def.elements.len() <= 64));
        let set: ElementSet = [0, 3, 63].into_iter().collect();
        assert_eq!(set.places().collect::<Vec<_>>(), [0, 3, 63]);
        assert!(set.contains(63) && !set.contains(62) && !set.is_empty());
        assert_eq!(set.without([3, 0].into_iter().collect()).places().collect::<Vec<_>>(), [63]);
    }

    #[test]
    fn a_gate_tells_what_the_elements_decide() {
        let def = schema().type_named("ContactPoint").expect("it is a type");
        let place =
            |name: &str| def.elements.iter().position(|element| element.stem == name).expect("it is an element");
        let gate = Gate::of(&invariant("value.empty() or system.exists()"), def).expect("elements decide it");
        let verdict =
            |names: &[&str]| gate.verdict(There { def, elements: names.iter().map(|name| place(name)).collect() });
        assert_eq!(verdict(&[]), Some(true));
        assert_eq!(verdict(&["use"]), Some(true));
        assert_eq!(verdict(&["value"]), Some(false));
        assert_eq!(verdict(&["value", "system"]), Some(true));
        let other = schema().type_named("Period").expect("it is a type");
        assert_eq!(gate.verdict(There { def: other, elements: ElementSet::default() }), None);
        assert!(Gate::of(&invariant("$this.value = 'a'"), schema().type_named("string").expect("a type")).is_none());
        assert!(Gate::of(&invariant("%resource.id.exists()"), def).is_none());
    }

    /// Most invariants of R4 are decided for an object that has none of what they ask for.
    #[test]
    fn most_invariants_of_r4_have_a_gate() {
        let gates = constraint_rows().filter(|row| {
            let def = schema().type_named(row.source);
            def.and_then(|def| Gate::of(&invariant(row.expression), def)).is_some()
        });
        assert!(gates.count() > 120);
    }
}
