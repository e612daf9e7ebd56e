//! Why there is no snapshot.

/// A snapshot that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A definition that is needed is not there.
    #[error("{url} is not loaded")]
    NotLoaded {
        /// Its canonical URL.
        url: String,
    },
    /// A definition needs itself.
    #[error("{url} derives from itself")]
    Circle {
        /// Its canonical URL.
        url: String,
    },
    /// An element of a differential that makes no sense over its base.
    #[error("{profile}: {element}: {what}")]
    Element {
        /// The definition's canonical URL.
        profile: String,
        /// The element's id.
        element: String,
        /// What is wrong with it.
        what: String,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Error::NotLoaded { .. } => "load the package that holds it, or correct the canonical URL",
            Error::Circle { .. } => "correct the base definitions and the profiles on element types",
            Error::Element { .. } => "correct the StructureDefinition",
        }
    }
}
