//! Finds the model's name at the beginning of a `multipart/form-data` body.

use std::ops::Range;

use memchr::memmem;

/// Result of the search so far.
#[derive(Debug, PartialEq, Eq)]
pub enum ModelField {
    /// Not found yet.
    Unknown,
    /// Range of the name in the body.
    Named(Range<usize>),
    /// The field comes after the file, or is missing.
    NotFirst,
}

/// Returns the boundary of a content type.
pub fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        let is_it = name.trim().eq_ignore_ascii_case("boundary") && !value.is_empty();
        is_it.then_some(value)
    })
}

/// Searches a form for its field `model` while its bytes arrive. No byte is searched twice.
#[derive(Debug)]
pub struct ModelSearch {
    /// The delimiter: a line break, two hyphens and the boundary.
    delimiter: Vec<u8>,
    body: Vec<u8>,
    part: Part,
    /// Offset before which no match begins.
    from: usize,
}

/// The position of the search in the form.
#[derive(Debug, Clone, Copy)]
enum Part {
    Before,
    Headers { start: usize },
    Content { start: usize, is_model: bool },
}

impl ModelSearch {
    pub fn new(boundary: &str) -> Self {
        Self {
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            body: Vec::new(),
            part: Part::Before,
            from: 0,
        }
    }

    /// Returns the bytes received so far.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Consumes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) -> ModelField {
        self.body.extend_from_slice(bytes);
        loop {
            match self.part {
                Part::Before => {
                    let delimiter = self.delimiter.get(2..).unwrap_or_default();
                    let Some(at) = find(&self.body, delimiter, &mut self.from) else {
                        return ModelField::Unknown;
                    };
                    self.from = at + delimiter.len();
                    self.part = Part::Headers { start: self.from };
                }
                Part::Headers { start } => {
                    let rest = self.body.get(start..).unwrap_or_default();
                    if rest.starts_with(b"--") {
                        return ModelField::NotFirst;
                    }
                    let Some(end) = find(&self.body, b"\r\n\r\n", &mut self.from) else {
                        return ModelField::Unknown;
                    };
                    let headers =
                        String::from_utf8_lossy(self.body.get(start..end).unwrap_or_default());
                    let disposition = headers
                        .lines()
                        .find(|line| line.to_ascii_lowercase().starts_with("content-disposition"))
                        .unwrap_or_default();
                    if parameter(disposition, "filename").is_some() {
                        return ModelField::NotFirst;
                    }
                    self.from = end + 4;
                    self.part = Part::Content {
                        start: self.from,
                        is_model: parameter(disposition, "name") == Some("model"),
                    };
                }
                Part::Content { start, is_model } => {
                    let Some(end) = find(&self.body, &self.delimiter, &mut self.from) else {
                        return ModelField::Unknown;
                    };
                    if is_model {
                        return ModelField::Named(start..end);
                    }
                    self.from = end;
                    self.part = Part::Before;
                }
            }
        }
    }
}

/// Finds a text from an offset on, and moves the offset past bytes where it can't begin.
fn find(body: &[u8], wanted: &[u8], from: &mut usize) -> Option<usize> {
    let rest = body.get(*from..)?;
    let found = memmem::find(rest, wanted).map(|at| *from + at);
    if found.is_none() {
        *from = (*from).max((body.len() + 1).saturating_sub(wanted.len()));
    }
    found
}

fn parameter<'a>(disposition: &'a str, name: &str) -> Option<&'a str> {
    disposition.split(';').skip(1).find_map(|parameter| {
        let (own, value) = parameter.split_once('=')?;
        (own.trim() == name).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "--b\r\nContent-Disposition: form-data; name=\"language\"\r\n\r\nen\r\n--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF";

    #[test]
    fn a_boundary_is_found() {
        assert_eq!(boundary("multipart/form-data; boundary=b"), Some("b"));
        assert_eq!(
            boundary("Multipart/Form-Data; charset=x; Boundary=\"a b\""),
            Some("a b")
        );
        for none in [
            "application/json",
            "multipart/form-data",
            "multipart/form-data; boundary=",
        ] {
            assert_eq!(boundary(none), None, "{none}");
        }
    }

    fn find_model(body: &[u8], boundary: &str) -> ModelField {
        let whole = ModelSearch::new(boundary).push(body);
        let mut search = ModelSearch::new(boundary);
        let mut last = ModelField::Unknown;
        for byte in body.chunks(1) {
            last = search.push(byte);
            if last != ModelField::Unknown {
                break;
            }
        }
        assert_eq!(last, whole, "byte by byte");
        whole
    }

    #[test]
    fn a_model_is_found_as_soon_as_it_is_there() {
        let whole = find_model(BODY.as_bytes(), "b");
        let ModelField::Named(range) = whole else {
            panic!("{whole:?}");
        };
        assert_eq!(&BODY[range.clone()], "whisper-1");
        for end in 0..BODY.len() {
            match find_model(&BODY.as_bytes()[..end], "b") {
                ModelField::Unknown => assert!(end < range.end + 5, "{end}"),
                ModelField::Named(found) => assert_eq!(found, range),
                ModelField::NotFirst => panic!("{end}"),
            }
        }
    }

    #[test]
    fn a_file_that_comes_first_is_not_waited_for() {
        let file = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nRI";
        assert_eq!(find_model(file.as_bytes(), "b"), ModelField::NotFirst);
        assert_eq!(find_model(b"--b--\r\n", "b"), ModelField::NotFirst);
    }
}
