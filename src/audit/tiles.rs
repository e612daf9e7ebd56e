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

    #[tokio::test]
    async fn proofs_over_several_tiles_hold() {
        const SIZE: u64 = 1_500;
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
        let root = frontier.root();
        for index in [0, 1, 255, 256, 767, 1_023, 1_024, 1_279, 1_280, 1_499] {
            let proof = roots(&*store, &inclusion(index, SIZE).expect("it is in it")).await.expect("it is read");
            assert!(includes(&leaf(&index.to_be_bytes()), (index, SIZE), &proof, &root), "{index}");
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
