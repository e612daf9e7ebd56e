//! A mutator that works on tokens: what comes out is still mostly of the language that went in.

/// A small generator of numbers; the fuzzer gives its seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u32) -> Random {
        Random(u64::from(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `count`; 0 for none.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % count.max(1)
    }
}

/// Pieces of a text: words, numbers, quoted texts, runs of blanks, single signs.
pub(crate) fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' | '`' => quoted(rest, first),
            first if first.is_alphanumeric() || first == '_' => {
                run(rest, |letter| letter.is_alphanumeric() || letter == '_')
            }
            first if first.is_whitespace() => run(rest, char::is_whitespace),
            first => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after;
    }
    tokens
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|letter| !belongs(letter)).unwrap_or(text.len())
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            letter if letter == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `text` with a few of its tokens changed; `words` are tokens that may come in.
pub fn mutate(text: &str, words: &[&str], seed: u32) -> String {
    let mut random = Random::new(seed);
    let mut pieces = tokens(text);
    for _ in 0..1 + random.below(5) {
        change(&mut pieces, words, &mut random);
    }
    pieces.concat()
}

/// Puts a mutated text where the fuzzer wants it, cut to `max_size`; its length.
pub fn in_place(data: &mut [u8], mutated: &str, max_size: usize) -> usize {
    let length = mutated.floor_char_boundary(max_size);
    data[..length].copy_from_slice(&mutated.as_bytes()[..length]);
    length
}

fn change<'t>(pieces: &mut Vec<&'t str>, words: &[&'t str], random: &mut Random) {
    if pieces.is_empty() {
        pieces.push(words[random.below(words.len())]);
        return;
    }
    let at = random.below(pieces.len());
    let other = random.below(pieces.len());
    match random.below(9) {
        0 => drop(pieces.remove(at)),
        1 => pieces.insert(at, words[random.below(words.len())]),
        2 | 3 => pieces[at] = words[random.below(words.len())],
        // Most tokens are worth exchanging for one of their own kind.
        4 | 5 => {
            let kind = |piece: &str| {
                piece.chars().next().map_or(0, |first| u8::from(first.is_alphabetic()) + 2 * u8::from(first == '\''))
            };
            let like: Vec<&str> = pieces.iter().copied().filter(|piece| kind(piece) == kind(pieces[at])).collect();
            pieces[at] = like[random.below(like.len())];
        }
        6 => pieces.swap(at, other),
        7 => {
            let end = (at + 1 + random.below(30)).min(pieces.len());
            let copied = pieces[at..end].to_vec();
            pieces.splice(other..other, copied);
        }
        _ => {
            let end = (at + 1 + random.below(20)).min(pieces.len());
            pieces.drain(at..end);
        }
    }
}
