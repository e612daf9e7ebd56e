//! Where each HTTP/1.1 request begins and ends (RFC 9112): bytes in, the place of the first that must not be read out.
//!
//! Two readers that disagree on where a request ends let an attacker hide one request in another. So whatever has two
//! readings is refused, before it is read as either: a length beside a coding, several lengths, several hosts, a coding
//! other than `chunked`, folded lines, line ends other than CR LF, a chunk that is not what it says. Nothing is kept but
//! the line that is being read, at most `limit` bytes of it.

/// Bytes of a line that says how long a chunk is, extensions included.
const CHUNK_LINE: usize = 1024;

/// What can be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ambiguity {
    #[error("a line does not end in CR LF, or has a control character")]
    Line,
    #[error("the request line is not that of HTTP/1.0 or 1.1")]
    RequestLine,
    #[error("a header is folded, or its name is none")]
    Field,
    #[error("HTTP/1.1 asks for one Host")]
    Host,
    #[error("the Content-Length is no number, or stands twice")]
    Length,
    #[error("the Transfer-Encoding is not `chunked` alone")]
    Coding,
    #[error("Content-Length stands beside Transfer-Encoding")]
    LengthAndCoding,
    #[error("a chunk is not as its line says")]
    Chunk,
}

/// Follows one connection.
#[derive(Debug)]
pub(super) struct Framing {
    place: Place,
    line: Vec<u8>,
    limit: usize,
    head: Head,
}

/// What has been read of a request's head.
#[derive(Debug, Default)]
struct Head {
    newest: bool,
    hosts: u8,
    length: Option<u64>,
    chunked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    RequestLine,
    Field,
    Body(u64),
    ChunkLine,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    /// The head is longer than the limit: whoever reads it refuses it.
    Beyond,
}

impl Framing {
    /// Heads of more than `limit` bytes are left to their reader to refuse.
    pub(super) fn new(limit: usize) -> Framing {
        Framing { place: Place::RequestLine, line: Vec::new(), limit, head: Head::default() }
    }

    /// Whether a head has begun and not ended.
    pub(super) fn is_in_head(&self) -> bool {
        self.place == Place::Field || self.place == Place::RequestLine && !self.line.is_empty()
    }

    /// Goes on over `bytes`.
    ///
    /// # Errors
    /// What is ambiguous, and the index of the byte that must not be passed on, nor anything behind it.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<(), (usize, Ambiguity)> {
        let mut at = 0;
        while at < bytes.len() {
            at += match &mut self.place {
                Place::Beyond => return Ok(()),
                Place::Body(left) | Place::Chunk(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    *left -= here as u64;
                    self.end_of_data();
                    here
                }
                _ => self.take_line(&bytes[at..]).map_err(|(index, why)| (at + index, why))?,
            };
        }
        Ok(())
    }

    fn end_of_data(&mut self) {
        match self.place {
            Place::Body(0) => self.place = Place::RequestLine,
            Place::Chunk(0) => self.place = Place::ChunkEnd,
            _ => {}
        }
    }

    /// Takes what is there of a line, and reads the line once it is whole. Gives how many bytes those were.
    fn take_line(&mut self, bytes: &[u8]) -> Result<usize, (usize, Ambiguity)> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let here = end.unwrap_or(bytes.len());
        let is_end = self.place == Place::ChunkEnd;
        if is_end && self.line.is_empty() && !matches!(bytes[0], b'\r' | b'\n') {
            return Err((0, Ambiguity::Chunk));
        }
        if self.line.len() + here > self.most() {
            if is_end || self.place == Place::ChunkLine {
                return Err((0, Ambiguity::Chunk));
            }
            self.place = Place::Beyond;
            return Ok(bytes.len());
        }
        self.line.extend_from_slice(&bytes[..here]);
        if end.is_none() {
            return Ok(here);
        }
        let mut line = std::mem::take(&mut self.line);
        let read = match line.pop() {
            Some(b'\r') if !line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') => self.read(&line),
            _ => Err(Ambiguity::Line),
        };
        line.clear();
        self.line = line;
        read.map(|()| here + 1).map_err(|why| (here, why))
    }

    fn most(&self) -> usize {
        match self.place {
            Place::ChunkEnd => 1,
            Place::ChunkLine => CHUNK_LINE,
            _ => self.limit,
        }
    }

    fn read(&mut self, line: &[u8]) -> Result<(), Ambiguity> {
        match self.place {
            // An empty line before a request line is skipped (section 2.2).
            Place::RequestLine if line.is_empty() => {}
            Place::RequestLine => {
                self.head = Head { newest: is_newest(line)?, ..Head::default() };
                self.place = Place::Field;
            }
            Place::Field if line.is_empty() => self.place = self.head.ends()?,
            Place::Field => self.head.read(line)?,
            Place::ChunkLine => {
                self.place = match chunk_size(line).ok_or(Ambiguity::Chunk)? {
                    0 => Place::Trailer,
                    size => Place::Chunk(size),
                }
            }
            Place::ChunkEnd if line.is_empty() => self.place = Place::ChunkLine,
            Place::ChunkEnd => return Err(Ambiguity::Chunk),
            Place::Trailer if line.is_empty() => self.place = Place::RequestLine,
            Place::Trailer => {
                field(line)?;
            }
            Place::Body(_) | Place::Chunk(_) | Place::Beyond => {}
        }
        Ok(())
    }
}

impl Head {
    fn read(&mut self, line: &[u8]) -> Result<(), Ambiguity> {
        let (name, value) = field(line)?;
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts = self.hosts.saturating_add(1);
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let length = number(value, 10).filter(|_| self.length.is_none()).ok_or(Ambiguity::Length)?;
            self.length = Some(length);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !self.newest || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Ambiguity::Coding);
            }
            self.chunked = true;
        }
        Ok(())
    }

    /// What follows the head (section 6.3).
    fn ends(&self) -> Result<Place, Ambiguity> {
        if self.hosts > 1 || self.newest && self.hosts == 0 {
            return Err(Ambiguity::Host);
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Ambiguity::LengthAndCoding),
            (true, None) => Ok(Place::ChunkLine),
            (false, None | Some(0)) => Ok(Place::RequestLine),
            (false, Some(length)) => Ok(Place::Body(length)),
        }
    }
}

/// Whether a request line is of HTTP/1.1, and not of 1.0 (section 3).
fn is_newest(line: &[u8]) -> Result<bool, Ambiguity> {
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (version, more) = (words.next().unwrap_or_default(), words.next());
    let is_whole = is_token(method) && !target.is_empty() && more.is_none();
    match version {
        b"HTTP/1.1" if is_whole => Ok(true),
        b"HTTP/1.0" if is_whole => Ok(false),
        _ => Err(Ambiguity::RequestLine),
    }
}

/// The name and the value of a header (section 5).
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Ambiguity> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Ambiguity::Field)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if is_token(name) { Ok((name, value.trim_ascii())) } else { Err(Ambiguity::Field) }
}

fn is_token(word: &[u8]) -> bool {
    let is_mark = |byte: &u8| b"!#$%&'*+-.^_`|~".contains(byte);
    !word.is_empty() && word.iter().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}

/// A number of digits alone; none that does not fit.
fn number(text: &[u8], base: u32) -> Option<u64> {
    let is_digit = |byte: &u8| char::from(*byte).is_digit(base);
    let text = Some(text).filter(|text| text.iter().all(is_digit))?;
    u64::from_str_radix(std::str::from_utf8(text).ok()?, base).ok()
}

/// What a chunk's line says (section 7.1); its extensions are passed over.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let size = if size.len() < line.len() { size.trim_ascii_end() } else { size };
    number(size, 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 8192;

    /// What is found when the text comes at once, and that the same is found when it comes byte by byte.
    fn found(text: &str) -> Option<(usize, Ambiguity)> {
        let at_once = Framing::new(LIMIT).follow(text.as_bytes()).err();
        let mut framing = Framing::new(LIMIT);
        let one_by_one = text.bytes().find_map(|byte| framing.follow(&[byte]).err());
        assert_eq!(at_once.map(|(_, why)| why), one_by_one.map(|(_, why)| why), "{text}");
        at_once
    }

    fn post(headers: &str, body: &str) -> String {
        format!("POST / HTTP/1.1\r\nhost: a\r\n{headers}\r\n{body}")
    }

    #[test]
    fn requests_that_have_one_reading_pass_one_after_the_other() {
        let requests = [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "\r\nGET / HTTP/1.0\r\nx:y\r\n\r\n".to_owned(),
            post("content-length: 5\r\n", "a\r\n\0b"),
            post("Content-Length:0\r\n", ""),
            post("transfer-encoding:\t Chunked \r\n", "5\r\nhello\r\n00A;a=\"b;c\"\r\n0123456789\r\n0\r\nx: y\r\n\r\n"),
        ];
        for first in &requests {
            assert_eq!(found(first), None);
            for second in &requests {
                let behind = format!("{first}{second}GET / HTTP/1.1\r\n\r\n");
                assert_eq!(found(&behind), Some((behind.len() - 1, Ambiguity::Host)), "{behind}");
            }
        }
    }

    #[test]
    fn what_has_two_readings_is_found_before_its_line_ends() {
        let cases = [
            (post("content-length: 1\r\ntransfer-encoding: chunked\r\n", ""), Ambiguity::LengthAndCoding),
            (post("transfer-encoding: chunked\r\ncontent-length: 1\r\n", ""), Ambiguity::LengthAndCoding),
            (post("content-length: 1\r\ncontent-length: 1\r\n", ""), Ambiguity::Length),
            (post("content-length: 1,1\r\n", ""), Ambiguity::Length),
            (post("content-length: -1\r\n", ""), Ambiguity::Length),
            (post("content-length:\r\n", ""), Ambiguity::Length),
            (post("content-length: 18446744073709551616\r\n", ""), Ambiguity::Length),
            (post("transfer-encoding: gzip, chunked\r\n", ""), Ambiguity::Coding),
            (post("transfer-encoding: chunked, identity\r\n", ""), Ambiguity::Coding),
            (post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", ""), Ambiguity::Coding),
            (post("transfer-encoding: chunked\r\n", "").replace("/1.1", "/1.0"), Ambiguity::Coding),
            (post("a: b\r\n c\r\n", ""), Ambiguity::Field),
            (post("a : b\r\n", ""), Ambiguity::Field),
            (post("a\r\n", ""), Ambiguity::Field),
            (post(": b\r\n", ""), Ambiguity::Field),
            (post("a: b\nc: d\r\n", ""), Ambiguity::Line),
            (post("a: b\rc: d\r\n", ""), Ambiguity::Line),
            (post("a: \0\r\n", ""), Ambiguity::Line),
            (post("host: b\r\n", ""), Ambiguity::Host),
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), Ambiguity::Host),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), Ambiguity::RequestLine),
            ("GET  / HTTP/1.1\r\n\r\n".to_owned(), Ambiguity::RequestLine),
            ("GET /\r\n\r\n".to_owned(), Ambiguity::RequestLine),
            (post("transfer-encoding: chunked\r\n", "g\r\n"), Ambiguity::Chunk),
            (post("transfer-encoding: chunked\r\n", "\r\n"), Ambiguity::Chunk),
            (post("transfer-encoding: chunked\r\n", "+1\r\n"), Ambiguity::Chunk),
            (post("transfer-encoding: chunked\r\n", "10000000000000000\r\n"), Ambiguity::Chunk),
            (post("transfer-encoding: chunked\r\n", "1 2\r\n"), Ambiguity::Chunk),
            (post("transfer-encoding: chunked\r\n", "1\n"), Ambiguity::Line),
            (post("transfer-encoding: chunked\r\n", "1\r\nab"), Ambiguity::Chunk),
            (post("transfer-encoding: chunked\r\n", "1\r\na\n"), Ambiguity::Line),
        ];
        for (text, why) in cases {
            let behind = format!("{text}GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            let (index, found) = found(&behind).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(found, why, "{text}");
            assert!(index <= text.len(), "{text}");
        }
    }

    #[test]
    fn a_long_line_is_not_kept_and_a_head_that_has_begun_is_told() {
        let mut framing = Framing::new(LIMIT);
        assert!(!framing.is_in_head());
        framing.follow(b"G").expect("it may become a request");
        assert!(framing.is_in_head());
        for _ in 0..100 {
            framing.follow(&[b'x'; 1000]).expect("its reader refuses it");
        }
        assert!(framing.line.capacity() <= 2 * LIMIT);
        let chunked = post("transfer-encoding: chunked\r\n", "1;");
        let mut framing = Framing::new(LIMIT);
        framing.follow(chunked.as_bytes()).expect("it is a chunk");
        assert_eq!(framing.follow(&[b'x'; 2000]), Err((0, Ambiguity::Chunk)));
    }
}
