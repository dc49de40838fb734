//! The objects of a body, however they are put: one a line, in a list, or alone.

use axum::body::{Body, BodyDataStream};
use opentracy_translate::error::ApiError;
use serde_json::value::RawValue;
use tokio_stream::StreamExt as _;

use crate::rest::error::Error;

/// A line, or a list, may be as long as a call's largest bodies together.
const MAX_BYTES: usize = 256 << 20;

pub struct Objects {
    body: BodyDataStream,
    buffer: Vec<u8>,
    /// How much of the buffer was looked through for the end of a line.
    searched: usize,
    number: u64,
    /// What is left of a list, last first.
    list: Vec<String>,
    is_over: bool,
}

impl Objects {
    pub fn new(body: Body) -> Self {
        Self {
            body: body.into_data_stream(),
            buffer: Vec::new(),
            searched: 0,
            number: 0,
            list: Vec::new(),
            is_over: false,
        }
    }

    /// The next object and its number.
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
            ApiError::invalid(String::new(), format!("The list is no JSON: {error}"))
        })?;
        self.list = items
            .iter()
            .rev()
            .map(|item| item.get().to_owned())
            .collect();
        Ok(())
    }

    /// The next line. A body that is one object or list over many lines is one line.
    async fn line(&mut self) -> Result<Option<String>, Error> {
        loop {
            let end = self.buffer[self.searched..]
                .iter()
                .position(|&byte| byte == b'\n')
                .map(|at| self.searched + at);
            match end {
                Some(end) if self.is_whole(end) => {
                    let rest = self.buffer.split_off(end + 1);
                    let line = std::mem::replace(&mut self.buffer, rest);
                    self.searched = 0;
                    return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
                }
                Some(end) => {
                    self.searched = end + 1;
                    continue;
                }
                None => self.searched = self.buffer.len(),
            }
            if self.is_over {
                let line = std::mem::take(&mut self.buffer);
                self.searched = 0;
                let text = String::from_utf8_lossy(&line).into_owned();
                return Ok((!text.trim().is_empty()).then_some(text));
            }
            if self.buffer.len() > MAX_BYTES {
                let words = format!("A line is longer than {MAX_BYTES} bytes");
                return Err(ApiError::new(413, words).into());
            }
            match self.body.next().await {
                Some(Ok(bytes)) => self.buffer.extend_from_slice(&bytes),
                Some(Err(error)) => {
                    let words = format!("The body broke off: {error}");
                    return Err(ApiError::invalid(String::new(), words).into());
                }
                None => self.is_over = true,
            }
        }
    }

    /// Whether what ends here is JSON of its own. Only an object that is written over many lines begins with a line that is none
    /// because it goes on; any other line that is none is somebody's mistake, and a line all the same.
    fn is_whole(&self, end: usize) -> bool {
        let line = self.buffer[..end].trim_ascii();
        match serde_json::from_slice::<serde::de::IgnoredAny>(line) {
            Err(error) if self.number == 0 => !error.is_eof() || line.is_empty(),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn objects(body: &str) -> Vec<(u64, String)> {
        // In pieces, as a connection brings it.
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
    async fn nothing_is_nothing() {
        assert_eq!(objects(" \n").await, []);
    }
}
