//! The rows of one page.

use std::ops::Range;

use rusqlite::types::Value;

use super::image::Image;

/// A longer row is damage: SQLite's limit is 1 GB.
const MAX_PAYLOAD: u64 = 1 << 30;
/// The length of the file header, which precedes the first page's own header.
const FILE_HEADER: usize = 100;

/// The rows of a page.
#[derive(Debug, Default)]
pub struct PageRows {
    pub rows: Vec<Vec<Value>>,
    /// `true` if some rows were unreadable.
    pub is_damaged: bool,
}

/// The kinds of page that hold rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Table,
    /// A leaf of an index, or of a table without row ids.
    Index,
    IndexInterior,
}

/// Reads all rows of a page; returns no rows for pages of other kinds.
pub fn rows(image: &Image, number: u64, page: &[u8]) -> PageRows {
    let header = if number == 1 { FILE_HEADER } else { 0 };
    let (kind, pointers) = match page.get(header) {
        Some(0x0d) => (Kind::Table, header + 8),
        Some(0x0a) => (Kind::Index, header + 8),
        Some(0x02) => (Kind::IndexInterior, header + 12),
        _ => return PageRows::default(),
    };
    let mut found = PageRows::default();
    let cells = u16_at(page, header + 3).unwrap_or_default();
    for cell in 0..usize::from(cells) {
        let row = u16_at(page, pointers + 2 * cell)
            .and_then(|at| payload(image, page, usize::from(at), kind))
            .and_then(|payload| values(&payload));
        match row {
            Some(row) => found.rows.push(row),
            None => found.is_damaged = true,
        }
    }
    found
}

/// Returns the bytes of a row, including those on overflow pages.
fn payload(image: &Image, page: &[u8], at: usize, kind: Kind) -> Option<Vec<u8>> {
    let mut at = match kind {
        // Skips the number of the child page.
        Kind::IndexInterior => at + 4,
        Kind::Table | Kind::Index => at,
    };
    let length = varint(page, &mut at)?;
    if kind == Kind::Table {
        varint(page, &mut at)?;
    }
    if length > MAX_PAYLOAD {
        return None;
    }
    let length = usize::try_from(length).ok()?;
    let usable = image.usable();
    let max_local = match kind {
        Kind::Table => usable.checked_sub(35)?,
        Kind::Index | Kind::IndexInterior => usable.checked_sub(12)? * 64 / 255 - 23,
    };
    if length <= max_local {
        return Some(page.get(at..at + length)?.to_vec());
    }
    let min_local = usable.checked_sub(12)? * 32 / 255 - 23;
    let content = usable - 4;
    let surplus = min_local + (length - min_local) % content;
    let local = if surplus <= max_local {
        surplus
    } else {
        min_local
    };
    let mut payload = page.get(at..at + local)?.to_vec();
    let mut next = u32_at(page, at + local)?;
    while payload.len() < length {
        if next == 0 || u64::from(next) > image.pages() {
            return None;
        }
        let overflow = image.page(u64::from(next)).ok()?;
        let wanted = (length - payload.len()).min(content);
        payload.extend_from_slice(overflow.get(4..4 + wanted)?);
        next = u32_at(&overflow, 0)?;
    }
    Some(payload)
}

/// Parses the values of a row.
fn values(payload: &[u8]) -> Option<Vec<Value>> {
    let mut at = 0;
    let header = usize::try_from(varint(payload, &mut at)?).ok()?;
    let mut body = header;
    let mut values = Vec::new();
    while at < header {
        let kind = varint(payload, &mut at)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => usize::try_from((kind - 12) / 2).ok()?,
        };
        let range = Range {
            start: body,
            end: body.checked_add(length)?,
        };
        let bytes = payload.get(range.clone())?;
        body = range.end;
        values.push(match kind {
            0 => Value::Null,
            1..=6 => Value::Integer(integer(bytes)),
            7 => Value::Real(f64::from_be_bytes(*bytes.first_chunk()?)),
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            _ if kind % 2 == 0 => Value::Blob(bytes.to_vec()),
            _ => Value::Text(String::from_utf8(bytes.to_vec()).ok()?),
        });
    }
    (at == header && body == payload.len()).then_some(values)
}

/// Parses a signed big-endian integer.
fn integer(bytes: &[u8]) -> i64 {
    let sign = match bytes.first() {
        Some(&first) if first >= 0x80 => -1,
        _ => 0,
    };
    bytes
        .iter()
        .fold(sign, |number, &byte| (number << 8) | i64::from(byte))
}

/// Parses a variable-length integer of up to nine bytes, whose high bits mark continuation.
fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut number = 0;
    for place in 0..9 {
        let byte = *bytes.get(*at)?;
        *at += 1;
        if place == 8 {
            return Some(number << 8 | u64::from(byte));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            break;
        }
    }
    Some(number)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}
