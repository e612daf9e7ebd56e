//! Bodies: those of requests on their way in, and long answers on their way out.
//!
//! Invariant: every byte of a request's body that is kept is on its request's [`Account`]; none is read beyond the length
//! that its reader takes, nor waited for beyond the time that it gives, nor from a peer that is slower than the limits
//! permit. An answer is handed on in short pieces, so that what a slow peer has not taken is on the account as well.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::timeout;

use super::limits::Limit;
use super::ration::Account;
use super::wire::Pace;

/// Bytes of an answer that are handed on at a time.
const PIECE: usize = 8 * 1024;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It is longer than it may be.
    TooLong,
    /// It did not arrive in time.
    Late,
    /// It arrives too slowly.
    Slow,
    /// There is no room for it now.
    NoRoom,
    /// It ended before it was complete.
    Broken,
}

/// The whole of a body: at most `most` bytes, within `time`.
pub(crate) async fn whole(mut body: Body, most: usize, time: Duration) -> Result<Vec<u8>, Unread> {
    // What is announced to be too long is refused before it is sent.
    if body.size_hint().lower() > most as u64 {
        return Err(Unread::TooLong);
    }
    let reading = async {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(unread)?.into_data() else { continue };
            if bytes.len() + data.len() > most {
                return Err(Unread::TooLong);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    };
    timeout(time, reading).await.unwrap_or(Err(Unread::Late))
}

fn unread(error: axum::Error) -> Unread {
    error.into_inner().downcast::<Halt>().map_or(Unread::Broken, |halt| halt.0)
}

/// What ends a body before its end.
#[derive(Debug, thiserror::Error)]
#[error("the body is not read any further: {0:?}")]
struct Halt(Unread);

/// A request's body.
pub(super) struct Metered {
    body: Incoming,
    account: Account,
    pace: Pace,
}

impl Metered {
    pub(super) fn new(body: Incoming, account: Account) -> Metered {
        let pace = Pace::new(account.limits().stall);
        Metered { body, account, pace }
    }
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let it = &mut *self;
        match Pin::new(&mut it.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                it.pace.moved(length);
                let room = it.account.take(length).map_err(|_| Halt(Unread::NoRoom).into());
                Poll::Ready(Some(room.map(|()| frame)))
            }
            Poll::Ready(other) => Poll::Ready(other.map(|frame| frame.map_err(BoxError::from))),
            Poll::Pending if it.pace.is_over(context) => {
                it.account.tally().count(Limit::SlowBody);
                Poll::Ready(Some(Err(Halt(Unread::Slow).into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body; its request ends with it.
pub(super) struct Answer {
    body: Body,
    piece: Bytes,
    _account: Account,
}

impl Answer {
    /// Takes the room of a long answer; refused when there is none.
    pub(super) fn new(body: Body, account: Account) -> Result<Answer, Limit> {
        let length = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if length > PIECE {
            account.take(length)?;
        }
        Ok(Answer { body, piece: Bytes::new(), _account: account })
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.piece.is_empty() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.piece = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                other => return other,
            }
        }
        let length = self.piece.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.piece.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.piece.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, here) = (self.body.size_hint(), self.piece.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + here);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + here);
        }
        hint
    }
}
