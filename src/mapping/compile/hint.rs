//! What the author may have meant.

pub(super) use crate::fhirpath::nearest;
