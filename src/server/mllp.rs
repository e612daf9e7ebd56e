//! MLLP: HL7 v2 messages over mutual TLS, framed as `0x0B … 0x1C 0x0D` (HL7 v2.5.1 appendix C; IHE ITI-19 for the TLS).
//!
//! Enters: connections that [`super::listener`] admitted, whose certificate names a party. Leaves: an ACK for each
//! message, in enhanced mode those that it asks for, in the order of the messages; for one that cannot be taken now none, and the connection is closed. Invariants: a message takes no more bytes and no more time than its limits; what
//! is no frame, or does not end, closes its connection, and no other; a connection keeps nothing between two messages.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};

use super::Service;
use super::hl7v2::{self, Wish};
use super::limits::Limit;
use super::listener::Visit;
use super::ration::Account;

const BEGIN: u8 = 0x0B;
const END: [u8; 2] = [0x1C, 0x0D];

/// What messages over MLLP may cost.
#[derive(Clone, Copy, Debug)]
pub struct MllpLimits {
    /// Bytes of a message. Default 1 MiB.
    pub message_bytes: usize,
    /// From the first byte of a message to its last. Default 30 s.
    pub message_time: Duration,
    /// How long a connection may stay without a message. Default 10 minutes.
    pub idle: Duration,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Its peer closed it, or it broke.
    Closed,
    /// No message came in time.
    Idle,
    /// What came is no frame.
    NoFrame,
    /// A message is longer than it may be.
    TooLong,
    /// A message did not end in time.
    Late,
    /// There is no room for it now.
    NoRoom,
}

impl End {
    fn limit(self) -> Option<Limit> {
        match self {
            End::Closed | End::NoRoom => None,
            End::Idle => Some(Limit::Idle),
            End::NoFrame => Some(Limit::Framing),
            End::TooLong => Some(Limit::BodySize),
            End::Late => Some(Limit::BodyTime),
        }
    }

    /// What the peer is told, if it sent the beginning of a message.
    fn words(self) -> Option<&'static str> {
        match self {
            // Nothing is wrong with a message that came too slowly, or for which there was no room: unanswered, it is sent again.
            End::Closed | End::Idle | End::NoFrame | End::Late | End::NoRoom => None,
            End::TooLong => Some("the message is longer than this gateway takes"),
        }
    }
}

/// Answers the messages of a connection until it ends, or the gateway stops.
pub(super) async fn converse(service: Arc<Service>, limits: MllpLimits, mut stream: impl Stream, visit: Visit) {
    let mut ahead = Ahead::default();
    loop {
        let begun = tokio::select! {
            () = visit.is_over() => return close(stream).await,
            begun = timeout(limits.idle, ahead.begin(&mut stream)) => begun.unwrap_or(Err(End::Idle)),
        };
        if !visit.is_still_trusted() {
            return close(stream).await;
        }
        let mut message = Vec::new();
        let read = match begun {
            Ok(()) => match visit.begin() {
                Ok(account) => {
                    let end = Instant::now() + limits.message_time;
                    let reading = ahead.message(&mut stream, &mut message, (limits.message_bytes, &account));
                    timeout_at(end, reading).await.unwrap_or(Err(End::Late)).map(|()| account)
                }
                Err(_) => Err(End::NoRoom),
            },
            Err(end) => Err(end),
        };
        let answer = match read {
            Ok(account) => {
                let from = (visit.peer().clone(), account);
                hl7v2::answer(service.clone(), from, HeaderMap::new(), message, Wish::Send).await
            }
            Err(end) => {
                end.limit().into_iter().for_each(|limit| visit.tally().count(limit));
                if let Some(words) = end.words() {
                    let answer = hl7v2::cut_off(&service, &message, words);
                    for message in &answer.messages {
                        let _ = send(&mut stream, message, visit.limits().stall).await;
                    }
                }
                return close(stream).await;
            }
        };
        // Not now: unanswered, it is sent again.
        let Some(answer) = answer else { return close(stream).await };
        for message in &answer.messages {
            if send(&mut stream, message, visit.limits().stall).await.is_err() {
                return;
            }
        }
    }
}

/// A connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn send(stream: &mut impl Stream, message: &str, patience: Duration) -> io::Result<()> {
    let mut frame = Vec::with_capacity(message.len() + 3);
    frame.push(BEGIN);
    frame.extend_from_slice(message.as_bytes());
    frame.extend_from_slice(&END);
    let sending = async {
        stream.write_all(&frame).await?;
        stream.flush().await
    };
    timeout(patience, sending).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Says goodbye in TLS, if the peer listens.
async fn close(mut stream: impl Stream) {
    let _ = timeout(Duration::from_secs(1), stream.shutdown()).await;
}

/// Bytes that came and were not read yet.
#[derive(Default)]
struct Ahead {
    bytes: Vec<u8>,
    at: usize,
}

impl Ahead {
    /// Reads more when there is nothing left.
    async fn fill(&mut self, stream: &mut impl Stream) -> Result<&[u8], End> {
        if self.at == self.bytes.len() {
            self.bytes.resize(8 << 10, 0);
            let read = stream.read(&mut self.bytes).await.unwrap_or(0);
            self.bytes.truncate(read);
            self.at = 0;
            if read == 0 {
                return Err(End::Closed);
            }
        }
        Ok(&self.bytes[self.at..])
    }

    /// Up to the beginning of a message. Line ends between two messages are read over.
    async fn begin(&mut self, stream: &mut impl Stream) -> Result<(), End> {
        loop {
            let (skipped, next) = {
                let bytes = self.fill(stream).await?;
                let skipped = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
                (skipped, bytes.get(skipped).copied())
            };
            self.at += skipped;
            match next {
                Some(BEGIN) => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) => return Err(End::NoFrame),
                None => {}
            }
        }
    }

    /// A message up to its end.
    async fn message(
        &mut self,
        stream: &mut impl Stream,
        message: &mut Vec<u8>,
        (most, account): (usize, &Account),
    ) -> Result<(), End> {
        loop {
            let (taken, ended) = {
                let bytes = self.fill(stream).await?;
                let end = bytes.iter().position(|byte| *byte == END[0]);
                let part = &bytes[..end.unwrap_or(bytes.len())];
                if message.len() + part.len() > most {
                    return Err(End::TooLong);
                }
                account.take(part.len()).map_err(|_| End::NoRoom)?;
                message.extend_from_slice(part);
                (part.len(), end.is_some())
            };
            self.at += taken;
            if ended {
                self.at += 1;
                let next = self.fill(stream).await?[0];
                self.at += 1;
                return if next == END[1] { Ok(()) } else { Err(End::NoFrame) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_read_to_its_end_for_want_of_room_or_time_is_not_answered() {
        let told = [End::Closed, End::Idle, End::NoFrame, End::Late, End::NoRoom].map(End::words);
        assert_eq!(told, [None; 5]);
        assert!(End::TooLong.words().is_some(), "it would be too long the next time too");
    }
}
