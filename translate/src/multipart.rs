//! The beginning of a `multipart/form-data` body, as far as it says which model is asked.

use std::ops::Range;

use memchr::memmem;

/// What the beginning says.
#[derive(Debug, PartialEq, Eq)]
pub enum Model {
    /// Nothing yet.
    Unknown,
    /// Here is its name.
    Named(Range<usize>),
    /// It comes after the file, or not at all.
    NotFirst,
}

/// The boundary that a content type tells.
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

/// Looks for the field `model` among the parts that are there.
pub fn find_model(body: &[u8], boundary: &str) -> Model {
    let delimiter = format!("--{boundary}");
    let mut at = 0;
    loop {
        let Some(rest) = body.get(at..) else {
            return Model::Unknown;
        };
        let Some(start) = memmem::find(rest, delimiter.as_bytes()) else {
            return Model::Unknown;
        };
        let head = at + start + delimiter.len();
        let rest = body.get(head..).unwrap_or_default();
        if rest.starts_with(b"--") {
            return Model::NotFirst;
        }
        let Some(length) = memmem::find(rest, b"\r\n\r\n") else {
            return Model::Unknown;
        };
        let headers = String::from_utf8_lossy(rest.get(..length).unwrap_or_default());
        let disposition = headers
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with("content-disposition"))
            .unwrap_or_default();
        let content = head + length + 4;
        if parameter(disposition, "filename").is_some() {
            return Model::NotFirst;
        }
        let rest = body.get(content..).unwrap_or_default();
        let end = format!("\r\n{delimiter}");
        let Some(length) = memmem::find(rest, end.as_bytes()) else {
            return Model::Unknown;
        };
        if parameter(disposition, "name") == Some("model") {
            return Model::Named(content..content + length);
        }
        at = content + length;
    }
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

    #[test]
    fn a_model_is_found_as_soon_as_it_is_there() {
        let whole = find_model(BODY.as_bytes(), "b");
        let Model::Named(range) = whole else {
            panic!("{whole:?}");
        };
        assert_eq!(&BODY[range.clone()], "whisper-1");
        for end in 0..BODY.len() {
            match find_model(&BODY.as_bytes()[..end], "b") {
                Model::Unknown => assert!(end < range.end + 5, "{end}"),
                Model::Named(found) => assert_eq!(found, range),
                Model::NotFirst => panic!("{end}"),
            }
        }
    }

    #[test]
    fn a_file_that_comes_first_is_not_waited_for() {
        let file = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nRI";
        assert_eq!(find_model(file.as_bytes(), "b"), Model::NotFirst);
        assert_eq!(find_model(b"--b--\r\n", "b"), Model::NotFirst);
    }
}
