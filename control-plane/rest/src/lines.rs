//! Splits a body into JSON objects: JSON Lines, a list, or a single object.

use axum::body::{Body, BodyDataStream};
use opentracy_translate::error::ApiError;
use serde_json::value::RawValue;
use tokio_stream::StreamExt as _;

use crate::error::Error;

/// Maximum size of a line or list, in bytes; fits a call's largest bodies together.
const MAX_BYTES: usize = 256 << 20;

pub struct Objects {
    body: BodyDataStream,
    buffer: Vec<u8>,
    /// The offset of the next line in the buffer.
    start: usize,
    /// The offset up to which the buffer was searched for a newline.
    searched: usize,
    /// Bracket nesting of a first object that spans many lines.
    nesting: Nesting,
    /// Bytes of that object that `nesting` covers.
    followed: usize,
    /// Bytes of that object that were parsed.
    checked: usize,
    number: u64,
    /// The remaining items of a list, last first.
    list: Vec<String>,
    is_over: bool,
}

impl Objects {
    pub fn new(body: Body) -> Self {
        Self {
            body: body.into_data_stream(),
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            nesting: Nesting::default(),
            followed: 0,
            checked: 0,
            number: 0,
            list: Vec::new(),
            is_over: false,
        }
    }

    /// Returns the next object and its number.
    pub async fn next(&mut self) -> Result<Option<(u64, String)>, Error> {
        loop {
            if let Some(object) = self.list.pop() {
                self.number += 1;
                return Ok(Some((self.number, object)));
            }
            let Some(line) = self.line().await? else {
                return Ok(None);
            };
            let text = line.trim();
            if text.starts_with('[') {
                self.read_list(text)?;
                continue;
            }
            self.number += 1;
            if !text.is_empty() {
                return Ok(Some((self.number, text.to_owned())));
            }
        }
    }

    fn read_list(&mut self, text: &str) -> Result<(), Error> {
        let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| {
            ApiError::invalid(
                String::new(),
                format!("The list is not valid JSON: {error}"),
            )
        })?;
        self.list = items
            .iter()
            .rev()
            .map(|item| item.get().to_owned())
            .collect();
        Ok(())
    }

    /// Returns the next line. A body that is a single object or list over many lines counts as one
    /// line.
    async fn line(&mut self) -> Result<Option<String>, Error> {
        loop {
            let end = self.buffer[self.searched..]
                .iter()
                .position(|&byte| byte == b'\n')
                .map(|at| self.searched + at);
            match end {
                Some(end) if self.is_whole(end) => return Ok(Some(self.take(end + 1))),
                Some(end) => {
                    self.searched = end + 1;
                    continue;
                }
                None => self.searched = self.buffer.len(),
            }
            if self.is_over {
                let text = self.take(self.buffer.len());
                return Ok((!text.trim().is_empty()).then_some(text));
            }
            // Drops the consumed lines together, so that the rest isn't moved for each of them.
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
            if self.buffer.len() > MAX_BYTES {
                let words = format!("A line is longer than {MAX_BYTES} bytes");
                return Err(ApiError::new(413, words).into());
            }
            match self.body.next().await {
                Some(Ok(bytes)) => self.buffer.extend_from_slice(&bytes),
                Some(Err(error)) => {
                    let words = format!("The body ended early: {error}");
                    return Err(ApiError::invalid(String::new(), words).into());
                }
                None => self.is_over = true,
            }
        }
    }

    /// Takes the line that ends at `end`.
    fn take(&mut self, end: usize) -> String {
        let line = String::from_utf8_lossy(&self.buffer[self.start..end]).into_owned();
        self.start = end;
        self.searched = end;
        line
    }

    /// Returns `true` if the text up to `end` is a complete line. Only a first object or list may
    /// span many lines; a later line that isn't valid JSON is an error, and counts as one line.
    fn is_whole(&mut self, end: usize) -> bool {
        let text = self.buffer[self.start..end].trim_ascii();
        if self.number > 0 || !matches!(text.first(), Some(b'{' | b'[')) {
            return true;
        }
        let line = &self.buffer[self.start + self.followed..end];
        self.followed = end - self.start;
        if self.nesting.is_closed_by(line) {
            return true;
        }
        // A syntax error ends the object too. The check runs each time the length has doubled,
        // which keeps the total work linear.
        if text.len() < self.checked.saturating_mul(2) {
            return false;
        }
        self.checked = text.len();
        let read = serde_json::from_slice::<serde::de::IgnoredAny>(text);
        read.is_err_and(|error| !error.is_eof())
    }
}

/// Tracks the bracket nesting of JSON text, line by line.
#[derive(Default)]
struct Nesting {
    depth: usize,
    is_in_string: bool,
    is_escaped: bool,
}

impl Nesting {
    /// Processes the next line, and returns `true` if every bracket is closed after it.
    fn is_closed_by(&mut self, line: &[u8]) -> bool {
        for &byte in line {
            match byte {
                _ if std::mem::take(&mut self.is_escaped) => {}
                b'\\' if self.is_in_string => self.is_escaped = true,
                b'"' => self.is_in_string = !self.is_in_string,
                _ if self.is_in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        self.depth == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn objects(body: &str) -> Vec<(u64, String)> {
        // Splits the body into pieces, as a connection would.
        let pieces: Vec<std::io::Result<Vec<u8>>> = body
            .as_bytes()
            .chunks(3)
            .map(|piece| Ok(piece.to_vec()))
            .collect();
        let mut objects = Objects::new(Body::from_stream(tokio_stream::iter(pieces)));
        let mut found = Vec::new();
        while let Some(object) = objects
            .next()
            .await
            .unwrap_or_else(|error| panic!("{error:?}"))
        {
            found.push(object);
        }
        found
    }

    fn numbered(objects: &[(u64, &str)]) -> Vec<(u64, String)> {
        objects
            .iter()
            .map(|(number, text)| (*number, (*text).to_owned()))
            .collect()
    }

    #[tokio::test]
    async fn a_line_is_an_object() {
        assert_eq!(
            objects("{\"a\":1}\n\n{\"b\":2}\r\nrubbish\n{\"c\":3}").await,
            numbered(&[
                (1, "{\"a\":1}"),
                (3, "{\"b\":2}"),
                (4, "rubbish"),
                (5, "{\"c\":3}")
            ])
        );
    }

    #[tokio::test]
    async fn a_list_and_an_object_may_be_written_over_many_lines() {
        assert_eq!(
            objects("[\n  {\"a\": 1},\n  {\"b\": 2}\n]\n").await,
            numbered(&[(1, "{\"a\": 1}"), (2, "{\"b\": 2}")])
        );
        assert_eq!(
            objects("{\n\"a\":\n1}\n").await,
            numbered(&[(1, "{\n\"a\":\n1}")])
        );
    }

    #[tokio::test]
    async fn a_mistake_ends_where_it_is_made() {
        assert_eq!(
            objects("{\"a\": oops\n{\"b\":2}\n").await,
            numbered(&[(1, "{\"a\": oops"), (2, "{\"b\":2}")])
        );
        assert_eq!(
            objects("{\"a\": \"[\\\"{\"\n}\n{\"b\":2}\n").await,
            numbered(&[(1, "{\"a\": \"[\\\"{\"\n}"), (2, "{\"b\":2}")])
        );
    }

    #[tokio::test]
    async fn long_bodies_are_read_once() {
        // Moving or parsing the buffer again for each line would take 10^12 steps.
        let lines = "{}\n".repeat(1_000_000);
        let whole = Body::from(lines);
        let mut objects = Objects::new(whole);
        let mut count = 0;
        while objects.next().await.unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 1_000_000);
        let written_out = format!("[\n{}0\n]\n", "1,\n".repeat(1_000_000));
        let pieces: Vec<std::io::Result<Vec<u8>>> = written_out
            .as_bytes()
            .chunks(7)
            .map(|piece| Ok(piece.to_vec()))
            .collect();
        let mut objects = Objects::new(Body::from_stream(tokio_stream::iter(pieces)));
        let mut count = 0;
        while objects.next().await.unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 1_000_001);
    }

    #[tokio::test]
    async fn nothing_is_nothing() {
        assert_eq!(objects(" \n").await, []);
    }
}
