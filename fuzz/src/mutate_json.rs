//! A mutator that works on JSON values: what comes out is JSON again, mostly of the shape that went in.

use serde_json::{Map, Value};

use super::mutate::Random;

/// `text` with a few of its values or names changed; `words` are what may come in. `None` for what is no JSON.
pub fn mutate(text: &str, words: &[&str], seed: u32) -> Option<String> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    let mut random = Random::new(seed);
    for _ in 0..1 + random.below(4) {
        let (count, copied) = (size(&value), random.below(size(&value)));
        let copied = at(&mut value, &mut { copied }).map(|found| found.clone()).unwrap_or_default();
        let mut place = random.below(count);
        if let Some(found) = at(&mut value, &mut place) {
            change(found, copied, words, &mut random);
        }
    }
    serde_json::to_string(&value).ok()
}

fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(members) => members.values().map(size).sum(),
        _ => 0,
    }
}

/// The value with this number, counted in the order of the text.
fn at<'v>(value: &'v mut Value, number: &mut usize) -> Option<&'v mut Value> {
    if *number == 0 {
        return Some(value);
    }
    *number -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| at(item, number)),
        Value::Object(members) => members.values_mut().find_map(|member| at(member, number)),
        _ => None,
    }
}

fn word(words: &[&str], random: &mut Random) -> Value {
    for _ in 0..20 {
        if let Ok(value) = serde_json::from_str(words[random.below(words.len())]) {
            return value;
        }
    }
    Value::Null
}

fn name(words: &[&str], random: &mut Random) -> String {
    let name = word(words, random).as_str().unwrap_or("extension").to_owned();
    if random.below(8) == 0 { format!("_{name}") } else { name }
}

fn change(value: &mut Value, copied: Value, words: &[&str], random: &mut Random) {
    match value {
        Value::Object(members) => change_object(members, copied, words, random),
        Value::Array(items) => change_array(items, copied, words, random),
        value => {
            *value = match random.below(5) {
                0 => copied,
                1 => Value::Array(vec![value.take()]),
                2 => value.as_str().map(|text| part(text, random)).unwrap_or_default(),
                _ => word(words, random),
            }
        }
    }
}

fn part(text: &str, random: &mut Random) -> Value {
    let end = text.floor_char_boundary(random.below(text.len() + 1));
    let mut changed = text[..end].to_owned();
    if random.below(2) == 0 {
        changed += text;
    }
    changed.into()
}

fn change_object(members: &mut Map<String, Value>, copied: Value, words: &[&str], random: &mut Random) {
    let keys: Vec<String> = members.keys().cloned().collect();
    let key = keys.get(random.below(keys.len())).cloned().unwrap_or_default();
    match random.below(6) {
        0 => drop(members.remove(&key)),
        1 => {
            let old = members.remove(&key).unwrap_or_default();
            members.insert(name(words, random), old);
        }
        2 => drop(members.insert(key, copied)),
        3 => drop(members.insert(name(words, random), copied)),
        4 => drop(members.insert(name(words, random), word(words, random))),
        _ => {
            let old = members.remove(&key).unwrap_or_default();
            let new = match old {
                Value::Array(mut items) if items.len() == 1 => items.remove(0),
                old => Value::Array(vec![old]),
            };
            members.insert(key, new);
        }
    }
}

fn change_array(items: &mut Vec<Value>, copied: Value, words: &[&str], random: &mut Random) {
    let (at, other) = (random.below(items.len()), random.below(items.len()));
    match random.below(5) {
        _ if items.is_empty() => items.push(copied),
        0 => drop(items.remove(at)),
        1 => items.insert(at, items[other].clone()),
        2 => items.swap(at, other),
        3 => items.insert(at, copied),
        _ => items.push(word(words, random)),
    }
}
