//! The target side of a rule, and its transforms.

use fml_syntax::ast::{self, TransformValue};
use fml_syntax::{AstNode, SyntaxKind, SyntaxNode};

use super::super::diagnostic::Code;
use super::super::plan::{
    CodingPlan, ElementPlan, Member, Operand, Slot, TargetListMode, TargetPlan, Template, Transform, TranslateTo,
};
use super::super::types::Type;
use super::super::values::is_well_formed;
use super::expression::literal_operand;
use super::{Compiler, Mode, Scope, Variable};

/// The transforms of the language that are not built yet.
const NOT_YET: &[&str] = &["dateOp", "escape"];

impl Compiler<'_> {
    /// Compiles a target and binds its variable. `implicit` is the source of a rule that only says `a.x -> b.y`.
    pub(super) fn target(
        &mut self,
        scope: &mut Scope,
        target: &ast::Target,
        implicit: Option<(Slot, Type)>,
    ) -> Option<TargetPlan> {
        let (context, mut element) = match target.path() {
            Some(path) => {
                let (variable, element) = self.target_path(scope, &path)?;
                (Some(variable), element)
            }
            None => (None, None),
        };
        let list_mode = self.target_list_mode(scope, target)?;
        let (transform, ty) = match (target.transform(), implicit) {
            (Some(value), _) => {
                let hole = element.as_ref().map(only_type);
                let (transform, ty) = self.transform(scope, &value, hole)?;
                self.check_literal(scope.file, target.syntax(), &transform, element.as_ref())?;
                let context_type = context.as_ref().map(|variable| variable.ty);
                let ty = self.fit(scope.file, target.syntax(), element.as_mut(), context_type, ty)?;
                (transform, ty)
            }
            (None, Some((slot, source))) => self.implicit(scope, target, element.as_mut()?, slot, source)?,
            (None, None) => self.element_transform(scope, target, context.as_ref()?, element.as_ref())?,
        };
        let slot = target.alias().map(|_| scope.new_slot());
        if let Some(slot) = slot {
            scope.bind(target.alias(), Mode::Target, slot, ty);
        }
        Some(TargetPlan { context: context.map(|variable| variable.slot), element, transform, list_mode, slot })
    }

    fn target_path(&mut self, scope: &Scope, path: &ast::QualifiedName) -> Option<(Variable, Option<ElementPlan>)> {
        let mut segments = path.segments().into_iter();
        let name = segments.next()?;
        let element = segments.next().map(|name| name.trim_end_matches("[x]").to_owned());
        if segments.next().is_some() {
            let hint = "bind each step with as: a.b as b, b.c = …";
            self.error(scope.file, path.syntax(), "a target names one variable and one element", hint);
            return None;
        }
        let Some(variable) = scope.find(&name, Mode::Target).cloned() else {
            match scope.find(&name, Mode::Source) {
                Some(_) => self.error(scope.file, path.syntax(), format!("{name} is a source and cannot be set"), ""),
                None => self.unknown_variable(scope, path.syntax(), &name),
            }
            return None;
        };
        match element {
            Some(element) => {
                let plan = self.target_element(scope.file, path.syntax(), &variable, &element)?;
                Some((variable, plan))
            }
            None => Some((variable, None)),
        }
    }

    /// The element `name` of a target; `None` inside for the value of a primitive, which is the primitive itself.
    fn target_element(
        &mut self,
        file: usize,
        node: &SyntaxNode,
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
            let hint = super::hint::nearest(name, self.types.names(ty));
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
            Some(ast::ListMode::Single) => Some(TargetListMode::Single),
            Some(ast::ListMode::Share(_)) if target.transform().is_some() => {
                self.error(scope.file, target.syntax(), "share stands with an element that has no transform", "");
                None
            }
            Some(ast::ListMode::Share(id)) => Some(TargetListMode::Share(shared_slot(scope, id))),
            Some(_) => {
                let hint = "let each rule add its own item";
                self.error_of(
                    Code::Unsupported,
                    scope.file,
                    target.syntax(),
                    "this list mode is not supported yet",
                    hint,
                );
                None
            }
        }
    }

    /// A target without a transform: the element is made, so its type must be known.
    fn element_transform(
        &mut self,
        scope: &Scope,
        target: &ast::Target,
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
        self.error(scope.file, target.syntax(), message, hint);
        None
    }

    /// `source.x -> target.y`: by the group for the two types, or else a copy of the same type.
    fn implicit(
        &mut self,
        scope: &Scope,
        target: &ast::Target,
        element: &mut ElementPlan,
        slot: Slot,
        source: Type,
    ) -> Option<(Transform, Type)> {
        for index in 0..element.spellings.len() {
            let ty = element.spellings[index].ty;
            if let Some(group) = self.group_for_types(scope.file, source, ty) {
                element.spellings = vec![element.spellings.swap_remove(index)];
                return Some((Transform::Implicit(Operand::Slot(slot), Some(group)), ty));
            }
        }
        let ty = self.fit(scope.file, target.syntax(), Some(element), None, source)?;
        Some((Transform::Implicit(Operand::Slot(slot), None), ty))
    }

    /// Checks that a value of type `given` can stand in the element, and keeps of a choice the spelling for it. The
    /// type the element then has.
    fn fit(
        &mut self,
        file: usize,
        node: &SyntaxNode,
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
        let (wanted, given) = (self.types.name(wanted).to_owned(), self.types.name(given).to_owned());
        let message = format!("{} is a {wanted} and cannot be set to a {given}", element.name);
        self.error_of(Code::TypeMismatch, file, node, message, format!("set it to a {wanted}, or set its elements"));
        None
    }

    fn fit_choice(&mut self, file: usize, node: &SyntaxNode, element: &mut ElementPlan, given: Type) -> Option<Type> {
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
        self.error(file, node, message, "");
        None
    }

    fn transform(&mut self, scope: &Scope, value: &TransformValue, hole: Option<Type>) -> Option<(Transform, Type)> {
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
                self.named_transform(scope, invocation, &name, &arguments, hole)
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
        let constant = self.files[scope.file].constants.iter().find(|(known, _)| known == name);
        match constant.map(|(_, value)| value.clone()) {
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
        hole: Option<Type>,
    ) -> Option<(Transform, Type)> {
        let node = invocation.syntax();
        match (name, arguments) {
            ("create", _) => self.create(scope, node, arguments, hole),
            ("copy", [value]) => {
                let (operand, ty) = self.operand(scope, value)?;
                Some((Transform::Copy(operand), ty))
            }
            ("truncate", [value, length]) => {
                let length = self.constant_text(scope, length)?;
                let Ok(length) = length.parse() else {
                    self.error(scope.file, node, "truncate takes a number of characters", "");
                    return None;
                };
                Some((Transform::Truncate(self.operand(scope, value)?.0, length), Type::fhir("string")))
            }
            ("append", [_, ..]) => {
                let operands =
                    arguments.iter().map(|each| Some(self.operand(scope, each)?.0)).collect::<Option<_>>()?;
                Some((Transform::Append(operands), Type::fhir("string")))
            }
            ("cast", [value, ty]) => self.cast(scope, node, value, ty),
            ("cast", [_]) => {
                self.error(scope.file, node, "cast needs the type to cast to", "write cast(value, 'string')");
                None
            }
            ("translate", [value, map, to]) => self.translate(scope, node, value, map, &self.text_of(to)),
            ("translate", [value, map]) => self.translate(scope, node, value, map, "Coding"),
            ("reference", [value]) => Some((Transform::Reference(self.operand(scope, value)?.0), Type::fhir("string"))),
            ("pointer", [value]) => Some((Transform::Pointer(self.operand(scope, value)?.0), Type::fhir("uri"))),
            ("uuid", []) => Some((Transform::Uuid(self.uuid(scope, node)), Type::fhir("id"))),
            ("evaluate", [expression]) => self.evaluate(scope, None, expression),
            ("evaluate", [focus, expression]) => self.evaluate(scope, Some(focus), expression),
            ("cc" | "c" | "qty" | "id" | "cp", _) => self.build(scope, node, name, arguments),
            _ => {
                let known = ["create", "copy", "truncate", "append", "cast", "translate", "reference", "pointer"];
                let more = ["uuid", "evaluate", "cc", "c", "qty", "id", "cp"];
                let taken = known.iter().chain(&more).any(|each| *each == name);
                let message = match (NOT_YET.contains(&name), taken) {
                    (true, _) => format!("the transform {name} is not supported yet"),
                    (_, true) => format!("{name} does not take {} arguments", arguments.len()),
                    _ => format!("there is no transform {name}"),
                };
                let names = known.iter().chain(&more).map(|each| (*each).to_owned());
                let hint = if taken { String::new() } else { super::hint::nearest(name, names) };
                let code = if NOT_YET.contains(&name) { Code::Unsupported } else { Code::UnknownTransform };
                self.error_of(code, scope.file, node, message, hint);
                None
            }
        }
    }

    fn uuid(&mut self, scope: &Scope, node: &SyntaxNode) -> u32 {
        let next = self.uuids.len() as u32;
        *self.uuids.entry((scope.file, node.text_range().start())).or_insert(next)
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
                self.error(scope.file, expr.syntax(), "this argument must be a literal", "");
                None
            }
        }
    }

    fn create(
        &mut self,
        scope: &Scope,
        node: &SyntaxNode,
        arguments: &[ast::Expr],
        hole: Option<Type>,
    ) -> Option<(Transform, Type)> {
        let ty = match arguments {
            [] => hole.filter(|ty| ty.is_concrete()),
            [name] => {
                let name = self.constant_text(scope, name)?;
                let found = self.type_named(scope.file, &name).filter(|ty| ty.is_concrete());
                if found.is_none() {
                    let hint = "name a type of FHIR R4, or a model that the map uses";
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

    fn cast(
        &mut self,
        scope: &Scope,
        node: &SyntaxNode,
        value: &ast::Expr,
        ty: &ast::Expr,
    ) -> Option<(Transform, Type)> {
        let (operand, _) = self.operand(scope, value)?;
        let name = self.text_of(ty);
        let ty = Type::fhir(&name);
        if !ty.is_primitive() {
            self.error(scope.file, node, format!("{name} is not a primitive type of FHIR"), "");
            return None;
        }
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
        let Some(map) = self.concept_map(scope.file, &url) else {
            let hint = "write it in this file as conceptmap, or give the ConceptMap resource to the loader";
            let message = format!("no concept map is called {url}");
            self.error_of(Code::UnknownConceptMap, scope.file, node, message, hint);
            return None;
        };
        let (to, ty) = match to {
            "code" => (TranslateTo::Code, Type::fhir("code")),
            "Coding" | "coding" => (TranslateTo::Coding(self.coding_plan()?), Type::fhir("Coding")),
            "CodeableConcept" => {
                let coding = ElementPlan::fhir(&self.types, "CodeableConcept", "coding")?;
                (TranslateTo::CodeableConcept(coding, self.coding_plan()?), Type::fhir("CodeableConcept"))
            }
            other => {
                let hint = "ask for 'code', 'Coding' or 'CodeableConcept'";
                self.error(scope.file, node, format!("translate to {other} is not supported yet"), hint);
                return None;
            }
        };
        Some((Transform::Translate(operand, map, to), ty))
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
                Some(variable) => Some(variable.slot),
                None => {
                    self.unknown_variable(scope, expr.syntax(), &expr.text());
                    return None;
                }
            },
        };
        let plan = match written.unparenthesized().syntax().kind() {
            SyntaxKind::Literal if focus.is_some() => {
                let readable = |each: &&Variable| each.mode == Mode::Source || each.ty.is_primitive();
                let used = scope.variables.iter().filter(readable).cloned().collect();
                self.expression_of(scope, written.syntax(), &self.text_of(written), used)?
            }
            _ => self.expression(scope, written)?,
        };
        Some((Transform::Copy(Operand::Expression(Box::new(plan), focus)), Type::Any))
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
            ("id", 2) => ("Identifier", &["system", "value"]),
            ("cp", 1) => ("ContactPoint", &["value"]),
            ("cp", 2) => ("ContactPoint", &["system", "value"]),
            _ => {
                let message = format!("{name} with {} arguments is not supported yet", arguments.len());
                self.error(scope.file, node, message, "");
                return None;
            }
        };
        let mut members = Vec::new();
        if (name, arguments.len()) == ("cp", 1) {
            let (operand, _) = self.operand(scope, &arguments[0])?;
            members.push((ElementPlan::fhir(&self.types, ty, "system")?, Member::ContactSystem(operand)));
        }
        for (member, argument) in names.iter().zip(arguments) {
            let (operand, _) = self.operand(scope, argument)?;
            members.push((ElementPlan::fhir(&self.types, ty, member)?, Member::Value(operand)));
        }
        let template = Template { ty: Type::fhir(ty), members };
        if name != "cc" || ty != "Coding" {
            return Some((Transform::Build(template), Type::fhir(ty)));
        }
        let concept = Type::fhir("CodeableConcept");
        let coding = ElementPlan::fhir(&self.types, "CodeableConcept", "coding")?;
        let template = Template { ty: concept, members: vec![(coding, Member::Nested(template))] };
        Some((Transform::Build(template), concept))
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
