//! Which messages the store may have: told without a read for most that it does not have, which is what every new record asks.
//!
//! A Bloom filter over the ids, which are spread evenly as they are. It never denies a message that is there. It has room for
//! twice as many as there are at the start; with more it says *maybe* more often, and then the store is read.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use super::super::Error;
use crate::identity::MessageId;

/// The least number of messages that there is room for.
const LEAST: usize = 1 << 18;
/// Bits a message: with four looked at, one of 85 unknown ids seems known when it is full.
const BITS: usize = 10;

/// The filter.
#[derive(Debug)]
pub(super) struct Known(Vec<AtomicU64>);

impl Known {
    /// With every message that is there.
    pub(super) fn read(connection: &Connection) -> Result<Known, Error> {
        let messages: u32 = connection.query_row("SELECT count(*) FROM messages", [], |row| row.get(0))?;
        let known = Known::with_room(messages as usize * 2);
        let mut statement = connection.prepare("SELECT id FROM messages")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            // One that is damaged is no id that anybody asks for.
            if let Ok(id) = row.get::<_, [u8; 16]>(0) {
                known.insert_bytes(&id);
            }
        }
        Ok(known)
    }

    fn with_room(messages: usize) -> Known {
        let words = (messages.max(LEAST) * BITS / 64).next_power_of_two();
        Known((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    /// From now on there may be this one.
    pub(super) fn insert(&self, id: MessageId) {
        self.insert_bytes(id.uuid().as_bytes());
    }

    /// Whether there may be this one.
    pub(super) fn may_have(&self, id: MessageId) -> bool {
        self.places(id.uuid().as_bytes()).all(|(word, bit)| word.load(Ordering::Acquire) & bit != 0)
    }

    fn insert_bytes(&self, id: &[u8; 16]) {
        for (word, bit) in self.places(id) {
            word.fetch_or(bit, Ordering::Release);
        }
    }

    /// The bits of an id: four, from four parts of it.
    fn places(&self, id: &[u8; 16]) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let number = u128::from_be_bytes(*id);
        // Multiplied so that the version and variant of a UUID, which are the same in all, do not fall together.
        let mixed = [number as u64, (number >> 64) as u64].map(|half| half.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let parts =
            [mixed[0] >> 32, mixed[1] >> 32, (mixed[0] ^ mixed[1]) >> 20, mixed[0].wrapping_add(mixed[1]) >> 24];
        parts.into_iter().map(|part| {
            let bit = part as usize & (self.0.len() * 64 - 1);
            (&self.0[bit / 64], 1 << (bit % 64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> MessageId {
        let (sender, interface) = ("DEMOP".parse().expect("an ODS code"), "i".parse().expect("a name"));
        MessageId::derive(&sender, &interface, &number.to_string())
    }

    #[test]
    fn what_is_there_is_never_denied_and_what_is_not_mostly_is() {
        let known = Known::with_room(0);
        assert!((0..1000).all(|number| !known.may_have(id(number))), "nothing is there");
        let messages = 200_000;
        (0..messages).for_each(|number| known.insert(id(number)));
        assert!((0..messages).all(|number| known.may_have(id(number))));
        let wrong = (messages..messages + 10_000).filter(|number| known.may_have(id(*number))).count();
        assert!(wrong < 300, "{wrong} of 10,000 seem to be there");
    }
}
