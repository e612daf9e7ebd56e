//! FHIRPath in a map, and the arguments of transforms and calls.

use fml_syntax::{AstNode, NodeOrToken, SyntaxKind, SyntaxNode, SyntaxToken, ast};

use crate::fhirpath::{Dialect, Expression};

use super::super::diagnostic::Code;
use super::super::plan::{ExpressionPlan, Operand};
use super::super::types::Type;
use super::{Compiler, Scope, Variable};

/// How many constants may lead from one to the next.
const CONSTANTS: usize = 16;
/// Longest text of an expression with its constants in place, in bytes.
const EXPANDED: usize = 64 * 1024;

impl Compiler<'_> {
    /// Compiles an expression and notes which variables it names.
    pub(super) fn expression(&mut self, scope: &Scope, written: &ast::Expr) -> Option<ExpressionPlan> {
        let node = written.unparenthesized();
        let (text, used) = self.expression_text(scope, node.syntax(), 0)?;
        self.expression_of(scope, written.syntax(), &text, used)
    }

    /// Compiles the text of an expression that stands at `node`.
    pub(super) fn expression_of(
        &mut self,
        scope: &Scope,
        node: &SyntaxNode,
        text: &str,
        used: Vec<Variable>,
    ) -> Option<ExpressionPlan> {
        let names: Vec<&str> = used.iter().map(|variable| variable.name.as_str()).collect();
        self.afford(scope.file, node, text.len())?;
        match Expression::parse_as(text, Dialect::Map { variables: &names }) {
            Ok(expression) => {
                let variables = used.iter().map(|each| (each.name.as_str().into(), each.slot)).collect();
                Some(ExpressionPlan { expression, variables })
            }
            Err(fault) => {
                let hint = "see the FHIRPath specification (N1) for what an expression may say";
                self.error_of(Code::Expression, scope.file, node, fault.what, hint);
                None
            }
        }
    }

    /// The expression as FHIRPath writes it: strings in single quotes, constants of the map in place of their names.
    /// With it, the variables that it names.
    fn expression_text(&mut self, scope: &Scope, node: &SyntaxNode, depth: usize) -> Option<(String, Vec<Variable>)> {
        let tokens: Vec<SyntaxToken> = node.descendants_with_tokens().filter_map(NodeOrToken::into_token).collect();
        let (mut text, mut used) = (String::new(), Vec::new());
        let mut before: Option<SyntaxKind> = None;
        for (index, token) in tokens.iter().enumerate() {
            let kind = token.kind();
            if kind.is_trivia() {
                text.push(' ');
                continue;
            }
            let explicit = before == Some(SyntaxKind::Percent);
            let named = matches!(kind, SyntaxKind::Ident | SyntaxKind::DelimitedIdent)
                && before != Some(SyntaxKind::Dot)
                && !opens_call(&tokens[index + 1..]);
            match kind {
                SyntaxKind::DoubleQuotedString => {
                    text.push_str(&fml_syntax::quote_fhirpath_string(&ast::unescape(token.text())));
                }
                _ if named => {
                    let name = ast::name_text(token);
                    self.name_in_expression(scope, token, &name, explicit, depth, &mut text, &mut used)?;
                }
                _ => text.push_str(token.text()),
            }
            before = Some(kind);
        }
        Some((text, used))
    }

    #[expect(clippy::too_many_arguments, reason = "one step of expression_text")]
    fn name_in_expression(
        &mut self,
        scope: &Scope,
        token: &SyntaxToken,
        name: &str,
        explicit: bool,
        depth: usize,
        text: &mut String,
        used: &mut Vec<Variable>,
    ) -> Option<()> {
        if let Some(variable) = scope.readable(name).cloned() {
            if !used.iter().any(|known| known.name == name) {
                used.push(variable);
            }
        } else if let Some(constant) = self.constant(scope.file, name) {
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
                text.pop();
            }
            let (inner, more) = self.expression_text(scope, constant.unparenthesized().syntax(), depth + 1)?;
            used.extend(more);
            text.push('(');
            text.push_str(&inner);
            text.push(')');
            if text.len() > EXPANDED {
                let message = format!("the expression is longer than 64 KB with the constant {name} in it");
                self.error(scope.file, &token.parent()?, message, "shorten the constants that it names");
                return None;
            }
            return Some(());
        }
        text.push_str(token.text());
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
        let mut hint = unbound(node, name).unwrap_or_else(|| super::hint::nearest(name, known));
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
