//! Bytes as decisions: the same bytes always decide the same way, and more bytes decide more.

/// Decisions that are still to be made.
pub struct Choices<'a> {
    bytes: &'a [u8],
    /// How many decisions were made: what is generated from too few bytes must still come to an end.
    made: usize,
}

impl<'a> Choices<'a> {
    /// Decisions by `bytes`.
    pub fn new(bytes: &'a [u8]) -> Choices<'a> {
        Choices { bytes, made: 0 }
    }

    /// The next byte; 0 once all are used.
    fn byte(&mut self) -> u8 {
        self.made += 1;
        match self.bytes.split_first() {
            Some((&first, rest)) => {
                self.bytes = rest;
                first
            }
            None => 0,
        }
    }

    /// Whether all bytes are used, or a great many decisions were made.
    pub fn is_over(&self) -> bool {
        self.bytes.is_empty() || self.made > 4_000
    }

    /// A number below `count`, which is at most 256.
    pub fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count.max(1)
    }

    /// One of `several`.
    pub fn one<'t, T>(&mut self, several: &'t [T]) -> &'t T {
        let index = self.below(several.len());
        &several[index]
    }

    /// One of `several` words.
    pub fn word(&mut self, several: &[&'static str]) -> &'static str {
        several[self.below(several.len())]
    }

    /// True once in `of` times; false when the bytes are used up.
    pub fn once_in(&mut self, of: usize) -> bool {
        !self.is_over() && self.below(of) == of - 1
    }
}
