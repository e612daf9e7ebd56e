//! Has witnesses cosign the heads of the audit log (C2SP tlog-witness): each of them by itself, the newest head every so often.
//! Beside everything else: no message and no head waits for a witness, nor one witness for another.
//!
//! Enters: signed heads, as the store has them. Leaves: cosignatures in the store, each verified; and an alarm when a witness
//! has cosigned more than the log holds, or another log. Invariant: what a witness answers is stored only if its listed key
//! signed it over the head that it was asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{Service, clock};
use crate::audit::checkpoint::Note;
use crate::audit::cosignature::CosignerKey;
use crate::audit::{merkle, tiles, witness};
use crate::delivery::{AttemptError, Cosigner};
use crate::fhir::{Instant, instant_text};
use crate::storage::{self, Store, StoredCheckpoint, StoredCosignature};

/// Requests to a witness in a row: one more when it says at which size it stands.
const TRIES: usize = 2;
/// When it is looked again whether there is a head, where none was signed yet.
const SOON: Duration = Duration::from_secs(2);

/// A witness that is asked.
#[derive(Debug)]
pub struct Watcher {
    /// What it cosigns with.
    pub key: CosignerKey,
    /// How it is reached.
    pub cosigner: Cosigner,
}

/// Why a witness did not cosign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// The witness knows more of the log than there is.
    #[error(
        "the witness has cosigned {cosigned} events of the log, and there are {events}: an old copy of the database was put back"
    )]
    RolledBack { cosigned: u64, events: u64 },
    /// The witness knows another log.
    #[error(
        "the log is not the one of which the witness cosigned {cosigned} events: it was changed, or an old copy of the database \
         was put back and went on"
    )]
    Forked { cosigned: u64 },
    #[error("{0}")]
    NoAnswer(String),
    #[error("the witness answered {0}")]
    Answered(StatusCode),
    #[error("the witness answered with something else than its cosignature of the head")]
    NotCosigned,
    #[error("the audit log could not be read or written: {0}")]
    Store(#[from] storage::Error),
}

impl Trouble {
    /// Short and fixed, for metrics.
    fn code(&self) -> &'static str {
        match self {
            Trouble::RolledBack { .. } => "rolled-back",
            Trouble::Forked { .. } => "forked",
            Trouble::NoAnswer(_) => "no-answer",
            Trouble::Answered(_) | Trouble::NotCosigned => "not-cosigned",
            Trouble::Store(_) => "store",
        }
    }

    fn is_alarm(&self) -> bool {
        matches!(self, Trouble::RolledBack { .. } | Trouble::Forked { .. })
    }
}

impl From<AttemptError> for Trouble {
    fn from(error: AttemptError) -> Trouble {
        Trouble::NoAnswer(error.to_string())
    }
}

/// What a witness cosigned last.
#[derive(Clone, Copy, Debug)]
struct Cosigned {
    size: u64,
    at: Instant,
}

/// Where one witness stands.
#[derive(Clone, Debug, Default)]
struct Standing {
    last: Option<Cosigned>,
    trouble: Option<Trouble>,
    /// Stays until the witness cosigns again.
    alarm: Option<Trouble>,
}

/// Where the witnesses stand, by name and id of their keys.
#[derive(Debug, Default)]
pub(super) struct Standings(Mutex<BTreeMap<String, Standing>>);

impl Standings {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Standing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As readiness shows them.
    pub(super) fn shown(&self) -> Vec<Value> {
        let shown = |(witness, standing): (&String, &Standing)| {
            json!({
                "witness": witness,
                "cosigned": standing.last.map(|last| json!({ "events": last.size, "at": instant_text(last.at) })),
                "trouble": standing.trouble.as_ref().map(ToString::to_string),
                "alarm": standing.alarm.as_ref().map(ToString::to_string),
            })
        };
        self.all().iter().map(shown).collect()
    }

    /// Of each witness: the size that it cosigned last, and its alarm.
    pub(super) fn sizes(&self) -> Vec<(String, u64, Option<&'static str>)> {
        let of = |(witness, standing): (&String, &Standing)| {
            let size = standing.last.map_or(0, |last| last.size);
            (witness.clone(), size, standing.alarm.as_ref().map(Trouble::code))
        };
        self.all().iter().map(of).collect()
    }

    /// Notes what the store has of a witness.
    fn begin(&self, witness: &str, last: Option<StoredCosignature>) {
        let last = last.map(|last| Cosigned { size: last.size, at: last.received_at });
        self.all().insert(witness.to_owned(), Standing { last, ..Standing::default() });
    }

    /// Notes how a round ended and says what is new of it: a trouble that goes on is said once.
    fn note(&self, witness: &str, ended: Result<Option<Cosigned>, Trouble>) {
        let mut all = self.all();
        let standing = all.entry(witness.to_owned()).or_default();
        match ended {
            Ok(None) => {}
            Ok(Some(cosigned)) => {
                if standing.trouble.is_some() || standing.last.is_none() {
                    info!(%witness, events = cosigned.size, "the witness cosigns the audit log");
                }
                *standing = Standing { last: Some(cosigned), trouble: None, alarm: None };
            }
            Err(trouble) if trouble.is_alarm() => {
                if !is_alike(standing.alarm.as_ref(), &trouble) {
                    let before = in_words(standing.last);
                    let hint = "keep the database as evidence, and give the witness's checkpoint to `weir audit verify --head`";
                    error!(%witness, %trouble, before, hint, "the audit log is not what was witnessed");
                }
                standing.alarm = Some(trouble.clone());
                standing.trouble = Some(trouble);
            }
            Err(trouble) => {
                if !is_alike(standing.trouble.as_ref(), &trouble) {
                    warn!(%witness, %trouble, "the witness did not cosign; it is asked again");
                }
                standing.trouble = Some(trouble);
            }
        }
    }
}

/// Whether the same was said before.
fn is_alike(before: Option<&Trouble>, now: &Trouble) -> bool {
    before.is_some_and(|before| before.code() == now.code())
}

/// Up to when the log is known to be the one that was witnessed.
fn in_words(last: Option<Cosigned>) -> String {
    last.map_or("nothing".to_owned(), |last| format!("{} events at {}", last.size, instant_text(last.at)))
}

/// Asks one witness until the gateway stops.
pub(super) async fn ask(service: Arc<Service>, watcher: Watcher, every: Duration, mut stopped: watch::Receiver<bool>) {
    let witness = watcher.key.kid();
    let mut asking = Asking { watcher, witness: witness.clone(), stands_at: None };
    service.witnesses.begin(&witness, service.gateway.store().last_cosignature(&witness).await.unwrap_or(None));
    loop {
        let ended = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            ended = asking.round(service.gateway.store()) => ended,
        };
        if let Some(outcome) = outcome(&ended) {
            service.metrics.witnessed(&witness, outcome);
        }
        let wait = if matches!(ended, Ok(None)) && asking.stands_at.is_none() { every.min(SOON) } else { every };
        service.witnesses.note(&witness, ended);
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn outcome(ended: &Result<Option<Cosigned>, Trouble>) -> Option<&'static str> {
    match ended {
        Ok(None) => None,
        Ok(Some(_)) => Some("cosigned"),
        Err(trouble) => Some(trouble.code()),
    }
}

/// What is known of one witness from round to round.
struct Asking {
    watcher: Watcher,
    /// Name and id of its key.
    witness: String,
    /// The size of the head that it cosigned last; `None` before it was asked.
    stands_at: Option<u64>,
}

impl Asking {
    /// Has the newest head cosigned; nothing where it is already. The first round asks in any case: what was put back while the
    /// gateway stood still shows at once.
    async fn round(&mut self, store: &dyn Store) -> Result<Option<Cosigned>, Trouble> {
        let mut old = match self.stands_at {
            Some(size) => size,
            None => store.last_cosignature(&self.witness).await?.map_or(0, |last| last.size),
        };
        for _ in 0..TRIES {
            let Some(head) = store.last_checkpoint().await? else { return Ok(None) };
            if self.stands_at == Some(head.size) {
                return Ok(None);
            }
            let body = request(store, old, &head).await?;
            let answer = self.watcher.cosigner.add_checkpoint(body).await?;
            match answer.status() {
                StatusCode::OK => {
                    let cosigned = self.keep(store, &head, answer.body()).await?;
                    self.stands_at = Some(head.size);
                    return Ok(Some(cosigned));
                }
                StatusCode::CONFLICT => old = self.stands_at(store, answer.body(), old).await?,
                StatusCode::UNPROCESSABLE_ENTITY => return Err(Trouble::Forked { cosigned: old }),
                status => return Err(Trouble::Answered(status)),
            }
        }
        Err(Trouble::Answered(StatusCode::CONFLICT))
    }

    /// The size at which the witness says that it stands. It cannot be ahead of the log: a head is on our disk before it is sent.
    async fn stands_at(&mut self, store: &dyn Store, body: &Bytes, asked: u64) -> Result<u64, Trouble> {
        let size = std::str::from_utf8(body).ok().and_then(|text| text.strip_suffix('\n')?.parse::<u64>().ok());
        let cosigned = size.ok_or(Trouble::Answered(StatusCode::CONFLICT))?;
        let events = store.last_checkpoint().await?.map_or(0, |head| head.size);
        if cosigned > events {
            return Err(Trouble::RolledBack { cosigned, events });
        }
        if cosigned < asked {
            warn!(witness = %self.witness, cosigned, before = asked, "the witness knows less of the log than it cosigned before");
        }
        self.stands_at = None;
        Ok(cosigned)
    }

    /// Stores the witness's cosignature of `head`, once it is verified.
    async fn keep(&self, store: &dyn Store, head: &StoredCheckpoint, body: &Bytes) -> Result<Cosigned, Trouble> {
        let body = std::str::from_utf8(body).map_err(|_| Trouble::NotCosigned)?;
        let cosigned = |line: &&str| {
            let note = [&*head.note, line.as_bytes(), b"\n"].concat();
            Note::parse(&note).is_ok_and(|note| self.watcher.key.verify(&note).is_ok())
        };
        let line = body.lines().find(cosigned).ok_or(Trouble::NotCosigned)?.to_owned();
        let (size, received_at) = (head.size, clock::now());
        store.store_cosignature(StoredCosignature { size, witness: self.witness.clone(), line, received_at }).await?;
        Ok(Cosigned { size, at: received_at })
    }
}

/// What is sent: the head, with the proof that it goes on from `old` events.
async fn request(store: &dyn Store, old: u64, head: &StoredCheckpoint) -> Result<String, Trouble> {
    let damaged = |what: &str| storage::Error::Damaged(what.to_owned());
    let ranges = merkle::consistency(old, head.size);
    let ranges = ranges.ok_or(Trouble::RolledBack { cosigned: old, events: head.size })?;
    let proof = tiles::roots(store, &ranges).await?;
    let note = std::str::from_utf8(&head.note).map_err(|_| damaged("the newest head is not text"))?;
    Ok(witness::request(old, &proof, note))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::net::SocketAddr;

    use axum::Router;
    use axum::extract::State;
    use axum::routing::post;

    use super::*;
    use crate::audit::checkpoint::SigningKey;
    use crate::audit::cosignature::CosigningKey;
    use crate::audit::witness::Witness;
    use crate::audit::{Checkpointer, Recorder};
    use crate::server::listener::{Limits, Listener};
    use crate::storage::suite::{NOON, party};
    use crate::storage::{Secret, SqliteStore};

    const ORIGIN: &str = "weir.example/DEMOP";

    /// What a witness of a test was asked, and what it answers, one after the other.
    #[derive(Default)]
    struct Script {
        asked: Mutex<Vec<String>>,
        answers: Mutex<VecDeque<(u16, String)>>,
    }

    async fn answer(State(script): State<Arc<Script>>, body: String) -> (StatusCode, String) {
        script.asked.lock().expect("nobody panics").push(body);
        let (status, text) = script.answers.lock().expect("nobody panics").pop_front().expect("no more is asked");
        (StatusCode::from_u16(status).expect("a status"), text)
    }

    /// A log, and a witness of it that answers as it is told.
    struct Scene {
        folder: tempfile::TempDir,
        store: Arc<dyn Store>,
        checkpointer: Checkpointer,
        log: SigningKey,
        script: Arc<Script>,
        asking: Asking,
        /// Dropped, it ends the witness.
        _stop: watch::Sender<bool>,
    }

    impl Scene {
        async fn new() -> Scene {
            let folder = tempfile::tempdir().expect("a folder");
            let store = SqliteStore::open(&folder.path().join("weir.db"), &Secret::generate()).expect("it opens");
            let store: Arc<dyn Store> = Arc::new(store);
            let log = SigningKey::generate(ORIGIN).expect("the name is good");
            let own = log.secret_text().parse().expect("it is a key");
            let checkpointer = Checkpointer::resume(Arc::clone(&store), own).await.expect("it begins");
            let script = Arc::new(Script::default());
            let address: SocketAddr = ([127, 0, 0, 1], 0).into();
            let listener = Listener::bind_plain(address, Limits::of_operations()).await.expect("a free port");
            let cosigner = Cosigner::on_loopback(&format!("http://{}", listener.local_address()));
            let (stop, stopped) = watch::channel(false);
            let router = Router::new().route("/add-checkpoint", post(answer)).with_state(script.clone());
            tokio::spawn(listener.serve(router, stopped));
            let key = CosigningKey::generate("icb.example/witness").expect("the name is good");
            std::fs::create_dir(folder.path().join("ours")).expect("it is made");
            key.save(&folder.path().join("ours/key")).expect("it is written");
            let watcher = Watcher { key: key.public().clone(), cosigner: cosigner.expect("it is on loopback") };
            let witness = watcher.key.kid();
            let asking = Asking { watcher, witness, stands_at: None };
            Scene { folder, store, checkpointer, log, script, asking, _stop: stop }
        }

        /// Makes some events and signs the head over them.
        async fn go_on(&mut self, events: usize) -> u64 {
            let recorder = Recorder::new(party("DEMOP"), ORIGIN);
            for _ in 0..events {
                self.store.append(recorder.stopped(NOON)).await.expect("it is written");
            }
            self.checkpointer.checkpoint().await.expect("it is signed").expect("there is a new one").size
        }

        /// What a real witness that begins now answers to the newest head: ours, or another.
        async fn line(&self, key: Option<CosigningKey>) -> String {
            let key = key.unwrap_or_else(|| CosigningKey::load(&self.folder.path().join("ours/key")).expect("a key"));
            let folder = self.folder.path().join(uuid::Uuid::new_v4().to_string());
            let witness = Witness::open(self.log.verifier().clone(), key, &folder).expect("it opens");
            let head = self.store.last_checkpoint().await.expect("it is read").expect("it is there");
            let request = witness::request(0, &[], std::str::from_utf8(&head.note).expect("text"));
            witness.add_checkpoint(request.as_bytes(), NOON).expect("it is cosigned")
        }

        /// One round in which the witness answers so: the size that it cosigned, and the old sizes that it was asked from.
        async fn round(&mut self, answers: &[(u16, &str)]) -> (Result<Option<u64>, Trouble>, Vec<String>) {
            let answers = answers.iter().map(|(status, text)| (*status, (*text).to_owned()));
            *self.script.answers.lock().expect("nobody panics") = answers.collect();
            let ended = self.asking.round(&*self.store).await;
            let asked = std::mem::take(&mut *self.script.asked.lock().expect("nobody panics"));
            assert_eq!(*self.script.answers.lock().expect("nobody panics"), [], "it was asked as often as expected");
            let asked = asked.iter().map(|body| body.lines().next().unwrap_or_default().to_owned());
            (ended.map(|cosigned| cosigned.map(|it| it.size)), asked.collect())
        }

        async fn stored(&self) -> Vec<u64> {
            let stored = self.store.cosignatures((0, String::new()), 99).await.expect("they are read");
            stored.iter().map(|cosignature| cosignature.size).collect()
        }
    }

    #[tokio::test]
    async fn a_head_is_asked_for_once_and_from_where_the_witness_stands() {
        let mut scene = Scene::new().await;
        assert_eq!(scene.round(&[]).await, (Ok(None), vec![]), "there is no head yet");
        let one = scene.go_on(3).await;
        let line = scene.line(None).await;
        assert_eq!(scene.round(&[(200, &line)]).await, (Ok(Some(one)), vec!["old 0".to_owned()]));
        assert_eq!(scene.round(&[]).await, (Ok(None), vec![]), "nothing is new");
        let two = scene.go_on(2).await;
        let several = format!("— other.example/w AAAAAAAA\n{}", scene.line(None).await);
        assert_eq!(scene.round(&[(200, &several)]).await, (Ok(Some(two)), vec!["old 3".to_owned()]));
        assert_eq!(scene.stored().await, [one, two]);

        scene.asking.stands_at = None;
        let again = scene.line(None).await;
        assert_eq!(scene.round(&[(200, &again)]).await, (Ok(Some(two)), vec!["old 5".to_owned()]), "after a restart");
        let three = scene.go_on(1).await;
        let line = scene.line(None).await;
        let asked = vec!["old 5".to_owned(), "old 3".to_owned()];
        assert_eq!(scene.round(&[(409, "3\n"), (200, &line)]).await, (Ok(Some(three)), asked));
        assert_eq!(scene.stored().await, [one, two, three]);
    }

    #[tokio::test]
    async fn nothing_is_stored_but_a_cosignature_of_the_head_by_the_listed_key() {
        let mut scene = Scene::new().await;
        scene.go_on(2).await;
        let of_another_head = scene.line(None).await;
        scene.go_on(1).await;
        let stranger = CosigningKey::generate("icb.example/witness").expect("the name is good");
        let of_stranger = scene.line(Some(stranger)).await;
        let good = scene.line(None).await;
        let (renamed, cut) = (good.replace("icb.example", "lmc.example"), &good[..good.len() - 4]);
        let long = "a".repeat(1 << 20);
        for (status, text) in [
            (200, ""),
            (200, "\u{0}\n\n"),
            (200, &*of_another_head),
            (200, &*of_stranger),
            (200, &*renamed),
            (200, cut),
            (200, &*long),
            (204, ""),
            (301, ""),
            (400, "old"),
            (403, ""),
            (409, ""),
            (409, "1"),
            (409, "-1\n"),
            (409, "many\n"),
            (500, ""),
        ] {
            let (ended, _) = scene.round(&[(status, text)]).await;
            let trouble = ended.expect_err(text);
            assert!(!trouble.is_alarm(), "{status} {trouble}");
        }
        let (ended, _) = scene.round(&[(409, "1\n"), (409, "2\n")]).await;
        assert_eq!(ended, Err(Trouble::Answered(StatusCode::CONFLICT)), "it is not asked for ever");
        assert_eq!(scene.stored().await, [0; 0]);
        assert_eq!(scene.round(&[(200, &good)]).await.0, Ok(Some(3)));
    }

    #[tokio::test]
    async fn a_witness_that_knows_more_or_another_log_is_an_alarm_until_it_cosigns_again() {
        let mut scene = Scene::new().await;
        let (standings, kid) = (Standings::default(), scene.asking.witness.clone());
        standings.begin(&kid, None);
        scene.go_on(4).await;
        let alarm = |standings: &Standings| standings.sizes()[0].2;
        for (answer, expected) in [
            ((409, "9\n"), Trouble::RolledBack { cosigned: 9, events: 4 }),
            ((422, ""), Trouble::Forked { cosigned: 0 }),
        ] {
            let (ended, _) = scene.round(&[answer]).await;
            assert_eq!(ended, Err(expected.clone()));
            standings.note(&kid, Err(expected.clone()));
            assert_eq!(alarm(&standings), Some(expected.code()));
            standings.note(&kid, Err(Trouble::NoAnswer("gone".to_owned())));
            assert_eq!(alarm(&standings), Some(expected.code()), "it is no better for not answering");
        }
        assert_eq!(standings.shown()[0]["trouble"], "gone");
        standings.note(&kid, Ok(Some(Cosigned { size: 4, at: NOON })));
        assert_eq!(standings.sizes(), [(kid, 4, None)]);
    }
}
