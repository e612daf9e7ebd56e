//! The golden table of what each agreement of the demonstration lets each recipient see, element by element, as the plans
//! say it that are compiled: `tests/golden/disclosure-elements.tsv`.
//!
//! `UPDATE_GOLDEN=1 cargo test --lib plan::table` writes it anew; read it as someone who answers for what leaves.

use std::collections::BTreeMap;

use super::{Branch, Plan, Profiles, ResourcePlan, Says};
use crate::disclosure::agreement::{Agreement, Agreements, Interface};
use crate::disclosure::sample_facts::SampleFacts;

const GOLDEN: &str = "tests/golden/disclosure-elements.tsv";
const FILES: [(&str, &str); 2] = [
    ("demo-icb-crisis.toml", include_str!("../../../agreements/demo-icb-crisis.toml")),
    ("demo-trust-crisis.toml", include_str!("../../../agreements/demo-trust-crisis.toml")),
];
const HEAD: &str = "\
# What each agreement of the demonstration lets each recipient see, element by element, from its compiled plan.
# An element that has no row does not leave: `withheld` is said here only of what someone decided to hold back. A profile
# stands where the clause is for resources that claim it alone; `all` for the whole resource; `identifier:nhsNumber` for one slice.
# without-consent: what leaves on a decision to share without it; `-` where the agreement knows no such decision.
# A pseudonym brings a system of its own; what only frames a resource (resourceType, fullUrl, an extension's url) needs no clause.
# clause: the permit, generalise or withhold of the file, counted from 1; its category, or who decided to withhold.
";
const COLUMNS: &str =
    "agreement\trecipient\tinterface\tresource\tprofile\telement\twith-consent\twithout-consent\tclause\tcategory\n";

/// A resource type, the last part of a profile's URL or nothing, and a path.
type Element = (String, String, String);

/// What a plan says of each element.
fn rows(plan: &Plan) -> BTreeMap<Element, Says> {
    let mut rows = BTreeMap::new();
    for (name, resource) in &plan.resources {
        for (bit, profile) in resource.profiles.iter().enumerate() {
            let short = profile.as_deref().and_then(|url| url.rsplit('/').next()).unwrap_or_default();
            let mut note = |path: &str, says| {
                let path = if path.is_empty() { "all" } else { path };
                rows.insert(((*name).to_owned(), short.to_owned(), path.to_owned()), says);
            };
            each_rule(resource, 1 << bit, &mut note);
        }
    }
    rows
}

/// Every element of which a clause speaks for the profile with this bit.
fn each_rule(resource: &ResourcePlan, bit: Profiles, note: &mut impl FnMut(&str, Says)) {
    walk(&resource.root, None, bit, "", note);
}

/// `all` is the branch of all occurrences, where this is a slice's: what both say is said once.
fn walk(branch: &Branch, all: Option<&Branch>, bit: Profiles, path: &str, note: &mut impl FnMut(&str, Says)) {
    let own = branch.says(bit);
    if let Some(says) = own.filter(|_| own != all.and_then(|all| all.says(bit))) {
        note(path, says);
    }
    let below = |step: &str| if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") };
    for (name, next) in &branch.members {
        walk(next, all.and_then(|all| all.member(*name)), bit, &below(name.text()), note);
    }
    for (url, next) in &branch.extensions {
        walk(next, all.and_then(|all| all.extension(url)), bit, &below(&format!("extension('{url}')")), note);
    }
    for (url, next) in &branch.modifier_extensions {
        let step = format!("modifierExtension('{url}')");
        walk(next, all.and_then(|all| all.modifier_extension(url)), bit, &below(&step), note);
    }
    for slice in branch.slices.iter().filter(|slice| slice.profiles & bit != 0) {
        if let Some(next) = &slice.branch {
            walk(next, Some(branch), bit, &format!("{path}:{}", slice.slice.name), note);
        }
    }
}

/// What a clause does, which one it is, and its category or who decided it.
fn told(interface: &Interface, says: Says) -> (String, String, String) {
    let index = |clause: u32| usize::try_from(clause).expect("it is small");
    match says {
        Says::Permit(clause) => {
            let category = interface.clauses()[index(clause)].category.clone();
            ("as it is".to_owned(), format!("permit {}", clause + 1), category)
        }
        Says::Generalise(clause) => {
            let generalisation = &interface.generalisations()[index(clause)];
            let form = generalisation.to.shown();
            (form, format!("generalise {}", clause + 1), generalisation.category.clone())
        }
        Says::Withhold(clause) => {
            let by = interface.withholdings()[index(clause)].approved_by;
            ("withheld".to_owned(), format!("withhold {}", clause + 1), format!("({by})"))
        }
    }
}

fn table_of(agreement: &Agreement) -> String {
    let (id, recipient) = (agreement.id(), &agreement.recipient().ods);
    let mut table = String::new();
    for (name, interface) in agreement.interfaces() {
        let normal = rows(interface.plan(false).expect("there is always one"));
        let without = interface.plan(true).map(rows);
        let extra = without.iter().flatten().filter(|(element, _)| !normal.contains_key(*element));
        assert_eq!(extra.count(), 0, "nothing leaves only without consent");
        for (element, says) in &normal {
            let (resource, profile, path) = element;
            let (form, clause, category) = told(interface, *says);
            let on_decision = match &without {
                None => "-".to_owned(),
                Some(rows) => rows.get(element).map_or("no".to_owned(), |says| told(interface, *says).0),
            };
            let line = [
                id.as_str(),
                recipient.as_str(),
                name.as_str(),
                resource,
                profile,
                path,
                &form,
                &on_decision,
                &clause,
                &category,
            ];
            table.push_str(&line.join("\t"));
            table.push('\n');
        }
    }
    table
}

#[test]
fn what_each_recipient_may_see_is_the_golden_table() {
    let files: Vec<(String, String)> = FILES.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
    let agreements = Agreements::load_for(&files, &SampleFacts::new()).expect("they are sound");
    let rows: String = agreements.iter().map(|agreement| table_of(agreement)).collect();
    let table = format!("{HEAD}{COLUMNS}{rows}");
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        #[expect(clippy::disallowed_methods, reason = "a golden file need not be durable")]
        std::fs::write(&golden, &table).expect("it is written");
    }
    let expected = std::fs::read_to_string(&golden).expect("there is a golden file");
    let differs = table.lines().zip(expected.lines()).find(|(found, golden)| found != golden);
    assert_eq!((differs, table.len()), (None, expected.len()));
}

/// The plan forgets no clause: each listed element has its row.
#[test]
fn each_element_of_each_clause_is_in_the_table() {
    let files: Vec<(String, String)> = FILES.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
    let agreements = Agreements::load_for(&files, &SampleFacts::new()).expect("they are sound");
    let mut found = 0;
    for agreement in agreements.iter() {
        let table = table_of(agreement);
        let of = |clause: &str| table.lines().filter(|line| line.split('\t').nth(8) == Some(clause)).count();
        for (_, interface) in agreement.interfaces() {
            for (index, clause) in interface.clauses().iter().enumerate() {
                assert_eq!(of(&format!("permit {}", index + 1)), clause.elements.len(), "{clause:?}");
                found += clause.elements.len();
            }
            for index in 0..interface.generalisations().len() {
                assert_eq!(of(&format!("generalise {}", index + 1)), 1);
            }
            for (index, clause) in interface.withholdings().iter().enumerate() {
                assert_eq!(of(&format!("withhold {}", index + 1)), clause.elements.len().max(1), "{clause:?}");
            }
        }
    }
    assert!(found > 300, "{found} elements");
}
