//! What the author may have meant.

/// The name among `known` that is nearest to `wrong`, as a hint; empty if none is near.
pub(super) fn nearest(wrong: &str, known: impl IntoIterator<Item = String>) -> String {
    /// Longer names, in bytes, are not compared: the time grows with the product of both lengths.
    const LONGEST: usize = 200;
    if wrong.len() > LONGEST {
        return String::new();
    }
    let known = known.into_iter().filter(|name| name.len() <= LONGEST);
    let distance = |name: &String| {
        if name.starts_with(wrong) || wrong.starts_with(name.as_str()) { 1 } else { edits(wrong, name) }
    };
    let best = known.map(|name| (distance(&name), name)).min_by_key(|(distance, _)| *distance);
    match best {
        Some((distance, name)) if distance <= 1 + wrong.len() / 4 => format!("write {name}?"),
        _ => String::new(),
    }
}

/// Levenshtein distance.
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, known) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *known);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_offered_and_a_far_one_is_not() {
        let known = || ["birthDate", "gender", "onsetDateTime", "onset"].map(str::to_owned);
        assert_eq!(nearest("birthdate", known()), "write birthDate?");
        assert_eq!(nearest("onsetDate", known()), "write onsetDateTime?");
        assert_eq!(nearest("gendr", known()), "write gender?");
        assert_eq!(nearest("address", known()), "");
    }
}
