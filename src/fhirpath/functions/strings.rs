//! Strings (FHIRPath N1, 5.6), and the coding functions of release 2.1. Positions count characters.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::conversion::text_of;
use super::{Arguments, Called, one, truth};
use crate::fhirpath::error::Fault;
use crate::fhirpath::function::Function;
use crate::fhirpath::item::{Item, Items, Value};
use crate::fhirpath::pattern::Pattern;
use crate::identity::digest::hex;

/// Whether `function` is one of these.
pub(in crate::fhirpath) fn has(function: Function) -> bool {
    use Function as F;
    matches!(
        function,
        F::IndexOf
            | F::LastIndexOf
            | F::Substring
            | F::StartsWith
            | F::EndsWith
            | F::Contains
            | F::Upper
            | F::Lower
            | F::Replace
            | F::Matches
            | F::MatchesFull
            | F::ReplaceMatches
            | F::Length
            | F::ToChars
            | F::Trim
            | F::Split
            | F::Join
            | F::Encode
            | F::Decode
            | F::Escape
            | F::Unescape
    )
}

fn string<'a>(text: impl Into<Cow<'a, str>>) -> Items<'a> {
    one(Some(Value::String(text.into())))
}

pub(super) fn call<'a>(arguments: &mut Arguments<'_, '_, 'a>, input: &[Item<'a>]) -> Called<Items<'a>> {
    use Function as F;
    let function = arguments.function();
    if function == F::Join {
        return join(arguments, input);
    }
    let text = match input {
        [] => return Ok(Items::new()),
        [item] => text_of(item).ok_or(Fault::WrongType(function.name()))?,
        _ => return Err(Fault::NotSingleton.into()),
    };
    arguments.pay(text.len())?;
    match function {
        F::Upper => Ok(string(text.to_uppercase())),
        F::Lower => Ok(string(text.to_lowercase())),
        F::Trim => Ok(string(text.trim().to_owned())),
        F::Length => Ok(one(Some(Value::Integer(text.chars().count() as i64)))),
        F::ToChars => {
            // Each letter becomes an item.
            arguments.evaluator.charge(text.len())?;
            Ok(text.chars().map(|letter| Item::of_text(letter.to_string())).collect())
        }
        F::Substring => substring(arguments, &text),
        F::Matches | F::MatchesFull | F::ReplaceMatches => matches(arguments, &text),
        F::Replace => replace(arguments, &text),
        _ => with_text(arguments, &text),
    }
}

/// Functions that take one string.
fn with_text<'a>(arguments: &Arguments<'_, '_, 'a>, text: &str) -> Called<Items<'a>> {
    use Function as F;
    let Some(argument) = arguments.text(0)? else { return Ok(Items::new()) };
    let argument = &*argument;
    let place = |found: Option<usize>| {
        let characters = found.map_or(-1, |at| text[..at].chars().count() as i64);
        one(Some(Value::Integer(characters)))
    };
    Ok(match arguments.function() {
        F::StartsWith => truth(text.starts_with(argument)),
        F::EndsWith => truth(text.ends_with(argument)),
        F::Contains => truth(text.contains(argument)),
        F::IndexOf => place(text.find(argument)),
        F::LastIndexOf => place(text.rfind(argument)),
        F::Split if !argument.is_empty() => {
            arguments.evaluator.charge(text.matches(argument).count())?;
            text.split(argument).map(|part| Item::of_text(part.to_owned())).collect()
        }
        F::Split => string(text.to_owned()),
        F::Encode => one(encode(text, argument).map(|text| Value::String(text.into()))),
        F::Decode => one(decode(text, argument).map(|text| Value::String(text.into()))),
        F::Escape => one(escape(text, argument).map(|text| Value::String(text.into()))),
        _ => one(unescape(text, argument).map(|text| Value::String(text.into()))),
    })
}

fn join<'a>(arguments: &Arguments<'_, '_, 'a>, input: &[Item<'a>]) -> Called<Items<'a>> {
    if input.is_empty() {
        return Ok(Items::new());
    }
    let separator = arguments.text(0)?.unwrap_or_default();
    let mut joined = String::new();
    for (index, item) in input.iter().enumerate() {
        let text = text_of(item).ok_or(Fault::WrongType("join"))?;
        arguments.pay(text.len() + separator.len())?;
        if index > 0 {
            joined.push_str(&separator);
        }
        joined.push_str(&text);
    }
    Ok(string(joined))
}

fn substring<'a>(arguments: &Arguments<'_, '_, 'a>, text: &str) -> Called<Items<'a>> {
    let Some(start) = arguments.integer(0)? else { return Ok(Items::new()) };
    let length = arguments.integer(1)?;
    let Ok(start) = usize::try_from(start) else { return Ok(Items::new()) };
    let Some((from, _)) = text.char_indices().nth(start) else { return Ok(Items::new()) };
    let rest = &text[from..];
    let Some(length) = length else { return Ok(string(rest.to_owned())) };
    let length = usize::try_from(length.max(0)).unwrap_or(usize::MAX);
    Ok(string(rest.chars().take(length).collect::<String>()))
}

fn replace<'a>(arguments: &Arguments<'_, '_, 'a>, text: &str) -> Called<Items<'a>> {
    let (Some(from), Some(to)) = (arguments.text(0)?, arguments.text(1)?) else { return Ok(Items::new()) };
    let places = if from.is_empty() { text.len() + 1 } else { text.matches(&*from).count() };
    arguments.pay(places.saturating_mul(to.len()))?;
    Ok(string(text.replace(&*from, &to)))
}

fn matches<'a>(arguments: &Arguments<'_, '_, 'a>, text: &str) -> Called<Items<'a>> {
    let function = arguments.function();
    let charge = |steps| arguments.evaluator.charge(steps);
    let compiled;
    let pattern = match &arguments.call.pattern {
        Some(pattern) => pattern,
        None => {
            let Some(source) = arguments.text(0)? else { return Ok(Items::new()) };
            compiled = Pattern::new(&source, function == Function::MatchesFull).ok_or(Fault::BadPattern)?;
            charge(compiled.compiling())?;
            &compiled
        }
    };
    if function != Function::ReplaceMatches {
        return Ok(truth(pattern.is_match(text, charge)?));
    }
    let Some(replacement) = arguments.text(1)? else { return Ok(Items::new()) };
    Ok(string(pattern.replace(text, &replacement, charge)?))
}

fn encode(text: &str, format: &str) -> Option<String> {
    match format {
        "base64" => Some(STANDARD.encode(text)),
        "urlbase64" => Some(URL_SAFE.encode(text)),
        "hex" => Some(hex(text.as_bytes())),
        _ => None,
    }
}

fn decode(text: &str, format: &str) -> Option<String> {
    let bytes = match format {
        "base64" => STANDARD.decode(text).ok()?,
        "urlbase64" => URL_SAFE.decode(text).ok()?,
        "hex" => {
            let digits: Option<Vec<u8>> =
                text.chars().map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok())).collect();
            digits.filter(|digits| digits.len() % 2 == 0)?.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
        }
        _ => return None,
    };
    String::from_utf8(bytes).ok()
}

const HTML: [(&str, &str); 4] = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;")];

fn escape(text: &str, target: &str) -> Option<String> {
    match target {
        "html" => Some(HTML.iter().fold(text.to_owned(), |text, (plain, escaped)| text.replace(plain, escaped))),
        "json" => {
            let quoted = serde_json::to_string(text).ok()?;
            Some(quoted[1..quoted.len() - 1].to_owned())
        }
        _ => None,
    }
}

fn unescape(text: &str, target: &str) -> Option<String> {
    match target {
        "html" => Some(HTML.iter().rev().fold(text.to_owned(), |text, (plain, escaped)| text.replace(escaped, plain))),
        // Quotes that are not escaped stand for themselves.
        "json" => match serde_json::from_str(&format!("\"{text}\"")) {
            Ok(plain) => Some(plain),
            Err(_) => Some(text.to_owned()),
        },
        _ => None,
    }
}
