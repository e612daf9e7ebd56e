//! The executor: walks a plan over one record and fills the target.
//!
//! A function of plan, record and seed. Every rule run and every item it runs for is a step; steps, elements, levels
//! and calls are bounded. The frame of a group holds its variables; a rule sets its own on each turn, so an iteration
//! sees what the enclosing rules bound and nothing of the turn before.

use std::cell::Cell;
use std::fmt::Write as _;

use smallvec::SmallVec;
use uuid::Uuid;

use crate::fhir::{Document, ElementPath, Name, Node, NodeId};
use crate::fhirpath::{self, Environment, Item, Variable};

use super::error::{Error, Limit, Place};
use super::plan::{
    Block, Call, ElementPlan, ExpressionPlan, GroupPlan, Operand, Plan, RulePlan, Slot, SourceListMode, SourcePlan,
    TargetListMode, TargetPlan, Transform,
};
use super::recorder::Recorder;
use super::snapshots::Shelf;
use super::target::{Origin, Refused, Spec, Target, TargetId, Text};
use super::types::{Spelling, Type, made};
use super::{Limits, values};

/// What a variable holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'r> {
    /// Nothing: the transform gave no value.
    Unset,
    /// An element of the record. A primitive may have a value, an `_name` sibling, or both.
    Element { value: Option<Node<'r>>, companion: Option<Node<'r>>, ty: Type },
    /// An element of the output.
    Target(TargetId),
    /// A computed primitive, and the node that it follows from.
    Text { text: Text<'r>, ty: Type, source: Option<NodeId> },
}

/// A line that `log` wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The rule: an index for [`CompiledMap::rule`](super::CompiledMap::rule).
    pub rule: u32,
    /// The result of its expression. It may hold personal data: show it, never store it.
    pub text: String,
}

/// Blocks of rules inside each other, over all groups that call each other: each takes its part of the stack.
const LEVELS: u32 = 250;
/// Steps that one expression may take: fewer than FHIRPath allows by itself, for each step may keep an item.
const EXPRESSION: u64 = 4_000_000;

/// One transformation under way.
pub(super) struct Run<'r> {
    pub(super) plan: &'r Plan,
    pub(super) target: Target<'r>,
    record: Item<'r>,
    document: &'r Document,
    /// Where the output is kept as expressions see it.
    shelf: Shelf<'r>,
    /// Whether what is being copied comes from the output, and not from the record.
    copies_output: bool,
    frame: Vec<Value<'r>>,
    base: usize,
    /// Items of the sources that are being walked, innermost last.
    items: Vec<Value<'r>>,
    steps: u64,
    /// Steps of FHIRPath that are left for all expressions together.
    expressions: u64,
    bytes: usize,
    /// Bytes of text that is kept beside the output: log lines, and the output as expressions saw it.
    aside: usize,
    calls: u32,
    /// Blocks of rules that may still be opened inside each other.
    levels: u32,
    counters: Vec<u32>,
    seed: Uuid,
    /// The node that the running rule works on.
    at: Option<Node<'r>>,
    rule: u32,
    pub(super) log: Vec<LogLine>,
    /// Takes notes for coverage; the gateway has none.
    recorder: Option<&'r Recorder<'r>>,
}

impl<'r> Run<'r> {
    /// Runs the first group of `plan` on `record`; the element it filled is the result.
    pub(super) fn start(
        plan: &'r Plan,
        record: &'r Document,
        shelf: Shelf<'r>,
        seed: Uuid,
        limits: &Limits,
        recorder: Option<&'r Recorder<'r>>,
    ) -> Result<(Run<'r>, TargetId), Box<Error>> {
        let mut run = Run {
            plan,
            target: Target::new(limits.elements, limits.depth),
            record: Item::of_document(record),
            document: record,
            shelf,
            copies_output: false,
            frame: Vec::with_capacity(256),
            base: 0,
            items: Vec::with_capacity(64),
            steps: limits.steps,
            expressions: limits.expressions,
            bytes: limits.bytes,
            aside: 0,
            calls: limits.groups,
            levels: LEVELS,
            counters: vec![0; plan.uuids as usize],
            seed,
            at: Some(record.root()),
            rule: 0,
            log: Vec::new(),
            recorder,
        };
        let origin = run.origin(None);
        let root = run.target.detached(plan.root, origin).map_err(|refused| run.refused(refused, "the output"))?;
        let own = record.resource_type().map_or(Type::Any, Type::fhir);
        let ty = if plan.source.is_concrete() { plan.source } else { own };
        if ty.is_resource() && own != ty {
            return Err(run.conversion("the record", plan.types.name(ty)));
        }
        let source = Value::Element { value: Some(record.root()), companion: None, ty };
        run.frame.extend([source, Value::Target(root)]);
        run.enter(0, 0)?;
        Ok((run, root))
    }

    #[inline]
    fn get(&self, slot: Slot) -> Value<'r> {
        self.frame[self.base + slot as usize]
    }

    /// What a variable holds, where it stands.
    #[inline]
    pub(super) fn held(&self, slot: Slot) -> &Value<'r> {
        &self.frame[self.base + slot as usize]
    }

    #[inline]
    pub(super) fn set(&mut self, slot: Slot, value: Value<'r>) {
        self.frame[self.base + slot as usize] = value;
    }

    /// Where a new element comes from: the node that its value follows from, else the one the rule works on.
    #[inline]
    pub(super) fn origin(&self, source: Option<NodeId>) -> Origin {
        let source = if self.copies_output { None } else { source };
        Origin { source: source.or(self.at.map(Node::id)), rule: self.rule }
    }

    /// Notes for coverage that concept map `map` does not know the code in `node`.
    pub(super) fn note_untranslated(&self, map: usize, node: Option<Node<'r>>) {
        if let Some(recorder) = self.recorder {
            recorder.untranslated(self.rule, map, node.or(self.at));
        }
    }

    pub(super) fn place(&self) -> Box<Place> {
        let rule = self.plan.rules[self.rule as usize].clone();
        let (path, position) = (self.at.map_or_else(ElementPath::root, Node::path), self.at.map(Node::position));
        Box::new(Place { path, position, rule })
    }

    #[inline]
    fn step(&mut self) -> Result<(), Box<Error>> {
        self.charge(1)?;
        self.check_bytes()
    }

    /// Takes steps for work that is not a rule or an item: none for what ordinary records have.
    #[inline]
    pub(super) fn charge(&mut self, steps: usize) -> Result<(), Box<Error>> {
        match self.steps.checked_sub(steps as u64) {
            Some(left) => self.steps = left,
            None => return Err(self.beyond(Limit::Steps)),
        }
        Ok(())
    }

    #[cold]
    fn beyond(&self, limit: Limit) -> Box<Error> {
        Box::new(Error::Limit { limit, place: self.place() })
    }

    /// Ends a run whose texts grow too large: a rule may copy one long field many times.
    #[inline]
    pub(super) fn check_bytes(&self) -> Result<(), Box<Error>> {
        if self.target.bytes() + self.aside <= self.bytes {
            return Ok(());
        }
        Err(self.beyond(Limit::Bytes))
    }

    pub(super) fn refused(&self, refused: Refused, element: &str) -> Box<Error> {
        let place = self.place();
        Box::new(match refused {
            Refused::Occupied => Error::Occupied { element: element.to_owned(), place },
            Refused::TooMany => Error::Limit { limit: Limit::Elements, place },
            Refused::TooLong => Error::Limit { limit: Limit::Bytes, place },
            Refused::TooDeep | Refused::Cycle => Error::Limit { limit: Limit::Depth, place },
        })
    }

    fn call(&mut self, call: &'r Call) -> Result<(), Box<Error>> {
        let base = self.frame.len();
        for argument in &call.arguments {
            let value = self.operand(argument)?;
            if let Value::Unset = value {
                let variable = format!("an argument of {}", self.group_name(call.group));
                return Err(Box::new(Error::Unset { variable, place: self.place() }));
            }
            self.frame.push(value);
        }
        self.enter(call.group, base)
    }

    fn group_name(&self, group: usize) -> &str {
        let first = self.plan.groups[group].block.rules.first();
        first.map_or("a group", |rule| &self.plan.rules[rule.rule as usize].group)
    }

    /// Runs a group whose arguments stand in the frames from `base` on.
    fn enter(&mut self, group: usize, base: usize) -> Result<(), Box<Error>> {
        let Some(left) = self.calls.checked_sub(1) else {
            return Err(Box::new(Error::Limit { limit: Limit::Groups, place: self.place() }));
        };
        self.calls = left;
        let plan: &'r GroupPlan = &self.plan.groups[group];
        self.charge(plan.slots as usize / 64)?;
        self.frame.resize(base + plan.slots as usize, Value::Unset);
        let caller = std::mem::replace(&mut self.base, base);
        if let Some(base_group) = &plan.extends {
            self.call(base_group)?;
        }
        self.block(&plan.block)?;
        self.base = caller;
        self.frame.truncate(base);
        self.calls += 1;
        Ok(())
    }

    fn block(&mut self, block: &'r Block) -> Result<(), Box<Error>> {
        if block.rules.is_empty() {
            return Ok(());
        }
        let Some(left) = self.levels.checked_sub(1) else {
            return Err(self.beyond(Limit::Groups));
        };
        self.levels = left;
        self.charge(block.shared.len() / 64)?;
        for &slot in &block.shared {
            self.set(slot, Value::Unset);
        }
        for rule in &block.rules {
            self.step()?;
            let outer = (self.rule, self.at);
            self.rule = rule.rule;
            self.join(rule, 0)?;
            (self.rule, self.at) = outer;
        }
        self.levels += 1;
        Ok(())
    }

    /// Runs the rule for every combination of items of its sources from `index` on.
    fn join(&mut self, rule: &'r RulePlan, index: usize) -> Result<(), Box<Error>> {
        let Some(source) = rule.sources.get(index) else { return self.fire(rule) };
        if source.is_context {
            return self.join_context(rule, index, source);
        }
        let start = self.items.len();
        self.collect(source)?;
        let end = self.items.len();
        for item in start..end {
            self.step()?;
            let value = self.items[item];
            self.set(source.slot, value);
            if let (0, Some(node)) = (index, node_of(value)) {
                self.at = Some(node);
            }
            self.rule = rule.rule;
            self.join(rule, index + 1)?;
        }
        self.items.truncate(start);
        Ok(())
    }

    /// The same for a source that gives its context, as it is and always.
    #[inline]
    fn join_context(&mut self, rule: &'r RulePlan, index: usize, source: &'r SourcePlan) -> Result<(), Box<Error>> {
        let value = self.get(source.context);
        if let Value::Unset = value {
            return Ok(());
        }
        self.step()?;
        self.set(source.slot, value);
        if let (0, Some(node)) = (index, node_of(value)) {
            self.at = Some(node);
        }
        self.join(rule, index + 1)
    }

    #[inline]
    fn fire(&mut self, rule: &'r RulePlan) -> Result<(), Box<Error>> {
        if let Some(recorder) = self.recorder {
            recorder.rule(rule.rule);
        }
        self.charge(rule.targets.len() / 8)?;
        let mut done = 0;
        for stamp in &rule.stamps {
            if done < stamp.targets.start {
                self.targets(&rule.targets[done..stamp.targets.start])?;
            }
            if !self.press(stamp)? {
                self.targets(&rule.targets[stamp.targets.clone()])?;
            }
            done = stamp.targets.end;
        }
        if done < rule.targets.len() {
            self.targets(&rule.targets[done..])?;
        }
        for call in &rule.calls {
            self.call(call)?;
        }
        self.block(&rule.block)
    }

    /// Does targets one by one.
    #[inline]
    fn targets(&mut self, targets: &'r [TargetPlan]) -> Result<(), Box<Error>> {
        for target in targets {
            let value = self.apply(target)?;
            self.check_bytes()?;
            if let Some(slot) = target.slot {
                self.set(slot, value);
            }
        }
        Ok(())
    }

    /// Pushes the items of one source: found, filtered, checked, chosen.
    #[inline]
    fn collect(&mut self, source: &'r SourcePlan) -> Result<(), Box<Error>> {
        let start = self.items.len();
        let context = self.get(source.context);
        match &source.element {
            Some(spellings) => self.children(context, spellings),
            None if matches!(context, Value::Unset) => {}
            None => self.items.push(context),
        }
        self.charge(self.searched(context) + (self.items.len() - start) / 16)?;
        if !source.is_filtered {
            return Ok(());
        }
        for spellings in &source.steps {
            let items: Vec<Value<'r>> = self.items.drain(start..).collect();
            items.into_iter().for_each(|item| self.children(item, spellings));
        }
        if let (Some(default), true) = (&source.default, self.items.len() == start) {
            let value = self.operand(default)?;
            self.items.extend((!matches!(value, Value::Unset)).then_some(value));
        }
        if let Some(only) = source.only {
            self.keep(start, |_, item| Ok(has_type(item, only)))?;
        }
        if let Some(cardinality) = source.cardinality {
            self.count(self.items.len() - start, cardinality)?;
        }
        if let Some(condition) = &source.condition {
            self.keep(start, |run, item| {
                run.set(source.slot, item);
                run.is_true(condition, item)
            })?;
        }
        self.check_and_log(source, start)?;
        match source.list_mode {
            Some(mode) => self.choose(mode, start),
            None => Ok(()),
        }
    }

    fn keep(
        &mut self,
        start: usize,
        mut keeps: impl FnMut(&mut Run<'r>, Value<'r>) -> Result<bool, Box<Error>>,
    ) -> Result<(), Box<Error>> {
        let mut kept = start;
        for index in start..self.items.len() {
            let item = self.items[index];
            if keeps(self, item)? {
                self.items[kept] = item;
                kept += 1;
            }
        }
        self.items.truncate(kept);
        Ok(())
    }

    fn count(&self, found: usize, (min, max): (usize, Option<usize>)) -> Result<(), Box<Error>> {
        if found >= min && max.is_none_or(|max| found <= max) {
            return Ok(());
        }
        let most = max.map_or("*".to_owned(), |max| max.to_string());
        let expected = format!("{min}..{most}");
        Err(Box::new(Error::Cardinality { found, expected, place: self.place() }))
    }

    fn check_and_log(&mut self, source: &'r SourcePlan, start: usize) -> Result<(), Box<Error>> {
        if source.check.is_none() && source.log.is_none() {
            return Ok(());
        }
        for index in start..self.items.len() {
            let item = self.items[index];
            self.set(source.slot, item);
            if let Some(check) = &source.check
                && !self.is_true(check, item)?
            {
                self.at = node_of(item).or(self.at);
                return Err(Box::new(Error::Check { place: self.place() }));
            }
            if let Some(log) = &source.log {
                let found = self.evaluate(log, Some(item))?;
                let text: Vec<_> = found.iter().filter_map(Item::as_text).collect();
                let text = text.join(", ");
                self.aside += text.len();
                self.check_bytes()?;
                self.log.push(LogLine { rule: self.rule, text });
            }
        }
        Ok(())
    }

    fn choose(&mut self, mode: SourceListMode, start: usize) -> Result<(), Box<Error>> {
        let found = self.items.len() - start;
        match mode {
            SourceListMode::First => self.items.truncate(start + 1),
            SourceListMode::NotFirst if found > 0 => drop(self.items.remove(start)),
            SourceListMode::Last if found > 0 => drop(self.items.drain(start..start + found - 1)),
            SourceListMode::NotLast if found > 0 => drop(self.items.pop()),
            SourceListMode::OnlyOne if found > 1 => {
                return Err(Box::new(Error::Cardinality { found, expected: "0..1".to_owned(), place: self.place() }));
            }
            _ => {}
        }
        Ok(())
    }

    /// The steps that looking through the members of an object is worth: none, unless it has very many.
    fn searched(&self, context: Value<'r>) -> usize {
        const MANY: usize = 1_000;
        match node_of(context).filter(|node| node.is_object() && node.end_index() - node.id().index() > MANY) {
            Some(node) => node.children().count() / 64,
            None => 0,
        }
    }

    /// Pushes the children of `context` that one of `spellings` names.
    fn children(&mut self, context: Value<'r>, spellings: &'r [Spelling]) {
        let start = self.items.len();
        match context {
            Value::Element { value: Some(node), ty, .. } if node.is_object() => {
                let is_record = matches!(ty, Type::Model(_));
                spellings.iter().for_each(|spelling| values::children(node, spelling, is_record, &mut self.items));
            }
            Value::Element { companion: Some(node), .. } => {
                spellings.iter().for_each(|spelling| values::children(node, spelling, false, &mut self.items));
            }
            Value::Target(id) => {
                let is_name = |name: &Name| spellings.iter().any(|spelling| spelling.name == *name);
                self.items.extend(self.target.named(id, is_name).map(Value::Target));
            }
            Value::Element { .. } | Value::Text { .. } | Value::Unset => {}
        }
        if let Some(recorder) = self.recorder {
            self.items[start..].iter().filter_map(|item| node_of(*item)).for_each(|node| recorder.node(node));
        }
    }

    fn is_true(&mut self, expression: &'r ExpressionPlan, item: Value<'r>) -> Result<bool, Box<Error>> {
        let found = self.evaluate(expression, Some(item))?;
        Ok(match found.as_slice() {
            [] => false,
            [one] => one.as_boolean().unwrap_or(true),
            _ => true,
        })
    }

    pub(super) fn evaluate(
        &mut self,
        plan: &'r ExpressionPlan,
        focus: Option<Value<'r>>,
    ) -> Result<fhirpath::Items<'r>, Box<Error>> {
        if let Some(recorder) = self.recorder {
            let named = plan.variables.iter().map(|(_, slot)| self.get(*slot)).chain(focus);
            recorder.expression(&plan.expression, named.filter_map(node_of));
        }
        let focus = match focus {
            Some(value) => self.item(value)?,
            None => None,
        };
        let mut variables: SmallVec<[Variable<'r>; 4]> = SmallVec::new();
        for (name, slot) in &plan.variables {
            variables.push(Variable { name, items: self.item(self.get(*slot))?.into_iter().collect() });
        }
        let taken = Cell::new(0);
        let environment = Environment {
            resource: Some(self.record.clone()),
            root_resource: Some(self.record.clone()),
            now: None,
            variables: &variables,
            steps: Some(self.expressions.min(EXPRESSION)),
            taken: Some(&taken),
            knowledge: None,
        };
        let found = plan.expression.evaluate(focus.as_slice(), &environment);
        self.expressions = self.expressions.saturating_sub(taken.get());
        found.map_err(|fault| Box::new(Error::Expression { fault, place: self.place() }))
    }

    /// The value as FHIRPath sees it.
    fn item(&mut self, value: Value<'r>) -> Result<Option<Item<'r>>, Box<Error>> {
        Ok(match value {
            Value::Unset => None,
            Value::Element { value, companion, ty } => {
                let type_def = match ty {
                    Type::Fhir(each) => Some(each),
                    _ => None,
                };
                Some(Item::of_primitive(value, companion, type_def))
            }
            Value::Target(id) => match (self.target.value(id), self.target.ty(id)) {
                (Some(text), ty) => Some(self.text_item(text, ty)?),
                (None, ty) if ty.is_primitive() => None,
                (None, ty) => Some(self.snapshot(id, ty)?),
            },
            Value::Text { text, ty, .. } => Some(self.text_item(text, ty)?),
        })
    }

    /// What has been built of an element so far. Each of its nodes is a step: reading the output again and again as it
    /// grows must not be free.
    fn snapshot(&mut self, id: TargetId, ty: Type) -> Result<Item<'r>, Box<Error>> {
        let (document, _) = self.target.write(id).map_err(|refused| self.refused(refused, "the output"))?;
        self.charge(document.len())?;
        self.aside += document.source().len();
        self.check_bytes()?;
        let type_def = match ty {
            Type::Fhir(each) => Some(each),
            _ => None,
        };
        Ok(Item::of_node(self.shelf.keep(document).root(), type_def))
    }

    fn text_item(&mut self, text: Text<'r>, ty: Type) -> Result<Item<'r>, Box<Error>> {
        self.charge(self.target.read(text).len() / 256)?;
        Ok(match text {
            Text::Kept(kept) => values::item_of_text(kept.into(), ty),
            Text::Constant(constant) => values::item_of_text(constant.text().into(), ty),
            made => values::item_of_text(self.target.read(made).to_owned().into(), ty),
        })
    }

    /// The value of an operand: [`Value::Unset`] if there is none.
    #[inline]
    pub(super) fn operand(&mut self, operand: &'r Operand) -> Result<Value<'r>, Box<Error>> {
        match operand {
            Operand::Slot(slot) => Ok(self.get(*slot)),
            Operand::Constant(text, ty) => Ok(Value::Text { text: Text::Kept(text), ty: *ty, source: None }),
            Operand::Path(slot, steps) => self.path(*slot, steps),
            Operand::Expression(expression, focus) => {
                let found = self.evaluate(expression, focus.map(|slot| self.get(slot)))?;
                match found.as_slice() {
                    [] => Ok(Value::Unset),
                    [one] => self.value_of(one.clone()),
                    _ => Err(self.expected_one(found.len())),
                }
            }
        }
    }

    fn path(&mut self, slot: Slot, steps: &'r [Vec<Spelling>]) -> Result<Value<'r>, Box<Error>> {
        let mut value = self.get(slot);
        for spellings in steps {
            let start = self.items.len();
            self.children(value, spellings);
            let found = self.items.len() - start;
            self.charge(self.searched(value) + found / 16)?;
            value = self.items.get(start).copied().unwrap_or(Value::Unset);
            self.items.truncate(start);
            if found > 1 {
                return Err(self.expected_one(found));
            }
        }
        Ok(value)
    }

    fn expected_one(&self, found: usize) -> Box<Error> {
        Box::new(Error::Cardinality { found, expected: "0..1".to_owned(), place: self.place() })
    }

    fn value_of(&mut self, item: Item<'r>) -> Result<Value<'r>, Box<Error>> {
        let value = match item {
            Item::Element(element) => {
                let ty = element.type_def().map_or(Type::Any, Type::Fhir);
                let value = Value::Element { value: element.value(), companion: element.extension(), ty };
                let of_record = element.node().is_none_or(|node| std::ptr::eq(node.document(), self.document));
                return if of_record { Ok(value) } else { self.copy_of_output(value, ty) };
            }
            Item::Value(value) => value,
        };
        let Some(ty) = values::type_of(&value) else {
            return Err(self.conversion("an expression's result", "a primitive"));
        };
        let text = match value {
            fhirpath::Value::String(std::borrow::Cow::Borrowed(text)) => Text::Kept(text),
            other => self.target.make(|out| {
                let _ = write!(out, "{other}");
            }),
        };
        Ok(Value::Text { text, ty, source: None })
    }

    /// A copy of an element of the output that an expression found: it stands nowhere yet.
    fn copy_of_output(&mut self, value: Value<'r>, ty: Type) -> Result<Value<'r>, Box<Error>> {
        let Value::Element { value: Some(node), .. } = value else { return Ok(Value::Unset) };
        if !node.is_object() {
            let text = match node.scalar().unwrap_or_default() {
                std::borrow::Cow::Borrowed(text) => Text::Kept(text),
                made => self.target.make(|out| out.push_str(&made)),
            };
            let ty = if ty == Type::Any { values::json_type(node) } else { ty };
            return Ok(Value::Text { text, ty, source: None });
        }
        let origin = self.origin(None);
        let copy = self.target.detached(ty, origin).map_err(|refused| self.refused(refused, "the output"))?;
        self.copies_output = true;
        let copied = self.copy_object(node, ty, copy);
        self.copies_output = false;
        copied.map(|()| Value::Target(copy))
    }

    pub(super) fn conversion(&self, element: &str, wanted: &str) -> Box<Error> {
        Box::new(Error::Conversion { element: element.to_owned(), wanted: wanted.to_owned(), place: self.place() })
    }

    /// Does one target: makes its element or sets it. What the target's variable then holds.
    fn apply(&mut self, plan: &'r TargetPlan) -> Result<Value<'r>, Box<Error>> {
        match &plan.transform {
            Transform::Element => self.make(plan),
            Transform::Implicit(operand, group) => {
                let value = self.operand(operand)?;
                match (*group).or_else(|| self.group_for(value, plan)) {
                    _ if matches!(value, Value::Unset) => Ok(Value::Unset),
                    None => self.assign(plan, value),
                    Some(group) => {
                        let made = self.make(plan)?;
                        let base = self.frame.len();
                        self.frame.extend([value, made]);
                        self.enter(group, base)?;
                        Ok(made)
                    }
                }
            }
            transform => {
                if let (Transform::Create(ty), Some(known)) = (transform, self.reusable(plan)?) {
                    let fits = self.target.ty(known).is_a(*ty);
                    return if fits { Ok(Value::Target(known)) } else { Err(self.mismatch(plan, *ty)) };
                }
                let value = match self.transform(transform)? {
                    Value::Unset => return Ok(Value::Unset),
                    value => self.assign(plan, value)?,
                };
                if let (TargetListMode::Share(slot), Value::Target(_)) = (plan.list_mode, value) {
                    self.set(slot, value);
                }
                Ok(value)
            }
        }
    }

    /// The `<<types>>` group for a value whose type only the record tells.
    fn group_for(&self, value: Value<'r>, plan: &TargetPlan) -> Option<usize> {
        let Value::Element { ty, .. } = value else { return None };
        let wanted = plan.element.as_ref()?.spellings.first()?.ty;
        let fits = |known: &&(Type, Type, usize)| known.0 == ty && known.1 == wanted;
        self.plan.by_types.iter().find(fits).map(|known| known.2)
    }

    #[inline]
    fn destination(&self, slot: Slot) -> Result<TargetId, Box<Error>> {
        match self.get(slot) {
            Value::Target(id) => Ok(id),
            _ => Err(Box::new(Error::Unset { variable: "the target's variable".to_owned(), place: self.place() })),
        }
    }

    /// The element of a target without a transform: shared, already there, or new.
    #[inline]
    fn make(&mut self, plan: &'r TargetPlan) -> Result<Value<'r>, Box<Error>> {
        let Some(context) = plan.context else { return Ok(Value::Unset) };
        let parent = self.destination(context)?;
        let Some(element) = &plan.element else { return Ok(Value::Target(parent)) };
        if let Some(known) = self.reusable(plan)? {
            return Ok(Value::Target(known));
        }
        let Some(spelling) = element.spellings.first() else { return Ok(Value::Unset) };
        let existing = if element.is_array { None } else { self.target.existing(parent, element.order) };
        let id = match existing.filter(|id| *self.target.spec(*id).name == spelling.name) {
            Some(id) => id,
            None => self.add(parent, element, spelling, spelling.ty, plan.list_mode, None)?,
        };
        if let TargetListMode::Share(slot) = plan.list_mode {
            self.set(slot, Value::Target(id));
        }
        Ok(Value::Target(id))
    }

    /// The element that a target with `share`, `single` or `collate` goes on filling, if it is there already.
    #[inline]
    fn reusable(&mut self, plan: &TargetPlan) -> Result<Option<TargetId>, Box<Error>> {
        if let TargetListMode::First | TargetListMode::Last = plan.list_mode {
            return Ok(None);
        }
        let (Some(context), Some(element)) = (plan.context, &plan.element) else { return Ok(None) };
        Ok(match plan.list_mode {
            TargetListMode::Share(slot) => match self.get(slot) {
                Value::Target(id) => Some(id),
                _ => None,
            },
            TargetListMode::Reuse => {
                let first = self.target.existing(self.destination(context)?, element.order);
                let spelled = |id: &TargetId| element.names().any(|name| name == self.target.spec(*id).name);
                first.filter(spelled)
            }
            TargetListMode::First | TargetListMode::Last => None,
        })
    }

    fn mismatch(&self, plan: &TargetPlan, ty: Type) -> Box<Error> {
        let element = plan.element.as_ref().map_or("the target", |element| &*element.name);
        self.conversion(element, self.plan.types.name(ty))
    }

    /// Adds an empty element.
    pub(super) fn add(
        &mut self,
        parent: TargetId,
        element: &'r ElementPlan,
        spelling: &'r Spelling,
        ty: Type,
        mode: TargetListMode,
        source: Option<NodeId>,
    ) -> Result<TargetId, Box<Error>> {
        let spec = Spec { name: &spelling.name, order: element.order, is_array: element.is_array, ty };
        let origin = self.origin(source);
        let added = self.target.child(parent, spec, mode == TargetListMode::First, origin);
        added.map_err(|refused| self.refused(refused, &element.name))
    }

    /// Sets the element of a target to a value.
    fn assign(&mut self, plan: &'r TargetPlan, value: Value<'r>) -> Result<Value<'r>, Box<Error>> {
        let Some(context) = plan.context else { return Ok(value) };
        let parent = self.destination(context)?;
        match &plan.element {
            Some(element) => self.set_element(parent, element, value, plan.list_mode),
            None => {
                // The value alone: extensions are elements of their own, which groups for the types copy.
                let value = match value {
                    Value::Element { value, ty, .. } => Value::Element { value, companion: None, ty },
                    other => other,
                };
                self.set_primitive(parent, "the target", value)?;
                Ok(Value::Target(parent))
            }
        }
    }

    /// A deterministic UUID: of the seed, the place of the `uuid()` in the map, and how often it ran.
    pub(super) fn uuid(&mut self, counter: u32) -> Value<'r> {
        let ran = &mut self.counters[counter as usize];
        *ran += 1;
        let mut name = [0; 12];
        name[..4].copy_from_slice(b"uuid");
        name[4..8].copy_from_slice(&counter.to_be_bytes());
        name[8..].copy_from_slice(&ran.to_be_bytes());
        self.uuid_text(Uuid::new_v5(&self.seed, &name))
    }

    /// A deterministic UUID for an element of the output that has no id.
    pub(super) fn element_uuid(&mut self, element: usize) -> Value<'r> {
        let id = Uuid::new_v5(&self.seed, format!("element {element}").as_bytes());
        self.uuid_text(id)
    }

    fn uuid_text(&mut self, id: Uuid) -> Value<'r> {
        let start = self.target.made_len();
        self.target.make(|out| out.push_str(id.hyphenated().encode_lower(&mut [0; 36])));
        let text = self.target.made_since(start, true);
        Value::Text { text, ty: made().id, source: None }
    }
}

/// The node of the record that a value is.
pub(super) fn node_of(value: Value<'_>) -> Option<Node<'_>> {
    match value {
        Value::Element { value, companion, .. } => value.or(companion),
        _ => None,
    }
}

fn has_type(value: Value<'_>, wanted: Type) -> bool {
    match value {
        Value::Element { value, ty, .. } => values::element_has_type(value, ty, wanted),
        Value::Text { ty, .. } => ty.is_a(wanted),
        Value::Target(_) | Value::Unset => true,
    }
}
