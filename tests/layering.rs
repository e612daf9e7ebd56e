//! A module names only what stands below it: parses `src` and fails on a dependency that points upward.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// The modules from top to bottom; those on one line do not name each other.
const LAYERS: &[&[&str]] = &[
    &["cli"],
    &["config"],
    &["partner"],
    &["server"],
    &["pipeline"],
    &["acts"],
    &["handover"],
    &["audit"],
    &["acknowledgement"],
    &["refusal"],
    &["delivery"],
    &["provenance"],
    &["disclosure"],
    &["validation"],
    &["mapping"],
    &["intake"],
    &["fhirpath"],
    &["storage"],
    &["fhir"],
    &["identity"],
];

/// The stages of a message, first to last, and what each hands to the next.
const PROOFS: &[(&str, &[&str])] = &[
    ("intake", &["Received"]),
    ("mapping", &["Mapped", "Origin"]),
    // What is left of a valid Bundle is checked again against the proof that it was.
    ("validation", &["Cut", "Validated"]),
    ("disclosure", &["Disclosable"]),
    ("provenance", &["Attested"]),
    ("delivery", &["Queued"]),
];

/// Every `crate::a::b` path of a file, `use` trees unfolded.
#[derive(Default)]
struct Paths(Vec<Vec<String>>);

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.unfold(&item.tree, Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }

    /// Unit tests may build what stands beside or above: they are not the product.
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident != "tests" {
            syn::visit::visit_item_mod(self, item);
        }
    }
}

impl Paths {
    fn unfold(&mut self, tree: &syn::UseTree, mut prefix: Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.unfold(&path.tree, prefix);
            }
            syn::UseTree::Name(name) => {
                prefix.push(name.ident.to_string());
                self.0.push(prefix);
            }
            syn::UseTree::Rename(rename) => {
                prefix.push(rename.ident.to_string());
                self.0.push(prefix);
            }
            syn::UseTree::Glob(_) => {
                prefix.push("*".to_owned());
                self.0.push(prefix);
            }
            syn::UseTree::Group(group) => {
                for item in &group.items {
                    self.unfold(item, prefix.clone());
                }
            }
        }
    }
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src is readable") {
        let path = entry.expect("src is readable").path();
        if path.is_dir() {
            files_below(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_for_tests(&path) {
            files.push(path);
        }
    }
}

/// A module of unit tests in a file of its own.
fn is_for_tests(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem == "tests" || stem == "suite")
}

/// `src/delivery/bars.rs` → `delivery`.
fn module_of(file: &Path) -> String {
    let below = file.strip_prefix("src").expect("it stands below src");
    let first = below.iter().next().expect("a file has a name").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The `crate::…` paths that each file of `src` names outside its tests.
fn named() -> BTreeMap<PathBuf, Vec<Vec<String>>> {
    let mut files = Vec::new();
    files_below(Path::new("src"), &mut files);
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).expect("a source file is readable");
        let mut paths = Paths::default();
        paths.visit_file(&syn::parse_file(&text).expect("a source file parses"));
        let own = paths.0.into_iter().filter(|path| path.len() > 1 && path[0] == "crate").collect();
        (file, own)
    };
    files.into_iter().map(read).collect()
}

#[test]
fn a_module_names_only_what_stands_below_it() {
    let mut upward = Vec::new();
    for (file, paths) in named() {
        let module = module_of(&file);
        if matches!(&*module, "lib" | "main") {
            continue;
        }
        let own = layer(&module).unwrap_or_else(|| panic!("{module} has no place in LAYERS"));
        for path in paths {
            let other = layer(&path[1]).unwrap_or_else(|| panic!("{} names {}", file.display(), path.join("::")));
            if path[1] != module && other <= own {
                upward.push(format!("{} names {}", file.display(), path.join("::")));
            }
        }
    }
    assert!(upward.is_empty(), "dependencies that point upward:\n{}", upward.join("\n"));
}

#[test]
fn a_stage_names_only_the_proofs_of_the_stages_before_it() {
    let stages: BTreeMap<&str, &[&str]> = PROOFS.iter().copied().collect();
    let mut reached = Vec::new();
    for (file, paths) in named() {
        let module = module_of(&file);
        if !stages.contains_key(&*module) {
            continue;
        }
        for path in paths {
            let Some(proofs) = stages.get(&*path[1]).filter(|_| path[1] != module) else { continue };
            if !path.last().is_some_and(|last| proofs.contains(&last.as_str())) {
                reached.push(format!("{} names {}", file.display(), path.join("::")));
            }
        }
    }
    assert!(reached.is_empty(), "more than a proof is taken from an earlier stage:\n{}", reached.join("\n"));
}

#[test]
fn every_module_says_what_it_is() {
    let mut files = Vec::new();
    files_below(Path::new("src"), &mut files);
    let silent: Vec<_> = files
        .into_iter()
        .filter(|file| !fs::read_to_string(file).expect("a source file is readable").starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "no module documentation: {silent:?}");
}
