//! The FHIR R4 Provenance of one disclosure, as a typed writer.
