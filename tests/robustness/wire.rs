//! Bytes written by hand on real TLS: what no well-made client would send.
#![allow(unreachable_pub, reason = "it is a part of one test")]

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weir::config::Endpoint;

/// The preface of an HTTP/2 connection (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// TCP from an address of this machine's own.
pub async fn tcp(to: SocketAddr, from: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
    socket.connect(to).await
}

/// TCP of a client with room for little: what it does not read fills up soon.
pub async fn tcp_with_little_room(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    socket.connect(to).await
}

/// Mutual TLS as the site's record system, offering one protocol.
pub async fn tls(endpoint: &Endpoint, protocol: &str, from: Ipv4Addr) -> io::Result<TlsStream<TcpStream>> {
    tls_over(endpoint, protocol, tcp(endpoint.connect.expect("the demo site says where"), from).await?).await
}

/// The same over a connection that is there.
pub async fn tls_over(endpoint: &Endpoint, protocol: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    let mut config = (*endpoint.tls).clone();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let name = endpoint.uri.host().expect("it has a host").to_owned();
    let name = ServerName::try_from(name).expect("it is a DNS name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

pub async fn http1(endpoint: &Endpoint) -> TlsStream<TcpStream> {
    tls(endpoint, "http/1.1", Ipv4Addr::LOCALHOST).await.expect("the handshake succeeds")
}

pub async fn http2(endpoint: &Endpoint) -> TlsStream<TcpStream> {
    let mut stream = tls(endpoint, "h2", Ipv4Addr::LOCALHOST).await.expect("the handshake succeeds");
    stream.write_all(PREFACE).await.expect("it is taken");
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.expect("it is taken");
    stream
}

/// What the server says until it closes, or for as long as `limit`; and whether it closed.
pub async fn answer(stream: &mut (impl AsyncRead + Unpin), limit: Duration) -> (Vec<u8>, bool) {
    let mut said = Vec::new();
    let closed = timeout(limit, async {
        let mut buffer = [0; 16384];
        // A connection that is cut without a word of TLS is closed all the same.
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            said.extend(&buffer[..read]);
        }
    });
    let closed = closed.await.is_ok();
    (said, closed)
}

/// Sends bytes and gives the statuses of what came back, and whether the server closed.
pub async fn statuses<S: AsyncRead + AsyncWrite + Unpin>(stream: S, bytes: &[u8]) -> (Vec<u16>, bool) {
    statuses_within(stream, bytes, Duration::from_secs(4)).await
}

/// The same, waiting for so long.
pub async fn statuses_within<S>(mut stream: S, bytes: &[u8], limit: Duration) -> (Vec<u16>, bool)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // The server may have enough before everything is sent.
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
    let (said, closed) = answer(&mut stream, limit).await;
    let text = String::from_utf8_lossy(&said).into_owned();
    let status = |part: &str| part.get(..3).and_then(|code| code.parse().ok());
    (text.split("HTTP/1.1 ").skip(1).filter_map(status).collect(), closed)
}

/// One HTTP/2 frame (RFC 9113 section 4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is short").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header list as literals without indexing (RFC 7541 section 6.2.2).
pub fn literals(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, 7, 0, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of `bits` (RFC 7541 section 5.1).
pub fn integer(block: &mut Vec<u8>, bits: u8, pattern: u8, value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        return block.push(pattern | u8::try_from(value).expect("it is below the prefix"));
    }
    block.push(pattern | u8::try_from(most).expect("a prefix is at most a byte"));
    let mut rest = value - most;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128 + 128).expect("it is below 256"));
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("it is below 128"));
}

/// The headers of a request to the gateway.
pub fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields =
        vec![(":method", method), (":scheme", "https"), (":authority", "bars-demop.provider.example"), (":path", path)];
    fields.extend(more);
    literals(&fields)
}

/// Reads frames until `done` says so or the connection ends: kind, flags, stream, payload.
pub async fn frames(
    stream: &mut (impl AsyncRead + Unpin),
    limit: Duration,
    mut done: impl FnMut(u8, u8, u32, &[u8]) -> bool,
) -> Vec<(u8, u32, Vec<u8>)> {
    let mut seen = Vec::new();
    let reading = async {
        loop {
            let mut head = [0; 9];
            if stream.read_exact(&mut head).await.is_err() {
                return;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let mut payload = vec![0; length as usize];
            if stream.read_exact(&mut payload).await.is_err() {
                return;
            }
            let over = done(head[3], head[4], number, &payload);
            seen.push((head[3], number, payload));
            if over {
                return;
            }
        }
    };
    let _ = timeout(limit, reading).await;
    seen
}

/// Reads frames until the connection ends, and answers each PING, as who is there does.
pub async fn frames_of_one_who_answers_pings<S>(stream: S, limit: Duration) -> Vec<(u8, u32, Vec<u8>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (pinged, mut pings) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
    let answering = async {
        while let Some(payload) = pings.recv().await {
            let _ = writer.write_all(&frame(PING, 1, 0, &payload)).await;
        }
    };
    let reading = async move {
        let note = |kind: u8, flags: u8, _: u32, payload: &[u8]| {
            if kind == PING && flags == 0 {
                pinged.send(payload.to_vec()).expect("it is listened to");
            }
            false
        };
        frames(&mut reader, limit, note).await
    };
    tokio::join!(reading, answering).0
}

/// The error code of the GOAWAY among `frames` (RFC 9113 section 7).
pub fn goaway(frames: &[(u8, u32, Vec<u8>)]) -> Option<u32> {
    let (_, _, payload) = frames.iter().rev().find(|(kind, ..)| *kind == GOAWAY)?;
    Some(u32::from_be_bytes(payload[4..8].try_into().expect("it has a code")))
}
