//! Reads the readable rows of a SQLite file without SQLite, from every page that holds rows, even
//! if the pages that point to it are damaged.
//!
//! A row's table is known by the types of its values: [`Shape`](super::shapes::Shape). Deleted rows
//! don't come back: they are overwritten (`secure_delete`).
//!
//! Source: the SQLite file format, <https://www.sqlite.org/fileformat2.html>.

mod image;
mod page;

use std::path::Path;

use rusqlite::types::Value;

/// Counts of the pages that were read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pages {
    pub total: u64,
    /// Pages of which at least one row was unreadable.
    pub damaged: u64,
}

/// Calls a function with every row of a file and its write-ahead log, in the order of pages.
pub fn rows(
    path: &Path,
    mut found: impl FnMut(Vec<Value>) -> anyhow::Result<()>,
) -> anyhow::Result<Pages> {
    let image = image::Image::open(path)?;
    let mut pages = Pages {
        total: image.pages(),
        damaged: 0,
    };
    for number in 1..=image.pages() {
        let Ok(bytes) = image.page(number) else {
            pages.damaged += 1;
            continue;
        };
        let page = page::rows(&image, number, &bytes);
        pages.damaged += u64::from(page.is_damaged);
        for values in page.rows {
            found(values)?;
        }
    }
    Ok(pages)
}
