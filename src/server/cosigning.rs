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
        service.witnesses.note(&witness, ended);
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(every) => {}
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
