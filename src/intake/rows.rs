//! A CSV file (RFC 4180) row by row, each as a record of a logical model.
//!
//! Enters: bytes with a header row; a byte-order mark, CR LF and line ends within quotes are read. Leaves: a record a row,
//! or why a row is none: another number of cells than the header has, a cell that is not UTF-8. Invariants: a row that is
//! wrong never stops those behind it; no more than one row is held, and a row of more than 16 MiB, as a quote that is
//! never closed makes one, ends the reading.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use csv::{ByteRecord, ReaderBuilder};

use super::model::Model;
use super::table::{Header, HeaderFault, MOST_COLUMNS, MOST_FAULTS, Row};

/// The longest row, in bytes.
const LONGEST: u64 = 16 << 20;

/// The longest header, in bytes.
const LONGEST_HEADER: usize = 64 << 10;

/// What a reader reads ahead.
const AHEAD: u64 = 64 << 10;

/// A CSV file that is being read.
pub struct Rows<R> {
    reader: csv::Reader<Bounded<R>>,
    header: Arc<Header>,
    record: ByteRecord,
    ahead: Arc<Mutex<Ahead>>,
    number: u64,
}

impl<R> std::fmt::Debug for Rows<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows(at row {})", self.number)
    }
}

/// A row, and where it stands.
#[derive(Debug)]
pub struct Numbered {
    /// Its number, from 1 behind the header.
    pub number: u64,
    /// The line of the file that it begins on, from 1.
    pub line: u64,
    /// Its record, or why it has none.
    pub row: Result<Row, RowFault>,
}

/// Why a row is no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowFault {
    /// It has not as many cells as the header.
    #[error("the row has {found} cells, the header {expected}")]
    Cells {
        /// How many it has.
        found: usize,
        /// How many the header has.
        expected: usize,
    },
    /// A cell is not UTF-8.
    #[error("cell {number} is not UTF-8")]
    NotUtf8 {
        /// The cell's number, from 1.
        number: usize,
    },
}

impl RowFault {
    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            RowFault::Cells { .. } => "write a comma between cells alone, and cells that hold one in double quotes",
            RowFault::NotUtf8 { .. } => "save the file as UTF-8",
        }
    }
}

/// Why a file cannot be read, or not any further.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// There is no header.
    #[error("the file is empty: its first row names the columns")]
    Empty,
    /// The header is longer, or has more columns, than any model needs.
    #[error("the header is longer than 64 KiB or has more than {MOST_COLUMNS} columns: is this the right file?")]
    HeaderTooLarge,
    /// What is wrong with the header.
    #[error("{} of the header cannot be used; the first: {}", count(.0.len()), .0[0])]
    Header(Vec<HeaderFault>),
    /// A row that does not end.
    #[error("the row that begins on line {line} is longer than 16 MiB: is a double quote not closed?")]
    TooLong {
        /// The line that it begins on.
        line: u64,
    },
    /// The file could not be read.
    #[error("the file cannot be read behind row {row}: {source}")]
    Io {
        /// The last row that was read.
        row: u64,
        /// Why.
        source: io::Error,
    },
}

fn count(columns: usize) -> String {
    match columns {
        1 => "one column".to_owned(),
        MOST_FAULTS.. => format!("{MOST_FAULTS} columns or more"),
        _ => format!("{columns} columns"),
    }
}

/// Ends what is read without a row's end.
struct Bounded<R> {
    inner: R,
    ahead: Arc<Mutex<Ahead>>,
}

/// What was read last. The parser counts the line ends before a row only when it comes to the row; they are counted here
/// before.
#[derive(Default)]
struct Ahead {
    /// Where in the file it begins.
    base: u64,
    bytes: Vec<u8>,
    /// Bytes that a row may have.
    longest: u64,
    /// Bytes since the row began.
    since: u64,
    /// Whether nothing of the row but line ends before it has come.
    is_before_row: bool,
    line_ends: u64,
}

impl Ahead {
    /// A row is to be read, from here.
    fn row_from(&mut self, at: u64) {
        (self.since, self.is_before_row, self.line_ends) = (0, true, 0);
        let rest = usize::try_from(at.saturating_sub(self.base)).unwrap_or(usize::MAX);
        self.count(rest);
    }

    fn count(&mut self, from: usize) {
        for byte in self.bytes.get(from..).unwrap_or_default() {
            match byte {
                b'\n' if self.is_before_row => self.line_ends += 1,
                b'\r' | b'\n' => {}
                _ => self.is_before_row = false,
            }
        }
    }
}

fn locked(ahead: &Mutex<Ahead>) -> MutexGuard<'_, Ahead> {
    ahead.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let mut ahead = locked(&self.ahead);
        ahead.base += ahead.bytes.len() as u64;
        ahead.bytes.clear();
        ahead.bytes.extend_from_slice(&buffer[..read]);
        ahead.since += read as u64;
        ahead.count(0);
        if ahead.since > ahead.longest + AHEAD { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(read) }
    }
}

impl<R: Read> Rows<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn of(inner: R, model: &Model) -> Result<Rows<R>, Unreadable> {
        let ahead = Arc::new(Mutex::new(Ahead { longest: LONGEST_HEADER as u64, ..Ahead::default() }));
        let bounded = Bounded { inner, ahead: Arc::clone(&ahead) };
        let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bounded);
        let mut record = ByteRecord::new();
        let is_there = reader.read_byte_record(&mut record).map_err(|error| match unreadable(error, 0, 1) {
            Unreadable::TooLong { .. } => Unreadable::HeaderTooLarge,
            other => other,
        })?;
        if !is_there {
            return Err(Unreadable::Empty);
        }
        if record.as_slice().len() + record.len() > LONGEST_HEADER || record.len() > MOST_COLUMNS {
            return Err(Unreadable::HeaderTooLarge);
        }
        locked(&ahead).longest = LONGEST;
        // What is not UTF-8 names no element.
        let cells: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
        let header = Header::read(model, cells.iter().map(AsRef::as_ref)).map_err(Unreadable::Header)?;
        Ok(Rows { reader, header: Arc::new(header), record: ByteRecord::new(), ahead, number: 0 })
    }

    /// The header.
    pub fn header(&self) -> &Arc<Header> {
        &self.header
    }

    /// The next row; `None` behind the last.
    ///
    /// # Errors
    /// [`Unreadable`]: nothing more can be read.
    pub fn next_row(&mut self) -> Result<Option<Numbered>, Unreadable> {
        let at = self.reader.position().clone();
        locked(&self.ahead).row_from(at.byte());
        let is_there = self.reader.read_byte_record(&mut self.record);
        let line = at.line() + locked(&self.ahead).line_ends;
        if !is_there.map_err(|error| unreadable(error, self.number, line))? {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(Numbered { number: self.number, line, row: self.row() }))
    }

    fn row(&self) -> Result<Row, RowFault> {
        let (found, expected) = (self.record.len(), self.header.len());
        if found != expected {
            return Err(RowFault::Cells { found, expected });
        }
        let text = |(at, cell)| std::str::from_utf8(cell).map_err(|_| RowFault::NotUtf8 { number: at + 1 });
        let cells: Vec<&str> = self.record.iter().enumerate().map(text).collect::<Result<_, _>>()?;
        Ok(self.header.row(cells))
    }
}

fn unreadable(error: csv::Error, row: u64, line: u64) -> Unreadable {
    match error.into_kind() {
        csv::ErrorKind::Io(source) if source.kind() == io::ErrorKind::FileTooLarge => Unreadable::TooLong { line },
        csv::ErrorKind::Io(source) => Unreadable::Io { row, source },
        // Byte records of any number of cells have no other errors.
        other => Unreadable::Io { row, source: io::Error::other(format!("{other:?}")) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::model::tests::sample;

    fn read(text: &[u8]) -> Vec<(u64, u64, Result<String, RowFault>)> {
        let mut rows = Rows::of(text, &sample()).expect("it has a header");
        let mut found = Vec::new();
        while let Some(row) = rows.next_row().expect("it is read") {
            found.push((row.number, row.line, row.row.map(|row| row.json)));
        }
        found
    }

    #[test]
    fn rows_are_read_as_rfc_4180_writes_them() {
        let text =
            b"\xef\xbb\xbfid,tags,\"tags[1]\"\r\n\"a \"\"b\"\"\",\"one,\r\ntwo\",x\r\nc,,\r\n\r\nd,1\r\n,\xff,\ne,,y";
        let json = |text: &str| Ok(text.to_owned());
        assert_eq!(
            read(text),
            [
                (1, 2, json(r#"{"id":"a \"b\"","tags":["one,\r\ntwo","x"]}"#)),
                (2, 4, json(r#"{"id":"c"}"#)),
                (3, 6, Err(RowFault::Cells { found: 2, expected: 3 })),
                (4, 7, Err(RowFault::NotUtf8 { number: 2 })),
                (5, 8, json(r#"{"id":"e","tags":["y"]}"#)),
            ]
        );
    }

    #[test]
    fn a_file_without_a_header_that_the_model_knows_is_not_read() {
        assert!(matches!(Rows::of(&b""[..], &sample()), Err(Unreadable::Empty)));
        let faults = Rows::of(&b"id,\xff,nothing\n"[..], &sample());
        assert!(matches!(faults, Err(Unreadable::Header(faults)) if faults.len() == 2));
    }

    #[test]
    fn a_header_that_is_too_large_is_refused_before_much_of_it_is_read() {
        let refused = |text: Vec<u8>| Rows::of(text.as_slice(), &sample()).expect_err("it is too large").to_string();
        for header in [",".repeat(5000), "x".repeat(70_000), "\"".to_owned() + &"x".repeat(70_000), ",".repeat(1 << 20)]
        {
            let told = refused(header.into_bytes());
            assert!(told.contains("64 KiB") && told.contains("4096 columns"), "{told}");
        }
        let endless = Rows::of(io::repeat(b','), &sample()).expect_err("it has no end");
        assert!(endless.to_string().contains("64 KiB"), "{endless}");
        let told = refused((",".repeat(4000) + "\n").into_bytes());
        assert!(told.contains("100 columns or more"), "{told}");
    }

    #[test]
    fn a_quote_that_is_not_closed_ends_the_reading_within_bounds() {
        let endless = io::Read::chain(&b"id\na\n\"b"[..], io::repeat(b'x'));
        let mut rows = Rows::of(endless, &sample()).expect("it has a header");
        assert!(rows.next_row().expect("it is read").is_some());
        let error = rows.next_row().expect_err("it has no end");
        assert!(matches!(error, Unreadable::TooLong { line: 3 }), "{error}");
        assert!(rows.record.as_slice().len() < 2 * LONGEST as usize);
    }
}
