//! What stands at the top of a file: map, uses, imports, constants, concept maps, the heads of the groups.

use std::borrow::Cow;

use fml_syntax::{AstNode, SyntaxKind, SyntaxNode, ast};

use crate::fhir::{Document, Limits, Node};

use super::super::MapFile;
use super::super::concepts::{self, Concepts};
use super::super::diagnostic::{Code, Diagnostic, Finding, Severity};
use super::super::types::Type;
use super::slip::Slip;
use super::{Compiler, Declared, FAULTS, File, Located as _, Mode, Parameter, written};

impl<'a> Compiler<'a> {
    pub(super) fn read_files(&mut self, files: &'a [MapFile]) {
        for file in files {
            let mut text = self.fml_of(file);
            if let Some((at, what)) = super::bounds::excess(&text) {
                let hint = "cut the map into several files and groups".to_owned();
                let finding = Finding { severity: Severity::Error, code: Code::Limit, message: what.to_owned(), hint };
                self.diagnostics.push(Diagnostic::new(&file.name, &text, at..at, finding));
                self.unreadable = true;
                text = Cow::Borrowed("");
            }
            let written = fml_syntax::parse(&text);
            let modern = super::legacy::modern(&text, &written.tree());
            let parse = match &modern {
                Cow::Borrowed(_) => written,
                Cow::Owned(text) => fml_syntax::parse(text),
            };
            let faults = parse.diagnostics();
            for slip in super::slip::slips(&modern, &faults[..faults.len().min(FAULTS)]) {
                self.read_slip(&file.name, &text, &parse.syntax(), slip);
            }
            self.files.push(read_file(file, text, parse.tree()));
        }
        if files.is_empty() {
            self.unreadable = true;
            let finding = Finding {
                severity: Severity::Error,
                code: Code::UnknownImport,
                message: "there is no mapping file".to_owned(),
                hint: "give at least one .map file".to_owned(),
            };
            self.diagnostics.push(Diagnostic::new("", "", 0..0, finding));
        }
        self.check_urls();
        for file in 0..self.files.len() {
            let mut visible = vec![file];
            self.follow_imports(file, &mut visible, &mut vec![file]);
            self.files[file].visible = visible;
        }
    }

    /// A logical model cannot take the place of an R4 type.
    pub(super) fn check_models(&mut self) {
        for url in self.types.clashes() {
            let finding = Finding {
                severity: Severity::Error,
                code: Code::Duplicate,
                message: format!("a logical model has the URL of an R4 type: {url}"),
                hint: "give the model a URL of its own, in its StructureDefinition and in the maps that use it"
                    .to_owned(),
            };
            self.diagnostics.push(Diagnostic::new(url, "", 0..0, finding));
        }
    }

    /// Two maps with one URL: an import could not say which it means.
    fn check_urls(&mut self) {
        for file in 1..self.files.len() {
            let url = self.files[file].url.clone();
            let Some(first) = self.files[..file].iter().find(|other| other.url == url) else { continue };
            let message = format!("{} and {} are both the map {url}", first.name, self.files[file].name);
            let hint = "give one of the two another URL, or leave it out";
            match self.files[file].tree.map_declaration() {
                Some(map) => self.error_of(Code::Duplicate, file, map.syntax(), message, hint),
                None => self.report(
                    file,
                    0..0,
                    Finding { severity: Severity::Error, code: Code::Duplicate, message, hint: hint.to_owned() },
                ),
            }
        }
    }

    /// The text of a file; of a StructureMap resource, what it says in the mapping language.
    fn fml_of(&mut self, file: &'a MapFile) -> Cow<'a, str> {
        let text = file.text.trim_start_matches('\u{feff}');
        if !text.trim_start().starts_with('{') {
            return Cow::Borrowed(&file.text);
        }
        let parsed = Document::parse(text.trim_end(), &Limits::default());
        let message = match parsed.as_ref().map(super::structure_map::as_fml) {
            Ok(Some(text)) => return Cow::Owned(text),
            Ok(None) => "this resource is no StructureMap".to_owned(),
            Err(fault) => format!("this is no JSON: {fault}"),
        };
        let hint = "give a map, or a StructureMap resource as JSON".to_owned();
        let finding = Finding { severity: Severity::Error, code: Code::Syntax, message, hint };
        self.diagnostics.push(Diagnostic::new(&file.name, &file.text, 0..0, finding));
        self.unreadable = true;
        Cow::Borrowed("")
    }

    /// Reports a slip, and notes what around it cannot be trusted.
    fn read_slip(&mut self, file: &str, text: &str, tree: &SyntaxNode, slip: Slip) {
        let Slip { range, severity, message, hint, is_consequence, is_harmless, is_local } = slip;
        let rules = tree.descendants().filter(|node| node.kind() == SyntaxKind::Rule).map(|rule| rule.span());
        let around = rules.filter(|rule| rule.start <= range.start && range.start <= rule.end).last();
        match around {
            _ if is_harmless => {}
            Some(rule) => self.broken.push((self.files.len(), rule.start..rule.end + 1)),
            None => {}
        }
        self.unreadable |= !is_local;
        if !is_consequence {
            let finding = Finding { severity, code: Code::Syntax, message, hint };
            self.diagnostics.push(Diagnostic::new(file, text, range, finding));
        }
    }

    /// Adds the files that `file` imports, and theirs. A file that leads back to itself is a fault.
    fn follow_imports(&mut self, file: usize, visible: &mut Vec<usize>, open: &mut Vec<usize>) {
        let imports: Vec<ast::ImportsDeclaration> = self.files[file].tree.imports().collect();
        for import in imports {
            let url = import.url().and_then(|url| url.value()).unwrap_or_default();
            let matching = self.importable(&url);
            if matching.is_empty() && !url.ends_with('*') {
                let hint = "give the file that declares it too: with --with, or in a site's mappings/";
                self.error_of(
                    Code::UnknownImport,
                    file,
                    import.syntax(),
                    format!("no mapping file declares {url}"),
                    hint,
                );
            }
            for other in matching {
                if open.contains(&other) {
                    if !url.ends_with('*') {
                        let (message, hint) = match other == file {
                            true => ("the file imports itself".to_owned(), "take the import out"),
                            false => {
                                (format!("{url} imports this file in turn"), "move what both need into a third file")
                            }
                        };
                        self.error(file, import.syntax(), message, hint);
                    }
                } else if !visible.contains(&other) {
                    visible.push(other);
                    open.push(other);
                    self.follow_imports(other, visible, open);
                    open.pop();
                }
            }
        }
    }

    /// The files whose URL is `url`, where one `*` stands for any text.
    fn importable(&self, url: &str) -> Vec<usize> {
        let fits = |file: &File<'_>| match url.split_once('*') {
            Some((head, tail)) => {
                file.url.len() >= head.len() + tail.len() && file.url.starts_with(head) && file.url.ends_with(tail)
            }
            None => file.url == url,
        };
        self.files.iter().enumerate().filter(|(_, file)| fits(file)).map(|(index, _)| index).collect()
    }

    pub(super) fn read_concept_maps(&mut self, definitions: &[Document]) {
        for file in 0..self.files.len() {
            let maps: Vec<ast::ConceptMap> = self.files[file].tree.concept_maps().collect();
            for map in maps {
                let url = map.url().and_then(|url| url.value()).unwrap_or_default();
                match Concepts::from_map(&map) {
                    Ok(concepts) => {
                        let key = (Some(file), url.trim_start_matches('#').to_owned());
                        if self.concept_names.contains_key(&key) {
                            let message = format!("the concept map {url} is declared twice");
                            let hint = "give one of the two another name";
                            self.error_of(Code::Duplicate, file, map.syntax(), message, hint);
                        }
                        self.add_concepts(key, concepts);
                    }
                    Err((place, fault)) => {
                        let hint = "declare the prefix, correct the entry, or give the concept map as a resource";
                        self.error(file, &place, fault, hint);
                    }
                }
            }
        }
        for resource in definitions.iter().map(Document::root).filter(|root| root.resource_type() == Some("ConceptMap"))
        {
            let url = resource.member("url").and_then(Node::text).unwrap_or_default().into_owned();
            match Concepts::from_resource(resource) {
                Ok(concepts) => self.add_concepts((None, url), concepts),
                Err(fault) => drop(self.faulty_concepts.insert(url, fault)),
            }
        }
        self.link_concept_maps();
    }

    /// A ConceptMap that nobody translates by may be as it likes: packages bring many.
    fn link_concept_maps(&mut self) {
        let mut all = std::mem::take(&mut self.concepts);
        let faults = concepts::link(&mut all, |url| self.concept_names.get(&(None, plain(url))).copied());
        self.concepts = all;
        for (index, fault) in faults {
            let urls = self.concept_names.iter().filter(|(_, known)| **known == index);
            let urls: Vec<String> = urls.map(|((_, url), _)| url.clone()).collect();
            self.faulty_concepts.extend(urls.into_iter().map(|url| (url, fault.clone())));
        }
    }

    fn add_concepts(&mut self, key: (Option<usize>, String), mut concepts: Concepts) {
        concepts.name = match &key {
            (Some(_), id) => format!("#{id}").into(),
            (None, url) => url.as_str().into(),
        };
        self.concept_names.insert(key, self.concepts.len());
        self.concepts.push(concepts);
    }

    /// The concept map that `translate` in `file` names.
    pub(super) fn concept_map(&self, file: usize, url: &str) -> Option<usize> {
        if let Some(id) = url.strip_prefix('#') {
            return self.concept_names.get(&(Some(file), id.to_owned())).copied();
        }
        // `http://map#id` names a concept map that stands in another mapping file.
        if let Some((map, id)) = url.split_once('#') {
            let other = self.files.iter().position(|file| file.url == map)?;
            return self.concept_names.get(&(Some(other), id.to_owned())).copied();
        }
        let embedded = self.concept_names.get(&(Some(file), plain(url)));
        embedded.or_else(|| self.concept_names.get(&(None, plain(url)))).copied()
    }

    /// What is wrong with the ConceptMap resource called `url`.
    pub(super) fn concept_map_fault(&self, url: &str) -> Option<String> {
        self.faulty_concepts.get(&plain(url)).cloned()
    }

    pub(super) fn declare_groups(&mut self) {
        for file in 0..self.files.len() {
            let groups: Vec<ast::Group> = self.files[file].tree.groups().collect();
            for tree in groups {
                let name = tree.name().unwrap_or_default();
                if self.groups.iter().any(|known| known.file == file && known.name == name) {
                    let hint = "give one of the two another name";
                    self.error_of(
                        Code::Duplicate,
                        file,
                        tree.syntax(),
                        format!("the group {name} is declared twice"),
                        hint,
                    );
                }
                let parameters = tree.parameters().filter_map(|each| self.parameter(file, &each)).collect();
                let extends = tree.extends();
                self.groups.push(Declared { file, name, tree, parameters, extends });
            }
        }
    }

    fn parameter(&mut self, file: usize, parameter: &ast::Parameter) -> Option<Parameter> {
        let mode = match parameter.mode()? {
            ast::ParameterMode::Source => Mode::Source,
            ast::ParameterMode::Target => Mode::Target,
        };
        let ty = match parameter.type_annotation() {
            Some(annotation) => self.annotated(file, &annotation, mode),
            None => Type::Any,
        };
        Some(Parameter { name: parameter.name()?, mode, ty })
    }

    /// The type that an annotation names. A source whose model nobody gave is of unknown type; a target is a fault.
    pub(super) fn annotated(&mut self, file: usize, annotation: &ast::TypeAnnotation, mode: Mode) -> Type {
        let name = annotation.type_name().unwrap_or_default();
        if let Some(ty) = self.type_named(file, &name) {
            return ty;
        }
        let used = self.files[file].uses.iter().any(|(alias, url)| *alias == name || *url == name);
        if mode == Mode::Target || !used {
            let hint = "declare it with uses, and give its StructureDefinition: with --with, or in a site's profiles/";
            self.error_of(Code::UnknownType, file, annotation.syntax(), format!("the type {name} is not known"), hint);
        } else {
            self.warn_of_missing_model(file, annotation, &name);
        }
        Type::Any
    }

    /// Says, once in a file, that what a source has is not known: then no name in its paths is checked.
    fn warn_of_missing_model(&mut self, file: usize, annotation: &ast::TypeAnnotation, name: &str) {
        let message = format!("no StructureDefinition of {name} is loaded, so its field names are not checked");
        let known = self.files[file].name;
        if self.diagnostics.iter().any(|each| each.file == known && each.message == message) {
            return;
        }
        let hint = "compare the URL of its uses, and give its file: with --with, or in a site's profiles/".to_owned();
        let finding = Finding { severity: Severity::Warning, code: Code::UnknownType, message, hint };
        self.report(file, annotation.syntax().span(), finding);
    }

    /// The type called `name` in `file`: by the alias or the last part of a `uses`, or else by itself.
    pub(super) fn type_named(&self, file: usize, name: &str) -> Option<Type> {
        let uses = &self.files[file].uses;
        let used = uses.iter().find(|(alias, _)| alias == name).map_or(name, |(_, url)| url.as_str());
        self.types.named(used)
    }
}

/// A canonical URL without its version.
fn plain(url: &str) -> String {
    url.split('|').next().unwrap_or_default().to_owned()
}

fn read_file<'a>(file: &'a MapFile, text: Cow<'a, str>, tree: ast::SourceFile) -> File<'a> {
    let metadata = |wanted: &str| {
        let mut found = tree.metadata().filter(|each| each.key().is_some_and(|key| key.text() == wanted));
        found.next().and_then(|each| each.value()?.value())
    };
    let declared = tree.map_declaration().and_then(|map| map.url()?.value());
    let url = metadata("url").or(declared).unwrap_or_else(|| file.name.clone());
    let uses = tree
        .uses()
        .filter_map(|each| {
            let url = each.url()?.value()?;
            let alias = each.alias().or_else(|| url.rsplit('/').next().map(str::to_owned))?;
            Some((alias, url))
        })
        .collect();
    let constants = tree.constants().filter_map(|each| Some((each.name()?, each.expression()?))).collect();
    File { name: &file.name, text, url, uses, visible: Vec::new(), constants, tree }
}

/// A rule's name: as given, or else its source.
pub(super) fn rule_name(rule: &ast::Rule) -> String {
    let source = || rule.sources().next().and_then(|source| source.path()).map(|path| written(&path));
    rule.name().or_else(source).unwrap_or_default()
}
