//! A witness of one log: it cosigns a checkpoint only when the log went on from the one that it cosigned before (C2SP
//! tlog-witness, `add-checkpoint`).
//!
//! Enters: the body of a request, which anyone may have written. Leaves: a cosignature line, or why there is none. Invariant:
//! what is cosigned lies on the disk first, so that no witness cosigns two heads of which one is not a prefix of the other,
//! whatever happens between. What is kept is one file, `checkpoint`: the newest head with the log's signature and the
//! cosignature, which is itself a checkpoint that others may be shown.
//!
//! ```text
//! old 20852014                       the size that the witness has; 0 when it has none
//! PlRNCrwHpqhGrupue0L7gxbjbMiKA…=    the consistency proof from there, at most 63 hashes
//!                                    an empty line, then the checkpoint
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::checkpoint::{self, Checkpoint, Note, VerifierKey};
use super::cosignature::{CosignerKey, CosigningKey};
use super::merkle::{Frontier, Hash, continues};
use crate::fhir::Instant;
use crate::identity::digest::{hex, sha_256};
use crate::storage::files::{Readers, write_durably};

/// The file of the newest cosigned checkpoint, in the state folder.
const NEWEST: &str = "checkpoint";
/// The file that keeps a second witness off the folder.
const LOCK: &str = "lock";
/// The most hashes of a consistency proof.
const LONGEST_PROOF: usize = 63;

/// A witness at work: one for a state folder.
#[derive(Debug)]
pub struct Witness {
    log: VerifierKey,
    key: CosigningKey,
    file: PathBuf,
    newest: Mutex<Option<Newest>>,
    _lock: File,
}

/// What was cosigned last.
#[derive(Clone, Debug)]
struct Newest {
    checkpoint: Checkpoint,
    note: String,
}

/// Why a witness does not start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each message says it")]
pub enum OpenError {
    #[error("the state folder cannot be used: {0}")]
    Folder(#[from] io::Error),
    #[error("another witness is running on this state folder")]
    InUse,
    #[error("the checkpoint in the state folder does not hold: {0}")]
    Newest(checkpoint::Error),
}

impl OpenError {
    /// What the operator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            OpenError::Folder(_) => "name a folder that can be written",
            OpenError::InUse => "stop the other witness, or give each a folder of its own",
            OpenError::Newest(_) => {
                "give the keys of the log and of the witness that this folder was begun with; to watch another log, another folder"
            }
        }
    }
}

/// Why a checkpoint is not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The request is not written as one (HTTP 400).
    #[error("{0}")]
    Malformed(&'static str),
    /// The checkpoint is of another log (404).
    #[error("the log {0:?} is not watched here")]
    UnknownLog(String),
    /// The log's key did not sign it (403).
    #[error("{0}")]
    NotSigned(checkpoint::Error),
    /// The proof begins at another size than that of the newest cosigned checkpoint (409).
    #[error("the newest cosigned checkpoint has {size} entries")]
    OtherSize {
        /// The size.
        size: u64,
    },
    /// The log did not go on from the newest cosigned checkpoint, or that is not shown (422).
    #[error("{why}: the cosigned checkpoint has {cosigned} entries, this one {size}")]
    Inconsistent {
        /// What is wrong.
        why: &'static str,
        /// The size of the newest cosigned checkpoint.
        cosigned: u64,
        /// The size of the one that was refused.
        size: u64,
    },
    /// It could not be kept, so it is not cosigned (500).
    #[error("the checkpoint could not be kept: {0}")]
    NotKept(io::Error),
}

impl Refused {
    /// What the protocol answers.
    pub fn status(&self) -> u16 {
        match self {
            Refused::Malformed(_) => 400,
            Refused::NotSigned(_) => 403,
            Refused::UnknownLog(_) => 404,
            Refused::OtherSize { .. } => 409,
            Refused::Inconsistent { .. } => 422,
            Refused::NotKept(_) => 500,
        }
    }
}

impl Witness {
    /// Goes on from what is kept in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(log: VerifierKey, key: CosigningKey, folder: &Path) -> Result<Witness, OpenError> {
        fs::create_dir_all(folder)?;
        let lock = File::options().create(true).truncate(false).write(true).open(folder.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let file = folder.join(NEWEST);
        let newest = match fs::read(&file) {
            Ok(note) => Some(Newest::read(&note, &log, key.public()).map_err(OpenError::Newest)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Witness { log, key, file, newest: Mutex::new(newest), _lock: lock })
    }

    /// The log that is watched.
    pub fn log(&self) -> &VerifierKey {
        &self.log
    }

    /// The witness's public key.
    pub fn public(&self) -> &CosignerKey {
        self.key.public()
    }

    /// The size of the newest cosigned checkpoint; 0 when there is none.
    pub fn size(&self) -> u64 {
        size(self.newest().as_ref())
    }

    /// The newest cosigned checkpoint of the log whose origin has this SHA-256, in lower-case hexadecimal.
    pub fn checkpoint(&self, origin: &str) -> Option<String> {
        let is_ours = origin == hex(&sha_256(self.log.name().as_bytes()));
        self.newest().as_ref().filter(|_| is_ours).map(|newest| newest.note.clone())
    }

    /// Cosigns the checkpoint of a request, if the log went on from the one before: the cosignature line. Blocks until it is on
    /// disk.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then.
    pub fn add_checkpoint(&self, body: &[u8], now: Instant) -> Result<String, Refused> {
        let request = Request::parse(body)?;
        let later = request.note.checkpoint().map_err(|_| Refused::Malformed(FORM))?;
        if later.origin != self.log.name() {
            return Err(Refused::UnknownLog(later.origin.chars().take(SHOWN).collect()));
        }
        self.log.verify_signature(&request.note).map_err(Refused::NotSigned)?;
        if request.old > later.size {
            return Err(Refused::Malformed("the old size is larger than that of the checkpoint"));
        }
        // Held until it is on disk: no other request is compared with what is about to be replaced.
        let mut newest = self.newest();
        let earlier = newest.as_ref().map_or_else(|| (0, Frontier::new().root()), Newest::head);
        if request.old != earlier.0 {
            return Err(Refused::OtherSize { size: earlier.0 });
        }
        consistent(earlier, &later, &request.proof)?;
        let line = self.key.cosign(request.note.text(), now);
        let note = request.note.signed_by(&self.log) + &line;
        if now.unix_timestamp() <= 0 {
            return Err(Refused::NotKept(io::Error::other("the clock of the witness stands before 1970")));
        }
        // What would not be read back would keep the witness from starting again.
        Newest::read(note.as_bytes(), &self.log, self.key.public()).map_err(|_| Refused::Malformed(TOO_LONG))?;
        write_durably(&self.file, note.as_bytes(), Readers::Anyone).map_err(Refused::NotKept)?;
        *newest = Some(Newest { checkpoint: later, note });
        Ok(line)
    }

    fn newest(&self) -> MutexGuard<'_, Option<Newest>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Newest {
    fn read(note: &[u8], log: &VerifierKey, witness: &CosignerKey) -> Result<Newest, checkpoint::Error> {
        let checkpoint = log.verify(note)?;
        witness.verify(&Note::parse(note)?)?;
        Ok(Newest { checkpoint, note: String::from_utf8_lossy(note).into_owned() })
    }

    fn head(&self) -> (u64, Hash) {
        (self.checkpoint.size, self.checkpoint.root)
    }
}

fn size(newest: Option<&Newest>) -> u64 {
    newest.map_or(0, |newest| newest.checkpoint.size)
}

/// Whether the later checkpoint goes on from the earlier head.
fn consistent(earlier: (u64, Hash), later: &Checkpoint, proof: &[Hash]) -> Result<(), Refused> {
    let (cosigned, size) = (earlier.0, later.size);
    let refused = |why| Err(Refused::Inconsistent { why, cosigned, size });
    if size == 0 && later.root != Frontier::new().root() {
        return refused("a log without entries has the hash of nothing for its root");
    }
    if size == cosigned && later.root != earlier.1 {
        return refused("the log has another root at the size that was cosigned");
    }
    if !continues((cosigned, &earlier.1), (size, &later.root), proof) {
        return refused("the proof does not show that the log went on from what was cosigned");
    }
    Ok(())
}

/// What is said of a checkpoint that leaves no room for the cosignature.
const TOO_LONG: &str = "the checkpoint is too long to be kept with its cosignature";
/// Letters of another log's name that are told again.
const SHOWN: usize = 100;

/// What is said of a request that is not written as one.
const FORM: &str = "the body is not the line `old <size>`, hashes in base64, an empty line, and a checkpoint";

/// A request, split. Nothing is verified yet.
struct Request<'a> {
    old: u64,
    proof: Vec<Hash>,
    note: Note<'a>,
}

impl<'a> Request<'a> {
    fn parse(body: &'a [u8]) -> Result<Request<'a>, Refused> {
        Request::split(body).ok_or(Refused::Malformed(FORM))
    }

    fn split(body: &'a [u8]) -> Option<Request<'a>> {
        let end = body.windows(2).position(|pair| pair == b"\n\n")?;
        let (lines, note) = (std::str::from_utf8(&body[..end]).ok()?, &body[end + 2..]);
        let mut lines = lines.split('\n');
        let size = lines.next()?.strip_prefix("old ")?;
        let old: u64 = size.parse().ok().filter(|old: &u64| old.to_string() == size)?;
        let hash = |line: &str| BASE64.decode(line).ok()?.try_into().ok();
        let proof: Vec<Hash> = lines.take(LONGEST_PROOF + 1).map(hash).collect::<Option<_>>()?;
        let note = Note::parse(note).ok()?;
        (proof.len() <= LONGEST_PROOF).then_some(Request { old, proof, note })
    }
}

/// The body of a request that asks for a cosignature of `note`, with the proof that it goes on from `old` entries.
pub fn request(old: u64, proof: &[Hash], note: &str) -> String {
    let proof: String = proof.iter().map(|hash| BASE64.encode(hash) + "\n").collect();
    format!("old {old}\n{proof}\n{note}")
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files of a test need not be durable")]
mod tests {
    use super::*;
    use crate::audit::checkpoint::SigningKey;
    use crate::audit::merkle::{consistency, fold, leaf, subtrees};
    use tempfile::TempDir;
    use time::macros::datetime;

    const NOON: Instant = datetime!(2026-03-04 12:00 UTC);
    const ORIGIN: &str = "weir.example/DEMOP";

    /// A log of numbers, and a witness of it.
    struct Scene {
        folder: TempDir,
        log: SigningKey,
        key: String,
    }

    impl Scene {
        fn new() -> Scene {
            let key = CosigningKey::generate("icb.example/witness").expect("the name is good");
            let log = SigningKey::generate(ORIGIN).expect("the name is good");
            Scene { folder: tempfile::tempdir().expect("a folder"), log, key: key.secret_text() }
        }

        fn key(&self) -> CosigningKey {
            self.key.parse().expect("it is a key")
        }

        fn open(&self) -> Witness {
            Witness::open(self.log.verifier().clone(), self.key(), self.folder.path()).expect("it opens")
        }

        fn kept(&self) -> Option<String> {
            fs::read_to_string(self.folder.path().join(NEWEST)).ok()
        }

        fn head(&self, size: u64) -> String {
            self.log.sign(size, &root(0, size))
        }

        /// What the log sends when it goes on from `old`.
        fn request(&self, old: u64, size: u64) -> String {
            request(old, &proof(old, size), &self.head(size))
        }
    }

    /// The root over the leaves of the log from one to another.
    fn root(from: u64, to: u64) -> Hash {
        let mut tree = Frontier::new();
        (from..to).for_each(|number| tree.push(leaf(&number.to_be_bytes()), |_| {}));
        tree.root()
    }

    fn proof(old: u64, size: u64) -> Vec<Hash> {
        let range = |range| {
            let roots = subtrees(range).into_iter().map(|(height, at)| root(at << height, (at + 1) << height));
            fold(&roots.collect::<Vec<_>>()).expect("a range is not empty")
        };
        consistency(old, size).expect("the log goes on").into_iter().map(range).collect()
    }

    /// What a witness answers: the status, and what it says.
    fn answer(witness: &Witness, body: &str) -> (u16, String) {
        match witness.add_checkpoint(body.as_bytes(), NOON) {
            Ok(line) => (200, line),
            Err(refused) => (refused.status(), refused.to_string()),
        }
    }

    /// A log could have its witness keep what it cannot read back, and so keep it from starting again.
    #[test]
    fn a_checkpoint_that_leaves_no_room_for_the_cosignature_is_refused() {
        let scene = Scene::new();
        let witness = scene.open();
        let head = scene.head(3);
        let signature = head.rsplit_once("\n\n").expect("it is signed").1.to_owned();
        let many = (checkpoint::LONGEST - head.len()) / signature.len();
        let long = head + &signature.repeat(many);
        let refused = witness.add_checkpoint(request(0, &[], &long).as_bytes(), NOON).expect_err("it is too long");
        assert!(matches!(refused, Refused::Malformed(TOO_LONG)), "{refused}");
        let early = witness.add_checkpoint(scene.request(0, 3).as_bytes(), Instant::UNIX_EPOCH);
        assert!(matches!(early, Err(Refused::NotKept(_))), "a cosignature says when");
        drop(witness);
        assert_eq!((scene.open().size(), scene.kept()), (0, None), "it starts again");
    }

    #[test]
    fn a_log_that_goes_on_is_cosigned_and_what_is_cosigned_is_kept_first() {
        let scene = Scene::new();
        let witness = scene.open();
        let mut old = 0;
        for size in [3, 4, 7, 8, 8, 64, 70] {
            let (status, line) = answer(&witness, &scene.request(old, size));
            assert_eq!(status, 200, "{old} to {size}: {line}");
            let kept = scene.kept().expect("it is kept");
            assert_eq!(kept, scene.head(size) + &line);
            let note = Note::parse(kept.as_bytes()).expect("it is a note");
            assert_eq!(witness.public().verify(&note), Ok(NOON));
            assert_eq!(
                (witness.size(), scene.log.verifier().verify(kept.as_bytes()).map(|it| it.size)),
                (size, Ok(size))
            );
            old = size;
        }
        assert_eq!(witness.checkpoint(&hex(&sha_256(ORIGIN.as_bytes()))), scene.kept());
        assert_eq!(witness.checkpoint(&hex(&sha_256(b"weir.example/OTHER"))), None);
    }

    #[test]
    fn a_restart_goes_on_where_it_stood() {
        let scene = Scene::new();
        let witness = scene.open();
        assert_eq!(answer(&witness, &scene.request(0, 5)).0, 200);
        let second = Witness::open(scene.log.verifier().clone(), scene.key(), scene.folder.path());
        assert!(matches!(second, Err(OpenError::InUse)), "one witness for a folder");
        drop(witness);
        let witness = scene.open();
        assert_eq!(
            answer(&witness, &scene.request(3, 7)),
            (409, "the newest cosigned checkpoint has 5 entries".into())
        );
        assert_eq!(answer(&witness, &scene.request(5, 7)).0, 200);
        drop(witness);
        let other = SigningKey::generate(ORIGIN).expect("the name is good");
        let of_other = Witness::open(other.verifier().clone(), scene.key(), scene.folder.path());
        assert!(matches!(of_other, Err(OpenError::Newest(checkpoint::Error::Unsigned))));
        let kept = scene.kept().expect("it is kept").replace("\n7\n", "\n6\n");
        fs::write(scene.folder.path().join(NEWEST), kept).expect("it is written");
        let changed = Witness::open(scene.log.verifier().clone(), scene.key(), scene.folder.path());
        assert!(matches!(changed, Err(OpenError::Newest(checkpoint::Error::Signature))));
    }

    #[test]
    fn what_is_refused_is_not_cosigned_and_changes_nothing() {
        let scene = Scene::new();
        let witness = scene.open();
        assert_eq!(answer(&witness, &scene.request(0, 0)).0, 200, "an empty log may be cosigned");
        assert_eq!(answer(&witness, &scene.request(0, 5)).0, 200);
        let kept = scene.kept();
        let stranger = SigningKey::generate(ORIGIN).expect("the name is good");
        let other_log = SigningKey::generate("weir.example/OTHER").expect("the name is good");
        let (good, long) = (scene.request(5, 9), vec![[0; 32]; LONGEST_PROOF + 1]);
        let forged = good.replace(ORIGIN, "weir.example/OTHER");
        let twice = good.clone() + &scene.head(8).lines().last().map(|line| format!("{line}\n")).unwrap_or_default();
        for (status, what, body) in [
            (400, "nothing", String::new()),
            (400, "no old size", good.replacen("old ", "new ", 1)),
            (400, "a zero before the size", good.replacen("old 5", "old 05", 1)),
            (400, "a sign", good.replacen("old 5", "old +5", 1)),
            (400, "a number that is too large", good.replacen("old 5", "old 18446744073709551616", 1)),
            (400, "no empty line", good.replacen("\n\n", "\n", 1)),
            (400, "a hash that is none", good.replacen("old 5\n", "old 5\nAAAA\n", 1)),
            (400, "carriage returns", good.replace('\n', "\r\n")),
            (400, "too many hashes", request(5, &long, &scene.head(9))),
            (400, "no signature", request(5, &proof(5, 9), scene.head(9).split_once("— ").expect("it is signed").0)),
            (400, "another text than a checkpoint", request(5, &[], "one\ntwo\n\n— a AAAAAAAA\n")),
            (400, "a size before the old one", request(6, &[], &scene.head(5))),
            (404, "another log", request(5, &[], &other_log.sign(9, &root(0, 9)))),
            (404, "another log's name", forged),
            (403, "another key", request(5, &proof(5, 9), &stranger.sign(9, &root(0, 9)))),
            (403, "a changed text", good.replace("\n9\n", "\n10\n")),
            (403, "a second signature that does not hold", twice),
            (409, "an old size that is another", scene.request(4, 9)),
            (409, "no old size known", scene.request(0, 9)),
            (409, "an older head, from where it stands", scene.request(3, 4)),
            (422, "a fork", request(5, &proof(5, 9), &scene.log.sign(9, &root(1, 10)))),
            (422, "another root at the same size", request(5, &[], &scene.log.sign(5, &root(1, 6)))),
            (422, "a proof that is too short", request(5, &proof(5, 9)[1..], &scene.head(9))),
            (422, "a proof where there is nothing to prove", request(5, &[[1; 32]], &scene.head(5))),
        ] {
            let (answered, says) = answer(&witness, &body);
            assert_eq!(answered, status, "{what}: {says}");
            assert_eq!((scene.kept(), witness.size()), (kept.clone(), 5), "{what}");
        }
        assert_eq!(answer(&witness, &scene.request(5, 5)).0, 200, "the same head again");
        assert_eq!(answer(&witness, &good).0, 200);
    }

    #[test]
    fn a_first_head_is_taken_without_a_proof_and_an_empty_one_has_the_hash_of_nothing() {
        let scene = Scene::new();
        let witness = scene.open();
        assert_eq!(answer(&witness, &request(0, &[], &scene.log.sign(0, &[1; 32]))).0, 422);
        assert_eq!(answer(&witness, &request(0, &[[1; 32]], &scene.head(9))).0, 422);
        assert_eq!((scene.kept(), witness.checkpoint(&hex(&sha_256(ORIGIN.as_bytes())))), (None, None));
        assert_eq!(answer(&witness, &scene.request(0, 9)).0, 200);
    }

    #[test]
    fn nothing_is_cosigned_that_could_not_be_kept() {
        let scene = Scene::new();
        let witness = scene.open();
        assert_eq!(answer(&witness, &scene.request(0, 5)).0, 200);
        let away = scene.folder.path().with_extension("away");
        fs::rename(scene.folder.path(), &away).expect("it is moved");
        let refused = witness.add_checkpoint(scene.request(5, 9).as_bytes(), NOON);
        assert!(matches!(refused, Err(Refused::NotKept(_))), "{refused:?}");
        assert_eq!(witness.size(), 5);
        fs::rename(&away, scene.folder.path()).expect("it is moved back");
        assert_eq!(answer(&witness, &scene.request(5, 9)).0, 200, "it goes on from what it kept");
    }

    #[test]
    fn signatures_of_others_are_not_kept() {
        let scene = Scene::new();
        let witness = scene.open();
        let head = scene.head(5) + "— stranger.example/w AAAAAAAA\n";
        let (status, line) = answer(&witness, &request(0, &[], &head));
        assert_eq!((status, scene.kept()), (200, Some(scene.head(5) + &line)));
    }

    /// Whatever is sent, nothing panics, and nothing but the request itself is cosigned.
    #[test]
    fn no_changed_byte_of_a_request_is_cosigned() {
        let scene = Scene::new();
        let witness = scene.open();
        assert_eq!(answer(&witness, &scene.request(0, 5)).0, 200);
        let good = scene.request(5, 9).into_bytes();
        for at in 0..good.len() {
            for flip in [1, 0x80] {
                let mut changed = good.clone();
                changed[at] ^= flip;
                assert!(witness.add_checkpoint(&changed, NOON).is_err(), "byte {at}");
            }
            assert!(witness.add_checkpoint(&good[..at], NOON).is_err(), "{at} bytes");
        }
        assert_eq!(witness.size(), 5);
        assert!(witness.add_checkpoint(&good, NOON).is_ok());
    }
}
