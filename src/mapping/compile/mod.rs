//! From FML text to a plan: every name resolved, every type known or known to be unknown, every fault reported with
//! its line and column. Nothing that the executor cannot do gets past here.

mod bounds;
mod declarations;
mod expression;
mod groups;
mod legacy;
mod recursion;
mod slip;
mod model;
mod source;
mod structure_map;
mod target;

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use fml_syntax::{AstNode, NodeOrToken, SyntaxNode, SyntaxToken, ast};

use crate::fhir::Document;

use super::MapFile;
use super::concepts::Concepts;
use super::diagnostic::{Code, Diagnostic, Finding, Severity};
use super::plan::{GroupPlan, Plan, Rule, Slot};
use super::types::{Type, Types};

/// How many combinations of groups and types a map may need.
const INSTANCES: usize = 10_000;
/// How many bytes of groups and expressions may be compiled, each group as often as it has combinations of types.
const COMPILED: usize = 8 << 20;
/// How many bytes the regular expressions of all instances may take.
const PATTERNS: usize = 64 << 20;
/// How many faults are told, and how many warnings.
const FAULTS: usize = 200;

/// A parsed mapping file.
struct File<'a> {
    name: &'a str,
    /// FML: the file's, or what a StructureMap resource says in it.
    text: Cow<'a, str>,
    tree: ast::SourceFile,
    url: String,
    /// Alias, URL.
    uses: Vec<(String, String)>,
    /// Files whose groups this one can call, itself first.
    visible: Vec<usize>,
    constants: Vec<(String, ast::Expr)>,
}

/// A group as declared.
struct Declared {
    file: usize,
    name: String,
    tree: ast::Group,
    parameters: Vec<Parameter>,
    extends: Option<String>,
}

#[derive(Clone)]
struct Parameter {
    name: String,
    mode: Mode,
    ty: Type,
}

/// Whether a variable can be read or filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Source,
    Target,
}

#[derive(Clone, Debug)]
struct Variable {
    name: String,
    mode: Mode,
    slot: Slot,
    ty: Type,
}

/// What a rule can see.
struct Scope {
    file: usize,
    group: String,
    variables: Vec<Variable>,
    /// For each open block, the ids of `share` and their slots.
    shared: Vec<Vec<(String, Slot)>>,
    slots: u32,
    /// The type of the one source of the rule: what `create()` makes where the element alone does not tell.
    source: Type,
}

impl Scope {
    fn new_slot(&mut self) -> Slot {
        self.slots += 1;
        self.slots - 1
    }

    fn bind(&mut self, name: Option<String>, mode: Mode, slot: Slot, ty: Type) {
        self.variables.extend(name.map(|name| Variable { name, mode, slot, ty }));
    }

    /// The variable to read: a source before a target of the same name, as the reference implementation does.
    fn readable(&self, name: &str) -> Option<&Variable> {
        self.find(name, Mode::Source).or_else(|| self.find(name, Mode::Target))
    }

    fn find(&self, name: &str, mode: Mode) -> Option<&Variable> {
        self.variables.iter().rev().find(|known| known.name == name && known.mode == mode)
    }
}

pub(super) struct Compiler<'a> {
    files: Vec<File<'a>>,
    types: Types,
    groups: Vec<Declared>,
    concepts: Vec<Concepts>,
    /// By file, for embedded ones, and URL.
    concept_names: HashMap<(Option<usize>, String), usize>,
    /// ConceptMap resources that cannot be used, by URL, and why.
    faulty_concepts: HashMap<String, String>,
    instances: HashMap<(usize, Vec<Type>), usize>,
    plans: Vec<GroupPlan>,
    /// Plans that are promised and not made yet, with their group and types.
    pending: VecDeque<(usize, usize, Vec<Type>)>,
    /// Bytes of groups and expressions that may still be compiled.
    budget: usize,
    /// Bytes that regular expressions may still take.
    patterns: usize,
    rules: Vec<Rule>,
    rule_places: HashMap<(usize, usize), u32>,
    uuids: HashMap<(usize, usize), u32>,
    diagnostics: Vec<Diagnostic>,
    /// Rules that do not parse, by file: what is found in them may only follow from that.
    broken: Vec<(usize, Range<usize>)>,
    /// Whether a file does not parse beyond a single rule.
    unreadable: bool,
}

/// Compiles `files`, of which the first starts the transformation, against R4 and `definitions`.
pub(super) fn compile(files: &[MapFile], definitions: &[Document]) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut compiler = Compiler::new(definitions);
    compiler.check_models();
    compiler.read_files(files);
    compiler.read_concept_maps(definitions);
    if compiler.unreadable {
        return Err(compiler.sorted());
    }
    compiler.declare_groups();
    let root = compiler.compile_all();
    match root {
        Some((source, target)) if !compiler.has_errors() => Ok(compiler.into_plan(source, target)),
        _ => Err(compiler.sorted()),
    }
}

/// Which files each of `files` needs: itself, then what it imports, directly or not.
pub(super) fn imports(files: &[MapFile]) -> Vec<Vec<usize>> {
    let mut compiler = Compiler::new(&[]);
    compiler.read_files(files);
    compiler.files.into_iter().map(|file| file.visible).collect()
}

impl Compiler<'_> {
    fn new(definitions: &[Document]) -> Self {
        Compiler {
            files: Vec::new(),
            types: Types::new(definitions),
            groups: Vec::new(),
            concepts: Vec::new(),
            concept_names: HashMap::new(),
            faulty_concepts: HashMap::new(),
            instances: HashMap::new(),
            plans: Vec::new(),
            pending: VecDeque::new(),
            budget: COMPILED,
            patterns: PATTERNS,
            rules: Vec::new(),
            rule_places: HashMap::new(),
            uuids: HashMap::new(),
            diagnostics: Vec::new(),
            broken: Vec::new(),
            unreadable: false,
        }
    }

    fn into_plan(self, source: Type, root: Type) -> (Plan, Vec<Diagnostic>) {
        let mut by_types: Vec<_> = self
            .instances
            .iter()
            .filter(|((group, _), _)| self.groups[*group].tree.type_mode().is_some())
            .filter_map(|((_, types), &plan)| match types.as_slice() {
                &[source, target] => Some((source, target, plan)),
                _ => None,
            })
            .collect();
        by_types.sort_by_key(|(_, _, plan)| *plan);
        let plan = Plan {
            groups: self.plans,
            rules: self.rules,
            concepts: self.concepts,
            types: self.types,
            source,
            root,
            uuids: self.uuids.len() as u32,
            by_types,
        };
        (plan, self.diagnostics)
    }

    /// What was found, file by file and from top to bottom.
    fn sorted(mut self) -> Vec<Diagnostic> {
        // A group that a faulty rule calls lacks the types of that call: what is only strange there may follow from it.
        self.diagnostics.retain(|each| each.severity == Severity::Error || each.code != Code::Rule);
        let files: Vec<&str> = self.files.iter().map(|file| file.name).collect();
        let file = |each: &Diagnostic| files.iter().position(|name| *name == each.file);
        self.diagnostics.sort_by_key(|each| (file(each), each.line, each.column));
        self.diagnostics
    }

    fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|each| each.severity == Severity::Error)
    }

    /// Whether so much is wrong that no more is looked at.
    fn is_hopeless(&self) -> bool {
        self.is_told_enough(Severity::Error)
    }

    fn is_told_enough(&self, severity: Severity) -> bool {
        self.diagnostics.iter().filter(|each| each.severity == severity).count() >= FAULTS
    }

    /// Reports a fault at `node`. The same fault of a group that is compiled for several types is reported once.
    fn error(&mut self, file: usize, place: &impl Located, message: impl Into<String>, hint: impl Into<String>) {
        self.error_of(Code::Rule, file, place, message, hint);
    }

    /// [`Compiler::error`], of a kind that programs can tell.
    fn error_of(
        &mut self,
        code: Code,
        file: usize,
        place: &impl Located,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let finding = Finding { severity: Severity::Error, code, message: message.into(), hint: hint.into() };
        self.report(file, place.span(), finding);
    }

    /// Reports what was found in these bytes of `file`.
    fn report(&mut self, file: usize, range: Range<usize>, finding: Finding) {
        let follows = |(other, rule): &(usize, Range<usize>)| *other == file && rule.contains(&range.start);
        if self.is_told_enough(finding.severity) || self.broken.iter().any(follows) {
            return;
        }
        let File { name, text, .. } = &self.files[file];
        let diagnostic = Diagnostic::new(name, text, range, finding);
        if !self.diagnostics.contains(&diagnostic) {
            self.diagnostics.push(diagnostic);
        }
    }

    fn line(&self, file: usize, at: usize) -> usize {
        let text = &self.files[file].text;
        text[..at].matches('\n').count() + 1
    }
}

/// A part of a file that a fault can point at.
trait Located {
    /// Its bytes, without the space and comments around it.
    fn span(&self) -> Range<usize>;
}

impl Located for SyntaxNode {
    fn span(&self) -> Range<usize> {
        let tokens = self.descendants_with_tokens().filter_map(NodeOrToken::into_token);
        let mut ranges = tokens.filter(|token| !token.kind().is_trivia()).map(|token| token.text_range());
        let first = ranges.next().unwrap_or_else(|| self.text_range());
        let last = ranges.last().unwrap_or(first);
        usize::from(first.start())..usize::from(last.end())
    }
}

impl Located for SyntaxToken {
    fn span(&self) -> Range<usize> {
        self.text_range().into()
    }
}

/// The text of a node as it was written, in one line.
fn written(node: &impl AstNode) -> String {
    node.syntax().text().to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
