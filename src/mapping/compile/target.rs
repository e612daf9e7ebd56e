//! The target side of a rule, and its transforms.

use fml_syntax::ast::{self, TransformValue};
use fml_syntax::{AstNode, SyntaxKind, SyntaxNode};

use super::super::date_op::DateOp;
use super::super::diagnostic::Code;
use super::super::escape::Escaping;
use super::super::plan::{
    CodingPlan, ElementPlan, Member, Operand, Slot, TargetListMode, TargetPlan, Template, Transform, TranslateTo,
};
use super::super::quantity::{Part, Quantity};
use super::super::types::Type;
use super::super::values::is_well_formed;
use super::expression::{Written, literal_operand};
use super::{Compiler, Located, Mode, Scope, Variable};

/// The transforms of the language, with how they are written.
const TRANSFORMS: &[(&str, &str)] = &[
    ("create", "create('Type')"),
    ("copy", "copy(value)"),
    ("truncate", "truncate(value, length)"),
    ("escape", "escape(value, 'plain', 'xml')"),
    ("cast", "cast(value, 'type')"),
    ("append", "append(value, …)"),
    ("translate", "translate(value, 'concept map', 'code')"),
    ("reference", "reference(resource)"),
    ("dateOp", "dateOp(value), dateOp(value, 'date') or dateOp(value, 5, 'days')"),
    ("uuid", "uuid()"),
    ("pointer", "pointer(resource)"),
    ("evaluate", "evaluate(value, expression)"),
    ("cc", "cc('text') or cc('system', 'code', 'display')"),
    ("c", "c('system', 'code', 'display')"),
    ("qty", "qty('5 mg') or qty(value, 'unit', 'system', 'code')"),
    ("id", "id('system', value, 'type')"),
    ("cp", "cp(value) or cp('phone', value)"),
];

impl Compiler<'_> {
    /// Compiles a target and binds its variable. `implicit` is the source of a rule that only says `a.x -> b.y`.
    pub(super) fn target(
        &mut self,
        scope: &mut Scope,
        target: &ast::Target,
        implicit: Option<(Slot, Type)>,
    ) -> Option<(Vec<TargetPlan>, Type)> {
        let mut plans = Vec::new();
        let (context, mut element) = match target.path() {
            Some(path) => {
                let (variable, element) = self.target_path(scope, &path, &mut plans)?;
                (Some(variable), element)
            }
            None => (None, None),
        };
        let list_mode = self.target_list_mode(scope, target)?;
        let (transform, ty) = match (target.transform(), implicit) {
            (Some(value), _) => {
                let (transform, ty) = self.transform(scope, &value, element.as_ref())?;
                self.check_literal(scope.file, target.syntax(), &transform, element.as_ref())?;
                let context_type = context.as_ref().map(|variable| variable.ty);
                let ty = self.fit(scope.file, target.syntax(), element.as_mut(), context_type, ty)?;
                (transform, ty)
            }
            (None, Some((slot, source))) => self.implicit(scope, target.syntax(), element.as_mut()?, slot, source)?,
            (None, None) => self.element_transform(scope, target.syntax(), context.as_ref()?, element.as_ref())?,
        };
        let slot = target.alias().map(|_| scope.new_slot());
        if let Some(slot) = slot {
            scope.bind(target.alias(), Mode::Target, slot, ty);
        }
        let context = context.map(|variable| variable.slot);
        plans.push(TargetPlan { context, element, transform, list_mode, slot });
        Some((plans, ty))
    }

    /// The variable and element that a target sets. For `a.b.c` it is the `c` of a `b` that `plans` then make.
    fn target_path(
        &mut self,
        scope: &mut Scope,
        path: &ast::QualifiedName,
        plans: &mut Vec<TargetPlan>,
    ) -> Option<(Variable, Option<ElementPlan>)> {
        let segments = path.segments();
        let (name, elements) = segments.split_first()?;
        let mut variable = self.target_variable(scope, path, name)?;
        let Some((last, between)) = elements.split_last() else { return Some((variable, None)) };
        for name in between {
            let name = name.trim_end_matches("[x]");
            let element = self.target_element(scope.file, path.syntax(), &variable, name)?;
            let (_, ty) = self.element_transform(scope, path.syntax(), &variable, element.as_ref())?;
            let slot = scope.new_slot();
            let (context, transform, list_mode) = (Some(variable.slot), Transform::Element, TargetListMode::Last);
            plans.push(TargetPlan { context, element, transform, list_mode, slot: Some(slot) });
            variable = Variable { name: name.to_owned(), mode: Mode::Target, slot, ty };
        }
        let element = self.target_element(scope.file, path.syntax(), &variable, last.trim_end_matches("[x]"))?;
        Some((variable, element))
    }

    fn target_variable(&mut self, scope: &Scope, path: &ast::QualifiedName, name: &str) -> Option<Variable> {
        let Some(variable) = scope.find(name, Mode::Target).cloned() else {
            match scope.find(name, Mode::Source) {
                Some(_) => {
                    let targets = scope.variables.iter().filter(|known| known.mode == Mode::Target);
                    let targets: Vec<&str> = targets.map(|known| known.name.as_str()).collect();
                    let hint = format!("set an element of a target; here that is {}", targets.join(", "));
                    self.error(scope.file, path.syntax(), format!("{name} is a source and cannot be set"), hint);
                }
                None => self.unknown_variable(scope, path.syntax(), name),
            }
            return None;
        };
        Some(variable)
    }

    /// The element `name` of a target; `None` inside for the value of a primitive, which is the primitive itself.
    pub(super) fn target_element(
        &mut self,
        file: usize,
        node: &impl Located,
        variable: &Variable,
        name: &str,
    ) -> Option<Option<ElementPlan>> {
        let ty = variable.ty;
        if ty.is_primitive() && name == "value" {
            return Some(None);
        }
        if let Some(field) = self.types.field(ty, name) {
            let (order, is_array, spellings) = (field.order, field.is_array, field.spellings);
            return Some(Some(ElementPlan { name: name.into(), order, is_array, spellings }));
        }
        if ty.is_concrete() {
            let hint = crate::fhirpath::nearest(name, self.types.names(ty));
            let message = format!("{} has no element {name}", self.types.name(ty));
            self.error_of(Code::UnknownElement, file, node, message, hint);
        } else {
            let message = format!("the type of {} is not known, so neither is its element {name}", variable.name);
            let hint = "give the parameter a type, or bind the variable with create('Type')";
            self.error_of(Code::UnknownType, file, node, message, hint);
        }
        None
    }

    fn target_list_mode(&mut self, scope: &mut Scope, target: &ast::Target) -> Option<TargetListMode> {
        match target.list_mode() {
            None | Some(ast::ListMode::Last) => Some(TargetListMode::Last),
            Some(ast::ListMode::First) => Some(TargetListMode::First),
            Some(ast::ListMode::Single | ast::ListMode::Collate | ast::ListMode::Share(_)) if !goes_on(target) => {
                let hint = "leave the list mode out, or set the elements of the item one by one";
                let message = "share, single and collate stand with an element that is made, not with a value";
                self.error(scope.file, target.syntax(), message, hint);
                None
            }
            Some(ast::ListMode::Single | ast::ListMode::Collate) => Some(TargetListMode::Reuse),
            Some(ast::ListMode::Share(id)) => Some(TargetListMode::Share(shared_slot(scope, id))),
            Some(_) => {
                let hint = "a target takes first, last, single, collate, or share with a name";
                self.error(scope.file, target.syntax(), "this list mode is one of a source", hint);
                None
            }
        }
    }

    /// A target without a transform: the element is made, so its type must be known.
    fn element_transform(
        &mut self,
        scope: &Scope,
        node: &impl Located,
        context: &Variable,
        element: Option<&ElementPlan>,
    ) -> Option<(Transform, Type)> {
        let Some(element) = element else { return Some((Transform::Element, context.ty)) };
        let ty = only_type(element);
        if ty.is_concrete() {
            return Some((Transform::Element, ty));
        }
        let message = format!("{} can be of several types", element.name);
        let hint = format!("say which: {}.{} = create('Type')", context.name, element.name);
        self.error(scope.file, node, message, hint);
        None
    }

    /// `source.x -> target.y`: by the group for the two types, or else a copy of the same type.
    pub(super) fn implicit(
        &mut self,
        scope: &Scope,
        node: &impl Located,
        element: &mut ElementPlan,
        slot: Slot,
        source: Type,
    ) -> Option<(Transform, Type)> {
        for index in 0..element.spellings.len() {
            let ty = element.spellings[index].ty;
            if let Some(group) = self.group_for_types(scope.file, node, source, ty) {
                element.spellings = vec![element.spellings.swap_remove(index)];
                return Some((Transform::Implicit(Operand::Slot(slot), Some(group)), ty));
            }
        }
        let ty = self.fit(scope.file, node, Some(element), None, source)?;
        Some((Transform::Implicit(Operand::Slot(slot), None), ty))
    }

    /// Checks that a value of type `given` can stand in the element, and keeps of a choice the spelling for it. The
    /// type the element then has.
    fn fit(
        &mut self,
        file: usize,
        node: &impl Located,
        element: Option<&mut ElementPlan>,
        context: Option<Type>,
        given: Type,
    ) -> Option<Type> {
        let Some(element) = element else {
            let misfit = context.is_some_and(|ty| !ty.is_primitive());
            if misfit {
                let hint = "set an element of it";
                self.error(file, node, "only a primitive can be set as a whole", hint);
            }
            return (!misfit).then_some(context.unwrap_or(given));
        };
        if element.spellings.len() > 1 {
            return self.fit_choice(file, node, element, given);
        }
        let wanted = only_type(element);
        let fits = match (given, wanted) {
            (Type::Any, _) | (_, Type::Any) => true,
            (given, wanted) if !given.is_concrete() => given.is_a(wanted) || wanted.is_a(given),
            (given, wanted) => given.is_a(wanted) || (given.is_primitive() && wanted.is_primitive()),
        };
        if fits {
            return Some(if wanted.is_concrete() { wanted } else { given });
        }
        let hint = how_to_make(wanted, &element.name);
        let (wanted, given) = (self.types.name(wanted).to_owned(), self.types.name(given).to_owned());
        let message = format!("{} is a {wanted} and cannot be set to a {given}", element.name);
        self.error_of(Code::TypeMismatch, file, node, message, hint);
        None
    }

    fn fit_choice(&mut self, file: usize, node: &impl Located, element: &mut ElementPlan, given: Type) -> Option<Type> {
        if given == Type::Any {
            return Some(Type::Any);
        }
        if let Some(spelling) = element.spelling_for(given).cloned() {
            element.spellings = vec![spelling];
            return Some(given);
        }
        let names: Vec<&str> = element.spellings.iter().map(|each| self.types.name(each.ty)).take(8).collect();
        let message = format!("{} cannot be a {}", element.name, self.types.name(given));
        let hint = match given.is_primitive() {
            true => format!("cast it, such as cast(value, '{}')", names.first().unwrap_or(&"string")),
            false => format!("it can be {}", names.join(", ")),
        };
        self.error_of(Code::TypeMismatch, file, node, message, hint);
        None
    }

    /// A literal that JSON could not write as the element's type is a fault of the map.
    fn check_literal(
        &mut self,
        file: usize,
        node: &SyntaxNode,
        transform: &Transform,
        element: Option<&ElementPlan>,
    ) -> Option<()> {
        let (Transform::Copy(Operand::Constant(text, _)), Some(element)) = (transform, element) else {
            return Some(());
        };
        if element.spellings.len() > 1 || is_well_formed(text, only_type(element)) {
            return Some(());
        }
        let message = format!("{} is a {}, and {text} is none", element.name, self.types.name(only_type(element)));
        let hint = if only_type(element) == Type::fhir("boolean") { "write true or false" } else { "write a number" };
        self.error(file, node, message, hint);
        None
    }

    /// What `value` makes for `element`.
    fn transform(
        &mut self,
        scope: &Scope,
        value: &TransformValue,
        element: Option<&ElementPlan>,
    ) -> Option<(Transform, Type)> {
        match value {
            TransformValue::Literal(literal) => {
                let (operand, ty) = literal_operand(literal)?;
                Some((Transform::Copy(operand), ty))
            }
            TransformValue::Name(path) => {
                let (operand, ty) = self.path_operand(scope, path)?;
                Some((Transform::Copy(operand), ty))
            }
            TransformValue::Expression(expression) => {
                let plan = self.expression(scope, expression)?;
                Some((Transform::Copy(Operand::Expression(Box::new(plan), None)), Type::Any))
            }
            TransformValue::Invocation(invocation) => {
                let name = invocation.name()?;
                let arguments: Vec<ast::Expr> = invocation.arguments().collect();
                self.named_transform(scope, invocation, &name, &arguments, element)
            }
        }
    }

    /// `a` or `a.b.c` behind an equals sign.
    fn path_operand(&mut self, scope: &Scope, path: &ast::QualifiedName) -> Option<(Operand, Type)> {
        let segments = path.segments();
        let (name, steps) = segments.split_first()?;
        if let Some(variable) = scope.readable(name).cloned() {
            let (mut ty, mut spellings) = (variable.ty, Vec::new());
            for step in steps {
                let (found, next) = self.source_element(scope.file, path.syntax(), ty, step.trim_end_matches("[x]"))?;
                spellings.extend(found);
                ty = next;
            }
            let operand = match spellings.is_empty() {
                true => Operand::Slot(variable.slot),
                false => Operand::Path(variable.slot, spellings),
            };
            return Some((operand, ty));
        }
        match self.named_constant(scope, name) {
            Some(value) if steps.is_empty() => self.operand(scope, &value),
            _ => {
                self.unknown_variable(scope, path.syntax(), name);
                None
            }
        }
    }

    fn named_transform(
        &mut self,
        scope: &Scope,
        invocation: &ast::Invocation,
        name: &str,
        arguments: &[ast::Expr],
        element: Option<&ElementPlan>,
    ) -> Option<(Transform, Type)> {
        let node = invocation.syntax();
        match (name, arguments) {
            ("create", _) => self.create(scope, node, arguments, element),
            ("copy", [value]) => {
                let (operand, ty) = self.operand(scope, value)?;
                Some((Transform::Copy(operand), ty))
            }
            ("truncate", [value, length]) => {
                let length = self.constant_text(scope, length)?;
                let Ok(length) = length.parse() else {
                    let hint = "write truncate(value, 20)";
                    self.error(scope.file, node, "truncate takes a number of characters", hint);
                    return None;
                };
                Some((Transform::Truncate(self.primitive(scope, name, value)?.0, length), Type::fhir("string")))
            }
            ("append", [_, ..]) => {
                let operands =
                    arguments.iter().map(|each| Some(self.primitive(scope, name, each)?.0)).collect::<Option<_>>()?;
                Some((Transform::Append(operands), Type::fhir("string")))
            }
            ("cast", [value, ty]) => {
                let ty = self.text_of(ty);
                self.cast(scope, node, value, Type::fhir(&ty), &ty)
            }
            ("cast", [value]) => match element.map(only_type).filter(|ty| ty.is_primitive()) {
                Some(ty) => self.cast(scope, node, value, ty, ""),
                None => {
                    self.error(scope.file, node, "cast needs the type to cast to", "write cast(value, 'string')");
                    None
                }
            },
            ("translate", [value, map, to]) => self.translate(scope, node, value, map, &self.text_of(to)),
            ("translate", [value, map]) => self.translate(scope, node, value, map, "Coding"),
            ("reference", [value]) => {
                Some((Transform::Reference(self.resource(scope, name, value)?), Type::fhir("string")))
            }
            ("pointer", [value]) => Some((Transform::Pointer(self.resource(scope, name, value)?), Type::fhir("uri"))),
            ("uuid", []) => Some((Transform::Uuid(self.uuid(scope, node)), Type::fhir("id"))),
            ("evaluate", [expression]) => self.evaluate(scope, None, expression),
            ("evaluate", [focus, expression]) => self.evaluate(scope, Some(focus), expression),
            ("cc" | "c" | "qty" | "id" | "cp", _) => self.build(scope, node, name, arguments),
            ("escape", [value, to]) => self.escape(scope, node, value, "plain", &self.text_of(to)),
            ("escape", [value, from, to]) => self.escape(scope, node, value, &self.text_of(from), &self.text_of(to)),
            ("dateOp", [value, rest @ ..]) => self.date_op(scope, node, value, rest),
            _ => {
                self.no_such_transform(scope, node, name, arguments.len());
                None
            }
        }
    }

    /// An argument that must be a primitive.
    fn primitive(&mut self, scope: &Scope, transform: &str, value: &ast::Expr) -> Option<(Operand, Type)> {
        let (operand, ty) = self.operand(scope, value)?;
        if ty.is_concrete() && !ty.is_primitive() {
            let message = format!("{transform} takes a primitive, and {} is a {}", value.text(), self.types.name(ty));
            self.error_of(
                Code::TypeMismatch,
                scope.file,
                value.syntax(),
                message,
                "name the element that holds the value",
            );
            return None;
        }
        Some((operand, ty))
    }

    /// An argument that must be a resource.
    fn resource(&mut self, scope: &Scope, transform: &str, value: &ast::Expr) -> Option<Operand> {
        let (operand, ty) = self.operand(scope, value)?;
        if ty.is_concrete() && !ty.is_resource() {
            let message = format!("{transform} takes a resource, and {} is a {}", value.text(), self.types.name(ty));
            let hint = "pass the variable that create('Type') has bound";
            self.error_of(Code::TypeMismatch, scope.file, value.syntax(), message, hint);
            return None;
        }
        Some(operand)
    }

    fn no_such_transform(&mut self, scope: &Scope, node: &SyntaxNode, name: &str, arguments: usize) {
        match TRANSFORMS.iter().find(|(known, _)| *known == name) {
            Some((_, form)) => {
                let plural = if arguments == 1 { "" } else { "s" };
                let message = format!("{name} does not take {arguments} argument{plural}");
                self.error_of(Code::UnknownTransform, scope.file, node, message, format!("write {form}"));
            }
            None => {
                let hint = crate::fhirpath::nearest(name, TRANSFORMS.iter().map(|(known, _)| (*known).to_owned()));
                let message = format!("there is no transform {name}");
                self.error_of(Code::UnknownTransform, scope.file, node, message, hint);
            }
        }
    }

    fn escape(
        &mut self,
        scope: &Scope,
        node: &SyntaxNode,
        value: &ast::Expr,
        from: &str,
        to: &str,
    ) -> Option<(Transform, Type)> {
        let (operand, _) = self.primitive(scope, "escape", value)?;
        match (Escaping::named(from), Escaping::named(to)) {
            (Some(from), Some(to)) => Some((Transform::Escape(operand, from, to), Type::fhir("string"))),
            (known, _) => {
                let wrong = if known.is_some() { to } else { from };
                self.error(scope.file, node, format!("{wrong} is no escaping"), "name plain, java, xml or json");
                None
            }
        }
    }

    fn date_op(
        &mut self,
        scope: &Scope,
        node: &SyntaxNode,
        value: &ast::Expr,
        rest: &[ast::Expr],
    ) -> Option<(Transform, Type)> {
        let (operand, given) = self.primitive(scope, "dateOp", value)?;
        let texts: Vec<String> = rest.iter().map(|each| self.text_of(each)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let (operation, ty) = match texts.as_slice() {
            [] => (Some(DateOp::Read), given),
            ["date"] => (Some(DateOp::CutToDate), Type::fhir("date")),
            [amount, unit] => (DateOp::moving(amount, unit), given),
            _ => (None, given),
        };
        let Some(operation) = operation else {
            let hint = "write dateOp(value), dateOp(value, 'date') or dateOp(value, 5, 'days')";
            self.error(scope.file, node, "dateOp does not take these arguments", hint);
            return None;
        };
        let ty = match ty.fhir_name() {
            Some("date") => ty,
            Some("dateTime" | "instant") => Type::fhir("dateTime"),
            _ => Type::Any,
        };
        Some((Transform::DateOp(operand, Box::new(operation)), ty))
    }

    fn uuid(&mut self, scope: &Scope, node: &SyntaxNode) -> u32 {
        let next = self.uuids.len() as u32;
        *self.uuids.entry((scope.file, node.span().start)).or_insert(next)
    }

    fn text_of(&self, expr: &ast::Expr) -> String {
        let literal = ast::Literal::cast(expr.unparenthesized().syntax().clone());
        literal.and_then(|literal| literal.value()).unwrap_or_else(|| expr.text())
    }

    /// The text of an argument that must be a literal, or a constant of the map.
    fn constant_text(&mut self, scope: &Scope, expr: &ast::Expr) -> Option<String> {
        match self.operand(scope, expr)?.0 {
            Operand::Constant(text, _) => Some(text.into()),
            _ => {
                self.error(
                    scope.file,
                    expr.syntax(),
                    "this argument must be a literal",
                    "write it in quotes, or as a constant (let)",
                );
                None
            }
        }
    }

    fn create(
        &mut self,
        scope: &Scope,
        node: &SyntaxNode,
        arguments: &[ast::Expr],
        element: Option<&ElementPlan>,
    ) -> Option<(Transform, Type)> {
        let ty = match arguments {
            [] => return self.create_as_needed(scope, node, element),
            [name] => {
                let name = self.constant_text(scope, name)?;
                let found = self.type_named(scope.file, &name).filter(|ty| ty.is_concrete());
                if found.is_none() {
                    let aliases = self.files[scope.file].uses.iter().map(|(alias, _)| alias.clone());
                    let known = crate::fhir::r4::types().into_iter().map(|row| row.name.to_owned()).chain(aliases);
                    let hint = match crate::fhirpath::nearest(&name, known.collect::<Vec<_>>()) {
                        hint if hint.is_empty() => "name a type of FHIR R4, or a model that the map uses".to_owned(),
                        hint => hint,
                    };
                    let message = format!("{name} is not a type that can be created");
                    self.error_of(Code::UnknownType, scope.file, node, message, hint);
                    return None;
                }
                found
            }
            _ => None,
        };
        match ty {
            Some(ty) => Some((Transform::Create(ty), ty)),
            None => {
                self.error(scope.file, node, "create must say which type", "write create('Type')");
                None
            }
        }
    }

    /// `create()`: the type of the element, or of several the one that a group for types makes of the source, or that of
    /// the source itself.
    fn create_as_needed(
        &mut self,
        scope: &Scope,
        node: &SyntaxNode,
        element: Option<&ElementPlan>,
    ) -> Option<(Transform, Type)> {
        let types: Vec<Type> = element.iter().flat_map(|element| &element.spellings).map(|each| each.ty).collect();
        let ty = match types[..] {
            [only] => Some(only),
            _ => {
                let by_group =
                    types.iter().find(|ty| self.group_for_types(scope.file, node, scope.source, **ty).is_some());
                by_group.or_else(|| types.iter().find(|ty| **ty == scope.source)).copied()
            }
        };
        if let Some(ty) = ty.filter(|ty| ty.is_concrete()) {
            return Some((Transform::Create(ty), ty));
        }
        let (message, hint) = match element {
            Some(element) => {
                let names: Vec<String> =
                    types.iter().take(8).map(|ty| format!("create('{}')", self.types.name(*ty))).collect();
                let hint = match types[..] {
                    [_, _, ..] => format!("say which: {}", names.join(", ")),
                    _ => "say which: create('Type')".to_owned(),
                };
                (format!("{} can be of several types, and the source does not tell which", element.name), hint)
            }
            None => ("create must say which type".to_owned(), "write create('Type')".to_owned()),
        };
        self.error(scope.file, node, message, hint);
        None
    }

    fn cast(
        &mut self,
        scope: &Scope,
        node: &SyntaxNode,
        value: &ast::Expr,
        ty: Type,
        name: &str,
    ) -> Option<(Transform, Type)> {
        if !ty.is_primitive() {
            let hint = crate::fhirpath::nearest(name, primitives());
            self.error(scope.file, node, format!("{name} is not a primitive type of FHIR"), hint);
            return None;
        }
        let (operand, _) = self.primitive(scope, "cast", value)?;
        Some((Transform::Cast(operand, ty), ty))
    }

    fn translate(
        &mut self,
        scope: &Scope,
        node: &SyntaxNode,
        value: &ast::Expr,
        map: &ast::Expr,
        to: &str,
    ) -> Option<(Transform, Type)> {
        let (operand, _) = self.operand(scope, value)?;
        let url = self.constant_text(scope, map)?;
        if let Some(fault) = self.concept_map_fault(&url).filter(|_| !url.contains('#')) {
            let hint = "give the code one target, or translate by another concept map";
            self.error(scope.file, node, format!("the concept map {url} cannot be used: {fault}"), hint);
            return None;
        }
        let Some(map) = self.concept_map(scope.file, &url) else {
            let known = self.concept_names.keys().filter(|(file, _)| file.is_none_or(|file| file == scope.file));
            let near = crate::fhirpath::nearest(url.trim_start_matches('#'), known.map(|(_, url)| url.clone()));
            let hint = match near.is_empty() {
                true => "write it in this file as conceptmap, or give the ConceptMap resource: with --with, or in a site's profiles/".to_owned(),
                false => near,
            };
            let message = format!("no concept map is called {url}");
            self.error_of(Code::UnknownConceptMap, scope.file, node, message, hint);
            return None;
        };
        let (to, ty) = match to {
            "code" => (TranslateTo::Code, Type::fhir("code")),
            "display" | "string" => (TranslateTo::Display, Type::fhir("string")),
            "system" | "uri" => (TranslateTo::System, Type::fhir("uri")),
            "Coding" | "coding" => (TranslateTo::Coding(self.coding_plan()?), Type::fhir("Coding")),
            "CodeableConcept" => {
                let coding = ElementPlan::fhir(&self.types, "CodeableConcept", "coding")?;
                (TranslateTo::CodeableConcept(coding, self.coding_plan()?), Type::fhir("CodeableConcept"))
            }
            other => {
                let hint = "ask for code, system, display, Coding or CodeableConcept";
                self.error(scope.file, node, format!("translate gives no {other}"), hint);
                return None;
            }
        };
        Some((Transform::Translate(operand, map, Box::new(to)), ty))
    }

    fn coding_plan(&self) -> Option<CodingPlan> {
        let element = |name| ElementPlan::fhir(&self.types, "Coding", name);
        Some(CodingPlan { system: element("system")?, code: element("code")?, display: element("display")? })
    }

    /// `evaluate(focus, expression)`; older maps give the expression as a string.
    fn evaluate(&mut self, scope: &Scope, focus: Option<&ast::Expr>, written: &ast::Expr) -> Option<(Transform, Type)> {
        let focus = match focus {
            None => None,
            Some(expr) => match scope.readable(&expr.text()) {
                Some(variable) => Some((variable.slot, variable.ty)),
                None => {
                    self.unknown_variable(scope, expr.syntax(), &expr.text());
                    return None;
                }
            },
        };
        let plan = match written.unparenthesized().syntax().kind() {
            SyntaxKind::Literal if focus.is_some() => {
                let text = self.text_of(written);
                let mut used: Vec<Variable> = Vec::new();
                for variable in scope.variables.iter().rev().filter(|each| text.contains(&each.name)) {
                    let readable = scope.readable(&variable.name).is_some_and(|each| each.slot == variable.slot);
                    used.extend(readable.then(|| variable.clone()));
                }
                // Behind the opening quote.
                let start = written.syntax().span().start + 1;
                let places = vec![(0, start..start + text.len())];
                self.checked(scope, written.syntax(), Written { text, used, places }, focus.map(|(_, ty)| ty), false)?
            }
            _ => self.expression_on(scope, written, focus.map(|(_, ty)| ty))?,
        };
        let slot = focus.map(|(slot, _)| slot);
        Some((Transform::Copy(Operand::Expression(Box::new(plan), slot)), Type::Any))
    }

    /// The transforms that make a data type of several values.
    fn build(
        &mut self,
        scope: &Scope,
        node: &SyntaxNode,
        name: &str,
        arguments: &[ast::Expr],
    ) -> Option<(Transform, Type)> {
        let (ty, names): (&str, &[&str]) = match (name, arguments.len()) {
            ("c", 2) | ("cc", 2) => ("Coding", &["system", "code"]),
            ("c", 3) | ("cc", 3) => ("Coding", &["system", "code", "display"]),
            ("cc", 1) => ("CodeableConcept", &["text"]),
            ("qty", 2) => ("Quantity", &["value", "unit"]),
            ("qty", 4) => ("Quantity", &["value", "unit", "system", "code"]),
            ("qty", 1) => return self.quantity(scope, &arguments[0]),
            ("qty", 3) => ("Quantity", &["value", "unit", "system"]),
            ("id", 1) => ("Identifier", &["value"]),
            ("id", 2 | 3) => ("Identifier", &["system", "value"]),
            ("cp", 1) => ("ContactPoint", &["value"]),
            ("cp", 2) => ("ContactPoint", &["system", "value"]),
            _ => {
                self.no_such_transform(scope, node, name, arguments.len());
                return None;
            }
        };
        let mut members = Vec::new();
        if (name, arguments.len()) == ("cp", 1) {
            let (operand, _) = self.operand(scope, &arguments[0])?;
            members.push((ElementPlan::fhir(&self.types, ty, "system")?, Member::ContactSystem(operand)));
        }
        for (member, argument) in names.iter().zip(arguments) {
            let (operand, _) = self.primitive(scope, name, argument)?;
            members.push((ElementPlan::fhir(&self.types, ty, member)?, Member::Value(operand)));
        }
        if let ("id", [_, _, code]) = (name, arguments) {
            let code = self.operand(scope, code)?.0;
            members.push((ElementPlan::fhir(&self.types, ty, "type")?, Member::Nested(self.identifier_type(code)?)));
        }
        let template = Template { ty: Type::fhir(ty), members };
        if name != "cc" || ty != "Coding" {
            return Some((Transform::Build(Box::new(template)), Type::fhir(ty)));
        }
        let concept = Type::fhir("CodeableConcept");
        let coding = ElementPlan::fhir(&self.types, "CodeableConcept", "coding")?;
        let template = Template { ty: concept, members: vec![(coding, Member::Nested(template))] };
        Some((Transform::Build(Box::new(template)), concept))
    }

    /// `qty(text)`: comparator, value and unit as the text tells them.
    fn quantity(&mut self, scope: &Scope, text: &ast::Expr) -> Option<(Transform, Type)> {
        let mut members = Vec::new();
        for (name, part) in [("comparator", Part::Comparator), ("value", Part::Value), ("unit", Part::Unit)] {
            let (operand, _) = self.primitive(scope, "qty", text)?;
            if let Operand::Constant(constant, _) = &operand
                && Quantity::read(constant).is_none()
            {
                let hint = "write a number and a unit, such as qty('5 mg')";
                self.error(scope.file, text.syntax(), format!("{constant} is no quantity"), hint);
                return None;
            }
            members.push((ElementPlan::fhir(&self.types, "Quantity", name)?, Member::Quantity(operand, part)));
        }
        let ty = Type::fhir("Quantity");
        Some((Transform::Build(Box::new(Template { ty, members })), ty))
    }

    /// `Identifier.type` of a code of the identifier types (HL7 v2 table 0203).
    fn identifier_type(&self, code: Operand) -> Option<Template> {
        let constant = |text: &str| Member::Value(Operand::Constant(text.into(), Type::fhir("string")));
        let system = constant("http://terminology.hl7.org/CodeSystem/v2-0203");
        let coding = Template {
            ty: Type::fhir("Coding"),
            members: vec![
                (ElementPlan::fhir(&self.types, "Coding", "system")?, system),
                (ElementPlan::fhir(&self.types, "Coding", "code")?, Member::Value(code)),
            ],
        };
        let codings = ElementPlan::fhir(&self.types, "CodeableConcept", "coding")?;
        Some(Template { ty: Type::fhir("CodeableConcept"), members: vec![(codings, Member::Nested(coding))] })
    }
}

/// The names of the primitive types.
fn primitives() -> impl Iterator<Item = String> {
    let names = crate::fhir::r4::types().into_iter().map(|row| row.name);
    names.filter(|name| Type::fhir(name).is_primitive()).map(str::to_owned)
}

/// How a map makes a value of a type, as a hint.
fn how_to_make(wanted: Type, element: &str) -> String {
    match wanted.fhir_name() {
        Some("CodeableConcept") => "make one with cc('system', code), or translate(…, 'CodeableConcept')".to_owned(),
        Some("Coding") => "make one with c('system', code), or translate(…, 'Coding')".to_owned(),
        Some("Quantity") => "make one with qty(value, 'unit')".to_owned(),
        Some("Identifier") => "make one with id('system', value)".to_owned(),
        Some("ContactPoint") => "make one with cp('phone', value)".to_owned(),
        Some("Reference") => {
            format!("bind it, and set its reference: {element} as r, r.reference = reference(resource)")
        }
        _ if wanted.is_primitive() => "name the element that holds the value".to_owned(),
        _ => format!("bind it with as, and set its elements: {element} as x, x.… = …"),
    }
}

/// Whether a target goes on filling an item: it has no value of its own.
fn goes_on(target: &ast::Target) -> bool {
    match target.transform() {
        None => true,
        Some(TransformValue::Invocation(made)) => made.name().as_deref() == Some("create"),
        Some(_) => false,
    }
}

fn only_type(element: &ElementPlan) -> Type {
    match element.spellings.as_slice() {
        [one] => one.ty,
        _ => Type::Any,
    }
}

/// The slot of a shared id: of the nearest enclosing block that knows it, or a new one of this block.
fn shared_slot(scope: &mut Scope, id: String) -> Slot {
    if let Some((_, slot)) = scope.shared.iter().rev().flatten().find(|(known, _)| *known == id) {
        return *slot;
    }
    let slot = scope.new_slot();
    if let Some(block) = scope.shared.last_mut() {
        block.push((id, slot));
    }
    slot
}
