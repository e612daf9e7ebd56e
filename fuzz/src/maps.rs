//! Maps made up from bytes: nearly always of sound grammar, mostly of known names and fitting types, so that the later
//! stages of the compiler and the executor see them.

use std::fmt::Write as _;

use super::choices::Choices;

/// The head of every map that is made up, and the types it may name.
pub const HEAD: &str = r##"map "http://x/map" = "m"
uses "http://x/Record" alias Record as source
uses "http://hl7.org/fhir/StructureDefinition/Patient" alias Patient as target
uses "http://hl7.org/fhir/StructureDefinition/Observation" alias Observation as target
uses "http://hl7.org/fhir/StructureDefinition/Bundle" alias Bundle as target
conceptmap "#c" { prefix s = "http://s" prefix t = "http://t"
 unmapped for s = provided
 s:a == t:b
 s:female - t:"F f" }
let fixed = 'x';
let sum = fixed & 'y';
"##;

/// A logical model with a few elements of each kind.
pub const MODEL: &str = r##"{"resourceType":"StructureDefinition","url":"http://x/Record","kind":"logical","type":"http://x/Record",
 "differential":{"element":[{"path":"Record"},
 {"path":"Record.name","max":"1","type":[{"code":"string"}]},
 {"path":"Record.given","max":"*","type":[{"code":"string"}]},
 {"path":"Record.born","max":"1","type":[{"code":"date"}]},
 {"path":"Record.at","max":"1","type":[{"code":"instant"}]},
 {"path":"Record.sex","max":"1","type":[{"code":"code"}]},
 {"path":"Record.weight","max":"1","type":[{"code":"decimal"}]},
 {"path":"Record.active","max":"1","type":[{"code":"boolean"}]},
 {"path":"Record.value[x]","max":"1","type":[{"code":"string"},{"code":"Quantity"},{"code":"integer"}]},
 {"path":"Record.home","max":"*"},
 {"path":"Record.home.street","max":"1","type":[{"code":"string"}]},
 {"path":"Record.home.town","max":"*","type":[{"code":"string"}]},
 {"path":"Record.home.inner","max":"*","contentReference":"#Record.home"},
 {"path":"Record.person","max":"*","type":[{"code":"Patient"}]},
 {"path":"Record.concept","max":"1","type":[{"code":"CodeableConcept"}]}]}}"##;

type Elements = &'static [(&'static str, &'static str)];

/// Elements of the types that a made-up map knows; the empty type is one that nothing can be said about.
const TYPES: &[(&str, Elements)] = &[
    (
        "Record",
        &[
            ("name", "string"),
            ("given", "string"),
            ("born", "date"),
            ("at", "instant"),
            ("sex", "code"),
            ("weight", "decimal"),
            ("active", "boolean"),
            ("value", ""),
            ("home", "Home"),
            ("person", "Patient"),
            ("concept", "CodeableConcept"),
        ],
    ),
    ("Home", &[("street", "string"), ("town", "string"), ("inner", "Home")]),
    (
        "Patient",
        &[
            ("id", "id"),
            ("name", "HumanName"),
            ("birthDate", "date"),
            ("gender", "code"),
            ("active", "boolean"),
            ("identifier", "Identifier"),
            ("extension", "Extension"),
            ("maritalStatus", "CodeableConcept"),
            ("deceased", ""),
            ("contained", "Patient"),
            ("multipleBirth", ""),
        ],
    ),
    (
        "HumanName",
        &[("family", "string"), ("given", "string"), ("text", "string"), ("use", "code"), ("period", "Period")],
    ),
    ("Identifier", &[("system", "uri"), ("value", "string"), ("type", "CodeableConcept"), ("assigner", "Reference")]),
    ("Extension", &[("url", "uri"), ("value", ""), ("extension", "Extension")]),
    ("CodeableConcept", &[("coding", "Coding"), ("text", "string")]),
    ("Coding", &[("system", "uri"), ("code", "code"), ("display", "string")]),
    ("Period", &[("start", "dateTime"), ("end", "dateTime")]),
    ("Reference", &[("reference", "string"), ("display", "string"), ("identifier", "Identifier")]),
    (
        "Observation",
        &[
            ("id", "id"),
            ("status", "code"),
            ("code", "CodeableConcept"),
            ("value", ""),
            ("effective", ""),
            ("note", ""),
            ("component", ""),
            ("subject", "Reference"),
        ],
    ),
    ("Bundle", &[("id", "id"), ("type", "code"), ("entry", "BundleEntry"), ("total", "unsignedInt")]),
    ("BundleEntry", &[("fullUrl", "uri"), ("resource", "")]),
];

const SOURCE_TYPES: &[&str] = &["Record", "Record", "Patient", "Home", ""];
const TARGET_TYPES: &[&str] = &["Patient", "Observation", "Bundle", "HumanName", ""];
const MADE: &[&str] =
    &["Patient", "Observation", "HumanName", "CodeableConcept", "Coding", "Quantity", "Extension", "string", "Period"];
/// Transforms, with a gap for each argument.
const TRANSFORMS: &[&str] = &[
    "append(~, ~)",
    "append('urn:uuid:', ~, ~)",
    "truncate(~, 3)",
    "cast(~, 'string')",
    "cast(~, 'integer')",
    "cast(~, 'dateTime')",
    "copy(~)",
    "translate(~, '#c', 'code')",
    "translate(~, '#c', 'Coding')",
    "translate(~, '#c', 'CodeableConcept')",
    "uuid()",
    "reference(~)",
    "pointer(~)",
    "cc('http://s', ~)",
    "cc(~)",
    "c('http://s', ~, ~)",
    "qty(~, 'kg')",
    "qty(~, 'kg', 'http://unitsofmeasure.org', ~)",
    "id('http://s', ~)",
    "cp(~)",
    "evaluate(~, $this.toString())",
    "dateOp(~)",
    "escape(~, 'xml')",
];
const LITERALS: &[&str] = &[
    "'a'",
    "'final'",
    "''",
    "true",
    "1",
    "-1",
    "2.50",
    "@2020-01-02",
    "@2020-01-02T03:04:05Z",
    "@T10:00",
    "'http://x'",
    "1 'kg'",
    "3 days",
    "fixed",
    "sum",
    "%fixed",
    "\"d\"",
    "{}",
];
const FUNCTIONS: &[&str] = &[
    "exists()",
    "empty()",
    "first()",
    "count()",
    "toString()",
    "length()",
    "upper()",
    "substring(1)",
    "not()",
    "children()",
    "descendants()",
    "distinct()",
    "where($this = ~)",
    "select($this & ~)",
    "all($this is string)",
    "iif($this = ~, ~, ~)",
    "matches('^[a-z]+$')",
    "matches(~)",
    "replaceMatches('(a)', '$1$1')",
    "replace(~, ~)",
    "toInteger()",
    "toDecimal()",
    "toQuantity()",
    "ofType(string)",
    "as(Patient)",
    "repeat(inner)",
    "toDateTime()",
    "combine(~)",
    "union(~)",
    "split(~)",
    "join(',')",
    "toChars()",
    "power(3)",
    "sqrt()",
    "ln()",
    "round(2)",
    "abs()",
    "indexOf(~)",
    "startsWith(~)",
    "aggregate($total + $this, 0)",
    "resolve()",
    "extension('http://x')",
    "hasValue()",
    "skip(1)",
    "tail()",
    "trace('t')",
    "lowBoundary()",
    "encode('base64')",
    "isDistinct()",
    "intersect(~)",
    "sort()",
];
const OPERATORS: &[&str] = &[
    "=", "!=", "~", "<", ">=", "and", "or", "xor", "implies", "+", "-", "*", "/", "div", "mod", "&", "|", "in",
    "contains",
];
const SOURCE_MODES: &[&str] = &["first", "not_first", "last", "not_last", "only_one"];
const TARGET_MODES: &[&str] = &["first", "last", "single", "share a", "share b", "collate"];

type Variables = Vec<(String, &'static str)>;

struct Group {
    name: String,
    source: &'static str,
    target: &'static str,
    extras: usize,
}

struct Maker<'c, 'b> {
    choices: &'c mut Choices<'b>,
    groups: Vec<Group>,
    out: String,
    names: usize,
}

/// A map that `choices` decide.
pub fn map(choices: &mut Choices<'_>) -> String {
    let count = 1 + choices.below(6);
    let groups = (0..count)
        .map(|index| Group {
            name: format!("G{index}"),
            source: if index == 0 { "Record" } else { choices.word(SOURCE_TYPES) },
            target: if index == 0 { TARGET_TYPES[choices.below(3)] } else { choices.word(TARGET_TYPES) },
            extras: if index == 0 { 0 } else { choices.below(3) },
        })
        .collect();
    let mut maker = Maker { choices, groups, out: HEAD.to_owned(), names: 0 };
    (0..count).for_each(|index| maker.group(index));
    maker.out
}

fn elements(ty: &str) -> Elements {
    TYPES
        .iter()
        .find(|(name, _)| *name == ty)
        .map_or(&[("value", ""), ("code", ""), ("extension", "Extension")], |(_, each)| each)
}

fn annotation(ty: &str) -> String {
    if matches!(ty, "" | "Home" | "BundleEntry") { String::new() } else { format!(" : {ty}") }
}

impl Maker<'_, '_> {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn fresh(&mut self) -> String {
        self.names += 1;
        format!("v{}", self.names)
    }

    fn group(&mut self, index: usize) {
        let Group { name, source, target, extras } = &self.groups[index];
        let (source, target) = (*source, *target);
        let more: String = (0..*extras).map(|extra| format!(", source x{extra}")).collect();
        let head = format!("group {name}(source s{}, target t{}{more})", annotation(source), annotation(target));
        let mut sources: Variables = vec![("s".to_owned(), source)];
        sources.extend((0..*extras).map(|extra| (format!("x{extra}"), "")));
        self.put(&head);
        if self.choices.once_in(6) {
            let base = self.choices.below(self.groups.len());
            let _ = write!(self.out, " extends G{base}");
        }
        if self.choices.once_in(5) {
            let mode = *self.choices.one(&[" <<types>>", " <<type+>>"]);
            self.put(mode);
        }
        self.put(" ");
        self.block(&mut sources, &mut vec![("t".to_owned(), target)], 0);
        self.put("\n");
    }

    fn block(&mut self, sources: &mut Variables, targets: &mut Variables, depth: usize) {
        self.put("{\n");
        let rules = 1 + self.choices.below(4);
        for _ in 0..rules {
            let known = (sources.len(), targets.len());
            self.rule(sources, targets, depth);
            sources.truncate(known.0);
            targets.truncate(known.1);
            if self.choices.is_over() {
                break;
            }
        }
        self.put("}");
    }

    fn rule(&mut self, sources: &mut Variables, targets: &mut Variables, depth: usize) {
        for index in 0..1 + usize::from(self.choices.once_in(8)) {
            self.put(if index > 0 { ", " } else { "  " });
            self.source(sources, targets);
        }
        let count = self.choices.below(4);
        for index in 0..count {
            self.put(if index > 0 { ", " } else { " -> " });
            self.target(sources, targets);
        }
        match self.choices.below(6) {
            0 | 1 if depth < 5 => {
                self.put(" then ");
                self.block(sources, targets, depth + 1);
            }
            2 | 3 => {
                self.put(" then ");
                self.call(sources, targets);
            }
            _ => {}
        }
        if self.choices.once_in(3) {
            self.put(" \"r\"");
        }
        self.put(";\n");
    }

    fn call(&mut self, sources: &Variables, targets: &Variables) {
        let group = self.choices.below(self.groups.len());
        let extras = self.groups[group].extras;
        let _ = write!(self.out, "G{group}(");
        self.argument(sources);
        self.put(", ");
        let target = self.choices.one(targets).0.clone();
        self.put(&target);
        for _ in 0..extras {
            self.put(", ");
            self.argument(sources);
        }
        self.put(")");
    }

    fn argument(&mut self, sources: &Variables) {
        let text =
            if self.choices.once_in(4) { self.expression(sources, 1) } else { self.choices.one(sources).0.clone() };
        self.put(&text);
    }

    fn source(&mut self, sources: &mut Variables, targets: &Variables) {
        let (name, ty) =
            if self.choices.once_in(12) { self.choices.one(targets).clone() } else { self.latest(sources) };
        self.put(&name);
        let mut own = ty;
        if !self.choices.once_in(4) {
            let (element, element_type) = *self.choices.one(elements(ty));
            own = element_type;
            let _ = write!(self.out, ".{element}");
        }
        if self.choices.once_in(8) {
            let wanted = *self.choices.one(&["string", "Patient", "CodeableConcept", "Quantity", "boolean"]);
            own = wanted;
            let _ = write!(self.out, " : {wanted}");
        }
        if self.choices.once_in(10) {
            let bounds = *self.choices.one(&[" 0..1", " 1..*", " 0..0", " 2..3"]);
            self.put(bounds);
        }
        if self.choices.once_in(8) {
            let value = *self.choices.one(LITERALS);
            let _ = write!(self.out, " default ({value})");
        }
        if self.choices.once_in(8) {
            let mode = *self.choices.one(SOURCE_MODES);
            let _ = write!(self.out, " {mode}");
        }
        if !self.choices.once_in(5) {
            let name = self.fresh();
            let _ = write!(self.out, " as {name}");
            sources.push((name, own));
        }
        for clause in ["where", "check", "log"] {
            if self.choices.once_in(if clause == "where" { 4 } else { 14 }) {
                let expression = self.expression(sources, 0);
                let _ = write!(self.out, " {clause} ({expression})");
            }
        }
    }

    /// Mostly the variable that was bound last.
    fn latest(&mut self, variables: &Variables) -> (String, &'static str) {
        match self.choices.once_in(3) {
            true => self.choices.one(variables).clone(),
            false => variables.last().cloned().unwrap_or_default(),
        }
    }

    fn target(&mut self, sources: &Variables, targets: &mut Variables) {
        if self.choices.once_in(10) {
            let transform = self.transform(sources);
            let name = self.fresh();
            let _ = write!(self.out, "{transform} as {name}");
            targets.push((name, "string"));
            return;
        }
        let (name, ty) = self.latest(targets);
        let (element, mut own) = *self.choices.one(elements(ty));
        let _ = write!(self.out, "{name}.{element}");
        let complex = TYPES.iter().any(|(known, _)| *known == own);
        match self.choices.below(6) {
            0 | 1 if complex => {}
            2 if own.is_empty() || complex => {
                own = self.choices.word(MADE);
                let _ = write!(self.out, " = create('{own}')");
            }
            3 => {
                let transform = self.transform(sources);
                let _ = write!(self.out, " = {transform}");
            }
            4 => {
                let value = *self.choices.one(LITERALS);
                let _ = write!(self.out, " = {value}");
            }
            _ => {
                let variable = self.latest(sources).0;
                let _ = write!(self.out, " = {variable}");
            }
        }
        if self.choices.once_in(2) || complex {
            let name = self.fresh();
            let _ = write!(self.out, " as {name}");
            targets.push((name, own));
        }
        if self.choices.once_in(8) {
            let mode = *self.choices.one(TARGET_MODES);
            let _ = write!(self.out, " {mode}");
        }
    }

    fn transform(&mut self, sources: &Variables) -> String {
        if self.choices.once_in(4) {
            return format!("({})", self.expression(sources, 0));
        }
        let template = *self.choices.one(TRANSFORMS);
        self.filled(template, sources, 2)
    }

    /// The template with something in each of its gaps.
    fn filled(&mut self, template: &str, sources: &Variables, depth: usize) -> String {
        let mut parts = template.split('~');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            text.push_str(&self.expression(sources, depth + 1));
            text.push_str(part);
        }
        text
    }

    fn expression(&mut self, sources: &Variables, depth: usize) -> String {
        if depth > 3 || self.choices.is_over() {
            return self.choices.one(LITERALS).to_string();
        }
        match self.choices.below(8) {
            0 | 1 => self.latest(sources).0,
            2 => {
                let (name, ty) = self.latest(sources);
                format!("{name}.{}", self.choices.one(elements(ty)).0)
            }
            3 | 4 => {
                let base = self.expression(sources, depth + 1);
                let function = *self.choices.one(FUNCTIONS);
                format!("({base}).{}", self.filled(function, sources, depth))
            }
            5 => {
                let (left, right) = (self.expression(sources, depth + 1), self.expression(sources, depth + 1));
                format!("({left} {} {right})", self.choices.one(OPERATORS))
            }
            6 => format!("%{}", self.latest(sources).0),
            _ => self.choices.one(LITERALS).to_string(),
        }
    }
}

/// Words of the language, for a mutator.
pub fn words() -> Vec<&'static str> {
    let mut words = vec![
        "group",
        "source",
        "target",
        "uses",
        "imports",
        "alias",
        "as",
        "map",
        "conceptmap",
        "prefix",
        "unmapped",
        "for",
        "provided",
        "let",
        "extends",
        "then",
        "where",
        "check",
        "log",
        "default",
        "share",
        "->",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "<<types>>",
        "<<type+>>",
        ";",
        ",",
        ":",
        ".",
        "=",
        "==",
        "..",
        "*",
        "%",
        "$this",
        "$index",
        "$total",
        "create",
        "append",
        "cast",
        "copy",
        "translate",
        "truncate",
        "uuid",
        "evaluate",
        "reference",
        "cc",
        "c",
        "qty",
        "id",
        "cp",
        "\"r\"",
        "'*'",
        "/// url = 'http://x'",
        "is",
        "Resource",
        "BackboneElement",
        "value",
        "[x]",
        "resourceType",
        "contained",
        "é",
        "\u{1F600}",
        "'\\u00e9'",
        "`a b`",
    ];
    words.extend(
        SOURCE_MODES.iter().chain(TARGET_MODES).chain(LITERALS).chain(FUNCTIONS).chain(OPERATORS).chain(TRANSFORMS),
    );
    words.extend(TYPES.iter().flat_map(|(name, elements)| elements.iter().map(|each| each.0).chain([*name])));
    words
}
