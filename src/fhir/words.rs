//! The element names that code outside this folder asks for, interned once.

use std::sync::LazyLock;

use super::names::NameId;

macro_rules! words {
    ($($field:ident = $text:literal,)+) => {
        /// Interned element names. Each field is the name it is called by.
        #[derive(Debug)]
        #[allow(missing_docs, reason = "each field is the element of that name")]
        pub struct Words {
            $(pub $field: NameId,)+
        }

        static WORDS: LazyLock<Words> = LazyLock::new(|| Words { $($field: NameId::of($text),)+ });
    };
}

words! {
    contained = "contained",
    destination = "destination",
    entry = "entry",
    extension = "extension",
    full_url = "fullUrl",
    id = "id",
    identifier = "identifier",
    meta = "meta",
    modifier_extension = "modifierExtension",
    profile = "profile",
    receiver = "receiver",
    reference = "reference",
    resource = "resource",
    resource_type = "resourceType",
    section = "section",
    security = "security",
    system = "system",
    text = "text",
    kind = "type",
    url = "url",
    value = "value",
}

/// The names.
pub fn words() -> &'static Words {
    &WORDS
}
