//! A message in pieces that MESH takes: split before compression, each piece compressed by itself.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use hyper::body::Bytes;

/// The chunks of a message: as it is when it fits in one, else each of them gzip.
pub(super) fn split(message: &Bytes, most: usize) -> Vec<Bytes> {
    if message.len() <= most {
        return vec![message.clone()];
    }
    message.chunks(most).map(|piece| Bytes::from(compressed(piece))).collect()
}

fn compressed(piece: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(piece).and_then(|()| gzip.finish()).expect("memory takes what is written")
}

/// What was compressed, if it has at most `most` bytes; `None` when it has more, or is no gzip.
pub(super) fn expanded(chunk: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut expanded = Vec::new();
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(chunk).take(bound).read_to_end(&mut expanded).ok()?;
    (expanded.len() <= most).then_some(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_fits_stays_as_it_is() {
        let message = Bytes::from_static(b"0123456789");
        assert_eq!(split(&message, 10), vec![message.clone()]);
    }

    #[test]
    fn a_larger_one_is_split_first_and_each_piece_is_a_gzip_of_its_own() {
        let message: Vec<u8> = (0..2501_u32).map(|at| at.to_le_bytes()[0]).collect();
        let chunks = split(&Bytes::from(message.clone()), 1000);
        assert_eq!(chunks.len(), 3);
        let pieces: Vec<Vec<u8>> = chunks.iter().map(|chunk| expanded(chunk, 1000).expect("it is gzip")).collect();
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 501]);
        assert_eq!(pieces.concat(), message);
    }

    #[test]
    fn what_expands_beyond_its_bound_or_is_no_gzip_is_refused() {
        let bomb = compressed(&vec![0; 1_000_000]);
        assert!(bomb.len() < 2000);
        assert_eq!(expanded(&bomb, 999_999), None);
        assert_eq!(expanded(&bomb, 1_000_000).map(|bytes| bytes.len()), Some(1_000_000));
        assert_eq!(expanded(b"plain", 100), None);
        assert_eq!(expanded(&bomb[..bomb.len() - 1], 1_000_000), None, "cut off");
    }
}
