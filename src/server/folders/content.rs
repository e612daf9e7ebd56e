//! What a file holds, record by record. Runs on a thread that may be blocked, no more than a few records ahead.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::FolderFormat;
use crate::intake::{Header, Model, Row, Rows, RowsUnreadable};

/// A row of a table, for what is said about its cells.
pub(super) type Table = (Arc<Header>, Row);

/// A record of a file.
pub(super) struct Part {
    /// From 1.
    pub(super) number: u64,
    /// The line that it begins on.
    line: Option<u64>,
    /// It; or why there is none, and what to do.
    pub(super) bytes: Result<Vec<u8>, (String, String)>,
    pub(super) table: Option<Table>,
}

impl Part {
    /// Where it stands, as the report has it.
    pub(super) fn place(&self) -> Value {
        match self.line {
            Some(line) => json!({ "row": self.number, "line": line }),
            None => json!({ "row": self.number }),
        }
    }
}

/// A file that is to be read.
pub(super) struct Content {
    pub(super) file: File,
    pub(super) format: FolderFormat,
    pub(super) model: Option<Arc<Model>>,
    /// Bytes that a record may have.
    pub(super) longest: usize,
}

impl Content {
    /// Reads it. Ends early when nobody listens any more.
    pub(super) fn read(&self, tell: &mpsc::Sender<Part>) {
        let read = match self.format {
            FolderFormat::Json | FolderFormat::Fhir => self.whole().map(|bytes| {
                let _nobody_listens = tell.blocking_send(part(1, None, bytes));
            }),
            FolderFormat::Hl7v2 => self.messages(tell),
            FolderFormat::Ndjson => self.lines(tell),
            FolderFormat::Csv => self.rows(tell),
        };
        if let Err(error) = read {
            let wrong = (format!("the file cannot be read: {error}"), "put it into the folder again".to_owned());
            let _nobody_listens = tell.blocking_send(part(0, None, Err(wrong)));
        }
    }

    fn too_long(&self) -> (String, String) {
        let text = format!("it is larger than {} bytes", self.longest);
        (text, "split it, or ask the operator to raise records.max_body_bytes".to_owned())
    }

    fn whole(&self) -> io::Result<Result<Vec<u8>, (String, String)>> {
        let mut bytes = Vec::new();
        (&self.file).take(self.longest as u64 + 1).read_to_end(&mut bytes)?;
        Ok(if bytes.len() > self.longest { Err(self.too_long()) } else { Ok(bytes) })
    }

    /// Messages begin at a line that begins with MSH. Frames of MLLP around them are read over.
    fn messages(&self, tell: &mpsc::Sender<Part>) -> io::Result<()> {
        let bytes = match self.whole()? {
            Ok(bytes) => bytes,
            Err(wrong) => {
                let _nobody_listens = tell.blocking_send(part(1, None, Err(wrong)));
                return Ok(());
            }
        };
        let plain: Vec<u8> = bytes.into_iter().filter(|byte| !matches!(byte, 0x0B | 0x1C)).collect();
        let is_begin =
            |at: &usize| plain[*at..].starts_with(b"MSH") && (*at == 0 || matches!(plain[at - 1], b'\r' | b'\n'));
        let mut begins: Vec<usize> = (0..plain.len()).filter(is_begin).collect();
        if begins.first() != Some(&0) {
            begins.insert(0, 0);
        }
        let ends = begins.iter().skip(1).copied().chain([plain.len()]);
        let mut line = 1;
        for (number, (begin, end)) in (1..).zip(begins.iter().zip(ends)) {
            if tell.blocking_send(part(number, Some(line), Ok(plain[*begin..end].to_vec()))).is_err() {
                break;
            }
            line += plain[*begin..end].iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        Ok(())
    }

    fn lines(&self, tell: &mpsc::Sender<Part>) -> io::Result<()> {
        let mut reader = BufReader::new(&self.file);
        let (mut number, mut line) = (0, 0);
        loop {
            let mut bytes = Vec::new();
            if reader.by_ref().take(self.longest as u64 + 1).read_until(b'\n', &mut bytes)? == 0 {
                return Ok(());
            }
            line += 1;
            let is_cut = bytes.len() > self.longest && bytes.last() != Some(&b'\n');
            if is_cut {
                reader.skip_until(b'\n')?;
            } else if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            number += 1;
            let bytes = if is_cut { Err(self.too_long()) } else { Ok(bytes.trim_ascii_end().to_vec()) };
            if tell.blocking_send(part(number, Some(line), bytes)).is_err() {
                return Ok(());
            }
        }
    }

    fn rows(&self, tell: &mpsc::Sender<Part>) -> io::Result<()> {
        let Some(model) = &self.model else { return Err(io::Error::other("the interface has no logical model")) };
        let wrong = |error: &RowsUnreadable| (error.to_string(), "correct the file".to_owned());
        let mut rows = match Rows::of(&self.file, model) {
            Ok(rows) => rows,
            Err(error) => {
                let _nobody_listens = tell.blocking_send(part(0, Some(1), Err(wrong(&error))));
                return Ok(());
            }
        };
        let header = rows.header().clone();
        loop {
            let told = match rows.next_row() {
                Ok(None) => return Ok(()),
                Ok(Some(numbered)) => {
                    let (number, line) = (numbered.number, Some(numbered.line));
                    match numbered.row {
                        Ok(row) => {
                            let bytes = Ok(row.json.clone().into_bytes());
                            Part { table: Some((header.clone(), row)), ..part(number, line, bytes) }
                        }
                        Err(fault) => part(number, line, Err((fault.to_string(), fault.hint().to_owned()))),
                    }
                }
                Err(error) => {
                    let _nobody_listens = tell.blocking_send(part(0, None, Err(wrong(&error))));
                    return Ok(());
                }
            };
            if tell.blocking_send(told).is_err() {
                return Ok(());
            }
        }
    }
}

fn part(number: u64, line: Option<u64>, bytes: Result<Vec<u8>, (String, String)>) -> Part {
    Part { number, line, bytes, table: None }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::*;

    #[test]
    fn many_messages_of_a_file_are_told_with_their_lines_in_time_that_grows_with_the_file() {
        const MESSAGES: usize = 60_000;
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all("MSH\n\n".repeat(MESSAGES).as_bytes()).expect("it is written");
        file.rewind().expect("it is rewound");
        let content = Content { file, format: FolderFormat::Hl7v2, model: None, longest: 1 << 20 };
        let (tell, mut parts) = mpsc::channel(MESSAGES);
        let began = std::time::Instant::now();
        content.read(&tell);
        let took = began.elapsed();
        drop(tell);
        let mut lines = Vec::new();
        while let Some(part) = parts.blocking_recv() {
            lines.push(part.line.expect("it has one"));
        }
        assert_eq!(lines, (0..MESSAGES as u64).map(|number| 2 * number + 1).collect::<Vec<_>>());
        assert!(took < std::time::Duration::from_secs(5), "{took:?}");
    }
}
