//! How the occurrences of a sliced element are told apart: discriminators compiled into [`Matcher`]s.

use super::compile::{Compiler, Draft, is_spelled};
use super::plan::{Matcher, Step, Test};
use crate::fhir::snapshot::{R4, SnapshotElement};
use crate::fhir::{Document, Limits, Name, Node};

/// The matchers of one slice of `sliced`; `None`, with a note, if one of its discriminators cannot be run.
pub(super) fn matchers(
    compiler: &mut Compiler<'_, '_>,
    sliced: &Draft,
    slice: &Draft,
    profile: &str,
) -> Option<Vec<Matcher>> {
    let discriminators = match &sliced.element.slicing {
        Some(slicing) => slicing.discriminators.clone(),
        None => vec![("value".to_owned(), "url".to_owned())],
    };
    let mut all = Vec::new();
    let mut known = true;
    for (kind, path) in &discriminators {
        let found = steps(path).map(|path| of_kind(compiler, slice, kind, path)).unwrap_or_default();
        if found.is_empty() {
            let what = format!("the slice is not told apart by {kind} of {path} and so not checked");
            compiler.note(profile, &slice.element.id, &what);
            known = false;
        }
        all.extend(found);
    }
    (known && !all.is_empty()).then_some(all)
}

/// What a slice expects of a discriminator; nothing if it cannot be told.
fn of_kind(compiler: &mut Compiler<'_, '_>, slice: &Draft, kind: &str, path: Vec<Step>) -> Vec<Matcher> {
    match kind {
        "value" | "pattern" => value(compiler, slice, path),
        "exists" => exists(slice, path).into_iter().collect(),
        "type" => of_type(slice, path).into_iter().collect(),
        "profile" => of_profile(slice, path).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn exists(slice: &Draft, path: Vec<Step>) -> Option<Matcher> {
    let element = &slice.below(&path)?.element;
    let is_told = element.min > 0 || element.max == Some(0);
    is_told.then(|| Matcher { path, test: Test::Exists(element.max != Some(0)) })
}

fn of_type(slice: &Draft, path: Vec<Step>) -> Option<Matcher> {
    let types = slice.types_at(&path)?;
    (!types.is_empty()).then_some(Matcher { path, test: Test::Type(types) })
}

fn of_profile(slice: &Draft, path: Vec<Step>) -> Option<Matcher> {
    let (before, is_resolved) = until_resolve(&path);
    let types = &slice.below(before)?.element.types;
    let urls = types.iter().flat_map(|each| if is_resolved { &each.targets } else { &each.profiles });
    let urls: Vec<Box<str>> = urls.map(|url| url.as_str().into()).collect();
    (!urls.is_empty()).then_some(Matcher { path, test: Test::Profile(urls) })
}

/// The steps before `resolve()`, and whether there is one.
fn until_resolve(path: &[Step]) -> (&[Step], bool) {
    match path.iter().position(|step| matches!(step, Step::Resolve)) {
        Some(place) => (&path[..place], true),
        None => (path, false),
    }
}

fn value(compiler: &mut Compiler<'_, '_>, slice: &Draft, path: Vec<Step>) -> Vec<Matcher> {
    let is_url = matches!(path.as_slice(), [Step::Name(name)] if name.text() == "url");
    if is_url && let Some(url) = slice.profiles().next() {
        let url = Document::parse(format!("\"{url}\""), &Limits::default()).ok();
        return url.map(|url| Matcher { path, test: Test::Fixed(url.into()) }).into_iter().collect();
    }
    let mut found = Vec::new();
    if let Some(target) = slice.below(&path) {
        target.tests(compiler, &path, &mut found);
    }
    if found.is_empty() {
        // A value further up says what stands below it.
        for shorter in (0..path.len()).rev().map(|length| &path[..length]) {
            if let Some(test) = slice.below(shorter).and_then(|draft| test(compiler, &draft.element)) {
                found.push(test.below(&path, shorter.len()));
                break;
            }
        }
    }
    if found.is_empty() {
        found = of_type_profile(compiler, slice, path);
    }
    found
}

/// What the only profile on the slice's type, or on what its reference leads to, says at the path.
fn of_type_profile(compiler: &mut Compiler<'_, '_>, slice: &Draft, path: Vec<Step>) -> Vec<Matcher> {
    let (before, is_resolved) = until_resolve(&path);
    let start = if is_resolved { before.len() + 1 } else { 0 };
    let url = match (is_resolved, slice.below(before)) {
        (true, Some(reference)) => reference.only_target(),
        _ => slice.profiles().next().map(str::to_owned),
    };
    let Some(url) = url else { return Vec::new() };
    let Ok(snapshot) = compiler.snapshots.snapshot(&url) else { return Vec::new() };
    let mut ids = vec![snapshot.elements[0].id.to_string()];
    for step in &path[start..] {
        let Step::Name(name) = step else { return Vec::new() };
        ids.push(format!("{}.{}", ids[ids.len() - 1], name.text()));
    }
    // A value further up says what stands below it.
    let found = ids.iter().enumerate().rev().find_map(|(steps, id)| {
        let element = snapshot.element(id).or_else(|| snapshot.element(&format!("{id}[x]")))?;
        test(compiler, element).map(|test| test.below(&path, start + steps))
    });
    found.into_iter().collect()
}

/// The value that an element must have.
fn test(compiler: &mut Compiler<'_, '_>, element: &SnapshotElement) -> Option<Test> {
    if let Some(fixed) = &element.fixed {
        return Some(Test::Fixed(fixed.clone()));
    }
    if let Some(pattern) = &element.pattern {
        return Some(Test::Pattern(pattern.clone()));
    }
    let required = element.binding.as_ref().filter(|binding| &*binding.strength == "required")?;
    Some(Test::ValueSet(compiler.value_set(&required.value_set)))
}

impl Test {
    /// The matcher that asks for what the value at the end of `path`'s first `above` steps says of the whole path; for
    /// that value where it does not say.
    fn below(self, path: &[Step], above: usize) -> Matcher {
        let (Test::Fixed(value) | Test::Pattern(value)) = &self else {
            return Matcher { path: path[..above].to_vec(), test: self };
        };
        let step = |node: Option<Node<'_>>, step: &Step| match step {
            Step::Name(name) => node?.get(name).filter(|child| !child.is_array()).map(|child| child.raw().to_owned()),
            _ => None,
        };
        let mut at = Some(value.root().raw().to_owned());
        for each in &path[above..] {
            let document = at.take().and_then(|text| Document::parse(text, &Limits::default()).ok());
            at = step(document.as_ref().map(Document::root), each);
        }
        let inner = at.and_then(|text| Document::parse(text, &Limits::default()).ok());
        match (inner, &self) {
            (Some(inner), Test::Fixed(_)) => Matcher { path: path.to_vec(), test: Test::Fixed(inner.into()) },
            (Some(inner), _) => Matcher { path: path.to_vec(), test: Test::Pattern(inner.into()) },
            (None, _) => Matcher { path: path[..above].to_vec(), test: self },
        }
    }
}

impl Draft {
    /// The draft at the end of `path` among the children.
    fn below(&self, path: &[Step]) -> Option<&Draft> {
        let mut at = self;
        for step in path {
            at = match step {
                Step::Name(name) => at.child(name.text())?,
                Step::Extension(url) => {
                    let extensions = at.child("extension")?;
                    let own = |slice: &&(String, Draft)| slice.1.profiles().any(|profile| profile == &**url);
                    &extensions.slices.iter().find(own)?.1
                }
                Step::Resolve | Step::OfType(_) => at,
            };
        }
        Some(at)
    }

    fn child(&self, name: &str) -> Option<&Draft> {
        let plain = |(own, _): &&(String, Draft)| own.strip_suffix("[x]").unwrap_or(own) == name;
        let spelled = |(own, _): &&(String, Draft)| is_spelled(own, name);
        let found = self.children.iter().find(spelled).or_else(|| self.children.iter().find(plain));
        found.map(|(_, draft)| draft)
    }

    /// The profiles that the element's value must be of.
    fn profiles(&self) -> impl Iterator<Item = &str> {
        self.element.types.iter().flat_map(|used| &used.profiles).map(String::as_str)
    }

    /// The profile of what a reference leads to, if there is one only.
    fn only_target(&self) -> Option<String> {
        let mut targets = self.element.types.iter().flat_map(|used| &used.targets);
        targets.next().filter(|_| targets.next().is_none()).cloned()
    }

    /// The types that may stand at the end of the path.
    fn types_at(&self, path: &[Step]) -> Option<Vec<Box<str>>> {
        if let Some(Step::OfType(code)) = path.last() {
            return Some(vec![code.clone()]);
        }
        let (before, is_resolved) = until_resolve(path);
        let types = &self.below(before)?.element.types;
        let name = |url: &String| url.strip_prefix(R4).map(Into::into);
        if is_resolved {
            return types.iter().flat_map(|used| &used.targets).map(name).collect();
        }
        Some(types.iter().map(|used| used.code.as_str().into()).collect())
    }

    /// The tests of the element, or of the elements below that have one value only.
    fn tests(&self, compiler: &mut Compiler<'_, '_>, path: &[Step], found: &mut Vec<Matcher>) {
        if let Some(test) = test(compiler, &self.element) {
            found.push(Matcher { path: path.to_vec(), test });
            return;
        }
        for (name, child) in self.children.iter().filter(|(name, _)| name != "extension") {
            let is_told = child.element.fixed.is_some() || child.element.pattern.is_some() || child.element.min > 0;
            if !is_told {
                continue;
            }
            let mut below = path.to_vec();
            below.push(Step::Name(Name::new(name.strip_suffix("[x]").unwrap_or(name))));
            child.tests(compiler, &below, found);
        }
    }
}

/// `$this`, `system`, `code.coding`, `extension('url').value`, `resolve()`; `None` for what is not supported.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix("extension('") {
            let (url, behind) = inner.split_once("')")?;
            steps.push(Step::Extension(url.into()));
            rest = behind.strip_prefix('.').unwrap_or(behind);
            continue;
        }
        let (name, behind) = rest.split_once('.').unwrap_or((rest, ""));
        match name.split_once('(') {
            None if name == "$this" => {}
            None => steps.push(Step::Name(Name::new(name))),
            Some(("resolve", ")")) => steps.push(Step::Resolve),
            Some(("ofType", code)) => steps.push(Step::OfType(code.strip_suffix(')')?.into())),
            Some(_) => return None,
        }
        rest = behind;
    }
    Some(steps)
}
