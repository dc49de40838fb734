//! Reads header maps as Envoy serializes them.
//!
//! The SDK allocates each name and each value. A request has two maps of a dozen headers, of which
//! the stages read a few.

#![allow(unsafe_code)]
#![deny(unsafe_op_in_unsafe_fn)]

use std::ops::Range;

use opentracy_filter_core::headers::HeaderList;
use proxy_wasm::types::MapType;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(
        map: u32,
        return_data: *mut *mut u8,
        return_size: *mut usize,
    ) -> u32;
}

const OK: u32 = 0;

/// Returns the headers of a map; none if it is gone.
pub fn headers(map: MapType) -> HeaderList<'static> {
    parse(&serialized(map)).unwrap_or_default()
}

fn serialized(map: MapType) -> Vec<u8> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: both pointers are valid for writes during the call.
    let status = unsafe { proxy_get_header_map_pairs(map as u32, &raw mut data, &raw mut size) };
    if status != OK || data.is_null() {
        return Vec::new();
    }
    // SAFETY: Envoy allocated the bytes by `proxy_on_memory_allocate`, which returns a boxed slice
    // of the global allocator, of the requested length, and has filled them. They are owned here
    // only.
    unsafe { Vec::from_raw_parts(data, size, size) }
}

/// Parses a map: the number of headers, the lengths of each name and value, and then the names and
/// values, each with a zero byte behind it. Numbers are little-endian. `None` if it is cut short.
///
/// Source: the proxy-wasm specification, version 0.2.1, "Serialization".
fn parse(map: &[u8]) -> Option<HeaderList<'static>> {
    let (count, rest) = number(map)?;
    let (lengths, content) = rest.split_at_checked(count.checked_mul(8)?)?;
    match std::str::from_utf8(content) {
        Ok(text) => content_fits(lengths, content)
            .then(|| HeaderList::from_ranges(text.to_owned(), ranges(lengths))),
        // Rare: values may have any bytes.
        Err(_) => ranges(lengths)
            .map(|(name, value)| {
                let name = String::from_utf8_lossy(content.get(name)?).into_owned();
                Some((name, content.get(value)?.to_vec()))
            })
            .collect::<Option<_>>()
            .map(HeaderList::from_pairs),
    }
}

/// Returns the ranges of each name and value.
fn ranges(lengths: &[u8]) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let mut at = 0_usize;
    let mut next = move |length: usize| {
        let start = at;
        at = start.saturating_add(length).saturating_add(1);
        start..start.saturating_add(length)
    };
    lengths.chunks_exact(8).map_while(move |pair| {
        let (name, rest) = number(pair)?;
        let (value, _) = number(rest)?;
        Some((next(name), next(value)))
    })
}

/// Returns whether the content is long enough for all headers.
fn content_fits(lengths: &[u8], content: &[u8]) -> bool {
    let last = ranges(lengths).last();
    last.is_none_or(|(_, value)| value.end <= content.len())
}

/// Returns the number at the beginning, and the bytes behind it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serialize(headers: &[(&[u8], &[u8])]) -> Vec<u8> {
        let number = |length: usize| u32::try_from(length).unwrap().to_le_bytes();
        let mut map = number(headers.len()).to_vec();
        for (name, value) in headers {
            map.extend(number(name.len()));
            map.extend(number(value.len()));
        }
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            map.extend_from_slice(text);
            map.push(0);
        }
        map
    }

    #[test]
    fn a_map_is_parsed_whatever_bytes_its_values_have() {
        let long = [b'x'; 300];
        for value in [&long[..], b"", b"\xff\xc3\x28"] {
            let map = serialize(&[(b":path", b"/v1"), (b"a", value), (b"b", b"2")]);
            let headers = parse(&map).unwrap();
            let expected = [(":path", &b"/v1"[..]), ("a", value), ("b", b"2")];
            assert_eq!(headers.pairs(), expected);
        }
        assert_eq!(parse(&serialize(&[])).unwrap().pairs(), []);
    }

    #[test]
    fn a_map_that_is_cut_short_is_none() {
        for value in [&b"1"[..], b"\xff"] {
            let map = serialize(&[(b":path", b"/v1"), (b"a", value)]);
            // The last zero byte is behind the content.
            for end in 0..map.len() - 1 {
                assert!(parse(&map[..end]).is_none(), "{end}");
            }
        }
    }
}
