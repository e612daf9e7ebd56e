//! Plain names of elements, for people who treat and protect: no paths, no codes.
//!
//! The table `plain-names.tsv` comes first, then what the profile calls the element, then the element's own name in words.

/// What a profile calls an element: given its canonical URL and a path such as `Patient.birthDate`.
pub type Shorts<'a> = &'a dyn Fn(&str, &str) -> Option<String>;

/// The words that stand for what is of no interest to staff.
const NOTHING: &str = ".";

/// The plain name of an element; `None` for what only identifies and routes a message.
pub(super) fn element(resource: &str, profile: Option<&str>, path: &str, shorts: Shorts<'_>) -> Option<String> {
    let steps = plain_steps(path);
    let of_table = (1..=steps.len()).rev().find_map(|length| row(resource, profile, &steps[..length].join(".")));
    if let Some(words) = of_table {
        return Some(words.to_owned()).filter(|words| words != NOTHING);
    }
    let first = steps.first()?;
    let of_profile = profile.and_then(|url| shorts(url, &format!("{resource}.{first}")));
    Some(of_profile.unwrap_or_else(|| in_words(first)))
}

/// The plain name of the resources of a type, or of a profile of it.
pub(super) fn resource(name: &str, profile: Option<&str>) -> String {
    row(name, profile, "-").map_or_else(|| in_words(name), str::to_owned)
}

/// The words of a row: of the profile, of the resource type, or of all.
fn row(resource: &str, profile: Option<&str>, path: &str) -> Option<&'static str> {
    let rows = || include_str!("plain-names.tsv").lines().filter(|line| !line.starts_with('#'));
    let of = |kind: &str| {
        rows().find_map(|line| {
            let mut cells = line.split('\t');
            (cells.next()? == kind && cells.next()? == path).then(|| cells.next()).flatten()
        })
    };
    let own = profile.and_then(|url| url.rsplit('/').next()).map(|name| format!("{resource}:{name}"));
    own.and_then(|own| of(&own)).or_else(|| of(resource)).or_else(|| of("*"))
}

/// The steps of a path without slices, and with an extension's URL cut down to its last part.
fn plain_steps(path: &str) -> Vec<String> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let (step, after) = match rest.split_once("('") {
            Some((name, call)) if !name.contains('.') => {
                let (url, after) = call.split_once("')").unwrap_or((call, ""));
                (format!("{name}('{}')", url.rsplit('/').next().unwrap_or(url)), after)
            }
            _ => {
                let end = rest.find('.').unwrap_or(rest.len());
                let name = rest[..end].split(':').next().unwrap_or_default();
                (name.to_owned(), &rest[end..])
            }
        };
        steps.push(step);
        rest = after.trim_start_matches('.');
    }
    steps
}

/// `managingOrganization` → `managing organization`.
fn in_words(name: &str) -> String {
    let bare = name.split_once("('").map_or(name, |(_, url)| url.trim_end_matches("')"));
    let mut words = String::new();
    for letter in bare.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase().map(|each| if each == '-' { ' ' } else { each }));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_have_plain_names() {
        let none = |_: &str, _: &str| None;
        let short = |url: &str, path: &str| (url == "p" && path == "Patient.photo").then(|| "Picture".to_owned());
        let name = |resource: &str, path: &str| element(resource, Some("p"), path, &short);
        assert_eq!(name("Patient", "birthDate").as_deref(), Some("date of birth"));
        assert_eq!(name("Patient", "identifier:nhsNumber.value").as_deref(), Some("NHS number"));
        assert_eq!(name("Patient", "identifier.system"), None);
        assert_eq!(name("Flag", "subject.reference"), None);
        let verified = "identifier.extension('https://fhir.hl7.org.uk/StructureDefinition/\
                        Extension-UKCore-NHSNumberVerificationStatus').valueCodeableConcept.coding.code";
        assert_eq!(name("Patient", verified).as_deref(), Some("whether the NHS number was checked"));
        assert_eq!(name("Patient", "photo.title").as_deref(), Some("Picture"));
        assert_eq!(element("Patient", None, "maritalStatus.text", &none).as_deref(), Some("marital status"));
        assert_eq!(name("Goal", "extension('https://x/why-now').valueString").as_deref(), Some("why now"));
        let adjustment = Some("https://x/weir-adjustment-flag");
        assert_eq!(
            (resource("Flag", None), resource("Flag", adjustment), resource("DeviceRequest", Some("p"))),
            ("safeguarding concerns".into(), "reasonable adjustments".into(), "device request".into())
        );
        assert_eq!(element("Flag", adjustment, "code.text", &none).as_deref(), Some("what is to be done differently"));
        assert_eq!(element("Flag", adjustment, "period.start", &none).as_deref(), Some("since when"));
    }
}
