//! The names that a program exports, read from its file (ELF, 64 bits, little-endian).

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The bytes of the file's header, of a section's header and of a symbol.
const FILE_HEADER: usize = 64;
const SECTION_HEADER: usize = 64;
const SYMBOL: usize = 24;
/// The type of the section with the symbols for the dynamic linker.
const DYNAMIC_SYMBOLS: u32 = 11;
/// The largest section that is read.
const MAX_SECTION_BYTES: u64 = 64 << 20;

/// A part of the file.
#[derive(Clone, Copy)]
struct Section {
    kind: u32,
    offset: u64,
    size: u64,
    /// The section with the names of this one's symbols.
    names: usize,
}

/// Returns the names that a program exports to libraries.
pub fn exported_names(program: &Path) -> io::Result<Vec<String>> {
    let file = File::open(program)?;
    let sections = sections(&file)?;
    let is_symbols = |section: &&Section| section.kind == DYNAMIC_SYMBOLS;
    let symbols = sections.iter().find(is_symbols);
    let symbols = symbols.ok_or_else(|| invalid("it has no table of symbols"))?;
    let names = sections.get(symbols.names);
    let names = names.ok_or_else(|| invalid("its symbols have no names"))?;
    let names = read(&file, names)?;
    let mut exported = Vec::new();
    for symbol in read(&file, symbols)?.chunks_exact(SYMBOL) {
        // A symbol without a section is one that the program looks for elsewhere.
        if u16::from_le_bytes(array(symbol, 6)?) == 0 {
            continue;
        }
        let start = usize::try_from(u32::from_le_bytes(array(symbol, 0)?));
        let name = names.get(start.unwrap_or(usize::MAX)..).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        exported.push(String::from_utf8_lossy(name).into_owned());
    }
    Ok(exported)
}

fn sections(file: &File) -> io::Result<Vec<Section>> {
    let mut header = [0; FILE_HEADER];
    file.read_exact_at(&mut header, 0)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Err(invalid("it isn't a 64-bit little-endian ELF file"));
    }
    let start = u64::from_le_bytes(array(&header, 0x28)?);
    let size = usize::from(u16::from_le_bytes(array(&header, 0x3A)?));
    let count = usize::from(u16::from_le_bytes(array(&header, 0x3C)?));
    if size != SECTION_HEADER {
        return Err(invalid("it has no sections"));
    }
    let mut table = vec![0; size * count];
    file.read_exact_at(&mut table, start)?;
    let section = |header: &[u8]| {
        let names = u32::from_le_bytes(array(header, 0x28)?);
        Ok(Section {
            kind: u32::from_le_bytes(array(header, 4)?),
            offset: u64::from_le_bytes(array(header, 0x18)?),
            size: u64::from_le_bytes(array(header, 0x20)?),
            names: usize::try_from(names).unwrap_or(usize::MAX),
        })
    };
    table.chunks_exact(size).map(section).collect()
}

fn read(file: &File, section: &Section) -> io::Result<Vec<u8>> {
    if section.size > MAX_SECTION_BYTES {
        return Err(invalid("a section is too large"));
    }
    let size = usize::try_from(section.size).map_err(|_| invalid("a section is too large"))?;
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, section.offset)?;
    Ok(bytes)
}

fn array<const N: usize>(bytes: &[u8], start: usize) -> io::Result<[u8; N]> {
    let part = bytes.get(start..).and_then(|rest| rest.first_chunk());
    part.copied().ok_or_else(|| invalid("it is cut off"))
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_exports_its_functions_and_not_those_of_others() {
        // Every process has the C library.
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let library = maps.lines().find_map(|line| {
            let path = line.split_whitespace().last()?;
            path.ends_with("libc.so.6").then(|| path.to_owned())
        });
        let names = exported_names(Path::new(&library.unwrap())).unwrap();
        assert!(names.iter().any(|name| name == "malloc"));
        // The dynamic linker has it.
        assert!(!names.iter().any(|name| name == "__tls_get_addr"));
    }

    #[test]
    fn another_file_is_an_error() {
        for bytes in [&b""[..], &[b'x'; 100], b"\x7fELF\x02\x01"] {
            let file = std::env::temp_dir().join(format!("opentracy-elf-{}", bytes.len()));
            std::fs::write(&file, bytes).unwrap();
            assert!(exported_names(&file).is_err());
            std::fs::remove_file(&file).unwrap();
        }
    }
}
