//! Which FHIRPath a text is written in.

/// FHIRPath as specified, or as the maps of the FHIR Mapping Language use it.
#[derive(Clone, Copy, Debug, Default)]
pub enum Dialect<'v> {
    /// FHIRPath N1 on FHIR R4: invariants, agreements, search parameters.
    #[default]
    Strict,
    /// What published maps write and the HL7 engine runs, beyond the specification: a choice element by its JSON name
    /// (`answer.valueString`) is the value if it has that type, the `value` of a primitive is the primitive, and a
    /// path may start with the bare name of a variable (`src.status` for `%src.status`).
    Map {
        /// The variables that may stand bare.
        variables: &'v [&'v str],
    },
}

impl<'v> Dialect<'v> {
    /// The names that may start a path without a percent sign.
    pub(super) fn variables(self) -> &'v [&'v str] {
        match self {
            Dialect::Strict => &[],
            Dialect::Map { variables } => variables,
        }
    }

    /// Whether JSON names of choice elements and the `value` of primitives are understood.
    pub(super) fn is_lenient(self) -> bool {
        matches!(self, Dialect::Map { .. })
    }
}
