//! The element names that code asks for by itself, interned once. A compiled plan keeps its own [`Name`]s.

use std::sync::LazyLock;

use super::{Name, NameId};

/// See [`keys`].
#[derive(Debug)]
#[allow(missing_docs, reason = "each is the element name it spells")]
pub struct Keys {
    pub resource_type: NameId,
    pub code: Name,
    pub coding: Name,
    pub contained: Name,
    pub entry: Name,
    pub extension: Name,
    pub full_url: Name,
    pub id: Name,
    pub identifier: Name,
    pub meta: Name,
    pub profile: Name,
    pub reference: Name,
    pub request: Name,
    pub resource: Name,
    pub system: Name,
    pub kind: Name,
    pub url: Name,
    pub value: Name,
    pub version_id: Name,
}

/// The names.
pub fn keys() -> &'static Keys {
    static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
        resource_type: NameId::of("resourceType"),
        code: Name::new("code"),
        coding: Name::new("coding"),
        contained: Name::new("contained"),
        entry: Name::new("entry"),
        extension: Name::new("extension"),
        full_url: Name::new("fullUrl"),
        id: Name::new("id"),
        identifier: Name::new("identifier"),
        meta: Name::new("meta"),
        profile: Name::new("profile"),
        reference: Name::new("reference"),
        request: Name::new("request"),
        resource: Name::new("resource"),
        system: Name::new("system"),
        kind: Name::new("type"),
        url: Name::new("url"),
        value: Name::new("value"),
        version_id: Name::new("versionId"),
    });
    &KEYS
}
