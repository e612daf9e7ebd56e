//! What the author may have meant.

/// The name among `known` that is nearest to `wrong`, as a hint; empty if none is near.
pub fn nearest(wrong: &str, known: impl IntoIterator<Item = String>) -> String {
    /// Longer names, in bytes, are not compared: the time grows with the product of both lengths.
    const LONGEST: usize = 200;
    if wrong.len() > LONGEST {
        return String::new();
    }
    let known = known.into_iter().filter(|name| name.len() <= LONGEST);
    let distance = |name: &String| {
        let begins = name.starts_with(wrong) || wrong.starts_with(name.as_str());
        if begins && wrong.len().min(name.len()) >= 4 { 1 } else { edits(wrong, name) }
    };
    let best = known.map(|name| (distance(&name), name)).min_by_key(|(distance, _)| *distance);
    match best {
        Some((distance, name)) if distance <= 1 + wrong.len() / 4 => format!("write {name}?"),
        _ => String::new(),
    }
}

/// Letters to put in, take out, replace or swap with their neighbour (optimal string alignment).
fn edits(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut above: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for line in 1..=one.len() {
        let mut next = vec![line];
        for column in 1..=other.len() {
            let replaced = row[column - 1] + usize::from(one[line - 1] != other[column - 1]);
            let mut least = replaced.min(row[column] + 1).min(next[column - 1] + 1);
            let swapped =
                line > 1 && column > 1 && one[line - 1] == other[column - 2] && one[line - 2] == other[column - 1];
            if swapped {
                least = least.min(above[column - 2] + 1);
            }
            next.push(least);
        }
        above = std::mem::replace(&mut row, next);
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
        assert_eq!(nearest("gednre", known()), "write gender?");
        assert_eq!(nearest("address", known()), "");
        assert_eq!(nearest("nothing", ["not".to_owned()]), "");
    }
}
