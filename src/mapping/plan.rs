//! The compiled form of a map: what the executor walks, with every name resolved.
//!
//! A group is compiled once for each combination of types it is called with, so that elements are known at load even
//! where a parameter declares no type. Variables are slots of the group's frame.

use crate::fhir::Name;
use crate::fhirpath::Expression;

use super::concepts::Concepts;
use super::date_op::DateOp;
use super::escape::Escaping;
use super::quantity::Part;
use super::stamp::{Stamp, stamps};
use super::types::{Spelling, Type, Types};

/// A variable's place in the frame of its group.
pub(super) type Slot = u32;

/// A whole map.
#[derive(Debug)]
pub(super) struct Plan {
    /// The groups; the first is where the transformation starts.
    pub(super) groups: Vec<GroupPlan>,
    pub(super) rules: Vec<Rule>,
    pub(super) concepts: Vec<Concepts>,
    pub(super) types: Types,
    /// What the first group reads.
    pub(super) source: Type,
    /// What the first group makes.
    pub(super) root: Type,
    /// How many `uuid()` stand in the plan: each has a counter.
    pub(super) uuids: u32,
    /// `<<types>>` groups for copies whose types only the record tells: source type, target type, group.
    pub(super) by_types: Vec<(Type, Type, usize)>,
}

/// Where a rule stands: what errors and lineage name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The canonical URL of its map.
    pub map: String,
    /// Its group.
    pub group: String,
    /// Its name; for a rule without one, its source.
    pub name: String,
    /// The mapping file.
    pub file: String,
    /// The line in it, from 1.
    pub line: usize,
}

/// A group, for one combination of argument types.
#[derive(Debug, Default)]
pub(super) struct GroupPlan {
    /// How many slots its frame has; the parameters come first.
    pub(super) slots: u32,
    /// The types of its parameters.
    pub(super) types: Vec<Type>,
    /// The group it extends, and for each of that group's parameters the own slot that is handed on.
    pub(super) extends: Option<Call>,
    pub(super) block: Block,
}

/// Rules that run one after the other.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) rules: Vec<RulePlan>,
    /// Slots of `share`, empty when the block starts.
    pub(super) shared: Vec<Slot>,
}

#[derive(Debug)]
pub(super) struct RulePlan {
    /// Index into [`Plan::rules`].
    pub(super) rule: u32,
    pub(super) sources: Vec<SourcePlan>,
    pub(super) targets: Vec<TargetPlan>,
    /// Those of the targets that are done at once, in their order.
    pub(super) stamps: Vec<Stamp>,
    pub(super) calls: Vec<Call>,
    pub(super) block: Block,
}

/// `then Group(a, b)`.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) group: usize,
    pub(super) arguments: Vec<Operand>,
}

#[derive(Debug)]
pub(super) struct SourcePlan {
    pub(super) context: Slot,
    /// How the element may be spelled in the source; none for the context itself.
    pub(super) element: Option<Vec<Spelling>>,
    /// Where a source names more than one element, those behind the first: `c` and `d` of `a.b.c.d`.
    pub(super) steps: Vec<Vec<Spelling>>,
    /// Keep only items of this type.
    pub(super) only: Option<Type>,
    /// Whether the type allows several items.
    pub(super) repeats: bool,
    pub(super) cardinality: Option<(usize, Option<usize>)>,
    pub(super) default: Option<Box<Operand>>,
    pub(super) list_mode: Option<SourceListMode>,
    pub(super) condition: Option<Box<ExpressionPlan>>,
    pub(super) check: Option<Box<ExpressionPlan>>,
    pub(super) log: Option<Box<ExpressionPlan>>,
    /// Where the item is kept while the rule runs.
    pub(super) slot: Slot,
    /// Whether it is its context, as it is and always.
    pub(super) is_context: bool,
    /// Whether anything but the first element decides on its items.
    pub(super) is_filtered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SourceListMode {
    First,
    NotFirst,
    Last,
    NotLast,
    OnlyOne,
}

/// A FHIRPath expression with the variables that it may name.
#[derive(Debug)]
pub(super) struct ExpressionPlan {
    pub(super) expression: Expression,
    pub(super) variables: Vec<(Box<str>, Slot)>,
}

// A run walks every target of its map: what is rare stands in boxes, so that more of the plan stays in the cache.
const _: () = assert!(size_of::<TargetPlan>() <= 136 && size_of::<SourcePlan>() <= 160);

#[derive(Debug)]
pub(super) struct TargetPlan {
    /// The variable whose element is set; none for a value that only gets a name.
    pub(super) context: Option<Slot>,
    /// The element; none for the context itself.
    pub(super) element: Option<ElementPlan>,
    pub(super) transform: Transform,
    pub(super) list_mode: TargetListMode,
    pub(super) slot: Option<Slot>,
}

/// An element of a target.
#[derive(Clone, Debug)]
pub(super) struct ElementPlan {
    /// As the map names it.
    pub(super) name: Box<str>,
    pub(super) order: u16,
    pub(super) is_array: bool,
    /// One, or for a choice element one for each type.
    pub(super) spellings: Vec<Spelling>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetListMode {
    /// At the end of the list.
    Last,
    /// At the start of the list.
    First,
    /// The element that this block has already made under the same id.
    Share(Slot),
    /// The first item of the list, if there is one (R4 `collate`, R5 `single`).
    Reuse,
}

#[derive(Debug)]
pub(super) enum Transform {
    /// No transform: the element is made, ready for its own elements.
    Element,
    /// An element or a resource of a type.
    Create(Type),
    Copy(Operand),
    /// `source.x -> target.y`: a group for the two types, or else a copy.
    Implicit(Operand, Option<usize>),
    Truncate(Operand, usize),
    /// From one escaping to another.
    Escape(Operand, Escaping, Escaping),
    DateOp(Operand, Box<DateOp>),
    Append(Vec<Operand>),
    Cast(Operand, Type),
    Translate(Operand, usize, Box<TranslateTo>),
    Reference(Operand),
    Pointer(Operand),
    /// The number of its counter.
    Uuid(u32),
    /// `cc`, `c`, `qty`, `id`, `cp`.
    Build(Box<Template>),
}

#[derive(Debug)]
pub(super) enum TranslateTo {
    Code,
    Display,
    System,
    Coding(CodingPlan),
    CodeableConcept(ElementPlan, CodingPlan),
}

/// The elements of a Coding.
#[derive(Debug)]
pub(super) struct CodingPlan {
    pub(super) system: ElementPlan,
    pub(super) code: ElementPlan,
    pub(super) display: ElementPlan,
}

/// An element that a transform builds from several values.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) ty: Type,
    pub(super) members: Vec<(ElementPlan, Member)>,
}

#[derive(Debug)]
pub(super) enum Member {
    Value(Operand),
    /// The ContactPoint.system that the look of a value tells.
    ContactSystem(Operand),
    /// A part of the quantity that a text tells.
    Quantity(Operand, Part),
    Nested(Template),
}

/// Where a transform takes a value from.
#[derive(Debug)]
pub(super) enum Operand {
    Slot(Slot),
    /// An element of a variable, if there is exactly one.
    Path(Slot, Vec<Vec<Spelling>>),
    Constant(Box<str>, Type),
    Expression(Box<ExpressionPlan>, Option<Slot>),
}

impl RulePlan {
    /// A rule, with the stamps for its targets.
    pub(super) fn new(
        rule: u32,
        sources: Vec<SourcePlan>,
        targets: Vec<TargetPlan>,
        calls: Vec<Call>,
        block: Block,
    ) -> RulePlan {
        RulePlan { rule, sources, stamps: stamps(&targets, &calls, &block), targets, calls, block }
    }
}

impl SourcePlan {
    /// The same, with what the executor asks first worked out.
    pub(super) fn ready(mut self) -> SourcePlan {
        let chooses = self.only.is_some() || self.cardinality.is_some() || self.list_mode.is_some();
        let looks = self.condition.is_some() || self.check.is_some() || self.log.is_some();
        self.is_filtered = chooses || looks || self.default.is_some() || !self.steps.is_empty();
        self.is_context = self.element.is_none() && !self.is_filtered;
        self
    }

    /// Whether the rule may run for several items, as far as the map tells.
    pub(super) fn may_give_several(&self) -> bool {
        let one_at_most = matches!(self.cardinality, Some((_, Some(0 | 1))))
            || matches!(self.list_mode, Some(SourceListMode::First | SourceListMode::Last | SourceListMode::OnlyOne));
        self.element.is_some() && self.repeats && !one_at_most && self.condition.is_none()
    }

    /// Whether it gives its context, once and always.
    pub(super) fn always_gives_its_context(&self) -> bool {
        self.element.is_none() && self.only.is_none() && self.condition.is_none() && self.check.is_none()
    }
}

impl TargetPlan {
    /// Whether it sets a value, and does not go on with what is there.
    pub(super) fn sets_a_value(&self) -> bool {
        let goes_on = matches!(self.list_mode, TargetListMode::Reuse | TargetListMode::Share(_));
        !matches!(self.transform, Transform::Element) && !goes_on
    }
}

impl Template {
    /// What its values are taken from.
    pub(super) fn operands(&self) -> Vec<&Operand> {
        let members = self.members.iter().flat_map(|(_, member)| match member {
            Member::Value(operand) | Member::ContactSystem(operand) | Member::Quantity(operand, _) => vec![operand],
            Member::Nested(template) => template.operands(),
        });
        members.collect()
    }
}

impl ElementPlan {
    /// An element of R4 with a single type, which must exist.
    pub(super) fn fhir(types: &Types, ty: &str, name: &str) -> Option<ElementPlan> {
        let field = types.field(Type::fhir(ty), name)?;
        Some(ElementPlan {
            name: name.into(),
            order: field.order,
            is_array: field.is_array,
            spellings: field.spellings,
        })
    }

    /// The spelling for a value of type `ty`.
    pub(super) fn spelling_for(&self, ty: Type) -> Option<&Spelling> {
        self.spellings.iter().find(|spelling| spelling.ty == ty)
    }

    /// The JSON names, for messages.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.spellings.iter().map(|spelling| &spelling.name)
    }
}
