//! The Merkle tree of RFC 9162 section 2.1 over SHA-256, kept as the roots of its complete subtrees, and proofs that
//! something is in it.
//!
//! A tree of `n` leaves is known by at most 64 hashes, one for each bit set in `n`. Appending costs one hash
//! amortised, the root at most 63. A proof is made of the roots of a few ranges of leaves, at most 64: which, is told
//! here; where their hashes come from, see [`super::tiles`].

use aws_lc_rs::digest;

use crate::storage::Subtree;

/// A SHA-256 hash: of a leaf, a node or a root.
pub type Hash = [u8; 32];

/// The hash of a leaf: `SHA-256(0x00 || entry)`.
pub fn leaf(entry: &[u8]) -> Hash {
    hashed(&[&[0], entry])
}

/// The hash of an inner node: `SHA-256(0x01 || left || right)`.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    hashed(&[&[1], left, right])
}

fn hashed(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// A tile of the log is this high (C2SP tlog-tiles).
pub const TILE_HEIGHT: u32 = 8;

/// The first `size` leaves, as the roots of the complete subtrees that they fall into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// One root for each bit set in `size`, the largest subtree first.
    roots: Vec<Hash>,
}

impl Frontier {
    /// The empty tree.
    pub fn new() -> Frontier {
        Frontier::default()
    }

    /// How many leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends one leaf, by its hash. Each subtree of 256, 65,536, … leaves that this completes is noted.
    pub fn push(&mut self, leaf: Hash, mut note: impl FnMut(Subtree)) {
        let mut right = leaf;
        for height in 1..=self.size.trailing_ones() {
            let left = self.roots.pop().expect("there is one root for each bit set in the size");
            right = node(&left, &right);
            if height.is_multiple_of(TILE_HEIGHT) {
                let level = u8::try_from(height / TILE_HEIGHT).expect("a tree is at most 64 high");
                note(Subtree { level, position: self.size >> height, hash: right });
            }
        }
        self.roots.push(right);
        self.size += 1;
    }

    /// The root over all leaves; of the empty tree, the hash of nothing.
    pub fn root(&self) -> Hash {
        fold(&self.roots).unwrap_or_else(|| hashed(&[]))
    }

    /// The subtree roots, one behind the other: what [`Frontier::restore`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.roots.concat()
    }

    /// The frontier of `size` leaves from its bytes; `None` if there are not as many hashes as `size` needs. Whether
    /// they are the right ones shows when [`Frontier::root`] is compared with a signed root.
    pub fn restore(size: u64, bytes: &[u8]) -> Option<Frontier> {
        let (roots, rest) = bytes.as_chunks::<32>();
        let fits = rest.is_empty() && roots.len() == size.count_ones() as usize;
        fits.then(|| Frontier { size, roots: roots.to_vec() })
    }
}

/// Leaves from the first of these numbers up to, not including, the second.
pub type Range = (u64, u64);

/// The ranges whose roots prove that leaf `index` is in the tree of `size` leaves, in the order of the proof (RFC 9162
/// section 2.1.3.1). `None` when it is not.
pub fn inclusion(index: u64, size: u64) -> Option<Vec<Range>> {
    if index >= size {
        return None;
    }
    let (mut start, mut end, mut path) = (0, size, Vec::new());
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push((middle, end));
            end = middle;
        } else {
            path.push((start, middle));
            start = middle;
        }
    }
    path.reverse();
    Some(path)
}

/// The ranges whose roots prove that the tree of `earlier` leaves is a prefix of that of `later` (RFC 9162 section
/// 2.1.4.1). `None` when it cannot be one; nothing is to be proved where the sizes are the same or the earlier tree is empty.
pub fn consistency(earlier: u64, later: u64) -> Option<Vec<Range>> {
    if earlier > later {
        return None;
    }
    let (mut start, mut end, mut path) = (0, later, Vec::new());
    if earlier == 0 {
        return Some(path);
    }
    while earlier != end {
        let middle = start + split(end - start);
        if earlier <= middle {
            path.push((middle, end));
            end = middle;
        } else {
            path.push((start, middle));
            start = middle;
        }
    }
    if start > 0 {
        path.push((start, end));
    }
    path.reverse();
    Some(path)
}

/// The complete subtrees that a range of a proof falls into, the largest first, by height and position.
pub fn subtrees((start, end): Range) -> Vec<(u32, u64)> {
    let (mut at, mut found) = (start, Vec::new());
    while at < end {
        let height = (end - at).ilog2();
        found.push((height, at >> height));
        at += 1 << height;
    }
    found
}

/// The root over neighbouring complete subtrees, the largest first, as [`subtrees`] lists them.
pub fn fold(roots: &[Hash]) -> Option<Hash> {
    let mut roots = roots.iter().rev();
    let last = roots.next()?;
    Some(roots.fold(*last, |right, left| node(left, &right)))
}

/// Whether `proof` shows that `leaf` is the leaf `index` of the tree of `size` leaves with this root (RFC 9162 section 2.1.3.2).
pub fn includes(leaf: &Hash, (index, size): (u64, u64), proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let mut hash = *leaf;
    let climbed = climb((index, size - 1), proof, |part, is_left| {
        hash = if is_left { node(part, &hash) } else { node(&hash, part) };
    });
    climbed && hash == *root
}

/// Whether `proof` shows that the tree of the later head begins with that of the earlier one; a head is a size and a root
/// (RFC 9162 section 2.1.4.2). Every tree begins with the empty one.
pub fn continues(earlier: (u64, &Hash), later: (u64, &Hash), proof: &[Hash]) -> bool {
    let ((first, first_root), (second, second_root)) = (earlier, later);
    if first == 0 || first == second {
        let expected = if first == 0 { &hashed(&[]) } else { second_root };
        return first_root == expected && proof.is_empty();
    }
    let own = first.is_power_of_two().then_some(first_root);
    let mut parts = own.into_iter().chain(proof);
    let Some(start) = parts.next().filter(|_| first < second) else { return false };
    let shift = (first - 1).trailing_ones();
    let (mut before, mut after) = (*start, *start);
    let climbed = climb(((first - 1) >> shift, (second - 1) >> shift), parts, |part, is_left| {
        if is_left {
            before = node(part, &before);
            after = node(part, &after);
        } else {
            after = node(&after, part);
        }
    });
    climbed && before == *first_root && after == *second_root
}

/// Goes up from a node to the root, one part of a proof after the other, and tells of each whether it stands to the left. The node
/// is given by its place and that of the last one of its level. Whether the proof ends at the root.
fn climb<'p>(
    (mut place, mut last): (u64, u64),
    proof: impl IntoIterator<Item = &'p Hash>,
    mut join: impl FnMut(&Hash, bool),
) -> bool {
    for part in proof {
        if last == 0 {
            return false;
        }
        let is_left = place & 1 == 1 || place == last;
        join(part, is_left);
        while is_left && place & 1 == 0 && place != 0 {
            place >>= 1;
            last >>= 1;
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0
}

/// Where a tree of `size` leaves, at least two, divides: the largest power of two below it.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(hash: Hash) -> String {
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The eight leaves of the test vectors of certificate-transparency-go and RFC 9162 implementations
    /// (`testonly/reference_test.go`, `merkletree_test.cc`).
    const LEAVES: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];

    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    /// The definition of RFC 9162 section 2.1.1, word for word.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => hashed(&[]),
            [leaf] => *leaf,
            _ => {
                let split = (leaves.len().next_power_of_two()) / 2;
                node(&by_definition(&leaves[..split]), &by_definition(&leaves[split..]))
            }
        }
    }

    #[test]
    fn the_published_roots_come_out() {
        let mut frontier = Frontier::new();
        assert_eq!(hex(frontier.root()), ROOTS[0]);
        for (entry, root) in LEAVES.iter().zip(&ROOTS[1..]) {
            frontier.push(leaf(entry), |_| {});
            assert_eq!(hex(frontier.root()), *root, "{} leaves", frontier.size());
        }
    }

    #[test]
    fn the_root_is_that_of_the_definition_at_every_size() {
        let leaves: Vec<Hash> = (0..200_u32).map(|number| leaf(&number.to_be_bytes())).collect();
        let mut frontier = Frontier::new();
        for size in 0..=leaves.len() {
            assert_eq!(frontier.root(), by_definition(&leaves[..size]), "{size} leaves");
            assert_eq!(Frontier::restore(frontier.size(), &frontier.to_bytes()), Some(frontier.clone()));
            if let Some(next) = leaves.get(size) {
                frontier.push(*next, |_| {});
            }
        }
    }

    fn leaves(size: u32) -> Vec<Hash> {
        (0..size).map(|number| leaf(&number.to_be_bytes())).collect()
    }

    fn roots(leaves: &[Hash], ranges: &[Range]) -> Vec<Hash> {
        let root = |&(start, end): &Range| {
            let whole = by_definition(&leaves[start as usize..end as usize]);
            let parts = subtrees((start, end)).into_iter().map(|(height, position)| {
                let start = (position as usize) << height;
                by_definition(&leaves[start..start + (1 << height)])
            });
            assert_eq!(fold(&parts.collect::<Vec<_>>()), Some(whole));
            whole
        };
        ranges.iter().map(root).collect()
    }

    #[test]
    fn each_leaf_is_proved_at_every_size_and_no_other_is() {
        let leaves = leaves(70);
        for size in 1..=70_u64 {
            let root = by_definition(&leaves[..size as usize]);
            for index in 0..size {
                let proof = roots(&leaves, &inclusion(index, size).expect("it is in it"));
                let leaf = &leaves[index as usize];
                assert!(includes(leaf, (index, size), &proof, &root), "{index} of {size}");
                let mut other = proof.clone();
                other.iter_mut().take(1).for_each(|hash| hash[0] ^= 1);
                assert!(proof.is_empty() || !includes(leaf, (index, size), &other, &root));
                assert!(!includes(&node(leaf, leaf), (index, size), &proof, &root));
                assert!(!includes(leaf, (index, size), &[&proof[..], &[root]].concat(), &root), "too long");
                assert!(proof.is_empty() || !includes(leaf, (index, size), &proof[1..], &root), "too short");
            }
            assert_eq!((inclusion(size, size), includes(&root, (size, size), &[], &root)), (None, false));
        }
    }

    #[test]
    fn each_tree_is_proved_to_go_on_from_every_earlier_one() {
        let leaves = leaves(70);
        let root = |size: u64| by_definition(&leaves[..size as usize]);
        for later in 0..=70_u64 {
            for earlier in 0..=later {
                let proof = roots(&leaves, &consistency(earlier, later).expect("it goes on"));
                let (before, after) = (root(earlier), root(later));
                assert!(continues((earlier, &before), (later, &after), &proof), "{earlier} to {later}");
                let mut other = before;
                other[31] ^= 1;
                assert!(!continues((earlier, &other), (later, &after), &proof), "another beginning");
                assert!(!continues((earlier, &before), (later, &after), &[&proof[..], &[after]].concat()), "too long");
                assert!(proof.is_empty() || !continues((earlier, &before), (later, &after), &proof[1..]), "too short");
                assert!(earlier == later || !continues((later, &after), (earlier, &before), &proof), "backwards");
            }
            assert_eq!(consistency(later + 1, later), None);
        }
    }

    #[test]
    fn complete_subtrees_are_noted_as_they_come() {
        let leaves = leaves(66_000);
        let (mut frontier, mut noted) = (Frontier::new(), Vec::new());
        leaves.iter().for_each(|leaf| frontier.push(*leaf, |subtree| noted.push(subtree)));
        let at =
            |level, position| noted.iter().find(|it| (it.level, it.position) == (level, position)).map(|it| it.hash);
        assert_eq!(noted.len(), 257 + 1);
        assert_eq!(at(1, 0), Some(by_definition(&leaves[..256])));
        assert_eq!(at(1, 256), Some(by_definition(&leaves[65_536..65_792])));
        assert_eq!((at(2, 0), at(2, 1)), (Some(by_definition(&leaves[..65_536])), None));
    }

    #[test]
    fn a_frontier_of_the_wrong_length_is_refused() {
        for (size, bytes) in [(0, 32), (1, 0), (3, 32), (3, 65), (4, 64)] {
            assert_eq!(Frontier::restore(size, &vec![0; bytes]), None, "{size} leaves, {bytes} bytes");
        }
    }
}
