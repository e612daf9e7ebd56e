//! The element names that code asks for by itself, interned once. A compiled plan keeps its own [`Name`](super::Name)s.

use std::sync::LazyLock;

use super::NameId;

macro_rules! keys {
    ($($field:ident = $text:literal,)+) => {
        /// Interned element names. Each field is the name it is called by; `kind` is `type`.
        #[derive(Debug)]
        #[allow(missing_docs, reason = "each field is the element of that name")]
        pub struct Keys {
            $(pub $field: NameId,)+
        }

        static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys { $($field: NameId::of($text),)+ });
    };
}

keys! {
    code = "code",
    coding = "coding",
    contained = "contained",
    destination = "destination",
    display = "display",
    div = "div",
    empty_reason = "emptyReason",
    end = "end",
    entry = "entry",
    extension = "extension",
    full_url = "fullUrl",
    id = "id",
    identifier = "identifier",
    meta = "meta",
    mode = "mode",
    modifier_extension = "modifierExtension",
    ordered_by = "orderedBy",
    profile = "profile",
    receiver = "receiver",
    reference = "reference",
    request = "request",
    resource = "resource",
    resource_type = "resourceType",
    section = "section",
    security = "security",
    sender = "sender",
    start = "start",
    status = "status",
    system = "system",
    text = "text",
    title = "title",
    kind = "type",
    url = "url",
    value = "value",
    version_id = "versionId",
}

/// The names.
pub fn keys() -> &'static Keys {
    &KEYS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_a_name_of_r4() {
        let all = format!("{:?}", keys());
        assert!(!all.contains(&format!("{:?}", NameId::UNKNOWN)), "{all}");
    }
}
