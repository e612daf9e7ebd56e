//! Groups and rules: each group compiled for the types it is called with.

use std::collections::HashSet;

use fml_syntax::{AstNode, NodeOrToken, SyntaxKind, SyntaxNode, SyntaxToken, ast};

use super::super::diagnostic::{Code, Finding, Severity};
use super::super::plan::{
    Block, Call, GroupPlan, Operand, Rule, RulePlan, Slot, SourcePlan, TargetListMode, TargetPlan,
};
use super::super::types::Type;
use super::declarations::rule_name;
use super::{Compiler, Declared, INSTANCES, Located, Mode, Parameter, Scope, Variable, written};

/// How many sources a rule may have: it runs for each combination of their items.
const SOURCES: usize = 16;
/// How many targets a rule may have.
const TARGETS: usize = 1_000;

impl Compiler<'_> {
    /// Compiles the first group and all it calls, then every other group whose types are declared, so that a fault in
    /// it is found too, unless it is imported and takes a source of any type. The types of the first group's source and target.
    pub(super) fn compile_all(&mut self) -> Option<(Type, Type)> {
        let Some(first) = self.groups.first() else {
            let tree = self.files.first()?.tree.clone();
            self.error(0, tree.syntax(), "the map has no group", "write group Name(source …, target …) { … }");
            return None;
        };
        let (tree, parameters) = (first.tree.clone(), first.parameters.clone());
        let [source, target] = parameters.as_slice() else {
            self.error(
                0,
                tree.syntax(),
                "the first group must take one source and one target",
                "write group Name(source a : A, target b : B)",
            );
            return None;
        };
        if source.mode != Mode::Source || target.mode != Mode::Target || !target.ty.is_concrete() {
            let hint = "write group Name(source record : A, target bundle : B)";
            self.error(0, tree.syntax(), "the first group must take a source and a target of a known type", hint);
            return None;
        }
        self.instance(0, vec![source.ty, target.ty]);
        self.compile_pending();
        for group in 1..self.groups.len() {
            let types: Vec<Type> = self.groups[group].parameters.iter().map(|each| each.ty).collect();
            let open = |each: &Parameter| each.mode == Mode::Target && each.ty == Type::Any;
            let called = self.instances.keys().any(|(known, _)| *known == group);
            let by_type = self.groups[group].tree.type_mode().is_some();
            // A group of another file that takes whatever its callers pass is left to the maps that call it.
            let is_of_callers = self.groups[group].file != 0
                && self.groups[group].parameters.iter().any(|each| each.mode == Mode::Source && each.ty == Type::Any);
            if (by_type || !called && !is_of_callers) && !self.groups[group].parameters.iter().any(open) {
                self.instance(group, types);
                self.compile_pending();
            }
        }
        if self.rules.is_empty() {
            self.error(0, tree.syntax(), "the map has no rule", "write source.element -> target.element; in its group");
        }
        self.check_calls_end();
        Some((source.ty, target.ty))
    }

    /// Makes the plans that are promised, and those they promise: one after the other, so that groups may call each
    /// other in a chain of any length.
    fn compile_pending(&mut self) {
        while let Some((index, group, types)) = self.pending.pop_front() {
            let (file, tree) = (self.groups[group].file, self.groups[group].tree.clone());
            if self.afford(file, tree.syntax(), usize::from(tree.syntax().text_range().len())).is_none() {
                self.pending.clear();
                return;
            }
            self.plans[index] = self.group_plan(group, types);
        }
    }

    /// Takes `bytes` of what may still be compiled; a fault once nothing is left.
    pub(super) fn afford(&mut self, file: usize, node: &SyntaxNode, bytes: usize) -> Option<()> {
        match self.budget.checked_sub(bytes) {
            Some(left) => {
                self.budget = left;
                Some(())
            }
            None => {
                self.budget = 0;
                let hint = "give the parameters of groups their types, and shorten the constants";
                self.error_of(
                    Code::Limit,
                    file,
                    node,
                    "there is too much text to compile, counting groups once for each of their types",
                    hint,
                );
                None
            }
        }
    }

    /// The place of the plan of `group` for arguments of these types.
    pub(super) fn instance(&mut self, group: usize, types: Vec<Type>) -> usize {
        if let Some(&known) = self.instances.get(&(group, types.clone())) {
            return known;
        }
        let index = self.plans.len();
        self.plans.push(GroupPlan::default());
        self.instances.insert((group, types.clone()), index);
        if index < INSTANCES {
            self.pending.push_back((index, group, types));
        } else {
            let (file, tree) = (self.groups[group].file, self.groups[group].tree.clone());
            self.pending.clear();
            let hint = "give the parameters of groups their types";
            let message = "the groups of this map are called with too many types";
            self.error_of(Code::Limit, file, tree.syntax(), message, hint);
        }
        index
    }

    fn group_plan(&mut self, group: usize, types: Vec<Type>) -> GroupPlan {
        let (file, tree) = (self.groups[group].file, self.groups[group].tree.clone());
        let mut scope = Scope {
            file,
            group: self.groups[group].name.clone(),
            variables: Vec::new(),
            shared: Vec::new(),
            slots: 0,
            source: Type::Any,
        };
        for (parameter, ty) in self.groups[group].parameters.iter().zip(types.iter().copied()) {
            let slot = scope.new_slot();
            scope.bind(Some(parameter.name.clone()), parameter.mode, slot, ty);
        }
        let extends = self.extended(group, &scope);
        let block = tree.body().map(|body| self.block(&mut scope, body.rules())).unwrap_or_default();
        GroupPlan { slots: scope.slots, types, extends, block }
    }

    /// The call of the group that `group` extends, with the parameters of the same names.
    fn extended(&mut self, group: usize, scope: &Scope) -> Option<Call> {
        let name = self.groups[group].extends.clone()?;
        let (file, tree) = (scope.file, self.groups[group].tree.clone());
        let base = self.group_called(file, tree.syntax(), &name)?;
        let (mut at, mut passed) = (Some(base), vec![group]);
        while let Some(ancestor) = at {
            if passed.contains(&ancestor) {
                let name = self.groups[ancestor].name.clone();
                let hint = "leave out one of the extends";
                self.error(file, tree.syntax(), format!("the group {name} extends itself"), hint);
                return None;
            }
            passed.push(ancestor);
            let next = self.groups[ancestor].extends.clone();
            at = next.and_then(|next| self.find_group(self.groups[ancestor].file, &next));
        }
        let parameters = self.groups[base].parameters.clone();
        let mut arguments = Vec::new();
        for (index, parameter) in parameters.iter().enumerate() {
            let named = scope.find(&parameter.name, parameter.mode);
            let variable = named.or_else(|| scope.variables.get(index).filter(|each| each.mode == parameter.mode));
            match variable {
                Some(variable) => arguments.push((Operand::Slot(variable.slot), variable.ty)),
                None => {
                    let message = format!("{name} takes {}, which {} does not", parameter.name, scope.group);
                    let hint = format!("add {} to the parameters of {}", parameter.name, scope.group);
                    self.error(file, tree.syntax(), message, hint);
                    return None;
                }
            }
        }
        self.call_with(scope, tree.syntax(), base, arguments)
    }

    fn find_group(&self, file: usize, name: &str) -> Option<usize> {
        self.groups_where(file, |group| group.name == name).first().copied()
    }

    /// The groups of a file that `fits` takes; if it has none, those of its imports.
    fn groups_where(&self, file: usize, fits: impl Fn(&Declared) -> bool) -> Vec<usize> {
        let of = |files: &[usize]| {
            let groups = self.groups.iter().enumerate();
            let fitting = groups.filter(|(_, group)| files.contains(&group.file) && fits(group));
            fitting.map(|(index, _)| index).collect::<Vec<usize>>()
        };
        let own = of(&[file]);
        if own.is_empty() { of(&self.files[file].visible) } else { own }
    }

    /// Reports that several groups are meant where there can be one.
    fn check_one_group(&mut self, file: usize, node: &impl Located, groups: &[usize]) {
        if let [first, second, ..] = groups {
            let place = |group: &usize| {
                let Declared { file, name, .. } = &self.groups[*group];
                format!("{name} of {}", self.files[*file].name)
            };
            let message = format!("two groups are meant: {} and {}", place(first), place(second));
            self.error_of(Code::Duplicate, file, node, message, "import one of the two, or rename it");
        }
    }

    fn group_called(&mut self, file: usize, node: &SyntaxNode, name: &str) -> Option<usize> {
        let meant = self.groups_where(file, |group| group.name == name);
        self.check_one_group(file, node, &meant);
        let found = meant.first().copied();
        if found.is_none() {
            let known: Vec<String> = self.groups.iter().map(|group| group.name.clone()).collect();
            let hint = crate::fhirpath::nearest(name, known);
            self.error_of(
                Code::UnknownGroup,
                file,
                node,
                format!("no group is called {name} in this map or its imports"),
                hint,
            );
        }
        found
    }

    /// The group that is the default for two types (`<<types>>`, `<<type+>>`).
    pub(super) fn group_for_types(
        &mut self,
        file: usize,
        node: &impl Located,
        source: Type,
        target: Type,
    ) -> Option<usize> {
        if source == Type::Any {
            return None;
        }
        let meant = self.groups_where(file, |group| {
            let takes = matches!(group.parameters.as_slice(), [one, other] if one.ty == source && other.ty == target);
            takes && group.tree.type_mode().is_some()
        });
        self.check_one_group(file, node, &meant);
        Some(self.instance(*meant.first()?, vec![source, target]))
    }

    pub(super) fn block(&mut self, scope: &mut Scope, rules: impl Iterator<Item = ast::Rule>) -> Block {
        scope.shared.push(Vec::new());
        let rules: Vec<ast::Rule> = rules.collect();
        self.warn_of_likeness(scope.file, &rules);
        let compiled = rules.into_iter().filter_map(|rule| {
            if self.is_hopeless() {
                return None;
            }
            let plan = self.rule(scope, &rule);
            self.report_if_dropped(scope.file, rule.syntax(), plan)
        });
        let rules = compiled.collect();
        let shared = scope.shared.pop().unwrap_or_default().into_iter().map(|(_, slot)| slot).collect();
        Block { rules, shared }
    }

    /// Two rules without a name that read and fill the same cannot be told apart in errors and lineage.
    fn warn_of_likeness(&mut self, file: usize, rules: &[ast::Rule]) {
        let look = |rule: &ast::Rule| {
            let sources: Vec<String> = rule.sources().map(|source| written(&source)).collect();
            let targets: Vec<String> =
                rule.targets().filter_map(|target| target.path()).map(|path| written(&path)).collect();
            (sources, targets)
        };
        let mut seen = HashSet::new();
        for rule in rules.iter().filter(|rule| rule.name().is_none()) {
            let own = look(rule);
            let is_empty = own.1.is_empty();
            if !seen.insert(own) && !is_empty {
                let finding = Finding {
                    severity: Severity::Warning,
                    code: Code::Duplicate,
                    message: "this rule looks like one before it, and neither has a name".to_owned(),
                    hint: "write a name before the ; of each, such as \"born\": errors and lineage tell rules by it"
                        .to_owned(),
                };
                self.report(file, rule.syntax().span(), finding);
            }
        }
    }

    fn rule(&mut self, scope: &mut Scope, rule: &ast::Rule) -> Option<RulePlan> {
        let outer = scope.variables.len();
        let list = rule.syntax().children().find(|child| child.kind() == SyntaxKind::IdentityList);
        let plan = match list {
            Some(list) => self.copied_elements(scope, rule, &list),
            None => self.rule_parts(scope, rule),
        };
        scope.variables.truncate(outer);
        plan
    }

    fn rule_parts(&mut self, scope: &mut Scope, rule: &ast::Rule) -> Option<RulePlan> {
        let index = self.rule_index(scope, rule.syntax(), rule_name(rule));
        let sources_written: Vec<ast::Source> = rule.sources().collect();
        if sources_written.len() > SOURCES {
            let hint = "bind the others in rules inside then { … }";
            self.error_of(Code::Limit, scope.file, rule.syntax(), "a rule has at most 16 sources", hint);
            return None;
        }
        let mut sources = Vec::new();
        let mut source_types = Vec::new();
        let mut is_whole = true;
        for source in &sources_written {
            match self.source(scope, source) {
                Some((plan, ty)) => {
                    sources.push(plan);
                    source_types.push(ty);
                }
                None => {
                    is_whole = false;
                    let slot = scope.new_slot();
                    scope.bind(source.alias(), Mode::Source, slot, Type::Any);
                }
            }
        }
        if !is_whole {
            self.check_rest(scope, rule);
            return None;
        }
        scope.source = if let [only] = source_types[..] { only } else { Type::Any };
        let implicit = is_implicit(rule, &sources_written).then(|| (sources[0].slot, source_types[0]));
        let mut targets = Vec::new();
        if rule.targets().count() > TARGETS {
            let hint = "cut it into several rules";
            self.error_of(Code::Limit, scope.file, rule.syntax(), "a rule has at most 1,000 targets", hint);
            return None;
        }
        for target in rule.targets() {
            match self.target(scope, &target, implicit) {
                Some((plans, _)) => {
                    if let Some(last) = plans.last() {
                        self.check_occurrences(scope, &target, &sources, &targets, last);
                    }
                    targets.extend(plans);
                }
                None => {
                    is_whole = false;
                    let slot = scope.new_slot();
                    scope.bind(target.alias(), Mode::Target, slot, Type::Any);
                }
            }
        }
        if !is_whole {
            self.check_block(scope, rule);
            return None;
        }
        let calls = self.calls(scope, rule);
        let nested = rule.dependent().and_then(|then| then.rules());
        let block = nested.map(|nested| self.block(scope, nested.rules())).unwrap_or_default();
        Some(RulePlan::new(index, sources, targets, calls, block))
    }

    /// `source -> target : a, b`: a rule `source.a -> target.a` for each element that is listed.
    fn copied_elements(&mut self, scope: &mut Scope, rule: &ast::Rule, list: &SyntaxNode) -> Option<RulePlan> {
        let (mut sources, mut targets) = (rule.sources(), rule.targets());
        let (Some(source), None, Some(target), None) = (sources.next(), sources.next(), targets.next(), targets.next())
        else {
            let hint = "write source -> target : a, b";
            self.error(scope.file, rule.syntax(), "a list of elements stands with one source and one target", hint);
            return None;
        };
        if let Some(value) = target.transform() {
            let hint = "leave the list out, or the value";
            self.error(scope.file, value.syntax(), "a target with a list of elements has no value of its own", hint);
            return None;
        }
        let index = self.rule_index(scope, rule.syntax(), rule_name(rule));
        let (source, source_type) = self.source(scope, &source)?;
        let (mut plans, target_type) = self.target(scope, &target, None)?;
        let slot = scope.new_slot();
        plans.last_mut()?.slot = Some(slot);
        let context = Variable { name: written(&target), mode: Mode::Target, slot, ty: target_type };
        let fields = list.children_with_tokens().filter_map(NodeOrToken::into_token);
        let mut rules = Vec::new();
        for field in fields.filter(|token| matches!(token.kind(), SyntaxKind::Ident | SyntaxKind::DelimitedIdent)) {
            let plan = self.copied_element(scope, &field, (source.slot, source_type), &context);
            rules.extend(self.report_if_dropped(scope.file, list, plan));
        }
        let block = Block { rules, shared: Vec::new() };
        Some(RulePlan::new(index, vec![source], plans, Vec::new(), block))
    }

    /// An element that may occur once is set once: not twice in a rule, nor for each of several items.
    fn check_occurrences(
        &mut self,
        scope: &Scope,
        written: &ast::Target,
        sources: &[SourcePlan],
        before: &[TargetPlan],
        plan: &TargetPlan,
    ) {
        let Some(element) = plan.element.as_ref().filter(|element| !element.is_array && plan.sets_a_value()) else {
            return;
        };
        let same = |other: &&TargetPlan| {
            let order = other.element.as_ref().map(|element| element.order);
            other.context == plan.context && order == Some(element.order) && other.sets_a_value()
        };
        if before.iter().find(same).is_some() {
            let message = format!("{} may occur once and is set twice in this rule", element.name);
            self.error(scope.file, written.syntax(), message, "leave one of the two out");
            return;
        }
        let is_new = before.iter().any(|other| other.slot.is_some() && other.slot == plan.context);
        let several = sources.iter().any(SourcePlan::may_give_several);
        if several && !is_new && plan.context.is_some() {
            let message = format!("{} may occur once, and this rule may set it for several items", element.name);
            let hint = "take one item with first, or choose it with where".to_owned();
            let finding = Finding { severity: Severity::Warning, code: Code::Rule, message, hint };
            self.report(scope.file, written.syntax().span(), finding);
        }
    }

    fn copied_element(
        &mut self,
        scope: &mut Scope,
        field: &SyntaxToken,
        source: (Slot, Type),
        target: &Variable,
    ) -> Option<RulePlan> {
        let name = ast::name_text(field);
        let rule = self.rule_index(scope, field, name.clone());
        let (element, ty) = self.source_element(scope.file, field, source.1, &name)?;
        let slot = scope.new_slot();
        let source = SourcePlan {
            context: source.0,
            element,
            steps: Vec::new(),
            only: None,
            repeats: true,
            cardinality: None,
            default: None,
            list_mode: None,
            condition: None,
            check: None,
            log: None,
            slot,
            is_context: false,
            is_filtered: false,
        };
        let source = source.ready();
        let mut element = self.target_element(scope.file, field, target, &name)??;
        let (transform, _) = self.implicit(scope, field, &mut element, slot, ty)?;
        let (context, list_mode) = (Some(target.slot), TargetListMode::Last);
        let target = TargetPlan { context, element: Some(element), transform, list_mode, slot: None };
        let block = Block::default();
        Some(RulePlan::new(rule, vec![source], vec![target], Vec::new(), block))
    }

    /// Finds the faults of the targets and the block of a rule whose sources are faulty.
    fn check_rest(&mut self, scope: &mut Scope, rule: &ast::Rule) {
        let before = self.diagnostics.len();
        for target in rule.targets().filter(|target| target.transform().is_some() || target.alias().is_some()) {
            if self.target(scope, &target, None).is_none() {
                let slot = scope.new_slot();
                scope.bind(target.alias(), Mode::Target, slot, Type::Any);
            }
        }
        self.drop_consequences(before);
        self.check_block(scope, rule);
    }

    /// Finds the faults of the block of a rule that is faulty itself.
    fn check_block(&mut self, scope: &mut Scope, rule: &ast::Rule) {
        let before = self.diagnostics.len();
        if let Some(nested) = rule.dependent().and_then(|then| then.rules()) {
            self.block(scope, nested.rules());
        }
        self.drop_consequences(before);
    }

    /// Forgets what only follows from a variable whose rule is faulty, and so has no type.
    fn drop_consequences(&mut self, before: usize) {
        let mut index = 0;
        self.diagnostics.retain(|each| {
            index += 1;
            index <= before || each.code != Code::UnknownType || !each.message.starts_with("the type of ")
        });
    }

    /// What cannot be compiled must not be dropped in silence: if nothing was reported, this is.
    fn report_if_dropped<T>(&mut self, file: usize, node: &SyntaxNode, compiled: Option<T>) -> Option<T> {
        if compiled.is_none() && !self.has_errors() {
            self.error(file, node, "this is not supported", "write it in another way");
        }
        compiled
    }

    fn rule_index(&mut self, scope: &Scope, place: &impl Located, name: String) -> u32 {
        let key = (scope.file, place.span().start);
        if let Some(&known) = self.rule_places.get(&key) {
            return known;
        }
        let file = &self.files[scope.file];
        let index = self.rules.len() as u32;
        let entry = Rule {
            map: file.url.clone(),
            group: scope.group.clone(),
            name,
            file: file.name.to_owned(),
            line: self.line(scope.file, key.1),
        };
        self.rules.push(entry);
        self.rule_places.insert(key, index);
        index
    }

    fn calls(&mut self, scope: &Scope, rule: &ast::Rule) -> Vec<Call> {
        let invocations: Vec<ast::Invocation> =
            rule.dependent().into_iter().flat_map(|then| then.invocations().collect::<Vec<_>>()).collect();
        let compiled = invocations.iter().filter_map(|invocation| {
            let call = self.invocation(scope, invocation);
            self.report_if_dropped(scope.file, invocation.syntax(), call)
        });
        compiled.collect()
    }

    fn invocation(&mut self, scope: &Scope, invocation: &ast::Invocation) -> Option<Call> {
        let name = invocation.name()?;
        let group = self.group_called(scope.file, invocation.syntax(), &name)?;
        let written: Vec<ast::Expr> = invocation.arguments().collect();
        let parameters = self.groups[group].parameters.clone();
        if written.len() != parameters.len() {
            let message = format!("{name} takes {} arguments and gets {}", parameters.len(), written.len());
            let names = parameters.iter().map(|each| match each.mode {
                Mode::Source => format!("source {}", each.name),
                Mode::Target => format!("target {}", each.name),
            });
            let hint = format!("it is declared {name}({})", names.collect::<Vec<_>>().join(", "));
            self.error(scope.file, invocation.syntax(), message, hint);
            return None;
        }
        let mut arguments = Vec::new();
        for (expr, parameter) in written.iter().zip(&parameters) {
            arguments.push(self.argument(scope, expr, parameter)?);
        }
        self.call_with(scope, invocation.syntax(), group, arguments)
    }

    /// An argument for a target must be a target; one for a source may be either.
    fn argument(&mut self, scope: &Scope, expr: &ast::Expr, parameter: &Parameter) -> Option<(Operand, Type)> {
        if parameter.mode == Mode::Source {
            return self.operand(scope, expr);
        }
        let name = expr.text();
        match scope.find(&name, Mode::Target) {
            Some(variable) => Some((Operand::Slot(variable.slot), variable.ty)),
            None if scope.readable(&name).is_none() => {
                self.unknown_variable(scope, expr.syntax(), &name);
                None
            }
            None => {
                let message = format!("{} takes a target, and {name} is none", parameter.name);
                self.error(scope.file, expr.syntax(), message, "pass a variable that a target has bound with as");
                None
            }
        }
    }

    fn call_with(
        &mut self,
        scope: &Scope,
        node: &SyntaxNode,
        group: usize,
        arguments: Vec<(Operand, Type)>,
    ) -> Option<Call> {
        let parameters = self.groups[group].parameters.clone();
        let mut types = Vec::new();
        for (parameter, (_, ty)) in parameters.iter().zip(&arguments) {
            types.push(self.parameter_type(scope, node, parameter, *ty)?);
        }
        let arguments = arguments.into_iter().map(|(operand, _)| operand).collect();
        Some(Call { group: self.instance(group, types), arguments })
    }

    /// The type that a parameter has in a call: the narrower of the declared and the given one.
    fn parameter_type(&mut self, scope: &Scope, node: &SyntaxNode, parameter: &Parameter, given: Type) -> Option<Type> {
        let declared = parameter.ty;
        let both_primitive = parameter.mode == Mode::Source && given.is_primitive() && declared.is_primitive();
        if declared == Type::Any || given.is_a(declared) || both_primitive {
            return Some(given);
        }
        if given == Type::Any || declared.is_a(given) {
            return Some(declared);
        }
        let (wanted, got) = (self.types.name(declared).to_owned(), self.types.name(given).to_owned());
        let message = format!("{} takes a {wanted} and gets a {got}", parameter.name);
        self.error_of(
            Code::TypeMismatch,
            scope.file,
            node,
            message,
            format!("pass a {wanted}, or leave the type of the parameter out"),
        );
        None
    }
}

/// Whether it is `source.x -> target.y` and no more: then the value is copied, or mapped by its type's group.
fn is_implicit(rule: &ast::Rule, sources: &[ast::Source]) -> bool {
    let mut targets = rule.targets();
    let (Some(target), None, [source]) = (targets.next(), targets.next(), sources) else { return false };
    let has_element = |path: Option<ast::QualifiedName>| path.is_some_and(|path| path.segments().len() > 1);
    rule.dependent().is_none()
        && source.alias().is_none()
        && has_element(source.path())
        && has_element(target.path())
        && target.transform().is_none()
        && target.alias().is_none()
        && target.list_mode().is_none()
}
