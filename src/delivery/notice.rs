//! Notices of incidents: an HTTPS POST to a webhook, a file in the spool folder of the site, or a line of the log.
//!
//! Enters: a notice that is stored. Leaves: whether its reader has it. Every attempt carries the same id (the header
//! `Idempotency-Key`, the file's name), so that a repeat after a crash can be told from a second incident. A webhook has
//! it when it answers 2xx; redirections are not followed. A spool file is there whole or not at all.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Schedule;
use crate::storage::files::{Readers, write_durably};
use crate::storage::{Channel, NewNotice};

/// Delivers notices.
pub struct Notifier {
    /// Where the spool files go.
    pub spool: PathBuf,
    /// What webhooks are called with; `None` when the site names no authority for them.
    pub tls: Option<Arc<ClientConfig>>,
    /// The longest that one attempt takes.
    pub attempt_timeout: Duration,
    /// When to try again.
    pub schedule: Schedule,
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").field("spool", &self.spool).finish_non_exhaustive()
    }
}

/// Why a notice was not delivered. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum NoticeError {
    /// The site names nobody who may issue the webhook's certificate.
    #[error("weir.toml names no trust_anchors in [incidents], so the webhook cannot be told from another")]
    NoAnchors,
    /// The webhook's address cannot be called.
    #[error("the webhook's address is not https with a host name")]
    Address,
    /// Nobody there, or TLS did not come about.
    #[error("the webhook cannot be reached ({0})")]
    Unreachable(io::ErrorKind),
    /// It took too long.
    #[error("the webhook did not answer in time")]
    TimedOut,
    /// The connection ended before the answer.
    #[error("the connection to the webhook ended before its answer")]
    Cut,
    /// Another answer than 2xx.
    #[error("the webhook answered {0}")]
    Answered(StatusCode),
    /// The spool folder.
    #[error("the spool folder cannot be written ({0})")]
    Spool(io::ErrorKind),
}

impl Notifier {
    /// Makes one attempt.
    ///
    /// # Errors
    /// [`NoticeError`]; it may have arrived all the same when the answer was lost.
    pub async fn deliver(&self, notice: &NewNotice) -> Result<(), NoticeError> {
        match notice.channel {
            Channel::Webhook => {
                let post = self.post(notice);
                timeout(self.attempt_timeout, post).await.unwrap_or(Err(NoticeError::TimedOut))
            }
            Channel::Console => {
                tracing::error!(notice = %notice.id, body = %notice.body, "people are to be told");
                Ok(())
            }
            Channel::Spool => {
                let (folder, name, body) = (self.spool.clone(), notice.target.clone(), notice.body.clone());
                let written = tokio::task::spawn_blocking(move || write(&folder, &name, &body)).await;
                let written = written.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
                written.map_err(|error| NoticeError::Spool(error.kind()))
            }
        }
    }

    async fn post(&self, notice: &NewNotice) -> Result<(), NoticeError> {
        let tls = self.tls.clone().ok_or(NoticeError::NoAnchors)?;
        let uri: Uri = notice.target.parse().map_err(|_| NoticeError::Address)?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https")).ok_or(NoticeError::Address)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| NoticeError::Address)?;
        let unreachable = |error: io::Error| NoticeError::Unreachable(error.kind());
        let port = uri.port_u16().unwrap_or(443);
        let stream = TcpStream::connect((host, port)).await.map_err(unreachable)?;
        let stream = TlsConnector::from(http1_only(&tls)).connect(name, stream).await.map_err(unreachable)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| NoticeError::Cut)?;
        let connection = tokio::spawn(connection);
        let answer = sender.send_request(request(&uri, notice)?).await;
        connection.abort();
        match answer.map_err(|_| NoticeError::Cut)?.status() {
            status if status.is_success() => Ok(()),
            status => Err(NoticeError::Answered(status)),
        }
    }
}

fn http1_only(tls: &ClientConfig) -> Arc<ClientConfig> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(tls)
}

fn request(uri: &Uri, notice: &NewNotice) -> Result<Request<Full<Bytes>>, NoticeError> {
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let request = Request::post(path)
        .header(header::HOST, uri.authority().map_or("", http::uri::Authority::as_str))
        .header(header::CONTENT_TYPE, "application/json")
        .header("idempotency-key", notice.id.to_string())
        .body(Full::new(Bytes::from(notice.body.clone())));
    request.map_err(|_| NoticeError::Address)
}

fn write(folder: &Path, name: &str, body: &str) -> io::Result<()> {
    let is_plain = Path::new(name).file_name().is_some_and(|own| own == name);
    if !is_plain {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    std::fs::create_dir_all(folder)?;
    write_durably(&folder.join(name), body.as_bytes(), Readers::Anyone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn notifier(spool: PathBuf) -> Notifier {
        let schedule = Schedule { first: Duration::from_secs(1), max: Duration::from_secs(1) };
        Notifier { spool, tls: None, attempt_timeout: Duration::from_secs(1), schedule }
    }

    fn notice(channel: Channel, target: &str) -> NewNotice {
        let at = time::macros::datetime!(2026-01-01 00:00 UTC);
        NewNotice { id: Uuid::from_u128(1), channel, target: target.to_owned(), body: "{}".to_owned(), at }
    }

    #[tokio::test]
    async fn a_spool_file_is_written_whole_and_a_repeat_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let notifier = notifier(folder.path().join("incidents"));
        for _ in 0..2 {
            notifier.deliver(&notice(Channel::Spool, "one.json")).await.expect("it is written");
        }
        let files: Vec<_> = std::fs::read_dir(folder.path().join("incidents")).expect("it is there").collect();
        assert_eq!(files.len(), 1);
        for outside in ["../one.json", "a/b.json", "", ".."] {
            let error = notifier.deliver(&notice(Channel::Spool, outside)).await.expect_err("it is no file's name");
            assert!(matches!(error, NoticeError::Spool(_)), "{outside}: {error}");
        }
    }

    #[tokio::test]
    async fn a_webhook_without_anchors_is_not_called() {
        let folder = tempfile::tempdir().expect("a folder");
        let notifier = notifier(folder.path().to_owned());
        let error = notifier.deliver(&notice(Channel::Webhook, "https://localhost:1/")).await.expect_err("no anchors");
        assert!(matches!(error, NoticeError::NoAnchors));
    }
}
