//! The log's tree as it is stored: hashes of leaves, and roots over 256, 65,536, … of them (C2SP tlog-tiles).
//!
//! Any hash of the tree is made of at most 255 stored ones, so that a proof takes some ten short reads at any size.

use super::merkle::{self, Hash, Range, TILE_HEIGHT, node};
use crate::storage::{Error, Store};

/// The roots over some ranges of leaves, as proofs are made of them.
///
/// # Errors
/// When the store cannot be read, or the leaves are not all there.
pub async fn roots(store: &dyn Store, ranges: &[Range]) -> Result<Vec<Hash>, Error> {
    let mut found = Vec::with_capacity(ranges.len());
    for range in ranges {
        let mut parts = Vec::new();
        for (height, position) in merkle::subtrees(*range) {
            parts.push(subtree(store, height, position).await?);
        }
        found.push(merkle::fold(&parts).ok_or_else(|| missing(0, range.0))?);
    }
    Ok(found)
}

/// Which tile: its level, its place, and how many of its 256 hashes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    level: u8,
    position: u64,
    width: u16,
}

impl Tile {
    /// Reads what follows `tile/` in the URL of a tile: `0/x001/067`, or with `.p/5` behind it for the first five hashes of one
    /// that is not full. `None` for what tlog-tiles does not write so.
    pub fn read(path: &str) -> Option<Tile> {
        let (level, place) = path.split_once('/')?;
        let (place, width) = match place.split_once(".p/") {
            Some((place, width)) => (place, number(width)?.try_into().ok().filter(|width| (1..256).contains(width))?),
            None => (place, 256),
        };
        let mut groups: Vec<&str> = place.split('/').collect();
        let last = groups.pop()?;
        let mut position = 0_u64;
        for group in groups.iter().map(|group| group.strip_prefix('x')).chain([Some(last)]) {
            let digits =
                group.filter(|digits| digits.len() == 3 && digits.bytes().all(|digit| digit.is_ascii_digit()))?;
            position = position.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
        }
        // Each tile has one name.
        let is_shortest = groups.first().is_none_or(|first| *first != "x000");
        let level = u8::try_from(number(level)?).ok().filter(|level| *level < 8)?;
        is_shortest.then_some(Tile { level, position, width })
    }

    /// Whether it is full, and so will never change.
    pub fn is_full(&self) -> bool {
        self.width == 256
    }

    /// Its hashes, one after the other, as far as a head over `size` leaves covers it; `None` beyond that.
    ///
    /// # Errors
    /// When the store cannot be read, or hashes are not there.
    pub async fn bytes(&self, store: &dyn Store, size: u64) -> Result<Option<Vec<u8>>, Error> {
        let there_are = size >> (u32::from(self.level) * TILE_HEIGHT);
        let from = self.position.checked_mul(256);
        let Some(from) = from.filter(|from| from.saturating_add(self.width.into()) <= there_are) else {
            return Ok(None);
        };
        Ok(Some(stored(store, self.level.into(), from, self.width.into()).await?.concat()))
    }
}

/// A number in decimal, in the one way to write it.
fn number(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|number| number.to_string() == text)
}

/// The root of the complete subtree of `2^height` leaves at `position` among those of its height.
async fn subtree(store: &dyn Store, height: u32, position: u64) -> Result<Hash, Error> {
    let (level, rest) = (height / TILE_HEIGHT, height % TILE_HEIGHT);
    let mut hashes = stored(store, level, position << rest, 1 << rest).await?;
    while hashes.len() > 1 {
        hashes = hashes.chunks_exact(2).map(|pair| node(&pair[0], &pair[1])).collect();
    }
    hashes.pop().ok_or_else(|| missing(level, position))
}

/// Neighbouring hashes of one level: of leaves, or of the subtrees that a tile of the level below holds.
async fn stored(store: &dyn Store, level: u32, from: u64, count: usize) -> Result<Vec<Hash>, Error> {
    let level = u8::try_from(level).expect("a tree is at most 64 high");
    let hashes: Vec<Hash> = if level == 0 {
        store.leaves(from, count).await?
    } else {
        let found = store.subtrees(level, from, count).await?;
        (from..).zip(found).map_while(|(position, it)| (it.position == position).then_some(it.hash)).collect()
    };
    if hashes.len() == count { Ok(hashes) } else { Err(missing(level.into(), from + hashes.len() as u64)) }
}

fn missing(level: u32, position: u64) -> Error {
    Error::Damaged(format!("hash {position} of level {level} of the audit log's tree is not there"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::audit::Checkpointer;
    use crate::audit::checkpoint::SigningKey;
    use crate::audit::merkle::{Frontier, consistency, continues, includes, inclusion, leaf};
    use crate::storage::{Event, Secret, SqliteStore};

    const SIZE: u64 = 1_500;

    fn leaf_of(number: u64) -> Hash {
        leaf(&number.to_be_bytes())
    }

    /// A log of numbers, with its folder and its head over each size.
    async fn numbers() -> (tempfile::TempDir, Arc<dyn Store>, Vec<Hash>) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&folder.path().join("weir.db"), &Secret::generate()).expect("it opens");
        let store: Arc<dyn Store> = Arc::new(store);
        let key = SigningKey::generate("weir.example/DEMOP").expect("the name is good");
        let mut checkpointer = Checkpointer::resume(Arc::clone(&store), key).await.expect("it begins");
        let (mut frontier, mut heads) = (Frontier::new(), vec![Frontier::new().root()]);
        for number in 0..SIZE {
            let bytes = number.to_be_bytes().to_vec();
            frontier.push(leaf(&bytes), |_| {});
            heads.push(frontier.root());
            store.append(Event { message: None, leaf: leaf(&bytes), bytes }).await.expect("it is written");
        }
        checkpointer.checkpoint().await.expect("it is signed");
        (folder, store, heads)
    }

    #[test]
    fn a_tile_has_one_name() {
        let tile = |level, position, width| Some(Tile { level, position, width });
        for (name, expected) in [
            ("0/000", tile(0, 0, 256)),
            ("0/067", tile(0, 67, 256)),
            ("1/x001/x234/067", tile(1, 1_234_067, 256)),
            ("7/x999/000.p/255", tile(7, 999_000, 255)),
            ("0/005.p/1", tile(0, 5, 1)),
        ] {
            assert_eq!(Tile::read(name), expected, "{name}");
        }
        let long = format!("0/{}999", "x999/".repeat(9));
        for name in [
            "",
            "0",
            "0/",
            "0/5",
            "0/05",
            "0/0005",
            "0/+05",
            "8/000",
            "00/000",
            "-1/000",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/05",
            "0/000.p/",
            "0/000.p",
            "0/000/001",
            "0/x001",
            "0/x000/001",
            "0/x1/001",
            "0/000.p/1.p/1",
            "a/000",
            "0/é00",
            &long,
        ] {
            assert_eq!(Tile::read(name), None, "{name}");
        }
    }

    #[tokio::test]
    async fn tiles_hold_what_the_head_covers_and_no_more() {
        let (_folder, store, heads) = numbers().await;
        let bytes = async |name: &str, size: u64| {
            Tile::read(name).expect("a name").bytes(&*store, size).await.expect("it is read")
        };
        let leaves = |from: u64, to: u64| Some((from..to).map(leaf_of).collect::<Vec<_>>().concat());
        assert_eq!(bytes("0/000", SIZE).await, leaves(0, 256));
        assert_eq!(bytes("0/004", SIZE).await, leaves(1_024, 1_280));
        assert_eq!(bytes("0/005.p/220", SIZE).await, leaves(1_280, 1_500));
        assert_eq!(bytes("0/005.p/7", SIZE).await, leaves(1_280, 1_287));
        assert_eq!(bytes("1/000.p/1", SIZE).await, Some(heads[256].to_vec()));
        assert_eq!(bytes("1/000.p/5", SIZE).await.map(|it| it.len()), Some(5 * 32));
        for beyond in
            ["0/005", "0/005.p/221", "0/006.p/1", "1/000", "1/000.p/6", "2/000.p/1", "0/x999/x999/x999/x999/x999/999"]
        {
            assert_eq!(bytes(beyond, SIZE).await, None, "{beyond}");
        }
        assert_eq!(bytes("0/005.p/221", 1_280 + 220).await, None, "what no head covers is not shown");
        assert_eq!(bytes("0/001", 511).await, None);
    }

    #[tokio::test]
    async fn proofs_over_several_tiles_hold() {
        let (_folder, store, heads) = numbers().await;
        let root = heads[SIZE as usize];
        for index in [0, 1, 255, 256, 767, 1_023, 1_024, 1_279, 1_280, 1_499] {
            let proof = roots(&*store, &inclusion(index, SIZE).expect("it is in it")).await.expect("it is read");
            assert!(includes(&leaf_of(index), (index, SIZE), &proof, &root), "{index}");
        }
        for earlier in [1, 256, 300, 1_024, 1_499, 1_500] {
            let proof = roots(&*store, &consistency(earlier, SIZE).expect("it goes on")).await.expect("it is read");
            assert!(continues((earlier, &heads[earlier as usize]), (SIZE, &root), &proof), "{earlier}");
        }
        let beyond = roots(&*store, &[(1_024, 2_048)]).await.expect_err("the log is not so long");
        assert_eq!(
            beyond.to_string(),
            "the database is damaged: hash 5 of level 1 of the audit log's tree is not there"
        );
    }
}
