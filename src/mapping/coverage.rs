//! What of records and of their map was used over a batch: fields that no rule read, rules that never ran, elements
//! that were never filled, codes that no concept map translated.
//!
//! Enters: a map, and for each record what its run observed and made. Leaves: a [`Report`]. Two things are known from
//! the map alone: the fields of the logical model that some rule names ([`Named`]), and the elements that some rule can
//! fill. Paths and counts, never a value.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::fhir::{Document, Node};

use super::plan::{Block, Call, ExpressionPlan, Operand, Plan, Slot, SourcePlan, TargetPlan, Transform};
use super::recorder::words;
use super::types::{Spelling, Type};
use super::{CompiledMap, Observed, Transformed};

/// How many different unread fields are kept: a record may carry any keys.
const FIELDS: usize = 10_000;

/// How many levels of elements are followed through groups that call each other.
pub(super) const LEVELS: usize = 16;

/// A field that records have and no rule read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Its path, without indices: `person.contact.mobile`.
    pub path: String,
    /// In how many records.
    pub records: usize,
    /// The first of them, as the caller names it.
    pub example: String,
}

/// An element that the map can fill and no record made it fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfilled {
    /// Its path from its resource: `Patient.name.prefix`; a choice by its stem.
    pub path: String,
    /// The first rule that can fill it: an index for [`CompiledMap::rule`].
    pub rule: u32,
}

/// Codes of one field that a concept map has no translation for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UntranslatedIn {
    /// The field, without indices: `person.gender`.
    pub path: String,
    /// The concept map: `#id`, or its URL.
    pub concept_map: String,
    /// The rule that translates: an index for [`CompiledMap::rule`].
    pub rule: u32,
    /// In how many records.
    pub records: usize,
    /// The first of them, as the caller names it.
    pub example: String,
}

/// What was and was not used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many records it is about.
    pub records: usize,
    /// Fields of the records that no rule read.
    pub unread: Vec<Unread>,
    /// Elements of the logical model that no rule names: `Referral.person.mobile`.
    pub unnamed: Vec<String>,
    /// Rules that ran for no record.
    pub idle: Vec<u32>,
    /// Elements that the map can fill and never did.
    pub unfilled: Vec<Unfilled>,
    /// Codes that a concept map has no translation for, so that nothing was set.
    pub untranslated: Vec<UntranslatedIn>,
    /// How many rules the first group of the map leads to.
    pub rules: usize,
}

/// Collects what the runs of one map used.
#[derive(Debug)]
pub struct Coverage<'m> {
    map: &'m CompiledMap,
    records: usize,
    ran: Vec<bool>,
    unread: BTreeMap<String, (usize, String)>,
    filled: HashSet<String>,
    /// By path, concept map and rule: how many records, and the first.
    untranslated: BTreeMap<(String, String, u32), (usize, String)>,
}

impl<'m> Coverage<'m> {
    /// Of no record yet.
    pub fn new(map: &'m CompiledMap) -> Coverage<'m> {
        let ran = vec![false; map.plan.rules.len()];
        let (unread, filled, untranslated) = (BTreeMap::new(), HashSet::new(), BTreeMap::new());
        Coverage { map, records: 0, ran, unread, filled, untranslated }
    }

    /// Adds a record, called `name`, and what its run observed and made.
    pub fn add(&mut self, name: &str, record: &Document, observed: &Observed, made: &Transformed) {
        self.records += 1;
        for (ran, count) in self.ran.iter_mut().zip(&observed.ran) {
            *ran |= *count > 0;
        }
        let mut unread = BTreeSet::new();
        collect_unread(record.root(), &observed.read, &mut unread);
        for path in unread {
            if self.unread.len() < FIELDS || self.unread.contains_key(&path) {
                self.unread.entry(path).or_insert_with(|| (0, name.to_owned())).0 += 1;
            }
        }
        collect_filled(made.document.root(), "", &mut self.filled);
        let untranslated = observed.untranslated.iter();
        let of_fields: BTreeSet<_> = untranslated
            .map(|each| (without_indices(each.path.as_str()), each.concept_map.clone(), each.rule))
            .collect();
        for field in of_fields {
            if self.untranslated.len() < FIELDS || self.untranslated.contains_key(&field) {
                self.untranslated.entry(field).or_insert_with(|| (0, name.to_owned())).0 += 1;
            }
        }
    }

    /// What was used and what was not.
    pub fn report(&self) -> Report {
        let plan = &self.map.plan;
        let named = Named::of(plan);
        let unread = self.unread.iter().map(|(path, (records, example))| Unread {
            path: path.clone(),
            records: *records,
            example: example.clone(),
        });
        let has_run = |rule: &u32| self.ran.get(*rule as usize).copied().unwrap_or(false);
        let idle = named.rules.iter().copied().filter(|rule| !has_run(rule));
        let is_filled = |makes: &Makes| makes.spelled.iter().any(|path| self.filled.contains(path));
        let unfilled = named.makes.iter().filter(|(_, makes)| !is_filled(makes));
        Report {
            records: self.records,
            unread: unread.collect(),
            unnamed: named.unnamed(plan.source),
            idle: idle.collect(),
            untranslated: self.untranslated(),
            unfilled: unfilled.map(|(path, makes)| Unfilled { path: path.clone(), rule: makes.rule }).collect(),
            rules: named.rules.len(),
        }
    }
}

impl Coverage<'_> {
    fn untranslated(&self) -> Vec<UntranslatedIn> {
        let told = self.untranslated.iter().map(|((path, concept_map, rule), (records, example))| UntranslatedIn {
            path: path.clone(),
            concept_map: concept_map.clone(),
            rule: *rule,
            records: *records,
            example: example.clone(),
        });
        told.collect()
    }
}

/// The unread leaves of a record; of an object or array that nothing was read of, only its own path.
fn collect_unread(node: Node<'_>, read: &[bool], unread: &mut BTreeSet<String>) {
    let is_read = |node: Node<'_>| read.get(node.id().index()).copied().unwrap_or(false);
    let used = (node.id().index()..node.end_index()).any(|index| read.get(index).copied().unwrap_or(false));
    if !used {
        if node.name().as_deref() != Some("resourceType") {
            unread.insert(without_indices(node.path().as_str()));
        }
        return;
    }
    if is_read(node) && node.children().next().is_none() {
        return;
    }
    node.children().for_each(|child| collect_unread(child, read, unread));
}

/// `Bundle.entry.fullUrl` for `Bundle.entry[1].fullUrl`.
pub fn without_indices(path: &str) -> String {
    let mut inside = false;
    let outside = |letter: &char| {
        inside = (inside || *letter == '[') && *letter != ']';
        !inside && *letter != ']'
    };
    let path: String = path.chars().filter(outside).collect();
    if path.is_empty() { "(the whole record)".to_owned() } else { path }
}

/// The paths of an output's elements, each from its own resource and without indices.
fn collect_filled(node: Node<'_>, path: &str, filled: &mut HashSet<String>) {
    let own = match node.resource_type() {
        Some(resource) => {
            filled.insert(path.to_owned());
            resource.to_owned()
        }
        None => path.to_owned(),
    };
    for child in node.children() {
        match child.name() {
            Some(name) => collect_filled(child, &format!("{own}.{name}"), filled),
            None => collect_filled(child, &own, filled),
        }
    }
    filled.insert(own);
}

/// An element that some rule can fill.
#[derive(Debug)]
struct Makes {
    rule: u32,
    /// Its path in each spelling.
    spelled: Vec<String>,
}

/// What a map names, whatever the record: model fields that its rules read, elements that they fill.
struct Named<'p> {
    plan: &'p Plan,
    seen: HashSet<(usize, Vec<String>)>,
    /// The rules that the first group leads to.
    rules: BTreeSet<u32>,
    /// `Referral.person.mobile`
    fields: HashSet<String>,
    makes: BTreeMap<String, Makes>,
}

/// The variables of a group: the type of each, and for targets the path from their resource.
#[derive(Clone)]
struct Frame {
    types: Vec<Type>,
    paths: Vec<String>,
}

impl<'p> Named<'p> {
    fn of(plan: &'p Plan) -> Named<'p> {
        let mut named = Named {
            plan,
            seen: HashSet::new(),
            rules: BTreeSet::new(),
            fields: HashSet::new(),
            makes: BTreeMap::new(),
        };
        named.group(0, &[String::new(), plan.types.name(plan.root).to_owned()]);
        for (_, _, group) in &plan.by_types {
            named.group(*group, &[String::new(), String::new()]);
        }
        named
    }

    fn group(&mut self, group: usize, paths: &[String]) {
        let too_deep = paths.iter().any(|path| path.matches('.').count() > LEVELS);
        if too_deep || !self.seen.insert((group, paths.to_vec())) {
            return;
        }
        let plan = &self.plan.groups[group];
        let mut frame = Frame { types: plan.types.clone(), paths: paths.to_vec() };
        frame.types.resize(plan.slots as usize, Type::Any);
        frame.paths.resize(plan.slots as usize, String::new());
        if let Some(base) = &plan.extends {
            self.call(base, &frame);
        }
        self.block(&plan.block, &mut frame);
    }

    fn call(&mut self, call: &Call, frame: &Frame) {
        let path = |operand: &Operand| match operand {
            Operand::Slot(slot) => frame.paths.get(*slot as usize).cloned().unwrap_or_default(),
            _ => String::new(),
        };
        let paths: Vec<String> = call.arguments.iter().map(path).collect();
        call.arguments.iter().for_each(|argument| self.operand(argument, frame, false));
        self.group(call.group, &paths);
    }

    fn block(&mut self, block: &Block, frame: &mut Frame) {
        for rule in &block.rules {
            self.rules.insert(rule.rule);
            rule.sources.iter().for_each(|source| self.source(source, frame));
            rule.targets.iter().for_each(|target| self.target(rule.rule, target, frame));
            rule.calls.iter().for_each(|call| self.call(call, frame));
            self.block(&rule.block, frame);
        }
    }

    fn source(&mut self, source: &SourcePlan, frame: &mut Frame) {
        let context = frame.types[source.context as usize];
        let mut ty = match &source.element {
            Some(spellings) => self.field(context, spellings),
            None => context,
        };
        for spellings in &source.steps {
            ty = self.field(ty, spellings);
        }
        frame.types[source.slot as usize] = ty;
        for expression in [&source.condition, &source.check, &source.log].into_iter().flatten() {
            self.expression(expression, Some(source.slot), frame);
        }
        if let Some(default) = &source.default {
            self.operand(default, frame, false);
        }
    }

    /// Notes a field of `context`; the type of what it holds.
    fn field(&mut self, context: Type, spellings: &[Spelling]) -> Type {
        if let Type::Model(_) = context {
            for name in self.plan.types.names(context) {
                let field = self.plan.types.field(context, &name);
                let own = field.iter().flat_map(|field| &field.spellings).map(|spelling| &spelling.name);
                if own.into_iter().any(|own| spellings.iter().any(|spelling| spelling.name == *own)) {
                    self.fields.insert(format!("{}.{name}", self.plan.types.name(context)));
                }
            }
        }
        match spellings {
            [one] => one.ty,
            _ => Type::Any,
        }
    }

    fn expression(&mut self, plan: &ExpressionPlan, focus: Option<Slot>, frame: &Frame) {
        let words = words(plan.expression.text());
        let slots = plan.variables.iter().map(|(_, slot)| *slot).chain(focus);
        for slot in slots.collect::<Vec<_>>() {
            self.below(frame.types[slot as usize], Some(&words));
        }
    }

    /// Notes the fields below `ty` that `words` name, or all.
    fn below(&mut self, ty: Type, words: Option<&HashSet<String>>) {
        let (mut open, mut seen) = (vec![ty], HashSet::new());
        while let Some(ty) = open.pop() {
            if !matches!(ty, Type::Model(_)) || !seen.insert(ty) {
                continue;
            }
            for name in self.plan.types.names(ty) {
                let Some(field) = self.plan.types.field(ty, &name) else { continue };
                let spelled =
                    |words: &HashSet<String>| field.spellings.iter().any(|each| words.contains(each.name.text()));
                if words.is_none_or(|words| words.contains(&name) || spelled(words)) {
                    self.fields.insert(format!("{}.{name}", self.plan.types.name(ty)));
                    open.push(field.only_type());
                }
            }
        }
    }

    /// Notes what a value is taken from; `whole` if it is copied with all that is in it.
    fn operand(&mut self, operand: &Operand, frame: &Frame, whole: bool) {
        match operand {
            Operand::Slot(slot) if whole => self.below(frame.types[*slot as usize], None),
            Operand::Slot(_) | Operand::Constant(..) => {}
            Operand::Path(slot, steps) => {
                let mut ty = frame.types[*slot as usize];
                for spellings in steps {
                    ty = self.field(ty, spellings);
                }
            }
            Operand::Expression(plan, focus) => self.expression(plan, *focus, frame),
        }
    }

    fn target(&mut self, rule: u32, target: &TargetPlan, frame: &mut Frame) {
        operands(&target.transform).into_iter().for_each(|operand| self.operand(operand, frame, true));
        let context = target.context.map(|slot| (frame.types[slot as usize], frame.paths[slot as usize].clone()));
        let made = match (&target.transform, &target.element) {
            (Transform::Create(ty), _) => *ty,
            (_, Some(element)) => match element.spellings.as_slice() {
                [one] => one.ty,
                _ => Type::Any,
            },
            (_, None) => context.as_ref().map_or(Type::Any, |(ty, _)| *ty),
        };
        let mut path = match (&context, &target.element) {
            (Some((_, path)), Some(element)) if !path.is_empty() => {
                let at = format!("{path}.{}", element.name);
                let spelled: Vec<String> =
                    element.spellings.iter().map(|each| format!("{path}.{}", each.name.text())).collect();
                let first = spelled.first().filter(|_| spelled.len() == 1).cloned();
                if !matches!(target.transform, Transform::Element) {
                    self.makes.entry(at.clone()).or_insert(Makes { rule, spelled });
                }
                first.unwrap_or(at)
            }
            (Some((_, path)), None) => path.clone(),
            _ => String::new(),
        };
        if made.is_resource() {
            path = self.plan.types.name(made).to_owned();
        }
        if let Some(slot) = target.slot {
            frame.types[slot as usize] = made;
            frame.paths[slot as usize] = path.clone();
        }
        if let Transform::Implicit(_, Some(group)) = &target.transform {
            self.group(*group, &[String::new(), path]);
        }
    }

    /// The fields of the model that no rule names; below one of these nothing more is said.
    fn unnamed(&self, ty: Type) -> Vec<String> {
        let (mut open, mut seen, mut unnamed) = (vec![ty], HashSet::new(), Vec::new());
        while let Some(ty) = open.pop() {
            if !matches!(ty, Type::Model(_)) || !seen.insert(ty) {
                continue;
            }
            for name in self.plan.types.names(ty) {
                let path = format!("{}.{name}", self.plan.types.name(ty));
                if self.fields.contains(&path) {
                    open.extend(self.plan.types.field(ty, &name).map(|field| field.only_type()));
                } else {
                    unnamed.push(path);
                }
            }
        }
        unnamed.sort();
        unnamed
    }
}

/// What a transform takes its value from.
pub(super) fn operands(transform: &Transform) -> Vec<&Operand> {
    match transform {
        Transform::Copy(operand)
        | Transform::Implicit(operand, _)
        | Transform::Truncate(operand, _)
        | Transform::Cast(operand, _)
        | Transform::Escape(operand, ..)
        | Transform::DateOp(operand, _)
        | Transform::Translate(operand, _, _)
        | Transform::Reference(operand)
        | Transform::Pointer(operand) => vec![operand],
        Transform::Append(operands) => operands.iter().collect(),
        Transform::Build(template) => template.operands(),
        Transform::Element | Transform::Create(_) | Transform::Uuid(_) => Vec::new(),
    }
}
