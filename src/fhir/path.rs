//! Element paths as FHIRPath writes them: what errors, manifests and lineage name instead of values.

use std::fmt::{self, Write as _};

/// A path from the root of a document: `Bundle.entry[3].resource.birthDate`. Empty for the root of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ElementPath(String);

impl ElementPath {
    /// The root.
    pub fn root() -> ElementPath {
        ElementPath::default()
    }

    /// A path that is already written.
    pub fn new(path: impl Into<String>) -> ElementPath {
        ElementPath(path.into())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path with choice elements spelled as JSON does: `valueQuantity` for `value.ofType(Quantity)`.
    pub fn spelled(&self) -> String {
        let mut parts = self.0.split(".ofType(");
        let mut spelled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (code, rest) = part.split_once(')').unwrap_or((part, ""));
            let mut letters = code.chars();
            spelled.extend(letters.next().map(|first| first.to_ascii_uppercase()));
            spelled.push_str(letters.as_str());
            spelled.push_str(rest);
        }
        spelled.replace('`', "")
    }

    /// How long the path is, for [`ElementPath::cut`].
    pub(super) fn mark(&self) -> usize {
        self.0.len()
    }

    /// Steps back to where the path was that long.
    pub(super) fn cut(&mut self, mark: usize) {
        self.0.truncate(mark);
    }

    /// Steps into the element `name`.
    pub fn push_name(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push('.');
        }
        self.0.push_str(name);
    }

    /// Steps into the item at `index`, from 0.
    pub fn push_index(&mut self, index: usize) {
        write!(self.0, "[{index}]").expect("writing to a String cannot fail");
    }
}

impl fmt::Display for ElementPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
