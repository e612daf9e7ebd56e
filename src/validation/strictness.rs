//! What a validation asks for beyond the specification.

/// Rules that are off unless they are asked for: FHIR leaves to each receiver whether they apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strictness {
    /// An extension whose definition is not loaded is refused, but for those of example domains.
    pub known_extensions: bool,
    /// URLs of `example.org` and `acme.com` are refused.
    pub no_example_urls: bool,
    /// Text that looks like HTML tags is refused in strings and markdown.
    pub no_markup: bool,
    /// A reference to a resource must lead to one that is there.
    pub resolved_references: bool,
}

impl Strictness {
    /// Whether the URL is that of an element of another version of FHIR (R4 versions.html), which is known whether
    /// its definition is loaded or not.
    pub(super) fn is_of_another_version(url: &str) -> bool {
        let version = url
            .strip_prefix("http://hl7.org/fhir/")
            .and_then(|rest| rest.split_once("/StructureDefinition/extension-"));
        version.is_some_and(|(version, _)| matches!(version, "1.0" | "3.0" | "4.0" | "4.3" | "5.0" | "6.0"))
    }

    /// Whether the URL is one that examples use.
    pub(super) fn is_example(url: &str) -> bool {
        let Some((_, rest)) = url.split_once("://") else { return false };
        let host = rest.split(['/', ':', '?', '#']).next().unwrap_or_default();
        ["example.org", "example.com", "acme.com", "acme.org", "example.net"]
            .iter()
            .any(|known| host == *known || host.strip_suffix(known).is_some_and(|before| before.ends_with('.')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_urls_are_told_by_their_host() {
        for example in ["http://example.org/a", "https://repository.example.org:80", "http://acme.com"] {
            assert!(Strictness::is_example(example), "{example}");
        }
        for other in ["http://notexample.org/a", "urn:uuid:example.org", "https://x/example.org"] {
            assert!(!Strictness::is_example(other), "{other}");
        }
    }
}
