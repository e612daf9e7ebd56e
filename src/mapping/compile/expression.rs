//! FHIRPath in a map, and the arguments of transforms and calls.

use std::ops::Range;

use fml_syntax::{AstNode, NodeOrToken, SyntaxKind, SyntaxNode, SyntaxToken, ast};

use crate::fhirpath::{DataType, Dialect, Expression, Typing};

use super::super::diagnostic::{Code, Finding, Severity};
use super::super::plan::{ExpressionPlan, Operand};
use super::super::types::Type;
use super::{Compiler, Located, Scope, Variable};

/// How many constants may lead from one to the next.
const CONSTANTS: usize = 16;
/// Longest text of an expression with its constants in place, in bytes.
const EXPANDED: usize = 64 * 1024;

/// An expression as FHIRPath writes it: strings in single quotes, constants of the map in place of their names.
#[derive(Default)]
pub(super) struct Written {
    pub(super) text: String,
    /// The variables that it names.
    pub(super) used: Vec<Variable>,
    /// Where pieces of the text come from: offset in the text, bytes of the file.
    pub(super) places: Vec<(usize, Range<usize>)>,
}

impl Written {
    fn push(&mut self, text: &str, token: &SyntaxToken) {
        self.places.push((self.text.len(), token.text_range().into()));
        self.text.push_str(text);
    }

    /// Where the piece at this offset of the text stands in the file.
    fn place(&self, offset: usize) -> Option<Range<usize>> {
        let (start, place) = self.places.iter().rev().find(|(start, _)| *start <= offset)?;
        let inside = place.start + (offset - start);
        Some(if inside < place.end { inside..place.end } else { place.clone() })
    }
}

impl Compiler<'_> {
    /// Compiles an expression that is evaluated on nothing.
    pub(super) fn expression(&mut self, scope: &Scope, written: &ast::Expr) -> Option<ExpressionPlan> {
        self.expression_on(scope, written, None)
    }

    /// Compiles an expression that is evaluated on an item of the type `focus`, if on any.
    pub(super) fn expression_on(
        &mut self,
        scope: &Scope,
        written: &ast::Expr,
        focus: Option<Type>,
    ) -> Option<ExpressionPlan> {
        let text = self.written(scope, written)?;
        self.checked(scope, written.syntax(), text, focus, false)
    }

    /// Compiles a condition on an item of the type `focus`.
    pub(super) fn condition(&mut self, scope: &Scope, written: &ast::Expr, focus: Type) -> Option<ExpressionPlan> {
        let text = self.written(scope, written)?;
        self.checked(scope, written.syntax(), text, Some(focus), true)
    }

    fn written(&mut self, scope: &Scope, written: &ast::Expr) -> Option<Written> {
        let mut text = Written::default();
        self.write_expression(scope, written.unparenthesized().syntax(), 0, &mut text)?;
        Some(text)
    }

    /// Compiles an expression that stands at `node` and checks it against the types.
    pub(super) fn checked(
        &mut self,
        scope: &Scope,
        node: &SyntaxNode,
        written: Written,
        focus: Option<Type>,
        is_condition: bool,
    ) -> Option<ExpressionPlan> {
        let names: Vec<&str> = written.used.iter().map(|variable| variable.name.as_str()).collect();
        let place = |offset: usize| written.place(offset).unwrap_or_else(|| node.span());
        self.afford(scope.file, node, written.text.len())?;
        let expression = match Expression::parse_as(&written.text, Dialect::Map { variables: &names }) {
            Ok(expression) => expression,
            Err(fault) => {
                let hint = "see the FHIRPath specification (N1) for what an expression may say";
                let range = place(fault.offset);
                let hint = hint.to_owned();
                let finding = Finding { severity: Severity::Error, code: Code::Expression, message: fault.what, hint };
                self.report(scope.file, range, finding);
                return None;
            }
        };
        let Some(left) = self.patterns.checked_sub(expression.pattern_bytes()) else {
            let hint = "write fewer or shorter patterns, and give the parameters of groups their types";
            let message = "the regular expressions of this map are too large together";
            self.error_of(Code::Limit, scope.file, node, message, hint);
            return None;
        };
        self.patterns = left;
        let variables: Vec<(&str, DataType)> =
            written.used.iter().map(|variable| (variable.name.as_str(), variable.ty.into())).collect();
        let typing =
            Typing { focus: focus.map(Type::into), model: Some(&self.types), variables: &variables, is_condition };
        for fault in expression.check(&typing) {
            let severity = if fault.is_certain { Severity::Error } else { Severity::Warning };
            let range = place(fault.offset);
            let finding = Finding { severity, code: Code::Expression, message: fault.what, hint: fault.hint };
            self.report(scope.file, range, finding);
        }
        let variables = written.used.iter().map(|each| (each.name.as_str().into(), each.slot)).collect();
        Some(ExpressionPlan { expression, variables })
    }

    fn write_expression(
        &mut self,
        scope: &Scope,
        node: &SyntaxNode,
        depth: usize,
        written: &mut Written,
    ) -> Option<()> {
        let tokens: Vec<SyntaxToken> = node.descendants_with_tokens().filter_map(NodeOrToken::into_token).collect();
        let mut before: Option<SyntaxKind> = None;
        for (index, token) in tokens.iter().enumerate() {
            let kind = token.kind();
            if kind.is_trivia() {
                written.text.push(' ');
                continue;
            }
            let explicit = before == Some(SyntaxKind::Percent);
            let named = matches!(kind, SyntaxKind::Ident | SyntaxKind::DelimitedIdent)
                && before != Some(SyntaxKind::Dot)
                && !opens_call(&tokens[index + 1..]);
            match kind {
                SyntaxKind::DoubleQuotedString => {
                    written.push(&fml_syntax::quote_fhirpath_string(&ast::unescape(token.text())), token);
                }
                _ if named => self.write_name(scope, token, explicit, depth, written)?,
                _ => written.push(token.text(), token),
            }
            before = Some(kind);
        }
        Some(())
    }

    /// The name of a variable, of a constant of the map, or of an element of the focus.
    fn write_name(
        &mut self,
        scope: &Scope,
        token: &SyntaxToken,
        explicit: bool,
        depth: usize,
        written: &mut Written,
    ) -> Option<()> {
        let name = ast::name_text(token);
        if let Some(variable) = scope.readable(&name).cloned() {
            if !written.used.iter().any(|known| known.name == name) {
                written.used.push(variable);
            }
        } else if let Some(constant) = self.constant(scope.file, &name) {
            if depth > CONSTANTS {
                self.error(
                    scope.file,
                    &token.parent()?,
                    format!("the constant {name} leads to itself"),
                    "give it a value of its own",
                );
                return None;
            }
            if explicit {
                written.text.pop();
            }
            written.text.push('(');
            self.write_expression(scope, constant.unparenthesized().syntax(), depth + 1, written)?;
            written.text.push(')');
            if written.text.len() > EXPANDED {
                let message = format!("the expression is longer than 64 KB with the constant {name} in it");
                self.error(scope.file, &token.parent()?, message, "shorten the constants that it names");
                return None;
            }
            return Some(());
        }
        written.push(token.text(), token);
        Some(())
    }

    /// What a constant is in the end, if it is only the name of another; `None` if it leads to itself.
    pub(super) fn named_constant(&self, scope: &Scope, name: &str) -> Option<ast::Expr> {
        let mut value = self.constant(scope.file, name)?;
        for _ in 0..CONSTANTS {
            let inner = value.unparenthesized();
            let next = match inner.syntax().kind() {
                SyntaxKind::NameRef => name_of(inner.syntax()).filter(|next| scope.readable(next).is_none()),
                _ => None,
            };
            match next.and_then(|next| self.constant(scope.file, &next)) {
                Some(next) => value = next,
                None => return Some(value),
            }
        }
        None
    }

    fn constant(&self, file: usize, name: &str) -> Option<ast::Expr> {
        self.files[file].constants.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    /// An argument of a transform or a call: a variable, a constant, or an expression. With it, its type.
    pub(super) fn operand(&mut self, scope: &Scope, written: &ast::Expr) -> Option<(Operand, Type)> {
        let expr = written.unparenthesized();
        match expr.syntax().kind() {
            SyntaxKind::Literal => {
                let literal = ast::Literal::cast(expr.syntax().clone())?;
                literal_operand(&literal)
            }
            SyntaxKind::NameRef => {
                let name = name_of(expr.syntax())?;
                match scope.readable(&name) {
                    Some(variable) => Some((Operand::Slot(variable.slot), variable.ty)),
                    None => match self.named_constant(scope, &name) {
                        Some(constant) => self.operand(scope, &constant),
                        None => {
                            self.unknown_variable(scope, expr.syntax(), &name);
                            None
                        }
                    },
                }
            }
            _ => {
                let plan = self.expression(scope, &expr)?;
                Some((Operand::Expression(Box::new(plan), None), Type::Any))
            }
        }
    }

    pub(super) fn unknown_variable(&mut self, scope: &Scope, node: &SyntaxNode, name: &str) {
        let known = scope.variables.iter().map(|variable| variable.name.clone());
        let elsewhere = || bound_elsewhere(node, name);
        let mut hint = unbound(node, name).or_else(elsewhere).unwrap_or_else(|| crate::fhirpath::nearest(name, known));
        if hint.is_empty() {
            let mut names: Vec<&str> = scope.variables.iter().map(|variable| variable.name.as_str()).collect();
            names.dedup();
            hint = format!("the variables here are {}", names.join(", "));
        }
        self.error_of(Code::UnknownVariable, scope.file, node, format!("no variable is called {name} here"), hint);
    }
}

/// A source or target around `node` that has an element of this name and no variable: its alias was forgotten.
fn unbound(node: &SyntaxNode, name: &str) -> Option<String> {
    let rules = node.ancestors().filter_map(ast::Rule::cast);
    let paths = rules.flat_map(|rule| {
        let sources = rule.sources().filter(|source| source.alias().is_none()).filter_map(|source| source.path());
        let targets = rule.targets().filter(|target| target.alias().is_none()).filter_map(|target| target.path());
        sources.chain(targets).collect::<Vec<_>>()
    });
    let mut named = paths.filter(|path| path.segments().get(1).is_some_and(|element| element == name));
    named.next().map(|path| format!("bind it where it is found: {} as {name}", super::written(&path)))
}

/// Another rule of the same group that binds this name: there it lives, and not here.
fn bound_elsewhere(node: &SyntaxNode, name: &str) -> Option<String> {
    let group = node.ancestors().find_map(ast::Group::cast)?;
    let binds = |node: SyntaxNode| {
        let source = ast::Source::cast(node.clone()).and_then(|source| source.alias());
        source.or_else(|| ast::Target::cast(node).and_then(|target| target.alias())).is_some_and(|bound| bound == name)
    };
    let is_bound = group.syntax().descendants().any(binds);
    is_bound.then(|| format!("{name} lives in the rule that binds it: move this into the then {{ … }} of that rule"))
}

fn opens_call(rest: &[SyntaxToken]) -> bool {
    rest.iter().find(|token| !token.kind().is_trivia()).is_some_and(|token| token.kind() == SyntaxKind::LParen)
}

fn name_of(node: &SyntaxNode) -> Option<String> {
    let mut tokens = node.children_with_tokens().filter_map(NodeOrToken::into_token);
    tokens.find(|token| !token.kind().is_trivia()).map(|token| ast::name_text(&token))
}

/// The value and type of a literal.
pub(super) fn literal_operand(literal: &ast::Literal) -> Option<(Operand, Type)> {
    let value = literal.value()?;
    let (text, name) = match literal.kind()? {
        SyntaxKind::Integer | SyntaxKind::LongNumber => (value.trim_end_matches('L').to_owned(), "integer"),
        SyntaxKind::Decimal => (value, "decimal"),
        SyntaxKind::Ident => (value, "boolean"),
        SyntaxKind::Date => (value.trim_start_matches('@').to_owned(), "date"),
        SyntaxKind::DateTime => (value.trim_start_matches('@').to_owned(), "dateTime"),
        SyntaxKind::Time => (value.trim_start_matches("@T").to_owned(), "time"),
        _ => (value, "string"),
    };
    let ty = Type::fhir(name);
    Some((Operand::Constant(text.into(), ty), ty))
}

#[cfg(test)]
mod tests {
    use super::super::super::{CompiledMap, Diagnostic, MapFile};
    use crate::fhir::{Document, Limits};

    const MODEL: &str = r#"{"resourceType":"StructureDefinition","url":"http://x/R","kind":"logical","type":"http://x/R",
        "differential":{"element":[{"path":"R"},{"path":"R.person","max":"1"},
        {"path":"R.person.given","max":"*","type":[{"code":"string"}]},
        {"path":"R.when","max":"1","type":[{"code":"dateTime"}]},
        {"path":"R.result[x]","max":"1","type":[{"code":"string"},{"code":"integer"}]}]}}"#;

    /// What is said of a map with these rules, which begin on its sixth line.
    fn said(rules: &str) -> Vec<String> {
        let text = format!(
            "map 'http://x/M' = 'M'\nuses 'http://x/R' alias R as source\n\
             uses 'http://hl7.org/fhir/StructureDefinition/Patient' alias P as target\nlet limit = 'x'.lenght();\n\
             group Main(source src : R, target tgt : P) {{\n{rules}\n}}"
        );
        let model = Document::parse(MODEL, &Limits::default()).expect("it is JSON");
        let files = [MapFile { name: "m.map".to_owned(), text }];
        let shown = |each: &Diagnostic| {
            format!("{:?} {}:{}: {}; {}", each.severity, each.line, each.column, each.message, each.hint)
        };
        match CompiledMap::compile(&files, &[model]) {
            Ok(map) => map.warnings().iter().map(shown).collect(),
            Err(faults) => faults.iter().map(shown).collect(),
        }
    }

    #[test]
    fn a_fault_stands_under_the_name_in_the_map() {
        for (rules, expected) in [
            (
                "src.person as p where (given.exists()\n  and givne = 'a') -> tgt.id = 'x';",
                "Error 7:7: R.person has no element givne; write given?",
            ),
            (
                "src where person.givne.exists() -> tgt.id = 'x';",
                "Error 6:18: R.person has no element givne; write given?",
            ),
            (
                "src.person as p check p.give = 'a' -> tgt.id = 'x';",
                "Error 6:25: R.person has no element give; write given?",
            ),
            ("src log whne -> tgt.id = 'x';", "Error 6:9: R has no element whne; write when?"),
            ("src -> tgt.id = (src.person.givne);", "Error 6:29: R.person has no element givne; write given?"),
            ("src.person as p -> tgt.id = (given);", "Error 6:30: nothing is called given here; "),
            ("src -> tgt.id = evaluate(src, person.givne);", "Error 6:38: R.person has no element givne; write given?"),
            (
                "src -> tgt.id = evaluate(src, 'person.givne');",
                "Error 6:39: R.person has no element givne; write given?",
            ),
            ("src.when as w default (src.wehn) -> tgt.id = 'x';", "Error 6:28: R has no element wehn; write when?"),
            (
                "src.person as p where (p.given.exist()) -> tgt.id = 'x';",
                "Error 6:32: there is no function exist(); write exists?; see the FHIRPath specification (N1) for what an expression may say",
            ),
            (
                "src where (limit > 3) -> tgt.id = 'x';",
                "Error 4:17: there is no function lenght(); write length?; see the FHIRPath specification (N1) for what an expression may say",
            ),
            ("src where (result = 'a') -> tgt.id = 'x';", "Error 6:12: R has no element result; write resultString?"),
            (
                "src where (person.given = 1) -> tgt.id = 'x';",
                "Error 6:25: string is never equal to Integer; compare values of one kind, or convert one of them",
            ),
            (
                "src where (person) -> tgt.id = 'x';",
                "Warning 6:12: a condition is true or false, and this is R.person; ask with exists(), or compare it with something",
            ),
        ] {
            assert_eq!(said(rules), [expected], "{rules}");
        }
    }

    #[test]
    fn names_of_records_are_read_as_published_maps_write_them() {
        for rules in [
            "src where (person.given.value = 'a' and resultString.exists()) -> tgt.id = 'x';",
            "src.person as p where (given = %src.resultInteger.toString()) -> tgt.id = (p.given.first() & 'x');",
            "src.when as w where ($this > @2020 or w.value = src.when) -> tgt.id = 'x';",
        ] {
            assert_eq!(said(rules), [] as [String; 0], "{rules}");
        }
    }
}
