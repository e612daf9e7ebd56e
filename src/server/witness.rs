//! A witness as it listens: `POST /add-checkpoint` and `GET /<origin hash>/checkpoint` (C2SP tlog-witness).
//!
//! Enters: requests, over mutual TLS, or over plain HTTP on a loopback address alone. Leaves: what [`Witness`] answers, with
//! the status codes of the protocol. Invariant: whatever is sent, a body of more than 128 KiB is not read.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::body::{Unread, whole};
use super::clock;
use super::listener::{Limits, Listener};
use crate::audit::witness::{Refused, Witness};
use crate::identity::tls::ServerTls;

/// The most bytes of a request: a note of 64 KiB and a proof fit in.
const BODY_BYTES: usize = 128 << 10;
/// From the headers to the last byte of the body.
const BODY_TIME: Duration = Duration::from_secs(10);
/// The answer that tells the size (C2SP tlog-witness).
const SIZE: &str = "text/x.tlog.size";
const TEXT: &str = "text/plain; charset=utf-8";

/// A witness that listens.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// Why a witness does not listen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Anyone on the network could read and change what is sent.
    #[error(
        "{0} is no loopback address, and without TLS a witness listens on no other; give --certificate, --certificate-key and \
         --client-anchors, or listen on 127.0.0.1"
    )]
    Plain(SocketAddr),
    /// The address is taken or not ours.
    #[error("cannot listen on {address} ({source}); choose another address, or stop what listens there")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

impl Running {
    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Until it has stopped and open requests are answered.
    pub async fn finished(self) {
        // The task ends by itself; that it panicked is logged where it did.
        let _ = self.task.await;
    }
}

/// Listens until `stopped` holds `true` or its sender is gone.
///
/// # Errors
/// [`Error`]; nothing listens then.
pub async fn serve(
    witness: Arc<Witness>,
    address: SocketAddr,
    tls: Option<ServerTls>,
    stopped: watch::Receiver<bool>,
) -> Result<Running, Error> {
    let listener = match tls {
        Some(tls) => Listener::bind_mutual_tls(address, tls, Limits::of_operations()).await,
        None if address.ip().is_loopback() => Listener::bind_plain(address, Limits::of_operations()).await,
        None => return Err(Error::Plain(address)),
    };
    let listener = listener.map_err(|source| Error::Listen { address, source })?;
    let address = listener.local_address();
    info!(%address, log = witness.log().name(), witness = witness.public().name(), size = witness.size(), "witness started");
    Ok(Running { address, task: tokio::spawn(listener.serve(router(witness), stopped)) })
}

fn router(witness: Arc<Witness>) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/{origin}/checkpoint", get(checkpoint))
        .with_state(witness)
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: Body) -> Response {
    let body = match whole(body, BODY_BYTES, BODY_TIME).await {
        Ok(body) => body,
        Err(unread) => {
            return said(of_unread(unread), TEXT, "the body was not read: it is too long, or too slow".to_owned());
        }
    };
    // Not on this thread: it waits for the disk.
    let cosigner = witness.clone();
    let added = tokio::task::spawn_blocking(move || cosigner.add_checkpoint(&body, clock::now())).await;
    match added {
        Ok(Ok(line)) => {
            info!(size = witness.size(), "a checkpoint was cosigned");
            said(StatusCode::OK, TEXT, line)
        }
        Ok(Err(refused)) => of_refused(&refused),
        Err(_) => said(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the checkpoint could not be looked at".to_owned()),
    }
}

fn of_refused(refused: &Refused) -> Response {
    match refused {
        Refused::Inconsistent { .. } => error!(%refused, "NOT cosigned: the log did not go on, or did not show it"),
        Refused::NotKept(_) => error!(%refused, "not cosigned: see to the state folder"),
        Refused::OtherSize { .. } => info!(%refused, "not cosigned: the proof begins at another size"),
        Refused::Malformed(_) | Refused::UnknownLog(_) | Refused::NotSigned(_) => warn!(%refused, "not cosigned"),
    }
    let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match refused {
        Refused::OtherSize { size } => said(status, SIZE, format!("{size}\n")),
        // What the system says of the disk is for the log alone.
        Refused::NotKept(_) => said(status, TEXT, "the checkpoint could not be kept\n".to_owned()),
        refused => said(status, TEXT, format!("{refused}\n")),
    }
}

fn of_unread(unread: Unread) -> StatusCode {
    match unread {
        Unread::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
        Unread::Late | Unread::Slow => StatusCode::REQUEST_TIMEOUT,
        Unread::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        Unread::Broken => StatusCode::BAD_REQUEST,
    }
}

/// The newest cosigned checkpoint, for whoever wants to compare it with what the log shows them.
async fn checkpoint(State(witness): State<Arc<Witness>>, Path(origin): Path<String>) -> Response {
    match witness.checkpoint(&origin) {
        Some(note) => said(StatusCode::OK, TEXT, note),
        None => said(StatusCode::NOT_FOUND, TEXT, "no checkpoint of this log was cosigned here\n".to_owned()),
    }
}

fn said(status: StatusCode, kind: &'static str, text: String) -> Response {
    (status, [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], text).into_response()
}
