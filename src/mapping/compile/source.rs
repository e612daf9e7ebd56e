//! The source side of a rule.

use fml_syntax::{AstNode, SyntaxNode, ast};

use super::super::diagnostic::Code;
use super::super::plan::{ExpressionPlan, SourceListMode, SourcePlan};
use super::super::types::{Spelling, Type, Types};
use super::{Compiler, Located, Mode, Scope, Variable, written};

impl Compiler<'_> {
    /// Compiles a source and binds its variable. With it, the type of its items.
    pub(super) fn source(&mut self, scope: &mut Scope, source: &ast::Source) -> Option<(SourcePlan, Type)> {
        let path = source.path()?;
        let (context, names) = self.source_path(scope, &path)?;
        let (mut elements, mut ty, mut repeats) = (Vec::new(), context.ty, false);
        for name in &names {
            repeats |= self.types.field(ty, name).is_none_or(|field| field.is_array);
            let (spellings, next) = self.source_element(scope.file, path.syntax(), ty, name)?;
            elements.extend(spellings);
            ty = next;
        }
        let mut last = elements.pop();
        let mut only = None;
        if let Some(annotation) = source.type_annotation() {
            let wanted = self.annotated(scope.file, &annotation, Mode::Source);
            only = (wanted != Type::Any).then_some(wanted);
            if wanted != Type::Any {
                ty = self.narrow(scope.file, annotation.syntax(), &mut last, ty, wanted)?;
            }
        }
        elements.extend(last);
        let mut steps = elements.into_iter();
        let slot = scope.new_slot();
        scope.bind(source.alias(), Mode::Source, slot, ty);
        let plan = SourcePlan {
            context: context.slot,
            element: steps.next(),
            steps: steps.collect(),
            only,
            repeats,
            cardinality: self.cardinality(scope, source, repeats)?,
            default: self.default_value(scope, source)?.map(Box::new),
            list_mode: self.source_list_mode(scope, source)?,
            condition: self.clause(scope, source.where_clause(), ty)?.map(Box::new),
            check: self.clause(scope, source.check_clause(), ty)?.map(Box::new),
            log: self.logged(scope, source.log_clause(), ty)?.map(Box::new),
            slot,
            is_context: false,
            is_filtered: false,
        };
        Some((plan.ready(), ty))
    }

    /// The variable that a source names, and its elements, one inside the other.
    fn source_path(&mut self, scope: &Scope, path: &ast::QualifiedName) -> Option<(Variable, Vec<String>)> {
        let mut segments = path.segments().into_iter();
        let name = segments.next()?;
        match scope.readable(&name).cloned() {
            Some(variable) => Some((variable, segments.map(|name| name.trim_end_matches("[x]").to_owned()).collect())),
            None => {
                self.unknown_variable(scope, path.syntax(), &name);
                None
            }
        }
    }

    /// How the source may spell an element, and its type where it can have only one. No spelling stands for the value
    /// of a primitive, which is the primitive itself.
    pub(super) fn source_element(
        &mut self,
        file: usize,
        node: &impl Located,
        ty: Type,
        name: &str,
    ) -> Option<(Option<Vec<Spelling>>, Type)> {
        if ty.is_primitive() && name == "value" {
            return Some((None, ty));
        }
        if let Some(field) = self.types.field(ty, name) {
            let only = field.only_type();
            return Some((Some(field.spellings), only));
        }
        if !ty.is_concrete() {
            return Some((Some(Types::any_spellings(name)), Type::Any));
        }
        let hint = crate::fhirpath::nearest(name, self.types.names(ty));
        let message = format!("{} has no element {name}", self.types.name(ty));
        self.error_of(Code::UnknownElement, file, node, message, hint);
        None
    }

    /// Keeps of a choice element the spellings of the wanted type; the type then known.
    fn narrow(
        &mut self,
        file: usize,
        node: &SyntaxNode,
        element: &mut Option<Vec<Spelling>>,
        ty: Type,
        wanted: Type,
    ) -> Option<Type> {
        if let Some(spellings) = element
            && spellings.iter().any(|spelling| spelling.ty.is_a(wanted))
        {
            spellings.retain(|spelling| spelling.ty.is_a(wanted) || !spelling.ty.is_concrete());
        } else if ty.is_concrete() && !ty.is_a(wanted) && !wanted.is_a(ty) {
            let (wanted, ty) = (self.types.name(wanted).to_owned(), self.types.name(ty).to_owned());
            let message = format!("this is never a {wanted}: it is a {ty}");
            self.error_of(Code::TypeMismatch, file, node, message, "leave the type out, or name one that it can be");
            return None;
        }
        Some(wanted)
    }

    fn cardinality(
        &mut self,
        scope: &Scope,
        source: &ast::Source,
        repeats: bool,
    ) -> Option<Option<(usize, Option<usize>)>> {
        let Some((min, max)) = source.cardinality() else { return Some(None) };
        let bounds = match (min.parse(), max.as_str(), max.parse()) {
            (Ok(min), "*", _) => Some((min, None)),
            (Ok(min), _, Ok(max)) if min <= max => Some((min, Some(max))),
            _ => None,
        };
        match bounds {
            None => self.error(scope.file, source.syntax(), "this cardinality cannot be read", "write 0..1 or 1..*"),
            Some((2.., _)) if !repeats => {
                let message = format!("{} occurs once at most, so never {min}..{max}", written(&source.path()?));
                self.error(scope.file, source.syntax(), message, "write 0..1 or 1..1");
                return None;
            }
            Some(_) => {}
        }
        bounds.map(Some)
    }

    fn default_value(&mut self, scope: &Scope, source: &ast::Source) -> Option<Option<super::super::plan::Operand>> {
        match source.default_value().and_then(|default| default.expression()) {
            Some(expression) => self.operand(scope, &expression).map(|(operand, _)| Some(operand)),
            None => Some(None),
        }
    }

    fn clause(&mut self, scope: &Scope, clause: Option<ast::Expr>, ty: Type) -> Option<Option<ExpressionPlan>> {
        match clause {
            Some(expression) => self.condition(scope, &expression, ty).map(Some),
            None => Some(None),
        }
    }

    fn logged(&mut self, scope: &Scope, clause: Option<ast::Expr>, ty: Type) -> Option<Option<ExpressionPlan>> {
        match clause {
            Some(expression) => self.expression_on(scope, &expression, Some(ty)).map(Some),
            None => Some(None),
        }
    }

    fn source_list_mode(&mut self, scope: &Scope, source: &ast::Source) -> Option<Option<SourceListMode>> {
        Some(Some(match source.list_mode() {
            None => return Some(None),
            Some(ast::ListMode::First) => SourceListMode::First,
            Some(ast::ListMode::NotFirst) => SourceListMode::NotFirst,
            Some(ast::ListMode::Last) => SourceListMode::Last,
            Some(ast::ListMode::NotLast) => SourceListMode::NotLast,
            Some(ast::ListMode::OnlyOne) => SourceListMode::OnlyOne,
            Some(_) => {
                self.error(
                    scope.file,
                    source.syntax(),
                    "this list mode is one of a target",
                    "a source takes first, last, not_first, not_last or only_one",
                );
                return None;
            }
        }))
    }
}
