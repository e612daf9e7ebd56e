//! Element paths of an agreement, step by step: `identifier:nhsNumber.extension('https://…').valueCode`.

/// One step of an element path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::disclosure::agreement) enum Step {
    /// An element, or one slice of its occurrences.
    Element {
        /// As JSON spells it.
        name: String,
        /// The slice's name in the profile.
        slice: Option<String>,
    },
    /// An extension by its URL.
    Extension {
        /// Whether it is a modifierExtension.
        modifier: bool,
        /// Its URL.
        url: String,
    },
}

impl Step {
    /// The name of the member that it leads into.
    pub(in crate::disclosure::agreement) fn name(&self) -> &str {
        match self {
            Step::Element { name, .. } => name,
            Step::Extension { modifier: false, .. } => "extension",
            Step::Extension { modifier: true, .. } => "modifierExtension",
        }
    }
}

/// The steps of a path; `None` if it is no path, which the reader says.
pub(in crate::disclosure::agreement) fn steps(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path;
    loop {
        let end = rest.find(['.', '(']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = match after.strip_prefix("('") {
            Some(call) => {
                let (url, after) = call.split_once("')")?;
                let modifier = name == "modifierExtension";
                if !modifier && name != "extension" {
                    return None;
                }
                steps.push(Step::Extension { modifier, url: url.to_owned() });
                after
            }
            None => {
                let (name, slice) = name.split_once(':').map_or((name, None), |(name, slice)| (name, Some(slice)));
                steps.push(Step::Element { name: name.to_owned(), slice: slice.map(str::to_owned) });
                after
            }
        };
        match rest.strip_prefix('.') {
            Some(more) => rest = more,
            None if rest.is_empty() => return Some(steps),
            None => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_names_slices_and_extensions() {
        let element =
            |name: &str, slice: Option<&str>| Step::Element { name: name.to_owned(), slice: slice.map(str::to_owned) };
        let extension = |modifier, url: &str| Step::Extension { modifier, url: url.to_owned() };
        for (path, expected) in [
            ("birthDate", Some(vec![element("birthDate", None)])),
            (
                "identifier:nhsNumber.extension('https://a.b/c(1)').valueCode",
                Some(vec![
                    element("identifier", Some("nhsNumber")),
                    extension(false, "https://a.b/c(1)"),
                    element("valueCode", None),
                ]),
            ),
            ("modifierExtension('u').valueBoolean", Some(vec![extension(true, "u"), element("valueBoolean", None)])),
            ("name('u').family", None),
            ("extension('u.valueCode", None),
            ("extension('u')x", None),
        ] {
            assert_eq!(steps(path), expected, "{path}");
        }
    }
}
