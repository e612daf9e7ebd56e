//! The Merkle tree of RFC 9162 section 2.1 over SHA-256, kept as the roots of its complete subtrees.
//!
//! A tree of `n` leaves is known by at most 64 hashes, one for each bit set in `n`. Appending costs one hash
//! amortised, the root at most 63.

use aws_lc_rs::digest;

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

    /// Appends one leaf, by its hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut right = leaf;
        for _ in 0..self.size.trailing_ones() {
            let left = self.roots.pop().expect("there is one root for each bit set in the size");
            right = node(&left, &right);
        }
        self.roots.push(right);
        self.size += 1;
    }

    /// The root over all leaves; of the empty tree, the hash of nothing.
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        match roots.next() {
            None => hashed(&[]),
            Some(last) => roots.fold(*last, |right, left| node(left, &right)),
        }
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
            frontier.push(leaf(entry));
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
                frontier.push(*next);
            }
        }
    }

    #[test]
    fn a_frontier_of_the_wrong_length_is_refused() {
        for (size, bytes) in [(0, 32), (1, 0), (3, 32), (3, 65), (4, 64)] {
            assert_eq!(Frontier::restore(size, &vec![0; bytes]), None, "{size} leaves, {bytes} bytes");
        }
    }
}
