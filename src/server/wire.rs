//! The bytes of one connection on their way to and from hyper.
//!
//! Enters: what the peer sends. Leaves: the same, up to the first request that has two readings ([`Framing`]); in the
//! place of that stands a byte that no request may hold, so that hyper answers 400 and closes. Besides, the headers of a
//! request must be whole in time, the peer must take what is written, and the last answer is not lost to a reset when
//! the peer was still sending (RFC 9112 section 9.6).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::framing::Framing;
use super::limits::{Limit, Limits, MIN_BYTES_PER_SECOND, Tally};

/// What no parser takes, with the end of a head behind it, so that it is looked at.
const POISON: &[u8] = b"\0\r\n\r\n";

/// How long, and for how many bytes, a peer is listened to that was told that the connection ends.
const FAREWELL: (Duration, usize) = (Duration::from_secs(1), 1 << 20);

/// One connection's bytes.
pub(super) struct Wire<S> {
    stream: S,
    /// `None` for HTTP/2.
    framing: Option<Framing>,
    poison: Option<&'static [u8]>,
    limits: Limits,
    tally: Tally,
    head: Option<Pin<Box<Sleep>>>,
    writing: Pace,
    farewell: Option<Farewell>,
}

/// The end of a connection, once everything is written.
struct Farewell {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, two: bool, limits: Limits, tally: Tally) -> Wire<S> {
        let framing = (!two).then(|| Framing::new(limits.header_bytes as usize));
        let writing = Pace::new(limits.stall);
        Wire { stream, framing, poison: None, limits, tally, head: None, writing, farewell: None }
    }

    /// Follows what was just read, and keeps what is behind an ambiguity from being read.
    fn follow(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let Some(framing) = &mut self.framing else { return };
        if let Err((index, why)) = framing.follow(&buffer.filled()[before..]) {
            tracing::warn!(reason = %why, "a request was refused: it can be read in two ways");
            self.tally.count(Limit::Framing);
            buffer.set_filled(before + index);
            self.poison = Some(POISON);
            self.give_poison(buffer);
        }
    }

    fn give_poison(&mut self, buffer: &mut ReadBuf<'_>) {
        let Some(left) = &mut self.poison else { return };
        let here = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..here]);
        *left = &left[here..];
    }

    /// Whether the headers that have begun take too long.
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        if !self.framing.as_ref().is_some_and(Framing::is_in_head) {
            self.head = None;
            return false;
        }
        let limit = self.limits.headers;
        let head = self.head.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        head.as_mut().poll(context).is_ready()
    }

    /// What a write came to; an error when the peer has taken too little for too long.
    fn paced<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_pending() && self.writing.is_over(context) {
            self.tally.count(Limit::SlowReader);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        match wire.poison {
            None => {}
            // Behind the poison nothing comes, not even an end: that would be taken for the peer's going away.
            Some([]) => return Poll::Pending,
            Some(_) => {
                wire.give_poison(buffer);
                return Poll::Ready(Ok(()));
            }
        }
        let before = buffer.filled().len();
        match Pin::new(&mut wire.stream).poll_read(context, buffer) {
            Poll::Ready(read) => {
                read?;
                wire.follow(buffer, before);
                Poll::Ready(Ok(()))
            }
            Poll::Pending if wire.is_late(context) => {
                wire.tally.count(Limit::Headers);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(taken)) = written {
            self.writing.moved(taken);
        }
        self.paced(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.writing.rest();
        }
        self.paced(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        if wire.farewell.is_none() {
            let shut = Pin::new(&mut wire.stream).poll_shutdown(context);
            ready!(wire.paced(context, shut))?;
            let until = Box::pin(tokio::time::sleep(FAREWELL.0));
            wire.farewell = Some(Farewell { until, left: FAREWELL.1 });
        }
        let Some(farewell) = &mut wire.farewell else { return Poll::Ready(Ok(())) };
        let mut bytes = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut wire.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    farewell.left = farewell.left.saturating_sub(buffer.filled().len());
                    if farewell.left == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return farewell.until.as_mut().poll(context).map(Ok),
            }
        }
    }
}

/// How fast a peer is that is waited for: it may do nothing for a while, and has to be fast enough on average then.
pub(super) struct Pace {
    stall: Duration,
    began: Option<(Instant, u64)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn new(stall: Duration) -> Pace {
        Pace { stall, began: None, timer: None }
    }

    /// The peer moved on by this many bytes.
    pub(super) fn moved(&mut self, bytes: usize) {
        if let Some((_, moved)) = &mut self.began {
            *moved += bytes as u64;
        }
    }

    /// The peer is not waited for any more.
    pub(super) fn rest(&mut self) {
        self.began = None;
    }

    /// The peer is waited for: whether that has been too long. If not, `context` is woken when it is.
    pub(super) fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let (began, moved) = *self.began.get_or_insert_with(|| (Instant::now(), 0));
        let earned = Duration::from_secs_f64(moved as f64 / f64::from(MIN_BYTES_PER_SECOND));
        let until = began + self.stall + earned.min(Duration::from_secs(3600));
        match &mut self.timer {
            Some(timer) if timer.deadline() == until => {}
            Some(timer) => timer.as_mut().reset(until),
            None => self.timer = Some(Box::pin(sleep_until(until))),
        }
        self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(context).is_ready())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;

    fn wire(limits: Limits) -> (Wire<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1024);
        (Wire::new(ours, false, limits, Tally::default()), theirs)
    }

    #[tokio::test]
    async fn what_is_behind_an_ambiguity_is_never_read() {
        for size in [1, 3, 1000] {
            let (mut wire, mut peer) = wire(Limits::default());
            let text =
                "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\nGET /hidden";
            peer.write_all(text.as_bytes()).await.expect("there is room");
            let (mut read, mut part) = (Vec::<u8>::new(), vec![0; size]);
            while let Ok(Ok(count)) = timeout(Duration::from_millis(50), wire.read(&mut part)).await {
                assert!(count > 0, "the stream does not end");
                read.extend(&part[..count]);
            }
            let head = text.find("\r\nGET /hidden").expect("it is there") + 1;
            assert_eq!(read, [&text.as_bytes()[..head], POISON].concat(), "{size}");
        }
    }

    /// Times short enough for a test.
    fn short() -> Limits {
        let short = Duration::from_millis(200);
        Limits { headers: short, stall: short, ..Limits::default() }
    }

    #[tokio::test]
    async fn headers_have_a_time_and_silence_before_them_has_not() {
        let (mut wire, mut peer) = wire(short());
        let mut part = [0; 100];
        assert!(timeout(Duration::from_millis(500), wire.read(&mut part)).await.is_err());
        peer.write_all(b"GET / HT").await.expect("there is room");
        assert_eq!(wire.read(&mut part).await.expect("it is there"), 8);
        let error = wire.read(&mut part).await.expect_err("it takes too long");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_or_too_little_is_given_up() {
        let (mut idle, _peer) = wire(short());
        let error = idle.write_all(&[0; 5000]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        // What it takes earns it time, a second for each KiB.
        let reader = |mut peer: tokio::io::DuplexStream, bytes: usize| {
            tokio::spawn(async move {
                let mut part = vec![0; bytes];
                while peer.read_exact(&mut part).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            })
        };
        let (mut slow, peer) = wire(short());
        let reading = reader(peer, 10);
        slow.write_all(&[0; 5000]).await.expect_err("100 bytes a second are too few");
        drop(slow);
        reading.await.expect("it ends");
        let (mut fair, peer) = wire(short());
        let reading = reader(peer, 512);
        fair.write_all(&[0; 5000]).await.expect("it is read");
        drop(fair);
        reading.await.expect("it ends");
    }
}
