//! Bindings, code systems, and the data types with rules of their own: Coding, Identifier, Reference.

use std::borrow::Cow;

use super::bundle::is_absolute;
use super::plan::{Binding, Shape, Strength};
use super::primitives::Format;
use super::questionnaire::decoded_length;
use super::shapes::{Code, codes_of};
use super::strictness::Strictness;
use super::terminology::Membership;
use super::walk::{Found, Occurrence, Scope, Walk};
use crate::fhir::bars::{NHS_NUMBER, ODS_ORGANISATION};
use crate::fhir::outcome::{IssueType, Severity};
use crate::fhir::r4::TypeDef;
use crate::fhir::{Node, keys, uk};

impl<'a> Walk<'a> {
    /// Checks the codes of a value against the value set it is bound to.
    pub(super) fn bound(
        &mut self,
        occurrence: Occurrence<'a>,
        def: &'static TypeDef,
        binding: &'a Binding,
        rule: &str,
    ) {
        let Some(node) = occurrence.value else { return };
        if occurrence.is_absent_with_reason()
            || !matches!(def.name, "code" | "uri" | "string" | "Coding" | "CodeableConcept" | "Quantity")
        {
            return;
        }
        let validator = self.validator;
        let codes = codes_of(node);
        let mut verdict = Membership::Out;
        for (system, code) in &codes {
            match validator.terminology.membership(&binding.value_set, system.as_deref(), code) {
                Membership::In => return,
                Membership::Unlisted => verdict = Membership::Unlisted,
                Membership::Out => {}
            }
        }
        let url = binding.value_set.url();
        match verdict {
            // A system that is not listed is named by `coding`.
            Membership::Unlisted if matches!(def.name, "Coding" | "CodeableConcept") && self.any_unlisted(&codes) => {}
            Membership::Unlisted => self.note_unlisted(url.into(), node),
            _ => {
                // The text of a string is not a code, and may be anything.
                let shown = if def.name == "string" { &[] } else { &codes[..] };
                self.not_in_value_set(node, shown, binding.strength, url, rule);
            }
        }
    }

    /// Whether one of the codes is of a system that is not listed here.
    fn any_unlisted(&self, codes: &[Code<'a>]) -> bool {
        let terminology = &self.validator.terminology;
        let mut named = codes.iter().filter_map(|(system, code)| Some((system.as_deref()?, code)));
        named.any(|(system, code)| !system.is_empty() && terminology.in_system(system, code) == Membership::Unlisted)
    }

    fn not_in_value_set(&mut self, node: Node<'a>, codes: &[Code<'a>], strength: Strength, url: &str, rule: &str) {
        let severity = match strength {
            Strength::Required => Severity::Error,
            Strength::Extensible => Severity::Warning,
            Strength::Preferred => Severity::Information,
        };
        let found = match codes {
            [] => "found none".to_owned(),
            codes => {
                let codes = codes.iter().map(|(_, code)| format!("the code {}", shown(code))).collect::<Vec<_>>();
                format!("found {}", codes.join(" and "))
            }
        };
        let text = format!("a code of the value set {url} was expected, {found}");
        self.report(severity, IssueType::CodeInvalid, node, rule, text, "use a code of the value set");
    }

    /// Counts a code that nobody here knows; reported once for each system at the end.
    pub(super) fn note_unlisted(&mut self, of: Cow<'a, str>, node: Node<'a>) {
        match self.unlisted.iter_mut().find(|(own, ..)| *own == of) {
            Some((_, count, _)) => *count += 1,
            None => self.unlisted.push((of, 1, node)),
        }
    }

    /// Reports what was counted.
    pub(super) fn report_unlisted(&mut self) {
        for (of, count, node) in std::mem::take(&mut self.unlisted) {
            if !self.tells(Severity::Information) {
                continue;
            }
            let of = if of.len() > 200 { "a system with a long name".into() } else { of };
            let text =
                format!("{count} codes of {of} were not checked: its codes are not listed here; this is the first");
            self.report(Severity::Information, IssueType::NotSupported, node, "not-checked", text, "");
        }
    }

    /// The rules of single data types.
    pub(super) fn data_type(
        &mut self,
        node: Node<'a>,
        def: &'static TypeDef,
        found: &Found<'a>,
        shapes: &[&'a Shape],
        scope: &Scope<'a>,
    ) {
        match def.name {
            "Attachment" => self.attachment(node),
            "Coding" => self.coding(node, scope),
            "Identifier" => self.identifier(node),
            "Reference" => self.reference(node, found, shapes, scope),
            _ => {}
        }
    }

    fn coding(&mut self, node: Node<'a>, scope: &Scope<'a>) {
        let keys = keys();
        let text = |name| node.child(name).and_then(Node::text);
        let Some(system) = text(keys.system) else { return };
        self.coding_system(node, &system);
        let Some(code) = text(keys.code) else { return };
        if let Some((rule, what)) = miswritten(&system, &code) {
            let node = node.child(keys.code).unwrap_or(node);
            let text = format!("{} is no {what}: its format or check digit is wrong", shown(&code));
            self.error(IssueType::CodeInvalid, node, rule, text, "correct the code");
            return;
        }
        match self.validator.terminology.in_system(&system, &code) {
            Membership::In => self.display(node, &system, &code, scope),
            Membership::Unlisted => self.note_unlisted(system, node),
            Membership::Out => {
                let text = format!("{} is no code of {system}", shown(&code));
                self.error(IssueType::CodeInvalid, node, "r4-code", text, "use a code of that system");
            }
        }
    }

    /// The display of a coding is one that the code's system or a value set has for it (R4 validation.html: codes and
    /// displays are checked). SNOMED CT, dm+d and LOINC have more names than a CodeSystem lists, and a resource in another
    /// language than English has others: there it is a warning.
    fn display(&mut self, node: Node<'a>, system: &str, code: &str, scope: &Scope<'a>) {
        let Some(display) = node.child(keys().display) else { return };
        let Some(text) = display.text() else { return };
        let Some((name, has_others)) = self.validator.terminology.other_display(system, code, &text) else { return };
        let language = scope.root.member("language").and_then(Node::text);
        let is_english = language.is_none_or(|language| language.split('-').next() == Some("en"));
        let is_open = matches!(system, uk::SNOMED_CT | uk::DMD | uk::LOINC);
        let severity = if is_english && !is_open { Severity::Error } else { Severity::Warning };
        let (name, others) = (shown_name(name), if has_others { " and has other names" } else { "" });
        let said = format!("the display is none of {}: its system calls it {name}{others}", shown(code));
        self.report(severity, IssueType::CodeInvalid, display, "r4-display", said, "write that name, or leave it out");
    }

    /// The system of a coding is the URL of a code system.
    fn coding_system(&mut self, node: Node<'a>, system: &str) {
        let terminology = &self.validator.terminology;
        let (text, hint) = if !is_absolute(system) {
            ("the system of the coding is not an absolute URL", "write the whole URL of the code system")
        } else if terminology.is_supplement(system) {
            ("the system of the coding is a supplement, which has no codes", "name the system that it adds to")
        } else if terminology.is_value_set(system) {
            ("the system of the coding is a value set", "name the code system that the code is from")
        } else {
            return;
        };
        let node = node.child(keys().system).unwrap_or(node);
        self.error(IssueType::Invalid, node, "r4-coding-system", text, hint);
    }

    /// What an attachment says of its size is so.
    fn attachment(&mut self, node: Node<'a>) {
        let Some(data) = node.member("data").and_then(Node::text) else { return };
        let Some(size) = node.member("size").and_then(|size| size.raw().parse::<usize>().ok()) else { return };
        let actual = decoded_length(&data);
        if Format::Base64Binary.accepts_text(&data) && size != actual {
            let text = format!("the attachment says that it has {size} bytes, and it has {actual}");
            self.error(IssueType::Value, node, "r4-attachment-size", text, "correct Attachment.size");
        }
    }

    /// Rules on the text of a primitive that its format does not state, by strictness.
    pub(super) fn text_rules(&mut self, node: Node<'a>, format: Format) {
        let strictness = self.validator.strictness;
        let is_text = matches!(format, Format::String | Format::Markdown);
        let is_url = matches!(format, Format::Uri | Format::Url | Format::Canonical);
        let is_limited = strictness.no_example_urls || format == Format::Canonical;
        if !(strictness.no_markup && is_text || is_url && is_limited) {
            return;
        }
        let Some(text) = node.text() else { return };
        if is_text && has_tag(&text) {
            let text = "the text looks like it has HTML tags";
            self.error(IssueType::Security, node, "r4-markup", text, "write plain text");
        }
        if is_url && strictness.no_example_urls && Strictness::is_example(&text) {
            let text = "the URL is one that examples use";
            self.error(IssueType::Invalid, node, "r4-example-url", text, "use a URL of your own");
        }
        if format == Format::Canonical && !text.starts_with('#') && !is_absolute(&text) {
            let text = "a canonical URL is absolute, or # and the id of a contained resource";
            self.error(IssueType::Value, node, "r4-canonical", text, "write the whole URL");
        }
    }

    fn identifier(&mut self, node: Node<'a>) {
        let keys = keys();
        let Some(system) = node.child(keys.system).and_then(Node::text) else { return };
        let Some(value) = node.child(keys.value) else { return };
        let Some(text) = value.text() else { return };
        match &*system {
            NHS_NUMBER if !uk::is_nhs_number(&text) => {
                let text = "the value is no NHS number: ten digits with a right check digit expected";
                self.error(IssueType::Value, value, "uk-nhs-number", text, "check the number against the record");
            }
            ODS_ORGANISATION if !uk::is_ods_code(&text) => {
                let text = "the value is no ODS code: 1 to 9 letters and digits expected";
                self.error(IssueType::Value, value, "uk-ods-code", text, "use the organisation's ODS code");
            }
            _ => {}
        }
    }
}

/// The rule that a code of a system with check digits breaks, and what it should be. SNOMED CT also has expressions,
/// LOINC parts and answers: what is more than an identifier is not looked at.
fn miswritten(system: &str, code: &str) -> Option<(&'static str, &'static str)> {
    match system {
        uk::SNOMED_CT | uk::DMD => {
            let is_word = code.bytes().all(|byte| byte.is_ascii_alphanumeric());
            (is_word && !uk::is_snomed_id(code)).then_some(("snomed-check-digit", "SNOMED CT identifier"))
        }
        uk::LOINC => {
            let is_number = code.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
            (is_number && !uk::is_loinc_number(code)).then_some(("loinc-check-digit", "LOINC number"))
        }
        _ => None,
    }
}

/// Whether text has what may be the start of an HTML tag.
fn has_tag(text: &str) -> bool {
    let starts = |at: usize| {
        let rest = text[at + 1..].strip_prefix('/').unwrap_or(&text[at + 1..]);
        rest.starts_with(|letter: char| letter.is_ascii_alphabetic()) || rest.starts_with("!--")
    };
    text.match_indices('<').any(|(at, _)| starts(at))
}

/// A name of a code system as a message may show it.
fn shown_name(name: &str) -> String {
    let short: String = name.chars().take(100).collect();
    if short.len() < name.len() { format!("\u{201c}{short}…\u{201d}") } else { format!("\u{201c}{name}\u{201d}") }
}

/// A code as a message may show it: in quotes, and only as long as codes are.
fn shown(code: &str) -> String {
    let is_code = code.len() <= 40 && code.bytes().all(|byte| byte.is_ascii_graphic());
    if is_code { format!("'{code}'") } else { "(not shown)".to_owned() }
}
